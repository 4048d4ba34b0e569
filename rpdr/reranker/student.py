"""The student model: an open causal LLM with LoRA (Hu et al. 2021, arXiv 2106.09685), or tuned whole, and a linear head at each candidate's end.

A candidate's score is the retriever's similarity times a learned scale, plus the head's reading of it. The head starts at zero:
an untrained student ranks as the retriever does, and every label moves it from there.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as safetensors_bytes
from torch import nn

from rpdr.config import StudentConfig
from rpdr.errors import ModelError
from rpdr.files import read_json, write_atomically, write_json
from rpdr.models import chosen_precision, fingerprint, load_causal_lm
from rpdr.reranker import attention
from rpdr.reranker.attention import Blocks
from rpdr.reranker.balance import Balance
from rpdr.reranker.prompt import Prompt, Tokens, beginning, learned_beginning
from rpdr.retriever import Prior

HEAD_FILE = "head.safetensors"
BASE_FILE = "base.json"  # the fingerprint of the model that an adapter was tuned on
LORA_MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Head(nn.Module):
    """Scores from hidden states. Zero at first, but for the similarity's scale and the bias of "none of these"."""

    scale_beside: torch.Tensor  # (1,), as `never_beside`
    never_beside: torch.Tensor

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.candidate = nn.Linear(hidden, 1, bias=False)
        self.none = nn.Linear(hidden, 1)
        self.log_scale = nn.Parameter(torch.tensor([3.0]))  # cosine times 20, as it was trained with; 1-d, as DeepSpeed wants
        nn.init.zeros_(self.candidate.weight)
        nn.init.zeros_(self.none.weight)
        nn.init.zeros_(self.none.bias)
        # added to the parameters log_scale and none.bias: DeepSpeed casts parameters to bf16, whose steps are 0.25 at 40, but no buffers
        self.register_buffer("scale_beside", torch.zeros(1), persistent=False)
        self.register_buffer("never_beside", torch.zeros(1), persistent=False)

    def forward(self, hidden: torch.Tensor, similarities: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """hidden (b, k + 1, d), similarities (b, k), present (b, k + 1) -> scores (b, k + 1) float32, -inf where absent."""
        candidates = self.candidate(hidden[:, :-1]).squeeze(-1).float() + self.scale() * similarities.float()
        none = self.none(hidden[:, -1]).float() + self.never_beside
        return torch.cat([candidates, none], dim=1).masked_fill(~present, float("-inf"))

    def scale(self) -> torch.Tensor:
        """(1,) float32: what a similarity counts."""
        return (self.log_scale.float() + self.scale_beside).exp()

    def never(self) -> torch.Tensor:
        """(1,) float32: the bias of "none of these"."""
        return self.none.bias.float() + self.never_beside

    @torch.no_grad()
    def rebalance(self, balance: Balance) -> None:
        """Score as `balance` says."""
        self.none.bias.copy_(self.never())
        self.scale_beside.zero_()
        self.never_beside.zero_()
        self.log_scale.fill_(math.log(balance.similarity))
        self.candidate.weight.mul_(balance.learned)
        self.none.weight.mul_(balance.none)
        self.none.bias.mul_(balance.none).add_(balance.shift)

    def save(self, path: Path) -> None:
        """As safetensors, in float32, atomically."""
        values = {name: value.float().contiguous() for name, value in self.state_dict().items()}
        values |= {"log_scale": (self.log_scale.float() + self.scale_beside).detach(), "none.bias": self.never().detach()}
        data = safetensors_bytes(values)
        write_atomically(path, lambda file: file.write(data))

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Score as what `save` wrote."""
        self.load_state_dict(load_file(str(path)))
        self.log_scale.sub_(self.scale_beside)
        self.none.bias.sub_(self.never_beside)

    @torch.no_grad()
    def start_from(self, prior: Prior, rounded: bool = False) -> None:
        """Score as the retriever alone does: what an untrained student knows. `rounded`: parameters will be, so they begin at zero, where steps are small."""
        for parameter, beside, start in (
            (self.log_scale, self.scale_beside, math.log(prior.scale)),
            (self.none.bias, self.never_beside, prior.none),
        ):
            parameter.fill_(0.0 if rounded else start)
            beside.fill_(start if rounded else 0.0)


class Whole(nn.Module):
    """An LLM without an adapter, in the place of one with."""

    def __init__(self, lm: Any) -> None:
        super().__init__()
        self.lm = lm

    def get_base_model(self) -> Any:
        """The LLM."""
        return self.lm

    def merge_and_unload(self) -> Any:
        """The LLM: there is nothing to merge."""
        return self.lm

    def save_pretrained(self, folder: str, **_: Any) -> None:
        """Write the LLM as transformers does."""
        self.lm.save_pretrained(folder)


class Student(nn.Module):
    """An LLM, with LoRA or tuned whole, and its head. Build one with `create` (new) or `load` (trained)."""

    def __init__(
        self, lm: Any, tokenizer: Any, config: StudentConfig, head: Head, base: str = "", begin: tuple[int, ...] | None = None
    ) -> None:
        """`base`: the fingerprint of what an adapter stands on. `begin`: the tokens before each mention; None: the tokenizer's own."""
        super().__init__()
        self.lm, self.head, self.base = lm, head, base
        begin = beginning(tokenizer) if begin is None else begin
        _check_window(lm.get_base_model(), config, len(begin))
        attention.use(lm.get_base_model())
        self.prompt = Prompt(
            tokenizer, config.max_tokens_mention, config.max_tokens_candidate, config.use_context, config.none_reads, begin
        )

    @classmethod
    def create(cls, config: StudentConfig, seed: int, device: str = "cpu") -> Student:
        """A new, untrained student over the base model, in the precision that suits `device`. Raises ModelError."""
        lm, tokenizer = _base(config, device)
        torch.manual_seed(seed)  # not before: the first load of a GGUF file draws numbers too
        head = Head(lm.config.hidden_size)
        if config.tuning != "full":
            base = _fingerprint(lm, config)
            return cls(cls._adapted(lm, config), tokenizer, config, head, base)
        if not lm.config.tie_word_embeddings:
            lm.lm_head.requires_grad_(False)  # never used: there are no vocabulary logits
        return cls(Whole(lm), tokenizer, config, head)

    @staticmethod
    def _adapted(lm: Any, config: StudentConfig) -> Any:
        from peft import LoraConfig, get_peft_model

        layers = lm.config.num_hidden_layers
        lora = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=_lora_modules(lm),
            layers_to_transform=list(range(layers))[-config.lora_layers :] if config.lora_layers else None,
            task_type="CAUSAL_LM",
        )
        try:
            with _without_warnings_of_the_future():
                adapted = get_peft_model(lm, lora, autocast_adapter_dtype=False)
        except ValueError as error:
            raise ModelError(f"{config.model}: its layers are not named as LoRA expects ({', '.join(LORA_MODULES)}): {error}") from error
        adapted.peft_config["default"].base_model_name_or_path = config.model
        return adapted

    @classmethod
    def load(cls, folder: Path, config: StudentConfig, device: str = "cpu", unpacked: bool = False) -> Student:
        """A trained student from `folder`, in the precision that suits `device`. `unpacked`: a base that was tuned in 4 bits has its rounded
        weights in ordinary layers, which can be merged. Raises ModelError if the base model cannot be loaded, or is another one than it was tuned on."""
        from peft import PeftModel

        body: Any
        base = ""
        if config.tuning == "full":
            lm, tokenizer = load_causal_lm(str(folder.absolute()), chosen_precision(config.precision, device))
            body = Whole(lm)
        else:
            lm, tokenizer = _base(config, device)
            base, tuned_on = _fingerprint(lm, config), folder / BASE_FILE
            if tuned_on.exists() and read_json(tuned_on) != base:  # an earlier rpdr noted none
                raise ModelError(
                    f"{config.model}: its weights are not those that {folder} was tuned on, as of another revision; put those back, or tune it anew: rpdr "
                    "distill --redo"
                )
            if config.tuning == "qlora" and (unpacked or device == "cpu"):  # a CPU would unpack them at each pass
                lm = lm.dequantize()
                lm.is_loaded_in_4bit = False  # transformers leaves it set
            with _without_warnings_of_the_future():
                body = PeftModel.from_pretrained(lm, str(folder), autocast_adapter_dtype=False)
        head = Head(lm.config.hidden_size)
        head.load(folder / HEAD_FILE)
        return cls(body, tokenizer, config, head, base, learned_beginning(folder)).eval()

    def merged(self) -> Student:
        """The same, with its adapter added into the base's weights: nothing of it is left to compute, and scores differ by rounding. A base in 4 bits
        stays apart, as its weights would be rounded to 4 bits again."""
        if not getattr(self.lm.get_base_model(), "is_loaded_in_4bit", False):
            self.lm = Whole(self.lm.merge_and_unload())
        return self

    def load_weights(self, folder: Path) -> None:
        """Take over what `save` wrote of a student of the same shape."""
        from peft import load_peft_weights, set_peft_model_state_dict

        if isinstance(self.lm, Whole):
            missing = set(self.lm.lm.state_dict())
            for file in sorted(folder.glob("model*.safetensors")):  # several, if it is large
                weights = load_file(str(file))
                missing -= weights.keys() - set(self.lm.lm.load_state_dict(weights, strict=False).unexpected_keys)
            if missing - {"lm_head.weight"}:  # one of two tied weights is left out
                raise ModelError(f"{folder}: holds no {', '.join(sorted(missing)[:3])}: its weights are named otherwise than the model's")
        else:
            set_peft_model_state_dict(self.lm, load_peft_weights(str(folder), device="cpu"))
        self.head.load(folder / HEAD_FILE)

    def save(self, folder: Path) -> None:
        """Write the adapter (loadable by peft alone), or the whole model with its tokenizer, and the head."""
        folder.mkdir(parents=True, exist_ok=True)
        self.lm.save_pretrained(str(folder), save_embedding_layers=False)
        if isinstance(self.lm, Whole):
            self.prompt.tokenizer.save_pretrained(str(folder))
        else:
            write_json(folder / BASE_FILE, self.base)
        self.save_reading(folder)

    def save_reading(self, folder: Path) -> None:
        """Write what is ours beside the LLM, wherever that is: the head, and how a mention begins."""
        self.prompt.save(folder)
        self.head.save(folder / HEAD_FILE)

    def read(self, batch: Sequence[Tokens]) -> torch.Tensor:
        """Scores (b, k + 1) of b queries, on the device that the student is on."""
        device = self.head.log_scale.device
        return self(**{name: value.to(device) for name, value in self.prompt.collate(batch).items()})

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        places: torch.Tensor,
        back: torch.Tensor,
        attention_mask: torch.Tensor,
        ends: torch.Tensor,
        present: torch.Tensor,
        similarities: torch.Tensor,
    ) -> torch.Tensor:
        """Tensors of `Prompt.collate` -> scores (b, k + 1) float32: candidates in their given order, then "none of these"."""
        body = self.lm.get_base_model().model  # without the output matrix: no vocabulary logits are needed
        additive = attention_mask.clamp(min=torch.finfo(body.dtype).min).to(body.dtype)
        blocks = Blocks(places, back)
        output = body(input_ids=input_ids, position_ids=position_ids, attention_mask=additive, blocks=blocks, use_cache=False)
        hidden = output.last_hidden_state[0]
        return self.head(hidden[ends].to(self.head.candidate.weight.dtype), similarities, present)


