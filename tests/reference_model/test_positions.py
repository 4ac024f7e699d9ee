"""The pose and position actions, alone and inside the model: what must cancel cancels, what must matter matters."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from reference_model.config import smoke
from reference_model.model import Kaleido, Views
from reference_model.positions import apply_pose, build_rotations, camera_rays, invert_rigid, normalise_poses, rotate
from reference_model.worlds.scenes import Draw


def random_poses(count: int, seed: int = 0) -> Tensor:
    """[1, count, 4, 4] rigid, float64."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(1, count, 3, 3, generator=generator, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(raw)
    rotation = rotation * torch.linalg.det(rotation)[..., None, None]
    poses = torch.eye(4, dtype=torch.float64).repeat(1, count, 1, 1)
    poses[..., :3, :3] = rotation
    poses[..., :3, 3] = torch.randn(1, count, 3, generator=generator, dtype=torch.float64)
    return poses


@pytest.fixture(scope="module")
def model() -> Kaleido:
    """Random everywhere, also where training starts at zero: a zero gate would hide every difference."""
    torch.manual_seed(0)
    built = Kaleido(smoke().model).double()
    for parameter in built.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return built


VIEWS, REFERENCES, SIZE = 5, 2, 32
INTRINSICS = torch.tensor([[40.0, 0, 16], [0, 40.0, 16], [0, 0, 1]], dtype=torch.float64).expand(1, VIEWS, 3, 3)
TOKENS = torch.randn(1, VIEWS, 16, 192, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LEVEL = torch.tensor([0.7], dtype=torch.float64)


def run(model: Kaleido, poses: Tensor, tokens: Tensor = TOKENS, intrinsics: Tensor = INTRINSICS) -> Tensor:
    with torch.no_grad():
        return model(tokens, LEVEL, Views(poses, intrinsics, REFERENCES, SIZE, SIZE))


def test_a_change_of_the_world_frame_changes_nothing(model: Kaleido) -> None:
    poses, frame = random_poses(VIEWS), random_poses(1, seed=9)
    assert torch.allclose(run(model, poses), run(model, frame @ poses), atol=1e-10)


def test_the_cameras_matter(model: Kaleido) -> None:
    """Guards the test above: a model blind to poses would pass it."""
    poses = random_poses(VIEWS)
    moved = poses.clone()
    moved[:, -1, 0, 3] += 0.5
    assert (run(model, poses) - run(model, moved)).abs().max() > 1e-2


def test_scale_matters_which_is_why_poses_are_normalised(model: Kaleido) -> None:
    poses = random_poses(VIEWS)
    tripled = poses.clone()
    tripled[..., :3, 3] *= 3
    assert (run(model, poses) - run(model, tripled)).abs().max() > 1e-2


def test_the_focal_length_matters_through_the_rays(model: Kaleido) -> None:
    longer = INTRINSICS.clone()
    longer[..., 0, 0] *= 1.5
    assert (run(model, random_poses(VIEWS)) - run(model, random_poses(VIEWS), intrinsics=longer)).abs().max() > 1e-3


def test_permuting_references_changes_nothing_and_permuting_targets_permutes(model: Kaleido) -> None:
    poses = random_poses(VIEWS)
    plain = run(model, poses)
    swapped = [1, 0, 2, 3, 4]
    assert torch.allclose(run(model, poses[:, swapped], TOKENS[:, swapped]), plain, atol=1e-10)
    turned = [0, 1, 4, 2, 3]
    assert torch.allclose(run(model, poses[:, turned], TOKENS[:, turned]), plain[:, [2, 0, 1]], atol=1e-10)


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


def test_rays_are_the_unprojected_patch_centres() -> None:
    k = torch.tensor([[50.0, 0, 14.0], [0, 60.0, 18.0], [0, 0, 1]])[None, None]
    rays = camera_rays(k, 32, 32, 8)[0, 0]
    assert torch.allclose(rays[0, :2], torch.tensor([(4 - 14) / 50, (4 - 18) / 60]))
    assert torch.allclose(rays[1, :2], torch.tensor([(12 - 14) / 50, (4 - 18) / 60]))  # row by row: x moves first
    assert torch.allclose(rays[4, :2], torch.tensor([(4 - 14) / 50, (12 - 18) / 60]))
    assert torch.allclose(rays[:, 2:], torch.tensor([4 / 50, 4 / 60]).expand(16, 2))


def test_normalised_poses_do_not_depend_on_the_world_frame_or_unit() -> None:
    poses, frame = random_poses(4), random_poses(1, seed=3)
    grown = frame @ poses
    grown[..., :3, 3] *= 17.0
    relative = [invert_rigid(x[:, :1].double()) @ x.double() for x in (normalise_poses(poses), normalise_poses(grown))]
    assert torch.allclose(relative[0], relative[1], atol=1e-5)


def test_an_orbit_is_normalised_to_the_unit_sphere_about_its_object() -> None:
    angle = torch.linspace(0, 2 * math.pi, 9, dtype=torch.float64)[:-1]
    centre = 5 * torch.stack([angle.cos(), angle.sin(), torch.full_like(angle, 0.3)], -1)
    from reference_model.worlds.cameras import look_at

    poses = look_at(centre.float(), torch.zeros(8, 3), torch.zeros(8))[None].double()
    poses[..., :3, 3] += torch.tensor([10.0, -4.0, 2.0])  # the object is not at the origin of the file
    out = normalise_poses(poses)
    # The weak prior moves the focus a little.
    assert torch.allclose(out[..., :3, 3].norm(dim=-1), torch.ones(1, 8), atol=0.02)


@pytest.mark.parametrize("views", [1, 2])
def test_one_camera_or_equal_cameras_do_not_break_normalisation(views: int) -> None:
    poses = random_poses(1).expand(1, views, 4, 4)
    assert normalise_poses(poses).isfinite().all()


def test_random_rotations_are_rotations() -> None:
    rotation = Draw(torch.Generator().manual_seed(0)).rotation((100,))
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand(100, 3, 3), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(100), atol=1e-5)
