"""Scoring beside what the field scores with: milliseconds a pair, memory, and what a GPU makes of 20,000 pairs.

    KBENCH_DATA=... KBENCH_WEIGHTS=... python benchmarks/scoring.py [--nerfbaselines DIR] [--rounds N]
    python benchmarks/scoring.py --memory [--pairs 20000]      # peak resident memory
    python benchmarks/scoring.py --gpu [--pairs 20000]         # on a CUDA device, stage by stage (--device cpu: a try)

The first form compares on real images, 256 and 576 px, everything in one process and in turns, so that a busy machine
is as busy for all: (a) torchmetrics + lpips and (b) scikit-image + lpips, one image at a time as papers' scripts do,
and (c) nerfbaselines' own metrics.py, from a folder that holds a checkout of it. Its LPIPS is the lpips package's
in another file, which fetches weights; the package's network stands in for it. Ours is `score_run`, files to Parquet.
Medians of the rounds; the processor's time, of all threads, stands beside the wall clock.

The other two forms need torch, numpy, Pillow and what the harness imports to score, and make their own images.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from scoring_large import measure_gpu, measure_memory
from scoring_pairs import CONVENTION, Pair, build_desk, read_real_pairs, to_tensor
from scoring_peers import (
    build_lpips_package,
    build_nerfbaselines,
    build_skimage,
    build_ssim_peers,
    build_torchmetrics,
    load_nerfbaselines,
)
from scoring_timing import describe_machine, median_ratio, report_bar, time_in_turns

from kaleido_bench.score.metrics.ssim import score_ssim

SIZES = (256, 576)
EXACT = 5e-6
OURS = "ours, in one call"
BAR_SSIM, BAR_ALL = 4.0, 2.0


def compare_ssim(pairs: Sequence[Pair], size: int, rounds: int, nerfbaselines: ModuleType | None) -> bool:
    """SSIM alone, images in memory. Whether ours is as fast as it ought to be."""
    peers = build_ssim_peers(nerfbaselines)
    prepared = {name: [prepare(pair) for pair in pairs] for name, prepare in peers.items()}
    plain = [call() for call in prepared["ours, plain twin"]]
    gaps = {
        name: max(abs(call() - value) for call, value in zip(calls, plain, strict=True))
        for name, calls in prepared.items()
    }
    x, y = (torch.cat([to_tensor(image) for image in images]) for images in zip(*pairs, strict=True))
    together: dict[str, Callable[[], object]] = {OURS: lambda: score_ssim(x, y, recipe=CONVENTION.ssim)}
    gaps[OURS] = max(abs(a - b) for a, b in zip(score_ssim(x, y, recipe=CONVENTION.ssim).tolist(), plain, strict=True))
    one_by_one = {name: partial(_call_all, calls) for name, calls in prepared.items()}
    timed = time_in_turns({**together, **one_by_one}, rounds)
    ratios = {name: median_ratio(found, timed[OURS]) for name, found in timed.items()}
    print(f"\nSSIM, {size} px, {len(pairs)} pairs in memory, one by one but for the first row: how scoring calls it")
    print(f"{'':24}{'ms a pair':>10}{'processor':>10}{'ours is':>10}  furthest from the plain twin")
    for name, found in timed.items():
        wall, processor = (statistics.median(column) / len(pairs) for column in zip(*found, strict=True))
        exact = "" if gaps[name] <= EXACT else f"  further than {EXACT:g}"
        print(f"{name:24}{wall:10.2f}{processor:10.2f}{ratios[name]:9.1f}x  {gaps[name]:.1e}{exact}")
    exact = {name: ratio for name, ratio in ratios.items() if gaps[name] <= EXACT and not name.startswith("ours")}
    name = min(exact, key=lambda each: exact[each])
    return report_bar(f"SSIM against the fastest exact peer ({name}), {size} px", exact[name], BAR_SSIM, "x")


def _call_all(calls: Sequence[Callable[[], float]]) -> None:
    for call in calls:
        call()


def compare_all(pairs: Sequence[Pair], size: int, rounds: int, nerfbaselines: ModuleType | None) -> bool:
    """All three metrics from files on the disk. Whether ours is as fast as it ought to be."""
    network = build_lpips_package()
    peers = {
        "(a) torchmetrics + lpips": build_torchmetrics(network),
        "(b) scikit-image + lpips": build_skimage(network),
    }
    if nerfbaselines is not None:
        peers["(c) nerfbaselines"] = build_nerfbaselines(nerfbaselines)
    with tempfile.TemporaryDirectory() as folder:
        desk = build_desk(Path(folder), pairs, len(pairs), size)
        files = [
            (next(desk.run.predictions.rglob(f"{place:06d}.png")), next(desk.data_dir.rglob(f"{place:06d}.png")))
            for place in range(len(pairs))
        ]

        def score_files(score: Callable[[Pair], object]) -> None:
            for prediction, truth in files:
                score(Pair(prediction.read_bytes(), truth.read_bytes()))

        calls: dict[str, Callable[[], object]] = {"ours": desk.score}
        calls |= {name: partial(score_files, score) for name, score in peers.items()}
        timed = time_in_turns(calls, rounds)
    ratios = {name: median_ratio(found, timed["ours"]) for name, found in timed.items()}
    print(f"\nPSNR + SSIM + LPIPS-alex from PNG files, {size} px, {len(pairs)} pairs")
    print(f"{'':26}{'ms a pair':>10}{'processor':>10}{'ours is':>10}")
    for name, found in timed.items():
        wall, processor = (statistics.median(column) / len(pairs) for column in zip(*found, strict=True))
        print(f"{name:26}{wall:10.1f}{processor:10.1f}{ratios[name]:9.1f}x")
    first = next(iter(peers))
    return report_bar(f"all three metrics against {first}, {size} px", ratios[first], BAR_ALL, "x")


def compare(sizes: Sequence[int], count: int, rounds: int, folder: Path | None) -> list[bool]:
    data_dir = os.environ.get("KBENCH_DATA")
    if data_dir is None:
        sys.exit("KBENCH_DATA is not set: the comparison is on real photographs")
    print(describe_machine("cpu"))
    nerfbaselines = None if folder is None else load_nerfbaselines(folder, build_lpips_package())
    met: list[bool] = []
    for size in sizes:
        pairs = read_real_pairs(Path(data_dir), size, count if size < 512 else max(4, count // 4))
        met.append(compare_ssim(pairs, size, rounds, nerfbaselines))
        met.append(compare_all(pairs, size, rounds, nerfbaselines))
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nerfbaselines", type=Path, metavar="DIR", help="a checkout of it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=32, help="pairs a round at 256 px; a quarter of it at 576 px")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--pairs", type=int, default=20_000, help="with --memory and --gpu")
    parser.add_argument("--device", default="cuda", help="with --gpu")
    parser.add_argument("--workers", type=int, default=1, help="with --gpu: processes that score")
    arguments = parser.parse_args()
    if arguments.memory:
        met = [measure_memory(arguments.pairs)]
    elif arguments.gpu:
        met = [measure_gpu(arguments.pairs, arguments.device, arguments.workers)]
    else:
        met = compare(arguments.sizes, arguments.count, arguments.rounds, arguments.nerfbaselines)
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
