"""The protocols over real scenes: what is shipped is what the script writes, and its choices keep their promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaleido_bench.data.readers import build_reader
from kaleido_bench.data.scenes import find_mask_source
from kaleido_bench.lint.protocols import find_unknown_views
from kaleido_bench.protocol import LoadedProtocol, load_protocol
from tests.protocols.scripts import FOLDER, load_script

build_real = load_script("build_real")
NAMES = [plan.name for plan in build_real.PLANS]
FEW = [plan.name for plan in build_real.PLANS if plan.regime == "few-view"]
MANY = [plan.name for plan in build_real.PLANS if plan.regime == "many-view"]


@pytest.fixture(params=NAMES)
def loaded(request: pytest.FixtureRequest) -> LoadedProtocol:
    return load_protocol(request.param)


def test_every_shipped_real_protocol_has_its_plan() -> None:
    assert sorted(path.stem for path in (FOLDER / "real").glob("*.yaml")) == sorted(
        name.removeprefix("real/") for name in NAMES
    )


def test_the_script_writes_the_shipped_bytes(data_dir: Path, tmp_path: Path) -> None:
    build_real.main([str(data_dir), "--out", str(tmp_path)])
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    assert len(written) == 2 * len(NAMES)
    for path, data in written.items():
        assert (FOLDER / path).read_bytes() == data, path


def test_every_view_is_in_its_scene(loaded: LoadedProtocol, data_dir: Path) -> None:
    reader, root = build_reader(loaded.protocol.dataset.reader), data_dir / loaded.protocol.dataset.root
    views = {name: list(reader.load_scene(root, name).views) for name in {case.scene for case in loaded.cases}}
    assert find_unknown_views(loaded.cases, views) == []


def test_every_scene_at_hand_is_used(data_dir: Path) -> None:
    used = {case.scene for name in NAMES for case in load_protocol(name).cases}
    assert used == set(build_reader("transforms").scene_names(data_dir / "scenes"))


def test_every_view_is_pinned_and_no_other(loaded: LoadedProtocol) -> None:
    used: dict[str, set[str]] = {}
    for case in loaded.cases:
        used.setdefault(case.scene, set()).update(case.references, case.targets)
    for pinned in (loaded.index.image_sha256, loaded.index.camera_sha256):
        assert {scene: set(views) for scene, views in pinned.items()} == used


@pytest.mark.parametrize("name", FEW)
def test_few_view_targets_stay_and_are_few(name: str) -> None:
    loaded = load_protocol(name)
    assert loaded.protocol.reference_counts == (1, 3, 6)
    by_scene: dict[str, set[tuple[str, ...]]] = {}
    for case in loaded.cases:
        assert len(case.targets) <= 8
        assert not set(case.targets) & set(case.references)
        by_scene.setdefault(case.scene, set()).add(case.targets)
    assert all(len(targets) == 1 for targets in by_scene.values())


@pytest.mark.parametrize("name", ["real/objects-few", "real/objects-masked", "real/scenes-few"])
def test_our_own_references_are_nested(name: str) -> None:
    cases = load_protocol(name).cases_by_id
    for scene in {case.scene for case in cases.values()}:
        one, three, six = (cases[f"{scene}-r{count}"].references for count in (1, 3, 6))
        assert three[:1] == one and six[:3] == three


def test_llff_few_is_chosen_as_the_field_does() -> None:
    cases = load_protocol("real/llff-few").cases_by_id
    assert cases["llff_fern-r3"].targets == ("image000", "image008", "image016")
    assert cases["llff_fern-r3"].references == ("image001", "image010", "image019")
    assert cases["llff_fern-r1"].references == ("image010",)


@pytest.mark.parametrize("name", MANY)
def test_many_view_uses_every_view_that_may_be_used(name: str, data_dir: Path) -> None:
    loaded = load_protocol(name)
    assert loaded.reference_labels == ("all",)
    reader = build_reader("transforms")
    for case in loaded.cases:
        scene = reader.load_scene(data_dir / "scenes", case.scene)
        pools = build_real.usable_views(scene)
        usable = {list(scene.views)[i] for i in (*pools.references, *pools.targets)}
        assert set(case.references) | set(case.targets) == usable
        assert not set(case.references) & set(case.targets)


def test_lego_keeps_training_and_test_apart() -> None:
    for name in ("real/objects-few", "real/objects-many"):
        for case in load_protocol(name).cases:
            if case.scene == "nerf_synthetic_lego":
                assert all(view.startswith("train_") for view in case.references)
                assert all(view.startswith("test_") and int(view[5:]) % 8 == 0 for view in case.targets)


def test_dtu_leaves_out_bad_light() -> None:
    bad = {f"{number:06d}" for number in build_real.DTU_BAD_LIGHT}
    for name in ("real/objects-few", "real/objects-many"):
        for case in load_protocol(name).cases:
            if case.scene == "dtu_scan24":
                assert not bad & {*case.references, *case.targets}


def test_masked_objects_are_those_of_objects_few_that_have_masks(data_dir: Path) -> None:
    masked, full = load_protocol("real/objects-masked"), load_protocol("real/objects-few")
    scenes = {case.scene for case in masked.cases}
    assert masked.cases == tuple(case for case in full.cases if case.scene in scenes)
    reader = build_reader("transforms")
    for name in {case.scene for case in full.cases}:
        scene = reader.load_scene(data_dir / "scenes", name)
        sources = {find_mask_source(view, full.protocol.preparation) for view in scene.views.values()}
        assert (None not in sources) == (name in scenes), name


def test_mask_files_are_pinned_where_the_foreground_is_scored() -> None:
    """An alpha channel is pinned with its image."""
    for name in NAMES:
        loaded = load_protocol(name)
        images, masks = loaded.index.image_sha256, loaded.index.mask_sha256
        if "psnr-fg" in loaded.protocol.metrics:
            assert {scene: set(views) for scene, views in masks.items()} == {
                scene: set(images[scene]) for scene in ("dtu_scan24", "nerd_gold_cape")
            }
        else:
            assert masks == {}
