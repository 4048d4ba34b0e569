"""Which names of the knowledge base are disputed by those who linked them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bare import bare_run

from rpdr.corpus import Mention, mention_key
from rpdr.corpus.mention import save_mentions
from rpdr.files import write_json, write_rows
from rpdr.kb.concept import concept_of
from rpdr.kb.reader import save_kb
from rpdr.pipeline.names import by_exact_names, disputed_names
from rpdr.retriever.exact import DISPUTED_FILE
from rpdr.run import Run
from rpdr.schema import LABELS, NIL

CONCEPTS = [
    concept_of("C1", "Hepatitis"),
    concept_of("C2", "Drug-Induced Liver Injury"),
    concept_of("C3", "Fever", ["pyrexia"]),
    concept_of("C4", "Rash"),
]


def labelled(text: str, gold: Any, split: str = "labelled") -> Mention:
    return Mention(f"0:{text}{split}", mention_key(text), text, None, None, None, split, gold)


def taught(text: str, choice: int, trust: float = 0.9) -> dict[str, Any]:
    ids = ["C1", "C2", "C3", "C4"]
    told = {"key": mention_key(text), "text": text, "candidate_ids": ids, "candidate_names": ids, "matched_names": ids, "scores": [0.5] * 4}
    return {**told, "choice": choice, "also": [], "source": "teacher", "ledger_ids": [], "agreed": 1, "asked": 1, "trust": trust}


def run_with(folder: Path, mentions: list[Mention], labels: list[dict[str, Any]]) -> Run:
    run = bare_run(folder)
    save_kb(run.concepts_file, CONCEPTS)
    save_mentions(run.mentions_file, mentions)
    write_rows(run.path("retuned", "labels.parquet"), labels, LABELS)
    return run


def test_a_name_that_was_linked_to_another_concept_alone_is_disputed(tmp_path: Path):
    by_hand = [
        labelled("hepatitis", [["C2"]]),
        labelled("a fever", [["C4"]]),
        labelled("rash", [["C2"], ["C4"]]),
        labelled("Fever", [["C1"]], "test"),
    ]
    run = run_with(tmp_path, by_hand, [taught("Pyrexia", 0), taught("fever", NIL), taught("Drug-induced liver injury", 0, 0.4)])
    assert disputed_names(run) == ["pyrexia", "hepatitis"]
    rows = [{"text": text, "gold": ["C1", "C3"]} for text in ("Hepatitis", "fever", "pyrexia", "rash")]
    assert by_exact_names(run, rows) == [True, True, True, False]  # nothing was found yet
    write_json(run.path("student", DISPUTED_FILE), disputed_names(run))
    assert by_exact_names(run, rows) == [None, True, None, False]


def test_a_hand_is_believed_before_the_teacher(tmp_path: Path):
    both = [labelled("hepatitis", [["C1"]]), labelled("rash", [["C2"]])]
    assert disputed_names(run_with(tmp_path, both, [taught("hepatitis", 1), taught("rash", 3)])) == ["rash"]
