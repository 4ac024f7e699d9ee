"""Rays against worlds, in closed form: every part is convex, so a ray meets it in one interval, less the interval of
its cutter; the nearest start wins.

Lambert under two lights with soft shadows, a highlight, an ambient term that looks up, haze, 2x2 supersampling.
Broadcasts and reductions only: this is the oracle of kernels/tracing.py, which does the same in one pass on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from reference_model.worlds import WorldBatch
from reference_model.worlds.cameras import Rig
from reference_model.worlds.draws import select
from reference_model.worlds.materials import Materials
from reference_model.worlds.photographs import SIDES, Photographs
from reference_model.worlds.scenes import LIGHTS, OPEN, PLAIN, ROOM, Worlds, hill_heights
from reference_model.worlds.shapes import CUTTER_KINDS, FAR, KINDS, MEET, PARTS, unit_normal
from reference_model.worlds.textures import shade_texture

NEAR = 1e-3  # world units: what begins nearer than this is the surface that the ray left
MARCH = 24  # steps towards the open ground
HORIZON = 60.0  # world units beyond which the open ground is haze


class Parts(NamedTuple):
    """Parts as each view finds them at its time. Unit coordinates are frame @ p + shift; the cutter's likewise."""

    frame: Float[Tensor, "b v part 3 3"]
    shift: Float[Tensor, "b v part 3"]
    cutter_frame: Float[Tensor, "b v part 3 3"]
    cutter_shift: Float[Tensor, "b v part 3"]


def multiply(a: Float[Tensor, "*batch i j"], b: Float[Tensor, "*batch j k"]) -> Float[Tensor, "*batch i k"]:
    """a b in float32, whatever a trainer allows matrix products: TensorFloat-32 would move parts by a thousandth."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)


def rotate_by(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation about a vector, by its length in radians (Rodrigues)."""
    angle = vector.norm(dim=-1, keepdim=True)
    axis = vector / angle.clamp(min=1e-9)
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    s, c = angle.sin()[..., None], angle.cos()[..., None]
    return torch.eye(3, device=vector.device) + s * cross + multiply((1 - c) * cross, cross)


def pose_parts(worlds: Worlds, times: Float[Tensor, "b v"]) -> Parts:
    """Where the parts are at the views' times (0 is where they were drawn, 1 the end of a clip)."""
    turn = rotate_by(worlds.spin[:, None] * times[..., None, None])
    rotation = multiply(turn, worlds.rotation[:, None])
    centre = worlds.centre[:, None] + worlds.velocity[:, None] * times[..., None, None]
    frame = rotation.mT / worlds.size[:, None, :, :, None]
    shift = -multiply(frame, centre[..., None])[..., 0]
    cutter = (worlds.cutter_rotation.mT / worlds.cutter_size[..., None])[:, None]
    cutter_shift = multiply(cutter, (shift - worlds.cutter_centre[:, None])[..., None])[..., 0]
    return Parts(frame, shift, multiply(cutter, frame), cutter_shift)


class Hit(NamedTuple):
    distance: Float[Tensor, "b v ray"]  # FAR where nothing is hit
    part: Int[Tensor, "b v ray"]
    in_cut: Tensor  # b v ray, bool: on the surface that the cutter left


def _meet(worlds: Worlds, parts: Parts, part: int, origin: Tensor, direction: Tensor) -> tuple[Tensor, ...]:
    """A part's interval and its cutter's: enter, leave, cut_enter, cut_leave."""
    frame, cutter = parts.frame[:, :, part].mT, parts.cutter_frame[:, :, part].mT
    shift, cutter_shift = parts.shift[:, :, part, None], parts.cutter_shift[:, :, part, None]
    enter, leave = MEET[KINDS[part]](origin @ frame + shift, direction @ frame)
    there, cut = worlds.present[:, part, None, None] > 0, worlds.cut[:, part, None, None] > 0
    enter, leave = torch.where(there, enter, FAR), torch.where(there, leave, -FAR)
    if not cut.any():
        return enter, leave, torch.full_like(enter, FAR), torch.full_like(enter, -FAR)
    cut_enter, cut_leave = MEET[CUTTER_KINDS[part]](origin @ cutter + cutter_shift, direction @ cutter)
    empty = ~cut | (cut_enter >= cut_leave)
    return enter, leave, torch.where(empty, FAR, cut_enter), torch.where(empty, -FAR, cut_leave)


