"""SSIM against packages that the tests do not install, on photographs and on renders with flat bright backgrounds:
their values, frozen by tests/oracles/freeze_ssim.py.

torchmetrics 1.4.1 is the last one before its border moved (Lightning-AI/torchmetrics#2721).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from kaleido_bench.conventions import SsimRecipe, load_convention
from kaleido_bench.score.metrics import ssim, ssim_torch
from tests.oracles.freeze_ssim import Pair, make_pairs, read_photographs

FROZEN = json.loads((Path(__file__).resolve().parents[2] / "golden" / "ssim_peers.json").read_text())
RECIPE = load_convention("kbench-v1").ssim

EXACT = {
    "torchmetrics 1.4.1 range 1": {"border": "valid"},
    "torchmetrics 1.4.1 range of the pair": {"border": "valid", "data_range": "pair"},
    "kornia 0.9.0 valid": {"border": "valid"},
    "kornia 0.9.0 same": {"border": "reflect"},
}
FLOAT32_WINDOW = {
    "pytorch-msssim 1.0.0 default": {"border": "valid"},
    "piqa 1.3.2 default": {"border": "valid"},
    "piqa 1.3.2 padding": {"border": "zero"},
}


@pytest.fixture(scope="module")
def renders() -> list[Pair]:
    return make_pairs()


@pytest.fixture(scope="module")
def photographs(data_dir: Path) -> list[Pair]:
    return read_photographs(data_dir)


AVERAGES: dict[str, ssim.Average | None] = {"opencv": None, "plain": ssim_torch.average_ssim}


def largest_gap(name: str, pairs: list[Pair], fields: dict[str, object], average: ssim.Average | None) -> float:
    recipe = SsimRecipe.model_validate({**RECIPE.model_dump(), **fields})
    found = [ssim.score_ssim(pair.prediction, pair.truth, recipe, average=average).item() for pair in pairs]
    return max(abs(value - FROZEN[name][pair.name]) for value, pair in zip(found, pairs, strict=True))


def test_every_frozen_peer_is_compared(renders: list[Pair], photographs: list[Pair]) -> None:
    assert set(FROZEN) == {*EXACT, *FLOAT32_WINDOW}
    assert all(set(values) == {pair.name for pair in (*renders, *photographs)} for values in FROZEN.values())


@pytest.mark.parametrize(("way", "bar"), [("opencv", 5e-6), ("plain", 1e-7)])
@pytest.mark.parametrize("name", EXACT)
def test_equals_the_peer(name: str, renders: list[Pair], photographs: list[Pair], way: str, bar: float) -> None:
    assert largest_gap(name, [*renders, *photographs], EXACT[name], AVERAGES[way]) < bar


@pytest.mark.parametrize("way", AVERAGES)
@pytest.mark.parametrize("name", FLOAT32_WINDOW)
def test_is_near_the_peer_that_builds_its_window_in_float32(
    name: str, renders: list[Pair], photographs: list[Pair], way: str
) -> None:
    """Such a window sums to 1 - 3e-8, an error that a bright flat background divides by C2: up to 2e-5 on renders."""
    assert largest_gap(name, photographs, FLOAT32_WINDOW[name], AVERAGES[way]) < 5e-6
    assert 5e-6 < largest_gap(name, renders, FLOAT32_WINDOW[name], AVERAGES[way]) < 2e-5


@pytest.mark.parametrize("name", FLOAT32_WINDOW)
def test_equals_that_peer_given_its_window(
    name: str, renders: list[Pair], photographs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the gap above is theirs, and its window all of it. (OpenCV's way rests on a window that sums to 1.)"""
    monkeypatch.setattr(ssim, "build_window", _build_float32_window)
    assert largest_gap(name, [*renders, *photographs], FLOAT32_WINDOW[name], AVERAGES["plain"]) < 1e-7


def _build_float32_window(recipe: SsimRecipe) -> tuple[float, ...]:
    offsets = torch.arange(recipe.window_size, dtype=torch.float32) - recipe.window_size // 2
    weights = torch.exp(-(offsets**2) / (2 * (recipe.sigma or 1.0) ** 2))
    return tuple((weights / weights.sum()).double().tolist())
