"""The student: an open LLM that re-ranks candidates in one forward pass, and says when none of them fits."""

from rpdr.reranker.abstention import OperatingPoint
from rpdr.reranker.calibration import Calibration, fit_calibration, nil_threshold
from rpdr.reranker.prompt import Example, Query, examples, queries
from rpdr.reranker.reranker import Reranker
from rpdr.reranker.student import Student

__all__ = [
    "Calibration",
    "Example",
    "OperatingPoint",
    "Query",
    "Reranker",
    "Student",
    "examples",
    "fit_calibration",
    "nil_threshold",
    "queries",
]
