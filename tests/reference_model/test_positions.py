"""The parts of the encoding, each against its definition; what the whole keeps invariant is in test_invariance.py."""

from __future__ import annotations

import math

import pytest
import torch

from reference_model.positions import (
    NORMALISATIONS,
    apply_pose,
    build_pose_actions,
    build_rotations,
    build_times,
    camera_rays,
    invert_rigid,
    lift_intrinsics,
    normalise_poses,
    plucker_rays,
    rotate,
)
from reference_model.worlds.draws import Draw
from tests.reference_model.models import random_poses


def test_apply_pose_is_the_matrix_on_consecutive_four_vectors() -> None:
    x, matrix = torch.randn(2, 3, 5, 2, 16), torch.randn(2, 3, 1, 4, 4)
    expected = torch.einsum("bvij,bvnhgj->bvnhgi", matrix[:, :, 0], x.unflatten(-1, (4, 4))).flatten(-2)
    assert torch.allclose(apply_pose(x, matrix), expected, atol=1e-5)
    groups = torch.randn(2, 3, 2, 4, 4)  # two groups: a matrix for each half of the channels
    halves = [apply_pose(half, groups[:, :, i : i + 1]) for i, half in enumerate(x.chunk(2, -1))]
    assert torch.allclose(apply_pose(x, groups), torch.cat(halves, -1), atol=1e-5)


def test_rotations_turn_back_and_see_only_differences() -> None:
    rotations = build_rotations(4, 4, 16, torch.zeros(1, dtype=torch.float64))
    x = torch.randn(1, 16, 2, 16, dtype=torch.float64)
    there = rotate(x, rotations, 1)
    assert torch.allclose(rotate(there, rotations, -1), x, atol=1e-12)
    same = x[:, :1].expand_as(x)  # one vector at every place: the score depends on the offset alone
    turned = rotate(same, rotations, 1)
    score = torch.einsum("bihc,bjhc->bhij", turned, turned)
    assert torch.allclose(score[..., 0, 1], score[..., 1, 2], atol=1e-9)  # neighbours in x
    assert torch.allclose(score[..., 0, 4], score[..., 4, 8], atol=1e-9)  # neighbours in y
    assert (score[..., 0, 1] - score[..., 0, 2]).abs().max() > 1e-3


def test_the_projection_and_its_inverse() -> None:
    """PRoPE's P carries a world point to the unit image: (x - 1/2, y - 1/2) in shares of width and height."""
    c2w = random_poses(1)
    k = torch.tensor([[50.0, 0, 14.0], [0, 60.0, 18.0], [0, 0, 1]], dtype=torch.float64)[None, None]
    lift = lift_intrinsics(k, 32, 40)
    pose = build_pose_actions(c2w, lift, "joint")
    assert torch.allclose(pose.output @ pose.key, torch.eye(4, dtype=torch.float64).expand(1, 1, 1, 4, 4), atol=1e-12)
    local = torch.tensor([0.3, -0.2, 2.0, 1.0], dtype=torch.float64)
    image = (pose.output[0, 0, 0] @ c2w[0, 0] @ local)[:3]
    pixel = k[0, 0] @ local[:3] / local[2]
    expected = torch.stack([pixel[0] / 40 - 0.5, pixel[1] / 32 - 0.5])
    assert torch.allclose(image[:2] / image[2], expected, atol=1e-12)


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("value", ["joint", "split", "dual", "none"])
def test_every_action_is_relative(value: str, lifted: bool) -> None:
    """query^T key and output value of two views are what they were after a change of the world frame."""
    c2w, frame = random_poses(2), random_poses(1, seed=5)
    k = torch.tensor([[50.0, 0, 14.0], [0, 60.0, 18.0], [0, 0, 1]], dtype=torch.float64).expand(1, 2, 3, 3)
    lift = lift_intrinsics(k, 32, 32) if lifted else None
    both = [build_pose_actions(x, lift, value) for x in (c2w, frame @ c2w)]
    scores = [pose.query[:, 0].mT @ pose.key[:, 1] for pose in both]
    values = [pose.output[:, 0] @ pose.value[:, 1] for pose in both]
    assert torch.allclose(*scores, atol=1e-12)
    assert torch.allclose(*values, atol=1e-12)


def test_an_unknown_value_action_is_refused() -> None:
    with pytest.raises(ValueError, match="split"):
        build_pose_actions(random_poses(1), None, "half")


def test_plucker_rays_are_direction_and_moment() -> None:
    c2w = random_poses(1).float()
    k = torch.tensor([[50.0, 0, 14.0], [0, 60.0, 18.0], [0, 0, 1]])[None, None]
    rays = plucker_rays(c2w, k, 32, 32, 8)[0, 0].unflatten(-1, (3, 6))  # centre, half a patch right, half a patch down
    pixel = torch.tensor([12.0, 4.0])  # the second patch's centre
    direction = c2w[0, 0, :3, :3] @ torch.tensor([(12.0 - 14) / 50, (4.0 - 18) / 60, 1])
    moment = torch.linalg.cross(c2w[0, 0, :3, 3], direction)
    assert torch.allclose(rays[1, 0], torch.cat([direction, moment]), atol=1e-6)
    corner = torch.tensor([16.0, 0.0])  # and any other pixel is linear in the three
    x, y = ((corner - pixel) / 4).tolist()
    direction = c2w[0, 0, :3, :3] @ torch.tensor([(16.0 - 14) / 50, (0.0 - 18) / 60, 1])
    expected = torch.cat([direction, torch.linalg.cross(c2w[0, 0, :3, 3], direction)])
    assert torch.allclose(rays[1, 0] + x * rays[1, 1] + y * rays[1, 2], expected, atol=1e-6)


