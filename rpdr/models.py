"""One loader for models: a hub name, a folder, or `package:NAME/path` (a file or folder inside an installed Python package).

Knows encoders (sentence-transformers), causal LLMs (transformers, also from one GGUF file) and token classifiers. Fetches nothing at import.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from rpdr.errors import DataError, ModelError
from rpdr.files import home, locate, sha256, sha256_tree
from rpdr.show import in_one_line

# or, wherever it is installed, it says on each CPU that a kernel of its own is not there
logging.getLogger("bitsandbytes.backends").setLevel(logging.ERROR)

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
ATTENTION = {"full_attention", "sliding_attention"}  # kinds of layers, as transformers calls them
CONFIG = "config.json"  # what each model has that transformers loads
SHORT = 200  # characters of another library's words that an error repeats
CONVERTING, CONVERTED_S = ".converting-", 3600.0  # a GGUF file's model before it is whole, and the seconds that no machine takes for that
SAMPLED = 4096  # numbers of a tensor that tell it from another
HUB_S = 5.0  # how long the hub may take to say whether it has a model


def load_encoder(model: str, max_tokens: int, device: str | None = None) -> Any:
    """An Encoder, sentence-transformers' own but for its batches, in float32, which is what tuning needs of a float16 checkpoint too; it reads at most `max_tokens` tokens of a text.

    Raises ModelError with a remedy.
    """
    _quiet()
    where = find_model(model, "retriever.model")
    from rpdr.retriever.encoder import Encoder  # not before: it takes seconds, and the model may not be there

    try:
        encoder = Encoder(str(where), device=device, model_kwargs={"dtype": torch.float32})
    except Exception as error:
        raise _cannot_load(model, "encoder", error) from error
    if encoder.transformers_model is None:
        raise ModelError(f"retriever.model: {model}: no transformer, and only those can be tuned and read here; name one that is")
    positions = getattr(getattr(encoder[0], "auto_model", None), "config", None)
    most = getattr(positions, "max_position_embeddings", None)
    if isinstance(most, int) and max_tokens > most:
        raise ModelError(f"retriever.max_tokens: {max_tokens} are more than {model} has positions for, {most}; lower it")
    encoder.max_seq_length = max_tokens
    encoder.default_prompt_name = None  # tuning and lengths would know nothing of it; what stands before a text is retriever.prefix
    return encoder


def best_device() -> str:
    """A GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def chosen_precision(precision: str, device: str) -> str:
    """bf16 or fp32: as set, or, of auto, bf16 where `device` computes in it. A CPU that does not takes 7 times as long with it."""
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    has: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16" if has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16") else "fp32"


