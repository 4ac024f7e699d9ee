"""View and Scene: what a reader hands on. Cameras are there at once; images and masks are read when somebody asks."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from kaleido_bench.data.cameras import Camera, hash_camera
from kaleido_bench.data.images import (
    ImagePreparation,
    decode_image,
    has_transparency,
    prepare_camera,
    prepare_image,
)
from kaleido_bench.errors import BenchError

_VIEW_ID = re.compile(r"[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*")


@dataclass(frozen=True, eq=False)
class View:
    """One photograph of a scene.

    Attributes:
        id: the image path below the scene, without `images/` in front and without its suffix.
        camera: of the image as stored.
        read_image: gives the bytes of the image file.
        read_mask: gives the bytes of the mask file; None where there is none.
        source: the file, for errors.
    """

    id: str
    camera: Camera
    read_image: Callable[[], bytes]
    read_mask: Callable[[], bytes] | None
    source: str


@dataclass(frozen=True, eq=False)
class Scene:
    """A name and its views by id, ordered as on disk. Build it with `build_scene`."""

    name: str
    views: Mapping[str, View]


class Pin(NamedTuple):
    """What a case index froze of one view: the sha256 of its image file, camera and mask file. None is not frozen.

    An image's alpha channel is frozen with the image.
    """

    image: str | None = None
    camera: str | None = None
    mask: str | None = None


MaskSource = Literal["file", "alpha"]
"""Where a view's mask comes from: a file of its own, or the alpha channel of its image."""


class PreparedView(NamedTuple):
    """A view as the protocol wants it: pixels, the camera that belongs to them, and the mask if there is one."""

    id: str
    image: UInt8[np.ndarray, "height width 3"]
    camera: Camera
    mask: Bool[np.ndarray, "height width"] | None
    mask_source: MaskSource | None


def build_scene(name: str, views: Iterable[View], where: object) -> Scene:
    """A Scene of these views, in this order.

    Raises:
        BenchError: no view at all, two views of one id, an id that cannot become a path in a predictions folder.
    """
    by_id: dict[str, View] = {}
    for view in views:
        check_view_id(view.id, view.source)
        if view.id in by_id:
            raise BenchError(
                where,
                f"two views with the id {view.id} ({by_id[view.id].source} and {view.source})",
                expected="one view for each id",
                fix="Remove or rename one of them.",
            )
        by_id[view.id] = view
    if not by_id:
        raise BenchError(
            where, f"scene {name} has no views", expected="at least one", fix="Check the data set's folder."
        )
    return Scene(name, MappingProxyType(by_id))


def view_id_of(image_path: str) -> str:
    """The view id of an image path below the scene: `./images/0001.jpg` is `0001`, `train/r_0.png` is `train/r_0`."""
    path = PurePosixPath(image_path.replace("\\", "/"))
    if path.suffix.lower() in IMAGE_SUFFIXES:
        path = path.with_suffix("")
    return str(path).removeprefix("images/")


IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})
"""What counts as an image's suffix, in lower case. A view named `frame.0001` keeps its number."""


def check_view_id(view_id: str, where: object) -> None:
    """Refuse an id that cannot become a path in a predictions folder on any system.

    Raises:
        BenchError: a character outside A-Z a-z 0-9 _ . + - /, an empty part, or a part that is . or ..
    """
    parts = view_id.split("/")
    if _VIEW_ID.fullmatch(view_id) is None or "." in parts or ".." in parts:
        raise BenchError(
            where,
            f"the view id {view_id!r}",
            expected="letters, digits and _ . + - between slashes, and no . or .. as a part",
            fix="Rename the image file.",
        )


def find_view(scene: Scene, view_id: str) -> View:
    """The view of this id.

    Raises:
        BenchError: there is none; the message names the nearest ids.
    """
    view = scene.views.get(view_id)
    if view is not None:
        return view
    near = difflib.get_close_matches(view_id, scene.views, n=3, cutoff=0.5) or list(scene.views)[:3]
    raise BenchError(
        f"scene {scene.name}",
        f"no view {view_id!r} among {len(scene.views)}",
        expected=f"an id such as {', '.join(near)}",
        fix="Correct the case index, or fetch the data set's revision that the protocol names.",
    )


def read_image_file(view: View) -> bytes:
    """The bytes of the view's image file.

    Raises:
        BenchError: the file is missing or cannot be read.
    """
    return _read_file(view.read_image, view.source)


def read_mask_file(view: View) -> bytes | None:
    """The bytes of the view's mask file; None where it has none.

    Raises:
        BenchError: the file is missing or cannot be read.
    """
    return None if view.read_mask is None else _read_file(view.read_mask, f"mask of {view.source}")


