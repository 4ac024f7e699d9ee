"""Metric conventions: how PSNR, SSIM and LPIPS are computed, as named, hashed records.

Two papers' "SSIM" differ by more than their methods do: window, border, covariance and data range are choices, and so
are the network and the input range of LPIPS, the rounding of the prediction, and what is averaged over what. A
convention writes every such choice down; a result carries the convention's name and hash. The fields cover the
conventions found in the field's code bases, so that another one is a YAML file and no code. A scorer that cannot do
what a field says refuses.

What nobody knows of a code base is unset: null, with the reason beside it. Such a field is scored as `kbench-v1` has
it, and every result says so.
"""

from __future__ import annotations

from functools import cache, reduce
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import Field, StringConstraints, model_validator

from kaleido_bench.errors import BenchError
from kaleido_bench.records import Record, RefusedError, Sha256, canonical_json, load_yaml_record, sha256_hex, suggest

UNHASHED_FIELDS = frozenset({"title", "source", "notes", "quirk", "unset"})
"""Words for people. No number depends on them, so a better explanation is not another convention. (That a field is
unset is hashed: it is null.)"""

LATER_FIELDS = {
    "quantise_of": "prediction",
    "dtype": "float32",
    "background": "as-prepared",
    "mask_source": "any",
    "without_mask": "refuse",
}
"""Fields that came after `kbench-v1` was frozen. At these values, which say what it always meant, they are left out of
the hash."""

CANONICAL = "kbench-v1"
"""The convention whose values stand in for what another one leaves unset."""

MayBeUnset = Literal[
    "clamp", "quantise", "psnr.aggregation", "infinite_psnr", "ssim.border", "ssim.data_range", "reduction"
]
"""The fields that may be null because nobody knows them. (Elsewhere null is a value: a uniform window has no sigma.)"""

PSNR_METRICS = frozenset({"psnr", "psnr-fg"})
"""The metrics in dB, which the aggregation of PSNR and the policy for infinite values are about."""

FOREGROUND_METRICS = frozenset({"psnr-fg", "ssim-fg"})
"""The metrics that count the pixels inside a mask and no other. Every convention defines them, by its own recipes for
PSNR and SSIM: `psnr-fg` is the PSNR of the mean squared error over the pixels inside, `ssim-fg` the mean of the SSIM
map over the windows whose centre is inside. What a window sees outside the mask is what the images show there."""

_NO_VALUE = object()

MetricName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Byte = Annotated[int, Field(ge=0, le=255)]
ConventionName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]


class Metric(NamedTuple):
    """One number a convention defines."""

    name: str
    higher_is_better: bool


class PsnrRecipe(Record):
    """Peak signal-to-noise ratio, -10 log10(MSE / range^2), in dB."""

    aggregation: Literal["per-image", "per-channel", "pooled"] | None = Field(
        description="per-image: one MSE over all pixels and channels of a view; per-channel: the mean of the PSNRs of "
        "its channels; pooled: one MSE over all views of a scene, the mean of theirs"
    )
    channels: Literal["rgb", "gray", "luma"] = Field(
        description="gray: skimage's rgb2gray; luma: BT.601 Y of the SR field"
    )
    data_range: float | Literal["pair"] = Field(
        description="peak value; pair: max - min of prediction or of truth, whichever is larger"
    )


class SsimRecipe(Record):
    """Structural similarity (Wang et al. 2004): the choices in which implementations differ, and its constants."""

    window: Literal["gaussian", "uniform"]
    window_size: int = Field(ge=3, description="pixels, odd")
    sigma: float | None = Field(description="pixels; of the Gaussian window, null for a uniform one")
    border: Literal["valid", "reflect", "zero"] | None = Field(
        description="valid: only windows inside the image count; reflect, zero: the image is padded, all pixels count"
    )
    covariance: Literal["biased", "sample"] = Field(description="sample: times n / (n - 1), n = window_size^2")
    clip_variance: bool = Field(description="negative variances from rounding are set to zero (dm_pix)")
    k1: float = Field(gt=0)
    k2: float = Field(gt=0)
    data_range: float | Literal["pair"] | None = Field(
        description="of the inputs; pair: max - min of prediction or of truth, whichever is larger (torchmetrics' None)"
    )
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


