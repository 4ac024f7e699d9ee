"""A study of ablations: what is trained and how often, how it is scored, held against the spread of seeds, kept and
drawn.
"""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import os
import runpy
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from reference_model.ablations import build_ablations, build_extra, change, shorten
from reference_model.config import Preset, Stage
from reference_model.held_out import Batch, render_batch
from reference_model.inference import LoadedModel
from reference_model.inputs import build_inputs
from reference_model.model import Kaleido
from reference_model.positions import normalise_poses
from reference_model.presets import small, smoke
from reference_model.studies.estimates import Costs, estimate_queue, estimate_run
from reference_model.studies.figures import draw_study, plot_groups, write_tables
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
from reference_model.studies.runs import (
    STEPS,
    VIEWS,
    Run,
    Setting,
    Study,
    as_trained,
    choose_settings,
    describe_groups,
    identify,
    measure_throughput,
    plan_runs,
    score_side,
    take_setting,
    with_seed,
)
from reference_model.studies.workers import choose_next, receive, take_device, work_off

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "ablations.py"
SETTINGS = choose_settings(VIEWS)
BASE = shorten(smoke(), size=16, views=VIEWS, flops=1e9)
PAIRS = build_ablations(BASE)


def pair_of(group: str) -> Any:
    return next(pair for pair in [*PAIRS, *build_extra(BASE)] if pair.group == group)


# What is trained.


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


def test_an_identity_knows_every_field_but_the_seed() -> None:
    assert identify(with_seed(BASE, 7)) == identify(BASE)
    for other in (change(BASE, flow={"min_t": 0.3}), change(BASE, train={"learning_rate": 1e-3})):
        assert identify(other) != identify(BASE)


def build_run(seed: int = 0, **model: Any) -> Run:
    preset = with_seed(change(BASE, model=model), seed)
    return Run(preset, (preset,))


def test_a_run_waits_for_one_that_compiles_the_same_code() -> None:
    first, again, other = build_run(0), build_run(1), build_run(0, mlp="gelu")
    deep = build_run(0, depth=4)
    assert first.graph == again.graph == deep.graph != other.graph
    assert choose_next([again, other], [first], set()) is other
    assert choose_next([again, other], [first], {first.graph}) is again
    assert choose_next([again, deep], [first], set()) is again  # nothing else is left


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


# What follows from it.

WORLDS = 40


def write_study(path: Path, effects: dict[str, list[float]], pairs: Any = PAIRS) -> Path:
    """A file in which a side, by its name, has these means over worlds in dB, one a seed; worlds differ by 3 dB."""
    scenes = torch.randn(WORLDS, generator=torch.Generator().manual_seed(0)) * 3
    scenes = (scenes - scenes.mean()).tolist()
    settings = [setting.name for setting in SETTINGS]
    plan = {"row": "plan", "preset": "smoke", "flops": 1e9, "size": 16, "views": VIEWS, "scenes": WORLDS,
            "settings": settings, "steps": ["1", "8"], "base": identify(BASE)}  # fmt: skip
    append_rows(path, [plan, *describe_groups(pairs)])
    for side, means in effects.items():
        for seed, mean in enumerate(means):
            scores = {"nearest": [12.0 + x for x in scenes], "1": [mean + x for x in scenes]}
            scores["8"] = [x - 1 for x in scores["1"]]
            append_rows(path, [{
                "row": "run", "side": side, "weights": side, "seed": seed, "parameters": 10**6, "steps": 300,
                "steps_per_s": 20.0, "scenes_per_s": 1600.0, "tflops": 200.0, "settled": True, "device": "GPU",
                "psnr": dict.fromkeys(settings, scores),
            }])  # fmt: skip
    return path


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


# How it is kept.


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


# How it is drawn.


