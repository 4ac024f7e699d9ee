"""Rays against worlds, in closed form: every part is convex, so a ray meets it in one interval; the nearest start wins.

Lambert, one hard shadow, a specular lobe, 2x2 supersampling. Broadcasts and reductions only; on a GPU compile `trace`
as one function.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reference_model.worlds.cameras import Rig
from reference_model.worlds.scenes import BOXES, ELLIPSOIDS, FACES, PARTS, Materials, Worlds, select
from reference_model.worlds.textures import shade_texture

FAR = 1e6
NEAR = 1e-3
Tracer = Callable[[Worlds, Tensor, Tensor], Tensor]


def roots(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays cross the unit sphere (three coordinates) or the unit circle (two); an empty interval where they
    miss.
    """
    a, b, c = (d * d).sum(-1).clamp(min=1e-12), (o * d).sum(-1), (o * o).sum(-1) - 1
    disc = b * b - a * c
    root = disc.clamp(min=0).sqrt()
    missed = disc < 0
    return torch.where(missed, FAR, (-b - root) / a), torch.where(missed, -FAR, (-b + root) / a)


def slabs(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave [-1, 1] on each axis."""
    safe = torch.where(d.abs() < 1e-9, 1e-9, d)
    low, high = (-1 - o) / safe, (1 - o) / safe
    return torch.minimum(low, high), torch.maximum(low, high)


def interval_of_part(part: int, o: Float[Tensor, "*ray 3"], d: Float[Tensor, "*ray 3"]) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the unit shape in a part's slot: a ball, a box, or a cylinder along z."""
    if part < ELLIPSOIDS:
        return roots(o, d)
    enter, leave = slabs(o, d)
    if part < ELLIPSOIDS + BOXES:
        return enter.amax(-1), leave.amin(-1)
    side = roots(o[..., :2], d[..., :2])
    return torch.maximum(side[0], enter[..., 2]), torch.minimum(side[1], leave[..., 2])


def nearest_part(
    worlds: Worlds, origin: Float[Tensor, "b v #ray 3"], direction: Float[Tensor, "b #v #ray 3"]
) -> tuple[Float[Tensor, "b v ray"], Int[Tensor, "b v ray"]]:
    """The first part that rays enter, and how far away; FAR where they enter none (a ray never sees a part it starts
    inside).

    A running minimum over the parts, so that a compiler makes one kernel of it and no tensor has rays times parts
    elements.
    """
    frames = worlds.rotation.mT / worlds.size[..., None]  # local from world: parts become unit shapes
    shape = torch.broadcast_shapes(origin.shape, direction.shape)[:-1]
    nearest = torch.full(shape, FAR, device=origin.device)
    index = torch.zeros(shape, dtype=torch.int64, device=origin.device)
    for part in range(PARTS):
        frame, centre = frames[:, part][:, None, None], worlds.centre[:, part][:, None, None]
        o = (frame * (origin - centre)[..., None, :]).sum(-1)
        d = (frame * direction[..., None, :]).sum(-1)
        start, end = interval_of_part(part, o, d)
        closer = (start < end) & (start > NEAR) & (start < nearest)
        nearest = torch.where(closer, start, nearest)
        index = torch.where(closer, part, index)
    return nearest, index


def surface_normal(local: Float[Tensor, "*ray 3"], part: Int[Tensor, "*ray"]) -> Float[Tensor, "*ray 3"]:
    """The unit shape's own normal at a point of its surface."""
    size = local.abs()
    face = (size >= size.amax(-1, keepdim=True)).float() * local.sign()
    cap = (size[..., 2:] > 0.9995).float()
    flat = torch.tensor([1.0, 1.0, 0.0], device=local.device)
    tube = cap * local * (1 - flat) + (1 - cap) * local * flat
    is_ball, is_box = (part < ELLIPSOIDS)[..., None], (part < ELLIPSOIDS + BOXES)[..., None]
    return torch.where(is_ball, local, torch.where(is_box, face, tube))


def trace(
    worlds: Worlds, origin: Float[Tensor, "b v 3"], direction: Float[Tensor, "b v ray 3"]
) -> Float[Tensor, "b v ray 3"]:
    """Colours in [0, 1] along rays with unit directions."""
    b = origin.shape[0]
    rows = torch.arange(b, device=origin.device)[:, None, None]
    distance, part = nearest_part(worlds, origin[:, :, None], direction)

    # The enclosure is seen from inside: the ray leaves it through one face.
    safe = torch.where(direction.abs() < 1e-9, 1e-9, direction)
    wall = torch.where(safe > 0, worlds.high[:, None, None], worlds.low[:, None, None])
    leave = (wall - origin[:, :, None]) / safe
    exit_distance, axis = leave.min(-1)
    positive = torch.gather(safe, -1, axis[..., None])[..., 0] > 0
    on_part = distance < torch.where(worlds.enclosed[:, None, None] > 0, exit_distance, FAR)
    hit = torch.where(on_part, distance, exit_distance)
    point = origin[:, :, None] + hit[..., None] * direction

    rotation, size = worlds.rotation[rows, part], worlds.size[rows, part]
    offset = point - worlds.centre[rows, part]
    metric = (rotation * offset[..., :, None]).sum(-2)  # in the part's axes, world units
    unit_normal = surface_normal(metric / size, part) / size
    part_normal = torch.nn.functional.normalize((rotation * unit_normal[..., None, :]).sum(-1), dim=-1)
    inward = torch.where(positive, -1.0, 1.0)[..., None] * torch.nn.functional.one_hot(axis, 3)
    normal = torch.where(on_part[..., None], part_normal, inward)
    which = torch.where(on_part, part, PARTS + axis * 2 + positive.int())
    salt = (which + rows * (PARTS + FACES)).int()
    surface = Materials(*(field[rows, which] for field in worlds.materials))
    albedo = shade_texture(torch.where(on_part[..., None], metric, point), surface, salt % 9973)
    light = worlds.light[:, None, None]
    blocked, _ = nearest_part(worlds, point + 4 * NEAR * normal, light)
    facing = (normal * light).sum(-1).clamp(min=0) * (blocked >= FAR).float()
    mirrored = 2 * (normal * light).sum(-1, keepdim=True) * normal - light
    glint = surface.gloss * (-(mirrored * direction).sum(-1)).clamp(min=0) ** 24 * (facing > 0).float()
    lit = (
        albedo * (worlds.ambient[:, None, None] + worlds.light_colour[:, None, None] * facing[..., None])
        + glint[..., None]
    )
    seen = on_part | (worlds.enclosed[:, None, None] > 0)
    return torch.where(seen[..., None], lit, worlds.background[:, None, None]).clamp(0, 1)


def build_rays(rig: Rig, size: int, samples: int) -> tuple[Float[Tensor, "b v 3"], Float[Tensor, "b v ray 3"]]:
    """Origins and unit directions through a samples x samples grid in each pixel, row by row."""
    fine = size * samples
    centres = (torch.arange(fine, device=rig.c2w.device) + 0.5) / fine  # in image widths
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="ij")[::-1], -1).flatten(0, 1)
    plane = (grid - rig.principal[:, :, None]) / rig.focal[:, :, None, None]
    camera = torch.nn.functional.normalize(torch.cat([plane, torch.ones_like(plane[..., :1])], -1), dim=-1)
    direction = (rig.c2w[:, :, None, :3, :3] * camera[..., None, :]).sum(-1)
    return rig.c2w[..., :3, 3], direction


RAYS_AT_ONCE = 128 * 128  # a view, so that every resolution goes through the compiled tracer in one shape


def render_worlds(
    worlds: Worlds, rig: Rig, size: int, *, samples: int = 2, scenes_at_once: int = 8, tracer: Tracer = trace
) -> Float[Tensor, "b v 3 size size"]:
    """Images in [0, 1]. `tracer` is `trace` or its compiled twin."""
    images: list[Tensor] = []
    for start in range(0, rig.c2w.shape[0], scenes_at_once):
        rows = slice(start, start + scenes_at_once)
        part = select(worlds, rows)
        origin, direction = build_rays(select(rig, rows), size, samples)
        colours = torch.cat([tracer(part, origin, rays) for rays in direction.split(RAYS_AT_ONCE, dim=2)], 2)
        fine = colours.unflatten(2, (size, samples, size, samples))
        images.append(fine.mean((3, 5)).permute(0, 1, 4, 2, 3))
    return torch.cat(images)
