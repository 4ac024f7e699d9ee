"""One block: attention within each view, attention across views, SwiGLU; each normalised, scaled and gated by the
noise level.

The modulation (AdaIN, as in DiT) is shared: one network makes it from t for all blocks, and each block adds its own
learned table (the form of PixArt; ours, the paper says only AdaIN).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from reference_model.attention import attend_across, attend_within
from reference_model.config import ModelConfig
from reference_model.positions import Actions, Rotations, apply_pose, rotate, widen

MODULATIONS = 9  # shift, scale and gate for each of the three layers of a block


def normalise(x: Tensor) -> Tensor:
    """RMS norm without a weight; in float32 or wider, back in x's type."""
    wide = widen(x)
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class Attention(nn.Module):
    """Projections, QK-norm (before the action: after it the pose block would be normalised away), and the action."""

    def __init__(self, config: ModelConfig, *, across: bool) -> None:
        super().__init__()
        self.heads, self.pose, self.across = config.heads, config.pose_channels if across else 0, across
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.q_gain = nn.Parameter(torch.ones(config.head_channels))
        self.k_gain = nn.Parameter(torch.ones(config.head_channels))

    def act(self, x: Tensor, rotations: Rotations, pose: Tensor | None, sign: int) -> Tensor:
        """Apply the pose matrix to the first channels and turn the others by sign times the token's angle; in float32
        or wider.
        """
        kind, x = x.dtype, widen(x)
        turned = rotate(x[..., self.pose :], rotations.cos, sign * rotations.sin)
        if pose is None:  # within a view the pose block would cancel
            return turned.to(kind)
        return torch.cat([apply_pose(x[..., : self.pose], pose), turned], dim=-1).to(kind)

    def forward(
        self, x: Float[Tensor, "b v n d"], actions: Actions | Rotations, references: Tensor
    ) -> Float[Tensor, "b v n d"]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)  # b v n h c
        q, k = normalise(q) * self.q_gain.to(q.dtype), normalise(k) * self.k_gain.to(k.dtype)
        rotations = Rotations(actions.cos, actions.sin)
        w2c, c2w = (actions.w2c, actions.c2w) if isinstance(actions, Actions) else (None, None)
        q = self.act(q, rotations, None if w2c is None else w2c.mT, -1)
        k = self.act(k, rotations, c2w, -1)
        v = self.act(v, rotations, c2w, -1)
        # torch.compiler.disable loses the signatures of both.
        if self.across:
            out = attend_across(q, k, v, references)  # pyright: ignore[reportCallIssue]
        else:
            out = attend_within(q, k, v)  # pyright: ignore[reportCallIssue]
        return self.out(self.act(out, rotations, w2c, 1).flatten(-2))


class SwiGLU(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, 2 * config.mlp_width, bias=False)
        self.down = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class Block(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.spatial = Attention(config, across=False)
        self.temporal = Attention(config, across=True)
        self.mlp = SwiGLU(config)
        self.table = nn.Parameter(torch.zeros(MODULATIONS, config.width))

    def forward(
        self,
        x: Float[Tensor, "b v n d"],
        modulation: Float[Tensor, "b v 9 d"],
        across: Actions,
        within: Rotations,
        references: Tensor,
    ) -> Float[Tensor, "b v n d"]:
        m = (modulation + self.table).to(x.dtype)[:, :, None].unbind(-2)  # nine of b v 1 d: shift, scale, gate, thrice
        x = x + m[2] * self.spatial(normalise(x) * (1 + m[1]) + m[0], within, references)
        x = x + m[5] * self.temporal(normalise(x) * (1 + m[4]) + m[3], across, references)
        return x + m[8] * self.mlp(normalise(x) * (1 + m[7]) + m[6])
