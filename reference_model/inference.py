"""The model as a renderer: reference images and cameras in, target images out. What adapters and scripts call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.checkpoint import find_checkpoint, hash_checkpoint, load_checkpoint
from reference_model.config import ModelConfig, Preset
from reference_model.inputs import Inputs, build_inputs
from reference_model.model import Kaleido, Views
from reference_model.overflow import find_overflow
from reference_model.positions import NORMALISATIONS
from reference_model.precision import check_precision, round_weights
from reference_model.recording import Recordings, on_device
from reference_model.rollout import Chunk, Rollout, Scene, roll_out
from reference_model.sampler import Sampling

BY_DEFAULT = Sampling(steps=1)  # the posterior mean: the best PSNR; more steps trade it for sharpness (docs/log.md)
RIGID = 1e-2  # how far R R^T may be from the identity


class LoadedModel(NamedTuple):
    """A model ready to render. `image_size` is the side it was trained at; `max_views` the longest sequence it saw."""

    model: Kaleido
    preset: Preset
    weights_sha256: str  # of the files, whatever the precision
    training_data: tuple[str, ...]
    device: str
    inputs: Inputs
    precision: str = "float32"  # of the network (precision.PRECISIONS)
    recordings: Recordings | None = None  # of its steps; None: each is launched kernel by kernel

    @property
    def image_size(self) -> int:
        return self.preset.model.image_size

    @property
    def max_views(self) -> int:
        return self.preset.model.max_views

    def plan_rollout(self, chunk: int = 4) -> Rollout:
        """Independent chunks that see as many references as one training sequence could hold."""
        return Rollout(chunk=chunk, references=max(self.max_views - 1, 1))


def load_model(
    variant: str | Path = "small", device: str = "cpu", precision: str = "float32", *, recorded: bool | None = None
) -> LoadedModel:
    """Load shipped weights by name, or a checkpoint folder.

    Args:
        precision: of the network; bfloat16 is meant for machines that compute in it, and moves pixels.
        recorded: record denoising steps and replay them, on CUDA alone: the same numbers, sooner from a shape's second
            prediction on; None: on CUDA in bfloat16, which is asked for to be fast.

    FileNotFoundError or ValueError say what is wrong.
    """
    check_precision(precision, device)
    cuda = torch.device(device).type == "cuda"
    if recorded and not cuda:
        raise ValueError(f"recorded steps on {device}: only CUDA records; expected recorded=None or False there")
    folder = find_checkpoint(variant)
    weights, preset, card = load_checkpoint(folder)
    model = Kaleido(preset.model)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{folder}: the weights do not fit the preset beside them: {error}") from error
    data = card.get("training_data", [])
    names = tuple(str(name) for name in data) if isinstance(data, list) else ()
    inputs = build_inputs(preset.model, device)
    model = model.to(device).eval()
    if precision == "bfloat16":
        round_weights(model)
    wanted = precision == "bfloat16" if recorded is None else recorded
    recordings = Recordings() if cuda and wanted else None
    return LoadedModel(model, preset, hash_checkpoint(folder), names, device, inputs, precision, recordings)


def check_cameras(c2w: Tensor, intrinsics: Tensor, where: str, count: int) -> None:
    """Raises ValueError for cameras of another number or shape than `count` views have, that hold NaN or infinity, that
    are not rigid, or whose focal lengths are not positive.
    """
    found = tuple(c2w.shape), tuple(intrinsics.shape)
    if found != ((count, 4, 4), (count, 3, 3)):
        raise ValueError(
            f"{where} cameras: c2w {list(found[0])}, K {list(found[1])}; expected [{count}, 4, 4] and [{count}, 3, 3]"
        )
    if not (torch.isfinite(c2w).all() and torch.isfinite(intrinsics).all()):
        raise ValueError(f"{where} cameras hold NaN or infinity; expected finite c2w [view,4,4] and K [view,3,3]")
    rotation = c2w[:, :3, :3].double()
    skew = (rotation @ rotation.mT - torch.eye(3, dtype=torch.float64, device=c2w.device)).abs().flatten(1).amax(1)
    if (skew > RIGID).any() or (torch.linalg.det(rotation) < 0).any():
        raise ValueError(f"{where} cameras: a c2w is scaled, sheared or mirrored; expected rotation and translation")
    if not (intrinsics[:, [0, 1], [0, 1]] > 0).all():
        raise ValueError(f"{where} cameras: a focal length is not positive; expected K in pixels, OpenCV axes")


class Cameras(NamedTuple):
    """Of references or targets, as they are handed in."""

    c2w: Float[Tensor, "view 4 4"] | None
    intrinsics: Float[Tensor, "view 3 3"]
    times: Float[Tensor, " view"] | None


def check_times(times: Tensor, where: str, count: int) -> None:
    """Raises ValueError unless each of `count` views has a finite time."""
    if tuple(times.shape) != (count,):
        raise ValueError(f"{where} times {list(times.shape)}: expected [{count}], one a view")
    if not torch.isfinite(times.float()).all():
        raise ValueError(f"{where} times hold NaN or infinity; expected the numbers of frames")


def place_views(config: ModelConfig, references: Cameras, targets: Cameras, count: int) -> Views:
    """The views of one scene, of so many references, as the model takes them: poses normalised by its rule; without
    poses the identity and times, as in its video.

    Raises ValueError: `check_cameras`, `check_times`; poses or times of references or targets alone; times for a model
    that has none; neither poses nor times.
    """
    both = {"reference": references, "target": targets}
    for name in ("c2w", "times"):
        lacking = [where for where, cameras in both.items() if getattr(cameras, name) is None]
        if len(lacking) == 1:
            raise ValueError(f"no {lacking[0]} {name} beside those of the other views: expected both, or neither")
    if references.c2w is None and references.times is None:
        raise ValueError("neither poses nor times: expected c2w, or times for a model of video, or both")
    if references.times is not None and not config.time_channels:
        raise ValueError("times for a model that knows none (model.time_channels is 0): expected None")
    counts = (count, (targets.intrinsics if targets.c2w is None else targets.c2w).shape[0])
    poses: list[Tensor] = []
    for (where, cameras), views in zip(both.items(), counts, strict=True):
        c2w = torch.eye(4).expand(views, 4, 4) if cameras.c2w is None else cameras.c2w
        check_cameras(c2w, cameras.intrinsics, where, views)
        if cameras.times is not None:
            check_times(cameras.times, where, views)
        poses.append(c2w)
    normalise = NORMALISATIONS["none" if references.c2w is None else config.normalisation]
    times = None
    if references.times is not None and targets.times is not None:
        times = torch.cat([references.times, targets.times]).float()[None]
    intrinsics = torch.cat([references.intrinsics, targets.intrinsics]).float()[None]
    return Views(normalise(torch.cat(poses)[None]), intrinsics, count, config.image_size, config.image_size, times)


def name_layer(loaded: LoadedModel, generate: Callable[[], Iterator[Chunk]]) -> str:
    """Where numbers end, found by doing it again."""
    found = find_overflow(loaded.model, lambda: list(generate()))
    return str(found) if found else "no layer makes it of finite numbers; look at the sampler's levels"


@torch.inference_mode()
def render_views(
    loaded: LoadedModel,
    reference_images: Float[Tensor, "reference 3 height width"],
    reference_c2w: Float[Tensor, "reference 4 4"] | None,
    reference_intrinsics: Float[Tensor, "reference 3 3"],
    target_c2w: Float[Tensor, "target 4 4"] | None,
    target_intrinsics: Float[Tensor, "target 3 3"],
    *,
    reference_times: Float[Tensor, " reference"] | None = None,
    target_times: Float[Tensor, " target"] | None = None,
    seed: int = 0,
    sampling: Sampling = BY_DEFAULT,
    rollout: Rollout | None = None,
    cached: bool | None = None,
) -> Float[Tensor, "target 3 height width"]:
    """Render the targets, a chunk at a time, from the references nearest to the chunk.

    Args:
        reference_images: in [0, 1], square, `image_size` on each side.
        reference_c2w, target_c2w: camera-to-world, OpenCV axes, in any world frame and unit: they are normalised
            here, together, by the model's named rule. Both None: frames of a video whose poses are not known.
        reference_intrinsics, target_intrinsics: K in pixels of those images.
        reference_times, target_times: when, as numbers of frames from any beginning, for a model with time channels.
            Without poses they are what it was trained on in its stages of video: frames of one clip, up to four times
            as many as a sequence has views apart. With poses they say that the scene moves between its views; each
            half the model knows, both together no stage of its training shows. None: all at one time.
        seed: of the noise; each target has noise of its own, so a chunk's size moves none.
        sampling: steps, solver, schedule, guidance.
        rollout: how many targets at once, in which order, and whether later chunks see what earlier ones made; None: as
            `loaded.plan_rollout()` says.
        cached: compute what the model keeps of its references once for all steps and chunks that see the same ones;
            None: in bfloat16, and where the rollout appends, always; else in float32 as its preset says
            (ModelConfig.keep_references), but on a CPU always, rounded as the preset says (rollout.Conditions).

    Returns images in [0, 1]. ValueError for no reference, images of another size or range, cameras or times that are
    none (`place_views`), tokens that are no numbers, and for a prediction that is not finite, with the layer where that
    begins.
    """
    height, width = reference_images.shape[-2:]
    references = reference_images.shape[0]
    if height != loaded.image_size or width != loaded.image_size:
        raise ValueError(
            f"reference images of {width}x{height}: this model renders {loaded.image_size}x{loaded.image_size}"
        )
    if references < 1:
        raise ValueError("0 reference views: at least 1 is needed to render a scene")
    if reference_images.shape[1:-2] != (3,):
        raise ValueError(f"reference images {list(reference_images.shape)}: expected [reference, 3, height, width]")
    device, config = loaded.device, loaded.preset.model
    near = Cameras(reference_c2w, reference_intrinsics, reference_times)
    far = Cameras(target_c2w, target_intrinsics, target_times)
    views = place_views(config, near, far, references).to(device)
    images = reference_images[None].float().to(device)
    clean, features = loaded.inputs.codec.encode(images)[0], loaded.inputs.see(images)
    if not torch.isfinite(clean).all():
        raise ValueError("the reference tokens hold NaN or infinity: look at the reference images and the codec")
    low, high = images.amin().item(), images.amax().item()
    if low < -0.1 or high > 1.1:
        raise ValueError(f"reference images from {low:g} to {high:g}: expected values in [0, 1]")
    scene = Scene(
        clean,
        views,
        None if features is None else features[0],
        None if features is None else lambda tokens: loaded.inputs.see_tokens(tokens, height, width),
    )
    shape = (views.c2w.shape[1] - references, *clean.shape[1:])
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed % 2**63)).to(device)
    rendered = torch.empty(shape[0], 3, height, width)
    plan = rollout or loaded.plan_rollout()
    always = config.keep_references or loaded.precision != "float32" or plan.growth == "append"
    keep = always if cached is None else cached
    exact = cached is None and not keep and torch.device(device).type == "cpu" and plan.growth == "reencode"

    def generate(recordings: Recordings | None = None) -> Iterator[Chunk]:
        way = (loaded.model, loaded.preset.flow, scene, noise, sampling, plan)
        kept = {"cached": keep or exact, "exact": exact}
        return roll_out(*way, **kept, precision=loaded.precision, recordings=recordings)

    with on_device(noise.device):
        for made in generate(loaded.recordings):
            if not torch.isfinite(made.tokens).all():
                found = name_layer(loaded, generate)
                raise ValueError(f"the prediction of targets {made.targets} is not finite: {found}")
            rendered[made.targets] = loaded.inputs.codec.decode(made.tokens, height, width).clamp(0, 1).float().cpu()
    return rendered