def _lora_modules(lm: Any) -> list[str]:
    """What LoRA adapts: LORA_MODULES, or where a model calls them otherwise (two in one, say), all its linear layers but the output. By name, not
    peft's "all-linear", which it refuses for some layers alone (`lora_layers`)."""
    output = lm.get_output_embeddings()
    linear = {name.rpartition(".")[2] for name, module in lm.named_modules() if isinstance(module, nn.Linear) and module is not output}
    return LORA_MODULES if linear.issuperset(LORA_MODULES) else sorted(linear)


def _check_window(lm: Any, config: StudentConfig, begin: int = 0) -> None:
    """Raises ModelError where a mention's tokens may pass the window of layers that do not look further back: ours would look at all."""
    window, longest = getattr(lm.config, "sliding_window", None), begin + config.max_tokens_mention + 2 * config.max_tokens_candidate
    if window and "sliding_attention" in (getattr(lm.config, "layer_types", None) or ()) and longest > window:
        raise ModelError(
            f"{config.model}: looks back {window} tokens in some layers, and student.max_tokens_mention and max_tokens_candidate allow {longest}; lower them"
        )


def _base(config: StudentConfig, device: str) -> tuple[Any, Any]:
    """(model, tokenizer) that the student is tuned from, or its adapters stand on."""
    precision = chosen_precision(config.precision, device)
    return load_causal_lm(config.model, precision, config.layers, device if config.tuning == "qlora" else "")


def _fingerprint(lm: Any, config: StudentConfig) -> str:
    return fingerprint(lm, of_matrices=config.tuning != "qlora")


def _without_warnings_of_the_future() -> AbstractContextManager[None]:
    """peft calls what transformers will drop: nothing that a user of rpdr can change."""
    return warnings.catch_warnings(action="ignore", category=FutureWarning)
