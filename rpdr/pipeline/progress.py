"""The one progress display: a line for the stage at work, with how much is done and what is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

A_MINUTE = 60.0
SILENCE_S = 300.0  # after so long without a line, a log is told what is being done

console = Console(stderr=True, highlight=False)


def say(notes: Iterable[str]) -> None:
    """A line for each thing that ends no stage, but that a user should know; brackets in it are text."""
    for note in notes:
        console.print(f"[yellow]note:[/yellow] {escape(note)}", soft_wrap=True)


class StageProgress:
    """Progress of one stage. `update(done, total, doing)` may be called as often as one likes."""

    def __init__(self, progress: Progress, label: str) -> None:
        self._progress, self._label = progress, label
        self._task = progress.add_task(label, total=None, doing="starting")
        self._begun = self._told = time.monotonic()
        self._first = self._done = self._total = 0
        self._quarter, self._now = -1, "starting"

    def remind(self) -> None:
        """A line, where none has been for long."""
        if time.monotonic() - self._told >= SILENCE_S:
            self._told = time.monotonic()
            console.print(f"{self._label}: still {self._now}", soft_wrap=True)

    def update(self, done: int, total: int | None, doing: str) -> None:
        """`done` of `total` steps of what is being done, in a few words."""
        self._progress.update(self._task, completed=done, total=total, doing=doing)
        self._now = f"{doing} {done:,} of {total:,}" if total else doing
        if not console.is_terminal and total and done:
            self._tell(done, total, doing)

    def _tell(self, done: int, total: int, doing: str) -> None:
        """A line when something begins, then at each quarter and after each minute."""
        now, quarter = time.monotonic(), done * 4 // total
        if total != self._total or done < self._done:
            self._first, self._begun, self._quarter = done, now, -1
        self._total, self._done = total, done
        if quarter == self._quarter and now - self._told < A_MINUTE:
            return
        self._quarter, self._told = quarter, now
        seconds = (now - self._begun) * (total - done) / max(1, done - self._first)
        left = f", about {timedelta(seconds=round(seconds))} left" if self._first < done < total else ""
        console.print(f"{self._label}: {doing} {done:,} of {total:,}{left}", soft_wrap=True)


def reading_mentions(progress: StageProgress) -> Callable[[int], None]:
    """Hears how many have been read, of nobody knows how many."""
    return lambda read: progress.update(read, None, "reading mentions")


@contextmanager
def stage_progress(label: str) -> Iterator[StageProgress]:
    """Show progress on the terminal while in the block; where there is no terminal (a log), a line now and then."""
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
    ended = threading.Event()
    with progress:
        shown = StageProgress(progress, label)
        reminding = threading.Thread(target=_remind, args=(shown, ended), daemon=True)
        if not console.is_terminal:
            reminding.start()
        try:
            yield shown
        finally:
            ended.set()


def _remind(shown: StageProgress, ended: threading.Event) -> None:
    while not ended.wait(min(A_MINUTE, SILENCE_S)):
        shown.remind()


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start
