"""The images that `metric_traps.py` measures on: real views, the nearest photograph, and what spoils a truth."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from kaleido_bench.data.images import ImagePreparation
from kaleido_bench.data.readers import build_reader
from kaleido_bench.data.scenes import PreparedView, Scene, load_view

VIEWS = 3
"""Of each scene, so that there are 18 as in the table that this one is to be compared with."""


class Pair(NamedTuple):
    """float32 [1, 3, height, width] in [0, 1]; the mask is bool [1, height, width]."""

    name: str
    prediction: Tensor
    truth: Tensor
    mask: Tensor | None = None


def prepare(size: int | None, filter_name: str = "lanczos", antialias: bool = True) -> ImagePreparation:
    fields = {"fit": "cover-crop" if size else "none", "size": (size, size) if size else None, "filter": filter_name}
    return ImagePreparation.model_validate(
        {**fields, "antialias": antialias, "background": "white", "alpha": "composite"}
    )


def to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1).unsqueeze(0).to(torch.float32).div_(255)


def load_scenes(data: Path, names: Sequence[str]) -> list[Scene]:
    return [build_reader("transforms").load_scene(data / "scenes", name) for name in names]


def choose_views(scene: Scene) -> list[str]:
    ids = list(scene.views)
    return [ids[round((len(ids) - 2) * place / VIEWS)] for place in range(VIEWS)]


def load_truths(scenes: Sequence[Scene], size: int) -> list[PreparedView]:
    return [load_view(scene, view, prepare(size)) for scene in scenes for view in choose_views(scene)]


def load_nearest(scenes: Sequence[Scene], size: int) -> list[Pair]:
    """Each view and the photograph whose camera stands nearest to its own."""
    pairs: list[Pair] = []
    for scene in scenes:
        for view in choose_views(scene):
            views = [load_view(scene, name, prepare(size)) for name in (find_nearest(scene, view), view)]
            mask = None if views[1].mask is None else torch.from_numpy(views[1].mask)[None]
            pairs.append(Pair(f"{scene.name}/{view}", *(to_tensor(each.image) for each in views), mask))
    return pairs


def find_nearest(scene: Scene, view: str) -> str:
    centre = scene.views[view].camera.c2w[:3, 3]
    others = [other for other in scene.views.values() if other.id != view]
    return min(others, key=lambda other: float(np.linalg.norm(other.camera.c2w[:3, 3] - centre))).id


def degrade(image: np.ndarray, seed: int = 0) -> np.ndarray:
    """Blurred by 1 px, shifted by 1 px, with noise of 8 levels."""
    blurred = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.0)), np.float64)
    noise = np.random.default_rng(seed).normal(0, 8, image.shape)
    return (np.roll(blurred, 1, axis=1) + noise).clip(0, 255).round().astype(np.uint8)


def add_noise(truth: Tensor, decibels: float) -> Tensor:
    """A truth with a uniform error of this PSNR; the truth should be inside [0.1, 0.9], so that nothing is clamped."""
    noise = np.random.default_rng(5).uniform(-1, 1, tuple(truth.shape)) * 3**0.5 * 10 ** (-decibels / 20)
    return truth + torch.from_numpy(noise.astype(np.float32))


def soften(truth: Tensor) -> Tensor:
    """The 8-bit truth with its contrast reduced to [0.1, 0.9], 8-bit again."""
    return (truth * 0.8 + 0.1).mul(255).round().div(255)


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))
