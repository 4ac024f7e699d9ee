"""Seconds a call on a GPU, for the benchmarks beside this file."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def timed(function: Callable[[], object], repeats: int) -> float:
    """Seconds a call, after one call that warms up."""
    function()
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(repeats):
        function()
    torch.cuda.synchronize()
    return (time.perf_counter() - begun) / repeats
