"""A finding: what lint says of one thing, how findings are sorted, and how many alike are said once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Finding(NamedTuple):
    """One thing found."""

    code: str  # stable, to be filtered by
    severity: Severity
    case: str | None  # the case, or None for the protocol as a whole
    message: str


def sort_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes; otherwise in the order found."""
    rank = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
    return sorted(findings, key=lambda finding: rank[finding.severity])


def summarise_findings(findings: Sequence[Finding]) -> list[Finding]:
    """One finding for each kind of finding: what thousands of cases share is said once, with the first of them."""
    groups: defaultdict[tuple[Severity, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.severity, finding.code].append(finding)
    return [_summarise(group) for group in groups.values()]


def _summarise(group: Sequence[Finding]) -> Finding:
    whole = [finding for finding in group if finding.case is None]
    if len(group) == 1 or len(whole) == 1:
        return whole[0] if whole else group[0]
    first = group[0]
    at = f"case '{first.case}': " if first.case else ""
    return first._replace(case=None, message=f"{len(group)} times, first: {at}{first.message}")


def few(names: Sequence[object], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(str(name) for name in names[:most]) + more
