"""What the stages need of Ray: a cluster to join, actors and pools on its nodes, meters, and jobs that are sent to it."""
