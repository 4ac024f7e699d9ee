"""Rows of two methods on six scenes, drawn: what the tests of comparing compare."""

from __future__ import annotations

import numpy as np

from kaleido_bench.score.results.rows import Row
from kaleido_bench.score.results.statistics import Reducing

SCENES = tuple("abcdef")
HOW = Reducing({f"{scene}-r{count}": str(count) for scene in SCENES for count in (1, 3)}, ("1", "3"))
METRICS = ("psnr", "lpips-alex")


def draw_rows(
    seed: int, *, scenes: int = 6, samples: int = 1, views: tuple[int, ...] = (3, 4, 5, 2, 3, 6)
) -> list[Row]:
    """Scenes of several sizes; the values of a scene lie together, and its first target is shown as a reference."""
    rng = np.random.default_rng(seed)
    return [
        Row(f"{scene}-r{count}", scene, count, str(view), sample, None, metric, round(value, 6), view == 0)
        for place, scene in enumerate(SCENES[:scenes])
        for count in (1, 3)
        for metric, level in zip(METRICS, rng.normal((20, 0.4), (3, 0.1)), strict=True)
        for view in range(views[place])
        for sample in range(samples)
        for value in [float(level + rng.normal(0, 0.05))]
    ]
