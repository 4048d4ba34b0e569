"""A run's student -> one Hugging Face directory: the LoRA merged into the base, the head, the calibration, how it reads, and a model card.

The scores of what was written are compared with the student's before it is put in place.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import rpdr
from rpdr.errors import RunError
from rpdr.files import atomic_folder, write_json
from rpdr.models import chosen_precision
from rpdr.reranker.card import Facts, Merged, shown, write_card
from rpdr.reranker.merged import ABOUT_FILE, ASKED, READING, load_merged, read_about, write_lm
from rpdr.reranker.reranker import CALIBRATION_FILE, Reranker
from rpdr.reranker.student import Student

# of the largest score: what merging may change by rounding. A layer or an adapter that is missing changes more.
TOLERANCE = {"fp32": 1e-4, "bf16": 0.05}


def export(student: Path, to: Path, facts: Facts, precision: str = "") -> Merged:
    """Write the student of the folder `student` to `to`, in fp32 or bf16 (empty: what it was trained in), whole or not at all.

    Replaces an earlier export, and nothing else. Raises RunError for another folder, or where the merged scores are not the student's;
    ModelError if the base model cannot be loaded.
    """
    check_target(to)
    config = facts.config.student
    precision = precision or facts.stage("distill").get("precision") or chosen_precision(config.precision, "cpu")
    loaded = Student.load(student, config.model_copy(update={"precision": precision}), unpacked=True)
    before = _scores(loaded, facts)
    with atomic_folder(to) as folder:
        loaded.save_reading(folder)
        layers = write_lm(loaded, folder)
        facts.calibration.save(folder / CALIBRATION_FILE)
        about = {
            "rpdr": rpdr.__version__,
            "base_model": facts.base_model or shown(config.model),
            "layers": layers,
            "precision": precision,
            "allow_nil": facts.config.link.allow_nil,
            "candidates": facts.config.final_top_k,
            "student": config.model_dump(mode="json", include=set(READING)),
            "files": sorted([ABOUT_FILE, "README.md", *(file.name for file in folder.iterdir())]),
        }
        write_json(folder / ABOUT_FILE, about)
        del loaded  # a large model fits once
        merged = Merged(layers, precision, _compared(before, folder, facts, precision), len(ASKED))
        write_card(folder, facts, merged)
    return merged


def check_target(to: Path) -> None:
    """Raises RunError unless `to` is free, empty, or an earlier export to which nobody added anything."""
    if not to.exists():
        return
    if not to.is_dir():
        raise RunError(f"{to}: a file is in the way of the export; name another folder with --to")
    there = {file.name for file in to.iterdir()}
    about = read_about(to)
    if there and about is None:
        raise RunError(f"{to}: there are files here that are no export of rpdr; name another folder with --to, or move them away")
    added = sorted(there - set(about["files"] if about else []))
    if added:
        raise RunError(f"{to}: {added[0]} was added to this export, which would be lost; move it away, or name another folder with --to")


def _scores(student: Student, facts: Facts) -> np.ndarray:
    """Of ASKED, without the places that have no candidate."""
    found = Reranker(student, facts.calibration, len(ASKED), "cpu").scores(ASKED)
    found = found[~np.isneginf(found)]
    if not np.isfinite(found).all():
        raise RunError(
            "export: the student's scores are not numbers, its training went astray; train it again at a lower student.learning_rate"
        )
    return found


def _compared(before: np.ndarray, folder: Path, facts: Facts, precision: str) -> float:
    """The largest difference of a score on ASKED. Raises RunError where it is more than rounding."""
    after = _scores(load_merged(folder, precision=precision), facts)
    difference, largest = float(np.abs(after - before).max()), float(np.abs(before).max())
    if not difference <= TOLERANCE[precision] * max(1.0, largest):
        raise RunError(
            f"export: merged, the student scores otherwise ({difference:.3g} of {largest:.3g} in {precision}); nothing was written. "
            "Use its adapter, or try --precision fp32"
        )
    return difference
