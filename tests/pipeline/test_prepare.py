"""Gold ids as sources write them, and as the later stages compare them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rpdr.config import Config
from rpdr.corpus import load_mentions
from rpdr.errors import DataError
from rpdr.pipeline.prepare import prepare
from rpdr.pipeline.run import Run


class Silent:
    def update(self, done: int, total: int | None, doing: str) -> None:
        pass


def prepared(folder: Path, gold: list[str], rows: str = "", **more: Any) -> tuple[Run, dict]:
    (folder / "kb.obo").write_text("format-version: 1.2\n\n[Term]\nid: X:1\nname: Vomiting\nalt_id: X:9\n\n[Term]\nid: X:2\nname: Nausea\n")
    (folder / "m.csv").write_text(rows or "text,gold\n" + "".join(f"mention {n},{g}\n" for n, g in enumerate(gold)))
    run = Run(
        Config.model_validate(
            {
                "run_dir": str(folder / "run"),
                "kb": {"format": "obo", "path": str(folder / "kb.obo")},
                "mentions": [{"format": "table", "path": str(folder / "m.csv"), "split": "test"}],
                **more,
            }
        )
    )
    return run, prepare(run, Silent())


def test_alternate_ids_in_gold_become_the_concepts_own(tmp_path: Path):
    run, summary = prepared(tmp_path, ["X:9", "X:9+X:2", "X:2|X:9", "NIL", ""])
    assert [m.gold for m in load_mentions(run.path("corpus", "mentions.parquet"))] == [
        [["X:1"]],
        [["X:1", "X:2"]],
        [["X:2"], ["X:1"]],
        [],
        None,
    ]
    assert summary["unknown_gold_ids"] == 0


def test_gold_ids_that_the_knowledge_base_lacks_are_counted_and_kept(tmp_path: Path):
    run, summary = prepared(tmp_path, ["X:7", "X:1", "X:7"])
    assert summary["unknown_gold_ids"] == 2
    assert summary["unknown_gold_examples"] == ["X:7"]
    assert load_mentions(run.path("corpus", "mentions.parquet"))[0].gold == [["X:7"]]


def test_no_name_is_written_out_where_names_are_masked(tmp_path: Path):
    rows = "text,gold,context\nMS,NIL,Seen by Dr. Mary Smithson (MS) for Gaucher disease (GD)\nGD,NIL,Seen by Dr. Mary Smithson (MS) for Gaucher disease type 1 (GDT1)\n"
    rows += "GDT1,NIL,for Gaucher disease type 1 (GDT1)\n"
    for policy, expected in (
        ("deidentified", ["MS", "GD", "Gaucher disease type 1"]),
        ("public", ["Mary Smithson", "GD", "Gaucher disease type 1"]),
    ):
        folder = tmp_path / policy
        folder.mkdir()
        run, _ = prepared(folder, [], rows, data_policy=policy)
        assert [m.text for m in load_mentions(run.path("corpus", "mentions.parquet"))] == expected


def test_a_source_for_learning_or_measuring_that_has_no_gold_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"m\.csv: none of its 2 mentions in the splits labelled, dev, test has gold; name the column"):
        prepared(tmp_path, [], "text,Gold\nthrowing up,X:1\nqueasy,X:2\n")
