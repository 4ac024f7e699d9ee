"""What surfaces look like: numbers for a solid texture, drawn in one place and read by `textures`."""

from __future__ import annotations

import math
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

from reference_model.worlds.draws import Draw

WAVES = 4
MODES = ("waves", "patches", "checker", "mosaic", "stripes", "tiles", "glyphs", "photograph", "marble", "plain")
MODE_WEIGHTS = (1.0, 1.0, 0.6, 0.8, 0.8, 0.8, 0.9, 2.2, 1.2, 1.2)


class Materials(NamedTuple):
    """One per surface m of a world."""

    waves: Float[Tensor, "b m wave 3"]  # radians per world unit
    phases: Float[Tensor, "b m wave"]
    weights: Float[Tensor, "b m wave"]  # sum to 1
    colours: Float[Tensor, "b m 3 3"]  # three colours of three channels
    mode: Int[Tensor, "b m"]  # see MODES
    cells: Float[Tensor, "b m"]  # cells per world unit
    grain: Float[Tensor, "b m"]  # strength of the fine noise
    gloss: Float[Tensor, "b m"]  # strength of the highlight
    shine: Float[Tensor, "b m"]  # its exponent
    photo: Float[Tensor, "b m"]  # in [0, 1): which photograph, whatever their number
    salt: Int[Tensor, "b m"]  # of the hashes


def muted(colours: Tensor, saturation: Tensor) -> Tensor:
    """Pull colours towards their own grey: most real surfaces are greyish."""
    grey = colours.mean(-1, keepdim=True)
    return grey + (colours - grey) * saturation


def draw_materials(draw: Draw, shape: tuple[int, int]) -> Materials:
    """Materials of `shape` = (worlds, surfaces). Ranges are ours."""
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
        mode=draw.choice(shape, MODE_WEIGHTS).int(),
        cells=draw.log_uniform(shape, 1.5, 14.0),
        grain=draw.uniform(shape, 0.0, 0.5) * draw.chance(shape, 0.7),
        gloss=draw.uniform(shape, 0.0, 0.6) * draw.chance(shape, 0.4),
        shine=draw.log_uniform(shape, 6.0, 60.0),
        photo=draw.uniform(shape),
        salt=draw.integer(shape, 1 << 14).int(),
    )
