"""Solid textures: a colour for a point, from waves, cells, glyphs, photographs and noise. Elementwise, so that the
fused twin (kernels/tracing.py) can follow it line by line.

Detail finer than a pixel fades to its mean, as a lens would have it: a model cannot learn what is aliased.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from reference_model.worlds.materials import MODES, Materials

WAVY, PATCHES, CHECKER, MOSAIC, STRIPES, TILES, GLYPHS, PHOTOGRAPH, MARBLE, PLAIN = range(len(MODES))


def hash_cells(x: Int[Tensor, "*ray"], y: Int[Tensor, "*ray"], z: Int[Tensor, "*ray"], salt: Int[Tensor, "*ray"]):
    """A number in [0, 1) per integer cell. 32-bit integer arithmetic: the same on every device."""
    h = x * 73856093 ^ y * 19349663 ^ z * 83492791 ^ salt * 2654435
    h = (h ^ (h >> 13)) * 1274126177
    h = h ^ (h >> 16)
    return (h & 0xFFFF).float() / 65536.0


def value_noise(point: Float[Tensor, "*ray 3"], salt: Int[Tensor, "*ray"]) -> Float[Tensor, "*ray"]:
    """Trilinear noise on the unit lattice, in [0, 1]."""
    cell = torch.floor(point)
    f = point - cell
    f = f * f * (3 - 2 * f)
    x, y, z = cell.int().unbind(-1)
    total = torch.zeros_like(point[..., 0])
    for dx in (0, 1):
        for dy in (0, 1):
            for dz in (0, 1):
                wx = f[..., 0] if dx else 1 - f[..., 0]
                wy = f[..., 1] if dy else 1 - f[..., 1]
                wz = f[..., 2] if dz else 1 - f[..., 2]
                total = total + wx * wy * wz * hash_cells(x + dx, y + dy, z + dz, salt)
    return total


def keep_detail(footprint: Float[Tensor, "*ray"], frequency: Tensor | float) -> Tensor:
    """1 where a pixel is much smaller than a period, 0 where it is about as large: `footprint` in world units a
    pixel, `frequency` in periods a world unit.
    """
    return (1.5 - 2 * footprint * frequency).clamp(0, 1)


def sample_photograph(
    photographs: UInt8[Tensor, "photo texel 3"],
    sides: tuple[int, ...],
    choice: Tensor,
    u: Tensor,
    v: Tensor,
    fine: Tensor,
) -> Float[Tensor, "*ray 3"]:
    """Bilinear colours of mirrored photographs at (u, v) in photograph widths.

    Args:
        photographs: levels of falling `sides`, one after the other, row by row.
        choice: in [0, 1), which photograph.
        fine: photograph widths a pixel.
    """
    number = (choice * photographs.shape[0]).int().clamp(max=photographs.shape[0] - 1)
    u, v = (1 - (w - 2 * torch.floor(w / 2) - 1).abs() for w in (u, v))
    side = torch.full_like(number, sides[0])
    start = torch.zeros_like(number)
    offset = 0
    for larger, smaller in pairwise(sides):
        offset += larger * larger
        coarse = fine * larger > 2
        side, start = torch.where(coarse, smaller, side), torch.where(coarse, offset, start)
    x, y = u * (side - 1), v * (side - 1)
    left, top = torch.floor(x).int(), torch.floor(y).int()
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    right, bottom = torch.minimum(left + 1, side - 1), torch.minimum(top + 1, side - 1)
    flat = photographs.flatten(0, 1)
    base = number * photographs.shape[1] + start

    def read(row: Tensor, column: Tensor) -> Tensor:
        return flat[base + row * side + column].float() / 255

    upper = read(top, left) * (1 - fx) + read(top, right) * fx
    lower = read(bottom, left) * (1 - fx) + read(bottom, right) * fx
    return upper * (1 - fy) + lower * fy


def glyph_ink(u: Tensor, v: Tensor, salt: Tensor) -> Tensor:
    """1 on the strokes of text-like glyphs, one in each unit cell, 5 x 7 dots with blanks between."""
    x, y = torch.floor(u), torch.floor(v)
    column, row = torch.floor((u - x) * 6).int(), torch.floor((v - y) * 9).int()
    x, y = x.int(), y.int()
    inked = hash_cells(x, y, column + 8 * row, salt) < 0.55
    shown = (column < 5) & (row < 7) & (hash_cells(x, y, torch.full_like(x, 99), salt) > 0.2)
    return (inked & shown).float()


def shade_texture(
    point: Float[Tensor, "*ray 3"],
    uv: Float[Tensor, "*ray 2"],
    surface: Materials,
    footprint: Float[Tensor, "*ray"],
    photographs: UInt8[Tensor, "photo texel 3"] | None,
    sides: tuple[int, ...],
) -> Float[Tensor, "*ray 3"]:
    """Colours in [0, 1] at points in a surface's own coordinates (world units), one material a ray.

    Args:
        uv: the two of the point's coordinates that lie most along the surface.
        footprint: world units a pixel.
        photographs: None shows marble where a photograph is asked for.
    """
    mode, colours, cells, salt = surface.mode, surface.colours, surface.cells, surface.salt
    if photographs is None:
        mode = torch.where(mode == PHOTOGRAPH, MARBLE, mode)
    kept = keep_detail(footprint[..., None], surface.waves.norm(dim=-1) / 6.2831853)
    angle = (surface.waves * point[..., None, :]).sum(-1) + surface.phases
    first = (surface.weights * kept * angle.sin()).sum(-1)
    second = (surface.weights * kept * (1.7 * angle).cos()).sum(-1)
    scaled = point * cells[..., None] + 0.31
    floor = torch.floor(scaled)
    x, y, z = floor.int().unbind(-1)
    inside = scaled - floor
    random = hash_cells(x, y, z, salt)
    cell = keep_detail(footprint, cells)
    ink = glyph_ink(uv[..., 0] * 0.6 * cells, uv[..., 1] * 0.4 * cells, salt) * keep_detail(footprint, 3.6 * cells)
    swirl = value_noise(point * 3.0, salt) + 0.5 * value_noise(point * 7.0, salt)
    vein = (0.5 * angle[..., 0] + 7 * swirl).sin() * keep_detail(footprint, 5.0)

    mix = 0.5 + 0.9 * first
    mix = torch.where(mode == PATCHES, (first * 12 + 0.2).clamp(0, 1), mix)
    mix = torch.where(mode == CHECKER, 0.5 + (((x + y + z) & 1).float() - 0.5) * cell, mix)
    mix = torch.where(mode == MOSAIC, 0.5 + (random - 0.5) * cell, mix)
    mix = torch.where(mode == STRIPES, 0.4 + ((inside[..., 0] < 0.4).float() - 0.4) * cell, mix)
    mix = torch.where(mode == TILES, 0.25 + (random * 0.5 - 0.25) * cell, mix)
    mix = torch.where(mode == MARBLE, 0.5 + 0.5 * vein, mix)
    mix = torch.where((mode == GLYPHS) | (mode == PLAIN), torch.zeros_like(mix), mix).clamp(0, 1)
    joint = (inside.amin(-1) < 0.08).float() * cell
    accent = torch.where(mode == TILES, joint, torch.where(mode == GLYPHS, ink, torch.zeros_like(mix)))
    accent = torch.where(mode <= PATCHES, ((second - 0.45) * 12).clamp(0, 1), accent)
    colour = colours[..., 0, :] + (colours[..., 1, :] - colours[..., 0, :]) * mix[..., None]
    colour = colour + (colours[..., 2, :] - colour) * accent[..., None]
    if photographs is not None:
        scale = 0.12 * cells
        photo = sample_photograph(
            photographs, sides, surface.photo, uv[..., 0] * scale, uv[..., 1] * scale, footprint * scale
        )
        tinted = photo * (0.5 + colours[..., 1, :])
        colour = torch.where((mode == PHOTOGRAPH)[..., None], tinted, colour)
    fine = (value_noise(point * 9.0, salt) - 0.5) * keep_detail(footprint, 9.0)
    finer = (value_noise(point * 27.0, salt) - 0.5) * keep_detail(footprint, 27.0)
    return (colour * (1 + surface.grain * (fine + 0.5 * finer))[..., None]).clamp(0, 1)
