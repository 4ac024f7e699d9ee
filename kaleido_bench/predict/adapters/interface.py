"""What an adapter is given, and what it must answer.

A method takes part by satisfying `Adapter` (or `SceneAdapter`, when it is fitted to one scene at a time). Neither the
types below nor anything they hold has a target image in it, so a method cannot see what it is scored against.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from kaleido_bench.data.cameras import Cameras


class Capabilities(NamedTuple):
    """What a method can do, declared so that the runner need not try.

    Args:
        per_scene: the method is a `SceneAdapter`: `fit` is called before each `predict`.
        generative: the method draws from its generator, so that two samples of a case differ. One that does not is
            asked for one sample of a case, whatever the protocol or `--samples` says.
        max_references: the most reference views it takes; None is any number.
    """

    per_scene: bool
    generative: bool
    max_references: int | None


class ReferenceViews(NamedTuple):
    """The views a method may look at. All are of one size, prepared as the protocol says.

    Args:
        ids: view ids, in the order of the protocol's index.
        images: uint8 RGB.
        cameras: their cameras (OpenCV c2w, K in pixels of these images), in the same order.
    """

    ids: tuple[str, ...]
    images: UInt8[np.ndarray, "reference height width 3"]
    cameras: Cameras


class TargetCameras(NamedTuple):
    """The cameras a method must answer for, in the frame of the reference cameras. There is no image in here.

    Args:
        item: the name of what is asked for, also the name of its predictions folder: the case id, with a suffix where a
            protocol asks for several samples or scales of one case.
        ids: view ids, in the order in which the answer is expected.
        cameras: their cameras; `cameras.width` and `cameras.height` are the size of the expected images.
    """

    item: str
    ids: tuple[str, ...]
    cameras: Cameras


class AdapterCard(NamedTuple):
    """Who made a prediction.

    Args:
        name: the registered name (`kaleido`).
        variant: what stands after the `@` (`tiny`), or None.
        fingerprint: sha256 over name, variant, code version, weights and settings: two runs with one fingerprint agree.
        weights_sha256: of the weights file or folder; None for a method without weights.
        settings: everything else that moves a pixel.
        training_data: names of the data sets the weights saw; () is none, None is unknown.
        parameters: learned numbers in the network or networks; 0 is none, None is unknown.
        function_evaluations: how often a network is evaluated to answer one target camera (the field's NFE): sampling
            steps times passes a step (two under guidance). Targets answered in one pass share it. 0 is no network, None
            is unknown.
    """

    name: str
    variant: str | None
    fingerprint: str
    weights_sha256: str | None
    settings: Mapping[str, str | int | float | bool | None]
    training_data: tuple[str, ...] | None
    parameters: int | None = None
    function_evaluations: int | None = None


@runtime_checkable
class Adapter(Protocol):
    """A method: reference views and target cameras in, images out."""

    @property
    def capabilities(self) -> Capabilities: ...

    def describe(self) -> AdapterCard: ...

    def predict(
        self, references: ReferenceViews, targets: TargetCameras, generator: np.random.Generator
    ) -> UInt8[np.ndarray, "target height width 3"]:
        """Answer with one uint8 RGB image a target camera, in the order of `targets.ids`.

        All randomness comes from `generator`, which is seeded by the item alone: the answer may depend on nothing else
        than the arguments (and `fit`), so that order, resuming and the number of workers leave no trace.
        """
        ...


@runtime_checkable
class SceneAdapter(Adapter, Protocol):
    """A method that is optimised on the reference views of one scene before it can answer."""

    def fit(self, references: ReferenceViews, generator: np.random.Generator) -> None:
        """Fit to these views, forgetting all before. Called once before each `predict`, with the same generator."""
        ...


def build_card(
    name: str,
    *,
    variant: str | None = None,
    code_version: str,
    weights_sha256: str | None = None,
    settings: Mapping[str, str | int | float | bool | None] | None = None,
    training_data: tuple[str, ...] | None = (),
    parameters: int | None = None,
    function_evaluations: int | None = None,
) -> AdapterCard:
    """Build a card and compute its fingerprint. What a method costs is on the card and not in the fingerprint.

    `code_version` is raised whenever a change of code moves a pixel. The device is no part of the fingerprint: a run is
    one method's wherever it was computed (run.json records the device).
    """
    settings = dict(settings or {})
    content = [name, variant, code_version, weights_sha256, sorted(settings.items())]
    fingerprint = hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
    return AdapterCard(
        name, variant, fingerprint, weights_sha256, settings, training_data, parameters, function_evaluations
    )
