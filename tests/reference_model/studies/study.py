"""A small study of ablations, for the tests of every part of one: its base, its pairs, runs, a file of results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from reference_model.ablations import build_ablations, build_extra, change, shorten
from reference_model.presets import smoke
from reference_model.studies.results import append_rows
from reference_model.studies.runs import VIEWS, Run, choose_settings, describe_groups, identify, with_seed

SETTINGS = choose_settings(VIEWS)
BASE = shorten(smoke(), size=16, views=VIEWS, flops=1e9)
PAIRS = build_ablations(BASE)
FOLDER = Path(__file__).parents[3] / "docs" / "studies"
COMMITTED = sorted(path for path in FOLDER.glob("*.jsonl") if path.read_text().startswith('{"row": "plan"'))


def pair_of(group: str) -> Any:
    return next(pair for pair in [*PAIRS, *build_extra(BASE)] if pair.group == group)


def build_run(seed: int = 0, **model: Any) -> Run:
    preset = with_seed(change(BASE, model=model), seed)
    return Run(preset, (preset,))


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
