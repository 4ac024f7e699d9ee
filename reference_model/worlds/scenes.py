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
from torch.nn.functional import normalize

from reference_model.worlds.cameras import Rig
from reference_model.worlds.draws import Draw
from reference_model.worlds.layouts import draw_layout
from reference_model.worlds.materials import FACE_MODES, PART_MODES, Materials, draw_materials, muted
from reference_model.worlds.shapes import PARTS

FACES = 6  # of a room, each with a material of its own; the first is the open ground's
SURFACES = PARTS + FACES
LIGHTS = 2
HILLS = 4  # waves of the ground's height
SUNK = 0.98  # of its half height is the centre of what stands on the ground above it: no gap shows on a slope
LEAST_REACH = 1.2  # of a room's walls from the middle, before their margin
PLAIN, ROOM, OPEN = range(3)
SETTING_WEIGHTS = (0.42, 0.33, 0.25)
BACKDROP_WEIGHTS = (0.5, 0.15, 0.35)  # white, black, coloured
BLACKEST = 0.06  # the brightest black
DARK = 0.1  # share of the worlds that are underexposed
CALM = 0.1  # share of the worlds whose surfaces are smooth and of near colours
SETTING_WEIGHTS_INSIDE = (0.0, 0.6, 0.4)  # who walks among things is surrounded by them


class Worlds(NamedTuple):
    """A batch of worlds; z is up, lengths are in world units (an object of the middle has a radius of about 0.8)."""

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
    """`hill_heights` of a world that is still being drawn: ground + sum_i height_i sin(wave_i . (x, y) + phase_i)."""
    shape = (-1,) + (1,) * (x.ndim - 1)
    total = ground.reshape(shape) + torch.zeros_like(x)
    for hill in range(HILLS):
        angle = wave[:, hill, 0].reshape(shape) * x + wave[:, hill, 1].reshape(shape) * y
        total = total + height[:, hill].reshape(shape) * (angle + phase[:, hill].reshape(shape)).sin()
    return total


class _Hills(NamedTuple):
    """As in Worlds."""

    ground: Float[Tensor, " b"]
    height: Float[Tensor, "b hill"]
    wave: Float[Tensor, "b hill 2"]
    phase: Float[Tensor, "b hill"]


def _draw_hills(draw: Draw, floor: Tensor) -> _Hills:
    """Hills whose tops stay below `floor`; none in half of the worlds. Steepest slope below 1."""
    count = floor.shape[0]
    length = draw.log_uniform((count, HILLS), 0.8, 5.0)
    steep = draw.uniform((count, 1), 0.0, 0.22) * draw.chance((count, 1), 0.5)
    height = steep * length / (2 * math.pi) * draw.uniform((count, HILLS))
    way = draw.uniform((count, HILLS), 0, 2 * math.pi)
    wave = torch.stack([way.cos(), way.sin()], -1) * (2 * math.pi / length)[..., None]
    return _Hills(floor - height.sum(1), height, wave, draw.uniform((count, HILLS), 0, 2 * math.pi))


def _draw_surfaces(draw: Draw, count: int) -> Materials:
    """Materials of the parts and of what surrounds them, which is seldom plain; a tenth of the worlds are calm."""
    calm = draw.chance((count, 1), CALM)
    parts = draw_materials(draw, (count, PARTS), calm, PART_MODES)
    faces = draw_materials(draw, (count, FACES), calm, FACE_MODES)
    return _share_materials(draw, Materials(*(torch.cat(both, 1) for both in zip(parts, faces, strict=True))))


def _share_materials(draw: Draw, materials: Materials) -> Materials:
    """In 40 % of the worlds the parts share three materials, as the parts of one object do."""
    count = materials.mode.shape[0]
    shared = draw.chance((count, 1), 0.4) > 0
    own = torch.arange(SURFACES).expand(count, SURFACES)
    few = torch.cat([draw.integer((count, PARTS), 3), own[:, PARTS:]], 1)
    index = torch.where(shared, few, own)
    rows = torch.arange(count)[:, None]
    return Materials(*(field[rows, index] for field in materials))


