"""Ground truth: target views of the data set, prepared as the protocol says. Nothing in a run stands in for them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from kaleido_bench.cases import Case
from kaleido_bench.data.images import prepared_size
from kaleido_bench.data.readers import Reader, build_reader, resolve_root
from kaleido_bench.data.scenes import Scene, find_view, hash_image, load_view
from kaleido_bench.errors import BenchError
from kaleido_bench.protocol import LoadedProtocol


class TruthReader:
    """Reads the target views of one protocol. The last scenes read are kept: neighbouring cases share them."""

    def __init__(self, loaded: LoadedProtocol, data_dir: Path | None) -> None:
        self._loaded, self._data_dir = loaded, data_dir
        self._load_scene = functools.lru_cache(maxsize=2)(self._read_scene)

    def image_size(self, case: Case) -> tuple[int, int]:
        """(width, height) of the target images of a case. Reads no data where the protocol names the size.

        Raises:
            BenchError: the data is not there, or the targets of the case differ in size.
        """
        preparation = self._loaded.protocol.preparation
        if preparation.size is not None:
            return preparation.size
        scene = self._load_scene(case.scene)
        sizes = {prepared_size(preparation, find_view(scene, view).camera) for view in case.targets}
        if len(sizes) > 1:
            raise BenchError(
                f"case {case.id}",
                f"targets of {len(sizes)} sizes",
                expected="one size in a case",
                fix="Name a size in the protocol's preparation.",
            )
        return sizes.pop()

    def hashes(self, case: Case) -> dict[str, str]:
        """View id -> sha256 of the image file, for the targets of a case: as the index froze it, or of the file."""
        index = self._loaded.index
        return {view: index.pin(case.scene, view).image or self._hash_file(case.scene, view) for view in case.targets}

    def load(self, case: Case, views: Sequence[str]) -> UInt8[np.ndarray, "view height width 3"]:
        """Some target views of a case, decoded and prepared.

        Raises:
            BenchError: an image is missing or cannot be read; an image or its camera is not what the index froze.
        """
        scene, preparation = self._load_scene(case.scene), self._loaded.protocol.preparation
        index = self._loaded.index
        return np.stack([load_view(scene, view, preparation, index.pin(scene.name, view)).image for view in views])

    def _hash_file(self, scene: str, view: str) -> str:
        return hash_image(find_view(self._load_scene(scene), view))

    def _read_scene(self, name: str) -> Scene:
        reader, root = self._source
        return reader.load_scene(root, name)

    @functools.cached_property
    def _source(self) -> tuple[Reader, Path]:
        dataset = self._loaded.protocol.dataset
        return build_reader(dataset.reader), resolve_root(dataset.root, self._data_dir)
