"""Scenes with a `transforms.json`: nerfstudio, instant-ngp, and Blender's `transforms_train.json` and its siblings.

`transform_matrix` is camera to world in OpenGL axes. Intrinsics stand in the file, or in a frame where they differ; as
focal lengths in pixels or as an angle of view. Sources: https://docs.nerf.studio/quickstart/data_conventions.html and
https://github.com/NVlabs/instant-ngp, docs/nerf_dataset_tips.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float64

from kaleido_bench.data.cameras import build_camera, c2w_from_opengl, intrinsics_matrix
from kaleido_bench.data.readers.folders import (
    child_scenes,
    complete_suffix,
    find_scene_folder,
    find_side_file,
    read_image_size,
)
from kaleido_bench.data.scenes import Scene, View, build_scene, view_id_of
from kaleido_bench.errors import BenchError

# Blender's order of splits; any other transforms_*.json follows by name.
_SPLIT_FILES = ("transforms_train.json", "transforms_val.json", "transforms_test.json")
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_PINHOLE_MODELS = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")


class _Intrinsics(NamedTuple):
    K: Float64[np.ndarray, "3 3"]
    width: int
    height: int


class TransformsReader:
    """Reads folders that hold `transforms.json`, or `transforms_train.json` and its siblings where that is missing."""

    def scene_names(self, root: Path) -> list[str]:
        """The folders directly below `root` that hold a transforms file."""
        return child_scenes(root, lambda folder: bool(_transforms_files(folder)))

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of every frame; images stay on disk.

        Where no width and height are declared (Blender), the first image's header is read and stands for the others.

        Raises:
            BenchError: no transforms file, malformed JSON, a lens that is not a pinhole, a camera that is not one.
        """
        folder = find_scene_folder(root, name)
        paths = _transforms_files(folder)
        if not paths:
            raise BenchError(
                folder, "no transforms.json", expected="a scene in nerfstudio's layout", fix="Check root and reader."
            )
        return build_scene(name, (view for path in paths for view in _read_views(folder, path)), folder)


def _transforms_files(folder: Path) -> list[Path]:
    if (folder / "transforms.json").is_file():
        return [folder / "transforms.json"]
    first = [folder / name for name in _SPLIT_FILES if (folder / name).is_file()]
    return first + sorted(path for path in folder.glob("transforms_*.json") if path.name not in _SPLIT_FILES)


def _read_views(folder: Path, path: Path) -> Iterator[View]:
    document = _read_json(path)
    frames = document.get("frames")
    if not isinstance(frames, list):
        raise BenchError(
            path, "no list of frames", expected='"frames": [...]', fix="Check that this is a transforms.json."
        )
    sizes: dict[str, tuple[int, int]] = {}  # the size read from the first image header, if one had to be
    for number, frame in enumerate(cast(list[object], frames)):
        if not isinstance(frame, dict):
            raise BenchError(f"{path}, frame {number}", "not an object", expected="a frame", fix="Correct the file.")
        yield _build_view(folder, _merge(document, cast(dict[str, Any], frame)), f"{path}, frame {number}", sizes)


def _merge(document: Mapping[str, Any], frame: Mapping[str, Any]) -> dict[str, Any]:
    """What holds for a frame: its own keys, then the file's. Its own angle wins over a focal length of the file."""
    merged = {key: value for key, value in document.items() if key != "frames"} | dict(frame)
    for focal, angle in (("fl_x", "camera_angle_x"), ("fl_y", "camera_angle_y")):
        if angle in frame and focal not in frame:
            merged.pop(focal, None)
    return merged


def _build_view(folder: Path, frame: Mapping[str, Any], where: str, sizes: dict[str, tuple[int, int]]) -> View:
    relative = _relative_path(frame.get("file_path"), "file_path", where)
    image = complete_suffix(folder / relative)
    view_id = view_id_of(str(relative))
    where = f"{where} ({relative})"
    _refuse_distortion(frame, where)
    intrinsics = _read_intrinsics(frame, image, where, sizes)
    camera = build_camera(
        c2w_from_opengl(_read_pose(frame, where)), intrinsics.K, intrinsics.width, intrinsics.height, where=where
    )
    mask = _mask_path(folder, frame, view_id, where)
    return View(view_id, camera, image.read_bytes, None if mask is None else mask.read_bytes, str(image))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise BenchError(
            path, f"not JSON ({error})", expected="a transforms.json", fix="Fetch the file again."
        ) from None
    if not isinstance(document, dict):
        raise BenchError(path, "not a JSON object", expected="a transforms.json", fix="Fetch the file again.")
    return cast(dict[str, Any], document)


