"""How fast the reference model trains and samples on one GPU, each number beside what bounds it.

    python benchmarks/model.py                              # all sections, about 12 minutes on an H100
    python benchmarks/model.py --only train,gta             # some of them
    python benchmarks/model.py --only train --profile       # what a step spends its time on
    python benchmarks/model.py --only train --ways now,before,no-stream   # without some fused kernels (kernels_used.py)
    python benchmarks/model.py --only latency --device cpu  # seconds a view as `kbench run` has them, on two threads
    python benchmarks/model.py --tiny                       # all sections at toy size on a CPU: does it run

Sections: ceiling, kernels, train, compile, gta, window, cache, frames, latency. Every line is printed as soon as it is
known, and appended as JSON to $OUT/model.jsonl where OUT names a folder. Model FLOP/s counts matrix products and
attention (flops.py, times 3 for training) and nothing else. Training steps are recorded as CUDA graphs, as the trainer
records them. Weights are random everywhere, never zero: a GPU multiplies zeros faster. Rows with a `bar` say whether it
is met.

The sections are in files of their own: model_attention.py (single operations), model_training.py, model_sampling.py
and model_rendering.py (on a CPU); what they share is in model_machine.py (clock, lines) and model_inputs.py (models,
views).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from kernels_used import WAYS
from model_attention import measure_ceiling, measure_kernels, measure_windows
from model_machine import Machine
from model_sampling import measure_cache, measure_frames, measure_latency
from model_training import first_step, measure_compilation, measure_gta, measure_training

SECTIONS: dict[str, Callable[[Machine, argparse.Namespace], None]] = {
    "ceiling": measure_ceiling,
    "kernels": measure_kernels,
    "train": measure_training,
    "compile": measure_compilation,
    "gta": measure_gta,
    "window": measure_windows,
    "cache": measure_cache,
    "frames": measure_frames,
    "latency": measure_latency,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas between them")
    parser.add_argument("--scenes", type=int, help="in a training step; else 64, or 48 at width 768")
    parser.add_argument("--ways", default="now", help=f"of train, cache and latency: {', '.join(WAYS)}")
    parser.add_argument("--profile", action="store_true", help="after `train`: the costliest operations")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, on the CPU")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: of latency alone")
    parser.add_argument("--threads", type=int, default=2, help="of latency on a CPU")
    parser.add_argument("--repeats", type=int, default=3, help="of latency on a CPU, of which the best counts")
    parser.add_argument("--widths", default="512,768", help="of train and gta")
    parser.add_argument("--sizes", default="128,256,512", help="of cache and latency, in pixels")
    parser.add_argument("--first-step", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    chosen = args.only.split(",")
    if unknown := [name for name in chosen if name not in SECTIONS]:
        parser.error(f"no section {', '.join(unknown)}: there are {', '.join(SECTIONS)}")
    if unknown := [name for name in args.ways.split(",") if name not in WAYS]:
        parser.error(f"no way {', '.join(unknown)}: there are {', '.join(WAYS)}")
    if args.device == "cpu" and not args.tiny and chosen != ["latency"]:
        parser.error("on a CPU only latency runs at its real size: add --only latency, or --tiny for all at toy size")
    if args.device == "cuda" and not args.tiny and not torch.cuda.is_available():
        parser.error("no GPU here: add --tiny to run at toy size on the CPU, or --only latency --device cpu")
    machine = Machine("cpu" if args.tiny else args.device, toy=args.tiny, repeats=1 if args.tiny else 10)
    torch.set_float32_matmul_precision("high")
    if args.first_step:
        first_step(machine, args)
        return
    for name in chosen:
        SECTIONS[name](machine, args)


if __name__ == "__main__":
    main()
