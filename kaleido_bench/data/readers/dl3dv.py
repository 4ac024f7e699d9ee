"""DL3DV-10K in nerfstudio's layout, as its benchmark is published: `<hash>/nerfstudio/transforms.json` and `images_N`.

Sources: DL3DV-10K/Dataset; cvg/depthsplat:src/scripts/convert_dl3dv_test.py; facebookresearch/lagernvs:
data/sources/dl3dv_dataset.py. DL3DV-ALL-960P has `transforms.json` in the scene's folder itself, below `1K/` to `11K/`.

- A view's id is its position in `frames` as listed: DepthSplat and LagerNVS both index that list. The list need not be
  sorted, and frames that COLMAP could not place are not in it, so a position is not the number in the file name.
- `file_path` names `images/frame_00001.png`; the reduced copies have the same name in `images_4` (960 x 540) and
  `images_8` (480 x 270). The lens belongs to the full size and is scaled to the images at hand.
- The lens carries distortion (camera_model OPENCV with k1, k2, p1, p2). DepthSplat and LagerNVS take it for a pinhole
  all the same, and so does this reader, since their numbers are to be compared. Long-LRM undistorts: see `long-lrm`.
- Poses are camera to world in OpenGL axes; nerfstudio's `applied_transform` stays in, as in the published loaders.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from kaleido_bench.data.cameras import resize_camera
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.folders import is_below, nested_scenes, read_image_size, require_images
from kaleido_bench.data.readers.frames import Sizes, build_frame_camera, load_frames, relative_path
from kaleido_bench.data.scenes import Scene, View, build_scene
from kaleido_bench.errors import BenchError

_GET = how_to_get("dl3dv-140")
_FILE = "transforms.json"


class Dl3dvReader:
    """Reads DL3DV's scenes.

    Args:
        factor: of the reduced images, `images_<factor>`; None reads `images`.
    """

    def __init__(self, factor: int | None = None) -> None:
        self._images = "images" if factor is None else f"images_{factor}"

    def scene_names(self, root: Path) -> list[str]:
        """The hashes of the scenes, one or two folders below `root`."""
        return sorted(PurePosixPath(path).name for path in nested_scenes(root, _is_scene, depth=2))

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of every frame; images stay on disk, but for the header of the first, which gives their size.

        Raises:
            BenchError: no such scene, no images of this size, a malformed file, a camera that is none.
        """
        folder = _find_scene(root, name)
        images = folder / self._images
        size = read_image_size(require_images(images, _GET)[0])
        sizes: Sizes = {}
        views = [
            _build_view(str(number), frame, images, size, f"{folder / _FILE}, frame {number}", sizes)
            for number, frame in enumerate(load_frames(folder / _FILE))
        ]
        return build_scene(name, views, folder)


def build_quarter_reader() -> Dl3dvReader:
    """DL3DV at 960 x 540, `images_4`."""
    return Dl3dvReader(4)


def build_eighth_reader() -> Dl3dvReader:
    """DL3DV at 480 x 270, `images_8`: what DepthSplat scores."""
    return Dl3dvReader(8)


def _is_scene(folder: Path) -> bool:
    return _nerfstudio(folder) is not None


def _nerfstudio(folder: Path) -> Path | None:
    return next((place for place in (folder / "nerfstudio", folder) if (place / _FILE).is_file()), None)


def _find_scene(root: Path, name: str) -> Path:
    places = [root / name, *sorted(root.glob(f"*/{name}"))] if is_below(name) and root.is_dir() else []
    found = [folder for place in places if (folder := _nerfstudio(place)) is not None]
    if len(found) == 1:
        return found[0]
    if not found:
        raise BenchError(root / name, "no such scene", expected=f"a folder with {_FILE}", fix=_GET)
    raise BenchError(
        root, f"scene {name} twice ({found[0]} and {found[1]})", expected="one folder of it", fix="Remove one of them."
    )


def _build_view(
    view_id: str, frame: Mapping[str, Any], images: Path, size: tuple[int, int], where: str, sizes: Sizes
) -> View:
    image = images / relative_path(frame.get("file_path"), "file_path", where).name
    if frame.get("w") is None or frame.get("h") is None:  # without them the lens would be taken for the reduced image's
        raise BenchError(where, "no w and h", expected="the photograph's size", fix="Fetch the file again.")
    photograph = build_frame_camera(frame, image, where, sizes)
    return View(view_id, resize_camera(photograph, *size), image.read_bytes, None, str(image))