def test_table_and_figure_say_every_group_and_what_was_not_run(tmp_path: Path) -> None:
    pairs = [*PAIRS, pair_of("noise")]
    sides = {identify(side): [19.5] for pair in pairs[1:] for side in (pair.ours, pair.other)}
    path = write_study(tmp_path / "a.jsonl", {**sides, identify(BASE): [20.1, 20.0, 19.9]}, pairs)
    table, figure, extra = draw_study(path)
    assert [x.name for x in (table, figure, extra)] == ["a.md", "a.png", "a-extra.png"]
    text = table.read_text()
    assert all(f"| {pair.group} | {' / '.join(pair.sides)} |" in text for pair in pairs)
    assert "| i | unified encoding / plucker and learned positions | standard positional encoding is worse" in text
    assert "– | not measured |" in text and "20.00 / 19.50" in text
    assert min(Image.open(figure).size) > 900 and min(Image.open(extra).size) > 900


def test_bars_stand_on_the_nearest_reference_and_carry_every_seed(tmp_path: Path) -> None:
    pair = pair_of("i")
    sides = {identify(pair.ours): [20.1, 20.0, 19.9], identify(pair.other): [19.0]}
    results = load_results(write_study(tmp_path / "a.jsonl", sides, [pair]))
    axis = plot_groups(results, results.groups).axes[0]
    bars = axis.patches[:2]
    assert [bar.get_y() for bar in bars] == pytest.approx([12, 12])
    assert [bar.get_height() for bar in bars] == pytest.approx([8.0, 7.0])
    assert sum(len(dots.get_offsets()) for dots in axis.collections if hasattr(dots, "get_sizes")
               and len(dots.get_sizes())) == 4  # fmt: skip
    words = {text.get_text() for one in axis.figure.axes for text in one.texts}
    assert {"same sign", "+", "architecture", "+1.00 ± 0.50"} <= words


STUDIES = sorted((ROOT / "docs" / "studies").glob("*.jsonl"))


@pytest.mark.parametrize("rows", STUDIES, ids=lambda path: path.stem)
def test_tables_in_the_documents_are_those_of_their_rows(rows: Path) -> None:
    assert rows.with_suffix(".md").read_text() == write_tables(load_results(rows))
    assert min(Image.open(rows.with_suffix(".png")).size) > 600


# Who does it.


def pretend(connection: Connection, device: str, study: Study) -> None:
    """A worker that trains nothing: it answers with its process, fails at seed 1, dies at seed 2, has no end at 3."""
    while (run := receive(connection)) is not None:
        while run.seed == 3:
            time.sleep(1)
        if run.seed == 2:
            os._exit(3)
        if run.seed == 1:
            connection.send([{"row": "failed", "weights": run.weights, "seed": 1, "error": "ValueError: no"}])
            return
        connection.send([{"row": "run", "weights": run.weights, "seed": run.seed, "process": os.getpid()}])


def test_a_run_that_fails_or_kills_its_process_stops_no_other() -> None:
    runs = [build_run(seed) for seed in (0, 1, 2, 4, 5)]
    outcomes = list(work_off(runs, ["cpu"], Study(1e9, 16, 2), target=pretend))
    rows = [row for outcome in outcomes for row in outcome.rows]
    assert [(row["row"], row["seed"]) for row in rows] == [
        ("run", 0), ("failed", 1), ("failed", 2), ("run", 4), ("run", 5),
    ]  # fmt: skip
    assert rows[2]["error"] == "its process ended with exit code 3"
    assert rows[3]["process"] == rows[4]["process"] != rows[0]["process"]


def test_a_study_that_is_broken_off_leaves_no_process() -> None:
    outcomes = work_off([build_run(0), build_run(3)], ["cpu", "cpu"], Study(1e9, 16, 2), target=pretend)
    assert next(outcomes).rows[0]["seed"] == 0 and multiprocessing.active_children()
    outcomes.close()
    assert not multiprocessing.active_children()


def test_after_the_deadline_nothing_is_begun() -> None:
    assert not list(work_off([build_run()], ["cpu"], Study(1e9, 16, 2), deadline=0.0, target=pretend))


def test_a_gpu_is_one_of_those_that_may_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert take_device("1") == "cuda" and os.environ["CUDA_VISIBLE_DEVICES"] == "6"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert take_device("cpu") == "cpu" and "CUDA_VISIBLE_DEVICES" not in os.environ
    assert take_device("1") == "cuda" and os.environ["CUDA_VISIBLE_DEVICES"] == "1"


# The whole.


