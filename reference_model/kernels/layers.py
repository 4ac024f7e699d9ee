"""The layers of blocks.py with fused kernels in them: each function is the twin of the lines it stands for, on the same
weights.

`takes` says whether; a benchmark takes a kernel away by setting a layer's `fused` to None, or `joint` to False.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from reference_model.attention import QKV, KeyValues, Past, Room, Window, join_past
from reference_model.kernels import across, action, stream
from reference_model.kernels.action import fused_device, takes
from reference_model.kernels.stream import swiglu
from reference_model.positions import Actions

if TYPE_CHECKING:  # blocks.py imports this file
    from reference_model.blocks import Attention, Block, TemporalAttention
    from reference_model.places import Places

__all__ = ["block", "fused_device", "gather", "project", "swiglu", "takes", "temporal"]


def project(layer: Attention, x: Float[Tensor, "b v n d"], actions: Actions) -> QKV:
    """q, k and v from one read of the packed projection."""
    return QKV(*action.prepare_qkv(layer.pack(x), layer.heads, layer.q_gain, layer.k_gain, actions))


def gather(layer: Attention, out: Float[Tensor, "b v n h c"], actions: Actions) -> Float[Tensor, "b v n d"]:
    return layer.out(action.restore_output(out, actions).flatten(-2))


def temporal(
    layer: TemporalAttention,
    x: Float[Tensor, "b v n d"],
    actions: Actions,
    window: Window | None,
    references: Tensor,
    past: Past | None,
) -> tuple[Float[Tensor, "b v n d"], KeyValues]:
    """Keys and values are written where attention reads them: nothing is cut, joined or copied."""
    packed = across.Packed(layer.pack(x), layer.heads, layer.q_gain, layer.k_gain, actions)
    if window is None and past is None:
        out, k, v = across.attend_packed(packed, references)  # pyright: ignore[reportCallIssue]
        return layer.out(out.flatten(-2)), KeyValues(k, v)
    if isinstance(past, Room):
        q, k, v = across.prepare_room(packed, past)  # pyright: ignore[reportCallIssue]
        seen, own = KeyValues(k, v), KeyValues(k[:, past.filled :], v[:, past.filled :])
    else:
        q, k, v = action.prepare_qkv(*packed)
        own = KeyValues(k, v)
        seen = own if past is None else join_past(past, own)
    return layer.look(q, seen, actions, window, references), own


def block(
    block: Block,
    x: Float[Tensor, "b v n d"],
    modulation: Float[Tensor, "b v nine d"],
    places: Places,
    window: Window | None,
    references: Tensor,
    past: Past | None,
    *,
    last: bool,
) -> tuple[Float[Tensor, "b v n d"], KeyValues]:
    """Each sum in one pass with the norm that follows it."""
    m = modulation.unbind(-2)  # shift, scale, gate, thrice
    out = block.spatial(stream.normalise(x, m[1], m[0]), places.within)
    x, read = stream.add_normalise(x, out, m[2], m[4], m[3])
    if last:
        return x, block.temporal.remember(read, places.across)
    out, kept = block.temporal(read, places.across, window, references, past)
    x, read = stream.add_normalise(x, out, m[5], m[7], m[6])
    return stream.add(x, block.mlp(read), m[8]), kept
