"""What a user can mend is one line on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.markup import render

from rpdr import cli, cli_plan
from rpdr.errors import TeacherError
from rpdr.linker import Link
from rpdr.pipeline.in_short import in_short
from rpdr.schema import ConceptId

CONFIG = """run_dir: run
kb: {format: table, path: kb.csv}
mentions:
  - {format: table, path: mentions.csv, split: test}
"""
KB = "concept_id,name,synonyms\nC1,Vomiting,emesis|throwing up\nC2,Nausea,\n"
MENTIONS = "text,gold\nthrowing up,C1\n"


def rpdr(
    folder: Path, *arguments: str, config: str = CONFIG, kb: str | None = KB, mentions: str = MENTIONS
) -> subprocess.CompletedProcess[str]:
    """`rpdr …` in `folder`, in a process of its own."""
    (folder / "c.yaml").write_text(config)
    (folder / "mentions.csv").write_text(mentions)
    if kb is not None:
        (folder / "kb.csv").write_text(kb)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "rpdr.cli", *arguments, "--config", "c.yaml"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says what is wrong."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_good_config_is_prepared_and_exits_with_0(tmp_path: Path):
    done = rpdr(tmp_path, "prepare")
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
    assert (tmp_path / "run" / "kb" / "concepts.parquet").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"config": CONFIG + "sed: 1\n"}, ["sed: unknown key", "'seed'", "c.yaml, line 5"]),
        ({"config": CONFIG + "kb: [\n"}, ["not valid YAML", "c.yaml, line"]),
        ({"kb": None}, ["kb.csv: no such file"]),
        ({"kb": KB.replace("concept_id", "concept_code")}, ["no column 'concept_id'", "kb.columns.id", "'concept_code'"]),
        ({"kb": "concept_id,name\n"}, ["kb.csv: has no names"]),
        ({"kb": "concept_id,name\nC1,\n,Nausea\n"}, ["kb.csv: has no names", "2 rows were refused"]),
        ({"kb": KB + "C1,Fever,\n"}, ["'C1' stands twice", "lines 2 and 4"]),
        ({"kb": ""}, ["kb.csv: empty"]),
        ({"mentions": "text,gold\n"}, ["mentions.csv: no mention could be read"]),
        ({"mentions": "phrase,gold\nx,C1\n"}, ["no column 'text'", "'phrase'"]),
    ],
    ids=[
        "unknown key",
        "bad yaml",
        "no kb",
        "no column",
        "no rows",
        "no names",
        "duplicate ids",
        "empty kb",
        "no mentions",
        "no text column",
    ],
)
def test_prepare_says_in_one_line_what_is_wrong(tmp_path: Path, change: dict[str, str], says: list[str]):
    message = error_of(rpdr(tmp_path, "prepare", **change))
    for words in says:
        assert words in message


def test_a_stage_out_of_order_names_the_one_to_run_first(tmp_path: Path):
    assert "rpdr prepare" in error_of(rpdr(tmp_path, "retriever"))


@pytest.mark.parametrize("value", ["student.epochs", "student.epochs=[1", "student.epcohs=1", "run_dir.x=1", "student.epochs=2026-13-45"])
def test_a_bad_override_is_one_line_too(tmp_path: Path, value: str):
    assert value.split("=")[0] in error_of(rpdr(tmp_path, "prepare", "--set", value))


def test_a_corpus_that_a_variable_should_have_named_is_not_the_runs_own(tmp_path: Path):
    assert "corpora.'': the config has no such corpus" in error_of(rpdr(tmp_path, "link", "--corpus", ""))


def test_results_of_another_config_are_not_mixed_in(tmp_path: Path):
    assert rpdr(tmp_path, "prepare").returncode == 0
    assert "--redo" in error_of(rpdr(tmp_path, "prepare", "--set", "seed=14"))


def test_a_run_dir_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "taken").write_text("a file, not a folder")
    message = error_of(rpdr(tmp_path, "prepare", "--set", "run_dir=taken/run"))
    assert "taken/run" in message
    assert "run_dir" in message


def test_a_model_that_is_not_there_is_named(tmp_path: Path):
    labelled = CONFIG + "  - {format: table, path: mentions.csv, split: labelled}\nretriever: {model: ./no-such-model}\n"
    assert rpdr(tmp_path, "prepare", config=labelled).returncode == 0
    assert "no-such-model" in error_of(rpdr(tmp_path, "retriever", config=labelled))


def test_a_student_s_model_that_is_not_there_ends_a_whole_run_before_it_begins(tmp_path: Path):
    message = error_of(rpdr(tmp_path, "run_all", "--set", "student.model=./no-such-model"))
    assert message.startswith("error: student.model: ./no-such-model: no such file or folder")
    assert "nothing was paid" in message
    assert not (tmp_path / "run").exists()


def test_a_hub_that_cannot_be_reached_is_one_line_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    labelled = CONFIG + "  - {format: table, path: mentions.csv, split: labelled}\nretriever: {model: someone/model}\n"
    assert rpdr(tmp_path, "prepare", config=labelled).returncode == 0
    done = rpdr(tmp_path, "retriever", config=labelled)
    message = error_of(done)
    assert message.startswith("error: retriever.model: someone/model: is not in this machine's cache")
    for words in ("http://127.0.0.1:9 cannot be reached", "hf download someone/model --local-dir DIR", "retriever: {model: DIR}"):
        assert words in message
    assert "Retry" not in done.stderr


@pytest.mark.parametrize("phrases", [[""], ["throwing up", " \t"]])
def test_an_empty_phrase_is_not_linked(tmp_path: Path, phrases: list[str], capsys: pytest.CaptureFixture[str]):
    assert cli.main(["ask", str(tmp_path), *phrases]) == 2
    assert "there is nothing to link" in capsys.readouterr().err


def test_what_a_phrase_or_a_knowledge_base_holds_is_shown_and_not_obeyed():
    shown = StringIO()
    named = (ConceptId("C1[/x]"), "Vom\u202eiting [bold]", 0.9)
    links = [
        Link("sick\x1b[2J", named[0], named[1], 0.9, (named,), "student", concept_ids=(named[0],)),
        Link("flu", None, None, 0.9, (named,), "student", abstained=True),
    ]
    Console(file=shown, width=200).print(cli._answers(links))
    assert not {"\x1b", "\u202e"} & set(shown.getvalue())
    for words in ("sick\\x1b[2J", "C1[/x]", "abstained; perhaps Vom\\u202eiting [bold]"):
        assert words in shown.getvalue()


def test_an_error_shows_what_an_endpoint_or_a_file_name_holds_and_a_terminal_would_obey(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for error in (
        TeacherError("http://x: says \x1b]0;mine\x07 \u202e\n twice"),
        PermissionError(13, "no", "/theirs/\x1b]0;mine\x07 \u202e"),
    ):
        assert cli.main(failing(monkeypatch, error)) == 2
        said = capsys.readouterr().err
        assert r"\x1b]0;mine\x07 \u202e" in said
        assert not {"\x1b", "\x07", "\u202e"} & set(said)
        assert said.count("\n") == 1


@pytest.mark.parametrize("folder", ["/runs/exp[a]", "/runs/x[/y]"])
def test_a_path_with_brackets_is_shown_whole(folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    class Linked:
        def summary(self, stage: str) -> dict[str, str]:
            return {"output": folder}

    monkeypatch.setattr(cli, "_config", lambda options: None)
    monkeypatch.setattr("rpdr.pipeline.stages.link_corpus", lambda *asked: Linked())
    assert cli.main(["link", "--config", "c.yaml", "--corpus", "notes"]) == 0
    assert f"Linked: {folder}\n" in capsys.readouterr().err
    counts = dict.fromkeys(("mentions", "distinct", "shards", "nil", "operating_point"), 0)
    assert render(in_short("link", {**counts, "output": folder})).plain.endswith(f"; in {folder}")


@pytest.mark.parametrize(("command", "hint"), [("prepar", "did you mean 'prepare'?"), ("zzz", "rpdr --help lists them")])
def test_an_unknown_command_names_the_nearest(command: str, hint: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        cli.main([command])
    assert ended.value.code == 2
    assert f"no command {command!r}; {hint}" in capsys.readouterr().err


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[str]:
    """A command that ends with this error."""

    def fail(config: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_config", lambda options: None)
    monkeypatch.setattr(cli_plan, "_calibrate", fail)
    return ["calibrate", "--config", "c.yaml"]


def test_a_file_that_nobody_put_into_words_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert cli.main(failing(monkeypatch, PermissionError(13, "Permission denied", "/theirs/run/.stages"))) == 2
    assert capsys.readouterr().err == "error: /theirs/run/.stages: cannot be read or written (Permission denied)\n"


def test_an_error_of_no_file_is_not_called_one_of_a_file(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(BrokenPipeError):
        cli.main(failing(monkeypatch, BrokenPipeError(32, "Broken pipe")))
