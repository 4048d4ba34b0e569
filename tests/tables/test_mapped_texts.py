"""Texts that are mapped into memory, and those that are added to them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from rpdr.tables.mapped import Texts, map_arrow, write_arrow


def test_texts_that_are_added_stand_behind_those_that_are_mapped(tmp_path: Path):
    write_arrow(tmp_path / "texts.arrow", pa.table({"text": ["a", "b", "c"]}))
    texts = Texts(map_arrow(tmp_path / "texts.arrow")["text"])
    more = texts.with_more(["d", "e"])
    assert list(more) == ["a", "b", "c", "d", "e"]
    assert (more[3], more[1:4], len(texts)) == ("d", ["b", "c", "d"], 3)
