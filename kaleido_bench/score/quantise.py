"""What happens to two images before any metric sees them: clamping, bringing them to 8 bits, cutting their border."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

from kaleido_bench.conventions import Convention
from kaleido_bench.errors import BenchError
from kaleido_bench.score.refusals import require_implemented


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
    """Clamp the predictions and bring them, and the truths where the convention says so, to 8 bits. Then cut
    the border off both, and off the masks.

    The truth is never clamped: it is an image already. Of images that are 8-bit already (float32 of k / 255, which is
    what a saved prediction is) this gives back the same values, bit by bit, under every rule.

    Raises:
        BenchError: the convention asks for something that is not implemented, or cuts off all of the images.
    """
    clamp = require_implemented("clamp", convention.clamp, (True, False))
    rule = _RULES[require_implemented("quantise", convention.quantise, tuple(_RULES))]
    predictions = rule(predictions.clamp(0, 1) if clamp else predictions)
    truths = rule(truths) if convention.quantise_of == "both" else truths
    border = convention.crop_border
    cut_masks = None if masks is None else _crop(masks, border)
    return Images(_crop(predictions, border), _crop(truths, border), cut_masks)


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


_RULES: Mapping[str, Callable[[Tensor], Tensor]] = {"none": _keep, "round8": _round8, "floor8": _floor8}