def load_causal_lm(model: str, precision: str = "fp32", layers: int = 0, four_bit_on: str = "") -> tuple[Any, Any]:
    """(model, tokenizer) of an open causal LLM in eval mode on the CPU, padding on the right; of its first `layers` layers, if not 0.

    With `four_bit_on`, its linear layers are in 4-bit NormalFloat on that device, computing in `precision` (QLoRA, Dettmers et al. 2023,
    arXiv 2305.14314). Raises ModelError with a remedy. A GGUF file is de-quantised once, into an ordinary model below `files.home()`.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    _quiet()
    where = find_model(model, "student.model")
    try:
        if isinstance(where, Path) and where.suffix == ".gguf":
            where = _converted(where)
        tokenizer = AutoTokenizer.from_pretrained(where)
        packed = _four_bits(precision, four_bit_on) if four_bit_on else {}
        lm = AutoModelForCausalLM.from_pretrained(where, dtype=DTYPES[precision], **packed)
    except ModelError:
        raise
    except Exception as error:
        raise _cannot_load(model, "causal LLM", error) from error
    _check_readable(lm, model)
    if layers:
        _cut(lm, layers)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return lm.eval(), tokenizer


def _check_readable(lm: Any, model: str) -> None:
    """Raises ModelError for what the student cannot be built on: it takes the layers from where language models have them, and reads many mentions in one
    row, which attention alone keeps apart: a convolution or a running state would read across them."""
    if not hasattr(getattr(lm, "model", None), "layers") or not hasattr(lm.config, "num_hidden_layers"):
        raise ModelError(
            f"{model}: is more than a language model, or keeps its layers elsewhere ({type(lm).__name__}); name a text-only one"
        )
    kinds = {*(getattr(lm.config, "layer_types", None) or [])} - ATTENTION
    if kinds or any(isinstance(part, torch.nn.Conv1d) for part in lm.modules()):
        raise ModelError(
            f"{model}: has layers beside attention ({', '.join(sorted(kinds)) or 'convolutions'}), which would read across the mentions of a batch; name a "
            "model of attention alone, as Qwen3, Llama or Gemma 3"
        )


def fingerprint(lm: Any, of_matrices: bool = True) -> str:
    """Of a model's weights, 64 hex digits: the same in bf16 and float32, and wherever they were loaded from. Of each tensor some numbers are read; not
    `of_matrices`, those of the embeddings and vectors alone, which are as they were where the others are in 4 bits."""
    kept = {id(lm.get_input_embeddings().weight)}
    parts: list[Any] = []
    for name, weight in sorted(lm.named_parameters(), key=lambda named: named[0]):
        if weight.is_floating_point() and (of_matrices or weight.ndim < 2 or id(weight) in kept):
            flat = weight.detach().flatten()
            some = flat[:: max(1, len(flat) // SAMPLED)].to("cpu", torch.bfloat16)
            parts += [name, tuple(weight.shape), some.view(torch.int16).numpy().tobytes()]
    return sha256(*parts)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer that was saved with a model in `folder`."""
    from transformers import AutoTokenizer

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return AutoTokenizer.from_pretrained(folder)


def _quiet() -> None:
    """Keep what transformers and the hub's client say while they load out of the progress display."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    hub_logging.set_verbosity_error()


def _four_bits(precision: str, device: str) -> dict[str, Any]:
    """How transformers is told. Raises ModelError where the library for it is not installed."""
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise ModelError("student.tuning: qlora needs bitsandbytes; pip install '.[qlora]'")
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=DTYPES[precision]
    )
    return {"quantization_config": config, "device_map": {"": device}}


def _cut(lm: Any, layers: int) -> None:
    """Leave the first `layers` layers, in the config too: what it lists layer by layer (kinds of attention) must be as long, or it cannot be saved."""
    before = len(lm.model.layers)
    lm.model.layers = lm.model.layers[:layers]
    for name, value in lm.config.to_dict().items():
        if isinstance(value, list) and len(value) == before:
            setattr(lm.config, name, value[:layers])
    lm.config.num_hidden_layers = len(lm.model.layers)


def load_token_classifier(model: str) -> Any:
    """A token-classification pipeline; a text longer than the model's window is read in overlapping pieces. Raises ModelError."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

    _quiet()
    where = find_model(model, "teacher.names_model")
    try:
        tokenizer = AutoTokenizer.from_pretrained(where)
        network = AutoModelForTokenClassification.from_pretrained(where)
        window = min(tokenizer.model_max_length, getattr(network.config, "max_position_embeddings", 514) - 2)
        tokenizer.model_max_length = window
        return pipeline("token-classification", network, tokenizer=tokenizer, aggregation_strategy="first", stride=window // 8)
    except Exception as error:
        raise _cannot_load(model, "token-classification model", error) from error


def _converted(gguf: Path) -> Path:
    """The folder of the ordinary float32 model that a GGUF file holds; made on the first call, which takes a quarter of a minute."""
    from safetensors.torch import save_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = home() / "models" / f"{gguf.stem}-{sha256_tree(gguf)[:16]}"
    if folder.exists():
        return folder
    logging.getLogger("gguf").setLevel(logging.ERROR)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f"{CONVERTING}*"):
        if time.time() - left.stat().st_mtime > CONVERTED_S:  # its process was killed
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=CONVERTING) as half:
        read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        # transformers marks the config as quantised although the weights no longer are; a fresh model forgets that
        if hasattr(read.config, "quantization_config"):
            del read.config.quantization_config
        lm = AutoModelForCausalLM.from_config(read.config, dtype=torch.float32)
        lm.load_state_dict(read.state_dict())
        lm.tie_weights()
        whole = Path(half) / "model"
        lm.config.save_pretrained(whole)
        # not lm.save_pretrained, which writes nothing on any rank but the first
        save_model(lm, str(whole / "model.safetensors"), metadata={"format": "pt"})
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(whole)
        with suppress(OSError):  # another process was faster: its folder is the same
            whole.rename(folder)
    return folder


