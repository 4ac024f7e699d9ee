"""The renderer against geometry worked out by hand, and the worlds against their promises."""

from __future__ import annotations

import math

import pytest
import torch

from reference_model.worlds.cameras import Rig, build_intrinsics, draw_rig, look_at
from reference_model.worlds.render import FAR, build_rays, nearest_part, render_worlds, trace
from reference_model.worlds.scenes import BOXES, ELLIPSOIDS, PARTS, Worlds, draw_worlds, select, to_device


def draw(count: int, seed: int, views: int = 4) -> tuple[Worlds, Rig]:
    generator = torch.Generator().manual_seed(seed)
    rig = draw_rig(count, views, generator)
    return draw_worlds(count, rig.c2w[..., :3, 3].abs().amax(1), rig.floor, generator), rig


def only(worlds: Worlds, part: int, size: tuple[float, float, float]) -> Worlds:
    """A world with one unrotated part at the origin, matt and without an enclosure."""
    centre = torch.full((1, PARTS, 3), 1e4)
    centre[:, part] = 0
    extent = worlds.size.clone()
    extent[:, part] = torch.tensor(size)
    turned = torch.eye(3).expand(1, PARTS, 3, 3)
    matt = worlds.materials._replace(gloss=torch.zeros_like(worlds.materials.gloss))
    return worlds._replace(centre=centre, size=extent, rotation=turned, enclosed=torch.zeros(1), materials=matt)


BALL, BOX, TUBE = 0, ELLIPSOIDS, ELLIPSOIDS + BOXES


@pytest.mark.parametrize(
    ("part", "origin", "direction", "expected"),
    [
        (BALL, (0, 0, -3), (0, 0, 1), 3 - 0.5),
        (BALL, (-3, 0, 0), (1, 0, 0), 3 - 0.2),
        (BALL, (0, 0.31, -3), (0, 0, 1), FAR),  # passes beside its half height of 0.3
        (BOX, (0, 0, -3), (0, 0, 1), 3 - 0.5),
        (BOX, (0.19, 0.29, -3), (0, 0, 1), 3 - 0.5),  # a corner that a ball does not fill
        (BOX, (0.21, 0, -3), (0, 0, 1), FAR),
        (TUBE, (0, 0, -3), (0, 0, 1), 3 - 0.5),  # through the cap
        (TUBE, (-3, 0, 0.49), (1, 0, 0), 3 - 0.2),  # through the side, near the rim
        (TUBE, (0.19, 0.29, -3), (0, 0, 1), FAR),  # outside its ellipse, inside its box
        (BOX, (0, 0, 0), (0, 0, 1), FAR),  # from inside nothing is seen
    ],
)
def test_rays_meet_parts_where_geometry_says(
    part: int, origin: tuple[float, ...], direction: tuple[float, ...], expected: float
) -> None:
    world = only(draw(1, 0)[0], part, (0.2, 0.3, 0.5))
    o, d = (torch.tensor(x, dtype=torch.float32)[None, None, None] for x in (origin, direction))
    distance, index = nearest_part(world, o, d)
    assert distance.item() == pytest.approx(expected, rel=1e-5)
    assert expected == FAR or index.item() == part


@pytest.mark.parametrize("part", [BALL, BOX, TUBE])
def test_a_surface_point_has_one_colour_from_everywhere(part: int) -> None:
    """What novel view synthesis rests on: matt surfaces look the same from two cameras that see the same point."""
    world = only(draw(1, 3)[0], part, (0.3, 0.4, 0.35))
    first = torch.tensor([[[2.0, 0.7, 1.1]]])
    rays = torch.nn.functional.normalize(torch.randn(1, 1, 200, 3) * 0.12 - first[:, :, None], dim=-1)
    distance, _ = nearest_part(world, first[:, :, None], rays)
    hit = distance[0, 0] < FAR
    assert hit.sum() > 20
    points = (first[:, :, None] + distance[..., None] * rays)[0, 0, hit]
    second = torch.tensor([[[1.6, 1.2, 1.3]]])
    back = torch.nn.functional.normalize(points - second[0, 0], dim=-1)[None, None]
    reached, _ = nearest_part(world, second[:, :, None], back)
    seen_by_both = (reached[0, 0] - (points - second[0, 0]).norm(dim=-1)).abs() < 1e-3
    assert seen_by_both.sum() > 10
    colours = trace(world, first, rays)[0, 0, hit], trace(world, second, back)[0, 0]
    # Points within rounding of a texture's edge or of a shadow may differ; nearly all must not.
    same = ((colours[0] - colours[1]).abs().amax(-1) < 0.02)[seen_by_both]
    assert same.float().mean() > 0.95