def start(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["ablations.py", *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    return ended.value.code


def test_the_script_trains_scores_goes_on_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--tiny",
        "--groups",
        "ix,vii",
        "--flops",
        "1.5e8",
        "--scenes",
        "2",
        "--devices",
        "cpu",
        "--out",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "3 of 3 runs to do" in done.stdout and "3 done, 0 failed, 0 left" in done.stdout
    results = load_results(tmp_path / "ablations.jsonl")
    by_group = {group["group"]: group for group in results.groups}
    ours, other = (results.runs[by_group["ix"][side]] for side in ("ours", "other"))
    assert [run["seed"] for run in ours] == [run["seed"] for run in other] == [0, 1]
    for a, b in zip(ours, other, strict=True):
        assert a["weights"] == b["weights"] and a["psnr"]["5->5"]["1"] == b["psnr"]["5->5"]["1"]
        assert a["psnr"]["5->5"]["8"] != b["psnr"]["5->5"]["8"]
    gelu = results.runs[by_group["vii"]["other"]][0]
    assert gelu["flops"] == pytest.approx(ours[0]["flops"], rel=0.5) and gelu["flops"] >= 1.5e8
    assert ours[0]["psnr"] != ours[1]["psnr"] and (tmp_path / "ablations.png").is_file()
    before = (tmp_path / "ablations.jsonl").read_text()
    assert start(monkeypatch, *words) == 0 and "0 of 3 runs to do" in capsys.readouterr().out
    after = load_results(tmp_path / "ablations.jsonl")
    assert after == results and (tmp_path / "ablations.jsonl").read_text().startswith(before)
    refused = start(monkeypatch, *[word.replace("1.5e8", "3e8") for word in words])
    assert "holds another study (flops 150000000.0 there, 300000000.0 here" in str(refused)


def test_a_pair_is_kept_through_its_stages_and_diagnosed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--tiny", "--groups", "vi", "--stages", "preset", "--flops", "2e8", "--scenes", "2", "--devices", "cpu",
             "--seeds", "1,1", "--diagnose", "vi", "--no-draw", "--eager", "--out", str(tmp_path / "out"),
             "--weights", str(tmp_path / "weights")]  # fmt: skip
    assert start(monkeypatch, *words, "--dry-run") == 0 and not (tmp_path / "out").exists()
    planned = capsys.readouterr().out
    assert f"base, seed 0, kept as {tmp_path / 'weights' / 'vi-none'}" in planned
    assert "2 runs of 2e+08 model FLOPs, 4e+08 in all, on 1 devices" in planned
    assert start(monkeypatch, *words) == 0
    assert {path.name for path in (tmp_path / "weights").iterdir()} == {"vi-none", "vi-registers"}
    assert not list((tmp_path / "weights").rglob("state*"))  # nothing that only resuming reads
    found = json.loads((tmp_path / "out" / "diagnostics" / "activations.json").read_text())
    assert set(found) == {"vi-none", "vi-registers"} and set(found["vi-none"]) == {"16", "32", "64"}
    written = sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written == ["ablations.jsonl", "activations.json", "attention-vi-none.npz", "attention-vi-registers.npz"]
    results = load_results(tmp_path / "out" / "ablations.jsonl")
    assert results.plan["sizes"] == [16, 32] and results.plan["views"] == 4 and not results.plan["compiled"]
    for path in (tmp_path / "weights" / "vi-none").iterdir():
        path.unlink()
    assert "no weights in" in str(start(monkeypatch, *words))


def test_words_that_mean_nothing_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no group xi: expected some of i, ii" in str(start(monkeypatch, "--out", str(tmp_path), "--groups", "i,xi"))
    assert "iv to be kept: not among the groups that are run, vi" in str(
        start(monkeypatch, "--out", str(tmp_path), "--groups", "vi", "--keep", "iv")
    )
    assert start(monkeypatch, "--tiny") == 2
    assert "is not there" in str(start(monkeypatch, "--draw", str(tmp_path / "no.jsonl")))


def test_presets_travel_to_another_process_whole() -> None:
    import pickle

    run = build_run(3, mlp="gelu")
    back = pickle.loads(pickle.dumps(run))
    assert back == run and dataclasses.asdict(back.preset) == dataclasses.asdict(run.preset)
