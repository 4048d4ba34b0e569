"""What an export is, a student merged into one Hugging Face directory, and how its student is written and loaded; export.py makes a whole one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic

from rpdr.config import StudentConfig
from rpdr.errors import ModelError
from rpdr.files import read_json
from rpdr.reranker.prompt import Query
from rpdr.reranker.student import Student

ABOUT_FILE = "rpdr.json"  # what makes a folder an export: how its student reads, what it was made from, the names of its files
# the keys of StudentConfig that scores depend on
READING = ("max_tokens_mention", "max_tokens_candidate", "use_context", "none_reads", "precision")

# what the merged student is compared on: made up, and of no data set
ASKED = (
    Query("can't keep food down", ("Vomiting", "Dysphagia", "Nausea"), ("Vomiting", "Dysphagia", "feeling sick"), (0.62, 0.55, 0.51)),
    Query("crossed eyes", ("Strabismus", "Diplopia"), ("Strabismus", "Diplopia"), (0.47, 0.44), "She has had crossed eyes from birth."),
    Query("knee is worn out", ("Gonarthrosis", "Knee pain", "Fatigue"), ("Gonarthrosis", "Knee pain", "worn out"), (0.41, 0.52, 0.58)),
)


def write_lm(student: Student, folder: Path) -> int:
    """Write the LLM with its adapter merged into it, and the tokenizer; of how many layers it is. The student is of no use after that."""
    lm = student.lm.merge_and_unload()
    lm.save_pretrained(folder)
    student.prompt.tokenizer.save_pretrained(folder)
    return lm.config.num_hidden_layers


def read_about(folder: Path) -> dict[str, Any] | None:
    """An export's ABOUT_FILE; None where `folder` is no export."""
    try:
        about = read_json(folder / ABOUT_FILE)
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) and "student" in about and "files" in about else None


def load_merged(folder: Path, device: str = "cpu", precision: str = "") -> Student:
    """The student of an export, in `precision` or, of none, in that which suits `device`. Raises ModelError where `folder` is no export or
    cannot be loaded."""
    about = read_about(folder)
    if about is None:
        raise ModelError(f"{folder}: no export of rpdr (no {ABOUT_FILE} that says so); make one with rpdr export --config …")
    try:
        told = StudentConfig.model_validate({**about["student"], "model": str(folder)})
    except pydantic.ValidationError as error:
        raise ModelError(f"{folder / ABOUT_FILE}: not as this rpdr writes it; export the student again") from error
    # merged, it is kept as a student is whose weights were all tuned
    return Student.load(folder, told.model_copy(update={"tuning": "full", "precision": precision or told.precision}), device)
