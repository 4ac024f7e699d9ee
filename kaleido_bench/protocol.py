"""Protocols: what is shown to an adapter, what it is asked for, and how the answer is counted. Frozen and hashed.

A protocol is a YAML file beside a case index. Its hash covers everything that can move a number: the record's fields
(but for `UNHASHED_FIELDS`) and the content of the index, with the sha256 of every image it reads.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast

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

from kaleido_bench.cases import Case, CaseIndex, find_repeated, load_index
from kaleido_bench.conventions import Convention, ConventionName, MetricName, find_conventions, load_convention
from kaleido_bench.data.cameras import NORMALISATIONS
from kaleido_bench.data.images import ImagePreparation
from kaleido_bench.errors import BenchError
from kaleido_bench.records import (
    Record,
    RefusedError,
    SafePath,
    Sha256,
    canonical_json,
    load_yaml_record,
    refuse_dots,
    sha256_hex,
    suggest,
)
from kaleido_bench.shipped import find_protocols
from kaleido_bench.yaml_lines import parse_yaml

UNHASHED_FIELDS = frozenset({"title", "sources", "known_problems", "index"})
"""Fields that move no number, so that correcting a source or moving a file is not another protocol. `index` (its path
and the sha256 of its bytes) is among them because the index itself enters the hash, in canonical order."""

ALL_OTHERS = "all"
"""The label of a reference-count axis that is not one: every view that is no target is a reference."""

ProtocolName = Annotated[SafePath, AfterValidator(refuse_dots)]


class Dataset(Record):
    """Where the scenes come from."""

    name: str = Field(min_length=1, description="the data set's name in tables")
    reader: str = Field(min_length=1, description="name of the reader that understands its layout")
    root: str = Field(min_length=1, description="folder below KBENCH_DATA, or 'package:NAME' for embedded data")
    revision: str = Field(min_length=1, description="which state of the data: a commit, a release, a date")


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
    rule: str = Field(description="one of the rules of kaleido_bench.data.cameras.NORMALISATIONS")

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


@dataclass(frozen=True)
class LoadedProtocol:
    """A protocol with its cases."""

    protocol: Protocol
    index: CaseIndex
    hash: str
    path: Path | None  # None: rebuilt from a run, which carries protocol and index

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases, in the order of the index."""
        return self.index.cases

    @cached_property
    def cases_by_id(self) -> dict[str, Case]:
        """The cases by their ids."""
        return {case.id: case for case in self.cases}

    @property
    def reference_labels(self) -> tuple[str, ...]:
        """The reference-count axis as tables print it: ("1", "3", "6"), or ("all",)."""
        counts = self.protocol.reference_counts
        return (ALL_OTHERS,) if isinstance(counts, str) else tuple(str(count) for count in counts)

    def reference_label(self, case: Case) -> str:
        """Where a case stands on the reference-count axis."""
        return ALL_OTHERS if isinstance(self.protocol.reference_counts, str) else str(len(case.references))


class PendingError(BenchError):
    """A protocol whose view ids are not at hand was to be used; the message names the command that completes it."""

    def __init__(self, protocol: Protocol, index: PendingIndex) -> None:
        super().__init__(
            f"protocol '{protocol.name}'",
            "its view ids are pending",
            expected=f"the ids of {index.entry}, from {index.obtain}",
            fix=f"With that as FILE, run `{completing_command(protocol.name, index)}`.",
        )


def completing_command(name: str, index: PendingIndex) -> str:
    """The command that makes an ordinary protocol of a pending one."""
    file = f"{name.replace('/', '-')}.yaml"
    return f"kbench import-split {index.completed_by} FILE --protocol {name} -o {file}"


def protocol_hash(protocol: Protocol, index: CaseIndex) -> str:
    """sha256 over the canonical form of protocol (all fields but `UNHASHED_FIELDS`) and index."""
    return sha256_hex(canonical_json({"protocol": hashed_fields(protocol), "index": index.canonical()}))


def fields_hash(protocol: Protocol) -> str:
    """sha256 over the canonical form of a protocol's fields alone: the identity of one whose index is pending."""
    return sha256_hex(canonical_json({"protocol": hashed_fields(protocol)}))


def hashed_fields(protocol: Protocol) -> dict[str, Any]:
    """The fields that can move a number: all but `UNHASHED_FIELDS`."""
    return protocol.model_dump(mode="json", exclude=set(UNHASHED_FIELDS))


def format_scale(scale: float) -> str:
    """A scale as names of work items write it: 0.5, 1, 1.25."""
    return f"{scale:.12g}"


def load_protocol(path_or_name: Path | str) -> LoadedProtocol:
    """Loads a protocol and its frozen index, and checks that they fit together.

    Args:
        path_or_name: a YAML file, or the name of a shipped protocol.

    Raises:
        BenchError: no such protocol; or it, its index, or both together are wrong. It names `file:line`.
        PendingError: its view ids are not at hand (a BenchError too).
    """
    protocol, path = read_protocol(path_or_name)
    if isinstance(protocol.index, PendingIndex):
        raise PendingError(protocol, protocol.index)
    index = load_index(path.parent / protocol.index.file, protocol.index.sha256)
    return build_protocol(protocol, index, path=path)


