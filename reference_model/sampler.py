"""From noise to target views: steps along the velocity, and the order in which many targets are made.

One step from pure noise is the posterior mean, which maximises PSNR. Many targets are made a chunk at a time, jointly
within a chunk; later chunks may be conditioned on what earlier ones made (the paper's masked autoregression). What a
model keeps of its references is computed once and serves every step and chunk that sees the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.config import FlowConfig, check_choice
from reference_model.flow import SCHEDULES, build_levels, to_clean, to_velocity
from reference_model.model import Cache, Kaleido, Pasts, Views, join_caches, make_rooms, take_views
from reference_model.places import Places
from reference_model.positions import pose_distances
from reference_model.precision import check_precision, compute_in

if TYPE_CHECKING:
    from reference_model.recording import Recordings

Denoiser = Callable[[Float[Tensor, "b target n channels"], Float[Tensor, " b"]], Float[Tensor, "b target n channels"]]


SOLVERS = ("euler", "heun")
GROWTHS = ("reencode", "append")

LEAST_SPREAD = 1e-3  # of normalised centres, as the unit of their distances: smaller, rounding would outweigh angles


class Sampling(NamedTuple):
    """How one set of targets is sampled."""

    steps: int = 1
    solver: str = "euler"  # SOLVERS; heun: two predictions a step but for the last, second order
    schedule: str = "shifted"  # flow.SCHEDULES
    guidance: float = 1.0  # of v = v_0 + s (v_r - v_0), with and without references; 1: one prediction, unguided

    @property
    def evaluations(self) -> int:
        """How often the network predicts one set of targets."""
        predictions = self.steps if self.solver == "euler" else 2 * self.steps - 1
        return predictions * (1 if self.guidance == 1 else 2)


class Rollout(NamedTuple):
    """How many targets are made, when, and from what."""

    chunk: int = 4  # targets made together
    order: str = "given"  # ORDERS
    references: int = 7  # at most so many, the nearest to the chunk
    generated: int = 0
    """At most so many of the views generated before it, the nearest; 0: chunks know nothing of each other."""

    growth: str = "reencode"  # GROWTHS
    """How generated views join the references: `reencode` (each chunk's conditions are computed anew, all seeing all,
    as in training) or `append` (once, seeing what was there before, which does not see them; cheaper, and a view that
    was left out once is gone)."""


def check_sampling(sampling: Sampling, flow: FlowConfig) -> None:
    """Raises ValueError for what does not exist, and for guidance of a model never trained without references."""
    check_choice("solver", sampling.solver, SOLVERS)
    check_choice("schedule", sampling.schedule, tuple(SCHEDULES))
    if sampling.steps < 1:
        raise ValueError(f"{sampling.steps} steps: at least 1 is needed")
    if not math.isfinite(sampling.guidance):
        raise ValueError(f"guidance {sampling.guidance}: expected a finite number")
    if sampling.guidance != 1 and not flow.reference_dropout:
        raise ValueError(f"guidance {sampling.guidance}: this model was not trained without references; expected 1")


def check_rollout(rollout: Rollout) -> None:
    """Raises ValueError for what does not exist, and for numbers that leave a chunk nothing to make or to see."""
    check_choice("order", rollout.order, tuple(ORDERS))
    check_choice("growth", rollout.growth, GROWTHS)
    for name, least in (("chunk", 1), ("references", 1), ("generated", 0)):
        if getattr(rollout, name) < least:
            raise ValueError(f"{name} {getattr(rollout, name)}: expected at least {least}")


def integrate(
    denoise: Denoiser,
    noise: Float[Tensor, "b target n channels"],
    levels: list[float],
    prediction: str = "clean",
    solver: str = "euler",
) -> Float[Tensor, "b target n channels"]:
    """Follow the path through `levels` (falling, to 0). `denoise(x_t, t)` predicts what `prediction` says.

    Raises ValueError for an unknown solver.
    """
    check_choice("solver", solver, SOLVERS)
    x = noise
    for t, following in pairwise(levels):
        predicted = denoise(x, x.new_full((x.shape[0],), t))
        if following == 0:  # the last step of the line ends at the prediction itself
            return to_clean(predicted, x, t, prediction)
        velocity = to_velocity(predicted, x, t, prediction)
        if solver == "heun":
            ahead = x + (following - t) * velocity
            predicted = denoise(ahead, x.new_full((x.shape[0],), following))
            velocity = (velocity + to_velocity(predicted, ahead, following, prediction)) / 2
        x = x + (following - t) * velocity
    return x


def guide(conditioned: Denoiser, free: Denoiser, scale: float) -> Denoiser:
    """Classifier-free guidance. Predictions of one (x, t) are affine in the velocity, so mixing them mixes
    velocities.
    """

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        base = free(x, t)
        return base + scale * (conditioned(x, t) - base)

    return denoise if scale != 1 else conditioned


class InSequence(NamedTuple):
    """What stands beside the noised targets when references pass through the model with them."""

    clean: Float[Tensor, "b reference n channels"]
    views: Views  # of references and targets
    features: Float[Tensor, "b reference n feature"] | None


class Beside(NamedTuple):
    """What stands beside them when references are keys and values."""

    targets: Views
    cache: Pasts
    places: Places
    references: int  # as many as `forward` would have in the sequence (Kaleido.embed_levels); 0: it need not round so


def predict_once(
    model: Kaleido, x: Float[Tensor, "b target n channels"], t: Float[Tensor, " b"], beside: InSequence | Beside
) -> Float[Tensor, "b target n channels"]:
    """One prediction."""
    if isinstance(beside, InSequence):
        return model(torch.cat([beside.clean, x], dim=1), t, beside.views, beside.features)
    return model.denoise(x, t, *beside)


def build_denoiser(
    model: Kaleido,
    clean: Float[Tensor, "b reference n channels"],
    views: Views,
    features: Tensor | None = None,
    cache: Cache | None = None,
    *,
    exact: bool = False,
    precision: str = "float32",
    recordings: Recordings | None = None,
) -> Denoiser:
    """Predictions of the target views of `views`, beside a cache of its references or, without one, with the references
    in the sequence each time; `exact`: the first rounded as the second (Conditions); `precision`: of the network
    (precision.py), the predictions come in the type of x; `recordings`: recorded on CUDA, replayed.
    """
    beside: InSequence | Beside = InSequence(clean, views, features)
    if cache is not None:
        targets = views.take(views.references, views.c2w.shape[1], 0)
        roomy = cache if torch.is_grad_enabled() else make_rooms(cache, targets.c2w.shape[1])
        beside = Beside(targets, roomy, model.build_places(targets), views.references if exact else 0)

    def predict(x: Tensor, t: Tensor, beside: InSequence | Beside) -> Tensor:
        with compute_in(precision, x.device):
            predicted = predict_once(model, x, t, beside)
        return predicted if precision == "float32" else predicted.to(x.dtype)

    autocast = precision == "float32" and torch.is_autocast_enabled(clean.device.type)  # a caller's: its casts may go
    if recordings is not None and not torch.is_grad_enabled() and not autocast:
        return recordings.record((model, precision), predict, beside)
    return lambda x, t: predict(x, t, beside)


def sample_targets(
    model: Kaleido,
    flow: FlowConfig,
    clean: Float[Tensor, "b reference n channels"],
    views: Views,
    noise: Float[Tensor, "b target n channels"],
    sampling: Sampling = Sampling(),
    *,
    features: Float[Tensor, "b reference n feature"] | None = None,
    cache: Cache | None = None,
    exact: bool = False,
    precision: str = "float32",
    recordings: Recordings | None = None,
) -> Float[Tensor, "b target n channels"]:
    """Target tokens from clean reference tokens and noise, all targets jointly.

    Args:
        views: the cameras of references and targets.
        cache: `model.encode_references` of the references; without it they pass through the model at every step.
        exact: the cache was made to give what it would give without (Conditions).
        precision: of the network (precision.PRECISIONS); tokens and the path between them keep their type.
        recordings: of steps on CUDA, where the host is slower than the device: those of these shapes are replayed, new
            ones are recorded. The same kernels, and so the same numbers.

    Raises ValueError: `check_sampling`, `check_precision`.
    """
    check_sampling(sampling, flow)
    check_precision(precision, noise.device)
    denoise = build_denoiser(
        model, clean, views, features, cache, exact=exact, precision=precision, recordings=recordings
    )
    if sampling.guidance != 1:
        alone = views.take(views.references, views.c2w.shape[1], 0)
        free = build_denoiser(model, clean[:, :0], alone, precision=precision, recordings=recordings)
        denoise = guide(denoise, free, sampling.guidance)
    levels = build_levels(sampling.steps, flow, noise.shape[2], noise.shape[1], sampling.schedule)
    return integrate(denoise, noise, levels, flow.prediction, sampling.solver)


# The order of targets.

Order = Callable[[Float[Tensor, "reference 4 4"], Float[Tensor, "target 4 4"]], list[int]]


def order_nearest(reference_c2w: Float[Tensor, "reference 4 4"], target_c2w: Float[Tensor, "target 4 4"]) -> list[int]:
    """Each time the target nearest to any reference or any target taken before: the known grows outwards."""
    between = pose_distances(target_c2w, target_c2w, 1.0)
    cost = pose_distances(target_c2w, reference_c2w, 1.0).amin(1)
    order: list[int] = []
    for _ in range(target_c2w.shape[0]):
        order.append(int(cost.argmin()))
        cost = torch.minimum(cost, between[order[-1]])
        cost[order] = torch.inf
    return order


def order_trajectory(
    reference_c2w: Float[Tensor, "reference 4 4"], target_c2w: Float[Tensor, "target 4 4"]
) -> list[int]:
    """A path: first the target nearest to a reference, then each time the one nearest to the last."""
    between = pose_distances(target_c2w, target_c2w, 1.0)
    cost = pose_distances(target_c2w, reference_c2w, 1.0).amin(1)
    order: list[int] = []
    for _ in range(target_c2w.shape[0]):
        order.append(int(cost.argmin()))
        cost = between[order[-1]].clone()
        cost[order] = torch.inf
    return order


ORDERS: dict[str, Order] = {
    "given": lambda reference_c2w, target_c2w: list(range(target_c2w.shape[0])),
    "nearest": order_nearest,
    "trajectory": order_trajectory,
}


def choose_references(
    reference_c2w: Float[Tensor, "reference 4 4"], target_c2w: Float[Tensor, "target 4 4"], limit: int
) -> list[int]:
    """The `limit` references nearest to the targets: by the centre's distance, in spreads of the centres, plus the
    angle between the viewing directions in radians, smallest over the targets. All of them, in order, when there are
    no more than `limit`. Where all stand at one place, as on a tripod, angles decide.
    """
    count = reference_c2w.shape[0]
    if count <= limit:
        return list(range(count))
    centres = reference_c2w[:, :3, 3]
    spread = (centres - centres.mean(0)).norm(dim=-1).mean().clamp(min=LEAST_SPREAD)
    cost = pose_distances(reference_c2w, target_c2w, spread).min(1).values
    return sorted(torch.argsort(cost, stable=True)[:limit].tolist())


class Chunk(NamedTuple):
    targets: list[int]
    tokens: Float[Tensor, "chunk n channels"]


class Scene(NamedTuple):
    """What one rollout starts from."""

    clean: Float[Tensor, "reference n channels"]
    views: Views  # of one scene: its references, then its targets
    features: Float[Tensor, "reference n feature"] | None = None
    see: Callable[[Float[Tensor, "view n channels"]], Float[Tensor, "view n feature"]] | None = None
    """Features of generated views, which exist as tokens only; without it they have zeros, as targets have."""


def gather_views(views: Views, rows: list[int], references: int) -> Views:
    """Some of the views, in this order."""
    times = None if views.times is None else views.times[:, rows]
    return views._replace(
        c2w=views.c2w[:, rows], intrinsics=views.intrinsics[:, rows], references=references, times=times
    )


class Conditions:
    """What the chunks of one rollout are conditioned on: the references, and what has been generated. Holds the cache
    of those that the last chunk saw; generated tokens rest on the CPU.

    `exact`: the cache is made for a number of targets, and rounded as if they were in the sequence with the references
    (Kaleido.embed_levels). On a CPU whose products round a row alike whatever stands beside it, in all but the few rows
    of t's embedding, the predictions are then those without a cache, bit by bit.
    """

    def __init__(
        self,
        model: Kaleido,
        scene: Scene,
        rollout: Rollout,
        *,
        cached: bool,
        exact: bool = False,
        precision: str = "float32",
    ) -> None:
        self.model, self.scene, self.rollout, self.precision = model, scene, rollout, precision
        self.cached = cached and not model.config.references_see_targets
        self.exact = exact and rollout.growth == "reencode" and not len(model.encoder)
        self.beside = 0  # targets that the cache was made for
        if rollout.growth == "append" and rollout.generated and (not self.cached or len(model.encoder)):
            raise ValueError("growth append needs a cache that can grow: a decoder-only model of blind references")
        self.made: dict[int, Tensor] = {}  # target -> tokens
        self.rows: list[int] = []  # the views the cache holds
        self.cache: Cache | None = None

    @property
    def first_target(self) -> int:
        return self.scene.views.references

    def choose(self, targets: list[int]) -> list[int]:
        """The views, as rows of the scene, that a chunk is to see."""
        c2w, first = self.scene.views.c2w[0], self.first_target
        wanted = c2w[[first + i for i in targets]]
        rows = choose_references(c2w[:first], wanted, self.rollout.references)
        made = [first + i for i in self.made]
        if self.rollout.growth == "append" and self.cache is not None:
            rows = [row for row in self.rows if row < first]  # those of the first chunk stay
            made = [row for row in self.rows if row >= first]
        if not self.rollout.generated or not made:
            return rows
        return rows + [made[i] for i in choose_references(c2w[made], wanted, self.rollout.generated)]

    def tokens(self, rows: list[int]) -> Float[Tensor, "1 view n channels"]:
        first = self.first_target
        parts = [self.scene.clean[row] if row < first else self.made[row - first].to(self.scene.clean) for row in rows]
        return torch.stack(parts)[None] if parts else self.scene.clean[None, :0]

    def features(self, rows: list[int]) -> Tensor | None:
        known, see, first = self.scene.features, self.scene.see, self.first_target
        if known is None or not rows:
            return None
        old, new = [row for row in rows if row < first], [row for row in rows if row >= first]  # in this order
        parts = [known[old]]
        if new:
            tokens = self.tokens(new)[0]
            parts.append(see(tokens) if see is not None else known.new_zeros(len(new), *known.shape[1:]))
        return torch.cat(parts)[None]

    def encode(self, rows: list[int], past: Cache | None = None) -> Cache:
        views = gather_views(self.scene.views, rows, len(rows))
        tokens, features = self.tokens(rows), self.features(rows)
        with compute_in(self.precision, tokens.device):
            return self.model.encode_references(tokens, views, features, past, self.beside)

    def prepare(self, targets: list[int]) -> list[int]:
        """The rows a chunk sees, their cache at hand where there is to be one."""
        rows = self.choose(targets)
        beside = len(targets) if self.exact else 0
        if self.cached and rows and (rows, beside) != (self.rows, self.beside):
            known = self.rollout.growth == "append" and self.cache is not None
            if known and self.cache is not None:
                self.cache = take_views(self.cache, [self.rows.index(row) for row in rows])
            else:
                self.beside = beside
                self.cache = self.encode(rows)
            self.rows = rows
        return rows

    def add(self, chunk: Chunk) -> None:
        """Take a generated chunk among the conditions of what follows."""
        if not self.rollout.generated:
            return
        self.made.update(zip(chunk.targets, chunk.tokens.cpu(), strict=True))
        if self.rollout.growth == "append":
            rows = [self.first_target + i for i in chunk.targets]
            grown = self.encode(rows, self.cache)
            self.cache = grown if self.cache is None else join_caches(self.cache, grown)
            self.rows = [*self.rows, *rows]
            self.made.clear()


def roll_out(
    model: Kaleido,
    flow: FlowConfig,
    scene: Scene,
    noise: Float[Tensor, "target n channels"],
    sampling: Sampling = Sampling(),
    rollout: Rollout = Rollout(),
    *,
    cached: bool = True,
    exact: bool = False,
    precision: str = "float32",
    recordings: Recordings | None = None,
) -> Iterator[Chunk]:
    """Make the targets chunk by chunk; each chunk is given out as soon as it is made.

    Device memory does not grow with the number of targets: a chunk sees at most rollout.references + rollout.generated
    views, and what was generated rests on the CPU (or, appended, as bounded keys and values). The noise of a target is
    its own whatever chunk it falls in.

    Args:
        cached: keep keys and values of what a chunk sees over its steps and the next chunks. Off, and where references
            see targets, the whole sequence passes through the model at each step; the results are equal but for
            rounding.
        exact: equal on a CPU in that too (Conditions); chunks share a cache where they have as many targets.
        precision, recordings: `sample_targets`; chunks of as many targets beside as many views share a recording.

    Raises ValueError: `check_sampling`, `check_precision`, `check_rollout`, and where `append` has no cache that can
    grow.
    """
    check_sampling(sampling, flow)
    check_precision(precision, noise.device)
    check_rollout(rollout)
    first, c2w = scene.views.references, scene.views.c2w[0]
    order = ORDERS[rollout.order](c2w[:first], c2w[first:])
    conditions = Conditions(model, scene, rollout, cached=cached, exact=exact, precision=precision)
    for start in range(0, len(order), rollout.chunk):
        targets = order[start : start + rollout.chunk]
        rows = conditions.prepare(targets)
        views = gather_views(scene.views, [*rows, *(first + i for i in targets)], len(rows))
        tokens = sample_targets(
            model,
            flow,
            conditions.tokens(rows) if conditions.cache is None else scene.clean[None, :0],
            views,
            noise[None, targets],
            sampling,
            features=conditions.features(rows) if conditions.cache is None else None,
            cache=conditions.cache,
            exact=conditions.exact,
            precision=precision,
            recordings=recordings,
        )
        chunk = Chunk(targets, tokens[0])
        conditions.add(chunk)
        yield chunk