def resolve(model: str) -> str | Path:
    """A hub name stays a string; what is local becomes a path. Raises ModelError if nothing is there."""
    if model.startswith(("package:", "/", "./", "../", "~", "${")) or Path(model).exists():
        try:
            return locate(model)
        except DataError as error:
            raise ModelError(str(error)) from error
    return model


def from_anywhere(model: str) -> str:
    """A name of the same model for a process in another folder. Raises ModelError if it is none."""
    where = resolve(model)
    return str(where.absolute()) if isinstance(where, Path) and not model.startswith("package:") else model


def find_model(model: str, key: str) -> str | Path:
    """`resolve`, and of a hub name whether the hub has it, by one short request: loading would ask again for minutes. Where the hub does not give it, its
    folder in this machine's cache of the hub, if it is there. Raises ModelError, which names the config's `key`."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        where = resolve(model)
    except ModelError as error:
        raise ModelError(f"{key}: {error}") from error
    if isinstance(where, Path):
        return where
    try:
        get_hf_file_metadata(hf_hub_url(model, CONFIG), timeout=HUB_S)
    except HFValidationError as error:
        raise ModelError(f"{key}: {model}: no such folder (looked at {Path(model).absolute()}), and no name of the hub's") from error
    except Exception as error:
        if isinstance(error, EntryNotFoundError) and key == "retriever.model":
            return model  # an encoder of several modules may have its config further down
        cached = try_to_load_from_cache(model, CONFIG)
        if isinstance(cached, str):
            return Path(cached).parent
        raise ModelError(f"{key}: {model}: {_not_on_the_hub(model, key, error)}") from error
    return model


def check_student_model(model: str) -> None:
    """Raises ModelError unless it is there: a .gguf file, or what has a config.json. Reads no weights, and takes a few seconds at most."""
    where = find_model(model, "student.model")
    if isinstance(where, Path) and where.suffix != ".gguf" and not (where / CONFIG).exists():
        raise ModelError(
            f"student.model: {model}: has no {CONFIG}; name a folder that has one, or a .gguf file (looked at {where.absolute()})"
        )


def check_before_paying(model: str) -> None:
    """`check_student_model`, before the teacher is paid for labels that nothing could be trained on."""
    try:
        check_student_model(model)
    except ModelError as error:
        raise ModelError(f"{error}. Looked at before the teacher is asked: nothing was paid") from error


def _not_on_the_hub(model: str, key: str, error: Exception) -> str:
    """Why not, and the remedy."""
    from huggingface_hub import constants
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return f"accept its terms at {constants.ENDPOINT}/{model}, and set HF_TOKEN to a token of yours"
    if isinstance(error, RepositoryNotFoundError):
        return f"{constants.ENDPOINT} has no such model, or it is private (HF_TOKEN), and there is no folder {Path(model).absolute()}"
    if isinstance(error, EntryNotFoundError):
        return f"has no {CONFIG} at {constants.ENDPOINT}: transformers cannot load it"
    why = (
        "HF_HUB_OFFLINE is set"
        if isinstance(error, OfflineModeIsEnabled)
        else f"{constants.ENDPOINT} cannot be reached: {in_one_line(error, SHORT)}"
    )
    section, _, name = key.partition(".")
    return (
        f"is not in this machine's cache of the hub ({constants.HF_HUB_CACHE}; HF_HOME names another), and {why}. Name a folder or package:NAME/path; or "
        f"run `hf download {model} --local-dir DIR` on a machine that reaches the hub, copy DIR here, and set {section}: {{{name}: DIR}}"
    )


def _cannot_load(model: str, kind: str, error: Exception) -> ModelError:
    return ModelError(
        f"{model}: cannot load this {kind} ({type(error).__name__}: {in_one_line(error, SHORT)}). "
        "Give a hub name that this machine can reach, a folder, or package:NAME/path"
    )
