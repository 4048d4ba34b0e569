"""Two ways to read a student's choice, trained on the same labels: a head at each candidate's end, or the logits of option letters.

    python benchmarks/readouts.py --run-dir runs/askapatient [--labels 1000]

The head reads each candidate in a branch that is blind to the others, as rpdr does. The letters are what an LLM is taught to answer: one list,
"A. Vomiting", …, "Answer:", and the rows of its output matrix for A, B, C, … at the last token, trained from what they are. Both add the
retriever's similarity at a learned scale, and learn from candidates in an order drawn by chance. An answer has flipped if another concept is
named first when the candidates come in another order. Of a run whose stage `retune` is finished; writes results/readouts.json.
"""

from __future__ import annotations

import argparse
import os
import random
import string
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from finished import annotated_test, run_in, trained
from outcome import against, keep, shown
from torch import nn

from rpdr.config import StudentConfig
from rpdr.evaluation import evaluate, outcomes, paired_test
from rpdr.models import load_causal_lm
from rpdr.pipeline.details import how_drawn, resampling
from rpdr.reranker import Example, Query, Student, examples, queries
from rpdr.reranker.prompt import Prompt, Tokens
from rpdr.reranker.reranker import best_device
from rpdr.reranker.student import Head
from rpdr.run.found import load_candidates
from rpdr.run.labels import learned_labels


class LetterPrompt(Prompt):
    """All candidates in one list, read once, at its end."""

    def tokens(self, query: Query) -> Tokens:
        """A stem without branches: every option is read at its last token."""
        named = zip(query.candidate_names, query.matched_names, strict=True)
        options = [self._line(name if name == matched else f"{name} ({matched})") for name, matched in named]
        ids = self._encode(f"Mention: {query.text}\n")[: self.max_tokens_mention]
        for letter, option in zip(string.ascii_uppercase, [*options, self._line("none of these")], strict=False):
            ids += self._encode(f"{letter}. ") + option
        return Tokens(ids + self._encode("Answer:"), [[] for _ in options], [], query.similarities)


class LetterHead(Head):
    """A row of the output matrix for each letter."""

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__(rows.shape[1])
        del self.candidate
        self.candidate = nn.Linear(rows.shape[1], rows.shape[0], bias=False)
        with torch.no_grad():
            self.candidate.weight.copy_(rows)

    def forward(self, hidden: torch.Tensor, similarities: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """As `Head.forward`; hidden is the same at each place."""
        k = similarities.shape[1]
        letters = self.candidate(hidden[:, -1])[:, : k + 1].float()
        none = letters.gather(1, present.sum(1, keepdim=True) - 1)  # "none" is the last option of each
        letters = torch.cat([letters[:, :k], none], dim=1)
        prior = torch.cat([self.scale() * similarities.float(), self.never().expand(len(hidden), 1)], dim=1)
        return (letters + prior).masked_fill(~present, float("-inf"))


def letters(config: StudentConfig, seed: int, device: str) -> Student:
    """A new student that answers with letters."""
    student = Student.create(config, seed, device)
    lm, tokenizer = load_causal_lm(config.model, "fp32")
    places = [tokenizer(f" {letter}", add_special_tokens=False)["input_ids"][-1] for letter in string.ascii_uppercase]
    student.head = LetterHead(lm.get_output_embeddings().weight[places].detach())
    prompt = student.prompt
    student.prompt = LetterPrompt(prompt.tokenizer, prompt.max_tokens_mention, prompt.max_tokens_candidate, prompt.use_context)
    return student


ARMS: dict[str, Any] = {"a head at each candidate's end": Student.create, "letters": letters}
BETWEEN = "the head against letters"


def main() -> int:
    """Both readouts, one results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", default="runs/askapatient")
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--data", default="Ask A Patient, fold 0")
    options = parser.parse_args()
    run = run_in(options.run_dir)
    settings = run.config.student
    rng = random.Random(run.config.seed)
    rows = learned_labels(run)[: options.labels]
    # of all candidates: a letter that was never an option would be tested untaught
    chosen = [_shuffled(example, rng) for example in examples(rows)]
    test = annotated_test(run)
    golds, found = [m.gold or [] for m in test], load_candidates(run, final=True)
    keys = list(dict.fromkeys(m.key for m in test))
    asked = queries(found[key] for key in keys)
    orders = [rng.sample(range(len(query.candidate_names)), len(query.candidate_names)) for query in asked]
    ranked, flips = {"retriever": [found[m.key]["candidate_ids"] for m in test]}, {}
    for name, create in ARMS.items():
        # rows of the LLM's own output matrix are tuned as its other weights are
        own = settings.model_copy(update={"head_learning_rate": settings.learning_rate}) if create is letters else settings
        student = trained(own, chosen, run.config.seed, create)
        straight = student.scores(asked)[:, :-1]
        shuffled = student.scores([query.with_candidates(order) for query, order in zip(asked, orders, strict=True)])[:, :-1]
        again = [order[int(scores.argmax())] for order, scores in zip(orders, shuffled, strict=True)]
        flips[name] = float(np.mean(straight.argmax(1) != np.array(again)))
        order_of = {key: np.argsort(-scores, kind="stable") for key, scores in zip(keys, straight, strict=True)}
        ranked[name] = [[found[m.key]["candidate_ids"][n] for n in order_of[m.key] if n < len(found[m.key]["candidate_ids"])] for m in test]
    none, drawn = np.zeros(len(test), dtype=bool), resampling(run, test)
    scored = {name: evaluate(name, r, golds, none, resampling=drawn) for name, r in ranked.items()}
    base = outcomes(ranked["retriever"], golds, 1)
    right = {name: outcomes(ranked[name], golds, 1) for name in ARMS}
    tests = {name: paired_test(right[name], base, drawn) for name in ARMS}
    of_head, of_letters = right.values()
    tests[BETWEEN] = paired_test(of_head, of_letters, drawn)
    keep(
        "readouts",
        f"python benchmarks/readouts.py --run-dir {Path(options.run_dir).name} --labels {options.labels}",
        options.data,
        (
            "Read",
            "Acc@1",
            "against the retriever whose candidates it re-ranks",
            "against letters",
            "Answers that flip when candidates are reshuffled",
        ),
        [
            ["the retriever alone", shown(scored["retriever"].acc_at_1), "(it)", "", ""],
            *(
                [
                    name,
                    shown(scored[name].acc_at_1),
                    against(tests[name]),
                    against(tests[BETWEEN]) if create is Student.create else "(it)",
                    f"{flips[name]:.1%} of {len(asked):,}",
                ]
                for name, create in ARMS.items()
            ),
        ],
        protocol=f"`{settings.model}` on {len(rows):,} labels of the sandbox teacher ({run.config.teacher.sandbox.accuracy:.2f}), {settings.epochs} "
        f"epochs, all candidates of each, the same order of examples and candidates for both, one run each; all test mentions. {how_drawn(test)}.",
        flips=flips,
        acc_at_1={name: asdict(score.acc_at_1) for name, score in scored.items()},
        tests={name: asdict(result) for name, result in tests.items()},
    )
    return 0


def _shuffled(example: Example, rng: random.Random) -> Example:
    k = len(example.query.candidate_names)
    order = rng.sample(range(k), k)
    choice = order.index(example.choice) if example.choice >= 0 else example.choice
    return replace(example, query=example.query.with_candidates(order), choice=choice, also=tuple(order.index(n) for n in example.also))


if __name__ == "__main__":
    os.environ.setdefault("DS_ACCELERATOR", best_device())
    os.environ.setdefault("DS_LOG_LEVEL", "error")
    raise SystemExit(main())
