"""What an answer takes: seconds and memory, measured around the method and nothing else.

The clock is the wall clock, read when the device has finished what was asked of it before and again when it has
finished the answer. Decoding, checking and writing are outside.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from kaleido_bench.predict.sessions import describe_device, describe_precision
from kaleido_bench.predictions import MemoryKind

Answer = TypeVar("Answer")


class Peak(NamedTuple):
    """Bytes at most in use, and of what; None where this machine cannot say."""

    size: int | None
    kind: MemoryKind | None


class Meter:
    """Measures calls on one device."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self.device = describe_device(device)

    @property
    def precision(self) -> str:
        """As `describe_precision`; asked late, because a method may import torch at its first answer."""
        return describe_precision()

    def time(self, work: Callable[[], Answer]) -> tuple[Answer, float]:
        """The answer of `work`, and the seconds it took."""
        self._synchronise()
        start = time.perf_counter()
        answer = work()
        self._synchronise()
        return answer, time.perf_counter() - start

    def watch_memory(self) -> Callable[[], Peak]:
        """Begin to watch. What is given back says the peak since then.

        On a GPU it is all that torch held there, weights included (`torch.cuda.max_memory_allocated`). Elsewhere it is
        how far the resident memory of the process rose above where it was, which counts no weights loaded before and
        nothing that fits into memory the process had freed and kept.
        """
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
            return lambda: Peak(torch.cuda.max_memory_allocated(self._device), "device")
        before = _read_status("VmRSS") if _reset_high_water() else None

        def growth() -> Peak:
            peak = _read_status("VmHWM")
            return Peak(None, None) if before is None or peak is None else Peak(max(peak - before, 0), "host growth")

        return growth

    def _synchronise(self) -> None:
        if self._device.startswith("cuda"):
            import torch

            torch.cuda.synchronize(self._device)
        elif self._device == "mps":
            import torch

            torch.mps.synchronize()


def _reset_high_water() -> bool:
    """Lower the process's high-water mark to what it uses now; False where the system has no such thing.

    https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return True
    return False


def _read_status(field: str) -> int | None:
    """A size from /proc/self/status, in bytes."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024
    return None
