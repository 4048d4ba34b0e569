"""The Arrow schema of every dataset that passes between stages. Read this first.

Gold answers (`gold`): null = not annotated; [] = NIL, known to be absent from the knowledge base; otherwise a list of
alternatives, each the set of concepts that together are the answer: [["C1"]] one, [["C1", "C2"]] both, [["C1"], ["C2"]] either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NewType

import pyarrow as pa

ConceptId = NewType("ConceptId", str)
MentionKey = NewType("MentionKey", str)
Gold = list[list[ConceptId]]

NIL = -1  # the choice "none of these", where a choice is an index into candidates


def members(gold: Gold | None) -> set[ConceptId]:
    """All concepts that a gold answer names, in whichever of its alternatives."""
    return {concept for alternative in gold or [] for concept in alternative}


def chosen_id(label: Mapping[str, Any]) -> ConceptId | None:
    """The concept that a row of LABELS names, of several the first; None for "none of these"."""
    return None if label["choice"] == NIL else label["candidate_ids"][label["choice"]]


def chosen_ids(label: Mapping[str, Any]) -> list[ConceptId]:
    """All concepts that a row of LABELS names."""
    return [] if label["choice"] == NIL else [label["candidate_ids"][n] for n in (label["choice"], *label["also"])]


SPLITS = ("labelled", "unlabelled", "dev", "test", "corpus")
ASKED = SPLITS[:2]  # whose contexts leave for the teacher: in examples, and in questions
STUDIED = SPLITS[:4]  # all but the corpus, which is only linked and may be larger than memory

CONCEPTS = pa.schema(
    [
        pa.field("concept_id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),  # the preferred name
        pa.field("names", pa.list_(pa.string()), nullable=False),  # all names, the preferred one first, no repeats
        pa.field("definition", pa.string()),
        pa.field("alternate_ids", pa.list_(pa.string())),  # other ids of the same concept, which gold may use
    ]
)

MENTIONS = pa.schema(
    [
        pa.field("mention_id", pa.string(), nullable=False),  # unique in the corpus
        # same key = same question to the teacher; see corpus.normalise.mention_key, and shards.questions for what is linked once
        pa.field("key", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("context", pa.string()),  # the sentence or passage around it
        pa.field("type", pa.string()),  # e.g. Disease, Chemical
        pa.field("doc_id", pa.string()),
        pa.field("split", pa.string(), nullable=False),  # one of SPLITS
        pa.field("gold", pa.list_(pa.list_(pa.string()))),
        pa.field("written", pa.string()),  # the text as it stands in the source, where `text` has its abbreviations written out
    ]
)

HIDDEN = pa.schema(  # of a question whose context was cut out of a longer text: what that tells to be masked before it leaves
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("start", pa.int32(), nullable=False),
        pa.field("end", pa.int32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
    ]
)

REJECTS = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),  # 1-based line or row
        pa.field("reason", pa.string(), nullable=False),
        pa.field("row", pa.string(), nullable=False),  # first 500 characters, control characters escaped
    ]
)

CANDIDATES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("context", pa.string()),
        pa.field("type", pa.string()),
        pa.field("candidate_ids", pa.list_(pa.string()), nullable=False),  # best first
        pa.field("candidate_names", pa.list_(pa.string()), nullable=False),  # the preferred name of each
        pa.field("matched_names", pa.list_(pa.string()), nullable=False),  # the name that scored best for each
        # similarities, descending: cosines in [-1, 1], and what is commonly meant on top
        pa.field("scores", pa.list_(pa.float32()), nullable=False),
    ]
)

QUESTIONS = pa.schema(  # what the teacher is asked about; see pipeline.questions
    [
        *CANDIDATES,
        pa.field("definitions", pa.list_(pa.string()), nullable=False),  # of each candidate, null where it has none
        pa.field("hidden", pa.list_(pa.struct([field for field in HIDDEN if field.name != "key"])), nullable=False),
    ]
)

LEDGER = pa.schema(  # one row a request; kept in SQLite, see teacher.ledger
    [
        pa.field("request_id", pa.string(), nullable=False),  # hash of messages, model and parameters: the same question, the same id
        pa.field("key", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("endpoint", pa.string(), nullable=False),  # where the data went (no credentials)
        pa.field("mode", pa.string(), nullable=False),  # "sync" or "batch"
        pa.field("parameters", pa.string(), nullable=False),  # JSON: what else was asked of the model
        pa.field("messages", pa.string(), nullable=False),  # JSON, exactly what left
        pa.field("options", pa.string(), nullable=False),  # JSON: the concept ids of options 1, 2, … as shown
        pa.field("masked", pa.string(), nullable=False),  # JSON: kind of identifier -> how many were masked before it left
        pa.field("attempt", pa.int32(), nullable=False),  # 1 = first
        pa.field("asked_at", pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("state", pa.string(), nullable=False),  # "valid", "invalid" (unreadable), "free" (not served), "lost" or "open"
        pa.field("reason", pa.string(), nullable=False),  # why it is not valid
        pa.field("answer", pa.string(), nullable=False),  # verbatim
        pa.field("valid", pa.bool_(), nullable=False),
        pa.field("choice_id", pa.string()),  # the concept chosen, where they are several a JSON list of them; null with valid = NIL
        pa.field("confidence", pa.float64()),  # the endpoint's own probability of its answer; null where it gives none
        pa.field("prompt_tokens", pa.int64(), nullable=False),
        pa.field("completion_tokens", pa.int64(), nullable=False),
        pa.field("price_usd", pa.float64(), nullable=False),  # of "lost" and "open" ones the worst case
        pa.field("ended_at", pa.timestamp("ms", tz="UTC")),
    ]
)

LABELS = pa.schema(
    [
        *CANDIDATES,
        pa.field("choice", pa.int32(), nullable=False),  # index into candidate_ids, or NIL
        pa.field("also", pa.list_(pa.int32()), nullable=False),  # further ones, where the mention names several: see teacher.several
        pa.field("source", pa.string(), nullable=False),  # "teacher"
        pa.field("ledger_ids", pa.list_(pa.string()), nullable=False),  # request_ids that this label came from
        pa.field("agreed", pa.int32(), nullable=False),  # answers that name the choice
        pa.field("asked", pa.int32(), nullable=False),  # of so many that could be read
        pa.field("confidence", pa.float64()),  # the endpoint's own probability of its answer; null where it gives none
        pa.field("trust", pa.float64(), nullable=False),  # the probability, in (0, 1), that the choice is right: see teacher.trust
    ]
)

SET_ASIDE = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field(
            "source", pa.string(), nullable=False
        ),  # "set_aside", "refused_by_budget" or "failed", see teacher.Answer; "masked": not asked
        pa.field("reason", pa.string(), nullable=False),
        pa.field("ledger_ids", pa.list_(pa.string()), nullable=False),
    ]
)

LINKED = pa.schema(
    [
        pa.field("mention_id", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("written", pa.string()),  # as in MENTIONS
        pa.field("split", pa.string(), nullable=False),
        pa.field("concept_id", pa.string()),  # null, and not abstained: NIL, none of the knowledge base
        pa.field("name", pa.string()),
        pa.field("concept_ids", pa.list_(pa.string()), nullable=False),  # all concepts of the answer, the likeliest first: see link.several
        # not sure enough for link.target_precision: nothing is said, neither a concept nor NIL. What would have been: see linker.guess
        pa.field("abstained", pa.bool_(), nullable=False),
        pa.field("nil", pa.bool_(), nullable=False),  # the answer, given or withheld, is NIL
        pa.field(
            "confidence", pa.float32(), nullable=False
        ),  # calibrated probability that the answer, given or withheld, is right, in [0, 1]
        pa.field("ranked_ids", pa.list_(pa.string()), nullable=False),  # all candidates, best first
        pa.field("ranked_scores", pa.list_(pa.float32()), nullable=False),  # probability of each, in [0, 1]; with NIL's they sum to 1
        pa.field("source", pa.string(), nullable=False),  # "exact" (an unambiguous name), "retriever" (see link.shortcut) or "student"
    ]
)
