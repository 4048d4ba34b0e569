"""How fast linking is: rpdr's job against a loop that generates, a pointwise cross-encoder, and rpdr's own parts without Ray.

    RPDR_DATA=… python benchmarks/link_throughput.py RUN_DIR [--rounds 3] [--phrases]

RUN_DIR is a finished run without `link.exact_match` whose dev shows a `link.shortcut`; linked are its distinct test mentions or, with `--phrases`, those of
Ask A Patient's train file. All are measured in turns, in one process after another, on the same mentions, the same base model of as many layers in the
same precision, and the same machine; what counts are the ratios. What a job needs to load Ray and its models is measured by a job of the same settings
over one batch, told apart, and left out of its rate, as nobody else's loading counts. The loop (`transformers.generate`, batch 32, padded) and the
cross-encoder (a forward pass for each of ten candidates, batches of 32 pairs of like length) are given their candidates, of some of the mentions drawn
at random: what it takes to find them counts for rpdr alone. Three jobs: one whose student is asked about each mention, one by `link.shortcut` as it is
by default, and one like that on mentions that come as often as the phrases of that file do. Writes results/link_throughput.json, and keeps there what
was measured of other runs.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from finished import annotated_test, run_in
from outcome import keep, kept, machine

from rpdr.config import LinkConfig
from rpdr.corpus import normalise
from rpdr.files import locate, read_lines
from rpdr.linker import Linker
from rpdr.models import chosen_precision, load_causal_lm
from rpdr.pipeline.link_summary import DECIDERS
from rpdr.retriever import add_candidates
from rpdr.run import Run, linking
from rpdr.schema import CANDIDATES

NAME = "link_throughput"
PHRASES = "${RPDR_DATA}/askapatient/AskAPatient.fold-0.train.txt.gz"
BATCH = 32
PHRASED = ", phrases"
EACH = ("link.exact_match=false", "link.shortcut=null")
SHORTCUT = ("link.exact_match=false", f"link.shortcut={LinkConfig().shortcut}")
JOBS = {"job": "rpdr's job, each mention by the student,", "default": "… with `link.shortcut`, as by default,", "repeats": "… with repeats"}
OTHERS = {
    "loop": "a loop of transformers.generate",
    "pairs": "a pointwise cross-encoder",
    "parts": "rpdr's parts in one process without Ray",
}
DRAWS = 100
SOME = 128  # mentions that the loop and the cross-encoder answer a round, as they would the others


def main() -> int:
    """All in turns, one results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--phrases", action="store_true", help="the phrases of Ask A Patient's train file, in place of the run's test mentions"
    )
    options = parser.parse_args()
    found: dict[str, Any] = kept(NAME).get("found", {})
    found[f"{options.run_dir.name}{PHRASED * options.phrases}"] = _measured(options)
    rows = [row for name, measured in found.items() for row in _rows(name, measured)]
    keep(
        NAME,
        " && ".join(measured["command"] for measured in found.values()),
        "; ".join(measured["data"] for measured in found.values()),
        ("Run", "Against", "Mentions a second", *(f"{title} is so many times as fast" for title in JOBS.values())),
        rows,
        protocol=" ".join([_protocol(), *(_told(name, measured) for name, measured in found.items())]),
        machines={name: measured["machine"] for name, measured in found.items()},
        found=found,
    )
    return 0


