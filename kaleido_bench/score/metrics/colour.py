"""Colour correction: the prediction warped towards the colours of the truth before it is scored.

Some code bases print such metrics beside the plain ones (`cc_psnr`, `psnr_cc`): what exposure and white balance a
method could not know is forgiven, and with it some of what it got wrong. The two rules are theirs:

- affine: nerfstudio-project/gsplat@90d7b4b349e3: gsplat/color_correct.py, `color_correct_affine`. For each channel the
  least-squares line truth -> prediction, inverted: (prediction - b) / a.
- quadratic: google-research/multinerf@326ebefbcf2d: internal/image.py, `color_correct`. For each channel the
  least-squares fit of a quadratic polynomial of the prediction's three channels to the truth, five times over; pixels
  that are saturated, in the truth, in the prediction or in the estimate so far, are left out of the fit.

Both fit over all pixels of an image, whatever the mask, and clip what comes out to [0, 1]. Neither is sure to raise a
score: the inverted line amplifies what the truth does not explain, and the polynomial never sees a white background,
which is saturated, but moves it.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ITERATIONS = 5
SATURATION = 0.5 / 255
"""Half an 8-bit step: nearer than this to 0 or 1 is saturated. Both are multinerf's."""

_SMALL = 1e-8
"""gsplat's: the least variance of a truth, and a slope below which nothing is inverted."""


def correct_affine(
    predictions: Float[Tensor, "pair 3 height width"], truths: Float[Tensor, "pair 3 height width"]
) -> Float[Tensor, "pair 3 height width"]:
    """The predictions through the inverse of the line that fits each of their channels to that of the truth."""
    x, y = (_widen(images).flatten(-2) for images in (predictions, truths))
    mean_x, mean_y = x.mean(dim=-1, keepdim=True), y.mean(dim=-1, keepdim=True)
    variance = ((y - mean_y) ** 2).mean(dim=-1, keepdim=True).clamp(min=_SMALL)
    slope = ((x - mean_x) * (y - mean_y)).mean(dim=-1, keepdim=True) / variance
    offset = mean_x - slope * mean_y
    slope = torch.where(slope.abs() < _SMALL, 1.0, slope)
    return ((x - offset) / slope).clamp(0, 1).reshape(predictions.shape).to(predictions)


def correct_quadratic(
    predictions: Float[Tensor, "pair 3 height width"], truths: Float[Tensor, "pair 3 height width"]
) -> Float[Tensor, "pair 3 height width"]:
    """The predictions through the quadratic polynomial of their colours that fits them to the truth best."""
    x, y = (_widen(images).flatten(-2).mT for images in (predictions, truths))
    corrected = torch.stack([_warp(*pair) for pair in zip(x, y, strict=True)])
    return corrected.mT.reshape(predictions.shape).to(predictions)


def _widen(images: Tensor) -> Tensor:
    """float64, in which multinerf fits too. One kind of device (Apple's mps) has none: there the processor fits."""
    return images.to(device="cpu" if images.device.type == "mps" else images.device, dtype=torch.float64)


def _warp(colours: Float[Tensor, "pixel 3"], truth: Float[Tensor, "pixel 3"]) -> Float[Tensor, "pixel 3"]:
    usable = _unsaturated(colours) & _unsaturated(truth)
    for _ in range(ITERATIONS):
        terms = _expand(colours)
        inside = usable & _unsaturated(colours)
        warp = torch.stack([_fit(terms, truth[:, c], inside[:, c]) for c in range(3)], dim=-1)
        colours = (terms @ warp).clamp(0, 1)
    return colours


def _unsaturated(colours: Tensor) -> Bool[Tensor, "pixel 3"]:
    return (colours >= SATURATION) & (colours <= 1 - SATURATION)


def _expand(colours: Float[Tensor, "pixel 3"]) -> Float[Tensor, "pixel 10"]:
    """rr rg rb gg gb bb, r g b, 1."""
    squares = [colours[:, c : c + 1] * colours[:, c:] for c in range(3)]
    return torch.cat([*squares, colours, torch.ones_like(colours[:, :1])], dim=-1)


def _fit(terms: Tensor, values: Tensor, inside: Tensor) -> Float[Tensor, " term"]:
    """Least squares over the pixels inside, of least norm where it is not unique (a flat image).

    The R of a QR of terms and values together holds R of the terms and Q^T values, which is all that is needed.
    """
    together = torch.cat([terms, values[:, None]], dim=-1) * inside[:, None]
    r = cast("Tensor", torch.linalg.qr(together, mode="r")[1])  # pyright: ignore[reportUnknownMemberType]
    inverse = cast("Tensor", torch.linalg.pinv(r[:-1, :-1]))  # pyright: ignore[reportUnknownMemberType]
    return inverse @ r[:-1, -1]
