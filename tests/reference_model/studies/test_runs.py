"""What a study trains and how often, how long that takes, and how it is scored."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from reference_model.ablations import build_ablations, build_extra, change, shorten
from reference_model.config import Preset, Stage
from reference_model.held_out import Batch, render_batch
from reference_model.inference import LoadedModel
from reference_model.inputs import build_inputs
from reference_model.model import Kaleido
from reference_model.positions import normalise_poses
from reference_model.presets import small, smoke
from reference_model.stored import from_json
from reference_model.studies.estimates import Costs, estimate_queue, estimate_run
from reference_model.studies.results import load_results
from reference_model.studies.runs import (
    STEPS,
    VIEWS,
    Run,
    Setting,
    as_trained,
    choose_settings,
    describe_groups,
    identify,
    measure_throughput,
    plan_runs,
    record,
    score_side,
    take_setting,
    with_seed,
)
from tests.reference_model.studies.study import BASE, COMMITTED, SETTINGS, build_run, pair_of


def test_every_preset_is_trained_once_and_the_base_first_with_all_its_seeds() -> None:
    base = shorten(small(), size=64, views=VIEWS, flops=4e15)
    pairs = [*build_ablations(base), *build_extra(base)]
    runs = plan_runs(base, pairs, (3, 2))
    assert [(run.weights, run.seed) for run in runs[:3]] == [(identify(base), seed) for seed in range(3)]
    assert len({(run.weights, run.seed) for run in runs}) == len(runs)
    needed = {identify(as_trained(side)) for pair in pairs for side in (pair.ours, pair.other)}
    assert {run.weights for run in runs} == needed
    assert len(runs) == 3 + 2 * (len(needed) - 1)
    assert [run.seed for run in runs[3:]] == sorted(run.seed for run in runs[3:])
    # Nine of ten groups have a side of their own beside the base, one of them two; group ix only samples otherwise.
    assert len(plan_runs(base, build_ablations(base), (1, 1))) == 1 + 9 + 1


def test_the_sides_of_group_ix_are_one_training() -> None:
    pair = pair_of("ix")
    (run,) = plan_runs(BASE, [pair], (1, 1))
    assert [identify(side) for side in run.sides] == [identify(pair.ours), identify(pair.other)]
    assert run.preset == pair.ours and describe_groups([pair])[0]["same_weights"]


@pytest.mark.parametrize("rows", COMMITTED, ids=lambda path: path.stem)
def test_committed_rows_still_name_the_presets_they_are_of(rows: Path) -> None:
    """Started again on them, a study goes on: nothing that says nothing enters a name."""
    plan = load_results(rows).plan
    base = from_json(json.dumps(plan["record"]))
    assert not base.model.window and identify(base) == plan["base"]
    assert identify(change(base, model={"window_from": 512})) == plan["base"]
    assert identify(change(base, model={"window": 4})) != identify(change(base, model={"window": 4, "window_from": 9}))


def test_an_identity_knows_every_field_but_the_seed() -> None:
    assert identify(with_seed(BASE, 7)) == identify(BASE)
    for other in (change(BASE, flow={"min_t": 0.3}), change(BASE, train={"learning_rate": 1e-3})):
        assert identify(other) != identify(BASE)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([(1, 0.1, 1), (20, 3.0, 20), (100, 8.0, 50), (200, 20.0, 200), (300, 22.0, 220)], (21.0, 210, True)),
        ([(1, 0.1, 1), (20, 3.0, 20)], (3.0, 20, False)),
        ([], (None, None, False)),
    ],
)
def test_throughput_leaves_out_what_compiles(lines: list[tuple[int, float, float]], expected: tuple[Any, ...]) -> None:
    said = [{"step": step, "size": 64, "steps_per_s": rate, "tflops": flops} for step, rate, flops in lines]
    found = measure_throughput([{"parameters": 5}, *said, {"spike": 7, "loss": 3.0}], Stage(64, 80, 1.0))
    assert (found["steps_per_s"], found["tflops"], found["settled"]) == expected
    assert found["scenes_per_s"] == (None if expected[0] is None else 80 * expected[0])


def test_throughput_of_several_stages_is_that_of_the_last_once_it_runs() -> None:
    rates = [(200, 64, 30.0), (300, 64, 31.0), (400, 128, 2.0), (500, 128, 11.0), (600, 128, 12.0)]
    lines = [{"step": step, "size": size, "steps_per_s": rate, "tflops": 1.0} for step, size, rate in rates]
    found = measure_throughput(lines, Stage(128, 40, 0.5))
    assert (found["steps_per_s"], found["scenes_per_s"], found["settled"]) == (11.5, 460.0, True)
    cut = measure_throughput(lines[:3], Stage(128, 40, 0.5))
    assert (cut["steps_per_s"], cut["settled"]) == (2.0, False)


@pytest.mark.parametrize(
    ("views", "expected"),
    [(10, ["5->1", "5->5"]), (12, ["5->1", "5->5"]), (8, ["5->1", "3->5"]), (4, ["3->1", "2->2"])],
)
def test_settings_fit_the_sequences_that_were_trained(views: int, expected: list[str]) -> None:
    settings = choose_settings(views)
    assert [setting.name for setting in settings] == expected
    assert all(sum(setting) <= views for setting in settings)


# How long it takes.


def test_a_queue_is_as_long_as_its_runs_and_what_they_compile() -> None:
    costs = Costs(tflops=1e-3, process=5.0, run=2.0, compile=30.0, stage=10.0)  # 1e9 FLOPs a second
    base, again, gelu = build_run(0), build_run(1), build_run(0, mlp="gelu")
    slots = estimate_queue([base, again, gelu], ["0", "1"], 2e9, costs)
    # gelu goes first on the second device: base's code is being compiled, which its second seed then has for nothing.
    assert [(slot.run, slot.device, slot.begin, slot.end) for slot in slots] == [
        (base, "0", 0.0, 39.0), (gelu, "1", 0.0, 39.0), (again, "0", 39.0, 43.0),
    ]  # fmt: skip
    eager = estimate_queue([base, again, gelu], ["0", "1"], 2e9, costs.eager())
    assert max(slot.end for slot in eager) == 13.0
    staged = shorten(smoke(), size=32, views=4, flops=2e9, stages="preset")
    assert estimate_run(Run(staged, (staged,)), 2e9, costs, fresh=False, known=False) == 44.0
    halves = build_run(0, layout="encoder-decoder")
    assert estimate_run(halves, 2e9, costs, fresh=False, known=False) == 4.0  # never compiled


# How it is scored.


@pytest.fixture(scope="module")
def batch() -> Batch:
    return render_batch(3, 2, VIEWS, 16, "cpu")


def build_loaded(preset: Preset) -> LoadedModel:
    torch.manual_seed(0)
    model = Kaleido(preset.model).eval()
    torch.nn.init.normal_(model.head.weight, std=0.1)
    return LoadedModel(model, preset, "", (), "cpu", build_inputs(preset.model, "cpu"))


def test_one_target_is_scored_without_the_views_behind_it(batch: Batch) -> None:
    loaded = build_loaded(BASE)
    found = score_side(loaded, BASE, batch)
    images, c2w = batch.images.clone(), batch.c2w.clone()
    images[:, 6:] = torch.rand_like(images[:, 6:])
    c2w[:, 6:, :3, 3] += 3
    moved = score_side(loaded, BASE, batch._replace(images=images, c2w=c2w))
    assert moved["5->1"] == found["5->1"] and moved["5->5"] != found["5->5"]
    assert set(found) == {setting.name for setting in SETTINGS}
    assert all(set(row) == {"nearest", *(str(count) for count in STEPS)} for row in found.values())
    assert all(len(values) == 2 for row in found.values() for values in row.values())


def test_views_of_a_setting_stand_as_if_there_were_no_others(batch: Batch) -> None:
    taken = take_setting(batch, Setting(2, 1), "focus")
    assert torch.allclose(taken.c2w, normalise_poses(batch.c2w[:, :3]), atol=1e-5)
    assert taken.images.shape[1] == 3


def test_another_grid_moves_many_steps_and_not_one(batch: Batch) -> None:
    pair = pair_of("ix")
    loaded = build_loaded(BASE)
    ours, other = (score_side(loaded, side, batch) for side in (pair.ours, pair.other))
    assert ours["5->5"]["1"] == other["5->5"]["1"] and ours["5->5"]["8"] != other["5->5"]["8"]


@pytest.mark.parametrize("rows", COMMITTED, ids=lambda path: path.stem)
def test_the_name_of_a_stored_study_s_base_is_what_it_was(rows: Path) -> None:
    """Else a study that goes on would train everything again."""
    plan = load_results(rows).plan
    base = from_json(json.dumps(plan["record"]))
    assert (identify(base), record(base)) == (plan["base"], plan["record"])


def test_a_later_field_is_in_a_name_where_it_says_something() -> None:
    other = dataclasses.replace(BASE, train=dataclasses.replace(BASE.train, scale_share=0.5))
    assert identify(other) != identify(BASE) and record(other)["train"]["scale_share"] == 0.5
