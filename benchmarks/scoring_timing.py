"""How `scoring.py` times: calls in turns, ratios of one round, and whether a bar is met."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch


class Timed(NamedTuple):
    """Milliseconds."""

    wall: float
    processor: float


def time_once(call: Callable[[], object]) -> Timed:
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return Timed(1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor))


def time_in_turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[Timed]]:
    """Every call once a round, after one that warms up."""
    for call in calls.values():
        call()
    found: dict[str, list[Timed]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(time_once(call))
    return found


def median_ratio(slow: Sequence[Timed], fast: Sequence[Timed]) -> float:
    """The median over the rounds of the quotient of two calls of one round."""
    return statistics.median(a.wall / b.wall for a, b in zip(slow, fast, strict=True))


def report_bar(what: str, found: float, bar: float, unit: str, *, most: bool = False) -> bool:
    met = found <= bar if most else found >= bar
    print(f"{'met   ' if met else 'MISSED'} {what}: {found:.2f}{unit} (bar {'<=' if most else '>='} {bar:g}{unit})")
    return met


def describe_machine(device: str) -> str:
    name = torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0))} cores, torch {torch.__version__}, {torch.get_num_threads()} threads"
