"""Where a training run was going: its loss by model FLOPs and stage, and what its checkpoints are worth when judged.

    python benchmarks/training_curves.py LOG --out FILE.png
    python benchmarks/training_curves.py LOG --out FILE.png --nearest RESULT --judged CHECKPOINT RESULT [--judged ...]
    python benchmarks/training_curves.py LOG LOG --out FILE.png     # a run, and the one that began with its weights

LOG is what the trainer prints (one JSON document a line). A RESULT is a `result.json` of `kbench run`, all on one
protocol: PSNR over `nearest` from --references views, by the FLOPs that the checkpoint's card adds up to.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import NamedTuple

from reference_model.checkpoint import read_card
from reference_model.model_card import sum_flops

WINDOW = 9  # logged steps, of which the median is drawn


class Logged(NamedTuple):
    run: int  # of several that went on from each other
    flops: float  # of the model, since the first of them began
    size: int  # of the images, pixels
    loss: float
    rate: float


class Judged(NamedTuple):
    name: str
    flops: float
    psnr: float


def read_log(text: str, run: int = 0, flops: float = 0.0) -> list[Logged]:
    """The steps a trainer printed, after so many FLOPs of the runs before. FLOPs are summed from its rates, which are a
    process', all processes alike.

    Raises ValueError where no step is among the lines.
    """
    rows = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    processes = next((row["processes"] for row in rows if "processes" in row), 1)
    logged: list[Logged] = []
    before = 0.0
    for row in (row for row in rows if "loss" in row and "tflops" in row):
        flops += row["tflops"] * 1e12 * processes * (row["seconds"] - before)
        before = row["seconds"]
        logged.append(Logged(run, flops, row["size"], row["loss"], row["lr"]))
    if not logged:
        raise ValueError("no step of training among the lines; expected the trainer's JSON lines")
    return logged


def read_logs(texts: Sequence[str]) -> list[Logged]:
    """Of runs that went on from each other, in their order."""
    logged: list[Logged] = []
    for run, text in enumerate(texts):
        logged += read_log(text, run, logged[-1].flops if logged else 0.0)
    return logged


def read_psnr(path: Path, references: int) -> float:
    """The mean over a protocol's scenes. Raises ValueError where it has none from so many references."""
    for mean in json.loads(path.read_text())["means"]:
        if (mean["metric"], mean["references"], mean["targets"]) == ("psnr", str(references), "strict-novel"):
            return float(mean["mean"])
    raise ValueError(f"{path}: no mean PSNR from {references} references on novel targets")


def smooth(values: list[float]) -> list[float]:
    """Running medians."""
    half = WINDOW // 2
    return [median(values[max(i - half, 0) : i + half + 1]) for i in range(len(values))]


def draw(logged: list[Logged], judged: list[Judged], over: float, references: int, out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2 if judged else 1, figsize=(11 if judged else 6, 4), squeeze=False, dpi=110)
    left = axes[0][0]
    colours = {size: f"C{place}" for place, size in enumerate(dict.fromkeys(row.size for row in logged))}
    drawn = set[int]()
    for (_, size), rows in groupby(logged, key=lambda row: (row.run, row.size)):
        stage, label = list(rows), f"{size} px" if size not in drawn else None
        drawn.add(size)
        left.plot([row.flops for row in stage], smooth([row.loss for row in stage]), colours[size], label=label, lw=1.2)
    most = sorted(row.loss for row in logged)[int(0.97 * (len(logged) - 1))]  # without the first steps
    left.set(xlabel="model FLOPs", ylabel="loss, running median", xlim=(0, None), ylim=(0, 1.05 * most))
    beside = left.twinx()
    for _, rows in groupby(logged, key=lambda row: row.run):
        run = list(rows)
        beside.plot([row.flops for row in run], [row.rate for row in run], color="grey", ls=":", lw=1)
    beside.set(ylabel="learning rate (dotted)", ylim=(0, None))
    left.legend()
    if judged:
        right = axes[0][1]
        for each in judged:
            right.plot(each.flops, each.psnr - over, "o", label=f"{each.name}: {each.psnr - over:+.2f} dB")
        right.set(xlabel="model FLOPs", ylabel=f"PSNR over nearest, {references} references, dB")
        right.set(xlim=(0, None), ylim=(0, None))
        right.grid(alpha=0.3)
        right.legend()
    figure.tight_layout()
    figure.savefig(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("log", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--nearest", type=Path, help="result.json of nearest")
    parser.add_argument("--judged", nargs=2, type=Path, action="append", default=[], metavar=("CHECKPOINT", "RESULT"))
    parser.add_argument("--references", type=int, default=3)
    args = parser.parse_args()
    if args.judged and not args.nearest:
        parser.error("--judged needs --nearest, the result that it is held against")
    try:
        logged = read_logs([path.read_text() for path in args.log])
        over = read_psnr(args.nearest, args.references) if args.nearest else 0.0
        judged = [
            Judged(folder.name, sum_flops(read_card(folder)), read_psnr(path, args.references))
            for folder, path in args.judged
        ]
    except (ValueError, KeyError, OSError) as error:
        parser.error(f"{error}")
    draw(logged, judged, over, args.references, args.out)
    for each in judged:
        print(f"{each.name}: {each.flops:.3g} FLOPs, {each.psnr:.2f} dB, {each.psnr - over:+.2f} over nearest")
    print(args.out)


if __name__ == "__main__":
    main()
