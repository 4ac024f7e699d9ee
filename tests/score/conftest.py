"""Pairs to score: real photographs under the distortions a prediction shows, at three sizes, one of them odd."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from kaleido_bench.conventions import Convention, load_convention
from tests.score.desk import Desk, set_up

SIZES = ((128, 128), (157, 123), (256, 256))  # width, height
SCENES = ("fox/images", "llff_fern/images", "temple_ring/images", "lund_door/images")


class Pair(NamedTuple):
    """uint8 [height, width, 3] both."""

    name: str
    prediction: np.ndarray
    truth: np.ndarray

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Both as float32 [1, 3, height, width] in [0, 1]."""
        return as_tensor(self.prediction), as_tensor(self.truth)


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1).unsqueeze(0).to(torch.float32).div_(255)


def _blur(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(1.5))


def _noise(image: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, 12, (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).round().astype(np.uint8))


def _shift(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.roll(np.asarray(image), (2, 3), axis=(0, 1)))


def _darken(image: Image.Image) -> Image.Image:
    return image.point(lambda value: int(0.8 * value + 10))


def _compress(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=20)
    return Image.open(buffer).convert("RGB")


DISTORTIONS: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "blur": _blur,
    "noise": _noise,
    "shift": _shift,
    "darken": _darken,
    "jpeg": _compress,
}


@pytest.fixture(scope="session")
def real_pairs(data_dir: Path) -> list[Pair]:
    pairs: list[Pair] = []
    for scene in SCENES:
        path = sorted((data_dir / "scenes" / scene).glob("*.*"))[3]
        for size in SIZES:
            image = Image.open(path).convert("RGB").resize(size, Image.Resampling.LANCZOS)
            for name, distort in DISTORTIONS.items():
                pairs.append(Pair(f"{scene} {size} {name}", np.asarray(distort(image)), np.asarray(image)))
    return pairs


@pytest.fixture(scope="session")
def convention() -> Convention:
    return load_convention("kbench-v1")


@pytest.fixture(scope="session")
def torch_home(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A TORCH_HOME from which torchvision builds the trunks of our weights, so that the lpips package needs no network.

    A cached checkpoint is not hash-checked by torchvision. The classifiers, which LPIPS does not use, are zeros that
    take no space.
    """
    from safetensors.torch import load_file

    home = tmp_path_factory.mktemp("torch_home")
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    alex = load_file(weights_dir / "lpips" / "alexnet_features.safetensors")
    for index, shape in ((1, (4096, 9216)), (4, (4096, 4096)), (6, (1000, 4096))):
        alex[f"classifier.{index}.weight"] = torch.zeros(1).expand(shape)
        alex[f"classifier.{index}.bias"] = torch.zeros(shape[0])
    torch.save(alex, folder / "alexnet-owt-7be5be79.pth")
    squeeze = load_file(weights_dir / "lpips" / "squeezenet1_1_features.safetensors")
    squeeze["classifier.1.weight"], squeeze["classifier.1.bias"] = torch.zeros(1000, 512, 1, 1), torch.zeros(1000)
    torch.save(squeeze, folder / "squeezenet1_1-b8a52dc0.pth")
    before = os.environ.get("TORCH_HOME")
    os.environ["TORCH_HOME"] = str(home)
    yield home
    if before is None:
        del os.environ["TORCH_HOME"]
    else:
        os.environ["TORCH_HOME"] = before
    shutil.rmtree(home)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return set_up(tmp_path)