def _present_parts(worlds: Worlds) -> list[int]:
    """The slots that any of these worlds uses."""
    return torch.nonzero(worlds.present.amax(0)).flatten().tolist()


def nearest_part(
    worlds: Worlds, parts: Parts, origin: Float[Tensor, "b v #ray 3"], direction: Float[Tensor, "b v #ray 3"]
) -> Hit:
    """The first part that rays enter; they never see a part that they start inside."""
    shape = torch.broadcast_shapes(origin.shape, direction.shape)[:-1]
    nearest = torch.full(shape, FAR, device=origin.device)
    index = torch.zeros(shape, dtype=torch.int64, device=origin.device)
    in_cut = torch.zeros(shape, dtype=torch.bool, device=origin.device)
    for part in _present_parts(worlds):
        enter, leave, cut_enter, cut_leave = _meet(worlds, parts, part, origin, direction)
        outside = (enter < cut_enter) | (enter >= cut_leave)
        start = torch.where(outside, enter, cut_leave)
        closer = (start < leave) & (start > NEAR) & (start < nearest)
        nearest = torch.where(closer, start, nearest)
        index, in_cut = torch.where(closer, part, index), torch.where(closer, ~outside, in_cut)
    return Hit(nearest, index, in_cut)


def light_reaching(
    worlds: Worlds, parts: Parts, origin: Float[Tensor, "b v ray 3"], direction: Float[Tensor, "b v #ray 3"]
) -> Float[Tensor, "b v ray"]:
    """Share of a light that is not blocked: each part blocks by how much of it the ray goes through, measured in the
    width of a shadow's edge at that distance. Smooth, and the same from every view.
    """
    shape = torch.broadcast_shapes(origin.shape, direction.shape)[:-1]
    reaching = torch.ones(shape, device=origin.device)
    for part in _present_parts(worlds):
        enter, leave, cut_enter, cut_leave = _meet(worlds, parts, part, origin, direction)
        begin = enter.clamp(min=0)
        solid = (leave - begin).clamp(min=0)
        gone = (torch.minimum(leave, cut_leave) - torch.maximum(begin, cut_enter)).clamp(min=0)
        edge = worlds.softness[:, None, None] * begin.clamp(max=4) + 0.01
        reaching = reaching * (1 - ((solid - gone).clamp(min=0) / edge).clamp(max=1))
    return reaching


def meet_ground(worlds: Worlds, origin: Tensor, direction: Tensor) -> Float[Tensor, "b v ray"]:
    """Distance to the open ground, by steps that its steepest slope keeps from overshooting; FAR above the horizon."""
    slope = (worlds.hill_height * worlds.hill_wave.norm(dim=-1)).sum(-1)[:, None, None]
    top = (worlds.ground + worlds.hill_height.abs().sum(-1))[:, None, None]
    closing = slope * direction[..., :2].norm(dim=-1) - direction[..., 2]
    down = direction[..., 2].clamp(max=-1e-4)
    t = ((top - origin[..., 2]) / down).clamp(min=0)
    for _ in range(MARCH):
        point = origin + t[..., None] * direction
        gap = point[..., 2] - hill_heights(worlds, point[..., 0], point[..., 1])
        t = t + gap / closing.clamp(min=1e-4)
    return torch.where((direction[..., 2] < -1e-4) & (t < HORIZON), t, FAR)


class Surface(NamedTuple):
    """What each ray hits. Where it hits nothing, `seen` is False and the rest means nothing."""

    point: Float[Tensor, "b v ray 3"]
    normal: Float[Tensor, "b v ray 3"]
    local: Float[Tensor, "b v ray 3"]  # in the surface's own axes, world units
    local_normal: Float[Tensor, "b v ray 3"]
    material: Int[Tensor, "b v ray"]
    distance: Float[Tensor, "b v ray"]
    seen: Tensor


