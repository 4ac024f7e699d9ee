"""From predictions to rows and their means, on small scenes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from kaleido_bench.cases import Case
from kaleido_bench.conventions import Convention, ExcludeInfinite, ReportInfinite, Unset
from kaleido_bench.data.images import decode_image
from kaleido_bench.errors import BenchError
from kaleido_bench.items import plan_items
from kaleido_bench.score.metrics.psnr import score_psnr
from kaleido_bench.score.metrics.ssim import score_ssim
from kaleido_bench.score.results.records import load_result, render_result, result_path, write_result
from kaleido_bench.score.results.rows import read_rows
from tests.score.desk import CONVENTION, LPIPS, Desk, noise, predict_truth, set_up


def test_rows_are_the_metrics_of_each_view(desk: Desk) -> None:
    """Computed again here, from the files, with nothing of scoring in between."""
    rows = {(row.case, row.view, row.metric): row for row in desk.score().rows}
    assert len(rows) == 4 * 2 * 2
    for item in plan_items(desk.loaded):
        for view, prediction in zip(item.case.targets, noise(item), strict=True):
            path = desk.data_dir / "scenes" / item.case.scene / "images" / f"{view}.png"
            pair = [
                torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
                for image in (prediction, decode_image(path.read_bytes(), path))
            ]
            psnr, ssim = rows[item.case.id, view, "psnr"], rows[item.case.id, view, "ssim"]
            assert psnr.value == round(score_psnr(*pair, CONVENTION.psnr).item(), 6)
            assert ssim.value == round(score_ssim(*pair, CONVENTION.ssim).item(), 6)
            assert psnr[:6] == (item.case.id, item.case.scene, len(item.case.references), view, 0, None)
            assert not psnr.target_is_reference


def test_lpips_is_scored_where_its_weights_are(tmp_path: Path, weights_dir: Path) -> None:
    desk = set_up(tmp_path, replace=[LPIPS])
    scores = desk.score()
    values = [row.value for row in scores.rows if row.metric == "lpips-alex"]
    assert len(values) == 8
    assert all(0.1 < value < 2 for value in values)
    assert scores.weights == {"lpips-alex": CONVENTION.lpips[0].trunk.sha256}
    assert scores.weights_missing == {"lpips-vgg": "vgg16_features"}
    assert not [row for row in scores.rows if row.metric == "lpips-vgg"]
    statuses = {metric.name: metric.status for metric in desk.result().metrics}
    assert statuses["lpips-alex"] == "scored"
    assert statuses["lpips-vgg"] == "weights missing"


def test_missing_weights_of_a_required_metric_stop_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = set_up(tmp_path, replace=[("[psnr, ssim]", "[psnr, ssim, lpips-alex]")])
    monkeypatch.setenv("KBENCH_WEIGHTS", str(tmp_path / "nowhere"))
    monkeypatch.setenv("KBENCH_CACHE", str(tmp_path / "nowhere"))
    with pytest.raises(BenchError, match=r"weights of alexnet_features: alexnet_features.safetensors is not in"):
        desk.score()
    assert not list(desk.run.path.glob("scores/**/*.*"))


def test_identical_images_are_capped_and_counted(tmp_path: Path) -> None:
    desk = set_up(tmp_path)
    predict_truth(desk, "arc-r1")
    result = desk.result()
    assert result.psnr_cap == 100.0
    assert result.psnr_views_at_cap == 2
    ssim = [row.value for row in desk.score().rows if (row.case, row.metric) == ("arc-r1", "ssim")]
    assert ssim == [1.0, 1.0]


def test_an_infinite_psnr_is_excluded_and_counted(desk: Desk) -> None:
    predict_truth(desk, "arc-r1", views=1)
    exclude = CONVENTION.model_copy(update={"name": "exclude", "infinite_psnr": ExcludeInfinite(policy="exclude")})
    result = desk.result(convention=exclude)
    assert (result.psnr_cap, result.psnr_views_at_cap, result.psnr_views_excluded) == (None, 0, 1)
    values = [row.value for row in desk.score(convention=exclude).rows if (row.case, row.metric) == ("arc-r1", "psnr")]
    assert values[0] == math.inf and math.isfinite(values[1])
    assert read_rows(desk.run.scores("exclude"))[0].value == math.inf
    mean = next(mean for mean in result.scenes if (mean.scene, mean.references, mean.metric) == ("arc", "1", "psnr"))
    assert (mean.mean, mean.views) == (values[1], 1)


def test_an_infinite_psnr_is_reported_and_the_result_reads_back(desk: Desk) -> None:
    predict_truth(desk, "arc-r1", views=1)
    report = CONVENTION.model_copy(update={"name": "report", "infinite_psnr": ReportInfinite(policy="report")})
    result = desk.result(convention=report)
    assert result.means[0].mean == math.inf
    assert '"mean": "inf"' in render_result(result).decode()
    assert write_result(desk.run, result) and load_result(result_path(desk.run, "report")) == result


def test_a_pooled_psnr_is_that_of_the_mean_error(desk: Desk) -> None:
    """Against the errors of the images themselves; identical images count as no error."""
    predict_truth(desk, "arc-r1", views=1)
    recipe = CONVENTION.psnr.model_copy(update={"aggregation": "pooled"})
    result = desk.result(convention=CONVENTION.model_copy(update={"name": "pooled", "psnr": recipe}))
    item = desk.item("arc-r1")
    path = desk.data_dir / "scenes" / "arc" / "images" / f"{item.case.targets[1]}.png"
    truth = decode_image(path.read_bytes(), path).astype(np.float64)
    error = np.mean(((noise(item)[1] - truth) / 255) ** 2) / 2
    mean = next(mean for mean in result.scenes if (mean.scene, mean.references, mean.metric) == ("arc", "1", "psnr"))
    assert mean.mean == pytest.approx(-10 * math.log10(error), abs=2e-6)
    assert (mean.views, result.psnr_cap, result.psnr_views_excluded) == (2, None, 0)


def test_what_is_unset_is_scored_as_kbench_v1_does_and_said(desk: Desk) -> None:
    unset = (Unset(field="ssim.border", why="nobody wrote it down"), Unset(field="infinite_psnr", why="nor this"))
    ssim = CONVENTION.ssim.model_copy(update={"border": None})
    fields = {"name": "vague", "ssim": ssim, "infinite_psnr": None, "unset": unset}
    vague = Convention.model_validate({**CONVENTION.model_dump(), **fields})
    assert [row.value for row in desk.score(convention=vague).rows] == [row.value for row in desk.score().rows]
    result = desk.result(convention=vague)
    assert result.notes == (
        "vague: ssim.border is unset, scored as kbench-v1 does (valid): nobody wrote it down",
        "vague: infinite_psnr is unset, scored as kbench-v1 does (cap 100.0): nor this",
    )
    assert result.convention.hash == vague.hash != CONVENTION.hash
    assert '"notes": [' in render_result(result).decode()
    assert "notes" not in json.loads(render_result(desk.result()))


def test_a_metric_that_another_convention_does_not_define_is_left_out_and_said(
    tmp_path: Path, weights_dir: Path
) -> None:
    desk = set_up(tmp_path, replace=[LPIPS])
    plain = CONVENTION.model_copy(update={"name": "plain", "lpips": CONVENTION.lpips[:1]})
    result = desk.result(convention=plain)
    assert [metric.name for metric in result.metrics] == ["psnr", "ssim", "lpips-alex"]
    assert result.notes == ("plain: lpips-vgg is not defined by it",)


def test_a_target_that_is_a_reference_is_marked_and_counted_apart(tmp_path: Path) -> None:
    case = Case(id="arc-r1", scene="arc", references=("0004",), targets=("0004", "0005"))
    desk = set_up(tmp_path, cases=[case], counts=(1,), target_policy="as-published")
    rows, result = desk.score().rows, desk.result()
    assert [row.target_is_reference for row in rows if row.metric == "psnr"] == [True, False]
    by_targets = {mean.targets: mean for mean in result.means if mean.metric == "psnr"}
    values = [row.value for row in rows if row.metric == "psnr"]
    assert by_targets["as-published"].mean == pytest.approx(sum(values) / 2, abs=1e-12)
    assert by_targets["strict-novel"].mean == values[1]
    assert result.protocol.leaked_targets == 1


def test_a_scale_sweep_counts_the_best_scale_of_a_case_and_says_so(tmp_path: Path) -> None:
    desk = set_up(tmp_path, cameras="{policy: scale-sweep, scales: [0.5, 1.0, 2.0]}", counts=(1,), scenes=("arc",))
    result, rows = desk.result(), desk.score().rows
    means = {
        scale: np.mean([row.value for row in rows if row.metric == "psnr" and row.scale == scale])
        for scale in (0.5, 1.0, 2.0)
    }
    best = max(means, key=lambda scale: means[scale])
    assert result.scale_sweep is not None
    assert [(choice.case, choice.scale) for choice in result.scale_sweep.chosen] == [("arc-r1", best)]
    assert result.means[0].mean == pytest.approx(means[best], abs=1e-12)
    assert result.counts.views_found == 6
