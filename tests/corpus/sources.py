"""Files of mentions, written and read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rpdr.config import MentionsConfig
from rpdr.corpus import KnownConcepts, Mention, stream_mentions
from rpdr.tables.rejects import Reject

WORDS = [{"text": f"Word {n}"} for n in range(400)]


def put(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def read_mentions(sources: Sequence[MentionsConfig], seed: int, known: KnownConcepts | None = None) -> tuple[list[Mention], list[Reject]]:
    """What `stream_mentions` reads: the mentions, and the rows that could not be used."""
    mentions: list[Mention] = []
    rejects: list[Reject] = []
    for found in stream_mentions(sources, seed, known):
        if isinstance(found, Mention):
            mentions.append(found)
        else:
            rejects.append(found)
    return mentions, rejects


def read(path: Path | str, format: str, **settings: Any) -> tuple[list[Mention], list[dict[str, Any]]]:
    return read_mentions([MentionsConfig.model_validate({"format": format, "path": str(path), **settings})], seed=13)


def source(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> MentionsConfig:
    """A source of these rows, in a new file of the folder."""
    path = folder / f"{len(list(folder.iterdir()))}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return MentionsConfig.model_validate({"format": "jsonl", "path": str(path), **settings})
