"""Two runs side by side: verdicts by what is printed, notes that a reader needs, and every format letter by letter."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from kaleido_bench.publish.comparison import Asked, Comparison, build_comparison, judge
from kaleido_bench.publish.comparison_formats import render_json, render_markdown, render_text
from kaleido_bench.records import sha256_hex
from kaleido_bench.score.comparing.intervals import Interval
from kaleido_bench.score.comparing.sides import Shared, Side
from kaleido_bench.score.results.records import MetricRecord
from kaleido_bench.score.results.rows import Row
from tests.publish.conftest import make_result
from tests.score.comparing.drawn import HOW, METRICS, draw_rows

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
RENDERERS: dict[str, Callable[[Comparison], str]] = {
    "comparison.txt": render_text,
    "comparison.md": render_markdown,
    "comparison.json": render_json,
}
SHARED = Shared(
    tuple(
        MetricRecord(name=name, higher_is_better=name == "psnr", optional=False, status="scored", weights=None)
        for name in METRICS
    ),
    ("lpips-vgg: weights missing",),
    (),
)


def make_side(model: str, rows: Sequence[Row], **fields: Any) -> Side:
    result = make_result(model, {}, labels=("1", "3"), **{"predictions_sha256": sha256_hex(model.encode()), **fields})
    return Side(Path("runs") / model, result, list(rows), HOW)


def compare(first: Sequence[Row], second: Sequence[Row], asked: Asked = Asked(), **fields: Any) -> Comparison:
    return build_comparison(make_side("ours_new", first, **fields), make_side("theirs", second), SHARED, asked)


def shift(rows: Sequence[Row], by: float, metric: str = "psnr") -> list[Row]:
    return [row._replace(value=round(row.value + by, 6)) if row.metric == metric else row for row in rows]


@pytest.fixture
def everything() -> Comparison:
    """A leaky protocol, both sets of targets, scenes and views, a partial run with several samples."""
    first, second = draw_rows(1, scenes=4), shift(draw_rows(2), 0.05, "lpips-alex")
    leaky = {"targets": "as-published", "leaked": 12, "partial": ("--scenes a,b,c,d",), "samples": 4}
    asked = Asked(level=0.9, common=True, by_scene=True, views=1)
    return compare(first, second, asked, notes=("kbench-v1: a caveat",), **leaky)


@pytest.mark.parametrize("name", RENDERERS)
def test_golden(everything: Comparison, name: str) -> None:
    """Letter by letter. KBENCH_WRITE_GOLDEN=1 writes the files anew; read the difference before it is committed."""
    found = RENDERERS[name](everything)
    path = GOLDEN / name
    if os.environ.get("KBENCH_WRITE_GOLDEN") == "1":
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("metric", "higher", "ends", "verdict"),
    [
        ("psnr", True, (0.1, 0.3), "better"),
        ("psnr", True, (-0.3, -0.1), "worse"),
        ("lpips-alex", False, (-0.3, -0.1), "better"),
        ("lpips-alex", False, (0.1, 0.3), "worse"),
        ("psnr", True, (-0.1, 0.3), "tie"),
        ("psnr", True, (0.0, 0.0), "tie"),
        ("psnr", True, (0.004, 0.3), "tie"),  # printed [0.00, +0.30]
        ("ssim", True, (0.004, 0.3), "better"),  # printed [+0.004, +0.300]
        ("psnr", True, (0.006, 0.3), "better"),
    ],
)
def test_a_verdict_reads_off_what_is_printed(
    metric: str, higher: bool, ends: tuple[float, float], verdict: str
) -> None:
    assert judge(metric, Interval(*ends, 0.1, 5), higher_is_better=higher) == verdict
    assert judge(metric, None, higher_is_better=higher) is None


def test_verdicts_are_about_the_first_run_and_turn_when_runs_are_swapped() -> None:
    first, second = draw_rows(1), shift(draw_rows(2), 50.0)
    there, back = compare(first, second), compare(second, first)
    turn = {"better": "worse", "worse": "better", "tie": "tie"}
    rows = list(zip(there.sections[0].rows, back.sections[0].rows, strict=True))
    assert [one.verdict for one, _ in rows if one.metric == "psnr"] == ["worse", "worse"]
    for one, other in rows:
        assert one.verdict and other.verdict == turn[one.verdict]
        assert (one.better, one.worse) == (other.worse, other.better)


def test_one_scene_has_no_verdict_and_says_why() -> None:
    found = compare(draw_rows(1, scenes=1), draw_rows(2, scenes=1))
    assert all(row.verdict is None for row in found.sections[0].rows)
    text = render_text(found)
    assert "1 scene: no interval and no verdict" in text and "Student" not in text and "–" in text
    assert json.loads(render_json(found))["differences"][0]["interval"] is None


@pytest.mark.parametrize(
    ("scenes", "level", "warned"), [(2, 0.95, True), (5, 0.95, True), (6, 0.95, False), (5, 0.9, False)]
)
def test_few_scenes_are_said_to_rest_on_an_assumption(scenes: int, level: float, warned: bool) -> None:
    found = compare(draw_rows(1, scenes=scenes), draw_rows(2, scenes=scenes), Asked(level=level))
    assert (f"{scenes} scenes: the interval takes their differences to be normal" in render_text(found)) is warned


def test_an_infinite_mean_has_no_interval_and_json_has_no_infinity() -> None:
    rows = [row._replace(value=math.inf) if row.metric == "psnr" and row.scene == "a" else row for row in draw_rows(1)]
    found = compare(rows, draw_rows(2), Asked(by_scene=True, views=2))
    assert "a scene's mean is infinite" in render_text(found)
    document = json.loads(render_json(found))
    assert document["differences"][0]["first"] == document["differences"][0]["difference"] == "inf"
    assert json.loads(render_json(compare(rows, rows, Asked(views=2))))["differences"][0]["difference"] is None


def test_the_best_and_the_worst_views_are_those_of_the_first_run() -> None:
    rows = compare(draw_rows(1), draw_rows(2), Asked(views=3)).sections[0].rows
    for row in rows:
        sign = 1 if row.higher_is_better else -1
        gains = [sign * (view.difference or 0.0) for _, view in row.views]
        assert gains == sorted(gains, reverse=True)
        assert [place for place, _ in row.views] == [1, 2, 3, row.mean.views - 2, row.mean.views - 1, row.mean.views]
    everything = compare(draw_rows(1), draw_rows(2), Asked(views=99)).sections[0].rows[0]
    assert len(everything.views) == everything.mean.views


def test_a_partial_comparison_says_so() -> None:
    found = compare(draw_rows(1, scenes=4), draw_rows(2), Asked(common=True), partial=("--scenes a,b,c,d",))
    assert found.partial and json.loads(render_json(found))["partial"] is True
    assert found.notes[0].startswith("partial: over 28 of the protocol's 288 target views")
    assert "theirs has 18 more" in found.notes[0]
    assert "4 scenes, 20 target views" in render_text(found)
    assert "6 references (partial)\n" in render_text(found) and "6 references (partial)**" in render_markdown(found)
    assert not compare(draw_rows(1), draw_rows(2), Asked(common=True)).partial


def test_the_same_predictions_are_said_to_be_the_same() -> None:
    found = compare(draw_rows(1), draw_rows(1), predictions_sha256=sha256_hex(b"theirs"))
    assert "both runs hold the same predictions, pixel by pixel" in found.notes
    assert {row.verdict for row in found.sections[0].rows} == {"tie"}


def test_one_interval_needs_no_word_on_several() -> None:
    rows = [[row for row in draw_rows(seed) if row.metric == "psnr" and row.references == 1] for seed in (1, 2)]
    assert "hold together" not in render_text(compare(*rows))
    assert "95 % is each interval's own: all 4 hold together less often" in render_text(
        compare(draw_rows(1), draw_rows(2))
    )


def test_a_count_of_all_targets_says_so_beside_those_without_shown_ones() -> None:
    leaky = {"targets": "as-published", "leaked": 12, "psnr_views_at_cap": 2}
    text = render_text(compare(draw_rows(1), draw_rows(2), **leaky))
    assert "ours_new: 2 views at the PSNR cap of 100 dB, of all targets, those that are references too incl" in text


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_gets_its_columns_below_each_other(everything: Comparison, width: int) -> None:
    """Every number is there, each beside what it is about; nothing but prose is wider than the terminal."""
    wide, narrow = render_text(everything), render_text(everything, width)
    assert max(map(len, narrow.split("\n\n")[1].splitlines())) <= max(width, 41)
    rows = [row for section in everything.sections for row in section.rows]
    for block in narrow.split("\n\n"):
        if "metric" in block:
            first = next(line for line in block.splitlines() if line.startswith("metric"))
            assert len(first) <= max(width, 60) and "references" in first
    assert len(rows) == 8 and narrow.count("90 % interval") == wide.count("90 % interval")
    assert sorted(set(wide.split())) == sorted(set(narrow.split()))
