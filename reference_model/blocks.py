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
from reference_model.kernels import action
from reference_model.positions import Actions

MODULATIONS = 9  # shift, scale and gate for each of the three layers of a block


class Places(NamedTuple):
    """Where the tokens of a batch are, for every block: built once."""

    within: Actions  # position on all channels: pose and time cancel within a view
    across: Actions
    local: Window | None
    grid: Window | None


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

    def project(self, x: Float[Tensor, "b v n d"], actions: Actions) -> QKV:
        packed = self.qkv(x).unflatten(-1, (-1, self.qkv.in_features // self.heads))
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

    def forward(
        self,
        x: Float[Tensor, "b v n d"],
        actions: Actions,
        window: Window | None,
        references: Tensor,
        past: Past | None = None,
    ) -> tuple[Float[Tensor, "b v n d"], KeyValues]:
        """The layer's output, and the keys and values of x. With `past`, x are targets and `references` is 0."""
        q, k, v = self.project(x, actions)
        own = KeyValues(k, v)
        if past is not None:
            k, v = join_past(past, own)
        if window is None:
            out = attend_across(q, k, v, references)  # pyright: ignore[reportCallIssue]
        else:
            out = attend_windows(q, k, v, references, window)
        return self.gather(out, actions), own


class FeedForward(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gated = config.mlp == "swiglu"
        self.up = nn.Linear(config.width, (2 if self.gated else 1) * config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        if not self.gated:
            return self.down(F.gelu(self.up(x)))
        gate, value = self.up(x).chunk(2, dim=-1)
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
        m = (modulation + self.table).to(x.dtype)[:, :, None].unbind(-2)  # nine of b v 1 d: shift, scale, gate, thrice
        x = x + m[2] * self.spatial(normalise(x) * (1 + m[1]) + m[0], places.within)
        window = places.grid if self.grid else places.local
        out, kept = self.temporal(normalise(x) * (1 + m[4]) + m[3], places.across, window, references, past)
        x = x + m[5] * out
        return x + m[8] * self.mlp(normalise(x) * (1 + m[7]) + m[6]), kept
