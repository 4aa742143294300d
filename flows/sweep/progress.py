"""Displays the progress of a sweep: finished runs, current true return and estimated time left.

On a terminal the display is live; elsewhere it prints one line for each run that ends.
"""

import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

from flows.study_config import AnyRun
from flows.text import format_duration


class Progress(Protocol):
    """A display of a sweep. Its methods are called from many threads."""

    @property
    def share(self) -> float:
        """Fraction of all steps that is done."""

    def __enter__(self) -> "Progress": ...
    def __exit__(self, *error: object) -> None: ...
    def began(self, run: AnyRun) -> None:
        """The run has started."""

    def moved(self, run: AnyRun, done: int, value: float) -> None:
        """The run has done `done` steps; `value` is what it measures, such as the true return."""

    def ended(self, run: AnyRun, outcome: str) -> None:
        """The run has ended; `outcome` is "finished", "reused", "stopped" or "failed: ..."."""


def open_display(runs: Sequence[AnyRun]) -> Progress:
    """Returns a live display on a terminal, else a plain one."""
    return Live(runs) if sys.stdout.isatty() else Plain(runs)


class Tally:
    """Counts the steps done in a sweep; a run that has ended counts all its steps."""

    def __init__(self, runs: Sequence[AnyRun]) -> None:
        self.runs, self.total = len(runs), sum(run.steps for run in runs)
        self.ended = 0
        self._steps: dict[str, int] = {}
        self._start = time.monotonic()

    def at(self, run: AnyRun, done: int) -> None:
        self._steps[run.title] = min(done, run.steps)

    def end(self, run: AnyRun) -> None:
        self.ended += 1
        self.at(run, run.steps)

    @property
    def done(self) -> int:
        return sum(self._steps.values())

    @property
    def share(self) -> float:
        return self.done / self.total

    def left(self) -> str:
        """Estimates the time left from the mean rate so far."""
        if not self.done:
            return "time left unknown"
        elapsed = time.monotonic() - self._start
        return format_duration(elapsed * (self.total - self.done) / self.done) + " left"


class Plain:
    """Prints one line for each run that ends."""

    def __init__(self, runs: Sequence[AnyRun]) -> None:
        self._tally = Tally(runs)
        self._returns: dict[str, float] = {}
        self._lock = threading.Lock()

    @property
    def share(self) -> float:
        with self._lock:
            return self._tally.share

    def __enter__(self) -> "Plain":
        return self

    def __exit__(self, *error: object) -> None:
        return

    def began(self, run: AnyRun) -> None:
        return

    def moved(self, run: AnyRun, done: int, value: float) -> None:
        with self._lock:
            self._tally.at(run, done)
            self._returns[run.title] = value

    def ended(self, run: AnyRun, outcome: str) -> None:
        with self._lock:
            self._tally.end(run)
            value = self._returns.get(run.title, float("nan"))
            count = f"[{self._tally.ended:{len(str(self._tally.runs))}}/{self._tally.runs}]"
            result = f"{run.measured} {value:6.3f}" if outcome == "finished" and run.measured else outcome
            print(f"{count} {run.title:<40} {result}   {self._tally.left()}", flush=True)


BAR_TERMINAL = 90  # characters of a terminal with room for bars


class Live:
    """Shows a progress bar for the sweep and one for each active run."""

    def __init__(self, runs: Sequence[AnyRun]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._tally = Tally(runs)
        self._bars: dict[str, Any] = {}
        self._lock = threading.Lock()
        console = Console()
        bars = [BarColumn(bar_width=30)] if console.width >= BAR_TERMINAL else []  # else numbers would be cut
        self._rich = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            *bars,
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=False,
        )
        self._whole = self._rich.add_task("", total=self._tally.total, note="")

    @property
    def share(self) -> float:
        with self._lock:
            return self._tally.share

    def __enter__(self) -> "Live":
        self._rich.start()
        self._show()
        return self

    def __exit__(self, *error: object) -> None:
        for bar in self._bars.values():
            self._rich.remove_task(bar)
        self._rich.stop()

    def began(self, run: AnyRun) -> None:
        with self._lock:
            self._bars[run.title] = self._rich.add_task(run.title, total=run.steps, note="starting")

    def moved(self, run: AnyRun, done: int, value: float) -> None:
        with self._lock:
            self._rich.update(
                self._bars[run.title], completed=done, note=f"{run.measured} {value:.3f}" if run.measured else ""
            )
            self._tally.at(run, done)
            self._show()

    def ended(self, run: AnyRun, outcome: str) -> None:
        with self._lock:
            self._rich.remove_task(self._bars.pop(run.title))
            self._tally.end(run)
            if outcome != "finished":
                self._rich.console.print(f"{run.title}: {outcome}", markup=False, highlight=False)
            self._show()

    def _show(self) -> None:
        self._rich.update(
            self._whole,
            description=f"{self._tally.ended} of {self._tally.runs} runs",
            completed=self._tally.done,
            note=self._tally.left(),
        )
