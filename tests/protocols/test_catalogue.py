"""The catalogue: what ships is what the published files say, no more and no less."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from kaleido_bench.authoring import FrozenProtocol
from kaleido_bench.lint.findings import Severity
from kaleido_bench.lint.protocols import Leak, lint_protocol, measure_leak
from kaleido_bench.protocol import LoadedProtocol, PendingIndex, load_protocol, read_protocol
from kaleido_bench.shipped import find_protocols
from tests.protocols.scripts import FOLDER, load_script

build_catalogue = load_script("build_catalogue")
FAMILIES = tuple(build_catalogue.FAMILIES)
FOLDERS = ("re10k", "acid", "dl3dv", "co3d", "dtu", "llff", "nerf-synthetic", "gso", "shapenet")
ON_DISK = ("mipnerf360", "tnt", "rtmv")
"""Folders of protocols that wait for the files of their data set, and of no others."""

FROZEN_OF_SEVA = ("seva/re10k-p", "seva/re10k-p-strict-novel")
NAMES = [name for name in find_protocols() if name.split("/")[0] in (*FOLDERS, *ON_DISK) or name in FROZEN_OF_SEVA]
PENDING = [name for name in NAMES if isinstance(read_protocol(name).protocol.index, PendingIndex)]
SHIPPED = [name for name in NAMES if name not in PENDING]
STRICT = "-strict-novel"


@pytest.fixture(scope="session")
def splits(data_dir: Path) -> Path:
    return data_dir / "splits"


@pytest.fixture(scope="session")
def facts(splits: Path) -> dict[str, dict[str, object]]:
    """The rules that the published code states, restated apart from the builders."""
    return json.loads((splits / "_facts" / "protocol_facts.json").read_text())


@pytest.fixture(scope="session")
def built(splits: Path) -> dict[str, FrozenProtocol]:
    """Everything as the scripts write it, by path of the YAML file. Takes ten seconds."""
    return {frozen.yaml_path: frozen for family in FAMILIES for frozen in build_catalogue.freeze_family(family, splits)}


@pytest.fixture(scope="session")
def shipped() -> dict[str, LoadedProtocol]:
    """The catalogue as it ships, loaded once."""
    return {name: load_protocol(name) for name in SHIPPED}


def test_every_index_is_what_the_published_files_give(built: dict[str, FrozenProtocol]) -> None:
    for frozen in built.values():
        assert (FOLDER / frozen.index_path).read_bytes() == frozen.index_bytes, frozen.index_path
        assert (FOLDER / frozen.yaml_path).read_bytes() == frozen.yaml_bytes, frozen.yaml_path


def test_nothing_ships_that_no_builder_writes(built: dict[str, FrozenProtocol]) -> None:
    assert {f"{name}.yaml" for name in SHIPPED} == set(built)
    indices = {path.relative_to(FOLDER).as_posix() for top in FOLDERS for path in FOLDER.glob(f"indices/{top}/*.json")}
    assert indices == {frozen.index_path for frozen in built.values()}


def test_the_pending_ones_are_what_the_script_writes(splits: Path) -> None:
    written = build_catalogue.on_disk.build(splits)
    assert {pending.yaml_path for pending in written} == {f"{name}.yaml" for name in PENDING}
    for pending in written:
        assert (FOLDER / pending.yaml_path).read_bytes() == pending.yaml_bytes, pending.yaml_path
    lists = FOLDER.parent / build_catalogue.on_disk.EMBEDDED
    assert lists.read_bytes() == build_catalogue.on_disk.render_long_lrm(splits)


def test_the_indices_stay_small() -> None:
    """Bytes. They are in git and in the wheel."""
    assert sum(path.stat().st_size for path in FOLDER.glob("indices/**/*.json")) < 9_000_000


# Leaks, as lint finds them

LEAKS = {
    "re10k/pixelsplat-2v": Leak(583, 19_422, 575, 6_474),
    "re10k/lagernvs-2v": Leak(583, 19_422, 575, 6_474),
    "re10k/mvsplat360-inter-3t": Leak(583, 19_422, 575, 6_474),
    "re10k/pixelsplat-2v-video": Leak(12_948, 434_102, 6_474, 6_474),
    "re10k/latentsplat-intra": Leak(608, 19_422, 598, 6_474),
    "re10k/mvsplat360-inter-14t": Leak(11_011, 90_636, 6_411, 6_474),
    "seva/re10k-p": Leak(583, 19_422, 575, 6_474),
    "re10k/depthsplat-6v-video": Leak(9_600, 415_540, 1_600, 1_600),
    "acid/pixelsplat-2v": Leak(135, 4_785, 132, 1_595),
    "acid/pixelsplat-2v-video": Leak(3_190, 120_046, 1_595, 1_595),
    "dl3dv/depthsplat-2v": Leak(280, 7_000, 140, 140),
    "dl3dv/depthsplat-4v": Leak(560, 7_000, 140, 140),
    "dl3dv/depthsplat-6v": Leak(840, 7_000, 140, 140),
    "dl3dv/depthsplat-12v": Leak(1_680, 13_734, 140, 140),
    "co3d/latentsplat-hydrant-intra": Leak(76, 840, 14, 14),
    "co3d/latentsplat-hydrant-extra": Leak(13, 840, 9, 14),
    "co3d/latentsplat-hydrant-360": Leak(8, 408, 4, 4),
    "co3d/latentsplat-teddybear-intra": Leak(140, 1_440, 24, 24),
    "co3d/latentsplat-teddybear-extra": Leak(13, 1_440, 10, 24),
    "co3d/latentsplat-teddybear-360": Leak(8, 408, 4, 4),
}


@pytest.mark.parametrize("name", LEAKS)
def test_lint_finds_exactly_this_leak(name: str, shipped: dict[str, LoadedProtocol]) -> None:
    loaded, leak = shipped[name], LEAKS[name]
    assert measure_leak(loaded.cases) == leak
    found = [finding for finding in lint_protocol(loaded) if finding.code == "target-is-reference"]
    assert found[0].severity is Severity.WARNING
    assert found[0].message.startswith(f"{leak.shown} of {leak.targets} targets")
    assert f"in {leak.scenes_with} of {leak.scenes} scenes" in found[0].message


@pytest.mark.parametrize(("count", "percent"), [(2, "4.0"), (4, "8.0"), (6, "12.0"), (12, "12.2")])
def test_the_leak_of_dl3dv_grows_with_the_number_of_views(
    count: int, percent: str, shipped: dict[str, LoadedProtocol]
) -> None:
    assert f"{100 * measure_leak(shipped[f'dl3dv/depthsplat-{count}v'].cases).share:.1f}" == percent


def test_all_others_are_clean(shipped: dict[str, LoadedProtocol]) -> None:
    """LagerNVS' DL3DV among them."""
    clean = set(SHIPPED) & set(shipped) - set(LEAKS)
    assert {"dl3dv/lagernvs-2v", "dl3dv/lagernvs-6v", "re10k/latentsplat-extra", "dl3dv/mvsplat360-5v"} <= clean
    for name in clean:
        assert measure_leak(shipped[name].cases).shown == 0, name
        assert shipped[name].protocol.targets == "strict-novel", name


