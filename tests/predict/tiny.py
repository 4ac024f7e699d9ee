"""Small scenes and protocols on disk, made in milliseconds, for the tests of predicting and of the command line."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kaleido_bench.cases import Case, CaseIndex, render_index
from kaleido_bench.data.images import encode_png
from kaleido_bench.records import sha256_hex

WIDTH, HEIGHT = 40, 32

PROTOCOL = """\
schema_version: 1
name: {name}
version: 1
title: A tiny protocol
level: scene
regime: few-view
dataset: {{name: tiny, reader: transforms, root: scenes, revision: made by the tests}}
index: {{file: {index}, sha256: {sha256}}}
reference_counts: {counts}
preparation:
  {{size: [{width}, {height}], fit: cover-crop, filter: lanczos, antialias: true, background: white, alpha: composite}}
cameras: {cameras}
convention: kbench-v1
metrics: [psnr, ssim]
samples: {samples}
seed: 0
targets: {targets}
sources: [made by the tests]
"""


def write_scene(folder: Path, *, views: int = 6, seed: int = 0) -> Path:
    """A nerfstudio scene of smooth pictures, `images/0000.png` and on, seen from an arc."""
    (folder / "images").mkdir(parents=True)
    frames: list[dict[str, object]] = []
    for view in range(views):
        angle = 0.25 * view
        c2w = np.eye(4)
        c2w[:3, :3] = [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
        c2w[:3, 3] = c2w[:3, 2] * 4
        path = f"images/{view:04d}.png"
        (folder / path).write_bytes(encode_png(make_image(seed, angle)))
        frames.append({"file_path": path, "transform_matrix": c2w.tolist()})
    intrinsics = {"fl_x": 50.0, "fl_y": 50.0, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT}
    (folder / "transforms.json").write_text(json.dumps({**intrinsics, "frames": frames}))
    return folder


def make_image(seed: int, angle: float, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A smooth uint8 picture that moves with the angle."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / width
    waves = [np.sin(rng.uniform(4, 12) * (x + angle) + rng.uniform(4, 12) * y + rng.uniform(0, 6)) for _ in range(3)]
    return (127.5 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)


def write_protocol(
    path: Path,
    *,
    scenes: Sequence[str] = ("arc",),
    counts: Sequence[int] = (1, 3),
    targets: Sequence[str] = ("0004", "0005"),
    target_policy: str = "strict-novel",
    cameras: str = "{policy: given}",
    samples: int = 1,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    cases: Sequence[Case] | None = None,
    image_sha256: dict[str, dict[str, str]] | None = None,
    camera_sha256: dict[str, dict[str, str]] | None = None,
    mask_sha256: dict[str, dict[str, str]] | None = None,
) -> Path:
    """A protocol and its index beside it. By default each scene has one case a count: references 0000, 0001, ..."""
    if cases is None:
        cases = [
            Case(
                id=f"{scene}-r{count}",
                scene=scene,
                references=tuple(f"{view:04d}" for view in range(count)),
                targets=tuple(targets),
            )
            for scene in scenes
            for count in counts
        ]
    index = render_index(
        CaseIndex(
            schema_version=1,
            cases=tuple(cases),
            image_sha256=image_sha256 or {},
            camera_sha256=camera_sha256 or {},
            mask_sha256=mask_sha256 or {},
        )
    )
    index_path = path.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    index_path.write_bytes(index)
    text = PROTOCOL.format(
        name=path.stem,
        index=index_path.name,
        sha256=sha256_hex(index),
        counts=list(counts),
        width=size[0],
        height=size[1],
        cameras=cameras,
        samples=samples,
        targets=target_policy,
    )
    path.write_text(text)
    return path


def write_data(data_dir: Path, scenes: Sequence[str] = ("arc",)) -> Path:
    """A data directory with these scenes below `scenes/`."""
    for seed, scene in enumerate(scenes):
        write_scene(data_dir / "scenes" / scene, seed=seed)
    return data_dir


TOY_ADAPTER = '''\
"""Adapters for tests, installed as a foreign package would be."""
import os, signal, sys, time
from pathlib import Path
import numpy as np
from kaleido_bench.predict.adapters import Capabilities, build_card


class Toy:
    """Noise from the generator: any trace of order, resuming or workers would show."""

    capabilities = Capabilities(per_scene=False, generative=True, max_references=None)

    def __init__(self, args):
        self.args = args

    def describe(self):
        card = build_card("toy", code_version="1", training_data=None)
        return card._replace(name=None) if "nameless" in self.args else card

    def predict(self, references, targets, generator):
        time.sleep(float(self.args.get("sleep", 0)))
        flag = self.args.get("die", "")
        if flag and not Path(flag).exists() and targets.item == self.args.get("at", targets.item):
            Path(flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.args.get("waits") == targets.item:
            raise ValueError(f"threads wait {os.environ.get('OMP_WAIT_POLICY')}")
        if self.args.get("raise") == targets.item:
            raise ValueError("the toy broke")
        if self.args.get("exit") == targets.item:
            sys.exit(0)
        if "print" in self.args:
            print("the toy talks")
        shape = (len(targets.ids), targets.cameras.height, targets.cameras.width, 3)
        if "spoil" in self.args:
            for array in (references.images, *references.cameras[:2], *targets.cameras[:2]):
                array[:] = 0
        return generator.integers(0, 256, shape, np.uint8)


class SceneToy:
    """Remembers what it was fitted to, so that a fit left out or left over would show."""

    capabilities = Capabilities(per_scene=True, generative=False, max_references=3)

    def __init__(self):
        self.colour = None

    def describe(self):
        return build_card("scene-toy", code_version="1", training_data=())

    def fit(self, references, generator):
        self.colour = int(references.images.mean()) + len(references.ids)

    def predict(self, references, targets, generator):
        shape = (len(targets.ids), targets.cameras.height, targets.cameras.width, 3)
        colour, self.colour = self.colour, None
        return np.full(shape, colour, np.uint8)


def build(variant, args, device):
    return Toy(args)


def build_scene(variant, args, device):
    return SceneToy()
'''


def install_toys(folder: Path) -> Path:
    """A package with two adapters, `toy` and `scene-toy`, that Python finds once `folder` is on its path."""
    info = folder / "toy_adapters-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "toy_adapters.py").write_text(TOY_ADAPTER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-adapters\nVersion: 1.0\n")
    points = "toy = toy_adapters:build\nscene-toy = toy_adapters:build_scene\n"
    (info / "entry_points.txt").write_text(f"[kbench.adapters]\n{points}")
    return folder
