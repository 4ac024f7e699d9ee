"""What the readers of folders share: finding scenes, images and masks, reading small files, and the size of an image
without its pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from PIL import Image

from kaleido_bench.data.scenes import IMAGE_SUFFIXES
from kaleido_bench.errors import BenchError

FETCH_AGAIN = "Fetch the data set again."


def child_scenes(root: Path, is_scene: Callable[[Path], bool]) -> list[str]:
    """The names of the folders directly below `root` that are scenes, sorted.

    Raises:
        BenchError: `root` is no folder.
    """
    return nested_scenes(root, is_scene, depth=1)


def nested_scenes(root: Path, is_scene: Callable[[Path], bool], *, depth: int) -> list[str]:
    """The paths below `root`, at most `depth` folders down, of the folders that are scenes; sorted, with slashes.

    Nothing inside a scene is looked at, nor any hidden folder.

    Raises:
        BenchError: `root` is no folder.
    """
    if not root.is_dir():
        raise BenchError(root, "no such folder", expected="a folder of scenes", fix="Check the path.")
    return sorted(path.relative_to(root).as_posix() for path in _find_scenes(root, is_scene, depth))


def _find_scenes(folder: Path, is_scene: Callable[[Path], bool], depth: int) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.startswith(".") or not path.is_dir():
            continue
        if is_scene(path):
            yield path
        elif depth > 1:
            yield from _find_scenes(path, is_scene, depth - 1)


def find_scene_folder(root: Path, name: str, get: str = FETCH_AGAIN) -> Path:
    """The folder of the scene `name`.

    Args:
        root: the data set's folder.
        name: a path below it.
        get: what a person can do where it is missing.

    Raises:
        BenchError: there is none.
    """
    folder = root / name
    if not is_below(name) or not folder.is_dir():
        raise BenchError(folder, "no such scene", expected="a folder of this name", fix=get)
    return folder


def is_below(name: str) -> bool:
    """Whether a name is a path that stays below the folder it is joined to."""
    return bool(name) and not Path(name).is_absolute() and ".." not in Path(name).parts


def require_file(path: Path, expected: str, get: str = FETCH_AGAIN) -> Path:
    """The path itself. Raises BenchError where there is no such file."""
    if not path.is_file():
        raise BenchError(path, "no such file", expected=expected, fix=get)
    return path


def read_text(path: Path, expected: str, get: str = FETCH_AGAIN) -> str:
    """A small text file.

    Raises:
        BenchError: it is missing, cannot be read, or is no text.
    """
    try:
        return require_file(path, expected, get).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(path, f"unreadable ({error})", expected=expected, fix="Fetch the file again.") from None


def load_json(path: Path, expected: str, get: str = FETCH_AGAIN) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BenchError: no such file, not JSON, not an object.
    """
    try:
        document = json.loads(require_file(path, expected, get).read_bytes())
    except (ValueError, RecursionError) as error:
        raise BenchError(path, f"not JSON ({error})", expected=expected, fix="Fetch the file again.") from None
    if not isinstance(document, dict):
        raise BenchError(path, "not a JSON object", expected=expected, fix="Fetch the file again.")
    return cast(dict[str, Any], document)


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


def require_images(folder: Path, get: str = FETCH_AGAIN) -> list[Path]:
    """`list_images`, of a folder that must be there and hold some.

    Raises:
        BenchError: there is no such folder, or no image in it.
    """
    images = list_images(folder) if folder.is_dir() else []
    if not images:
        raise BenchError(folder, "no images", expected="the images of the scene", fix=get)
    return images


def read_image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels from the file's header; no pixel is decoded.

    Raises:
        BenchError: the file is missing or no image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except FileNotFoundError:
        raise BenchError(path, "no such image", expected="the image of a view", fix=FETCH_AGAIN) from None
    except (OSError, Image.DecompressionBombError) as error:
        raise BenchError(path, f"unreadable ({error})", expected="an image", fix="Fetch the file again.") from None


def _with_any_suffix(path: Path) -> Path | None:
    candidates = (path.with_name(path.name + suffix) for suffix in sorted(IMAGE_SUFFIXES))
    upper = (path.with_name(path.name + suffix.upper()) for suffix in sorted(IMAGE_SUFFIXES))
    return next((candidate for candidate in (*candidates, *upper) if candidate.is_file()), None)
