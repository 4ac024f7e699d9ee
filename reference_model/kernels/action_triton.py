"""The kernels behind `action.py` and `across.py`. A program takes a block of tokens and walks over their heads, so that
a token's matrix and angles are read once; everything in between is float32 in registers. Tensors may be some of the
views of others: a token is found by its scene (each tensor has its own distance between scenes, in tokens) and its
place there.

A head's channels are held as three tiles: `pose` (4-vectors one after the other), `first` and `second` (the halves that
turn against each other, those that turn with time before those that turn with position). Tiles are padded to powers of
two, as Triton wants them, and masked. Sizes: C channels of a head, of which P carry pose; A angles, of which T are of
time; PB and AB are P and A padded; GROUPS of 4-vectors have a matrix each.
"""

# Triton reads these functions, not Python: their parameters are pointers, numbers and tiles, and carry no Python types.
# pyright: reportMissingImports=false, reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportCallIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# pyright: reportUnboundVariable=false, reportReturnType=false, reportAssignmentType=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from reference_model.kernels.action import EPSILON

WARPS = 4
TILE = 2048  # channels of one head in a program: 16 for each thread, which spill nowhere (sm_90: 128 registers at most)


@triton.jit
def _place(tokens, views, patches, TOKENS: tl.constexpr):
    """Of a program's tokens: their scene, their place in it, and whether they exist."""
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    return token // (views * patches), token % (views * patches), token < tokens


@triton.jit
def _table(table, time, at, time_at, inside, otherwise, A: tl.constexpr, T: tl.constexpr, AB: tl.constexpr):
    """Cosines or sines of a block of tokens: time's, then position's."""
    i = tl.arange(0, AB)
    placed = inside[:, None] & (i >= T)[None, :] & (i < A)[None, :]
    values = tl.load(table + at[:, None] + (i - T)[None, :], mask=placed, other=otherwise)
    if T > 0:
        moving = inside[:, None] & (i < T)[None, :]
        values = tl.where(
            (i < T)[None, :], tl.load(time + time_at[:, None] + i[None, :], mask=moving, other=otherwise), values
        )
    return values


@triton.jit
def _angles(
    cos, sin, time_cos, time_sin, b, rest, inside, patches, cos_b, cos_v, cos_n, time_b, time_v, time_n,
    SIGN: tl.constexpr, A: tl.constexpr, T: tl.constexpr, AB: tl.constexpr,
):  # fmt: skip
    """Cosines, and sines times SIGN."""
    v, n = rest // patches, rest % patches
    at = b * cos_b + v * cos_v + n * cos_n
    time_at = b * time_b + v * time_v + n * time_n
    c = _table(cos, time_cos, at, time_at, inside, 1.0, A, T, AB)
    s = _table(sin, time_sin, at, time_at, inside, 0.0, A, T, AB)
    return c, s * SIGN


