"""What must not matter does not, in every design and in both precisions; and what must matter does."""

from __future__ import annotations

import pytest
import torch

from reference_model.attention import Gains, attend, prepare_qkv, restore_output
from reference_model.blocks import Places
from reference_model.positions import Actions, build_pose_actions, build_positions, build_times, lift_intrinsics
from tests.reference_model.models import (
    DESIGNS,
    SEEING,
    SIZE,
    VIEWS,
    build_config,
    build_model,
    build_scene,
    random_poses,
)

PRECISIONS = [pytest.param(torch.float64, 1e-9, id="float64"), pytest.param(torch.float32, 1e-5, id="float32")]
ALL = {**DESIGNS, "seeing": SEEING}


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
@pytest.mark.parametrize("name", ALL)
def test_a_change_of_the_world_frame_changes_nothing(name: str, dtype: torch.dtype, bound: float) -> None:
    config = build_config(**ALL[name])
    # Weights small enough for outputs of order 1: the bound is on outputs, as tokens are in [-1, 1].
    model, scene = build_model(config, dtype, std=0.08), build_scene(config, dtype)
    moved = scene.with_views(c2w=(random_poses(1, seed=9) @ scene.views.c2w.double()).to(dtype))
    plain = scene.run(model)
    assert (plain - moved.run(model)).abs().max() <= bound
    assert plain.abs().max() > 0.1  # and the model says something
    bent = scene.views.c2w.clone()
    bent[:, -1, 0, 3] += 0.5
    assert (plain - scene.with_views(c2w=bent).run(model)).abs().max() > 20 * bound  # cameras matter


def test_plucker_rays_see_the_world_frame() -> None:
    """The ablation's baseline: without the invariance, which shows that the test above can fail."""
    config = build_config(rays="plucker", pose_channels=0)
    model, scene = build_model(config), build_scene(config)
    moved = scene.with_views(c2w=random_poses(1, seed=9) @ scene.views.c2w)
    assert (scene.run(model) - moved.run(model)).abs().max() > 1e-2


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
@pytest.mark.parametrize("name", ALL)
def test_permuting_references_changes_nothing_and_permuting_targets_permutes(
    name: str, dtype: torch.dtype, bound: float
) -> None:
    config = build_config(**ALL[name])
    model, scene = build_model(config, dtype, std=0.08), build_scene(config, dtype)
    plain = scene.run(model)
    assert (scene.select([1, 0, 2, 3, 4]).run(model) - plain).abs().max() <= bound
    assert (scene.select([0, 1, 4, 2, 3]).run(model) - plain[:, [2, 0, 1]]).abs().max() <= bound


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
@pytest.mark.parametrize("lifted", [False, True], ids=["gta", "prope"])
@pytest.mark.parametrize("value", ["joint", "dual", "none"])
def test_pose_and_time_cancel_within_a_view(lifted: bool, value: str, dtype: torch.dtype, bound: float) -> None:
    """Attention within one view with all blocks equals attention with the position block alone: so it is left out."""
    generator = torch.Generator().manual_seed(2)
    c2w = random_poses(1).to(dtype)
    k = torch.tensor([[40.0, 0, 17], [0, 44, 15], [0, 0, 1]], dtype=dtype)[None, None]
    pose = build_pose_actions(c2w, lift_intrinsics(k, SIZE, SIZE) if lifted else None, value)
    times = build_times(torch.full((1, 1), 7.0, dtype=dtype), 8)
    rest = build_positions(4, 4, 8, 0, "rotary", c2w)
    whole = Actions(pose, times, rest)
    # The same position block, and nothing on the 24 channels before it.
    still = rest._replace(
        cos=torch.cat([torch.ones(16, 12, dtype=dtype), rest.cos], -1),
        sin=torch.cat([torch.zeros(16, 12, dtype=dtype), rest.sin], -1),
    )
    qkv = torch.randn(1, 1, 16, 6, 32, generator=generator, dtype=torch.float64).to(dtype)
    gains = Gains(torch.ones(32, dtype=dtype), torch.ones(32, dtype=dtype))

    def run(actions: Actions, order: list[int]) -> torch.Tensor:
        q, k, v = prepare_qkv(qkv[..., order], 2, gains, actions)
        back = torch.argsort(torch.tensor(order))
        return restore_output(attend(q[0], k[0], v[0])[None], actions)[..., back]

    # `rotate` pairs channel i with i + c/2: bring the position block's pairs to where a block of 32 channels has them.
    order = [*range(12), *range(24, 28), *range(12, 24), *range(28, 32)]
    got, expected = run(whole, list(range(32))), run(Actions(None, None, still), order)
    assert (got - expected).abs().max() <= bound


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
@pytest.mark.parametrize("name", ["plain", "prope", "dual", "registers", "time", "grouped"])
def test_a_single_view_does_not_see_its_own_pose_or_time(name: str, dtype: torch.dtype, bound: float) -> None:
    """Spatial attention leaves both blocks out, and in attention across one view they cancel."""
    config = build_config(**DESIGNS[name])
    model, scene = build_model(config, dtype, std=0.08), build_scene(config, dtype)
    alone = scene.select([4]).with_views(references=0)
    moved = alone.with_views(c2w=random_poses(1, seed=9).to(dtype), times=torch.full((1, 1), 5.0, dtype=dtype))
    assert (alone.run(model) - moved.run(model)).abs().max() <= bound
    within = model.build_places(scene.views).within
    assert within.pose is None and within.time is None
    assert 2 * within.position.cos.shape[-1] == config.head_channels  # nothing is idle instead


