"""The stages, and how each is spread over a Ray cluster. Ray is imported here, and nowhere else."""
