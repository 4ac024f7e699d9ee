"""Captures with known cameras as training data, whoever reads them: a list of `PosedScene`s is all it takes.

    source = PosedSource(scenes, "my-captures")      # scenes[i]: images, c2w and intrinsics of one capture
    train(preset, source, run)

What a step sees is a pure function of the preset's seed and the step's number. Scenes come in shuffled rounds, so each
is seen as often as any other; its views are chosen by the preset's view rule among a pool of `view_pool` times as many,
drawn anew each time. How many pieces a step is cut into changes nothing. Images are decoded ahead on threads and kept,
at the stage's size, as long as the memory allows.

A stage of video takes consecutive frames of scenes that say they are ordered, poses hidden, as it takes clips of the
worlds; where no scene is ordered it is refused, since shuffled photographs are no video.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from reference_model.config import Preset, check_choice
from reference_model.held_out import HELD_OUT_SEED, Batch, score_batch
from reference_model.inputs import Inputs
from reference_model.model import Kaleido
from reference_model.positions import NORMALISATIONS, Normalisation, normalise_poses
from reference_model.steps import StepViews, Stream
from reference_model.view_sampling import draw_units, sample_views

AHEAD = 2  # steps that are decoded before they are asked for
CLIP = 4  # a clip has so many times the frames that a sequence takes, as the worlds' clips have

UNIT = 1  # sets the draws of a unit apart from those of views
FITS = ("centre", "random", "stretch")
"""How an image becomes a square. `centre`: scaled until its shorter side fits, then the centre; what protocols do
(cover-crop) and where the worlds' principal points are. `random`: a window of the same size anywhere along the longer
side, at the same place in all views of a sequence, so that they still overlap: wide captures are used whole. `stretch`:
each axis by its own ratio, as the benchmark's adapter hands over images that are not square. K moves along in each.
"""


class Images(Protocol):
    """The images of one scene: an array [v, h, w, 3] will do, or what reads one of them when it is asked for, on any
    thread. Their sizes may differ.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, view: int, /) -> UInt8[np.ndarray, "height width 3"]: ...


class PosedScene(NamedTuple):
    """One capture.

    c2w is camera to world in OpenCV axes (x right, y down, z forward), in any world frame and unit. K is in pixels of
    the image as stored, the centre of the top-left pixel at (0.5, 0.5). `ordered`: its views are frames of a video, in
    the order of time.
    """

    name: str
    images: Images
    c2w: Float[np.ndarray, "v 4 4"]
    intrinsics: Float[np.ndarray, "v 3 3"]
    ordered: bool = False


class PosedScenes(Protocol):
    """A data set: scenes by number, read when they are asked for, on any thread. A list will do."""

    def __len__(self) -> int: ...
    def __getitem__(self, scene: int, /) -> PosedScene: ...


class ViewSequence(NamedTuple):
    """One scene's share of a step."""

    images: UInt8[np.ndarray, "v size size 3"]
    c2w: Float[np.ndarray, "v 4 4"]  # as the scene has it
    intrinsics: Float[np.ndarray, "v 3 3"]  # pixels at this size
    times: Float[np.ndarray, " v"]


class Moved(NamedTuple):
    """An image on its way to a square, and what moves K from the image as stored to it."""

    image: UInt8[np.ndarray, "height width 3"]
    matrix: Float[np.ndarray, "3 3"]


def check_scene(scene: PosedScene) -> PosedScene:
    """Raises ValueError, naming the scene, unless cameras and images are as many, finite and of the right shape."""
    views = len(scene.images)
    shapes = np.shape(scene.c2w), np.shape(scene.intrinsics)
    if shapes != ((views, 4, 4), (views, 3, 3)):
        raise ValueError(f"scene {scene.name}: c2w {shapes[0]} and intrinsics {shapes[1]} for {views} images")
    if not (np.isfinite(scene.c2w).all() and np.isfinite(scene.intrinsics).all()):
        raise ValueError(f"scene {scene.name}: its cameras hold NaN or infinity; leave those views out")
    return scene


