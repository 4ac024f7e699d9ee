"""SSIM against scikit-image and torchmetrics on real photographs, knob by knob, and what holds by definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kaleido_bench.conventions import SsimRecipe, load_convention
from kaleido_bench.errors import BenchError
from kaleido_bench.score.oracles import import_repaired
from kaleido_bench.score.ssim import build_window, score_ssim

RECIPE = load_convention("kbench-v1").ssim

# scikit-image's mean leaves out (window - 1) // 2 pixels at each border, where its filter reflects: that is "valid".
SKIMAGE = {
    "gaussian 11/1.5, biased": (
        {},
        {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    ),
    "gaussian 11/1.5, sample covariance": (
        {"covariance": "sample"},
        {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": True},
    ),
    "uniform 7, sample covariance": (
        {"window": "uniform", "window_size": 7, "sigma": None, "covariance": "sample"},
        {},
    ),
    "uniform 7, sample covariance, data range 2": (
        {"window": "uniform", "window_size": 7, "sigma": None, "covariance": "sample", "data_range": 2.0},
        {"data_range": 2.0},
    ),
}


def change(recipe: SsimRecipe, **fields: object) -> SsimRecipe:
    return SsimRecipe.model_validate({**recipe.model_dump(), **fields})


@pytest.mark.parametrize("name", SKIMAGE)
def test_equals_scikit_image(real_pairs, name: str) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    ours, theirs = SKIMAGE[name]
    for pair in real_pairs:
        prediction, truth = (image.astype(np.float64) / 255 for image in (pair.prediction, pair.truth))
        expected = metrics.structural_similarity(truth, prediction, **{"channel_axis": -1, "data_range": 1.0, **theirs})
        found = score_ssim(*pair.tensors(), change(RECIPE, **ours)).item()
        assert found == pytest.approx(expected, abs=1e-7), pair.name


def test_valid_mean_is_the_full_map_cropped_by_five(real_pairs) -> None:
    """The same against scikit-image's map, cropped here, so that nothing rests on how it takes its own mean."""
    metrics = pytest.importorskip("skimage.metrics")
    for pair in real_pairs[::4]:
        prediction, truth = (image.astype(np.float64) / 255 for image in (pair.prediction, pair.truth))
        _, full = metrics.structural_similarity(
            truth,
            prediction,
            channel_axis=-1,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        expected = full[5:-5, 5:-5].mean()
        assert score_ssim(*pair.tensors(), RECIPE).item() == pytest.approx(expected, abs=1e-7), pair.name


def test_reflected_border_equals_torchmetrics(real_pairs) -> None:
    """torchmetrics since 1.4.2 keeps the reflected border in its mean. It is fed float64: its float32 is up to 1.1e-5
    away from its own float64 on these pairs."""
    functional = import_repaired("torchmetrics.functional.image")
    recipe = change(RECIPE, border="reflect")
    for pair in real_pairs[::4]:
        prediction, truth = (image.double() for image in pair.tensors())
        theirs = functional.structural_similarity_index_measure(
            prediction, truth, gaussian_kernel=True, sigma=1.5, kernel_size=11, data_range=1.0, k1=0.01, k2=0.03
        )
        assert score_ssim(prediction, truth, recipe).item() == pytest.approx(theirs.item(), abs=1e-7), pair.name


def test_zero_border_equals_the_definition_by_convolution() -> None:
    """As 3DGS has it: five maps, each convolved with a two-dimensional window over an image padded with zeros."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 1, 3, 20, 17, dtype=torch.float64, generator=generator)
    line = torch.tensor(build_window(RECIPE), dtype=torch.float64)
    window = (line[:, None] * line[None, :]).expand(3, 1, 11, 11)

    def blur(image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(image, window, padding=5, groups=3)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, cov = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + 1e-4) * (2 * cov + 9e-4)
    expected = (numerator / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4))).mean()
    assert score_ssim(x, y, change(RECIPE, border="zero")).item() == pytest.approx(expected.item(), abs=1e-12)


def test_of_identical_images_is_exactly_one(real_pairs) -> None:
    for pair in real_pairs[::5]:
        truth = pair.tensors()[1]
        assert score_ssim(truth, truth, RECIPE).item() == pytest.approx(1.0, abs=1e-15)


def test_of_two_constant_images_is_the_luminance_term() -> None:
    """Without variance, SSIM is (2ab + C1) / (a^2 + b^2 + C1). On bright flat images float32 loses the variance."""
    a, b = 0.95, 0.9
    x, y = torch.full((1, 3, 40, 33), a, dtype=torch.float64), torch.full((1, 3, 40, 33), b, dtype=torch.float64)
    assert score_ssim(x, y, RECIPE).item() == pytest.approx((2 * a * b + 1e-4) / (a * a + b * b + 1e-4), abs=1e-12)


def test_falls_with_every_pixel_of_shift(real_pairs) -> None:
    truth = real_pairs[0].tensors()[1]
    values = [score_ssim(truth.roll(shift, dims=-1), truth, RECIPE).item() for shift in range(5)]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[4] > 0.05


def test_is_symmetric_and_does_not_depend_on_the_batch(real_pairs) -> None:
    """Several images at once, in blocks and strips, give the bytes of one image alone."""
    square = [pair.tensors() for pair in real_pairs if pair.truth.shape[:2] == (128, 128)]
    x, y = torch.cat([pair[0] for pair in square]), torch.cat([pair[1] for pair in square])
    alone = [score_ssim(*pair, RECIPE).item() for pair in square]
    assert score_ssim(x, y, RECIPE).tolist() == alone
    assert score_ssim(y, x, RECIPE).tolist() == pytest.approx(alone, abs=1e-14)
    assert score_ssim(x[None], y[None], RECIPE).shape == (1, len(square))


def test_strips_do_not_change_the_value() -> None:
    """An image of many strips equals the mean over its windows, counted in two halves that share no strip border."""
    x, y = torch.rand(2, 1, 3, 700, 90, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows = 333
    top = score_ssim(x[..., : rows + 10, :], y[..., : rows + 10, :], RECIPE).item()
    bottom = score_ssim(x[..., rows:, :], y[..., rows:, :], RECIPE).item()
    expected = (top * rows + bottom * (690 - rows)) / 690
    assert score_ssim(x, y, RECIPE).item() == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize(("border", "size"), [("valid", (10, 64)), ("reflect", (64, 5))])
def test_refuses_images_smaller_than_the_window(border: str, size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size)
    with pytest.raises(BenchError, match=rf"ssim: images of {size[1]}x{size[0]} px; expected at least"):
        score_ssim(image, image, change(RECIPE, border=border))


@pytest.mark.parametrize("channels", ["gray", "luma"])
def test_of_a_grey_image_equals_scikit_image(real_pairs, channels: str) -> None:
    metrics, color = pytest.importorskip("skimage.metrics"), pytest.importorskip("skimage.color")
    convert = color.rgb2gray if channels == "gray" else lambda image: color.rgb2ycbcr(image)[..., 0] / 255
    for pair in real_pairs[::2]:
        prediction, truth = (convert(image.astype(np.float64) / 255) for image in (pair.prediction, pair.truth))
        expected = metrics.structural_similarity(
            truth, prediction, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        found = score_ssim(*pair.tensors(), change(RECIPE, channels=channels)).item()
        assert found == pytest.approx(expected, abs=5e-6), pair.name


def test_the_range_of_a_pair_equals_torchmetrics_without_one(real_pairs) -> None:
    """torchmetrics with data_range=None takes the range of what it is given, here one pair at a time; ours at once."""
    functional = import_repaired("torchmetrics.functional.image")
    together = [pair.tensors() for pair in real_pairs if pair.truth.shape == (128, 128, 3)]
    x, y = (torch.cat(images).double() * 0.6 + 0.1 for images in zip(*together, strict=True))
    found = score_ssim(x, y, change(RECIPE, border="reflect", data_range="pair"))
    theirs = [
        functional.structural_similarity_index_measure(a[None], b[None]).item() for a, b in zip(x, y, strict=True)
    ]
    assert found.tolist() == pytest.approx(theirs, abs=5e-6)
    fixed = score_ssim(x, y, change(RECIPE, border="reflect"))
    # A smaller range takes smaller constants, which forgive less.
    assert (found < fixed).all()


def test_scaling_both_images_and_the_range_changes_nothing(real_pairs) -> None:
    x, y = (image.double() for image in real_pairs[1].tensors())
    whole = score_ssim(x, y, RECIPE).item()
    assert score_ssim(x * 255, y * 255, change(RECIPE, data_range=255.0)).item() == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize(("field", "expected"), [("border", "'valid' or"), ("data_range", "'a number' or 'pair'")])
def test_what_is_unset_is_refused(field: str, expected: str) -> None:
    image = torch.zeros(1, 3, 16, 16)
    with pytest.raises(BenchError, match=rf"ssim.{field}: None.*{expected}"):
        score_ssim(image, image, change(RECIPE, **{field: None}))
