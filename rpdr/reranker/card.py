"""The model card of a student: what it is, what it learned from, and what it must not be used for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rpdr.config import StudentConfig
from rpdr.files import write_text

CARD = """---
base_model: {model}
library_name: peft
tags: [entity-linking, biomedical, reranking, lora, rpdr]
---

# A student of rpdr

A LoRA adapter (`adapter_model.safetensors`, loadable by peft) and a scoring head (`head.safetensors`) over `{model}`. It ranks the
candidate concepts of a biomedical mention in one forward pass, with "none of these" among them. Load it with
`rpdr.Linker.load(run_dir)`.

- Labels: {labels:,} choices of the teacher `{teacher}`{simulated}, {none_labels:,} of them "none of these".
- Base: {layers}.
- Training: {steps:,} steps of {batch_size} mentions, LoRA rank {lora_rank}, {precision}, final loss {final_loss}.
- Calibration: fitted on {calibrated_on}.

It repeats its teacher's errors. Its confidences hold for mentions like those that it was calibrated on. It is not a medical device.
"""


def write_card(folder: Path, config: StudentConfig, trained: dict[str, Any], taught: dict[str, Any]) -> None:
    """Write README.md into the student's folder."""
    simulated = " (**simulated**: it knows the answers of its pool and errs at a set rate)" if taught.get("simulated") else ""
    loss = trained["final_loss"]
    write_text(
        folder / "README.md",
        CARD.format(
            **{
                **config.model_dump(),
                **trained,
                "layers": f"its first {config.layers} layers" if config.layers else "all of its layers",
                "final_loss": "unknown" if loss is None else f"{loss:.3f}",
            },
            teacher=taught.get("model", "unknown"),
            simulated=simulated,
        ),
    )
