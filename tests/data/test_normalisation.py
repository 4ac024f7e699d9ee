"""Normalisation: each rule is one similarity of the world, and ends where its docstring says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kaleido_bench.data.cameras import Camera, Cameras, build_camera, intrinsics_matrix, project, stack_cameras
from kaleido_bench.data.normalisation import NORMALISATIONS, normalise_cameras, scale_cameras
from kaleido_bench.errors import BenchError

WIDTH, HEIGHT = 640, 480
K = intrinsics_matrix(500.0, 510.0, 300.0, 250.0)


def ring(count: int, radius: float, middle: np.ndarray, phase: float) -> Cameras:
    """Cameras on a tilted ring, looking at `middle` exactly."""
    poses: list[Camera] = []
    for angle in phase + np.arange(count) * 2 * math.pi / count:
        offset = radius * np.array([math.cos(angle), 0.3 * math.sin(2 * angle), math.sin(angle)])
        forward = -offset / np.linalg.norm(offset)
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= np.linalg.norm(right)
        c2w = np.eye(4)
        c2w[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
        c2w[:3, 3] = middle + offset
        poses.append(build_camera(c2w, K, WIDTH, HEIGHT, where="test"))
    return stack_cameras(poses)


MIDDLE = np.array([3.0, -7.0, 11.0])
REFERENCES, TARGETS = ring(5, 4.0, MIDDLE, 0.1), ring(4, 6.0, MIDDLE, 0.5)


def centres(cameras: Cameras) -> np.ndarray:
    return cameras.c2w[:, :3, 3]


@pytest.mark.parametrize("rule", NORMALISATIONS)
def test_a_normalisation_is_one_similarity_of_the_world(rule: str) -> None:
    # What each camera sees of every other camera must stay, and all distances must change by one factor.
    before = np.concatenate([REFERENCES.c2w, TARGETS.c2w])
    normalised = normalise_cameras(REFERENCES, TARGETS, rule)
    after = np.concatenate([normalised.references.c2w, normalised.targets.c2w])
    factors: list[np.ndarray] = []
    for old, new in zip(before, after, strict=True):
        seen_before = project(build_camera(old, K, WIDTH, HEIGHT, where="old"), before[:, :3, 3])
        seen_after = project(build_camera(new, K, WIDTH, HEIGHT, where="new"), after[:, :3, 3])
        other = np.abs(seen_before.depth) > 1e-6
        assert np.allclose(seen_before.pixels[other], seen_after.pixels[other], rtol=1e-6)
        factors.append(seen_after.depth[other] / seen_before.depth[other])
    assert np.ptp(np.concatenate(factors)) < 1e-9
    assert np.array_equal(normalised.references.K, REFERENCES.K) and normalised.targets[2:] == TARGETS[2:]


def test_first_reference_becomes_the_identity() -> None:
    references, targets = normalise_cameras(REFERENCES, TARGETS, "first-reference")
    assert np.allclose(references.c2w[0], np.eye(4), atol=1e-12)
    assert np.allclose(targets.c2w, np.linalg.inv(REFERENCES.c2w[0]) @ TARGETS.c2w, atol=1e-9)


def test_first_reference_unit_ends_in_the_unit_ball() -> None:
    references, targets = normalise_cameras(REFERENCES, TARGETS, "first-reference-unit")
    assert np.allclose(references.c2w[0], np.eye(4), atol=1e-12)
    assert np.linalg.norm(np.concatenate([centres(references), centres(targets)]), axis=1).max() == pytest.approx(1)


def test_first_reference_unit_is_defined_for_one_reference() -> None:
    one = REFERENCES._replace(c2w=REFERENCES.c2w[:1], K=REFERENCES.K[:1])
    _, targets = normalise_cameras(one, TARGETS, "first-reference-unit")
    assert np.linalg.norm(centres(targets), axis=1).max() == pytest.approx(1)


def test_unit_radius_knows_the_references_only() -> None:
    references, _ = normalise_cameras(REFERENCES, TARGETS, "unit-radius")
    assert np.allclose(centres(references).mean(axis=0), 0, atol=1e-12)
    assert np.linalg.norm(centres(references), axis=1).mean() == pytest.approx(1)
    moved = normalise_cameras(REFERENCES, scale_cameras(TARGETS, 3.0), "unit-radius").references
    assert np.array_equal(moved.c2w, references.c2w)


def test_focus_unit_puts_what_all_look_at_at_the_origin() -> None:
    references, targets = normalise_cameras(REFERENCES, TARGETS, "focus-unit")
    for c2w in np.concatenate([references.c2w, targets.c2w]):
        towards = -c2w[:3, 3] / np.linalg.norm(c2w[:3, 3])
        assert np.allclose(towards, c2w[:3, 2], atol=1e-9)  # all rings look at MIDDLE, so MIDDLE is now the origin
    both = np.concatenate([centres(references), centres(targets)])
    assert np.linalg.norm(both, axis=1).mean() == pytest.approx(1)


def test_normalisation_refuses_what_it_is_not_defined_for() -> None:
    still = REFERENCES._replace(c2w=np.repeat(REFERENCES.c2w[:1], 5, axis=0))
    with pytest.raises(BenchError, match="unit-radius: all reference cameras are in one place"):
        normalise_cameras(still, TARGETS, "unit-radius")
    with pytest.raises(BenchError, match="first-reference-unit: all cameras are in one place"):
        normalise_cameras(still, still, "first-reference-unit")
    parallel = REFERENCES.c2w.copy()
    parallel[:, :3, :3] = np.eye(3)
    with pytest.raises(BenchError, match="all optical axes are parallel"):
        normalise_cameras(REFERENCES._replace(c2w=parallel), REFERENCES._replace(c2w=parallel), "focus-unit")
    with pytest.raises(BenchError, match="'unit'; expected one of first-reference"):
        normalise_cameras(REFERENCES, TARGETS, "unit")


def test_scale_cameras_scales_centres_alone() -> None:
    scaled = scale_cameras(REFERENCES, 0.5)
    assert np.array_equal(centres(scaled), 0.5 * centres(REFERENCES))
    assert np.array_equal(scaled.c2w[:, :3, :3], REFERENCES.c2w[:, :3, :3])
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(BenchError, match="a positive number"):
            scale_cameras(REFERENCES, bad)
