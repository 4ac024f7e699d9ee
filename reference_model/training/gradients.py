"""All gradients as views of one buffer: zeroed, summed over processes and clipped in one pass each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.training.parallel import Team

ALIGNED = 64  # elements: where each gradient begins


class Accumulator(Protocol):
    """Where the backward passes of a step leave their gradients (sharding.ShardedGradients is the other)."""

    def attach(self) -> None:
        """Before each of them."""
        ...

    def zero(self) -> None: ...

    def average(self, team: Team, pieces: int) -> None: ...

    def clip(self, limit: float) -> Float[Tensor, " parameter"]: ...


class Gradients:
    """Of these parameters, whose `.grad` they become (and stay: `attach` after anything that may replace them)."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = parameters
        padded = [-(-p.numel() // ALIGNED) * ALIGNED for p in parameters]
        self.flat = torch.zeros(sum(padded), device=parameters[0].device)
        parts = self.flat.split(padded)
        self.views = [part[: p.numel()].view(p.shape) for part, p in zip(parts, parameters, strict=True)]
        self.attach()

    def attach(self) -> None:
        for parameter, view in zip(self.parameters, self.views, strict=True):
            parameter.grad = view

    def zero(self) -> None:
        self.flat.zero_()
        self.attach()

    def average(self, team: Team, pieces: int) -> None:
        """Turn each process' sums over its own pieces into the mean over all pieces."""
        team.add_up(self.flat)
        self.flat.div_(pieces)

    def clip(self, limit: float) -> Float[Tensor, " parameter"]:
        """Scale all so that their joint norm is at most `limit`; returns each one's norm before that. Where one is no
        number all become 0: the weights stay numbers, and which layer it was can be found (train.Loop.name_overflow).
        """
        norms = torch.stack(torch._foreach_norm(self.views))
        total = norms.norm()
        self.flat.mul_((limit / (total + 1e-6)).clamp(max=1.0)).masked_fill_(~total.isfinite(), 0.0)
        return norms
