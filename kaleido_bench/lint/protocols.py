"""What can be wrong with a protocol, checked without any model and without any image.

The published splits of the field show targets to the model, change targets with the number of references, and share
one name among different lists. Each check here is a pure function over cases and finds one such thing. What would make
numbers meaningless is an error; what a reader must know is a warning; what is merely unusual is a note.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from kaleido_bench.cases import Case, CaseIndex, find_repeated
from kaleido_bench.errors import BenchError
from kaleido_bench.importers import PublishedSplit, build_importer
from kaleido_bench.importers.archives import open_archive
from kaleido_bench.lint.findings import Finding, Severity, few, sort_findings
from kaleido_bench.protocol import LoadedProtocol, PendingError, load_protocol

MANY_VIEW_FROM = 10
"""References. Few-view evaluations of the field use 1 to 9; a 'few-view' protocol above that is mislabelled."""


MOST_COUNTS = 8
"""Reference counts that a summary lists one by one."""

LEAK = "target-is-reference"


class Leak(NamedTuple):
    """Targets that are shown."""

    shown: int
    targets: int
    scenes_with: int  # a case that shows one
    scenes: int

    @property
    def share(self) -> float:
        """Of the targets, 0 to 1."""
        return self.shown / self.targets if self.targets else 0.0


class KnownCounts(NamedTuple):
    """Counts that a paper states; None where it states none."""

    scenes: int | None
    cases: int | None
    targets: int | None


def lint_file(path_or_name: Path | str) -> list[Finding]:
    """Lints a protocol file, a shipped protocol, or a published evaluation index (a JSON file) that is no protocol yet.

    What cannot be loaded is a finding, not an exception.
    """
    try:
        if Path(path_or_name).suffix == ".json":
            return lint_split(build_importer("pixelsplat").read_split(open_archive(Path(path_or_name)), None))
        return lint_protocol(load_protocol(path_or_name))
    except BenchError as error:
        return [describe_failure(error)]


def describe_failure(error: BenchError) -> Finding:
    """What kept a protocol from being loaded, as a finding: ids that the user has to bring are none of its faults."""
    if isinstance(error, PendingError):
        return Finding("ids-pending", Severity.NOTE, None, f"{error.found}: {error.expected}. {error.fix}")
    return Finding("unreadable", Severity.ERROR, None, str(error))


def lint_protocol(loaded: LoadedProtocol, known: KnownCounts | None = None) -> list[Finding]:
    """All checks over a loaded protocol that need no data, errors first."""
    protocol, cases = loaded.protocol, loaded.cases
    counts = None if isinstance(protocol.reference_counts, str) else protocol.reference_counts
    findings = [
        *find_leaks(cases, allowed=protocol.targets == "as-published"),
        *lint_cases(cases, counts),
        *find_same_images(cases, loaded.index.image_sha256),
        *find_unpinned(cases, loaded.index),
        *find_mislabelled(cases, protocol.regime),
        *(find_count_differences(cases, known) if known else ()),
    ]
    return sort_findings(findings)


def lint_split(split: PublishedSplit) -> list[Finding]:
    """A published index that is no protocol yet: leaks, null entries, and what `lint_cases` finds."""
    cases = [
        Case.model_construct(
            id=f"{question.scene}-{position}",
            scene=question.scene,
            references=tuple(map(str, question.references)),
            targets=tuple(map(str, question.targets)),
        )
        for position, question in enumerate(split.questions)
    ]
    return sort_findings([*find_leaks(cases, allowed=True), *find_nulls(split), *lint_cases(cases, None)])


def lint_cases(cases: Sequence[Case], reference_counts: Sequence[int] | None) -> list[Finding]:
    """The checks that need nothing but cases, for lists that are not a protocol yet.

    Args:
        cases: may break the rules of `Case` (built with `model_construct`), which is then found.
        reference_counts: the axis, or None when each scene has its own number of references.
    """
    return sort_findings(
        [
            *find_empty(cases),
            *find_duplicates(cases),
            *(find_off_axis(cases, reference_counts) if reference_counts is not None else ()),
            *find_moving_targets(cases),
            *find_unnested_references(cases),
        ]
    )


def find_leaks(cases: Sequence[Case], *, allowed: bool) -> list[Finding]:
    """Targets that the model is shown: how many in all, then each case.

    `allowed` (as-published) makes them warnings: the score rows mark them.
    """
    severity = Severity.WARNING if allowed else Severity.ERROR
    leaks = {
        position: shown
        for position, case in enumerate(cases)
        if (shown := sorted(set(case.references) & set(case.targets)))
    }
    if not leaks:
        return []
    details = [
        Finding(
            LEAK,
            severity,
            cases[position].id,
            f"{len(shown)} of {len(cases[position].targets)} targets are also references: {few(shown)}",
        )
        for position, shown in leaks.items()
    ]
    return [Finding(LEAK, severity, None, _count_leaks(cases)), *details]


def measure_leak(cases: Sequence[Case]) -> Leak:
    """How many targets are also references of their case."""
    shown = [len(set(case.references) & set(case.targets)) for case in cases]
    return Leak(
        sum(shown),
        sum(len(case.targets) for case in cases),
        len({case.scene for case, number in zip(cases, shown, strict=True) if number}),
        len({case.scene for case in cases}),
    )


def _count_leaks(cases: Sequence[Case]) -> str:
    leak = measure_leak(cases)
    text = (
        f"{leak.shown} of {leak.targets} targets ({leak.share:.1%}) are also references, "
        f"in {leak.scenes_with} of {leak.scenes} scenes"
    ).replace("%)", " %)")
    counts = sorted({len(case.references) for case in cases})
    if not 1 < len(counts) <= MOST_COUNTS:
        return text
    shares = [measure_leak([case for case in cases if len(case.references) == count]).share for count in counts]
    each = ", ".join(f"{count} references {share:.1%}" for count, share in zip(counts, shares, strict=True))
    return f"{text}; {each.replace('%', ' %')}"


def find_nulls(split: PublishedSplit) -> list[Finding]:
    """Scenes that a published index names and asks nothing of: counts over its keys are not counts of its questions."""
    if not split.nulls:
        return []
    scenes = len({question.scene for question in split.questions})
    message = f"{split.nulls} of {split.nulls + scenes} scenes are null: nothing is asked of them"
    return [Finding("null-entries", Severity.WARNING, None, message)]


def find_empty(cases: Sequence[Case]) -> list[Finding]:
    """Cases that show nothing or ask for nothing."""
    return [
        Finding("empty-case", Severity.ERROR, case.id, f"no {role}")
        for case in cases
        for role, views in (("references", case.references), ("targets", case.targets))
        if not views
    ]


def find_duplicates(cases: Sequence[Case]) -> list[Finding]:
    """Case ids used twice, views named twice in a case, and cases that ask the same question twice."""
    findings = [
        Finding("duplicate-id", Severity.ERROR, name, "the id of more than one case (upper and lower case are one)")
        for name in find_repeated(case.id.lower() for case in cases)
    ]
    for case in cases:
        for role, views in (("references", case.references), ("targets", case.targets)):
            if repeated := find_repeated(views):
                findings.append(Finding("duplicate-view", Severity.ERROR, case.id, f"twice in {role}: {few(repeated)}"))
    asked: defaultdict[tuple[object, ...], list[str]] = defaultdict(list)
    for case in cases:
        asked[case.scene, frozenset(case.references), frozenset(case.targets)].append(case.id)
    findings += [
        Finding("duplicate-case", Severity.WARNING, ids[1], f"the same question as case '{ids[0]}', counted twice")
        for ids in asked.values()
        if len(ids) > 1
    ]
    return findings


def find_off_axis(cases: Sequence[Case], reference_counts: Sequence[int]) -> list[Finding]:
    """Cases off the reference-count axis, and scenes that one of its counts lacks."""
    findings = [
        Finding(
            "count-off-axis",
            Severity.ERROR,
            case.id,
            f"{len(case.references)} references; reference_counts has {list(reference_counts)}",
        )
        for case in cases
        if len(case.references) not in reference_counts
    ]
    have: defaultdict[str, set[int]] = defaultdict(set)
    for case in cases:
        have[case.scene].add(len(case.references))
    for scene, counts in have.items():
        if lacking := sorted(set(reference_counts) - counts):
            message = f"scene '{scene}' has no case with {few(lacking)} references, which other scenes have"
            findings.append(Finding("count-missing", Severity.ERROR, None, message))
    return findings


def find_moving_targets(cases: Sequence[Case]) -> list[Finding]:
    """Scenes whose targets change with the number of references: a curve over that number then compares two things."""
    findings: list[Finding] = []
    for scene, group in _by_scene(cases).items():
        targets_of: defaultdict[int, set[str]] = defaultdict(set)
        for case in group:
            targets_of[len(case.references)] |= set(case.targets)
        for fewer, more in pairwise(sorted(targets_of)):
            if changed := sorted(targets_of[fewer] ^ targets_of[more]):
                message = (
                    f"scene '{scene}': with {fewer} and with {more} references not the same targets: {few(changed)}"
                )
                findings.append(Finding("targets-move", Severity.WARNING, None, message))
    return findings


def find_unnested_references(cases: Sequence[Case]) -> list[Finding]:
    """Scenes where more references are not the fewer ones plus others. Known split rules (linspace) do this."""
    findings: list[Finding] = []
    for scene, group in _by_scene(cases).items():
        ordered = sorted(group, key=lambda case: len(case.references))
        if len({len(case.references) for case in ordered}) != len(ordered):
            continue  # several cases per count: nothing says which one continues which
        for fewer, more in pairwise(ordered):
            if lost := sorted(set(fewer.references) - set(more.references)):
                message = f"scene '{scene}': references of {fewer.id} that {more.id} does not have: {few(lost)}"
                findings.append(Finding("references-not-nested", Severity.NOTE, more.id, message))
    return findings


def find_unknown_views(cases: Sequence[Case], views: Mapping[str, Iterable[str]]) -> list[Finding]:
    """Scenes and view ids that the data set does not have.

    Args:
        cases: the cases.
        views: scene -> ids of its views, as the reader lists them.
    """
    known = {scene: frozenset(ids) for scene, ids in views.items()}
    findings: list[Finding] = []
    for case in cases:
        if case.scene not in known:
            findings.append(
                Finding("unknown-scene", Severity.ERROR, case.id, f"no scene '{case.scene}' below dataset.root")
            )
        elif absent := sorted({*case.references, *case.targets} - known[case.scene]):
            message = f"views that scene '{case.scene}' does not have: {few(absent)}"
            findings.append(Finding("unknown-view", Severity.ERROR, case.id, message))
    return findings


def find_same_images(cases: Sequence[Case], sha256: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    """Targets whose image file is byte-identical to a reference's under another id: a leak that ids do not show."""
    findings: list[Finding] = []
    for case in cases:
        hashes = sha256.get(case.scene, {})
        shown = {hashes[view]: view for view in case.references if view in hashes}
        for view in case.targets:
            twin = shown.get(hashes.get(view, ""))
            if twin is not None and twin != view:
                message = f"the image of target '{view}' is byte-identical to that of reference '{twin}'"
                findings.append(Finding("same-image", Severity.ERROR, case.id, message))
    return findings


