"""What showing targets to the model is worth: one leaky index over real scenes, as published and without the leak.

    python benchmarks/leak_price.py DATA_DIR [--model nearest --model kaleido@tiny] [--out DIR]

The index is DepthSplat's way over scenes at hand: a window of 50 frames, 2, 4 and 6 references by farthest-point
sampling, nested, and all 50 frames targets, the references too (4, 8, 12 %: cvg/depthsplat,
assets/dl3dv_start_0_distance_50_ctx_{2,4,6}v_video_0_50.json). Every run of it has both means. Beside their difference
stands what was to be expected before it was measured,

    by level: f (c - n)        by gain: f (c - m)

with f the share of the targets that `kbench lint` says is shown, n the strict-novel mean, and c and m what the method
scores on views that it was shown and on others, both measured on a scene that is not in the table. No value at a shown
view of the table's scenes enters. The level holds for methods that copy what they were shown; the gain is for others,
whose copies are as good as the scene lets them be.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from kaleido_bench.authoring import freeze_protocol, write_protocol
from kaleido_bench.cases import Case
from kaleido_bench.data.readers import build_reader
from kaleido_bench.drafts import Data, Draft, describe_draft, describe_preparation
from kaleido_bench.lint.protocols import measure_leak
from kaleido_bench.protocol import load_protocol
from kaleido_bench.score.results.records import Result, load_result
from kaleido_bench.score.results.rows import read_rows
from kaleido_bench.splits import describe_poses, nested_cases, order_references

SCENES = ("fox", "mydesk")
ELSEWHERE = ("temple_ring",)
"""Where the worth of a shown view is measured: another scene, of 47 frames."""

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
    by_level: float
    by_gain: float

    @property
    def measured(self) -> float:
        """What the leak adds to the mean."""
        return self.published - self.novel


def build_cases(data_dir: Path, scenes: Sequence[str]) -> list[Case]:
    """The leaky index."""
    cases: list[Case] = []
    for name in scenes:
        views = list(build_reader("transforms").load_scene(data_dir / "scenes", name).views.values())[:WINDOW]
        everything = list(range(len(views)))
        order = order_references(describe_poses([view.camera for view in views]), everything, everything, max(COUNTS))
        ids = [view.id for view in views]
        cases += nested_cases(name, [ids[place] for place in order], ids, COUNTS)
    return cases


def write_leaky(
    folder: Path,
    data_dir: Path,
    *,
    name: str = "leak-price",
    scenes: Sequence[str] = SCENES,
    metrics: Sequence[str] = METRICS,
    size: int = 256,
) -> Path:
    """The protocol on disk; gives its YAML file."""
    draft = Draft(
        name=name,
        title="Windows of 50 frames from 2, 4 and 6 of them, all 50 asked for",
        level="scene",
        regime="few-view",
        data=Data("real-scenes", "transforms", "scenes", "as at hand"),
        preparation=describe_preparation(size),
        metrics=tuple(metrics),
        cases=tuple(build_cases(data_dir, scenes)),
        targets="as-published",
        sources=("split: benchmarks/leak_price.py, after cvg/depthsplat",),
    )
    frozen = freeze_protocol(describe_draft(draft), draft.cases, {}, header="Written by benchmarks/leak_price.py.")
    write_protocol(folder, frozen)
    return folder / frozen.yaml_path


class Elsewhere(NamedTuple):
    """What a method scores on another scene."""

    shown: float
    novel: float


def price_run(
    run: Path, model: str, shares: Mapping[int, float], found: Mapping[tuple[int, str], Elsewhere]
) -> list[Price]:
    """The lines of one run.

    Args:
        run: its folder.
        model: as the table calls it.
        shares: number of references -> share of the targets that is shown, from the index alone.
        found: (number of references, metric) -> the worth of a shown view and of others, from another run.
    """
    result = load_result(run / "result.json")
    prices: list[Price] = []
    for (count, metric), elsewhere in sorted(found.items(), key=lambda item: (METRICS.index(item[0][1]), item[0][0])):
        novel = find_mean(result, count, metric, "strict-novel")
        published = find_mean(result, count, metric, "as-published")
        level, gain = shares[count] * (elsewhere.shown - novel), shares[count] * (elsewhere.shown - elsewhere.novel)
        prices.append(Price(model, count, metric, published, novel, level, gain))
    return prices


def find_shares(protocol: Path) -> dict[int, float]:
    """What `kbench lint` counts: number of references -> share of the targets that is shown."""
    cases = load_protocol(protocol).cases
    counts = sorted({len(case.references) for case in cases})
    return {count: measure_leak([case for case in cases if len(case.references) == count]).share for count in counts}


def measure_elsewhere(run: Path) -> dict[tuple[int, str], Elsewhere]:
    """(number of references, metric) -> means over the targets that were shown, and over the others."""
    values: defaultdict[tuple[int, str], dict[bool, list[float]]] = defaultdict(lambda: {True: [], False: []})
    for row in read_rows(run / "scores" / "kbench-v1.parquet"):
        values[row.references, row.metric][row.target_is_reference].append(row.value)
    return {key: Elsewhere(fmean(each[True]), fmean(each[False])) for key, each in values.items()}


def find_mean(result: Result, count: int, metric: str, targets: str) -> float:
    """A mean of a result."""
    key = (str(count), metric, targets)
    return next(mean.mean for mean in result.means if (mean.references, mean.metric, mean.targets) == key)


def render(prices: Sequence[Price]) -> str:
    """The table as Markdown."""
    lines = [
        "| model | references | leak | metric | as published | strict-novel | measured | by level | by gain |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for price in prices:
        digits = 2 if price.metric == "psnr" else 3
        numbers = (price.published, price.novel, price.measured, price.by_level, price.by_gain)
        signs = ("", "", "+", "+", "+")
        cells = [f"{number:{sign}.{digits}f}" for number, sign in zip(numbers, signs, strict=True)]
        share = f"{100 * price.references / WINDOW:.0f} %"
        lines.append(f"| {price.model} | {price.references} | {share} | {price.metric} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs every model and prints the table."""
    parser = argparse.ArgumentParser(description="What a leaky index adds to a score, measured.")
    parser.add_argument("data_dir", type=Path, help="the folder with scenes/ in it")
    parser.add_argument("--model", action="append", help="default: nearest and kaleido@tiny")
    parser.add_argument("--out", type=Path, help="keep protocol and runs here")
    options = parser.parse_args(arguments)
    models = options.model or ["nearest", "kaleido@tiny"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        here = write_leaky(folder, options.data_dir)
        elsewhere = write_leaky(folder, options.data_dir, name="leak-price-elsewhere", scenes=ELSEWHERE)
        words = [word for model in models for word in ("--model", model)]
        command = [sys.executable, "-m", "kaleido_bench", "run", str(here), str(elsewhere), *words]
        subprocess.run([*command, "--data", str(options.data_dir), "--out", str(folder / "runs")], check=True)
        prices: list[Price] = []
        for run in sorted((folder / "runs" / "leak-price").iterdir()):
            found = measure_elsewhere(folder / "runs" / "leak-price-elsewhere" / run.name)
            prices += price_run(run, run.name, find_shares(here), found)
        print(render(prices))


if __name__ == "__main__":
    main()
