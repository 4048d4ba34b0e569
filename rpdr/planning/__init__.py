"""What a run will take on a cluster, told before it is started: stages, rates and node types in, hours and dollars out. Knows nothing of Ray."""

from rpdr.planning.nodes import Choice, NodesConfig, read_nodes
from rpdr.planning.search import Found, Plan, cheapest
from rpdr.planning.simulation import simulated
from rpdr.planning.work import Driver, Gang, Pool, Process, Requests, StageWork, Step, Stream

__all__ = [
    "Choice",
    "Driver",
    "Found",
    "Gang",
    "NodesConfig",
    "Plan",
    "Pool",
    "Process",
    "Requests",
    "StageWork",
    "Step",
    "Stream",
    "cheapest",
    "read_nodes",
    "simulated",
]
