"""Twenty thousand pairs: peak memory on the processor, and each stage on a GPU beside what it cannot be faster than."""

from __future__ import annotations

import importlib.util
import math
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from scoring_pairs import CONVENTION, Desk, build_desk, make_pair, make_pairs
from scoring_timing import describe_machine, report_bar, time_once

from kaleido_bench.data.images import decode_image
from kaleido_bench.records import sha256_hex
from kaleido_bench.score import scoring
from kaleido_bench.score.metrics import scorers
from kaleido_bench.score.metrics.lpips import Lpips
from kaleido_bench.score.metrics.psnr import score_psnr
from kaleido_bench.score.metrics.ssim import score_ssim
from kaleido_bench.score.metrics.weights import WeightsFile

BAR_MEMORY, BAR_GPU = 1.5, 60.0

# One H100 SXM: what a stage cannot be faster than. NVIDIA's data sheet says 3.35 TB/s and 67 TFLOP/s in float32 outside
# the tensor cores; these are what programs reach.
BANDWIDTH, FLOPS = 3.0e12, 60e12


def measure_memory(count: int) -> bool:
    """Score synthetic pairs on the processor; the peak is of this whole process, after the images were made."""
    with tempfile.TemporaryDirectory() as folder:
        desk = build_in_process(Path(folder), count)
        begun = time.perf_counter()
        values = desk.score(report=_report_now_and_then(begun))
        seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{count} pairs of 256 px, {len(values)} values in {seconds:.0f} s: {1e3 * seconds / count:.1f} ms a pair")
    return report_bar(f"peak resident memory, {count} pairs", peak, BAR_MEMORY, " GiB", most=True)


def build_in_process(folder: Path, count: int) -> Desk:
    """The desk, made in another process, so that its memory is not counted here."""
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(_build_synthetic, folder, count).result()


def _build_synthetic(folder: Path, count: int) -> Desk:
    return build_desk(folder, [make_pair(seed) for seed in range(min(count, 200))], count, 256)


def _report_now_and_then(begun: float) -> scoring.Report:
    told = [begun]

    def report(done: int, total: int) -> None:
        now = time.perf_counter()
        if now - told[0] > 60:
            told[0] = now
            print(f"  {done} of {total} after {now - begun:.0f} s", flush=True)

    return report


def measure_gpu(count: int, device: str, workers: int) -> bool:
    """The whole road from files to rows, then each stage by itself."""
    batch = 64 if device.startswith("cuda") else 2
    print(describe_machine(device))
    allow_without_weights()
    allow_without_arrow()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        desk = build_desk(Path(folder), make_pairs(min(count, 512)), count, 256)
        print(f"{count} pairs written in {time.perf_counter() - begun:.1f} s (not timed below)")
        small = build_desk(Path(folder) / "warm", [make_pair(seed) for seed in range(2 * batch)], 2 * batch, 256)
        small.score(device)
        begun = time.perf_counter()
        values = desk.score(device, workers)
        seconds = time.perf_counter() - begun
        print(f"{len(values)} values in {seconds:.1f} s: {count / seconds:.0f} pairs/s, files to rows")
        print_stages(desk, count, device, batch)
    return report_bar(f"{count} pairs, PSNR + SSIM + LPIPS-alex, with decoding", seconds, BAR_GPU, " s", most=True)


