"""What an image network sees in the reference views, beside their latents: DINOv2 (the paper), or nothing.

Features enter at the reference tokens alone (model.Kaleido.embed_views). DINOv2 comes through transformers, in the
extra `features`: it needs neither torchvision (as timm does) nor code from the network (as torch.hub does).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# ImageNet's mean and deviation of each channel (facebookresearch/dinov2:dinov2/data/transforms.py).
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Features(Protocol):
    """Image features on the grid of the tokens."""

    @property
    def name(self) -> str: ...

    @property
    def channels(self) -> int: ...

    def encode(
        self, images: Float[Tensor, "b v 3 height width"], rows: int, columns: int
    ) -> Float[Tensor, "b v n channels"] | None:
        """Features of rows x columns places, row by row, of images in [0, 1]; None where there are none."""
        ...


class NoFeatures(NamedTuple):
    """The null encoder."""

    name: str = "none"
    channels: int = 0

    def encode(self, images: Float[Tensor, "b v 3 height width"], rows: int, columns: int) -> None:
        return None


class DinoV2:
    """The last layer's patch features of a DINOv2 (class and register tokens dropped).

    Images are resized so that one DINOv2 patch (14 pixels) stands at each token where that is at least `smallest`
    patches a side, else to that size, and the features are brought to the token grid by bilinear interpolation: DINOv2
    was trained at 16 and more patches a side (ours; the paper says only that DINOv2 features are used).
    """

    def __init__(self, name: str, network: Any, smallest: int = 16, images_at_once: int = 32) -> None:
        self.name, self.network = name, network.eval().requires_grad_(False)
        self.smallest, self.images_at_once = smallest, images_at_once
        self.mean = torch.tensor(MEAN)[:, None, None]
        self.deviation = torch.tensor(DEVIATION)[:, None, None]

    @property
    def channels(self) -> int:
        return self.network.config.hidden_size

    @torch.no_grad()
    def encode(
        self, images: Float[Tensor, "b v 3 height width"], rows: int, columns: int
    ) -> Float[Tensor, "b v n channels"]:
        """Raises ValueError for a grid of another shape than the images'."""
        height, width = images.shape[-2:]
        if height * columns != width * rows:
            raise ValueError(
                f"a grid of {columns}x{rows} on images of {width}x{height}: its places would not be square"
            )
        flat = images.flatten(0, 1)
        maps = torch.cat([self.encode_maps(part, rows, columns) for part in flat.split(self.images_at_once)])
        return maps.flatten(2).mT.unflatten(0, images.shape[:2])

    def encode_maps(self, images: Tensor, rows: int, columns: int) -> Float[Tensor, "image channels rows columns"]:
        patch, kind = self.network.config.patch_size, next(self.network.parameters()).dtype
        times = -(-self.smallest // min(rows, columns))  # whole, so that tokens and patches share their borders
        size = (rows * times * patch, columns * times * patch)
        resized = F.interpolate(images.float(), size, mode="bicubic", antialias=True, align_corners=False)
        normed = (resized - self.mean.to(images.device)) / self.deviation.to(images.device)
        states = self.network(pixel_values=normed.to(kind)).last_hidden_state
        extra = 1 + getattr(self.network.config, "num_register_tokens", 0)
        maps = states[:, extra:].mT.unflatten(2, (rows * times, columns * times)).to(images.dtype)
        return F.avg_pool2d(maps, times) if times > 1 else maps


def load_dinov2(source: str) -> DinoV2:
    """A DINOv2 from a folder (config.json and model.safetensors) or the hub (facebook/dinov2-base, ...).

    Raises ValueError where transformers is missing, what is found is no DINOv2, or its weights lack tensors.
    """
    try:
        from transformers import AutoConfig, AutoModel  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            f"DINOv2 features need the package transformers: pip install kaleido-bench[features] ({error})"
        ) from error
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no DINOv2 at {source!r}: expected a folder with config.json, or a name on the hub"
        ) from error
    if config.model_type not in ("dinov2", "dinov2_with_registers"):
        raise ValueError(f"{source!r} is a {config.model_type!r}; expected dinov2 or dinov2_with_registers")
    network, report = AutoModel.from_pretrained(source, output_loading_info=True)
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{source!r}: the weights lack {len(missing)} tensors, among them {missing[0]}")
    return DinoV2(f"dinov2:{source}", network)


def build_features(name: str) -> Features:
    """`none`, or `dinov2:FOLDER_OR_ID`. Raises ValueError for another name."""
    kind, _, source = name.partition(":")
    if name == "none":
        return NoFeatures()
    if kind != "dinov2" or not source:
        raise ValueError(f"features {name!r}: expected none or dinov2:FOLDER_OR_ID")
    return load_dinov2(source)