def command(options: argparse.Namespace) -> str:
    """What makes the rows of a run again."""
    flags = ["--rounds", str(options.rounds), *["--phrases"] * options.phrases]
    return " ".join(["python benchmarks/link_throughput.py", options.run_dir.name, *flags])


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(options.run_dir, Path(folder, "run"), ignore=shutil.ignore_patterns("corpora", "ledger"))
        run = run_in(str(Path(folder, "run")))
        phrases = Counter(normalise(line.split("\t")[2]) for line in read_lines(locate(PHRASES), "iso-8859-1") if line.count("\t") >= 2)
        mentions = list(phrases if options.phrases else dict.fromkeys(normalise(mention.text) for mention in annotated_test(run)))
        random.Random(run.config.seed).shuffle(mentions)
        repeated = [text for text in mentions for _ in range(phrases[text])] if options.phrases else _repeated(mentions, phrases)
        rates: dict[str, list[float]] = {name: [] for name in (*JOBS, *OTHERS)}
        loading: dict[str, list[float]] = {"each": [], "shortcut": []}
        for number in range(options.rounds):
            loads = {sets: _seconds(run, f"loading-{number}-{n}", mentions[:BATCH], *sets) for n, sets in enumerate((EACH, SHORTCUT))}
            for name, sets in zip(loading, (EACH, SHORTCUT), strict=True):
                loading[name].append(loads[sets])
            for name, some, settings in (
                ("job", mentions, EACH),
                ("default", mentions, SHORTCUT),
                ("repeats", repeated, SHORTCUT),
            ):
                rates[name].append((len(some) - BATCH) / (_seconds(run, f"{name}-{number}", some, *settings) - loads[settings]))
            for name, measure in (("parts", _parts), ("loop", _loop), ("pairs", _pairs)):
                rates[name].append(_apart(measure, run, mentions))
        last = run.summary(linking(f"default-{options.rounds - 1}").name)
    whose = "phrases of Ask A Patient's train file" if options.phrases else "test mentions"
    often = "as often as there" if options.phrases else "each as often as a phrase drawn from Ask A Patient's train file"
    return {
        "command": command(options),
        "data": f"{options.run_dir.name}: the {len(mentions):,} distinct {whose}; repeats: {len(repeated):,}, {often}",
        "mentions": len(mentions),
        "mentions_per_s": rates,
        "median": {name: statistics.median(some) for name, some in rates.items()},
        "loading_s": loading,
        "decided": {who: last.get(name, 0) for who, (name, _) in DECIDERS.items()},
        "student": run.config.student.model_dump(mode="json"),
        "machine": machine(),
    }


def _rows(name: str, measured: Mapping[str, Any]) -> list[list[str]]:
    rates, usual = measured["mentions_per_s"], measured["median"]
    against = [[title, f"{usual[other]:.1f}", *(_ratio(rates[job], rates[other]) for job in JOBS)] for other, title in OTHERS.items()]
    return [[name if n == 0 else "", *row] for n, row in enumerate(against)]


def _ratio(mine: Sequence[float], others: Sequence[float]) -> str:
    """The median of the rounds' ratios, the least and the most of them."""
    found = sorted(a / b for a, b in zip(mine, others, strict=True))
    least, usual, most = (f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}" for ratio in (found[0], statistics.median(found), found[-1]))
    return f"{usual} ({least}–{most})"


def _protocol() -> str:
    return (
        "Rounds in turns: the median of their ratios, the least and the most. What a job reads, spreads and loads before its first answer is left out of its rate. "
        f"The loop and the cross-encoder: {SOME} of the mentions, their candidates given."
    )


def _told(name: str, measured: Mapping[str, Any]) -> str:
    decided = ", ".join(f"{title} {measured['decided'][who] / measured['mentions']:.0%}" for who, (_, title) in DECIDERS.items())
    loads = measured["loading_s"]
    each = loads["each"] if isinstance(loads, dict) else loads  # older ones kept these alone
    return f"{name}: {len(each)} rounds; with `link.shortcut` decided by {decided}; a job loads {statistics.median(each):.0f} s."


def _seconds(run: Run, name: str, mentions: Sequence[str], *settings: str) -> float:
    """Of the job's work, its actors' loading included."""
    corpus = run.folder.parent / f"{name}.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in mentions), encoding="utf-8")
    sets = (f"run_dir={run.folder}", *settings, f"corpora.{name}={{format: jsonl, path: {corpus}}}")
    flags = [part for text in sets for part in ("--set", text)]
    command = [sys.executable, "-m", "rpdr.cli", "link", "--config", str(run.path("config.yaml")), "--corpus", name, *flags]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-1000:]}")
    return float(run.summary(linking(name).name)["link_s"])


