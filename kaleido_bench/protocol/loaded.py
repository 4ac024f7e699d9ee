"""A protocol with its cases: whether the two fit together, and the hash over both."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from kaleido_bench.cases import Case, CaseIndex
from kaleido_bench.conventions import Convention, find_conventions, load_convention
from kaleido_bench.errors import BenchError
from kaleido_bench.protocol.records import Protocol
from kaleido_bench.records import canonical_json, sha256_hex, suggest
from kaleido_bench.yaml_lines import parse_yaml

UNHASHED_FIELDS = frozenset({"title", "sources", "known_problems", "index"})
"""Fields that move no number, so that correcting a source or moving a file is not another protocol. `index` (its path
and the sha256 of its bytes) is among them because the index itself enters the hash, in canonical order."""

ALL_OTHERS = "all"
"""The label of a reference-count axis that is not one: every view that is no target is a reference."""


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


def protocol_hash(protocol: Protocol, index: CaseIndex) -> str:
    """sha256 over the canonical form of protocol (all fields but `UNHASHED_FIELDS`) and index."""
    return sha256_hex(canonical_json({"protocol": hashed_fields(protocol), "index": index.canonical()}))


def fields_hash(protocol: Protocol) -> str:
    """sha256 over the canonical form of a protocol's fields alone: the identity of one whose index is pending."""
    return sha256_hex(canonical_json({"protocol": hashed_fields(protocol)}))


def hashed_fields(protocol: Protocol) -> dict[str, Any]:
    """The fields that can move a number: all but `UNHASHED_FIELDS`."""
    return protocol.model_dump(mode="json", exclude=set(UNHASHED_FIELDS))


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
    check_convention(protocol, path)
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


def check_convention(protocol: Protocol, path: Path | None) -> None:
    """Refuse a protocol whose convention is none, or lacks one of its metrics. Raises BenchError.

    Args:
        path: as `build_protocol` takes it.
    """
    where = _Where(protocol.name, path)
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
