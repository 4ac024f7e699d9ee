"""Captures with known cameras as training data, whoever reads them: a list of `PosedScene`s is all it takes.

    source = PosedSource(scenes, "my-captures")      # scenes[i]: images, c2w and intrinsics of one capture
    train(preset, source, run)

What a step sees is a pure function of the preset's seed and the step's number. Scenes come in shuffled rounds, so each
is seen as often as any other; its views are chosen by the preset's view rule among a pool of `view_pool` times as many,
drawn anew each time. Images are decoded ahead on threads and kept, at the stage's size, as long as the memory allows.

A stage of video takes consecutive frames of scenes that say they are ordered, poses hidden, as it takes clips of the
worlds; where no scene is ordered it is refused, since shuffled photographs are no video (`settings.drop_video` leaves
such stages out).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from reference_model.config import Preset, check_choice
from reference_model.held_out import HELD_OUT_SEED, Batch, Heed, heed_nothing, score_batch
from reference_model.inputs import Inputs
from reference_model.model import Kaleido
from reference_model.positions import NORMALISATIONS, normalise_poses
from reference_model.training.squares import FITS, Cache, Moved, cut_square, scale_to_cover
from reference_model.training.steps import StepViews, Stream
from reference_model.view_sampling import draw_units, sample_views

AHEAD = 2  # steps that are decoded before they are asked for
CLIP = 4  # a clip has so many times the frames that a sequence takes, as the worlds' clips have


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


class Plan(NamedTuple):
    """Which views a piece of a step shows, and all of them but their images."""

    scenes: list[int]
    views: Int[np.ndarray, "b v"]
    places: Float[np.ndarray, " b"]  # of the window in images that are longer than a square
    c2w: Float[Tensor, "b v 4 4"]  # as the model takes them
    intrinsics: Float[np.ndarray, "b v 3 3"]  # pixels, as stored
    times: Float[Tensor, "b v"]


def check_scene(scene: PosedScene) -> PosedScene:
    """The scene in float64. Raises ValueError, naming it, unless cameras and images are as many, and cameras are finite
    and of the right shape.
    """
    views = len(scene.images)
    shapes = np.shape(scene.c2w), np.shape(scene.intrinsics)
    if shapes != ((views, 4, 4), (views, 3, 3)):
        raise ValueError(f"scene {scene.name}: c2w {shapes[0]} and intrinsics {shapes[1]} for {views} images")
    if not (np.isfinite(scene.c2w).all() and np.isfinite(scene.intrinsics).all()):
        raise ValueError(f"scene {scene.name}: its cameras hold NaN or infinity; leave those views out")
    return scene._replace(c2w=np.asarray(scene.c2w, np.float64), intrinsics=np.asarray(scene.intrinsics, np.float64))


def tell_on_stderr(message: str) -> None:
    sys.stderr.write(message + "\n")


def count_threads() -> int:
    """Cores of this machine for each process that torchrun started on it, from 1 to 16."""
    return max(1, min(16, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


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
        threads: that decode; None: one for each core that falls to this process, 16 at most.
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
        self.threads = ThreadPoolExecutor(threads or count_threads())
        self.planner = ThreadPoolExecutor(1)  # waits for no other thread, so that no two wait for each other
        self.read_scene = lru_cache(256)(lambda scene: check_scene(scenes[scene]))
        self.told: set[int] = set()

    def describe(self) -> dict[str, object]:
        about: dict[str, object] = {"scenes": len(self.training), "held_out": len(self.held_out)}
        return {"training_data": [self.name], "data": about | {"fit": self.fit, "span": self.span} | self.about}

    def open(self, preset: Preset, stage: int, piece: int, device: str) -> Stream:
        return PosedStream(self, preset, stage, piece, device)

    def score(
        self, model: Kaleido, inputs: Inputs, preset: Preset, device: str, heed: Heed = heed_nothing
    ) -> list[dict[str, float]]:
        """Mean PSNR in dB on the scenes held out, beside the nearest view; nothing where none is."""
        ask = Ask.to_score(preset)
        scenes = [int(scene) for scene in self.held_out if ask.refuses(self.read_scene(int(scene))) is None]
        if not scenes:
            return []
        count = max(4 if device == "cpu" else 64, len(scenes))
        plan = self.plan(ask, [scenes[i % len(scenes)] for i in range(count)], (HELD_OUT_SEED,), preset)
        views = self.build(ask, plan, self.load(ask, plan), device)
        return score_batch(model, inputs, Batch(*views[:3]), preset.flow, (1, 4, 16), heed)

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
                f"capture; say that they are, or {ask.instead}"
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

    def plan(self, ask: Ask, scenes: list[int], seed: tuple[int, ...], preset: Preset) -> Plan:
        """Choose views of these scenes, a pure function of the arguments; pools of one length are taken together."""
        read, random = [self.read_scene(scene) for scene in scenes], np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(int(random.integers(2**63)))
        pools = [draw_pool(len(each.images), ask, self.span if each.ordered else None, random) for each in read]
        index = np.empty((len(scenes), ask.views), np.int64)
        for length in sorted({len(pool) for pool in pools}):
            rows = [i for i, pool in enumerate(pools) if len(pool) == length]
            poses = normalise_poses(torch.from_numpy(np.stack([read[i].c2w[pools[i]] for i in rows])))
            index[rows] = sample_views(ask.rule, poses, ask.views, generator).numpy()
        views = np.stack([pool[chosen] for pool, chosen in zip(pools, index, strict=True)])
        c2w = torch.from_numpy(np.stack([each.c2w[chosen] for each, chosen in zip(read, views, strict=True)]))
        poses = NORMALISATIONS[preset.model.normalisation](c2w)
        if preset.train.scale_jitter and not ask.scored:
            poses = draw_units(poses, preset.train.scale_jitter, preset.train.scale_share, generator)
        times = torch.from_numpy(index).float()
        return Plan(
            scenes,
            views,
            random.random(len(scenes)) if self.fit == "random" else np.full(len(scenes), 0.5),
            torch.eye(4).expand(c2w.shape).contiguous() if ask.video else poses,
            np.stack([each.intrinsics[chosen] for each, chosen in zip(read, views, strict=True)]),
            times if ask.video else torch.zeros_like(times),
        )

    def load(self, ask: Ask, plan: Plan) -> list[Future[list[Moved]]]:
        """The images of a plan, scene by scene, on the threads."""
        return [self.threads.submit(self.load_views, ask, plan, row) for row in range(len(plan.scenes))]

    def load_views(self, ask: Ask, plan: Plan, row: int) -> list[Moved]:
        number, place = plan.scenes[row], float(plan.places[row])
        scene = self.read_scene(number)
        return [self.load_view(scene, number, view, ask.size, place) for view in plan.views[row].tolist()]

    def load_view(self, scene: PosedScene, number: int, view: int, size: int, place: float) -> Moved:
        def build() -> Moved:
            where = f"scene {scene.name}, view {view}"
            covering = scale_to_cover(np.asarray(scene.images[view]), size, self.fit, where)
            return covering if self.fit == "random" else cut_square(covering, size, place)

        return cut_square(self.cache.take((number, view, size), build), size, place)

    def build(self, ask: Ask, plan: Plan, loading: list[Future[list[Moved]]], device: str) -> StepViews:
        """A plan and its images, on the device."""
        images = torch.empty(
            len(loading), ask.views, ask.size, ask.size, 3, dtype=torch.uint8, pin_memory=device != "cpu"
        )
        pixels, intrinsics = images.numpy(), np.empty_like(plan.intrinsics)
        for row, future in enumerate(loading):
            for column, moved in enumerate(future.result()):
                pixels[row, column] = moved.image
                intrinsics[row, column] = moved.matrix @ plan.intrinsics[row, column]
        return StepViews(
            images.to(device, non_blocking=True).permute(0, 1, 4, 2, 3).float().div(255).contiguous(),
            plan.c2w.to(device),
            torch.from_numpy(intrinsics).float().to(device),
            plan.times.to(device),
        )

    def close(self) -> None:
        """End the threads; what they were asked for and have not begun is dropped."""
        self.planner.shutdown(wait=False, cancel_futures=True)
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
    scored: bool = False  # instead of trained on

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
        return last._replace(size=preset.model.image_size, video=False, rule=rule, scored=True)

    @property
    def in_time(self) -> bool:
        """Whether views are frames of a video."""
        return self.rule == "video"

    @property
    def what(self) -> str:
        return f"stage {self.stage + 1} of the preset (video)" if self.video else "view_rule 'video'"

    @property
    def instead(self) -> str:
        """What does without the order of time."""
        return "leave the stages of video out" if self.video else "take another rule"

    def refuses(self, scene: PosedScene) -> str | None:
        """Why a scene cannot serve; None: it can."""
        if len(scene.images) < self.views:
            return f"{len(scene.images)} views, fewer than the {self.views} of a sequence"
        return "not an ordered capture" if self.in_time and not scene.ordered else None


@lru_cache(4)
def shuffle(count: int, seed: int, round_number: int) -> np.ndarray:
    return np.random.default_rng((seed, 0, round_number)).permutation(count)


def draw_pool(views: int, ask: Ask, span: int | None, random: np.random.Generator) -> Int[np.ndarray, " pool"]:
    """The cameras among which a rule chooses: in the order of time where the rule goes by it, else in any order.

    A clip is consecutive; other pools are drawn from the scene, or from a window of `span` frames of it.
    """
    window = min(views, ask.pool if ask.in_time else span or views)
    first = int(random.integers(views - window + 1))
    if ask.in_time:
        return np.arange(first, first + window)
    return first + random.permutation(window)[: ask.pool]


class PosedStream:
    """The steps of one stage and piece, planned and decoded ahead."""

    def __init__(self, source: PosedSource, preset: Preset, stage: int, piece: int, device: str) -> None:
        self.source, self.preset, self.piece, self.device = source, preset, piece, device
        self.ask = Ask.of(preset, stage)
        source.check_span(self.ask)
        share = self.ask.scenes // preset.train.pieces
        self.slots = range(piece * share, (piece + 1) * share)
        self.waiting: dict[int, Future[Begun]] = {}

    def begin(self, step: int) -> Begun:
        """Plan a step, and have its images loaded."""
        ask = self.ask
        scenes = [self.source.find_scene(ask, step * ask.scenes + slot) for slot in self.slots]
        plan = self.source.plan(ask, scenes, (ask.seed, ask.stage, self.piece, step), self.preset)
        return Begun(plan, self.source.load(ask, plan))

    def step(self, step: int) -> StepViews:
        begun = self.waiting
        self.waiting = {
            n: begun.pop(n, None) or self.source.planner.submit(self.begin, n) for n in range(step, step + 1 + AHEAD)
        }
        for future in begun.values():  # of steps that are not asked for any more
            future.cancel()
        return self.source.build(self.ask, *self.waiting.pop(step).result(), self.device)


class Begun(NamedTuple):
    """A step that is being loaded."""

    plan: Plan
    loading: list[Future[list[Moved]]]
