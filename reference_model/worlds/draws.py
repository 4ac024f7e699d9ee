"""Random draws of whole batches from one CPU generator, so that a seed gives the same worlds on every device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import normalize


class Draw:
    """Uniform, log-uniform, directional and rotational draws from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator)

    def log_uniform(self, shape: tuple[int, ...], low: float, high: float) -> Tensor:
        return torch.exp(self.uniform(shape, math.log(low), math.log(high)))

    def direction(self, shape: tuple[int, ...]) -> Tensor:
        """Unit vectors [*shape, 3], uniform on the sphere."""
        return normalize(torch.randn((*shape, 3), generator=self.generator), dim=-1)

    def chance(self, shape: tuple[int, ...], probability: float) -> Tensor:
        """1 with this probability, else 0."""
        return (torch.rand(shape, generator=self.generator) < probability).float()

    def integer(self, shape: tuple[int, ...], count: int) -> Tensor:
        return torch.randint(count, shape, generator=self.generator)

    def choice(self, shape: tuple[int, ...], weights: tuple[float, ...]) -> Tensor:
        """Indices drawn in proportion to `weights`."""
        edges = torch.tensor(weights).cumsum(0) / sum(weights)
        return torch.bucketize(torch.rand(shape, generator=self.generator), edges[:-1], right=True)

    def rotation(self, shape: tuple[int, ...]) -> Tensor:
        """Uniform rotations [*shape, 3, 3], from normalised quaternions."""
        w, x, y, z = normalize(torch.randn((*shape, 4), generator=self.generator), dim=-1).unbind(-1)
        rows = [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ]
        return torch.stack(rows, -1).unflatten(-1, (3, 3))


def yaw(angle: Tensor) -> Tensor:
    """Rotations about z by angles in radians: [*angle, 3, 3]."""
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1).unflatten(-1, (3, 3))


Record = TypeVar("Record", bound=tuple[Any, ...])  # a NamedTuple of tensors and of further such records


def map_record(record: Record, change: Callable[[Tensor], Tensor]) -> Record:
    """The same record with every tensor changed."""
    return type(record)(*(map_record(x, change) if isinstance(x, tuple) else change(x) for x in record))


def select(record: Record, rows: slice) -> Record:
    """The same record for some of its worlds."""
    return map_record(record, lambda x: x[rows])


def to_device(record: Record, device: str | torch.device) -> Record:
    return map_record(record, lambda x: x.to(device, non_blocking=True))