def _draw_present(draw: Draw, single: Float[Tensor, " b"]) -> Float[Tensor, "b part"]:
    """Between a seventh and all of the parts, at least one; of what is not a single object nearly half and more."""
    count = single.shape[0]
    least = torch.where(single > 0, 0.15, 0.45)[:, None]
    present = (draw.uniform((count, PARTS)) < least + (1 - least) * draw.uniform((count, 1))).float()
    empty = present.sum(1) == 0
    present[:, 0] = torch.maximum(present[:, 0], empty.float())
    return present


def _draw_backdrop(draw: Draw, count: int) -> Float[Tensor, "b 3"]:
    """What plain worlds stand before: white in half of them, nearly black in 15 %, else a colour."""
    kind = draw.choice((count, 1), BACKDROP_WEIGHTS)
    coloured = muted(draw.uniform((count, 3)), draw.uniform((count, 1), 0.0, 0.8))
    black = draw.uniform((count, 3), 0.0, BLACKEST)
    return torch.where(kind == 0, 1.0, torch.where(kind == 1, black, coloured))


def _draw_exposure(draw: Draw, count: int) -> Float[Tensor, "b 1"]:
    """What all light of a world is multiplied by; 0.3 to 0.6 in the tenth of the worlds that are underexposed."""
    dark, usual = draw.uniform((count, 1), 0.3, 0.6), draw.uniform((count, 1), 1.0, 1.4)
    return torch.where(draw.chance((count, 1), DARK).bool(), dark, usual)


def draw_worlds(rig: Rig, generator: torch.Generator) -> Worlds:
    """Draw a world around each row of cameras: its ground lies below them, its room contains them."""
    count, floor, reach = rig.floor.shape[0], rig.floor, rig.c2w[..., :3, 3].abs().amax(1)
    draw, shape = Draw(generator), (count, PARTS)
    around = draw.choice((count,), SETTING_WEIGHTS_INSIDE)
    setting = torch.where(rig.inside > 0, around, draw.choice((count,), SETTING_WEIGHTS)).int()
    hills = _draw_hills(draw, floor)
    middle = sum_hills(*hills, torch.zeros(count, 1), torch.zeros(count, 1))[:, 0]
    layout = draw_layout(draw, torch.where(setting == OPEN, middle, floor), setting == PLAIN)
    present = torch.maximum(_draw_present(draw, layout.single), layout.needed)
    x, y = layout.centre[..., 0], layout.centre[..., 1]
    ground = torch.where((setting == OPEN)[:, None], sum_hills(*hills, x, y), floor[:, None])
    centre = layout.centre.clone()
    centre[..., 2] = torch.where(layout.grounded > 0, ground + SUNK * layout.size[..., 2], centre[..., 2])
    margin = draw.uniform((count, 3), 1.05, 2.5), draw.uniform((count, 3), 1.05, 2.5)
    high, low = (torch.maximum(reach, torch.tensor(LEAST_REACH)) * m for m in margin)
    low = -low
    low[:, 2] = floor
    light = draw.direction((count, LIGHTS))
    light[..., 2] = light[..., 2].abs() + 0.25
    strength, exposure = draw.uniform((count, 1), 0.35, 0.9), _draw_exposure(draw, count)
    second = draw.uniform((count, 1), 0.2, 0.6) * draw.chance((count, 1), 0.4)
    colour = strength[..., None] * draw.uniform((count, LIGHTS, 3), 0.88, 1.12)
    plain = _draw_backdrop(draw, count)
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
        materials=_draw_surfaces(draw, count),
        setting=setting,
        low=low,
        high=high,
        horizon=torch.where((setting == OPEN)[:, None], sky, plain) * exposure.clamp(max=1),
        zenith=zenith * exposure.clamp(max=1),
        haze=draw.log_uniform((count,), 0.006, 0.1),
        ground=hills.ground,
        hill_height=hills.height,
        hill_wave=hills.wave,
        hill_phase=hills.phase,
        light=normalize(light, dim=-1),
        light_colour=torch.stack([colour[:, 0], colour[:, 1] * second], 1) * exposure[..., None],
        softness=draw.log_uniform((count,), 0.02, 0.6),
        ambient=(1.05 - strength) * draw.uniform((count, 3), 0.9, 1.1) * exposure,
    )
