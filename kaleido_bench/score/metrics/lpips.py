"""LPIPS (Zhang et al. 2018, https://arxiv.org/abs/1801.03924), version 0.1, in plain torch.

Equal to the `lpips` package, which loads its trunk through torchvision; this needs neither. A trunk is a short table:
torchvision's `features`, with a tap after each ReLU whose output the package compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from kaleido_bench.conventions import LpipsRecipe
from kaleido_bench.errors import BenchError
from kaleido_bench.score.metrics.precision import exact_float32
from kaleido_bench.score.metrics.refusals import require_implemented
from kaleido_bench.score.metrics.weights import HEADS_SHA256, WeightsFile, read_heads


class Conv(NamedTuple):
    """A convolution and its ReLU; `place` is where it is in torchvision's `features`."""

    place: int
    stride: int = 1
    padding: int = 0


class Fire(NamedTuple):
    """SqueezeNet's module: squeeze 1x1, then expand 1x1 beside expand 3x3, each with its ReLU."""

    place: int


class Pool(NamedTuple):
    """A max pool of stride 2."""

    kernel: int
    ceil: bool = False


class Tap(NamedTuple):
    """The features here are compared."""


class Trunk(NamedTuple):
    """The layers up to the last tap, and the smallest image side for which every layer has an output."""

    layers: tuple[Conv | Fire | Pool | Tap, ...]
    smallest: int


TRUNKS: Mapping[str, Trunk] = {
    "alex": Trunk(
        (
            *(Conv(0, stride=4, padding=2), Tap(), Pool(3)),
            *(Conv(3, padding=2), Tap(), Pool(3)),
            *(Conv(6, padding=1), Tap()),
            *(Conv(8, padding=1), Tap()),
            *(Conv(10, padding=1), Tap()),
        ),
        smallest=31,
    ),
    "squeeze": Trunk(
        (
            *(Conv(0, stride=2), Tap(), Pool(3, ceil=True)),
            *(Fire(3), Fire(4), Tap(), Pool(3, ceil=True)),
            *(Fire(6), Fire(7), Tap(), Pool(3, ceil=True)),
            *(Fire(9), Tap(), Fire(10), Tap(), Fire(11), Tap(), Fire(12), Tap()),
        ),
        smallest=17,
    ),
    "vgg": Trunk(
        (
            *(Conv(0, padding=1), Conv(2, padding=1), Tap(), Pool(2)),
            *(Conv(5, padding=1), Conv(7, padding=1), Tap(), Pool(2)),
            *(Conv(10, padding=1), Conv(12, padding=1), Conv(14, padding=1), Tap(), Pool(2)),
            *(Conv(17, padding=1), Conv(19, padding=1), Conv(21, padding=1), Tap(), Pool(2)),
            *(Conv(24, padding=1), Conv(26, padding=1), Conv(28, padding=1), Tap()),
        ),
        smallest=16,
    ),
}

# lpips.LPIPS.ScalingLayer: ImageNet's mean and deviation, moved to inputs in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)

# Of a block. On a GPU 32 images of 256x256 px, whose largest activations under VGG are 0.5 GiB.
_BLOCK_PIXELS_CPU, _BLOCK_PIXELS_GPU = 1 << 18, 1 << 21

# Of the kept features: those of 100 images of 256x256 px under AlexNet, of 8 under VGG.
_KEPT_BYTES = 256 << 20

Features = list[Tensor]
"""At each tap, float32 [image, channel, height, width]; every pixel's vector has length 1."""

