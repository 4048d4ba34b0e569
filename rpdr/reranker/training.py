"""One worker's part of the training of a student, under DeepSpeed. What is learned is `targets`', in which batches is `batches`'.

Knows nothing of Ray: rank and world come from torch.distributed, progress and checkpoints go out through `Hooks`.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from rpdr.config import StudentConfig
from rpdr.errors import RunError
from rpdr.files import atomic_folder, read_json, write_json
from rpdr.models import chosen_precision
from rpdr.reranker.batches import Micro, share, steps
from rpdr.reranker.prompt import Example
from rpdr.reranker.student import Student
from rpdr.reranker.targets import Task, prior_of

STATE_FILE, WEIGHTS, BEST = "rpdr.json", "weights", "best"  # of a checkpoint, beside what DeepSpeed keeps in it
SKIPPED = 8  # steps in a row without a finite gradient, after which nothing is expected of the next
REMEDY = "lower student.learning_rate and head_learning_rate, or set student.precision: fp32"


@dataclass(frozen=True)
class Hooks:
    """What the worker tells its surroundings: each step, and each checkpoint folder that it wrote (all ranks write into it)."""

    on_step: Callable[[int, int, float], None]  # steps done, steps in all, loss in nats
    checkpoint_folder: Callable[[], Path]
    on_checkpoint: Callable[[Path, int, int], None]  # folder, steps done, steps in all
    # nats of each step; on held-out ones after each epoch; how many steps changed no weight
    on_end: Callable[[list[float], list[float], int], None] = lambda losses, exams, skipped: None


def train(
    config: StudentConfig,
    examples: Sequence[Example],
    seed: int,
    hooks: Hooks,
    *,
    held_out: Sequence[Example] = (),
    several: bool = False,
    resume_from: Path | None,
    device: str,
    save_to: Path | None,
    create: Callable[[StudentConfig, int, str], Student] = Student.create,
) -> Student:
    """Train a new student (or go on from `resume_from`), save it from rank 0 to `save_to`, and return it as it is at the end.

    With `held_out` examples it is measured on them after each epoch: training stops when an epoch brought nothing, and it is the best
    epoch's student that is saved; with `several` an answer should name all that a held-out example chose, else any of it is right. Raises ModelError
    if the base model cannot be loaded, RunError if DeepSpeed did not take the model, or losses or gradients are no numbers.
    """
    if not dist.is_initialized():  # alone, as in a notebook
        os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed insists on it
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", store=dist.HashStore(), rank=0, world_size=1)
    student = create(config, seed, device)
    prior = prior_of(examples)
    student.head.start_from(prior, chosen_precision(config.precision, device) == "bf16")
    task = Task.of(student.prompt, examples, prior if config.soft_labels else None)
    trainer = _Trainer(config, student, device, save_to, hooks, resume_from)
    trainer.run(task, Task.of(student.prompt, held_out, any_of=not several), seed)
    return student


class _Trainer:
    """An engine around a student, and how far it has come."""

    def __init__(
        self, config: StudentConfig, student: Student, device: str, save_to: Path | None, hooks: Hooks, resume_from: Path | None
    ) -> None:
        self.config, self.student, self.device, self.save_to, self.hooks = config, student, device, save_to, hooks
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.done, self.losses, self.exams = 0, list[float](), list[float]()  # steps; losses of each; of the held-out ones after each epoch
        self.skipped = self.in_a_row = 0  # steps that DeepSpeed skipped, as their gradients were no numbers
        state = read_json(resume_from / STATE_FILE) if resume_from else {}
        self.place = {"world": self.world, "precision": chosen_precision(config.precision, device)}
        moved = any(state.get(name, now) != now for name, now in self.place.items())
        # DeepSpeed's state is one of so many ranks, and of a precision: where that is another the optimizer's moments start anew, the weights do not
        if resume_from and moved:
            student.load_weights(resume_from / WEIGHTS)
        self.engine = _engine(student, config, device)
        if type(self.engine).__name__ != "DeepSpeedEngine":
            raise RunError(f"training ran without DeepSpeed ({type(self.engine).__name__})")
        if resume_from:
            if not moved:
                self.engine.load_checkpoint(str(resume_from), load_module_strict=False)
            self.done, self.losses, self.exams, self.skipped = state["steps"], state["losses"], state["exams"], state.get("skipped", 0)
            if save_to and self.rank == 0 and (resume_from / BEST).exists():  # what is there may be of an epoch that now comes again
                with atomic_folder(save_to) as new:
                    shutil.copytree(resume_from / BEST, new, dirs_exist_ok=True)

    def run(self, task: Task, exam: Task, seed: int) -> None:
        """All epochs from where it is, or until one brings nothing."""
        plan = steps(task.tokens, self.config, seed, self.rank, self.world)
        self.engine.train()
        for number, (step, ends_epoch) in enumerate(plan, start=1):
            if number <= self.done:
                continue
            loss = self._step(task, step, _rate(number, len(plan), self.config.warmup_fraction))
            self.losses.append(loss)
            self.hooks.on_step(number, len(plan), loss)
            if ends_epoch and exam.tokens and not self._got_better(exam):
                break
            if number % self.config.checkpoint_every_steps == 0 and number < len(plan):
                self._checkpoint(number, len(plan))
        if self.losses and self.skipped == len(self.losses):
            raise self._no_gradients()
        if not self.exams and self.save_to:
            self._save(self.save_to)
        self.hooks.on_end(self.losses, self.exams, self.skipped)

    def _step(self, task: Task, step: list[Micro], rate: float) -> float:
        for group in self.engine.optimizer.param_groups:
            group["lr"] = group["base_lr"] * rate
        loss = 0.0
        for micro in step:
            self.engine.set_gradient_accumulation_boundary(micro is step[-1])
            part = task.loss(self._scores(task, micro), micro)
            self.engine.backward(part)
            self.engine.step()
            loss += part.item()
        applied = self.engine.was_step_applied()  # alike on all ranks
        self.in_a_row = 0 if applied else self.in_a_row + 1
        self.skipped += not applied
        if self.in_a_row == SKIPPED:
            raise self._no_gradients()
        return self._mean(loss)

    def _mean(self, of_rank: float) -> float:
        """Over the ranks, of which each has its weighted part. Raises RunError where it is no number: what is trained on from there is none either."""
        total = torch.tensor([of_rank], device=self.device)
        dist.all_reduce(total)
        mean = float(total) / self.world
        if not math.isfinite(mean):
            raise self._no_number(f"a loss of {mean}")
        return mean

    def _no_gradients(self) -> RunError:
        return self._no_number(f"gradients that are no numbers in {self.skipped} steps, which changed nothing,")

    def _no_number(self, what: str) -> RunError:
        return RunError(f"training came to {what} after {len(self.losses)} steps; {REMEDY}")

    def _scores(self, task: Task, micro: Micro) -> torch.Tensor:
        batch = self.student.prompt.collate([task.tokens[number] for number, _ in micro])
        return self.engine(**{name: value.to(self.device) for name, value in batch.items()})

    def _got_better(self, exam: Task) -> bool:
        """Measure on the held-out examples, each rank doing its part; save the best student yet."""
        by_length = sorted(range(len(exam.tokens)), key=lambda number: len(exam.tokens[number]))
        total = 0.0
        self.engine.eval()
        with torch.no_grad():
            for micro in share(by_length, exam.tokens, self.config.micro_batch_tokens, self.rank, self.world):
                total += exam.loss(self._scores(exam, micro), micro).item()
        self.engine.train()
        self.exams.append(self._mean(total))
        if self.exams[-1] > min(self.exams):
            return False
        if self.save_to:
            self._save(self.save_to)
        return True

    def _checkpoint(self, number: int, of: int) -> None:
        folder = self.hooks.checkpoint_folder()
        self.engine.save_checkpoint(str(folder), exclude_frozen_parameters=True)
        self._save(folder / WEIGHTS)
        if self.rank == 0:
            if self.exams and self.save_to:
                shutil.copytree(self.save_to, folder / BEST)
            write_json(
                folder / STATE_FILE, {"steps": number, "losses": self.losses, "exams": self.exams, "skipped": self.skipped, **self.place}
            )
        self.hooks.on_checkpoint(folder, number, of)

    def _save(self, folder: Path) -> None:
        import deepspeed

        # ZeRO 3 keeps a part of each weight on each rank, of frozen ones too; of a whole model all are saved
        saved = [p for p in self.student.parameters() if p.requires_grad or self.config.tuning == "full"]
        with deepspeed.zero.GatheredParameters(saved if self.config.zero_stage == 3 else []):
            if self.rank == 0:
                with atomic_folder(folder) as new:
                    self.student.save(new)
        dist.barrier()


def _rate(step: int, of: int, warmup_fraction: float) -> float:
    """The share of the learning rate at a step, 1 being the first: up to all of it, then down to a twentieth."""
    warmup = max(1, round(of * warmup_fraction))
    return step / warmup if step <= warmup else max(0.05, (of - step + 1) / max(1, of - warmup))


def _engine(student: Student, config: StudentConfig, device: str) -> Any:
    os.environ["DS_ACCELERATOR"] = "cuda" if device.startswith("cuda") else "cpu"
    import deepspeed
    from deepspeed.accelerator import real_accelerator

    # where another library has imported it before, it has chosen a GPU for itself if there is one; this lets it choose again
    real_accelerator.ds_accelerator = None

    # or it compiles an op here that only its own inference uses: half a minute, and a failure where there is no C++ compiler
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    adapters = [p for name, p in student.named_parameters() if p.requires_grad and not name.startswith("head.")]
    groups = [
        {"params": adapters, "lr": config.learning_rate, "base_lr": config.learning_rate},
        {"params": list(student.head.parameters()), "lr": config.head_learning_rate, "base_lr": config.head_learning_rate},
    ]
    # the class, not a config entry: DeepSpeed would compile its own CPU AdamW for minutes
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    engine, *_ = deepspeed.initialize(
        model=student,
        optimizer=optimizer,
        dist_init_required=False,
        config={
            "train_micro_batch_size_per_gpu": 1,  # a formality: the trainer says where a step ends, and weighs its examples itself
            "gradient_accumulation_steps": 1,
            "bf16": {"enabled": chosen_precision(config.precision, device) == "bf16"},
            "zero_optimization": {"stage": config.zero_stage},
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "gradient_clipping": 1.0,
            "steps_per_print": 10**9,
        },
    )
    # ZeRO 0 in bf16 has made a step without gradients, by which Adam would take its moments for older than they are and the first real step
    # would be too short. A run in fp32 knows no such step: what it finds, and with it the stage's revision, is as it was
    for state in optimizer.state.values():
        state["step"].zero_()
    return engine
