"""Where a training step's time goes: compile, render, forward + backward, optimizer; on one GPU, beside eager and
beside the roofline.

    python benchmarks/training.py [preset] [--photographs=FILE]
    python benchmarks/training.py [preset] --profile    # which operations a real step spends its time in

Model FLOP/s counts matrix products and attention (model.forward_flops, times 3 for training) and nothing else.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import torch
from timing import timed

from reference_model.config import PRESETS, Preset
from reference_model.flops import forward_flops
from reference_model.flow import flow_loss
from reference_model.gradients import Gradients
from reference_model.inputs import build_inputs
from reference_model.model import Kaleido, Views
from reference_model.optim import build_optimizers
from reference_model.recording import build_stepper
from reference_model.steps import WorldSource, prepare_step
from reference_model.train import build_loss, compile_blocks


def once(function) -> float:
    torch.cuda.synchronize()
    begun = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def build(preset: Preset, compiled: bool) -> Kaleido:
    torch.manual_seed(0)
    model = Kaleido(preset.model).cuda()
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


def profile_loop(preset: Preset, source: WorldSource) -> None:
    """Print the costliest operations of the last stage's real steps, on the device and on the host."""
    views = preset.model.max_views
    model = build(preset, compiled=True)
    inputs = build_inputs(preset.model, "cuda")
    optimizers = build_optimizers(model, preset.train)
    stream = source.open(preset, len(preset.train.stages) - 1, 0, "cuda")
    generator = torch.Generator("cuda").manual_seed(0)
    gradients = Gradients(list(model.parameters()))
    stepper = build_stepper(build_loss(model, preset), gradients, recorded=True)

    def run(first: int, count: int) -> None:
        for i in range(first, first + count):
            references = 1 + i % (views - 2)
            with torch.profiler.record_function("PART prepare"):
                tensors = prepare_step(inputs, stream.step(i), preset, references, generator)
            with torch.profiler.record_function("PART forward and backward"):
                gradients.zero()
                stepper(tensors, references)
            with torch.profiler.record_function("PART update"):
                for optimizer in optimizers:
                    optimizer.step()

    run(0, 12)
    print(f"{once(lambda: run(12, 12)) / 12 * 1e3:.1f} ms a step without the profiler", flush=True)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        once(lambda: run(24, 6))
    for key in ("self_cuda_time_total", "cpu_time_total"):
        print(profiler.key_averages().table(sort_by=key, row_limit=22, max_name_column_width=60), flush=True)


def main() -> None:
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    packed = [word.partition("=")[2] for word in sys.argv[1:] if word.startswith("--photographs=")]
    source = WorldSource(Path(packed[0]) if packed else None, "cuda")
    preset = PRESETS[words[0] if words else "tiny"]()
    torch.set_float32_matmul_precision("high")
    if "--profile" in sys.argv:
        profile_loop(preset, source)
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
