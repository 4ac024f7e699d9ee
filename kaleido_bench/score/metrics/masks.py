"""Masks of target views: which of them a convention looks at, and what is refused before they meet a metric.

A foreground metric (`psnr-fg`, `ssim-fg`) counts the pixels inside the mask and no other. A convention's mask rule says
what the mask does to the metrics of the full image. Both look at the same masks: those that the convention's
`mask_source` admits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kaleido_bench.conventions import FOREGROUND_METRICS, Convention
from kaleido_bench.data.scenes import MaskSource
from kaleido_bench.errors import BenchError


class Mask(NamedTuple):
    """The prepared mask of one view, true inside, and where it comes from."""

    pixels: Bool[np.ndarray, "height width"]
    source: MaskSource


def needs_masks(convention: Convention, metrics: Collection[str]) -> bool:
    """Whether scoring these metrics looks at masks."""
    return convention.uses_masks or not FOREGROUND_METRICS.isdisjoint(metrics)


def admits(convention: Convention, source: MaskSource | None) -> bool:
    """Whether a mask of this source is one for the convention; None is no mask."""
    return source is not None and (convention.mask_source == "any" or source == "file")


def stack_masks(
    masks: Sequence[Mask | None],
    names: Sequence[str],
    size: tuple[int, int],
    convention: Convention,
    metrics: Collection[str],
) -> Bool[np.ndarray, "view height width"] | None:
    """The masks of some views as one array; None where nothing looks at them.

    A view without a mask that the convention admits is all inside where the convention says so.

    Args:
        masks, names: of the views; a name is what an error calls it.
        size: (width, height) of the views.
        convention: with nothing unset.
        metrics: that are to be scored.
    Raises:
        BenchError: a view has no mask, or one without a pixel that would count.
    """
    if not needs_masks(convention, metrics):
        return None
    found = [mask.pixels if mask is not None and admits(convention, mask.source) else None for mask in masks]
    if convention.without_mask == "all-pixels":
        width, height = size
        found = [np.ones((height, width), bool) if pixels is None else pixels for pixels in found]
    reach = count_reach(convention, metrics)
    return np.stack([_check_mask(pixels, name, reach, convention) for pixels, name in zip(found, names, strict=True)])


def _check_mask(
    pixels: Bool[np.ndarray, "height width"] | None, name: str, reach: int, convention: Convention
) -> Bool[np.ndarray, "height width"]:
    if pixels is None:
        raise refuse_missing(name, convention)
    height, width = pixels.shape
    if not pixels[reach : height - reach, reach : width - reach].any():
        inside = int(pixels.sum())
        raise BenchError(
            name,
            f"a mask with {inside} pixels inside" + (f", all within {reach} px of the border" if inside else ""),
            expected="at least one pixel that counts",
            fix="Correct the mask, take the view out of the targets, or score without masks.",
        )
    return pixels


def count_reach(convention: Convention, metrics: Collection[str]) -> int:
    """How far from the border a mask's pixel counts for nothing: what is cut off, and centres of no whole window."""
    window = convention.ssim.window_size // 2 if convention.ssim.border == "valid" else 0
    of_ssim = "ssim-fg" in metrics or ("ssim" in metrics and convention.mask == "inside")
    return convention.crop_border + (window if of_ssim else 0)


def refuse_missing(name: str, convention: Convention) -> BenchError:
    """What is said of a view without a mask where one is needed."""
    kinds = "a mask file" if convention.mask_source == "files" else "a mask file or an alpha channel"
    return BenchError(
        name,
        "no mask",
        expected=f"{kinds}, for the foreground metrics and mask rule of {convention.name}",
        fix="Add the masks to the data set, make the foreground metrics optional, or score with another convention.",
    )


_COLOURS = {"black": (0, 0, 0), "white": (255, 255, 255)}


def fill_outside(
    images: Float[Tensor, "pair 3 height width"], masks: Bool[Tensor, "pair height width"], convention: Convention
) -> Float[Tensor, "pair 3 height width"]:
    """The images with the convention's background outside the mask; black under `zero-both`."""
    background = "black" if convention.mask == "zero-both" else convention.background
    if background == "as-prepared":
        return images
    colour = torch.tensor(_COLOURS[background] if isinstance(background, str) else background).to(images) / 255
    return torch.where(masks.unsqueeze(-3), images, colour[:, None, None])


def find_box(masks: Bool[Tensor, "1 height width"]) -> tuple[slice, slice]:
    """The rows and the columns of the smallest box around a mask, which has a pixel inside."""
    inside = masks.any(dim=0)
    rows, columns = (torch.nonzero(inside.any(dim=dim)).flatten() for dim in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
