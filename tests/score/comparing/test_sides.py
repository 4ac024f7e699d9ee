"""What two runs must have alike before they are compared."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.items import Deviations
from kaleido_bench.predictions import create_run, write_prediction
from kaleido_bench.records import sha256_hex
from kaleido_bench.score.comparing.paired import compare_rows
from kaleido_bench.score.comparing.sides import Side, check_sides, load_side, name_sides
from kaleido_bench.score.results.records import MetricRecord, render_result, write_result
from tests.predict.tiny import write_data
from tests.score.desk import CARD, Desk, noise, set_up


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = set_up(tmp_path_factory.mktemp("sides"))
    write_result(desk.run, desk.result())
    return desk


@pytest.fixture(scope="module")
def sides(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> tuple[Side, Side]:
    """One run, and a copy of it elsewhere."""
    copy = tmp_path_factory.mktemp("copy") / "noise"
    shutil.copytree(desk.run.path, copy)
    return load_side(desk.run.path), load_side(copy)


def change(side: Side, **fields: Any) -> Side:
    return side._replace(result=side.result.model_copy(update=fields))


def change_part(side: Side, part: str, **fields: Any) -> Side:
    return change(side, **{part: getattr(side.result, part).model_copy(update=fields)})


def metric(name: str, **fields: Any) -> MetricRecord:
    plain = {"higher_is_better": name != "lpips-alex", "optional": True, "status": "scored", "weights": None}
    return MetricRecord(name=name, **{**plain, **fields})


def test_two_runs_of_one_protocol_share_their_metrics(sides: tuple[Side, Side]) -> None:
    shared = check_sides(*sides, common=False)
    assert [each.name for each in shared.metrics] == ["psnr", "ssim"] and shared.left_out == shared.notes == ()
    assert all(side.whole for side in sides)


def test_runs_of_one_model_have_letters(sides: tuple[Side, Side]) -> None:
    first, second = sides
    assert name_sides(first, second) == ("A", "B")
    assert name_sides(first, change_part(second, "model", model="other")) == ("noise", "other")


@pytest.mark.parametrize(
    ("part", "fields", "words"),
    [
        ("protocol", {"hash": "1" * 64}, "protocol tiny v1 (111111111111); expected tiny v1 ("),
        ("protocol", {"name": "big", "hash": "1" * 64}, "protocol big v1 (111111111111); expected tiny v1 ("),
        ("convention", {"hash": "1" * 64}, "convention kbench-v1 (111111111111); expected kbench-v1 (b433d0d7e4f0)"),
    ],
)
def test_another_question_is_refused(sides: tuple[Side, Side], part: str, fields: dict[str, Any], words: str) -> None:
    first, second = sides
    for common in (False, True):
        with pytest.raises(BenchError) as caught:
            check_sides(first, change_part(second, part, **fields), common=common)
        assert f"{second.path}: {words}" in str(caught.value) and f"as {first.path} has" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scorer_version": 1}, "scorer version 1; expected 2"),
        ({"truths_sha256": "1" * 64}, "ground truth 111111111111"),
    ],
)
def test_other_scoring_is_refused(sides: tuple[Side, Side], fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BenchError) as caught:
        check_sides(sides[0], change(sides[1], **fields), common=False)
    assert words in str(caught.value) and "`kbench score`" in str(caught.value)


def test_a_run_is_not_compared_with_itself(sides: tuple[Side, Side]) -> None:
    with pytest.raises(BenchError, match="the first run again"):
        check_sides(sides[0], sides[0]._replace(path=sides[0].path / ".." / sides[0].path.name), common=True)


def test_a_part_of_a_protocol_is_compared_when_asked_for(sides: tuple[Side, Side]) -> None:
    first, second = sides
    part = change(second, partial=True, partial_reasons=("--limit 3",))
    for pair in ((first, part), (part, first), (part, part._replace(path=first.path))):
        with pytest.raises(BenchError) as caught:
            check_sides(*pair, common=False)
        assert "partial (--limit 3), 4 predictions; expected the 4 that the protocol asks for" in str(caught.value)
        assert "--common" in str(caught.value)
        assert check_sides(*pair, common=True).metrics


def test_missing_predictions_are_incomplete(sides: tuple[Side, Side]) -> None:
    lacking = change_part(change(sides[1], complete=False), "counts", items_found=3)
    with pytest.raises(IncompleteError, match=r"3 of 4 predictions are there.*`kbench run`.*--common"):
        check_sides(sides[0], lacking, common=False)
    assert check_sides(sides[0], lacking, common=True).metrics


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        (
            metric("lpips-alex", status="weights missing"),
            metric("lpips-alex", status="weights missing"),
            "weights missing",
        ),
        (metric("lpips-alex"), metric("lpips-alex", status="weights missing"), "weights missing in other"),
        (metric("lpips-alex", weights="1"), metric("lpips-alex", weights="2"), "its weights are not the same file"),
        (metric("psnr-fg"), metric("psnr-fg"), "its masks are not known to be the same files"),
    ],
)
def test_a_metric_that_rests_on_other_files_is_left_out(
    sides: tuple[Side, Side], first: MetricRecord, second: MetricRecord, line: str
) -> None:
    one = change(sides[0], metrics=(metric("psnr"), first), masks_sha256="1" * 64)
    other = change(change_part(sides[1], "model", model="other"), metrics=(metric("psnr"), second))
    shared = check_sides(one, other, common=False)
    assert [each.name for each in shared.metrics] == ["psnr"]
    assert len(shared.left_out) == 1 and shared.left_out[0].startswith(f"{first.name}: ") and line in shared.left_out[0]
    with pytest.raises(BenchError, match="no metric to compare"):
        check_sides(change(one, metrics=(first,)), change(other, metrics=(second,)), common=False)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_truth_of_other_cases_is_known_where_it_is_frozen(tmp_path: Path, frozen: bool) -> None:
    """Two runs of different parts: their hashes of the ground truth cannot be compared, the protocol's pins can."""
    images = write_data(tmp_path / "data", ("arc", "bow")) / "scenes"
    pins = {
        scene: {path.stem: sha256_hex(path.read_bytes()) for path in (images / scene / "images").glob("*.png")}
        for scene in ("arc", "bow")
    }
    desk = set_up(tmp_path, image_sha256=pins if frozen else None)
    part = create_run(tmp_path / "other", desk.loaded, model="other", adapter=CARD, fingerprint="e" * 64)
    for key in ("arc-r1", "arc-r3"):
        write_prediction(part, desk.item(key), noise(desk.item(key)), seed=1, seconds=0.5)
    other = desk._replace(run=part)
    write_result(desk.run, desk.result())
    write_result(part, other.result(deviations=Deviations(scenes=("arc",))))
    notes = check_sides(load_side(desk.run.path), load_side(part.path), common=True).notes
    assert bool(notes) is not frozen


