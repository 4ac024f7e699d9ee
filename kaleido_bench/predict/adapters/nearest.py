"""The closest reference view, copied: the answer of a method that knows where the cameras are and nothing of the scene.

The distance between a reference camera r and a target camera t is

    d(r, t) = |centre_r - centre_t| / s  +  angle(axis_r, axis_t)

with `axis` the viewing direction (the camera's z axis in the world), `angle` in radians, and the scale `s` the largest
distance between two reference centres (1 where they coincide, or where there is one reference, and the choice is moot).
Rotating, moving or rescaling the world changes no distance. Ties go to the reference that comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int, UInt8

from kaleido_bench.predict.adapters.interface import (
    AdapterCard,
    Capabilities,
    ReferenceViews,
    TargetCameras,
    build_card,
)

# Distances that agree to this many decimals are ties: below it lies the rounding noise of a change of world frame.
TIE_DECIMALS = 9


class Nearest(NamedTuple):
    """Answers every target with a copy of the closest reference image."""

    capabilities: Capabilities = Capabilities(per_scene=False, generative=False, max_references=None)

    def describe(self) -> AdapterCard:
        return build_card("nearest", code_version="1", parameters=0, function_evaluations=0)

    def predict(
        self, references: ReferenceViews, targets: TargetCameras, generator: np.random.Generator
    ) -> UInt8[np.ndarray, "target height width 3"]:
        return references.images[choose_nearest(references.cameras.c2w, targets.cameras.c2w)]


def choose_nearest(
    reference_c2w: Float64[np.ndarray, "reference 4 4"], target_c2w: Float64[np.ndarray, "target 4 4"]
) -> Int[np.ndarray, " target"]:
    """The index of the closest reference for each target."""
    distance = pose_distances(reference_c2w, target_c2w)
    return np.argmin(np.round(distance, TIE_DECIMALS), axis=0)


def pose_distances(
    reference_c2w: Float64[np.ndarray, "reference 4 4"], target_c2w: Float64[np.ndarray, "target 4 4"]
) -> Float64[np.ndarray, "reference target"]:
    """d(r, t) as the head of this file defines it."""
    between = _centre_distances(reference_c2w, target_c2w)
    scale = _centre_distances(reference_c2w, reference_c2w).max()
    return between / (scale if scale > 0 else 1.0) + _axis_angles(reference_c2w, target_c2w)


def _centre_distances(
    a_c2w: Float64[np.ndarray, "a 4 4"], b_c2w: Float64[np.ndarray, "b 4 4"]
) -> Float64[np.ndarray, "a b"]:
    return np.linalg.norm(a_c2w[:, None, :3, 3] - b_c2w[None, :, :3, 3], axis=-1)


def _axis_angles(
    a_c2w: Float64[np.ndarray, "a 4 4"], b_c2w: Float64[np.ndarray, "b 4 4"]
) -> Float64[np.ndarray, "a b"]:
    """Angles between viewing directions, radians in [0, pi]; by arctan2, exact near 0 where arccos is not."""
    a, b = a_c2w[:, None, :3, 2], b_c2w[None, :, :3, 2]
    return np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(axis=-1))


def build(variant: str | None, args: Mapping[str, str], device: str) -> Nearest:
    return Nearest()
