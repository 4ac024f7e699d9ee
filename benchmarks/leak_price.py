"""What showing targets to the model is worth: one leaky index over real scenes, as published and without the leak.

    python benchmarks/leak_price.py DATA_DIR [--model nearest --model kaleido] [--out DIR]

The index is DepthSplat's way over scenes at hand: a window of 50 frames, 2, 4 and 6 references by farthest-point
sampling, nested, and all 50 frames targets, the references too (4, 8, 12 %: cvg/depthsplat,
assets/dl3dv_start_0_distance_50_ctx_{2,4,6}v_video_0_50.json). Every run of it has both means. Beside the difference
stands what a leak of a share f should add,

    f (value at references - value elsewhere)

with the two values taken from the rows of the same run, scene by scene, and averaged like the means.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from pydantic import JsonValue

from kaleido_bench.authoring import freeze_protocol, write_protocol
from kaleido_bench.cases import Case
from kaleido_bench.data.readers import build_reader
from kaleido_bench.protocol import load_protocol
from kaleido_bench.score.results import Result, load_result
from kaleido_bench.score.rows import Row, read_rows
from kaleido_bench.splits import describe_poses, nested_cases, order_references

SCENES = ("fox", "mydesk")
WINDOW = 50
COUNTS = (2, 4, 6)
METRICS = ("psnr", "ssim", "lpips-alex")


class Price(NamedTuple):
    """One line of the table."""

    model: str
    references: int
    metric: str
    published: float
    novel: float
    predicted: float

    @property
    def measured(self) -> float:
        """What the leak adds to the mean."""
        return self.published - self.novel


def build_cases(data_dir: Path) -> list[Case]:
    """The leaky index."""
    cases: list[Case] = []
    for name in SCENES:
        views = list(build_reader("transforms").load_scene(data_dir / "scenes", name).views.values())[:WINDOW]
        everything = list(range(len(views)))
        order = order_references(describe_poses([view.camera for view in views]), everything, everything, max(COUNTS))
        ids = [view.id for view in views]
        cases += nested_cases(name, [ids[place] for place in order], ids, COUNTS)
    return cases


def write_leaky(folder: Path, data_dir: Path) -> Path:
    """The protocol on disk; gives its YAML file."""
    preparation: JsonValue = {
        "size": [256, 256],
        "fit": "cover-crop",
        "filter": "lanczos",
        "antialias": True,
        "background": "white",
        "alpha": "composite",
    }
    fields: dict[str, JsonValue] = {
        "schema_version": 1,
        "name": "leak-price",
        "version": 1,
        "title": "Windows of 50 frames from 2, 4 and 6 of them, all 50 asked for",
        "level": "scene",
        "regime": "few-view",
        "dataset": {"name": "real-scenes", "reader": "transforms", "root": "scenes", "revision": "as at hand"},
        "reference_counts": list(COUNTS),
        "preparation": preparation,
        "cameras": {"policy": "given"},
        "convention": "kbench-v1",
        "metrics": list(METRICS),
        "samples": 1,
        "seed": 0,
        "targets": "as-published",
        "sources": ["split: benchmarks/leak_price.py, after cvg/depthsplat"],
    }
    frozen = freeze_protocol(fields, build_cases(data_dir), {}, header="Written by benchmarks/leak_price.py.")
    write_protocol(folder, frozen)
    return folder / frozen.yaml_path


def price_run(run: Path, model: str, counts: Sequence[int] = COUNTS) -> list[Price]:
    """The lines of one run, for these numbers of references."""
    result = load_result(run / "result.json")
    rows = read_rows(run / "scores" / "kbench-v1.parquet")
    return [
        Price(
            model,
            count,
            metric,
            find_mean(result, count, metric, "as-published"),
            find_mean(result, count, metric, "strict-novel"),
            predict([row for row in rows if row.metric == metric and row.references == count]),
        )
        for metric in METRICS
        for count in counts
    ]


def find_mean(result: Result, count: int, metric: str, targets: str) -> float:
    """A mean of a result."""
    key = (str(count), metric, targets)
    return next(mean.mean for mean in result.means if (mean.references, mean.metric, mean.targets) == key)


def predict(rows: Sequence[Row]) -> float:
    """f (value at references - value elsewhere), a mean over scenes."""
    scenes: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        scenes[row.scene].append(row)
    gains: list[float] = []
    for found in scenes.values():
        shown = [row.value for row in found if row.target_is_reference]
        novel = [row.value for row in found if not row.target_is_reference]
        gains.append(len(shown) / len(found) * (fmean(shown) - fmean(novel)))
    return fmean(gains)


def render(prices: Sequence[Price]) -> str:
    """The table as Markdown."""
    lines = [
        "| model | references | leak | metric | as published | strict-novel | measured | predicted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for price in prices:
        digits = 2 if price.metric == "psnr" else 3
        numbers = (price.published, price.novel, price.measured, price.predicted)
        signs = ("", "", "+", "+")
        cells = [f"{number:{sign}.{digits}f}" for number, sign in zip(numbers, signs, strict=True)]
        share = f"{100 * price.references / WINDOW:.0f} %"
        lines.append(f"| {price.model} | {price.references} | {share} | {price.metric} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs every model and prints the table."""
    parser = argparse.ArgumentParser(description="What a leaky index adds to a score, measured.")
    parser.add_argument("data_dir", type=Path, help="the folder with scenes/ in it")
    parser.add_argument("--model", action="append", help="default: nearest and kaleido")
    parser.add_argument("--out", type=Path, help="keep protocol and runs here")
    options = parser.parse_args(arguments)
    models = options.model or ["nearest", "kaleido"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        protocol = write_leaky(folder, options.data_dir)
        words = [word for model in models for word in ("--model", model)]
        command = [sys.executable, "-m", "kaleido_bench", "run", str(protocol), *words]
        subprocess.run([*command, "--data", str(options.data_dir), "--out", str(folder / "runs")], check=True)
        runs = sorted((folder / "runs" / load_protocol(protocol).protocol.name).iterdir())
        print(render([price for run in runs for price in price_run(run, run.name)]))


if __name__ == "__main__":
    main()
