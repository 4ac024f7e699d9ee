"""Which views make a training sequence, and how many of them are references. Pure functions of poses and a generator.

A rule picks `views` cameras of each scene's pool and puts them in an order whose first r are the references, whatever r
is: one number a step serves the whole batch, so attention needs no mask. The paper names "principled view sampling" and
gives neither rules nor numbers: these are ours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from reference_model.positions import pose_distances

# Few references are the hard and common case. At least two targets are always left to learn from.
WEIGHTS = (0.22, 0.18, 0.2, 0.15, 0.13, 0.12)

# Cameras look together where the mean cosine between their axes and the way to the place nearest to all axes is above
# FACING (of orbits, arcs, paths and free views it is above 0.9, of walks below 0.5), or the mean of axes above ONE_WAY.
FACING, ONE_WAY = 0.7, 0.95

# Of the scenes whose cameras lie within NARROW of their mean (normalised; root of the mean square), the share that is
# shown as if axes never met.
PARALLEL, NARROW, LEAST_SPREAD = 0.25, 0.5, 0.03

Rule = Callable[[Float[Tensor, "b pool 4 4"], int, torch.Generator], Int[Tensor, "b views"]]


def most_references(views: int) -> int:
    """How many of a sequence's views are references at the most."""
    return max(1, min(len(WEIGHTS), views - 2))


def draw_reference_count(step: int, seed: int, views: int, dropout: float = 0.0) -> int:
    """References at this step, from 1 to views - 2 (or 1), by `WEIGHTS`; 0 with probability `dropout`, so that sampling
    can be guided. A pure function: a resumed run draws the same.
    """
    most = most_references(views)
    weights = np.asarray(WEIGHTS[:most])
    generator = np.random.default_rng((seed, step))
    count = 1 + int(generator.choice(most, p=weights / weights.sum()))
    return 0 if dropout and generator.random() < dropout else count


def take_given(c2w: Float[Tensor, "b pool 4 4"], views: int, generator: torch.Generator) -> Int[Tensor, "b views"]:
    """The first ones, as they come."""
    return torch.arange(views).expand(c2w.shape[0], views)


def take_random(c2w: Float[Tensor, "b pool 4 4"], views: int, generator: torch.Generator) -> Int[Tensor, "b views"]:
    """Any of the pool, in any order."""
    return torch.rand(c2w.shape[:2], generator=generator).argsort(1)[:, :views]


def take_orbit(c2w: Float[Tensor, "b pool 4 4"], views: int, generator: torch.Generator) -> Int[Tensor, "b views"]:
    """As far apart as the pool allows: from a random one on, each time the camera farthest from those taken
    (positions.pose_distances). References cover the scene, targets lie in the gaps.
    """
    between = pose_distances(c2w, c2w, 1.0)
    rows = torch.arange(c2w.shape[0])
    taken = [torch.randint(c2w.shape[1], (c2w.shape[0],), generator=generator)]
    nearest = between[rows, taken[0]]
    for _ in range(views - 1):
        nearest[rows, taken[-1]] = -1  # never twice, even where poses coincide
        taken.append(nearest.argmax(1))
        nearest = torch.minimum(nearest, between[rows, taken[-1]])
    return torch.stack(taken, 1)


def take_trajectory(c2w: Float[Tensor, "b pool 4 4"], views: int, generator: torch.Generator) -> Int[Tensor, "b views"]:
    """Neighbours: a random camera and those nearest to it, in random order. Small baselines, as along a walk."""
    anchor = torch.randint(c2w.shape[1], (c2w.shape[0],), generator=generator)
    rows = torch.arange(c2w.shape[0])
    distance = pose_distances(c2w[rows, anchor][:, None], c2w, 1.0)[:, 0]
    distance[rows, anchor] = -1
    near = torch.argsort(distance, dim=1, stable=True)[:, :views]
    return near.gather(1, torch.rand(near.shape, generator=generator).argsort(1))


