"""What the size of a batch changes in a student's answers, and what of a batch is padding.

    python benchmarks/batches.py RUN_DIR

Distinct test mentions of a finished run, in batches of several sizes and in both precisions; compared with batches of 32 of the same precision. A
mention's tokens stand in one row with those of the others of its batch, which is filled up to a multiple of 32; attention alone unpacks them into blocks as long
as the longest. Writes results/batches.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from finished import answers, run_in
from outcome import keep

from rpdr.corpus import load_mentions
from rpdr.reranker import Query, Reranker, queries
from rpdr.run.found import load_candidates

SIZES, USUAL = (32, 1, 256), 32
SOME = 300  # mentions


def main() -> int:
    """A row a precision and size, one results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    options = parser.parse_args()
    run = run_in(str(options.run_dir))
    found = load_candidates(run, final=True)
    keys = dict.fromkeys(m.key for m in load_mentions(run.mentions_file, "test"))
    asked = list(dict.fromkeys(queries(found[key] for key in keys)))[:SOME]
    measured: dict[str, Any] = {}
    for precision in ("bf16", "fp32"):
        settings = run.config.student.model_copy(update={"precision": precision})
        student = Reranker.load(run.path("student"), settings, USUAL)
        usual = None
        for size in SIZES:
            student.batch_size = size
            answered = answers(student, student.scores(asked), run.config.link.allow_nil)
            usual = usual or answered
            measured[f"{precision}, {size}"] = {**_apart(answered, usual), **_padding(student, asked)}
    keep(
        "batches",
        f"python benchmarks/batches.py {options.run_dir.name}",
        f"{run.folder.name}: {len(asked):,} distinct test mentions",
        (
            "Precision and batch size",
            "Answers that changed",
            "Largest change of a confidence",
            "Padding of a row",
            "… of attention's blocks",
        ),
        [
            [
                name,
                f"{told['changed']}",
                f"{told['confidence']:.1e}",
                f"{told['row_padding']:.1%}",
                f"{told['block_padding']:.1%}",
            ]
            for name, told in measured.items()
        ],
        protocol=f"Against batches of {USUAL} in the same precision. An answer is a concept or NIL.",
        measured=measured,
    )
    return 0


def _apart(answered: tuple[np.ndarray, np.ndarray], usual: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    return {"changed": int((answered[0] != usual[0]).sum()), "confidence": float(np.abs(answered[1] - usual[1]).max())}


def _padding(student: Reranker, asked: list[Query]) -> dict[str, float]:
    """Shares of tokens that nobody looks at."""
    prompt = student.student.prompt
    tokens = [prompt.tokens(query) for query in asked]
    lengths = [len(each) for each in tokens]
    real = row = block = 0
    for rows in student.together(lengths):
        batch = prompt.collate([tokens[n] for n in rows])
        real += sum(lengths[n] for n in rows)
        row += batch["input_ids"].numel()
        block += batch["places"].numel()
    return {"row_padding": 1 - real / row, "block_padding": 1 - real / block}


if __name__ == "__main__":
    raise SystemExit(main())
