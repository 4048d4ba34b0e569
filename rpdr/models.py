"""One loader for models: a hub name, a folder, or `package:NAME/path` (a file or folder inside an installed Python package).

Knows encoders (sentence-transformers) and causal LLMs (transformers, also from one GGUF file). Fetches nothing at import.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch

from rpdr.errors import DataError, ModelError
from rpdr.files import locate

# with a mask of one's own, PyTorch's fused attention trains 2 to 3 times slower on a CPU than plain matrix products
ATTENTION = "sdpa" if torch.cuda.is_available() else "eager"
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def load_encoder(model: str, max_tokens: int, device: str | None = None) -> Any:
    """A SentenceTransformer that reads at most `max_tokens` tokens of a text. Raises ModelError with a remedy."""
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    try:
        encoder = SentenceTransformer(str(_resolve(model)), device=device)
    except Exception as error:
        raise _cannot_load(model, "encoder", error) from error
    encoder.max_seq_length = max_tokens
    return encoder


def load_causal_lm(model: str, precision: str = "bf16") -> tuple[Any, Any]:
    """(model, tokenizer) of an open causal LLM in eval mode on the CPU, padding on the right. Raises ModelError with a remedy.

    A GGUF file is de-quantised once; the result is an ordinary model that can be trained and saved.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as hf_logging

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    hf_logging.disable_progress_bar()
    where = _resolve(model)
    try:
        if isinstance(where, Path) and where.suffix == ".gguf":
            logging.getLogger("gguf").setLevel(logging.ERROR)
            tokenizer = AutoTokenizer.from_pretrained(where.parent, gguf_file=where.name)
            read = AutoModelForCausalLM.from_pretrained(where.parent, gguf_file=where.name, dtype=torch.float32)
            # transformers marks the config as quantised although the weights no longer are; a fresh model forgets that
            if hasattr(read.config, "quantization_config"):
                del read.config.quantization_config
            lm = AutoModelForCausalLM.from_config(read.config, dtype=torch.float32, attn_implementation=ATTENTION)
            lm.load_state_dict(read.state_dict())
            lm.tie_weights()
            lm.to(DTYPES[precision])
        else:
            tokenizer = AutoTokenizer.from_pretrained(where)
            lm = AutoModelForCausalLM.from_pretrained(where, dtype=DTYPES[precision], attn_implementation=ATTENTION)
    except Exception as error:
        raise _cannot_load(model, "causal LLM", error) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return lm.eval(), tokenizer


def _resolve(model: str) -> str | Path:
    """A hub name stays a string; what is local becomes a path."""
    if model.startswith(("package:", "/", "./", "../", "~", "${")) or Path(model).exists():
        try:
            return locate(model)
        except DataError as error:
            raise ModelError(str(error)) from error
    return model


def _cannot_load(model: str, kind: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:200]
    return ModelError(
        f"{model}: cannot load this {kind} ({type(error).__name__}: {reason}). "
        "Give a hub name that this machine can reach, a folder, or package:NAME/path"
    )
