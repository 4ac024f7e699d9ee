"""Metric conventions: how PSNR, SSIM and LPIPS are computed, as named, hashed records.

Two papers' "SSIM" differ by more than their methods do: window, border, covariance and data range are choices, and so
are the network and the input range of LPIPS, the rounding of the prediction, and what is averaged over what. A
convention writes every such choice down; a result carries the convention's name and hash. The fields cover the
conventions found in the field's code bases, so that another one is a YAML file and no code. A scorer that cannot do
what a field says refuses.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, StringConstraints, model_validator

from kaleido_bench.errors import BenchError
from kaleido_bench.records import Record, RefusedError, Sha256, canonical_json, load_yaml_record, sha256_hex, suggest

UNHASHED_FIELDS = frozenset({"title", "source", "notes"})
"""Words for people. No number depends on them, so a better explanation is not another convention."""

MetricName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
ConventionName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]


class Metric(NamedTuple):
    """One number a convention defines."""

    name: str
    higher_is_better: bool


class PsnrRecipe(Record):
    """Peak signal-to-noise ratio, -10 log10(MSE / range^2), in dB."""

    aggregation: Literal["per-image", "per-channel", "pooled"] = Field(
        description="per-image: one MSE over all pixels and channels of a view; per-channel: the mean of the PSNRs of "
        "its channels; pooled: one MSE over all views of a scene"
    )
    channels: Literal["rgb", "gray", "luma"] = Field(
        description="gray: skimage's rgb2gray; luma: BT.601 Y of the SR field"
    )
    data_range: float | Literal["pair"] = Field(description="peak value; pair: max - min over prediction and truth")


class SsimRecipe(Record):
    """Structural similarity (Wang et al. 2004): the choices in which implementations differ, and its constants."""

    window: Literal["gaussian", "uniform"]
    window_size: int = Field(ge=3, description="pixels, odd")
    sigma: float | None = Field(description="pixels; of the Gaussian window, null for a uniform one")
    border: Literal["valid", "reflect", "zero"] = Field(
        description="valid: only windows inside the image count; reflect, zero: the image is padded, all pixels count"
    )
    covariance: Literal["biased", "sample"] = Field(description="sample: times n / (n - 1), n = window_size^2")
    clip_variance: bool = Field(description="negative variances from rounding are set to zero (dm_pix)")
    k1: float = Field(gt=0)
    k2: float = Field(gt=0)
    data_range: float | Literal["pair"] = Field(description="of the inputs; pair: max - min over prediction and truth")
    channels: Literal["rgb", "gray", "luma"] = Field(description="rgb: each channel by itself, then the mean")

    @model_validator(mode="after")
    def _check_window(self) -> SsimRecipe:
        if self.window_size % 2 == 0:
            raise RefusedError(
                f"window_size {self.window_size}", expected="an odd number of pixels", fix="Use 7 or 11."
            )
        if (self.window == "gaussian") != (self.sigma is not None):
            raise RefusedError(
                f"window {self.window} with sigma {self.sigma}",
                expected="a sigma for a gaussian window and null for a uniform one",
                fix="Correct sigma.",
            )
        return self


class WeightsReference(Record):
    """A file of weights by name and content."""

    name: str = Field(description="file name without its suffix, as the weights cache knows it")
    sha256: Sha256 | None = Field(
        description="null: no file known to be right was at hand; the scorer records what it used"
    )


class LpipsRecipe(Record):
    """Learned perceptual image patch similarity (Zhang et al. 2018)."""

    metric: MetricName = Field(description="its name in tables: lpips-alex")
    net: Literal["alex", "vgg", "squeeze"]
    version: Literal["0.0", "0.1"]
    input_range: tuple[float, float] = Field(
        description="what [0, 1] is mapped to before the net, which was trained for [-1, 1]; 3DGS feeds [0, 1]"
    )
    dtype: Literal["float32", "bfloat16"]
    epsilon: float = Field(gt=0)
    epsilon_place: Literal["after-root", "inside-root"] = Field(
        description="of the unit normalisation: x / (sqrt(s) + e) (lpips) or x / sqrt(s + e) (torchmetrics)"
    )
    trunk: WeightsReference
    heads: WeightsReference


class CapInfinite(Record):
    """PSNR is min(PSNR, decibels): the order of views is kept, the mean stays finite, every view counts."""

    policy: Literal["cap"]
    decibels: float = Field(gt=0)


class ReportInfinite(Record):
    """PSNR stays infinite, and so does every mean it enters."""

    policy: Literal["report"]


class ExcludeInfinite(Record):
    """Views with an infinite PSNR leave the PSNR mean; the result says how many."""

    policy: Literal["exclude"]


InfinitePsnr = Annotated[CapInfinite | ReportInfinite | ExcludeInfinite, Field(discriminator="policy")]


class Convention(Record):
    """How predictions become numbers."""

    schema_version: Literal[1]
    name: ConventionName
    title: str
    source: tuple[str, ...] = Field(description="papers, files, reasons")
    notes: tuple[str, ...] = Field(
        default=(), description="what a reader should know, and where it differs from its model"
    )

    clamp: bool = Field(description="the prediction is clamped to [0, 1] first")
    quantise: Literal["none", "round8", "floor8"] = Field(description="then brought to 8 bits: nearest, or truncated")
    colour_correction: Literal["none", "affine", "quadratic"] = Field(
        description="fitted to the truth (multinerf, gsplat: cc_)"
    )
    crop_border: int = Field(ge=0, description="pixels cut from each side of prediction and truth")
    mask: Literal["none", "inside", "zero-both", "bbox-crop"] = Field(
        description="none: all pixels; inside: only masked pixels count; zero-both: both images are zero outside, and "
        "all pixels count; bbox-crop: both are cut to the mask's bounding box"
    )
    psnr: PsnrRecipe
    infinite_psnr: InfinitePsnr
    ssim: SsimRecipe
    lpips: tuple[LpipsRecipe, ...]
    reduction: Literal["view>scene>protocol", "view>protocol"] = Field(
        description="mean of means, or one mean over all views"
    )
    missing: Literal["fail"] = Field(description="a result exists only when every expected view is there")

    @model_validator(mode="after")
    def _check_names(self) -> Convention:
        names = [recipe.metric for recipe in self.lpips]
        if len(set(names)) != len(names) or {"psnr", "ssim"} & set(names):
            raise RefusedError(
                f"the LPIPS metrics {names}", expected="distinct names besides psnr and ssim", fix="Rename one."
            )
        return self

    # Not cached: pydantic's model_copy would carry a cached hash into a changed copy.
    @property
    def hash(self) -> str:
        """sha256 over the canonical form, all fields but `UNHASHED_FIELDS`."""
        return sha256_hex(canonical_json(self.model_dump(mode="json", exclude=set(UNHASHED_FIELDS))))

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics it defines, by name."""
        own = [Metric("psnr", True), Metric("ssim", True), *(Metric(recipe.metric, False) for recipe in self.lpips)]
        return {metric.name: metric for metric in own}


def find_conventions() -> dict[str, Path]:
    """The conventions that ship with the package, by name."""
    folder = Path(str(files("kaleido_bench"))) / "embedded" / "conventions"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_convention(name: str, *, where: object = None) -> Convention:
    """Loads a shipped convention.

    Args:
        name: its name.
        where: what asked for it, for the error.

    Raises:
        BenchError: no such convention, or its file is not one.
    """
    known = find_conventions()
    if name not in known:
        raise BenchError(
            where or "convention",
            f"no convention is named '{name}'",
            expected=f"one of {', '.join(known)}",
            fix=suggest(name, known, otherwise="See `kbench list conventions`."),
        )
    convention = load_convention_file(known[name])
    if convention.name != name:
        raise BenchError(known[name], f"name '{convention.name}'", expected=f"'{name}', as the file", fix="Rename one.")
    return convention


def load_convention_file(path: Path) -> Convention:
    """Loads a convention from any YAML file; raises `BenchError` when it is not one."""
    return load_yaml_record(path, Convention, what="a metric convention", fix="See `kbench list conventions`.")
