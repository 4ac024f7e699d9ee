"""The page of metric traps, made small: each trap is there with its sign and its size."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module("metric_traps")


@pytest.fixture(scope="module")
def traps(script: ModuleType, data_dir: Path, weights_dir: Path) -> list:
    scenes = ("fox", "temple_ring")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KBENCH_WEIGHTS", str(weights_dir))
        return script.measure_all(data_dir, size=96, sizes=(64, 128), scenes=scenes)


def find(traps: list, title: str, what: str) -> float:
    trap = next(trap for trap in traps if trap.title.startswith(title))
    return next(each.value for each in trap.findings if each.what.startswith(what))


def test_each_trap_has_its_sign_and_its_size(traps: list) -> None:
    ssim = {
        word: find(traps, "SSIM of one pair", word) for word in ("Gaussian", "uniform 7, sample", "uniform 7, data")
    }
    assert ssim["Gaussian"] < ssim["uniform 7, sample"] < ssim["uniform 7, data"] - 0.05
    borders = [
        find(traps, "SSIM by border", f"{size} px, zero") - find(traps, "SSIM by border", f"{size} px, valid")
        for size in (64, 128)
    ]
    assert borders[0] > borders[1] > 0
    assert find(traps, "PSNR of", "pooled minus mean") < -0.1
    assert find(traps, "PSNR of", "mean over channels minus all channels, smallest") >= 0
    losses = [
        find(traps, "8 bits", f"floor8 minus floats, at {decibels} dB") for decibels in ("31", "46", "50.6", "60")
    ]
    assert losses == pytest.approx([-0.04, -0.85, -2.3, -8.9], abs=0.15)
    assert find(traps, "Masks", "zero-both minus inside") == pytest.approx(12.04, abs=0.01)
    assert find(traps, "A white background", "96 px: full minus inside") > 3
    assert 30 < find(traps, "Resampling", "box: PSNR") < find(traps, "Resampling", "bicubic: PSNR") < 60
    assert find(traps, "JPEG", "quality 75") < find(traps, "JPEG", "quality 95") < 45
    assert math.isinf(find(traps, "One perfect view", "report"))
    assert 0.6 < find(traps, "LPIPS", "wrong over right") < 0.95


def test_zeroing_both_adds_what_the_coverage_says(traps: list) -> None:
    for scene in ("nerf_synthetic_lego", "dtu_scan24", "nerd_gold_cape"):
        gain = find(traps, "Masks", f"{scene}: PSNR, zero-both") - find(traps, "Masks", f"{scene}: PSNR, inside")
        coverage = find(traps, "Masks", f"{scene}: coverage") / 100
        assert gain == pytest.approx(10 * math.log10(1 / coverage), abs=0.1), (
            "the coverages of its views differ a little"
        )


def test_the_page_and_the_json_hold_the_same(traps: list, script: ModuleType) -> None:
    page = script.render_markdown(traps, 96, ("fox",), script.MASKED)
    document = json.loads(json.dumps(script.describe(traps), allow_nan=False))
    for trap in document:
        assert f"## {trap['title']}" in page
        for each in trap["findings"]:
            assert f"| {each['what']} |" in page
    assert "| report: the mean is infinite | inf |" in page


def test_the_committed_page_has_the_tables_that_the_script_makes(traps: list) -> None:
    page = (ROOT / "docs/metric-traps.md").read_text()
    for title in ("SSIM of one pair", "SSIM by border", "PSNR of 18 views", "8 bits", "Masks", "A white background"):
        assert f"## {title}" in page
    assert page.count("\n## ") == len(traps)