def find_surface(worlds: Worlds, parts: Parts, origin: Float[Tensor, "b v 1 3"], direction: Tensor) -> Surface:
    """Parts, then what is behind them: a wall of the room, or the open ground."""
    b, v = origin.shape[:2]
    hit = nearest_part(worlds, parts, origin, direction)
    setting = worlds.setting[:, None, None]
    safe = torch.where(direction.abs() < 1e-9, 1e-9, direction)
    wall = torch.where(safe > 0, worlds.high[:, None, None], worlds.low[:, None, None])
    exit_distance, axis = ((wall - origin) / safe).min(-1)
    positive = torch.gather(safe, -1, axis[..., None])[..., 0] > 0
    behind = torch.where(setting == ROOM, exit_distance, FAR)
    behind = torch.where(setting == OPEN, meet_ground(worlds, origin, direction), behind)
    on_part = hit.distance < behind
    distance = torch.minimum(hit.distance, behind)
    seen = distance < FAR
    point = origin + torch.where(seen, distance, 1.0)[..., None] * direction

    rows, views = torch.arange(b, device=point.device)[:, None, None], torch.arange(v, device=point.device)[:, None]
    frame, shift = parts.frame[rows, views, hit.part], parts.shift[rows, views, hit.part]
    cutter, cutter_shift = parts.cutter_frame[rows, views, hit.part], parts.cutter_shift[rows, views, hit.part]
    kinds = torch.tensor(KINDS, device=point.device)[hit.part]
    cutter_kinds = torch.tensor(CUTTER_KINDS, device=point.device)[hit.part]
    unit = (frame * point[..., None, :]).sum(-1) + shift
    cut_unit = (cutter * point[..., None, :]).sum(-1) + cutter_shift
    outer = (frame * unit_normal(unit, kinds)[..., :, None]).sum(-2)
    inner = -(cutter * unit_normal(cut_unit, cutter_kinds)[..., :, None]).sum(-2)
    part_normal = normalize(torch.where(hit.in_cut[..., None], inner, outer), dim=-1)
    size = worlds.size[rows, hit.part]
    part_local_normal = size * (frame * part_normal[..., None, :]).sum(-1)

    inward = torch.where(positive, -1.0, 1.0)[..., None] * one_hot(axis, 3)
    behind_normal = torch.where((setting == OPEN)[..., None], ground_normal(worlds, point), inward)
    normal = torch.where(on_part[..., None], part_normal, behind_normal)
    face = torch.where(setting == OPEN, 0, axis * 2 + positive.int())
    return Surface(
        point=point,
        normal=normal,
        local=torch.where(on_part[..., None], unit * size, point),
        local_normal=torch.where(on_part[..., None], part_local_normal, behind_normal),
        material=torch.where(on_part, hit.part, PARTS + face),
        distance=distance,
        seen=seen,
    )


def ground_normal(worlds: Worlds, point: Float[Tensor, "b v ray 3"]) -> Float[Tensor, "b v ray 3"]:
    """Upwards, across the slope of the open ground."""
    slope = torch.zeros_like(point)
    slope[..., 2] = 1
    for hill in range(worlds.hill_height.shape[1]):
        wave = worlds.hill_wave[:, hill, None, None]
        angle = (wave * point[..., :2]).sum(-1) + worlds.hill_phase[:, hill, None, None]
        slope[..., :2] -= (worlds.hill_height[:, hill, None, None] * angle.cos())[..., None] * wave
    return normalize(slope, dim=-1)


def along_surface(local: Float[Tensor, "*ray 3"], local_normal: Float[Tensor, "*ray 3"]) -> Float[Tensor, "*ray 2"]:
    """The two coordinates other than the one that the normal is nearest to."""
    x, y, z = local_normal.abs().unbind(-1)
    across_x, across_y = (x >= y) & (x >= z), (y > x) & (y >= z)
    u = torch.where(across_x, local[..., 1], local[..., 0])
    return torch.stack([u, torch.where(across_x | across_y, local[..., 2], local[..., 1])], -1)


def shade(
    worlds: Worlds, parts: Parts, surface: Surface, direction: Tensor, albedo: Tensor, gloss: Materials
) -> Tensor:
    """Light that surfaces of these colours send back along the rays."""
    normal = surface.normal
    lit = albedo * (worlds.ambient[:, None, None] * (0.8 + 0.2 * normal[..., 2:]))
    for number in range(LIGHTS):
        if not worlds.light_colour[:, number].any():
            continue
        light = worlds.light[:, None, None, number]
        cosine = (normal * light).sum(-1)
        reaching = light_reaching(worlds, parts, surface.point + 4 * NEAR * normal, light)
        facing = cosine.clamp(min=0) * reaching
        mirrored = 2 * cosine[..., None] * normal - light
        away = (-(mirrored * direction).sum(-1)).clamp(min=1e-6)
        glint = gloss.gloss * (gloss.shine * away.log()).exp() * reaching * (cosine > 0)
        colour = worlds.light_colour[:, None, None, number]
        lit = lit + colour * (albedo * facing[..., None] + glint[..., None])
    return lit


