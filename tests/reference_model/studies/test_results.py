"""Runs held against each other and against the spread of seeds and worlds, and the file that keeps them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from reference_model.studies.figures import draw_study, write_tables
from reference_model.studies.results import (
    NORMAL,
    STUDENT,
    Difference,
    Spread,
    append_rows,
    compare,
    judge,
    judge_group,
    load_results,
    pool_spread,
)
from reference_model.studies.runs import identify
from tests.reference_model.studies.study import BASE, WORLDS, pair_of, write_study


def test_a_difference_is_held_against_the_spread_of_seeds_and_of_worlds(tmp_path: Path) -> None:
    pair = pair_of("i")
    sides = {identify(pair.ours): [20.1, 20.0, 19.9], identify(pair.other): [19.0]}
    results = load_results(write_study(tmp_path / "a.jsonl", sides, [pair]))
    spread = pool_spread(results, results.settings, "1")
    assert spread.deviation == pytest.approx(0.1) and spread.freedom == 2
    found = compare(results, results.groups[0], results.settings, "1")
    assert found is not None and found.mean == pytest.approx(1.0)
    assert found.seeds == pytest.approx(4.303 * 0.1 * math.sqrt(1 / 3 + 1), rel=1e-3)
    assert found.scenes == pytest.approx(0, abs=1e-9)  # the same worlds differ by the same everywhere
    assert judge_group(results, results.groups[0]) == "same sign"


def test_worlds_are_paired(tmp_path: Path) -> None:
    pair = pair_of("i")
    path = write_study(tmp_path / "a.jsonl", {identify(pair.ours): [20, 20], identify(pair.other): [19]}, [pair])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row["row"] == "run" and row["side"] == identify(pair.other):
            for scores in row["psnr"].values():
                scores["1"] = [x + (1 if i % 2 else -1) for i, x in enumerate(scores["1"])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = load_results(path)
    found = compare(results, results.groups[0], ["5->1"], "1")
    assert found is not None and found.seeds == 0
    assert found.scenes == pytest.approx(NORMAL * math.sqrt(WORLDS / (WORLDS - 1)) / math.sqrt(WORLDS))


def test_sides_of_the_same_weights_are_compared_seed_by_seed(tmp_path: Path) -> None:
    pair = pair_of("ix")
    # Trainings differ by far more than the two grids do, which any one training says alike.
    sides = {identify(pair.ours): [20.0, 22.0, 18.0], identify(pair.other): [19.9, 21.88, 17.92]}
    results = load_results(write_study(tmp_path / "a.jsonl", sides, [pair]))
    found = compare(results, results.groups[0], results.settings, "8")
    assert found is not None and found.mean == pytest.approx(0.1)
    assert found.seeds == pytest.approx(4.303 * 0.02 / math.sqrt(3), rel=1e-3)
    assert judge_group(results, results.groups[0]) == "ours better"


@pytest.mark.parametrize(
    ("sign", "difference", "verdict"),
    [
        (1, Difference(0.5, 0.3, 0.1), "same sign"),
        (1, Difference(-0.5, 0.3, 0.1), "opposite sign"),
        (1, Difference(0.5, 0.4, 0.4), "inside the noise"),  # neither alone, but both together
        (0, Difference(0.5, 0.3, 0.1), "ours better"),
        (0, Difference(-0.5, 0.3, 0.1), "other better"),
        (0, Difference(0.0, 0.0, 0.0), "inside the noise"),
        (1, Difference(0.5, math.nan, 0.1), "same sign"),  # over worlds alone
        (1, Difference(0.5, math.nan, 0.6), "inside the noise"),
        (1, Difference(0.5, math.nan, math.nan), "noise unknown"),
        (1, None, "not measured"),
    ],
)
def test_verdicts(sign: int, difference: Difference | None, verdict: str) -> None:
    assert judge({"sign": sign}, difference) == verdict


def test_few_seeds_are_trusted_less() -> None:
    assert math.isnan(Spread(math.nan, 0).half_width(1, 1))
    widths = [Spread(0.1, freedom).half_width(1, 1) for freedom in range(1, 2 * len(STUDENT))]
    assert widths[0] == pytest.approx(12.706 * 0.1 * math.sqrt(2)) and widths == sorted(widths, reverse=True)


def test_one_training_is_judged_by_worlds_and_marked(tmp_path: Path) -> None:
    pair = pair_of("i")
    path = write_study(tmp_path / "a.jsonl", {identify(pair.ours): [20.0], identify(pair.other): [19.0]}, [pair])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for scores in rows[-1]["psnr"].values():
        scores["1"] = [x + (1 if i % 2 else -1) for i, x in enumerate(scores["1"])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = load_results(path)
    found = compare(results, results.groups[0], results.settings, "1")
    assert found is not None and not found.covers_trainings and found.half_width == found.scenes > 0.3
    text = write_tables(results)
    assert "+1.00 ± 0.31† | same sign† |" in text and "nothing of how much another training would move it" in text


def test_what_failed_stays_until_it_is_made_good_and_a_cut_line_is_no_row(tmp_path: Path) -> None:
    side = identify(pair_of("i").other)
    path = write_study(tmp_path / "a.jsonl", {identify(BASE): [20.0]}, [pair_of("i")])
    append_rows(path, [{"row": "failed", "weights": side, "seed": 0, "error": "RuntimeError: step 5: the loss is nan"}])
    with path.open("a") as file:
        file.write('{"row": "run", "side": "')
    results = load_results(path)
    assert [row["weights"] for row in results.failed] == [side] and results.finished() == {(identify(BASE), 0)}
    assert judge_group(results, results.groups[0]) == "not measured"
    draw_study(path)
    assert "the loss is nan" in path.with_suffix(".md").read_text()
    path.write_text(path.read_text().rsplit("\n", 1)[0] + "\n")
    other = write_study(tmp_path / "b.jsonl", {side: [19.0]}, [])
    with path.open("a") as file:
        file.write(other.read_text().splitlines()[-1] + "\n")
    assert not load_results(path).failed


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"benchmarks/ablations\.py"):
        load_results(tmp_path / "no.jsonl")
    (tmp_path / "other.jsonl").write_text('{"row": "run"}\n')
    with pytest.raises(ValueError, match="no plan among its 1 rows"):
        load_results(tmp_path / "other.jsonl")
