"""One attention for every layer: norms and actions on q, k and v, softmax, the inverse action on what comes out.

`prepare_qkv` and `restore_output` are the plain twins of the fused kernel (kernels/): all that happens to q, k, v and
the output element by element. In between stands the machine's own fused attention, which takes no mask: who sees whom
is said by calling it on parts, and windows are reshapes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.attention import SDPBackend, sdpa_kernel

from reference_model.positions import Actions, apply_action, widen

# cuDNN's kernel is 1.3 to 1.6 times as fast as FlashAttention-2 on Hopper; the others are for machines without it.
BACKENDS = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class QKV(NamedTuple):
    """Ready for attention: normed and acted upon. Grouped queries have fewer key heads than query heads."""

    q: Float[Tensor, "b v n h c"]
    k: Float[Tensor, "b v n kv c"]
    v: Float[Tensor, "b v n kv c"]


class KeyValues(NamedTuple):
    """What a layer keeps of its reference views. It depends on their own cameras alone, so it serves every step and
    every chunk.
    """

    k: Float[Tensor, "b reference n kv c"]
    v: Float[Tensor, "b reference n kv c"]


class Room(NamedTuple):
    """Kept keys and values with room behind them for those of the targets, which each denoising step writes anew: what
    is kept is copied once, not at every step. For inference: writing in place leaves nothing to differentiate.
    """

    k: Float[Tensor, "b view n kv c"]
    v: Float[Tensor, "b view n kv c"]
    filled: int  # views that are kept; the rest is room


Past = KeyValues | Room


def make_room(kept: KeyValues, views: int) -> Room:
    """Room for so many more views."""
    k, v = (torch.cat([x, x.new_empty(x.shape[0], views, *x.shape[2:])], 1) for x in kept)
    return Room(k, v, kept.k.shape[1])


def join_past(past: Past, own: KeyValues) -> KeyValues:
    """The keys and values of what is past and, behind them, of these views."""
    if isinstance(past, KeyValues):
        return KeyValues(torch.cat([past.k, own.k], 1), torch.cat([past.v, own.v], 1))
    for room, fresh in zip(past[:2], own, strict=True):
        room[:, past.filled :] = fresh
    return KeyValues(past.k, past.v)


class Gains(NamedTuple):
    """Learned gains of the QK-norm, shared by all heads."""

    q: Float[Tensor, " c"]
    k: Float[Tensor, " c"]


def normalise(x: Tensor) -> Tensor:
    """RMS norm without a weight; in float32 or wider, back in x's type."""
    wide = widen(x)
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def prepare_qkv(qkv: Float[Tensor, "b v n hkv c"], heads: int, gains: Gains | None, actions: Actions) -> QKV:
    """Cut the packed projection into heads of q, then of k and v; norm q and k (before the action: after it the pose
    block would be normalised away); apply the actions.
    """
    kv = (qkv.shape[-2] - heads) // 2
    q, k, v = qkv.split([heads, kv, kv], dim=-2)
    if gains is not None:
        q, k = normalise(q) * gains.q.to(q.dtype), normalise(k) * gains.k.to(k.dtype)
    pose = actions.pose
    return QKV(
        apply_action(q, pose and pose.query, actions, -1),
        apply_action(k, pose and pose.key, actions, -1),
        apply_action(v, pose and pose.value, actions, -1),
    )


def restore_output(out: Float[Tensor, "b v n h c"], actions: Actions) -> Float[Tensor, "b v n h c"]:
    """Bring what attention gathered into each token's own frame."""
    return apply_action(out, actions.pose and actions.pose.output, actions, 1)


def attend(
    q: Float[Tensor, "b query h c"], k: Float[Tensor, "b key kv c"], v: Float[Tensor, "b key kv c"]
) -> Float[Tensor, "b query h c"]:
    """Softmax attention, scaled by 1/sqrt(c). With fewer key heads than query heads, each serves consecutive query
    heads.
    """
    grouped = q.shape[2] != k.shape[2]
    if grouped and q.is_cuda and q.dtype == torch.float32:
        # The only fused kernel for float32 knows no groups; without one, every score would be in memory.
        k, v = (x.repeat_interleave(q.shape[2] // k.shape[2], 2) for x in (k, v))
        grouped = False
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if q.is_cuda:
        with sdpa_kernel(BACKENDS, set_priority=True):
            return F.scaled_dot_product_attention(q, k, v, enable_gqa=grouped).transpose(1, 2)
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=grouped).transpose(1, 2)


class KeepFirst(torch.autograd.Function):
    """A tensor, and its first `count` views beside it. The gradient of the part is added to that of the whole in place:
    both are fresh from attention's backward pass, which is the only thing that reads these two.
    """

    @staticmethod
    def forward(ctx: Any, x: Float[Tensor, "b v n h c"], count: int) -> tuple[Tensor, Tensor]:
        ctx.count = count
        return x.view_as(x), x[:, :count]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        whole, part = grads
        whole[:, : ctx.count] += part
        return whole, None


@torch.compiler.disable  # eager, so that a compiled block is two pieces of fixed shape whatever the split
def attend_across(
    q: Float[Tensor, "b v query h c"],
    k: Float[Tensor, "b u key kv c"],
    v: Float[Tensor, "b u key kv c"],
    references: Int[Tensor, ""],
) -> Float[Tensor, "b v query h c"]:
    """Cross-frame attention: the first `references` views of q see as many of k, the others see everything (with 0 all
    do, which is how targets see cached references before their own keys).

    `references` is a number in a CPU tensor: as a plain int it would be a constant of the compiled graph, one
    compilation per value.
    """
    count = int(references)
    if not count or count == q.shape[1]:
        seen = (x.flatten(1, 2) for x in (q, k[:, : count or None], v[:, : count or None]))
        return attend(*seen).unflatten(1, q.shape[1:3])
    # Cut so that gradients come back in one pass each: of slices they would be summed over zero-filled copies, which at
    # width 512 was a twentieth of a training step's traffic.
    q_references, q_targets = q.split([count, q.shape[1] - count], dim=1)
    (k, k_references), (v, v_references) = (KeepFirst.apply(x, count) for x in (k, v))
    seen = (x.flatten(1, 2) for x in (q_references, k_references, v_references))
    out = attend(*seen).unflatten(1, q_references.shape[1:3])
    targets = attend(q_targets.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2)).unflatten(1, q_targets.shape[1:3])
    return torch.cat([out, targets], dim=1)


