"""What an ablation study trains: each preset once, whatever the number of groups it stands in; and its scores on
held-out worlds in the paper's two settings.

Groups share most of their sides, so runs are collected first: a run is a preset, a seed, and all the ways in which its
weights are sampled (the two sides of group ix are one run). What comes of a run is plain rows, which `results` reads.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from reference_model.ablations import Ablation
from reference_model.config import Preset, Stage, without_idle
from reference_model.held_out import (
    HELD_OUT_SEED,
    Batch,
    Heed,
    heed_nothing,
    nearest_reference,
    predict_targets,
    psnr,
    render_batch,
)
from reference_model.inference import LoadedModel, load_model
from reference_model.inputs import Inputs
from reference_model.model import Kaleido, count_parameters
from reference_model.positions import NORMALISATIONS
from reference_model.stored import to_json
from reference_model.train import Run as Training
from reference_model.train import train
from reference_model.training.schedule import Budget
from reference_model.training.steps import Stream, WorldSource

Row = dict[str, Any]
"""One line of JSON."""


class Setting(NamedTuple):
    """Of each held-out world the first views are references, those behind them targets that are made jointly."""

    references: int
    targets: int

    @property
    def name(self) -> str:
        return f"{self.references}->{self.targets}"


NAMED = 3  # version of the stored form that names are made of; fields that came later, and their defaults:
LATER = {"scale_share": 1.0}
VIEWS = 10  # which the paper's two settings take
STEPS = (1, 8)
SCENES_AT_ONCE = 64  # when predicting
SETTLED = 100  # training steps until all is compiled and recorded


def choose_settings(views: int) -> tuple[Setting, Setting]:
    """1 target from 5 references and 5 from 5, as in the paper; of sequences shorter than 10, as many as they hold."""
    targets = min(5, max(views - 3, 2))
    return Setting(min(5, views - 1), 1), Setting(min(5, views - targets), targets)


class Study(NamedTuple):
    """What all runs of a study have in common."""

    flops: float  # model FLOPs of each run
    size: int  # of the held-out images, pixels
    scenes: int  # held out
    photographs: Path | None = None
    compiled: bool = True  # blocks; steps are recorded either way
    views: int = VIEWS  # of a sequence


class Run(NamedTuple):
    preset: Preset  # as trained, with the run's seed
    sides: tuple[Preset, ...]  # how its weights are sampled; their seeds mean nothing
    kept: Path | None = None  # the folder in which its weights stay

    @property
    def seed(self) -> int:
        return self.preset.train.seed

    @property
    def weights(self) -> str:
        return identify(self.preset)

    @property
    def graph(self) -> str:
        """Runs of one graph compile the same code: their blocks and the shapes these see are the same."""
        model = dataclasses.asdict(self.preset.model)
        shapes = sorted({(stage.scenes, stage.image_size) for stage in self.preset.train.stages})
        return json.dumps([{**model, "depth": 0}, shapes])


def with_seed(preset: Preset, seed: int) -> Preset:
    return dataclasses.replace(preset, train=dataclasses.replace(preset.train, seed=seed))


def as_trained(preset: Preset) -> Preset:
    """The preset without what only sampling reads."""
    return dataclasses.replace(preset, flow=dataclasses.replace(preset.flow, sampling_mean=None))


def record(preset: Preset) -> Row:
    """The preset in the form that names are made of, whatever its seed: as version `NAMED` stored it, and a field that
    is `LATER` only where it is not at its default. So a study goes on though presets have gained a field.
    """
    raw = json.loads(to_json(with_seed(without_idle(preset), 0)))
    train = {field: value for field, value in raw["train"].items() if LATER.get(field) != value}
    return {**raw, "train": train, "version": NAMED}


def identify(preset: Preset) -> str:
    """A name for a preset, whatever its seed."""
    return hashlib.sha256((json.dumps(record(preset), indent=2, sort_keys=True) + "\n").encode()).hexdigest()[:12]


def plan_runs(base: Preset, ablations: Iterable[Ablation], seeds: tuple[int, int]) -> list[Run]:
    """Every run that the groups need, each once, the most needed first: the base with all its seeds (without its spread
    no difference can be judged), each group's sides in the order of the groups, then the further seeds of those.

    Args:
        seeds: of the base, and of every other preset.
    """
    sides = {identify(side): side for pair in ablations for side in (pair.ours, pair.other)}
    sides = {identify(base): base, **sides}
    by_weights: dict[str, list[Preset]] = {}
    for side in sides.values():
        by_weights.setdefault(identify(as_trained(side)), []).append(side)
    first, *others = by_weights.values()
    rounds = [(group, seed) for seed in range(seeds[1]) for group in others]
    planned = [*((first, seed) for seed in range(seeds[0])), *rounds]
    return [Run(with_seed(as_trained(group[0]), seed), tuple(group)) for group, seed in planned]


def describe_groups(ablations: Iterable[Ablation]) -> list[Row]:
    """A row for each group: what is compared, by the names that runs have."""
    return [
        {
            "row": "group", "group": pair.group, "kind": pair.kind, "question": pair.question,
            "labels": pair.sides, "reported": pair.reported, "sign": pair.sign,
            "ours": identify(pair.ours), "other": identify(pair.other),
            "same_weights": identify(as_trained(pair.ours)) == identify(as_trained(pair.other)),
        }
        for pair in ablations
    ]  # fmt: skip


class Bench(NamedTuple):
    """What a device keeps from run to run."""

    source: Unscored
    batch: Batch  # the held-out worlds
    device: str
    seconds: float  # that setting up took


class Unscored:
    """Procedural worlds, without the trainer's own look at held-out ones: a study has its own."""

    def __init__(self, worlds: WorldSource) -> None:
        self.worlds = worlds

    def describe(self) -> dict[str, object]:
        return self.worlds.describe()

    def open(self, preset: Preset, stage: int, piece: int, device: str) -> Stream:
        return self.worlds.open(preset, stage, piece, device)

    def score(
        self, model: Kaleido, inputs: Inputs, preset: Preset, device: str, heed: Heed = heed_nothing
    ) -> list[dict[str, float]]:
        return []