@triton.jit
def _entry(base, inside, at, P: tl.constexpr, PB: tl.constexpr, GROUPS: tl.constexpr):
    """One entry of each token's matrix: [TOKENS, 1], or [TOKENS, 4-vectors] where groups of them differ."""
    if GROUPS == 1:
        entry = tl.load(base + at, mask=inside, other=0.0)[:, None]
    else:
        vector = tl.arange(0, PB // 4)
        here = inside[:, None] & (vector < P // 4)[None, :]
        group = vector // (P // 4 // GROUPS)
        entry = tl.load(base[:, None] + (group * 16 + at)[None, :], mask=here, other=0.0)
    return entry


@triton.jit
def _row(
    base, inside, i: tl.constexpr, TRANSPOSED: tl.constexpr, P: tl.constexpr, PB: tl.constexpr, GROUPS: tl.constexpr
):
    start: tl.constexpr = i if TRANSPOSED else 4 * i
    step: tl.constexpr = 4 if TRANSPOSED else 1
    return (
        _entry(base, inside, start, P, PB, GROUPS),
        _entry(base, inside, start + step, P, PB, GROUPS),
        _entry(base, inside, start + 2 * step, P, PB, GROUPS),
        _entry(base, inside, start + 3 * step, P, PB, GROUPS),
    )


@triton.jit
def _matrix(matrices, view, inside, TRANSPOSED: tl.constexpr, P: tl.constexpr, PB: tl.constexpr, GROUPS: tl.constexpr):
    """The 4x4 matrices of each token's view, row by row."""
    base = matrices + view * (16 * GROUPS)
    a = _row(base, inside, 0, TRANSPOSED, P, PB, GROUPS)
    b = _row(base, inside, 1, TRANSPOSED, P, PB, GROUPS)
    c = _row(base, inside, 2, TRANSPOSED, P, PB, GROUPS)
    d = _row(base, inside, 3, TRANSPOSED, P, PB, GROUPS)
    return a, b, c, d


@triton.jit
def _dot(row, x0, x1, x2, x3):
    return row[0] * x0 + row[1] * x1 + row[2] * x2 + row[3] * x3


@triton.jit
def _pose(x, matrix, TOKENS: tl.constexpr, PB: tl.constexpr):
    """The matrix on each consecutive 4-vector. Splitting and interleaving stay within a thread's registers."""
    even, odd = tl.split(tl.reshape(x, (TOKENS, PB // 2, 2)))  # 0 2 0 2 .. and 1 3 1 3 ..
    x0, x2 = tl.split(tl.reshape(even, (TOKENS, PB // 4, 2)))
    x1, x3 = tl.split(tl.reshape(odd, (TOKENS, PB // 4, 2)))
    y0 = _dot(matrix[0], x0, x1, x2, x3)
    y1 = _dot(matrix[1], x0, x1, x2, x3)
    y2 = _dot(matrix[2], x0, x1, x2, x3)
    y3 = _dot(matrix[3], x0, x1, x2, x3)
    return tl.interleave(tl.interleave(y0, y2), tl.interleave(y1, y3))


@triton.jit
def _turn(first, second, c, s):
    return first * c - second * s, second * c + first * s


@triton.jit
def _halves(P: tl.constexpr, A: tl.constexpr, T: tl.constexpr, AB: tl.constexpr):
    """The channels of `first` and of `second`: pose, time's halves, position's halves follow each other in a head."""
    i = tl.arange(0, AB)
    if T > 0:
        first = P + i + tl.where(i < T, 0, T)
        second = first + tl.where(i < T, T, A - T)
    else:
        first = P + i
        second = first + A
    return first, second, i < A


@triton.jit
def _load_tile(at, inside, channel, here):
    mask = inside[:, None] & here[None, :]
    return tl.load(at[:, None] + channel[None, :], mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _store_tile(at, inside, channel, here, tile):
    tl.store(at[:, None] + channel[None, :], tile.to(at.dtype.element_ty), mask=inside[:, None] & here[None, :])


@triton.jit
def _load(
    at, inside, P: tl.constexpr, PB: tl.constexpr, A: tl.constexpr, T: tl.constexpr, AB: tl.constexpr,
    TOKENS: tl.constexpr,
):  # fmt: skip
    """The three tiles of a head, as float32, from the address of its first channel in each token."""
    if P > 0:
        p = tl.arange(0, PB)
        pose = _load_tile(at, inside, p, p < P)
    else:
        pose = tl.zeros((TOKENS, PB), tl.float32)
    if A > 0:
        one, other, turns = _halves(P, A, T, AB)
        first = _load_tile(at, inside, one, turns)
        second = _load_tile(at, inside, other, turns)
    else:
        first = tl.zeros((TOKENS, AB), tl.float32)
        second = tl.zeros((TOKENS, AB), tl.float32)
    return pose, first, second


@triton.jit
def _store(
    at, inside, pose, first, second,
    P: tl.constexpr, PB: tl.constexpr, A: tl.constexpr, T: tl.constexpr, AB: tl.constexpr,
):  # fmt: skip
    if P > 0:
        p = tl.arange(0, PB)
        _store_tile(at, inside, p, p < P, pose)
    if A > 0:
        one, other, turns = _halves(P, A, T, AB)
        _store_tile(at, inside, one, turns, first)
        _store_tile(at, inside, other, turns, second)


@triton.jit
def _gains(gain, P: tl.constexpr, PB: tl.constexpr, A: tl.constexpr, T: tl.constexpr, AB: tl.constexpr):
    p = tl.arange(0, PB)
    one, other, turns = _halves(P, A, T, AB)
    pose = tl.load(gain + p, mask=p < P, other=0.0).to(tl.float32)[None, :]
    first = tl.load(gain + one, mask=turns, other=0.0).to(tl.float32)[None, :]
    second = tl.load(gain + other, mask=turns, other=0.0).to(tl.float32)[None, :]
    return pose, first, second


@triton.jit
def _sum(pose, first, second):
    """Over the channels: [TOKENS, 1]."""
    return (tl.sum(pose, 1) + tl.sum(first, 1) + tl.sum(second, 1))[:, None]


@triton.jit
def _prepare_part(
    qkv, out, gain, matrices, from_row, to_row, view, inside, c, s, epsilon, packed, offset,
    HEADS: tl.constexpr, GROUPS: tl.constexpr, NORMED: tl.constexpr, C: tl.constexpr, P: tl.constexpr,
    PB: tl.constexpr, A: tl.constexpr, T: tl.constexpr, AB: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    """All heads of q, of k or of v."""
    if P > 0:
        matrix = _matrix(matrices, view, inside, False, P, PB, GROUPS)
    if NORMED:
        gain_pose, gain_first, gain_second = _gains(gain, P, PB, A, T, AB)
    for head in range(HEADS):
        pose, first, second = _load(qkv + from_row * packed + offset + head * C, inside, P, PB, A, T, AB, TOKENS)
        if NORMED:
            scale = tl.rsqrt(_sum(pose * pose, first * first, second * second) / C + epsilon)
            pose, first, second = pose * scale * gain_pose, first * scale * gain_first, second * scale * gain_second
        if P > 0:
            pose = _pose(pose, matrix, TOKENS, PB)
        first, second = _turn(first, second, c, s)
        _store(out + to_row * HEADS * C + head * C, inside, pose, first, second, P, PB, A, T, AB)


@triton.jit
def _prepare_kernel(
    qkv, q, k, v, q_gain, k_gain, query, key, value, cos, sin, time_cos, time_sin, epsilon, qkv_b, q_b, k_b, view_b,
    tokens, views, patches, cos_b, cos_v, cos_n, time_b, time_v, time_n,
    HEADS: tl.constexpr, KV: tl.constexpr, NORMED: tl.constexpr,
    QUERY: tl.constexpr, KEY: tl.constexpr, VALUE: tl.constexpr,
    C: tl.constexpr, P: tl.constexpr, PB: tl.constexpr, A: tl.constexpr, T: tl.constexpr, AB: tl.constexpr,
    TOKENS: tl.constexpr,
):  # fmt: skip
    """QUERY, KEY and VALUE: how many groups of 4-vectors have a matrix of their own."""
    b, rest, inside = _place(tokens, views, patches, TOKENS)
    c, s = _angles(cos, sin, time_cos, time_sin, b, rest, inside, patches, cos_b, cos_v, cos_n, time_b, time_v, time_n,
                   -1, A, T, AB)  # fmt: skip
    packed: tl.constexpr = (HEADS + 2 * KV) * C
    row, view = b * qkv_b + rest, b * view_b + rest // patches
    _prepare_part(qkv, q, q_gain, query, row, b * q_b + rest, view, inside, c, s, epsilon, packed, 0,
                  HEADS, QUERY, NORMED, C, P, PB, A, T, AB, TOKENS)  # fmt: skip
    _prepare_part(qkv, k, k_gain, key, row, b * k_b + rest, view, inside, c, s, epsilon, packed, HEADS * C,
                  KV, KEY, NORMED, C, P, PB, A, T, AB, TOKENS)  # fmt: skip
    _prepare_part(qkv, v, q_gain, value, row, b * k_b + rest, view, inside, c, s, epsilon, packed, (HEADS + KV) * C,
                  KV, VALUE, False, C, P, PB, A, T, AB, TOKENS)  # fmt: skip


@triton.jit
def _prepare_part_backward(
    grad, more, qkv, dqkv, gain, dgain, matrices, grad_row, more_row, row, to_row, view, inside, c, s, epsilon, packed,
    offset, MORE: tl.constexpr, HEADS: tl.constexpr, GROUPS: tl.constexpr, NORMED: tl.constexpr, C: tl.constexpr,
    P: tl.constexpr, PB: tl.constexpr, A: tl.constexpr, T: tl.constexpr, AB: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    """The gradient u (the sum of two, with MORE) back through the action (its transpose), then through gain and norm:
    with w = g u and y = x / rms(x), dx = (w - y mean(w y)) / rms(x) and dg = sum u y.
    """
    if P > 0:
        matrix = _matrix(matrices, view, inside, True, P, PB, GROUPS)
    if NORMED:
        gain_pose, gain_first, gain_second = _gains(gain, P, PB, A, T, AB)
        sum_pose = tl.zeros((TOKENS, PB), tl.float32)
        sum_first = tl.zeros((TOKENS, AB), tl.float32)
        sum_second = tl.zeros((TOKENS, AB), tl.float32)
    for head in range(HEADS):
        pose, first, second = _load(grad + grad_row * HEADS * C + head * C, inside, P, PB, A, T, AB, TOKENS)
        if MORE:
            pose1, first1, second1 = _load(more + more_row * HEADS * C + head * C, inside, P, PB, A, T, AB, TOKENS)
            pose, first, second = pose + pose1, first + first1, second + second1
        if P > 0:
            pose = _pose(pose, matrix, TOKENS, PB)
        first, second = _turn(first, second, c, s)
        if NORMED:
            y_pose, y_first, y_second = _load(qkv + row * packed + offset + head * C, inside, P, PB, A, T, AB, TOKENS)
            scale = tl.rsqrt(_sum(y_pose * y_pose, y_first * y_first, y_second * y_second) / C + epsilon)
            y_pose, y_first, y_second = y_pose * scale, y_first * scale, y_second * scale
            sum_pose += pose * y_pose
            sum_first += first * y_first
            sum_second += second * y_second
            pose, first, second = pose * gain_pose, first * gain_first, second * gain_second
            mean = _sum(pose * y_pose, first * y_first, second * y_second) / C
            pose = scale * (pose - y_pose * mean)
            first = scale * (first - y_first * mean)
            second = scale * (second - y_second * mean)
        _store(dqkv + to_row * packed + offset + head * C, inside, pose, first, second, P, PB, A, T, AB)
    if NORMED:
        p = tl.arange(0, PB)
        one, other, turns = _halves(P, A, T, AB)
        tl.store(dgain + p, tl.sum(sum_pose, 0), mask=p < P)
        tl.store(dgain + one, tl.sum(sum_first, 0), mask=turns)
        tl.store(dgain + other, tl.sum(sum_second, 0), mask=turns)


@triton.jit
def _prepare_backward_kernel(
    dq, dk, dv, dk_more, dv_more, qkv, dqkv, q_gain, k_gain, dgains, query, key, value, cos, sin, time_cos, time_sin,
    epsilon, q_b, k_b, more_b, qkv_b, dqkv_b, view_b,
    tokens, views, patches, cos_b, cos_v, cos_n, time_b, time_v, time_n,
    MORE: tl.constexpr, HEADS: tl.constexpr, KV: tl.constexpr, NORMED: tl.constexpr,
    QUERY: tl.constexpr, KEY: tl.constexpr, VALUE: tl.constexpr,
    C: tl.constexpr, P: tl.constexpr, PB: tl.constexpr, A: tl.constexpr, T: tl.constexpr, AB: tl.constexpr,
    TOKENS: tl.constexpr,
):  # fmt: skip
    b, rest, inside = _place(tokens, views, patches, TOKENS)
    c, s = _angles(cos, sin, time_cos, time_sin, b, rest, inside, patches, cos_b, cos_v, cos_n, time_b, time_v, time_n,
                   1, A, T, AB)  # fmt: skip
    packed: tl.constexpr = (HEADS + 2 * KV) * C
    dgain = dgains + tl.program_id(0) * 2 * C
    q_row, k_row, more = b * q_b + rest, b * k_b + rest, b * more_b + rest
    row, to, view = b * qkv_b + rest, b * dqkv_b + rest, b * view_b + rest // patches
    _prepare_part_backward(dq, dq, qkv, dqkv, q_gain, dgain, query, q_row, more, row, to, view, inside, c, s, epsilon,
                           packed, 0, False, HEADS, QUERY, NORMED, C, P, PB, A, T, AB, TOKENS)  # fmt: skip
    _prepare_part_backward(dk, dk_more, qkv, dqkv, k_gain, dgain + C, key, k_row, more, row, to, view, inside, c, s,
                           epsilon, packed, HEADS * C, MORE, KV, KEY, NORMED, C, P, PB, A, T, AB, TOKENS)  # fmt: skip
    _prepare_part_backward(dv, dv_more, qkv, dqkv, q_gain, dgain, value, k_row, more, row, to, view, inside, c, s,
                           epsilon, packed, (HEADS + KV) * C, MORE, KV, VALUE, False, C, P, PB, A, T, AB,
                           TOKENS)  # fmt: skip


@triton.jit
def _act_kernel(
    x, out, matrices, cos, sin, time_cos, time_sin, x_b, out_b, view_b,
    tokens, views, patches, cos_b, cos_v, cos_n, time_b, time_v, time_n,
    HEADS: tl.constexpr, GROUPS: tl.constexpr, TRANSPOSED: tl.constexpr, SIGN: tl.constexpr,
    C: tl.constexpr, P: tl.constexpr, PB: tl.constexpr, A: tl.constexpr, T: tl.constexpr, AB: tl.constexpr,
    TOKENS: tl.constexpr,
):  # fmt: skip
    b, rest, inside = _place(tokens, views, patches, TOKENS)
    c, s = _angles(cos, sin, time_cos, time_sin, b, rest, inside, patches, cos_b, cos_v, cos_n, time_b, time_v, time_n,
                   SIGN, A, T, AB)  # fmt: skip
    from_row, to_row = b * x_b + rest, b * out_b + rest
    if P > 0:
        matrix = _matrix(matrices, b * view_b + rest // patches, inside, TRANSPOSED, P, PB, GROUPS)
    for head in range(HEADS):
        pose, first, second = _load(x + from_row * HEADS * C + head * C, inside, P, PB, A, T, AB, TOKENS)
        if P > 0:
            pose = _pose(pose, matrix, TOKENS, PB)
        first, second = _turn(first, second, c, s)
        _store(out + to_row * HEADS * C + head * C, inside, pose, first, second, P, PB, A, T, AB)


def layout(channels: int, angles: int, timed: int) -> dict[str, int]:
    """How a head's channels are cut and padded, and how many tokens a program takes. `angles` includes time's."""
    pose = channels - 2 * angles
    return {
        "C": channels, "P": pose, "PB": triton.next_power_of_2(max(pose, 4)), "A": angles, "T": timed,
        "AB": triton.next_power_of_2(max(angles, 2)), "TOKENS": max(4, TILE // triton.next_power_of_2(channels)),
    }  # fmt: skip


def walk(
    x: Tensor, channels: int, time_cos: Tensor | None, time_sin: Tensor | None, cos: Tensor, sin: Tensor
) -> tuple[tuple[Tensor, ...], tuple[int, ...], dict[str, int]]:
    """The tables (some tensor where the kernel will read none), where tokens find their angles, and the layout.

    ValueError where a table is not float32 or sines are not laid out as cosines.
    """
    moving = (time_cos, time_sin) if time_cos is not None and time_sin is not None else (cos, sin)
    for one, other in ((cos, sin), moving):
        if one.stride() != other.stride() or one.stride(-1) != 1 or one.dtype != torch.float32:
            raise ValueError(
                f"tables of angles: {one.dtype}, strides {one.stride()} and {other.stride()}; expected float32, equal"
                " strides, the last 1"
            )
    b, v, n = x.shape[:3]
    timed = time_cos.shape[-1] if time_cos is not None else 0
    numbers = (b * v * n, v, n, *cos.stride()[:3], *moving[0].stride()[:3])
    return (cos, sin, *moving), numbers, layout(channels, cos.shape[-1] + timed, timed)


def settle(x: Tensor) -> Tensor:
    """Scenes that are each in one piece, as those of some views of a tensor [b, v, ...] are; copied where they are
    not.
    """
    whole = x.is_contiguous() or (x.shape[0] > 0 and x[0].is_contiguous())
    return x if whole else x.contiguous()


def apart(x: Tensor) -> int:
    """Tokens from a scene to the next, of a settled [b, v, n, h, c]."""
    return x.stride(0) // (x.shape[3] * x.shape[4])


def settle_matrices(matrices: list[Tensor | None], otherwise: Tensor) -> tuple[list[Tensor], list[int], int]:
    """Matrices [b, v, group, 4, 4], any tensor where there are none to read; their groups; and the views from a scene
    to the next, the same for all.
    """
    given = [settle(x) for x in matrices if x is not None]
    if len({x.stride(0) // (16 * x.shape[2]) for x in given}) > 1:
        given = [x.contiguous() for x in given]
    rest = iter(given)
    ready = [otherwise if x is None else next(rest) for x in matrices]
    groups = [1 if x is None else x.shape[2] for x in matrices]
    return ready, groups, given[0].stride(0) // (16 * given[0].shape[2]) if given else 0


def settle_gains(q_gain: Tensor | None, k_gain: Tensor | None, otherwise: Tensor) -> tuple[Tensor, Tensor]:
    """Both gains; any tensors where there are none to read. ValueError for one without the other."""
    if (q_gain is None) != (k_gain is None):
        raise ValueError("q and k are normed together or not at all: one gain is missing")
    return (otherwise, otherwise) if q_gain is None or k_gain is None else (q_gain, k_gain)


class Reading(NamedTuple):
    """What the kernels read besides tokens: gains of the QK-norm, the actions' matrices and angles."""

    q_gain: Tensor | None
    k_gain: Tensor | None
    query: Tensor | None
    key: Tensor | None
    value: Tensor | None
    time_cos: Tensor | None
    time_sin: Tensor | None
    cos: Tensor
    sin: Tensor

    def take(self, first: int, last: int) -> Reading:
        """That of some of the views."""
        return Reading(*self[:2], *(None if x is None else x[:, first:last] for x in self[2:]))


def prepare_into(qkv: Tensor, reading: Reading, q: Tensor, k: Tensor, v: Tensor) -> None:
    """q, k and v of packed projections, written where they are wanted. All tensors may be some views of others."""
    qkv, channels = settle(qkv), qkv.shape[-1]
    q_gain, k_gain, query, key, value, *turns = reading
    tables, numbers, shape = walk(qkv, channels, *turns)
    matrices, groups, views = settle_matrices([query, key, value], reading.cos)
    _prepare_kernel[(triton.cdiv(numbers[0], shape["TOKENS"]),)](
        qkv, q, k, v, *(settle_gains(q_gain, k_gain, reading.cos)), *matrices, *tables, EPSILON,
        apart(qkv), apart(q), apart(k), views, *numbers,
        HEADS=q.shape[3], KV=k.shape[3], NORMED=q_gain is not None, QUERY=groups[0], KEY=groups[1], VALUE=groups[2],
        **shape, num_warps=WARPS,
    )  # fmt: skip


def prepare_forward(qkv: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The operator `prepare_qkv` on a device: (qkv, what is read, heads)."""
    *reading, heads = rest
    kv = (qkv.shape[-2] - heads) // 2
    q, k, v = (qkv.new_empty(*qkv.shape[:3], count, qkv.shape[-1]) for count in (heads, kv, kv))
    prepare_into(qkv, Reading(*reading), q, k, v)
    return q, k, v


class Grads(NamedTuple):
    """Of q, k and v; `more` of k and v, of the views whose keys were given out twice."""

    q: Tensor
    k: Tensor
    v: Tensor
    k_more: Tensor | None = None
    v_more: Tensor | None = None


def count_programs(qkv: Tensor) -> int:
    return triton.cdiv(qkv.shape[:3].numel(), layout(qkv.shape[-1], 0, 0)["TOKENS"])


def prepare_backward_into(grads: Grads, qkv: Tensor, reading: Reading, dqkv: Tensor, dgains: Tensor) -> None:
    """The gradient of the packed projection, written where it is wanted, and the gains', one row of two a program
    (`count_programs`). All tensors may be some views of others.
    """
    qkv, channels = settle(qkv), qkv.shape[-1]
    q_gain, k_gain, query, key, value, *turns = reading
    tables, numbers, shape = walk(qkv, channels, *turns)
    matrices, groups, views = settle_matrices([query, key, value], reading.cos)
    dq, dk, dv = settle(grads.q), settle(grads.k), settle(grads.v)
    if apart(dk) != apart(dv):
        dk, dv = dk.contiguous(), dv.contiguous()
    more = grads.k_more is not None
    dk_more, dv_more = (y if x is None else x.contiguous() for x, y in zip(grads[3:], (dk, dv), strict=True))
    _prepare_backward_kernel[(count_programs(qkv),)](
        dq, dk, dv, dk_more, dv_more, qkv, dqkv, *(settle_gains(q_gain, k_gain, reading.cos)), dgains, *matrices,
        *tables, EPSILON, apart(dq), apart(dk), apart(dk_more), apart(qkv), apart(dqkv), views, *numbers,
        MORE=more, HEADS=dq.shape[3], KV=dk.shape[3], NORMED=q_gain is not None, QUERY=groups[0], KEY=groups[1],
        VALUE=groups[2], **shape, num_warps=WARPS,
    )  # fmt: skip


def sum_gains(dgains: Tensor, reading: Reading, otherwise: Tensor) -> tuple[Tensor, Tensor]:
    """The gains' gradients from those of the programs; empty without gains."""
    if reading.q_gain is None or reading.k_gain is None:
        return otherwise.new_empty(0), otherwise.new_empty(0)
    q_sum, k_sum = dgains.sum(0)
    return q_sum.to(reading.q_gain.dtype), k_sum.to(reading.k_gain.dtype)


def empty_gains(programs: int, qkv: Tensor) -> Tensor:
    """Where programs leave the gains' gradients: summed afterwards, without atomics."""
    return torch.empty(programs, 2, qkv.shape[-1], device=qkv.device, dtype=torch.float32)


def prepare_backward(dq: Tensor, dk: Tensor, dv: Tensor, qkv: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `prepare_qkv` with respect to the packed projection and both gains."""
    qkv, reading = qkv.contiguous(), Reading(*rest)
    dqkv, dgains = torch.empty_like(qkv), empty_gains(count_programs(qkv), qkv)
    prepare_backward_into(Grads(dq, dk, dv), qkv, reading, dqkv, dgains)
    return dqkv, *sum_gains(dgains, reading, qkv)


def act_into(
    x: Tensor, matrices: Tensor | None, turns: Sequence[Any], out: Tensor, *, transposed: bool, sign: int
) -> None:
    """The matrices or their transposes, and a turn by plus or minus the angles (time_cos, time_sin, cos, sin); written
    where it is wanted. Both tensors may be some views of others.
    """
    x = settle(x)
    tables, numbers, shape = walk(x, x.shape[-1], *turns)
    ready, groups, views = settle_matrices([matrices], tables[0])
    _act_kernel[(triton.cdiv(numbers[0], shape["TOKENS"]),)](
        x, out, *ready, *tables, apart(x), apart(out), views, *numbers,
        HEADS=x.shape[3], GROUPS=groups[0], TRANSPOSED=transposed, SIGN=sign, **shape, num_warps=WARPS,
    )  # fmt: skip


def act(x: Tensor, matrices: Tensor | None, *rest: Any) -> Tensor:
    """The operator `act` on a device: (x, matrices, angles, transposed, sign)."""
    *turns, transposed, sign = rest
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    act_into(x, matrices, turns, out, transposed=transposed, sign=sign)
    return out
