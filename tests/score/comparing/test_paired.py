"""Paired differences: against scipy, against leaving a scene out by hand, and against what must not move them."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import stats

from kaleido_bench.errors import BenchError
from kaleido_bench.score.comparing.paired import PairedMean, compare_means, compare_rows, list_views, pair_rows
from kaleido_bench.score.results.rows import Row
from kaleido_bench.score.results.statistics import PsnrRule, Reducing, reduce_rows
from tests.score.comparing.drawn import HOW, METRICS, SCENES, draw_rows


def compare(first: list[Row], second: list[Row], how: Reducing = HOW, level: float = 0.95) -> list[PairedMean]:
    return compare_rows(first, second, METRICS, how, level)


def scene_means(rows: list[Row], mean: PairedMean) -> list[float]:
    """By numpy: no code of the harness."""
    kept = [
        row
        for row in rows
        if (row.metric, str(row.references)) == (mean.metric, mean.references)
        and (mean.targets == "as-published" or not row.target_is_reference)
    ]
    return [float(np.mean([row.value for row in kept if row.scene == scene])) for scene in SCENES]


@pytest.mark.parametrize("samples", [1, 3])
def test_it_is_the_paired_t_interval_over_scene_means(samples: int) -> None:
    first, second = draw_rows(1, samples=samples), draw_rows(2, samples=samples)
    means = compare(first, second, level=0.9)
    assert len(means) == 2 * 2 * 2
    for mean in means:
        one, other = scene_means(first, mean), scene_means(second, mean)
        test = stats.ttest_rel(one, other)
        expected = test.confidence_interval(0.9)
        assert mean.interval is not None and mean.difference is not None
        assert mean.interval[:2] == pytest.approx((expected.low, expected.high), rel=1e-9)
        assert mean.difference == pytest.approx(np.mean(one) - np.mean(other))
        assert mean.difference / mean.interval.error == pytest.approx(test.statistic)
        assert [scene.difference for scene in mean.scenes] == pytest.approx(np.subtract(one, other))


@pytest.mark.parametrize("pooled", [False, True])
def test_its_means_are_those_of_the_table(pooled: bool) -> None:
    rows, how = (draw_rows(1), draw_rows(2)), HOW._replace(psnr=PsnrRule(pooled=pooled))
    one, other = (reduce_rows(each, METRICS, how).protocol for each in rows)
    for found, left, right in zip(compare(*rows, how=how), one, other, strict=True):
        assert (found.references, found.metric, found.targets, found.views) == (*left[:3], left.views)
        assert (found.first, found.second) == (left.mean, right.mean)


@pytest.mark.parametrize("pooled", [False, True])
def test_where_views_count_alike_the_error_is_the_jackknifes(pooled: bool) -> None:
    """Leaving out one scene after the other, by the reduction itself."""
    rows = draw_rows(1), draw_rows(2)
    how = HOW._replace(reduction="view>protocol", psnr=PsnrRule(pooled=pooled))
    for found in compare(*rows, how=how):
        without = []
        for scene in SCENES:
            left, right = (
                next(
                    mean.mean
                    for mean in reduce_rows([row for row in each if row.scene != scene], METRICS, how).protocol
                    if mean[:3] == (found.references, found.metric, found.targets)
                )
                for each in rows
            )
            without.append(left - right)
        error = math.sqrt(5 / 6 * sum((value - np.mean(without)) ** 2 for value in without))
        assert found.interval is not None and found.interval.error == pytest.approx(error, rel=1e-6)


def test_the_means_alone_say_the_same() -> None:
    rows = draw_rows(1), draw_rows(2)
    one, other = (reduce_rows(each, METRICS, HOW) for each in rows)
    assert compare_means(one, other, METRICS, HOW, 0.95) == compare(*rows)
    assert [mean.metric for mean in compare_means(one, other, METRICS[1:], HOW, 0.95)] == ["lpips-alex"] * 4


def test_means_over_other_views_are_refused() -> None:
    rows = draw_rows(1), draw_rows(2, views=(3, 4, 4, 2, 3, 6))
    with pytest.raises(BenchError, match=r"psnr of c: 5 views in the first and 4 in the second"):
        compare_means(*(reduce_rows(each, METRICS, HOW) for each in rows), METRICS, HOW, 0.95)


def test_where_all_scenes_have_one_size_both_reductions_agree() -> None:
    rows = draw_rows(1, views=(4,) * 6), draw_rows(2, views=(4,) * 6)
    by_view = compare(*rows, how=HOW._replace(reduction="view>protocol"))
    for one, other in zip(compare(*rows), by_view, strict=True):
        assert one.interval is not None and one.interval == pytest.approx(other.interval, rel=1e-6)


def test_swapped_runs_swap_signs() -> None:
    rows = draw_rows(1), draw_rows(2)
    for one, other in zip(compare(*rows), compare(*reversed(rows)), strict=True):
        assert one.interval is not None and other.interval is not None and one.difference is not None
        assert (one.first, one.second, one.difference) == (other.second, other.first, -(other.difference or 0))
        assert one.interval[:2] == (-other.interval.upper, -other.interval.lower)


def test_the_order_of_rows_changes_nothing() -> None:
    first, second = draw_rows(1), draw_rows(2)
    expected = compare(first, second)
    views = list_views(first, second, expected[0], HOW)
    for seed in range(3):
        random.Random(seed).shuffle(first)
        random.Random(seed + 10).shuffle(second)
        assert compare(first, second) == expected
        assert list_views(first, second, expected[0], HOW) == views


def test_a_run_against_itself_differs_by_nothing() -> None:
    for mean in compare(draw_rows(1), draw_rows(1)):
        assert mean.difference == 0.0 and mean.interval is not None and mean.interval[:3] == (0.0, 0.0, 0.0)


def test_one_scene_has_no_interval() -> None:
    for reduction in ("view>scene>protocol", "view>protocol"):
        means = compare(draw_rows(1, scenes=1), draw_rows(2, scenes=1), how=HOW._replace(reduction=reduction))  # type: ignore[arg-type]
        assert means and all(mean.interval is None and mean.difference is not None for mean in means)


def test_views_of_a_scene_are_not_independent() -> None:
    """Two methods alike on average, whose difference is a scene's more than a view's: 6 scenes of 10 views.

    Ours hold 0 in 95 % of draws. An interval over the 60 views, which takes them to be independent, is so narrow that
    it misses in more than half.
    """
    rng, how = np.random.default_rng(0), Reducing({f"{scene}-r1": "1" for scene in SCENES}, ("1",))
    ours = views = 0
    for _ in range(600):
        values = rng.normal(0, 1, 6)[:, None] + rng.normal(0, 0.3, (6, 10))
        rows = [
            Row(f"{scene}-r1", scene, 1, str(view), 0, None, "psnr", float(values[place, view]), False)
            for place, scene in enumerate(SCENES)
            for view in range(10)
        ]
        interval = compare_rows(rows, [row._replace(value=0.0) for row in rows], ["psnr"], how, 0.95)[0].interval
        assert interval is not None
        ours += interval.lower <= 0 <= interval.upper
        naive = stats.ttest_1samp(values.ravel(), 0.0).confidence_interval()
        views += naive.low <= 0 <= naive.high
    assert ours / 600 == pytest.approx(0.95, abs=0.027)
    assert views / 600 < 0.5


def test_an_infinite_scene_has_no_interval_and_two_have_no_difference() -> None:
    first, second = draw_rows(1), draw_rows(2)
    perfect = [row._replace(value=math.inf) if row.scene == "b" and row.metric == "psnr" else row for row in first]
    means = {mean.metric: mean for mean in compare(perfect, second)}
    assert means["psnr"].difference == math.inf and means["psnr"].interval is None
    assert means["lpips-alex"].interval is not None
    assert compare(perfect, perfect)[0].difference is None


def test_a_view_whose_infinite_psnr_leaves_the_mean_leaves_both() -> None:
    first, second = draw_rows(1), draw_rows(2)
    changed = [row._replace(value=math.inf) if (row.case, row.view) == ("b-r1", "1") else row for row in first]
    without = [[row for row in each if (row.case, row.view) != ("b-r1", "1")] for each in (first, second)]
    how = HOW._replace(psnr=PsnrRule(exclude_infinite=True))
    found = compare_rows(changed, second, ["psnr"], how, 0.95)
    assert [mean._replace(left_out=0) for mean in found] == compare_rows(*without, ["psnr"], how, 0.95)
    assert [(mean.references, mean.left_out) for mean in found] == [("1", 1), ("1", 1), ("3", 0), ("3", 0)]


def test_views_are_paired_by_case_and_mean_over_samples() -> None:
    first, second = draw_rows(1, samples=2), draw_rows(2)
    mean = next(each for each in compare(first, second) if each.targets == "strict-novel")
    views = list_views(first, second, mean, HOW)
    assert len(views) == mean.views == sum((2, 3, 4, 1, 2, 5))
    values = [row.value for row in first if (row.case, row.view, row.metric) == ("a-r1", "1", "psnr")]
    assert len(values) == 2 and views[0].first == pytest.approx(np.mean(values)) and views[0].view == "1"


def test_other_views_are_refused_by_name() -> None:
    first = draw_rows(1)
    lacking = [row for row in draw_rows(2) if (row.case, row.view) != ("c-r3", "2")]
    for rows, words in (((first, lacking), "the first run has it"), ((lacking, first), "the second run has it")):
        with pytest.raises(BenchError) as caught:
            pair_rows(*rows, METRICS, common=False)
        for part in ("the view 2 of c-r3", words, "45 in common", "--common"):
            assert part in str(caught.value)


def test_the_common_views_are_compared_when_asked_for() -> None:
    first = [row for row in draw_rows(1) if row.scene != "a"]
    second = [row for row in draw_rows(2) if (row.case, row.view) != ("c-r3", "2")]
    pairs = pair_rows(first, second, METRICS, common=True)
    assert (pairs.only_first, pairs.only_second) == (1, 6)
    assert {(row.case, row.view) for row in pairs.first} == {(row.case, row.view) for row in pairs.second}
    assert len(pairs.first) == len(pairs.second) == 2 * (46 - 6 - 1)


def test_a_view_that_lacks_a_sample_is_not_common() -> None:
    first = [row for row in draw_rows(1, samples=2) if (row.case, row.view, row.sample) != ("a-r1", "0", 1)]
    assert pair_rows(first, draw_rows(2), METRICS, common=True).only_second == 1


def test_nothing_in_common_is_refused() -> None:
    first, second = ([row for row in draw_rows(1) if row.scene == scene] for scene in "ab")
    with pytest.raises(BenchError, match="none in common"):
        pair_rows(first, second, METRICS, common=True)