def set_up(study: Study, device: str) -> Bench:
    """Load the photographs and render the held-out worlds. Raises FileNotFoundError for missing photographs."""
    begun, worlds = time.monotonic(), WorldSource(study.photographs, device)
    renderer, photographs = worlds.painting
    batch = render_batch(HELD_OUT_SEED, study.scenes, study.views, study.size, device, photographs, renderer)
    return Bench(Unscored(worlds), batch, device, time.monotonic() - begun)


def take_setting(batch: Batch, setting: Setting, normalisation: str) -> Batch:
    """The views of a setting, their poses normalised by themselves."""
    images, c2w, intrinsics = (x[:, : sum(setting)] for x in batch)
    return Batch(images, NORMALISATIONS[normalisation](c2w.cpu()).to(c2w.device), intrinsics)


def per_scene(predicted: torch.Tensor, truth: torch.Tensor) -> list[float]:
    """PSNR of each scene in dB, the mean over its targets."""
    return [round(value, 3) for value in psnr(predicted, truth).mean(1).tolist()]


def score_side(loaded: LoadedModel, side: Preset, batch: Batch) -> Row:
    """PSNR of each held-out scene, by setting and steps, and of the nearest reference."""
    scores: Row = {}
    for setting in choose_settings(batch.images.shape[1]):
        views = take_setting(batch, setting, side.model.normalisation)
        truth = views.images[:, setting.references :]
        scores[setting.name] = {"nearest": per_scene(nearest_reference(views, setting.references), truth)}
        for steps in STEPS:
            parts = [
                predict_targets(loaded.model, loaded.inputs, Batch(*part), setting.references, steps, side.flow)
                for part in zip(*(x.split(SCENES_AT_ONCE) for x in views), strict=True)
            ]
            scores[setting.name][str(steps)] = per_scene(torch.cat(parts), truth)
    return scores


def measure_throughput(lines: Sequence[Row], stage: Stage) -> Row:
    """The median of what the log's lines say of the last stage once everything is compiled: those of steps after
    `SETTLED` but for the stage's first, or, of a stage that ends before, its last. `settled` says which.
    """
    timed = [line for line in lines if "steps_per_s" in line]
    before = sum(line["size"] != stage.image_size for line in timed)
    own = [line for line in timed if line["size"] == stage.image_size]
    settled = [line for line in own[1 if before else 0 :] if line["step"] > SETTLED]
    used = settled or own[-1:]
    if not used:
        return {"steps_per_s": None, "scenes_per_s": None, "tflops": None, "settled": False}
    rate, flops = (statistics.median(float(line[name]) for line in used) for name in ("steps_per_s", "tflops"))
    return {"steps_per_s": rate, "scenes_per_s": rate * stage.scenes, "tflops": flops, "settled": bool(settled)}


def carry_out(run: Run, study: Study, bench: Bench) -> list[Row]:
    """Train and score a run: a row for each side. What training raises comes through. The state of so short a run is
    not written; its weights are, to be read as everybody reads them.
    """
    begun, lines, device = time.monotonic(), list[Row](), bench.device
    with tempfile.TemporaryDirectory() as folder:
        out = run.kept or Path(folder) / "run"
        training = Training(out, Budget(flops=study.flops), device, study.compiled, recorded=True, resumable=False)
        train(run.preset, bench.source, training, lines.append)
        trained = time.monotonic()
        loaded, card = load_model(out, device), json.loads((out / "card.json").read_text())
    scores = [{"side": identify(side), "psnr": score_side(loaded, side, bench.batch)} for side in run.sides]
    shared: Row = {
        "row": "run", "weights": run.weights, "seed": run.seed, "parameters": count_parameters(loaded.model),
        "steps": card["steps"], "flops": card["flops"], "train_s": round(trained - begun, 1),
        "score_s": round(time.monotonic() - trained, 1), "setup_s": round(bench.seconds, 1),
        "first_step_s": next((line["seconds"] for line in lines if line.get("step") == 1), None),
        **measure_throughput(lines, run.preset.train.stages[-1]),
        "losses": [[line["step"], line["loss"]] for line in lines if "loss" in line and "step" in line],
        "spikes": sum("spike" in line for line in lines), "compiled": study.compiled,
        "device": card["device"], "torch": card["torch"], "code_sha256": card["code_sha256"],
        "photographs_sha256": card["photographs_sha256"],
    }  # fmt: skip
    return [{**shared, **score} for score in scores]
