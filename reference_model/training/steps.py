"""What a training step sees: views from a source, turned into tokens, with noise drawn for them.

A source opens a stream for each stage and each piece of its steps. A stream is a pure function of the step's number,
whatever was asked of it before, so a resumed run sees what an uninterrupted one sees.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reference_model.config import Preset
from reference_model.flow import sample_noise_levels
from reference_model.held_out import HELD_OUT_SEED, Heed, heed_nothing, score_held_out
from reference_model.inputs import Inputs
from reference_model.kernels.rendering import choose_renderer
from reference_model.model import Kaleido
from reference_model.positions import NORMALISATIONS
from reference_model.training.stepping import StepTensors
from reference_model.view_sampling import draw_units, sample_views
from reference_model.worlds import draw_batch
from reference_model.worlds.cameras import Rig, build_intrinsics
from reference_model.worlds.draws import select, to_device
from reference_model.worlds.photographs import Photographs, load_photographs
from reference_model.worlds.render import Renderer
from reference_model.worlds.scenes import Worlds

AHEAD = 2048  # scenes drawn at once where drawing is on another thread than training
SAMPLES = 2  # rays along a pixel's side


class StepViews(NamedTuple):
    """The views of one piece of a step, on the device; the first ones are the references."""

    images: Float[Tensor, "b v 3 size size"]  # [0, 1]
    c2w: Float[Tensor, "b v 4 4"]  # normalised; in video the identity
    intrinsics: Float[Tensor, "b v 3 3"]  # pixels
    times: Float[Tensor, "b v"]  # of the frames of a video; else 0


class Stream(Protocol):
    def step(self, step: int) -> StepViews:
        """Of the run's step of this number, counted from its beginning."""
        ...


class Source(Protocol):
    """Where training views come from."""

    def describe(self) -> dict[str, object]:
        """For the checkpoint's card. `training_data` lists the names of data sets; equal sources describe alike."""
        ...

    def open(self, preset: Preset, stage: int, piece: int, device: str) -> Stream: ...

    def score(
        self, model: Kaleido, inputs: Inputs, preset: Preset, device: str, heed: Heed = heed_nothing
    ) -> list[dict[str, float]]:
        """Rows of numbers on views that no run sees; none where there are no such views."""
        ...


class Painting(NamedTuple):
    """How worlds become images: by which twin, papered with which photographs."""

    renderer: Renderer
    photographs: Photographs


class Block(NamedTuple):
    """Worlds of many steps."""

    worlds: Worlds
    rig: Rig
    poses: Float[Tensor, "b v 4 4"]  # what the model is told: the rig's, normalised; in video the identity
    times: Float[Tensor, "b v"]


def take_cameras(rig: Rig, index: Int[Tensor, "b v"]) -> Rig:
    """Some of each world's cameras."""
    rows = torch.arange(index.shape[0])[:, None]
    return Rig(*(x if x.ndim == 1 else x[rows, index] for x in rig))


