"""The fused twin of worlds/render.py: one Triton program renders a block of pixels of one view, from rays to colours.

A ray needs some thousand operations and two numbers of memory; written as tensor operations it is the memory that
costs. Here the numbers of a part are scalars of the program (all its rays belong to one view), absent parts are
skipped, and nothing but the image is written. Line by line the same arithmetic as `worlds.render` and
`worlds.textures`, which are its oracle; names are theirs.
"""

# Triton reads these functions, not Python: their parameters are pointers, numbers and tiles, and carry no Python types.
# pyright: reportMissingImports=false, reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# pyright: reportUnboundVariable=false, reportReturnType=false, reportAssignmentType=false

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from reference_model.worlds.cameras import Rig
from reference_model.worlds.photographs import SIDES, TEXELS, Photographs
from reference_model.worlds.render import HORIZON, MARCH, NEAR, Renderer, pose_parts
from reference_model.worlds.scenes import HILLS, LIGHTS, SURFACES, Worlds
from reference_model.worlds.shapes import CAP, CUTTER_KINDS, FAR, KINDS, PARTS

BLOCK, WARPS = 128, 4  # pixels a program, and its warps


class Packed(NamedTuple):
    """Worlds and rigs as the program reads them: one row of float32 a thing. Rows are multiples of 16 bytes, so that
    any worlds cut from it lie as the first do, and one compiled program serves them all.
    """

    parts: Float[Tensor, "b v part 24"]  # frame, shift, cutter frame, cutter shift
    slots: Float[Tensor, "b part 8"]  # present, cut, kind, cutter kind, size
    materials: Float[Tensor, "b surface 40"]
    worlds: Float[Tensor, "b 48"]
    cameras: Float[Tensor, "b v 20"]  # rotation, centre, focal, principal, pixel angle of an image one pixel wide


def pack_worlds(worlds: Worlds, rig: Rig) -> Packed:
    """Lay a batch out for the program, on the device of its arguments: some forty launches, whatever its size."""
    posed = pose_parts(worlds, rig.times)
    parts = [posed.frame.flatten(-2), posed.shift, posed.cutter_frame.flatten(-2), posed.cutter_shift]
    kinds = torch.tensor([KINDS, CUTTER_KINDS], dtype=torch.float32, device=worlds.size.device).T
    kinds = kinds.expand(worlds.size.shape[0], PARTS, 2)
    slots = [worlds.present[..., None], worlds.cut[..., None], kinds, worlds.size, torch.zeros_like(kinds[..., :1])]
    m = worlds.materials
    flat = [m.waves.flatten(-2), m.phases, m.weights, m.waves.norm(dim=-1) / 6.2831853, m.colours.flatten(-2)]
    single = [x.float()[..., None] for x in (m.mode, m.cells, m.grain, m.gloss, m.shine, m.photo, m.salt)]
    numbers = [
        *(worlds.setting.float()[:, None], worlds.low, worlds.high, worlds.horizon, worlds.zenith),
        *(worlds.haze[:, None], worlds.ground[:, None], worlds.hill_height, worlds.hill_wave.flatten(1)),
        *(worlds.hill_phase, worlds.light.flatten(1), worlds.light_colour.flatten(1), worlds.softness[:, None]),
        *(worlds.ambient, torch.zeros_like(worlds.softness)[:, None]),
    ]
    camera = [rig.c2w[..., :3, :3].flatten(-2), rig.c2w[..., :3, 3], rig.focal, rig.principal]
    camera += [1 / rig.focal.mean(-1, keepdim=True), torch.zeros_like(rig.c2w[..., 0, :3])]
    joined = (torch.cat(x, -1).float().contiguous() for x in (parts, slots, [*flat, *single], numbers, camera))
    return Packed(*joined)


@triton.jit
def _quadric(a, b, c):
    disc = b * b - a * c
    root = tl.sqrt(tl.maximum(disc, 0.0))
    missed = disc <= 0
    return tl.where(missed, FAR_, (-b - root) / a), tl.where(missed, -FAR_, (-b + root) / a)


