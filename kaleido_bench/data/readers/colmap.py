"""Scenes with a COLMAP sparse model, binary or text, beside an `images/` folder: Mip-NeRF 360, Tanks and Temples.

COLMAP's cameras are world to camera in OpenCV axes with pixel centres at .5 (https://colmap.github.io/format.html), so
K needs no change. Only pinhole models are taken: undistorting is COLMAP's work (`colmap image_undistorter`).

Reduced copies lie in `images_2`, `images_4`, `images_8` under the same names (google-research/multinerf:
internal/datasets.py). The model belongs to the full size; its lens is scaled by the ratio of the sides, not by the
factor: the reduced sides are rounded, and a pixel of the copy is what the resize made it. The images of Tanks and
Temples that come with 3DGS are half of what their model says, in `images` itself, and are scaled too, as
nerfstudio-project/gsplat:examples/datasets/colmap.py does. Masks belong to `images` and are read with those only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kaleido_bench.data.cameras import Camera, build_camera, c2w_from_colmap, intrinsics_matrix, resize_camera
from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.folders import child_scenes, find_scene_folder, find_side_file, read_image_size
from kaleido_bench.data.scenes import Scene, View, build_scene, view_id_of
from kaleido_bench.errors import BenchError

if TYPE_CHECKING:
    import pycolmap

_GET = how_to_get("mipnerf360", "tanks-and-temples")
_MODEL_FOLDERS = ("sparse/0", "sparse", "colmap/sparse/0")
_ROUNDING = 1.5  # pixels: both sides may be rounded, and some tools cut where others round
_PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE")


class ColmapReader:
    """Reads folders that hold images and a sparse model in `sparse/0`, `sparse` or `colmap/sparse/0`.

    Args:
        factor: of the reduced images, `images_<factor>`; None reads `images`.
    """

    def __init__(self, factor: int | None = None) -> None:
        self._factor = factor

    def scene_names(self, root: Path) -> list[str]:
        """The folders directly below `root` that hold a sparse model."""
        return child_scenes(root, lambda folder: _find_model(folder) is not None)

    def load_scene(self, root: Path, name: str) -> Scene:
        """The registered images by name; images stay on disk, but for the header of the first of each lens.

        Raises:
            BenchError: pycolmap is not installed; no model, an unreadable one, or a camera model that is not a pinhole;
                no images of the size asked for.
        """
        folder = find_scene_folder(root, name, _GET)
        model = _find_model(folder)
        if model is None:
            raise BenchError(
                folder,
                "no sparse model",
                expected=f"cameras and images, .bin or .txt, in {', '.join(_MODEL_FOLDERS)}",
                fix="Run COLMAP, or check root and reader.",
            )
        reconstruction = _read_model(model)
        images = cast("dict[int, pycolmap.Image]", reconstruction.images)
        posed = sorted((image for image in images.values() if image.has_pose), key=lambda image: image.name)
        return build_scene(name, list(self._build_views(folder, model, reconstruction, posed)), model)

    def _build_views(
        self, folder: Path, model: Path, reconstruction: pycolmap.Reconstruction, posed: list[pycolmap.Image]
    ) -> Iterator[View]:
        images = folder / ("images" if self._factor is None else f"images_{self._factor}")
        sizes: dict[int, tuple[int, int]] = {}
        for image in posed:
            camera = _build_camera(f"{model}, image {image.name}", image, reconstruction)
            path, lens = images / image.name, image.camera_id
            if lens not in sizes:
                if not images.is_dir():
                    raise BenchError(folder, f"no {images.name} folder", expected="the images", fix=_GET)
                sizes[lens] = read_image_size(path)
            view_id = view_id_of(image.name)
            mask = find_side_file(folder / "masks", view_id) if self._factor is None else None
            yield View(
                view_id,
                _fit_camera(camera, sizes[lens], path),
                path.read_bytes,
                None if mask is None else mask.read_bytes,
                str(path),
            )


def build_half_reader() -> ColmapReader:
    """COLMAP scenes at half the photographs' side, `images_2`: Mip-NeRF 360's indoor scenes."""
    return ColmapReader(2)


def build_quarter_reader() -> ColmapReader:
    """COLMAP scenes at a quarter of the photographs' side, `images_4`: Mip-NeRF 360's outdoor scenes."""
    return ColmapReader(4)


def build_eighth_reader() -> ColmapReader:
    """COLMAP scenes at an eighth of the photographs' side, `images_8`."""
    return ColmapReader(8)


def _fit_camera(camera: Camera, size: tuple[int, int], path: Path) -> Camera:
    """The camera of the image at hand, whose sides must have the model's ratio, up to their rounding."""
    width, height = size
    if abs(width * camera.height / camera.width - height) > _ROUNDING:
        raise BenchError(
            path,
            f"an image of {width} x {height} pixels",
            expected=f"the sides of {camera.width} x {camera.height}, as in its model, or that reduced",
            fix="Use the images the model was made for (an EXIF orientation is ignored here).",
        )
    return resize_camera(camera, width, height)


def _find_model(folder: Path) -> Path | None:
    for name in _MODEL_FOLDERS:
        model = folder / name
        if any(
            all((model / f"{part}.{suffix}").is_file() for part in ("cameras", "images")) for suffix in ("bin", "txt")
        ):
            return model
    return None


def _read_model(model: Path) -> pycolmap.Reconstruction:
    try:
        import pycolmap  # here, because it is an extra
    except ImportError:
        raise BenchError(
            "the colmap reader",
            "pycolmap is not installed",
            expected="the colmap extra",
            fix="Run: pip install 'kaleido-bench[colmap]'",
        ) from None
    try:
        return pycolmap.Reconstruction(model)
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        reason = str(error).strip().splitlines()[-1:] or ["no reason given"]
        raise BenchError(
            model,
            f"pycolmap cannot read the sparse model ({reason[0]})",
            expected="cameras, images and points3D of one model, all .bin or all .txt",
            fix="Copy the model again.",
        ) from None


def _build_camera(where: str, image: pycolmap.Image, reconstruction: pycolmap.Reconstruction) -> Camera:
    lens = reconstruction.cameras[image.camera_id]
    if lens.model.name not in _PINHOLES:
        raise BenchError(
            where,
            f"camera model {lens.model.name}",
            expected=f"{' or '.join(_PINHOLES)}, of undistorted images",
            fix="Undistort with colmap image_undistorter and use its output.",
        )
    # A property up to pycolmap 3.11, a method since.
    pose: Any = image.cam_from_world() if callable(image.cam_from_world) else image.cam_from_world
    x, y, z, w = pose.rotation.quat
    return build_camera(
        c2w_from_colmap((w, x, y, z), pose.translation),
        intrinsics_matrix(lens.focal_length_x, lens.focal_length_y, lens.principal_point_x, lens.principal_point_y),
        lens.width,
        lens.height,
        where=where,
    )
