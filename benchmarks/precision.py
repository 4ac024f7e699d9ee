"""Seconds a view of the kaleido adapter in float32 and in bfloat16, recorded or not, and what that moves.

    python benchmarks/precision.py                          # shipped weights on a GPU, about half a minute
    python benchmarks/precision.py --model DIR --steps 1,4,20
    python benchmarks/precision.py --device cpu --sizes 32 --steps 1 --scenes 1 --model DIR   # does it run

Through what `kbench run` calls, from uint8 images to uint8 images: four targets from four references of held-out
worlds, at the weights' own size and at others (the same weights; how well they do there is beside the point). A row's
`gain` is over float32 with steps that are launched kernel by kernel. `dB` is PSNR against the truth, `dB_to_float32`
that between the two predictions, `levels_to_launched` the largest difference of a pixel that recording makes: 0.
Times vary from call to call: the median counts; `first_s` has the warming up and the recording. Lines go where
benchmarks/model.py puts its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from model_machine import report

from kaleido_bench.data.cameras import Cameras
from kaleido_bench.predict.adapters import ReferenceViews, TargetCameras, build_adapter, resolve_model
from kaleido_bench.predict.adapters.kaleido import Kaleido
from kaleido_bench.predict.meter import Meter
from reference_model.checkpoint import find_checkpoint, load_checkpoint, write_checkpoint
from reference_model.held_out import HELD_OUT_SEED, render_batch
from reference_model.kernels.rendering import choose_renderer
from reference_model.recording import Recordings

REFERENCES = TARGETS = 4


class Question(NamedTuple):
    references: ReferenceViews
    targets: TargetCameras
    truth: np.ndarray  # uint8 [target, size, size, 3]


def ask(number: int, size: int, device: str) -> Question:
    """A held-out world, as the runner would hand it over."""
    views, renderer = REFERENCES + TARGETS, choose_renderer(device)
    batch = render_batch(HELD_OUT_SEED + number, 1, views, size, device, renderer=renderer)
    images = (batch.images[0].permute(0, 2, 3, 1) * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    c2w, k = (x[0].double().cpu().numpy() for x in (batch.c2w, batch.intrinsics))
    ids = tuple(map(str, range(views)))
    near, far = (Cameras(c2w[part], k[part], size, size) for part in (slice(REFERENCES), slice(REFERENCES, None)))
    return Question(
        ReferenceViews(ids[:REFERENCES], images[:REFERENCES], near),
        TargetCameras(f"world-{number}", ids[REFERENCES:], far),
        images[REFERENCES:],
    )


def resize_weights(model: str, size: int, out: Path) -> Path:
    """A checkpoint of the same weights for images of another size."""
    weights, preset, card = load_checkpoint(find_checkpoint(model))
    folder = out / f"at-{size}"
    preset = dataclasses.replace(preset, model=dataclasses.replace(preset.model, image_size=size))
    write_checkpoint(folder, weights, preset, card)
    return folder


class Answer(NamedTuple):
    images: np.ndarray  # uint8 [scene, target, size, size, 3]
    first: float  # seconds of the first call
    seconds: float  # a view, the median


def answer(adapter: Kaleido, questions: list[Question], device: str, repeats: int) -> Answer:
    """Predictions of all questions, each asked so many times."""
    meter, seconds, images = Meter(device), [], []
    for _, (number, question) in itertools.product(range(repeats + 1), enumerate(questions)):
        generator = np.random.default_rng(number)
        made, passed = meter.time(lambda q=question, g=generator: adapter.predict(q.references, q.targets, g))
        seconds.append(passed)
        images.append(made)
    count = len(questions)
    return Answer(np.stack(images[:count]), seconds[0], statistics.median(seconds[count:]) / TARGETS)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of uint8 images; the mean over views."""
    error = np.square(a.astype(np.float64) - b).mean((-3, -2, -1)) / 255**2
    return float(-10 * np.log10(np.maximum(error, 1e-10)).mean())


def measure(folder: Path, questions: list[Question], size: int, steps: int, args: argparse.Namespace) -> None:
    """A row for each precision, launched and, on CUDA, recorded."""
    truth, plain = np.stack([question.truth for question in questions]), None
    for precision in ("float32", "bfloat16"):
        words = {"steps": str(steps), "precision": precision}
        adapter = build_adapter(resolve_model(f"kaleido@{folder}"), words, args.device)
        assert isinstance(adapter, Kaleido)
        kept = {"launched": None} if args.device == "cpu" else {"launched": None, "recorded": Recordings()}
        launched = None
        for way, recordings in kept.items():
            model = adapter.model._replace(recordings=recordings)
            found = answer(Kaleido("", model, adapter.sampling, adapter.rollout), questions, args.device, args.repeats)
            plain, launched = plain or found, launched or found
            moved = int(np.abs(found.images.astype(int) - launched.images).max())
            report("precision", size=size, steps=steps, precision=precision, steps_are=way,
                   ms_a_view=1e3 * found.seconds, gain=plain.seconds / found.seconds, first_s=found.first,
                   dB=psnr(found.images, truth), dB_gained=psnr(found.images, truth) - psnr(plain.images, truth),
                   dB_to_float32=psnr(found.images, plain.images), levels_to_launched=moved)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="small", help="shipped weights by name, or a checkpoint folder")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", default="128,256", help="in pixels")
    parser.add_argument("--steps", default="1,20")
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5, help="of every scene, after a first time")
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("no GPU here: add --device cpu (and --sizes 32 --steps 1 --scenes 1)")
    device = torch.cuda.get_device_name(args.device) if args.device != "cpu" else "cpu"
    report("precision", device=device, model=args.model,
           torch=torch.__version__, references=REFERENCES, targets=TARGETS, scenes=args.scenes)  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        for size in map(int, args.sizes.split(",")):
            folder = resize_weights(args.model, size, Path(scratch))
            questions = [ask(number, size, args.device) for number in range(args.scenes)]
            for steps in map(int, args.steps.split(",")):
                measure(folder, questions, size, steps, args)


if __name__ == "__main__":
    main()
