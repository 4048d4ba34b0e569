"""The one progress display: a line for the stage at work, with how much is done and what is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)


class StageProgress:
    """Progress of one stage. `update(done, total, doing)` may be called as often as one likes."""

    def __init__(self, progress: Progress, label: str) -> None:
        self._progress, self._label = progress, label
        self._task = progress.add_task(label, total=None, doing="starting")
        self._last_line = -1

    def update(self, done: int, total: int | None, doing: str) -> None:
        """`done` of `total` steps of what is being done, in a few words."""
        self._progress.update(self._task, completed=done, total=total, doing=doing)
        if not console.is_terminal and total and (quarter := done * 4 // total) != self._last_line:
            self._last_line = quarter
            console.print(f"{self._label}: {doing} {done:,} of {total:,}", soft_wrap=True)


@contextmanager
def stage_progress(label: str) -> Iterator[StageProgress]:
    """Show progress on the terminal while in the block; where there is no terminal (a log), a line at each quarter."""
    progress = Progress(
        SpinnerColumn(),
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[doing]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        yield StageProgress(progress, label)
