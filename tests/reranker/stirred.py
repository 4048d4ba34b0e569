"""A student as training leaves it, without training."""

from __future__ import annotations

import torch

from rpdr.config import StudentConfig
from rpdr.reranker import Student


def stirred(config: StudentConfig, seed: int = 2, std: float = 0.3) -> Student:
    """A new student whose head and adapters are no longer zero."""
    student = Student.create(config, seed=1)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in student.named_parameters():
            if weight.requires_grad and "log_scale" not in name:
                weight.normal_(std=std)
    return student
