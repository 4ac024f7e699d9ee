"""How the parts of a world stand together: a cluster in the middle, scattered on the ground, rows of the same thing, or
a table among others. Ranges are ours, in world units.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import one_hot

from reference_model.worlds.draws import Draw, yaw
from reference_model.worlds.shapes import BOX, KINDS, PARTS

CLUSTER, SCATTER, ROWS, TABLE = range(4)
LAYOUT_WEIGHTS = (0.35, 0.27, 0.18, 0.20)
SINGLE = 0.6  # of the worlds before a plain background: a cluster whatever the weights, single objects

TABLE_TOP = KINDS.index(BOX)  # the first five boxes are a table's top and legs
SLOTS = torch.arange(PARTS)
OF_TABLE = (SLOTS >= TABLE_TOP) & (SLOTS < TABLE_TOP + 5)
LYING = (SLOTS % 2 == 0) & ~OF_TABLE  # what lies on a table; the rest stands beside it
CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))


class Layout(NamedTuple):
    """Parts before they are put on the ground; the heights of what is `grounded` are not yet theirs."""

    centre: Float[Tensor, "b part 3"]
    size: Float[Tensor, "b part 3"]  # half extents
    rotation: Float[Tensor, "b part 3 3"]
    grounded: Float[Tensor, "b part"]  # 1 where a part stands on the ground
    needed: Float[Tensor, "b part"]  # 1 for the parts of a table, which is never without a leg
    single: Float[Tensor, " b"]  # 1 where the world is one object before a plain background


def draw_layout(draw: Draw, floor: Float[Tensor, " b"], plain: Bool[Tensor, " b"]) -> Layout:
    """One layout a world. `floor` is the ground's height in the middle, `plain` whether nothing surrounds the world."""
    count = floor.shape[0]
    shape = (count, PARTS)
    size, turned, heading = _draw_sizes(draw, count), draw.rotation(shape), draw.uniform(shape, 0, 2 * math.pi)
    single = (plain.float() * draw.chance((count,), SINGLE))[:, None] > 0
    layout = torch.where(single, CLUSTER, draw.choice((count, 1), LAYOUT_WEIGHTS))
    is_rows, is_table = layout == ROWS, layout == TABLE
    spread = draw.uniform((count, 1, 1), 0.3, 0.8)
    cluster = draw.direction(shape) * draw.uniform((*shape, 1)) ** 0.5 * spread
    scattered = draw.uniform((*shape, 3), -1, 1) * draw.uniform((count, 1, 1), 0.8, 2.2)
    rows, row_size, row_turn = _draw_rows(draw, count, size, heading)
    table, table_size = _draw_table(draw, count, size, scattered, floor)
    furniture = is_table & OF_TABLE
    grounded = ((layout == SCATTER) | is_rows | (is_table & ~furniture & ~LYING)).float()
    upright = (layout != CLUSTER) | (draw.chance((count, 1), 0.35) > 0)
    rotation = torch.where(upright[..., None, None], yaw(heading), turned)
    rotation = torch.where(is_rows[..., None, None], yaw(row_turn), rotation)
    rotation = torch.where(furniture[..., None, None], torch.eye(3), rotation)
    centre = torch.where((layout == CLUSTER)[..., None], cluster, scattered)
    centre = torch.where(is_rows[..., None], rows, centre)
    size = torch.where(is_rows[..., None], row_size, size)
    centre = torch.where(is_table[..., None], table, centre)
    size = torch.where(is_table[..., None], table_size, size)
    return Layout(centre, size, rotation, grounded, furniture.float(), single[:, 0].float())


def _draw_sizes(draw: Draw, count: int) -> Float[Tensor, "b part 3"]:
    """Half extents from 0.05 to 0.7; three in ten parts are thin in one axis, one in ten are rods."""
    shape = (count, PARTS)
    size = draw.log_uniform((*shape, 3), 0.08, 0.5) * draw.log_uniform((*shape, 1), 0.6, 1.4)
    thin = draw.chance(shape, 0.3)[..., None] * one_hot(draw.integer(shape, 3), 3)
    rod = draw.chance(shape, 0.1)[..., None] * (1 - one_hot(draw.integer(shape, 3), 3))
    return size * (1 - 0.85 * thin) * (1 - 0.8 * rod)


def _draw_rows(draw: Draw, count: int, size: Tensor, heading: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centres, sizes and headings of parts on a grid of 3 to 5 columns; all of one shape are alike."""
    first = torch.tensor([KINDS.index(kind) for kind in KINDS])
    pitch, columns = draw.log_uniform((count, 1), 0.35, 0.9), 3 + draw.integer((count, 1), 3)
    order = torch.argsort(draw.uniform((count, PARTS)), dim=1)
    column, row = (order % columns).float(), torch.div(order, columns, rounding_mode="floor").float()
    x = (column - (columns - 1) / 2) * pitch
    y = (row - (PARTS / columns - 1) / 2) * pitch
    way = draw.uniform((count, 1), 0, 2 * math.pi)
    centre = torch.stack([x * way.cos() - y * way.sin(), x * way.sin() + y * way.cos(), torch.zeros_like(x)], -1)
    return centre, (size[:, first] * 0.6).clamp(max=0.4), heading[:, first]


def _draw_table(draw: Draw, count: int, size: Tensor, centre: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Centres and sizes: top and legs on the ground in the middle, every other part (made small) on the table,
    the rest where they were.
    """
    half = draw.uniform((count, 2), 0.3, 0.9)
    tall, thick = draw.uniform((count,), 0.25, 0.7), draw.log_uniform((count,), 0.02, 0.06)
    leg = draw.log_uniform((count,), 0.02, 0.06)
    centre, size = centre.clone(), size.clone()
    top, middle = floor + tall, torch.zeros(count)
    centre[:, TABLE_TOP] = torch.stack([middle, middle, top], -1)
    size[:, TABLE_TOP] = torch.stack([half[:, 0], half[:, 1], thick], -1)
    for number, (sx, sy) in enumerate(CORNERS, start=1):
        at = torch.stack([sx * (half[:, 0] - leg), sy * (half[:, 1] - leg), floor + tall / 2], -1)
        centre[:, TABLE_TOP + number] = at
        size[:, TABLE_TOP + number] = torch.stack([leg, leg, tall / 2], -1)
    lying = centre.clone()
    lying[..., :2] = draw.uniform((count, PARTS, 2), -0.8, 0.8) * half[:, None]
    small = size.clamp(max=0.16)
    lying[..., 2] = (top + thick)[:, None] + small[..., 2]
    return torch.where(LYING[:, None], lying, centre), torch.where(LYING[:, None], small, size)
