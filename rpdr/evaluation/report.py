"""A run's report: one dict of measurements in, `metrics.json` and a self-contained `index.html` out.

Writes and draws; what the numbers are is decided by pipeline.report, which lays them out. A part may be missing: its section is left out then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from rpdr.evaluation.view import build
from rpdr.files import write_json, write_text

HERE = Path(__file__).parent


def write_report(folder: Path, metrics: Mapping[str, Any]) -> Path:
    """Write `metrics` to `folder`/metrics.json and `folder`/index.html, both atomically; returns the latter.

    Dataclasses and numpy values become plain JSON ones, NaN and infinities null. The page needs no network and no JavaScript, and
    forbids both; all text from data is escaped.
    """
    plain = _plain(metrics)
    page = render(plain)
    write_json(folder / "metrics.json", plain)
    write_text(folder / "index.html", page)
    return folder / "index.html"


def render(metrics: Mapping[str, Any]) -> str:
    """The report as one HTML page. `metrics` has plain JSON values."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(build(metrics))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()  # a lone surrogate has no UTF-8
    if isinstance(value, Sequence | set):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int) else str(value)