def scale_to_cover(image: UInt8[np.ndarray, "height width 3"], size: int, fit: str, where: str) -> Moved:
    """Scale an image until it covers size x size (`stretch`: is that), by an antialiased Lanczos filter. ValueError
    unless it is uint8 [h, w, 3].
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"{where}: an image of {image.dtype} {image.shape}; expected uint8 [height, width, 3]")
    height, width = image.shape[:2]
    ratio = size / min(height, width)
    to = (size, size) if fit == "stretch" else (max(size, round(width * ratio)), max(size, round(height * ratio)))
    scaled = np.asarray(Image.fromarray(image).resize(to, Image.Resampling.LANCZOS))
    return Moved(scaled, np.diag([to[0] / width, to[1] / height, 1.0]))


def cut_square(moved: Moved, size: int, place: float) -> Moved:
    """The window at `place` (0 the first, 1 the last, of those along the longer side)."""
    height, width = moved.image.shape[:2]
    left, top = int((width - size) * place), int((height - size) * place)
    shift = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
    window = np.ascontiguousarray(moved.image[top : top + size, left : left + size])
    return Moved(window, shift @ moved.matrix)


class Cache:
    """The images used last, as many as fit into so many bytes."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self.kept: OrderedDict[tuple[int, int, int], Moved] = OrderedDict()
        self.lock = threading.Lock()

    def take(self, key: tuple[int, int, int], build: Callable[[], Moved]) -> Moved:
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
                return self.kept[key]
        built = build()  # without the lock: two threads may decode one image, which is less than all waiting for one
        with self.lock:
            if key not in self.kept:
                self.kept[key] = built
                self.held += built.image.nbytes
            while self.held > self.most:
                self.held -= self.kept.popitem(last=False)[1].image.nbytes
        return built


def tell_on_stderr(message: str) -> None:
    sys.stderr.write(message + "\n")


