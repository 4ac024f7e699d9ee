"""Photographs as squares of a stage's size, with their K, and the ones used last kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

FITS = ("centre", "random", "stretch")
"""How an image becomes a square. `centre`: scaled until its shorter side fits, then the centre; what protocols do
(cover-crop) and where the worlds' principal points are. `random`: a window of the same size anywhere along the longer
side, at the same place in all views of a sequence, so that they still overlap: wide captures are used whole. `stretch`:
each axis by its own ratio, as the benchmark's adapter hands over images that are not square. K moves along in each.
"""


class Moved(NamedTuple):
    """An image on its way to a square, and what moves K from the image as stored to it."""

    image: UInt8[np.ndarray, "height width 3"]
    matrix: Float[np.ndarray, "3 3"]


def scale_to_cover(image: UInt8[np.ndarray, "height width 3"], size: int, fit: str, where: str) -> Moved:
    """Scale an image until it covers size x size (`stretch`: is that), by an antialiased Lanczos filter. ValueError
    unless it is uint8 [h, w, 3].
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"{where}: an image of {image.dtype} {image.shape}; expected uint8 [height, width, 3]")
    height, width = image.shape[:2]
    ratio = size / min(height, width)
    to = (size, size) if fit == "stretch" else (max(size, round(width * ratio)), max(size, round(height * ratio)))
    scaled = np.asarray(Image.fromarray(image).resize(to, Image.Resampling.LANCZOS))
    return Moved(scaled, np.diag([to[0] / width, to[1] / height, 1.0]))


def cut_square(moved: Moved, size: int, place: float) -> Moved:
    """The window at `place` (0 the first, 1 the last, of those along the longer side)."""
    height, width = moved.image.shape[:2]
    if height == width:
        return moved
    left, top = int((width - size) * place), int((height - size) * place)
    shift = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
    window = np.ascontiguousarray(moved.image[top : top + size, left : left + size])
    return Moved(window, shift @ moved.matrix)


class Cache:
    """The images used last, as many as fit into so many bytes."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self.kept: OrderedDict[tuple[int, int, int], Moved] = OrderedDict()
        self.lock = threading.Lock()

    def take(self, key: tuple[int, int, int], build: Callable[[], Moved]) -> Moved:
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
                return self.kept[key]
        built = build()  # without the lock: two threads may decode one image, which is less than all waiting for one
        with self.lock:
            if key not in self.kept:
                self.kept[key] = built
                self.held += built.image.nbytes
            while self.held > self.most:
                self.held -= self.kept.popitem(last=False)[1].image.nbytes
        return built
