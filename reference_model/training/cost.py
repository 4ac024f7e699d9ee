"""What a run takes at the least, known before anything is built: parameters, the bytes that stay, the arithmetic of a
step. Activations, rendering and sampling come on top.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import NamedTuple

import torch

from reference_model.config import Preset, Stage
from reference_model.flops import step_flops
from reference_model.model import Kaleido, count_parameters
from reference_model.optim import BatchedMuon, build_optimizers
from reference_model.view_sampling import most_references

GIB = 2**30
FLOAT = 4  # bytes: weights, gradients, average and what optimizers remember are float32
LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container
SIDE = 1024  # of the matrices by which a device is timed


class Cost(NamedTuple):
    parameters: int
    held: int  # bytes of a whole model that stay from step to step: weights, gradients, average, optimizers' memory
    least: float  # model FLOPs of the cheapest step of any stage and number of references, forward and backward
    most: float  # of the dearest

    def __str__(self) -> str:
        return (
            f"{self.parameters:,} parameters, {self.held / GIB:.3g} GiB with gradients, average and optimizers; "
            f"{self.least:.2g} to {self.most:.2g} FLOPs a step"
        )


def count_cost(preset: Preset) -> Cost:
    """Exactly, but for what `Cost` leaves out. Nothing is allocated: the model is built on the meta device."""
    with torch.device("meta"):
        model = Kaleido(preset.model)
    floats = 3 * count_parameters(model)
    for optimizer in build_optimizers(model, preset.train):
        remembered = 1 if isinstance(optimizer, BatchedMuon) else 2  # a momentum; AdamW's two moments
        floats += remembered * sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    steps = [flops for stage in preset.train.stages for flops in list_flops(preset, stage)]
    return Cost(count_parameters(model), FLOAT * floats, min(steps), max(steps))


def list_flops(preset: Preset, stage: Stage) -> list[int]:
    """Model FLOPs of a stage's steps, for each number of references that training draws."""
    first = 0 if preset.flow.reference_dropout else 1
    counts = range(first, most_references(preset.model.max_views) + 1)
    return [step_flops(preset.model, stage, references) for references in counts]


def find_memory(device: str) -> int | None:
    """Bytes that the device has in all, or that this machine lets a process have; None where it does not say."""
    if device != "cpu":
        return torch.cuda.get_device_properties(device).total_memory
    said: list[int] = []
    with contextlib.suppress(OSError, IndexError, ValueError):
        said.append(int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
        said.append(int(LIMIT.read_text()))
    return min(said, default=None)


def check_memory(preset: Preset, device: str, processes: int) -> None:
    """Raises ValueError where what stays from step to step is more than there is: at once, and not after minutes in
    which weights are drawn.

    Args:
        processes: that train together, a GPU each or all in this machine's memory.
    """
    cost, memory = count_cost(preset), find_memory(device)
    needed = cost.held / processes if preset.train.sharded else cost.held
    needed = needed * processes if device == "cpu" else needed
    if memory is None or needed <= memory:
        return
    raise ValueError(
        f"{cost.parameters:,} parameters on {device}: with gradients, average and optimizers at least "
        f"{needed / GIB:.1f} GiB, of which there are {memory / GIB:.1f}; expected a smaller preset, or more GPUs that "
        "share it (train.sharded)"
    )


def time_products() -> float:
    """FLOP/s of this machine's CPU in float32 matrix products, the best of three: a step's are no faster."""
    a, seconds = torch.ones(SIDE, SIDE), float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        a.mm(a)
        seconds = min(seconds, time.perf_counter() - begun)
    return 2 * SIDE**3 / seconds
