"""Each check finds what it is for, and says nothing about a clean protocol."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kaleido_bench import lint
from kaleido_bench.cases import Case, CaseIndex
from kaleido_bench.lint.advice import ADVICE, list_advice
from kaleido_bench.lint.findings import Severity, summarise_findings
from kaleido_bench.lint.protocols import (
    LEAK,
    KnownCounts,
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
from kaleido_bench.lint.rivals import find_rival_targets
from kaleido_bench.protocol import PendingIndex, load_protocol, read_protocol
from kaleido_bench.shipped import find_protocols


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
    whole, finding = find_leaks([*CLEAN, case("c", "pqx", "xyz", "c")], allowed=allowed)
    assert (finding.code, finding.severity, finding.case) == ("target-is-reference", severity, "c")
    assert finding.message == "1 of 3 targets are also references: x"
    assert (whole.code, whole.severity, whole.case) == ("target-is-reference", severity, None)
    assert whole.message == (
        "1 of 11 targets (9.1 %) are also references, in 1 of 3 scenes; "
        "1 references 0.0 %, 2 references 0.0 %, 3 references 33.3 %"
    )


def test_what_many_cases_share_is_said_once() -> None:
    leaky = [case(f"c{number}", "p", "px", str(number)) for number in range(5)]
    (said,) = summarise_findings(find_leaks(leaky, allowed=True))
    assert (said.case, said.message) == (
        None,
        "5 of 10 targets (50.0 %) are also references, in 5 of 5 scenes",
    )
    empty = [case(f"c{number}", "", "x", str(number)) for number in range(3)]
    (said,) = summarise_findings(lint_cases(empty, None))
    assert said.message == "3 times, first: case 'c0': no references"


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
    assert findings[0].message == "views that scene 'a' does not have: y"


def test_one_image_under_two_ids() -> None:
    hashes = {"a": {"p": "1", "q": "2", "x": "2", "y": "3"}}
    (finding,) = find_same_images(CLEAN, hashes)
    assert (finding.code, finding.case) == ("same-image", "a-r2")
    assert "'x'" in finding.message and "'q'" in finding.message


def test_images_and_cameras_that_nothing_pins() -> None:
    hashes = {"a": dict.fromkeys("pxy", "1" * 64)}
    index = CaseIndex(schema_version=1, cases=tuple(CLEAN[:2]), image_sha256=hashes, camera_sha256={})
    (finding,) = find_unpinned(CLEAN[:2], index)
    assert finding.code == "not-pinned"
    assert finding.message == "1 of 4 images and 4 of 4 cameras have no sha256 in the index"
    cameras = {"a": dict.fromkeys("pqxy", "2" * 64)}
    (finding,) = find_unpinned(CLEAN[:2], index.model_copy(update={"camera_sha256": cameras}))
    assert finding.message == "1 of 4 images have no sha256 in the index"


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
    assert [(finding.code, finding.case) for finding in findings if finding.severity is not Severity.NOTE] == [
        ("target-is-reference", None),
        ("target-is-reference", "a-r1"),
        ("target-is-reference", "a-r2"),
    ]
    assert Severity.ERROR not in {finding.severity for finding in findings}


def test_lint_of_a_loaded_protocol_with_known_counts(protocol_files: Any) -> None:
    findings = lint_protocol(protocol_files.load(), KnownCounts(scenes=3, cases=None, targets=None))
    assert findings[0].message == "2 scenes, 3 stated"


def test_a_protocol_whose_ids_are_pending_is_a_note() -> None:
    (finding,) = lint_file("seva/llff-r")
    assert (finding.code, finding.severity) == ("ids-pending", Severity.NOTE)
    assert "kbench import-split seva FILE --protocol seva/llff-r" in finding.message


WINDOW = "cvg+depthsplat/dl3dv_start_0_distance"
PUBLISHED = {
    "dcharatan+pixelsplat/evaluation_index_re10k.json": "583 of 19422 targets (3.0 %) ... 575 of 6474 scenes",
    "dcharatan+pixelsplat/evaluation_index_acid.json": "135 of 4785 targets (2.8 %) ... 132 of 1595 scenes",
    f"{WINDOW}_50_ctx_2v_video_0_50.json": "280 of 7000 targets (4.0 %) ... 140 of 140 scenes",
    f"{WINDOW}_50_ctx_4v_video_0_50.json": "560 of 7000 targets (8.0 %) ... 140 of 140 scenes",
    f"{WINDOW}_50_ctx_6v_video_0_50.json": "840 of 7000 targets (12.0 %) ... 140 of 140 scenes",
    f"{WINDOW}_100_ctx_12v_video.json": "1680 of 13734 targets (12.2 %) ... 140 of 140 scenes",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_leaks_of_the_published_indices(name: str, data_dir: Path) -> None:
    leak = summarise_findings(lint_file(data_dir / "splits" / name))[0]
    assert (leak.code, leak.severity) == ("target-is-reference", Severity.WARNING)
    assert leak.message == PUBLISHED[name].replace("...", "are also references, in")


def test_null_entries_of_a_published_index(data_dir: Path) -> None:
    found = lint_file(data_dir / "splits" / "dcharatan+pixelsplat" / "evaluation_index_re10k.json")
    (nulls,) = [finding for finding in found if finding.code == "null-entries"]
    assert nulls.message == "720 of 7194 scenes are null: nothing is asked of them"


SHIPPED = {
    "re10k/pixelsplat-2v": "583 of 19422 targets (3.0 %) are also references, in 575 of 6474 scenes",
    "re10k/lagernvs-2v": "583 of 19422 targets (3.0 %) are also references, in 575 of 6474 scenes",
    "acid/pixelsplat-2v": "135 of 4785 targets (2.8 %) are also references, in 132 of 1595 scenes",
    "dl3dv/depthsplat-6v": "840 of 7000 targets (12.0 %) are also references, in 140 of 140 scenes",
    "dl3dv/lagernvs-6v": None,
    "re10k/pixelsplat-2v-strict-novel": None,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_leaks_of_shipped_protocols(name: str) -> None:
    found = {finding.code: finding for finding in summarise_findings(lint_file(name))}
    leak = found.get("target-is-reference")
    assert (leak.message if leak else None) == SHIPPED[name]
    assert leak is None or leak.severity is Severity.WARNING


def test_two_target_sets_under_one_name() -> None:
    names = ("dl3dv/depthsplat-6v", "dl3dv/depthsplat-6v-strict-novel", "dl3dv/lagernvs-6v")
    rivals = find_rival_targets([load_protocol(name) for name in names])
    assert set(rivals) == {"dl3dv/depthsplat-6v", "dl3dv/lagernvs-6v"}
    (finding,) = rivals["dl3dv/lagernvs-6v"]
    assert (finding.code, finding.severity) == ("rival-targets", Severity.WARNING)
    assert finding.message == (
        "the same references of the same scenes as dl3dv/depthsplat-6v, and otherwise the same targets, but here 6160 "
        "targets, 0 of them references, there 7000 targets, 840 of them references: a table that says 'dl3dv-140, 6 "
        "views' may mean either"
    )


def test_other_targets_of_the_same_references_are_a_note() -> None:
    rivals = find_rival_targets([load_protocol(f"re10k/pixelsplat-2v{end}") for end in ("", "-video")])
    (finding,) = rivals["re10k/pixelsplat-2v"]
    assert (finding.code, finding.severity) == ("other-targets", Severity.NOTE)


OURS = ("quickstart", "real", "kbench")
PENDING = [name for name in find_protocols() if isinstance(read_protocol(name).protocol.index, PendingIndex)]


@pytest.mark.parametrize("name", PENDING)
def test_a_pending_protocol_is_no_error(name: str) -> None:
    """The frozen ones of the field are linted in tests/protocols/test_catalogue.py, where they are loaded once."""
    (finding,) = lint_file(name)
    assert (finding.code, finding.severity) == ("ids-pending", Severity.NOTE)


@pytest.mark.parametrize("name", [name for name in find_protocols() if name.split("/")[0] in OURS])
def test_our_own_protocols_have_nothing_worse_than_notes(name: str) -> None:
    assert [finding for finding in lint_file(name) if finding.severity is not Severity.NOTE] == []


def test_there_is_advice_for_every_code_and_for_no_other() -> None:
    """Codes are literals where findings are made, but for the leak's."""
    package = Path(lint.__file__).parent
    text = "".join(path.read_text() for path in package.glob("*.py"))
    codes = set(re.findall(r'Finding\(\s*"([a-z-]+)"', text)) | {LEAK}
    assert codes == set(ADVICE) and len(codes) > 25
    assert list_advice(["regime", "no-data", "regime"]) == {name: ADVICE[name] for name in ("regime", "no-data")}
