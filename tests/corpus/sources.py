"""A file of mentions, written and read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rpdr.config import MentionsConfig
from rpdr.corpus import Mention, read_mentions


def put(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def read(path: Path | str, format: str, **settings: Any) -> tuple[list[Mention], list[dict[str, Any]]]:
    return read_mentions([MentionsConfig.model_validate({"format": format, "path": str(path), **settings})], seed=13)
