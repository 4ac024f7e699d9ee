"""What an adapter is given for one work item, read from the data set: prepared reference views, and target cameras.

Target images are not decoded here at all: a target's camera follows from its view's camera and the preparation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kaleido_bench.data.cameras import Camera, Cameras, normalise_cameras, scale_cameras, stack_cameras
from kaleido_bench.data.images import prepared_size
from kaleido_bench.data.readers import Reader, build_reader, resolve_root
from kaleido_bench.data.scenes import PreparedView, Scene, find_view, load_camera, load_view
from kaleido_bench.errors import BenchError
from kaleido_bench.predict.adapters.interface import ReferenceViews, TargetCameras
from kaleido_bench.predictions import WorkItem
from kaleido_bench.protocol import LoadedProtocol, NormalisedCameras

# Room for the prepared references that neighbouring cases share (the same scene with 1, 3 and 6 references).
CACHE_BYTES = 256 * 2**20


class CaseInputs(NamedTuple):
    """What `Adapter.predict` takes, but for its generator."""

    references: ReferenceViews
    targets: TargetCameras


class InputReader:
    """Reads work items of one protocol. Scenes and prepared references are kept while neighbouring items need them."""

    def __init__(self, loaded: LoadedProtocol, data_dir: Path | None) -> None:
        self.loaded, self.data_dir = loaded, data_dir
        self._source: tuple[Reader, Path] | None = None
        self._scene: Scene | None = None
        self._views: OrderedDict[tuple[str, str], PreparedView] = OrderedDict()
        self._bytes = 0

    def image_size(self, item: WorkItem) -> tuple[int, int]:
        """(width, height) of the images that this item asks for. Reads no data where the protocol names the size.

        Raises:
            BenchError: the data is not there, or the targets of a case differ in size.
        """
        preparation = self.loaded.protocol.preparation
        if preparation.size is not None:
            return preparation.size
        scene = self._load_scene(item.case.scene)
        sizes = {prepared_size(preparation, find_view(scene, view).camera) for view in item.case.targets}
        return _only_size(sizes, item, "targets")

    def read(self, item: WorkItem) -> CaseInputs:
        """Reference views and target cameras of one item, under the protocol's camera policy.

        Raises:
            BenchError: data missing or other than the protocol froze; views of a case that differ in size.
        """
        references = [self._load_view(item.case.scene, view) for view in item.case.references]
        targets = [self._prepare_target(item.case.scene, view) for view in item.case.targets]
        near = _stack([view.camera for view in references], item, "references")
        far = _stack(targets, item, "targets")
        near, far = self._apply_policy(near, far, item)
        images = np.stack([view.image for view in references])
        return CaseInputs(
            ReferenceViews(item.case.references, images, near), TargetCameras(item.key, item.case.targets, far)
        )

    def _apply_policy(self, references: Cameras, targets: Cameras, item: WorkItem) -> tuple[Cameras, Cameras]:
        policy = self.loaded.protocol.cameras
        if isinstance(policy, NormalisedCameras):
            return normalise_cameras(references, targets, policy.rule)
        if item.scale is not None:
            return scale_cameras(references, item.scale), scale_cameras(targets, item.scale)
        return references, targets

    def _prepare_target(self, scene_name: str, view_id: str) -> Camera:
        pin = self.loaded.index.pin(scene_name, view_id)
        return load_camera(self._load_scene(scene_name), view_id, self.loaded.protocol.preparation, pin)

    def _load_view(self, scene_name: str, view_id: str) -> PreparedView:
        key = (scene_name, view_id)
        if key not in self._views:
            pin = self.loaded.index.pin(scene_name, view_id)
            view = load_view(self._load_scene(scene_name), view_id, self.loaded.protocol.preparation, pin)
            self._views[key] = view
            self._bytes += view.image.nbytes
            # The newest stays whatever its size.
            while self._bytes > CACHE_BYTES and len(self._views) > 1:
                self._bytes -= self._views.popitem(last=False)[1].image.nbytes
        self._views.move_to_end(key)
        return self._views[key]

    def _load_scene(self, name: str) -> Scene:
        if self._scene is None or self._scene.name != name:
            if self._source is None:
                dataset = self.loaded.protocol.dataset
                self._source = build_reader(dataset.reader), resolve_root(dataset.root, self.data_dir)
            reader, root = self._source
            self._scene = reader.load_scene(root, name)
        return self._scene


def _stack(cameras: Sequence[Camera], item: WorkItem, role: str) -> Cameras:
    _only_size({(camera.width, camera.height) for camera in cameras}, item, role)
    return stack_cameras(cameras)


def _only_size(sizes: set[tuple[int, int]], item: WorkItem, role: str) -> tuple[int, int]:
    if len(sizes) != 1:
        found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
        raise BenchError(
            f"case {item.case.id}",
            f"{role} of {len(sizes)} sizes ({found})",
            expected="one size in a case",
            fix="Name a size in the protocol's preparation.",
        )
    return next(iter(sizes))