class WorldStream:
    """Worlds and rigs, drawn ahead of time on a CPU thread, a block of steps at once, and rendered step by step."""

    def __init__(self, preset: Preset, stage: int, piece: int, device: str, painting: Painting) -> None:
        config, self.stage, self.device, self.painting = preset.train, preset.train.stages[stage], device, painting
        self.views, self.rule = preset.model.max_views, "video" if self.stage.video else config.view_rule
        self.jitter = 0.0 if self.stage.video else config.scale_jitter
        self.jittered = config.scale_share
        self.pool = self.views * (4 if self.stage.video else config.view_pool)
        self.normalise = NORMALISATIONS[preset.model.normalisation]
        self.seed = ((config.seed * 101 + stage) * 101 + piece) * 1_000_003
        self.scenes = self.stage.scenes // config.pieces
        self.steps = max(1, AHEAD // self.scenes) if device != "cpu" else 1
        self.threads = ThreadPoolExecutor(1)
        self.ahead: tuple[int, Future[Block]] | None = None
        self.loaded = -1
        self.current: Block
        self.packed: Any

    def draw(self, block: int) -> Block:
        """A pure function of the preset's seed, the stage, the piece and the block."""
        generator = torch.Generator().manual_seed((self.seed + block) % HELD_OUT_SEED)
        count = self.steps * self.scenes
        worlds, rig = draw_batch(count, self.pool, generator, video=self.stage.video)
        index = sample_views(self.rule, rig.c2w, self.views, generator)
        rig = take_cameras(rig, index)
        poses, times = self.normalise(rig.c2w), torch.zeros(count, self.views)
        if self.jitter:
            poses = draw_units(poses, self.jitter, self.jittered, generator)
        if self.stage.video:
            poses, times = torch.eye(4).expand_as(poses), index.float()
        return to_device(Block(worlds, rig, poses, times), self.device)

    def load(self, block: int) -> Block:
        """The block, drawn ahead if it was the next one; the one after it is then drawn."""
        if block != self.loaded:
            ready = self.ahead is not None and self.ahead[0] == block
            self.current = self.ahead[1].result() if ready and self.ahead else self.draw(block)
            self.packed = self.painting.renderer.pack(self.current.worlds, self.current.rig)
            self.loaded, self.ahead = block, (block + 1, self.threads.submit(self.draw, block + 1))
        return self.current

    def step(self, step: int) -> StepViews:
        block, index = divmod(step, self.steps)
        current, rows = self.load(block), slice(index * self.scenes, (index + 1) * self.scenes)
        with torch.no_grad():
            intrinsics = build_intrinsics(select(current.rig, rows), self.stage.image_size)
            return StepViews(self.render(rows), current.poses[rows], intrinsics, current.times[rows])

    def render(self, rows: slice) -> Float[Tensor, "b v 3 size size"]:
        """Of the loaded block; one world at a time on the CPU, whose memory is small."""
        one = [slice(i, i + 1) for i in range(rows.start, rows.stop)] if self.device == "cpu" else [rows]
        draw, photographs = self.painting.renderer.render, self.painting.photographs
        images = [draw(select(self.packed, some), self.stage.image_size, SAMPLES, photographs) for some in one]
        return torch.cat(images) if len(images) > 1 else images[0]


class WorldSource:
    """The procedural worlds. Raises FileNotFoundError where the photographs they are papered with are not there."""

    def __init__(self, photographs: Path | None, device: str) -> None:
        loaded = load_photographs(photographs)
        self.painting = Painting(choose_renderer(device), loaded._replace(texels=loaded.texels.to(device)))

    def describe(self) -> dict[str, object]:
        return {
            "training_data": ["reference_model.worlds"],
            "photographs_sha256": self.painting.photographs.sha256,
        }

    def open(self, preset: Preset, stage: int, piece: int, device: str) -> Stream:
        return WorldStream(preset, stage, piece, device, self.painting)

    def score(
        self, model: Kaleido, inputs: Inputs, preset: Preset, device: str, heed: Heed = heed_nothing
    ) -> list[dict[str, float]]:
        return score_held_out(
            model,
            inputs,
            preset.model.image_size,
            preset.model.max_views,
            device,
            scenes=2 if device == "cpu" else 64,
            flow=preset.flow,
            steps=(1, 4, 16),
            photographs=self.painting.photographs,
            renderer=self.painting.renderer,
            heed=heed,
        )


def prepare_step(
    inputs: Inputs, views: StepViews, preset: Preset, references: int, generator: torch.Generator
) -> StepTensors:
    """Turn images into tokens, draw levels and noise."""
    with torch.no_grad():
        tokens, features = inputs.codec.encode(views.images), inputs.see(views.images[:, :references])
        b, v, n, _ = tokens.shape
        t = sample_noise_levels(b, preset.flow, generator, n, v - references)
        noise = torch.randn(tokens.shape, generator=generator, device=tokens.device)
        return StepTensors(tokens, noise, t, views.c2w, views.intrinsics, views.times, features)
