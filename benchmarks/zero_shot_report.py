"""What `zero_shot.py` says of the results: lines by method and scenes, the bars, the table of a model card."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from zero_shot_protocols import GSO, LEGO, LEGO_5, METRICS, NAMED, ORBITS, OTHERS, PHOTOGRAPHS, SCANNED, WORLDS
from zero_shot_runs import NEAREST, Bench, Setting, name_steps
from zero_shot_worlds import MANY_COUNTS, MOVES, move_of

from kaleido_bench.score.results.records import load_result
from kaleido_bench.score.results.rows import read_rows

GAIN_ORBIT = 3.0
"""What "does not collapse" is held to: in every way of leaving the orbit, so many dB above the nearest view."""

Means = dict[tuple[str, int, str], float]
"""(scene, references, metric) -> the mean over its targets."""


def load_means(folder: Path) -> Means:
    """Of every scene that a run has. Raises what load_result does."""
    result = load_result(folder / "result.json")
    return {
        (row.scene, int(row.references), row.metric): row.mean for row in result.scenes if row.targets == "strict-novel"
    }


def average(means: Means, references: int, metric: str, scenes: Iterable[str] | None = None) -> float | None:
    """Over scenes: all of them, or the named; None where a named one has no such mean."""
    found = {scene: value for (scene, count, name), value in means.items() if (count, name) == (references, metric)}
    wanted = list(found) if scenes is None else list(scenes)
    return fmean(found[scene] for scene in wanted) if wanted and all(scene in found for scene in wanted) else None


class Line(NamedTuple):
    """A method's means on some scenes; None where a metric is not defined there."""

    data: str
    size: int
    references: int
    method: str
    psnr: float
    gain: float | None  # in PSNR, over `nearest`
    ssim: float
    lpips: float
    foreground: float | None


class Move(NamedTuple):
    """Means over the targets that leave the orbit alike."""

    move: str
    method: str
    psnr: float
    gain: float  # in PSNR, over `nearest`


class Bar(NamedTuple):
    """What was asked, what was reached. `setting` is the number of steps."""

    name: str
    setting: str
    wanted: float
    reached: float
    unit: str

    @property
    def met(self) -> bool:
        return round(self.reached, 2) >= self.wanted


class Group(NamedTuple):
    """Scenes of a protocol that are reported together."""

    data: str
    protocol: str
    references: int
    size: int = 128
    scenes: tuple[str, ...] | None = None


def list_groups(counts: Sequence[int], meshes: Sequence[str]) -> list[Group]:
    scanned = Group("GSO and YCB", SCANNED, 3)
    return [
        *(Group("held-out worlds", WORLDS, count) for count in counts),
        scanned,
        scanned._replace(data="GSO toy", scenes=(GSO,)),
        scanned._replace(data="YCB", scenes=tuple(meshes)),
        Group("lego", LEGO_5, 5),
        Group("photographs named", PHOTOGRAPHS, 3, scenes=NAMED),
        Group("all photographs", PHOTOGRAPHS, 3),
        *(Group(scene, PHOTOGRAPHS, 3, scenes=(scene,)) for scene in (*NAMED, *OTHERS)),
        Group("GSO toy, as shipped", "real/objects-masked", 3, 256, (GSO,)),
        Group("lego, as shipped", "kbench/objects-1-20", 5, 256, (LEGO,)),
        Group("DTU and gold cape, as shipped", "real/objects-masked", 3, 256, ("dtu_scan24", "nerd_gold_cape")),
        Group("real/scenes-few, as shipped", "real/scenes-few", 3, 256),
        Group("real/llff-few, as shipped", "real/llff-few", 3, 256),
    ]


def tabulate(bench: Bench, groups: Sequence[Group], settings: Mapping[str, Sequence[Setting]]) -> list[Line]:
    """A line for each group and method that has results. `settings`: protocol -> the methods it was asked of."""
    lines: list[Line] = []
    for group in groups:
        base: float | None = None
        for setting in (NEAREST, *settings.get(group.protocol, ())):
            folder = bench.folder(group.protocol, setting)
            if not (folder / "result.json").is_file():
                continue
            means = load_means(folder)
            psnr, ssim, lpips = (average(means, group.references, metric, group.scenes) for metric in METRICS)
            if psnr is None or ssim is None or lpips is None:
                continue
            base = psnr if setting == NEAREST else base
            gain = None if base is None or setting == NEAREST else psnr - base
            front = average(means, group.references, "psnr-fg", group.scenes)
            lines.append(Line(group.data, group.size, group.references, setting.method, psnr, gain, ssim, lpips, front))
    return lines


def measure_moves(bench: Bench, settings: Sequence[Setting]) -> list[Move]:
    """A line for each way of leaving the orbit and method that has results."""
    found: dict[str, dict[str, float]] = {}
    for setting in (NEAREST, *settings):
        path = bench.folder(ORBITS, setting) / "scores" / "kbench-v1.parquet"
        if not path.is_file():
            continue
        rows = [row for row in read_rows(path) if row.metric == "psnr"]
        found[setting.method] = {move: fmean(row.value for row in rows if move_of(row.view) == move) for move in MOVES}
    return [
        Move(move, name, values[move], values[move] - found["nearest"][move])
        for move in MOVES
        for name, values in found.items()
    ]


