"""Objects rendered by Zero-1-to-3's Blender script: `000.png` beside `000.npy`, for Objaverse and EscherNet's GSO.

The .npy is a 3x4 world to camera in Blender's camera axes (x right, y up, z backward): the script's change to OpenCV
axes is commented out. No lens is stored; the script sets a lens of 35 mm on a sensor of 32 mm, so f = width * 35 /
32, and the principal point is the centre. Images are 512 x 512 RGBA with straight alpha. Sources:
cvlab-columbia/zero123: objaverse-rendering/scripts/blender_script.py; kxhit/EscherNet:scripts/blender_script_mvs.py
(the same lens), eval_eschernet.py and 6DoF/dataset.py (f = 560 at 512), which wants GSO as
`<object>/render_mvs_25/model/`.

A view's id is the stem, `000`. EscherNet's and Zero-1-to-3's indices count these files from 0.
"""

from __future__ import annotations

from pathlib import Path

from kaleido_bench.data.cameras import build_camera, c2w_from_opengl, intrinsics_matrix
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.arrays import c2w_from_w2c, load_npy
from kaleido_bench.data.readers.folders import child_scenes, find_scene_folder, read_image_size, require_images
from kaleido_bench.data.scenes import Scene, View, build_scene, view_id_of
from kaleido_bench.errors import BenchError

_FOCAL_OVER_WIDTH = 35 / 32


class BlenderRendersReader:
    """Reads folders of `000.png` and `000.npy`.

    Args:
        dataset: of the table of data sets, for messages.
        inside: the folder of the renders inside the scene's folder; "." is that folder itself.
    """

    def __init__(self, dataset: str, inside: str) -> None:
        self._get, self._inside = how_to_get(dataset), inside

    def scene_names(self, root: Path) -> list[str]:
        """The folders directly below `root` that hold renders."""
        return child_scenes(root, lambda folder: any((folder / self._inside).glob("*.npy")))

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of all renders; images stay on disk, but for the header of the first, which gives their size.

        Raises:
            BenchError: no such object, a render without a pose or the reverse, a pose that is none.
        """
        folder = find_scene_folder(root, name, self._get) / self._inside
        images = require_images(folder, self._get)
        poses = {path.stem for path in folder.glob("*.npy")}
        if unpaired := poses.symmetric_difference(image.stem for image in images):
            raise BenchError(
                folder, f"{sorted(unpaired)[0]} without image or pose", expected="both for each view", fix=self._get
            )
        width, height = read_image_size(images[0])
        focal = width * _FOCAL_OVER_WIDTH
        K = intrinsics_matrix(focal, focal, width / 2, height / 2)
        views: list[View] = []
        for image in images:
            path = image.with_suffix(".npy")
            c2w = c2w_from_opengl(c2w_from_w2c(load_npy(path, "a pose", self._get), path))
            camera = build_camera(c2w, K, width, height, where=path)
            views.append(View(view_id_of(image.name), camera, image.read_bytes, None, str(image)))
        return build_scene(name, views, folder)


def build_gso_reader() -> BlenderRendersReader:
    """EscherNet's GSO-30, 25 renders of each object at random poses."""
    return BlenderRendersReader("gso-30", "render_mvs_25/model")


def build_objaverse_reader() -> BlenderRendersReader:
    """Zero-1-to-3's renders of Objaverse, 12 of each object."""
    return BlenderRendersReader("objaverse", ".")