class Unset(Record):
    """A field that is null because it is not known, and why it is not."""

    field: MayBeUnset
    why: str


class Convention(Record):
    """How predictions become numbers."""

    schema_version: Literal[1]
    name: ConventionName
    title: str
    source: tuple[str, ...] = Field(description="papers, files, reasons")
    notes: tuple[str, ...] = Field(
        default=(), description="what a reader should know, and where it differs from its model"
    )
    quirk: str | None = Field(default=None, description="what sets it apart from what a reader would expect")
    unset: tuple[Unset, ...] = Field(default=(), description="the fields that are null because they are not known")

    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="the prediction is rounded to this type first"
    )
    clamp: bool | None = Field(description="the prediction is clamped to [0, 1] first")
    quantise: Literal["none", "round8", "floor8"] | None = Field(
        description="then brought to 8 bits: nearest, or truncated"
    )
    quantise_of: Literal["prediction", "both"] = Field(
        default="prediction", description="whether the truth is brought to 8 bits too"
    )
    colour_correction: Literal["none", "affine", "quadratic"] = Field(
        description="fitted to the truth (multinerf, gsplat: cc_)"
    )
    crop_border: int = Field(ge=0, description="pixels cut from each side of prediction and truth")
    mask: Literal["none", "inside", "zero-both", "bbox-crop"] = Field(
        description="none: all pixels; inside: only masked pixels count; zero-both: both images are zero outside, and "
        "all pixels count; bbox-crop: both are cut to the mask's bounding box"
    )
    background: Literal["as-prepared", "black", "white"] | tuple[Byte, Byte, Byte] = Field(
        default="as-prepared",
        description="what both images show outside the mask in every metric; as-prepared: what they show anyway",
    )
    mask_source: Literal["any", "files"] = Field(
        default="any", description="any: a view's mask file, or else the alpha channel of its image; files: the first"
    )
    without_mask: Literal["refuse", "all-pixels"] = Field(
        default="refuse", description="of the mask rule and the background, where a view has no mask"
    )
    psnr: PsnrRecipe
    infinite_psnr: InfinitePsnr | None
    ssim: SsimRecipe
    lpips: tuple[LpipsRecipe, ...]
    reduction: Literal["view>scene>protocol", "view>protocol"] | None = Field(
        description="mean of means, or one mean over all views"
    )
    missing: Literal["fail"] = Field(description="a result exists only when every expected view is there")

    @model_validator(mode="after")
    def _check_names(self) -> Convention:
        names = [recipe.metric for recipe in self.lpips]
        taken = {"psnr", "ssim", *FOREGROUND_METRICS}
        if len(set(names)) != len(names) or taken & set(names):
            raise RefusedError(
                f"the LPIPS metrics {names}",
                expected=f"distinct names besides {', '.join(sorted(taken))}",
                fix="Rename one.",
            )
        return self

    @model_validator(mode="after")
    def _check_background(self) -> Convention:
        if self.mask == "zero-both" and self.background not in ("as-prepared", "black"):
            raise RefusedError(
                f"mask zero-both on the background {self.background}",
                expected="black, which is what zero looks like",
                fix="Say mask: none, which with a background counts all pixels.",
            )
        return self

    @model_validator(mode="after")
    def _check_unset(self) -> Convention:
        named, null = [entry.field for entry in self.unset], list(self.unset_fields)
        if sorted(named) != sorted(null):
            raise RefusedError(
                f"the null fields {null} and the unset ones {named}",
                expected="each null field named once under 'unset', with why it is not known, and no other",
                fix="Correct 'unset', or give the field a value.",
            )
        return self

    @property
    def unset_fields(self) -> tuple[str, ...]:
        """The paths of the fields that are not known."""
        return tuple(path for path in get_args(MayBeUnset) if _read_field(self, path) is None)

    # Not cached: pydantic's model_copy would carry a cached hash into a changed copy.
    @property
    def hash(self) -> str:
        """sha256 over the canonical form, all fields but `UNHASHED_FIELDS` (and see `LATER_FIELDS`)."""
        fields = self.model_dump(mode="json", exclude=set(UNHASHED_FIELDS))
        kept = {name: value for name, value in fields.items() if LATER_FIELDS.get(name, _NO_VALUE) != value}
        return sha256_hex(canonical_json(kept))

    @property
    def view_psnr_cap(self) -> float | None:
        """dB that the PSNR of a view is cut to; None where it may be infinite (of a pool, the scene's PSNR is cut)."""
        policy = self.infinite_psnr
        return policy.decibels if isinstance(policy, CapInfinite) and self.psnr.aggregation != "pooled" else None

    @property
    def uses_masks(self) -> bool:
        """Whether its metrics of the full image look at masks."""
        return self.mask != "none" or self.background != "as-prepared"

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics it defines, by name."""
        own = [Metric("psnr", True), Metric("ssim", True), *(Metric(recipe.metric, False) for recipe in self.lpips)]
        own += [Metric(name, True) for name in sorted(FOREGROUND_METRICS)]
        return {metric.name: metric for metric in own}


def fill_unset(convention: Convention) -> Convention:
    """The convention with `kbench-v1`'s values where it is unset: the recipe that is carried out.

    Its hash is another one; a result carries the hash of the convention itself, and `kbench-v1` is frozen, so that the
    hash still determines the numbers.
    """
    if not convention.unset_fields:
        return convention
    fields, known = convention.model_dump(), load_convention(CANONICAL).model_dump()
    for path in convention.unset_fields:
        *groups, name = path.split(".")
        reduce(_enter, groups, fields)[name] = reduce(_enter, groups, known)[name]
    return Convention.model_validate({**fields, "unset": ()})


def list_caveats(convention: Convention) -> tuple[str, ...]:
    """What must be said beside every number under this convention: what is unset, what saved predictions hide."""
    filled, name = fill_unset(convention), convention.name
    caveats = [
        f"{name}: {entry.field} is unset, scored as {CANONICAL} does ({_show(filled, entry.field)}): {entry.why}"
        for entry in convention.unset
    ]
    if convention.quantise in ("none", "floor8"):
        caveats.append(f"{name}: quantise is {convention.quantise}; predictions saved in 8 bits are scored as saved")
    if convention.dtype != "float32":
        caveats.append(f"{name}: predictions saved in 8 bits are rounded to {convention.dtype} after that")
    if convention.uses_masks and convention.without_mask == "all-pixels":
        caveats.append(f"{name}: views without a mask are scored whole")
    return tuple(caveats)


def _read_field(record: Record, path: str) -> object:
    return reduce(getattr, path.split("."), record)


def _enter(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return fields[name]


def _show(convention: Convention, path: str) -> str:
    value = _read_field(convention, path)
    words = value.model_dump().values() if isinstance(value, Record) else [value]
    return " ".join(map(str, words))


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
    convention = _load_shipped(known[name])
    if convention.name != name:
        raise BenchError(known[name], f"name '{convention.name}'", expected=f"'{name}', as the file", fix="Rename one.")
    return convention


@cache
def _load_shipped(path: Path) -> Convention:
    """Read once: parsing takes 20 ms, and a page of published numbers asks for a convention a line."""
    return load_convention_file(path)


def load_convention_file(path: Path) -> Convention:
    """Loads a convention from any YAML file; raises `BenchError` when it is not one."""
    return load_yaml_record(path, Convention, what="a metric convention", fix="See `kbench list conventions`.")
