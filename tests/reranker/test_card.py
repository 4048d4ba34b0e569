"""What a model card says, that its code runs as it stands, and that no mention's text is in it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from stirred import stirred

from rpdr.answer import answers
from rpdr.config import Config, StudentConfig
from rpdr.reranker import Calibration, Query, Reranker
from rpdr.reranker.card import Facts, Merged, card, write_card
from rpdr.reranker.export import export
from rpdr.reranker.licence import Licence

APACHE = Licence("Apache-2.0", "the model card of org/base", hub_id="org/base")
STAGES = {
    "prepare": {"concepts": 19_123, "names": 40_321, "splits": {"labelled": 415, "dev": 204, "test": 444}, "rejects": 3},
    "retriever": {"labelled_pairs": 915},
    "teach": {
        **{
            "model": "gpt-x",
            "simulated": False,
            "pool": 9_000,
            "labelled": 2_080,
            "invalid": 15,
            "failed": 5,
            "none": 77,
            "requests": 2_345,
        },
        **{"spent_usd": 0.53541, "budget_usd": 5.0, "prompt_tokens": 3_519_263, "completion_tokens": 12_559},
        **{"believed_accuracy": 0.8972, "believed_by": {"fitted_on": "204 dev mentions"}},
    },
    "distill": {"labels": 641, "none_labels": 31, "gold_labels": 415, "steps": 81, "precision": "fp32", "final_loss": 1.2345}
    | {"held_out_losses": [1.5, 1.4499], "training_s": 240.0},
}
METRICS = {
    "created_at": "2026-01-02T03:04:05+00:00",
    "simulated_teacher": False,
    "protocol": "A mention is right if its first concept is in its gold.",
    "machine": {"cpu": "a CPU", "cores": 2, "gpu": None},
    "systems": [
        {"name": "Retriever, few labels", "acc_at_1": {"value": 0.432, "low": 0.385, "high": 0.475}, "mentions": 444},
        {"name": "Teacher, on its pool", "acc_at_1": {"value": 0.6551, "low": 0.636, "high": 0.675}, "mentions": 2_080},
    ],
    "comparison": [
        {
            "a": "Student",
            "b": "Retriever, few labels",
            "metric": "acc_at_1",
            "on": "all",
            "difference": 0.0113,
            "low": -0.007,
            "high": 0.029,
            "p_value": 0.332,
        }
    ],
    "calibration": {"ece": 0.0661, "bins": []},
    "teacher": {"agreement_with_gold": 0.8921},
    "errors": [{"text": "a secret mention", "gold_names": [], "answer_name": None, "candidates": []}],
}


def facts(student: dict[str, Any] | StudentConfig, metrics: dict[str, Any] | None = None, **changes: Any) -> Facts:
    settings = student.model_dump() if isinstance(student, StudentConfig) else student
    tree = {
        "run_dir": "runs/mine",
        "data_policy": "deidentified",
        "kb": {"format": "obo", "path": "s3://secret/kb/hp.obo?scheme=http&endpoint_override=secret:9000"},
        "mentions": [
            {"format": "table", "path": "/srv/secret/notes.csv", "split": {"modulo": 4, "labelled": [0, 1], "test": [3]}},
            {"format": "jsonl", "path": "${RPDR_DATA}/more.jsonl", "gold": "unknown", "keep_every": 20},
        ],
        "teacher": {"model": "gpt-x", "votes": 3},
        "student": settings,
        **changes,
    }
    return Facts(Config.model_validate(tree), STAGES, Calibration(1.23, 0.31, 0.7, "204 dev mentions"), metrics, "| the table |")


def head_of(text: str) -> dict[str, Any]:
    """The YAML at the head of a card."""
    found = re.match(r"---\n(.*?)\n---\n\n# ", text, re.DOTALL)
    assert found
    return yaml.safe_load(found[1])


def code_of(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_head_names_licence_base_library_and_task():
    known = facts({"model": "org/base"})
    assert head_of(card(known, APACHE)) == {
        "license": "apache-2.0",
        "base_model": "org/base",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-ranking",
        "tags": ["entity-linking", "biomedical", "reranking", "rpdr", "lora"],
    }
    merged = head_of(card(known, APACHE, Merged(2, "fp32", 1e-6, 3)))
    assert (merged["library_name"], merged["base_model_relation"]) == ("transformers", "finetune")
    assert "lora" not in merged["tags"]


@pytest.mark.parametrize(
    ("licence", "head"),
    [
        (Licence(), {"license": "unknown"}),
        (Licence("MIT", "x"), {"license": "mit"}),
        (Licence("MIT AND Apache-2.0", "x"), {"license": "other", "license_name": "mit-and-apache-2.0"}),
        (
            Licence("other", "x", name="qwen-research", link="https://example.org/LICENSE"),
            {"license": "other", "license_name": "qwen-research", "license_link": "https://example.org/LICENSE"},
        ),
    ],
)
def test_a_licence_is_named_as_the_hub_does_and_never_guessed(licence: Licence, head: dict[str, str]):
    text = card(facts({"model": "./base"}), licence)
    assert {name: value for name, value in head_of(text).items() if name.startswith("license")} == head
    assert ("ask the base's owner" in text) == (not licence.licence)
    assert licence.licence in text


def test_what_a_run_cannot_know_can_be_told():
    told = dataclasses.replace(facts({"model": "package:p/base.gguf"}), base_model="org/base", languages=("en", "de"))
    head = head_of(card(told, Licence()))
    assert (head["base_model"], head["language"]) == ("org/base", ["en", "de"])
    untold = head_of(card(facts({"model": "package:p/base.gguf"}), Licence()))
    assert not {"base_model", "language"} & set(untold)


def test_the_runs_figures_stand_in_it_with_where_they_come_from():
    text = card(facts({"model": "org/base", "layers": 8, "train_candidates": 5, "soft_labels": False}, METRICS), APACHE)
    for words in (
        *("19,123 concepts", "40,321 names", "415 labelled, 204 dev, 444 test", "rows set aside: 3", ".stages/prepare.json"),
        *("`gpt-x`, a real endpoint", "asked about 2,100 unlabelled mentions", "at most: 3", ".stages/teach.json"),
        *("$0.5354 of a budget of $5.00 for 2,345 requests", "3,519,263 prompt tokens"),
        "Acc@1 0.655 [0.636, 0.675] over 2,080 mentions; 0.892 of its labels right, 'none of these' among them where no candidate was",
        "(fitted on 204 dev mentions): 0.897 of its labels",
        *(
            "641 of the teacher's choices, 31 of them",
            "and 415 labelled mentions",
            "on dev after each epoch 1.500, 1.450",
            "Also set: `soft_labels: false`",
        ),
        *("81 of 16 mentions", "1.234 nats", "4 minutes", ".stages/distill.json"),
        *("| the table |", "+0.011 [-0.007, +0.029], p = 0.33", METRICS["protocol"]),
        *("report/metrics.json` of 2026-01-02", "a CPU, 2 cores", "temperature 1.23", "0.066 on the test mentions"),
        *("the first 8 layers", "the 4 most similar others", "**Apache-2.0**", "the model card of org/base"),
    ):
        assert words in text
    assert "simulated" not in text


def test_no_mention_and_no_folder_of_the_machine_stands_in_it():
    text = card(facts({"model": "/srv/secret/base"}, METRICS), Licence())
    assert "secret" not in text
    for words in ("`…/hp.obo`", "`…/notes.csv` (table); split: {modulo: 4, labelled: [0, 1], test: [3]}", "`…/base`"):
        assert words in text
    assert "`${RPDR_DATA}/more.jsonl` (jsonl); split: corpus; gold: unknown; keep_every: 20" in text


def test_what_is_not_measured_is_said_so():
    text = card(facts({"model": "org/base"}), APACHE)
    assert "Not measured yet" in text
    assert "Right on its own pool: not measured yet" in text
    assert "Expected calibration error: not measured yet" in text
    no_gold = {**METRICS, "systems": [], "comparison": []}
    assert "the run has no gold for the mentions that it labelled" in card(facts({"model": "org/base"}, no_gold), APACHE)
    assert "no test mentions with gold" in card(facts({"model": "org/base"}, no_gold), APACHE)


def test_where_no_teacher_was_asked_none_is_told_of():
    retuned = {"tuned": True, "teacher_pairs": 0, "aliases": 0}
    nobody = {"model": None, "simulated": False, "labelled": 0}
    stages = {**STAGES, "teach": nobody, "retune": retuned, "distill": {**STAGES["distill"], "labels": 0}}
    text = card(dataclasses.replace(facts({"model": "org/base", "gold_labels": True}), stages=stages), APACHE)
    assert "No teacher was asked: it learned from labelled mentions alone." in text
    assert "- Labels: 415 labelled mentions; candidates learned from" in text
    assert "and on synonyms, and once more.\n" in text
    assert not [line for line in text.splitlines() if "teacher's" in line and not line.startswith("From the run's `config.yaml`")]
    assert "its teacher's errors" in card(facts({"model": "org/base"}), APACHE)


def test_a_simulated_teacher_and_private_text_are_marked():
    known = facts({"model": "org/base"}, {**METRICS, "simulated_teacher": True}, teacher={"model": "sandbox"}, data_policy="restricted")
    text = card(Facts(known.config, {"teach": {**STAGES["teach"], "simulated": True}}, known.calibration, known.metrics), APACHE)
    assert "**simulated**: it knows the answers" in text
    assert "no measure of a real one" in text
    assert "nothing was paid" in text
    assert "`restricted`" in text
    assert "for the owner of that text to say" in text
    assert "not a medical device" in text


@pytest.mark.parametrize(
    ("layers", "context", "tuning"),
    [(0, None, "lora"), (1, "from birth", "lora"), (0, None, "qlora")],
    ids=["whole", "first layer, with context", "in four bits"],
)
def test_the_code_of_both_cards_runs_and_scores_as_rpdr(
    config: StudentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: int, context: str | None, tuning: str
):
    settings = config.model_copy(update={"layers": layers, "use_context": context is not None, "tuning": tuning})
    student = stirred(settings)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "mine" / "student"
    student.save(folder)
    known = facts(settings)
    write_card(folder, known)
    export(folder, tmp_path / "export", known)
    query = Query("crossed eyes", ("Strabismus", "Diplopia"), ("Strabismus", "double vision"), (0.47, 0.44), context)
    mention = "crossed eyes" if context is None else f"crossed eyes\nContext: {context}"
    expected = Reranker.load(folder, settings, device="cpu").scores([query])[0, :2]

    def scored(names: dict[str, Any]) -> list[float]:
        return [names["score"](mention, "Strabismus", 0.47), names["score"](mention, "Diplopia (double vision)", 0.44)]

    with_linker, adapter = code_of((folder / "README.md").read_text())
    compile(with_linker, "card", "exec")  # wants a whole run: tests/test_whole_loop.py has one
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(adapter, names)
    assert scored(names) == pytest.approx(expected.tolist(), abs=1e-4)
    if tuning == "lora":  # of four bits the card says nothing of it
        names["model"].merge_and_unload().save_pretrained(tmp_path / "merged")

    with_rpdr, merged, beside = code_of((tmp_path / "export" / "README.md").read_text())
    monkeypatch.chdir(tmp_path / "export")
    names = {}
    exec(with_rpdr, names)
    assert names["probabilities"].shape == (1, 4)
    exec(merged, names)
    assert scored(names) == pytest.approx(expected.tolist(), abs=1e-4)
    body = names.pop("body")
    monkeypatch.chdir(tmp_path)  # where the run is
    exec(beside, names)
    assert names["body"] is not body
    assert scored(names) == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("allow_nil", [True, False])
def test_the_code_of_an_export_is_as_sure_as_linking_is(
    config: StudentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allow_nil: bool
):
    stirred(config).save(tmp_path / "student")
    known = facts(config, link={"allow_nil": allow_nil})
    export(tmp_path / "student", tmp_path / "export", known)
    monkeypatch.chdir(tmp_path / "export")
    names: dict[str, Any] = {}
    exec(code_of((tmp_path / "export" / "README.md").read_text())[0], names)
    query = names["query"]
    told = {"text": query.text, "context": None, "candidate_ids": list(query.candidate_names), "scores": list(query.similarities)}
    row = {**told, "candidate_names": list(query.candidate_names), "matched_names": list(query.matched_names)}
    [linked] = answers(Reranker.load("."), [row], allow_nil)
    assert (names["nil"], names["confidence"]) == (linked["nil"], pytest.approx(linked["confidence"]))


def test_the_card_of_a_student_tuned_whole_speaks_of_no_adapter(config: StudentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = config.model_copy(update={"tuning": "full"})
    stirred(settings).save(tmp_path)
    write_card(tmp_path, facts(settings))
    text = (tmp_path / "README.md").read_text()
    assert "All weights tuned" in text
    assert "adapter" not in text
    assert "peft" not in text
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code_of(text)[1], names)
    [[expected, *_]] = Reranker.load(tmp_path, settings, device="cpu").scores([Query("a", ("b",), ("b",), (0.5,))]).tolist()
    assert names["score"]("a", "b", 0.5) == pytest.approx(expected, abs=1e-4)
