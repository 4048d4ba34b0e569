"""Why an answer or a label is wrong: one answer, its gold and its candidates in, the name of a cause out.

`answer` is a concept, or None for NIL, "none of these"; `candidates` are what the retriever offered.
"""

from __future__ import annotations

from collections.abc import Collection

from rpdr.schema import ConceptId, Gold, members

# of a student's wrong answer, each for the first reason that holds
NIL_LINKED = "nil_linked"  # a concept, where the knowledge base has none
EXACT_NAME = "exact_name"  # it is verbatim the name of another concept
UNKNOWN_GOLD = "unknown_gold"  # the knowledge base has no concept of the gold
NOT_RETRIEVED = "not_retrieved"  # no right concept was among the candidates
SAID_NIL = "said_nil"  # NIL, though a right concept was among them
RANKED_BELOW = "ranked_below"  # another candidate was put before the right one
ERRORS = (UNKNOWN_GOLD, NOT_RETRIEVED, RANKED_BELOW, SAID_NIL, NIL_LINKED, EXACT_NAME)

# of a teacher's wrong label
NONE_THOUGH_OFFERED = "none_though_offered"
ANOTHER_THOUGH_OFFERED = "another_though_offered"
ANOTHER_NONE_OFFERED = "another_none_offered"  # "none of these" was right, as the right concept was not among the candidates
CONCEPT_FOR_NIL = "concept_for_nil"  # "none of these" was right, as the knowledge base lacks the concept
NOISE = (ANOTHER_THOUGH_OFFERED, NONE_THOUGH_OFFERED, ANOTHER_NONE_OFFERED, CONCEPT_FOR_NIL)


def error_cause(
    answer: ConceptId | None, gold: Gold, candidates: Collection[ConceptId], exact: bool = False, known: Collection[ConceptId] | None = None
) -> str | None:
    """One of ERRORS, or None where the answer is right; `exact`: an exact name decided it; `known`: all concepts of the knowledge base, if they are told."""
    right = members(gold)
    if answer in right or (answer is None and not gold):
        return None
    if not gold:
        return NIL_LINKED
    if known is not None and right.isdisjoint(known):
        return UNKNOWN_GOLD
    if exact:
        return EXACT_NAME
    if right.isdisjoint(candidates):
        return NOT_RETRIEVED
    return SAID_NIL if answer is None else RANKED_BELOW


def noise_kind(label: ConceptId | None, gold: Gold, candidates: Collection[ConceptId]) -> str | None:
    """One of NOISE, or None where the label is right; "none of these" is where no right concept was offered."""
    right = members(gold)
    offered = not right.isdisjoint(candidates)
    if label in right or (label is None and not offered):
        return None
    if label is None:
        return NONE_THOUGH_OFFERED
    if offered:
        return ANOTHER_THOUGH_OFFERED
    return ANOTHER_NONE_OFFERED if gold else CONCEPT_FOR_NIL
