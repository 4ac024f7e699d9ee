"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kaleido_bench.conventions import PsnrRecipe
from kaleido_bench.score.metrics.channels import pair_range, select_channels
from kaleido_bench.score.metrics.precision import widest_float
from kaleido_bench.score.metrics.refusals import require_implemented


def score_psnr(
    predictions: Float[Tensor, "*pair 3 height width"],
    truths: Float[Tensor, "*pair 3 height width"],
    recipe: PsnrRecipe,
    masks: Bool[Tensor, "*pair height width"] | None = None,
) -> Float[Tensor, " *pair"]:
    """PSNR of each pair in dB, 10 log10(range^2 / MSE). Infinite where the two images are identical.

    Per channel it is infinite where one channel is identical in both.

    Args:
        predictions, truths: values in [0, 1].
        masks: the pixels that the mean squared error is over, at least one in each; all where it is None. The range of
            a pair is that of the whole images all the same.
    Returns:
        float64 wherever the device has it. Infinities are left to the convention's own policy.
    Raises:
        BenchError: the recipe asks for something that is not implemented.
    """
    aggregate = _AGGREGATIONS[check_psnr_recipe(recipe)]
    dtype = widest_float(predictions.device)
    x, y = (select_channels(images, recipe.channels).to(dtype) for images in (predictions, truths))
    peak = 20.0 * (math.log10(recipe.data_range) if recipe.data_range != "pair" else torch.log10(pair_range(x, y)))
    return aggregate(_mean_inside((x - y).square_(), masks)) + peak


def _mean_inside(
    errors: Float[Tensor, "*pair channel height width"], masks: Bool[Tensor, "*pair height width"] | None
) -> Float[Tensor, "*pair channel"]:
    if masks is None:
        return errors.mean(dim=(-2, -1))
    inside = masks.unsqueeze(-3).to(errors.dtype)
    return errors.mul_(inside).sum(dim=(-2, -1)) / inside.sum(dim=(-2, -1))


def _per_image(channel_errors: Float[Tensor, "*pair channel"]) -> Float[Tensor, " *pair"]:
    return -10.0 * torch.log10(channel_errors.mean(dim=-1))


def _per_channel(channel_errors: Float[Tensor, "*pair channel"]) -> Float[Tensor, " *pair"]:
    return -10.0 * torch.log10(channel_errors).mean(dim=-1)


# A view of a pool has its own PSNR like any other; the pooling is in the reduction (statistics.py).
_AGGREGATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "per-image": _per_image,
    "per-channel": _per_channel,
    "pooled": _per_image,
}


def check_psnr_recipe(recipe: PsnrRecipe) -> str:
    """Raise BenchError where the recipe asks for something that `score_psnr` cannot do; gives the aggregation."""
    return require_implemented("psnr.aggregation", recipe.aggregation, tuple(_AGGREGATIONS))
