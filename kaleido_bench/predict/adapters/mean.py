"""The per-pixel mean of the reference views: the answer of a method that ignores every camera."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from kaleido_bench.predict.adapters.interface import (
    AdapterCard,
    Capabilities,
    ReferenceViews,
    TargetCameras,
    build_card,
)


class Mean(NamedTuple):
    """Answers every target with the mean reference image, rounded half up (in whole numbers, so exact everywhere)."""

    capabilities: Capabilities = Capabilities(per_scene=False, generative=False, max_references=None)

    def describe(self) -> AdapterCard:
        return build_card("mean", code_version="1", parameters=0, function_evaluations=0)

    def predict(
        self, references: ReferenceViews, targets: TargetCameras, generator: np.random.Generator
    ) -> UInt8[np.ndarray, "target height width 3"]:
        count = len(references.ids)
        total = np.zeros(references.images.shape[1:], np.int64)
        for image in references.images:
            total += image
        mean = ((2 * total + count) // (2 * count)).astype(np.uint8)
        return np.repeat(mean[None], len(targets.ids), axis=0)


def build(variant: str | None, args: Mapping[str, str], device: str) -> Mean:
    return Mean()
