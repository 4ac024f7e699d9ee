from __future__ import annotations

import numpy as np

from kaleido_bench.data.cameras import Cameras
from kaleido_bench.predict.adapters import ReferenceViews, TargetCameras
from kaleido_bench.predict.adapters.mean import build


def cameras(count: int, width: int, height: int) -> Cameras:
    return Cameras(np.repeat(np.eye(4)[None], count, 0), np.repeat(np.eye(3)[None], count, 0), width, height)


def test_mean_is_rounded_half_up_and_the_same_for_every_target() -> None:
    pixels = [[[0, 255, 1], [10, 0, 254]], [[1, 255, 2], [11, 1, 255]]]
    images = np.array(pixels, np.uint8)[:, None]
    references = ReferenceViews(("a", "b"), images, cameras(2, 2, 1))
    targets = TargetCameras("case", ("x", "y", "z"), cameras(3, 2, 1))
    predicted = build(None, {}, "cpu").predict(references, targets, np.random.default_rng(0))
    assert predicted.dtype == np.uint8
    assert predicted.shape == (3, 1, 2, 3)
    expected = [[[1, 255, 2], [11, 1, 255]]]
    for image in predicted:
        assert image.tolist() == expected


def test_many_bright_references_do_not_overflow() -> None:
    images = np.full((300, 2, 2, 3), 255, np.uint8)
    references = ReferenceViews(tuple(map(str, range(300))), images, cameras(300, 2, 2))
    predicted = build(None, {}, "cpu").predict(
        references, TargetCameras("case", ("x",), cameras(1, 2, 2)), np.random.default_rng(0)
    )
    assert (predicted == 255).all()
