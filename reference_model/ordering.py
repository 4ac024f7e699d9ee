"""In which order targets are made, and which views are nearest to them: by where cameras are and, where the views have
times, by when.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.model import Views
from reference_model.positions import pose_distances

LEAST_SPREAD = 1e-3  # of normalised centres, as the unit of their distances: smaller, rounding would outweigh angles
LEAST_TIMES = 1.0  # frames: the least unit of distances in time

Order = Callable[[Views, Views], list[int]]
"""The order of one scene's targets, from its references and them."""


def view_distances(a: Views, b: Views, unit: Tensor | float, time_unit: Tensor | float) -> Float[Tensor, "a b"]:
    """How far apart the views of one scene are: in pose (positions.pose_distances), and in time where both have times.
    Frames whose poses are not told (identity poses) differ in time alone.
    """
    distance = pose_distances(a.c2w[0], b.c2w[0], unit)
    if a.times is None or b.times is None:
        return distance
    return distance + (a.times[0, :, None] - b.times[0]).abs() / time_unit


def spread_of_times(views: Views) -> Tensor | float:
    """The mean distance of the views' times from their mean, in frames: what a distance in time is measured in."""
    if views.times is None:
        return LEAST_TIMES
    return (views.times[0] - views.times[0].mean()).abs().mean().clamp(min=LEAST_TIMES)


def order_nearest(references: Views, targets: Views) -> list[int]:
    """Each time the target nearest to any reference or any target taken before: the known grows outwards."""
    return _follow(references, targets, torch.minimum)


def order_trajectory(references: Views, targets: Views) -> list[int]:
    """A path: first the target nearest to a reference, then each time the one nearest to the last."""
    return _follow(references, targets, lambda _, last: last.clone())


def _follow(references: Views, targets: Views, update: Callable[[Tensor, Tensor], Tensor]) -> list[int]:
    """Each time the cheapest target, which at first is the one nearest to a reference.

    Args:
        update: the costs from the costs before and the distances to the target just taken; a new tensor.
    """
    unit = spread_of_times(references)
    between = view_distances(targets, targets, 1.0, unit)
    cost = view_distances(targets, references, 1.0, unit).amin(1)
    order: list[int] = []
    for _ in range(targets.c2w.shape[1]):
        order.append(int(cost.argmin()))
        cost = update(cost, between[order[-1]])
        cost[order] = torch.inf
    return order


ORDERS: dict[str, Order] = {
    "given": lambda references, targets: list(range(targets.c2w.shape[1])),
    "nearest": order_nearest,
    "trajectory": order_trajectory,
}


def choose_references(references: Views, targets: Views, limit: int) -> list[int]:
    """The `limit` references nearest to the targets: by the centre's distance, in spreads of the centres, plus the
    angle between the viewing directions in radians, plus the distance of their times, if they have any, in spreads of
    the times; smallest over the targets. All of them, in order, when there are no more than `limit`. Where all stand at
    one place, as on a tripod, angles decide; where poses are not told, times do.
    """
    count = references.c2w.shape[1]
    if count <= limit:
        return list(range(count))
    centres = references.c2w[0, :, :3, 3]
    spread = (centres - centres.mean(0)).norm(dim=-1).mean().clamp(min=LEAST_SPREAD)
    cost = view_distances(references, targets, spread, spread_of_times(references)).min(1).values
    return sorted(torch.argsort(cost, stable=True)[:limit].tolist())
