"""The only place where pixels move, and K moves with them.

What is chosen here, and why:

- Pixel values are used as stored. Nothing is linearised and no ICC profile or gamma chunk is applied: every code base
  of the field resizes and composites stored values, and a number must be comparable with theirs.
- An EXIF orientation is ignored. Structure-from-motion calibrates the pixels as stored; turning the image would leave
  its camera behind.
- Alpha is composited before resizing. Resampling is linear, so compositing a straight-alpha image first equals
  resampling premultiplied colours and compositing last, up to rounding; resampling straight colours would bleed the
  colour of invisible pixels into the edges. SEVA and EscherNet do it in this order too.
- Eight bits a channel only. Sixteen bits are refused: how to reduce them is a choice of the data's owner.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Generator
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from kaleido_bench.data.cameras import Camera, crop_camera, resize_camera
from kaleido_bench.errors import BenchError


class Fit(StrEnum):
    """How an image meets the wanted size."""

    COVER_CROP = "cover-crop"
    """Scale until the image covers the size, then crop the centre. What most of the field does."""
    CONTAIN_PAD = "contain-pad"
    """Scale until the image fits inside, then pad with the background on both sides."""
    STRETCH = "stretch"
    """Scale each axis by its own ratio."""
    CROP = "crop"
    """Leave the scale and crop the centre: what a network's patch size does to images that are no multiple of it."""
    NONE = "none"
    """Leave the pixels. With a size, images must already have it."""


FILTERS = MappingProxyType(
    {
        "lanczos": Image.Resampling.LANCZOS,
        "bicubic": Image.Resampling.BICUBIC,
        "bilinear": Image.Resampling.BILINEAR,
        "box": Image.Resampling.BOX,
        "hamming": Image.Resampling.HAMMING,
        "nearest": Image.Resampling.NEAREST,
    }
)
"""Pillow's filters by name. Bicubic has a = -0.5 there, in OpenCV and PyTorch -0.75."""

# What can sample at a point, without widening the filter by the reduction. Bicubic is not among them, because the name
# would be ambiguous: there Pillow has a = -1 and PyTorch a = -0.75, and neither is the bicubic of Pillow's resize.
_POINT_FILTERS = frozenset({"bilinear", "nearest"})

BACKGROUNDS = MappingProxyType({"white": (255, 255, 255), "black": (0, 0, 0), "gray": (128, 128, 128)})

Byte = Annotated[int, Field(ge=0, le=255)]
Side = Annotated[int, Field(ge=1, le=16384)]

# A mask pixel is inside when at least half of its area is: 127.5 of 255, which rounds to 128.
_HALF = 128

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_BIT_DEPTH_AT = 24

# Pillow refuses a bomb by its header and says how many pixels it found and how many it permits.
_NUMBER = re.compile(r"\d+")

_MODES_RGB = frozenset({"RGB", "L", "1", "P"})
_MODES_RGBA = frozenset({"RGBA", "LA", "PA"})


