"""Foreground metrics and mask rules: what counts, against numpy and scikit-image; and masks through a whole run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from kaleido_bench.authoring import pin_views
from kaleido_bench.cases import Case, load_index
from kaleido_bench.conventions import Convention, load_convention
from kaleido_bench.data.images import encode_png
from kaleido_bench.data.readers import build_reader
from kaleido_bench.data.scenes import hash_mask
from kaleido_bench.errors import BenchError
from kaleido_bench.protocol import load_protocol
from kaleido_bench.score.metrics.masks import Mask, stack_masks
from kaleido_bench.score.metrics.scorers import Scorers, build_scorers
from kaleido_bench.score.results.records import render_result
from kaleido_bench.score.results.rows import Row
from tests.predict.tiny import HEIGHT, WIDTH, write_data, write_protocol
from tests.score.conftest import Pair
from tests.score.desk import Desk, set_up

V1 = load_convention("kbench-v1")
METRICS = ("psnr", "ssim", "psnr-fg", "ssim-fg")


def change(group: str | None = None, **fields: object) -> Convention:
    if group:
        return V1.model_copy(update={group: getattr(V1, group).model_copy(update=fields)})
    return V1.model_copy(update=fields)


def build(convention: Convention = V1, *metrics: str) -> Scorers:
    return build_scorers(convention, metrics or METRICS, (), "cpu")


def blob(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A ragged mask: a disc with noise at its edge, and a pixel far from it."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - 0.55 * height, x - 0.4 * width) / min(height, width)
    mask = distance + np.random.default_rng(seed).uniform(0, 0.15, distance.shape) < 0.35
    mask[height // 5, width - 20] = True
    return mask


@pytest.fixture(scope="module")
def pairs(real_pairs: list[Pair]) -> list[Pair]:
    """One of each distortion and size, and of every scene one."""
    return real_pairs[::7]


# What is counted


def test_psnr_fg_is_the_psnr_of_the_error_inside(pairs: list[Pair]) -> None:
    for pair in pairs:
        mask = blob(*pair.truth.shape[:2])
        error = (pair.prediction[mask].astype(np.float64) - pair.truth[mask]) / 255
        found = build().score(*pair.tensors(), torch.from_numpy(mask)[None])
        assert found["psnr-fg"].item() == pytest.approx(-10 * np.log10((error**2).mean()), abs=1e-5), pair.name


@pytest.mark.parametrize("sample", [False, True])
def test_ssim_fg_is_the_mean_of_scikit_images_map_inside(pairs: list[Pair], sample: bool) -> None:
    """Its map has the image's size; a window is whole where its centre is 5 px or more from the border."""
    metrics = pytest.importorskip("skimage.metrics")
    convention = change("ssim", covariance="sample" if sample else "biased")
    for pair in pairs:
        mask = blob(*pair.truth.shape[:2])
        _, ssim_map = metrics.structural_similarity(
            *(image.astype(np.float64) / 255 for image in (pair.truth, pair.prediction)),
            **{"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": sample},
            **{"data_range": 1.0, "channel_axis": 2, "full": True},
        )
        whole = np.zeros_like(mask)
        whole[5:-5, 5:-5] = True
        found = build(convention, "ssim-fg").score(*pair.tensors(), torch.from_numpy(mask)[None])
        assert found["ssim-fg"].item() == pytest.approx(ssim_map[mask & whole].mean(), abs=5e-6), pair.name


@pytest.mark.parametrize("border", ["zero", "reflect"])
def test_a_padded_border_counts_every_centre_inside(pairs: list[Pair], border: str) -> None:
    """Two masks that part an image: their means, weighted by their pixels, are the mean of all."""
    scorers = build(change("ssim", border=border), "ssim", "ssim-fg")
    for pair in pairs[:4]:
        mask = torch.from_numpy(blob(*pair.truth.shape[:2]))[None]
        inside, outside = (scorers.score(*pair.tensors(), each) for each in (mask, ~mask))
        share = mask.double().mean()
        mean = share * inside["ssim-fg"] + (1 - share) * outside["ssim-fg"]
        assert mean.item() == pytest.approx(inside["ssim"].item(), abs=1e-6)