def find_unpinned(cases: Sequence[Case], index: CaseIndex) -> list[Finding]:
    """Views whose image files or cameras the index does not pin: changed data would go unnoticed."""
    used = {
        scene: {view for case in group for view in (*case.references, *case.targets)}
        for scene, group in _by_scene(cases).items()
    }
    views = sum(map(len, used.values()))
    absent = [
        f"{number} of {views} {what}"
        for what, pinned in (("images", index.image_sha256), ("cameras", index.camera_sha256))
        if (number := sum(len(names - set(pinned.get(scene, {}))) for scene, names in used.items()))
    ]
    message = f"{' and '.join(absent)} have no sha256 in the index"
    return [Finding("not-pinned", Severity.NOTE, None, message)] if absent else []


def find_mislabelled(cases: Sequence[Case], regime: str) -> list[Finding]:
    """Few-view protocols with many references."""
    most = max((len(case.references) for case in cases), default=0)
    if regime != "few-view" or most < MANY_VIEW_FROM:
        return []
    message = (
        f"regime few-view, but up to {most} references; the field's few-view evaluations end at {MANY_VIEW_FROM - 1}"
    )
    return [Finding("regime", Severity.NOTE, None, message)]


def find_count_differences(cases: Sequence[Case], known: KnownCounts) -> list[Finding]:
    """Counts that are not those a paper states."""
    found = KnownCounts(len({case.scene for case in cases}), len(cases), sum(len(case.targets) for case in cases))
    return [
        Finding("count-differs", Severity.ERROR, None, f"{have} {name}, {stated} stated")
        for name, have, stated in zip(KnownCounts._fields, found, known, strict=True)
        if stated is not None and stated != have
    ]


def _by_scene(cases: Sequence[Case]) -> dict[str, list[Case]]:
    groups: defaultdict[str, list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.scene].append(case)
    return dict(groups)
