"""A scene whose every pixel is known: twelve coloured points, seen by four cameras.

Each view is rendered as the truth says it: a point is a dot whose centre of mass is the point's projection, in an image
that spans [0, width] x [0, height] with pixel centres at .5. Nothing here comes from kaleido_bench.
"""

from __future__ import annotations

import functools
import io
import math
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

POINTS = np.random.default_rng(5).uniform(-0.45, 0.45, (12, 3))
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255)] * 4)
COUNT = 4
DOT = 1.1 / 96  # standard deviation of a dot over the image's width


class TrueView(NamedTuple):
    """A view: rotation and translation of x_camera = R x_world + t (x right, y down, z forward), lens, size, pixels."""

    R: np.ndarray
    t: np.ndarray
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    image: np.ndarray  # RGB

    @property
    def w2c(self) -> np.ndarray:
        """4x4."""
        return np.block([[self.R, self.t[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])

    @property
    def c2w(self) -> np.ndarray:
        """4x4, inverted numerically."""
        return np.linalg.inv(self.w2c)

    @property
    def blender_c2w(self) -> np.ndarray:
        """4x4 camera to world of a camera that looks along its -z with +y up, as Blender, OpenGL and NeRF have it."""
        c2w = self.c2w
        return np.column_stack([c2w[:, 0], -c2w[:, 1], -c2w[:, 2], c2w[:, 3]])

    def png(self) -> bytes:
        """The image as PNG."""
        return encode(self.image, "PNG")


@functools.lru_cache
def make_views(
    width: int = 96, height: int = 72, focal: float = 80.0, *, square_pixels: bool = True, centred: bool = False
) -> list[TrueView]:
    """Four cameras around the points, each tilted its own way."""
    views = []
    for number in range(COUNT):
        angle = 0.5 + 1.3 * number
        eye = np.array([1.9 * math.cos(angle), 1.9 * math.sin(angle), 0.4 + 0.3 * number])
        R = look_at(eye, roll=0.2 * number - 0.25)
        fx, fy = focal, focal if square_pixels else focal * 1.07
        cx, cy = (width / 2, height / 2) if centred else (width / 2 + 3.2, height / 2 - 2.3)
        view = TrueView(R, -R @ eye, fx, fy, cx, cy, width, height, np.zeros(0))
        views.append(view._replace(image=render(view)))
    return views


def look_at(eye: np.ndarray, roll: float) -> np.ndarray:
    """Rows: right, down, forward of a camera at `eye` that looks at the origin."""
    forward = -eye / np.linalg.norm(eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = math.cos(roll), math.sin(roll)
    return np.stack([c * right + s * down, -s * right + c * down, forward])


def project(view: TrueView, points: np.ndarray) -> np.ndarray:
    """Pixels, by the definition: (fx X / Z + cx, fy Y / Z + cy)."""
    x, y, z = view.R @ points.T + view.t[:, None]
    return np.stack([view.fx * x / z + view.cx, view.fy * y / z + view.cy], axis=1)


def render(view: TrueView) -> np.ndarray:
    """Black, with each point as a small dot whose centre of mass is its projection."""
    image = np.zeros((view.height, view.width, 3), np.uint8)
    columns, rows, sigma = np.arange(view.width) + 0.5, np.arange(view.height) + 0.5, DOT * view.width
    for (x, y), colour in zip(project(view, POINTS), COLOURS, strict=True):
        weight = np.outer(np.exp(-((rows - y) ** 2) / (2 * sigma**2)), np.exp(-((columns - x) ** 2) / (2 * sigma**2)))
        image = np.maximum(image, (weight[:, :, None] * colour).round().astype(np.uint8))
    return image


def measure_dot(image: np.ndarray, near: np.ndarray, colour: np.ndarray) -> np.ndarray | None:
    """The centre of mass of the dot at `near`, from the image's corner; None at the border, inf in the dark."""
    height, width = image.shape[:2]
    reach = 2.8 * DOT * width
    if not (reach < near[0] < width - reach and reach < near[1] < height - reach):
        return None
    rows, columns = np.mgrid[:height, :width] + 0.5
    window = (columns - near[0]) ** 2 + (rows - near[1]) ** 2 < reach**2
    weight = np.where(window, image[:, :, int(np.argmax(colour))].astype(float), 0.0)
    if weight.max() < 128:
        return np.full(2, np.inf)
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def encode(image: np.ndarray, kind: str) -> bytes:
    """An image file; JPEG at its best quality without subsampling."""
    buffer = io.BytesIO()
    options: dict[str, Any] = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def reduce(image: np.ndarray, factor: int) -> np.ndarray:
    """The mean of blocks of pixels."""
    height, width = image.shape[0] // factor, image.shape[1] // factor
    blocks = image[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)
