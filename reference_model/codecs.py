"""Images to tokens and back. The default is no autoencoder at all: patches of pixels in [-1, 1].

A codec's token is a square of pixels, `patch` on a side: for pixels all of their values, for an autoencoder the latents
that lie above the square. The names, as `ModelConfig.codec` holds them:

    pixels                patches of pixels
    taef2                 the tiny autoencoder of FLUX.2's latents (tiny_autoencoder.py); below $KBENCH_WEIGHTS/taef2
    tiny:FOLDER_OR_ID     diffusers' AutoencoderTiny, from a folder or from the hub (madebyollin/taesd, ...)
    kl:FOLDER_OR_ID       diffusers' AutoencoderKL
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from einops import rearrange
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from reference_model.tiny_autoencoder import FACTOR, LATENT, TinyAutoencoder


class Codec(Protocol):
    """How images become tokens and tokens images."""

    @property
    def name(self) -> str: ...

    @property
    def channels(self) -> int:
        """Values in a token."""
        ...

    @property
    def patch(self) -> int:
        """Pixels a token covers on each side."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256 of all that decides what it computes."""
        ...

    def encode(self, images: Float[Tensor, "*batch 3 height width"]) -> Float[Tensor, "*batch n channels"]:
        """Images in [0, 1] to tokens, row by row, of about unit size."""
        ...

    def decode(
        self, tokens: Float[Tensor, "*batch n channels"], height: int, width: int
    ) -> Float[Tensor, "*batch 3 height width"]:
        """The inverse of `encode`; not clamped."""
        ...


def fold(maps: Float[Tensor, "*batch c height width"], side: int) -> Float[Tensor, "*batch n channels"]:
    """Squares of side x side places to tokens, row by row."""
    return rearrange(maps, "... c (y p) (x q) -> ... (y x) (p q c)", p=side, q=side)


def unfold(
    tokens: Float[Tensor, "*batch n channels"], side: int, height: int, width: int
) -> Float[Tensor, "*batch c height width"]:
    """The inverse of `fold`, for maps of height x width places."""
    sizes = {"p": side, "q": side, "y": height // side, "x": width // side}
    return rearrange(tokens, "... (y x) (p q c) -> ... c (y p) (x q)", **sizes)


def patchify(images: Float[Tensor, "*batch 3 height width"], patch: int) -> Float[Tensor, "*batch n pixels"]:
    """Images in [0, 1] to tokens in [-1, 1], row by row."""
    return fold(images, patch) * 2 - 1


def unpatchify(
    tokens: Float[Tensor, "*batch n pixels"], patch: int, height: int, width: int
) -> Float[Tensor, "*batch 3 height width"]:
    """The inverse of `patchify`; not clamped."""
    return (unfold(tokens, patch, height, width) + 1) / 2


class Pixels(NamedTuple):
    """Patches of pixels."""

    patch: int
    name: str = "pixels"

    @property
    def channels(self) -> int:
        return 3 * self.patch**2

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"pixels {self.patch}".encode()).hexdigest()

    def encode(self, images: Float[Tensor, "*batch 3 height width"]) -> Float[Tensor, "*batch n channels"]:
        return patchify(images, self.patch)

    def decode(
        self, tokens: Float[Tensor, "*batch n channels"], height: int, width: int
    ) -> Float[Tensor, "*batch 3 height width"]:
        return unpatchify(tokens, self.patch, height, width)


class Scaling(NamedTuple):
    """Latents to about zero mean and unit size: (z - shift) * scale."""

    scale: float = 1.0
    shift: float = 0.0


