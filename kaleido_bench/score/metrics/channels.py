"""The channels that a metric looks at: the colours as they are, or one grey made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from kaleido_bench.score.metrics.precision import widest_float

Channels = Literal["rgb", "gray", "luma"]

# gray: scikit-image's rgb2gray (ITU-R BT.709 primaries, as that library rounds them). luma: the Y of ITU-R BT.601 in
# its studio range [16, 235] / 255, which is what "the Y channel" means in super-resolution (MATLAB's rgb2ycbcr).
_WEIGHTS: Mapping[str, tuple[float, float, float]] = {
    "gray": (0.2125, 0.7154, 0.0721),
    "luma": (65.481 / 255, 128.553 / 255, 24.966 / 255),
}
_OFFSETS: Mapping[str, float] = {"gray": 0.0, "luma": 16 / 255}


def select_channels(
    images: Float[Tensor, "*image 3 height width"], channels: Channels
) -> Float[Tensor, "*image channel height width"]:
    """The images themselves for `rgb`, else their one grey channel, in float64 where the device has it."""
    if channels == "rgb":
        return images
    red, green, blue = _WEIGHTS[channels]
    wide = images.to(widest_float(images.device))
    grey = red * wide[..., 0, :, :] + green * wide[..., 1, :, :] + blue * wide[..., 2, :, :] + _OFFSETS[channels]
    return grey.unsqueeze(-3)


def pair_range(
    predictions: Float[Tensor, "*pair channel height width"], truths: Float[Tensor, "*pair channel height width"]
) -> Float[Tensor, " *pair"]:
    """The data range `pair`: max - min of the prediction or of the truth, whichever is larger.

    It is what torchmetrics takes for the range of SSIM when it is told none.
    """
    ranges = [images.amax(dim=(-3, -2, -1)) - images.amin(dim=(-3, -2, -1)) for images in (predictions, truths)]
    return ranges[0].maximum(ranges[1]).to(widest_float(predictions.device))