def test_a_mask_over_all_of_the_image_changes_nothing(pairs: list[Pair]) -> None:
    for pair in pairs[:4]:
        found = build().score(*pair.tensors(), torch.ones(1, *pair.truth.shape[:2], dtype=torch.bool))
        assert found["psnr-fg"].item() == pytest.approx(found["psnr"].item(), abs=1e-9)
        assert found["ssim-fg"].item() == pytest.approx(found["ssim"].item(), abs=1e-7)


def test_pairs_with_different_masks_do_not_mix(pairs: list[Pair]) -> None:
    same = [pair for pair in pairs if pair.truth.shape == pairs[0].truth.shape][:3]
    x, y = (torch.cat(each) for each in zip(*(pair.tensors() for pair in same), strict=True))
    masks = torch.stack([torch.from_numpy(blob(*x.shape[-2:], seed)) for seed in range(len(x))])
    for convention in (V1, change(mask="bbox-crop"), change(mask="inside"), change(mask="zero-both")):
        together = build(convention).score(x, y, masks)
        alone = [build(convention).score(x[[k]], y[[k]], masks[[k]]) for k in range(len(x))]
        for metric in METRICS:
            expected = [values[metric].item() for values in alone]
            assert together[metric].tolist() == pytest.approx(expected, abs=1e-9), (convention.mask, metric)


def test_a_foreground_metric_without_masks_is_no_metric_of_the_whole_image(pairs: list[Pair]) -> None:
    with pytest.raises(ValueError, match="foreground metric without masks"):
        build().score(*pairs[0].tensors())


# Mask rules


