"""What is in a world: convex parts and what is cut out of them, with materials, before a plain background, inside a
textured room, or on open ground under a sky; lights; and for video how parts move.

Everything is drawn on the CPU from one generator, for many worlds at once, so that a seed gives the same worlds on
every device. Zeroverse (1 to 9 primitives, cut-outs, thin structures, height fields, random textures) and MegaSynth
(rooms of boxes and primitives) name the ingredients; the ranges are ours.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from reference_model.worlds.cameras import Rig
from reference_model.worlds.draws import Draw, yaw
from reference_model.worlds.materials import Materials, draw_materials, muted
from reference_model.worlds.shapes import BOX, KINDS, PARTS

FACES = 6  # of a room, each with a material of its own; the first is the open ground's
SURFACES = PARTS + FACES
LIGHTS = 2
HILLS = 4  # waves of the ground's height
PLAIN, ROOM, OPEN = range(3)
CLUSTER, SCATTER, ROWS, FURNITURE = range(4)


class Worlds(NamedTuple):
    # Parts. A point p of the world is rotation^T (p - centre) / size in a part's unit coordinates.
    rotation: Float[Tensor, "b part 3 3"]  # world from local
    centre: Float[Tensor, "b part 3"]
    size: Float[Tensor, "b part 3"]  # half extents
    present: Float[Tensor, "b part"]  # 1 or 0
    velocity: Float[Tensor, "b part 3"]  # world units over a whole clip
    spin: Float[Tensor, "b part 3"]  # rotation vector, radians over a whole clip
    # What is cut out of them, in unit coordinates.
    cut: Float[Tensor, "b part"]  # 1 or 0
    cutter_rotation: Float[Tensor, "b part 3 3"]
    cutter_centre: Float[Tensor, "b part 3"]
    cutter_size: Float[Tensor, "b part 3"]
    materials: Materials  # of the parts, then of the room's faces
    setting: Int[Tensor, " b"]  # PLAIN, ROOM or OPEN
    low: Float[Tensor, "b 3"]  # corners of the room
    high: Float[Tensor, "b 3"]
    horizon: Float[Tensor, "b 3"]  # colour of the plain background, or of the sky at the horizon
    zenith: Float[Tensor, "b 3"]
    haze: Float[Tensor, " b"]  # per world unit
    ground: Float[Tensor, " b"]  # mean height of the open ground
    hill_height: Float[Tensor, "b hill"]
    hill_wave: Float[Tensor, "b hill 2"]  # radians per world unit
    hill_phase: Float[Tensor, "b hill"]
    light: Float[Tensor, "b light 3"]  # unit vectors towards them
    light_colour: Float[Tensor, "b light 3"]
    softness: Float[Tensor, " b"]  # width of a shadow's edge per world unit between it and what casts it
    ambient: Float[Tensor, "b 3"]


def hill_heights(worlds: Worlds, x: Float[Tensor, "b *n"], y: Float[Tensor, "b *n"]) -> Float[Tensor, "b *n"]:
    """Height of the open ground."""
    return sum_hills(worlds.ground, worlds.hill_height, worlds.hill_wave, worlds.hill_phase, x, y)


def sum_hills(ground: Tensor, height: Tensor, wave: Tensor, phase: Tensor, x: Tensor, y: Tensor) -> Tensor:
    shape = (-1,) + (1,) * (x.ndim - 1)
    total = ground.reshape(shape) + torch.zeros_like(x)
    for hill in range(HILLS):
        angle = wave[:, hill, 0].reshape(shape) * x + wave[:, hill, 1].reshape(shape) * y
        total = total + height[:, hill].reshape(shape) * (angle + phase[:, hill].reshape(shape)).sin()
    return total


class _Hills(NamedTuple):
    ground: Tensor
    height: Tensor
    wave: Tensor
    phase: Tensor


def _draw_hills(draw: Draw, floor: Tensor) -> _Hills:
    """Hills whose tops stay below `floor`; none in half of the worlds. Steepest slope below 1."""
    count = floor.shape[0]
    length = draw.log_uniform((count, HILLS), 0.8, 5.0)
    steep = draw.uniform((count, 1), 0.0, 0.22) * draw.chance((count, 1), 0.5)
    height = steep * length / (2 * math.pi) * draw.uniform((count, HILLS))
    way = draw.uniform((count, HILLS), 0, 2 * math.pi)
    wave = torch.stack([way.cos(), way.sin()], -1) * (2 * math.pi / length)[..., None]
    return _Hills(floor - height.sum(1), height, wave, draw.uniform((count, HILLS), 0, 2 * math.pi))


class _Layout(NamedTuple):
    """Parts before they are put on the ground."""

    centre: Tensor
    size: Tensor
    rotation: Tensor
    grounded: Tensor  # b part: stands on what is below it


def _draw_sizes(draw: Draw, count: int) -> Tensor:
    shape = (count, PARTS)
    size = draw.log_uniform((*shape, 3), 0.08, 0.5) * draw.log_uniform((*shape, 1), 0.6, 1.4)
    thin = draw.chance(shape, 0.3)[..., None] * one_hot(draw.integer(shape, 3), 3)
    rod = draw.chance(shape, 0.1)[..., None] * (1 - one_hot(draw.integer(shape, 3), 3))
    return size * (1 - 0.85 * thin) * (1 - 0.8 * rod)


def _draw_layout(draw: Draw, count: int, floor: Tensor, setting: Tensor) -> _Layout:
    """One of four: a cluster in the middle, scattered on the ground, rows of the same thing, a table among others.
    Before a plain background mostly the first: single objects.
    """
    shape = (count, PARTS)
    size, turned, heading = _draw_sizes(draw, count), draw.rotation(shape), draw.uniform(shape, 0, 2 * math.pi)
    single = ((setting == PLAIN).float() * draw.chance((count,), 0.6))[:, None] > 0
    layout = torch.where(single, CLUSTER, draw.choice((count, 1), (0.35, 0.27, 0.18, 0.20)))
    spread = draw.uniform((count, 1, 1), 0.3, 0.8)
    cluster = draw.direction(shape) * draw.uniform((*shape, 1)) ** 0.5 * spread
    scattered = draw.uniform((*shape, 3), -1, 1) * draw.uniform((count, 1, 1), 0.8, 2.2)
    rows, row_size, row_turn = _draw_rows(draw, count, size, heading)
    table, table_size = _draw_table(draw, count, size, scattered, floor)
    # A table's boxes, and what lies on it, have heights of their own.
    is_box = torch.tensor([kind == BOX for kind in KINDS]).float()
    grounded = ((layout == SCATTER) | (layout == ROWS)).float() + (layout == FURNITURE).float() * (
        1 - is_box * (torch.arange(PARTS) < FIRST_BOX + 5).float()
    )
    upright = torch.maximum((layout != CLUSTER).float(), draw.chance((count, 1), 0.35))
    rotation = torch.where(upright[..., None, None] > 0, yaw(heading), turned)
    rotation = torch.where((layout == ROWS)[..., None, None], yaw(row_turn), rotation)
    centre = torch.where((layout == CLUSTER)[..., None], cluster, scattered)
    centre = torch.where((layout == ROWS)[..., None], rows, centre)
    size = torch.where((layout == ROWS)[..., None], row_size, size)
    at_table = (layout == FURNITURE)[..., None]
    centre, size = torch.where(at_table, table, centre), torch.where(at_table, table_size, size)
    legs = (layout == FURNITURE).float() * is_box * (torch.arange(PARTS) < FIRST_BOX + 5).float()
    rotation = torch.where(legs[..., None, None] > 0, torch.eye(3), rotation)
    return _Layout(centre, size, rotation, grounded)


FIRST_BOX = KINDS.index(BOX)


def _draw_rows(draw: Draw, count: int, size: Tensor, heading: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Parts on a grid; all of one shape are alike."""
    first = torch.tensor([KINDS.index(kind) for kind in KINDS])
    pitch, columns = draw.log_uniform((count, 1), 0.35, 0.9), 3 + draw.integer((count, 1), 3)
    slot = torch.arange(PARTS)
    order = torch.argsort(draw.uniform((count, PARTS)), dim=1)
    column, row = (order % columns).float(), torch.div(order, columns, rounding_mode="floor").float()
    x = (column - (columns - 1) / 2) * pitch
    y = (row - (PARTS / columns - 1) / 2) * pitch
    way = draw.uniform((count, 1), 0, 2 * math.pi)
    centre = torch.stack([x * way.cos() - y * way.sin(), x * way.sin() + y * way.cos(), torch.zeros_like(x)], -1)
    return centre, (size[:, first] * 0.6).clamp(max=0.4), heading[:, first[slot]]


