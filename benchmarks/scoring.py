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
import contextlib
import importlib.util
import json
import math
import os
import platform
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter

from kaleido_bench.atomic import write_bytes_atomic
from kaleido_bench.cases import Case, CaseIndex, render_index
from kaleido_bench.conventions import load_convention
from kaleido_bench.data.images import decode_image, encode_png
from kaleido_bench.items import Deviations, plan_items
from kaleido_bench.predictions import AdapterRecord, PredictionRecord, Run, create_run
from kaleido_bench.protocol import LoadedProtocol, load_protocol
from kaleido_bench.records import canonical_json, sha256_hex
from kaleido_bench.score import metrics, scoring
from kaleido_bench.score.lpips import Lpips
from kaleido_bench.score.psnr import score_psnr
from kaleido_bench.score.ssim import score_ssim
from kaleido_bench.score.ssim_torch import average_ssim
from kaleido_bench.score.weights import WeightsFile

CONVENTION = load_convention("kbench-v1")
SIZES = (256, 576)
TARGETS = 100  # of a case
EXACT = 5e-6
OURS = "ours, in one call"
BAR_SSIM, BAR_ALL, BAR_MEMORY, BAR_GPU = 4.0, 2.0, 1.5, 60.0

# One H100 SXM: what a stage cannot be faster than. NVIDIA's data sheet says 3.35 TB/s and 67 TFLOP/s in float32 outside
# the tensor cores; these are what programs reach.
BANDWIDTH, FLOPS = 3.0e12, 60e12

PROTOCOL = """\
schema_version: 1
name: scoring
version: 1
title: Pairs to score
level: scene
regime: few-view
dataset: {{name: pairs, reader: transforms, root: scenes, revision: made by benchmarks/scoring.py}}
index: {{file: scoring.json, sha256: {sha256}}}
reference_counts: [1]
preparation:
  {{size: [{size}, {size}], fit: cover-crop, filter: lanczos, antialias: true, background: white, alpha: composite}}
cameras: {{policy: given}}
convention: kbench-v1
metrics: [psnr, ssim]
optional_metrics: [lpips-alex]
samples: 1
seed: 0
targets: strict-novel
sources: [made by benchmarks/scoring.py]
"""


class Pair(NamedTuple):
    """PNG files."""

    prediction: bytes
    truth: bytes


class Desk(NamedTuple):
    """A run to score."""

    data_dir: Path
    loaded: LoadedProtocol
    run: Run

    def score(self, device: str = "cpu", workers: int = 1, report: scoring.Report | None = None) -> list[float]:
        """From files to rows, from the beginning; gives the values."""
        shutil.rmtree(self.run.path / "scores", ignore_errors=True)
        scores = scoring.score_run(
            self.run,
            self.loaded,
            data_dir=self.data_dir,
            convention=CONVENTION,
            device=device,
            deviations=Deviations(),
            workers=workers,
            report=report,
        )
        return [row.value for row in scores.rows]


# Images