class PosedSource:
    """Scenes with known cameras as a source of training views (steps.Source).

    Args:
        scenes: the data set.
        name: of the data set, for the card's `training_data`: as benchmarks call it.
        about: what else the card says of it, such as who read it and a hash.
        fit: how images become squares (FITS).
        span: views of an ordered scene are taken from a window of so many frames; None: from all of it. Where a capture
            walks on, a few dozen to a few hundred, or its views share nothing.
        held_out: so many scenes are never trained on; the finished model is scored on them. Which, depends on how many
            scenes there are and nothing else.
        memory: bytes of decoded images that are kept, in each process.
        threads: that decode; None: one a core, 16 at most.
        tell: called with what is to be said, such as a scene that is passed over.

    Raises ValueError for an unknown fit, no scenes to train on, or a span below 2.
    """

    def __init__(
        self,
        scenes: PosedScenes,
        name: str,
        *,
        about: Mapping[str, object] | None = None,
        fit: str = "centre",
        span: int | None = None,
        held_out: int = 0,
        memory: int = 2 * 2**30,
        threads: int | None = None,
        tell: Callable[[str], None] = tell_on_stderr,
    ) -> None:
        check_choice("fit", fit, FITS)
        if not len(scenes):
            raise ValueError(f"data set {name}: no scenes")
        if span is not None and span < 2:
            raise ValueError(f"span {span}: expected at least 2 frames")
        if not 0 <= held_out < len(scenes):
            raise ValueError(f"data set {name}: {held_out} of {len(scenes)} scenes held out; expected to keep some")
        order = np.random.default_rng(HELD_OUT_SEED).permutation(len(scenes))
        self.held_out, self.training = np.sort(order[:held_out]), np.sort(order[held_out:])
        self.name, self.about, self.fit, self.span = name, dict(about or {}), fit, span
        self.cache, self.tell = Cache(memory), tell
        self.threads = ThreadPoolExecutor(threads or min(16, os.cpu_count() or 1))
        self.read_scene = lru_cache(256)(lambda scene: check_scene(scenes[scene]))
        self.told: set[int] = set()

    def describe(self) -> dict[str, object]:
        about: dict[str, object] = {"scenes": len(self.training), "held_out": len(self.held_out)}
        return {"training_data": [self.name], "data": about | {"fit": self.fit, "span": self.span} | self.about}

    def open(self, preset: Preset, stage: int, piece: int, device: str) -> Stream:
        return PosedStream(self, preset, stage, piece, device)

    def score(self, model: Kaleido, inputs: Inputs, preset: Preset, device: str) -> list[dict[str, float]]:
        """Mean PSNR in dB on the scenes held out, beside the nearest view; nothing where none is."""
        ask = Ask.to_score(preset)
        scenes = [int(scene) for scene in self.held_out if ask.refuses(self.read_scene(int(scene))) is None]
        if not scenes:
            return []
        count = 4 if device == "cpu" else 64
        sequences = [
            self.load_sequence(ask, scenes[i % len(scenes)], (HELD_OUT_SEED, i)) for i in range(max(count, len(scenes)))
        ]
        views = stack_sequences(sequences, NORMALISATIONS[preset.model.normalisation], video=False, device=device)
        return score_batch(model, inputs, Batch(*views[:3]), preset.flow, steps=(1, 4, 16))

    def check(self, preset: Preset) -> None:
        """Raises ValueError where no scene can serve a stage of the preset. Reads scenes until one can."""
        for stage in range(len(preset.train.stages)):
            ask = Ask.of(preset, stage)
            self.check_span(ask)
            if not any(ask.refuses(self.read_scene(scene)) is None for scene in self.training):
                raise self.unusable(ask)

    def check_span(self, ask: Ask) -> None:
        if self.span is not None and self.span < ask.views:
            raise ValueError(f"span {self.span}: a sequence takes {ask.views} views, all from within it")

    def unusable(self, ask: Ask) -> ValueError:
        scenes = [self.read_scene(scene) for scene in self.training]
        if ask.in_time and not any(scene.ordered for scene in scenes):
            return ValueError(
                f"data set {self.name}: {ask.what} takes frames in the order of time, and no scene is an ordered "
                "capture; say that they are, or take a preset without"
            )
        most = max(len(scene.images) for scene in scenes)
        return ValueError(
            f"data set {self.name}: a sequence takes {ask.views} views, and none of {len(scenes)} scenes has as many "
            f"(the most: {most}); add views, or set model.max_views to fewer"
        )

    def find_scene(self, ask: Ask, number: int) -> int:
        """The scene of this number in shuffled rounds over all; one that cannot serve is passed over, and named once.

        A pure function: every process and every resumed run passes over the same ones.
        """
        count = len(self.training)
        round_number, place = divmod(number, count)
        order = shuffle(count, ask.seed, round_number)
        for i in range(count):
            scene = int(self.training[order[(place + i) % count]])
            reason = ask.refuses(self.read_scene(scene))
            if reason is None:
                return scene
            if scene not in self.told:
                self.told.add(scene)
                self.tell(f"data set {self.name}, scene {self.read_scene(scene).name}: {reason}; passed over")
        raise self.unusable(ask)

    def load_slot(self, ask: Ask, step: int, slot: int) -> ViewSequence:
        """What one slot of a step shows: a pure function of both."""
        scene = self.find_scene(ask, step * ask.scenes + slot)
        return self.load_sequence(ask, scene, (ask.seed, ask.stage, step, slot))

    def load_sequence(self, ask: Ask, number: int, seed: tuple[int, ...]) -> ViewSequence:
        """Views of one scene, chosen by the seed."""
        scene = self.read_scene(number)
        generator = seed_generator(seed)
        pool = draw_pool(len(scene.images), ask, self.span if scene.ordered else None, generator)
        poses = normalise_poses(torch.from_numpy(np.asarray(scene.c2w, np.float64)[pool])[None])
        index = sample_views(ask.rule, poses, ask.views, generator)[0].numpy()
        place = torch.rand((), generator=generator).item() if self.fit == "random" else 0.5
        chosen = pool[index]
        seen = [self.load_view(scene, number, view, ask.size, place) for view in chosen.tolist()]
        return ViewSequence(
            np.stack([view.image for view in seen]),
            np.asarray(scene.c2w, np.float64)[chosen],
            np.stack([view.matrix for view in seen]) @ np.asarray(scene.intrinsics, np.float64)[chosen],
            index.astype(np.float32) if ask.video else np.zeros(ask.views, np.float32),
        )

    def load_view(self, scene: PosedScene, number: int, view: int, size: int, place: float) -> Moved:
        def build() -> Moved:
            where = f"scene {scene.name}, view {view}"
            covering = scale_to_cover(np.asarray(scene.images[view]), size, self.fit, where)
            return covering if self.fit == "random" else cut_square(covering, size, place)

        return cut_square(self.cache.take((number, view, size), build), size, place)

    def close(self) -> None:
        """End the threads; what they were asked for and have not begun is dropped."""
        self.threads.shutdown(wait=False, cancel_futures=True)