def _apart(measure: Callable[[Run, Sequence[str]], float], run: Run, mentions: Sequence[str]) -> float:
    """In a process of its own, so that no model of one is in another's memory."""
    script = f"import json, sys, link_throughput as l; print(l.{measure.__name__}(l.run_in(sys.argv[1]), json.load(sys.stdin)))"
    told = subprocess.run(
        [sys.executable, "-c", script, str(run.folder)],
        input=json.dumps(list(mentions)),
        text=True,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent,
        check=True,
    )
    return float(told.stdout.split()[-1])


def _parts(run: Run, mentions: Sequence[str]) -> float:
    loaded = Linker.load(run.folder)
    settings = run.config.model_copy(update={"link": run.config.link.model_copy(update={"exact_match": False})})
    loaded.reranker.shortcut = None
    linker = Linker(settings, loaded.retriever, loaded.reranker)
    linker.link(mentions[:BATCH])  # warm
    start = time.perf_counter()
    for first in range(0, len(mentions), 4 * BATCH):
        linker.link(mentions[first : first + 4 * BATCH])
    return len(mentions) / (time.perf_counter() - start)


def _loop(run: Run, mentions: Sequence[str]) -> float:
    lm, tokenizer = _model(run)
    tokenizer.padding_side = "left"
    prompts = []
    for row in _questions(run, mentions):
        options = "\n".join(f"{n}. {name}" for n, name in enumerate([*row["candidate_names"], "none of these"], start=1))
        prompts.append(f"Mention: {row['text']}\n{options}\nAnswer with the number of the concept that the mention means.\nAnswer:")

    def answer(some: Sequence[str]) -> None:
        lm.generate(
            **tokenizer(list(some), return_tensors="pt", padding=True),
            max_new_tokens=3,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )

    return _rate(answer, prompts, 1)


def _pairs(run: Run, mentions: Sequence[str]) -> float:
    lm, tokenizer = _model(run)
    read = torch.nn.Linear(lm.config.hidden_size, 1, dtype=lm.dtype)
    pairs = [f"Mention: {row['text']}\nConcept: {name}" for row in _questions(run, mentions) for name in row["candidate_names"]]

    def score(some: Sequence[str]) -> None:
        batch = tokenizer(list(some), return_tensors="pt", padding=True)
        ends = batch["attention_mask"].sum(1) - 1
        hidden = lm.model(**batch, use_cache=False).last_hidden_state
        read(hidden[torch.arange(len(some)), ends]).tolist()

    return _rate(score, sorted(pairs, key=len), run.config.final_top_k)


def _rate(answer: Callable[[Sequence[str]], None], texts: Sequence[str], texts_per_mention: int) -> float:
    with torch.inference_mode():
        answer(texts[:BATCH])  # warm
        start = time.perf_counter()
        for first in range(0, len(texts), BATCH):
            answer(texts[first : first + BATCH])
    return len(texts) / texts_per_mention / (time.perf_counter() - start)


def _model(run: Run) -> tuple[Any, Any]:
    """The student's base, of as many layers and in the precision that the student has here."""
    student = run.config.student
    return load_causal_lm(student.model, chosen_precision(student.precision, "cpu"), student.layers)


def _questions(run: Run, mentions: Sequence[str]) -> list[dict[str, Any]]:
    some = list(mentions[:SOME])
    questions = pa.table({"key": some, "text": some, "context": [None] * len(some), "type": [None] * len(some)})
    found = add_candidates(Linker.load(run.folder).retriever, questions, run.config.final_top_k)
    return found.select(CANDIDATES.names).to_pylist()


def _repeated(mentions: Sequence[str], phrases: Mapping[str, int]) -> list[str]:
    """The mentions, each as often as a phrase drawn at random; of DRAWS draws the one that comes nearest to the file's own repeats a phrase, as one
    phrase in thousands is a tenth of the file."""
    rng, often = random.Random(1), [*phrases.values()]
    wanted = statistics.mean(often) * len(mentions)
    counts = min((rng.choices(often, k=len(mentions)) for _ in range(DRAWS)), key=lambda drawn: abs(sum(drawn) - wanted))
    return [mention for mention, count in zip(mentions, counts, strict=True) for _ in range(count)]


if __name__ == "__main__":
    raise SystemExit(main())
