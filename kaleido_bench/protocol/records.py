"""A protocol's YAML file as a record: its fields, and what keeps values from being some."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from kaleido_bench.cases import find_repeated
from kaleido_bench.conventions import ConventionName, MetricName
from kaleido_bench.data.images import ImagePreparation
from kaleido_bench.data.normalisation import NORMALISATIONS
from kaleido_bench.data.readers import READERS
from kaleido_bench.records import (
    Record,
    RefusedError,
    SafePath,
    Sha256,
    refuse_dots,
    suggest,
)

ProtocolName = Annotated[SafePath, AfterValidator(refuse_dots)]


class Dataset(Record):
    """Where the scenes come from."""

    name: str = Field(min_length=1, description="the data set's name in tables")
    reader: str = Field(min_length=1, description="name of the reader that understands its layout")
    root: str = Field(min_length=1, description="folder below KBENCH_DATA, or 'package:NAME' for embedded data")
    revision: str = Field(min_length=1, description="which state of the data: a commit, a release, a date")

    @field_validator("reader")
    @classmethod
    def _check_reader(cls, reader: str) -> str:
        if reader not in READERS:
            raise RefusedError(
                f"no reader is named '{reader}'",
                expected="a layout of docs/readers.md",
                fix=suggest(reader, READERS, otherwise=f"Use one of {', '.join(READERS)}."),
            )
        return reader

    @field_validator("root")
    @classmethod
    def _check_root(cls, root: str) -> str:
        if not root.startswith("package:") and (root.startswith("/") or ".." in PurePosixPath(root).parts):
            raise RefusedError(
                f"'{root}' leaves the data directory",
                expected="a path below it, or '.'",
                fix="Write it relative to the folder that KBENCH_DATA or --data names.",
            )
        return root


class CompletedFrom(Record):
    """The published file from which the view ids of a pending protocol were read."""

    kind: str = Field(min_length=1, description="the importer, as `kbench import-split` names it")
    file: str = Field(min_length=1, description="its name, without the folder")
    sha256: Sha256 = Field(description="of the file's bytes; of a folder, see kaleido_bench.importers.archives")


class IndexFile(Record):
    """The frozen case index."""

    file: str = Field(min_length=1, description="path of the JSON file, relative to this YAML file")
    sha256: Sha256 = Field(description="of the file's bytes, as sha256sum prints it")
    completed_from: CompletedFrom | None = Field(default=None, description="where `kbench import-split` read its ids")

    @model_serializer(mode="wrap")
    def _leave_out_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Runs keep their protocol: those of protocols that nothing completed stay as they were.
        fields = cast("dict[str, Any]", handler(self))
        return {key: value for key, value in fields.items() if key != "completed_from" or value is not None}


class ExpectedCounts(Record):
    """What is known of a split whose view ids are not at hand: an import that does not match it is refused."""

    scenes: int | None = Field(ge=1, description="scenes, each with every one of `reference_counts`; null: not stated")
    targets: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        description="targets of a case, one number for each of `reference_counts`; null: not stated, or by scene"
    )
    scene_names: tuple[str, ...] = Field(
        default=(), description="scenes known to be among them, as the paper names them: perhaps not as folders"
    )


class PendingIndex(Record):
    """Stands where an index will be: the view ids are published somewhere, and the user has to bring them."""

    ids: Literal["pending"]
    completed_by: str = Field(min_length=1, description="the importer, as `kbench import-split` names it")
    entry: str = Field(min_length=1, description="the split's name inside the published file")
    obtain: str = Field(min_length=1, description="which file it is and where it is published")
    expected: ExpectedCounts


def _index_tag(value: Any) -> str:
    pending = isinstance(value, PendingIndex) or (isinstance(value, dict) and "ids" in value)
    return "pending" if pending else "frozen"


AnyIndex = Annotated[
    Annotated[IndexFile, Tag("frozen")] | Annotated[PendingIndex, Tag("pending")], Discriminator(_index_tag)
]


class GivenCameras(Record):
    """Cameras reach the adapter as the data set has them."""

    policy: Literal["given"]


class NormalisedCameras(Record):
    """Cameras reach the adapter after a named rule that looks at the reference cameras only."""

    policy: Literal["normalised"]
    rule: str = Field(description="one of the rules of kaleido_bench.data.normalisation.NORMALISATIONS")

    @field_validator("rule")
    @classmethod
    def _check_rule(cls, rule: str) -> str:
        if rule not in NORMALISATIONS:
            raise RefusedError(
                f"no rule is named '{rule}'",
                expected=f"one of {', '.join(sorted(NORMALISATIONS))}",
                fix=suggest(rule, NORMALISATIONS, otherwise="Use one of these."),
            )
        return rule


class ScaleSweepCameras(Record):
    """Each case is predicted once per scale (translations times the scale) and its best scale counts: an oracle."""

    policy: Literal["scale-sweep"]
    scales: tuple[Annotated[float, Field(gt=0)], ...]

    @field_validator("scales")
    @classmethod
    def _check_scales(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if not scales or len({format_scale(scale) for scale in scales}) != len(scales):
            raise RefusedError(
                f"the scales {list(scales)}", expected="one scale or more, each once", fix="Correct the list."
            )
        return scales


CameraPolicy = Annotated[GivenCameras | NormalisedCameras | ScaleSweepCameras, Field(discriminator="policy")]


class Protocol(Record):
    """A benchmark protocol, as its YAML file says it. All that is scientific has no default."""

    schema_version: Literal[1]
    name: ProtocolName = Field(description="its name on the command line; a shipped protocol's path below protocols/")
    version: int = Field(ge=1, description="raised whenever the hash changes on purpose")
    title: str = Field(min_length=1)
    level: Literal["object", "scene"]
    regime: Literal["few-view", "many-view"]
    dataset: Dataset
    index: AnyIndex
    reference_counts: tuple[Annotated[int, Field(ge=1)], ...] | Literal["all"] = Field(
        description="the axis of the tables: numbers of reference views, ascending; or 'all' where every view that is "
        "no target is a reference, so that the number differs from scene to scene"
    )
    preparation: ImagePreparation
    cameras: CameraPolicy
    convention: ConventionName
    metrics: tuple[MetricName, ...] = Field(min_length=1, description="a result without one of these is incomplete")
    optional_metrics: tuple[MetricName, ...] = Field(default=(), description="scored where their weights are at hand")
    samples: int = Field(ge=1, description="predictions per case of a generative adapter")
    seed: int = Field(ge=0, lt=2**63)
    targets: Literal["as-published", "strict-novel"] = Field(
        description="strict-novel: no target is also a reference; as-published: kept as a paper had it, and marked"
    )
    sources: tuple[str, ...] = Field(min_length=1, description="where data and split come from, and their terms")
    known_problems: tuple[str, ...] = Field(default=(), description="what a reader of its numbers must know")

    @field_validator("reference_counts")
    @classmethod
    def _check_counts(cls, counts: tuple[int, ...] | str) -> tuple[int, ...] | str:
        if not isinstance(counts, str) and (not counts or list(counts) != sorted(set(counts))):
            raise RefusedError(
                f"{list(counts)}",
                expected="one number or more, ascending, each once",
                fix="Sort it and drop what repeats.",
            )
        return counts

    @model_validator(mode="after")
    def _check_expected(self) -> Protocol:
        if not isinstance(self.index, PendingIndex):
            return self
        counts, targets = self.reference_counts, self.index.expected.targets
        if targets is not None and (isinstance(counts, str) or len(targets) != len(counts)):
            found = "all" if isinstance(counts, str) else f"{len(counts)} numbers"
            raise RefusedError(
                f"index.expected.targets {targets} beside reference_counts of {found}",
                expected="as many numbers of targets as of reference views, or null",
                fix="Correct one of the two lists.",
            )
        return self

    @field_validator("metrics", "optional_metrics")
    @classmethod
    def _check_metrics(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        required = cast("tuple[str, ...]", info.data.get("metrics", ()))  # empty while `metrics` itself is checked
        for name in find_repeated((*required, *names)):
            raise RefusedError(
                f"the metric '{name}' is named twice",
                expected="each metric once",
                fix="Keep it in metrics or in optional_metrics.",
            )
        return names


def format_scale(scale: float) -> str:
    """A scale as names of work items write it: 0.5, 1, 1.25."""
    return f"{scale:.12g}"