class Ask(NamedTuple):
    """What a stage asks of the scenes."""

    views: int
    scenes: int  # a step, over all pieces
    size: int
    rule: str
    pool: int  # cameras that the rule chooses among
    video: bool
    stage: int
    seed: int

    @staticmethod
    def of(preset: Preset, stage: int) -> Ask:
        config, this, views = preset.train, preset.train.stages[stage], preset.model.max_views
        rule, times = ("video", CLIP) if this.video else (config.view_rule, config.view_pool)
        return Ask(views, this.scenes, this.image_size, rule, times * views, this.video, stage, config.seed)

    @staticmethod
    def to_score(preset: Preset) -> Ask:
        """What scoring asks: photographs with their poses, at the size of inference."""
        last = Ask.of(preset, len(preset.train.stages) - 1)
        rule = "random" if last.in_time else last.rule
        return last._replace(size=preset.model.image_size, video=False, rule=rule)

    @property
    def in_time(self) -> bool:
        """Whether views are frames of a video."""
        return self.rule == "video"

    @property
    def what(self) -> str:
        return f"stage {self.stage + 1} of the preset (video)" if self.video else "view_rule 'video'"

    def refuses(self, scene: PosedScene) -> str | None:
        """Why a scene cannot serve; None: it can."""
        if len(scene.images) < self.views:
            return f"{len(scene.images)} views, fewer than the {self.views} of a sequence"
        return "not an ordered capture" if self.in_time and not scene.ordered else None


@lru_cache(4)
def shuffle(count: int, seed: int, round_number: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, round_number)).permutation(count)


def draw_pool(views: int, ask: Ask, span: int | None, generator: torch.Generator) -> np.ndarray:
    """The cameras among which a rule chooses: in the order of time where the rule goes by it, else in any order.

    A clip is consecutive; other pools are drawn from the scene, or from a window of `span` frames of it.
    """
    window = min(views, ask.pool if ask.in_time else span or views)
    first = int(torch.randint(views - window + 1, (1,), generator=generator))
    if ask.in_time:
        return np.arange(first, first + window)
    return first + torch.randperm(window, generator=generator)[: ask.pool].numpy()


class PosedStream:
    """The steps of one stage and piece, decoded ahead."""

    def __init__(self, source: PosedSource, preset: Preset, stage: int, piece: int, device: str) -> None:
        self.source, self.ask, self.device = source, Ask.of(preset, stage), device
        source.check_span(self.ask)
        self.normalise = NORMALISATIONS[preset.model.normalisation]
        self.jitter = 0.0 if self.ask.video else preset.train.scale_jitter
        share = self.ask.scenes // preset.train.pieces
        self.slots = range(piece * share, (piece + 1) * share)
        self.waiting: dict[int, list[Future[ViewSequence]]] = {}

    def begin(self, step: int) -> list[Future[ViewSequence]]:
        return [self.source.threads.submit(self.source.load_slot, self.ask, step, slot) for slot in self.slots]

    def step(self, step: int) -> StepViews:
        begun = self.waiting
        self.waiting = {n: begun.pop(n, None) or self.begin(n) for n in range(step, step + 1 + AHEAD)}
        for future in flatten(begun):  # of steps that are not asked for any more
            future.cancel()
        sequences = [future.result() for future in self.waiting.pop(step)]
        views = stack_sequences(sequences, self.normalise, video=self.ask.video, device=self.device)
        return views._replace(c2w=self.change_units(views.c2w, step)) if self.jitter else views

    def change_units(self, c2w: Float[Tensor, "b v 4 4"], step: int) -> Float[Tensor, "b v 4 4"]:
        """Each slot's poses in a unit of its own, whatever pieces the step is cut into."""
        seeds = [(self.ask.seed, self.ask.stage, step, slot, UNIT) for slot in self.slots]
        each = zip(c2w.split(1), map(seed_generator, seeds), strict=True)
        return torch.cat([draw_units(one, self.jitter, generator) for one, generator in each])


def seed_generator(seed: tuple[int, ...]) -> torch.Generator:
    """A generator for each tuple of numbers."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))


def stack_sequences(sequences: list[ViewSequence], normalise: Normalisation, *, video: bool, device: str) -> StepViews:
    """Sequences as the model takes them, on the device."""
    images, c2w, intrinsics, times = (torch.from_numpy(np.stack(parts)) for parts in zip(*sequences, strict=True))
    poses = torch.eye(4).expand(c2w.shape).contiguous() if video else normalise(c2w)
    if device != "cpu":
        images = images.pin_memory()
    pixels = images.to(device, non_blocking=True).permute(0, 1, 4, 2, 3).float().div(255).contiguous()
    return StepViews(pixels, poses.to(device), intrinsics.float().to(device), times.to(device))


def flatten(begun: Mapping[int, list[Future[ViewSequence]]]) -> Iterator[Future[ViewSequence]]:
    return (future for futures in begun.values() for future in futures)