def _read_file(read: Callable[[], bytes], source: str) -> bytes:
    try:
        return read()
    except FileNotFoundError as error:
        raise BenchError(
            error.filename or source, "no such image", expected="the file of a view", fix="Fetch the data set again."
        ) from None
    except OSError as error:
        raise BenchError(
            error.filename or source, f"cannot be read ({error.strerror})", expected="an image", fix="Check the file."
        ) from None


def hash_image(view: View) -> str:
    """sha256 of the image file's bytes, as a case index freezes it."""
    return hashlib.sha256(read_image_file(view)).hexdigest()


def hash_mask(view: View) -> str | None:
    """sha256 of the mask file's bytes, as a case index freezes it; None where the view has no mask file.

    Raises:
        BenchError: the file is missing or cannot be read.
    """
    data = read_mask_file(view)
    return None if data is None else hashlib.sha256(data).hexdigest()


def find_mask_source(view: View, preparation: ImagePreparation) -> MaskSource | None:
    """Where the mask of `load_view` comes from; None where the view has none. Decodes nothing.

    Raises:
        BenchError: the image file is missing, or no image.
    """
    if view.read_mask is not None:
        return "file"
    if preparation.alpha == "drop":
        return None
    return "alpha" if has_transparency(read_image_file(view), view.source) else None


def pin_view(view: View, *, masks: bool = False) -> Pin:
    """What there is to freeze of a view. Reads the image file, and the mask file where masks are to be frozen too.

    Raises:
        BenchError: a file is missing or cannot be read.
    """
    return Pin(hash_image(view), hash_camera(view.camera), hash_mask(view) if masks else None)


def load_view(scene: Scene, view_id: str, preparation: ImagePreparation, pin: Pin = Pin()) -> PreparedView:
    """Read one view from disk and prepare it.

    Args:
        scene: from a reader.
        view_id: one of its ids.
        preparation: what the protocol says.
        pin: what the protocol's index froze of it.

    Raises:
        BenchError: unknown id; image missing, truncated, of another size than its camera's; image, camera or mask file
            not the frozen one.
    """
    view = find_view(scene, view_id)
    data = read_image_file(view)
    _check_pinned("image", hashlib.sha256(data).hexdigest(), pin.image, view)
    _check_pinned("camera", hash_camera(view.camera), pin.camera, view)
    mask_data = read_mask_file(view)
    found = None if mask_data is None else hashlib.sha256(mask_data).hexdigest()
    _check_pinned("mask", found, pin.mask, view)
    mask = None if mask_data is None else decode_mask(mask_data, f"mask of {view.source}")
    prepared = prepare_image(decode_image(data, view.source), view.camera, mask, preparation, view.source)
    source: MaskSource | None = None if prepared.mask is None else ("alpha" if mask is None else "file")
    return PreparedView(view.id, prepared.image, prepared.camera, prepared.mask, source)


def check_image(scene: Scene, view_id: str, pin: Pin) -> None:
    """Hold a view's image file to what was frozen of it. Nothing is decoded.

    Raises:
        BenchError: unknown id; the file is missing, or not the frozen one.
    """
    view = find_view(scene, view_id)
    _check_pinned("image", hash_image(view), pin.image, view)


def load_camera(scene: Scene, view_id: str, preparation: ImagePreparation, pin: Pin = Pin()) -> Camera:
    """The prepared camera of one view: that of `load_view`, without reading the image.

    Raises:
        BenchError: unknown id, or a camera that is not the frozen one.
    """
    view = find_view(scene, view_id)
    _check_pinned("camera", hash_camera(view.camera), pin.camera, view)
    return prepare_camera(view.camera, preparation, view.source)


def _check_pinned(what: str, found: str | None, frozen: str | None, view: View) -> None:
    if frozen is not None and found != frozen:
        raise BenchError(
            view.source,
            f"the {what} differs from the one the protocol froze (sha256 {found[:12]}...)"
            if found
            else f"no {what} file, and the protocol froze one",
            expected=f"sha256 {frozen[:12]}...",
            fix="Fetch the data set's revision that the protocol names.",
        )


def decode_mask(data: bytes, where: object) -> UInt8[np.ndarray, "height width"]:
    """A mask file as 0 outside to 255 inside: its alpha channel where that says anything, else the brightest colour.

    A mask stored as 0 and 1 is stretched to 0 and 255.

    Raises:
        BenchError: not an image, truncated, or not of eight bits a channel.
    """
    pixels = decode_image(data, where)
    speaks = pixels.shape[2] == 4 and bool((pixels[:, :, 3] < 255).any())
    mask = pixels[:, :, 3] if speaks else pixels[:, :, :3].max(axis=2)
    return mask * np.uint8(255) if mask.max(initial=0) == 1 else np.ascontiguousarray(mask)