@pytest.fixture
def masked(pairs: list[Pair]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    pair = pairs[1]
    return *pair.tensors(), torch.from_numpy(blob(*pair.truth.shape[:2]))[None]


Masked = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def test_inside_is_the_foreground_metric(masked: Masked) -> None:
    found = build(change(mask="inside")).score(*masked)
    assert found["psnr"] == found["psnr-fg"] and found["ssim"] == found["ssim-fg"]


def test_zero_both_adds_what_it_leaves_out(masked: Masked) -> None:
    """10 log10(1 / coverage) dB, and every window outside is perfect."""
    x, y, mask = masked
    found, plain = build(change(mask="zero-both")).score(*masked), build().score(*masked)
    gain = 10 * np.log10(1 / mask.double().mean().item())
    assert found["psnr"].item() == pytest.approx(plain["psnr-fg"].item() + gain, abs=1e-6)
    assert found["psnr-fg"].item() == pytest.approx(plain["psnr-fg"].item(), abs=1e-9)
    black = build(V1, "psnr", "ssim").score(*(image * mask for image in (x, y)))
    assert found["psnr"] == black["psnr"] and found["ssim"] == black["ssim"] and found["ssim"] > plain["ssim"]


def test_bbox_crop_is_the_metric_of_the_cropped_images(masked: Masked) -> None:
    rows, columns = (np.flatnonzero(masked[2][0].any(dim=dim).numpy()) for dim in (1, 0))
    cut = [image[..., rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] for image in masked]
    assert cut[0].shape[-2:] != masked[0].shape[-2:]
    found, expected = build(change(mask="bbox-crop")).score(*masked), build().score(*cut)
    assert found == expected


@pytest.mark.parametrize(("background", "colour"), [("white", (1, 1, 1)), ((255, 0, 51), (1, 0, 0.2))])
def test_a_background_is_put_behind_both(masked: Masked, background: object, colour: tuple[float, ...]) -> None:
    x, y, mask = masked
    fill = torch.tensor(colour)[None, :, None, None]
    found = build(change(background=background)).score(*masked)
    expected = build().score(torch.where(mask, x, fill), torch.where(mask, y, fill), mask)
    assert found == expected
    assert found["ssim-fg"] != build().score(*masked)["ssim-fg"], "windows at the edge see the background"


def test_a_mask_is_cut_with_its_images(masked: Masked) -> None:
    found = build(change(crop_border=7)).score(*masked)
    assert found == build().score(*(each[..., 7:-7, 7:-7] for each in masked))


def test_there_is_no_lpips_of_the_pixels_inside(weights_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBENCH_WEIGHTS", str(weights_dir))
    with pytest.raises(BenchError, match="mask: 'inside', which this version cannot score"):
        build(change(mask="inside"), "psnr", "lpips-alex")
    assert build(change(mask="zero-both"), "psnr", "lpips-alex").metrics == ("psnr", "lpips-alex")


# Which masks


def stack(masks: list[Mask | None], convention: Convention = V1, metrics: tuple[str, ...] = ("psnr-fg",)):
    names = [f"fox, view {place}" for place in range(len(masks))]
    return stack_masks(masks, names, (30, 20), convention, metrics)


INSIDE = np.zeros((20, 30), bool)
INSIDE[8:12, 10:20] = True


def test_masks_that_nobody_looks_at_are_none() -> None:
    assert stack([None], metrics=("psnr", "ssim", "lpips-alex")) is None


@pytest.mark.parametrize("metrics", [("psnr-fg",), ("psnr", "ssim-fg")])
def test_a_mask_without_a_pixel_inside_names_its_view(metrics: tuple[str, ...]) -> None:
    empty = Mask(np.zeros_like(INSIDE), "file")
    with pytest.raises(BenchError, match="fox, view 1: a mask with 0 pixels inside; expected at least one"):
        stack([Mask(INSIDE, "file"), empty], metrics=metrics)


def test_a_mask_at_the_border_has_no_whole_window() -> None:
    edge = np.zeros_like(INSIDE)
    edge[:5] = True
    stack([Mask(edge, "file")])
    with pytest.raises(BenchError, match="view 0: a mask with 150 pixels inside, all within 5 px of the border"):
        stack([Mask(edge, "file")], metrics=("ssim-fg",))
    assert stack([Mask(edge, "file")], change("ssim", border="zero"), ("ssim-fg",)) is not None
    with pytest.raises(BenchError, match="all within 6 px"):
        stack([Mask(edge, "file")], change(crop_border=6), ("psnr-fg",))


def test_a_view_without_a_mask_is_refused_or_whole() -> None:
    with pytest.raises(BenchError, match="fox, view 0: no mask; expected a mask file or an alpha channel"):
        stack([None])
    files = change(mask="zero-both", mask_source="files")
    with pytest.raises(BenchError, match="no mask; expected a mask file, for"):
        stack([Mask(INSIDE, "alpha")], files, ("psnr",))
    whole = files.model_copy(update={"without_mask": "all-pixels"})
    found = stack([Mask(INSIDE, "alpha"), Mask(INSIDE, "file")], whole, ("psnr",))
    assert found is not None and found[0].all() and np.array_equal(found[1], INSIDE)


# Through a run


def write_masks(folder: Path, views: tuple[str, ...] = ("0004", "0005"), scene: str = "arc") -> None:
    for view in views:
        path = folder / "data/scenes" / scene / "masks" / f"{view}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_png(np.repeat(blob(HEIGHT, WIDTH)[..., None] * np.uint8(255), 3, axis=2)))


OPTIONAL = [("metrics: [psnr, ssim]", "metrics: [psnr, ssim]\noptional_metrics: [psnr-fg, ssim-fg]")]
REQUIRED = [("metrics: [psnr, ssim]", "metrics: [psnr, psnr-fg]")]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A run of a protocol with optional foreground metrics, whose targets have masks."""
    write_data(tmp_path / "data", ("arc", "bow"))
    write_masks(tmp_path), write_masks(tmp_path, scene="bow")
    return set_up(tmp_path, replace=OPTIONAL)


def values(rows: list[Row], metric: str) -> dict[tuple[str, str], float]:
    return {(row.case, row.view): row.value for row in rows if row.metric == metric}


def test_foreground_metrics_stand_beside_those_of_the_full_image(desk: Desk) -> None:
    result = desk.result()
    rows = desk.score().rows
    assert len(values(rows, "psnr-fg")) == len(values(rows, "psnr")) == 8
    assert all(abs(values(rows, "psnr-fg")[key] - value) > 1e-3 for key, value in values(rows, "psnr").items())
    assert [metric.name for metric in result.metrics if metric.status == "scored"] == list(METRICS)
    assert all(metric.higher_is_better for metric in result.metrics) and result.masks_sha256 is not None


def test_one_view_without_a_mask_leaves_an_optional_metric_out(desk: Desk) -> None:
    (desk.data_dir / "scenes/bow/masks/0005.png").unlink()
    scores, result = desk.score(), desk.result()
    assert scores.masks_missing == {"psnr-fg": "bow, view 0005", "ssim-fg": "bow, view 0005"}
    assert not values(scores.rows, "psnr-fg") and len(values(scores.rows, "psnr")) == 8
    assert {metric.name: metric.status for metric in result.metrics} == {
        "psnr": "scored",
        "ssim": "scored",
        "psnr-fg": "no masks",
        "ssim-fg": "no masks",
    }
    assert result.masks_sha256 is None and b"masks_sha256" not in render_result(result)


def test_one_view_without_a_mask_refuses_a_required_metric(tmp_path: Path) -> None:
    write_data(tmp_path / "data", ("arc", "bow"))
    write_masks(tmp_path)
    desk = set_up(tmp_path, replace=REQUIRED)
    with pytest.raises(BenchError, match="bow, view 0004: no mask; expected a mask file or an alpha channel"):
        desk.score()


def test_what_is_scored_follows_the_masks(desk: Desk) -> None:
    before = desk.score()
    assert desk.score().reused == 4
    path = desk.data_dir / "scenes/arc/masks/0004.png"
    path.write_bytes(encode_png(np.repeat(~blob(HEIGHT, WIDTH)[..., None] * np.uint8(255), 3, axis=2)))
    after = desk.score()
    assert (after.scored, after.reused) == (2, 2)
    assert after.masks != before.masks and values(after.rows, "psnr") == values(before.rows, "psnr")
    moved = {
        key for key, value in values(after.rows, "psnr-fg").items() if value != values(before.rows, "psnr-fg")[key]
    }
    assert moved == {("arc-r1", "0004"), ("arc-r3", "0004")}


def test_a_frozen_mask_that_changed_is_refused(tmp_path: Path) -> None:
    write_data(tmp_path / "data", ("arc",))
    write_masks(tmp_path)
    path = tmp_path / "data/scenes/arc/masks/0004.png"
    frozen = hashlib.sha256(path.read_bytes()).hexdigest()
    desk = set_up(tmp_path, scenes=("arc",), mask_sha256={"arc": {"0004": frozen}}, replace=OPTIONAL)
    assert len(desk.score().rows) == 16
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BenchError, match=r"0004\.png: the mask differs from the one the protocol froze"):
        desk.score(deviations=None, convention=change(mask="zero-both", name="zeroed"))
    path.unlink()
    with pytest.raises(BenchError, match=r"0004\.png: no mask file, and the protocol froze one"):
        desk.score(convention=change(crop_border=1, name="cut"))


def test_an_index_without_masks_is_what_it_was_before_there_were_any(tmp_path: Path) -> None:
    plain, masked = (
        write_protocol(tmp_path / f"{name}.yaml", mask_sha256=masks)
        for name, masks in (("plain", None), ("masked", {"arc": {"0004": "0" * 64}}))
    )
    assert b"mask_sha256" not in plain.with_suffix(".json").read_bytes()
    assert "mask_sha256" not in load_protocol(plain).index.canonical()
    loaded = load_protocol(masked)
    assert loaded.index.pin("arc", "0004").mask == "0" * 64
    assert loaded.index.canonical()["mask_sha256"] == {"arc": {"0004": "0" * 64}}
    assert load_index(masked.with_suffix(".json"), loaded.protocol.index.sha256) == loaded.index


def test_freezing_masks_is_asked_for(tmp_path: Path) -> None:
    write_data(tmp_path / "data", ("arc",))
    write_masks(tmp_path)
    scene = build_reader("transforms").load_scene(tmp_path / "data/scenes", "arc")
    case = Case(id="arc-r1", scene="arc", references=("0000",), targets=("0004",))
    assert {view: pin.mask for view, pin in pin_views(scene, [case]).items()} == {"0000": None, "0004": None}
    pins = pin_views(scene, [case], masks=True)
    assert pins["0000"].mask is None and pins["0004"].mask == hash_mask(scene.views["0004"]) is not None
