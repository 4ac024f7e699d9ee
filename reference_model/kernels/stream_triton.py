"""The kernels behind `stream.py`. A program takes consecutive tokens of one view, so that what its tokens share (gate,
scale, shift) is read once and the gradients of those are summed in its registers; float32 in between.

Sizes: D channels, padded to a power of two DB; ROWS tokens at a time.
"""

# Triton reads these functions, not Python: their parameters are pointers, numbers and tiles, and carry no Python types.
# pyright: reportMissingImports=false, reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# pyright: reportUnboundVariable=false, reportReturnType=false, reportAssignmentType=false

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from reference_model.kernels.action import EPSILON

WARPS = 8
TILE = 2048  # channels in flight: 8 for each thread, which one 16-byte load of bfloat16 brings
FORWARD_TOKENS, BACKWARD_TOKENS = 16, 64  # of a program: the more, the fewer partial sums; the fewer, the more programs
SWIGLU_WARPS = 4


@triton.jit
def _vector(base, view, stride, c, here):
    """What the tokens of a view share, as float32."""
    return tl.load(base + view * stride + c, mask=here, other=0.0).to(tl.float32)


@triton.jit
def _load(base, at, mask):
    return tl.load(base + at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _share(tokens, chunk, D: tl.constexpr, DB: tl.constexpr):
    """Of a program: its view, its tokens from start to before end, the channels, and which of those are there."""
    start = tl.program_id(1) * chunk
    c = tl.arange(0, DB)
    return tl.program_id(0).to(tl.int64), start, tl.minimum(start + chunk, tokens), c, c < D


@triton.jit
def _rows(base, first, end, c, here, D: tl.constexpr, ROWS: tl.constexpr):
    """The next tokens of a view whose first is token `base`: their rows, which are there; their channels, which are."""
    token = first + tl.arange(0, ROWS)
    row, there = base + token, token < end
    return row, there, row[:, None] * D + c[None, :], there[:, None] & here[None, :]


@triton.jit
def _forward_kernel(
    x, branch, gate, scale, shift, total, out, roots, epsilon, tokens, chunk, gate_stride, scale_stride, shift_stride,
    ADD: tl.constexpr, NORM: tl.constexpr, D: tl.constexpr, DB: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    view, start, end, c, here = _share(tokens, chunk, D, DB)
    if ADD:
        gates = _vector(gate, view, gate_stride, c, here)[None, :]
    if NORM:
        scales = 1 + _vector(scale, view, scale_stride, c, here)[None, :]
        shifts = _vector(shift, view, shift_stride, c, here)[None, :]
    for first in range(start, end, ROWS):
        row, there, at, mask = _rows(view * tokens, first, end, c, here, D, ROWS)
        value = _load(x, at, mask)
        if ADD:
            summed = (value + gates * _load(branch, at, mask)).to(total.dtype.element_ty)
            tl.store(total + at, summed, mask=mask)
            value = summed.to(tl.float32)  # as the backward pass will find it
        if NORM:
            root = tl.rsqrt(tl.sum(value * value, 1) / D + epsilon)
            tl.store(roots + row, root, mask=there)
            modulated = value * root[:, None] * scales + shifts
            tl.store(out + at, modulated.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _backward_kernel(
    dtotal, dout, total, roots, branch, gate, scale, dx, dbranch, sums, tokens, chunk, gate_stride, scale_stride,
    ADD: tl.constexpr, NORM: tl.constexpr, D: tl.constexpr, DB: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """With y = total / rms and w = (1 + scale) dout: dx = dtotal + (w - y mean(w y)) / rms; dscale = sum dout y, dshift
    = sum dout; dbranch = gate dx, dgate = sum branch dx. `sums` holds each program's dgate, dscale and dshift.
    """
    view, start, end, c, here = _share(tokens, chunk, D, DB)
    if ADD:
        gates = _vector(gate, view, gate_stride, c, here)[None, :]
        gate_sum = tl.zeros((ROWS, DB), tl.float32)
    if NORM:
        scales = 1 + _vector(scale, view, scale_stride, c, here)[None, :]
        scale_sum = tl.zeros((ROWS, DB), tl.float32)
        shift_sum = tl.zeros((ROWS, DB), tl.float32)
    for first in range(start, end, ROWS):
        row, there, at, mask = _rows(view * tokens, first, end, c, here, D, ROWS)
        if NORM:
            root = tl.load(roots + row, mask=there, other=0.0)[:, None]
            y = _load(total, at, mask) * root
            given = _load(dout, at, mask)
            scale_sum += given * y
            shift_sum += given
            given = given * scales
            mean = tl.sum(given * y, 1)[:, None] / D
            grad = root * (given - y * mean)
            if ADD:
                grad += _load(dtotal, at, mask)
            tl.store(dx + at, grad.to(dx.dtype.element_ty), mask=mask)
        else:
            grad = _load(dtotal, at, mask)
        if ADD:
            gate_sum += grad * _load(branch, at, mask)
            tl.store(dbranch + at, (grad * gates).to(dbranch.dtype.element_ty), mask=mask)
    place = sums + (view * tl.num_programs(1) + tl.program_id(1)) * D + c
    apart = tl.num_programs(0).to(tl.int64) * tl.num_programs(1) * D
    if ADD:
        tl.store(place, tl.sum(gate_sum, 0), mask=here)
    if NORM:
        tl.store(place + apart, tl.sum(scale_sum, 0), mask=here)
        tl.store(place + 2 * apart, tl.sum(shift_sum, 0), mask=here)


@triton.jit
def _tile(rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Of a program: its rows and columns, and which are there."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    return row[:, None], column[None, :], (row < rows)[:, None] & (column < columns)[None, :]


@triton.jit
def _swiglu_kernel(packed, out, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row, column, mask = _tile(rows, columns, ROWS, COLUMNS)
    at = row * (2 * columns) + column
    gate, value = _load(packed, at, mask), _load(packed, at + columns, mask)
    result = gate * tl.sigmoid(gate) * value
    tl.store(out + row * columns + column, result.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _swiglu_backward_kernel(dout, packed, dpacked, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row, column, mask = _tile(rows, columns, ROWS, COLUMNS)
    at = row * (2 * columns) + column
    gate, value = _load(packed, at, mask), _load(packed, at + columns, mask)
    grad = _load(dout, row * columns + column, mask)
    share = tl.sigmoid(gate)
    silu = gate * share
    kind = dpacked.dtype.element_ty
    tl.store(dpacked + at, (grad * value * (share + silu * (1 - share))).to(kind), mask=mask)
    tl.store(dpacked + at + columns, (grad * silu).to(kind), mask=mask)


class Cut(NamedTuple):
    """How a tensor [b, v, n, d] is cut into programs."""

    grid: tuple[int, int]
    tokens: int
    chunk: int  # tokens of a program
    shape: dict[str, int]


def size(channels: int) -> dict[str, int]:
    """How channels are padded, and how many tokens are in flight."""
    padded = triton.next_power_of_2(channels)
    return {"D": channels, "DB": padded, "ROWS": max(1, TILE // padded)}


def cut(x: Tensor, wanted: int) -> Cut:
    """Programs of about so many tokens of one view each."""
    b, v, n, d = x.shape
    shape = size(d)
    rows = shape["ROWS"]
    programs = max(1, round(n / max(wanted, rows)))
    chunk = -(-n // programs)
    chunk = -(-chunk // rows) * rows
    return Cut((b * v, triton.cdiv(n, chunk)), n, chunk, shape)


def settle(vector: Tensor) -> tuple[Tensor, int]:
    """Vectors [b, v, d] that lie at even distances, and the distance; copied where they do not."""
    if vector.stride(-1) != 1 or (vector.shape[0] > 1 and vector.stride(0) != vector.shape[1] * vector.stride(1)):
        vector = vector.contiguous()
    return vector, vector.stride(1)


def _forward(
    x: Tensor, branch: Tensor | None, gate: Tensor | None, scale: Tensor | None, shift: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """total, out, roots; any tensor in the place of what is not asked for."""
    x = x.contiguous()
    adds, norms = branch is not None, scale is not None
    plan = cut(x, FORWARD_TOKENS)
    summand = x if branch is None else branch.contiguous()
    vectors, strides = zip(*((x, 0) if one is None else settle(one) for one in (gate, scale, shift)), strict=True)
    total = torch.empty_like(x) if adds else x
    out = torch.empty_like(x) if norms else x
    roots = torch.empty(x.shape[:-1], device=x.device, dtype=torch.float32) if norms else x
    _forward_kernel[plan.grid](
        x, summand, *vectors, total, out, roots, EPSILON, plan.tokens, plan.chunk, *strides,
        ADD=adds, NORM=norms, **plan.shape, num_warps=WARPS,
    )  # fmt: skip
    return total, out, roots


class _Grads(NamedTuple):
    x: Tensor
    branch: Tensor
    shared: Tensor  # of gate, scale and shift: [3, b, v, d]


def _backward(
    dtotal: Tensor | None,
    dout: Tensor | None,
    total: Tensor | None,
    roots: Tensor | None,
    branch: Tensor | None,
    gate: Tensor | None,
    scale: Tensor | None,
) -> _Grads:
    """All gradients that the given tensors have; any tensor in the place of the others."""
    adds, norms = branch is not None, scale is not None
    given = [x.contiguous() for x in (dtotal, dout, total, roots, branch) if x is not None]
    like = given[0]
    places: list[Tensor] = [like if x is None else x.contiguous() for x in (dtotal, dout, total, roots, branch)]
    plan = cut(like, BACKWARD_TOKENS)
    vectors, strides = zip(*((like, 0) if one is None else settle(one) for one in (gate, scale)), strict=True)
    dx = torch.empty_like(places[2]) if norms else like
    dbranch = torch.empty_like(places[4]) if adds else like
    b, v, _, d = like.shape
    sums = torch.empty(3, b, v, plan.grid[1], d, device=like.device, dtype=torch.float32)  # no atomics
    _backward_kernel[plan.grid](
        *places, *vectors, dx, dbranch, sums, plan.tokens, plan.chunk, *strides,
        ADD=adds, NORM=norms, **plan.shape, num_warps=WARPS,
    )  # fmt: skip
    kind = (vectors[0] if adds else vectors[1]).dtype
    return _Grads(dx, dbranch, sums.sum(3).to(kind))


def normalise(x: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """The operator `normalise` on a device."""
    return _forward(x, None, None, scale, shift)[1:]


def normalise_backward(dout: Tensor, x: Tensor, roots: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    grads = _backward(None, dout, x, roots, None, None, scale)
    return grads.x, grads.shared


def add_gated(x: Tensor, branch: Tensor, gate: Tensor) -> Tensor:
    """The operator `add_gated` on a device."""
    return _forward(x, branch, gate, None, None)[0]


def add_gated_backward(dtotal: Tensor, branch: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    grads = _backward(dtotal, None, None, None, branch, gate, None)
    return grads.branch, grads.shared


def add_normalise(
    x: Tensor, branch: Tensor, gate: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The operator `add_normalise` on a device."""
    return _forward(x, branch, gate, scale, shift)


def add_normalise_backward(*args: Any) -> tuple[Tensor, ...]:
    return tuple(_backward(*args))


def _cut_columns(rows: int, columns: int) -> tuple[tuple[int, int], dict[str, int]]:
    """A grid of tiles, as wide as divides the columns."""
    wide = next((x for x in (512, 256, 128) if columns % x == 0), 128)
    tall = TILE // wide
    return (triton.cdiv(rows, tall), triton.cdiv(columns, wide)), {"ROWS": tall, "COLUMNS": wide}


def swiglu(packed: Tensor) -> Tensor:
    """The operator `swiglu` on a device."""
    packed = packed.contiguous()
    columns = packed.shape[-1] // 2
    out = packed.new_empty(*packed.shape[:-1], columns)
    grid, shape = _cut_columns(out.numel() // columns, columns)
    _swiglu_kernel[grid](packed, out, out.numel() // columns, columns, **shape, num_warps=SWIGLU_WARPS)
    return out


def swiglu_backward(dout: Tensor, packed: Tensor) -> Tensor:
    dout, packed = dout.contiguous(), packed.contiguous()
    dpacked = torch.empty_like(packed)
    columns = dout.shape[-1]
    rows = dout.numel() // columns
    grid, shape = _cut_columns(rows, columns)
    _swiglu_backward_kernel[grid](dout, packed, dpacked, rows, columns, **shape, num_warps=SWIGLU_WARPS)
    return dpacked