_DTYPES: Mapping[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Lpips:
    """LPIPS with one trunk on one device. Built once, since building reads the weights."""

    def __init__(self, recipe: LpipsRecipe, weights: WeightsFile, device: torch.device | str = "cpu") -> None:
        """Read the trunk and the heads.

        Raises:
            BenchError: the recipe asks for something that is not implemented or for other weights, or the file is not
                this trunk.
        """
        check_lpips_recipe(recipe)
        _check_pin(recipe, weights)
        self._recipe, self._device = recipe, torch.device(device)
        self._trunk = TRUNKS[recipe.net]
        self._dtype = _DTYPES[recipe.dtype]
        self._parameters = _load_trunk(recipe.net, weights, self._device, self._dtype)
        heads = load(read_heads())
        taps = sum(isinstance(layer, Tap) for layer in self._trunk.layers)
        self._heads = [heads[f"{recipe.net}.lin{tap}"].view(-1, 1, 1).to(self._device) for tap in range(taps)]
        self._kept = _Kept(_KEPT_BYTES)
        self._shift = torch.tensor(_SHIFT, device=self._device).view(3, 1, 1)
        self._scale = torch.tensor(_SCALE, device=self._device).view(3, 1, 1)

    def distance(
        self,
        predictions: Float[Tensor, "pair 3 height width"],
        truths: Float[Tensor, "pair 3 height width"],
        names: Sequence[str | None] | None = None,
    ) -> Float[Tensor, " pair"]:
        """LPIPS of each pair; 0 is identical, and lower is better.

        Args:
            predictions, truths: float32 values in [0, 1], on the device of this object.
            names: of the truths that other predictions will be compared with: their features are kept, as far as
                there is room, until `forget` is called. The same name is the same image.
        Returns:
            float32. The trunk runs in true float32 (no tf32, no autocast), or in the recipe's bfloat16; norms and
            differences are float32 in either. A pair's value depends on the pair alone, whatever it is batched with.
        Raises:
            BenchError: the images are too small for the trunk.
        """
        side = min(predictions.shape[-2:])
        if side < self._trunk.smallest:
            raise BenchError(
                self._recipe.metric,
                f"images {side} px on the short side",
                expected=f"at least {self._trunk.smallest} px for the trunk {self._recipe.net}",
                fix="Prepare the images larger, or score without this metric.",
            )
        names = [None] * len(truths) if names is None else names
        count = block_length(predictions.shape[-2:], self._device)
        with exact_float32(self._device):
            blocks = [slice(start, start + count) for start in range(0, len(truths), count)]
            values = [
                self._compare(
                    self._block_features(predictions[block], count),
                    self._truth_features(truths[block], names[block], count),
                )
                for block in blocks
            ]
            return torch.cat(values)

    def forget(self, names: Iterable[str]) -> None:
        """Drop what is kept of truths that no further prediction will be compared with."""
        self._kept.forget(names)

    def _truth_features(self, truths: Tensor, names: Sequence[str | None], count: int) -> Features:
        """Features of a block of truths, computed where they are not kept."""
        found = {name: self._kept.get(name) for name in names if name is not None}
        if not any(found.values()) and len(found) in (0, len(names)):
            made = self._block_features(truths, count)
            self._keep(names, made)
            return made
        # A name that is there twice is computed once.
        first = {name or place: place for place, name in reversed(list(enumerate(names)))}
        lacking = sorted(place for name, place in first.items() if not isinstance(name, str) or found[name] is None)
        made = self._block_features(truths[lacking], count) if lacking else []
        self._keep([names[place] for place in lacking], made)
        rows = {place: [tap[row : row + 1] for tap in made] for row, place in enumerate(lacking)}
        each = [(name and found[name]) or rows[first[name or place]] for place, name in enumerate(names)]
        return [torch.cat(taps) for taps in zip(*each, strict=True)]

    def _keep(self, names: Sequence[str | None], made: Features) -> None:
        for row, name in enumerate(names):
            if name is not None:
                # A copy: a slice would keep the whole block alive.
                self._kept.put(name, [tap[row : row + 1].clone() for tap in made])

    def _block_features(self, images: Tensor, count: int) -> Features:
        """Unit features of up to `count` images, computed as `count` of them.

        A convolution may round differently in a batch of another size: so the size of the batch is always the same.
        """
        low, high = self._recipe.input_range
        missing = count - len(images)
        filled = F.pad(images, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else images
        scaled = filled.mul(high - low).add_(low).sub_(self._shift).div_(self._scale)
        features = self._features(scaled)
        return [self._normalise(tap[: len(images)]) for tap in features]

    def _features(self, images: Tensor) -> list[Tensor]:
        """The features at each tap. Channels lie last in memory, because oneDNN and cuDNN are faster so."""
        taps: list[Tensor] = []
        state = images.to(self._dtype).contiguous(memory_format=torch.channels_last)
        for layer in self._trunk.layers:
            match layer:
                case Conv(place, stride, padding):
                    state = self._convolve(state, f"features.{place}", stride, padding)
                case Fire(place):
                    state = self._fire(state, f"features.{place}")
                case Pool(kernel, ceil):
                    state = F.max_pool2d(state, kernel, stride=2, ceil_mode=ceil)
                case Tap():
                    taps.append(state.float())
        return taps

    def _convolve(self, state: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        weight, bias = self._parameters[f"{name}.weight"], self._parameters[f"{name}.bias"]
        return F.conv2d(state, weight, bias, stride=stride, padding=padding).relu_()

    def _fire(self, state: Tensor, name: str) -> Tensor:
        squeezed = self._convolve(state, f"{name}.squeeze")
        narrow, wide = (
            self._convolve(squeezed, f"{name}.expand1x1"),
            self._convolve(squeezed, f"{name}.expand3x3", padding=1),
        )
        return torch.cat([narrow, wide], dim=1)

    def _normalise(self, feature: Tensor) -> Tensor:
        """Unit vectors along the channels."""
        squared_norm = feature.square().sum(dim=1, keepdim=True)
        epsilon = self._recipe.epsilon
        inside = self._recipe.epsilon_place == "inside-root"
        norm = (squared_norm + epsilon).sqrt_() if inside else squared_norm.sqrt_().add_(epsilon)
        return feature / norm

    def _compare(self, predictions: Features, truths: Features) -> Float[Tensor, " pair"]:
        """The squared differences weighted by the heads, averaged over the pixels, summed over the taps."""
        taps = zip(predictions, truths, self._heads, strict=True)
        distances = [
            (prediction - truth).square_().mul_(head).sum(dim=1).mean(dim=(-2, -1)) for prediction, truth, head in taps
        ]
        return torch.stack(distances).sum(dim=0)


class _Kept:
    """Features by the name of their image, up to a number of bytes. What does not fit is computed again.

    Several threads may use it: a dictionary's single operations are whole, and a race costs a computation, no value.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self._features: dict[str, Features] = {}

    def get(self, name: str) -> Features | None:
        return self._features.get(name)

    def put(self, name: str, features: Features) -> None:
        size = sum(tap.nbytes for tap in features)
        if name not in self._features and self._bytes + size <= self._limit:
            self._features[name] = features
            self._bytes += size

    def forget(self, names: Iterable[str]) -> None:
        for name in names:
            self._bytes -= sum(tap.nbytes for tap in self._features.pop(name, []))


def block_length(size: Sequence[int], device: torch.device) -> int:
    """How many images of (height, width) go through a trunk at once.

    On a CPU four of 256x256 px take 9.0 ms each and one alone 11.3 (AlexNet, one core of an AMD EPYC, 2026); larger
    ones leave the cache.
    """
    pixels, most = (_BLOCK_PIXELS_CPU, 4) if device.type == "cpu" else (_BLOCK_PIXELS_GPU, 32)
    return max(1, min(most, pixels // (size[0] * size[1])))


def check_lpips_recipe(recipe: LpipsRecipe) -> None:
    """Raise BenchError where the recipe asks for something that `Lpips` cannot do."""
    require_implemented(f"{recipe.metric}.version", recipe.version, ("0.1",))
    require_implemented(f"{recipe.metric}.dtype", recipe.dtype, tuple(_DTYPES))
    if recipe.heads.sha256 is not None:
        require_implemented(f"{recipe.metric}.heads.sha256", recipe.heads.sha256, (HEADS_SHA256,))


def _check_pin(recipe: LpipsRecipe, weights: WeightsFile) -> None:
    if recipe.trunk.sha256 not in (None, weights.sha256):
        raise BenchError(
            weights.path,
            f"weights known as sha256 {weights.sha256}",
            expected=f"sha256 {recipe.trunk.sha256}, as the convention says for {recipe.metric}",
            fix="Get the file that the convention names.",
        )


def _load_trunk(net: str, weights: WeightsFile, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """The parameters that the trunk's table names."""
    try:
        found = load(weights.path.read_bytes())
        return {name: _to_convolution(found[name], device, dtype) for name in _parameter_names(TRUNKS[net])}
    except (SafetensorError, KeyError) as error:
        raise BenchError(
            weights.path,
            f"not a {net} trunk ({error})",
            expected="a safetensors file of torchvision's features (features.0.weight, ...)",
            fix="Move it away: `kbench weights list` names the right file, `kbench weights fetch` gets it.",
        ) from None


def _to_convolution(parameter: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    layout = torch.channels_last if parameter.ndim == 4 else torch.contiguous_format
    return parameter.to(device, dtype).contiguous(memory_format=layout)


def _parameter_names(trunk: Trunk) -> list[str]:
    modules: list[str] = []
    for layer in trunk.layers:
        match layer:
            case Conv(place):
                modules.append(f"features.{place}")
            case Fire(place):
                modules += [f"features.{place}.{part}" for part in ("squeeze", "expand1x1", "expand3x3")]
            case _:
                pass
    return [f"{module}.{kind}" for module in modules for kind in ("weight", "bias")]
