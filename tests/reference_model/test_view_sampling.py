"""The named rules: each takes what it says, repeats, and never takes a camera twice."""

from __future__ import annotations

import math

import pytest
import torch

from reference_model.positions import pose_distances
from reference_model.view_sampling import PARALLEL, RULES, draw_reference_count, draw_units, look_together, sample_views
from reference_model.worlds.cameras import look_at
from tests.reference_model.models import random_poses


def circle(count: int, scenes: int = 1) -> torch.Tensor:
    """Cameras on a circle in the order of their angle, all looking one way."""
    angle = torch.arange(count) * 2 * torch.pi / count
    poses = torch.eye(4).repeat(scenes, count, 1, 1)
    poses[..., 0, 3], poses[..., 1, 3] = angle.cos(), angle.sin()
    return poses


def draw(rule: str, poses: torch.Tensor, views: int, seed: int = 0) -> torch.Tensor:
    return sample_views(rule, poses, views, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_takes_distinct_views_of_the_pool_and_repeats(rule: str) -> None:
    poses = random_poses(12, scenes=40)
    index = draw(rule, poses, 5)
    assert index.shape == (40, 5) and index.min() >= 0 and index.max() < 12
    assert all(len(set(row)) == 5 for row in index.tolist())
    assert torch.equal(index, draw(rule, poses, 5))
    if rule != "given":
        assert not torch.equal(index, draw(rule, poses, 5, seed=1))
        assert len({tuple(row) for row in index.tolist()}) > 10  # scenes differ


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_survives_cameras_that_coincide(rule: str) -> None:
    index = draw(rule, torch.eye(4).repeat(3, 6, 1, 1), 6)
    assert all(sorted(row) == list(range(6)) for row in index.tolist())


def test_an_orbit_spreads_and_a_trajectory_stays_near() -> None:
    poses = circle(24, scenes=50)
    spread = draw("orbit", poses, 4)
    gaps = (spread[:, :2] - spread[:, :1])[:, 1] % 24
    assert (gaps == 12).all()  # the second is opposite the first
    near, anyone = draw("trajectory", poses, 4), draw("random", poses, 4)

    def reach(index: torch.Tensor) -> float:
        taken = poses.gather(1, index[..., None, None].expand(-1, -1, 4, 4))
        return pose_distances(taken, taken, 1.0).amax((1, 2)).mean().item()

    assert reach(near) < 0.5 * reach(anyone)
    assert reach(anyone) < reach(spread)


def outwards(count: int, scenes: int = 1) -> torch.Tensor:
    """Cameras on a line that look to all sides."""
    angle = torch.arange(count) * 2 * torch.pi / count
    poses = torch.eye(4).repeat(scenes, count, 1, 1)
    rows = [
        angle.cos(),
        0 * angle,
        angle.sin(),
        0 * angle,
        0 * angle + 1,
        0 * angle,
        -angle.sin(),
        0 * angle,
        angle.cos(),
    ]
    poses[..., :3, :3] = torch.stack(rows, -1).unflatten(-1, (3, 3))
    poses[..., 0, 3] = torch.arange(count) * 0.2
    return poses


def test_a_mixture_takes_every_rule_and_keeps_views_together_that_have_nothing_in_common() -> None:
    walk, front = outwards(24, scenes=800), circle(24, scenes=800)
    around = look_at(front[..., :3, 3] * 3, torch.zeros(800, 24, 3), torch.zeros(800, 24))
    assert [look_together(poses).all().item() for poses in (around, front)] == [True, True]
    assert not look_together(walk).any()
    for poses, orbits in ((around, 0.5), (walk, 0.0)):
        mixed, near = draw("mixed", poses, 4), draw("trajectory", poses, 4)
        given = (mixed == torch.arange(4)).all(1)
        taken = poses.gather(1, mixed[..., None, None].expand(-1, -1, 4, 4))
        reach = pose_distances(taken, taken, 1.0).amax((1, 2))
        least = poses.gather(1, near[..., None, None].expand(-1, -1, 4, 4))
        far = ~given & (reach > 1.01 * pose_distances(least, least, 1.0).amax((1, 2)).max())
        shares = [given.float().mean().item(), far.float().mean().item()]
        assert shares == pytest.approx([(1 - orbits) / 2, orbits], abs=0.06)


def changed(poses: torch.Tensor, share: float = 1.0) -> torch.Tensor:
    """The factor of each scene's unit, the same for all pairs of its cameras."""
    moved = draw_units(poses, 0.5, share, torch.Generator().manual_seed(0))
    assert torch.equal(moved, draw_units(poses, 0.5, share, torch.Generator().manual_seed(0)))
    assert torch.equal(moved[..., :3, :3], poses[..., :3, :3]) and torch.equal(moved[..., 3, :], poses[..., 3, :])
    steps, before = (x[..., :3, 3].diff(dim=1).norm(dim=-1) for x in (moved, poses))
    factor = steps / before
    assert torch.allclose(factor, factor[:, :1].expand_as(factor), rtol=1e-3)
    return factor[:, 0]


def test_units_are_drawn_a_scene_and_only_lengths_change() -> None:
    factor = changed(circle(6, scenes=3000)).log()
    assert factor.abs().max() < 0.501 and factor.std() == pytest.approx(1 / 12**0.5, rel=0.05)


def test_near_cameras_are_also_shown_as_if_their_axes_never_met() -> None:
    near = circle(6, scenes=3000)
    near[..., :2, 3] *= 0.05
    near[..., 2, 3] = -1  # of the middle
    factor = changed(near)
    far = factor > 2
    assert far.float().mean() == pytest.approx(PARALLEL * (1 - math.log(2) / math.log(20)), abs=0.02)
    moved = draw_units(near, 0.5, 1.0, torch.Generator().manual_seed(0))[far]
    assert factor.max() == pytest.approx(20, rel=0.02) and moved[..., :3, 3].norm(dim=-1).max() < 1.01


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_the_other_scenes_keep_their_unit_and_those_drawn_are_drawn_as_ever(share: float) -> None:
    near = circle(6, scenes=3000)
    near[..., :2, 3] *= 0.05
    near[..., 2, 3] = -1
    for poses in (circle(6, scenes=3000), near):
        factor = changed(poses, share)
        kept = factor.sub(1).abs() < 1e-5
        assert kept.float().mean() == pytest.approx(1 - share, abs=0.03)
        assert torch.equal(factor[~kept], changed(poses)[~kept])


def test_a_video_has_one_stride_and_references_anywhere_in_it() -> None:
    index = draw("video", circle(24, scenes=200), 5)
    ordered = index.sort(1).values
    strides = ordered.diff(dim=1)
    assert (strides == strides[:, :1]).all() and set(strides[:, 0].tolist()) == {1, 2, 3, 4, 5}
    assert {0, 2, 4} <= set((ordered == index[:, :1]).int().argmax(1).tolist())


@pytest.mark.parametrize(("rule", "views", "word"), [("best", 3, "orbit"), ("random", 9, "8 cameras")])
def test_an_unknown_rule_and_a_small_pool_are_refused(rule: str, views: int, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        draw(rule, circle(8), views)


def test_reference_counts_leave_targets_and_cover_the_range() -> None:
    drawn = [draw_reference_count(step, 0, 8) for step in range(500)]
    assert set(drawn) == {1, 2, 3, 4, 5, 6}
    assert drawn == [draw_reference_count(step, 0, 8) for step in range(500)]
    assert {draw_reference_count(step, 0, 2) for step in range(20)} == {1}
    dropped = [draw_reference_count(step, 0, 8, 0.2) for step in range(500)]
    assert 0.15 < dropped.count(0) / 500 < 0.25
    assert all(a == b for a, b in zip(drawn, dropped, strict=True) if b)  # otherwise the same counts
