"""What can be wrong between protocols: other targets of the same references, under names that a table takes for one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from kaleido_bench.cases import Case
from kaleido_bench.lint.findings import Finding, Severity, few
from kaleido_bench.protocol import LoadedProtocol

STRICT_NOVEL = "strict-novel"
"""Ends the name of a leaky protocol's twin, which asks for the same targets but those it shows."""

_Targets = dict[tuple[str, frozenset[str]], set[str]]
"""(scene, references) -> targets."""


def find_rival_targets(protocols: Sequence[LoadedProtocol]) -> dict[str, list[Finding]]:
    """Protocols that ask other targets of the same references: a table would call them alike, "<data set>, <N> views".

    Where one leaves out of the targets what the other shows, and does not say so in its name as a strict-novel twin
    does, both are warned about: DepthSplat's and LagerNVS' DL3DV are such a pair. Other target lists are a note.

    Returns:
        protocol name -> findings.
    """
    asked: defaultdict[tuple[str, frozenset[tuple[str, frozenset[str]]]], list[LoadedProtocol]] = defaultdict(list)
    for loaded in protocols:
        if not loaded.protocol.name.endswith(f"-{STRICT_NOVEL}"):
            questions = frozenset((case.scene, frozenset(case.references)) for case in loaded.cases)
            asked[loaded.protocol.dataset.name.lower(), questions].append(loaded)
    findings: dict[str, list[Finding]] = {}
    for group in asked.values():
        if len(group) < 2:
            continue
        rivals = [_Rival.of(loaded) for loaded in group]
        for own in rivals:
            if found := _describe_rivals(own, rivals):
                findings[own.name] = found
    return findings


class _Rival(NamedTuple):
    """What one protocol asks of references that others show too."""

    name: str
    called: str  # by a table that names data set and number of views alone
    targets: _Targets
    novel: _Targets  # without those that are references

    @classmethod
    def of(cls, loaded: LoadedProtocol) -> _Rival:
        targets = _targets_of(loaded.cases)
        called = f"{loaded.protocol.dataset.name}, {' / '.join(loaded.reference_labels)} views"
        return cls(loaded.protocol.name, called, targets, _without_references(targets))

    def counts(self) -> str:
        asked, novel = (sum(map(len, each.values())) for each in (self.targets, self.novel))
        return f"{asked} targets, {asked - novel} of them references"


def _describe_rivals(own: _Rival, rivals: Sequence[_Rival]) -> list[Finding]:
    findings: list[Finding] = []
    differing: list[str] = []
    for other in rivals:
        if other.targets == own.targets:
            continue
        if own.novel == other.novel:
            message = (
                f"the same references of the same scenes as {other.name}, and otherwise the same targets, but here "
                f"{own.counts()}, there {other.counts()}: a table that says '{own.called}' may mean either"
            )
            findings.append(Finding("rival-targets", Severity.WARNING, None, message))
        else:
            differing.append(f"{other.name} ({sum(map(len, other.targets.values()))})")
    if differing:
        asked = sum(map(len, own.targets.values()))
        message = f"{asked} targets; the same references with other targets: {few(sorted(differing))}"
        findings.append(Finding("other-targets", Severity.NOTE, None, message))
    return findings


def _targets_of(cases: Sequence[Case]) -> _Targets:
    targets: defaultdict[tuple[str, frozenset[str]], set[str]] = defaultdict(set)
    for case in cases:
        targets[case.scene, frozenset(case.references)] |= set(case.targets)
    return dict(targets)


def _without_references(targets: _Targets) -> _Targets:
    return {key: asked - key[1] for key, asked in targets.items()}
