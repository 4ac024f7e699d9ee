"""What the readers of folders share: finding scenes, images and masks, and the size of an image without its pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from kaleido_bench.data.scenes import IMAGE_SUFFIXES
from kaleido_bench.errors import BenchError


def child_scenes(root: Path, is_scene: Callable[[Path], bool]) -> list[str]:
    """The names of the folders directly below `root` that are scenes, sorted.

    Raises:
        BenchError: `root` is no folder.
    """
    if not root.is_dir():
        raise BenchError(root, "no such folder", expected="a folder of scenes", fix="Check the path.")
    return sorted(path.name for path in root.iterdir() if path.is_dir() and is_scene(path))


def find_scene_folder(root: Path, name: str) -> Path:
    """The folder of the scene `name`.

    Raises:
        BenchError: there is none.
    """
    folder = root / name
    if not name or Path(name).is_absolute() or ".." in Path(name).parts or not folder.is_dir():
        raise BenchError(folder, "no such scene", expected="a folder of this name", fix="Fetch the data set again.")
    return folder


def complete_suffix(path: Path) -> Path:
    """The image file: `path` itself, or with the suffix that Blender's files leave out; only then is the disk asked."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return path
    return _with_any_suffix(path) or path.with_name(path.name + ".png")


def find_side_file(folder: Path, view_id: str) -> Path | None:
    """The image of this view in a folder beside the images, such as `masks`; None where there is none."""
    return _with_any_suffix(folder / view_id) if folder.is_dir() else None


def list_images(folder: Path) -> list[Path]:
    """The image files directly in `folder`, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def read_image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels from the file's header; no pixel is decoded.

    Raises:
        BenchError: the file is missing or no image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        raise BenchError(
            path, "no such image", expected="the image of a view", fix="Fetch the data set again."
        ) from None
    except OSError as error:
        raise BenchError(path, f"unreadable ({error})", expected="an image", fix="Fetch the file again.") from None


def _with_any_suffix(path: Path) -> Path | None:
    candidates = (path.with_name(path.name + suffix) for suffix in sorted(IMAGE_SUFFIXES))
    upper = (path.with_name(path.name + suffix.upper()) for suffix in sorted(IMAGE_SUFFIXES))
    return next((candidate for candidate in (*candidates, *upper) if candidate.is_file()), None)
