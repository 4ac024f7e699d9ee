"""Choosing references and targets, once, when a protocol is written. Pure; what is chosen is then frozen in an index.

Poses are compared as six numbers, the camera centre and the unit viewing direction. SEVA chooses its inputs by k-means
over the same six (Stability-AI/stable-virtual-camera, benchmark/export_reconfusion_example.py). Centres are first moved
to their mean and divided by their root mean square distance from it, so that a choice does not depend on the unit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from kaleido_bench.cases import Case, default_case_id
from kaleido_bench.data.cameras import Camera

ROUNDING = 6
"""Decimals that distances are rounded to before they are compared, so that equal ones (turntables have many) stay equal
on every machine, and the lower index wins."""


def describe_poses(cameras: Sequence[Camera]) -> Float64[np.ndarray, "view 6"]:
    """Camera centres, without the scene's unit, and unit viewing directions."""
    c2w = np.stack([camera.c2w for camera in cameras])
    centres = c2w[:, :3, 3] - c2w[:, :3, 3].mean(axis=0)
    radius = float(np.sqrt((centres**2).sum(axis=1).mean()))
    return np.concatenate([centres / (radius or 1.0), c2w[:, :3, 2]], axis=1)


def choose_spread(count: int, wanted: int) -> list[int]:
    """`wanted` of `count` positions, evenly spread and away from the ends: the middles of `wanted` equal stretches."""
    wanted = min(wanted, count)
    return [int((2 * step + 1) * count // (2 * wanted)) for step in range(wanted)]


def choose_linspace(count: int, wanted: int) -> list[int]:
    """`wanted` of `count` positions by `round(linspace(0, count - 1, wanted))`, as RegNeRF and FreeNeRF choose inputs.

    Source: Jiawei-Yang/FreeNeRF, internal/datasets.py; Python's round, to even at a half.
    """
    return [round(float(position)) for position in np.linspace(0, count - 1, wanted)]


def choose_every(count: int, step: int) -> list[int]:
    """Positions 0, step, 2 step, ...: `index % 8 == 0` is the field's test set of LLFF and Mip-NeRF 360."""
    return list(range(0, count, step))


def order_references(
    poses: Float64[np.ndarray, "view 6"], candidates: Sequence[int], targets: Sequence[int], wanted: int
) -> list[int]:
    """`wanted` candidates, the first of which are the best fewer ones: farthest-point sampling of poses.

    The first is the candidate nearest to the mean of the targets' poses; each next one is the candidate farthest from
    all chosen so far. A prefix of the order is therefore the choice for fewer references, and references are nested.

    Args:
        poses: from `describe_poses`.
        candidates: indices of views that may become references, none of them a target.
        targets: indices of the target views.
        wanted: how many, at most `len(candidates)`.
    """
    pool = np.asarray(sorted(candidates))
    middle = poses[list(targets)].mean(axis=0)
    chosen = [int(pool[int(np.argmin(_distances(poses[pool], middle)))])]
    nearest = _distances(poses[pool], poses[chosen[0]])
    while len(chosen) < wanted:
        chosen.append(int(pool[int(np.argmax(nearest))]))
        nearest = np.minimum(nearest, _distances(poses[pool], poses[chosen[-1]]))
    return chosen


def _distances(
    poses: Float64[np.ndarray, "view 6"], point: Float64[np.ndarray, " pose"]
) -> Float64[np.ndarray, " view"]:
    distances: Float64[np.ndarray, " view"] = np.sqrt(((poses - point) ** 2).sum(axis=1))
    return distances.round(ROUNDING)


def nested_cases(scene: str, order: Sequence[str], targets: Sequence[str], counts: Sequence[int]) -> list[Case]:
    """One case per reference count, `<scene>-r<count>`, with the same targets: references are prefixes of `order`.

    A scene's name may be a path; `/` is `_` in the ids.
    """
    return [
        Case(id=default_case_id(scene, count), scene=scene, references=tuple(order[:count]), targets=tuple(targets))
        for count in counts
    ]