@triton.jit
def _slab(o, d):
    safe = tl.where(tl.abs(d) < 1e-9, 1e-9, d)
    low, high = (-1 - o) / safe, (1 - o) / safe
    return tl.minimum(low, high), tl.maximum(low, high)


@triton.jit
def _cone(ox, oy, oz, dx, dy, dz):
    enter, leave = _slab(oz, dz)
    k, dk = (1 - oz) / 2, -dz / 2
    a = dx * dx + dy * dy - dk * dk
    a = tl.where(tl.abs(a) < 1e-9, 1e-9, a)
    b, c = ox * dx + oy * dy - k * dk, ox * ox + oy * oy - k * k
    disc = b * b - a * c
    root = tl.sqrt(tl.maximum(disc, 0.0))
    first, second = (-b - root) / a, (-b + root) / a
    low, high = tl.minimum(first, second), tl.maximum(first, second)
    steep, missed = a < 0, disc <= 0
    start = tl.where(steep, tl.where(dk > 0, high, -FAR_), tl.where(missed, FAR_, low))
    end = tl.where(steep, tl.where(dk > 0, FAR_, low), tl.where(missed, -FAR_, high))
    return tl.maximum(start, enter), tl.minimum(end, leave)


@triton.jit
def _meet(kind, ox, oy, oz, dx, dy, dz):
    """The interval of a unit shape; `kind` is one for the program."""
    enter, leave = ox, ox
    if kind == 0:
        a = tl.maximum(dx * dx + dy * dy + dz * dz, 1e-12)
        enter, leave = _quadric(a, ox * dx + oy * dy + oz * dz, ox * ox + oy * oy + oz * oz - 1)
    elif kind == 1:
        x0, x1 = _slab(ox, dx)
        y0, y1 = _slab(oy, dy)
        z0, z1 = _slab(oz, dz)
        enter, leave = tl.maximum(tl.maximum(x0, y0), z0), tl.minimum(tl.minimum(x1, y1), z1)
    elif kind == 2:
        z0, z1 = _slab(oz, dz)
        s0, s1 = _quadric(tl.maximum(dx * dx + dy * dy, 1e-12), ox * dx + oy * dy, ox * ox + oy * oy - 1)
        enter, leave = tl.maximum(s0, z0), tl.minimum(s1, z1)
    else:
        enter, leave = _cone(ox, oy, oz, dx, dy, dz)
    return enter, leave


@triton.jit
def _carry(row, x, y, z):
    """The 3x3 matrix at `row` times a vector."""
    return (
        tl.load(row) * x + tl.load(row + 1) * y + tl.load(row + 2) * z,
        tl.load(row + 3) * x + tl.load(row + 4) * y + tl.load(row + 5) * z,
        tl.load(row + 6) * x + tl.load(row + 7) * y + tl.load(row + 8) * z,
    )


@triton.jit
def _carry_back(row, x, y, z):
    """The transpose of the 3x3 matrix at `row` times a vector."""
    return (
        tl.load(row) * x + tl.load(row + 3) * y + tl.load(row + 6) * z,
        tl.load(row + 1) * x + tl.load(row + 4) * y + tl.load(row + 7) * z,
        tl.load(row + 2) * x + tl.load(row + 5) * y + tl.load(row + 8) * z,
    )


