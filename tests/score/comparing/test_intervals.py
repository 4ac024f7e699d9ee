"""The interval over scenes, against scipy, printed tables and simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from kaleido_bench.score.comparing.intervals import build_interval, t_quantile

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 18, 139, 1001])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.9999])
def test_the_quantile_is_that_of_scipy(freedom: int, level: float) -> None:
    assert t_quantile(level, freedom) == pytest.approx(stats.t.ppf(0.5 + level / 2, freedom), rel=1e-10)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (2, 4.303), (5, 2.571), (10, 2.228), (120, 1.980)])
def test_the_quantile_is_that_of_every_textbook(freedom: int, quantile: float) -> None:
    assert round(t_quantile(0.95, freedom), 3) == quantile


@pytest.mark.parametrize("count", [2, 3, 8, 40])
def test_the_interval_is_that_of_scipy(count: int) -> None:
    values = np.random.default_rng(count).normal(0.3, 1.7, count).tolist()
    found = build_interval(math.fsum(values) / count, values, 0.9)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    assert found is not None
    assert found[:2] == pytest.approx((expected.low, expected.high), rel=1e-10)
    assert (found.error, found.freedom) == (pytest.approx(stats.sem(values)), count - 1)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.inf], [1.0, math.nan, 2.0]])
def test_there_is_none_of_one_scene_or_of_an_infinite_one(values: list[float]) -> None:
    assert build_interval(1.0, values, 0.95) is None


def test_there_is_none_of_an_infinite_mean() -> None:
    assert build_interval(math.inf, [1.0, 2.0], 0.95) is None


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_is_a_share(level: float) -> None:
    with pytest.raises(ValueError, match=r"such as 0\.95"):
        build_interval(0.0, [1.0, 2.0], level)


def cover(draw: Draw, truth: float, scenes: int, level: float = 0.95, draws: int = 4000) -> float:
    """The share of intervals over so many scenes that hold the truth."""
    values = draw(np.random.default_rng(scenes), (draws, scenes)).tolist()
    found = [build_interval(math.fsum(each) / scenes, each, level) for each in values]
    return sum(each is not None and each.lower <= truth <= each.upper for each in found) / draws


def draw_normal(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.normal(0.5, 2.0, shape)


def draw_exponential(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.exponential(1.0, shape)


@pytest.mark.parametrize(("scenes", "level"), [(2, 0.95), (3, 0.95), (6, 0.95), (20, 0.95), (6, 0.8)])
def test_as_many_intervals_hold_the_truth_as_their_level_says(scenes: int, level: float) -> None:
    """Within 3 standard errors of a share that 4000 draws estimate."""
    assert cover(draw_normal, 0.5, scenes, level) == pytest.approx(level, abs=3 * math.sqrt(level * (1 - level) / 4000))


def test_of_skewed_scenes_nearly_nine_in_ten_do() -> None:
    """What the head of intervals.py says of 6 exponential differences."""
    assert cover(draw_exponential, 1.0, 6) == pytest.approx(0.887, abs=0.015)


@pytest.mark.parametrize(("scenes", "share"), [(2, 0.5), (3, 0.75)])
def test_the_percentile_bootstrap_would_not_do(scenes: int, share: float) -> None:
    """Why it is not used: of 2 scenes it holds the truth half of the time, of 3 three times of four."""
    rng = np.random.default_rng(0)
    values = rng.normal(0.5, 2.0, (1000, scenes))
    picks = rng.integers(0, scenes, (1000, 400, scenes))
    means = np.take_along_axis(values[:, None, :].repeat(400, 1), picks, axis=2).mean(axis=2)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    assert np.mean((low <= 0.5) & (high >= 0.5)) == pytest.approx(share, abs=0.06)
