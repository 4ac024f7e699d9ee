"""Scenes with a `transforms.json`: nerfstudio, instant-ngp, and Blender's `transforms_train.json` and its siblings.

`transform_matrix` is camera to world in OpenGL axes. Intrinsics stand in the file, or in a frame where they differ; as
focal lengths in pixels or as an angle of view. Sources: https://docs.nerf.studio/quickstart/data_conventions.html and
https://github.com/NVlabs/instant-ngp, docs/nerf_dataset_tips.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kaleido_bench.data.readers.folders import child_scenes, complete_suffix, find_scene_folder, find_side_file
from kaleido_bench.data.readers.frames import (
    Sizes,
    build_frame_camera,
    load_frames,
    refuse_distortion,
    relative_path,
)
from kaleido_bench.data.scenes import Scene, View, build_scene, view_id_of
from kaleido_bench.errors import BenchError

# Blender's order of splits; any other transforms_*.json follows by name.
_SPLIT_FILES = ("transforms_train.json", "transforms_val.json", "transforms_test.json")


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
        return build_scene(name, (view for path in paths for view in read_views(folder, path)), folder)


def _transforms_files(folder: Path) -> list[Path]:
    if (folder / "transforms.json").is_file():
        return [folder / "transforms.json"]
    first = [folder / name for name in _SPLIT_FILES if (folder / name).is_file()]
    return first + sorted(path for path in folder.glob("transforms_*.json") if path.name not in _SPLIT_FILES)


def read_views(folder: Path, path: Path) -> Iterator[View]:
    """The views of one transforms file, in its order; images stay on disk. Raises what `load_scene` does."""
    sizes: Sizes = {}
    for number, frame in enumerate(load_frames(path)):
        yield _build_view(folder, frame, f"{path}, frame {number}", sizes)


def _build_view(folder: Path, frame: Mapping[str, Any], where: str, sizes: Sizes) -> View:
    relative = relative_path(frame.get("file_path"), "file_path", where)
    image = complete_suffix(folder / relative)
    view_id = view_id_of(str(relative))
    where = f"{where} ({relative})"
    refuse_distortion(frame, where)
    mask = _mask_path(folder, frame, view_id, where)
    camera = build_frame_camera(frame, image, where, sizes)
    return View(view_id, camera, image.read_bytes, None if mask is None else mask.read_bytes, str(image))


def _mask_path(folder: Path, frame: Mapping[str, Any], view_id: str, where: str) -> Path | None:
    if frame.get("mask_path"):
        return folder / relative_path(frame["mask_path"], "mask_path", where)
    return find_side_file(folder / "masks", view_id)
