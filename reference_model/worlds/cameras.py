"""From where a world is seen: orbits of an object, forward-facing arcs, fly-throughs, free 6-DoF views of the middle,
and walks among the things; for video, smooth paths in time. z is up.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.worlds.draws import Draw


class Rig(NamedTuple):
    """Cameras of many worlds, in random order but for video. `focal` and `principal` (x, y) are in image widths and
    heights: they differ where an image of another aspect ratio is squeezed into a square.
    """

    c2w: Float[Tensor, "b v 4 4"]
    focal: Float[Tensor, "b v 2"]
    principal: Float[Tensor, "b v 2"]
    floor: Float[Tensor, " b"]
    times: Float[Tensor, "b v"]  # in clips: 0 is the beginning, 1 the end; all 0 where nothing moves
    inside: Float[Tensor, " b"]  # 1 where the cameras stand among the things


def look_at(
    centre: Float[Tensor, "*batch 3"], point: Float[Tensor, "*batch 3"], roll: Float[Tensor, "*batch"]
) -> Tensor:
    """Camera-to-world, OpenCV axes (x right, y down, z forward), turned by `roll` about the viewing direction."""
    forward = torch.nn.functional.normalize(point - centre, dim=-1)
    up = torch.zeros_like(forward)
    up[..., 2] = 1
    up = torch.where((forward[..., 2:].abs() > 0.999), torch.tensor([0.0, 1.0, 0.0]).expand_as(up), up)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=-1)
    down = torch.linalg.cross(forward, right)
    c, s = roll.cos()[..., None], roll.sin()[..., None]
    rotation = torch.stack([c * right + s * down, c * down - s * right, forward], -1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(*centre.shape[:-1], 1, 4)
    return torch.cat([torch.cat([rotation, centre[..., None]], -1), bottom], -2)


def spherical(azimuth: Float[Tensor, "*batch"], elevation: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3"]:
    """Unit vectors from angles in radians; z is up."""
    return torch.stack([elevation.cos() * azimuth.cos(), elevation.cos() * azimuth.sin(), elevation.sin()], -1)


ORBIT, ARC, PATH, FREE, WALK = range(5)
WEIGHTS = (0.34, 0.30, 0.08, 0.10, 0.18)  # ours
FOCAL = (0.7, 3.8)  # image widths
LONGEST = 4.0  # focal length of a single view, where views differ
LONGEST_INSIDE = 1.7  # of a walk
WIDEST_TURN = 1.5  # of a walk's heading to either side, radians
SQUEEZED = 0.18  # share of the worlds whose images had another aspect ratio


def _draw_lens(draw: Draw, count: int, views: int) -> tuple[Tensor, Tensor]:
    """Focal lengths [b, v] in image widths, and aspect ratios [b, 1] of what was squeezed into the square."""
    focal = draw.log_uniform((count, 1), *FOCAL) * torch.where(
        draw.chance((count, 1), 0.25).bool(), draw.log_uniform((count, views), 0.8, 1.25), torch.ones(count, views)
    )
    squeezed = draw.chance((count, 1), SQUEEZED).bool()
    return focal.clamp(max=LONGEST), torch.where(squeezed, draw.log_uniform((count, 1), 0.6, 1.8), torch.ones(count, 1))


class _Ways(NamedTuple):
    """Directions from the middle, one way of placing cameras after the other: [b, v, 3]."""

    orbit: Tensor
    arc: Tensor
    path: Tensor
    free: Tensor
    width: Tensor  # of the arc, radians


def _draw_ways(draw: Draw, count: int, views: int) -> _Ways:
    shape = (count, views)
    low = torch.where(draw.chance((count, 1), 0.3).bool(), draw.uniform((count, 1), -0.6, 0.0), torch.tensor(0.05))
    elevation = torch.asin(draw.uniform(shape) * (math.sin(1.35) - low.sin()) + low.sin())
    orbit = spherical(draw.uniform(shape, -math.pi, math.pi), elevation)
    azimuth, height = draw.uniform((count, 1), -math.pi, math.pi), draw.uniform((count, 1), 0.02, 0.9)
    width = draw.log_uniform((count, 1), 0.03, 0.8)
    arc = spherical(azimuth + width * draw.uniform(shape, -1, 1), height + 0.5 * width * draw.uniform(shape, -1, 1))
    along = torch.linspace(-1, 1, views).expand(shape) + draw.uniform(shape, -0.5, 0.5) / views
    path = spherical(
        azimuth + draw.uniform((count, 1), 0.2, 1.6) * along, height + draw.uniform((count, 1), -0.3, 0.3) * along
    )
    free = spherical(draw.uniform(shape, -math.pi, math.pi), draw.uniform(shape, -0.1, 0.8))
    return _Ways(orbit, arc, path, free, width)


def _draw_walk(draw: Draw, count: int, views: int) -> tuple[Tensor, Tensor]:
    """Centres and viewing directions [b, v, 3] of who stands among the things: anywhere in a box, or, half of the time,
    along a line, where the heading turns on the way. A walk keeps together, so that references have seen some of what
    targets see.
    """
    shape = (count, views)
    box = draw.uniform((*shape, 2), -1.5, 1.5) * draw.uniform((count, 1, 1), 0.3, 1.0)
    along, way = draw.uniform(shape, -1, 1), draw.uniform((count, 1), -math.pi, math.pi)
    step = (along * draw.uniform((count, 1), 0.3, 1.6))[..., None]
    line = torch.stack([way.cos(), way.sin()], -1) * step + draw.uniform((*shape, 2), -0.12, 0.12)
    line = line + draw.uniform((count, 1, 2), -0.4, 0.4)
    on_line = draw.chance((count, 1), 0.5).bool()
    floor_plan = torch.where(on_line[..., None], line, box)
    centre = torch.cat([floor_plan, draw.uniform((*shape, 1), 0.3, 0.8)], -1)
    turn, loose = draw.uniform((count, 1), 0.3, WIDEST_TURN), draw.uniform(shape, -1, 1)
    turned = turn * torch.where(on_line, 0.7 * along * draw.chance((count, 1), 0.5) + 0.3 * loose, loose)
    heading = draw.uniform((count, 1), -math.pi, math.pi) + turned
    return centre, spherical(heading, draw.uniform(shape, -0.5, 0.15))


def _finish_rig(
    draw: Draw, centre: Tensor, point: Tensor, lens: tuple[Tensor, Tensor], times: Tensor, roll: Tensor, inside: Tensor
) -> Rig:
    (count, views), (focal, aspect) = times.shape, lens
    principal = 0.5 + 0.03 * draw.uniform((count, 1, 2), -1, 1) * draw.chance((count, 1, 1), 0.3)
    floor = torch.minimum(-draw.uniform((count,), 0.25, 0.9), centre[..., 2].min(1).values - 0.15)
    return Rig(
        look_at(centre, point, roll),
        torch.stack([focal, focal * aspect], -1),
        principal.expand(count, views, 2),
        floor,
        times,
        inside,
    )


def draw_rig(count: int, views: int, generator: torch.Generator) -> Rig:
    """Cameras for `count` worlds of `views` views each, of the five kinds in proportion to `WEIGHTS`."""
    draw, shape = Draw(generator), (count, views)
    focal, aspect = _draw_lens(draw, count, views)
    # An object of radius about 0.8 fills this much of the frame.
    distance = (focal / draw.uniform((count, 1), 0.4, 0.75)).clamp(min=1.3) * draw.log_uniform(shape, 0.9, 1.12)
    ways = _draw_ways(draw, count, views)
    kind = draw.choice((count, 1), WEIGHTS)
    direction = ways.orbit
    for number, way in ((ARC, ways.arc), (PATH, ways.path), (FREE, ways.free)):
        direction = torch.where((kind == number)[..., None], way, direction)
    is_free, is_walk = kind == FREE, kind == WALK
    distance = torch.where(is_free, draw.uniform(shape, 1.1, 3.2), distance)
    walk, ahead = _draw_walk(draw, count, views)
    centre = torch.where(is_walk[..., None], walk, direction * distance[..., None])
    # Half of the arcs are aimed as carefully as they are narrow, so that their axes still meet.
    careful = (kind == ARC) & draw.chance((count, 1), 0.5).bool()
    loose = torch.where(careful, 0.15 * (ways.width / 0.4).clamp(max=1), torch.where(is_free, 0.9, 0.15))
    jitter = draw.direction(shape) * draw.uniform((*shape, 1)) * loose[..., None]
    # Forward-facing captures often look in parallel: on half of the arcs the point looked at moves with the camera.
    parallel = ((kind == ARC) & draw.chance((count, 1), 0.5).bool()).float()[..., None]
    point = jitter + parallel * (centre - centre.mean(1, keepdim=True)) * draw.uniform((count, 1, 1), 0.3, 1.0)
    point = torch.where(is_walk[..., None], centre + ahead, point)
    roll = draw.uniform(shape, -1, 1) * torch.where(draw.chance((count, 1), 0.3).bool(), 0.35, 0.03)
    focal = torch.where(is_walk, focal.clamp(max=LONGEST_INSIDE), focal)
    return _finish_rig(draw, centre, point, (focal, aspect), torch.zeros(shape), roll, is_walk[:, 0].float())


def draw_clip(count: int, views: int, generator: torch.Generator) -> Rig:
    """Cameras of video: frames in order along a smooth path, `times` rising; the stride between frames is drawn, from a
    tenth of a clip in all to the whole of it. A quarter of the cameras stand still.
    """
    draw, shape = Draw(generator), (count, views)
    focal, aspect = _draw_lens(draw, count, 1)
    times = torch.linspace(0, 1, views).expand(shape) * draw.log_uniform((count, 1), 0.1, 1.0)
    still = draw.chance((count, 1), 0.25)
    along = (times * (1 - still))[..., None]
    azimuth, height = draw.uniform((count, 1), -math.pi, math.pi), draw.uniform((count, 1), 0.0, 0.9)
    start = draw.uniform((count, 1), 0.4, 0.75)
    distance = (focal / start).clamp(min=1.3) * (1 + draw.uniform((count, 1), -0.3, 0.3) * along[..., 0])
    turn, climb = draw.uniform((count, 1), -1.8, 1.8), draw.uniform((count, 1), -0.4, 0.4)
    way = spherical(azimuth + turn * along[..., 0], (height + climb * along[..., 0]).clamp(-0.2, 1.3))
    centre = way * distance[..., None]
    point = draw.direction((count, 1)) * 0.3 + draw.direction((count, 1)) * 0.5 * along
    roll = draw.uniform((count, 1), -0.1, 0.1).expand(shape)
    return _finish_rig(draw, centre, point, (focal.expand(shape), aspect), times, roll, torch.zeros(count))


def build_intrinsics(rig: Rig, size: int) -> Float[Tensor, "b v 3 3"]:
    """K in pixels of a size x size image."""
    matrix = torch.zeros(*rig.times.shape, 3, 3, device=rig.focal.device)
    matrix[..., 0, 0], matrix[..., 1, 1] = rig.focal[..., 0] * size, rig.focal[..., 1] * size
    matrix[..., :2, 2] = rig.principal * size
    matrix[..., 2, 2] = 1
    return matrix