def read_real_pairs(data_dir: Path, size: int, count: int) -> list[Pair]:
    """Photographs and noisy, blurred, shifted versions of them."""
    names = ("fox/images", "llff_fern/images", "temple_ring/images", "lund_door/images")
    pairs: list[Pair] = []
    for place in range(count):
        path = sorted((data_dir / "scenes" / names[place % len(names)]).glob("*.*"))[place // len(names)]
        truth = Image.open(path).convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
        prediction = truth.filter(ImageFilter.GaussianBlur(1 + place % 3))
        noise = np.random.default_rng(place).normal(0, 6, (size, size, 3))
        noisy = np.clip(np.roll(np.asarray(prediction), 1 + place % 2, axis=1) + noise, 0, 255).round().astype(np.uint8)
        pairs.append(Pair(encode_png(noisy), encode_png(np.asarray(truth))))
    return pairs


def make_pair(seed: int, size: int = 256) -> Pair:
    """A smooth picture with texture, and a noisy version: as hard to decode as a photograph."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    waves = sum(
        np.sin(rng.uniform(3, 60, 3) * x[..., None] + rng.uniform(3, 60, 3) * y[..., None] + rng.uniform(0, 6, 3))
        for _ in range(6)
    )
    truth = np.clip(127.5 + 25 * waves + rng.normal(0, 3, (size, size, 3)), 0, 255)
    prediction = np.clip(truth + rng.normal(0, 5, truth.shape), 0, 255)
    return Pair(*(encode_png(image.astype(np.uint8)) for image in (prediction, truth)))


def make_pairs(count: int) -> list[Pair]:
    """Synthetic pairs, made on all cores."""
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(make_pair, range(count), chunksize=8))


def build_desk(folder: Path, pairs: Sequence[Pair], total: int, size: int) -> Desk:
    """A data set, a protocol and a run of `total` pairs, which repeat `pairs`: each is a file of its own name."""
    cases, pins = [], {}
    kept = [(_keep(folder, pair.prediction), _keep(folder, pair.truth)) for pair in pairs]
    for number, start in enumerate(range(0, total, TARGETS)):
        scene = f"scene-{number:04d}"
        targets = [f"{place:06d}" for place in range(start, min(start + TARGETS, total))]
        found = {view: kept[int(view) % len(kept)][1] for view in targets}
        _write_scene(folder / "data" / "scenes" / scene, {"reference": kept[0][1], **found}, size)
        pins[scene] = {view: path.stem for view, path in found.items()}
        cases.append(Case(id=scene, scene=scene, references=("reference",), targets=tuple(targets)))
    index = render_index(CaseIndex(schema_version=1, cases=tuple(cases), image_sha256=pins, camera_sha256={}))
    (folder / "scoring.json").write_bytes(index)
    (folder / "scoring.yaml").write_text(PROTOCOL.format(sha256=sha256_hex(index), size=size))
    loaded = load_protocol(folder / "scoring.yaml")
    card = AdapterRecord(name="noise", variant=None, weights_sha256=None, settings={}, training_data=None)
    run = create_run(folder / "runs", loaded, model="noise", adapter=card, fingerprint="f" * 64)
    for item in plan_items(loaded):
        files = {view: kept[int(view) % len(kept)][0] for view in item.case.targets}
        _link_all(run.item_folder(item), {f"{view}.png": path for view, path in files.items()})
        record = PredictionRecord(
            item=item.key,
            case=item.case.id,
            sample=0,
            scale=None,
            seed=0,
            seconds=0.0,
            width=size,
            height=size,
            fingerprint=run.record.fingerprint,
            protocol_hash=loaded.hash,
            sha256={view: path.stem for view, path in files.items()},
        )
        write_bytes_atomic(run.item_folder(item) / "case.json", canonical_json(record.model_dump(mode="json")))
    return Desk(folder / "data", loaded, run)


def _keep(folder: Path, data: bytes) -> Path:
    """A file under the name of its hash."""
    path = folder / "files" / f"{sha256_hex(data)}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _write_scene(folder: Path, files: Mapping[str, Path], size: int) -> None:
    _link_all(folder / "images", {f"{view}.png": path for view, path in files.items()})
    frames: list[dict[str, object]] = []
    for place, view in enumerate(files):
        angle = 0.01 * place
        c2w = np.eye(4)
        c2w[:3, :3] = [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
        c2w[:3, 3] = c2w[:3, 2] * 4
        frames.append({"file_path": f"images/{view}.png", "transform_matrix": c2w.tolist()})
    intrinsics = {"fl_x": size, "fl_y": size, "cx": size / 2, "cy": size / 2, "w": size, "h": size}
    (folder / "transforms.json").write_text(json.dumps({**intrinsics, "frames": frames}))


def _link_all(folder: Path, files: Mapping[str, Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        os.link(path, folder / name)


# Peers


def to_tensor(data: bytes) -> torch.Tensor:
    """[1, 3, height, width] in [0, 1]."""
    return torch.from_numpy(decode_image(data, "png")).permute(2, 0, 1)[None].float().div(255).contiguous()


def to_float(data: bytes) -> np.ndarray:
    return decode_image(data, "png").astype(np.float32) / 255


def build_torchmetrics(network: Callable[..., torch.Tensor]) -> Callable[[Pair], object]:
    """(a): torchmetrics' PSNR and SSIM, the lpips package, one image at a time."""
    functional = import_oracle("torchmetrics.functional.image")

    def score(pair: Pair) -> object:
        prediction, truth = to_tensor(pair.prediction), to_tensor(pair.truth)
        with torch.no_grad():
            return (
                functional.peak_signal_noise_ratio(prediction, truth, data_range=1.0).item(),
                functional.structural_similarity_index_measure(prediction, truth, data_range=1.0).item(),
                network(prediction, truth, normalize=True).item(),
            )

    return score


def build_skimage(network: Callable[..., torch.Tensor]) -> Callable[[Pair], object]:
    """(b): scikit-image's PSNR and SSIM as pixelSplat calls it, the lpips package, one image at a time."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    def score(pair: Pair) -> object:
        prediction, truth = to_float(pair.prediction), to_float(pair.truth)
        tensors = (torch.from_numpy(image).permute(2, 0, 1)[None] for image in (prediction, truth))
        with torch.no_grad():
            return (
                peak_signal_noise_ratio(truth, prediction, data_range=1.0),
                structural_similarity(
                    truth, prediction, win_size=11, gaussian_weights=True, channel_axis=-1, data_range=1.0
                ),
                network(*tensors, normalize=True).item(),
            )

    return score


def load_nerfbaselines(folder: Path, network: torch.nn.Module) -> ModuleType:
    """Its metrics.py, by itself, with the lpips package's network where it would fetch one."""
    spec = importlib.util.spec_from_file_location("nerfbaselines_metrics", folder / "nerfbaselines" / "metrics.py")
    if spec is None or spec.loader is None:
        sys.exit(f"no metrics.py in {folder}/nerfbaselines")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module._LPIPS_CACHE["alex"] = network
    return module


def build_nerfbaselines(module: ModuleType) -> Callable[[Pair], object]:
    """(c): nerfbaselines/evaluation.py:compute_metrics, which also takes MAE."""

    def score(pair: Pair) -> object:
        prediction, truth = to_float(pair.prediction)[None], to_float(pair.truth)[None]
        error = module.mse(prediction, truth)
        return (
            module.psnr(error),
            module.ssim(truth, prediction),
            module.mae(truth, prediction),
            module.lpips(truth, prediction),
        )

    return score


def import_oracle(name: str) -> ModuleType:
    from kaleido_bench.score.oracles import import_repaired

    return import_repaired(name)


@contextlib.contextmanager
def _trunk_home() -> Iterator[None]:
    """A TORCH_HOME from which torchvision builds AlexNet with our trunk, so that nothing is fetched."""
    from safetensors.torch import load_file

    weights = metrics.find_weights("alexnet_features")
    if not isinstance(weights, WeightsFile):
        sys.exit(str(weights.error()))
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        state = load_file(weights.path)
        for index, shape in ((1, (4096, 9216)), (4, (4096, 4096)), (6, (1000, 4096))):
            state[f"classifier.{index}.weight"] = torch.zeros(1).expand(shape)
            state[f"classifier.{index}.bias"] = torch.zeros(shape[0])
        torch.save(state, folder / "alexnet-owt-7be5be79.pth")
        before = os.environ.get("TORCH_HOME")
        os.environ["TORCH_HOME"] = home
        try:
            yield
        finally:
            os.environ.pop("TORCH_HOME") if before is None else os.environ.__setitem__("TORCH_HOME", before)


def build_ssim_peers(nerfbaselines: ModuleType | None) -> dict[str, Callable[[Pair], Callable[[], float]]]:
    """Name -> what prepares a pair in the peer's own types, and gives the call that is timed."""
    from skimage.metrics import structural_similarity

    peers: dict[str, Callable[[Pair], Callable[[], float]]] = {}

    def on_tensors(function: Callable[..., torch.Tensor], **options: object) -> Callable[[Pair], Callable[[], float]]:
        return lambda pair: (
            lambda x=to_tensor(pair.prediction), y=to_tensor(pair.truth): function(x, y, **options).item()
        )

    def on_arrays(function: Callable[..., float], **options: object) -> Callable[[Pair], Callable[[], float]]:
        return lambda pair: lambda x=to_float(pair.prediction), y=to_float(pair.truth): float(function(y, x, **options))

    peers["ours"] = on_tensors(partial(score_ssim, recipe=CONVENTION.ssim))
    peers["ours, plain twin"] = on_tensors(partial(score_ssim, recipe=CONVENTION.ssim, average=average_ssim))
    peers["scikit-image"] = on_arrays(
        structural_similarity,
        channel_axis=-1,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    functional = import_oracle("torchmetrics.functional.image")
    peers["torchmetrics"] = on_tensors(functional.structural_similarity_index_measure, data_range=1.0)
    if importlib.util.find_spec("pytorch_msssim"):
        peers["pytorch-msssim"] = on_tensors(import_oracle("pytorch_msssim").ssim, data_range=1.0)
    if importlib.util.find_spec("piqa"):
        peers["piqa"] = on_tensors(import_oracle("piqa").SSIM(reduction="none"))
    if importlib.util.find_spec("kornia"):
        kornia = import_oracle("kornia.metrics")
        peers["kornia"] = on_tensors(lambda x, y: kornia.ssim(x, y, 11, padding="valid").mean())
    if nerfbaselines is not None:
        peers["nerfbaselines"] = on_arrays(lambda y, x: nerfbaselines.ssim(y[None], x[None])[0])
    return peers


# Timing


class Timed(NamedTuple):
    """Milliseconds."""

    wall: float
    processor: float


def time_once(call: Callable[[], object]) -> Timed:
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return Timed(1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor))


def time_in_turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[Timed]]:
    """Every call once a round, after one that warms up."""
    for call in calls.values():
        call()
    found: dict[str, list[Timed]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(time_once(call))
    return found


def median_ratio(slow: Sequence[Timed], fast: Sequence[Timed]) -> float:
    """The median over the rounds of the quotient of two calls of one round."""
    return statistics.median(a.wall / b.wall for a, b in zip(slow, fast, strict=True))


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


def build_lpips_package() -> torch.nn.Module:
    lpips = import_oracle("lpips")
    with _trunk_home():
        return lpips.LPIPS(net="alex", verbose=False).eval().requires_grad_(False)


def report_bar(what: str, found: float, bar: float, unit: str, *, most: bool = False) -> bool:
    met = found <= bar if most else found >= bar
    print(f"{'met   ' if met else 'MISSED'} {what}: {found:.2f}{unit} (bar {'<=' if most else '>='} {bar:g}{unit})")
    return met


# Twenty thousand pairs


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


class Stage(NamedTuple):
    """A stage on the device: seconds for all pairs, and what it cannot be faster than."""

    name: str
    seconds: float
    roofline: float


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
    scorers = metrics.build_scorers(CONVENTION, ("lpips-alex",), (), device)
    pixels = 3 * 256 * 256
    # PSNR reads two float32 images; SSIM has four float64 maps, read and written by two blurs, and reads them at the
    # end: what a fused kernel would do is a tenth of it. FLOPs: an image through a trunk, twice.
    stages = {
        "psnr": (partial(score_psnr, recipe=CONVENTION.psnr), 2 * 4 * pixels / BANDWIDTH),
        "ssim": (partial(score_ssim, recipe=CONVENTION.ssim), 4 * 8 * pixels * 5 / BANDWIDTH),
        "lpips-alex": (lambda x, y: scorers.score(x, y)["lpips-alex"], 2 * count_flops("alex") / FLOPS),
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
    if isinstance(metrics.find_weights("alexnet_features"), WeightsFile):
        return
    print("lpips-alex: weights missing, timed with random ones (no value of it means anything)")
    path = Path(tempfile.mkdtemp()) / "alexnet_features.safetensors"
    pinned = CONVENTION.lpips[0].trunk.sha256 or "0" * 64
    write_random_trunk(path, ALEX, (0, 3, 6, 8, 10))
    metrics.find_weights = lambda name, environment=None: WeightsFile(path, pinned)  # type: ignore[assignment]


def allow_without_arrow() -> None:
    if importlib.util.find_spec("pyarrow") is None:
        print("pyarrow is not here: the rows of each prediction are written, and not joined")
        scoring.write_rows = lambda path, rows: None  # type: ignore[assignment]


def describe_machine(device: str) -> str:
    name = torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0))} cores, torch {torch.__version__}, {torch.get_num_threads()} threads"


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


if __name__ == "__main__":
    main()
