"""What is in a world: ellipsoids, boxes and cylinders with materials, on a plain background or inside a textured
enclosure, one light.

Everything is drawn on the CPU from one generator, for many worlds at once, so that a seed gives the same worlds on
every device. Ranges follow Zeroverse (1 to 9 parts, random textures) and are otherwise ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

ELLIPSOIDS, BOXES, CYLINDERS = 5, 6, 3
PARTS = ELLIPSOIDS + BOXES + CYLINDERS
FACES = 6  # of the enclosure, each with a material of its own
WAVES = 5
ABSENT = 1e4  # where parts that a world does not have are put


class Materials(NamedTuple):
    """One per part, then one per face of the enclosure (m = PARTS + FACES)."""

    waves: Float[Tensor, "b m wave 3"]  # radians per world unit
    phases: Float[Tensor, "b m wave"]
    weights: Float[Tensor, "b m wave"]  # sum to 1
    colours: Float[Tensor, "b m 3 3"]  # three colours of three channels
    mode: Int[Tensor, "b m"]  # see textures.MODES
    cells: Float[Tensor, "b m"]  # cells per world unit
    grain: Float[Tensor, "b m"]  # strength of the value noise
    gloss: Float[Tensor, "b m"]


class Worlds(NamedTuple):
    rotation: Float[Tensor, "b part 3 3"]  # world from local
    centre: Float[Tensor, "b part 3"]
    size: Float[Tensor, "b part 3"]  # half extents
    materials: Materials
    enclosed: Float[Tensor, " b"]  # 1 inside an enclosure, 0 before a plain background
    low: Float[Tensor, "b 3"]  # corners of the enclosure
    high: Float[Tensor, "b 3"]
    background: Float[Tensor, "b 3"]
    light: Float[Tensor, "b 3"]  # unit vector towards it
    light_colour: Float[Tensor, "b 3"]
    ambient: Float[Tensor, "b 3"]


Record = TypeVar("Record", bound=tuple[Any, ...])  # a NamedTuple of tensors and of further such records


def map_record(record: Record, change: Callable[[Tensor], Tensor]) -> Record:
    """The same record with every tensor changed."""
    return type(record)(*(map_record(x, change) if isinstance(x, tuple) else change(x) for x in record))


def select(record: Record, rows: slice) -> Record:
    """The same record for some of its worlds."""
    return map_record(record, lambda x: x[rows])


def to_device(record: Record, device: str | torch.device) -> Record:
    return map_record(record, lambda x: x.to(device))


class Draw:
    """Uniform, log-uniform and unit-vector draws of one shape family from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator)

    def log_uniform(self, shape: tuple[int, ...], low: float, high: float) -> Tensor:
        return torch.exp(self.uniform(shape, math.log(low), math.log(high)))

    def direction(self, shape: tuple[int, ...]) -> Tensor:
        return torch.nn.functional.normalize(torch.randn((*shape, 3), generator=self.generator), dim=-1)

    def chance(self, shape: tuple[int, ...], probability: float) -> Tensor:
        return (torch.rand(shape, generator=self.generator) < probability).float()

    def integer(self, shape: tuple[int, ...], count: int) -> Tensor:
        return torch.randint(count, shape, generator=self.generator)

    def rotation(self, shape: tuple[int, ...]) -> Tensor:
        """Uniform rotations, from normalised quaternions."""
        w, x, y, z = torch.nn.functional.normalize(torch.randn((*shape, 4), generator=self.generator), dim=-1).unbind(
            -1
        )
        rows = [
            *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
            *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
            *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
        ]
        return torch.stack(rows, -1).unflatten(-1, (3, 3))


def yaw(angle: Tensor) -> Tensor:
    """Rotations about z."""
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([c, -s, zero, s, c, zero, zero, zero, one], -1).unflatten(-1, (3, 3))


def muted(colours: Tensor, saturation: Tensor) -> Tensor:
    """Pull colours towards their own grey: most real surfaces are greyish."""
    grey = colours.mean(-1, keepdim=True)
    return grey + (colours - grey) * saturation


