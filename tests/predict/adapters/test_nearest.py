from __future__ import annotations

import numpy as np
import pytest

from kaleido_bench.data.cameras import Cameras
from kaleido_bench.predict.adapters import ReferenceViews, TargetCameras
from kaleido_bench.predict.adapters.nearest import build, choose_nearest, pose_distances


def pose(centre: tuple[float, float, float], yaw: float = 0.0) -> np.ndarray:
    """Camera to world at `centre`, turned by `yaw` radians about the y axis."""
    c2w = np.eye(4)
    c2w[:3, :3] = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    c2w[:3, 3] = centre
    return c2w


def test_distance_is_the_centres_in_scene_scales_plus_the_angle() -> None:
    references = np.stack([pose((0, 0, 0)), pose((4, 0, 0), 0.5), pose((1, 0, 0))])
    targets = np.stack([pose((0, 3, 0), 0.2)])
    expected = [[3 / 4 + 0.2], [5 / 4 + 0.3], [np.sqrt(10) / 4 + 0.2]]
    np.testing.assert_allclose(pose_distances(references, targets), expected, rtol=0, atol=1e-12)


def test_opposite_views_are_half_a_turn_apart() -> None:
    references, targets = pose((0, 0, 0))[None], pose((0, 0, 0), np.pi)[None]
    assert pose_distances(references, targets)[0, 0] == pytest.approx(np.pi)


def test_choice_ignores_the_world_frame_and_unit() -> None:
    rng = np.random.default_rng(0)
    references = np.stack([pose(tuple(rng.normal(size=3)), rng.uniform(-3, 3)) for _ in range(8)])
    targets = np.stack([pose(tuple(rng.normal(size=3)), rng.uniform(-3, 3)) for _ in range(20)])
    world, chosen = pose((5, -2, 9), 1.1), choose_nearest(references, targets)

    def move(c2w: np.ndarray) -> np.ndarray:
        scaled = c2w.copy()
        scaled[:, :3, 3] *= 7.0
        return world @ scaled

    assert len(set(chosen.tolist())) > 3
    np.testing.assert_array_equal(choose_nearest(move(references), move(targets)), chosen)


def test_ties_go_to_the_first_reference_in_any_world_frame() -> None:
    references = np.stack([pose((1, 0, 0)), pose((-1, 0, 0)), pose((0, 1, 0)), pose((0, -1, 0))])
    target = pose((0, 0, 0))[None]
    for yaw in np.linspace(0, 3, 30):
        world = pose((0.1, 0.2, 0.3), yaw)
        assert choose_nearest(world @ references, world @ target).tolist() == [0]


def test_the_image_is_copied() -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 4, 6, 3), np.uint8)
    intrinsics = np.repeat(np.eye(3)[None], 3, axis=0)
    references = ReferenceViews(
        ("a", "b"), images, Cameras(np.stack([pose((0, 0, 0)), pose((2, 0, 0))]), intrinsics[:2], 6, 4)
    )
    poses = np.stack([pose((1.9, 0, 0)), pose((0.1, 0, 0)), pose((1.2, 0, 0))])
    targets = TargetCameras("case", ("x", "y", "z"), Cameras(poses, intrinsics, 6, 4))
    predicted = build(None, {}, "cpu").predict(references, targets, np.random.default_rng(0))
    np.testing.assert_array_equal(predicted, images[[1, 0, 1]])
