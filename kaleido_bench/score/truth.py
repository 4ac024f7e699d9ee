"""Ground truth: target views of the data set, prepared as the protocol says. Nothing in a run stands in for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kaleido_bench.cases import Case
from kaleido_bench.protocol import LoadedProtocol
from kaleido_bench.views import ViewReader


class TruthReader:
    """Reads the target views of one protocol."""

    def __init__(self, loaded: LoadedProtocol, data_dir: Path | None) -> None:
        self._views = ViewReader(loaded, data_dir)

    def image_size(self, case: Case) -> tuple[int, int]:
        """(width, height) of the target images of a case; see `ViewReader.target_size`."""
        return self._views.target_size(case)

    def hashes(self, case: Case) -> dict[str, str]:
        """View id -> sha256 of the image file, for the targets of a case: as the index froze it, or of the file."""
        return {view: self._views.hash_image(case.scene, view) for view in case.targets}

    def load(self, case: Case, views: Sequence[str]) -> UInt8[np.ndarray, "view height width 3"]:
        """Some target views of a case, decoded and prepared.

        Raises:
            BenchError: an image is missing or cannot be read; an image or its camera is not what the index froze.
        """
        return np.stack([self._views.load_view(case.scene, view).image for view in views])
