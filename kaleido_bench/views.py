"""The views that a protocol's cases name, read from its data set and held to what its index froze.

Predicting and scoring both read through here, so that they cannot see two different data sets.
"""

from __future__ import annotations

import difflib
import functools
from pathlib import Path

from kaleido_bench.cases import Case
from kaleido_bench.data.cameras import Camera
from kaleido_bench.data.datasets import how_to_get_as
from kaleido_bench.data.images import prepared_size
from kaleido_bench.data.readers import Reader, build_reader, resolve_root
from kaleido_bench.data.scenes import (
    MaskSource,
    PreparedView,
    Scene,
    check_image,
    find_mask_source,
    find_view,
    hash_image,
    hash_mask,
    load_camera,
    load_view,
)
from kaleido_bench.errors import BenchError
from kaleido_bench.protocol import LoadedProtocol


class ViewReader:
    """Reads the views of one protocol. The last scenes read are kept: neighbouring cases share them."""

    def __init__(self, loaded: LoadedProtocol, data_dir: Path | None) -> None:
        self._loaded, self._data_dir = loaded, data_dir
        self._load_scene = functools.lru_cache(maxsize=2)(self._read_scene)

    def load_view(self, scene: str, view: str) -> PreparedView:
        """One view, decoded and prepared, and its mask with it.

        Raises:
            BenchError: the data is not there, image or mask cannot be read, or image, camera or mask is not what the
                index froze.
        """
        pin = self._loaded.index.pin(scene, view)
        return load_view(self._load_scene(scene), view, self._loaded.protocol.preparation, pin)

    def check_image(self, scene: str, view: str) -> None:
        """Refuse an image file that is not the frozen one, or, where none is frozen, one that cannot be read.

        Raises:
            BenchError: it is that, or missing.
        """
        pin = self._loaded.index.pin(scene, view)
        if pin.image is None:
            self.load_view(scene, view)
        else:
            check_image(self._load_scene(scene), view, pin)

    def load_camera(self, scene: str, view: str) -> Camera:
        """The prepared camera of one view; its image is not touched. Raises what `load_view` raises of a camera."""
        pin = self._loaded.index.pin(scene, view)
        return load_camera(self._load_scene(scene), view, self._loaded.protocol.preparation, pin)

    def hash_image(self, scene: str, view: str) -> str:
        """sha256 of a view's image file: as the index froze it, or else of the file."""
        return self._loaded.index.pin(scene, view).image or hash_image(find_view(self._load_scene(scene), view))

    def hash_mask(self, scene: str, view: str) -> str | None:
        """sha256 of a view's mask file: as the index froze it, or else of the file; None where it has none."""
        return self._loaded.index.pin(scene, view).mask or hash_mask(find_view(self._load_scene(scene), view))

    def mask_source(self, scene: str, view: str) -> MaskSource | None:
        """Where a view's mask comes from; None where it has none. Reads no more than the header of its image."""
        return find_mask_source(find_view(self._load_scene(scene), view), self._loaded.protocol.preparation)

    def target_size(self, case: Case) -> tuple[int, int]:
        """(width, height) of the target images of a case. Reads no data where the protocol names the size.

        Raises:
            BenchError: the data is not there, or the targets of the case differ in size.
        """
        preparation = self._loaded.protocol.preparation
        if preparation.size is not None:
            return preparation.size
        scene = self._load_scene(case.scene)
        cameras = [find_view(scene, view).camera for view in case.targets]
        return only_size({prepared_size(preparation, camera) for camera in cameras}, case, "targets")

    def _read_scene(self, name: str) -> Scene:
        reader, root = self._source
        scene = reader.load_scene(root, name)
        missing = [view for view in self._named.get(name, ()) if view not in scene.views]
        if missing:
            raise self._wrong_index(scene, missing)
        return scene

    def _wrong_index(self, scene: Scene, missing: list[str]) -> BenchError:
        """Said before anything is predicted: an index of another data set would fail somewhere in the middle."""
        protocol = self._loaded.protocol
        dataset = protocol.dataset
        near = difflib.get_close_matches(missing[0], scene.views, n=3, cutoff=0.5) or list(scene.views)[:3]
        return BenchError(
            f"protocol {protocol.name}, scene {scene.name}",
            f"no view {missing[0]!r} among the {len(scene.views)} of data set {dataset.name}, read by {dataset.reader}"
            f" ({len(missing)} of the {len(self._named[scene.name])} views that the index names are not there)",
            expected=f"ids such as {', '.join(near)}",
            fix="Index and data differ: name the right reader and revision."
            f" {how_to_get_as(dataset.name, dataset.reader)}",
        )

    @functools.cached_property
    def _named(self) -> dict[str, list[str]]:
        """The views that the cases name, by scene."""
        named: dict[str, dict[str, None]] = {}
        for case in self._loaded.cases:
            named.setdefault(case.scene, {}).update(dict.fromkeys((*case.references, *case.targets)))
        return {scene: list(views) for scene, views in named.items()}

    @functools.cached_property
    def _source(self) -> tuple[Reader, Path]:
        dataset = self._loaded.protocol.dataset
        return build_reader(dataset.reader), resolve_root(
            dataset.root, self._data_dir, how_to_get_as(dataset.name, dataset.reader)
        )


def only_size(sizes: set[tuple[int, int]], case: Case, role: str) -> tuple[int, int]:
    """The one size in a set. Raises BenchError where there are more: an adapter answers in one array."""
    if len(sizes) != 1:
        found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
        raise BenchError(
            f"case {case.id}",
            f"{role} of {len(sizes)} sizes ({found})",
            expected="one size in a case",
            fix="Name a size in the protocol's preparation.",
        )
    return next(iter(sizes))
