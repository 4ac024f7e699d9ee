"""Moving all cameras of a case into another world frame, by a named rule or by a factor: similarities of the world.

A protocol names the rule (`cameras: {policy: normalised, rule}`); K stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from kaleido_bench.data.cameras import Cameras, invert_rigid
from kaleido_bench.errors import BenchError


class NormalisedCameras(NamedTuple):
    """Reference and target cameras in the same, new world frame."""

    references: Cameras
    targets: Cameras


class Similarity(NamedTuple):
    """world' = scale * (rotation @ world + translation): the change of world frame a rule stands for."""

    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, " 3"]
    scale: float


def _first_reference(references: Cameras, targets: Cameras) -> Similarity:
    """The first reference camera becomes the identity: c2w' = c2w_0^-1 c2w. World units stay."""
    w2c = invert_rigid(references.c2w[0])
    return Similarity(w2c[:3, :3], w2c[:3, 3], 1.0)


def _first_reference_unit(references: Cameras, targets: Cameras) -> Similarity:
    """As `first-reference`, then translations are divided by the largest |centre| of any camera, reference or target.

    Every camera ends within the unit ball around the first reference, and one at least on it. Defined with a single
    reference too, since the targets' cameras are given.
    """
    w2c = invert_rigid(references.c2w[0])
    centres = np.concatenate([_centres(references), _centres(targets)])
    distances = np.linalg.norm(centres - _centres(references)[0], axis=1)
    return Similarity(w2c[:3, :3], w2c[:3, 3], 1.0 / _positive(distances.max(), "first-reference-unit", "cameras"))


def _unit_radius(references: Cameras, targets: Cameras) -> Similarity:
    """The mean of the reference camera centres goes to the origin; their mean distance from it is 1. No rotation."""
    centres = _centres(references)
    middle = centres.mean(axis=0)
    radius = np.linalg.norm(centres - middle, axis=1).mean()
    return Similarity(np.eye(3), -middle, 1.0 / _positive(radius, "unit-radius", "reference cameras"))


def _focus_unit(references: Cameras, targets: Cameras) -> Similarity:
    """The point nearest to all optical axes goes to the origin; the mean distance from it becomes 1. No rotation.

    The point p minimises sum_v |(I - d_v d_v^T)(p - o_v)|^2 over all cameras, references and targets, with o the centre
    and d the unit viewing direction: (sum_v I - d_v d_v^T) p = sum_v (I - d_v d_v^T) o_v.
    """
    c2w = np.concatenate([references.c2w, targets.c2w])
    centres, directions = c2w[:, :3, 3], c2w[:, :3, 2]
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    system = across.sum(axis=0)
    if np.linalg.cond(system) > 1e8:
        raise BenchError(
            "normalisation focus-unit",
            "all optical axes are parallel",
            expected="axes that meet near a point",
            fix="Choose another rule, such as first-reference-unit.",
        )
    focus = np.asarray(np.linalg.solve(system, np.einsum("vij,vj->i", across, centres)), np.float64)
    distance = np.linalg.norm(centres - focus, axis=1).mean()
    return Similarity(np.eye(3), -focus, 1.0 / _positive(distance, "focus-unit", "cameras"))


NORMALISATIONS: Mapping[str, Callable[[Cameras, Cameras], Similarity]] = MappingProxyType(
    {
        "first-reference": _first_reference,
        "first-reference-unit": _first_reference_unit,
        "unit-radius": _unit_radius,
        "focus-unit": _focus_unit,
    }
)
"""The named rules: similarities of the world, the same for references and targets. Each docstring is the formula."""


def normalise_cameras(references: Cameras, targets: Cameras, rule: str) -> NormalisedCameras:
    """Move references and targets into the world frame that `rule` (a key of NORMALISATIONS) defines. K stays.

    Raises:
        BenchError: an unknown rule, or cameras for which the rule is not defined (all in one place, all axes parallel).
    """
    if rule not in NORMALISATIONS:
        raise BenchError(
            "normalisation rule",
            repr(rule),
            expected=f"one of {', '.join(NORMALISATIONS)}",
            fix="Correct the protocol.",
        )
    similarity = NORMALISATIONS[rule](references, targets)
    return NormalisedCameras(_apply_similarity(references, similarity), _apply_similarity(targets, similarity))


def scale_cameras(cameras: Cameras, factor: float) -> Cameras:
    """Camera centres times `factor` (> 0), about the world's origin: one step of an oracle scale sweep."""
    if not (np.isfinite(factor) and factor > 0):
        raise BenchError(
            "camera scale", str(factor), expected="a positive number", fix="Correct the protocol's scales."
        )
    c2w = cameras.c2w.copy()
    c2w[:, :3, 3] *= factor
    return cameras._replace(c2w=c2w)


def _apply_similarity(cameras: Cameras, similarity: Similarity) -> Cameras:
    c2w = cameras.c2w.copy()
    c2w[:, :3, :3] = similarity.rotation @ cameras.c2w[:, :3, :3]
    c2w[:, :3, 3] = similarity.scale * (_centres(cameras) @ similarity.rotation.T + similarity.translation)
    return cameras._replace(c2w=c2w)


def _centres(cameras: Cameras) -> Float64[np.ndarray, "view 3"]:
    return cameras.c2w[:, :3, 3]


def _positive(length: float | np.floating[Any], rule: str, what: str) -> float:
    if not length > 1e-9:
        raise BenchError(
            f"normalisation {rule}",
            f"all {what} are in one place",
            expected="at least two different places",
            fix="Choose another rule, such as first-reference.",
        )
    return float(length)
