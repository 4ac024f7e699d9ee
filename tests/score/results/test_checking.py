"""A result is believed only as far as its rows and run.json bear it out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kaleido_bench.conventions import load_convention
from kaleido_bench.errors import BenchError
from kaleido_bench.items import Deviations
from kaleido_bench.predictions import write_prediction
from kaleido_bench.records import sha256_hex
from kaleido_bench.score.results.checking import find_differences, load_checked_result
from kaleido_bench.score.results.records import load_result, result_path, write_result
from kaleido_bench.score.results.rows import SCORER_VERSION, read_made, read_rows
from tests.predict.tiny import write_data
from tests.score.desk import LPIPS, Desk, noise, set_up


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("checking")
    images = write_data(folder / "data", ("arc", "bow")) / "scenes"
    frozen = {
        scene: {path.stem: sha256_hex(path.read_bytes()) for path in (images / scene / "images").glob("000[0-5].png")}
        for scene in ("arc", "bow")
    }
    desk = set_up(folder, replace=[LPIPS], samples=2, image_sha256=frozen)
    write_result(desk.run, desk.result())
    return desk


@pytest.mark.parametrize("convention", ["kbench-v1", "3dgs", "pixelsplat-offline", "nerfacto"])
def test_an_honest_result_passes(scored: Desk, convention: str) -> None:
    recipe = load_convention(convention)
    try:
        write_result(scored.run, scored.result(convention=recipe))
    except BenchError as error:
        pytest.skip(f"{convention}: {error.found}")
    assert load_checked_result(scored.run, convention) == load_result(result_path(scored.run, convention))


def test_partial_and_incomplete_results_pass(tmp_path: Path) -> None:
    desk = set_up(tmp_path, predict=("arc-r1", "arc-r3"))
    for deviations in (Deviations(scenes=("arc",)), Deviations()):
        write_result(desk.run, desk.result(deviations=deviations))
        assert load_checked_result(desk.run, "kbench-v1").complete is deviations.any


def a_better_mean(document: Any) -> None:
    document["means"][0]["mean"] += 0.01


def a_better_scene(document: Any) -> None:
    document["scenes"][-1]["mean"] = 99.0


def a_smaller_spread(document: Any) -> None:
    document["sample_means"][0]["spread"] = 0.0


def a_mean_less(document: Any) -> None:
    del document["means"][0]


def another_model(document: Any) -> None:
    document["model"]["weights_sha256"] = "0" * 64


def another_protocol(document: Any) -> None:
    document["protocol"]["hash"] = "0" * 64


def another_convention(document: Any) -> None:
    document["convention"]["hash"] = "0" * 64


def fewer_views(document: Any) -> None:
    document["counts"]["views_found"] -= 1


def no_view_at_the_cap(document: Any) -> None:
    document["psnr_views_at_cap"] = 7


def partial(document: Any) -> None:
    document["partial"] = True


def another_cap(document: Any) -> None:
    document["psnr_cap"] = 90.0


def a_note(document: Any) -> None:
    document["notes"] = ["scored with care"]


def more_samples(document: Any) -> None:
    document["samples"] = 4


def higher_is_worse(document: Any) -> None:
    document["metrics"][0]["higher_is_better"] = False


def other_weights(document: Any) -> None:
    document["metrics"][2]["weights"] = "0" * 64


def other_predictions(document: Any) -> None:
    document["predictions_sha256"] = "0" * 64


def other_truths(document: Any) -> None:
    document["truths_sha256"] = "0" * 64


def an_older_scorer(document: Any) -> None:
    document["scorer_version"] = 1


def weights_where_there_are_none(document: Any) -> None:
    document["metrics"][0]["weights"] = "0" * 64


def masks_that_nobody_looked_at(document: Any) -> None:
    document["masks_sha256"] = "0" * 64


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (a_better_mean, r"means\[0\].mean is"),
        (a_better_scene, r"scenes\[\d+\].mean is 99.0"),
        (a_smaller_spread, r"sample_means\[0\].spread is 0.0"),
        (a_mean_less, r"means is \d+ entries; expected \d+ entries"),
        (another_model, "model.weights_sha256 is 0000"),
        (another_protocol, "protocol.hash is 0000"),
        (another_convention, "convention.hash is 0000"),
        (fewer_views, "counts.views_found is 15; expected 16"),
        (no_view_at_the_cap, "psnr_views_at_cap is 7; expected 0"),
        (partial, "partial is True; expected False"),
        (another_cap, "psnr_cap is 90.0; expected 100.0"),
        (a_note, "notes is 1 entries; expected 0 entries"),
        (more_samples, "samples is 4; expected 2"),
        (higher_is_worse, "psnr.higher_is_better is False; expected True"),
        (other_weights, "lpips-alex.weights is 0000"),
        (other_predictions, "predictions_sha256 is 0000"),
        (other_truths, "truths_sha256 is 0000"),
        (an_older_scorer, f"scorer_version is 1; expected {SCORER_VERSION}"),
        (weights_where_there_are_none, "psnr.weights is 0000.*expected None"),
        (masks_that_nobody_looked_at, "masks_sha256 is 0000.*expected None"),
    ],
)
def test_an_edited_result_is_refused(scored: Desk, edit: Callable[[Any], None], field: str) -> None:
    write_result(scored.run, scored.result())
    path = scored.run.result
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    with pytest.raises(BenchError, match=rf"result.json: {field}.*make it again with `kbench score") as caught:
        load_checked_result(scored.run, "kbench-v1")
    assert "\n" not in str(caught.value)


def test_weights_that_no_convention_pins_are_held_to_those_of_the_rows(scored: Desk) -> None:
    result, rows = scored.result(), scored.run.scores("kbench-v1")
    made = read_made(rows)
    assert made is not None and set(made.weights) == {"lpips-alex"} and made.masks_sha256 is None
    others = made._replace(weights={"lpips-alex": "0" * 64})
    (difference,) = find_differences(scored.run, result, read_rows(rows), others)
    assert (difference.field, difference.expected) == ("lpips-alex.weights", "0" * 64)


def test_rows_from_before_they_said_what_they_were_made_with_pass(tmp_path: Path) -> None:
    desk = set_up(tmp_path)
    write_result(desk.run, desk.result())
    path = desk.run.scores("kbench-v1")
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    assert read_made(path) is None and load_checked_result(desk.run, "kbench-v1").complete


def test_a_result_of_predictions_that_were_made_again_since_is_refused(tmp_path: Path) -> None:
    desk = set_up(tmp_path)
    write_result(desk.run, desk.result())
    item = desk.item("arc-r1")
    write_prediction(desk.run, item, 255 - noise(item), seed=1, seconds=0.5)
    with pytest.raises(BenchError, match=r"predictions_sha256 is .*`kbench score"):
        load_checked_result(desk.run, "kbench-v1")
    write_result(desk.run, desk.result())
    load_checked_result(desk.run, "kbench-v1")


def test_a_result_whose_predictions_were_deleted_rests_on_its_rows(tmp_path: Path) -> None:
    desk = set_up(tmp_path)
    write_result(desk.run, desk.result())
    shutil.rmtree(desk.run.predictions)
    assert load_checked_result(desk.run, "kbench-v1").complete


def test_a_result_without_its_rows_is_refused(tmp_path: Path) -> None:
    desk = set_up(tmp_path)
    write_result(desk.run, desk.result())
    desk.run.scores("kbench-v1").unlink()
    with pytest.raises(BenchError, match=r"its rows are not there .*`kbench score"):
        load_checked_result(desk.run, "kbench-v1")
