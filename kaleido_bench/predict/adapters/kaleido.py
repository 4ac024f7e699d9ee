"""The reference model behind the adapter interface. The only file of the harness that imports it, inside functions.

The model renders squares of the side it was trained at. Images of another size are resampled there with Pillow's
Lanczos filter, each axis by its own ratio, and predictions back with bicubic, whose overshoot is smaller. K moves with
the pixels: the model is told of the unequal focal lengths. On 5 real scenes at 256x144 this gave kaleido@tiny 14.6,
16.9 and 17.6 dB from 1, 3 and 6 references, and padding to a square on gray 13.9, 16.0 and 16.8.

`precision=bfloat16` rounds the network's products, keeps what it knows of the references over steps and chunks, and is
a method of its own by its settings and fingerprint. On CUDA its steps are recorded once a shape and replayed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
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
    from reference_model.rollout import Rollout
    from reference_model.sampler import Sampling

# Raised when a change here, or in how the reference model infers, moves a pixel under the same weights.
CODE_VERSION = "1"
WHERE = "the kaleido adapter"


class Kaleido:
    """Answers with the reference model, one rendering a target camera."""

    capabilities = Capabilities(per_scene=False, generative=True, max_references=None)

    def __init__(self, variant: str, model: LoadedModel, sampling: Sampling, rollout: Rollout) -> None:
        self.variant, self.model, self.sampling, self.rollout = variant, model, sampling, rollout

    def describe(self) -> AdapterCard:
        return build_card(
            "kaleido",
            variant=self.variant,
            code_version=CODE_VERSION,
            weights_sha256=self.model.weights_sha256,
            settings={
                "steps": self.sampling.steps,
                "image_size": self.model.image_size,
                "fit": "stretch, lanczos in, bicubic out",
                **self._list_changes(),
            },
            training_data=self.model.training_data,
            parameters=sum(parameter.numel() for parameter in self.model.model.parameters()),
            # A chunk of targets is answered together, so how many it has does not enter.
            function_evaluations=self.sampling.evaluations,
        )

    def _list_changes(self) -> dict[str, str | int | float]:
        """The settings that are not at their defaults: predictions made before one existed keep their fingerprint."""
        given = {**self.sampling._asdict(), **self.rollout._asdict(), "precision": self.model.precision}
        usual = {**type(self.sampling)()._asdict(), **self.model.plan_rollout()._asdict()}
        usual |= {"steps": given["steps"], "precision": "float32"}
        return {name: value for name, value in given.items() if value != usual[name]}

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
            sampling=self.sampling,
            rollout=self.rollout,
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


def read_count(name: str, text: str, least: int = 1) -> int:
    """A whole number among the arguments. Raises BenchError when it is none, or less than the least."""
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise BenchError(
            f"--model-arg {name}", f"{text!r}", expected=f"a whole number from {least}", fix=f"Try {name}={least}."
        )
    return int(text)


def read_guidance(text: str) -> float:
    """Raises BenchError for what is no finite number from 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise BenchError(
            "--model-arg guidance", f"{text!r}", expected="a number from 0", fix="1 is no guidance; try guidance=2."
        )
    return value


# Of reference_model's Sampling and Rollout; what a name is a choice of, their modules check.
SAMPLING: Mapping[str, Callable[[str], object]] = {
    "steps": lambda text: read_count("steps", text),
    "solver": str,
    "schedule": str,
    "guidance": read_guidance,
}
ROLLOUT: Mapping[str, Callable[[str], object]] = {
    "chunk": lambda text: read_count("chunk", text),
    "order": str,
    "references": lambda text: read_count("references", text),
    "generated": lambda text: read_count("generated", text, 0),
    "growth": str,
}


def find_shipped_weights() -> list[str]:
    """The variants whose weights ship with the reference model, by name. Imports no torch."""
    folder = Path(str(files("reference_model"))) / "weights"
    return sorted(path.parent.name for path in folder.glob("*/preset.json"))


def build(variant: str | None, args: Mapping[str, str], device: str) -> Kaleido:
    """Load weights by variant: a name that ships with the package, or a checkpoint folder.

    Raises:
        BenchError: no such weights, weights that cannot be read, or a bad argument.
    """
    sampling_fields = {name: read(args[name]) for name, read in SAMPLING.items() if name in args}
    rollout_fields = {name: read(args[name]) for name, read in ROLLOUT.items() if name in args}
    from reference_model.inference import BY_DEFAULT, load_model
    from reference_model.precision import check_precision
    from reference_model.rollout import check_growth, check_rollout
    from reference_model.sampler import check_sampling

    name, precision = variant or "small", args.get("precision", "float32")
    with _refusing(name, "settings of its sampler", "Correct --model-arg."):
        check_precision(precision, device)
    with _refusing(name, "weights of the reference model", "Try kaleido@tiny."):
        model = load_model(name, device, precision)
    sampling = BY_DEFAULT._replace(**sampling_fields)
    rollout = model.plan_rollout()._replace(**rollout_fields)
    with _refusing(name, "settings of its sampler", "Correct --model-arg."):
        check_sampling(sampling, model.preset.flow)
        check_rollout(rollout)
        check_growth(rollout, model.preset.model)
    return Kaleido(name, model, sampling, rollout)


@contextmanager
def _refusing(name: str, expected: str, fix: str) -> Generator[None]:
    """What the reference model refuses, as a BenchError."""
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        raise BenchError(f"--model kaleido@{name}", str(error), expected=expected, fix=fix) from error
