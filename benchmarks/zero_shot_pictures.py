"""What `zero_shot.py` shows: curves over references and steps, and sheets of references, truth, prediction and error.

Sheets are read from the folders of runs, so that what is looked at is what was scored. Error maps are the mean absolute
difference over channels, black at 0, white at 64 of 255.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from kaleido_bench.items import WorkItem, plan_items
from kaleido_bench.predictions import Run, load_prediction, load_run_protocol, open_run
from kaleido_bench.views import ViewReader

CELL, GAP, HEAD, NAMES = 128, 4, 14, 96
ROWS = 12  # of a sheet
SHOWN = 3  # references at most
ALWAYS = ("gso_toy",)
WHITE_AT = 64


class Labelled(Protocol):
    """A setting of zero_shot.py."""

    @property
    def label(self) -> str: ...
    @property
    def steps(self) -> int | None: ...


class Cell(NamedTuple):
    image: UInt8[np.ndarray, "h w 3"] | None
    caption: str


class Row(NamedTuple):
    name: str
    cells: list[Cell]


def map_error(prediction: UInt8[np.ndarray, "h w 3"], truth: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    gray = np.abs(prediction.astype(float) - truth).mean(-1, keepdims=True) * 255 / WHITE_AT
    return gray.clip(0, 255).round().astype(np.uint8).repeat(3, -1)


def measure_psnr(prediction: UInt8[np.ndarray, "h w 3"], truth: UInt8[np.ndarray, "h w 3"]) -> float:
    """dB, for captions: tables have kbench's."""
    error = float(((prediction.astype(float) - truth) ** 2).mean())
    return 10 * math.log10(255**2 / error) if error else 100.0


def build_row(runs: Mapping[str, Run], reader: ViewReader, item: WorkItem, target: int) -> Row:
    """One target: references, truth, then prediction and error of each run."""
    case = item.case
    shown = [Cell(reader.load_view(case.scene, view).image, "reference") for view in case.references[:SHOWN]]
    shown += [Cell(None, "")] * (SHOWN - len(shown))
    truth = reader.load_view(case.scene, case.targets[target]).image
    cells = [*shown, Cell(truth, "truth")]
    for name, run in runs.items():
        size = (truth.shape[1], truth.shape[0])
        made = load_prediction(run, item, size)[target]
        cells += [Cell(made, f"{name} {measure_psnr(made, truth):.1f}"), Cell(map_error(made, truth), "error")]
    return Row(f"{case.scene}\n{len(case.references)} references", cells)


