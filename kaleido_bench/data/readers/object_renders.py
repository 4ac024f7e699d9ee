"""Object renders with one `transforms.json` whose `file_path` is not the image's path: OmniObject3D and PixelNeRF's.

- OmniObject3D (omniobject3d/OmniObject3D:tools/blender_dataset.py): `<object>/render/transforms.json`, the image of
  `file_path` "r_0" is `<object>/render/images/r_0.png`. Objects lie below their category, or side by side.
- PixelNeRF's scenes of two chairs (sxyu/pixel-nerf:src/data/MultiObjectDataset.py): the image of a frame is its base
  name and `_obj.png`, beside the file. The object is RGBA and is composited on white; `_env.png`, a background, is an
  option that no published number uses.

Both have `camera_angle_x` over the image's width, poses camera to world in OpenGL axes, and no size: the first
image's header gives it. A view's id is the frame's base name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.folders import find_scene_folder, nested_scenes, require_file
from kaleido_bench.data.readers.frames import Sizes, build_frame_camera, load_frames, refuse_distortion, relative_path
from kaleido_bench.data.scenes import IMAGE_SUFFIXES, Scene, View, build_scene

_FILE = "transforms.json"


class _Layout(NamedTuple):
    """The data set's name; where the file lies in a scene; an image's path from there; how deep scenes lie."""

    dataset: str
    inside: str
    image: str
    depth: int


class ObjectRendersReader:
    """Reads objects of one of the two layouts."""

    def __init__(self, layout: _Layout) -> None:
        self._layout, self._get = layout, how_to_get(layout.dataset)

    def scene_names(self, root: Path) -> list[str]:
        """The paths below `root` of the scenes."""
        return nested_scenes(root, lambda folder: self._file(folder).is_file(), depth=self._layout.depth)

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of all frames, in the order of the file; images stay on disk.

        Raises:
            BenchError: no such scene, a malformed file, a camera that is none.
        """
        path = require_file(self._file(find_scene_folder(root, name, self._get)), "the scene's cameras", self._get)
        sizes: Sizes = {}
        views = [
            self._build_view(path.parent, frame, f"{path}, frame {number}", sizes)
            for number, frame in enumerate(load_frames(path))
        ]
        return build_scene(name, views, path)

    def _build_view(self, folder: Path, frame: Mapping[str, Any], where: str, sizes: Sizes) -> View:
        name = _base_name(relative_path(frame.get("file_path"), "file_path", where))
        image = folder / self._layout.image.format(name)
        refuse_distortion(frame, where)
        return View(name, build_frame_camera(frame, image, where, sizes), image.read_bytes, None, str(image))

    def _file(self, folder: Path) -> Path:
        return folder / self._layout.inside / _FILE


def build_omniobject3d_reader() -> ObjectRendersReader:
    """OmniObject3D's Blender renders."""
    return ObjectRendersReader(_Layout("omniobject3d", "render", "images/{}.png", depth=2))


def build_two_object_reader() -> ObjectRendersReader:
    """PixelNeRF's scenes of two chairs."""
    return ObjectRendersReader(_Layout("two-object", ".", "{}_obj.png", depth=3))


def _base_name(path: PurePosixPath) -> str:
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