@triton.jit
def _meet_part(part_row, slot_row, zero, ox, oy, oz, dx, dy, dz):
    """A part's interval and its cutter's. `zero` is a block of zeros: origin or direction may be scalars."""
    lx, ly, lz = _carry(part_row, ox, oy, oz)
    mx, my, mz = _carry(part_row, dx, dy, dz)
    lx, ly, lz = (
        lx + tl.load(part_row + 9) + zero,
        ly + tl.load(part_row + 10) + zero,
        lz + tl.load(part_row + 11) + zero,
    )
    enter, leave = _meet(tl.load(slot_row + 2), lx, ly, lz, mx + zero, my + zero, mz + zero)
    cut_enter, cut_leave = zero + FAR_, zero - FAR_
    if tl.load(slot_row + 1) > 0:
        row = part_row + 12
        lx, ly, lz = _carry(row, ox, oy, oz)
        mx, my, mz = _carry(row, dx, dy, dz)
        lx, ly, lz = lx + tl.load(row + 9) + zero, ly + tl.load(row + 10) + zero, lz + tl.load(row + 11) + zero
        b0, b1 = _meet(tl.load(slot_row + 3), lx, ly, lz, mx + zero, my + zero, mz + zero)
        empty = b0 >= b1
        cut_enter, cut_leave = tl.where(empty, FAR_, b0), tl.where(empty, -FAR_, b1)
    return enter, leave, cut_enter, cut_leave


@triton.jit
def _nearest(parts, slots, zero, ox, oy, oz, dx, dy, dz):
    nearest = zero + FAR_
    index = zero.to(tl.int32)
    in_cut = zero.to(tl.int32)
    for part in range(PARTS_):
        slot_row = slots + part * 8
        if tl.load(slot_row) > 0:
            enter, leave, b0, b1 = _meet_part(parts + part * 24, slot_row, zero, ox, oy, oz, dx, dy, dz)
            outside = (enter < b0) | (enter >= b1)
            start = tl.where(outside, enter, b1)
            closer = (start < leave) & (start > NEAR_) & (start < nearest)
            nearest = tl.where(closer, start, nearest)
            index = tl.where(closer, part, index)
            in_cut = tl.where(closer, tl.where(outside, 0, 1), in_cut)
    return nearest, index, in_cut


@triton.jit
def _light_reaching(parts, slots, zero, softness, ox, oy, oz, dx, dy, dz):
    reaching = zero + 1.0
    for part in range(PARTS_):
        slot_row = slots + part * 8
        if tl.load(slot_row) > 0:
            enter, leave, b0, b1 = _meet_part(parts + part * 24, slot_row, zero, ox, oy, oz, dx, dy, dz)
            begin = tl.maximum(enter, 0.0)
            solid = tl.maximum(leave - begin, 0.0)
            gone = tl.maximum(tl.minimum(leave, b1) - tl.maximum(begin, b0), 0.0)
            edge = softness * tl.minimum(begin, 4.0) + 0.01
            reaching = reaching * (1 - tl.minimum(tl.maximum(solid - gone, 0.0) / edge, 1.0))
    return reaching


@triton.jit
def _hills(world, x, y):
    """Height, and its slope in x and y."""
    height, sx, sy = tl.load(world + 14) + x * 0, x * 0, x * 0
    for hill in tl.static_range(HILLS_):
        kx, ky = tl.load(world + 19 + 2 * hill), tl.load(world + 20 + 2 * hill)
        angle = kx * x + ky * y + tl.load(world + 27 + hill)
        tall = tl.load(world + 15 + hill)
        height += tall * tl.sin(angle)
        slope = tall * tl.cos(angle)
        sx += slope * kx
        sy += slope * ky
    return height, sx, sy


@triton.jit
def _meet_ground(world, ox, oy, oz, dx, dy, dz):
    slope, top = tl.load(world + 14) * 0, tl.load(world + 14)
    for hill in tl.static_range(HILLS_):
        kx, ky = tl.load(world + 19 + 2 * hill), tl.load(world + 20 + 2 * hill)
        tall = tl.load(world + 15 + hill)
        slope += tall * tl.sqrt(kx * kx + ky * ky)
        top += tl.abs(tall)
    closing = tl.maximum(slope * tl.sqrt(dx * dx + dy * dy) - dz, 1e-4)
    t = tl.maximum((top - oz) / tl.minimum(dz, -1e-4), 0.0)
    for _ in range(MARCH_):
        height, _sx, _sy = _hills(world, ox + t * dx, oy + t * dy)
        t += (oz + t * dz - height) / closing
    return tl.where((dz < -1e-4) & (t < HORIZON_), t, FAR_)


