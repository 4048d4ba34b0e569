"""A user's folder, and what is submitted from it."""

from __future__ import annotations

from pathlib import Path

from rpdr.config import load
from rpdr.pipeline.on_ray.submission import Submission

CONFIG = """run_dir: {run_dir}
kb: {{format: table, path: kb.csv}}
mentions:
  - {{format: table, path: mentions.csv, split: test}}
"""


def submission(folder: Path, command: str = "prepare", **more: object) -> Submission:
    config = load(folder / "c.yaml")
    return Submission(command, folder / "c.yaml", config, folder=folder, **more)
