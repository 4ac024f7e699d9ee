"""Each check finds what it is for, and says nothing about a clean protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaleido_bench.cases import Case, CaseIndex
from kaleido_bench.lint import (
    KnownCounts,
    Severity,
    find_count_differences,
    find_leaks,
    find_mislabelled,
    find_same_images,
    find_unknown_views,
    find_unpinned,
    lint_cases,
    lint_file,
    lint_protocol,
)
from kaleido_bench.protocol import find_protocols


def case(name: str, references: str, targets: str, scene: str = "a") -> Case:
    """A case whose views are single letters. It may break the rules of `Case`: lint is for lists not yet frozen."""
    return Case.model_construct(id=name, scene=scene, references=tuple(references), targets=tuple(targets))


def codes(*cases: Case, counts: tuple[int, ...] | None = None) -> list[tuple[str, str | None]]:
    return [(finding.code, finding.case) for finding in lint_cases(cases, counts)]


CLEAN = (case("a-r1", "p", "xy"), case("a-r2", "pq", "xy"), case("b-r1", "p", "xy", "b"), case("b-r2", "pq", "xy", "b"))


def test_clean_cases_have_no_findings() -> None:
    assert codes(*CLEAN, counts=(1, 2)) == []
    assert find_leaks(CLEAN, allowed=False) == []


@pytest.mark.parametrize(("allowed", "severity"), [(False, Severity.ERROR), (True, Severity.WARNING)])
def test_a_target_that_is_shown(allowed: bool, severity: Severity) -> None:
    (finding,) = find_leaks([*CLEAN, case("c", "pqx", "xyz")], allowed=allowed)
    assert (finding.code, finding.severity, finding.case) == ("target-is-reference", severity, "c")
    assert finding.message == "1 of 3 targets are also references: x"


@pytest.mark.parametrize(
    ("cases", "expected"),
    [
        ([case("c", "", "x")], ("empty-case", "c")),
        ([case("c", "p", "")], ("empty-case", "c")),
        ([case("c", "pp", "x")], ("duplicate-view", "c")),
        ([case("c", "p", "xx")], ("duplicate-view", "c")),
        ([case("c", "p", "x"), case("C", "q", "x", "b")], ("duplicate-id", "c")),
        ([case("c", "pq", "xy"), case("d", "qp", "yx")], ("duplicate-case", "d")),
        ([case("a-r1", "p", "xy"), case("a-r2", "pq", "xz")], ("targets-move", None)),
        ([case("a-r1", "p", "xy"), case("a-r2", "qr", "xy")], ("references-not-nested", "a-r2")),
    ],
)
def test_what_is_wrong_inside_cases(cases: list[Case], expected: tuple[str, str | None]) -> None:
    assert codes(*cases) == [expected]


def test_counts_off_the_axis_and_missing() -> None:
    assert codes(*CLEAN, counts=(1,)) == [("count-off-axis", "a-r2"), ("count-off-axis", "b-r2")]
    assert codes(*CLEAN[:3], counts=(1, 2)) == [("count-missing", None)]
    assert codes(*CLEAN[:3], counts=None) == []


def test_several_cases_per_count_are_not_called_unnested() -> None:
    assert codes(case("c1", "p", "xy"), case("c2", "q", "xy"), case("d", "pr", "xy")) == []


def test_views_that_the_data_set_lacks() -> None:
    findings = find_unknown_views(CLEAN, {"a": "pqx"})
    assert [(finding.code, finding.case) for finding in findings] == [
        ("unknown-view", "a-r1"),
        ("unknown-view", "a-r2"),
        ("unknown-scene", "b-r1"),
        ("unknown-scene", "b-r2"),
    ]
    assert findings[0].message == "not in scene 'a': y"


def test_one_image_under_two_ids() -> None:
    hashes = {"a": {"p": "1", "q": "2", "x": "2", "y": "3"}}
    (finding,) = find_same_images(CLEAN, hashes)
    assert (finding.code, finding.case) == ("same-image", "a-r2")
    assert "'x'" in finding.message and "'q'" in finding.message


def test_images_and_cameras_that_nothing_pins() -> None:
    hashes = {"a": dict.fromkeys("pxy", "1" * 64)}
    index = CaseIndex(schema_version=1, cases=tuple(CLEAN[:2]), image_sha256=hashes, camera_sha256={})
    image, camera = find_unpinned(CLEAN[:2], index)
    assert image.code == "image-not-pinned" and "1 of 4 images" in image.message
    assert camera.code == "camera-not-pinned" and "4 of 4 cameras" in camera.message


def test_few_views_are_few() -> None:
    many = case("m", "abcdefghij", "xy")
    assert [finding.code for finding in find_mislabelled([many], "few-view")] == ["regime"]
    assert find_mislabelled([many], "many-view") == []
    assert find_mislabelled(CLEAN, "few-view") == []


def test_counts_that_a_paper_states() -> None:
    assert find_count_differences(CLEAN, KnownCounts(scenes=2, cases=4, targets=8)) == []
    assert find_count_differences(CLEAN, KnownCounts(None, None, None)) == []
    (finding,) = find_count_differences(CLEAN, KnownCounts(scenes=2, cases=4, targets=9))
    assert finding.message == "8 targets, 9 stated"


def test_errors_come_first(protocol_files: Any) -> None:
    moved = [case("a-r1", "p", "xy"), case("a-r2", "pq", "xz"), case("e", "", "x", "b")]
    severities = [finding.severity for finding in lint_cases(moved, None)]
    assert severities == [Severity.ERROR, Severity.WARNING]


def test_a_protocol_that_does_not_load_is_a_finding(protocol_files: Any) -> None:
    path = protocol_files.write(replace=[("metrics: [psnr", "metrix: [psnr")])
    (finding,) = lint_file(path)
    assert (finding.code, finding.severity) == ("unreadable", Severity.ERROR)
    assert "metrix" in finding.message


def test_a_published_leak_is_marked_and_allowed(protocol_files: Any) -> None:
    leaky = [Case(id=f"a-r{n}", scene="a", references=("v0", "v1")[:n], targets=("v0", "t")) for n in (1, 2)]
    findings = lint_file(protocol_files.write(cases=leaky, targets="as-published"))
    assert [finding.code for finding in findings if finding.severity is not Severity.NOTE] == [
        "target-is-reference"
    ] * 2
    assert Severity.ERROR not in {finding.severity for finding in findings}


def test_lint_of_a_loaded_protocol_with_known_counts(protocol_files: Any) -> None:
    findings = lint_protocol(protocol_files.load(), KnownCounts(scenes=3, cases=None, targets=None))
    assert findings[0].message == "2 scenes, 3 stated"


@pytest.mark.parametrize("path", sorted(find_protocols().values()), ids=lambda path: Path(path).stem)
def test_shipped_protocols_have_nothing_worse_than_notes(path: Path) -> None:
    assert [finding for finding in lint_file(path) if finding.severity is not Severity.NOTE] == []
