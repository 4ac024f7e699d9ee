"""What makes the gap between two conventions, on small runs whose answer is known."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from kaleido_bench.conventions import (
    UNHASHED_FIELDS,
    Convention,
    ReportInfinite,
    fill_unset,
    find_conventions,
    load_convention,
)
from kaleido_bench.errors import IncompleteError
from kaleido_bench.records import Record
from kaleido_bench.score.comparing import differences
from kaleido_bench.score.comparing.differences import (
    Comparison,
    Difference,
    compare_conventions,
    list_steps,
    switch_step,
)
from tests.score.desk import LPIPS, Desk, predict_truth, set_up

V1 = load_convention("kbench-v1")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return set_up(tmp_path)


def change(group: str | None = None, **fields: object) -> Convention:
    record = {group: getattr(V1, group).model_copy(update=fields)} if group else fields
    return V1.model_copy(update={"name": "other", **record})


def compare(desk: Desk, first: Convention, second: Convention) -> Comparison:
    return compare_conventions(desk.run, desk.loaded, first, second, data_dir=desk.data_dir)


def find(comparison: Comparison, metric: str, references: str = "1") -> Difference:
    return next(d for d in comparison.differences if (d.metric, d.references) == (metric, references))


def test_what_comes_before_8_bits_makes_them_matter(desk: Desk) -> None:
    """A saved prediction that is rounded to bfloat16 is 8-bit no more: whether it is rounded again is scored."""
    steps = {step.name: step.change for step in find(compare(desk, load_convention("lvsm"), V1), "psnr").steps}
    assert steps["dtype"] and steps["quantise"]


# Steps


@pytest.mark.parametrize(("metric", "group"), [("psnr", V1.psnr), ("ssim", V1.ssim), ("lpips-alex", V1.lpips[0])])
def test_every_field_of_a_convention_is_in_a_step(metric: str, group: Record) -> None:
    """A field that a later version brings and no step moves would be a gap without a cause."""
    elsewhere = {"name", "schema_version", "missing", "psnr", "ssim", "lpips", *UNHASHED_FIELDS}
    of_images = [field for fields in differences._IMAGES.values() for field in fields]
    assert {*of_images, "infinite_psnr", "reduction"} == set(Convention.model_fields) - elsewhere
    of_one = [field for fields in differences._find_group(metric)[1].values() for field in fields]
    assert sorted(of_one) == sorted(set(type(group).model_fields) - {"metric"})


@pytest.mark.parametrize("names", list(itertools.permutations(["kbench-v1", "eschernet", "seva", "3dgs", "lvsm"], 2)))
def test_taking_every_step_is_the_other_convention(names: tuple[str, str]) -> None:
    first, second = (fill_unset(load_convention(name)) for name in names)
    for metric in set(first.metrics) & set(second.metrics):
        walked = first
        for step in list_steps(metric, first, second):
            walked = switch_step(walked, second, metric, step)
        assert list_steps(metric, walked, second) == []
        recipe = {"psnr": lambda c: c.psnr, "ssim": lambda c: c.ssim}.get(
            metric.removesuffix("-fg"),
            lambda c, metric=metric: next(recipe for recipe in c.lpips if recipe.metric == metric),
        )
        assert recipe(walked) == recipe(second)


def test_a_convention_is_no_step_from_itself() -> None:
    for name in find_conventions():
        convention = fill_unset(load_convention(name))
        assert [list_steps(metric, convention, convention) for metric in convention.metrics] == [[]] * len(
            convention.metrics
        )


# Gaps


def test_the_means_are_those_of_a_result_and_one_step_is_the_whole_gap(desk: Desk) -> None:
    other = change("ssim", border="zero")
    comparison = compare(desk, V1, other)
    for metric, references in itertools.product(("psnr", "ssim"), ("1", "3")):
        difference = find(comparison, metric, references)
        for mean, convention in ((difference.first, V1), (difference.second, other)):
            means = {(m.metric, m.references, m.targets): m.mean for m in desk.result(convention=convention).means}
            assert mean == means[metric, references, "strict-novel"]
        assert difference.gap == difference.second - difference.first
    ssim, psnr = find(comparison, "ssim"), find(comparison, "psnr")
    assert [(step.name, step.change) for step in ssim.steps] == [("ssim.border", ssim.gap)]
    assert ssim.gap != 0
    assert ssim.steps[0].first == {"border": "valid"} and ssim.steps[0].second == {"border": "zero"}
    assert (psnr.gap, psnr.steps) == (0.0, ())


def test_the_step_that_moves_most_comes_first(desk: Desk) -> None:
    ssim = find(compare(desk, V1, load_convention("eschernet")), "ssim")
    assert ssim.steps[0].name == "ssim.window"
    moved = [abs(step.change or 0.0) for step in ssim.steps]
    assert moved == sorted(moved, reverse=True)
    assert ssim.steps[0].second == {"window": "uniform", "window_size": 7, "sigma": None}
    # Saved predictions are 8-bit: how they were to become so moves nothing.
    psnr = find(compare(desk, V1, load_convention("nerfbaselines")), "psnr")
    assert {step.name: step.change for step in psnr.steps} == {"quantise": 0.0, "mask": 0.0, "infinite_psnr": 0.0}


def test_pooling_is_a_step_of_its_own(desk: Desk) -> None:
    psnr = find(compare(desk, V1, change("psnr", aggregation="pooled")), "psnr")
    assert [step.name for step in psnr.steps] == ["psnr.aggregation"]
    assert psnr.gap is not None and psnr.gap <= 0


def test_an_infinite_mean_is_an_infinite_gap(desk: Desk) -> None:
    predict_truth(desk, "arc-r1", views=1)
    report = change(infinite_psnr=ReportInfinite(policy="report"))
    psnr = find(compare(desk, V1, report), "psnr")
    assert (psnr.second, psnr.gap, psnr.steps[0].name) == (math.inf, math.inf, "infinite_psnr")
    assert find(compare(desk, report, report), "psnr").gap is None


def test_nothing_is_written(desk: Desk) -> None:
    before = {path: path.stat().st_mtime_ns for path in desk.run.path.rglob("*")}
    compare(desk, V1, load_convention("3dgs"))
    assert {path: path.stat().st_mtime_ns for path in desk.run.path.rglob("*")} == before


def test_what_cannot_be_compared_is_said(tmp_path: Path, weights_dir: Path) -> None:
    desk = set_up(tmp_path, replace=[LPIPS])
    comparison = compare(desk, V1, load_convention("nerfacto"))
    assert {difference.metric for difference in comparison.differences} == {"psnr", "ssim", "lpips-alex"}
    assert "lpips-vgg is not defined by nerfacto" in comparison.notes
    assert any(note.startswith("nerfacto: ssim.border is unset") for note in comparison.notes)
    assert "lpips.epsilon" not in [step.name for step in find(comparison, "lpips-alex").steps]
    assert "lpips-alex.epsilon" in [step.name for step in find(comparison, "lpips-alex").steps]
    assert "lpips-vgg: weights missing" in compare(desk, V1, load_convention("nerfbaselines")).notes


def test_a_sweep_is_compared_at_the_scales_of_the_first(tmp_path: Path) -> None:
    desk = set_up(tmp_path, cameras="{policy: scale-sweep, scales: [0.5, 1.0, 2.0]}", counts=(1,), scenes=("arc",))
    assert find(compare(desk, V1, change("ssim", border="zero")), "psnr").first == desk.result().means[0].mean


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    desk = set_up(tmp_path, predict=["arc-r1"])
    with pytest.raises(IncompleteError, match="1 of 4 predictions are there"):
        compare(desk, V1, V1)