@triton.jit
def _hash(x, y, z, salt):
    h = x * 73856093 ^ y * 19349663 ^ z * 83492791 ^ salt * 2654435
    h = (h ^ (h >> 13)) * 1274126177
    h = h ^ (h >> 16)
    return (h & 0xFFFF).to(tl.float32) / 65536.0


@triton.jit
def _noise(px, py, pz, salt):
    cx, cy, cz = tl.floor(px), tl.floor(py), tl.floor(pz)
    fx, fy, fz = px - cx, py - cy, pz - cz
    fx, fy, fz = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy), fz * fz * (3 - 2 * fz)
    x, y, z = cx.to(tl.int32), cy.to(tl.int32), cz.to(tl.int32)
    total = px * 0
    for corner in tl.static_range(8):
        wx = fx if corner & 4 else 1 - fx
        wy = fy if corner & 2 else 1 - fy
        wz = fz if corner & 1 else 1 - fz
        total += wx * wy * wz * _hash(x + (corner >> 2), y + ((corner >> 1) & 1), z + (corner & 1), salt)
    return total


@triton.jit
def _keep(footprint, frequency):
    return tl.minimum(tl.maximum(1.5 - 2 * footprint * frequency, 0.0), 1.0)


@triton.jit
def _texel(texels, row, weight):
    return (
        weight * tl.load(texels + row * 3).to(tl.float32),
        weight * tl.load(texels + row * 3 + 1).to(tl.float32),
        weight * tl.load(texels + row * 3 + 2).to(tl.float32),
    )


@triton.jit
def _photograph(texels, count, choice, u, v, fine):
    number = tl.minimum((choice * count).to(tl.int32), count - 1)
    u = 1 - tl.abs(u - 2 * tl.floor(u / 2) - 1)
    v = 1 - tl.abs(v - 2 * tl.floor(v / 2) - 1)
    coarse, coarser = fine * SIDE0 > 2, fine * SIDE1 > 2
    side = tl.where(coarser, SIDE2, tl.where(coarse, SIDE1, SIDE0))
    start = tl.where(coarser, SIDE0 * SIDE0 + SIDE1 * SIDE1, tl.where(coarse, SIDE0 * SIDE0, 0))
    x, y = u * (side - 1), v * (side - 1)
    left, top = tl.floor(x).to(tl.int32), tl.floor(y).to(tl.int32)
    fx, fy = x - left, y - top
    right, bottom = tl.minimum(left + 1, side - 1), tl.minimum(top + 1, side - 1)
    base = number * TEXELS_ + start
    r0, g0, b0 = _texel(texels, base + top * side + left, (1 - fx) * (1 - fy))
    r1, g1, b1 = _texel(texels, base + top * side + right, fx * (1 - fy))
    r2, g2, b2 = _texel(texels, base + bottom * side + left, (1 - fx) * fy)
    r3, g3, b3 = _texel(texels, base + bottom * side + right, fx * fy)
    return (r0 + r1 + r2 + r3) / 255, (g0 + g1 + g2 + g3) / 255, (b0 + b1 + b2 + b3) / 255


@triton.jit
def _glyph_ink(u, v, salt):
    x, y = tl.floor(u), tl.floor(v)
    column, row = tl.floor((u - x) * 6).to(tl.int32), tl.floor((v - y) * 9).to(tl.int32)
    xi, yi = x.to(tl.int32), y.to(tl.int32)
    inked = _hash(xi, yi, column + 8 * row, salt) < 0.55
    shown = (column < 5) & (row < 7) & (_hash(xi, yi, column * 0 + 99, salt) > 0.2)
    return tl.where(inked & shown, 1.0, 0.0)


@triton.jit
def _any(condition):
    return tl.max(condition.to(tl.int32), 0) > 0