def test_rays_are_the_unprojected_patch_centres() -> None:
    k = torch.tensor([[50.0, 0, 14.0], [0, 60.0, 18.0], [0, 0, 1]])[None, None]
    rays = camera_rays(k, 32, 32, 8)[0, 0]
    assert torch.allclose(rays[0, :2], torch.tensor([(4 - 14) / 50, (4 - 18) / 60]))
    assert torch.allclose(rays[1, :2], torch.tensor([(12 - 14) / 50, (4 - 18) / 60]))  # row by row: x moves first
    assert torch.allclose(rays[4, :2], torch.tensor([(4 - 14) / 50, (12 - 18) / 60]))
    assert torch.allclose(rays[:, 2:], torch.tensor([4 / 50, 4 / 60]).expand(16, 2))


@pytest.mark.parametrize("rule", ["focus", "first"])
@pytest.mark.parametrize("scale", [1e-6, 17.0, 1e8])
def test_normalised_poses_do_not_depend_on_the_world_frame_or_unit(rule: str, scale: float) -> None:
    """Also where the unit is absurd: micrometres, or parts of an astronomical unit."""
    normalise = NORMALISATIONS[rule]
    poses, frame = random_poses(4), random_poses(1, seed=3)
    grown = frame @ poses
    grown[..., :3, 3] *= scale
    relative = [invert_rigid(x[:, :1].double()) @ x.double() for x in (normalise(poses), normalise(grown))]
    assert torch.allclose(relative[0], relative[1], atol=1e-5)
    assert 0.3 < normalise(grown)[..., 1:, :3, 3].norm(dim=-1).mean() < 3


def test_angles_turn_as_fast_as_they_say() -> None:
    """Time: from 1 radian a frame to 1/100. Position: from a quarter turn over the image to pi between neighbours of a
    grid of 32.
    """
    times = build_times(torch.tensor([[0.0, 1.0]], dtype=torch.float64), 8)
    assert times is not None
    turned = torch.atan2(times.sin, times.cos)[0, 1, 0] - torch.atan2(times.sin, times.cos)[0, 0, 0]
    assert (turned[0].item(), turned[-1].item()) == pytest.approx((1.0, 0.01))
    places = build_rotations(32, 32, 16, times.cos)
    x = torch.complex(places.cos, places.sin)[:, :4].unflatten(0, (32, 32))[0]  # along a row
    step = (x[1:] / x[:-1]).angle().abs().mean(0)
    assert (step[0].item(), step[-1].item()) == pytest.approx((math.pi / 2 / 32, math.pi))


def test_the_first_camera_is_the_frame_and_the_others_are_one_away_in_the_mean() -> None:
    out = NORMALISATIONS["first"](random_poses(1, seed=3) @ random_poses(5))
    assert torch.allclose(out[0, 0], torch.eye(4), atol=1e-6)
    assert out[0, 1:, :3, 3].norm(dim=-1).mean().item() == pytest.approx(1.0, abs=1e-5)


def test_an_orbit_is_normalised_to_the_unit_sphere_about_its_object() -> None:
    angle = torch.linspace(0, 2 * math.pi, 9, dtype=torch.float64)[:-1]
    centre = 5 * torch.stack([angle.cos(), angle.sin(), torch.full_like(angle, 0.3)], -1)
    from reference_model.worlds.cameras import look_at

    poses = look_at(centre.float(), torch.zeros(8, 3), torch.zeros(8))[None].double()
    poses[..., :3, 3] += torch.tensor([10.0, -4.0, 2.0])  # the object is not at the origin of the file
    out = normalise_poses(poses)
    # The weak prior moves the focus a little.
    assert torch.allclose(out[..., :3, 3].norm(dim=-1), torch.ones(1, 8), atol=0.02)


@pytest.mark.parametrize("rule", NORMALISATIONS)
@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize(
    "pose", [random_poses(1), torch.eye(4, dtype=torch.float64)[None, None]], ids=["any", "origin"]
)
def test_one_camera_or_equal_cameras_do_not_break_normalisation(pose: torch.Tensor, views: int, rule: str) -> None:
    """At the origin the distances that the size is taken from are exactly zero."""
    poses = pose.expand(1, views, 4, 4)
    normalised = NORMALISATIONS[rule](poses)
    assert normalised.isfinite().all() and normalised.dtype == torch.float32
    assert normalised[..., :3, 3].abs().max() < 10


def test_random_rotations_are_rotations() -> None:
    rotation = Draw(torch.Generator().manual_seed(0)).rotation((100,))
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand(100, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(100), atol=1e-5)
