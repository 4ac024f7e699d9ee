"""From predictions to rows and a result, on small scenes: what is refused, what is counted, and that the bytes hold."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from kaleido_bench.cases import Case
from kaleido_bench.conventions import CapInfinite, Convention, ExcludeInfinite, ReportInfinite, Unset, load_convention
from kaleido_bench.data.images import decode_image, encode_png
from kaleido_bench.errors import BenchError
from kaleido_bench.items import Deviations, WorkItem, plan_items
from kaleido_bench.predictions import AdapterRecord, Run, create_run, open_run, write_prediction
from kaleido_bench.protocol import LoadedProtocol, load_protocol
from kaleido_bench.score.psnr import score_psnr
from kaleido_bench.score.results import Result, build_result, load_result, render_result, result_path, write_result
from kaleido_bench.score.rows import Row, Scores, read_rows
from kaleido_bench.score.scoring import score_run
from kaleido_bench.score.ssim import score_ssim
from tests.predict.tiny import HEIGHT, WIDTH, write_data, write_protocol

CONVENTION = load_convention("kbench-v1")
CARD = AdapterRecord(name="noise", variant=None, weights_sha256=None, settings={}, training_data=None)
LPIPS = ("metrics: [psnr, ssim]", "metrics: [psnr, ssim]\noptional_metrics: [lpips-alex, lpips-vgg]")


class Desk(NamedTuple):
    """A data directory, a protocol over it, and a run whose predictions are noise."""

    data_dir: Path
    loaded: LoadedProtocol
    run: Run

    def score(self, **options: Any) -> Scores:
        merged = {"convention": CONVENTION, "data_dir": self.data_dir, "deviations": Deviations(), **options}
        return score_run(self.run, self.loaded, **merged)

    def result(self, **options: Any) -> Result:
        deviations = options.get("deviations") or Deviations()
        convention = options.get("convention") or CONVENTION
        return build_result(self.run.record, self.loaded, convention, deviations, self.score(**options))

    def item(self, key: str) -> WorkItem:
        return next(item for item in plan_items(self.loaded) if item.key == key)

    def path(self, name: str) -> Path:
        return self.run.predictions / name


def noise(item: WorkItem) -> np.ndarray:
    """Predictions that depend on the item alone."""
    rng = np.random.default_rng(list(item.key.encode()))
    return rng.integers(0, 256, (len(item.case.targets), HEIGHT, WIDTH, 3), np.uint8)


def set_up(
    folder: Path, *, replace: Sequence[tuple[str, str]] = (), predict: Sequence[str] | None = None, **options: Any
) -> Desk:
    data_dir = folder / "data"
    if not data_dir.exists():
        write_data(data_dir, ("arc", "bow"))
    path = write_protocol(folder / "tiny.yaml", **{"scenes": ("arc", "bow"), **options})
    text = path.read_text()
    for old, new in replace:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    loaded = load_protocol(path)
    run = create_run(folder / "runs", loaded, model="noise", adapter=CARD, fingerprint="f" * 64)
    for item in plan_items(loaded):
        if predict is None or item.key in predict:
            write_prediction(run, item, noise(item), seed=1, seconds=0.5)
    return Desk(data_dir, loaded, run)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return set_up(tmp_path)


# Values


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


def predict_truth(desk: Desk, key: str, views: int = 2) -> None:
    """Make the first predictions of an item equal to the ground truth."""
    item = desk.item(key)
    paths = [desk.data_dir / "scenes" / item.case.scene / "images" / f"{view}.png" for view in item.case.targets]
    truths = np.stack([decode_image(path.read_bytes(), path) for path in paths])
    images = np.concatenate([truths[:views], noise(item)[views:]])
    write_prediction(desk.run, item, images, seed=1, seconds=0.5)


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


# Bytes


def read_scores(desk: Desk) -> bytes:
    return desk.run.scores("kbench-v1").read_bytes()


def test_a_second_call_scores_nothing_and_changes_no_byte(desk: Desk) -> None:
    first = desk.score()
    rows, result = read_scores(desk), render_result(desk.result())
    second = desk.score()
    assert (first.scored, first.reused, second.scored, second.reused) == (4, 0, 0, 4)
    assert (read_scores(desk), render_result(desk.result())) == (rows, result)


class _StopError(Exception):
    pass


def test_stopped_in_the_middle_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole, stopped = set_up(tmp_path / "a"), set_up(tmp_path / "b")
    whole.score()

    def stop(done: int, total: int) -> None:
        assert total == 8
        if done == 4:
            raise _StopError

    with pytest.raises(_StopError):
        stopped.score(report=stop)
    assert not stopped.run.scores("kbench-v1").exists()
    scores = stopped.score()
    assert (scores.scored, scores.reused) == (2, 2)
    assert read_scores(stopped) == read_scores(whole)
    assert render_result(stopped.result()) == render_result(whole.result())


def score_and_die(folder: Path) -> None:
    """Run in a process of its own: it scores half of the views and is killed without a word."""
    set_up(folder).score(report=lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == 4 else None)


def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = set_up(tmp_path / "a")
    whole.score()
    code = "import sys, pathlib, tests.score.test_scoring as this; this.score_and_die(pathlib.Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    killed = set_up(tmp_path / "b", predict=())
    scores = killed.score()
    assert (scores.scored, scores.reused) == (2, 2)
    assert read_scores(killed) == read_scores(whole)
    assert render_result(killed.result()) == render_result(whole.result())


def test_scored_in_pieces_it_is_the_same_file(tmp_path: Path) -> None:
    whole, pieces = set_up(tmp_path / "a"), set_up(tmp_path / "b")
    whole.score()
    pieces.score(deviations=Deviations(scenes=("bow",)))
    pieces.score(deviations=Deviations(reference_counts=(3,)))
    assert pieces.score().scored == 1
    assert read_scores(pieces) == read_scores(whole)


def test_a_changed_prediction_is_scored_again(desk: Desk) -> None:
    before = desk.score().rows
    write_prediction(desk.run, desk.item("bow-r3"), 255 - noise(desk.item("bow-r3")), seed=1, seconds=0.5)
    after = desk.score()
    assert (after.scored, after.reused) == (1, 3)
    assert {new.case for old, new in zip(before, after.rows, strict=True) if old.value != new.value} == {"bow-r3"}


def test_a_changed_ground_truth_is_scored_again(desk: Desk) -> None:
    """The index of this protocol froze no hashes, so the file's own are what the rows depend on."""
    desk.score()
    path = desk.data_dir / "scenes" / "arc" / "images" / "0005.png"
    path.write_bytes(encode_png(255 - decode_image(path.read_bytes(), path)))
    assert desk.score().scored == 2