@triton.jit
def _texture(row, px, py, pz, u, v, footprint, texels, count, HAS_PHOTOS: tl.constexpr):
    """Colours, of points with materials at pointers `row`."""
    mode, cells = tl.load(row + 33).to(tl.int32), tl.load(row + 34)
    salt = tl.load(row + 39).to(tl.int32)
    if not HAS_PHOTOS:
        mode = tl.where(mode == 7, 8, mode)
    first, second, angle0 = px * 0, px * 0, px * 0
    for wave in tl.static_range(4):
        angle = tl.load(row + 3 * wave) * px + tl.load(row + 3 * wave + 1) * py + tl.load(row + 3 * wave + 2) * pz
        angle += tl.load(row + 12 + wave)
        if wave == 0:
            angle0 = angle
        weight = tl.load(row + 16 + wave) * _keep(footprint, tl.load(row + 20 + wave))
        first += weight * tl.sin(angle)
        second += weight * tl.cos(1.7 * angle)
    sx, sy, sz = px * cells + 0.31, py * cells + 0.31, pz * cells + 0.31
    fx, fy, fz = tl.floor(sx), tl.floor(sy), tl.floor(sz)
    x, y, z = fx.to(tl.int32), fy.to(tl.int32), fz.to(tl.int32)
    random, cell = _hash(x, y, z, salt), _keep(footprint, cells)

    mix = 0.5 + 0.9 * first
    mix = tl.where(mode == 1, tl.minimum(tl.maximum(first * 12 + 0.2, 0.0), 1.0), mix)
    mix = tl.where(mode == 2, 0.5 + (((x + y + z) & 1).to(tl.float32) - 0.5) * cell, mix)
    mix = tl.where(mode == 3, 0.5 + (random - 0.5) * cell, mix)
    mix = tl.where(mode == 4, 0.4 + (tl.where(sx - fx < 0.4, 1.0, 0.0) - 0.4) * cell, mix)
    mix = tl.where(mode == 5, 0.25 + (random * 0.5 - 0.25) * cell, mix)
    if _any(mode == 8):
        swirl = _noise(px * 3.0, py * 3.0, pz * 3.0, salt) + 0.5 * _noise(px * 7.0, py * 7.0, pz * 7.0, salt)
        vein = tl.sin(0.5 * angle0 + 7 * swirl) * _keep(footprint, 5.0)
        mix = tl.where(mode == 8, 0.5 + 0.5 * vein, mix)
    mix = tl.where((mode == 6) | (mode == 9), 0.0, mix)
    mix = tl.minimum(tl.maximum(mix, 0.0), 1.0)
    low = tl.minimum(tl.minimum(sx - fx, sy - fy), sz - fz)
    accent = tl.where(mode == 5, tl.where(low < 0.08, 1.0, 0.0) * cell, 0.0)
    if _any(mode == 6):
        ink = _glyph_ink(u * 0.6 * cells, v * 0.4 * cells, salt) * _keep(footprint, 3.6 * cells)
        accent = tl.where(mode == 6, ink, accent)
    accent = tl.where(mode <= 1, tl.minimum(tl.maximum((second - 0.45) * 12, 0.0), 1.0), accent)
    r = tl.load(row + 24) + (tl.load(row + 27) - tl.load(row + 24)) * mix
    g = tl.load(row + 25) + (tl.load(row + 28) - tl.load(row + 25)) * mix
    b = tl.load(row + 26) + (tl.load(row + 29) - tl.load(row + 26)) * mix
    r += (tl.load(row + 30) - r) * accent
    g += (tl.load(row + 31) - g) * accent
    b += (tl.load(row + 32) - b) * accent
    if HAS_PHOTOS:  # noqa: SIM102 (a choice made when compiling: not to be joined with the next)
        if _any(mode == 7):
            scale = 0.12 * cells
            pr, pg, pb = _photograph(texels, count, tl.load(row + 38), u * scale, v * scale, footprint * scale)
            r = tl.where(mode == 7, pr * (0.5 + tl.load(row + 27)), r)
            g = tl.where(mode == 7, pg * (0.5 + tl.load(row + 28)), g)
            b = tl.where(mode == 7, pb * (0.5 + tl.load(row + 29)), b)
    grain = tl.load(row + 35)
    if _any(grain > 0):
        fine = (_noise(px * 9.0, py * 9.0, pz * 9.0, salt) - 0.5) * _keep(footprint, 9.0)
        fine += 0.5 * (_noise(px * 27.0, py * 27.0, pz * 27.0, salt) - 0.5) * _keep(footprint, 27.0)
        r, g, b = r * (1 + grain * fine), g * (1 + grain * fine), b * (1 + grain * fine)
    return _clip(r), _clip(g), _clip(b)


