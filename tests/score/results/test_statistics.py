"""The reduction, against numbers worked out by hand."""

from __future__ import annotations

import math
import random

import pytest

from kaleido_bench.errors import BenchError
from kaleido_bench.score.results.rows import Row
from kaleido_bench.score.results.statistics import (
    ChosenScale,
    Mean,
    PsnrRule,
    Reducing,
    Reduction,
    choose_scales,
    keep_chosen,
    pool_psnr,
    reduce_rows,
    reduce_samples,
)

LABELS = {"a-r1": "1", "a-r3": "3", "b-r1": "1", "b-r3": "3"}


def row(case: str, view: str, value: float, *, leaked: bool = False, **fields: object) -> Row:
    plain = {"references": 1, "sample": 0, "scale": None, "metric": "psnr", "target_is_reference": leaked, **fields}
    return Row(case=case, scene=case[0], view=view, value=value, **plain)  # type: ignore[arg-type]


HOW = Reducing(LABELS, ("1", "3"))


def reduce(rows: list[Row], reduction: Reduction = "view>scene>protocol") -> list[Mean]:
    return reduce_rows(rows, ("psnr", "ssim"), HOW._replace(reduction=reduction)).protocol


ROWS = [row("a-r1", "0", 10), row("a-r1", "1", 20), row("a-r1", "2", 30, leaked=True), row("b-r1", "0", 40)]


def test_views_then_scenes() -> None:
    """Scene a is (10 + 20 + 30) / 3 = 20 and b is 40: the protocol is 30. Without the leaked view a is 15: 27.5."""
    assert reduce(ROWS) == [
        Mean("1", "psnr", "as-published", 30.0, 4, 2),
        Mean("1", "psnr", "strict-novel", 27.5, 3, 2),
    ]


def test_views_alone() -> None:
    assert [mean.mean for mean in reduce(ROWS, "view>protocol")] == [25.0, 70 / 3]


def test_each_reference_count_is_a_column_of_its_own() -> None:
    means = reduce([*ROWS, row("a-r3", "0", 50), row("b-r3", "0", 70)])
    assert [(mean.references, mean.mean) for mean in means if mean.targets == "as-published"] == [("1", 30), ("3", 60)]


def test_samples_count_like_views_and_are_not_views() -> None:
    means = reduce([row("a-r1", "0", 10), row("a-r1", "0", 20, sample=1)])
    assert means[0] == Mean("1", "psnr", "as-published", 15.0, 1, 1)


def test_a_scene_whose_targets_all_leak_leaves_the_strict_mean() -> None:
    means = reduce([row("a-r1", "0", 10, leaked=True), row("b-r1", "0", 40)])
    assert [(mean.mean, mean.scenes) for mean in means] == [(25.0, 2), (40.0, 1)]
    assert [mean.targets for mean in reduce([row("a-r1", "0", 10, leaked=True)])] == ["as-published"]


def test_the_order_of_rows_does_not_reach_the_last_bit() -> None:
    rows = [row("a-r1", str(view), random.Random(view).uniform(0, 50)) for view in range(1000)]
    shuffled = random.Random(0).sample(rows, len(rows))
    assert reduce(rows) == reduce(shuffled)


def test_scene_means() -> None:
    means = reduce_rows(ROWS, ("psnr",), HOW).scenes
    assert [(mean.scene, mean.targets, mean.mean, mean.views) for mean in means] == [
        ("a", "as-published", 20.0, 3),
        ("b", "as-published", 40.0, 1),
        ("a", "strict-novel", 15.0, 2),
        ("b", "strict-novel", 40.0, 1),
    ]


SWEEP = [
    *(row("a-r1", view, value, scale=0.5) for view, value in (("0", 10), ("1", 30))),
    *(row("a-r1", view, value, scale=2.0) for view, value in (("0", 21), ("1", 21))),
    row("a-r1", "0", 0.1, scale=0.5, metric="ssim"),
    *(row("b-r1", "0", 5, scale=scale) for scale in (0.5, 2.0)),
]


def test_the_best_scale_is_a_case_s_best_mean_psnr() -> None:
    """Not each view's best: 30 dB at scale 0.5 does not count. Of equal scales the protocol's first one is taken."""
    chosen = choose_scales(SWEEP, (2.0, 0.5))
    assert chosen == [ChosenScale("a-r1", 0, 2.0), ChosenScale("b-r1", 0, 2.0)]
    assert [kept.value for kept in keep_chosen(SWEEP, chosen)] == [21, 21, 5]


def test_a_sweep_needs_psnr() -> None:
    with pytest.raises(BenchError, match="no PSNR to choose by"):
        choose_scales([row("a-r1", "0", 0.5, scale=1.0, metric="ssim")], (1.0,))


# PSNR beyond one view


def reduce_psnr(rows: list[Row], rule: PsnrRule, reduction: Reduction = "view>scene>protocol") -> list[Mean]:
    means = reduce_rows(rows, ("psnr", "ssim"), HOW._replace(reduction=reduction, psnr=rule))
    return [mean for mean in means.protocol if mean.targets == "as-published"]


def test_pooled_errors_of_40_and_20_decibels() -> None:
    """MSE 1e-4 and 1e-2: their mean is 5.05e-3, which is 22.97 dB; the mean of the decibels is 30."""
    assert pool_psnr([40.0, 20.0]) == pytest.approx(22.967086, abs=1e-6)
    assert pool_psnr([40.0, 20.0]) == pytest.approx(-10 * math.log10(0.00505), abs=1e-12)
    assert pool_psnr([33.3] * 5) == pytest.approx(33.3, abs=1e-12)


