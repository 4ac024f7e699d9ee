"""One block: attention within each view, attention across views, a feed-forward layer; each normalised, scaled and
gated by the noise level.

The order and the three layers are the paper's; so is that the level enters by adaptive normalisation (as in DiT).
What stands here is the definition. Where a GPU can do better, a `forward` hands its work to the function of the same
name in kernels/layers.py, which is to equal it.
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
from reference_model.kernels import layers
from reference_model.places import Places
from reference_model.positions import Actions
from reference_model.threads import apply_alone

MODULATIONS = 9  # shift, scale and gate for each of the three layers of a block


class Modulation(NamedTuple):
    """What the noise level does to one layer."""

    shift: Float[Tensor, "b v 1 d"]
    scale: Float[Tensor, "b v 1 d"]
    gate: Float[Tensor, "b v 1 d"]

    def read(self, x: Float[Tensor, "b v n d"]) -> Float[Tensor, "b v n d"]:
        """What the layer reads of the residual stream."""
        return normalise(x) * (1 + self.scale) + self.shift


class Attention(nn.Module):
    """Projections, QK-norm, action, attention, inverse action, projection."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, kv = config.heads, config.key_heads
        self.qkv = nn.Linear(config.width, (config.heads + 2 * kv) * config.head_channels, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.q_gain = nn.Parameter(torch.ones(config.head_channels)) if config.qk_norm else None
        self.k_gain = nn.Parameter(torch.ones(config.head_channels)) if config.qk_norm else None
        self.fused = layers.fused_device()  # whose tensors the kernels take; None: this file's lines always

    @property
    def gains(self) -> Gains | None:
        return None if self.q_gain is None or self.k_gain is None else Gains(self.q_gain, self.k_gain)

    def pack(self, x: Float[Tensor, "b v n d"]) -> Float[Tensor, "b v n hkv c"]:
        return self.qkv(x).unflatten(-1, (-1, self.qkv.in_features // self.heads))

    def project(self, x: Float[Tensor, "b v n d"], actions: Actions) -> QKV:
        if layers.takes(self.fused, x):
            return layers.project(self, x, actions)
        return prepare_qkv(self.pack(x), self.heads, self.gains, actions)

    def gather(self, out: Float[Tensor, "b v n h c"], actions: Actions) -> Float[Tensor, "b v n d"]:
        if layers.takes(self.fused, out):
            return layers.gather(self, out, actions)
        return self.out(restore_output(out, actions).flatten(-2))


class SpatialAttention(Attention):
    """Within each view."""

    def forward(self, x: Float[Tensor, "b v n d"], actions: Actions) -> Float[Tensor, "b v n d"]:
        # torch.compiler.disable loses the signature.
        out = attend_within(*self.project(x, actions))  # pyright: ignore[reportCallIssue]
        return self.gather(out, actions)


class TemporalAttention(Attention):
    """Across views, in windows where there are any."""

    joint = True  # kernels/layers.py: attention in one with what stands around it

    def forward(
        self,
        x: Float[Tensor, "b v n d"],
        actions: Actions,
        window: Window | None,
        references: Tensor,
        past: Past | None = None,
    ) -> tuple[Float[Tensor, "b v n d"], KeyValues]:
        """The layer's output, and the keys and values of x. With `past`, x are targets and `references` is 0."""
        if self.joint and layers.takes(self.fused, x):
            return layers.temporal(self, x, actions, window, references, past)
        q, k, v = self.project(x, actions)
        own = KeyValues(k, v)
        seen = own if past is None else join_past(past, own)
        return self.look(q, seen, actions, window, references), own

    def remember(self, x: Float[Tensor, "b v n d"], actions: Actions) -> KeyValues:
        """The keys and values alone."""
        _, k, v = self.project(x, actions)
        return KeyValues(k, v)

    def look(
        self,
        q: Float[Tensor, "b v n h c"],
        seen: KeyValues,
        actions: Actions,
        window: Window | None,
        references: Tensor,
    ) -> Float[Tensor, "b v n d"]:
        if window is None:
            out = attend_across(q, *seen, references)  # pyright: ignore[reportCallIssue]
        else:
            out = attend_windows(q, *seen, references, window)
        return self.gather(out, actions)


class FeedForward(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gated = config.mlp == "swiglu"
        self.up = nn.Linear(config.width, (2 if self.gated else 1) * config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)
        self.fused = layers.fused_device()

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        up = self.up(x)
        if not self.gated:
            return self.down(F.gelu(up))
        if layers.takes(self.fused, up):
            return self.down(layers.swiglu(up))
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
        self.fused = layers.fused_device()

    def forward(
        self,
        x: Float[Tensor, "b v n d"],
        modulation: Float[Tensor, "b v *nine d"],
        places: Places,
        references: Tensor,
        past: Past | None = None,
        *,
        last: bool = False,
    ) -> tuple[Float[Tensor, "b v n d"], KeyValues]:
        """The tokens after the block, and the keys and values that another call may take as `past`.

        Args:
            modulation: nine shared vectors a view, or one that this block's own layer makes them of.
            references: how many of the views are references, in a CPU tensor (attention.attend_across).
            last: only the keys and values are wanted; the tokens come back half done.
        """
        if self.modulate is not None:
            modulation = apply_alone(self.modulate, modulation).unflatten(-1, (MODULATIONS, -1))
        m = (modulation + self.table).to(x.dtype)  # b v nine d: shift, scale, gate, thrice
        window = places.grid if self.grid else places.local
        if layers.takes(self.fused, x):
            return layers.block(self, x, m, places, window, references, past, last=last)
        m = m[:, :, None].unbind(-2)  # of b v 1 d
        within, across, feed = Modulation(*m[0:3]), Modulation(*m[3:6]), Modulation(*m[6:9])
        x = x + within.gate * self.spatial(within.read(x), places.within)
        if last:
            return x, self.temporal.remember(across.read(x), places.across)
        out, kept = self.temporal(across.read(x), places.across, window, references, past)
        x = x + across.gate * out
        return x + feed.gate * self.mlp(feed.read(x)), kept
