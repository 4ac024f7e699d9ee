"""Rays against worlds, in closed form: every part is convex, so a ray meets it in one interval; the nearest start wins.

Lambert, one hard shadow, a specular lobe, 2x2 supersampling. Broadcasts and reductions only; on a GPU compile `trace` as one function.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reference_model.worlds.cameras import Rig
from reference_model.worlds.scenes import BOXES, ELLIPSOIDS, FACES, PARTS, Worlds, select
from reference_model.worlds.textures import shade_texture

FAR = 1e6
NEAR = 1e-3
Tracer = Callable[[Worlds, Tensor, Tensor], Tensor]


def interval_starts(
    origin: Float[Tensor, "*ray part 3"], direction: Float[Tensor, "*ray part 3"]
) -> Float[Tensor, "*ray part"]:
    """Where rays enter the unit sphere, box or cylinder (by the part's slot); FAR where they miss or start inside."""
    safe = torch.where(direction.abs() < 1e-9, 1e-9, direction)
    to_low, to_high = (-1 - origin) / safe, (1 - origin) / safe
    enter, leave = torch.minimum(to_low, to_high), torch.maximum(to_low, to_high)

    def roots(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
        a, b, c = (d * d).sum(-1).clamp(min=1e-12), (o * d).sum(-1), (o * o).sum(-1) - 1
        disc = b * b - a * c
        root = disc.clamp(min=0).sqrt()
        missed = disc < 0
        return torch.where(missed, FAR, (-b - root) / a), torch.where(missed, -FAR, (-b + root) / a)

    e, x = ELLIPSOIDS, ELLIPSOIDS + BOXES
    ball = roots(origin[..., :e, :], direction[..., :e, :])
    box = enter[..., e:x, :].amax(-1), leave[..., e:x, :].amin(-1)
    side = roots(origin[..., x:, :2], direction[..., x:, :2])
    tube = torch.maximum(side[0], enter[..., x:, 2]), torch.minimum(side[1], leave[..., x:, 2])
    start = torch.cat([ball[0], box[0], tube[0]], -1)
    end = torch.cat([ball[1], box[1], tube[1]], -1)
    return torch.where((start < end) & (start > NEAR), start, FAR)


def local_frame(worlds: Worlds) -> Float[Tensor, "b part 3 3"]:
    """local_from_world without the translation: parts become the unit shapes."""
    return worlds.rotation.mT / worlds.size[..., None]


def nearest_part(
    worlds: Worlds, origin: Float[Tensor, "b v #ray 3"], direction: Float[Tensor, "b v #ray 3"]
) -> tuple[Float[Tensor, "b v ray"], Int[Tensor, "b v ray"]]:
    frame = local_frame(worlds)[:, None, None]  # b 1 1 part 3 3
    offset = origin[..., None, :] - worlds.centre[:, None, None]
    local_origin = (frame * offset[..., None, :]).sum(-1)
    local_direction = (frame * direction[..., None, None, :]).sum(-1)
    start, part = interval_starts(*torch.broadcast_tensors(local_origin, local_direction)).min(-1)
    return start, part


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
    m = worlds.materials
    salt = (which + rows * (PARTS + FACES)).int()
    albedo = shade_texture(
        torch.where(on_part[..., None], metric, point),
        *(field[rows, which] for field in (m.waves, m.phases, m.weights, m.colours)),
        *(field[rows, which] for field in (m.mode, m.cells, m.grain)),
        salt % 9973,
    )
    light = worlds.light[:, None, None]
    blocked, _ = nearest_part(worlds, point + 4 * NEAR * normal, light)
    facing = (normal * light).sum(-1).clamp(min=0) * (blocked >= FAR).float()
    mirrored = 2 * (normal * light).sum(-1, keepdim=True) * normal - light
    glint = m.gloss[rows, which] * (-(mirrored * direction).sum(-1)).clamp(min=0) ** 24 * (facing > 0).float()
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
