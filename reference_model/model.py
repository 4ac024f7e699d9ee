"""Kaleido: clean reference tokens and noised target tokens in one sequence, the clean targets out.

The network predicts the clean image (x-prediction: it works on raw pixel patches, where noise and velocity do not,
arXiv 2511.13720); `flow.py` turns that into a velocity. One noise level per scene, shared by its targets; references
are always at t = 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reference_model.blocks import MODULATIONS, Block, normalise
from reference_model.config import ModelConfig
from reference_model.positions import build_actions, build_rotations, camera_rays, widen


class Views(NamedTuple):
    """Cameras of a batch, references first. K in pixels of the images' size; c2w normalised
    (positions.normalise_poses).
    """

    c2w: Float[Tensor, "b v 4 4"]
    intrinsics: Float[Tensor, "b v 3 3"]
    references: int
    height: int
    width: int


class TimeEmbedding(nn.Module):
    """t in [0, 1] to the shared modulation."""

    def __init__(self, width: int, frequencies: int = 64) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.net = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, MODULATIONS * width))

    def forward(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 9 d"]:
        speeds = torch.exp(torch.linspace(0.0, math.log(1000.0), self.frequencies, device=t.device))
        angles = t[..., None].to(next(self.net.parameters()).dtype) * speeds
        return self.net(torch.cat([angles.cos(), angles.sin()], -1)).unflatten(-1, (MODULATIONS, -1))


class Kaleido(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        pixels = 3 * config.patch**2
        self.embed = nn.Linear(pixels + 4 + 1, config.width)  # the patch, its rays, and whether it is a target
        self.time = TimeEmbedding(config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.head = nn.Linear(config.width, pixels)
        self.initialise()

    def initialise(self) -> None:
        """Truncated normal weights; every gate starts at zero, so that each block starts as the identity."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        last = self.time.net[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(self.head.weight)

    def forward(
        self, tokens: Float[Tensor, "b v n pixels"], t: Float[Tensor, " b"], views: Views
    ) -> Float[Tensor, "b target n pixels"]:
        """Predict the clean tokens of the target views.

        Args:
            tokens: pixel patches in [-1, 1]; reference views first and clean, then target views at noise level t.
            t: one noise level per scene, 0 data, 1 noise.
            views: the cameras.
        """
        config, (b, v, n, _) = self.config, tokens.shape
        rows, columns = views.height // config.patch, views.width // config.patch
        across = build_actions(views.c2w, rows, columns, config.head_channels - config.pose_channels)
        within = build_rotations(rows, columns, config.head_channels, across.c2w)  # no pose: all carry position
        rays = camera_rays(widen(views.intrinsics), views.height, views.width, config.patch)
        is_target = (torch.arange(v, device=tokens.device) >= views.references).float()
        role = is_target[None, :, None, None].expand(b, v, n, 1)
        x = self.embed(torch.cat([tokens, rays.to(tokens.dtype), role.to(tokens.dtype)], -1))
        modulation = self.time(widen(t)[:, None] * is_target)  # b v 9 d: references stay at t = 0
        references = torch.tensor(views.references)  # see attention.attend_across
        for block in self.blocks:
            x = block(x, modulation, across, within, references)
        return self.head(normalise(x[:, views.references :]))


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def forward_flops(config: ModelConfig, references: int, targets: int, tokens_per_view: int) -> int:
    """Exact multiply-add FLOPs (2 each) of the matrix products and attentions of one scene's forward pass; training
    is 3 times this.
    """
    d, n, views = config.width, tokens_per_view, references + targets
    pixels = 3 * config.patch**2
    linear = 2 * (8 * d * d + 3 * d * config.mlp_width) * views * n
    within = 4 * d * n * n * views
    across = 4 * d * (references * n) ** 2 + 4 * d * (targets * n) * (views * n)
    ends = 2 * d * ((pixels + 5) * views + pixels * targets) * n
    time = 2 * views * (128 * d + MODULATIONS * d * d)
    poses = 18 * views  # their inversion
    return config.depth * (linear + within + across) + ends + time + poses
