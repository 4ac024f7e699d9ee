"""What people read while a command works. It goes to standard error: standard output is for what was asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
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
def show_progress(title: str, total: int, unit: str) -> Generator[Advance]:
    """A bar with a rate and an ETA on a terminal, plain lines elsewhere; nothing at all when there is nothing to do."""
    if total == 0:
        yield lambda done: None
    elif sys.stderr.isatty():
        with _bar(title, total, unit) as advance:
            yield advance
    else:
        yield _Lines(title, total, unit).advance


@contextmanager
def _bar(title: str, total: int, unit: str) -> Generator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        TimeElapsedColumn(),
    )
    start = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total, pace="")
        yield lambda done: progress.update(
            task, completed=done, pace=format_pace(done, total, time.monotonic() - start, unit)
        )


class _Lines:
    """Plain lines, no more often than every `SECONDS_BETWEEN_LINES`, and one at the end."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.start = self.last = time.monotonic()

    def advance(self, done: int) -> None:
        now = time.monotonic()
        if done < self.total and now - self.last < SECONDS_BETWEEN_LINES:
            return
        self.last = now
        say(f"{self.title}: {done}/{self.total}, {format_pace(done, self.total, now - self.start, self.unit)}")


def format_pace(done: int, total: int, seconds: float, unit: str) -> str:
    """`3.1 cases/s, 12 s left`; slow work reads `4.0 s a case`. `unit` is a plural in -s."""
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
