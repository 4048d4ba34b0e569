"""What tests say to a Ray cluster of nodes on this machine."""

# a node that is gone is missed within seconds, not half a minute
SOON_LOST = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 10000,  # of a node that is busy; one that is gone refuses at once
    "health_check_failure_threshold": 3,
}
