"""Files that were read are looked at once, however many there are and however many stages ask; one that cannot be is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from rpdr.config import MentionsConfig
from rpdr.errors import DataError
from rpdr.files import sha256_tree
from rpdr.run import sources as module
from rpdr.run.sources import paths_of, seen


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


def test_a_file_that_may_not_be_read_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def closed(file: Path) -> str:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(module, "sha256_tree", closed)  # root may read all
    (tmp_path / "mentions.csv").write_text("text\na\n")
    with pytest.raises(DataError, match=r"mentions\.csv: cannot be read or written \(Permission denied\)"):
        seen([MentionsConfig(format="table", path=str(tmp_path / "mentions.csv"))])


def test_paths_are_those_that_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RPDR_TEST_DATA", "~/data")
    for where, path in (("~/m.csv", "m.csv"), ("${RPDR_TEST_DATA}/m.csv", "data/m.csv")):
        assert paths_of(MentionsConfig(format="table", path=where)) == [(tmp_path / path).resolve()]
    assert paths_of(MentionsConfig(format="table", path="s3://bucket/m.csv")) == []
