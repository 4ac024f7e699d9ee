"""What an ablation study found: rows in a file, the difference of the two sides of each group with its uncertainty, and
whether its sign is the paper's.

A difference is ours minus the other, in dB, over the same held-out worlds. Two things make it uncertain. Training
again with another seed gives another difference: the spread of a preset's seeds, pooled over all that were trained more
than once, with Student's t for its few degrees of freedom. And other worlds would give another difference: the standard
error over scenes of the paired differences. The interval is the root of the sum of both squares, at 95 %. Where
nothing was trained twice it is that over worlds alone, and is marked (`Difference.covers_trainings`): it says whether
other worlds would turn the difference round, and nothing of another training.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

Row = dict[str, Any]

# Two-sided 95 % quantiles of Student's t by degrees of freedom; of more, the last.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)
NORMAL = 1.96


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


class Results(NamedTuple):
    plan: Row  # what all runs have in common
    groups: tuple[Row, ...]
    runs: dict[str, list[Row]]  # by side, in the order of their seeds
    failed: tuple[Row, ...]  # that no later run of the same weights and seed made good

    @property
    def settings(self) -> tuple[str, ...]:
        return tuple(self.plan["settings"])

    @property
    def steps(self) -> tuple[str, ...]:
        return tuple(self.plan["steps"])

    def finished(self) -> set[tuple[str, int]]:
        """Side and seed of every run."""
        return {(side, run["seed"]) for side, runs in self.runs.items() for run in runs}


def load_results(path: Path) -> Results:
    """Rows of a file, the last of each run and group counting. A last line that was cut off is left out.

    Raises FileNotFoundError where there is none, ValueError for a file without a plan.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: `python benchmarks/ablations.py --out {path.parent}` writes it")
    rows = [row for line in path.read_text().splitlines() if (row := read_line(line)) is not None]
    plans = [row for row in rows if row["row"] == "plan"]
    if not plans:
        raise ValueError(f"{path}: no plan among its {len(rows)} rows; expected a file of benchmarks/ablations.py")
    groups = {row["group"]: row for row in rows if row["row"] == "group"}
    latest = {(row["side"], row["seed"]): row for row in rows if row["row"] == "run"}
    runs: dict[str, list[Row]] = {}
    for side, seed in sorted(latest):
        runs.setdefault(side, []).append(latest[side, seed])
    good = {(row["weights"], row["seed"]) for row in latest.values()}
    failed = {(row["weights"], row["seed"]): row for row in rows if row["row"] == "failed"}
    return Results(plans[0], tuple(groups.values()), runs, tuple(row for key, row in failed.items() if key not in good))


def read_line(line: str) -> Row | None:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def read_scores(runs: Sequence[Row], setting: str, steps: str) -> Float[np.ndarray, "seed scene"]:
    """PSNR in dB."""
    return np.array([run["psnr"][setting][steps] for run in runs])


class Spread(NamedTuple):
    """Of a preset's mean PSNR over its seeds, pooled."""

    deviation: float  # dB, of one run; NaN where nothing was trained twice
    freedom: int  # degrees of freedom

    def half_width(self, ours: int, other: int) -> float:
        """Of the 95 % interval of a difference of means over so many seeds; NaN where unknown."""
        return student(self.freedom) * self.deviation * math.sqrt(1 / ours + 1 / other) if self.freedom else math.nan


def student(freedom: int) -> float:
    return STUDENT[min(freedom, len(STUDENT)) - 1]


def pool_spread(results: Results, settings: Sequence[str], steps: str) -> Spread:
    """Over everything trained more than once (weights that stand for two sides count once), of the mean over these
    settings.
    """
    squares, freedom, seen = 0.0, 0, set[str]()
    for runs in results.runs.values():
        if len(runs) < 2 or runs[0]["weights"] in seen:
            continue
        seen.add(runs[0]["weights"])
        means = np.mean([read_scores(runs, setting, steps).mean(1) for setting in settings], 0)
        squares, freedom = squares + float(((means - means.mean()) ** 2).sum()), freedom + len(runs) - 1
    return Spread(math.sqrt(squares / freedom) if freedom else math.nan, freedom)


class Difference(NamedTuple):
    """Ours minus the other, dB."""

    mean: float
    seeds: float  # half width of the 95 % interval over trainings; NaN where nothing was trained twice
    scenes: float  # half width of the 95 % interval over worlds

    @property
    def covers_trainings(self) -> bool:
        return not math.isnan(self.seeds)

    @property
    def half_width(self) -> float:
        """Of the 95 % interval: over trainings and worlds, or over worlds alone; NaN of a single world."""
        return math.hypot(self.seeds, self.scenes) if self.covers_trainings else self.scenes

    @property
    def sign(self) -> int:
        """0 where the interval holds zero, or is unknown."""
        return 0 if not abs(self.mean) > self.half_width else int(math.copysign(1, self.mean))


def compare(results: Results, group: Row, settings: Sequence[str], steps: str) -> Difference | None:
    """The difference of a group, in the mean over these settings; None where a side is missing.

    Sides of the same weights (group ix) are compared seed by seed: training moves both alike.
    """
    ours, other = (results.runs.get(group[side], []) for side in ("ours", "other"))
    if not ours or not other:
        return None
    a, b = (np.mean([read_scores(runs, x, steps) for x in settings], 0) for runs in (ours, other))
    if group["same_weights"]:
        both = min(len(a), len(b))
        by_seed = (a[:both] - b[:both]).mean(1)
        spread = student(both - 1) * by_seed.std(ddof=1) / math.sqrt(both) if both > 1 else math.nan
    else:
        spread = pool_spread(results, settings, steps).half_width(len(a), len(b))
    paired = a.mean(0) - b.mean(0)
    scenes = NORMAL * paired.std(ddof=1) / math.sqrt(len(paired)) if len(paired) > 1 else math.nan
    return Difference(float(paired.mean()), float(spread), float(scenes))


def judged_steps(results: Results, group: Row) -> str:
    """One step, which is how this model is used; of sides with the same weights many, since one step from pure noise
    knows no grid.
    """
    return results.steps[-1] if group["same_weights"] else results.steps[0]


VERDICTS = (
    *("same sign", "opposite sign"),  # as the paper reports
    *("ours better", "other better"),  # where it reports nothing
    *("inside the noise", "noise unknown", "not measured"),
)


def judge(group: Row, difference: Difference | None) -> str:
    """One of VERDICTS. A difference whose interval holds zero is inside the noise, whatever the paper reports."""
    if difference is None:
        return "not measured"
    if math.isnan(difference.half_width):
        return "noise unknown"
    if difference.sign == 0:
        return "inside the noise"
    if not group["sign"]:
        return "ours better" if difference.sign > 0 else "other better"
    return "same sign" if difference.sign == group["sign"] else "opposite sign"


def judge_group(results: Results, group: Row) -> str:
    """By the mean over the settings."""
    return judge(group, compare(results, group, results.settings, judged_steps(results, group)))


def mean_of(runs: Sequence[Row], field: str) -> float:
    """Over seeds, of what was measured; NaN for nothing."""
    values = [run[field] for run in runs if run[field] is not None]
    return float(np.mean(values)) if values else math.nan
