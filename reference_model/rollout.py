"""Many targets from one set of references: a chunk at a time, jointly within a chunk.

Later chunks may be conditioned on what earlier ones made (the paper's masked autoregression). What a model keeps of its
references is computed once and serves every step and chunk that sees the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.config import FlowConfig, ModelConfig, check_choice
from reference_model.model import Cache, Kaleido, Views, join_caches, take_views
from reference_model.ordering import ORDERS, choose_references
from reference_model.precision import check_precision, compute_in
from reference_model.sampler import Sampling, check_sampling, sample_targets

if TYPE_CHECKING:
    from reference_model.recording import Recordings

GROWTHS = ("reencode", "append")


class Rollout(NamedTuple):
    """How many targets are made, when, and from what."""

    chunk: int = 4  # targets made together
    order: str = "given"  # ORDERS
    references: int = 7  # at most so many, the nearest to the chunk
    generated: int = 0
    """At most so many of the views generated before it, the nearest; 0: chunks know nothing of each other."""

    growth: str = "reencode"  # GROWTHS; append needs generated views, and a model that `check_growth` lets pass
    """How generated views join the references: `reencode` (each chunk's conditions are computed anew, all seeing all,
    as in training) or `append` (once, seeing what was there before, which does not see them; cheaper, and a view that
    was left out once is gone)."""


def check_growth(rollout: Rollout, model: ModelConfig) -> None:
    """Raises ValueError where a rollout appends to a cache that cannot grow."""
    if rollout.growth == "append" and (model.references_see_targets or model.layout == "encoder-decoder"):
        raise ValueError(
            "growth append needs a cache that can grow, of a decoder-only model of blind references; expected reencode"
        )


def check_rollout(rollout: Rollout) -> None:
    """Raises ValueError for what does not exist, and for numbers that leave a chunk nothing to make or to see."""
    check_choice("order", rollout.order, tuple(ORDERS))
    check_choice("growth", rollout.growth, GROWTHS)
    for name, least in (("chunk", 1), ("references", 1), ("generated", 0)):
        if getattr(rollout, name) < least:
            raise ValueError(f"{name} {getattr(rollout, name)}: expected at least {least}")
    if rollout.growth == "append" and not rollout.generated:
        raise ValueError("growth append with generated 0: nothing would grow; expected generated of at least 1")


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
        check_growth(rollout, model.config)
        if rollout.growth == "append" and not self.cached:
            raise ValueError("growth append without a cache: expected cached")
        self.made: dict[int, Tensor] = {}  # target -> tokens
        self.rows: list[int] = []  # the views the cache holds
        self.cache: Cache | None = None

    @property
    def first_target(self) -> int:
        return self.scene.views.references

    def choose(self, targets: list[int]) -> list[int]:
        """The views, as rows of the scene, that a chunk is to see."""
        views, first = self.scene.views, self.first_target
        wanted = gather_views(views, [first + i for i in targets], 0)
        rows = choose_references(views.take(0, first, first), wanted, self.rollout.references)
        made = [first + i for i in self.made]
        if self.rollout.growth == "append" and self.cache is not None:
            rows = [row for row in self.rows if row < first]  # those of the first chunk stay
            made = [row for row in self.rows if row >= first]
        if not self.rollout.generated or not made:
            return rows
        return rows + [made[i] for i in choose_references(gather_views(views, made, 0), wanted, self.rollout.generated)]

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

    Raises ValueError: `check_sampling`, `check_precision`, `check_rollout`, `check_growth`, and where `append` is to do
    without a cache.
    """
    check_sampling(sampling, flow)
    check_precision(precision, noise.device)
    check_rollout(rollout)
    first, count = scene.views.references, scene.views.c2w.shape[1]
    order = ORDERS[rollout.order](scene.views.take(0, first, first), scene.views.take(first, count, 0))
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