def test_the_split_values_of_one_view_lose_what_they_drop_and_nothing_else() -> None:
    """With `split` the pose of a single view cancels too: rotations come back, translations are zero."""
    c2w = random_poses(1)
    pose = build_pose_actions(c2w, None, "split")
    value = pose.output @ pose.value  # what one token's own value becomes
    eye = torch.eye(4, dtype=torch.float64)
    assert torch.allclose(value[0, 0, 0], eye, atol=1e-12)
    assert torch.allclose(value[0, 0, 1], torch.diag(torch.tensor([0.0, 0, 0, 1], dtype=torch.float64)), atol=1e-12)


def test_split_values_carry_rotation_and_translation_apart() -> None:
    """From b to a: the first group turns by R_a R_b^T, the second brings s times the translation of E_a E_b^-1."""
    c2w = random_poses(2)
    pose = build_pose_actions(c2w, None, "split")
    between = (torch.linalg.inv(c2w[0, 0]) @ c2w[0, 1]).double()  # a from b
    u, s = torch.tensor([0.3, -1.0, 0.7], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    arrived = (pose.output[0, 0] @ pose.value[0, 1] @ torch.cat([u, s])[:, None])[..., 0]
    assert torch.allclose(arrived[0], torch.cat([between[:3, :3] @ u, s]), atol=1e-12)
    assert torch.allclose(arrived[1], torch.cat([between[:3, 3] * s, s]), atol=1e-12)


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
def test_in_video_only_differences_of_time_matter(dtype: torch.dtype, bound: float) -> None:
    config = build_config(time_channels=8, registers=2)
    model, scene = build_model(config, dtype, std=0.08), build_scene(config, dtype)
    video = scene.with_views(c2w=torch.eye(4, dtype=dtype).expand(1, VIEWS, 4, 4))
    times = video.views.times
    assert times is not None
    plain = video.run(model)
    assert (video.with_views(times=times + 11).run(model) - plain).abs().max() <= bound
    assert (video.with_views(times=times * 2).run(model) - plain).abs().max() > 20 * bound
    missing = video.with_views(times=None).run(model)
    assert (missing - video.with_views(times=torch.full_like(times, 3.0)).run(model)).abs().max() <= bound


@pytest.mark.parametrize(("dtype", "bound"), PRECISIONS)
def test_prope_sees_the_focal_length_and_gta_does_not(dtype: torch.dtype, bound: float) -> None:
    moved: dict[str, float] = {}
    for pose, rays in (("gta", "none"), ("prope", "none"), ("gta", "camera")):
        config = build_config(pose=pose, rays=rays)
        model, scene = build_model(config, dtype), build_scene(config, dtype)
        longer = scene.views.intrinsics.clone()
        longer[:, 0, :2, :2] *= 1.5
        change = (scene.run(model) - scene.with_views(intrinsics=longer).run(model)).abs().max()
        moved[f"{pose} {rays}"] = change.item()
    assert moved["gta none"] == 0
    assert moved["prope none"] > max(1e-3, 20 * bound)
    assert moved["gta camera"] > max(1e-3, 20 * bound)  # rays among the inputs tell a GTA model


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_scale_matters_which_is_why_poses_are_normalised(dtype: torch.dtype) -> None:
    config = build_config()
    model, scene = build_model(config, dtype), build_scene(config, dtype)
    tripled = scene.views.c2w.clone()
    tripled[..., :3, 3] *= 3
    assert (scene.run(model) - scene.with_views(c2w=tripled).run(model)).abs().max() > 1e-2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["registers", "windows-and-registers"])
def test_registers_matter_and_stand_on_their_view(name: str, dtype: torch.dtype) -> None:
    config = build_config(**DESIGNS[name])
    model, scene = build_model(config, dtype), build_scene(config, dtype)
    plain = scene.run(model)
    assert plain.shape[2] == 16  # they are read from nowhere
    places: Places = model.build_places(scene.views)
    assert torch.equal(places.across.position.sin[16:], torch.zeros_like(places.across.position.sin[16:]))
    assert model.registers is not None
    with torch.no_grad():
        model.registers += 1
    assert (scene.run(model) - plain).abs().max() > 1e-3
