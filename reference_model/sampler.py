"""From noise to target views, all jointly: steps along the velocity, with guidance. Many targets, a chunk at a time:
rollout.py.

One step from pure noise is the posterior mean, which maximises PSNR. What a model keeps of its references is computed
once and serves every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.config import FlowConfig, check_choice
from reference_model.flow import SCHEDULES, build_levels, to_clean, to_velocity
from reference_model.model import Cache, Kaleido, Pasts, Views, make_rooms
from reference_model.places import Places
from reference_model.precision import check_precision, compute_in

if TYPE_CHECKING:
    from reference_model.recording import Recordings

Denoiser = Callable[[Float[Tensor, "b target n channels"], Float[Tensor, " b"]], Float[Tensor, "b target n channels"]]


SOLVERS = ("euler", "heun")


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
