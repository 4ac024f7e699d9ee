"""The training loop on several GPUs of one host: what it gains over one, and what a model costs that is held in shares.

    torchrun --nproc-per-node 4 benchmarks/parallel.py loop [--preset small] [--size 128 --scenes 128]
    python benchmarks/parallel.py loop --scenes 64      # one GPU: how fast the loop is
    torchrun --nproc-per-node 2 benchmarks/parallel.py shares [--width 2048 --depth 8]

`loop`: the same steps of a replicated preset, worlds rendered within, first by one process alone (it takes all
pieces), then by all; then by all (`--wide`) with as many scenes each as the one had. The bar is that of four GPUs, 3.4
of 4 (85 %).
`shares`: one model as replicas, in shares, and in shares with its blocks recomputed: do the losses agree, how much
memory does each GPU need before and at the peak of a step, how fast is it. Each row builds its model, draws its worlds
and compiles anew; on standard error a line says, in seconds since the beginning, when each of these begins and ends.
Whether shares work at all on these GPUs is soonest known without compiling, from two steps of other numbers of
references:

    torchrun --nproc-per-node 2 benchmarks/parallel.py shares --eager --counts 2 --steps 5 --depth 4

Both print one JSON line a row; FLOP/s are the model's, forward and backward, and count nothing that is computed twice.
`--device cpu` runs toy sizes.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import sys
import time
from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist

from reference_model.config import ModelConfig, Preset, Stage
from reference_model.model import count_parameters
from reference_model.presets import PRESETS, small, smoke
from reference_model.train import Loop, Run, build_trained, prepare_blocks
from reference_model.training.parallel import Team, join_team, speaks
from reference_model.training.schedule import Budget
from reference_model.training.steps import WorldSource

ROWS = ("replicas", "shares", "recomputed")  # the last: shares whose blocks are recomputed
BAR = 0.85  # of the GPUs' number: 3.4 times on four
MIDDLE = 0.5  # of the budget: any share at which the rate is neither warming up nor falling


BEGUN = time.perf_counter()


class Timing(NamedTuple):
    seconds: float  # a step
    tflops: float  # of all processes together
    losses: list[float]


def say(**fields: object) -> None:
    if speaks():
        print(json.dumps(fields), flush=True)


def tell(text: str) -> None:
    """Where the benchmark is, for whoever waits for a row. By the first process, which may be ahead of its device."""
    if speaks():
        print(f"{time.perf_counter() - BEGUN:7.1f} s  {text}", file=sys.stderr, flush=True)


def largest(value: float) -> float:
    """Over the processes."""
    if not dist.is_initialized():
        return value
    held = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(held, dist.ReduceOp.MAX)
    return held.item()


def wait(team: Team) -> None:
    if team.device != "cpu":
        torch.cuda.synchronize()
    team.follow(0.0)


def gibibytes(team: Team, *, peak: bool) -> float:
    """Of the GPU that holds the most."""
    if team.device == "cpu":
        return 0.0
    held = torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()
    return round(largest(held / 2**30), 2)


def with_stage(preset: Preset, size: int, scenes: int, pieces: int, **changes: bool) -> Preset:
    """One stage alone."""
    stages = (Stage(image_size=size, scenes=scenes, share=1.0),)
    return dataclasses.replace(
        preset, train=dataclasses.replace(preset.train, stages=stages, pieces=pieces, warmup_steps=5, **changes)
    )


def start(preset: Preset, source: WorldSource, team: Team, *, compiled: bool = True) -> Loop:
    torch._dynamo.reset()
    run = Run(Path(), Budget(steps=1), device=team.device, compiled=compiled)
    trained = build_trained(preset, run, team)
    loop = Loop(preset, source, run, team, trained)
    prepare_blocks(trained.model, preset, compiled=compiled and team.device != "cpu")
    return loop


def go(loop: Loop, numbers: Sequence[int]) -> Timing:
    """Time the steps of these numbers. Those that share a number see the same scenes and reference counts."""
    wait(loop.team)
    begun = time.perf_counter()
    done = [loop.step(n, MIDDLE, loop.fetch(n, MIDDLE)) for n in numbers]
    wait(loop.team)
    passed = time.perf_counter() - begun
    return Timing(
        passed / len(numbers), sum(step.flops for step in done) / passed / 1e12, [step.loss.item() for step in done]
    )


def find_firsts(loop: Loop, counts: int | None) -> dict[int, int]:
    """Numbers of references, at most so many, in the order in which steps draw them; of each the first step."""
    firsts: dict[int, int] = {}
    for step in range(500):
        firsts.setdefault(loop.draw_references(step), step)
    return dict(list(firsts.items())[:counts])


def choose_steps(loop: Loop, args: argparse.Namespace) -> list[int]:
    """The timed ones: from the second on, those for which something was warmed."""
    known = find_firsts(loop, args.counts)
    return list(islice((step for step in count(1) if loop.draw_references(step) in known), args.steps))


def warm(loop: Loop, counts: int | None = None) -> tuple[float, list[float]]:
    """Seconds and losses of first steps, one for each number of references, or for the first so many that steps draw:
    each is compiled or recorded once.
    """
    timings: list[Timing] = []
    for references, step in find_firsts(loop, counts).items():
        timings.append(go(loop, [step]))
        tell(f"first step with {references} references: {timings[-1].seconds:.1f} s")
    return round(sum(timing.seconds for timing in timings), 1), [timing.losses[0] for timing in timings]


def time_loop(args: argparse.Namespace, preset: Preset, source: WorldSource, team: Team) -> None:
    """One process against all, at the same steps and at as many scenes each."""
    loop = start(with_stage(preset, args.size, args.scenes, team.size), source, team)
    first, _ = warm(loop)
    say(row="start", device=describe(team), parameters=count_parameters(loop.trained.model), seconds=first)
    alone = None
    if team.rank == 0:
        loop.team, loop.pieces, loop.opened = Team(0, 1, team.device), range(team.size), -1
        go(loop, range(2))  # streams are opened anew
        alone = go(loop, range(2, 2 + args.steps))
        say(row="alone", scenes=args.scenes, ms=round(1e3 * alone.seconds, 2), tflops=round(alone.tflops, 1))
    if team.size == 1:
        return
    wait(team)
    seconds, tflops = team.follow(*(alone[:2] if alone else (0.0, 0.0)))
    loop.team, loop.pieces, loop.opened = team, team.take_pieces(team.size), -1
    go(loop, range(2))
    together = go(loop, range(2, 2 + args.steps))
    ratio, bar = seconds / together.seconds, BAR * team.size
    say(
        row="together", processes=team.size, scenes=args.scenes, ms=round(1e3 * together.seconds, 2),
        tflops=round(together.tflops, 1), ratio=round(ratio, 2),
        bar=f">= {bar:.2f} {'met' if ratio >= bar else 'MISSED'}",
    )  # fmt: skip
    if args.wide:
        del loop
        clear(team)
        loop = start(with_stage(preset, args.size, args.scenes * team.size, team.size), source, team)
        first, _ = warm(loop)
        go(loop, range(2))
        wide = go(loop, range(2, 2 + args.steps))
        say(
            row="as many scenes each", processes=team.size, scenes=args.scenes * team.size, seconds=first,
            ms=round(1e3 * wide.seconds, 2), tflops=round(wide.tflops, 1), ratio=round(wide.tflops / tflops, 2),
        )  # fmt: skip


def time_shares(args: argparse.Namespace, preset: Preset, source: WorldSource, team: Team) -> None:
    """Replicas, shares, and shares whose blocks are recomputed."""
    before: list[float] = []
    for label in args.rows:
        changes = {"sharded": label != "replicas", "recomputed": label == "recomputed"}
        clear(team)
        tell(f"{label}: building the model")
        chosen = with_stage(preset, args.size, args.scenes, team.size, **changes)
        loop = start(chosen, source, team, compiled=not args.eager)
        tell(f"{label}: drawing worlds")
        loop.fetch(0, MIDDLE)
        tell(f"{label}: the first step{'' if args.eager else ', compiled'}")
        first = go(loop, [0])  # also what the optimizers remember is there from now on
        tell(f"{label}: it took {first.seconds:.1f} s")
        held = gibibytes(team, peak=False)
        if team.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        seconds, early = warm(loop, args.counts)
        timing = go(loop, choose_steps(loop, args))
        tell(f"{label}: {args.steps} steps of {1e3 * timing.seconds:.0f} ms")
        losses = first.losses + early + timing.losses
        apart = max(abs(a - b) / a for a, b in zip(before or losses, losses, strict=True))
        before = before or losses
        say(
            row=label, device=describe(team), processes=team.size, parameters=count_parameters(loop.trained.model),
            first_loss=round(losses[0], 5), last_loss=round(losses[-1], 5), largest_difference=round(apart, 5),
            held_gib=held, peak_gib=gibibytes(team, peak=True), start_seconds=round(first.seconds + seconds, 1),
            compiled=loop.compiled, ms=round(1e3 * timing.seconds, 2), tflops=round(timing.tflops, 1),
        )  # fmt: skip
        del loop


def clear(team: Team) -> None:
    gc.collect()
    if team.device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def describe(team: Team) -> str:
    return "cpu" if team.device == "cpu" else torch.cuda.get_device_name()


def build_wide(width: int, depth: int) -> Preset:
    """`small`, but for its size."""
    model = ModelConfig(
        **{**dataclasses.asdict(small().model), "width": width, "depth": depth, "heads": width // 128,
           "kv_heads": max(1, width // 512), "mlp_width": 11 * width // 4}
    )  # fmt: skip
    return dataclasses.replace(small(), model=model, train=dataclasses.replace(small().train, learning_rate=3e-4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("loop", "shares"))
    parser.add_argument("--preset", default="small", choices=sorted(PRESETS), help="of `loop`")
    parser.add_argument("--width", type=int, default=2048, help="of `shares`")
    parser.add_argument("--depth", type=int, default=8, help="of `shares`")
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--scenes", type=int, help="a step; `loop` 128, `shares` 8 a process")
    parser.add_argument("--steps", type=int, default=30, help="timed ones")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS, help="of `shares`")
    parser.add_argument("--eager", action="store_true", help="`shares`: neither compiled nor recorded")
    parser.add_argument("--counts", type=int, help="`shares`: steps of so few numbers of references")
    parser.add_argument("--wide", action="store_true", help="`loop`: also with as many scenes each as the one had")
    parser.add_argument("--photographs", type=Path, help="packed by reference_model.worlds.photographs")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    team = join_team(args.device)
    if team.size == 1 and args.what == "shares":
        parser.error("one process shares with none: `torchrun --nproc-per-node N benchmarks/parallel.py shares`")
    source = WorldSource(args.photographs, team.device)
    toy = args.device == "cpu"
    if toy:
        args.size, args.steps = 16, min(args.steps, 4)
    if args.what == "loop":
        args.scenes = args.scenes or (2 * team.size if toy else 128)
        time_loop(args, smoke() if toy else PRESETS[args.preset](), source, team)
    else:
        args.scenes = args.scenes or (2 if toy else 8) * team.size
        time_shares(args, smoke() if toy else build_wide(args.width, args.depth), source, team)
    team.leave()


if __name__ == "__main__":
    main()
