"""What a run tells Prometheus, through Ray's own export: money, mentions, rows set aside. Ray itself exports the use of CPUs, GPUs and memory.

Ray puts `ray_` before each name; cluster/grafana.json draws them.
"""

from __future__ import annotations

import ray
from ray.util.metrics import Gauge

RUN = "run"
METERS = {
    "rpdr_teacher_asked": "distinct mentions that the teacher has answered in this start",
    "rpdr_teacher_requests": "requests that the governor let through in this start",
    "rpdr_teacher_refused": "requests that the budget refused in this start",
    "rpdr_teacher_spent_usd": "dollars spent by the run",
    "rpdr_teacher_reserved_usd": "dollars held for requests in flight, or lost in a crash",
    "rpdr_teacher_budget_usd": "the run's hard cap, in dollars",
    "rpdr_teacher_rate_limit_used": "of teacher.requests_per_minute, the share used since this start",
    "rpdr_linked_mentions": "mentions linked and written, of all starts",
    "rpdr_linked_questions": "questions that they were, answered in this start",
    "rpdr_linked_by_student": "of them, those that the student was asked about",
    "rpdr_linked_mentions_per_s": "mentions a second since this start",
    "rpdr_rejected_rows": "rows set aside",
}


class Meters:
    """The gauges of one run, by the name of its directory, `of` one kind of work: names of METERS begin with it."""

    def __init__(self, run: str, of: str) -> None:
        self._run, self._of = run, of
        self._gauges: dict[str, Gauge] = {}

    def tell(self, **values: float) -> None:
        """By the rest of their names; those of a run that does not use Ray go nowhere."""
        if not ray.is_initialized():
            return
        for rest, value in values.items():
            name = f"rpdr_{self._of}_{rest}"
            if name not in self._gauges:
                self._gauges[name] = Gauge(name, METERS[name], (RUN,))
            self._gauges[name].set(float(value), {RUN: self._run})
