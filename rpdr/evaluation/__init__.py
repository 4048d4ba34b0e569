"""Evaluation: ranked answers and gold in; scores with intervals, comparisons, causes of errors, tables and the HTML report out."""

from rpdr.evaluation.causes import ERRORS, NOISE, error_cause, noise_kind
from rpdr.evaluation.confidence import calibration_report, precision_coverage, selected
from rpdr.evaluation.metrics import is_hit, nearest, outcomes, recall_outcomes
from rpdr.evaluation.report import write_report
from rpdr.evaluation.significance import PairedResult, Resampling, paired_test
from rpdr.evaluation.slices import SHAPES, by_count, by_name, gold_shape, slices
from rpdr.evaluation.systems import SystemResult, compare_sets, evaluate, firsts, names_several, score

__all__ = [
    "ERRORS",
    "NOISE",
    "SHAPES",
    "PairedResult",
    "Resampling",
    "SystemResult",
    "by_count",
    "by_name",
    "calibration_report",
    "compare_sets",
    "error_cause",
    "evaluate",
    "firsts",
    "gold_shape",
    "is_hit",
    "names_several",
    "nearest",
    "noise_kind",
    "outcomes",
    "paired_test",
    "precision_coverage",
    "recall_outcomes",
    "score",
    "selected",
    "slices",
    "write_report",
]