@pytest.mark.parametrize("name", LEAKS)
def test_every_leaky_protocol_has_its_twin(name: str, shipped: dict[str, LoadedProtocol]) -> None:
    leaky, novel = shipped[name], shipped[name + STRICT]
    assert (leaky.protocol.targets, novel.protocol.targets) == ("as-published", "strict-novel")
    assert leaky.hash != novel.hash
    assert set(leaky.cases_by_id) == set(novel.cases_by_id)  # no question is lost with its leaked targets
    for case in leaky.cases:
        twin = novel.cases_by_id[case.id]
        assert (twin.scene, twin.references) == (case.scene, case.references)
        assert twin.targets == tuple(view for view in case.targets if view not in case.references)
    same = {"preparation", "convention", "metrics", "optional_metrics", "cameras", "dataset", "reference_counts"}
    assert leaky.protocol.model_dump(include=same) == novel.protocol.model_dump(include=same)


def test_no_twin_without_a_leak(shipped: dict[str, LoadedProtocol]) -> None:
    assert {name.removesuffix(STRICT) for name in shipped if name.endswith(STRICT)} == set(LEAKS)


@pytest.mark.parametrize("name", SHIPPED)
def test_nothing_worse_than_the_leak_is_wrong(name: str, shipped: dict[str, LoadedProtocol]) -> None:
    allowed = {"target-is-reference"} | ({"targets-move"} if name in MOVING else set())
    worse = {finding.code for finding in lint_protocol(shipped[name]) if finding.severity is not Severity.NOTE}
    assert worse <= allowed


