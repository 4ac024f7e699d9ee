"""From where a world is seen: orbits of an object, forward-facing arcs, fly-throughs, and free 6-DoF views. z is up."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.worlds.scenes import Draw


class Rig(NamedTuple):
    """Cameras of many worlds, in random order. `focal` and `principal` are in image widths."""

    c2w: Float[Tensor, "b v 4 4"]
    focal: Float[Tensor, "b v"]
    principal: Float[Tensor, "b v 2"]
    floor: Float[Tensor, " b"]


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


def spherical(azimuth: Tensor, elevation: Tensor) -> Tensor:
    return torch.stack([elevation.cos() * azimuth.cos(), elevation.cos() * azimuth.sin(), elevation.sin()], -1)


def draw_rig(count: int, views: int, generator: torch.Generator) -> Rig:
    """Cameras for `count` worlds of `views` views each. Shares: 45 % orbit, 30 % arc, 10 % path, 15 % free."""
    draw, shape = Draw(generator), (count, views)
    focal = draw.log_uniform((count, 1), 0.75, 3.0) * torch.where(
        draw.chance((count, 1), 0.25).bool(), draw.log_uniform(shape, 0.8, 1.25), torch.ones(shape)
    )
    # An object of radius about 0.8 fills this much of the frame.
    distance = (focal / draw.uniform((count, 1), 0.4, 0.75)).clamp(min=1.3) * draw.log_uniform(shape, 0.9, 1.12)
    low = torch.where(draw.chance((count, 1), 0.3).bool(), draw.uniform((count, 1), -0.6, 0.0), torch.tensor(0.05))
    elevation = torch.asin(draw.uniform(shape) * (math.sin(1.35) - low.sin()) + low.sin())
    orbit = spherical(draw.uniform(shape, -math.pi, math.pi), elevation)

    base_azimuth, base_elevation = draw.uniform((count, 1), -math.pi, math.pi), draw.uniform((count, 1), 0.02, 0.9)
    width = draw.log_uniform((count, 1), 0.06, 0.8)
    arc = spherical(
        base_azimuth + width * draw.uniform(shape, -1, 1), (base_elevation + 0.5 * width * draw.uniform(shape, -1, 1))
    )
    along = torch.linspace(-1, 1, views).expand(shape) + draw.uniform(shape, -0.5, 0.5) / views
    path = spherical(
        base_azimuth + draw.uniform((count, 1), 0.2, 1.6) * along,
        base_elevation + draw.uniform((count, 1), -0.3, 0.3) * along,
    )
    free = spherical(draw.uniform(shape, -math.pi, math.pi), draw.uniform(shape, -0.1, 0.8))
    free_distance = draw.uniform(shape, 1.1, 3.2)

    kind = draw.uniform((count, 1))
    on_orbit, on_arc, on_path = kind < 0.45, (kind >= 0.45) & (kind < 0.75), (kind >= 0.75) & (kind < 0.85)
    direction = torch.where(
        on_orbit[..., None], orbit, torch.where(on_arc[..., None], arc, torch.where(on_path[..., None], path, free))
    )
    is_free = kind >= 0.85
    centre = direction * torch.where(is_free, free_distance, distance)[..., None]
    jitter = draw.direction(shape) * draw.uniform((*shape, 1)) * torch.where(is_free, 0.9, 0.15)[..., None]
    # Forward-facing captures often look in parallel: on half of the arcs the point looked at moves with the camera.
    parallel = (on_arc & draw.chance((count, 1), 0.5).bool()).float()[..., None]
    point = jitter + parallel * (centre - centre.mean(1, keepdim=True)) * draw.uniform((count, 1, 1), 0.3, 1.0)
    roll = draw.uniform(shape, -1, 1) * torch.where(draw.chance((count, 1), 0.3).bool(), 0.35, 0.03)
    principal = 0.5 + 0.03 * draw.uniform((count, 1, 2), -1, 1) * draw.chance((count, 1, 1), 0.3)
    floor = torch.minimum(-draw.uniform((count,), 0.25, 0.9), centre[..., 2].min(1).values - 0.15)
    return Rig(look_at(centre, point, roll), focal.expand(shape), principal.expand(*shape, 2), floor)


def build_intrinsics(rig: Rig, size: int) -> Float[Tensor, "b v 3 3"]:
    """K in pixels of a size x size image."""
    matrix = torch.zeros(*rig.focal.shape, 3, 3, device=rig.focal.device)
    matrix[..., 0, 0] = matrix[..., 1, 1] = rig.focal * size
    matrix[..., :2, 2] = rig.principal * size
    matrix[..., 2, 2] = 1
    return matrix
