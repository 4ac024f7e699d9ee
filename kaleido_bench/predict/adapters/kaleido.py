"""The reference model behind the adapter interface. The only file of the harness that imports it, inside functions.

The model renders squares of the side it was trained at. Here images of another size are brought there and back:

- an image that is not square is padded to a square first, evenly on both sides (letter-boxed), and its prediction is
  cropped;
- the square is resampled to the model's side with Pillow's Lanczos filter, and the prediction back with bicubic, whose
  overshoot is smaller; K moves with the pixels both ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
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

# Raised when this file changes a pixel; the reference model's own changes are seen in the hash of its weights.
CODE_VERSION = "1"
PADDING = "gray"
WHERE = "the kaleido adapter"


class Kaleido:
    """Answers with the reference model, one rendering a target camera."""

    capabilities = Capabilities(per_scene=False, generative=True, max_references=None)

    def __init__(self, variant: str, model: LoadedModel, steps: int) -> None:
        self.variant, self.model, self.steps = variant, model, steps

    def describe(self) -> AdapterCard:
        side = self.model.image_size
        settings = {"steps": self.steps, "image_size": side, "fit": f"letter-box on {PADDING}, lanczos in, bicubic out"}
        return build_card(
            "kaleido",
            variant=self.variant,
            code_version=CODE_VERSION,
            weights_sha256=self.model.weights_sha256,
            settings=settings,
            training_data=self.model.training_data,
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
        size = (targets.cameras.width, targets.cameras.height)
        back = Square(*size, self.model.image_size)
        pixels = (rendered.permute(0, 2, 3, 1).double() * 255).round().clamp(0, 255).to(torch.uint8).numpy()
        return np.stack([back.restore_image(image) for image in pixels])


class Square:
    """The way between images of `width` x `height` and squares of `side` pixels, for pixels and cameras alike."""

    def __init__(self, width: int, height: int, side: int) -> None:
        self.width, self.height, self.side = width, height, side

    @cached_property
    def steps_there(self) -> tuple[ImagePreparation, ImagePreparation]:
        """Pad to a square (which resamples nothing), then resize."""
        whole = max(self.width, self.height)
        return _preparation(whole, whole, Fit.CONTAIN_PAD), _preparation(self.side, self.side, Fit.STRETCH)

    @cached_property
    def steps_back(self) -> tuple[ImagePreparation, ImagePreparation]:
        """Resize to the whole square, then crop (which resamples nothing)."""
        whole = max(self.width, self.height)
        resize = _preparation(whole, whole, Fit.STRETCH, "bicubic")
        return resize, _preparation(self.width, self.height, Fit.COVER_CROP)

    def move_images(self, images: UInt8[np.ndarray, "view height width 3"]) -> Float32[np.ndarray, "view 3 side side"]:
        """To squares, channels first, in [0, 1]."""
        moved = [_move_pixels(image, self.steps_there) for image in images]
        return np.ascontiguousarray(np.stack(moved).transpose(0, 3, 1, 2), np.float32) / np.float32(255)

    def move_cameras(self, cameras: Cameras) -> Cameras:
        """The cameras of the squares."""
        pad, resize = self.steps_there
        moved = [
            prepare_camera(prepare_camera(camera, pad, WHERE), resize, WHERE) for camera in unstack_cameras(cameras)
        ]
        return stack_cameras(moved)

    def restore_image(self, image: UInt8[np.ndarray, "side side 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """From a square back to the size of the images."""
        return _move_pixels(image, self.steps_back)


def _preparation(width: int, height: int, fit: Fit, resampling: str = "lanczos") -> ImagePreparation:
    return ImagePreparation.model_validate(
        {
            "size": (width, height),
            "fit": fit,
            "filter": resampling,
            "antialias": True,
            "background": PADDING,
            "alpha": "drop",
        }
    )


def _move_pixels(
    image: UInt8[np.ndarray, "height width 3"], steps: tuple[ImagePreparation, ...]
) -> UInt8[np.ndarray, "height2 width2 3"]:
    for step in steps:
        height, width = image.shape[:2]
        image = prepare_image(image, Camera(np.eye(4), np.eye(3), width, height), None, step, WHERE).image
    return image


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
