"""How each stage is spread over a Ray cluster. Ray is imported here, in jobs/ and in cli.py, and nowhere else."""