class ImagePreparation(BaseModel):
    """What is done to every image, reference and target alike, before anybody sees it. A part of the protocol.

    Attributes:
        size: (width, height) in pixels; null leaves images at their own size and goes with fit none.
        fit: see Fit.
        filter: see FILTERS.
        antialias: true widens the filter when reducing (Pillow's resize); false samples points, as
            `torch.nn.functional.interpolate(antialias=False)` does, and exists for bilinear and nearest. Nearest is a
            point filter by nature and wants false.
        background: the colour behind transparent pixels and around padded images; none where there is neither.
        alpha: composite blends straight alpha over the background; binary sets pixels of alpha 0 to the background and
            leaves all others as they are (EscherNet's metrics/eval_2D_NVS.py); drop forgets the alpha channel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[Side, Side] | None
    fit: Fit
    filter: Literal["lanczos", "bicubic", "bilinear", "box", "hamming", "nearest"]
    antialias: bool
    background: Literal["white", "black", "gray", "none"] | tuple[Byte, Byte, Byte]
    alpha: Literal["composite", "binary", "drop"]

    @model_validator(mode="after")
    def _check_choices_agree(self) -> Self:
        if self.size is None and self.fit is not Fit.NONE:
            raise ValueError(f"fit {self.fit} needs a size")
        if self.fit is Fit.CONTAIN_PAD and self.background == "none":
            raise ValueError("fit contain-pad needs a background to pad with")
        if self.antialias and self.filter == "nearest":
            raise ValueError("filter nearest cannot antialias; say antialias: false")
        if not self.antialias and self.filter not in _POINT_FILTERS:
            raise ValueError(f"filter {self.filter} only exists with antialias: true")
        return self

    @property
    def background_rgb(self) -> tuple[int, int, int] | None:
        """The background as eight-bit red, green, blue; None for `none`."""
        if isinstance(self.background, tuple):
            return self.background
        return BACKGROUNDS.get(self.background)


class Prepared(NamedTuple):
    """An image as the protocol wants it, the camera that belongs to it, and its mask if there is one (true inside)."""

    image: UInt8[np.ndarray, "height width 3"]
    camera: Camera
    mask: Bool[np.ndarray, "height width"] | None


class _Geometry(NamedTuple):
    """Resize to `scaled`, then take the window of `size` at `offset` (left, top); a negative offset pads."""

    scaled: tuple[int, int]
    offset: tuple[int, int]
    size: tuple[int, int]


# ---------------------------------------------------------------------------------------------------- bytes, pixels


def decode_image(data: bytes, where: object) -> UInt8[np.ndarray, "height width channel"]:
    """The pixels of an image file: three channels, or four where it has transparency. Grey and palettes are expanded.

    Raises:
        BenchError: not an image, truncated, of a kind that has no plain eight-bit RGB (16 bits, CMYK, floats), or a
            decompression bomb.
    """
    if data[:8] == _PNG_SIGNATURE and len(data) > _PNG_BIT_DEPTH_AT and data[_PNG_BIT_DEPTH_AT] == 16:
        raise _unsupported(where, "16 bits a channel")
    with _open(data, where) as image:
        image.load()
        if image.mode not in _MODES_RGB | _MODES_RGBA:
            raise _unsupported(where, f"pixels of Pillow mode {image.mode}")
        return np.array(image.convert("RGBA" if image.has_transparency_data else "RGB"))


@contextlib.contextmanager
def _open(data: bytes, where: object) -> Generator[Image.Image]:
    """An image file whose header was read, and every way in which reading on may fail as a `BenchError`."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            yield image
    except UnidentifiedImageError:
        raise BenchError(
            where,
            f"{len(data)} bytes that are no image",
            expected="a PNG, JPEG or WebP file",
            fix="Fetch the file again.",
        ) from None
    except Image.DecompressionBombError as error:
        found, permitted = _NUMBER.findall(str(error))[:2]
        raise BenchError(
            where,
            f"{len(data)} bytes whose header promises {found} pixels",
            expected=f"at most {permitted} pixels, or decoding could take all memory",
            fix="Fetch the file again, or reduce the image.",
        ) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise BenchError(
            where, f"unreadable image ({error})", expected="a whole image file", fix="Fetch the file again."
        ) from None


def has_transparency(data: bytes, where: object) -> bool:
    """Whether an image file has an alpha channel or transparent colours, from its header: nothing is decoded.

    Raises:
        BenchError: not an image.
    """
    with _open(data, where) as image:
        return image.has_transparency_data


