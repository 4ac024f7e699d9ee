"""What a person reads while a model trains: a bar on a terminal, plain lines elsewhere, or the trainer's own JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import typer

from kaleido_bench.cli.console import SECONDS_BETWEEN_LINES, format_seconds, say

Report = Callable[[dict[str, object]], None]


@contextmanager
def show(title: str, *, as_json: bool, silent: bool) -> Generator[Report]:
    """Takes the trainer's lines. JSON goes to standard output, all else to standard error."""
    if silent:
        yield lambda fields: None
    elif as_json:
        yield lambda fields: typer.echo(json.dumps(fields))
    elif sys.stderr.isatty():
        with _bar(title) as report:
            yield report
    else:
        lines = Lines(title, say, time.monotonic)
        yield lines.report
        lines.catch_up()


@contextmanager
def _bar(title: str) -> Generator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=1.0, state="")

        def report(fields: dict[str, object]) -> None:
            text = describe(fields)
            if is_step(fields):
                progress.update(task, completed=cast(float, fields["progress"]), state=text)
                return
            if "references" in fields or "done" in fields:  # the last steps had no line of their own
                progress.update(task, completed=1.0)
            if text:
                progress.console.print(text, markup=False, highlight=False)

        yield report


class Lines:
    """Plain lines: of the steps no more often than every `SECONDS_BETWEEN_LINES`, the first and the last among them."""

    def __init__(self, title: str, tell: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._title, self._tell, self._clock = title, tell, clock
        self._said: float | None = None
        self._kept = ""

    def report(self, fields: dict[str, object]) -> None:
        text, now = describe(fields), self._clock()
        if is_step(fields) and self._said is not None and now - self._said < SECONDS_BETWEEN_LINES:
            self._kept = text
            return
        if is_step(fields):
            self._said, self._kept = now, ""
        else:
            self.catch_up()
        if text:
            self._tell(f"{self._title}: {text}")

    def catch_up(self) -> None:
        """Say the step that was kept back, which is the newest."""
        if self._kept:
            self._tell(f"{self._title}: {self._kept}")
        self._kept = ""


def is_step(fields: Mapping[str, object]) -> bool:
    """Whether a line says where the run is."""
    return "step" in fields and "progress" in fields


def describe(fields: Mapping[str, Any]) -> str:
    """A line of the trainer's in words; nothing for one that is for programs."""
    if is_step(fields):
        return _describe_step(fields)
    if "spike" in fields:
        leapt = f"step {fields['spike']}: the loss leapt to {fields['loss']:.4g}"
        return f"{leapt}, the gradient of {fields['layer']} to {fields['gradient_times_median']:g} times its median"
    if "resumed" in fields:
        note = f" ({fields['note']})" if "note" in fields else ""
        return f"goes on from step {fields['resumed']}{note}"
    if "parameters" in fields:
        each = f" in {fields['processes']} processes" if fields["processes"] > 1 else ""
        return f"{fields['parameters']:,} parameters on {fields['device']}{each}, PyTorch {fields['torch']}"
    if "references" in fields:
        return _describe_scores(fields)
    if "stopped" in fields:
        return f"stopped after step {fields['stopped']}"
    if "done" in fields:
        return f"done after {fields['done']} steps"
    return "" if "pid" in fields else json.dumps(fields)


def _describe_step(fields: Mapping[str, Any]) -> str:
    parts = [f"step {fields['step']}", f"{fields['size']} px", f"loss {fields['loss']:.4f}"]
    parts.append(f"{fields['steps_per_s']:g} steps/s")
    if fields.get("mfu") is not None:
        parts.append(f"{fields['tflops']:g} TFLOP/s, MFU {100 * fields['mfu']:.0f} %")
    if fields.get("eta_s"):
        parts.append(f"{format_seconds(fields['eta_s'])} left")
    return ", ".join(parts)


def _describe_scores(fields: Mapping[str, Any]) -> str:
    """Of views never trained on, for one number of references."""
    count = int(fields["references"])
    ours = [
        f"{value:.2f} in {name.removeprefix('steps_')}" for name, value in fields.items() if name.startswith("steps_")
    ]
    title = f"held out, {count} reference{'s' if count > 1 else ''}"
    return f"{title}: {', '.join(ours)} sampling steps, nearest view {fields['nearest']:.2f} dB"
