"""What surfaces look like: numbers for a solid texture, drawn in one place and read by `textures`."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reference_model.worlds.draws import Draw

WAVES = 4
MODES = ("waves", "patches", "checker", "mosaic", "stripes", "tiles", "glyphs", "photograph", "marble", "plain")
PART_MODES = (0.6, 1.3, 0.5, 1.2, 0.7, 0.8, 1.2, 3.6, 1.3, 0.9)  # how often each is a part's
FACE_MODES = (0.5, 1.2, 0.5, 1.2, 0.6, 1.0, 1.2, 4.5, 1.2, 0.3)  # a wall's or the ground's


class Materials(NamedTuple):
    """One per surface m of a world."""

    waves: Float[Tensor, "b m wave 3"]  # radians per world unit
    phases: Float[Tensor, "b m wave"]
    weights: Float[Tensor, "b m wave"]  # sum to 1
    colours: Float[Tensor, "b m 3 3"]  # three of three channels; a photograph's second is its gain less a half
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


def draw_materials(
    draw: Draw, shape: tuple[int, int], calm: Float[Tensor, "b 1"], modes: tuple[float, ...]
) -> Materials:
    """Materials of `shape` = (worlds, surfaces). Ranges are ours, set beside the local contrast of real captures.

    Args:
        calm: 1 for the worlds whose surfaces are smooth, mostly plain, and of near colours.
        modes: weights of MODES.
    """
    mode = draw.choice(shape, modes)
    mode = torch.where(draw.chance(shape, 0.6) * calm > 0, MODES.index("plain"), mode)
    # The edges of patches are sharp however far their waves have faded: fine ones would alias.
    coarse = torch.where(mode == MODES.index("patches"), 0.3, 1.0)
    frequency = draw.log_uniform((*shape, WAVES), 3.0, 90.0) * coarse[..., None]
    weights = draw.uniform((*shape, WAVES), 0.2) / frequency**0.3
    # Real surfaces differ in brightness more than in hue; a second colour is clearly brighter or darker.
    first, step = draw.uniform((*shape, 1, 1)), draw.uniform((*shape, 1, 1), 0.3, 0.7)
    brightness = torch.cat([first, (first + step) % 1, draw.uniform((*shape, 1, 1))], -2)
    hue = draw.uniform((*shape, 3, 3), -0.5, 0.5) * draw.uniform((*shape, 1, 1))
    colours = 0.04 + 0.94 * brightness + hue * draw.uniform((*shape, 1, 1), 0.2, 1.6)
    # Sometimes a surface's own colours are near each other.
    apart = torch.where(draw.chance(shape, 0.15).bool(), draw.uniform(shape, 0.05, 0.4), draw.uniform(shape, 0.5, 1.0))
    apart = (apart * (1 - 0.65 * calm))[..., None, None]
    colours = colours[..., :1, :] + (colours - colours[..., :1, :]) * apart
    colours = colours.clamp(0, 1)
    gain = draw.uniform((*shape, 1), 0.4, 1.6) * (0.5 + 0.5 * colours[..., 1, :])
    papered = (mode == MODES.index("photograph"))[..., None]
    colours[..., 1, :] = torch.where(papered, gain, colours[..., 1, :])
    return Materials(
        waves=draw.direction((*shape, WAVES)) * frequency[..., None],
        phases=draw.uniform((*shape, WAVES), 0, 2 * math.pi),
        weights=weights / weights.sum(-1, keepdim=True),
        colours=colours,
        mode=mode.int(),
        cells=draw.log_uniform(shape, 2.0, 26.0) * torch.where(mode == MODES.index("glyphs"), 0.5, 1.0),
        grain=draw.log_uniform(shape, 0.4, 3.6) * draw.chance(shape, 0.8) * (1 - 0.7 * calm),
        gloss=draw.uniform(shape, 0.0, 0.6) * draw.chance(shape, 0.4),
        shine=draw.log_uniform(shape, 6.0, 60.0),
        photo=draw.uniform(shape),
        salt=draw.integer(shape, 1 << 14).int(),
    )