def test_a_convention_that_changed_under_its_name_is_scored_again(desk: Desk) -> None:
    assert max(row.value for row in desk.score().rows if row.metric == "psnr") > 5
    capped = CONVENTION.model_copy(update={"infinite_psnr": CapInfinite(policy="cap", decibels=5.0)})
    again = desk.score(convention=capped)
    assert (again.scored, again.reused) == (4, 0)
    assert max(row.value for row in again.rows if row.metric == "psnr") == 5


def test_a_part_that_cannot_be_read_is_scored_again(desk: Desk) -> None:
    desk.score()
    rows = read_scores(desk)
    part = desk.run.path / "scores" / "kbench-v1" / "arc-r1.json"
    part.write_bytes(part.read_bytes()[:50])
    assert desk.score().scored == 1
    assert read_scores(desk) == rows


def test_the_file_is_sorted_and_reads_back(desk: Desk) -> None:
    scores = desk.score()
    rows = read_rows(desk.run.scores("kbench-v1"))
    assert rows == scores.rows
    assert rows == sorted(rows, key=lambda row: (row.case, row.sample, row.view, row.metric))
    assert isinstance(rows[0], Row)


def test_a_file_that_is_not_of_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with pytest.raises(BenchError, match="no such file"):
        read_rows(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(BenchError, match="not a Parquet file; expected the columns case, scene"):
        read_rows(path)


# What is refused


def test_predictions_that_are_not_right_are_refused_before_any_is_scored(desk: Desk, tmp_path: Path) -> None:
    folder = desk.path("bow-r3")
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    small = encode_png(np.zeros((8, 8, 3), np.uint8))
    cases = {
        "missing": (folder / "0005.png").unlink,
        "extra, no target of case 'bow-r3'": lambda: (folder / "0009.png").write_bytes(small),
        "8x8": lambda: (folder / "0004.png").write_bytes(small),
        "altered": lambda: (folder / "0004.png").write_bytes((kept / "0005.png").read_bytes()),
    }
    for message, damage in cases.items():
        damage()
        with pytest.raises(BenchError, match=f"bow-r3/.*{message}.*; expected 2 views of {WIDTH}x{HEIGHT}"):
            desk.score()
        assert not desk.run.scores("kbench-v1").exists(), message
        assert not list((desk.run.path / "scores").glob("*/*.json")), message
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
    assert desk.score().scored == 4


def test_a_prediction_nobody_asked_for_is_refused(desk: Desk) -> None:
    desk.path("bow-r3").rename(desk.path("bow-r33"))
    with pytest.raises(BenchError, match="bow-r33: a prediction that the protocol does not ask for"):
        desk.score()


def test_samples_of_an_earlier_call_are_not_unexpected(desk: Desk) -> None:
    from kaleido_bench.predictions import Session, append_session

    session = Session(
        started="2026-01-01T00:00:00Z",
        command=(),
        device="cpu",
        precision="float32",
        versions={},
        git_commit=None,
        git_dirty=None,
        deviations=Deviations(samples=2),
    )
    run = append_session(desk.run, session)
    shutil.copytree(desk.path("arc-r1"), desk.path("arc-r1~s1"))
    assert desk._replace(run=run).score().scored == 4


@pytest.mark.parametrize("what", ["image", "camera"])
def test_ground_truth_other_than_the_frozen_one_is_refused(tmp_path: Path, what: str) -> None:
    desk = set_up(tmp_path, **{f"{what}_sha256": {"arc": {"0005": "0" * 64}}})
    with pytest.raises(BenchError, match=f"the {what} differs from the one the protocol froze"):
        desk.score()


def test_no_data_directory_is_refused(desk: Desk) -> None:
    with pytest.raises(BenchError, match="no data directory"):
        desk.score(data_dir=None)


@pytest.mark.parametrize(
    ("field", "value"),
    [("colour_correction", "affine"), ("mask", "inside")],
)
def test_a_convention_that_asks_for_more_than_there_is_is_refused(desk: Desk, field: str, value: object) -> None:
    convention = CONVENTION.model_copy(update={field: value})
    with pytest.raises(BenchError, match=f"convention: {field}: {value!r}, which this version cannot score"):
        desk.score(convention=convention)


# The result


def test_the_result_says_what_it_is_about(desk: Desk) -> None:
    result = desk.result()
    assert (result.complete, result.partial, result.partial_reasons, result.missing_items) == (True, False, (), ())
    assert (result.protocol.name, result.protocol.hash) == ("tiny", desk.loaded.hash)
    assert (result.convention.name, result.convention.hash) == ("kbench-v1", CONVENTION.hash)
    assert (result.model.model, result.model.name, result.model.fingerprint) == ("noise", "noise", "f" * 64)
    assert (result.counts.items_found, result.counts.views_found, result.counts.views_expected) == (4, 8, 8)
    assert [(mean.references, mean.metric, mean.targets) for mean in result.means] == [
        (label, metric, targets)
        for metric in ("psnr", "ssim")
        for label in ("1", "3")
        for targets in ("as-published", "strict-novel")
    ]
    psnr = [row.value for row in desk.score().rows if (row.references, row.metric) == (1, "psnr")]
    assert result.means[0].mean == pytest.approx(np.mean(psnr), abs=1e-12)
    assert (result.means[0].views, result.means[0].scenes) == (4, 2)


def test_with_anything_missing_there_is_no_mean(tmp_path: Path) -> None:
    desk = set_up(tmp_path, predict=["arc-r1", "arc-r3", "bow-r1"])
    scores, result = desk.score(), desk.result()
    assert scores.missing == ("bow-r3",)
    assert (result.complete, result.means, result.scenes, result.missing_items) == (False, (), (), ("bow-r3",))
    assert (result.counts.views_found, result.counts.views_expected) == (6, 8)


def test_less_than_the_protocol_is_partial_and_says_why(desk: Desk) -> None:
    deviations = Deviations(limit=3, scenes=("arc",), reference_counts=(1,))
    result = desk.result(deviations=deviations)
    assert (result.complete, result.partial) == (True, True)
    assert result.partial_reasons == ("--limit 3", "--scenes arc", "--references 1")
    assert {mean.references for mean in result.means} == {"1"}
    assert (result.counts.items_in_protocol, result.counts.items_expected) == (4, 1)
    assert not desk.result(deviations=Deviations(limit=100)).partial


def test_the_result_reads_back_and_is_no_clock(desk: Desk) -> None:
    result = desk.result()
    path = desk.run.result
    assert write_result(desk.run, result) and not write_result(desk.run, result)
    assert load_result(path) == result
    for item in plan_items(desk.loaded):
        write_prediction(desk.run, item, noise(item), seed=1, seconds=99.0)
    again = open_run(desk.run.path)
    assert render_result(desk._replace(run=again).result()) == path.read_bytes()


def test_another_convention_does_not_overwrite_the_protocols_result(desk: Desk) -> None:
    other: Convention = CONVENTION.model_copy(update={"name": "other"})
    result = build_result(desk.run.record, desk.loaded, other, Deviations(), desk.score(convention=other))
    assert write_result(desk.run, result)
    assert result_path(desk.run, "other") == desk.run.path / "scores" / "other.json"
    assert load_result(desk.run.path / "scores" / "other.json") == result and not desk.run.result.exists()


def test_a_result_of_another_version_is_refused(desk: Desk) -> None:
    path = desk.run.result
    write_result(desk.run, desk.result())
    fields = json.loads(path.read_bytes())
    path.write_text(json.dumps({**fields, "schema_version": 2}))
    with pytest.raises(BenchError, match=r"schema version 2; expected schema version 1\. Upgrade kaleido-bench"):
        load_result(path)
    path.write_text(json.dumps({**fields, "meens": []}))
    with pytest.raises(BenchError, match=r"unknown key 'meens'.*'means'"):
        load_result(path)
    with pytest.raises(BenchError, match="no such file; expected a result"):
        load_result(path.with_name("nothing.json"))
