"""Ground truth: target views of the data set, prepared as the protocol says. Nothing in a run stands in for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from kaleido_bench.cases import Case
from kaleido_bench.conventions import FOREGROUND_METRICS, Convention
from kaleido_bench.protocol import LoadedProtocol
from kaleido_bench.score.metrics.masks import Mask, admits, needs_masks, refuse_missing
from kaleido_bench.views import ViewReader


class Truths(NamedTuple):
    """Some target views of one case. A mask is None where the view has none."""

    images: UInt8[np.ndarray, "view height width 3"]
    masks: tuple[Mask | None, ...]


class TruthReader:
    """Reads the target views of one protocol, and their masks."""

    def __init__(self, loaded: LoadedProtocol, data_dir: Path | None) -> None:
        self._views = ViewReader(loaded, data_dir)

    def image_size(self, case: Case) -> tuple[int, int]:
        """(width, height) of the target images of a case; see `ViewReader.target_size`."""
        return self._views.target_size(case)

    def hashes(self, case: Case) -> dict[str, str]:
        """View id -> sha256 of the image file, for the targets of a case: as the index froze it, or of the file."""
        return {view: self._views.hash_image(case.scene, view) for view in case.targets}

    def mask_hashes(self, case: Case) -> dict[str, str]:
        """View id -> sha256 of the mask file, for the targets of a case that have one (an alpha channel is none)."""
        found = {view: self._views.hash_mask(case.scene, view) for view in case.targets}
        return {view: sha256 for view, sha256 in found.items() if sha256 is not None}

    def find_maskless(self, cases: Iterable[Case], convention: Convention) -> str | None:
        """A target view without a mask that the convention admits, as "scene, view x"; None where all have one.

        Reads no more than the headers of images.
        """
        views = dict.fromkeys((case.scene, view) for case in cases for view in case.targets)
        for scene, view in views:
            if not admits(convention, self._views.mask_source(scene, view)):
                return f"{scene}, view {view}"
        return None

    def load(self, case: Case, views: Sequence[str]) -> Truths:
        """Some target views of a case, decoded and prepared.

        Raises:
            BenchError: an image or mask is missing or cannot be read; an image, its camera or its mask is not what the
                index froze.
        """
        found = [self._views.load_view(case.scene, view) for view in views]
        masks = [
            None if view.mask is None or view.mask_source is None else Mask(view.mask, view.mask_source)
            for view in found
        ]
        return Truths(np.stack([view.image for view in found]), tuple(masks))


class Maskable(NamedTuple):
    """The metrics that masks allow.

    Args:
        required, optional: what is left to score.
        without: optional metric -> a view that lacks the mask it needs.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]
    without: dict[str, str]


def check_masks(
    truth: TruthReader, cases: Sequence[Case], convention: Convention, required: Sequence[str], optional: Sequence[str]
) -> Maskable:
    """Leave out the optional foreground metrics where a target has no mask: a mean over some views has another name.

    Args:
        convention: with nothing unset.
    Raises:
        BenchError: a required metric, or the convention's mask rule, needs a mask that a target does not have.
    """
    asked = (*required, *optional)
    if not needs_masks(convention, asked) or (lacking := truth.find_maskless(cases, convention)) is None:
        return Maskable(tuple(required), tuple(optional), {})
    if FOREGROUND_METRICS & set(required) or (convention.uses_masks and convention.without_mask == "refuse"):
        raise refuse_missing(lacking, convention)
    kept, left = _split_foreground(optional)
    return Maskable(tuple(required), kept, dict.fromkeys(left, lacking))


def _split_foreground(metrics: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    kept = tuple(metric for metric in metrics if metric not in FOREGROUND_METRICS)
    return kept, tuple(metric for metric in metrics if metric in FOREGROUND_METRICS)
