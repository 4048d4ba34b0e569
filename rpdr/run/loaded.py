"""A finished run's retriever and student, loaded, under the settings that its config has now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rpdr.config import Config, LinkConfig, RetrieverConfig
from rpdr.kb import Concept
from rpdr.models import load_encoder
from rpdr.reranker import Calibration, Reranker
from rpdr.reranker.reranker import CALIBRATION_FILE
from rpdr.reranker.shortcut import Shortcut
from rpdr.reranker.vllm_engine import load_on_vllm
from rpdr.retriever import Retriever
from rpdr.retriever.vectors import Vectors
from rpdr.run.folder import RETUNED, Run

AT_ONCE = 4  # batches of the student that its actor is given; vLLM makes batches of its own, and takes them together


def final_retriever(run: Run) -> tuple[Path, Path]:
    """(encoder, index) that find what the student re-ranks."""
    settings, again = run.config.retriever, run.path(RETUNED)
    return (again if settings.rounds == 2 else run.folder) / "retriever", (again if settings.second_round else run.folder) / "index"


def load_retriever(
    folders: tuple[Path, Path],
    concepts: Sequence[Concept],
    settings: RetrieverConfig,
    device: str | None = None,
    own: Callable[[int], Vectors] | None = None,
) -> Retriever:
    """Of an encoder and an index in `folders`; `own`: see `Index.load`. Raises ModelError."""
    encoder, index = folders
    return Retriever.load(load_encoder(str(encoder.absolute()), settings.max_tokens, device), index, concepts, settings.prefix, own)


def calibrated(folder: Path, settings: LinkConfig) -> tuple[Calibration, Shortcut | None]:
    """Of a student's folder, under these settings: its calibration, as dev mentions are answered now, and what it is not asked about."""
    calibration, shortcut = Calibration.load(folder / CALIBRATION_FILE), Shortcut.load(folder)
    if shortcut is None or settings.shortcut is None or not calibration.dev_right:
        return calibration, None
    shortcut = shortcut.at(settings.shortcut, settings.exact_match)
    return shortcut.seen_by(calibration), shortcut


def load_reranker(run_folder: Path, config: Config, device: str | None = None, for_vllm: Path | None = None) -> Reranker:
    """A run's student, under the settings of its config's `link`; `for_vllm`: what `vllm_engine.prepare` made of it. Raises ModelError."""
    if for_vllm:
        needs = config.resources.reranking
        student = load_on_vllm(for_vllm, config.student, needs.gpus if needs else config.link.student_gpus)
        reranker = Reranker(student, Calibration(), AT_ONCE * config.link.batch_size, "cpu")
    else:
        reranker = Reranker.load(run_folder / "student", config.student, config.link.batch_size, device)
    reranker.calibration, reranker.shortcut = calibrated(run_folder / "student", config.link)
    return reranker
