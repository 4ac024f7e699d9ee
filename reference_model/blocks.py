"""One block: attention within each view, attention across views, a feed-forward layer; each normalised, scaled and
gated by the noise level.

The order and the three layers are the paper's; so is that the level enters by adaptive normalisation (as in DiT).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reference_model.attention import (
    QKV,
    Gains,
    KeyValues,
    Past,
    Room,
    Window,
    attend_across,
    attend_windows,
    attend_within,
    join_past,
    normalise,
    prepare_qkv,
    restore_output,
)
from reference_model.config import ModelConfig
from reference_model.kernels import across, action, stream
from reference_model.positions import Actions

MODULATIONS = 9  # shift, scale and gate for each of the three layers of a block


class Places(NamedTuple):
    """Where the tokens of a batch are, for every block and every step: built once."""

    within: Actions  # position on all channels: pose and time cancel within a view
    across: Actions
    local: Window | None
    grid: Window | None
    rays: Float[Tensor, "b v n ray"]  # what enters beside each patch's token (model.Kaleido.build_rays)


class Attention(nn.Module):
    """Projections, QK-norm, action, attention, inverse action, projection."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, kv = config.heads, config.key_heads
        self.qkv = nn.Linear(config.width, (config.heads + 2 * kv) * config.head_channels, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.q_gain = nn.Parameter(torch.ones(config.head_channels)) if config.qk_norm else None
        self.k_gain = nn.Parameter(torch.ones(config.head_channels)) if config.qk_norm else None
        self.fused = action.fused_device()  # None: the plain twins

    @property
    def gains(self) -> Gains | None:
        return None if self.q_gain is None or self.k_gain is None else Gains(self.q_gain, self.k_gain)

    def pack(self, x: Float[Tensor, "b v n d"]) -> Float[Tensor, "b v n hkv c"]:
        return self.qkv(x).unflatten(-1, (-1, self.qkv.in_features // self.heads))

    def project(self, x: Float[Tensor, "b v n d"], actions: Actions) -> QKV:
        packed = self.pack(x)
        if action.takes(self.fused, packed):
            return QKV(*action.prepare_qkv(packed, self.heads, self.q_gain, self.k_gain, actions))
        return prepare_qkv(packed, self.heads, self.gains, actions)

    def gather(self, out: Float[Tensor, "b v n h c"], actions: Actions) -> Float[Tensor, "b v n d"]:
        restore = action.restore_output if action.takes(self.fused, out) else restore_output
        return self.out(restore(out, actions).flatten(-2))


class SpatialAttention(Attention):
    """Within each view."""

    def forward(self, x: Float[Tensor, "b v n d"], actions: Actions) -> Float[Tensor, "b v n d"]:
        # torch.compiler.disable loses the signature.
        out = attend_within(*self.project(x, actions))  # pyright: ignore[reportCallIssue]
        return self.gather(out, actions)


class TemporalAttention(Attention):
    """Across views, in windows where there are any."""

    joint = True  # the fused way takes attention with what stands around it (kernels.across)

    def forward(
        self,
        x: Float[Tensor, "b v n d"],
        actions: Actions,
        window: Window | None,
        references: Tensor,
        past: Past | None = None,
    ) -> tuple[Float[Tensor, "b v n d"], KeyValues]:
        """The layer's output, and the keys and values of x. With `past`, x are targets and `references` is 0."""
        if self.joint and window is None and past is None and action.takes(self.fused, x):
            packed = self.pack(x)
            out, k, v = across.attend_packed(packed, self.heads, self.q_gain, self.k_gain, actions, references)  # pyright: ignore[reportCallIssue]
            return self.out(out.flatten(-2)), KeyValues(k, v)
        q, k, v, own = self.recall(x, actions, past)
        if window is None:
            out = attend_across(q, k, v, references)  # pyright: ignore[reportCallIssue]
        else:
            out = attend_windows(q, k, v, references, window)
        return self.gather(out, actions), own

    def recall(
        self, x: Float[Tensor, "b v n d"], actions: Actions, past: Past | None
    ) -> tuple[Tensor, Tensor, Tensor, KeyValues]:
        """q of x, and k and v of what is past and of x; and those of x alone."""
        if self.joint and isinstance(past, Room) and action.takes(self.fused, x):
            q, k, v = across.prepare_room(self.pack(x), self.heads, self.q_gain, self.k_gain, actions, past)  # pyright: ignore[reportCallIssue]
            return q, k, v, KeyValues(k[:, past.filled :], v[:, past.filled :])
        q, k, v = self.project(x, actions)
        own = KeyValues(k, v)
        if past is not None:
            k, v = join_past(past, own)
        return q, k, v, own


class FeedForward(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gated = config.mlp == "swiglu"
        self.up = nn.Linear(config.width, (2 if self.gated else 1) * config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)
        self.fused = action.fused_device()

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        up = self.up(x)
        if not self.gated:
            return self.down(F.gelu(up))
        if action.takes(self.fused, up):
            return self.down(stream.swiglu(up))
        gate, value = up.chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class Block(nn.Module):
    """`number` counts from 0 and says which windows an `alternate` model has here."""

    def __init__(self, config: ModelConfig, number: int) -> None:
        super().__init__()
        self.spatial = SpatialAttention(config)
        self.temporal = TemporalAttention(config)
        self.mlp = FeedForward(config)
        self.grid = config.window_rule == "grid" or (config.window_rule == "alternate" and number % 2 == 1)
        self.modulate = nn.Linear(config.width, MODULATIONS * config.width) if config.modulation == "block" else None
        self.table = nn.Parameter(torch.zeros(MODULATIONS, config.width))
        self.fused = action.fused_device()

    def forward(
        self,
        x: Float[Tensor, "b v n d"],
        modulation: Float[Tensor, "b v *nine d"],
        places: Places,
        references: Tensor,
        past: Past | None = None,
    ) -> tuple[Float[Tensor, "b v n d"], KeyValues]:
        """The tokens after the block, and the keys and values that another call may take as `past`.

        Args:
            modulation: nine shared vectors a view, or one that this block's own layer makes them of.
            references: how many of the views are references, in a CPU tensor (attention.attend_across).
        """
        if self.modulate is not None:
            modulation = self.modulate(modulation).unflatten(-1, (MODULATIONS, -1))
        m = (modulation + self.table).to(x.dtype)  # b v nine d: shift, scale, gate, thrice
        window = places.grid if self.grid else places.local
        if action.takes(self.fused, x):
            return self.forward_fused(x, m, places, window, references, past)
        m = m[:, :, None].unbind(-2)  # of b v 1 d
        x = x + m[2] * self.spatial(normalise(x) * (1 + m[1]) + m[0], places.within)
        out, kept = self.temporal(normalise(x) * (1 + m[4]) + m[3], places.across, window, references, past)
        x = x + m[5] * out
        return x + m[8] * self.mlp(normalise(x) * (1 + m[7]) + m[6]), kept

    def forward_fused(
        self,
        x: Float[Tensor, "b v n d"],
        modulation: Float[Tensor, "b v nine d"],
        places: Places,
        window: Window | None,
        references: Tensor,
        past: Past | None,
    ) -> tuple[Float[Tensor, "b v n d"], KeyValues]:
        """The same lines, each sum with the norm that follows it in one pass."""
        m = modulation.unbind(-2)
        out = self.spatial(stream.normalise(x, m[1], m[0]), places.within)
        x, read = stream.add_normalise(x, out, m[2], m[4], m[3])
        out, kept = self.temporal(read, places.across, window, references, past)
        x, read = stream.add_normalise(x, out, m[5], m[7], m[6])
        return stream.add(x, self.mlp(read), m[8]), kept
