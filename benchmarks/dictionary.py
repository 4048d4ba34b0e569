"""What needs no model: exact names and character trigrams, against the student of finished runs.

    python benchmarks/dictionary.py RUN_DIR [RUN_DIR …]

On each run's test mentions and knowledge base, as it has read them, a dictionary linker's two ways: the concept that has the mention as a name, and
the names whose TF-IDF of character trigrams is nearest, which is how scispaCy generates candidates (Neumann et al., "ScispaCy", 2019), exactly and not by
an approximate index. Each is tried on the knowledge base's names, and on these with the mentions that were linked by hand to learn from. A row a run in
results/dictionary.json, which keeps what other calls have measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from finished import annotated_test, run_in, students_outcomes
from outcome import against, keep, kept, machine, shown
from sklearn.feature_extraction.text import TfidfVectorizer

from rpdr.corpus import Mention, load_mentions, normalise
from rpdr.evaluation import outcomes, paired_test, recall_outcomes, score
from rpdr.evaluation.systems import Score
from rpdr.kb import Concept, load_kb
from rpdr.pipeline.details import resampling
from rpdr.pipeline.systems import Found, by_similarity
from rpdr.retriever import ExactNames
from rpdr.retriever.exact import UNDECIDED
from rpdr.run import Run
from rpdr.schema import members

NAME = "dictionary"
EXACT, TRIGRAMS, LINKED, STUDENT = "exact names", "trigrams", " and what is linked by hand", "student"
COLUMNS = (
    *("Run", "Exact names: of the test mentions, and right of those", "… and what is linked by hand"),
    *(
        "Trigrams, Acc@1",
        "… and what is linked by hand",
        "Recall@10 of that",
        "Student",
        "Student over trigrams and what is linked by hand",
    ),
)
NEAREST = 200  # names, of which ten concepts are left
CANDIDATES = 10
AT_ONCE = 256  # mentions


def main() -> int:
    """A row a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR")
    options = parser.parse_args()
    found: dict[str, Any] = kept(NAME).get("runs", {})
    found |= {measured["run"]: measured for folder in options.runs for measured in [_measured(run_in(folder))]}
    keep(
        NAME,
        f"python benchmarks/dictionary.py {' '.join(found)}",
        "Test mentions of finished runs",
        COLUMNS,
        [run["row"] for run in found.values()],
        protocol="Exact names: letter case and white space aside, of one concept alone. Trigrams: TF-IDF of character trigrams within words, of the CHIP sets of "
        "one to three characters, cosine; a concept is as near as its nearest name. What is linked by hand: the labelled mentions, as names of their concepts. When trigrams "
        "say NIL is set on dev, as the retrievers'. The student had a teacher, who is simulated, and candidates of a tuned retriever; the others had neither. 95 % percentile bootstrap and exact "
        "randomisation test, by document where documents are known, else by text.",
        machines={name: run["machine"] for name, run in found.items()},
        runs=found,
    )
    return 0


def _measured(run: Run) -> dict[str, Any]:
    concepts, test = load_kb(run.concepts_file), annotated_test(run)
    labelled, dev = (load_mentions(run.mentions_file, split) for split in ("labelled", "dev"))
    golds, drawn = [m.gold or [] for m in test], resampling(run, test)
    right = {STUDENT: students_outcomes(run, test)}
    exact, recall = {}, {}
    for more, named in (("", concepts), (LINKED, with_linked(concepts, labelled))):
        exact[EXACT + more] = _of_exact_names(named, test)
        found = nearest(named, [*dev, *test], chinese=run.folder.name.startswith("chip"))
        ranked = by_similarity([m for m in dev if m.gold is not None], test, found, run.config.link.allow_nil)
        right[TRIGRAMS + more] = outcomes(ranked, golds, 1)
        recall[TRIGRAMS + more] = score(recall_outcomes(ranked, golds, CANDIDATES), drawn.of(np.flatnonzero([bool(g) for g in golds])))
    accuracy = {name: score(of, drawn) for name, of in right.items()}
    tests = {name: paired_test(right[STUDENT], of, drawn) for name, of in right.items() if name != STUDENT}
    return {
        "run": run.folder.name,
        "row": [
            run.folder.name,
            *(f"{named / len(test):.0%}, {hits / named:.3f}" if named else "none" for named, hits in exact.values()),
            *(_shown(accuracy[TRIGRAMS + more]) for more in ("", LINKED)),
            _shown(recall[TRIGRAMS + LINKED]),
            _shown(accuracy[STUDENT]),
            against(tests[TRIGRAMS + LINKED]),
        ],
        "exact": exact,
        "acc_at_1": {name: asdict(of) for name, of in accuracy.items() if of},
        "recall_at_10": {name: asdict(of) for name, of in recall.items() if of},
        "tests": {name: asdict(test) for name, test in tests.items()},
        "machine": machine(),
    }


def _shown(found: Score | None) -> str:
    return shown(found) if found else "–"


def _of_exact_names(concepts: Sequence[Concept], test: Sequence[Mention]) -> tuple[int, int]:
    """(how many of the mentions are the name of one concept, in how many of these it is right)."""
    owners = ExactNames.of(concepts).find([m.text for m in test])
    named = [(concepts[owner].concept_id, m.gold) for owner, m in zip(owners, test, strict=True) if owner != UNDECIDED]
    return len(named), sum(concept in members(gold) for concept, gold in named)


def with_linked(concepts: Sequence[Concept], labelled: Sequence[Mention]) -> list[Concept]:
    """The concepts, with the mentions that are linked to one of them alone as names too."""
    more: dict[str, list[str]] = {}
    for mention in labelled:
        for alternative in mention.gold or []:
            if len(alternative) == 1:
                more.setdefault(alternative[0], []).append(mention.text)
    return [replace(c, names=(*c.names, *more[c.concept_id])) if c.concept_id in more else c for c in concepts]


def nearest(concepts: Sequence[Concept], mentions: Sequence[Mention], chinese: bool) -> Found:
    """The concepts of the nearest names, as rows of schema.CANDIDATES have them."""
    names = [(normalise(name), row) for row, concept in enumerate(concepts) for name in concept.names]
    owners = np.array([row for _, row in names])
    grams = TfidfVectorizer(
        analyzer="char" if chinese else "char_wb", ngram_range=(1, 3) if chinese else (3, 3), lowercase=False, dtype=np.float32
    )
    index = grams.fit_transform([name for name, _ in names]).T.tocsr()
    asked = list({m.key: m for m in mentions}.values())
    found = {}
    for start in range(0, len(asked), AT_ONCE):
        batch = asked[start : start + AT_ONCE]
        alike = (grams.transform([normalise(m.text) for m in batch]) @ index).toarray()
        top = np.argsort(-alike, axis=1, kind="stable")[:, :NEAREST]
        for mention, scores, places in zip(batch, alike, top, strict=True):
            first: dict[int, float] = {}
            for place in places:
                first.setdefault(int(owners[place]), float(scores[place]))
            chosen = list(first)[:CANDIDATES]
            found[mention.key] = {"candidate_ids": [concepts[row].concept_id for row in chosen], "scores": [first[row] for row in chosen]}
    return found


if __name__ == "__main__":
    raise SystemExit(main())
