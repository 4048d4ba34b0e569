"""The line that a stage tells of itself at its end."""

from __future__ import annotations

from typing import Any

import pytest
from rich.text import Text

from rpdr.pipeline.in_short import in_short
from rpdr.run import STAGES

PREPARED = {
    **{"concepts": 1_036, "names": 6_412, "mentions": 1_250, "written_out": 0, "splits": {"test": 250, "labelled": 1_000, "dev": 0}},
    **{
        "unknown_gold_mentions": 0,
        "unknown_gold_examples": [],
        "unknown_gold_distinct": 0,
        "kb_rejects": 0,
        "rejects": 0,
        "reject_reasons": {},
    },
}
TAUGHT = {
    **{"spent_usd": 0.5, "budget_usd": 1.0, "labelled": 1_200, "pool": 2_000, "model": "an [LLM]"},
    **{"stopped_by_budget": False, "failed": 0, "masked_away": 0},
}
RETUNED = {"tuned": False, "aliases": 0}
DISTILLED = {"labels": 1_200, "steps": 75, "calibrated_on": "204 dev mentions", "disputed_names": 0}
LINKED = {"mentions": 9_000, "distinct": 3_000, "shards": 2, "nil": 40, "abstained": 70, "operating_point": None}
SUMMARIES: dict[str, dict[str, Any]] = {
    "prepare": PREPARED,
    "retriever": {"labelled_pairs": 1_500, "names": 6_412, "names_read_in_part": 0},
    "candidates": {"distinct": 3_000},
    "teach": TAUGHT,
    "retune": RETUNED,
    "baselines": {"measured": False},
    "distill": DISTILLED,
    "link": LINKED,
    "report": {"page": "report/index.html"},
}


def told(stage: str, **changes: Any) -> str:
    """As it is shown."""
    return Text.from_markup(in_short(stage, {**SUMMARIES[stage], **changes})).plain


def test_each_stage_tells_what_it_has_done():
    assert {stage: told(stage) for stage in STAGES} == {
        "prepare": "1,036 concepts, 6,412 names; 1,250 mentions (1,000 labelled, 250 test); 0 rows set aside",
        "retriever": "tuned on 1,500 labelled mentions and synonyms; 6,412 names indexed",
        "candidates": "3,000 distinct mentions",
        "teach": "1,200 of 2,000 labelled by an [LLM] for $0.500 of $1.00",
        "retune": "nothing learned from the teacher's labels",
        "baselines": "skipped: retriever.baselines is not set",
        "distill": "1,200 labels, 75 steps; calibrated on 204 dev mentions",
        "link": "9,000 mentions (3,000 distinct) in 2 shards, 40 not in the knowledge base",
        "report": "",
    }


@pytest.mark.parametrize(
    ("stage", "changes", "end"),
    [
        ("prepare", {"written_out": 1_100}, "(1,000 labelled, 250 test), 1,100 with abbreviations written out; 0 rows set aside"),
        (
            "prepare",
            {"unknown_gold_mentions": 9, "unknown_gold_distinct": 4, "unknown_gold_examples": ["[A]", "B", "C", "D"]},
            ", 9 with gold that the knowledge base lacks (4 distinct, such as '[A]', 'B', 'C'); 0 rows set aside",
        ),
        (
            "prepare",
            {"kb_rejects": 2, "rejects": 7, "reject_reasons": {"no [text]": 4, "no gold": 1}},
            "; 7 rows set aside (2 of the knowledge base, 5 of mentions: corpus/rejects.parquet); of mentions most often: no [text] (4), no gold (1)",
        ),
        ("retriever", {"names_read_in_part": 133}, "; 133 of them are longer than retriever.max_tokens, and count by what they begin with"),
        ("teach", {"stopped_by_budget": True}, "; stopped by the budget"),
        ("teach", {"model": None}, "nobody is asked: teacher.max_mentions is 0"),
        (
            "teach",
            {"failed": 3, "masked_away": 2},
            "; 3 got no answer (--redo asks those again, and pays for nothing twice); 2 not asked, as masking leaves nothing of them",
        ),
        (
            "retune",
            {"tuned": True, "teacher_pairs": 1_100, "aliases": 900, "alias_discount": 0.05, "commonness": [1.0]},
            "tuned on 1,100 of the teacher's labels too; 900 linked mentions are names too, at a discount of 0.05; commonness counts",
        ),
        ("retune", {"tuned": True, "teacher_pairs": 0}, "tuned again on labelled mentions"),
        ("baselines", {"measured": ["zero_shot"]}, "measured"),
        ("distill", {"gold_labels": 415}, "1,200 labels and 415 labelled mentions, 75 steps; calibrated on 204 dev mentions"),
        ("distill", {"labels": 0, "gold_labels": 415}, "415 labelled mentions, 75 steps; calibrated on 204 dev mentions"),
        ("distill", {"disputed_names": 5}, "; 5 names were linked to other concepts, and decide nothing alone"),
        (
            "link",
            {"operating_point": {"above": 0.9}, "rejects": 6, "output": "s3://[b]/linked"},
            ", 40 not in the knowledge base, abstained from 70; 6 rows set aside; in s3://[b]/linked",
        ),
    ],
)
def test_what_is_out_of_the_ordinary_is_told_too(stage: str, changes: dict[str, Any], end: str):
    assert told(stage, **changes).endswith(end)
    assert told(stage) != told(stage, **changes)
