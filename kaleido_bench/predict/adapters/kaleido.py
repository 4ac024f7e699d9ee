"""The reference model behind the adapter interface. The only file of the harness that imports it, inside functions.

The model renders squares of the side it was trained at. Images of another size are resampled there with Pillow's
Lanczos filter, each axis by its own ratio, and predictions back with bicubic, whose overshoot is smaller. K moves with
the pixels: the model is told of the unequal focal lengths. On 5 real scenes at 256x144 this gave kaleido@tiny 14.6,
16.9 and 17.6 dB from 1, 3 and 6 references, and padding to a square on gray 13.9, 16.0 and 16.8.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from kaleido_bench.data.cameras import Camera, Cameras, stack_cameras, unstack_cameras
from kaleido_bench.data.images import Fit, ImagePreparation, prepare_camera, prepare_image
from kaleido_bench.errors import BenchError
from kaleido_bench.predict.adapters.interface import (
    AdapterCard,
    Capabilities,
    ReferenceViews,
    TargetCameras,
    build_card,
)

if TYPE_CHECKING:
    from reference_model.inference import LoadedModel

# Raised when a change here, or in how the reference model infers, moves a pixel under the same weights.
CODE_VERSION = "1"
WHERE = "the kaleido adapter"


class Kaleido:
    """Answers with the reference model, one rendering a target camera."""

    capabilities = Capabilities(per_scene=False, generative=True, max_references=None)

    def __init__(self, variant: str, model: LoadedModel, steps: int) -> None:
        self.variant, self.model, self.steps = variant, model, steps

    def describe(self) -> AdapterCard:
        side = self.model.image_size
        settings = {"steps": self.steps, "image_size": side, "fit": "stretch, lanczos in, bicubic out"}
        return build_card(
            "kaleido",
            variant=self.variant,
            code_version=CODE_VERSION,
            weights_sha256=self.model.weights_sha256,
            settings=settings,
            training_data=self.model.training_data,
            parameters=sum(parameter.numel() for parameter in self.model.model.parameters()),
            # One pass a step: `sample_targets` uses no guidance. A chunk of targets is answered together.
            function_evaluations=self.steps,
        )

    def predict(
        self, references: ReferenceViews, targets: TargetCameras, generator: np.random.Generator
    ) -> UInt8[np.ndarray, "target height width 3"]:
        import torch

        from reference_model.inference import render_views

        square = Square(references.cameras.width, references.cameras.height, self.model.image_size)
        images = square.move_images(references.images)
        near, far = square.move_cameras(references.cameras), square.move_cameras(targets.cameras)
        rendered = render_views(
            self.model,
            torch.as_tensor(images),
            *(torch.as_tensor(array) for array in (near.c2w, near.K, far.c2w, far.K)),
            steps=self.steps,
            seed=int(generator.integers(2**63)),
        )
        back = Square(targets.cameras.width, targets.cameras.height, self.model.image_size)
        pixels = (rendered.permute(0, 2, 3, 1).double() * 255).round().clamp(0, 255).to(torch.uint8).numpy()
        return np.stack([back.restore_image(image) for image in pixels])


class Square:
    """The way between images of `width` x `height` and squares of `side` pixels, for pixels and cameras alike."""

    def __init__(self, width: int, height: int, side: int) -> None:
        self.there = _plan_resize(side, side, "lanczos")
        self.back = _plan_resize(width, height, "bicubic")

    def move_images(self, images: UInt8[np.ndarray, "view height width 3"]) -> Float32[np.ndarray, "view 3 side side"]:
        """To squares, channels first, in [0, 1]."""
        moved = np.stack([_resize(image, self.there) for image in images])
        return np.ascontiguousarray(moved.transpose(0, 3, 1, 2), np.float32) / np.float32(255)

    def move_cameras(self, cameras: Cameras) -> Cameras:
        """The cameras of the squares."""
        return stack_cameras([prepare_camera(camera, self.there, WHERE) for camera in unstack_cameras(cameras)])

    def restore_image(self, image: UInt8[np.ndarray, "side side 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """From a square back to the size of the images."""
        return _resize(image, self.back)


def _plan_resize(width: int, height: int, resampling: str) -> ImagePreparation:
    fields = {"size": (width, height), "fit": Fit.STRETCH, "filter": resampling, "antialias": True}
    return ImagePreparation.model_validate({**fields, "background": "none", "alpha": "drop"})


def _resize(
    image: UInt8[np.ndarray, "height width 3"], plan: ImagePreparation
) -> UInt8[np.ndarray, "height2 width2 3"]:
    # Pixels only: the camera that `prepare_image` moves along is a placeholder of the same size.
    height, width = image.shape[:2]
    return prepare_image(image, Camera(np.eye(4), np.eye(3), width, height), None, plan, WHERE).image


def read_steps(text: str) -> int:
    """The `steps` argument. Raises BenchError when it is no whole number from 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise BenchError(
            "--model-arg steps", f"{text!r}", expected="a whole number from 1", fix="Try steps=1 or steps=8."
        )
    return int(text)


def find_shipped_weights() -> list[str]:
    """The variants whose weights ship with the reference model, by name. Imports no torch."""
    folder = Path(str(files("reference_model"))) / "weights"
    return sorted(path.parent.name for path in folder.glob("*/preset.json"))


def build(variant: str | None, args: Mapping[str, str], device: str) -> Kaleido:
    """Load weights by variant: a name that ships with the package, or a checkpoint folder.

    Raises:
        BenchError: no such weights, weights that cannot be read, or a bad argument.
    """
    steps = read_steps(args["steps"]) if "steps" in args else None
    from reference_model.inference import DEFAULT_STEPS, load_model

    name = variant or "tiny"
    try:
        model = load_model(name, device)
    except (FileNotFoundError, ValueError) as error:
        raise BenchError(
            f"--model kaleido@{name}", str(error), expected="weights of the reference model", fix="Try kaleido@tiny."
        ) from error
    return Kaleido(name, model, DEFAULT_STEPS if steps is None else steps)
