"""The machine that benchmarks/model.py measures: its clock, its precision, and the lines it reports."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch


class Machine(NamedTuple):
    device: str
    toy: bool  # sizes for a CPU
    repeats: int

    @property
    def cuda(self) -> bool:
        return self.device == "cuda"

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize()

    def timed(self, function: Callable[[], object], repeats: int | None = None) -> float:
        """Seconds a call, after two calls that warm up: the median of three batches of calls."""
        repeats = repeats or self.repeats
        for _ in range(2 if self.cuda else 1):
            function()
        self.wait()
        batches: list[float] = []
        for _ in range(3 if self.cuda else 1):
            begun = time.perf_counter()
            for _ in range(repeats):
                function()
            self.wait()
            batches.append((time.perf_counter() - begun) / repeats)
        return sorted(batches)[len(batches) // 2]

    def host(self, function: Callable[[], object]) -> float:
        """Seconds until a call returns, with nothing queued before it: what the host takes to launch it."""
        self.wait()
        begun = time.perf_counter()
        function()
        passed = time.perf_counter() - begun
        self.wait()
        return passed

    @contextmanager
    def precision(self) -> Iterator[None]:
        """bfloat16 on a GPU. Casts of weights are not kept: a CUDA graph would read them after they are gone."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.cuda, cache_enabled=False):
            yield


def report(section: str, **values: object) -> None:
    """One line for people, one for programs."""
    print(f"{section:8s} " + "  ".join(f"{key} {show(value)}" for key, value in values.items()), flush=True)
    if folder := os.environ.get("OUT"):
        with (Path(folder) / "model.jsonl").open("a") as file:
            file.write(json.dumps({"section": section, **values}) + "\n")


def show(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def judge(value: float, bar: float, *, most: bool = False) -> str:
    """`most`: the bar is a maximum."""
    return f"{'<=' if most else '>='} {bar:g} {'met' if (value <= bar) == most or value == bar else 'MISSED'}"


def free(machine: Machine) -> None:
    """What a section leaves behind: compiled modules hold themselves."""
    torch.compiler.reset()
    gc.collect()
    if machine.cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
