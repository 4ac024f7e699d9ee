"""Image to latent and back. The default is no autoencoder at all: patches of pixels in [-1, 1]."""

from __future__ import annotations

from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def patchify(images: Float[Tensor, "b v 3 height width"], patch: int) -> Float[Tensor, "b v n pixels"]:
    """Images in [0, 1] to tokens in [-1, 1], row by row."""
    tokens = rearrange(images, "b v c (y p) (x q) -> b v (y x) (p q c)", p=patch, q=patch)
    return tokens * 2 - 1


def unpatchify(
    tokens: Float[Tensor, "b v n pixels"], patch: int, height: int, width: int
) -> Float[Tensor, "b v 3 height width"]:
    """The inverse of `patchify`; not clamped."""
    images = rearrange(
        tokens, "b v (y x) (p q c) -> b v c (y p) (x q)", p=patch, q=patch, y=height // patch, x=width // patch
    )
    return (images + 1) / 2
