"""Seconds and memory of one call, on the CPU and on a stand-in for a GPU."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kaleido_bench.predict.meter import Meter

MIB = 2**20


def test_the_clock_runs_during_the_work_alone() -> None:
    answer, seconds = Meter().time(lambda: (time.sleep(0.05), 7)[1])
    assert answer == 7 and 0.05 <= seconds < 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no high-water mark on this system")
def test_memory_is_what_a_call_adds_even_after_a_larger_one() -> None:
    np.ones(200 * MIB, np.uint8).sum()  # raises the mark of the process far above what follows
    peak = Meter().watch_memory()
    np.ones(64 * MIB, np.uint8).sum()
    found = peak()
    assert found.kind == "host growth" and found.size is not None
    assert 60 * MIB < found.size < 150 * MIB


def test_where_the_system_has_no_mark_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    assert Meter().watch_memory()() == (None, None)


def test_a_gpu_is_waited_for_before_the_clock_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    cuda = SimpleNamespace(
        synchronize=lambda device: told.append(f"wait {device}"),
        reset_peak_memory_stats=lambda device: told.append(f"reset {device}"),
        max_memory_allocated=lambda device: 5 * MIB,
        get_device_name=lambda device: "H100",
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))  # type: ignore[arg-type]
    meter = Meter("cuda:1")
    peak = meter.watch_memory()
    meter.time(lambda: told.append("work"))
    assert told == ["reset cuda:1", "wait cuda:1", "work", "wait cuda:1"]
    assert peak() == (5 * MIB, "device") and meter.device == "cuda:1 (H100)"
