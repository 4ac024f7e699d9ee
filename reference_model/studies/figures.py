"""An ablation study as a table and a figure like the paper's, drawn from its rows alone."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reference_model.studies.results import (
    Difference,
    Results,
    Row,
    Spread,
    compare,
    judge_group,
    judged_steps,
    load_results,
    mean_of,
    pool_spread,
    read_scores,
    student,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUMERALS = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")
COLOURS = {"ours": "#2a6f97", "other": "#e0a458"}
VERDICT_COLOURS = {
    "same sign": "#2f7d32", "opposite sign": "#b3261e", "ours better": "#1d4e70", "other better": "#9a6a1f",
    "inside the noise": "#777777", "noise unknown": "#777777", "not measured": "#aaaaaa",
}  # fmt: skip
MARKERS = ("o", "s")  # of the settings
BAR = 0.38
GAP = 0.5  # between kinds of groups
ONCE = "†"
SIGNS = {1: "+", 0: "", -1: "−"}


def draw_study(path: Path) -> list[Path]:
    """FILE.md and FILE.png beside the rows, FILE-extra.png where they have pairs beside the paper's; the paths written.
    Raises FileNotFoundError or ValueError for a file without rows of a study.
    """
    results = load_results(path)
    table = path.with_suffix(".md")
    table.write_text(write_tables(results))
    written = [table]
    import matplotlib

    matplotlib.use("Agg")
    paper, extra = paper_groups(results), extra_groups(results)
    for groups, ending in ((paper, ""), (extra, "-extra" if paper else "")):
        if groups and results.runs:
            written.append(path.with_name(f"{path.stem}{ending}.png"))
            plot_groups(results, groups).savefig(written[-1], dpi=130)
    return written


def paper_groups(results: Results) -> list[Row]:
    """In the caption's order."""
    return sorted((g for g in results.groups if g["group"] in NUMERALS), key=lambda g: NUMERALS.index(g["group"]))


def extra_groups(results: Results) -> list[Row]:
    return [group for group in results.groups if group["group"] not in NUMERALS]


# The table.


def show(value: float, digits: int = 2) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def show_difference(difference: Difference | None) -> str:
    if difference is None:
        return "–"
    noise = "?" if math.isnan(difference.half_width) else f"{difference.half_width:.2f}"
    return f"{difference.mean:+.2f} ± {noise}{mark(difference)}"


def mark(difference: Difference | None) -> str:
    """Behind what knows nothing of other trainings."""
    return "" if difference is None or difference.covers_trainings else ONCE


def mean_score(results: Results, group: Row, side: str, setting: str, steps: str) -> float:
    runs = results.runs.get(group[side], [])
    return float(read_scores(runs, setting, steps).mean()) if runs else math.nan


def name_sides(group: Row) -> str:
    return f"{group['labels'][0]} / {group['labels'][1]}"


def write_scores(results: Results, groups: Sequence[Row], steps: str) -> list[str]:
    """One table of PSNR for a number of steps."""
    settings = results.settings
    head = [f"{setting}: ours / other | Δ" for setting in settings]
    lines = [f"| group | ours / other | {' | '.join(head)} | Δ, mean |", "|---|---|" + "---|" * (2 * len(settings) + 1)]
    for group in groups:
        cells = [f"{group['group']}", name_sides(group)]
        for setting in settings:
            pair = (show(mean_score(results, group, side, setting, steps)) for side in ("ours", "other"))
            cells += [" / ".join(pair), show_difference(compare(results, group, [setting], steps))]
        cells.append(show_difference(compare(results, group, settings, steps)))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def write_verdicts(results: Results, groups: Sequence[Row]) -> list[str]:
    lines = ["| group | ours / other | the paper | judged in | Δ, dB | verdict |", "|---|---|---|---|---|---|"]
    for group in groups:
        steps = judged_steps(results, group)
        difference = compare(results, group, results.settings, steps)
        lines.append(
            f"| {group['group']} | {name_sides(group)} | {group['reported'] or name_sign(group)} | "
            f"{count_steps(steps)} | {show_difference(difference)} | {judge_group(results, group)}{mark(difference)} |"
        )
    return lines


