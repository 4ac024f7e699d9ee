"""Where a training step's time goes: compile, render, forward + backward, optimizer; on one GPU, beside eager and beside the roofline.

    python benchmarks/training.py [preset]

Model FLOP/s counts matrix products and attention (model.forward_flops, times 3 for training) and nothing else.
"""

from __future__ import annotations

import sys
import time

import torch

from reference_model.config import PRESETS
from reference_model.flow import velocity_loss
from reference_model.held_out import render_batch
from reference_model.model import Kaleido, Views, forward_flops
from reference_model.optim import build_optimizers
from reference_model.train import WorldStream
from reference_model.worlds.render import render_worlds, trace


def timed(function, repeats: int) -> float:
    """Seconds a call, after one call that warms up."""
    function()
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(repeats):
        function()
    torch.cuda.synchronize()
    return (time.perf_counter() - begun) / repeats


def once(function) -> float:
    torch.cuda.synchronize()
    begun = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def main() -> None:
    preset = PRESETS[sys.argv[1] if len(sys.argv) > 1 else "tiny"]()
    torch.set_float32_matmul_precision("high")
    torch._dynamo.config.cache_size_limit = 64
    views = preset.model.max_views
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    print(f"ceiling: bf16 8192^3 product {2 * 8192**3 / timed(lambda: a @ a, 20) / 1e12:.0f} TFLOP/s", flush=True)
    for compiled in (True, False):
        torch.manual_seed(0)
        model = Kaleido(preset.model).cuda()
        tracer = torch.compile(trace, dynamic=False) if compiled else trace
        if compiled:
            for block in model.blocks:
                block.compile(dynamic=False)
        optimizers = build_optimizers(model, preset.train)
        for stage in preset.train.stages:
            scenes = stage.scenes if compiled else 8
            drawn = WorldStream(views, scenes, 0, "cuda").step(0)
            render = lambda: render_worlds(
                drawn.worlds, drawn.rig, stage.image_size, tracer=tracer, scenes_at_once=min(32, scenes)
            )  # noqa: B023, E731
            first_render = once(render)
            seconds_render = timed(render, 3)
            batch = render_batch(1, scenes, views, stage.image_size, "cuda", None if not compiled else tracer)
            patch = preset.model.patch
            n = (stage.image_size // patch) ** 2
            tokens = torch.randn(scenes, views, n, 3 * patch**2, device="cuda")
            t = torch.rand(scenes, device="cuda")

            def step(references: int) -> None:
                cameras = Views(batch.c2w, batch.intrinsics, references, stage.image_size, stage.image_size)  # noqa: B023
                with torch.autocast("cuda", torch.bfloat16):
                    out = model(tokens, t, cameras)  # noqa: B023
                velocity_loss(out, tokens[:, references:], t, 0.2).backward()  # noqa: B023

            def update() -> None:
                for optimizer in optimizers:  # noqa: B023
                    optimizer.step()

            first = once(lambda: step(1))
            others = once(lambda: [step(r) for r in range(2, views - 1)])
            for references in (1, 4):
                seconds = timed(lambda: step(references), 5)  # noqa: B023
                flops = 3 * scenes * forward_flops(preset.model, references, views - references, n)
                print(
                    f"{'compiled' if compiled else 'eager'} {stage.image_size} px, {scenes} scenes, {references} references: "
                    f"forward+backward {1e3 * seconds:.1f} ms, {flops / seconds / 1e12:.0f} TFLOP/s; render {1e3 * seconds_render:.1f} ms; "
                    f"optimizers {1e3 * timed(update, 5):.1f} ms; first calls: render {first_render:.0f} s, step {first:.0f} s, "
                    f"other splits {others:.0f} s; peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB",
                    flush=True,
                )


if __name__ == "__main__":
    main()
