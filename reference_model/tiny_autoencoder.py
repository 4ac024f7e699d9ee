"""TAEF2, the tiny autoencoder of FLUX.2's latents: 1.3 M parameters each way, 32 channels at 1/8 of the size.

Architecture and weights: madebyollin/taesd (MIT), `taesd.py`, Encoder and Decoder with `use_midblock_gn`. Written out
here because the autoencoder of the same family in diffusers has no such middle blocks.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

WIDTH, LATENT, FACTOR = 64, 32, 8


def convolve(inside: int, outside: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=bias)


class ResidualBlock(nn.Module):
    """Three convolutions beside a shortcut. A `pooled` block first adds a branch that normalises over the image."""

    def __init__(self, *, pooled: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            convolve(WIDTH, WIDTH), nn.ReLU(), convolve(WIDTH, WIDTH), nn.ReLU(), convolve(WIDTH, WIDTH)
        )
        wide = 4 * WIDTH
        self.pool = (
            nn.Sequential(
                nn.Conv2d(WIDTH, wide, 1, bias=False),
                nn.GroupNorm(4, wide),
                nn.ReLU(),
                nn.Conv2d(wide, WIDTH, 1, bias=False),
            )
            if pooled
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


class Clamp(nn.Module):
    """A soft bound on latents of another make."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


def build_encoder() -> nn.Sequential:
    """Images [*, 3, h, w] in [0, 1] to latents [*, 32, h/8, w/8]."""
    layers: list[nn.Module] = [convolve(3, WIDTH), ResidualBlock()]
    for pooled in (False, False, True):
        layers.append(convolve(WIDTH, WIDTH, stride=2, bias=False))
        layers += [ResidualBlock(pooled=pooled) for _ in range(3)]
    return nn.Sequential(*layers, convolve(WIDTH, LATENT))


def build_decoder() -> nn.Sequential:
    """Latents to images, not clamped."""
    layers: list[nn.Module] = [Clamp(), convolve(LATENT, WIDTH), nn.ReLU()]
    for pooled in (True, False, False):
        layers += [ResidualBlock(pooled=pooled) for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), convolve(WIDTH, WIDTH, bias=False)]
    return nn.Sequential(*layers, ResidualBlock(), convolve(WIDTH, 3))


class TinyAutoencoder(nn.Module):
    """Weights are random until they are loaded: `codecs.load_taef2`."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = build_encoder(), build_decoder()

    def encode(self, images: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image 32 height/8 width/8"]:
        return self.encoder(images)

    def decode(self, latents: Float[Tensor, "image 32 height/8 width/8"]) -> Float[Tensor, "image 3 height width"]:
        return self.decoder(latents)
