"""Our own curves: one axis moves, nothing else does."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from kaleido_bench.data.readers import build_reader
from kaleido_bench.lint.findings import Severity
from kaleido_bench.lint.protocols import find_unknown_views, lint_protocol
from kaleido_bench.protocol import LoadedProtocol, load_protocol
from tests.protocols.scripts import FOLDER, load_script

build_kbench = load_script("build_kbench")
NAMES = [curve.name for curve in build_kbench.CURVES]


@pytest.fixture(params=NAMES)
def loaded(request: pytest.FixtureRequest) -> LoadedProtocol:
    return load_protocol(request.param)


def test_every_shipped_curve_has_its_draft() -> None:
    assert sorted(f"kbench/{path.stem}" for path in (FOLDER / "kbench").glob("*.yaml")) == sorted(NAMES)


def test_the_script_writes_the_shipped_bytes(data_dir: Path) -> None:
    for curve in build_kbench.CURVES:
        frozen = build_kbench.freeze_curve(curve, data_dir)
        assert (FOLDER / frozen.yaml_path).read_bytes() == frozen.yaml_bytes, frozen.yaml_path
        assert (FOLDER / frozen.index_path).read_bytes() == frozen.index_bytes, frozen.index_path


def test_references_are_nested_and_targets_stay(loaded: LoadedProtocol) -> None:
    counts = loaded.protocol.reference_counts
    assert counts == tuple(count for count in (1, 2, 3, 5, 10, 20, 50, 100) if count <= counts[-1])
    for scene in {case.scene for case in loaded.cases}:
        cases = [loaded.cases_by_id[f"{scene}-r{count}"] for count in counts]
        for fewer, more in pairwise(cases):
            assert more.references[: len(fewer.references)] == fewer.references
        assert len({case.targets for case in cases}) == 1 and len(cases[0].targets) == 8
        assert not set(cases[-1].references) & set(cases[-1].targets)


def test_lint_has_nothing_to_say_but_notes(loaded: LoadedProtocol) -> None:
    assert [finding for finding in lint_protocol(loaded) if finding.severity is not Severity.NOTE] == []


def test_a_scene_asks_the_same_in_every_curve() -> None:
    asked: dict[tuple[str, int], set[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
    for name in NAMES:
        for case in load_protocol(name).cases:
            asked.setdefault((case.scene, len(case.references)), set()).add((case.references, case.targets))
    assert all(len(found) == 1 for found in asked.values())
    assert ("nerf_synthetic_lego", 100) in asked and ("mydesk", 100) in asked


def test_every_view_is_there_and_pinned(loaded: LoadedProtocol, data_dir: Path) -> None:
    reader, root = build_reader(loaded.protocol.dataset.reader), data_dir / loaded.protocol.dataset.root
    views = {name: list(reader.load_scene(root, name).views) for name in {case.scene for case in loaded.cases}}
    assert find_unknown_views(loaded.cases, views) == []
    used: dict[str, set[str]] = {}
    for case in loaded.cases:
        used.setdefault(case.scene, set()).update(case.references, case.targets)
    for pinned in (loaded.index.image_sha256, loaded.index.camera_sha256):
        assert {scene: set(found) for scene, found in pinned.items()} == used


def test_lego_takes_references_from_training_and_targets_from_test() -> None:
    for case in load_protocol("kbench/objects-1-100").cases:
        assert all(view.startswith("train_") for view in case.references)
        assert all(view.startswith("test_") for view in case.targets)


def test_a_scene_too_small_for_the_axis_is_refused(data_dir: Path) -> None:
    scene = build_reader("transforms").load_scene(data_dir / "scenes", "buddha13")
    with pytest.raises(ValueError, match="buddha13 has 5 views for 20 references"):
        build_kbench.choose_cases(scene, (1, 20))
