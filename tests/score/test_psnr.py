"""PSNR against scikit-image and torchmetrics on real photographs, and what must hold of it by definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kaleido_bench.conventions import Convention, load_convention
from kaleido_bench.errors import BenchError
from kaleido_bench.score.oracles import import_repaired
from kaleido_bench.score.psnr import score_psnr

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


@pytest.mark.parametrize(
    ("field", "value"),
    [("aggregation", "pooled"), ("aggregation", "per-channel"), ("channels", "luma"), ("data_range", "pair")],
)
def test_refuses_what_it_cannot_do(convention: Convention, field: str, value: str) -> None:
    recipe = convention.psnr.model_copy(update={field: value})
    with pytest.raises(BenchError, match=f"psnr.{field}.*{value}"):
        score_psnr(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), recipe)
