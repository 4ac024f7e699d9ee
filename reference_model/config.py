"""What a model, its flow and its training are made of: frozen records, and presets as functions.

A field without a default has no safe one. A checkpoint holds these records as JSON and is read back through
`from_json`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelConfig:
    """The sequence model. Kaleido's widths, depths, heads and patch size are not published: these are ours."""

    width: int
    depth: int
    heads: int
    mlp_width: int  # hidden width of SwiGLU
    patch: int  # side of a pixel patch
    image_size: int  # side, in pixels, of the last training stage; inference runs at this size
    pose_channels: int  # of a head's channels, how many carry the 4x4 camera action; the rest carry 2-D position
    max_views: int  # references + targets in one training sequence

    @property
    def head_channels(self) -> int:
        return self.width // self.heads

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        rest = self.head_channels - self.pose_channels
        if self.pose_channels % 4 or rest < 0 or rest % 4:
            raise ValueError(
                f"pose_channels {self.pose_channels} of {self.head_channels} channels: it and the rest must divide by 4"
            )
        if self.image_size % self.patch:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch {self.patch}")


@dataclass(frozen=True)
class FlowConfig:
    """How noise levels are drawn in training. Kaleido samples biased towards noise; its values are not published,
    these are ours.
    """

    logit_mean: float  # t = sigmoid(mean + std z): mean > 0 is biased towards noise; log SNR has mean -2 mean
    logit_std: float
    min_t: float  # the velocity loss divides by t; below this it divides by min_t


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one resolution."""

    image_size: int
    scenes: int  # a step
    share: float  # of the training time


@dataclass(frozen=True)
class TrainConfig:
    stages: tuple[Stage, ...]
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    decay_share: float  # the last share of the time, in which the rate falls linearly to zero
    ema_decay: float
    clip_norm: float
    seed: int


@dataclass(frozen=True)
class Preset:
    model: ModelConfig
    flow: FlowConfig
    train: TrainConfig


def tiny() -> Preset:
    """7.9 M parameters: 15.8 MB in bfloat16, trained in under ten minutes on one H100, usable on two CPU cores."""
    return Preset(
        model=ModelConfig(
            width=256, depth=7, heads=4, mlp_width=640, patch=8, image_size=128, pose_channels=32, max_views=8
        ),
        flow=FlowConfig(logit_mean=1.2, logit_std=1.2, min_t=0.2),
        train=TrainConfig(
            stages=(
                Stage(image_size=64, scenes=128, share=0.45),
                Stage(image_size=128, scenes=64, share=0.55),
            ),
            learning_rate=4e-3,
            weight_decay=0.01,
            warmup_steps=200,
            decay_share=0.4,
            ema_decay=0.9995,
            clip_norm=1.0,
            seed=0,
        ),
    )


def smoke() -> Preset:
    """A toy for tests and dry runs: seconds on a CPU."""
    return Preset(
        model=ModelConfig(
            width=64, depth=2, heads=2, mlp_width=128, patch=8, image_size=32, pose_channels=16, max_views=4
        ),
        flow=FlowConfig(logit_mean=1.2, logit_std=1.2, min_t=0.2),
        train=TrainConfig(
            stages=(Stage(image_size=16, scenes=4, share=0.5), Stage(image_size=32, scenes=4, share=0.5)),
            learning_rate=2e-3,
            weight_decay=0.01,
            warmup_steps=5,
            decay_share=0.35,
            ema_decay=0.9,
            clip_norm=1.0,
            seed=0,
        ),
    )


PRESETS = {"tiny": tiny, "smoke": smoke}


def to_json(preset: Preset) -> str:
    return json.dumps(dataclasses.asdict(preset), indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> Preset:
    """Raises ValueError, naming the record, when a field is missing or unknown."""
    raw = json.loads(text)
    try:
        stages = tuple(Stage(**stage) for stage in raw["train"].pop("stages"))
        return Preset(
            ModelConfig(**raw["model"]), FlowConfig(**raw["flow"]), TrainConfig(stages=stages, **raw["train"])
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a preset of this version: {error}") from error
