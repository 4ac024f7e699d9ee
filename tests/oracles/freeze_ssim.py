"""Freeze what other people's SSIM says of a few photographs and renders, for packages that the tests do not install.

    pip install --no-deps --target PEERS pytorch-msssim==1.0.0 kornia==0.9.0 kornia_rs==0.2.0 piqa==1.3.2
    pip install --no-deps --target OLD torchmetrics==1.4.1 lightning-utilities==0.15.3
    PYTHONPATH=.:OLD:PEERS python tests/oracles/freeze_ssim.py DATA > tests/golden/ssim_peers.json

All of them are fed float64: in float32 they are up to 1e-5 away from themselves.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from kaleido_bench.data.images import decode_image
from kaleido_bench.score.metrics.oracles import import_repaired

PHOTOGRAPHS = (
    "fox/images/0004.jpg",
    "llff_fern/images/image003.jpg",
    "lund_door/images/DSC_0004.jpg",
    "temple_ring/images/templeR0004.jpg",
)


class Pair(NamedTuple):
    """float64 [1, 3, height, width] in [0, 1]; 8-bit values."""

    name: str
    prediction: torch.Tensor
    truth: torch.Tensor


def read_photographs(data_dir: Path) -> list[Pair]:
    """Photographs of the real scenes, at three sizes, one of them odd: shifted, noisy, darkened."""
    rng, pairs = np.random.default_rng(142), list[Pair]()
    for name in PHOTOGRAPHS:
        photograph = Image.open(data_dir / "scenes" / name).convert("RGB")
        for size in ((128, 128), (97, 75), (256, 256)):
            truth = np.asarray(photograph.resize(size, Image.Resampling.LANCZOS))
            pairs.append(_distort(f"{name.split('/')[0]} {size[0]}x{size[1]}", truth, rng))
    return pairs


def make_pairs() -> list[Pair]:
    """Renders that ship with the package, at three sizes, one of them odd: shifted, noisy, darkened."""
    rng, pairs = np.random.default_rng(141), list[Pair]()
    for world in ("world-00", "world-02", "world-04"):
        path = Path(str(files("kaleido_bench"))) / "embedded" / "scenes" / "quickstart" / world / "images" / "07.png"
        render = decode_image(path.read_bytes(), path)[..., :3]
        for size, truth in {
            "128x128": render,
            "97x75": render[20:95, 11:108],
            "256x256": render.repeat(2, 0).repeat(2, 1),
        }.items():
            pairs.append(_distort(f"{world} {size}", truth, rng))
    return pairs


def _distort(name: str, truth: np.ndarray, rng: np.random.Generator) -> Pair:
    noise = rng.integers(-25, 26, truth.shape)
    prediction = np.clip(np.roll(truth, (1, 2), (0, 1)) * 0.9 + noise, 0, 255).astype(np.uint8)
    return Pair(name, _to_tensor(prediction), _to_tensor(truth))


def _to_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.astype(np.float64) / 255).permute(2, 0, 1)[None].contiguous()


def build_peers() -> dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    """Package, version and setting -> its SSIM."""
    kornia, piqa, pytorch_msssim, functional = (
        import_repaired(name) for name in ("kornia", "piqa", "pytorch_msssim", "torchmetrics.functional.image")
    )
    torchmetrics_ssim = functional.structural_similarity_index_measure

    def name(package: str, setting: str) -> str:
        return f"{package} {version(package)} {setting}"

    return {
        name("pytorch-msssim", "default"): lambda x, y: pytorch_msssim.ssim(x, y, data_range=1.0),
        name("kornia", "same"): lambda x, y: kornia.metrics.ssim(x, y, 11).mean(),
        name("kornia", "valid"): lambda x, y: kornia.metrics.ssim(x, y, 11, padding="valid").mean(),
        name("piqa", "default"): piqa.SSIM().double(),
        name("piqa", "padding"): piqa.SSIM(padding=True).double(),
        name("torchmetrics", "range 1"): lambda x, y: torchmetrics_ssim(x, y, data_range=1.0),
        name("torchmetrics", "range of the pair"): torchmetrics_ssim,
    }


if __name__ == "__main__":
    pairs = [*make_pairs(), *read_photographs(Path(sys.argv[1]))]
    values = {
        name: {pair.name: round(ssim(*pair[1:]).item(), 8) for pair in pairs} for name, ssim in build_peers().items()
    }
    json.dump(values, sys.stdout, indent=1)
    print()
