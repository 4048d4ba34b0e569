"""What the stages need of Ray: a cluster to join, work and parts of an index on its nodes, meters, and jobs that are sent to it."""
