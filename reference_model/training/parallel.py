"""Several processes that train one model, as torchrun starts them: each takes whole pieces of every step, and one sum
over a flat buffer makes their gradients one. A single process is a team of one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor


class Team(NamedTuple):
    rank: int
    size: int
    device: str  # of this process

    def take_pieces(self, pieces: int) -> range:
        """This process' share of a step's pieces. ValueError where they do not divide."""
        if pieces % self.size:
            raise ValueError(
                f"pieces={pieces} a step among {self.size} processes: expected a multiple; "
                f"--set train.pieces={self.size}, or start as many processes as divide {pieces}"
            )
        share = pieces // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def add_up(self, tensor: Tensor) -> None:
        """In place: the sum over all processes, the same bits in each."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def follow(self, *values: float) -> tuple[float, ...]:
        """What the first process says, so that all decide alike. On the host: the device is not waited for."""
        if self.size == 1:
            return values
        said = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(said, 0)
        return tuple(said.tolist())

    def fail_together(self, failed: Exception | None) -> None:
        """Raise where a process has failed, in all of them, so that none waits for it: its own error, or a ValueError
        with what the first one says. On the host: the device is not waited for.
        """
        if self.size > 1:
            count = torch.tensor(float(failed is not None))
            dist.all_reduce(count)
            if count:
                said: list[str | None] = [None] * self.size
                dist.all_gather_object(said, str(failed) if failed else None)
                failed = failed or ValueError(next(text for text in said if text is not None))
        if failed:
            raise failed

    def gather(self, texts: Sequence[str]) -> list[str]:
        """What each process says, in their order."""
        if self.size == 1:
            return list(texts)
        said: list[Sequence[str]] = [()] * self.size
        dist.all_gather_object(said, texts)
        return [text for each in said for text in each]

    def leave(self) -> None:
        if self.size > 1:
            dist.destroy_process_group()


def speaks() -> bool:
    """Whether this process is the one of its team that talks to the user."""
    return os.environ.get("RANK", "0") == "0"


def check_device(device: str) -> None:
    """Raises ValueError unless it is the CPU, or a CUDA GPU that is here."""
    kind, _, number = device.partition(":")
    if device != "cpu" and (kind != "cuda" or (number and not number.isdigit())):
        raise ValueError(f"device {device!r}: expected cpu, cuda or cuda:N")
    here = torch.cuda.device_count() if kind == "cuda" and torch.cuda.is_available() else 0
    if kind == "cuda" and int(number or 0) >= here:
        raise ValueError(f"device {device!r}: {here} CUDA GPUs are here; expected one of them, or cpu")


def join_team(device: str) -> Team:
    """The team that torchrun's environment names; without it, this process alone. `cuda` becomes the process' own GPU.

    Raises ValueError for a device that is not here or that nobody trains on; in all processes, where there are fewer
    GPUs than processes.
    """
    check_device(device)
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team(0, 1, device)
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", os.environ["RANK"]))
    if device.startswith("cuda"):
        here = int(os.environ.get("LOCAL_WORLD_SIZE", local + 1))
        if here > torch.cuda.device_count():
            raise ValueError(f"{here} processes on a machine of {torch.cuda.device_count()} GPUs: start fewer")
        torch.cuda.set_device(local)
        device = f"cuda:{local}"
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo")
    return Team(rank, size, device)