def take_video(c2w: Float[Tensor, "b pool 4 4"], views: int, generator: torch.Generator) -> Int[Tensor, "b views"]:
    """Frames at one stride: the largest that fits or any smaller one, from any start, in random order, so that
    references lie before, among and behind the targets. The pool is in the order of time; poses are not read.
    """
    scenes, pool = c2w.shape[:2]
    most = max((pool - 1) // max(views - 1, 1), 1)
    stride = torch.randint(1, most + 1, (scenes, 1), generator=generator)
    room = pool - stride * (views - 1)
    start = (torch.rand((scenes, 1), generator=generator) * room).long()
    shuffled = torch.rand((scenes, views), generator=generator).argsort(1)
    return start + stride * shuffled


def look_together(c2w: Float[Tensor, "b pool 4 4"]) -> Bool[Tensor, " b"]:
    """Whether a scene's cameras look at one place, or all one way: then any two of them see something in common."""
    c2w = c2w.double()
    centre, forward = c2w[..., :3, 3], c2w[..., :3, 2]
    aside = torch.eye(3, dtype=c2w.dtype, device=c2w.device) - forward[..., :, None] * forward[..., None, :]
    system, right = aside.sum(1), (aside @ centre[..., None]).sum(1)[..., 0]
    ridge = 1e-3 * torch.eye(3, dtype=c2w.dtype, device=c2w.device)  # decides where all axes are parallel
    place = torch.linalg.solve(system + ridge, right + 1e-3 * centre.mean(1))
    towards = normalize(place[:, None] - centre, dim=-1)
    return ((towards * forward).sum(-1).mean(1) > FACING) | (forward.mean(1).norm(dim=-1) > ONE_WAY)


def take_mixed(c2w: Float[Tensor, "b pool 4 4"], views: int, generator: torch.Generator) -> Int[Tensor, "b views"]:
    """For each scene one rule is drawn: `orbit` for half of them, `trajectory` and `given` for a quarter each. Where
    cameras look in many directions from among the things, the views farthest apart have little in common: there
    `trajectory` and `given` take half each.
    """
    drawn = torch.rand((c2w.shape[0],), generator=generator)
    drawn = torch.where((drawn < 0.5) & ~look_together(c2w), 0.5 + drawn, drawn)[:, None]
    given, near = take_given(c2w, views, generator), take_trajectory(c2w, views, generator)
    return torch.where(drawn < 0.5, take_orbit(c2w, views, generator), torch.where(drawn < 0.75, near, given))


RULES: dict[str, Rule] = {
    "given": take_given,
    "random": take_random,
    "orbit": take_orbit,
    "trajectory": take_trajectory,
    "mixed": take_mixed,
    "video": take_video,
}


def sample_views(
    rule: str, c2w: Float[Tensor, "b pool 4 4"], views: int, generator: torch.Generator
) -> Int[Tensor, "b views"]:
    """The cameras of each scene's sequence, by a named rule. ValueError for an unknown rule or a pool that is too
    small.
    """
    if rule not in RULES:
        raise ValueError(f"view rule {rule!r}: expected one of {', '.join(RULES)}")
    if c2w.shape[1] < views:
        raise ValueError(f"{c2w.shape[1]} cameras a scene: {views} are to be taken")
    return RULES[rule](c2w, views, generator)


def draw_units(
    c2w: Float[Tensor, "b v 4 4"], spread: float, share: float, generator: torch.Generator
) -> Float[Tensor, "b v 4 4"]:
    """The same poses, `share` of the scenes in another unit each: translations are multiplied by exp(-spread) to
    exp(spread), and in PARALLEL of the scenes with near cameras (`share` of them, if that is less), about their mean,
    by 1 to what makes their spread 1, all log-uniformly. A normalisation that goes by where axes meet takes the
    cameras' own spread for 1 where axes nearly never meet, and things then lie twenty units away: a model that learns
    from one unit alone fails there. One that learns from no unit in particular (share 1) cannot tell a scene's size
    from one reference.
    """
    centre = c2w[..., :3, 3].double()
    mean = centre.mean(1, keepdim=True)
    narrow = (centre - mean).square().sum(-1).mean(1).sqrt()
    drawn, chance = torch.rand((2, c2w.shape[0]), generator=generator, dtype=torch.float64)
    far = (chance < min(PARALLEL, share)) & (narrow < NARROW)
    factor = torch.where(far, -narrow.clamp(min=LEAST_SPREAD).log() * drawn, spread * (2 * drawn - 1))
    factor = torch.where(chance < share, factor, 0.0).exp()
    moved = (centre - torch.where(far[:, None, None], mean, 0)) * factor[:, None, None]
    return torch.cat([torch.cat([c2w[..., :3, :3], moved[..., None].to(c2w)], -1), c2w[..., 3:, :]], -2)