def print_stages(desk: Desk, count: int, device: str, batch: int) -> None:
    """Each stage alone, scaled to all pairs; what one cannot be faster than is of an H100."""
    files = sorted(desk.run.predictions.rglob("*.png"))[: min(2048, count)]
    threads = min(16, len(os.sched_getaffinity(0)))
    with ThreadPoolExecutor(threads) as pool:
        decoding = time_once(lambda: list(pool.map(lambda path: decode_image(path.read_bytes(), path), files)))
    seconds = 2 * count * decoding.wall / 1e3 / len(files)
    print(f"decoding 2 x {count} files on {threads} threads: {seconds:.1f} s")
    images = torch.rand(2, batch, 3, 256, 256, device=device)
    ready = scorers.build_scorers(CONVENTION, ("lpips-alex",), (), device)
    pixels = 3 * 256 * 256
    # PSNR reads two float32 images; SSIM has four float64 maps, read and written by two blurs, and reads them at the
    # end: what a fused kernel would do is a tenth of it. FLOPs: an image through a trunk, twice.
    stages = {
        "psnr": (partial(score_psnr, recipe=CONVENTION.psnr), 2 * 4 * pixels / BANDWIDTH),
        "ssim": (partial(score_ssim, recipe=CONVENTION.ssim), 4 * 8 * pixels * 5 / BANDWIDTH),
        "lpips-alex": (lambda x, y: ready.score(x, y)["lpips-alex"], 2 * count_flops("alex") / FLOPS),
        "lpips-vgg, random weights": (build_random_vgg(device), 2 * count_flops("vgg") / FLOPS),
    }
    print(f"{'stage on the device':28}{'s':>8}{'roofline s':>12}{'of it':>8}")
    for name, (score, roofline) in stages.items():
        seconds = time_on_device(lambda score=score: score(images[0], images[1]), device) * count / batch
        print(f"{name:28}{seconds:8.2f}{roofline * count:12.2f}{roofline * count / seconds:8.0%}")


def time_on_device(call: Callable[[], object], device: str) -> float:
    repeats = 10 if device.startswith("cuda") else 1
    call()
    wait(device)
    begun = time.perf_counter()
    for _ in range(repeats):
        call()
    wait(device)
    return (time.perf_counter() - begun) / repeats


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


# (channels in, out, kernel, side of the output at 256 px) of the convolutions up to the last tap.
ALEX = ((3, 64, 11, 63), (64, 192, 5, 31), (192, 384, 3, 15), (384, 256, 3, 15), (256, 256, 3, 15))
VGG_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
VGG = (
    *((3, 64, 3, 256), (64, 64, 3, 256), (64, 128, 3, 128), (128, 128, 3, 128), (128, 256, 3, 64)),
    *((256, 256, 3, 64), (256, 256, 3, 64), (256, 512, 3, 32), (512, 512, 3, 32), (512, 512, 3, 32)),
    *((512, 512, 3, 16), (512, 512, 3, 16), (512, 512, 3, 16)),
)


def count_flops(net: str) -> float:
    """Of one image of 256 px."""
    layers = ALEX if net == "alex" else VGG
    return sum(2.0 * cin * cout * kernel**2 * side**2 for cin, cout, kernel, side in layers)


def write_random_trunk(path: Path, layers: Sequence[tuple[int, int, int, int]], places: Sequence[int]) -> WeightsFile:
    from safetensors.torch import save

    generator = torch.Generator().manual_seed(0)
    state: dict[str, torch.Tensor] = {}
    for place, (cin, cout, kernel, _) in zip(places, layers, strict=True):
        scale = math.sqrt(2 / (cin * kernel**2))
        state[f"features.{place}.weight"] = scale * torch.randn(cout, cin, kernel, kernel, generator=generator)
        state[f"features.{place}.bias"] = torch.zeros(cout)
    path.write_bytes(save(state))
    return WeightsFile(path, sha256_hex(path.read_bytes()))


def build_random_vgg(device: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    recipe = next(each for each in CONVENTION.lpips if each.net == "vgg")
    recipe = recipe.model_copy(update={"trunk": recipe.trunk.model_copy(update={"sha256": None})})
    with tempfile.TemporaryDirectory() as folder:
        return Lpips(recipe, write_random_trunk(Path(folder) / "vgg.safetensors", VGG, VGG_PLACES), device).distance


def allow_without_weights() -> None:
    """Random weights take the same time: where AlexNet's are not at hand, score with those, and say so."""
    if isinstance(scorers.find_weights("alexnet_features"), WeightsFile):
        return
    print("lpips-alex: weights missing, timed with random ones (no value of it means anything)")
    path = Path(tempfile.mkdtemp()) / "alexnet_features.safetensors"
    pinned = CONVENTION.lpips[0].trunk.sha256 or "0" * 64
    write_random_trunk(path, ALEX, (0, 3, 6, 8, 10))
    scorers.find_weights = lambda name, environment=None: WeightsFile(path, pinned)  # type: ignore[assignment]


def allow_without_arrow() -> None:
    if importlib.util.find_spec("pyarrow") is None:
        print("pyarrow is not here: the rows of each prediction are written, and not joined")
        scoring.write_rows = lambda path, rows, made: None  # type: ignore[assignment]
