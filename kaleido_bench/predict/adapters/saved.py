"""Images made elsewhere, by any program: `saved@DIR` reads `DIR/<case>/<view>.png`.

Every file is 8-bit RGB of the protocol's prepared size. A view id may hold slashes: `train/r_0` is
`DIR/<case>/train/r_0.png`. The folder of a second sample or of a scale carries the suffix of its item (`<case>~s1`,
`<case>~x0.5`). Files other than PNGs are ignored, so the `predictions` folder of another run can be read as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kaleido_bench.data.images import decode_image
from kaleido_bench.errors import BenchError
from kaleido_bench.predict.adapters.interface import (
    AdapterCard,
    Capabilities,
    ReferenceViews,
    TargetCameras,
    build_card,
)


class Saved:
    """Answers from a folder of PNG files. It is as generative as what is in there: with a second sample, or without."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        several = any(path.is_dir() for path in folder.glob("*~s[0-9]*"))
        self.capabilities = Capabilities(per_scene=False, generative=several, max_references=None)

    def describe(self) -> AdapterCard:
        """The card. The fingerprint covers every file's bytes, so that changed images are another method."""
        content = hashlib.sha256()
        for path in sorted(self.folder.rglob("*.png")):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            content.update(f"{path.relative_to(self.folder).as_posix()} {digest}\n".encode())
        settings = {"images_sha256": content.hexdigest()}
        return build_card("saved", code_version="1", settings=settings, training_data=None)

    def predict(
        self, references: ReferenceViews, targets: TargetCameras, generator: np.random.Generator
    ) -> UInt8[np.ndarray, "target height width 3"]:
        folder = self.folder / targets.item
        self._check_names(folder, targets)
        size = (targets.cameras.width, targets.cameras.height)
        return np.stack([read_saved_image(folder / f"{view}.png", size) for view in targets.ids])

    def _check_names(self, folder: Path, targets: TargetCameras) -> None:
        expected = {f"{view}.png" for view in targets.ids}
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
        wanted = f"one PNG for each of the {len(expected)} target views of {targets.item}"
        if missing := sorted(expected - found):
            why = "missing" if folder.is_dir() else "missing, and so is its folder"
            raise BenchError(folder / missing[0], why, expected=wanted, fix="Put the image there; predict all views.")
        if extra := sorted(found - expected):
            raise BenchError(
                folder / extra[0], "not a target view of this case", expected=wanted, fix="Remove it, or rename it."
            )


def read_saved_image(path: Path, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Decode one PNG and check that it is RGB of `size` (width, height). Raises BenchError naming the file."""
    image = decode_image(path.read_bytes(), path)
    height, width, channels = image.shape
    if channels != 3 or (width, height) != size:
        raise BenchError(
            path,
            f"{width}x{height} pixels with {channels} channels",
            expected=f"{size[0]}x{size[1]} pixels with 3 channels",
            fix="Write RGB at the size of the protocol's preparation (`kbench show PROTOCOL`).",
        )
    return image


def build(variant: str | None, args: Mapping[str, str], device: str) -> Saved:
    folder = Path(variant or "").expanduser()
    if not folder.is_dir():
        raise BenchError(folder, "no such folder", expected="a folder of <case>/<view>.png", fix="Check saved@DIR.")
    return Saved(folder)