@torch.compiler.disable
def attend_within(
    q: Float[Tensor, "b v n h c"], k: Float[Tensor, "b v n kv c"], v: Float[Tensor, "b v n kv c"]
) -> Float[Tensor, "b v n h c"]:
    """Spatial attention: each view on its own."""
    return attend(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)).unflatten(0, q.shape[:2])


class Window(NamedTuple):
    """A cut of a view's rows x columns patches into windows of side x side, the same in every view.

    A `grid` window takes every (rows / side)-th patch of the whole image (MaxViT's grid), else neighbours.
    """

    rows: int
    columns: int
    side: int
    grid: bool

    @property
    def count(self) -> int:
        return (self.rows // self.side) * (self.columns // self.side)


def cut_views(rows: int, columns: int, side: int) -> tuple[Window, Window] | tuple[None, None]:
    """The local and the grid windows of views of rows x columns patches; none where a window holds the whole view.

    Raises ValueError where they do not divide.
    """
    if not 0 < side < max(rows, columns):
        return None, None
    if rows % side or columns % side:
        raise ValueError(f"{rows}x{columns} patches do not divide into windows of {side}x{side}")
    return Window(rows, columns, side, grid=False), Window(rows, columns, side, grid=True)


def cut_windows(x: Float[Tensor, "b v n h c"], window: Window) -> Float[Tensor, "bw v m h c"]:
    """Each window becomes a scene of its own: a reshape. x holds the patches alone."""
    b, v, _, h, c = x.shape
    side, down, right = window.side, window.rows // window.side, window.columns // window.side
    if window.grid:
        return (
            x.reshape(b, v, side, down, side, right, h, c).permute(0, 3, 5, 1, 2, 4, 6, 7).reshape(-1, v, side**2, h, c)
        )
    return x.reshape(b, v, down, side, right, side, h, c).permute(0, 2, 4, 1, 3, 5, 6, 7).reshape(-1, v, side**2, h, c)


def join_windows(x: Float[Tensor, "bw v m h c"], window: Window) -> Float[Tensor, "b v n h c"]:
    """The inverse of `cut_windows`."""
    _, v, _, h, c = x.shape
    side, down, right = window.side, window.rows // window.side, window.columns // window.side
    x = x.reshape(-1, down, right, v, side, side, h, c)
    order = (0, 3, 4, 1, 5, 2, 6, 7) if window.grid else (0, 3, 1, 4, 2, 5, 6, 7)
    return x.permute(order).reshape(-1, v, window.rows * window.columns, h, c)


def attend_windows(
    q: Float[Tensor, "b v n h c"],
    k: Float[Tensor, "b u n kv c"],
    v: Float[Tensor, "b u n kv c"],
    references: Int[Tensor, ""],
    window: Window,
) -> Float[Tensor, "b v n h c"]:
    """Cross-frame attention in windows: a patch sees, of every view it may see, the patches of its own window and all
    registers; a register sees everything it may. So registers carry what windows keep apart.
    """
    patches = window.rows * window.columns
    keys, values = (cut_windows(x[:, :, :patches], window) for x in (k, v))
    if q.shape[2] > patches:
        spread = (x[:, :, patches:].repeat_interleave(window.count, 0) for x in (k, v))
        keys, values = (torch.cat(pair, 2) for pair in zip((keys, values), spread, strict=True))
    # torch.compiler.disable loses the signature.
    out = attend_across(cut_windows(q[:, :, :patches], window), keys, values, references)  # pyright: ignore[reportCallIssue]
    out = join_windows(out, window)
    if q.shape[2] == patches:
        return out
    return torch.cat([out, attend_across(q[:, :, patches:], k, v, references)], 2)  # pyright: ignore[reportCallIssue]