def encode_png(image: UInt8[np.ndarray, "height width channel"]) -> bytes:
    """A PNG with fixed settings and no metadata: with the same Pillow build, the same pixels give the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=6, optimize=False)
    return buffer.getvalue()


def _unsupported(where: object, found: str) -> BenchError:
    return BenchError(
        where, found, expected="8 bits a channel, RGB, RGBA, grey or palette", fix="Convert the image first."
    )


# ------------------------------------------------------------------------------------------------------ preparation


def prepared_size(preparation: ImagePreparation, camera: Camera) -> tuple[int, int]:
    """(width, height) in pixels of the prepared image of this camera."""
    return preparation.size or (camera.width, camera.height)


def prepare_camera(camera: Camera, preparation: ImagePreparation, where: object) -> Camera:
    """The camera alone, as `prepare_image` moves it.

    Raises:
        BenchError: fit none, and the camera is not of the protocol's size.
    """
    geometry = _plan_geometry(camera.width, camera.height, preparation, where)
    return crop_camera(resize_camera(camera, *geometry.scaled), *geometry.offset, *geometry.size)


def prepare_image(
    image: UInt8[np.ndarray, "height width channel"],
    camera: Camera,
    mask: UInt8[np.ndarray, "height width"] | None,
    preparation: ImagePreparation,
    where: object,
) -> Prepared:
    """Composite, resize, crop or pad; the camera moves with the pixels.

    Args:
        image: three channels, or four with straight alpha.
        camera: of the image as stored.
        mask: 0 outside to 255 inside, of the image's size. Without one the alpha channel is the mask, unless it is
            dropped. It moves with the image under a box filter; a pixel is inside when at least half of its area is.
        preparation: what the protocol says.
        where: the file, for the error.

    Raises:
        BenchError: image, camera and mask differ in size; transparency without a background to put behind it.
    """
    _check_sizes(image, camera, mask, where)
    if mask is None and image.shape[2] == 4 and preparation.alpha != "drop":
        mask = image[:, :, 3]
    geometry = _plan_geometry(camera.width, camera.height, preparation, where)
    opaque = Image.fromarray(_remove_alpha(image, preparation, where))
    scaled = _resample(opaque, geometry.scaled, preparation.filter, preparation.antialias)
    return Prepared(
        np.array(_cut(scaled, geometry, preparation.background_rgb or (0, 0, 0))),
        prepare_camera(camera, preparation, where),
        None if mask is None else _move_mask(mask, geometry),
    )


def _check_sizes(
    image: UInt8[np.ndarray, "height width channel"],
    camera: Camera,
    mask: UInt8[np.ndarray, "height width"] | None,
    where: object,
) -> None:
    height, width = image.shape[:2]
    if (width, height) != (camera.width, camera.height):
        raise BenchError(
            where,
            f"an image of {width} x {height} pixels",
            expected=f"{camera.width} x {camera.height}, as its camera says",
            fix="Use the images the cameras were made for (an EXIF orientation is ignored here).",
        )
    if mask is not None and mask.shape != (height, width):
        raise BenchError(
            where,
            f"a mask of {mask.shape[1]} x {mask.shape[0]} pixels",
            expected=f"{width} x {height}, as its image",
            fix="Use the masks that belong to these images.",
        )


def _plan_geometry(width: int, height: int, preparation: ImagePreparation, where: object) -> _Geometry:
    size = preparation.size
    if size is None or preparation.fit is Fit.NONE:
        if size not in (None, (width, height)):
            raise BenchError(
                where,
                f"an image of {width} x {height} pixels",
                expected=f"{size[0]} x {size[1]}, since fit is none",
                fix="Name a fit in the protocol's preparation.",
            )
        return _Geometry((width, height), (0, 0), (width, height))
    if preparation.fit is Fit.STRETCH:
        return _Geometry(size, (0, 0), size)
    if preparation.fit is Fit.CROP:
        if width < size[0] or height < size[1]:
            raise BenchError(
                where,
                f"an image of {width} x {height} pixels",
                expected=f"{size[0]} x {size[1]} or more, since fit is crop",
                fix="Check which of the data set's sizes the protocol's reader reads.",
            )
        return _Geometry((width, height), ((width - size[0]) // 2, (height - size[1]) // 2), size)
    ratios = (size[0] / width, size[1] / height)
    if preparation.fit is Fit.COVER_CROP:
        scale = max(ratios)
        scaled = (max(size[0], round(width * scale)), max(size[1], round(height * scale)))
    else:
        scale = min(ratios)
        scaled = (min(size[0], max(1, round(width * scale))), min(size[1], max(1, round(height * scale))))
    # The same integer division for a crop and a pad: of an odd remainder, the smaller half lies left and above.
    left, top = _halve(scaled[0] - size[0]), _halve(scaled[1] - size[1])
    return _Geometry(scaled, (left, top), size)


def _halve(remainder: int) -> int:
    return remainder // 2 if remainder >= 0 else -(-remainder // 2)


def _remove_alpha(
    image: UInt8[np.ndarray, "height width channel"], preparation: ImagePreparation, where: object
) -> UInt8[np.ndarray, "height width 3"]:
    colour = np.ascontiguousarray(image[:, :, :3])
    if image.shape[2] == 3 or preparation.alpha == "drop":
        return colour
    background = preparation.background_rgb
    if background is None:
        raise BenchError(
            where,
            "a transparent image, and background none",
            expected="a background to put behind it",
            fix="Name one in the protocol's preparation, or say alpha: drop.",
        )
    if preparation.alpha == "binary":
        return np.where(image[:, :, 3:] == 0, np.asarray(background, np.uint8), colour)
    # Exact, in integers: round((alpha * colour + (255 - alpha) * background) / 255).
    alpha = image[:, :, 3:].astype(np.uint32)
    blend = alpha * colour + (255 - alpha) * np.asarray(background, np.uint32)
    return ((2 * blend + 255) // 510).astype(np.uint8)


def _resample(image: Image.Image, size: tuple[int, int], filter_name: str, antialias: bool) -> Image.Image:
    if size == image.size:
        return image
    resampling = FILTERS[filter_name]
    if antialias or filter_name == "nearest":
        return image.resize(size, resampling)
    # Pillow maps output (x + 0.5, y + 0.5) through this matrix and samples there: pixel centres at .5, as in K. In
    # floats, because on bytes it cuts the fraction off, which darkens every image by half a level.
    matrix = (image.width / size[0], 0.0, 0.0, 0.0, image.height / size[1], 0.0)
    channels = [
        channel.convert("F").transform(size, Image.Transform.AFFINE, matrix, Image.Resampling(resampling))
        for channel in image.split()
    ]
    sampled = np.stack([np.asarray(channel) for channel in channels], axis=-1)
    return Image.fromarray(np.floor(sampled.clip(0, 255) + 0.5).astype(np.uint8))


def _cut(image: Image.Image, geometry: _Geometry, fill: int | tuple[int, int, int]) -> Image.Image:
    left, top = geometry.offset
    width, height = geometry.size
    if image.width >= width and image.height >= height:
        return image.crop((left, top, left + width, top + height))
    canvas = Image.new(image.mode, geometry.size, fill)
    canvas.paste(image, (-left, -top))
    return canvas


def _move_mask(mask: UInt8[np.ndarray, "height width"], geometry: _Geometry) -> Bool[np.ndarray, "height width"]:
    scaled = _resample(Image.fromarray(np.ascontiguousarray(mask)), geometry.scaled, "box", antialias=True)
    return np.asarray(_cut(scaled, geometry, 0)) >= _HALF