def hold_to_bars(lines: Sequence[Line], moves: Sequence[Move]) -> list[Bar]:
    """Every bar for every method that was measured."""
    bars: list[Bar] = []
    for line in lines:
        if line.gain is None or line.size != 128:
            continue
        told = (line.data, line.references)
        if told == ("held-out worlds", 3):
            bars.append(Bar("held-out worlds, 3 references: over nearest", line.method, 8, line.gain, "dB"))
        if told == ("GSO and YCB", 3):
            bars.append(Bar("scanned objects, 3 references: PSNR", line.method, 22, line.psnr, "dB"))
            bars.append(Bar("scanned objects, 3 references: over nearest", line.method, 5, line.gain, "dB"))
        if told == ("lego", 5):
            bars.append(Bar("lego, 5 references: PSNR", line.method, 20, line.psnr, "dB"))
        if told == ("photographs named", 3):
            bars.append(Bar("photographs, 3 references: over nearest", line.method, 2, line.gain, "dB"))
    curve = [line.psnr for line in lines if line.data == "held-out worlds" and line.method == "1 step"]
    if len(curve) == 10:
        worst = min(later - sooner for sooner, later in itertools.pairwise(curve))
        bars.append(Bar("1 to 10 references: the smallest rise", "1 step", 0, worst, "dB"))
    for method in dict.fromkeys(name for _, name, _, _ in moves if name != "nearest"):
        gain = min(over for _, name, _, over in moves if name == method)
        bars.append(Bar("off the orbit, the worst move: over nearest", method, GAIN_ORBIT, gain, "dB"))
    return bars


def render_report(model: str, bars: Sequence[Bar], lines: Sequence[Line], moves: Sequence[Move]) -> str:
    """Markdown."""
    text = [f"# {model}, zero-shot", "", "| bar | steps | wanted | reached | |", "|:--|:--|--:|--:|:--|"]
    for bar in bars:
        verdict = "met" if bar.met else f"missed by {bar.wanted - bar.reached:.2f}"
        text.append(f"| {bar.name} | {bar.setting} | {bar.wanted:g} {bar.unit} | {bar.reached:.2f} | {verdict} |")
    text += [
        "",
        "| data | px | references | method | PSNR | over nearest | SSIM | LPIPS-alex | PSNR of the foreground |",
    ]
    text.append("|:--|--:|--:|:--|--:|--:|--:|--:|--:|")
    for line in lines:
        gain = "" if line.gain is None else f"{line.gain:+.2f}"
        front = "" if line.foreground is None else f"{line.foreground:.2f}"
        text.append(
            f"| {line.data} | {line.size} | {line.references} | {line.method} | {line.psnr:.2f} | {gain} | "
            f"{line.ssim:.3f} | {line.lpips:.3f} | {front} |"
        )
    text += ["", "| off the orbit, 5 references | method | PSNR | over nearest |", "|:--|:--|--:|--:|"]
    text += [f"| {move} | {name} | {value:.2f} | {over:+.2f} |" for move, name, value, over in moves]
    return "\n".join(text) + "\n"


SINGLE = frozenset((*NAMED, *OTHERS))
"""Groups that are one photograph's: in the report, not in the card."""


def render_card(lines: Sequence[Line]) -> str:
    """The table of a model card: a row for each group, PSNR / SSIM / LPIPS-alex of each method."""
    rows: dict[tuple[str, int, int], dict[str, Line]] = {}
    for line in lines:
        shown = line.data != "held-out worlds" or line.references in MANY_COUNTS
        if shown and line.data not in SINGLE:
            rows.setdefault((line.data, line.references, line.size), {})[line.method] = line
    decided = [line for line in lines if line.data == "lego"] or lines  # real data: 1 step and the best of many
    steps = sorted({int(line.method.split()[0]) for line in decided if line.method != "nearest"})
    methods = ["nearest", *(name_steps(number) for number in steps)]
    text = [f"| data | references | px | {' | '.join(methods)} |", "|:--|--:|--:|" + ":--|" * len(methods)]
    for (data, references, size), found in rows.items():
        cells = [
            f"{line.psnr:.2f} / {line.ssim:.3f} / {line.lpips:.3f}" if (line := found.get(name)) else ""
            for name in methods
        ]
        text.append(f"| {data} | {references} | {size} | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def choose_many(lines: Sequence[Line]) -> int | None:
    """The number of steps above 1 with the best PSNR on held-out worlds from 3 references."""
    found = {
        int(line.method.split()[0]): line.psnr
        for line in lines
        if (line.data, line.references) == ("held-out worlds", 3) and line.method not in ("nearest", "1 step")
    }
    return max(found, key=lambda steps: found[steps]) if found else None
