"""Which device a worker computes on. Torch is imported only where the answer needs it."""

from __future__ import annotations

import re

from kaleido_bench.errors import BenchError

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check_device(device: str) -> str:
    """Refuse a misspelt device without importing torch."""
    if not _DEVICE.fullmatch(device):
        raise BenchError(
            "--device",
            f"{device!r}",
            expected="auto, cpu, cuda, cuda:N or mps",
            fix="`kbench doctor` lists the devices.",
        )
    return device


def resolve_device(device: str, worker: int = 0) -> str:
    """The torch device of a worker: `auto` and `cuda` deal the GPUs out in turn; `auto` without a GPU is `cpu`.

    Raises:
        BenchError: the device is not on this machine.
    """
    check_device(device)
    if device == "cpu":
        return device
    import torch  # two seconds, which a run on the CPU need not spend here

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device in ("auto", "cuda") and gpus:
        return f"cuda:{worker % gpus}"
    if device == "auto":
        return "cpu"
    index = int(device.partition(":")[2] or 0)
    here = torch.backends.mps.is_available() if device == "mps" else index < gpus
    if not here:
        raise BenchError(
            "--device",
            f"{device!r} is not on this machine",
            expected=f"auto, cpu or one of {gpus} GPUs",
            fix="`kbench doctor` lists the devices.",
        )
    return device
