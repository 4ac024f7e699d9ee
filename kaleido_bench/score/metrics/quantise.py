"""What happens to two images before any metric sees them, in this order.

The prediction is rounded to the type it is said to have, clamped, and corrected in colour; it and the truth are brought
to 8 bits; both are filled outside the mask, and cut: their border first, then what lies around the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kaleido_bench.conventions import Convention
from kaleido_bench.errors import BenchError
from kaleido_bench.score.metrics.colour import correct_affine, correct_quadratic
from kaleido_bench.score.metrics.masks import fill_outside, find_box, refuse_missing
from kaleido_bench.score.metrics.refusals import require_implemented


class Images(NamedTuple):
    """Predictions and truths, ready for a metric."""

    predictions: Float[Tensor, "pair 3 height width"]
    truths: Float[Tensor, "pair 3 height width"]
    masks: Bool[Tensor, "pair height width"] | None = None


def prepare_images(
    predictions: Float[Tensor, "pair 3 height width"],
    truths: Float[Tensor, "pair 3 height width"],
    convention: Convention,
    masks: Bool[Tensor, "pair height width"] | None = None,
) -> Images:
    """Both images as the convention's metrics see them; see the head of this file.

    The truth is never clamped: it is an image already. Of images that are 8-bit already (float32 of k / 255, which is
    what a saved prediction is) clamping and 8 bits give back the same values, bit by bit, under every rule.

    Args:
        masks: true inside; None where nothing looks at them. For a `bbox-crop`, that of a single pair.
    Raises:
        BenchError: the convention leaves unset what is needed, cuts off all of the images, or has no mask to go by.
    """
    clamp = require_implemented("clamp", convention.clamp, (True, False))
    rule = _RULES[require_implemented("quantise", convention.quantise, tuple(_RULES))]
    truths = rule(truths) if convention.quantise_of == "both" else truths
    predictions = _TYPES[convention.dtype](predictions)
    predictions = predictions.clamp(0, 1) if clamp else predictions
    predictions = rule(_CORRECTIONS[convention.colour_correction](predictions, truths))
    if convention.uses_masks:
        masks = _require_masks(masks, predictions, convention)
        predictions, truths = (fill_outside(images, masks, convention) for images in (predictions, truths))
    border = convention.crop_border
    cut_masks = None if masks is None else _crop(masks, border)
    images = Images(_crop(predictions, border), _crop(truths, border), cut_masks)
    if convention.mask == "bbox-crop" and cut_masks is not None:
        rows, columns = find_box(cut_masks)
        images = Images(*(each[..., rows, columns] for each in (images.predictions, images.truths, cut_masks)))
    return images


def _require_masks(masks: Tensor | None, images: Tensor, convention: Convention) -> Tensor:
    if masks is None and convention.without_mask == "refuse":
        raise refuse_missing("convention: mask", convention)
    return torch.ones_like(images[:, 0], dtype=torch.bool) if masks is None else masks


def _crop(images: Tensor, border: int) -> Tensor:
    height, width = images.shape[-2:]
    if min(height, width) <= 2 * border:
        raise BenchError(
            "convention: crop_border",
            f"{border} px a side of images of {width}x{height} px",
            expected="something left between them",
            fix="Prepare the images larger, or score with another convention.",
        )
    return images[..., border : height - border, border : width - border] if border else images


def _keep(images: Tensor) -> Tensor:
    return images


# 8 bits hold nothing below 0 or above 255, clamped before or not.
def _round8(images: Tensor) -> Tensor:
    return images.mul(255).round_().clamp_(0, 255).div_(255)


def _floor8(images: Tensor) -> Tensor:
    return images.mul(255).floor_().clamp_(0, 255).div_(255)


def _round_bfloat16(images: Tensor) -> Tensor:
    return images.to(torch.bfloat16).to(images.dtype)


def _keep_colours(predictions: Tensor, truths: Tensor) -> Tensor:
    return predictions


_TYPES: Mapping[str, Callable[[Tensor], Tensor]] = {"float32": _keep, "bfloat16": _round_bfloat16}
_CORRECTIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "none": _keep_colours,
    "affine": correct_affine,
    "quadratic": correct_quadratic,
}
_RULES: Mapping[str, Callable[[Tensor], Tensor]] = {"none": _keep, "round8": _round8, "floor8": _floor8}
