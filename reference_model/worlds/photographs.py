"""Photographs that worlds are papered with: those that scikit-image and matplotlib carry, public domain or CC0 (the
licence of each is in scikit-image's skimage/data/_fetchers.py and docstrings, and in matplotlib's sample data).

Nothing is downloaded. A machine without those packages reads the file that
`python -m reference_model.worlds.photographs --out FILE` packs on one that has them.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

SIDES = (256, 64, 16)  # levels of detail, each a box-filtered quarter of the one before
TEXELS = sum(side * side for side in SIDES)
SOURCES = {
    "skimage": (
        *("data/astronaut.png", "data/brick.png", "data/chelsea.png", "data/coffee.png", "data/coins.png"),
        *("data/grass.png", "data/gravel.png", "data/hubble_deep_field.jpg", "data/retina.jpg", "data/rocket.jpg"),
    ),
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
}


class Photographs(NamedTuple):
    """Square photographs, the levels of SIDES one after the other, row by row; `sha256` of the texels."""

    texels: UInt8[Tensor, "photo texel 3"]
    sha256: str


def cut_squares(image: Image.Image) -> list[Image.Image]:
    """The largest centred square, and its four quarters where they are still sharp."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    whole = image.crop((left, top, left + side, top + side))
    half = side // 2
    quarters = [whole.crop((x, y, x + half, y + half)) for x in (0, half) for y in (0, half)]
    return [whole, *(quarters if half >= 160 else [])]


def pack_levels(square: Image.Image) -> np.ndarray:
    """uint8 [TEXELS, 3]."""
    finest = square.convert("RGB").resize((SIDES[0], SIDES[0]), Image.Resampling.LANCZOS)
    levels = [finest, *(finest.resize((side, side), Image.Resampling.BOX) for side in SIDES[1:])]
    return np.concatenate([np.asarray(level).reshape(-1, 3) for level in levels])


def collect_photographs() -> Photographs:
    """Cut the packages' photographs.

    Raises FileNotFoundError, naming the package, where one is not installed: another set is another data set.
    """
    packed: list[np.ndarray] = []
    for package, files in SOURCES.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(
                f"the package {package}, whose photographs the worlds use, is not installed: install it, or pass "
                "--photographs a file packed by `python -m reference_model.worlds.photographs --out FILE`"
            )
        for file in files:
            with Image.open(Path(spec.origin).parent / file) as image:
                packed += [pack_levels(square) for square in cut_squares(image)]
    return build_photographs(np.stack(packed))


def build_photographs(texels: UInt8[np.ndarray, "photo texel 3"]) -> Photographs:
    """Raises ValueError for texels of another layout."""
    if texels.dtype != np.uint8 or texels.ndim != 3 or texels.shape[1:] != (TEXELS, 3):
        raise ValueError(f"photographs of {texels.dtype} {texels.shape}: expected uint8 [photo, {TEXELS}, 3]")
    return Photographs(torch.from_numpy(texels), hashlib.sha256(texels.tobytes()).hexdigest())


def load_photographs(path: Path | None = None) -> Photographs:
    """From a packed file, or without one from the installed packages.

    Raises FileNotFoundError where it, or a package, is not there, ValueError, naming it, where it is another file.
    """
    if path is None:
        return collect_photographs()
    try:
        texels: object = np.load(path, allow_pickle=False)
        if not isinstance(texels, np.ndarray):
            raise ValueError("several arrays in one file")
        return build_photographs(texels)
    except FileNotFoundError:
        raise
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(
            f"{path}: {error}; expected a file packed by `python -m reference_model.worlds.photographs --out FILE`"
        ) from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    photographs = collect_photographs()
    np.save(args.out, photographs.texels.numpy())
    print(f"{photographs.texels.shape[0]} photographs, sha256 {photographs.sha256}: {args.out}")  # noqa: T201


if __name__ == "__main__":
    main()