def test_a_pool_is_a_scene_and_scenes_are_averaged() -> None:
    rows = [row("a-r1", "0", 40), row("a-r1", "1", 20), row("b-r1", "0", 30)]
    rule = PsnrRule(pooled=True)
    assert reduce_psnr(rows, rule)[0].mean == pytest.approx((pool_psnr([40, 20]) + 30) / 2, abs=1e-12)
    assert reduce_psnr(rows, rule, "view>protocol")[0].mean == pytest.approx(pool_psnr([40, 20, 30]), abs=1e-12)


def test_only_psnr_is_pooled() -> None:
    rows = [row("a-r1", "0", 0.5, metric="ssim"), row("a-r1", "1", 0.7, metric="ssim")]
    assert reduce_psnr(rows, PsnrRule(pooled=True))[0].mean == pytest.approx(0.6, abs=1e-15)


def test_a_perfect_view_in_a_pool_is_an_error_of_zero() -> None:
    rows = [row("a-r1", "0", math.inf), row("a-r1", "1", 20)]
    assert reduce_psnr(rows, PsnrRule(pooled=True))[0].mean == pytest.approx(20 + 10 * math.log10(2), abs=1e-12)
    perfect = [row("a-r1", "0", math.inf), row("b-r1", "0", 20)]
    assert reduce_psnr(perfect, PsnrRule(pooled=True, cap=60))[0].mean == 40
    assert reduce_psnr(perfect, PsnrRule(pooled=True, exclude_infinite=True))[0] == Mean(
        "1", "psnr", "as-published", pytest.approx(20, abs=1e-12), 1, 1
    )


def test_an_infinite_view_is_reported_or_left_out() -> None:
    rows = [row("a-r1", "0", math.inf), row("a-r1", "1", 20), row("b-r1", "0", 40)]
    assert reduce_psnr(rows, PsnrRule())[0].mean == math.inf
    assert reduce_psnr(rows, PsnrRule(exclude_infinite=True)) == [Mean("1", "psnr", "as-published", 30.0, 2, 2)]
    assert reduce_psnr(rows[:1], PsnrRule(exclude_infinite=True)) == []


# Several samples


def reduce_several(
    rows: list[Row], psnr: PsnrRule = PsnrRule()
) -> dict[tuple[str, str], tuple[float, float | None, int]]:
    found = reduce_samples(rows, {"psnr": True, "lpips-alex": False}, HOW._replace(psnr=psnr))
    return {(mean.metric, mean.targets): (mean.best, mean.spread, mean.samples) for mean in found}


def samples(case: str, view: str, *values: float, **fields: object) -> list[Row]:
    return [row(case, view, value, sample=number, **fields) for number, value in enumerate(values)]  # type: ignore[arg-type]


def test_best_of_n_is_chosen_view_by_view_and_the_spread_is_a_view_s_own() -> None:
    """View 0: best 14, deviation sqrt((4 + 0 + 4) / 2) = 2. View 1: 30 and 0. Scene b: 40, deviation sqrt(50)."""
    rows = samples("a-r1", "0", 10, 12, 14) + samples("a-r1", "1", 30, 30, 30)
    other = samples("b-r1", "0", 35, 40, 30)
    found = reduce_several(rows + other)["psnr", "as-published"]
    assert found == pytest.approx(((22 + 40) / 2, (1 + 5) / 2, 3))
    mean = reduce(rows + other)[0].mean
    assert mean == pytest.approx(((12 + 30) / 2 + 35) / 2) and mean < found[0]


def test_the_best_sample_of_one_metric_need_not_be_that_of_another() -> None:
    rows = samples("a-r1", "0", 10, 20) + samples("a-r1", "0", 0.1, 0.4, metric="lpips-alex")
    found = reduce_several(rows)
    assert found["psnr", "as-published"][0] == 20 and found["lpips-alex", "as-published"][0] == 0.1


def test_leaked_targets_leave_the_strict_best_and_spread() -> None:
    rows = samples("a-r1", "0", 10, 20) + samples("a-r1", "1", 50, 60, leaked=True)
    found = reduce_several(rows)
    assert found["psnr", "as-published"][0] == 40 and found["psnr", "strict-novel"][0] == 20


def test_one_sample_has_neither_best_nor_spread() -> None:
    assert reduce_several(ROWS) == {} and reduce_several([]) == {}


def test_a_pooled_best_is_pooled_and_its_spread_is_that_of_views() -> None:
    rows = samples("a-r1", "0", 10, 40) + samples("a-r1", "1", 10, 20)
    best, spread, _ = reduce_several(rows, psnr=PsnrRule(pooled=True))["psnr", "as-published"]
    assert best == pytest.approx(pool_psnr([40, 20])) and best == pytest.approx(22.967, abs=1e-3)
    assert spread == pytest.approx((math.sqrt(450) + math.sqrt(50)) / 2)


def test_a_view_with_an_infinite_sample_has_no_spread() -> None:
    rows = samples("a-r1", "0", 10, math.inf)
    assert reduce_several(rows)["psnr", "as-published"] == (math.inf, None, 2)
    found = reduce_several(rows + samples("a-r1", "1", 10, 20), psnr=PsnrRule(exclude_infinite=True))
    assert found["psnr", "as-published"] == pytest.approx((20, math.sqrt(50), 2))