@triton.jit
def _clip(x):
    return tl.minimum(tl.maximum(x, 0.0), 1.0)


@triton.jit
def _unit(x, y, z):
    length = tl.maximum(tl.sqrt(x * x + y * y + z * z), 1e-12)
    return x / length, y / length, z / length


@triton.jit
def _sign(x):
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0))


@triton.jit
def _unit_normal(kind, x, y, z):
    ax, ay, az = tl.abs(x), tl.abs(y), tl.abs(z)
    largest = tl.maximum(tl.maximum(ax, ay), az)
    bx, by, bz = (
        tl.where(ax >= largest, _sign(x), 0.0),
        tl.where(ay >= largest, _sign(y), 0.0),
        tl.where(az >= largest, _sign(z), 0.0),
    )
    cap = tl.where(kind == 2, az > CAP_, z < -CAP_)
    tx, ty = tl.where(cap, 0.0, x), tl.where(cap, 0.0, y)
    tz = tl.where(cap, _sign(z), tl.where(kind == 3, (1 - z) / 4, 0.0))
    nx = tl.where(kind == 0, x, tl.where(kind == 1, bx, tx))
    ny = tl.where(kind == 0, y, tl.where(kind == 1, by, ty))
    nz = tl.where(kind == 0, z, tl.where(kind == 1, bz, tz))
    return nx, ny, nz


