"""A student that vLLM reads: `prepare` writes what it loads, `load_on_vllm` gives a student of `sequences` and sees that it scores as ours.

vLLM is no part of the default environment, and nothing of it is imported before it is asked for.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from rpdr.config import StudentConfig
from rpdr.errors import ConfigError, ModelError
from rpdr.files import atomic_folder
from rpdr.models import chosen_precision, load_tokenizer
from rpdr.reranker.calibration import Calibration
from rpdr.reranker.merged import ASKED, write_lm
from rpdr.reranker.prompt import Prompt, learned_beginning
from rpdr.reranker.reranker import Reranker
from rpdr.reranker.sequences import SequenceStudent
from rpdr.reranker.student import HEAD_FILE, Head, Student
from rpdr.show import in_one_line

LM = "lm"  # a folder of its own: vLLM takes whatever tensors lie beside a model for the model's
SCORES_FILE = "asked.npy"  # the student's own, of ASKED
TOLERANCE = {"fp32": 1e-3, "bf16": 0.05}  # of the largest score: another engine rounds otherwise, in other kernels
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
REMEDY = "see 'vLLM' in docs/serving.md (where memory is short: link.student_gpus: 0.5), or set link.engine: torch"


def prepare(student: Path, config: StudentConfig, to: Path) -> None:
    """Write the student of the folder `student` to `to`, merged, as `load_on_vllm` wants it; what is there is taken as it is.

    Raises ConfigError where vLLM cannot run on this machine, ModelError if the base model cannot be loaded.
    """
    precision = chosen_precision(config.precision, _device())
    if to.exists():
        return
    loaded = Student.load(student, config.model_copy(update={"precision": precision}), unpacked=True)
    with atomic_folder(to) as folder:
        np.save(folder / SCORES_FILE, Reranker(loaded, Calibration(), len(ASKED), "cpu").scores(ASKED))
        loaded.save_reading(folder)
        write_lm(loaded, folder / LM)


def load_on_vllm(folder: Path, config: StudentConfig, gpu_share: float = 1.0) -> SequenceStudent:
    """What `prepare` wrote, in vLLM, which takes up to `gpu_share` of a GPU's memory. Raises ConfigError where vLLM cannot run on this machine,
    ModelError where it cannot load this student, or scores otherwise."""
    device = _device()
    precision = chosen_precision(config.precision, device)
    weights = load_file(str(folder / HEAD_FILE))
    head = Head(weights["candidate.weight"].shape[1])
    head.load_state_dict(weights)
    tokenizer = load_tokenizer(folder / LM)
    begin = learned_beginning(folder)
    prompt = Prompt(tokenizer, config.max_tokens_mention, config.max_tokens_candidate, config.use_context, config.none_reads, begin)
    try:
        engine = _Vllm(folder / LM, len(begin) + config.max_tokens_mention + config.max_tokens_candidate, precision, device, gpu_share)
    except Exception as error:
        raise ModelError(f"link.engine: vllm cannot load this student ({type(error).__name__}: {in_one_line(error)}); {REMEDY}") from error
    student = SequenceStudent(prompt, head, engine)
    _check(student, np.load(folder / SCORES_FILE), precision)
    return student


def _device() -> str:
    """Of the vLLM that is installed here: cuda, cpu, …"""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # nothing is told to its makers
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # in this process, with which it ends, and whose errors come as they are
    try:
        from vllm.platforms import current_platform
    except ImportError as error:
        raise ConfigError(f"link.engine: vllm is not installed where the student is to work ({error}); {REMEDY}") from error
    if not current_platform.device_type:
        raise ConfigError(f"link.engine: vllm finds no GPU where the student is to work; {REMEDY}")
    return current_platform.device_type


class _Vllm:
    """An Engine."""

    def __init__(self, folder: Path, max_tokens: int, precision: str, device: str, gpu_share: float) -> None:
        from vllm import LLM, PoolingParams
        from vllm.config import PoolerConfig

        # a CPU's own block, of 128 tokens, is longer than a mention: nothing would be shared
        room: dict[str, Any] = {"kv_cache_memory_bytes": 2**30, "block_size": 32} if device == "cpu" else {}
        self._llm = LLM(
            model=str(folder),
            runner="pooling",
            convert="embed",
            pooler_config=PoolerConfig(pooling_type="LAST", use_activation=False),
            dtype=DTYPES[precision],
            max_model_len=max_tokens,
            enable_prefix_caching=True,
            enforce_eager=True,  # nothing is compiled: sequences are short, and read once
            **(room or {"gpu_memory_utilization": 0.9 * gpu_share}),
        )
        self._params = PoolingParams(use_activation=False)  # else a hidden state would be given at length 1

    def __call__(self, sequences: list[list[int]]) -> torch.Tensor:
        found = self._llm.encode(
            [{"prompt_token_ids": sequence} for sequence in sequences], self._params, use_tqdm=False, pooling_task="embed"
        )
        return torch.stack([one.outputs.data for one in found])


def _check(student: SequenceStudent, ours: np.ndarray, precision: str) -> None:
    theirs = Reranker(student, Calibration(), len(ASKED), "cpu").scores(ASKED)
    there = np.isfinite(ours)
    difference, largest = float(np.abs(theirs[there] - ours[there]).max()), float(np.abs(ours[there]).max())
    if not difference <= TOLERANCE[precision] * max(1.0, largest):
        raise ModelError(
            f"link.engine: vllm reads this student otherwise ({difference:.3g} of a score of {largest:.3g}); set link.engine: torch"
        )