MOVING = {"dtu/pixelnerf"}
"""Whose targets change with the number of references, as published; its known problems say so."""


# The published files against each other


class Same(NamedTuple):
    one: str
    other: str


@pytest.mark.parametrize(
    "pair",
    [
        Same("re10k/lagernvs-2v", "re10k/pixelsplat-2v"),
        Same("re10k/mvsplat360-inter-3t", "re10k/pixelsplat-2v"),
        Same("re10k/mvsplat360-extra-3t", "re10k/latentsplat-extra"),
        Same("dl3dv/lagernvs-6v", "dl3dv/depthsplat-6v-strict-novel"),
    ],
    ids=str,
)
def test_the_same_views_under_two_preparations_are_two_protocols(
    pair: Same, shipped: dict[str, LoadedProtocol]
) -> None:
    one, other = shipped[pair.one], shipped[pair.other]
    assert one.index == other.index and one.hash != other.hash


def test_lagernvs_and_depthsplat_differ_by_the_references_alone(shipped: dict[str, LoadedProtocol]) -> None:
    for count, targets in ((2, 48), (4, 46), (6, 44)):
        cases = shipped[f"dl3dv/lagernvs-{count}v"].cases
        assert {len(case.targets) for case in cases} == {targets}


def test_dl3dv_is_the_same_140_scenes_everywhere(shipped: dict[str, LoadedProtocol]) -> None:
    scenes = {
        frozenset(case.scene for case in loaded.cases) for name, loaded in shipped.items() if name.startswith("dl3dv/")
    }
    assert len(scenes) == 1 and len(next(iter(scenes))) == 140


def test_a_video_asks_for_every_frame_of_its_pair(shipped: dict[str, LoadedProtocol]) -> None:
    pairs = shipped["re10k/pixelsplat-2v"].cases_by_id
    for case in shipped["re10k/pixelsplat-2v-video"].cases:
        first, last = map(int, case.references)
        assert case.references == pairs[case.id].references
        assert case.targets == tuple(str(view) for view in range(first, last + 1))


# The rules that exist only in code, against their restatement


def test_dtu_is_the_rule(facts: dict[str, dict[str, object]], shipped: dict[str, LoadedProtocol]) -> None:
    fact = facts["dtu_pixelnerf_regnerf"]
    cases = shipped["dtu/regnerf"].cases
    assert sorted({case.scene for case in cases}) == sorted(fact["scenes"])  # type: ignore[arg-type]
    for case in cases:
        wanted = fact["inputs"][str(len(case.references))]  # type: ignore[index]
        assert [int(view) for view in case.references] == wanted
        assert [int(view) for view in case.targets] == fact["test"]
    for case in shipped["dtu/pixelnerf"].cases:
        assert len(case.targets) == 49 - 15 - len(case.references)
        assert not {int(view) for view in case.targets} & set(fact["exclude_wrong_exposure"])  # type: ignore[call-overload]


def test_llff_is_the_rule(
    facts: dict[str, dict[str, object]], shipped: dict[str, LoadedProtocol], splits: Path
) -> None:
    counts: dict[str, int] = facts["llff_regnerf_few_view"]["n_images"]  # type: ignore[assignment]
    for scene, count in counts.items():
        assert len(np.load(splits / "llff_poses_bounds" / f"{scene}.npy")) == count
        targets = tuple(f"image{number:03d}" for number in range(0, count, 8))
        dense = shipped["llff/dense"].cases_by_id[f"{scene}-all"]
        assert dense.targets == targets and len(dense.references) == count - len(targets)
        rest = [number for number in range(count) if number % 8]
        for few in (3, 6, 9):
            case = shipped["llff/regnerf"].cases_by_id[f"{scene}-r{few}"]
            places = [round(i * (len(rest) - 1) / (few - 1)) for i in range(few)]
            assert case.targets == targets
            assert case.references == tuple(f"image{rest[place]:03d}" for place in places)