class Autoencoder:
    """A frozen autoencoder as a codec: side x side of its latents are a token.

    Args:
        network: moved to a device by its owner (`codec.network.to(...)`).
        encode_maps, decode_maps: its two ways, images [image, 3, h, w] in [0, 1] to latents [image, c, h/f, w/f] and
            back.
        latent: channels c of its latents; factor f: pixels on a side of one latent.
        images_at_once: what passes through at a time, which bounds memory.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        encode_maps: Callable[[Tensor], Tensor],
        decode_maps: Callable[[Tensor], Tensor],
        *,
        latent: int,
        factor: int,
        patch: int,
        scaling: Scaling = Scaling(),
        images_at_once: int = 32,
    ) -> None:
        if patch % factor:
            raise ValueError(f"codec {name}: a token of {patch} pixels is no multiple of its latents' {factor}")
        self.name, self.network = name, network.eval().requires_grad_(False)
        self.encode_maps, self.decode_maps = encode_maps, decode_maps
        self.latent, self.factor, self.patch, self.scaling = latent, factor, patch, scaling
        self.images_at_once = images_at_once

    @property
    def side(self) -> int:
        return self.patch // self.factor

    @property
    def channels(self) -> int:
        return self.latent * self.side**2

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.name} {self.patch} {self.scaling}".encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + tensor.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "*batch 3 height width"]) -> Float[Tensor, "*batch n channels"]:
        """Raises ValueError where the size is no multiple of a token's."""
        height, width = images.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ValueError(f"images of {width}x{height}: codec {self.name} cuts them into {self.patch}x{self.patch}")
        flat = images.reshape(-1, 3, height, width).to(self.kind)
        maps = torch.cat([self.encode_maps(part) for part in flat.split(self.images_at_once)])
        tokens = fold((maps.to(images.dtype) - self.scaling.shift) * self.scaling.scale, self.side)
        return tokens.reshape(*images.shape[:-3], *tokens.shape[1:])

    @torch.no_grad()
    def decode(
        self, tokens: Float[Tensor, "*batch n channels"], height: int, width: int
    ) -> Float[Tensor, "*batch 3 height width"]:
        flat = tokens.reshape(-1, *tokens.shape[-2:])
        maps = unfold(flat, self.side, height // self.factor, width // self.factor)
        maps = (maps / self.scaling.scale + self.scaling.shift).to(self.kind)
        images = torch.cat([self.decode_maps(part) for part in maps.split(self.images_at_once)]).to(tokens.dtype)
        return images.reshape(*tokens.shape[:-2], 3, height, width)

    @property
    def kind(self) -> torch.dtype:
        return next(self.network.parameters()).dtype


def load_taef2(patch: int = FACTOR, folder: Path | None = None) -> Autoencoder:
    """TAEF2 from `folder` or $KBENCH_WEIGHTS/taef2 (taef2_encoder.fp16.safetensors and taef2_decoder...: the tensors of
    madebyollin/taesd). FileNotFoundError says which file is missing.
    """
    if folder is None:
        folder = Path(os.environ.get("KBENCH_WEIGHTS", "weights")) / "taef2"
    network = TinyAutoencoder()
    for part, module in (("encoder", network.encoder), ("decoder", network.decoder)):
        path = folder / f"taef2_{part}.fp16.safetensors"
        if not path.is_file():
            raise FileNotFoundError(
                f"no {path}: the weights of TAEF2 go there, or set KBENCH_WEIGHTS to where they are"
            )
        module.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return Autoencoder(
        "taef2", network, network.encode, network.decode, latent=LATENT, factor=FACTOR, patch=patch
    )  # its latents have deviations of 0.85 to 0.95 and means of about 0.02 as they are


def import_diffusers() -> Any:
    """The package, which comes with the extra `codecs`. ValueError says so where it is missing."""
    try:
        import diffusers  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            f"this codec needs the package diffusers: pip install kaleido-bench[codecs] ({error})"
        ) from error
    return diffusers


def count_halvings(config: Any) -> int:
    """Pixels on a side of one latent of a diffusers autoencoder: it halves between its stages."""
    stages = config.get("block_out_channels") or config["encoder_block_out_channels"]
    return 2 ** (len(stages) - 1)


def load_diffusers_tiny(source: str, patch: int) -> Autoencoder:
    """AutoencoderTiny (TAESD and its kin) from a folder or the hub. It takes and gives images in [-1, 1]."""
    network = import_diffusers().AutoencoderTiny.from_pretrained(source)
    config = network.config
    return Autoencoder(
        f"tiny:{source}",
        network,
        lambda images: network.encode(images * 2 - 1).latents,
        lambda latents: (network.decode(latents).sample + 1) / 2,
        latent=config["latent_channels"],
        factor=count_halvings(config),
        patch=patch,
        scaling=Scaling(config["scaling_factor"] or 1.0, config.get("shift_factor") or 0.0),
    )


def load_diffusers_kl(source: str, patch: int) -> Autoencoder:
    """AutoencoderKL (Stable Diffusion's, FLUX's) from a folder or the hub; an image's latent is the mode of its
    posterior.
    """
    network = import_diffusers().AutoencoderKL.from_pretrained(source)
    config = network.config
    return Autoencoder(
        f"kl:{source}",
        network,
        lambda images: network.encode(images * 2 - 1).latent_dist.mode(),
        lambda latents: (network.decode(latents).sample + 1) / 2,
        latent=config["latent_channels"],
        factor=count_halvings(config),
        patch=patch,
        scaling=Scaling(config["scaling_factor"] or 1.0, config.get("shift_factor") or 0.0),
        images_at_once=8,
    )


def build_codec(name: str, patch: int) -> Codec:
    """The codec of a name (see the top of this file) whose tokens cover patch x patch pixels.

    Raises ValueError for an unknown name or a patch that does not fit, FileNotFoundError where weights are missing.
    """
    if name == "pixels":
        return Pixels(patch)
    if name == "taef2":
        return load_taef2(patch)
    kind, _, source = name.partition(":")
    loaders = {"tiny": load_diffusers_tiny, "kl": load_diffusers_kl}
    if kind not in loaders or not source:
        raise ValueError(f"codec {name!r}: expected pixels, taef2, tiny:FOLDER_OR_ID or kl:FOLDER_OR_ID")
    return loaders[kind](source, patch)
