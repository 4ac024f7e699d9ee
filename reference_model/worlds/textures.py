"""Solid textures: a colour for a point, from waves, cells and noise. Elementwise, so that a compiler fuses it with
the ray tracer.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reference_model.worlds.scenes import Materials

MODES = ("waves", "patches", "checker", "mosaic", "stripes", "tiles")


def hash_cells(cell: Int[Tensor, "*ray 3"], salt: Int[Tensor, "*ray"]) -> Float[Tensor, "*ray"]:
    """A number in [0, 1) per integer cell. Integer arithmetic: the same on every device."""
    h = cell[..., 0] * 73856093 ^ cell[..., 1] * 19349663 ^ cell[..., 2] * 83492791 ^ salt * 2654435
    h = (h ^ (h >> 13)) * 1274126177
    h = h ^ (h >> 16)
    return (h & 0xFFFF).float() / 65536.0


def value_noise(point: Float[Tensor, "*ray 3"], salt: Int[Tensor, "*ray"]) -> Float[Tensor, "*ray"]:
    """Trilinear noise on the unit lattice, in [0, 1]."""
    cell = torch.floor(point)
    f = point - cell
    f = f * f * (3 - 2 * f)
    cell = cell.int()
    total = torch.zeros_like(point[..., 0])
    for dx in (0, 1):
        for dy in (0, 1):
            for dz in (0, 1):
                corner = torch.stack([cell[..., 0] + dx, cell[..., 1] + dy, cell[..., 2] + dz], -1)
                wx = f[..., 0] if dx else 1 - f[..., 0]
                wy = f[..., 1] if dy else 1 - f[..., 1]
                wz = f[..., 2] if dz else 1 - f[..., 2]
                total = total + wx * wy * wz * hash_cells(corner, salt)
    return total


def shade_texture(
    point: Float[Tensor, "*ray 3"], surface: Materials, salt: Int[Tensor, "*ray"]
) -> Float[Tensor, "*ray 3"]:
    """Colours in [0, 1] at points in a surface's own metric coordinates; one material a ray."""
    mode, colours = surface.mode, surface.colours
    angle = (surface.waves * point[..., None, :]).sum(-1) + surface.phases
    first = (surface.weights * angle.sin()).sum(-1)
    second = (surface.weights * (1.7 * angle).cos()).sum(-1)
    scaled = point * surface.cells[..., None] + 0.31
    cell = torch.floor(scaled).int()
    parity = (cell.sum(-1) & 1).float()
    inside = scaled - torch.floor(scaled)
    random = hash_cells(cell, salt)
    joint = (inside.amin(-1) < 0.08).float()
    stripe = (inside[..., 0] < 0.4).float()
    mix = 0.5 + 0.9 * first
    mix = torch.where(mode == 1, (first > 0.05).float(), mix)
    mix = torch.where(mode == 2, parity, mix)
    mix = torch.where(mode == 3, random, mix)
    mix = torch.where(mode == 4, stripe, mix)
    mix = torch.where(mode == 5, random * 0.5, mix).clamp(0, 1)
    accent = torch.where(mode == 5, joint, (second > 0.45).float() * (mode < 2).float())
    colour = colours[..., 0, :] + (colours[..., 1, :] - colours[..., 0, :]) * mix[..., None]
    colour = colour + (colours[..., 2, :] - colour) * accent[..., None]
    fine = value_noise(point * 9.0, salt) + 0.5 * value_noise(point * 27.0, salt) - 0.75
    return (colour * (1 + surface.grain * fine)[..., None]).clamp(0, 1)
