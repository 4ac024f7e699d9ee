"""The unit shapes that worlds are made of, and where rays meet them. All are convex: a ray is inside for one interval.

A part is a unit shape under an affine frame, less another unit shape, its cutter. Which shape a slot holds is fixed,
so that a batch of worlds needs no branch.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

BALL, BOX, TUBE, CONE = range(4)
KINDS = (BALL,) * 6 + (BOX,) * 8 + (TUBE,) * 5 + (CONE,) * 3
PARTS = len(KINDS)
CUTTER_KINDS = tuple((BALL, BOX, TUBE)[slot % 3] for slot in range(PARTS))
FAR = 1e6  # an empty interval is [FAR, -FAR]
CAP = 0.9995  # a point this near to a cap is on the cap


def meet_quadric(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The roots of a t^2 + 2 b t + c, a > 0, as an interval; empty where there are none."""
    disc = b * b - a * c
    root = disc.clamp(min=0).sqrt()
    missed = disc <= 0
    return torch.where(missed, FAR, (-b - root) / a), torch.where(missed, -FAR, (-b + root) / a)


def meet_slabs(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave [-1, 1], axis by axis."""
    safe = torch.where(d.abs() < 1e-9, 1e-9, d)
    low, high = (-1 - o) / safe, (1 - o) / safe
    return torch.minimum(low, high), torch.maximum(low, high)


def meet_ball(o: Float[Tensor, "*ray 3"], d: Float[Tensor, "*ray 3"]) -> tuple[Tensor, Tensor]:
    return meet_quadric((d * d).sum(-1).clamp(min=1e-12), (o * d).sum(-1), (o * o).sum(-1) - 1)


def meet_box(o: Float[Tensor, "*ray 3"], d: Float[Tensor, "*ray 3"]) -> tuple[Tensor, Tensor]:
    enter, leave = meet_slabs(o, d)
    return enter.amax(-1), leave.amin(-1)


def meet_tube(o: Float[Tensor, "*ray 3"], d: Float[Tensor, "*ray 3"]) -> tuple[Tensor, Tensor]:
    """A cylinder of radius 1 about z, between z = -1 and 1."""
    enter, leave = meet_slabs(o[..., 2], d[..., 2])
    o, d = o[..., :2], d[..., :2]
    side = meet_quadric((d * d).sum(-1).clamp(min=1e-12), (o * d).sum(-1), (o * o).sum(-1) - 1)
    return torch.maximum(side[0], enter), torch.minimum(side[1], leave)


def meet_cone(o: Float[Tensor, "*ray 3"], d: Float[Tensor, "*ray 3"]) -> tuple[Tensor, Tensor]:
    """A cone of radius k = (1 - z) / 2 about z, between its base at z = -1 and its apex at z = 1."""
    enter, leave = meet_slabs(o[..., 2], d[..., 2])
    k, dk = (1 - o[..., 2]) / 2, -d[..., 2] / 2
    o, d = o[..., :2], d[..., :2]
    a = (d * d).sum(-1) - dk * dk
    a = torch.where(a.abs() < 1e-9, 1e-9, a)
    b, c = (o * d).sum(-1) - k * dk, (o * o).sum(-1) - k * k
    disc = b * b - a * c
    root = disc.clamp(min=0).sqrt()
    first, second = (-b - root) / a, (-b + root) / a
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    # A steep ray (a < 0) is inside both halves of the double cone; the slab keeps the half where k >= 0.
    steep, missed = a < 0, disc <= 0
    start = torch.where(steep, torch.where(dk > 0, high, -FAR), torch.where(missed, FAR, low))
    end = torch.where(steep, torch.where(dk > 0, FAR, low), torch.where(missed, -FAR, high))
    return torch.maximum(start, enter), torch.minimum(end, leave)


MEET = (meet_ball, meet_box, meet_tube, meet_cone)


def unit_normal(point: Float[Tensor, "*ray 3"], kind: Int[Tensor, "*ray"]) -> Float[Tensor, "*ray 3"]:
    """The outward gradient at a point of a unit shape's surface; its length means nothing."""
    size = point.abs()
    face = (size >= size.amax(-1, keepdim=True)).to(point.dtype) * point.sign()
    flat = torch.zeros_like(point)
    flat[..., 2] = point[..., 2].sign()
    round_ = point * torch.tensor([1.0, 1.0, 0.0], device=point.device)
    tube = torch.where(size[..., 2:] > CAP, flat, round_)
    lean = round_.clone()
    lean[..., 2] = (1 - point[..., 2]) / 4
    cone = torch.where(point[..., 2:] < -CAP, flat, lean)
    kind = kind[..., None]
    return torch.where(kind == BALL, point, torch.where(kind == BOX, face, torch.where(kind == TUBE, tube, cone)))
