"""RealEstate10K and ACID as pixelSplat packed them: `.torch` chunks beside an `index.json`.

`index.json` maps a scene's key to its chunk. A chunk is a list of dicts: `key`; `cameras` [frame, 18] float32, each
fx fy cx cy 0 0 and the twelve numbers of a 3x4 world-to-camera matrix in OpenCV axes, by rows; `images`, the bytes of
a JPEG for each frame as uint8; `timestamps` and `url`, which are not needed. Sources: dcharatan/pixelsplat:
src/dataset/dataset_re10k.py and dcharatan/real_estate_10k_tools:src/convert.py. DepthSplat's DL3DV chunks
(cvg/depthsplat:src/scripts/convert_dl3dv_test.py) and MVSplat's DTU chunks
(donydchen/mvsplat:src/scripts/convert_dtu.py) have the same layout.

- Intrinsics are fractions of the image's sides, so fx in pixels is fx * width, cx is cx * width, and pixel centres
  are at .5 (pixelSplat's `sample_image_grid`).
- A view's id is its position in the chunk, "0" to "N-1": what every published evaluation index counts.
- pixelSplat leaves out scenes whose images are not 360 x 640, and those with a field of view above 100 degrees. Here
  nothing is left out; that is the index's affair.
- A chunk is a pickle, so it is loaded weights-only: a file that wants to run code is refused before any of it runs.
- A chunk stays mapped, not read, and the last two are kept.
"""

from __future__ import annotations

import functools
import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float64
from PIL import Image

from kaleido_bench.data.cameras import Camera, build_camera, intrinsics_matrix
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.arrays import c2w_from_w2c
from kaleido_bench.data.readers.folders import is_below, load_json, require_file
from kaleido_bench.data.scenes import Scene, View, build_scene
from kaleido_bench.errors import BenchError

# Chunks kept open. Neighbouring scenes of an index in the chunks' order share one; two bridge a change of chunk.
_OPEN_CHUNKS = 2

# What torch's weights-only loader says of a pickle it does not run.
_REFUSED = re.compile(r"GLOBAL \S+|Unsupported operand \d+|Unsupported class \S+")

_GET = how_to_get("re10k", "acid")


class Re10kReader:
    """Reads a folder that holds `index.json` and the `.torch` chunks it names."""

    def __init__(self) -> None:
        self._load_index = functools.lru_cache(maxsize=1)(_load_index)
        self._load_chunk = functools.lru_cache(maxsize=_OPEN_CHUNKS)(_load_chunk)

    def scene_names(self, root: Path) -> list[str]:
        """The keys of `index.json`."""
        return sorted(self._load_index(root))

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of all frames; the bytes of an image are taken out of the chunk when somebody asks.

        The size of the first image, from its header, stands for the others.

        Raises:
            BenchError: no index, no such scene, a chunk that is missing, truncated or wants to run code, cameras that
                are none, another number of images than of cameras.
        """
        index = self._load_index(root)
        if name not in index:
            raise BenchError(root, f"no scene {name!r} in index.json", expected="one of its keys", fix=_GET)
        path = root / index[name]
        example = self._load_chunk(path).get(name)
        if example is None:
            raise BenchError(
                path, f"no scene {name}", expected="what index.json says", fix="Make the index again from the chunks."
            )
        return build_scene(name, _build_views(example, f"{path}, scene {name}"), path)


def camera_from_entry(entry: Float64[np.ndarray, "18"], size: tuple[int, int], where: object) -> Camera:
    """The camera of 18 numbers: fx fy cx cy as fractions of the sides, two zeros, a 3x4 world to camera by rows.

    RealEstate10K's own text files hold the same numbers (https://google.github.io/realestate10k/download.html).

    Raises:
        BenchError: a camera that is none.
    """
    width, height = size
    fx, fy, cx, cy = entry[:4]
    c2w = c2w_from_w2c(entry[6:].reshape(3, 4), where)
    K = intrinsics_matrix(fx * width, fy * height, cx * width, cy * height)
    return build_camera(c2w, K, width, height, where=where)


def _load_index(root: Path) -> Mapping[str, str]:
    path = root / "index.json"
    index = load_json(path, "pixelSplat's index of chunks, key to file", _GET)
    for key, file in index.items():
        if not isinstance(file, str) or not is_below(file):
            raise BenchError(
                f"{path}, {key}", repr(file), expected="a chunk below this folder", fix="Fetch the index again."
            )
    return cast("dict[str, str]", index)


def _load_chunk(path: Path) -> Mapping[str, Mapping[str, Any]]:
    import torch  # here, because it is slow to import and no other reader needs it

    require_file(path, "a chunk of index.json", _GET)
    try:
        # What torch wrote before 1.6 is no zip file and cannot be mapped.
        chunk = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch has no common base for what a broken or hostile file can raise
        raise _refusal(path, error) from None
    if not isinstance(chunk, list):
        raise BenchError(path, type(chunk).__name__, expected="a list of scenes", fix="Fetch the chunk again.")
    examples = cast("list[dict[str, Any]]", chunk)
    for number, example in enumerate(examples):
        if not isinstance(cast(object, example), dict) or not {"key", "cameras", "images"} <= set(example):
            raise BenchError(
                f"{path}, entry {number}",
                "no scene",
                expected="a dict with key, cameras and images",
                fix="Fetch the chunk again.",
            )
    return {example["key"]: example for example in examples}


def _refusal(path: Path, error: Exception) -> BenchError:
    refused = _REFUSED.search(str(error))
    if refused is not None:
        return BenchError(
            path,
            f"a pickle of more than data, which could run code ({refused[0]}); nothing of it was run",
            expected="tensors, numbers and text only",
            fix="Do not load this file elsewhere. Fetch the chunk from its publisher.",
        )
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return BenchError(path, f"unreadable ({reason})", expected="a whole .torch chunk", fix="Fetch the chunk again.")


def _build_views(example: Mapping[str, Any], where: str) -> list[View]:
    images = example["images"]
    try:
        cameras = np.asarray(example["cameras"].numpy(), np.float64)
    except (AttributeError, TypeError, RuntimeError):
        cameras = np.empty(0)
    shape: tuple[int, ...] = cameras.shape
    if shape[1:] != (18,):
        found = "x".join(map(str, shape))
        raise BenchError(where, f"cameras of shape {found}", expected="(frames, 18)", fix="Fetch the chunk again.")
    if len(images) != len(cameras):
        raise BenchError(
            where,
            f"{len(images)} images for {len(cameras)} cameras",
            expected="one image for each camera",
            fix="Fetch the chunk again.",
        )
    size = _read_size(images[0], f"{where}, frame 0") if len(images) else (1, 1)
    views: list[View] = []
    for number in range(len(cameras)):
        source = f"{where}, frame {number}"
        camera = camera_from_entry(cameras[number], size, source)
        views.append(View(str(number), camera, functools.partial(_image_bytes, images[number]), None, source))
    return views


def _image_bytes(image: Any) -> bytes:
    return image.numpy().tobytes()


def _read_size(image: Any, where: str) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(_image_bytes(image))) as opened:
            return opened.size
    except (OSError, AttributeError, TypeError) as error:
        raise BenchError(
            where, f"bytes that are no image ({error})", expected="a JPEG", fix="Fetch the chunk again."
        ) from None
