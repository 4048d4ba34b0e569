"""What a student's scores depend on, and what they must not depend on."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from stirred import stirred

from rpdr.config import StudentConfig
from rpdr.errors import ModelError
from rpdr.files import write_json
from rpdr.models import fingerprint, load_causal_lm
from rpdr.reranker import Calibration, Query, Reranker, Student, queries
from rpdr.reranker import reranker as module
from rpdr.reranker import student as student_module
from rpdr.reranker.prompt import PROMPT_FILE, Prompt, beginning
from rpdr.reranker.student import BASE_FILE, LORA_MODULES, _check_window, _lora_modules
from rpdr.reranker.tree import Tree, tree

QUERY = Query(
    text="throwing up all day",
    candidate_names=("Vomiting", "Nausea", "Dysphagia", "Fever of unknown origin"),
    matched_names=("Vomiting", "feeling sick", "Dysphagia", "Fever of unknown origin"),
    similarities=(0.71, 0.64, 0.40, 0.12),
    context="I was throwing up all day and could not go to work.",
)
SHORT = Query("fever", ("Fever", "Nausea"), ("Fever", "Nausea"), (0.9, 0.2))
LONG = Query("a pain " * 30, tuple("abcdefgh"), tuple("abcdefgh"), (0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1))


def scores(student: Student, *asked: Query, batch_size: int = 8) -> np.ndarray:
    return Reranker(student, Calibration(), batch_size, device="cpu").scores(asked)


def reordered(query: Query, order: list[int]) -> Query:
    def pick(values: tuple) -> tuple:
        return tuple(values[i] for i in order)

    return dataclasses.replace(
        query,
        candidate_names=pick(query.candidate_names),
        matched_names=pick(query.matched_names),
        similarities=pick(query.similarities),
    )


def with_name(query: Query, place: int, name: str) -> Query:
    names = (*query.candidate_names[:place], name, *query.candidate_names[place + 1 :])
    return dataclasses.replace(query, candidate_names=names, matched_names=names)


def test_an_untrained_student_ranks_as_the_retriever(untrained: Student):
    shuffled = reordered(QUERY, [2, 0, 3, 1])
    found = scores(untrained, shuffled, SHORT)
    assert np.argsort(-found[0, :4]).tolist() == np.argsort([-s for s in shuffled.similarities]).tolist()
    scale = found[0, :4] / np.array(shuffled.similarities)
    assert np.allclose(scale, scale[0], rtol=1e-4)
    assert scale[0] > 0


def test_a_trained_student_does_not_rank_by_the_retriever_alone(trained: Student):
    scale = scores(trained, QUERY)[0, :4] / np.array(QUERY.similarities)
    assert not np.allclose(scale, scale[0], rtol=1e-2)


@pytest.mark.parametrize("order", [[3, 2, 1, 0], [1, 0, 2, 3], [2, 3, 0, 1]])
def test_the_order_of_the_candidates_changes_no_score(trained: Student, order: list[int]):
    before, after = scores(trained, QUERY)[0], scores(trained, reordered(QUERY, order))[0]
    assert np.allclose(after, before[[*order, 4]], atol=1e-4)


def test_a_querys_scores_do_not_depend_on_its_batch(trained: Student):
    asked = [QUERY, SHORT, LONG, with_name(QUERY, 1, "Emesis")]
    together = scores(trained, *asked)
    for row, query in enumerate(asked):
        alone, k = scores(trained, query)[0], len(query.candidate_names)
        assert np.allclose(together[row, :k], alone[:k], atol=1e-4)
        assert np.allclose(together[row, -1], alone[-1], atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_the_size_of_batches_changes_no_score(trained: Student, batch_size: int):
    asked = [LONG, SHORT, QUERY]
    assert np.allclose(scores(trained, *asked, batch_size=batch_size), scores(trained, *asked), atol=1e-4)


def test_of_long_queries_fewer_are_read_at_once(trained: Student, monkeypatch: pytest.MonkeyPatch):
    asked = [SHORT, LONG, QUERY, dataclasses.replace(LONG, text="an ache " * 30)]
    expected, read = scores(trained, *asked), Student.read
    lengths = [len(trained.prompt.tokens(query)) for query in asked]
    seen: list[list[int]] = []

    def noted(student: Student, batch: Any) -> torch.Tensor:
        seen.append([len(tokens) for tokens in batch])
        return read(student, batch)

    monkeypatch.setattr(Student, "read", noted)
    monkeypatch.setattr(module, "PAIRS", 2 * lengths[2] ** 2)
    assert np.allclose(scores(trained, *asked), expected, atol=1e-4, equal_nan=True)
    assert seen == [sorted([lengths[0], lengths[2]]), *([length] for length in sorted([lengths[1], lengths[3]]))]


def test_a_branch_is_blind_to_the_other_branches_and_none_is_not(trained: Student):
    before, after = scores(trained, QUERY)[0], scores(trained, with_name(QUERY, 1, "Something else and much longer"))[0]
    assert np.allclose(after[[0, 2, 3]], before[[0, 2, 3]], atol=1e-4)
    assert abs(after[1] - before[1]) > 1e-3
    assert abs(after[4] - before[4]) > 1e-3


def test_none_of_these_may_be_judged_by_the_mention_alone(config: StudentConfig):
    student = stirred(config.model_copy(update={"none_reads": "mention"}))
    before = scores(student, QUERY)[0]
    assert np.allclose(scores(student, QUERY.with_candidates([3, 1]))[0], before[[3, 1, 4]], atol=1e-4)
    assert abs(scores(student, dataclasses.replace(QUERY, text="high temperature"))[0, 4] - before[4]) > 1e-3
    both = scores(stirred(config), QUERY)[0]
    assert np.allclose(both[:4], before[:4], atol=1e-4)
    assert abs(both[4] - before[4]) > 1e-3


def test_reading_common_beginnings_once_changes_no_score(trained: Student, monkeypatch: pytest.MonkeyPatch):
    names = ("Pain", "Pain of the foot", "Pain of the hand", "Pain", "Vomiting")
    query = Query("my foot hurts", names, (*names[:4], "Vomiting in the morning"), (0.9, 0.8, 0.7, 0.6, 0.5))
    tokens = trained.prompt.tokens(query)
    assert len(tokens.tree) < 0.7 * sum(map(len, tokens.branches))
    once = scores(trained, query)

    def apart(branches: list[list[int]]) -> Tree:
        trees = [tree([branch]) for branch in branches]
        starts = np.cumsum([0, *map(len, trees)])
        made = Tree()
        for one, start in zip(trees, starts, strict=False):
            made.ids += one.ids
            made.parents += [-1 if parent < 0 else parent + start for parent in one.parents]
            made.depths += one.depths
            made.counts += one.counts
            made.ends += [end + start for end in one.ends]
        return made

    monkeypatch.setattr("rpdr.reranker.prompt.tree", apart)
    assert len(trained.prompt.tokens(query).tree) == sum(map(len, tokens.branches))
    assert np.allclose(scores(trained, query), once, atol=1e-5)


def test_every_branch_reads_the_mention(trained: Student):
    before, after = scores(trained, QUERY)[0], scores(trained, dataclasses.replace(QUERY, text="high temperature"))[0]
    assert (np.abs(after - before) > 1e-3).all()


def test_the_context_is_read_only_where_the_config_says_so(trained: Student, config: StudentConfig):
    without = dataclasses.replace(QUERY, context=None)
    assert np.allclose(scores(trained, QUERY), scores(trained, without), atol=1e-5)
    trained.prompt = type(trained.prompt)(trained.prompt.tokenizer, 200, config.max_tokens_candidate, use_context=True)
    assert not np.allclose(scores(trained, QUERY), scores(trained, without), atol=1e-3)


def test_of_a_long_context_what_is_around_the_mention_is_read(trained: Student):
    prompt = Prompt(trained.prompt.tokenizer, 40, 24, use_context=True)
    note = f"{'The patient was seen in the clinic. ' * 12}She has had crossed eyes since birth. {'Nothing else was found. ' * 12}"
    for context in (note, note.upper(), "crossed eyes " + note[-200:], note[:200] + " crossed eyes"):
        ids = prompt.tokens(Query("crossed eyes", ("Strabismus",), ("Strabismus",), (0.5,), context)).stem
        assert 30 <= len(ids) <= 40
        assert "crossed eyes" in trained.prompt.tokenizer.decode(ids).partition("Context:")[2].casefold()
    short = "Mention: crossed eyes\nContext: since birth, crossed eyes"
    wide = Prompt(trained.prompt.tokenizer, 96, 24, use_context=True)
    whole = wide.tokens(Query("crossed eyes", ("Strabismus",), ("Strabismus",), (0.5,), "since birth, crossed eyes")).stem
    assert trained.prompt.tokenizer.decode(whole) == short
    long = "crossed eyes " * 60
    assert len(prompt.tokens(Query(long, ("Strabismus",), ("Strabismus",), (0.5,), long)).stem) == 40


def test_absent_candidates_score_minus_infinity_and_have_no_probability(trained: Student):
    reranker = Reranker(trained, Calibration(), 8, device="cpu")
    found, probabilities = reranker.scores([SHORT, QUERY]), reranker.probabilities([SHORT, QUERY])
    assert np.isneginf(found[0]).tolist() == [False, False, True, True, False]
    assert np.isfinite(found[1]).all()
    assert (probabilities[0, 2:4] == 0).all()
    assert np.allclose(probabilities.sum(axis=1), 1)


def test_nothing_asked_is_an_empty_table(trained: Student):
    assert scores(trained).shape == (0, 1)


@pytest.mark.parametrize("text", ["", " ", "Ω≈ç√", "x" * 5000])
def test_any_text_has_finite_scores(trained: Student, text: str):
    assert np.isfinite(scores(trained, dataclasses.replace(QUERY, text=text))).all()


def test_long_names_are_cut_but_keep_both_ends_and_the_token_that_is_read(trained: Student, config: StudentConfig):
    names = [f"Fracture {'of a very long bone ' * 20}, {which} encounter" for which in ("initial", "subsequent")]
    ways = [trained.prompt.tokens(with_name(QUERY, 0, name)) for name in names]
    newline = trained.prompt.tokens(QUERY).branches[2][-1]
    initial, subsequent = (tokens.branches[0] for tokens in ways)
    assert len(initial) == len(subsequent) == config.max_tokens_candidate
    assert initial[:8] == subsequent[:8]
    assert initial != subsequent
    assert {branch[-1] for tokens in ways for branch in [*tokens.branches, tokens.none]} == {newline}


def test_a_saved_student_scores_as_before(trained: Student, config: StudentConfig, tmp_path: Path):
    before = scores(trained, QUERY, SHORT, LONG)
    trained.save(tmp_path)
    Calibration(2.0, 0.5, 0.8, "dev").save(tmp_path / "calibration.json")
    loaded = Reranker.load(tmp_path, config, device="cpu")
    assert np.allclose(loaded.scores([QUERY, SHORT, LONG]), before, atol=1e-5, equal_nan=True)
    assert loaded.calibration == Calibration(2.0, 0.5, 0.8, "dev")


def test_an_adapter_is_not_put_on_another_base(trained: Student, config: StudentConfig, tmp_path: Path):
    trained.save(tmp_path)
    assert len(json.loads((tmp_path / BASE_FILE).read_text())) == 64
    write_json(tmp_path / BASE_FILE, "of another revision")
    with pytest.raises(ModelError, match=r"its weights are not those .*distill --redo"):
        Student.load(tmp_path, config)
    (tmp_path / BASE_FILE).unlink()  # as an earlier rpdr left it
    assert Student.load(tmp_path, config).base == trained.base


def test_a_base_is_known_by_its_weights_in_whatever_precision_and_by_its_vectors_alone_in_4_bits(base_model: Path):
    lm, half = (load_causal_lm(str(base_model), precision)[0] for precision in ("fp32", "bf16"))
    whole, vectors = fingerprint(lm), fingerprint(lm, of_matrices=False)
    assert (fingerprint(half), fingerprint(half, of_matrices=False)) == (whole, vectors)
    with torch.no_grad():
        lm.model.layers[1].mlp.up_proj.weight.mul_(1.1)
        assert fingerprint(lm) != whole
        assert fingerprint(lm, of_matrices=False) == vectors
        lm.model.norm.weight.mul_(1.1)
        assert fingerprint(lm, of_matrices=False) != vectors


def test_a_student_without_a_calibration_is_taken_as_it_is(untrained: Student, config: StudentConfig, tmp_path: Path):
    untrained.save(tmp_path)
    assert Reranker.load(tmp_path, config, device="cpu").calibration == Calibration()


def test_only_adapters_and_head_learn(untrained: Student):
    learning = [name for name, weight in untrained.named_parameters() if weight.requires_grad]
    assert all("lora_" in name or name.startswith("head.") for name in learning)
    assert any("lora_" in name for name in learning)


def test_adapters_can_be_kept_to_the_last_layers(config: StudentConfig):
    student = Student.create(config.model_copy(update={"lora_layers": 1}), seed=1)
    adapted = {name.split(".layers.")[1][0] for name, _ in student.named_parameters() if "lora_" in name}
    assert adapted == {"1"}


def test_the_same_seed_makes_the_same_student(config: StudentConfig):
    first, again, other = (dict(Student.create(config, seed).named_parameters()) for seed in (1, 1, 2))
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_a_mention_begins_as_the_model_s_texts_do_and_as_the_student_learned(beginning_with_eos: StudentConfig, tmp_path: Path):
    settings = beginning_with_eos.model_copy(update={"max_tokens_mention": 8})
    student = stirred(settings)
    eos = student.prompt.tokenizer.eos_token_id
    query = Query("throwing up all day " * 5, ("Vomiting", "Nausea"), ("Vomiting", "Nausea"), (0.5, 0.4))
    stem = student.prompt.tokens(query).stem
    assert (stem[0], len(stem), eos in stem[1:]) == (eos, 9, False)
    student.save(tmp_path / "student")
    scores = Reranker(student, Calibration(), 8, "cpu").scores([query])
    assert np.allclose(Reranker.load(tmp_path / "student", settings, device="cpu").scores([query]), scores, atol=1e-5)
    (tmp_path / "student" / PROMPT_FILE).unlink()  # as an earlier rpdr left it: it had learned without
    old = Student.load(tmp_path / "student", settings)
    assert old.prompt.tokens(query).stem == stem[1:]
    assert not np.allclose(Reranker(old, Calibration(), 8, "cpu").scores([query]), scores, atol=1e-3)


def test_what_a_tokenizer_puts_behind_a_text_is_no_beginning(untrained: Student):
    assert beginning(untrained.prompt.tokenizer) == ()
    assert beginning(lambda text, add_special_tokens=True: {"input_ids": [7, 5, 8] if add_special_tokens else [5]}) == (7,)
    assert beginning(lambda text, add_special_tokens=True: {"input_ids": [5, 8] if add_special_tokens else [5]}) == ()


def test_what_loading_the_base_draws_changes_no_student(config: StudentConfig, monkeypatch: pytest.MonkeyPatch):
    first = dict(Student.create(config, 1).named_parameters())
    base = student_module._base

    def drawing(*told: Any) -> Any:
        torch.rand(1)  # as the first load of a GGUF file does
        return base(*told)

    monkeypatch.setattr(student_module, "_base", drawing)
    again = dict(Student.create(config, 1).named_parameters())
    assert all((first[name] == again[name]).all() for name in first)


def test_queries_are_read_from_rows_of_candidates():
    row = {"text": "t", "context": None, "candidate_names": ["A"], "matched_names": ["a"], "scores": [0.5]}
    assert queries([row]) == [Query("t", ("A",), ("a",), (0.5,), None)]


def test_a_student_of_the_first_layers_alone_is_smaller_and_comes_back_as_it_was(config: StudentConfig, tmp_path: Path):
    first = config.model_copy(update={"layers": 1})
    student = Student.create(first, seed=1)
    with torch.no_grad():
        student.head.candidate.weight.normal_()
    student.save(tmp_path)
    again = Student.load(tmp_path, first)
    assert len(again.lm.get_base_model().model.layers) == 1
    assert np.allclose(scores(student.eval(), QUERY), scores(again, QUERY), atol=1e-5)


def test_lora_adapts_all_linear_layers_where_a_model_calls_them_otherwise():
    from transformers import AutoModelForCausalLM, LlamaConfig, Phi3Config

    small: dict[str, Any] = {
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
    }
    fused = AutoModelForCausalLM.from_config(Phi3Config(**small))
    assert _lora_modules(fused) == ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"]
    for lora_layers, adapts in ((0, {"0", "1"}), (1, {"1"})):
        adapted = Student._adapted(copy.deepcopy(fused), StudentConfig(model="x", lora_rank=2, lora_layers=lora_layers))
        names = [name for name, _ in adapted.named_parameters() if "qkv_proj.lora_A" in name]
        assert {name.split(".layers.")[1].split(".")[0] for name in names} == adapts
    assert _lora_modules(AutoModelForCausalLM.from_config(LlamaConfig(**small))) == LORA_MODULES


def test_mentions_longer_than_a_window_that_layers_look_back_are_refused(config: StudentConfig):
    lm = SimpleNamespace(config=SimpleNamespace(sliding_window=100, layer_types=["sliding_attention", "full_attention"]))
    _check_window(lm, config.model_copy(update={"max_tokens_mention": 52, "max_tokens_candidate": 24}))
    with pytest.raises(ModelError, match="looks back 100 tokens"):
        _check_window(lm, config.model_copy(update={"max_tokens_mention": 53, "max_tokens_candidate": 24}))
    lm.config.layer_types = ["full_attention"]
    _check_window(lm, config.model_copy(update={"max_tokens_mention": 530}))