class ProtocolFile(NamedTuple):
    """A protocol's record and its file."""

    protocol: Protocol
    path: Path


def read_protocol(path_or_name: Path | str) -> ProtocolFile:
    """Reads a protocol's record without its cases: quick, and possible where the ids are pending.

    Raises:
        BenchError: no such protocol, or its fields are wrong; the message names `file:line`.
    """
    path = _resolve(path_or_name)
    protocol = load_yaml_record(path, Protocol, what="a protocol file", fix="See `kbench list protocols`.")
    if isinstance(protocol.index, PendingIndex):  # else `build_protocol` checks what needs the cases too
        _check_convention(protocol, _Where(protocol.name, path))
    return ProtocolFile(protocol, path)


def build_protocol(protocol: Protocol, index: CaseIndex, *, path: Path | None) -> LoadedProtocol:
    """Joins a protocol and its index, and checks that they fit together.

    Args:
        protocol: the record.
        index: its cases.
        path: the YAML file it came from, if it did; errors then name the line.

    Raises:
        BenchError: metrics unknown to the convention, reference counts off the axis, a target among the references.
    """
    where = _Where(protocol.name, path)
    _check_convention(protocol, where)
    _check_axis(protocol, index, where)
    if protocol.targets == "strict-novel":
        _check_novel(index, where)
    return LoadedProtocol(protocol, index, protocol_hash(protocol, index), path)


class _Where(NamedTuple):
    """Where a field of a protocol stands. The file is parsed for its lines only when there is an error to place."""

    name: str
    path: Path | None

    def of(self, field: str) -> str:
        if self.path is None:
            return f"protocol '{self.name}'"
        lines = parse_yaml(self.path.read_text(encoding="utf-8"), str(self.path)).lines
        return f"{self.path}:{lines[(field,)]}" if (field,) in lines else str(self.path)


def _resolve(path_or_name: Path | str) -> Path:
    path = Path(path_or_name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    shipped = find_protocols()
    name = str(path_or_name)
    if name not in shipped:
        raise BenchError(
            f"protocol '{name}'",
            "no protocol of that name and no such file",
            expected="a YAML file or the name of a shipped protocol",
            fix=suggest(name, shipped, otherwise="See `kbench list protocols`."),
        )
    return shipped[name]


def _check_convention(protocol: Protocol, where: _Where) -> None:
    known = _load_convention(protocol.convention, where).metrics
    for name in (*protocol.metrics, *protocol.optional_metrics):
        if name not in known:
            raise BenchError(
                where.of("metrics" if name in protocol.metrics else "optional_metrics"),
                f"the metric '{name}' is not in the convention {protocol.convention}",
                expected=f"one of {', '.join(known)}",
                fix=suggest(name, known, otherwise="Remove it or name another convention."),
            )


def _load_convention(name: str, where: _Where) -> Convention:
    # The line is looked up on failure only: parsing the file twice would double the time of every load.
    return _load_shipped(name) if name in find_conventions() else load_convention(name, where=where.of("convention"))


@cache
def _load_shipped(name: str) -> Convention:
    """A shipped convention, read once: a catalogue of a hundred protocols names ten."""
    return load_convention(name)


def _check_axis(protocol: Protocol, index: CaseIndex, where: _Where) -> None:
    """Every count on the axis has the same scenes, or its column is a mean over something else than its neighbour's."""
    counts = protocol.reference_counts
    if isinstance(counts, str):
        return
    scenes: defaultdict[int, set[str]] = defaultdict(set)
    for case in index.cases:
        scenes[len(case.references)].add(case.scene)
        if len(case.references) not in counts:
            raise BenchError(
                where.of("reference_counts"),
                f"case '{case.id}' has {len(case.references)} references",
                expected=f"one of reference_counts {list(counts)}",
                fix="Correct reference_counts or the index.",
            )
    everywhere = {case.scene for case in index.cases}
    for count in counts:
        if lacking := sorted(everywhere - scenes[count]):
            raise BenchError(
                where.of("reference_counts"),
                f"no case with {count} references for the scene '{lacking[0]}'",
                expected=f"every scene under every one of reference_counts {list(counts)}",
                fix="Correct reference_counts or the index.",
            )


def _check_novel(index: CaseIndex, where: _Where) -> None:
    for case in index.cases:
        if shown := sorted(set(case.references) & set(case.targets)):
            raise BenchError(
                where.of("targets"),
                f"case '{case.id}' has the view '{shown[0]}' among its references and its targets",
                expected="no target that is also a reference, under targets: strict-novel",
                fix="Drop it from the targets, or say targets: as-published.",
            )
