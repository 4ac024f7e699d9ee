"""What an adapter is given for one work item, read from the data set: prepared reference views, and target cameras.

Target images are not decoded here at all: a target's camera follows from its view's camera and the preparation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kaleido_bench.cases import Case
from kaleido_bench.data.cameras import Camera, Cameras, stack_cameras
from kaleido_bench.data.normalisation import normalise_cameras, scale_cameras
from kaleido_bench.data.scenes import PreparedView
from kaleido_bench.items import WorkItem
from kaleido_bench.predict.adapters.interface import ReferenceViews, TargetCameras
from kaleido_bench.protocol import LoadedProtocol, NormalisedCameras
from kaleido_bench.views import ViewReader, only_size

# Room for the prepared references that neighbouring cases share (the same scene with 1, 3 and 6 references).
CACHE_BYTES = 256 * 2**20


class CaseInputs(NamedTuple):
    """What `Adapter.predict` takes, but for its generator."""

    references: ReferenceViews
    targets: TargetCameras


class InputReader:
    """Reads work items of one protocol. Prepared references are kept while neighbouring items need them."""

    def __init__(self, loaded: LoadedProtocol, data_dir: Path | None) -> None:
        self._policy = loaded.protocol.cameras
        self._views = ViewReader(loaded, data_dir)
        self._references: OrderedDict[tuple[str, str], PreparedView] = OrderedDict()
        self._bytes = 0

    def image_size(self, item: WorkItem) -> tuple[int, int]:
        """(width, height) of the images that this item asks for; see `ViewReader.target_size`."""
        return self._views.target_size(item.case)

    def read(self, item: WorkItem) -> CaseInputs:
        """Reference views and target cameras of one item, under the protocol's camera policy.

        Raises:
            BenchError: data missing or other than the protocol froze; views of a case that differ in size.
        """
        case = item.case
        references = [self._load_reference(case.scene, view) for view in case.references]
        near = _stack([view.camera for view in references], case, "references")
        far = _stack([self._views.load_camera(case.scene, view) for view in case.targets], case, "targets")
        near, far = self._apply_policy(near, far, item)
        images = np.stack([view.image for view in references])
        return CaseInputs(ReferenceViews(case.references, images, near), TargetCameras(item.key, case.targets, far))

    def _apply_policy(self, references: Cameras, targets: Cameras, item: WorkItem) -> tuple[Cameras, Cameras]:
        if isinstance(self._policy, NormalisedCameras):
            return normalise_cameras(references, targets, self._policy.rule)
        if item.scale is not None:
            return scale_cameras(references, item.scale), scale_cameras(targets, item.scale)
        return references, targets

    def _load_reference(self, scene: str, view_id: str) -> PreparedView:
        key = (scene, view_id)
        if key not in self._references:
            view = self._views.load_view(scene, view_id)
            self._references[key] = view
            self._bytes += view.image.nbytes
            # The newest stays whatever its size.
            while self._bytes > CACHE_BYTES and len(self._references) > 1:
                self._bytes -= self._references.popitem(last=False)[1].image.nbytes
        self._references.move_to_end(key)
        return self._references[key]


def _stack(cameras: Sequence[Camera], case: Case, role: str) -> Cameras:
    only_size({(camera.width, camera.height) for camera in cameras}, case, role)
    return stack_cameras(cameras)
