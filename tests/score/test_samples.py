"""Several samples of a case, from predictions to result: counted, best of N, spread; and a method that has none."""

from __future__ import annotations

import json
import statistics
from datetime import UTC, datetime
from pathlib import Path

from kaleido_bench.items import Deviations, plan_items, select_items
from kaleido_bench.predict.sessions import describe_session
from kaleido_bench.predictions import append_session, write_prediction
from kaleido_bench.score.results.records import load_result, render_result, result_path, write_result
from tests.score.desk import CARD, Desk, noise, set_up

NEW_FIELDS = {"sample_means", "deterministic"}


def deterministic(desk: Desk) -> Desk:
    record = desk.run.record.model_copy(update={"adapter": CARD.model_copy(update={"generative": False})})
    return desk._replace(run=type(desk.run)(desk.run.path, record))


def test_best_and_spread_follow_from_the_rows(tmp_path: Path) -> None:
    desk = set_up(tmp_path, samples=3, scenes=("arc",), counts=(1,))
    result, rows = desk.result(), desk.score().rows
    psnr: dict[str, list[float]] = {}
    for row in rows:
        if row.metric == "psnr":
            psnr.setdefault(row.view, []).append(row.value)
    assert [len(values) for values in psnr.values()] == [3, 3]
    found = next(mean for mean in result.sample_means if (mean.metric, mean.targets) == ("psnr", "strict-novel"))
    assert found.best == statistics.fmean(map(max, psnr.values())) and found.samples == result.samples == 3
    assert (
        found.spread is not None and abs(found.spread - statistics.fmean(map(statistics.stdev, psnr.values()))) < 1e-9
    )
    mean = next(each.mean for each in result.means if (each.metric, each.targets) == ("psnr", "strict-novel"))
    assert mean < found.best and not result.partial and result.complete
    assert write_result(desk.run, result) and load_result(result_path(desk.run, "kbench-v1")) == result


def test_one_sample_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """Fields that came with several samples are not written where they say nothing."""
    desk = set_up(tmp_path)
    document = json.loads(render_result(desk.result()))
    assert not NEW_FIELDS & document.keys() and document["samples"] == 1
    assert render_result(deterministic(desk).result()) == render_result(desk.result())


def test_more_samples_than_the_protocol_are_a_deviation(tmp_path: Path) -> None:
    desk = set_up(tmp_path, scenes=("arc",), counts=(1,))
    deviations = Deviations(samples=2)
    for item in select_items(desk.loaded, deviations):
        write_prediction(desk.run, item, noise(item), seed=1, seconds=0.5)
    session = describe_session(["kbench"], "cpu", deviations, datetime(2026, 1, 1, tzinfo=UTC))
    result = desk._replace(run=append_session(desk.run, session)).result(deviations=deviations)
    assert result.partial and result.partial_reasons == ("--samples 2",) and result.samples == 2
    assert {mean.samples for mean in result.sample_means} == {2}


def test_a_deterministic_method_answers_a_protocol_of_several_samples_with_one(tmp_path: Path) -> None:
    """One sample is all there is to know of it: complete, whole, ranked, and no spread of 0 that nobody measured."""
    desk = deterministic(set_up(tmp_path, samples=3, predict=("arc-r1", "arc-r3", "bow-r1", "bow-r3")))
    result = desk.result()
    assert result.complete and not result.partial and result.samples == 1
    assert result.deterministic and result.sample_means == ()
    assert result.counts.items_in_protocol == result.counts.items_found == 4
    assert len(plan_items(desk.loaded)) == 12


def test_an_oracle_sweep_has_samples_too(tmp_path: Path) -> None:
    policy = "{policy: scale-sweep, scales: [0.5, 1]}"
    desk = set_up(tmp_path, samples=2, scenes=("arc",), counts=(1,), cameras=policy)
    result = desk.result()
    assert {mean.samples for mean in result.sample_means} == {2} and result.scale_sweep is not None
    assert len(result.scale_sweep.chosen) == 2
