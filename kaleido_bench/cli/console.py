"""What people read while a command works. It goes to standard error: standard output is for what was asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Protocol

# Between two plain lines of progress, where no terminal can redraw one.
SECONDS_BETWEEN_LINES = 10.0


class Advance(Protocol):
    """Called with the number of steps done so far."""

    def __call__(self, done: int) -> None: ...


def say(message: str) -> None:
    """One line on standard error."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


@contextmanager
def show_progress(title: str, total: int, unit: str, since: float | None = None) -> Generator[Advance]:
    """A bar with a rate and an ETA on a terminal, plain lines elsewhere.

    Args:
        title: what is being done.
        total: the number of steps.
        unit: what a step is, a plural in -s.
        since: when the work began, by `time.monotonic`; None is now.
    """
    start = time.monotonic() if since is None else since
    if sys.stderr.isatty():
        with _bar(title, total, unit, start) as advance:
            yield advance
    else:
        yield _Lines(title, total, unit, start).advance


@contextmanager
def _bar(title: str, total: int, unit: str, start: float) -> Generator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total, pace="")

        def advance(done: int) -> None:
            progress.update(task, completed=done, pace=format_pace(done, total, time.monotonic() - start, unit))

        yield advance


class _Lines:
    """Plain lines, no more often than every `SECONDS_BETWEEN_LINES`, and one at the end."""

    def __init__(self, title: str, total: int, unit: str, start: float) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.start = self.last = start

    def advance(self, done: int) -> None:
        now = time.monotonic()
        if done < self.total and now - self.last < SECONDS_BETWEEN_LINES:
            return
        self.last = now
        say(f"{self.title}: {done}/{self.total}, {format_pace(done, self.total, now - self.start, self.unit)}")


class LateProgress:
    """Progress of work that says how much it is once it is under way. Says nothing where there is nothing to do."""

    def __init__(self, title: str, unit: str) -> None:
        self.title, self.unit = title, unit
        self._start = time.monotonic()
        self._stack = ExitStack()
        self._advance: Advance | None = None

    def __enter__(self) -> LateProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def report(self, done: int, total: int) -> None:
        """Called with the steps done so far, and how many there are."""
        if self._advance is None:
            self._advance = self._stack.enter_context(show_progress(self.title, total, self.unit, self._start))
        self._advance(done)


def format_pace(done: int, total: int, seconds: float, unit: str) -> str:
    """`3.1 cases/s, 12 s left`; slow work `4.0 s a case, 8 s left`; done `6.0 cases/s`. `unit` is a plural in -s."""
    if done == 0 or seconds <= 0:
        return ""
    rate = done / seconds
    pace = f"{rate:.1f} {unit}/s" if rate >= 1 else f"{1 / rate:.1f} s a {unit.removesuffix('s')}"
    return pace if done >= total else f"{pace}, {format_seconds((total - done) / rate)} left"


def format_seconds(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
