"""What can be wrong between protocols: other targets of the same references, under names that a table takes for one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from kaleido_bench.cases import Case
from kaleido_bench.lint import Finding, Severity, few
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
        targets = {loaded.protocol.name: _targets_of(loaded.cases) for loaded in group}
        novel = {name: _without_references(found) for name, found in targets.items()}
        for name in targets:
            if found := _describe_rivals(name, targets, novel):
                findings[name] = found
    return findings


def _describe_rivals(own_name: str, targets: Mapping[str, _Targets], novel: Mapping[str, _Targets]) -> list[Finding]:
    own = targets[own_name]
    findings: list[Finding] = []
    differing: list[str] = []
    for name, theirs in targets.items():
        if theirs == own:
            continue
        count = sum(map(len, theirs.values()))
        if novel[own_name] == novel[name]:
            message = (
                f"{name} is asked of the same references of the same scenes and has {count} targets instead of "
                f"{sum(map(len, own.values()))}: they differ in targets that are references, and in no name of a table"
            )
            findings.append(Finding("rival-targets", Severity.WARNING, None, message))
        else:
            differing.append(f"{name} ({count})")
    if differing:
        message = f"other targets of the same references: {few(sorted(differing))}; numbers do not compare"
        findings.append(Finding("other-targets", Severity.NOTE, None, message))
    return findings


def _targets_of(cases: Sequence[Case]) -> _Targets:
    targets: defaultdict[tuple[str, frozenset[str]], set[str]] = defaultdict(set)
    for case in cases:
        targets[case.scene, frozenset(case.references)] |= set(case.targets)
    return dict(targets)


def _without_references(targets: _Targets) -> _Targets:
    return {key: asked - key[1] for key, asked in targets.items()}