def write_throughput(results: Results, groups: Sequence[Row]) -> list[str]:
    lines = [
        "| group | ours / other | parameters, M | steps | steps/s | scenes/s | TFLOP/s | ours to other, scenes/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group in groups:
        sides = [results.runs.get(group[side], []) for side in ("ours", "other")]

        def pair(field: str, digits: int, scale: float = 1.0) -> str:
            return " / ".join(show(mean_of(runs, field) * scale, digits) for runs in sides)  # noqa: B023

        ratio = mean_of(sides[0], "scenes_per_s") / mean_of(sides[1], "scenes_per_s")
        cells = (group["group"], name_sides(group), pair("parameters", 2, 1e-6), pair("steps", 0),
                 pair("steps_per_s", 1), pair("scenes_per_s", 0), pair("tflops", 0), show(ratio))  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def count_steps(steps: str) -> str:
    return "1 step" if steps == "1" else f"{steps} steps"


def describe_nearest(results: Results) -> str:
    return ", ".join(f"{setting} {nearest_level(results, setting):.2f} dB" for setting in results.settings)


def nearest_level(results: Results, setting: str) -> float:
    """PSNR of the nearest reference, the same for all runs."""
    run = next(iter(results.runs.values()))[0]
    return float(np.mean(run["psnr"][setting]["nearest"]))


def describe_study(results: Results) -> list[str]:
    """What was run, for people."""
    plan, settled = results.plan, [run for runs in results.runs.values() for run in runs if run["settled"]]
    seeds = sorted({len(runs) for runs in results.runs.values()})
    devices = sorted({run["device"] for runs in results.runs.values() for run in runs})
    spread = pool_spread(results, results.settings, results.steps[0])
    sizes = ", then ".join(str(size) for size in plan.get("sizes", [plan["size"]]))
    text = [
        f"`{plan['preset']}` at {sizes} px, {plan['views']} views a sequence, {plan['flops']:.2g} model FLOPs a "
        f"run, {plan['scenes']} held-out worlds; {', '.join(devices)}; runs of a preset: {', '.join(map(str, seeds))}"
        f"{'' if plan.get('compiled', True) else '; blocks not compiled'}.",
        f"PSNR in dB. Nearest reference: {describe_nearest(results)}. Δ is ours minus the other on the same worlds "
        f"with its 95 % interval{describe_spread(spread, results.steps[0])}",
    ]
    if not settled:
        text.append("No run was long enough for its throughput to settle: that of its last steps is given.")
    return text


def describe_spread(spread: Spread, steps: str) -> str:
    """What intervals cover."""
    if not spread.freedom:
        return (
            f" over worlds ({ONCE}). Nothing was trained twice: they say whether other worlds would turn a difference "
            "round, and nothing of how much another training would move it."
        )
    return (
        " over trainings and worlds; one training's standard deviation over seeds is "
        f"{show(spread.deviation, 3)} dB ({spread.freedom} degrees of freedom, {count_steps(steps)})."
    )


def write_tables(results: Results) -> str:
    """Markdown."""
    if not results.runs:
        return "No run has ended.\n"
    parts = ["# Ablations\n", *(f"{line}\n" for line in describe_study(results))]
    for title, groups in (("The paper's groups", paper_groups(results)), ("Extra", extra_groups(results))):
        if not groups:
            continue
        parts += [f"## {title}\n", *write_verdicts(results, groups), ""]
        for steps in results.steps:
            parts += [f"### {count_steps(steps)}\n", *write_scores(results, groups, steps), ""]
        parts += ["### Throughput of training\n", *write_throughput(results, groups), ""]
    if results.failed:
        parts += ["## Failed\n", *(f"- {row['weights']}, seed {row['seed']}: {row['error']}" for row in results.failed)]
    return "\n".join(parts).rstrip() + "\n"


# The figure.


class Places(NamedTuple):
    """Where groups stand on the x axis."""

    centres: list[float]
    kinds: list[tuple[str, float, float]]  # name, from, to


def place_groups(groups: Sequence[Row]) -> Places:
    """One unit each, kinds apart."""
    centres: list[float] = []
    kinds: list[tuple[str, float, float]] = []
    for group in groups:
        new = not kinds or kinds[-1][0] != group["kind"]
        at = centres[-1] + 1 + (GAP if new else 0) if centres else 0.0
        centres.append(at)
        kinds = [*kinds, (group["kind"], at, at)] if new else [*kinds[:-1], (group["kind"], kinds[-1][1], at)]
    return Places(centres, kinds)


def plot_psnr(axis: Axes, results: Results, groups: Sequence[Row], places: Places, setting: str) -> None:
    """Bars of one step from the nearest reference's level on, each seed a dot, the many-step level a stroke."""
    few, many = results.steps[0], results.steps[-1]
    level, spread = nearest_level(results, setting), pool_spread(results, [setting], few)
    tops, lows = [level], [level]
    for group, centre in zip(groups, places.centres, strict=True):
        for side, shift in (("ours", -BAR / 2), ("other", BAR / 2)):
            runs = results.runs.get(group[side], [])
            if not runs:
                axis.text(centre + shift, level, "not\nrun", ha="center", va="bottom", fontsize=6, color="#999999")
                continue
            seeds = read_scores(runs, setting, few).mean(1)
            noise = student(spread.freedom) * spread.deviation / math.sqrt(len(seeds)) if spread.freedom else None
            error = {"elinewidth": 0.9, "capsize": 2, "ecolor": "#333333"}
            axis.bar(centre + shift, seeds.mean() - level, BAR, bottom=level, color=COLOURS[side], yerr=noise,
                     error_kw=error, zorder=2)  # fmt: skip
            spots = centre + shift + np.linspace(-0.08, 0.08, len(seeds)) * (len(seeds) > 1)
            axis.scatter(spots, seeds, s=7, color="white", edgecolor="#222222", lw=0.6, zorder=4)
            high = read_scores(runs, setting, many).mean()
            axis.plot([centre + shift - BAR / 2.6, centre + shift + BAR / 2.6], [high, high], color="black", lw=1.3,
                      zorder=3)  # fmt: skip
            tops += [float(seeds.max()) + (noise or 0)]
            lows += [float(seeds.min()), float(high)]
    reach = max(max(tops) - min(lows), 0.1)
    axis.set_ylim(min(lows) - 0.05 * reach, max(tops) + 0.06 * reach)
    axis.axhline(level, color="#555555", lw=0.9, ls="--", zorder=1)
    references, targets = setting.split("->")
    views = "target" if targets == "1" else "targets"
    axis.set_ylabel(f"PSNR, dB\n{targets} {views} from {references}", fontsize=8)


def plot_throughput(axis: Axes, results: Results, groups: Sequence[Row], places: Places) -> None:
    """Scenes a second, and on each bar TFLOP/s."""
    for group, centre in zip(groups, places.centres, strict=True):
        for side, shift in (("ours", -BAR / 2), ("other", BAR / 2)):
            runs = results.runs.get(group[side], [])
            pace = mean_of(runs, "scenes_per_s")
            if math.isnan(pace):
                continue
            axis.bar(centre + shift, pace, BAR, color=COLOURS[side], zorder=2)
            axis.text(centre + shift, pace, show(mean_of(runs, "tflops"), 0), ha="center", va="bottom", fontsize=6.5)
    axis.margins(y=0.14)
    axis.set_ylabel("training, scenes/s\n(on top: TFLOP/s)", fontsize=8)


def plot_differences(axis: Axes, results: Results, groups: Sequence[Row], places: Places) -> None:
    """Ours minus the other: by setting, in the steps that are judged (filled, with its interval) and the others."""
    shifts = np.linspace(-0.16, 0.16, len(results.settings))
    reach = [0.05]
    for group, centre in zip(groups, places.centres, strict=True):
        judged, colour = judged_steps(results, group), VERDICT_COLOURS[judge_group(results, group)]
        for setting, shift, marker in zip(results.settings, shifts, MARKERS, strict=False):
            for steps in results.steps:
                found = compare(results, group, [setting], steps)
                if found is None:
                    continue
                filled = steps == judged
                noise = found.half_width if filled and not math.isnan(found.half_width) else None
                axis.errorbar(centre + shift + (0 if filled else 0.1), found.mean, yerr=noise, marker=marker,
                              ms=5.5 if filled else 4, color=colour, mfc=colour if filled else "white", lw=1.2,
                              capsize=2.5, alpha=1 if filled else 0.75, zorder=3)  # fmt: skip
                reach += [abs(found.mean) + (noise or 0)]
    axis.axhline(0, color="#333333", lw=0.9, zorder=1)
    axis.set_ylim(-1.12 * max(reach), 1.12 * max(reach))
    axis.set_ylabel("ours − other, dB", fontsize=8)
    for height, word in ((0.97, "ours better"), (0.03, "other better")):
        axis.text(0.997, height, word, transform=axis.transAxes, fontsize=7, ha="right", color="#555555",
                  va="top" if height > 0.5 else "bottom", style="italic")  # fmt: skip


def name_sign(group: Row) -> str:
    """What the paper is said to report."""
    if group["kind"] == "extra":
        return "not the paper's"
    return SIGNS[group["sign"]] or ("not of images" if group["reported"] else "nothing reported")


def plot_signs(axis: Axes, results: Results, groups: Sequence[Row], places: Places) -> None:
    """A strip of words: the paper's sign, ours, the verdict, and what stands against what."""
    told = ("here", "verdict") if all(group["kind"] == "extra" for group in groups) else ("paper", "here", "verdict")
    rows = [(name, 0.93 - 0.13 * i) for i, name in enumerate(told)]
    bottom = rows[-1][1] - 0.12
    for name, height in rows:
        axis.text(-0.005, height, name, transform=axis.transAxes, ha="right", va="center", fontsize=7.5, weight="bold")
    for group, centre in zip(groups, places.centres, strict=True):
        steps, verdict = judged_steps(results, group), judge_group(results, group)
        found = compare(results, group, results.settings, steps)
        words = {"paper": name_sign(group), "here": show_difference(found), "verdict": verdict + mark(found)}
        for name, height in rows:
            word, paper = words[name], name == "paper"
            big = paper and word == "+"
            axis.text(centre, height, word, ha="center", va="center", fontsize=11 if big else 7,
                      color="black" if paper else VERDICT_COLOURS[verdict])  # fmt: skip
        sides = [textwrap.fill(label, 15) for label in group["labels"]]
        axis.text(centre, bottom, group["group"], ha="center", va="top", fontsize=9.5, weight="bold")
        axis.text(
            centre, bottom - 0.13, sides[0], ha="center", va="top", fontsize=7, color=COLOURS["ours"], weight="bold"
        )
        drop = bottom - 0.13 - 0.075 * (sides[0].count("\n") + 1) - 0.03
        axis.text(centre, drop, sides[1], ha="center", va="top", fontsize=7, color="#9a6a1f", weight="bold")
    axis.set_ylim(0, 1)
    axis.axis("off")


def write_legend(figure: Figure, results: Results) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    few, many = (count_steps(steps) for steps in (results.steps[0], results.steps[-1]))
    handles = [
        Patch(color=COLOURS["ours"], label=f"ours, {few}"), Patch(color=COLOURS["other"], label=f"other, {few}"),
        Line2D([], [], color="black", lw=1.3, label=many),
        Line2D([], [], color="#222222", marker="o", mfc="white", ms=3.5, lw=0, label="a seed"),
        Line2D([], [], color="#555555", ls="--", lw=0.9, label="nearest reference"),
        *(Line2D([], [], color="#444444", marker=marker, ms=5, lw=1.2, label=f"Δ {setting.replace('->', ' → ')}")
          for setting, marker in zip(results.settings, MARKERS, strict=False)),
        Line2D([], [], color="#444444", marker="o", mfc="white", ms=4, lw=0, label="Δ in the other number of steps"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="upper center", ncols=len(handles), fontsize=7.5, frameon=False,
                  bbox_to_anchor=(0.5, 0.985), columnspacing=1.2, handletextpad=0.5)  # fmt: skip


def plot_groups(results: Results, groups: Sequence[Row]) -> Figure:
    """PSNR of the settings, throughput, differences with intervals, and signs beside the paper's, group by group."""
    import matplotlib.pyplot as plt

    places, count = place_groups(groups), len(results.settings)
    width = max(7.5, 1.25 * (places.centres[-1] + 1) + 1.2)
    figure, axes = plt.subplots(
        count + 3, 1, figsize=(width, 10.5), sharex=True,
        gridspec_kw={"height_ratios": [*[2.1] * count, 1.5, 2.0, 2.1], "hspace": 0.1},
    )  # fmt: skip
    figure.subplots_adjust(left=0.9 / width, right=1 - 0.15 / width, top=0.925, bottom=0.06)
    for axis, setting in zip(axes, results.settings, strict=False):
        plot_psnr(axis, results, groups, places, setting)
    plot_throughput(axes[count], results, groups, places)
    plot_differences(axes[count + 1], results, groups, places)
    plot_signs(axes[count + 2], results, groups, places)
    axes[0].set_xlim(-0.65, places.centres[-1] + 0.65)
    axes[0].set_xticks([])
    for axis in axes[:-1]:
        axis.grid(axis="y", alpha=0.25)
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
        for _, start, end in places.kinds[::2]:
            axis.axvspan(start - 0.6, end + 0.6, color="#f3f3ee", zorder=0)
    for name, start, end in [kind for kind in places.kinds if len(places.kinds) > 1 or kind[0] != "extra"]:
        axes[0].text((start + end) / 2, 1.02, name, transform=axes[0].get_xaxis_transform(), ha="center", fontsize=9)
    write_legend(figure, results)
    note = " ".join(describe_study(results)).replace("`", "")
    figure.text(0.15 / width, 0.012, textwrap.fill(note, int(width * 18)), fontsize=7, color="#444444", va="bottom")
    return figure
