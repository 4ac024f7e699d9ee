"""Real cameras, checked against real pixels: matched features must lie on each other's epipolar lines.

For every scene, SIFT features of neighbouring views at the prepared size (256 x 256, cover-crop, nothing upscaled) are
matched by ratio test and mutual consent; nothing throws outliers away by geometry. The error is the mean of the two
distances between a feature and its partner's epipolar line, in pixels of the prepared image, under our K and c2w.

A wrong convention must be far worse, or the test would say nothing; and for nearly sideways pairs under a long lens the
absolute bound alone says little, so wrong cameras are held against the right ones on the same matches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from kaleido_bench.data.cameras import Camera, c2w_to_opengl, invert_rigid
from kaleido_bench.data.images import ImagePreparation
from kaleido_bench.data.readers.transforms import TransformsReader
from kaleido_bench.data.scenes import Scene, load_view

SCENES = (
    "buddha13",
    "dtu_scan24",
    "fox",
    "gso_toy",
    "llff_fern",
    "llff_flower",
    "lund_door",
    "mydesk",
    "nerd_gold_cape",
    "nerf_synthetic_lego",
    "strecha_castle_p30",
    "strecha_fountain_p11",
    "temple_ring",
)
PREPARATION = ImagePreparation(
    size=(256, 256), fit="cover-crop", filter="lanczos", antialias=True, background="white", alpha="composite"
)
PAIRS = 12
RATIO = 0.75


class Features(NamedTuple):
    """A prepared view's camera, the camera before preparation, and its SIFT features."""

    camera: Camera
    stored: Camera
    pixels: np.ndarray
    descriptors: np.ndarray


class Matches(NamedTuple):
    first: Features
    second: Features
    in_first: np.ndarray
    in_second: np.ndarray


def neighbours(scene: Scene) -> list[tuple[str, str]]:
    """Each view with its nearest by distance and viewing angle, evenly thinned to PAIRS."""
    ids = list(scene.views)
    c2w = np.stack([view.camera.c2w for view in scene.views.values()])
    distance = np.linalg.norm(c2w[:, None, :3, 3] - c2w[None, :, :3, 3], axis=-1)
    angle = np.arccos(np.clip(c2w[:, :3, 2] @ c2w[:, :3, 2].T, -1, 1))
    cost = distance / np.median(distance) + angle
    cost[distance < 1e-3 * np.median(distance)] = np.inf  # itself; and without a baseline there is no epipolar geometry
    pairs = sorted({tuple(sorted((i, int(np.argmin(cost[i]))))) for i in range(len(ids))})
    chosen = np.unique(np.linspace(0, len(pairs) - 1, PAIRS).round().astype(int))
    return [(ids[pairs[n][0]], ids[pairs[n][1]]) for n in chosen]


def find_features(scene: Scene, view_id: str) -> Features:
    view = load_view(scene, view_id, PREPARATION)
    sift = cv2.SIFT_create(contrastThreshold=0.02)
    points, descriptors = sift.detectAndCompute(cv2.cvtColor(view.image, cv2.COLOR_RGB2GRAY), None)
    # OpenCV counts from the centre of the first pixel, we from its corner.
    pixels = np.array([point.pt for point in points]).reshape(-1, 2) + 0.5
    return Features(view.camera, scene.views[view_id].camera, pixels, descriptors)


def match_features(first: Features, second: Features) -> Matches:
    matcher = cv2.BFMatcher()
    back = {match.queryIdx: match.trainIdx for (match,) in matcher.knnMatch(second.descriptors, first.descriptors, k=1)}
    forth = matcher.knnMatch(first.descriptors, second.descriptors, k=2)
    kept = [best for best, other in forth if best.distance < RATIO * other.distance]
    pairs = [(match.queryIdx, match.trainIdx) for match in kept if back[match.trainIdx] == match.queryIdx]
    i, j = np.array(pairs, int).reshape(-1, 2).T
    return Matches(first, second, first.pixels[i], second.pixels[j])


def epipolar_errors(first: Camera, second: Camera, in_first: np.ndarray, in_second: np.ndarray) -> np.ndarray:
    """The mean of both point-to-line distances, in pixels, under F = K2^-T [t]x R K1^-1."""
    second_from_first = invert_rigid(second.c2w) @ first.c2w
    x, y, z = second_from_first[:3, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    F = np.linalg.inv(second.K).T @ cross @ second_from_first[:3, :3] @ np.linalg.inv(first.K)
    ones = np.ones((len(in_first), 1))
    a, b = np.hstack([in_first, ones]), np.hstack([in_second, ones])
    lines_b, lines_a = a @ F.T, b @ F
    residual = np.abs((b * lines_b).sum(axis=1))
    return residual * (1 / np.linalg.norm(lines_b[:, :2], axis=1) + 1 / np.linalg.norm(lines_a[:, :2], axis=1)) / 2


def median_error(matches: list[Matches], camera_of: Callable[[Features], Camera]) -> float:
    errors = [epipolar_errors(camera_of(m.first), camera_of(m.second), m.in_first, m.in_second) for m in matches]
    return float(np.median(np.concatenate(errors)))


def with_opengl_axes(features: Features) -> Camera:
    """What a reader gives that takes OpenGL's axes for OpenCV's."""
    return dataclasses.replace(features.camera, c2w=c2w_to_opengl(features.camera.c2w))


def with_inverse_pose(features: Features) -> Camera:
    """What a reader gives that takes world-to-camera for camera-to-world."""
    return dataclasses.replace(features.camera, c2w=invert_rigid(features.camera.c2w))


@pytest.mark.parametrize("name", SCENES)
def test_matched_features_lie_on_epipolar_lines(name: str, data_dir: Path) -> None:
    scene = TransformsReader().load_scene(data_dir / "scenes", name)
    pairs = neighbours(scene)
    features = {view_id: find_features(scene, view_id) for view_id in sorted({one for pair in pairs for one in pair})}
    matches = [match_features(features[first], features[second]) for first, second in pairs]
    count = sum(len(match.in_first) for match in matches)

    right = median_error(matches, lambda f: f.camera)
    axes = median_error(matches, with_opengl_axes)
    inverse = median_error(matches, with_inverse_pose)
    intrinsics = median_error(matches, lambda f: f.stored)  # as if resize and crop had not moved K
    print(
        f"{name}: {len(pairs)} pairs, {count} matches, median {right:.3f} px; "
        f"wrong axes {axes:.2f}, inverse pose {inverse:.2f}, K left behind {intrinsics:.2f}"
    )
    assert count >= 200
    assert right < 1.5
    assert axes > 5 * right
    assert inverse > 10 * right
    assert intrinsics > 3 * right
    assert max(axes, inverse) > 1.5


def test_every_scene_at_hand_is_checked(data_dir: Path) -> None:
    assert TransformsReader().scene_names(data_dir / "scenes") == list(SCENES)