def draw_materials(draw: Draw, count: int) -> Materials:
    shape = (count, PARTS + FACES)
    frequency = draw.log_uniform((*shape, WAVES), 2.0, 30.0)
    weights = draw.uniform((*shape, WAVES), 0.2) / frequency.sqrt()
    colours = draw.uniform((*shape, 3, 3), 0.02, 0.98)
    colours = muted(colours, draw.uniform((*shape, 1, 1), 0.0, 1.3))
    # A surface's own colours are often near each other.
    colours = colours[..., :1, :] + (colours - colours[..., :1, :]) * draw.uniform((*shape, 1, 1), 0.1, 1.0)
    return Materials(
        waves=draw.direction((*shape, WAVES)) * frequency[..., None],
        phases=draw.uniform((*shape, WAVES), 0, 2 * math.pi),
        weights=weights / weights.sum(-1, keepdim=True),
        colours=colours.clamp(0, 1),
        mode=draw.integer(shape, 6),
        cells=draw.log_uniform(shape, 1.5, 14.0),
        grain=draw.uniform(shape, 0.0, 0.5) * draw.chance(shape, 0.7),
        gloss=draw.uniform(shape, 0.0, 0.6) * draw.chance(shape, 0.4),
    )


def draw_worlds(
    count: int, reach: Float[Tensor, "b 3"], floor: Float[Tensor, " b"], generator: torch.Generator
) -> Worlds:
    """Draw worlds whose enclosures contain every camera.

    Args:
        reach: largest |x|, |y|, |z| of the world's camera centres.
        floor: the height of the ground, below every camera.
    """
    draw, shape = Draw(generator), (count, PARTS)
    enclosed = draw.chance((count,), 0.6)
    present = (draw.uniform(shape) < draw.uniform((count, 1), 0.12, 1.0)).float()
    present[:, 0] = torch.maximum(present[:, 0], (present.sum(1) == 0).float())
    size = draw.log_uniform((*shape, 3), 0.08, 0.5) * draw.log_uniform((*shape, 1), 0.6, 1.4)
    thin = draw.chance(shape, 0.2)[..., None] * torch.nn.functional.one_hot(draw.integer(shape, 3), 3)
    size = size * (1 - 0.85 * thin)
    scattered = draw.chance((count, 1, 1), 0.35)
    ball = draw.direction(shape) * draw.uniform((*shape, 1)) ** (1 / 2) * draw.uniform((count, 1, 1), 0.35, 0.75)
    disc = torch.cat([draw.uniform((*shape, 2), -1.6, 1.6), torch.zeros((*shape, 1))], -1)
    disc[..., 2] = floor[:, None] + size[..., 2]
    centre = torch.where(scattered.bool(), disc, ball)
    upright = torch.maximum(scattered, draw.chance((count, 1, 1), 0.4))[..., None].bool()
    rotation = torch.where(upright, yaw(draw.uniform(shape, 0, 2 * math.pi)), draw.rotation(shape))
    centre = torch.where(present.bool()[..., None], centre, torch.full_like(centre, ABSENT))
    margin = draw.uniform((count, 3), 1.05, 2.5)
    high = torch.maximum(reach, torch.tensor(1.2)) * margin
    low = -torch.maximum(reach, torch.tensor(1.2)) * draw.uniform((count, 3), 1.05, 2.5)
    low[:, 2] = floor
    light = draw.direction((count,))
    light[:, 2] = light[:, 2].abs() + 0.25
    white = draw.chance((count, 1), 0.55)
    strength = draw.uniform((count, 1), 0.35, 0.85)
    return Worlds(
        rotation=rotation,
        centre=centre,
        size=size,
        materials=draw_materials(draw, count),
        enclosed=enclosed,
        low=low,
        high=high,
        background=white + (1 - white) * muted(draw.uniform((count, 3)), draw.uniform((count, 1), 0.0, 0.8)),
        light=torch.nn.functional.normalize(light, dim=-1),
        light_colour=strength * draw.uniform((count, 3), 0.9, 1.1),
        ambient=(1.05 - strength) * draw.uniform((count, 3), 0.9, 1.1),
    )
