"""Where a training step's time goes: compile, render, forward + backward, optimizer; on one GPU, beside eager and
beside the roofline.

    python benchmarks/training.py [preset] [--photographs FILE]
    python benchmarks/training.py [preset] --profile [--ways now,before]    # what real steps spend their time on, with
                                                         # and without some fused kernels (kernels_used.py)

Model FLOP/s counts matrix products and attention (flops.forward_flops, times 3 for training) and nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

import torch
from kernels_used import WAYS, sort_kernels, take_away
from timing import timed

from reference_model.config import Preset
from reference_model.flops import forward_flops
from reference_model.flow import flow_loss
from reference_model.inputs import build_inputs
from reference_model.model import Kaleido, Views
from reference_model.optim import build_optimizers
from reference_model.presets import PRESETS
from reference_model.train import build_loss, compile_blocks
from reference_model.training.gradients import Gradients
from reference_model.training.stepping import build_stepper
from reference_model.training.steps import Stream, WorldSource, prepare_step


def once(function) -> float:
    torch.cuda.synchronize()
    begun = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def build(preset: Preset, compiled: bool, way: str = "now") -> Kaleido:
    torch.manual_seed(0)
    model = Kaleido(preset.model).cuda()
    take_away(model, WAYS[way])
    if compiled:
        compile_blocks(model)
    return model


def time_stage(preset: Preset, model: Kaleido, source: WorldSource, number: int, scenes: int, label: str) -> None:
    """Print the parts of a step at one stage, with so many scenes."""
    views, patch = preset.model.max_views, preset.model.patch
    stages = preset.train.stages
    stage = dataclasses.replace(stages[number], scenes=scenes)
    stages = (*stages[:number], stage, *stages[number + 1 :])
    preset = dataclasses.replace(preset, train=dataclasses.replace(preset.train, stages=stages))
    size, stream = stage.image_size, source.open(preset, number, 0, "cuda")
    drawn = stream.step(0)
    optimizers = build_optimizers(model, preset.train)
    tokens_per_view = (size // patch) ** 2
    tokens = torch.randn(scenes, views, tokens_per_view, 3 * patch**2, device="cuda")
    t = torch.rand(scenes, device="cuda")

    def render() -> None:
        stream.step(0)

    def step(references: int) -> None:
        cameras = Views(drawn.c2w, drawn.intrinsics, references, size, size)
        with torch.autocast("cuda", torch.bfloat16):
            out = model(tokens, t, cameras)
        flow_loss(out, tokens[:, references:], tokens[:, references:], t, preset.flow).backward()

    def update() -> None:
        for optimizer in optimizers:
            optimizer.step()

    firsts = once(render), once(lambda: step(1)), once(lambda: [step(r) for r in range(2, views - 1)])
    print(f"{label} {size} px, {scenes} scenes: first calls: render {firsts[0]:.0f} s, step {firsts[1]:.0f} s, "
          f"other splits {firsts[2]:.0f} s; render {1e3 * timed(render, 5):.1f} ms")  # fmt: skip
    for references in (1, 4):
        seconds = timed(lambda: step(references), 10)  # noqa: B023
        flops = 3 * scenes * forward_flops(preset.model, references, views - references, tokens_per_view)
        print(
            f"  {references} references: forward + backward {1e3 * seconds:.1f} ms, "
            f"{flops / seconds / 1e12:.0f} TFLOP/s"
        )
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"  optimizers {1e3 * timed(update, 10):.1f} ms; peak {peak:.1f} GiB", flush=True)


def profile_loop(preset: Preset, source: WorldSource, way: str) -> None:
    """Print how fast real steps are at each resolution, rendering and optimizers within, and what those of the last
    stage spend their time on.
    """
    views, stages = preset.model.max_views, preset.train.stages
    model = build(preset, compiled=True, way=way)
    inputs = build_inputs(preset.model, "cuda")
    optimizers = build_optimizers(model, preset.train)
    generator = torch.Generator("cuda").manual_seed(0)
    gradients = Gradients(list(model.parameters()))
    stepper = build_stepper(build_loss(model, preset), gradients, recorded=True)

    def run(streams: list[Stream], first: int, count: int) -> None:
        for i in range(first, first + count):
            references = 1 + i % (views - 2)
            gradients.zero()
            for stream in streams:
                stepper(prepare_step(inputs, stream.step(i), preset, references, generator), references)
            gradients.clip(preset.train.clip_norm)
            for optimizer in optimizers:
                optimizer.step()

    splits, streams = views - 2, list[Stream]()
    for number in (len(stages) - 2, len(stages) - 1):
        stage = stages[number]
        streams = [source.open(preset, number, piece, "cuda") for piece in range(preset.train.pieces)]
        begun = once(lambda: run(streams, 0, splits))  # noqa: B023
        seconds = once(lambda: run(streams, splits, 2 * splits)) / (2 * splits)  # noqa: B023
        tokens = (stage.image_size // preset.model.patch) ** 2
        work = [forward_flops(preset.model, r, views - r, tokens) for r in range(1, views - 1)]
        rate = 3 * stage.scenes * sum(work) / len(work) / seconds / 1e12
        rendering = timed(lambda: [stream.step(3 * splits - 1) for stream in streams], 5)  # noqa: B023
        print(f"{way}: {stage.image_size} px, {stage.scenes} scenes in {len(streams)} pieces: {1e3 * seconds:.1f} ms "
              f"a step, {rate:.0f} TFLOP/s; rendering {1e3 * rendering:.1f} ms; {splits} splits recorded in "
              f"{begun:.0f} s", flush=True)  # fmt: skip
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        once(lambda: run(streams, 3 * splits, 6))
    rows = profiler.key_averages()
    spent = sort_kernels({row.key: row.self_device_time_total / 6e3 for row in rows})
    print("  ms a step: " + "  ".join(f"{name} {value:.2f}" for name, value in spent.items()))
    print(rows.table(sort_by="self_cuda_time_total", row_limit=22, max_name_column_width=60), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="tiny", choices=sorted(PRESETS))
    parser.add_argument("--photographs", type=Path, help="packed by reference_model.worlds.photographs")
    parser.add_argument("--profile", action="store_true", help="of real steps: their costliest operations")
    parser.add_argument("--ways", default="now", help=f"of --profile: {', '.join(WAYS)}")
    args = parser.parse_args()
    if unknown := [name for name in args.ways.split(",") if name not in WAYS]:
        parser.error(f"no way {', '.join(unknown)}: there are {', '.join(WAYS)}")
    if not torch.cuda.is_available():
        parser.error("no GPU here, and nothing of this is measured on a CPU")
    preset, source = PRESETS[args.preset](), WorldSource(args.photographs, "cuda")
    torch.set_float32_matmul_precision("high")
    if args.profile:
        for way in args.ways.split(","):
            profile_loop(preset, source, way)
            torch.compiler.reset()
        return
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    print(f"ceiling: bf16 8192^3 product {2 * 8192**3 / timed(lambda: a @ a, 20) / 1e12:.0f} TFLOP/s", flush=True)
    for compiled in (True, False):
        model = build(preset, compiled)
        for number, stage in enumerate(preset.train.stages):
            scenes = stage.scenes if compiled else 8  # eager keeps every intermediate
            time_stage(preset, model, source, number, scenes, "compiled" if compiled else "eager")


if __name__ == "__main__":
    main()
