"""A data set as a reader finds it, as scenes that the reference model trains on. It imports nothing of that model: the
scenes have the shape that `reference_model.training.posed` asks for, and `checking.py` puts the two together.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8

from kaleido_bench.data.datasets import DATASETS
from kaleido_bench.data.images import Fit, ImagePreparation, decode_image, prepare_image
from kaleido_bench.data.readers import build_reader, resolve_root
from kaleido_bench.data.scenes import View, read_image_file
from kaleido_bench.errors import BenchError
from kaleido_bench.records import canonical_json, nearest, sha256_hex

Background = Literal["white", "black", "gray"]

CAPTURES = ("re10k", "re10k-raw", "re10k-lvsm", "dl3dv", "dl3dv-4", "dl3dv-8", "long-lrm", "co3d", "wildrgbd")
"""Readers whose data sets are frames of videos."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_NUMBER = re.compile(r"(\d+)")


class LazyImages:
    """The images of some views, decoded one by one, transparency over a background."""

    def __init__(self, views: Sequence[View], preparation: ImagePreparation) -> None:
        self._views, self._preparation = views, preparation

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, view: int) -> UInt8[np.ndarray, "height width 3"]:
        """Raises BenchError where the file is missing, is no image, or is not of its camera's size."""
        this = self._views[view]
        image = decode_image(read_image_file(this), this.source)
        return prepare_image(image, this.camera, None, self._preparation, this.source).image


class CameraScene(NamedTuple):
    """One scene; the fields of `reference_model.training.posed.PosedScene`."""

    name: str
    images: LazyImages
    c2w: Float64[np.ndarray, "view 4 4"]
    intrinsics: Float64[np.ndarray, "view 3 3"]
    ordered: bool


class ReaderScenes:
    """The scenes of a data set, by number.

    Args:
        root: the data set's own folder, or `package:NAME` for scenes that ship with this package.
        reader: a name among `READERS`.
        ordered: whether views are frames of a video, which are then put in the order of the numbers in their files'
            names; None: as the reader's data sets are known to be.
        background: put behind transparent pixels.

    Raises:
        BenchError: no such folder or reader, or no scene.
    """

    def __init__(self, root: str, reader: str, *, ordered: bool | None, background: Background) -> None:
        self._reader, self._root = build_reader(reader), find_root(root)
        self.names = tuple(self._reader.scene_names(self._root))
        if not self.names:
            raise BenchError(
                self._root,
                f"no scene that {reader} can read",
                expected="at least one",
                fix="Check --data and --reader.",
            )
        self.ordered = reader in CAPTURES if ordered is None else ordered
        self.about: dict[str, object] = {
            "reader": reader,
            "ordered": self.ordered,
            "background": background,
            "scenes_sha256": sha256_hex(canonical_json(list(self.names))),
        }
        self._preparation = ImagePreparation(
            size=None, fit=Fit.NONE, filter="lanczos", antialias=True, background=background, alpha="composite"
        )
        self._lock = threading.Lock()  # readers keep open what they read last, and none promises to share it

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, scene: int) -> CameraScene:
        """Raises BenchError where the scene cannot be read."""
        with self._lock:
            loaded = self._reader.load_scene(self._root, self.names[scene])
        views = list(loaded.views.values())
        if self.ordered:
            # By file: some data sets list their frames in no order, and their ids are places in that list.
            views.sort(key=lambda view: split_numbers(view.source))
        return CameraScene(
            loaded.name,
            LazyImages(views, self._preparation),
            np.stack([view.camera.c2w for view in views]),
            np.stack([view.camera.K for view in views]),
            self.ordered,
        )


def split_numbers(name: str) -> tuple[str | int, ...]:
    """A key that sorts `frame_10` behind `frame_9`: text and numbers by turns."""
    return tuple(int(part) if part.isdigit() else part for part in _NUMBER.split(name))


def find_root(root: str) -> Path:
    """The folder of a data set. Raises BenchError where there is none."""
    if root.startswith("package:"):
        return resolve_root(root, None)
    if not Path(root).is_dir():
        raise BenchError(
            "--data", f"no such folder {root}", expected="the folder that holds the scenes", fix="Correct it."
        )
    return Path(root)


def check_name(name: str) -> str:
    """What the weights will say they were trained on: as protocols name the data set, so that a result on it is not
    taken for one on data never seen.

    Raises:
        BenchError: it is spelt unlike any; the message names the nearest.
    """
    if _NAME.fullmatch(name) is None:
        near = nearest(name.lower(), DATASETS)
        raise BenchError(
            "--data-name",
            f"{name!r}",
            expected="small letters, digits and . _ -",
            fix=f"Did you mean '{near}'?" if near else "Take the name of `kbench list datasets` where it has one.",
        )
    return name