def test_an_image_is_its_cameras_projection() -> None:
    """A small ball lands on the pixel that K and the pose say."""
    world = only(draw(1, 5)[0], BALL, (0.05, 0.05, 0.05))
    world = world._replace(background=torch.zeros(1, 3))
    world = world._replace(ambient=torch.ones(1, 3), centre=world.centre + torch.tensor([0.3, -0.2, 0.4]))
    c2w = look_at(torch.tensor([[[2.0, 1.0, 1.5]]]), torch.zeros(1, 1, 3), torch.tensor([[0.2]]))
    rig = Rig(c2w, torch.tensor([[1.4]]), torch.tensor([[[0.52, 0.47]]]), torch.tensor([-1.0]))
    image = render_worlds(world, rig, 64)[0, 0].sum(0)
    rows, columns = torch.nonzero(image > 0.05, as_tuple=True)
    point = torch.linalg.inv(c2w[0, 0]) @ torch.tensor([0.3, -0.2, 0.4, 1.0])
    pixel = build_intrinsics(rig, 64)[0, 0] @ (point[:3] / point[2])
    assert columns.float().mean().item() + 0.5 == pytest.approx(pixel[0].item(), abs=0.6)
    assert rows.float().mean().item() + 0.5 == pytest.approx(pixel[1].item(), abs=0.6)


def test_a_seed_is_a_world() -> None:
    a, b = render_worlds(*draw(2, 11), 16), render_worlds(*draw(2, 11), 16)
    assert torch.equal(a, b)
    assert not torch.equal(a, render_worlds(*draw(2, 12), 16))


def test_rendering_in_chunks_changes_nothing() -> None:
    worlds, rig = draw(3, 4)
    whole = render_worlds(worlds, rig, 16, scenes_at_once=3)
    parts = render_worlds(worlds, rig, 16, scenes_at_once=2)
    # Chunks shift a world's index, which salts its textures' hashes: compare worlds at equal positions.
    assert torch.equal(whole[:2], parts[:2])
    assert whole.min() >= 0 and whole.max() <= 1 and whole.isfinite().all()


def test_cameras_are_rigid_look_ahead_and_stay_inside_the_enclosure() -> None:
    worlds, rig = draw(300, 8, views=8)
    rotation = rig.c2w[..., :3, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand_as(rotation), atol=1e-4)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(300, 8), atol=1e-4)
    centre = rig.c2w[..., :3, 3]
    assert (centre > worlds.low[:, None]).all() and (centre < worlds.high[:, None]).all()
    field_of_view = 2 * torch.atan(0.5 / rig.focal) * 180 / math.pi
    assert field_of_view.min() > 12 and field_of_view.max() < 85


def test_rays_have_unit_length_and_start_at_the_camera() -> None:
    _, rig = draw(2, 1)
    origin, direction = build_rays(rig, 8, 2)
    assert torch.equal(origin, rig.c2w[..., :3, 3])
    assert torch.allclose(direction.norm(dim=-1), torch.ones(2, 4, 256), atol=1e-5)


def test_records_are_cut_and_moved_whole() -> None:
    worlds, _ = draw(3, 2)
    part = to_device(select(worlds, slice(1, 2)), "cpu")
    assert isinstance(part, Worlds)
    assert torch.equal(part.materials.waves, worlds.materials.waves[1:2])
    assert part.light.shape == (1, 3)
