"""What rendering worlds costs on one GPU: the fused renderer beside its plain twin, in time and in agreement.

    python benchmarks/worlds.py [--photographs FILE] [--out DIR] [--sweep]

A training step renders all its views anew, so this time is part of every step. The arithmetic bound counts about 40
operations for a ray and a shape that is there, once for what it sees and once a light, against 60 TFLOP/s of float32.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from PIL import Image
from timing import timed

from reference_model.kernels import tracing
from reference_model.worlds import draw_batch, to_device
from reference_model.worlds.photographs import Photographs, load_photographs
from reference_model.worlds.render import render_worlds

PEAK = 60e12  # float32 operations a second, H100


def compare(photographs: Photographs, out: Path | None) -> None:
    """Agreement of the fused renderer with its twin, on the GPU and on the CPU."""
    for video in (False, True):
        batch = draw_batch(12, 4, torch.Generator().manual_seed(1 + video), video=video)
        there = to_device(batch, "cuda")
        on_gpu = photographs._replace(texels=photographs.texels.cuda())
        fused = render_worlds(*there, 64, scenes_at_once=12, photographs=on_gpu, renderer=tracing.FUSED_RENDERER)
        twin = render_worlds(*there, 64, photographs=on_gpu)
        cpu = render_worlds(*batch, 64, photographs=photographs)
        for name, other in (("GPU", twin), ("CPU", cpu.cuda())):
            gap = (fused - other).abs().amax(2)
            print(f"video {video}: fused against plain on the {name}: mean {gap.mean().item():.1e}, "
                  f"pixels off by more than 0.02: {(gap > 0.02).float().mean().item():.1e}", flush=True)  # fmt: skip
        if out is not None:
            sheet = fused.permute(0, 3, 1, 4, 2).reshape(12 * 64, 4 * 64, 3)
            Image.fromarray((sheet * 255).round().byte().cpu().numpy()).save(out / f"worlds-video-{video}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sweep", action="store_true", help="try block sizes")
    args = parser.parse_args()
    photographs = load_photographs(args.photographs)
    begun = time.perf_counter()
    compare(photographs, args.out)
    print(f"comparison, compile included: {time.perf_counter() - begun:.0f} s", flush=True)
    on_gpu = photographs._replace(texels=photographs.texels.cuda())
    for size, scenes, views in ((64, 128, 8), (128, 64, 8)):
        begun = time.perf_counter()
        batch = draw_batch(scenes, views, torch.Generator().manual_seed(0))
        drawn = time.perf_counter() - begun
        there = to_device(batch, "cuda")
        packed = tracing.pack_worlds(*there)
        shapes = batch.worlds.present.mean() * tracing.PARTS * (1 + batch.worlds.cut.mean())
        rays = scenes * views * size * size * 4
        bound = rays * 40 * shapes.item() * 2.4 / PEAK
        pack = timed(lambda: tracing.pack_worlds(*there), 10)  # noqa: B023
        for block, warps in ((128, 4), *(((64, 2), (128, 8), (256, 8), (64, 4), (32, 1)) if args.sweep else ())):
            tracing.BLOCK, tracing.WARPS = block, warps
            seconds = timed(lambda: tracing.render_packed(packed, size, 2, on_gpu), 10)  # noqa: B023
            print(f"{size} px, {scenes} x {views} views, block {block}, {warps} warps: {1e3 * seconds:.2f} ms, "
                  f"{rays / seconds / 1e9:.2f} G rays/s, {bound / seconds:.0%} of the arithmetic bound; "
                  f"packing {1e3 * pack:.2f} ms, drawing on the CPU {1e3 * drawn:.0f} ms", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