def _draw_table(draw: Draw, count: int, size: Tensor, centre: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """The first five boxes are a table's top and legs, on the ground at the middle."""
    half = draw.uniform((count, 2), 0.3, 0.9)
    tall, thick = draw.uniform((count,), 0.25, 0.7), draw.log_uniform((count,), 0.02, 0.06)
    leg = draw.log_uniform((count,), 0.02, 0.06)
    centre, size = centre.clone(), size.clone()
    top = floor + tall
    middle = torch.zeros(count)
    centre[:, FIRST_BOX] = torch.stack([middle, middle, top], -1)
    size[:, FIRST_BOX] = torch.stack([half[:, 0], half[:, 1], thick], -1)
    for number, (sx, sy) in enumerate(((1, 1), (1, -1), (-1, 1), (-1, -1)), start=1):
        at = torch.stack([sx * (half[:, 0] - leg), sy * (half[:, 1] - leg), floor + tall / 2], -1)
        centre[:, FIRST_BOX + number] = at
        size[:, FIRST_BOX + number] = torch.stack([leg, leg, tall / 2], -1)
    # Balls and tubes of the cluster lie on the table.
    on_top = torch.arange(PARTS) % 2 == 0
    on_top[FIRST_BOX : FIRST_BOX + 5] = False
    lying = centre.clone()
    lying[..., :2] = draw.uniform((count, PARTS, 2), -0.8, 0.8) * half[:, None]
    small = size.clamp(max=0.16)
    lying[..., 2] = (top + thick)[:, None] + small[..., 2]
    return torch.where(on_top[:, None], lying, centre), torch.where(on_top[:, None], small, size)


def _share_materials(draw: Draw, materials: Materials) -> Materials:
    """In 40 % of the worlds the parts share three materials, as the parts of one object do."""
    count = materials.mode.shape[0]
    shared = draw.chance((count, 1), 0.4) > 0
    own = torch.arange(SURFACES).expand(count, SURFACES)
    few = torch.cat([draw.integer((count, PARTS), 3), own[:, PARTS:]], 1)
    index = torch.where(shared, few, own)
    rows = torch.arange(count)[:, None]
    return Materials(*(field[rows, index] for field in materials))


def _draw_present(draw: Draw, count: int) -> Tensor:
    present = (draw.uniform((count, PARTS)) < draw.uniform((count, 1), 0.15, 1.0)).float()
    empty = present.sum(1) == 0
    present[:, 0] = torch.maximum(present[:, 0], empty.float())
    return present


def draw_worlds(rig: Rig, generator: torch.Generator) -> Worlds:
    """Draw a world around each row of cameras: its ground lies below them, its room contains them."""
    count, floor, reach = rig.floor.shape[0], rig.floor, rig.c2w[..., :3, 3].abs().amax(1)
    draw, shape = Draw(generator), (count, PARTS)
    # Who walks among things is surrounded by them.
    around = draw.choice((count,), (0.0, 0.6, 0.4))
    setting = torch.where(rig.inside > 0, around, draw.choice((count,), (0.42, 0.33, 0.25))).int()
    hills = _draw_hills(draw, floor)
    present = _draw_present(draw, count)
    layout = _draw_layout(draw, count, floor, setting)
    x, y = layout.centre[..., 0], layout.centre[..., 1]
    ground = torch.where((setting == OPEN)[:, None], sum_hills(*hills, x, y), floor[:, None])
    centre = layout.centre.clone()
    centre[..., 2] = torch.where(layout.grounded > 0, ground + 0.98 * layout.size[..., 2], centre[..., 2])
    margin = draw.uniform((count, 3), 1.05, 2.5), draw.uniform((count, 3), 1.05, 2.5)
    high, low = (torch.maximum(reach, torch.tensor(1.2)) * m for m in margin)
    low = -low
    low[:, 2] = floor
    light = draw.direction((count, LIGHTS))
    light[..., 2] = light[..., 2].abs() + 0.25
    strength = draw.uniform((count, 1), 0.35, 0.85)
    second = draw.uniform((count, 1), 0.2, 0.6) * draw.chance((count, 1), 0.4)
    colour = strength[..., None] * draw.uniform((count, LIGHTS, 3), 0.88, 1.12)
    white = draw.chance((count, 1), 0.55)
    plain = white + (1 - white) * muted(draw.uniform((count, 3)), draw.uniform((count, 1), 0.0, 0.8))
    sky = muted(draw.uniform((count, 3), 0.45, 1.0), draw.uniform((count, 1), 0.1, 1.0))
    zenith = sky * draw.uniform((count, 1), 0.4, 1.0) * draw.uniform((count, 3), 0.75, 1.0)
    moving = draw.chance(shape, 0.5)[..., None]
    return Worlds(
        rotation=layout.rotation,
        centre=centre,
        size=layout.size,
        present=present,
        velocity=draw.direction(shape) * draw.uniform((*shape, 1), 0.0, 0.8) * moving,
        spin=draw.direction(shape) * draw.uniform((*shape, 1), 0.0, 2.0) * moving,
        cut=draw.chance(shape, 0.25),
        cutter_rotation=draw.rotation(shape),
        cutter_centre=draw.direction(shape) * draw.uniform((*shape, 1), 0.3, 1.1),
        cutter_size=draw.log_uniform((*shape, 3), 0.3, 1.2),
        materials=_share_materials(draw, draw_materials(draw, (count, SURFACES))),
        setting=setting,
        low=low,
        high=high,
        horizon=torch.where((setting == OPEN)[:, None], sky, plain),
        zenith=zenith,
        haze=draw.log_uniform((count,), 0.01, 0.12),
        ground=hills.ground,
        hill_height=hills.height,
        hill_wave=hills.wave,
        hill_phase=hills.phase,
        light=normalize(light, dim=-1),
        light_colour=torch.stack([colour[:, 0], colour[:, 1] * second], 1),
        softness=draw.log_uniform((count,), 0.02, 0.6),
        ambient=(1.05 - strength) * draw.uniform((count, 3), 0.9, 1.1),
    )
