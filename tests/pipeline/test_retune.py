"""The second round of the retriever: whose similarities a label gets, and what it leaves of the label."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bare import bare_run

from rpdr.config import RetrieverConfig
from rpdr.corpus import Mention, load_mentions, mention_key, normalise
from rpdr.corpus.mention import save_mentions
from rpdr.errors import DataError
from rpdr.files import write_rows
from rpdr.kb.concept import concept_of
from rpdr.kb.reader import save_kb
from rpdr.pipeline import baselines, candidates, links, retriever, retune, tuning
from rpdr.pipeline.progress import stage_progress
from rpdr.retriever import Commonness, Index, Pair, Retriever, add_candidates, distinct_rows
from rpdr.retriever.commonness import Weights
from rpdr.retriever.discount import USUAL
from rpdr.run import STAGES, WORK, Run, loaded
from rpdr.run.found import candidates_file
from rpdr.run.gold import chosen_by_gold
from rpdr.run.labels import labels_file, taught_pairs
from rpdr.schema import CANDIDATES, LABELS, NIL
from tests.retriever.letter_pairs import HashEncoder

CONCEPTS = [concept_of(f"C{n}", name) for n, name in enumerate(("Vomiting", "Nausea", "Fever", "Dysphagia"))]


class Tuned(HashEncoder):
    """Knows what it was tuned on."""

    def __init__(self, pairs: list[Pair], again: bool = False) -> None:
        super().__init__()
        self.again = again
        self.learned = {pair.anchor for pair in pairs}

    def save(self, folder: str) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, "learned.txt").write_text("\n".join(sorted(self.learned)))


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> list[Tuned]:
    """All encoders that are tuned."""
    made: list[Tuned] = []

    def encoder(run: Run, concepts: Any, pairs: list[Pair], progress: Any, kept: Path, what: str = "", again: bool = False) -> Tuned:
        made.append(Tuned(pairs, again))
        made[-1].save(str(kept))
        return made[-1]

    for module in (retune, baselines):
        monkeypatch.setattr(module, "tuned_encoder", encoder)
    for module in (loaded, baselines):
        monkeypatch.setattr(module, "load_encoder", lambda *_: HashEncoder())
    monkeypatch.setattr(retune, "retrieved", lambda *_: (CANDIDATES.empty_table(), 0.0))  # needs Ray
    return made


def labelled(
    folder: Path, rounds: int, aliases: bool = False, commonness: bool = False, **student: Any
) -> tuple[Run, list[dict[str, Any]]]:
    """A run whose teacher has labelled 40 mentions, every fourth with "none of these", every fifth not to be trusted."""
    settings = {"rounds": rounds, "aliases": aliases, "commonness": commonness, "baselines": True, "top_k": 3}
    run = bare_run(folder, retriever=settings, student=student)
    save_kb(run.concepts_file, CONCEPTS)
    texts = [f"{CONCEPTS[n % 4].name[:4]} {n}" for n in range(40)]
    splits = {"few": "labelled", "asked": "test", **dict.fromkeys(texts, "unlabelled")}
    mentions = [Mention(t, mention_key(t), t, None, None, None, split, [["C1"]]) for t, split in splits.items()]
    save_mentions(run.mentions_file, mentions)
    questions = pa.table({"key": [mention_key(t) for t in texts], "text": texts, "context": [None] * 40, "type": [None] * 40})
    rows = add_candidates(Retriever.build(HashEncoder(), CONCEPTS), questions, 3).to_pylist()
    answer = {"source": "teacher", "ledger_ids": [], "agreed": 1, "asked": 1, "confidence": None}
    labels = [
        {**row, **answer, "trust": 0.4 if n % 5 == 0 else 0.9, "choice": NIL if n % 4 == 3 else n % 3, "also": []}
        for n, row in enumerate(rows)
    ]
    write_rows(run.path("labels", "labels.parquet"), labels, LABELS)
    Retriever.build(HashEncoder(), CONCEPTS).index.save(run.path("index"))
    return run, labels


def ran(stage: Any, run: Run) -> dict[str, Any]:
    with stage_progress("stage") as progress:
        return stage(run, progress)


def test_no_label_has_its_similarities_from_an_encoder_that_learned_it(tmp_path: Path, tuned: list[Tuned]):
    run, labels = labelled(tmp_path, rounds=2)
    ran(retune.retune, run)
    *folds, whole = tuned
    texts = {row["text"] for row in labels}
    assert whole.learned == {"few", *(row["text"] for row in labels if row["choice"] != NIL and row["trust"] > 0.5)}
    scored = [text for encoder in folds for text in encoder.seen if text in texts]
    assert sorted(scored) == sorted(texts)
    for encoder in folds:
        assert "few" in encoder.learned
        assert len(encoder.learned) > 5
        assert not encoder.learned & set(encoder.seen)


@pytest.mark.parametrize("asked", [True, False], ids=["beside a teacher's", "alone"])
def test_no_labelled_mention_that_a_student_learns_from_has_its_similarities_from_an_encoder_that_learned_it(
    tmp_path: Path, tuned: list[Tuned], asked: bool
):
    run, _ = labelled(tmp_path, rounds=2, gold_labels=True)
    if not asked:
        write_rows(run.path("labels", "labels.parquet"), [], LABELS)
    by_hand = [f"feve {n}" for n in range(20)]
    more = [Mention(text, mention_key(text), text, None, None, None, "labelled", [["C2"]]) for text in by_hand]
    save_mentions(run.mentions_file, [*load_mentions(run.mentions_file), *more])
    told = ran(retune.retune, run)
    *folds, whole = tuned
    assert {*by_hand, "few"} <= whole.learned
    assert [encoder.again for encoder in tuned] == [False, False, True]  # the run's own has met all of them
    for encoder in folds:
        assert not encoder.learned & set(encoder.seen)
        assert len(encoder.learned) > 5
    scored = [text for encoder in folds for text in encoder.seen]
    assert {*by_hand, "few"} <= {*scored}
    assert (told["teacher_pairs"] > 0) == asked
    offered = pq.read_table(candidates_file(run, final=True, split="labelled"))
    assert offered.schema.equals(CANDIDATES)
    assert {*offered["text"].to_pylist()} == {*by_hand, "few"}


def test_the_same_text_in_two_contexts_is_in_one_fold():
    assert len({retune._fold(text) for text in ("Leg  cramps", "leg cramps")}) == 1
    assert {retune._fold(f"text {n}") for n in range(20)} == {0, 1}


def test_a_label_keeps_its_choice_among_its_candidates(tmp_path: Path, tuned: list[Tuned]):
    run, labels = labelled(tmp_path, rounds=2)
    ran(retune.retune, run)
    table = pq.read_table(labels_file(run))
    assert table.schema.equals(LABELS)
    for new, old in zip(table.to_pylist(), labels, strict=True):
        assert new["key"] == old["key"]
        assert set(new["candidate_ids"]) == set(old["candidate_ids"])
        assert new["scores"] == sorted(new["scores"], reverse=True)
        assert chosen(new) == chosen(old)
        assert 0 < new["trust"] < 1


def test_a_label_teaches_its_choice_and_the_most_similar_candidate_that_was_passed_over(tmp_path: Path):
    _, labels = labelled(tmp_path, rounds=1)
    rows = [row for row in labels if row["choice"] != NIL]
    names = {c.concept_id: c.name for c in CONCEPTS}
    for pair, row in zip(taught_pairs(labels, CONCEPTS), rows, strict=True):
        other = row["candidate_ids"][0 if row["choice"] else 1]
        assert pair == Pair(row["text"], names[str(chosen(row))], str(chosen(row)), (names[other], other))
    assert {pair.negative for pair in taught_pairs(labels, CONCEPTS, one_of_several=True)} == {None}


def test_a_label_of_several_teaches_each_and_what_none_of_them_is(tmp_path: Path):
    _, labels = labelled(tmp_path, rounds=1)
    row = {**labels[0], "choice": 0, "also": [2]}
    ids = row["candidate_ids"]
    pairs = taught_pairs([row], CONCEPTS)
    assert [pair.concept for pair in pairs] == [ids[0], ids[2]]
    assert {pair.negative[1] for pair in pairs if pair.negative} == {ids[1]}


def test_a_label_of_several_keeps_them_among_candidates_in_another_order():
    old = {"candidate_ids": ["A", "B", "C"], "choice": 0, "also": [2]}
    new = retune._rechosen({"candidate_ids": ["C", "B", "A"]}, old)
    assert (new["choice"], new["also"]) == (0, [2])
    assert retune._rechosen({"candidate_ids": ["B"]}, {**old, "choice": NIL, "also": []}) == {
        "candidate_ids": ["B"],
        "choice": NIL,
        "also": [],
    }


def chosen(row: dict[str, Any]) -> str | None:
    return None if row["choice"] == NIL else row["candidate_ids"][row["choice"]]


def test_one_round_tunes_nothing_and_leaves_the_labels_as_they_are(tmp_path: Path, tuned: list[Tuned]):
    run, _ = labelled(tmp_path, rounds=1)
    assert ran(retune.retune, run) == {"tuned": False, "aliases": 0}
    assert not tuned
    assert labels_file(run) == run.path("labels", "labels.parquet")


def test_linked_mentions_become_names_where_the_teacher_is_to_be_trusted(
    tmp_path: Path, tuned: list[Tuned], monkeypatch: pytest.MonkeyPatch
):
    run, labels = labelled(tmp_path, rounds=1, aliases=True)
    found = {row["text"]: 0.4 if n % 4 == 0 else 0.9 for n, row in enumerate(labels)}
    monkeypatch.setattr(retune, "believed_again", lambda rows, dev: [{**row, "trust": found[row["text"]]} for row in rows])
    summary = ran(retune.retune, run)
    index = Index.load(run.path("retuned", "index"))
    given = zip(index.concept_rows.tolist(), index.names, strict=True)
    trusted = {(place(row), row["text"]) for row in labels if row["choice"] != NIL and found[row["text"]] > 0.5}
    assert set(given) == {*((n, c.name) for n, c in enumerate(CONCEPTS)), (1, "few"), *trusted}
    told = {"aliases": 1 + len(trusted), "alias_discount": USUAL, "commonness": None, "content": summary["content"]}
    assert summary == {"tuned": False, "teacher_pairs": 0, **told}
    assert {row["text"]: row["trust"] for row in pq.read_table(labels_file(run)).to_pylist()} == found
    assert not tuned
    assert not run.path("retuned", "retriever").exists()


@pytest.mark.parametrize(("split", "as_new"), [("dev", False), ("labelled", True)])
def test_the_discount_is_fitted_on_dev_or_on_labelled_mentions_met_as_new(
    tmp_path: Path, tuned: list[Tuned], monkeypatch: pytest.MonkeyPatch, split: str, as_new: bool
):
    run, _ = labelled(tmp_path, rounds=1, aliases=True)
    more = [Mention(str(n), mention_key(f"Fev {n}"), f"Fev {n}", None, None, None, split, [["C2"], ["C1", "C0"]]) for n in range(20)]
    save_mentions(run.mentions_file, [*load_mentions(run.mentions_file), *more])
    asked: list[Any] = []

    def fit(retriever: Retriever, pairs: list[Pair], *told: Any) -> float:
        asked.append(told)
        return 0.25

    monkeypatch.setattr(links, "fit_discount", fit)
    assert ran(retune.retune, run)["alias_discount"] == 0.25
    mentions, top_k, new = asked[-1]
    assert [(text, gold) for text, gold in mentions if text != "few"] == [(m.text, {"C0", "C1", "C2"}) for m in more]
    assert (top_k, new) == (3, as_new)
    index = Index.load(run.path("retuned", "index"))
    parts = [*index.own.parts, index.linked]
    lengths = np.linalg.norm(np.vstack([part.faiss_index.reconstruct_n(0, part.total) for part in parts]), axis=1)
    assert lengths[: len(CONCEPTS)] == pytest.approx(1.0)
    assert lengths[len(CONCEPTS) :] == pytest.approx(0.75)


def test_what_was_linked_counts_as_far_as_it_is_trusted_and_no_label_counts_for_itself(
    tmp_path: Path, tuned: list[Tuned], monkeypatch: pytest.MonkeyPatch
):
    run, labels = labelled(tmp_path, rounds=1, aliases=True, commonness=True)
    monkeypatch.setattr(retune, "believed_again", lambda rows, dev: rows)
    summary = ran(retune.retune, run)
    assert summary["commonness"] == vars(Weights())  # nothing to fit them on
    common = Commonness.load(run.path("retuned", "index"))
    assert common is not None
    trusted = {(normalise(row["text"]), place(row)): row["trust"] for row in labels if row["choice"] != NIL and row["trust"] > 0.5}
    assert common.links == pytest.approx({("few", 1): 1.0, **trusted})
    retriever = Retriever.load(HashEncoder(), run.path("retuned", "index"), CONCEPTS)
    for row in pq.read_table(labels_file(run)).to_pylist():
        [found] = retriever.score([row["text"]], [[int(i[1:]) for i in row["candidate_ids"]]], as_new=True)
        assert [CONCEPTS[n].concept_id for n in found.rows] == row["candidate_ids"]
        assert found.scores == pytest.approx(row["scores"], abs=1e-6)


def place(row: dict[str, Any]) -> int:
    return [c.concept_id for c in CONCEPTS].index(row["candidate_ids"][row["choice"]])


@pytest.mark.parametrize("rounds", [1, 2])
def test_no_mention_is_its_own_name_where_the_student_learns(tmp_path: Path, tuned: list[Tuned], rounds: int):
    run, labels = labelled(tmp_path, rounds, aliases=True)
    ran(retune.retune, run)
    rows = pq.read_table(labels_file(run)).to_pylist()
    by_hand = pq.read_table(candidates_file(run, final=True, split="labelled")).to_pylist()
    assert [row["text"] for row in by_hand] == ["few"]
    for row in rows + by_hand:
        assert row["text"] not in row["matched_names"]
    known = {row["text"] for row in labels}
    assert any(known & set(row["matched_names"]) for row in rows)


def test_a_test_mention_that_was_linked_by_hand_too_has_the_candidates_that_it_is_linked_by(
    tmp_path: Path, tuned: list[Tuned], monkeypatch: pytest.MonkeyPatch
):
    run, _ = labelled(tmp_path, 1, aliases=True)
    few = load_mentions(run.mentions_file, "labelled")[0]
    mentions = load_mentions(run.mentions_file)
    save_mentions(run.mentions_file, [*mentions, replace(few, mention_id="again", split="test")])

    def retrieved(run: Run, some: list[Mention], folders: Any, k: int, _: Any) -> tuple[pa.Table, float]:
        final = loaded.load_retriever(folders, CONCEPTS, run.config.retriever)
        return add_candidates(final, pa.Table.from_pylist(distinct_rows(some)), k).select(CANDIDATES.names), 0.0

    monkeypatch.setattr(retune, "retrieved", retrieved)
    ran(retune.retune, run)
    [of_test] = [row for row in chosen_by_gold(run, "test", final=True) if row["text"] == few.text]
    [by_hand] = chosen_by_gold(run, "labelled", final=True)
    assert of_test["matched_names"][0] == few.text
    assert few.text not in by_hand["matched_names"]


@pytest.mark.parametrize(("rounds", "measured"), [(1, ["from_teacher", "zero_shot"]), (2, ["zero_shot"])])
def test_baselines_tune_on_the_teachers_labels_where_no_second_round_does(
    tmp_path: Path, tuned: list[Tuned], rounds: int, measured: list[str], monkeypatch: pytest.MonkeyPatch
):
    run, labels = labelled(tmp_path, rounds)
    build, like = Retriever.build, []

    def built(*how: Any) -> Retriever:
        like.append(how[4])
        return build(*how)

    monkeypatch.setattr(Retriever, "build", built)
    ran(baselines.baselines, run)
    assert like == [["few"]] * len(measured)  # what a large index is made to find, as those that they are measured beside
    files = sorted(run.path("baselines").glob("*.parquet"))
    assert [file.stem for file in files] == measured
    assert all(pq.read_schema(file).equals(CANDIDATES) for file in files)
    assert [len(encoder.learned) for encoder in tuned] == [1 + sum(row["choice"] != NIL and row["trust"] > 0.5 for row in labels)] * (
        2 - rounds
    )


@pytest.mark.parametrize(
    ("split", "pays"),
    [("dev", True), ("dev", False), ("unlabelled", True)],
    ids=["where dev finds more so", "not where it does not", "not where nothing shows it"],
)
def test_labelled_mentions_are_names_before_the_teacher_is_asked(
    tmp_path: Path, tuned: list[Tuned], monkeypatch: pytest.MonkeyPatch, split: str, pays: bool
):
    run, _ = labelled(tmp_path, rounds=1, aliases=True)
    monkeypatch.setattr(retriever, "tuned_encoder", lambda *_: Tuned([]))
    named = Mention("n", "n", "qqqq zzzz", None, None, None, "labelled", [["C2"]])
    texts = [f"{'qqqq zzzz' if pays else 'Vomiting'} {n}" for n in range(20)]
    known = [
        Mention(str(n), mention_key(text), text, None, None, None, split, [["C2"] if pays else ["C0"]]) for n, text in enumerate(texts)
    ]
    save_mentions(run.mentions_file, [*load_mentions(run.mentions_file), named, *known])
    told = ran(retriever.retriever, run)
    found = Retriever.load(HashEncoder(), run.path("index"), CONCEPTS)
    used = pays and split == "dev"
    assert (told["labelled_names"], found.index.aliases, found.commonness is not None) == ((2, 2, True) if used else (0, 0, False))
    assert told["names_read_in_part"] == 1  # Dysphagia
    assert run.path("index", retriever.TUNED_ALONE).exists() == used
    assert found.plain().index.names == [name for concept in CONCEPTS for name in concept.names]
    if used:
        assert found.retrieve(["qqqq zzzz 7"], 1)[0].matched_names == ["qqqq zzzz"]
        alone = pq.read_table(run.path("index", retriever.TUNED_ALONE))
        assert alone.schema.equals(CANDIDATES)
        assert not [name for names in alone["matched_names"].to_pylist() for name in names if name in ("few", "qqqq zzzz")]
        by_hand = pq.read_table(candidates_file(run, split="labelled")).to_pylist()  # none finds itself
        assert {row["text"]: (row["text"] in row["matched_names"]) for row in by_hand} == {"few": False, "qqqq zzzz": False}
        ran(retune.retune, run)  # weighs them anew: its aliases are not added to these
        of_retune = Retriever.load(HashEncoder(), run.path("retuned", "index"), CONCEPTS).index
        assert len(set(zip(of_retune.names, of_retune.concept_rows.tolist(), strict=True))) == len(of_retune.names)
    for folder in STAGES["retriever"].owns:
        shutil.rmtree(run.path(folder), ignore_errors=True)
    settings = run.config.retriever.model_copy(update={"labelled_names": False})
    without = ran(retriever.retriever, Run(run.config.model_copy(update={"retriever": settings})))
    assert (without["content"] != told["content"]) == used  # what candidates are made from


@pytest.mark.parametrize(("with_names", "kept"), [((11, 0), True), ((10, 5), True), ((10, 4), False), ((9, 10), False)])
def test_names_that_cost_candidates_are_left_out(monkeypatch: pytest.MonkeyPatch, with_names: tuple[int, int], kept: bool):
    hits = iter([with_names, (10, 4)])
    monkeypatch.setattr(links, "_hits", lambda *_: next(hits))
    mentions = [Mention(f"{n}", mention_key(f"fits {n}"), f"fits {n}", None, None, None, "labelled", [["C2"]]) for n in range(20)]
    assert (links.with_labelled(Retriever.build(HashEncoder(), CONCEPTS), mentions, 3) is not None) == kept


@pytest.mark.usefixtures("tuned")
def test_where_there_is_nothing_to_measure_nothing_is_and_where_nothing_is_studied_that_is_said(tmp_path: Path):
    run, _ = labelled(tmp_path, rounds=1)
    mentions = load_mentions(run.mentions_file)
    save_mentions(run.mentions_file, [m for m in mentions if m.split not in ("dev", "test")])
    assert ran(baselines.baselines, run) == {"measured": False}
    save_mentions(run.mentions_file, [replace(m, split="corpus") for m in mentions])
    with pytest.raises(DataError, match=r"^candidates: no mentions in the splits labelled, .*another split than corpus"):
        ran(candidates.candidates, run)


@pytest.mark.parametrize(("again", "synonyms", "epochs"), [(False, 5000, 5), (True, 3, 2)])
def test_the_second_round_goes_over_no_more_synonyms_than_pairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool, synonyms: int, epochs: int
):
    told = list[RetrieverConfig]()
    monkeypatch.setattr(tuning, "load_encoder", lambda *_: Tuned([]))
    monkeypatch.setattr(tuning, "train_encoder", lambda _, pairs, synonyms, settings, seed, on_step: told.append(settings))
    run = bare_run(tmp_path)
    pairs = [Pair(f"mention {n}", "Fever", "C2") for n in range(3)]
    with stage_progress("retune") as progress:
        tuning.tuned_encoder(run, CONCEPTS, pairs, progress, run.path("tuned"), again=again)
    assert [(settings.max_synonym_pairs, settings.epochs) for settings in told] == [(synonyms, epochs)]


def test_a_start_after_a_kill_tunes_what_is_left_and_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each tuning takes minutes to an hour, and there are three."""
    trained, killed_at = list[int](), set[int]()

    def train(encoder: HashEncoder, pairs: list[Pair], *_: Any, **__: Any) -> None:
        if len(trained) in killed_at:
            killed_at.remove(len(trained))
            raise KeyboardInterrupt
        trained.append(len(pairs))

    class Saved(HashEncoder):
        def save(self, folder: str) -> None:
            Path(folder, "weights").write_text("")

    monkeypatch.setattr(tuning, "load_encoder", lambda *_: Saved())
    monkeypatch.setattr(tuning, "train_encoder", train)
    monkeypatch.setattr(retune, "retrieved", lambda *_: (CANDIDATES.empty_table(), 0.0))  # needs Ray
    told = ran(retune.retune, labelled(tmp_path / "whole", rounds=2)[0])
    in_one = trained.copy()
    trained.clear()
    run, _ = labelled(tmp_path / "killed", rounds=2)
    killed_at |= {1, 2}
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            ran(retune.retune, run)
    assert ran(retune.retune, run) == told
    assert trained == in_one
    assert len(in_one) == 3
    assert not run.path("retuned", WORK).exists()