def test_of_a_sweep_over_scales_the_chosen_ones_count(tmp_path: Path) -> None:
    desk = set_up(tmp_path, cameras="{policy: scale-sweep, scales: [0.5, 1.0, 2.0]}")
    write_result(desk.run, desk.result())
    side = load_side(desk.run.path)
    assert side.rows is not None
    means = compare_rows(side.rows, side.rows, ["psnr", "ssim"], side.how, 0.95)
    assert [(mean.metric, mean.references, mean.targets, mean.first) for mean in means] == [
        (mean.metric, mean.references, mean.targets, mean.mean) for mean in side.result.means
    ]


def test_what_is_not_scored_says_how_to_score_it(desk: Desk) -> None:
    with pytest.raises(IncompleteError) as caught:
        load_side(desk.run.path, "3dgs")
    assert f"`kbench score {desk.run.path} --convention 3dgs`" in str(caught.value)


def test_a_result_file_is_whole_or_refused(desk: Desk, sides: tuple[Side, Side]) -> None:
    alone = load_side(desk.run.path / "result.json")
    assert alone.rows is None and alone.means.protocol and alone.whole
    shared = check_sides(sides[1], alone, common=True)
    assert [each.name for each in shared.metrics] == ["psnr", "ssim"]
    assert shared.notes == (f"{alone.path}: a result without its rows, taken at its word",)
    part = change(alone, partial=True, partial_reasons=("--limit 3",))
    with pytest.raises(BenchError, match=r"partial \(--limit 3\)"):
        check_sides(sides[1], part, common=True)
    with pytest.raises(BenchError, match=r"convention seva \(111111111111\).*Compare under one: --convention"):
        check_sides(sides[1], change_part(alone, "convention", name="seva", hash="1" * 64), common=False)


def test_an_edited_result_is_refused(desk: Desk, tmp_path: Path) -> None:
    shutil.copytree(desk.run.path, tmp_path / "noise")
    path = tmp_path / "noise" / "result.json"
    path.write_text(path.read_text().replace('"samples":1', '"samples":2').replace('"samples": 1', '"samples": 2'))
    with pytest.raises(BenchError, match="It was edited"):
        load_side(path.parent)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"scenes": ()}, "without the other"),
        ({"means": ()}, "without the other"),
    ],
)
def test_a_result_file_without_its_scenes_is_refused(
    desk: Desk, tmp_path: Path, edit: dict[str, Any], words: str
) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(render_result(desk.result().model_copy(update=edit)))
    with pytest.raises(BenchError, match=words):
        load_side(path)


def test_a_result_file_with_no_number_is_refused(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(re.sub(r'"mean": [0-9.]+', '"mean": NaN', render_result(desk.result()).decode(), count=1))
    with pytest.raises(BenchError, match=r"psnr at \w+ is nan"):
        load_side(path)


def test_other_metrics_are_refused(sides: tuple[Side, Side]) -> None:
    first, second = sides
    with pytest.raises(BenchError, match=r"metrics psnr; expected psnr, ssim"):
        check_sides(first, change(second, metrics=second.result.metrics[:1]), common=False)