@triton.jit
def _render_kernel(
    out, parts, slots, materials, worlds, cameras, texels, count, views, size,
    SAMPLES: tl.constexpr, HAS_PHOTOS: tl.constexpr, BLOCK_: tl.constexpr,
):  # fmt: skip
    view = tl.program_id(0)
    scene = view // views
    pixel = tl.program_id(1) * BLOCK_ + tl.arange(0, BLOCK_)
    parts += view.to(tl.int64) * (PARTS_ * 24)
    slots += scene * (PARTS_ * 8)
    materials += scene.to(tl.int64) * (SURFACES_ * 40)
    world = worlds + scene * 48
    camera = cameras + view * 20
    setting = tl.load(world)
    ox, oy, oz = tl.load(camera + 9), tl.load(camera + 10), tl.load(camera + 11)
    zero = pixel.to(tl.float32) * 0
    row, column = pixel // size, pixel % size
    total_r, total_g, total_b = zero, zero, zero
    for sample in range(SAMPLES * SAMPLES):
        cx = (column * SAMPLES + sample % SAMPLES + 0.5) / (size * SAMPLES)
        cy = (row * SAMPLES + sample // SAMPLES + 0.5) / (size * SAMPLES)
        cx = (cx - tl.load(camera + 14)) / tl.load(camera + 12)
        cy = (cy - tl.load(camera + 15)) / tl.load(camera + 13)
        cx, cy, cz = _unit(cx, cy, zero + 1.0)
        dx, dy, dz = _carry(camera, cx, cy, cz)

        nearest, index, in_cut = _nearest(parts, slots, zero, ox, oy, oz, dx, dy, dz)
        behind, face, inx, iny, inz = zero + FAR_, zero.to(tl.int32), zero, zero, zero
        if setting == 1:  # a room
            sx, sy, sz = (
                tl.where(tl.abs(dx) < 1e-9, 1e-9, dx),
                tl.where(tl.abs(dy) < 1e-9, 1e-9, dy),
                tl.where(tl.abs(dz) < 1e-9, 1e-9, dz),
            )
            ex = (tl.where(sx > 0, tl.load(world + 4), tl.load(world + 1)) - ox) / sx
            ey = (tl.where(sy > 0, tl.load(world + 5), tl.load(world + 2)) - oy) / sy
            ez = (tl.where(sz > 0, tl.load(world + 6), tl.load(world + 3)) - oz) / sz
            behind = tl.minimum(tl.minimum(ex, ey), ez)
            on_x, on_y = ex <= behind, (ex > behind) & (ey <= behind)
            on_z = (ex > behind) & (ey > behind)
            inx = tl.where(on_x, -_sign(sx), 0.0)
            iny = tl.where(on_y, -_sign(sy), 0.0)
            inz = tl.where(on_z, -_sign(sz), 0.0)
            axis = tl.where(on_x, 0, tl.where(on_y, 1, 2))
            positive = inx + iny + inz < 0
            face = axis * 2 + tl.where(positive, 1, 0)
        if setting == 2:  # open ground
            behind = _meet_ground(world, ox, oy, oz, dx, dy, dz)
        on_part = nearest < behind
        distance = tl.minimum(nearest, behind)
        seen = distance < FAR_
        reach = tl.where(seen, distance, 1.0)
        px, py, pz = ox + reach * dx, oy + reach * dy, oz + reach * dz
        if setting == 2:
            _height, hx, hy = _hills(world, px, py)
            inx, iny, inz = _unit(-hx, -hy, zero + 1.0)

        part_row, slot_row = parts + index * 24, slots + index * 8
        ux, uy, uz = _carry(part_row, px, py, pz)
        ux, uy, uz = ux + tl.load(part_row + 9), uy + tl.load(part_row + 10), uz + tl.load(part_row + 11)
        nx, ny, nz = _unit_normal(tl.load(slot_row + 2), ux, uy, uz)
        nx, ny, nz = _carry_back(part_row, nx, ny, nz)
        if _any(in_cut > 0):
            wx, wy, wz = _carry(part_row + 12, px, py, pz)
            wx, wy, wz = wx + tl.load(part_row + 21), wy + tl.load(part_row + 22), wz + tl.load(part_row + 23)
            mx, my, mz = _unit_normal(tl.load(slot_row + 3), wx, wy, wz)
            mx, my, mz = _carry_back(part_row + 12, mx, my, mz)
            nx, ny, nz = tl.where(in_cut > 0, -mx, nx), tl.where(in_cut > 0, -my, ny), tl.where(in_cut > 0, -mz, nz)
        nx, ny, nz = _unit(nx, ny, nz)
        lx, ly, lz = _carry(part_row, nx, ny, nz)
        ax, ay, az = tl.load(slot_row + 4), tl.load(slot_row + 5), tl.load(slot_row + 6)
        lx, ly, lz = tl.where(on_part, lx * ax, inx), tl.where(on_part, ly * ay, iny), tl.where(on_part, lz * az, inz)
        qx, qy, qz = tl.where(on_part, ux * ax, px), tl.where(on_part, uy * ay, py), tl.where(on_part, uz * az, pz)
        nx, ny, nz = tl.where(on_part, nx, inx), tl.where(on_part, ny, iny), tl.where(on_part, nz, inz)

        lx, ly, lz = tl.abs(lx), tl.abs(ly), tl.abs(lz)
        across_x, across_y = (lx >= ly) & (lx >= lz), (ly > lx) & (ly >= lz)
        u = tl.where(across_x, qy, qx)
        v = tl.where(across_x | across_y, qz, qy)
        which = tl.where(on_part, index, PARTS_ + face)
        material = materials + which * 40
        footprint = reach * (tl.load(camera + 16) / size)
        r, g, b = _texture(material, qx, qy, qz, u, v, footprint, texels, count, HAS_PHOTOS)

        gloss, shine = tl.load(material + 36), tl.load(material + 37)
        up = 0.8 + 0.2 * nz
        lit_r, lit_g, lit_b = r * tl.load(world + 44) * up, g * tl.load(world + 45) * up, b * tl.load(world + 46) * up
        for number in tl.static_range(LIGHTS_):
            kr, kg, kb = (
                tl.load(world + 37 + 3 * number),
                tl.load(world + 38 + 3 * number),
                tl.load(world + 39 + 3 * number),
            )
            if kr + kg + kb > 0:
                gx, gy, gz = (
                    tl.load(world + 31 + 3 * number),
                    tl.load(world + 32 + 3 * number),
                    tl.load(world + 33 + 3 * number),
                )
                cosine = nx * gx + ny * gy + nz * gz
                reaching = _light_reaching(
                    parts, slots, zero, tl.load(world + 43),
                    px + 4 * NEAR_ * nx, py + 4 * NEAR_ * ny, pz + 4 * NEAR_ * nz, gx, gy, gz,
                )  # fmt: skip
                facing = tl.maximum(cosine, 0.0) * reaching
                away = -((2 * cosine * nx - gx) * dx + (2 * cosine * ny - gy) * dy + (2 * cosine * nz - gz) * dz)
                glint = (
                    gloss * tl.exp(shine * tl.log(tl.maximum(away, 1e-6))) * reaching * tl.where(cosine > 0, 1.0, 0.0)
                )
                lit_r += kr * (r * facing + glint)
                lit_g += kg * (g * facing + glint)
                lit_b += kb * (b * facing + glint)

        hr, hg, hb = tl.load(world + 7), tl.load(world + 8), tl.load(world + 9)
        sky_r, sky_g, sky_b = hr + zero, hg + zero, hb + zero
        if setting == 2:
            clear = tl.exp(-tl.load(world + 13) * tl.minimum(distance, HORIZON_))
            lit_r, lit_g, lit_b = hr + (lit_r - hr) * clear, hg + (lit_g - hg) * clear, hb + (lit_b - hb) * clear
            high = tl.sqrt(tl.maximum(dz, 0.0))
            sky_r += (tl.load(world + 10) - hr) * high
            sky_g += (tl.load(world + 11) - hg) * high
            sky_b += (tl.load(world + 12) - hb) * high
        total_r += _clip(tl.where(seen, lit_r, sky_r))
        total_g += _clip(tl.where(seen, lit_g, sky_g))
        total_b += _clip(tl.where(seen, lit_b, sky_b))
    image = out + view.to(tl.int64) * (3 * size * size)
    inside = pixel < size * size
    tl.store(image + pixel, total_r / (SAMPLES * SAMPLES), mask=inside)
    tl.store(image + size * size + pixel, total_g / (SAMPLES * SAMPLES), mask=inside)
    tl.store(image + 2 * size * size + pixel, total_b / (SAMPLES * SAMPLES), mask=inside)


FAR_, NEAR_, CAP_, HORIZON_ = tl.constexpr(FAR), tl.constexpr(NEAR), tl.constexpr(CAP), tl.constexpr(HORIZON)
PARTS_, SURFACES_, LIGHTS_, HILLS_ = (
    tl.constexpr(PARTS),
    tl.constexpr(SURFACES),
    tl.constexpr(LIGHTS),
    tl.constexpr(HILLS),
)
MARCH_, TEXELS_ = tl.constexpr(MARCH), tl.constexpr(TEXELS)
SIDE0, SIDE1, SIDE2 = (tl.constexpr(side) for side in SIDES)


def render_packed(
    packed: Packed, size: int, samples: int, photographs: Photographs | None
) -> Float[Tensor, "b v 3 size size"]:
    """Images in [0, 1] of packed worlds, samples x samples rays a pixel."""
    b, v = packed.cameras.shape[:2]
    out = torch.empty(b, v, 3, size, size, device=packed.cameras.device)
    texels = packed.worlds if photographs is None else photographs.texels
    count = 0 if photographs is None else photographs.texels.shape[0]
    grid = (b * v, triton.cdiv(size * size, BLOCK))
    _render_kernel[grid](
        out, *packed, texels, count, v, size,
        SAMPLES=samples, HAS_PHOTOS=photographs is not None, BLOCK_=BLOCK, num_warps=WARPS,
    )  # fmt: skip
    return out


FUSED_RENDERER = Renderer(pack_worlds, render_packed)