def _relative_path(value: object, key: str, where: str) -> PurePosixPath:
    if not isinstance(value, str) or not value:
        raise BenchError(where, f"{key} is {value!r}", expected="a path below the scene", fix="Correct the file.")
    path = PurePosixPath(value.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise BenchError(
            where, f"{key} {value} leaves the scene", expected="a path below the scene", fix="Correct the file."
        )
    return path


def _mask_path(folder: Path, frame: Mapping[str, Any], view_id: str, where: str) -> Path | None:
    if frame.get("mask_path"):
        return folder / _relative_path(frame["mask_path"], "mask_path", where)
    return find_side_file(folder / "masks", view_id)


def _read_pose(frame: Mapping[str, Any], where: str) -> Float64[np.ndarray, "4 4"]:
    try:
        pose = np.asarray(frame.get("transform_matrix"), np.float64)
    except (TypeError, ValueError):
        pose = np.empty(0)
    if pose.shape == (3, 4):  # instant-ngp takes these too
        pose = np.vstack([pose, [0.0, 0.0, 0.0, 1.0]])
    if pose.shape != (4, 4):
        raise BenchError(where, "no 4x4 transform_matrix", expected="16 numbers", fix="Correct the file.")
    return pose


def _refuse_distortion(frame: Mapping[str, Any], where: str) -> None:
    model = str(frame.get("camera_model", "PINHOLE")).upper()
    coefficients = {key: _read_number(frame, key, where) for key in _DISTORTION}
    found = [f"{key} = {value:g}" for key, value in coefficients.items() if value]
    if model not in _PINHOLE_MODELS or frame.get("is_fisheye"):
        found = [f"camera model {'fisheye' if frame.get('is_fisheye') else model}"]
    if found:
        raise BenchError(
            where,
            f"a lens that is not a pinhole ({', '.join(found)})",
            expected="undistorted images",
            fix="Undistort them first, with colmap image_undistorter or ns-process-data.",
        )


def _read_intrinsics(
    frame: Mapping[str, Any], image: Path, where: str, sizes: dict[str, tuple[int, int]]
) -> _Intrinsics:
    width, height = _read_side(frame, "w", where), _read_side(frame, "h", where)
    if width is None or height is None:
        if "first" not in sizes:
            sizes["first"] = read_image_size(image)
        width, height = sizes["first"]
    fx = _read_focal(frame, "fl_x", "camera_angle_x", width, where)
    fy = _read_focal(frame, "fl_y", "camera_angle_y", height, where)
    if fx is None and fy is None:
        raise BenchError(
            where, "no focal length", expected="fl_x in pixels or camera_angle_x in radians", fix="Correct the file."
        )
    cx, cy = _read_number(frame, "cx", where), _read_number(frame, "cy", where)
    K = intrinsics_matrix(
        cast(float, fy if fx is None else fx),
        cast(float, fx if fy is None else fy),
        width / 2 if cx is None else cx,
        height / 2 if cy is None else cy,
    )
    return _Intrinsics(K, width, height)


def _read_focal(frame: Mapping[str, Any], key: str, angle_key: str, side: int, where: str) -> float | None:
    focal = _read_number(frame, key, where)
    if focal is not None:
        return focal
    angle = _read_number(frame, angle_key, where)
    if angle is None:
        return None
    if not 0 < angle < math.pi:
        raise BenchError(
            where, f"{angle_key} is {angle:g}", expected="between 0 and pi radians", fix="Correct the file."
        )
    return side / 2 / math.tan(angle / 2)


def _read_side(frame: Mapping[str, Any], key: str, where: str) -> int | None:
    side = _read_number(frame, key, where)
    if side is not None and (not math.isfinite(side) or side != int(side)):
        raise BenchError(where, f"{key} is {side:g}", expected="a whole number of pixels", fix="Correct the file.")
    return None if side is None else int(side)


def _read_number(frame: Mapping[str, Any], key: str, where: str) -> float | None:
    value = frame.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BenchError(where, f"{key} is {value!r}", expected="a number", fix="Correct the file.")
    return float(value)
