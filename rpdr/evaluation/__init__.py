"""Evaluation: ranked answers and gold in; scores with intervals, comparisons, tables and the HTML report out."""

from rpdr.evaluation.metrics import accuracy_at_k, is_hit, outcomes, recall_at_k, recall_outcomes, reliability
from rpdr.evaluation.report import Metrics, render, write_report
from rpdr.evaluation.significance import PairedResult, bootstrap_interval, paired_test
from rpdr.evaluation.systems import Score, SystemResult, evaluate
from rpdr.evaluation.table import markdown_table, results_table

__all__ = [
    "Metrics",
    "PairedResult",
    "Score",
    "SystemResult",
    "accuracy_at_k",
    "bootstrap_interval",
    "evaluate",
    "is_hit",
    "markdown_table",
    "outcomes",
    "paired_test",
    "recall_at_k",
    "recall_outcomes",
    "reliability",
    "render",
    "results_table",
    "write_report",
]
