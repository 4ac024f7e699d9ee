"""What a result says, that it reads back, and that it holds no clock."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kaleido_bench.conventions import Convention
from kaleido_bench.errors import BenchError
from kaleido_bench.items import Deviations, plan_items
from kaleido_bench.predictions import open_run, write_prediction
from kaleido_bench.score.results.building import build_result
from kaleido_bench.score.results.records import load_result, render_result, result_path, write_result
from tests.score.desk import CONVENTION, Desk, noise, set_up


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
