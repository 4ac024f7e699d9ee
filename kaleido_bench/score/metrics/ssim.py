"""Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004, https://doi.org/10.1109/TIP.2003.819861).

One function with four knobs, in which the implementations of the field differ: window, border, covariance, data range.

What is averaged over the windows is computed by OpenCV on a processor (`ssim_opencv.py`, 4 to 7 times as fast as the
fastest exact package: benchmarks/scoring.py) and by plain torch anywhere else (`ssim_torch.py`), which is also the
oracle of the former.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from kaleido_bench.conventions import SsimRecipe
from kaleido_bench.errors import BenchError
from kaleido_bench.score.metrics import ssim_torch
from kaleido_bench.score.metrics.channels import pair_range, select_channels
from kaleido_bench.score.metrics.precision import widest_float
from kaleido_bench.score.metrics.refusals import require_implemented
from kaleido_bench.score.metrics.ssim_torch import Terms

_PADDING_MODES = {"reflect": "reflect", "zero": "constant"}


class Average(Protocol):
    """The mean SSIM over the valid windows of each pair; `weights` are those of the windows."""

    def __call__(
        self,
        x: Float[Tensor, "pair channel height width"],
        y: Float[Tensor, "pair channel height width"],
        terms: Terms,
        weights: Float[Tensor, "pair 1 windows_down windows_across"] | None = None,
    ) -> Float[Tensor, " pair"]: ...


def score_ssim(
    predictions: Float[Tensor, "*pair 3 height width"],
    truths: Float[Tensor, "*pair 3 height width"],
    recipe: SsimRecipe,
    masks: Bool[Tensor, "*pair height width"] | None = None,
    *,
    average: Average | None = None,
) -> Float[Tensor, " *pair"]:
    """Mean SSIM of each pair, over the channels and the windows that the border rule counts; 1 is identical.

    `clip_variance` needs no code: what rounding takes a variance below zero is 1e-15 in float64 and 1e-7 in float32,
    so that clipping moves nothing.

    Args:
        predictions, truths: values in [0, 1].
        masks: the windows that count are those whose centre is inside, at least one in each; all where it is None.
        average: how; None is the fastest for the device and the recipe.
    Returns:
        float64 wherever the device has it. With the data range `pair`, NaN where both images are flat.
    Raises:
        BenchError: the recipe leaves unset what it takes, or the window does not fit into the image.
    """
    border = check_ssim_recipe(recipe)
    _check_size(predictions.shape[-2:], recipe)
    x, y = (select_channels(images, recipe.channels) for images in (predictions, truths))
    if recipe.data_range == "pair":
        # SSIM(x, y) over a range L is SSIM(x / L, y / L) over 1.
        scale = pair_range(x, y)[..., None, None, None]
        x, y = x / scale, y / scale
    x, y = _pad(x, border, recipe.window_size), _pad(y, border, recipe.window_size)
    weights = None if masks is None else _centres(masks, border, recipe.window_size)
    average = average or _choose_average(x.device, recipe, masked=masks is not None)
    return average(x, y, _build_terms(recipe), weights).reshape(predictions.shape[:-3])


def _choose_average(device: torch.device, recipe: SsimRecipe, *, masked: bool) -> Average:
    # Below a range of 1 the constants of the formula are too small for float32. That of a pair may be any. And over the
    # few pixels of a mask its errors do not average out: 3e-6 on a noisy background that ought to be white.
    small = not isinstance(recipe.data_range, float) or recipe.data_range < 1
    if masked or small or device.type != "cpu":
        return ssim_torch.average_ssim
    # Only here: a machine that scores on a GPU need not have OpenCV.
    from kaleido_bench.score.metrics import ssim_opencv

    return ssim_opencv.average_ssim


def build_window(recipe: SsimRecipe) -> tuple[float, ...]:
    """The window along one axis; it sums to 1."""
    if recipe.sigma is None:
        return (1.0 / recipe.window_size,) * recipe.window_size
    offsets = [place - (recipe.window_size - 1) / 2 for place in range(recipe.window_size)]
    weights = [math.exp(-(offset**2) / (2 * recipe.sigma**2)) for offset in offsets]
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)


def check_ssim_recipe(recipe: SsimRecipe) -> str:
    """Raise BenchError where the recipe leaves unset what `score_ssim` takes; gives the border."""
    if recipe.data_range is None:
        require_implemented("ssim.data_range", recipe.data_range, ("a number", "pair"))
    return require_implemented("ssim.border", recipe.border, ("valid", *_PADDING_MODES))


def _build_terms(recipe: SsimRecipe) -> Terms:
    # The halves in the identities above cancel between numerator and denominator when C1 and C2 are doubled.
    points = recipe.window_size**2
    data_range = recipe.data_range if isinstance(recipe.data_range, float) else 1.0
    return Terms(
        taps=build_window(recipe),
        two_c1=2 * (recipe.k1 * data_range) ** 2,
        two_c2=2 * (recipe.k2 * data_range) ** 2,
        covariance_factor=points / (points - 1) if recipe.covariance == "sample" else 1.0,
    )


def _check_size(size: Sequence[int], recipe: SsimRecipe) -> None:
    # A reflected border needs one pixel more than it is wide.
    smallest = recipe.window_size // 2 + 1 if recipe.border == "reflect" else 1
    smallest = recipe.window_size if recipe.border == "valid" else smallest
    if min(size) < smallest:
        raise BenchError(
            "ssim",
            f"images of {size[1]}x{size[0]} px",
            expected=f"at least {smallest} px a side for a window of {recipe.window_size} with border {recipe.border}",
            fix="Prepare the images larger, or score without SSIM.",
        )


def _pad(images: Tensor, border: str, window_size: int) -> Tensor:
    images = images.reshape(-1, *images.shape[-3:])
    if border == "valid":
        return images
    return F.pad(images, (window_size // 2,) * 4, mode=_PADDING_MODES[border])


def _centres(masks: Tensor, border: str, window_size: int) -> Tensor:
    """1 where the centre of a window that counts is inside, [pair, 1, height, width] of the windows."""
    reach = window_size // 2 if border == "valid" else 0
    height, width = masks.shape[-2:]
    inside = masks.reshape(-1, 1, height, width)[..., reach : height - reach, reach : width - reach]
    return inside.to(widest_float(masks.device))