def paste_rows(rows: Sequence[Row]) -> Image.Image:
    wide = max(len(row.cells) for row in rows)
    sheet = Image.new("RGB", (NAMES + wide * (CELL + GAP), len(rows) * (CELL + HEAD + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for line, row in enumerate(rows):
        top = line * (CELL + HEAD + GAP)
        draw.text((2, top + HEAD), "\n".join(part[:16] for part in row.name.split("\n")), "black")
        for column, cell in enumerate(row.cells):
            left = NAMES + column * (CELL + GAP)
            draw.text((left, top), cell.caption, "black")
            if cell.image is not None:
                image = Image.fromarray(cell.image)
                if image.size != (CELL, CELL):
                    image = image.resize((CELL, CELL), Image.Resampling.LANCZOS)
                sheet.paste(image, (left, top + HEAD))
    return sheet


def choose_items(items: Sequence[WorkItem], rows: int) -> list[WorkItem]:
    """One of each scene, with 3 references where there is a choice; evenly over the scenes, `ALWAYS` first."""
    scenes: dict[str, WorkItem] = {}
    for item in items:
        best = scenes.get(item.case.scene)
        if best is None or abs(len(item.case.references) - 3) < abs(len(best.case.references) - 3):
            scenes[item.case.scene] = item
    listed = sorted(scenes.values(), key=lambda item: item.case.scene not in ALWAYS)
    return [listed[i * len(listed) // min(rows, len(listed))] for i in range(min(rows, len(listed)))]


def draw_sheet(folder: Path, data: Path, labels: Mapping[str, str], rows: int = ROWS) -> Image.Image | None:
    """A sheet of one protocol. `labels`: what a run is called -> its folder below `folder`. Fewer scenes than rows:
    more targets of each. None where no run is there.
    """
    runs = {name: open_run(folder / label) for name, label in labels.items() if (folder / label / "run.json").is_file()}
    if not runs:
        return None
    loaded = load_run_protocol(next(iter(runs.values())))
    reader = ViewReader(loaded, data)
    there = [
        item
        for item in plan_items(loaded)
        if all((run.item_folder(item) / "case.json").is_file() for run in runs.values())
    ]
    chosen = choose_items(there, rows)
    if not chosen:
        return None
    each = max(1, rows // len(chosen))
    lines: list[Row] = []
    for number, item in enumerate(chosen):
        count = len(item.case.targets)
        places = [(number + step * max(1, count // each)) % count for step in range(min(each, count))]
        lines += [build_row(runs, reader, item, place) for place in places]
    return paste_rows(lines)


def draw_picture(out: Path, protocol: str, methods: Sequence[Labelled], rows: int = 6) -> Path | None:
    """sheets/picture.png: the model alone, in 256 colours, small enough to stand in a document."""
    labels = {f"{each.steps} step": each.label for each in methods}
    sheet = draw_sheet(out / "runs" / protocol, out / "data", labels, rows)
    if sheet is None:
        return None
    place = out / "sheets" / "picture.png"
    place.parent.mkdir(exist_ok=True)
    sheet.quantize(256).save(place, optimize=True)
    return place


def draw_sheets(out: Path, settings: Mapping[str, Sequence[Labelled]]) -> list[Path]:
    """sheets/<protocol>.png: nearest, and every setting."""
    drawn: list[Path] = []
    for protocol, methods in settings.items():
        labels = {"nearest": "nearest"} | {f"{each.steps} step": each.label for each in methods}
        sheet = draw_sheet(out / "runs" / protocol, out / "data", labels)
        if sheet is not None and methods:
            drawn.append(out / "sheets" / f"{protocol.split('/')[-1]}.png")
            drawn[-1].parent.mkdir(exist_ok=True)
            sheet.save(drawn[-1], optimize=True)
    return drawn


def draw_curves(out: Path, lines: Sequence[Mapping[str, Any]]) -> list[Path]:
    """views.png and steps.png: PSNR and LPIPS on held-out worlds, over references and over steps at 3 references."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    worlds = [line for line in lines if line["data"] == "held-out worlds"]
    drawn: list[Path] = []
    over_views = {name: [line for line in worlds if line["method"] == name] for name in ("1 step", "nearest")}
    over_steps = [line for line in worlds if line["references"] == 3 and line["method"] != "nearest"]
    base = next((line for line in worlds if line["references"] == 3 and line["method"] == "nearest"), None)
    for name in ("views", "steps"):
        figure, axes = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
        for axis, metric, title in zip(axes, ("psnr", "lpips"), ("PSNR, dB", "LPIPS-alex"), strict=True):
            if name == "views":
                for method, points in over_views.items():
                    x = [line["references"] for line in points]
                    axis.plot(x, [line[metric] for line in points], "o-", label=method)
                axis.set_xlabel("references")
            else:
                x = [int(line["method"].split()[0]) for line in over_steps]
                axis.plot(x, [line[metric] for line in over_steps], "o-", label="3 references")
                if base is not None:
                    axis.axhline(base[metric], linestyle=":", color="gray", label="nearest")
                axis.set_xscale("log", base=2)
                axis.set_xticks(x, [str(value) for value in x])
                axis.set_xlabel("steps")
            axis.set_ylabel(title)
            axis.legend()
        drawn.append(out / f"{name}.png")
        figure.savefig(drawn[-1], dpi=110)
        pyplot.close(figure)
    return drawn
