"""The model as a renderer: reference images and cameras in, target images out. What adapters and scripts call."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from reference_model.checkpoint import find_checkpoint, hash_checkpoint, load_checkpoint
from reference_model.codecs import patchify, unpatchify
from reference_model.config import Preset
from reference_model.model import Kaleido, Views
from reference_model.positions import normalise_poses, pose_distances
from reference_model.sampler import build_levels, sample_targets

DEFAULT_STEPS = 1  # the posterior mean: the best PSNR; more steps trade PSNR for sharpness (docs/log.md)


class LoadedModel(NamedTuple):
    """A model ready to render. `image_size` is the side it was trained at; `max_views` the longest sequence it saw."""

    model: Kaleido
    preset: Preset
    weights_sha256: str
    training_data: tuple[str, ...]
    device: str

    @property
    def image_size(self) -> int:
        return self.preset.model.image_size

    @property
    def max_views(self) -> int:
        return self.preset.model.max_views


def load_model(variant: str | Path = "tiny", device: str = "cpu") -> LoadedModel:
    """Load shipped weights by name, or a checkpoint folder. FileNotFoundError or ValueError say what is wrong."""
    folder = find_checkpoint(variant)
    weights, preset, card = load_checkpoint(folder)
    model = Kaleido(preset.model)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{folder}: the weights do not fit the preset beside them: {error}") from error
    data = card.get("training_data", [])
    names = tuple(str(name) for name in data) if isinstance(data, list) else ()
    return LoadedModel(model.to(device).eval(), preset, hash_checkpoint(folder), names, device)


def choose_references(
    reference_c2w: Float[Tensor, "reference 4 4"], target_c2w: Float[Tensor, "target 4 4"], limit: int
) -> list[int]:
    """The `limit` references nearest to the targets: by the centre's distance, in spreads of the centres, plus the
    angle between the viewing directions in radians, smallest over the targets. All of them, in order, when there are
    no more than `limit`.
    """
    count = reference_c2w.shape[0]
    if count <= limit:
        return list(range(count))
    centres = reference_c2w[:, :3, 3]
    spread = (centres - centres.mean(0)).norm(dim=-1).mean().clamp(min=1e-9)
    cost = pose_distances(reference_c2w, target_c2w, spread).min(1).values
    return sorted(torch.argsort(cost, stable=True)[:limit].tolist())


@torch.inference_mode()
def render_views(
    loaded: LoadedModel,
    reference_images: Float[Tensor, "reference 3 height width"],
    reference_c2w: Float[Tensor, "reference 4 4"],
    reference_intrinsics: Float[Tensor, "reference 3 3"],
    target_c2w: Float[Tensor, "target 4 4"],
    target_intrinsics: Float[Tensor, "target 3 3"],
    *,
    steps: int = DEFAULT_STEPS,
    seed: int = 0,
    chunk: int = 4,
) -> Float[Tensor, "target 3 height width"]:
    """Render the targets, `chunk` at a time, from the references nearest to the chunk.

    Args:
        reference_images: in [0, 1], square, `image_size` on each side.
        reference_c2w, target_c2w: camera-to-world, OpenCV axes, in any world frame and unit: they are normalised
            here, together.
        reference_intrinsics, target_intrinsics: K in pixels of those images.
        steps: Euler steps.
        seed: of the noise; each target has noise of its own, so a chunk's size moves none.

    Returns images in [0, 1]. ValueError for images of another size.
    """
    height, width = reference_images.shape[-2:]
    if height != loaded.image_size or width != loaded.image_size:
        raise ValueError(
            f"reference images of {width}x{height}: this model renders {loaded.image_size}x{loaded.image_size}"
        )
    device, references = loaded.device, reference_c2w.shape[0]
    c2w = normalise_poses(torch.cat([reference_c2w, target_c2w])[None])[0].to(device)
    intrinsics = torch.cat([reference_intrinsics, target_intrinsics]).float().to(device)
    images = reference_images.float().to(device)
    patch = loaded.preset.model.patch
    shape = (target_c2w.shape[0], (height // patch) * (width // patch), 3 * patch**2)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed % 2**63)).to(device)
    levels = build_levels(steps, loaded.preset.flow.logit_mean)
    limit = max(loaded.max_views - 1, 1)
    out: list[Tensor] = []
    for start in range(0, shape[0], chunk):
        chosen = torch.arange(start, min(start + chunk, shape[0]))
        kept = choose_references(c2w[:references], c2w[references + chosen], limit)
        rows = torch.tensor([*kept, *(references + chosen).tolist()])
        views = Views(c2w[None, rows], intrinsics[None, rows], len(kept), height, width)
        clean = patchify(images[None, kept], patch)

        tokens = sample_targets(loaded.model, clean, views, noise[None, chosen], levels)
        out.append(unpatchify(tokens, patch, height, width)[0].clamp(0, 1).cpu())
    return torch.cat(out)
