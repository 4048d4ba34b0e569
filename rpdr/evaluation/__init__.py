"""Evaluation: ranked answers and gold in; scores with intervals, comparisons, causes of errors, tables and the HTML report out."""

from rpdr.evaluation.causes import ERRORS, NOISE, error_cause, noise_kind
from rpdr.evaluation.confidence import Selected, calibration_report, precision_coverage, selected
from rpdr.evaluation.metrics import (
    accuracy_at_k,
    is_hit,
    micro_f1,
    nearest,
    outcomes,
    recall_at_k,
    recall_outcomes,
    reliability,
    set_counts,
)
from rpdr.evaluation.report import render, write_report
from rpdr.evaluation.significance import PairedResult, Resampling, bootstrap_interval, paired_test
from rpdr.evaluation.slices import SHAPES, by_count, by_name, gold_shape, slices
from rpdr.evaluation.systems import Score, SystemResult, compare_sets, evaluate, firsts, names_several, score
from rpdr.evaluation.table import comparison_line, markdown_table, results_table

__all__ = [
    "ERRORS",
    "NOISE",
    "SHAPES",
    "PairedResult",
    "Resampling",
    "Score",
    "Selected",
    "SystemResult",
    "accuracy_at_k",
    "bootstrap_interval",
    "by_count",
    "by_name",
    "calibration_report",
    "compare_sets",
    "comparison_line",
    "error_cause",
    "evaluate",
    "firsts",
    "gold_shape",
    "is_hit",
    "markdown_table",
    "micro_f1",
    "names_several",
    "nearest",
    "noise_kind",
    "outcomes",
    "paired_test",
    "precision_coverage",
    "recall_at_k",
    "recall_outcomes",
    "reliability",
    "render",
    "results_table",
    "score",
    "selected",
    "set_counts",
    "slices",
    "write_report",
]
