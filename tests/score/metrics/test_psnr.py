"""PSNR against scikit-image and torchmetrics on real photographs, and what must hold of it by definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kaleido_bench.conventions import PsnrRecipe, load_convention
from kaleido_bench.errors import BenchError
from kaleido_bench.score.metrics.oracles import import_repaired
from kaleido_bench.score.metrics.psnr import score_psnr
from kaleido_bench.score.results.statistics import pool_psnr

RECIPE = load_convention("kbench-v1").psnr


def test_equals_scikit_image(real_pairs) -> None:
    """On the 8-bit images themselves, which scikit-image subtracts in float64."""
    metrics = pytest.importorskip("skimage.metrics")
    for pair in real_pairs:
        ours = score_psnr(*pair.tensors(), RECIPE).item()
        theirs = metrics.peak_signal_noise_ratio(pair.truth, pair.prediction, data_range=255)
        assert ours == pytest.approx(theirs, abs=2e-6), pair.name


def test_equals_torchmetrics(real_pairs) -> None:
    """torchmetrics, called per image with data_range 1.0; its stateful class would pool the errors of all images."""
    functional = import_repaired("torchmetrics.functional.image")
    for pair in real_pairs:
        prediction, truth = pair.tensors()
        theirs = functional.peak_signal_noise_ratio(prediction, truth, data_range=1.0).item()
        assert score_psnr(prediction, truth, RECIPE).item() == pytest.approx(theirs, abs=2e-5), pair.name


@given(error=st.floats(1e-4, 1.0), level=st.floats(0.0, 1.0))
def test_of_a_constant_error_is_its_level_in_decibels(error: float, level: float) -> None:
    truth = torch.full((2, 3, 5, 7), level, dtype=torch.float64)
    expected = -20 * math.log10(error)
    assert score_psnr(truth + error, truth, RECIPE).tolist() == pytest.approx([expected, expected], abs=1e-6)


def test_of_identical_images_is_infinite() -> None:
    image = torch.rand(1, 3, 8, 8)
    assert score_psnr(image, image, RECIPE).item() == math.inf


def test_takes_any_leading_dimensions() -> None:
    truth, prediction = torch.rand(2, 4, 3, 9, 6), torch.rand(2, 4, 3, 9, 6)
    together = score_psnr(prediction, truth, RECIPE)
    assert together.shape == (2, 4)
    assert together[1, 2].item() == score_psnr(prediction[1, 2], truth[1, 2], RECIPE).item()


def change(**fields: object) -> PsnrRecipe:
    return PsnrRecipe.model_validate({**RECIPE.model_dump(), **fields})


def as_floats(pair) -> tuple[np.ndarray, np.ndarray]:
    return pair.prediction / 255, pair.truth / 255


def test_per_channel_is_scikit_images_mean_over_the_channels(real_pairs) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    gaps: list[float] = []
    for pair in real_pairs:
        prediction, truth = as_floats(pair)
        channels = [
            metrics.peak_signal_noise_ratio(truth[..., c], prediction[..., c], data_range=1.0) for c in range(3)
        ]
        found = score_psnr(*pair.tensors(), change(aggregation="per-channel")).item()
        assert found == pytest.approx(np.mean(channels), abs=5e-6), pair.name
        gaps.append(found - score_psnr(*pair.tensors(), RECIPE).item())
    # By Jensen's inequality it is never below the PSNR of all channels.
    assert min(gaps) >= -1e-9
    assert max(gaps) > 0.05


@pytest.mark.parametrize("channels", ["gray", "luma"])
def test_of_a_grey_image_is_scikit_images(real_pairs, channels: str) -> None:
    metrics, color = pytest.importorskip("skimage.metrics"), pytest.importorskip("skimage.color")
    convert = color.rgb2gray if channels == "gray" else lambda image: color.rgb2ycbcr(image)[..., 0] / 255
    for pair in real_pairs:
        prediction, truth = map(convert, as_floats(pair))
        expected = metrics.peak_signal_noise_ratio(truth, prediction, data_range=1.0)
        found = score_psnr(*pair.tensors(), change(channels=channels)).item()
        assert found == pytest.approx(expected, abs=5e-6), pair.name


def test_the_range_of_a_pair_is_the_larger_of_the_two(real_pairs) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    together = [pair for pair in real_pairs if pair.truth.shape == (128, 128, 3)]
    x, y = (torch.cat(images) for images in zip(*(pair.tensors() for pair in together), strict=True))
    found = score_psnr(x * 0.5, y, change(data_range="pair"))
    for pair, value in zip(together, found.tolist(), strict=True):
        prediction, truth = as_floats(pair)
        expected = metrics.peak_signal_noise_ratio(
            truth, prediction * 0.5, data_range=max(np.ptp(prediction * 0.5), np.ptp(truth))
        )
        assert value == pytest.approx(expected, abs=5e-6), pair.name


def test_pooled_is_torchmetrics_stateful_class(real_pairs) -> None:
    """Its `compute()` pools the errors of everything it was shown; each call alone gives the PSNR of that image."""
    stateful = import_repaired("torchmetrics.image").PeakSignalNoiseRatio(data_range=1.0)
    views = [pair.tensors() for pair in real_pairs if pair.truth.shape == (256, 256, 3)]
    for prediction, truth in views:
        stateful.update(prediction.double(), truth.double())
    values = [score_psnr(*view, change(aggregation="pooled")).item() for view in views]
    assert values == [score_psnr(*view, RECIPE).item() for view in views]
    assert pool_psnr(values) == pytest.approx(stateful.compute().item(), abs=5e-6)
    assert pool_psnr(values) < np.mean(values) - 0.5


def test_an_unset_aggregation_is_refused() -> None:
    with pytest.raises(BenchError, match=r"psnr.aggregation: None.*'per-image' or 'per-channel' or 'pooled'"):
        score_psnr(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), change(aggregation=None))
