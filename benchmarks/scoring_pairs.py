"""What `scoring.py` scores: pairs of images, real or made up, and a run of them on the disk."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter

from kaleido_bench.atomic import write_bytes_atomic
from kaleido_bench.authoring import freeze_protocol, write_protocol
from kaleido_bench.cases import Case
from kaleido_bench.conventions import load_convention
from kaleido_bench.data.images import decode_image, encode_png
from kaleido_bench.data.scenes import Pin
from kaleido_bench.drafts import Data, Draft, describe_draft, describe_preparation
from kaleido_bench.items import Deviations, plan_items
from kaleido_bench.predictions import AdapterRecord, PredictionRecord, Run, create_run
from kaleido_bench.protocol import LoadedProtocol, load_protocol
from kaleido_bench.records import canonical_json, sha256_hex
from kaleido_bench.score import scoring

CONVENTION = load_convention("kbench-v1")
TARGETS = 100  # of a case


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
    cases: list[Case] = []
    pins: dict[str, dict[str, Pin]] = {}
    kept = [(_keep(folder, pair.prediction), _keep(folder, pair.truth)) for pair in pairs]
    for number, start in enumerate(range(0, total, TARGETS)):
        scene = f"scene-{number:04d}"
        targets = [f"{place:06d}" for place in range(start, min(start + TARGETS, total))]
        found = {view: kept[int(view) % len(kept)][1] for view in targets}
        _write_scene(folder / "data" / "scenes" / scene, {"reference": kept[0][1], **found}, size)
        pins[scene] = {view: Pin(image=path.stem) for view, path in found.items()}
        cases.append(Case(id=scene, scene=scene, references=("reference",), targets=tuple(targets)))
    draft = Draft(
        name="scoring",
        title="Pairs to score",
        level="scene",
        regime="few-view",
        data=Data("pairs", "transforms", "scenes", "made by benchmarks/scoring.py"),
        preparation=describe_preparation(size),
        metrics=("psnr", "ssim"),
        optional_metrics=("lpips-alex",),
        cases=tuple(cases),
        sources=("made by benchmarks/scoring.py",),
    )
    frozen = freeze_protocol(describe_draft(draft), draft.cases, pins, header="Written by benchmarks/scoring.py.")
    write_protocol(folder, frozen)
    loaded = load_protocol(folder / frozen.yaml_path)
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


def to_tensor(data: bytes) -> torch.Tensor:
    """[1, 3, height, width] in [0, 1]."""
    return torch.from_numpy(decode_image(data, "png")).permute(2, 0, 1)[None].float().div(255).contiguous()


def to_float(data: bytes) -> np.ndarray:
    return decode_image(data, "png").astype(np.float32) / 255