def test_dietnerf_is_the_seed(facts: dict[str, dict[str, object]], shipped: dict[str, LoadedProtocol]) -> None:
    chosen = np.random.RandomState(0).choice(100, 8, replace=False)
    assert list(chosen) == facts["nerf_synthetic_8view"]["train"]
    for case in shipped["nerf-synthetic/dietnerf-8v"].cases:
        assert case.references == tuple(f"train/r_{number}" for number in chosen)
        assert case.targets == tuple(f"test/r_{number}" for number in range(0, 200, 8))


def test_eschernet_is_its_lists(shipped: dict[str, LoadedProtocol], splits: Path) -> None:
    lists = json.loads((splits / "kxhit+EscherNet" / "NeRF_idx.json").read_text())
    full, subset = shipped["nerf-synthetic/eschernet"], shipped["nerf-synthetic/eschernet-20t"]
    assert full.protocol.reference_counts == (1, 2, 3, 5, 10, 20, 50, 100)
    for scene, found in lists.items():
        for count in full.protocol.reference_counts:
            case = full.cases_by_id[f"{scene}-r{count}"]
            assert case.references == tuple(f"train/r_{number}" for number in found[f"train_N{count}M20_random"])
            assert len(case.targets) == 200
            assert subset.cases_by_id[case.id].targets == tuple(f"test/r_{number}" for number in found["test_M20"])
    assert lists["lego"]["train_N100M20_random"][:3] == [79, 37, 65] and lists["lego"]["train_N1M20_random"] == [69]


def test_gso_has_fifteen_targets_after_the_ten_references(shipped: dict[str, LoadedProtocol]) -> None:
    cases = shipped["gso/eschernet"].cases
    assert len({case.scene for case in cases}) == 30 and len(cases) == 150
    for case in cases:
        assert case.references == tuple(f"{number:03d}" for number in range(len(case.references)))
        assert case.targets == tuple(f"{number:03d}" for number in range(10, 25))


def test_shapenet_has_the_listed_reference_and_all_others(shipped: dict[str, LoadedProtocol], splits: Path) -> None:
    for name, file, objects in (("categories", "src_dvr", 8_762), ("unseen", "src_gen", 25_464)):
        rows = (splits / "sxyu+pixel-nerf" / f"{file}.txt").read_text().split()
        listed = dict(zip(map("/".join, zip(rows[::3], rows[1::3], strict=True)), rows[2::3], strict=True))
        cases = shipped[f"shapenet/pixelnerf-{name}"].cases
        assert len(cases) == objects == len(listed)
        for case in cases:
            assert [int(view) for view in case.references] == [int(listed[case.scene])]
            assert len(case.targets) == 23


def test_mvsnerf_and_mvsplat_share_their_targets(shipped: dict[str, LoadedProtocol]) -> None:
    one = {view for case in shipped["dtu/mvsnerf"].cases for view in case.targets}
    other = {view for case in shipped["dtu/mvsplat-3v"].cases for view in case.targets}
    assert one == other == {"000032", "000024", "000023", "000044"}


# What each protocol must say


@pytest.mark.parametrize("name", SHIPPED)
def test_each_says_where_it_comes_from_and_that_it_is_not_pinned(name: str, shipped: dict[str, LoadedProtocol]) -> None:
    protocol = shipped[name].protocol
    assert any("split: " in source and ("@" in source or "data set's own" in source) for source in protocol.sources)
    assert any(source.startswith("data: ") for source in protocol.sources)
    assert any("not pinned" in problem for problem in protocol.known_problems)
    assert shipped[name].index.image_sha256 == {} == shipped[name].index.camera_sha256
    if protocol.targets == "as-published":
        leak = measure_leak(shipped[name].cases)
        assert f"{leak.shown:,} of {leak.targets:,} targets" in protocol.known_problems[0]