def trace(
    worlds: Worlds,
    rig: Rig,
    direction: Float[Tensor, "b v ray 3"],
    angle: Float[Tensor, "b v"],
    photographs: Photographs | None,
) -> Float[Tensor, "b v ray 3"]:
    """Colours in [0, 1] along rays with unit directions from the rig's centres; `angle` is a pixel's, in radians."""
    origin = rig.c2w[:, :, None, :3, 3]
    parts = pose_parts(worlds, rig.times)
    surface = find_surface(worlds, parts, origin, direction)
    rows = torch.arange(origin.shape[0], device=origin.device)[:, None, None]
    material = Materials(*(field[rows, surface.material] for field in worlds.materials))
    footprint = torch.where(surface.seen, surface.distance, 1.0) * angle[..., None]
    uv = along_surface(surface.local, surface.local_normal)
    texels = None if photographs is None else photographs.texels
    albedo = shade_texture(surface.local, uv, material, footprint, texels, SIDES)
    lit = shade(worlds, parts, surface, direction, albedo, material)

    horizon, setting = worlds.horizon[:, None, None], worlds.setting[:, None, None, None]
    clear = (-worlds.haze[:, None, None] * surface.distance.clamp(max=HORIZON)).exp()[..., None]
    lit = torch.where(setting == OPEN, horizon + (lit - horizon) * clear, lit)
    up = direction[..., 2:].clamp(min=0).sqrt()
    sky = horizon + (worlds.zenith[:, None, None] - horizon) * up
    unseen = torch.where(setting == PLAIN, horizon.expand_as(sky), sky)
    return torch.where(surface.seen[..., None], lit, unseen).clamp(0, 1)


def build_rays(rig: Rig, size: int, samples: int) -> tuple[Float[Tensor, "b v ray 3"], Float[Tensor, "b v"]]:
    """Unit directions through a samples x samples grid in each pixel, row by row, and a pixel's angle in radians."""
    fine = size * samples
    centres = (torch.arange(fine, device=rig.c2w.device) + 0.5) / fine  # in image widths
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="ij")[::-1], -1).flatten(0, 1)
    plane = (grid - rig.principal[:, :, None]) / rig.focal[:, :, None]
    camera = normalize(torch.cat([plane, torch.ones_like(plane[..., :1])], -1), dim=-1)
    direction = (rig.c2w[:, :, None, :3, :3] * camera[..., None, :]).sum(-1)
    return direction, 1 / (size * rig.focal.mean(-1))


class Renderer(NamedTuple):
    """Two halves, so that worlds drawn for many steps are laid out once: PLAIN_RENDERER, or its fused twin.

    `pack` makes a record of tensors whose first axis is the worlds', so that draws.select cuts it; `render` takes such
    a record, or some of its rows, with (size, samples, photographs) to images in [0, 1], [b, v, 3, size, size].
    """

    pack: Callable[[Worlds, Rig], Any]
    render: Callable[[Any, int, int, Photographs | None], Tensor]


RAYS_AT_ONCE = 64 * 64  # a view: bounds memory


def render_plainly(
    packed: WorldBatch, size: int, samples: int, photographs: Photographs | None
) -> Float[Tensor, "b v 3 size size"]:
    """The oracle of kernels/tracing.py: images in [0, 1], the mean of samples x samples rays a pixel."""
    direction, angle = build_rays(packed.rig, size, samples)
    rays = direction.split(RAYS_AT_ONCE, dim=2)
    colours = torch.cat([trace(*packed, part, angle, photographs) for part in rays], 2)
    fine = colours.unflatten(2, (size, samples, size, samples))
    return fine.mean((3, 5)).permute(0, 1, 4, 2, 3)


PLAIN_RENDERER = Renderer(WorldBatch, render_plainly)


def render_worlds(
    worlds: Worlds,
    rig: Rig,
    size: int,
    *,
    samples: int = 2,
    scenes_at_once: int = 1,
    photographs: Photographs | None = None,
    renderer: Renderer = PLAIN_RENDERER,
) -> Float[Tensor, "b v 3 size size"]:
    """Images in [0, 1] with samples x samples rays a pixel, so many worlds at a time. For worlds that are shown once:
    who draws many steps' worlds together packs them once (Renderer).
    """
    packed = renderer.pack(worlds, rig)
    rows = [slice(start, start + scenes_at_once) for start in range(0, rig.c2w.shape[0], scenes_at_once)]
    return torch.cat([renderer.render(select(packed, r), size, samples, photographs) for r in rows])
