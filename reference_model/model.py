"""Kaleido: clean reference tokens and noised target tokens in one sequence; out comes a prediction of the targets.

    images -> codec -> tokens --+
    cameras -> rays ------------+-> embed -> blocks (within views, across views, feed-forward) -> head -> prediction
    reference images -> features+                 |
    cameras, times -> actions (positions.py) -----+        t -> modulation, once a batch

One noise level per scene, shared by its targets; references are always at t = 0. Any number of either. What the
prediction is (clean tokens, velocity or noise) is the flow's matter (flow.py).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reference_model.attention import KeyValues, Past, make_room, normalise
from reference_model.blocks import MODULATIONS, Block
from reference_model.config import ModelConfig
from reference_model.places import Places, Views, build_places, build_rays
from reference_model.positions import widen
from reference_model.threads import apply_alone

FREQUENCIES = 64  # of the embedding of t


Cache = tuple[KeyValues, ...]  # of the references, one per block that targets pass through
Pasts = tuple[Past, ...]  # the same, or with room for the targets


class TimeEmbedding(nn.Module):
    """t in [0, 1] to the shared modulation, or to the vector that each block makes its own of."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.shared = config.modulation == "shared"
        width = config.width
        last = nn.Linear(width, MODULATIONS * width) if self.shared else nn.Linear(width, width)
        self.net = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), last)

    def forward(self, t: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch *nine d"]:
        speeds = torch.exp(torch.linspace(0.0, math.log(1000.0), FREQUENCIES, device=t.device))
        angles = t[..., None].to(next(self.net.parameters()).dtype) * speeds
        out = apply_alone(self.net, torch.cat([angles.cos(), angles.sin()], -1))
        return out.unflatten(-1, (MODULATIONS, -1)) if self.shared else nn.functional.silu(out)


class AlignedLinear(nn.Linear):
    """A layer of which a GPU reads whole 16-byte lines: inputs of 197 channels have no fast matrix product, padded with
    three zeros they have. The same product.
    """

    def forward(self, input: Float[Tensor, "*batch channels"]) -> Float[Tensor, "*batch d"]:
        return self.pad(input) if input.is_cuda else super().forward(input)

    def pad(self, input: Float[Tensor, "*batch channels"]) -> Float[Tensor, "*batch d"]:
        missing = -self.in_features % 8
        padded, weight = (nn.functional.pad(x, (0, missing)) for x in (input, self.weight))
        return nn.functional.linear(padded, weight, self.bias)


class Kaleido(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = AlignedLinear(
            config.channels + config.ray_channels + 1, config.width
        )  # and whether it is a target
        self.time = TimeEmbedding(config)
        encoder = config.depth // 2 if config.layout == "encoder-decoder" else 0
        self.encoder = nn.ModuleList(Block(config, i) for i in range(encoder))
        self.blocks = nn.ModuleList(Block(config, i) for i in range(config.depth - encoder))
        self.head = nn.Linear(config.width, config.channels)
        side = config.image_size // config.patch
        self.features = (
            nn.Linear(config.feature_channels, config.width, bias=False) if config.feature_channels else None
        )
        self.registers = nn.Parameter(torch.zeros(config.registers, config.width)) if config.registers else None
        self.position = nn.Parameter(torch.zeros(side, side, config.width)) if config.position == "learned" else None
        self.initialise()

    def initialise(self) -> None:
        """Truncated normal weights; every gate starts at zero, so that each block starts as the identity."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for layer in [*(block.modulate for block in self.stack()), self.time.net[-1] if self.time.shared else None]:
            if isinstance(layer, nn.Linear):
                nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.head.weight)
        for table in (self.registers, self.position):
            if table is not None:
                nn.init.trunc_normal_(table, std=0.02)

    def stack(self) -> list[Block]:
        """All blocks, the encoder's first."""
        return [block for block in [*self.encoder, *self.blocks] if isinstance(block, Block)]

    def decoder(self) -> list[Block]:
        """The blocks that targets pass through."""
        return self.stack()[len(self.encoder) :]

    def build_places(self, views: Views) -> Places:
        """Where the tokens of these views are."""
        return build_places(self.config, views)

    def embed_views(
        self,
        tokens: Float[Tensor, "b v n channels"],
        views: Views,
        features: Float[Tensor, "b reference n feature"] | None,
        rays: Float[Tensor, "b v n ray"] | None = None,
    ) -> Float[Tensor, "b v n d"]:
        """Tokens, rays and role through one layer; image features added to the references (concatenating them, as the
        paper says, comes to the same sum: targets have zeros there); registers behind each view's patches.
        """
        config, (b, v) = self.config, tokens.shape[:2]
        rays = build_rays(config, views) if rays is None else rays
        x = self.embed(torch.cat([tokens, rays.to(tokens.dtype)], -1))
        if self.features is not None and features is not None:
            seen = self.features(features.to(tokens.dtype))
            x = torch.cat([x[:, : views.references] + seen, x[:, views.references :]], 1)
        if self.position is not None:
            size = (views.height // config.patch, views.width // config.patch)
            table = nn.functional.interpolate(self.position.permute(2, 0, 1)[None], size, mode="bilinear")
            x = x + table[0].flatten(1).mT.to(x.dtype)
        if self.registers is not None:
            x = torch.cat([x, self.registers.to(x.dtype).expand(b, v, -1, -1)], 2)
        return x

    def embed_levels(self, t: Float[Tensor, " b"], references: int, targets: int) -> Float[Tensor, "b v *nine d"]:
        """Modulation of a sequence: t of the targets, 0 of the references.

        It is the one product whose rows a CPU rounds by how many there are (vectors, a few rows, many): whoever wants
        part of a sequence as all of it would have it, bit by bit, asks for all and takes the part.
        """
        levels = torch.cat([t.new_zeros(t.shape[0], references), t[:, None].expand(-1, targets)], 1)
        return self.time(widen(levels))

    def read_out(self, x: Float[Tensor, "b target n d"]) -> Float[Tensor, "b target patch channels"]:
        """Prediction from the last block's targets; registers have none."""
        return self.head(normalise(x[:, :, : x.shape[2] - self.config.registers]))

    def forward(
        self,
        tokens: Float[Tensor, "b v n channels"],
        t: Float[Tensor, " b"],
        views: Views,
        features: Float[Tensor, "b reference n feature"] | None = None,
    ) -> Float[Tensor, "b target n channels"]:
        """Predict the target views (clean, velocity or noise: FlowConfig.prediction), everything in one pass.

        Args:
            tokens: reference views first and clean, then target views at noise level t; pixel patches are in [-1, 1].
            t: one noise level per scene, 0 data, 1 noise.
            views: the cameras.
            features: image features of the references, on the grid of the tokens.
        """
        r, v = views.references, tokens.shape[1]
        if len(self.encoder):
            cache = self.encode_references(tokens[:, :r], views.take(0, r, r), features) if r else ()
            return self.denoise(tokens[:, r:], t, views.take(r, v, 0), cache)
        places = self.build_places(views)
        x = self.embed_views(tokens, views, features, places.rays)
        modulation = self.embed_levels(t, r, v - r)
        blind = torch.tensor(0 if self.config.references_see_targets else r, device="cpu")  # attention.attend_across
        for block in self.blocks:
            x, _ = block(x, modulation, places, blind)
        return self.read_out(x[:, r:])

    def encode_references(
        self,
        clean: Float[Tensor, "b reference n channels"],
        views: Views,
        features: Float[Tensor, "b reference n feature"] | None = None,
        past: Cache | None = None,
        beside: int = 0,
    ) -> Cache:
        """Keys and values of the references, which serve every step and every chunk of targets. `forward` does the
        same work with each call: `denoise` with this cache equals it.

        Args:
            views: the cameras of `clean` alone.
            past: the cache of earlier references, which these see but which do not see them (sampler.py, `append`).
                Decoder-only.
            beside: how many targets `forward` would have in the sequence (`embed_levels`). Decoder-only.

        Raises ValueError where references see targets: then nothing about them is fixed.
        """
        if self.config.references_see_targets:
            raise ValueError(
                "references_see_targets: what references compute changes with the targets; nothing to cache"
            )
        views = views._replace(references=clean.shape[1])
        places = self.build_places(views)
        x = self.embed_views(clean, views, features, places.rays)
        none = torch.zeros(clean.shape[0], device=clean.device, dtype=widen(clean).dtype)
        modulation = self.embed_levels(none, clean.shape[1], beside)[:, : clean.shape[1]]
        together = torch.tensor(0, device="cpu")  # all see all, and what is past
        if len(self.encoder):
            for block in self.encoder:
                x, _ = block(x, modulation, places, together)
            return tuple(block.temporal.remember(normalise(x), places.across) for block in self.decoder())
        kept: list[KeyValues] = []
        for i, block in enumerate(self.blocks):
            own = None if past is None else past[i]
            x, keys = block(x, modulation, places, together, own, last=i == len(self.blocks) - 1)
            kept.append(keys)
        return tuple(kept)

    def denoise(
        self,
        noised: Float[Tensor, "b target n channels"],
        t: Float[Tensor, " b"],
        views: Views,
        cache: Pasts,
        places: Places | None = None,
        beside: int = 0,
    ) -> Float[Tensor, "b target n channels"]:
        """Predict target views beside cached references (an empty cache: none).

        Args:
            views: the targets' cameras.
            places: `build_places(views)`, where several steps share it.
            beside: how many references `forward` would have in the sequence (`embed_levels`). Decoder-only.
        """
        views = views._replace(references=0)
        places = places or self.build_places(views)
        x = self.embed_views(noised, views, None, places.rays)
        modulation = self.embed_levels(t, beside, noised.shape[1])[:, beside:]
        together = torch.tensor(0, device="cpu")
        for block, past in zip(self.blocks, cache or [None] * len(self.blocks), strict=True):
            x, _ = block(x, modulation, places, together, past)
        return self.read_out(x)


def join_caches(first: Cache, second: Cache) -> Cache:
    """Both sets of views, the first's before the second's."""
    pairs = zip(first, second, strict=True)
    return tuple(KeyValues(torch.cat([a.k, b.k], 1), torch.cat([a.v, b.v], 1)) for a, b in pairs)


def make_rooms(cache: Cache, views: int) -> Pasts:
    """A cache that `denoise` of so many target views need not copy at every step. For inference."""
    return tuple(make_room(keys, views) for keys in cache)


def take_views(cache: Cache, rows: list[int]) -> Cache:
    """Some of the cached views."""
    return tuple(KeyValues(keys.k[:, rows], keys.v[:, rows]) for keys in cache)


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
