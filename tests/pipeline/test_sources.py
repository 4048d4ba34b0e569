"""Files that were read are looked at once, however many there are and however many stages ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from rpdr.config import MentionsConfig
from rpdr.files import sha256_tree
from rpdr.pipeline import sources as module
from rpdr.pipeline.sources import seen


def test_a_file_that_stays_as_it_is_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    hashed: list[Path] = []

    def counting(file: Path) -> str:
        hashed.append(file)
        return sha256_tree(file)

    monkeypatch.setattr(module, "sha256_tree", counting)
    for number in range(200):
        (tmp_path / f"{number}.csv").write_text("text\na\n")
    source = MentionsConfig(format="table", path=str(tmp_path))
    assert seen([source]) == seen([source])
    assert len(hashed) == 200
    (tmp_path / "0.csv").write_text("text\nanother\n")
    seen([source])
    assert len(hashed) == 201
