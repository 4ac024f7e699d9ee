"""What lint finds with the data set at hand, on small scenes made to have each fault, and on real ones."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kaleido_bench.cases import Case, CaseIndex
from kaleido_bench.data.cameras import build_camera, intrinsics_matrix
from kaleido_bench.data.readers import build_reader
from kaleido_bench.data.scenes import Scene, View, build_scene, pin_view
from kaleido_bench.lint.data import (
    find_degenerate,
    find_mixed,
    find_near_duplicates,
    find_outside,
    find_unsorted,
    lint_data,
)
from kaleido_bench.lint.findings import Severity
from kaleido_bench.protocol import LoadedProtocol, load_protocol
from tests.predict.tiny import write_data, write_protocol


def image(seed: int) -> bytes:
    """A smooth picture: noise of 4x4 pixels, enlarged."""
    pixels = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((40, 30), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def view(name: str, centre: tuple[float, float, float], turn: float = 0.0, **other: Any) -> View:
    """A view at a centre that looks along z, turned about y by degrees."""
    angle = math.radians(turn)
    c2w = np.eye(4)
    c2w[:3, :3] = [[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]]
    c2w[:3, 3] = centre
    width, height, focal = other.get("width", 40), other.get("height", 30), other.get("focal", 50.0)
    K = intrinsics_matrix(focal, focal, width / 2, height / 2)
    data = image(other.get("seed", hash(centre) % 1000))
    return View(name, build_camera(c2w, K, width, height, where="test"), lambda: data, None, name)


def scene(*views: View) -> Scene:
    return build_scene("s", views, "test")


def ask(references: str, targets: str) -> Case:
    return Case(id="c", scene="s", references=tuple(references), targets=tuple(targets))


CROSS = scene(view("a", (0, 0, 0)), view("b", (4, 0, 0)), view("c", (2, 1, 0)), view("d", (9, 0, 0)))


def test_a_clean_scene_has_no_findings() -> None:
    case = ask("ab", "c")
    assert [*find_mixed(CROSS, [case]), *find_degenerate(CROSS, case), *find_near_duplicates(CROSS, case)] == []


def test_mixed_sizes_and_focal_lengths() -> None:
    mixed = scene(view("a", (0, 0, 0)), view("b", (1, 0, 0), width=20, height=15, focal=25.0), view("c", (2, 0, 0)))
    (sizes,) = find_mixed(mixed, [ask("ab", "c")])
    assert (sizes.code, sizes.message) == ("mixed-sizes", "scene 's': images of 20x15, 40x30")
    zoomed = scene(view("a", (0, 0, 0)), view("b", (1, 0, 0), focal=55.0), view("c", (2, 0, 0)))
    (focal,) = find_mixed(zoomed, [ask("ab", "c")])
    assert (focal.code, focal.severity) == ("mixed-intrinsics", Severity.NOTE) and "10.0 %" in focal.message
    assert find_mixed(zoomed, [ask("a", "c")]) == []  # a view that no case uses mixes nothing


def test_references_in_one_point_and_views_of_one_pose() -> None:
    turning = scene(view("a", (0, 0, 0)), view("b", (0, 0, 0), 30.0), view("c", (1, 0, 0)), view("d", (1, 0, 0)))
    assert [finding.code for finding in find_degenerate(turning, ask("ab", "c"))] == ["no-baseline"]
    assert [finding.code for finding in find_degenerate(turning, ask("ac", "d"))] == ["same-pose"]
    assert find_degenerate(turning, ask("a", "c")) == []  # one reference has no baseline to lack


@pytest.mark.parametrize(
    ("beside", "turn", "seed", "found"),
    [
        (0.001, 0.0, 1, True),  # the same picture from nearly the same place
        (0.001, 0.0, 2, False),  # another picture: something moved
        (1.0, 0.0, 1, False),  # far enough
        (0.001, 5.0, 1, False),  # turned enough
    ],
)
def test_near_duplicates(beside: float, turn: float, seed: int, found: bool) -> None:
    near = scene(view("a", (0, 0, 0), seed=1), view("b", (4, 0, 0), seed=3), view("c", (beside, 0, 0), turn, seed=seed))
    assert [finding.code for finding in find_near_duplicates(near, ask("ab", "c"))] == ["near-duplicate"] * found


def test_a_shown_target_is_no_near_duplicate() -> None:
    assert find_near_duplicates(CROSS, ask("ab", "a")) == []


@pytest.mark.parametrize(
    ("references", "targets", "outside"),
    [
        ("ab", "c", [False]),  # beside the middle of the two
        ("ab", "d", [True]),  # beyond both
        ("ad", "b", [False]),
        ("a", "b", [True]),  # one reference spans nothing
        ("ab", "ad", [False, True]),  # a target that is shown is not counted as outside
    ],
)
def test_extrapolation(references: str, targets: str, outside: list[bool]) -> None:
    assert find_outside(CROSS, ask(references, targets)) == outside


def test_a_target_that_looks_elsewhere_is_outside() -> None:
    turned = scene(view("a", (0, 0, 0), -10.0), view("b", (4, 0, 0), 10.0), view("c", (2, 0, 0), 90.0))
    assert find_outside(turned, ask("ab", "c")) == [True]


def test_every_point_of_a_hull_is_inside() -> None:
    generator = np.random.default_rng(0)
    corners = generator.normal(size=(5, 3))
    weights = generator.dirichlet(np.ones(5), size=40)
    views = [view(f"r{index}", tuple(corner)) for index, corner in enumerate(corners)]
    views += [view(f"t{index}", tuple(point)) for index, point in enumerate(weights @ corners)]
    case = Case(
        id="c", scene="s", references=tuple(f"r{i}" for i in range(5)), targets=tuple(f"t{i}" for i in range(40))
    )
    assert find_outside(build_scene("s", views, "test"), case) == [False] * 40


def test_views_that_a_user_did_not_sort() -> None:
    assert find_unsorted(CROSS) == []
    (finding,) = find_unsorted(scene(view("a", (0, 0, 0)), view("c", (1, 0, 0)), view("b", (2, 0, 0))))
    assert (finding.code, finding.severity) == ("views-not-sorted", Severity.WARNING)
    assert "c before b" in finding.message


def drop_pose(frames: list[dict[str, Any]]) -> None:
    del frames[2]["transform_matrix"]


def shear_pose(frames: list[dict[str, Any]]) -> None:
    frames[2]["transform_matrix"][0][0] += 0.5


def set_nan(frames: list[dict[str, Any]]) -> None:
    frames[2]["transform_matrix"][0][3] = math.nan


@pytest.mark.parametrize(
    ("change", "word"),
    [(drop_pose, "no 4x4 transform_matrix"), (shear_pose, "rotation"), (set_nan, "finite")],
)
def test_scenes_that_cannot_be_read(change: Callable[[list[dict[str, Any]]], None], word: str, tmp_path: Path) -> None:
    write_data(tmp_path / "data", ("arc", "bow"))
    path = tmp_path / "data" / "scenes" / "arc" / "transforms.json"
    document = json.loads(path.read_text())
    change(document["frames"])
    path.write_text(json.dumps(document))
    loaded = load_protocol(write_protocol(tmp_path / "tiny.yaml", scenes=("arc", "bow")))
    errors = [finding for finding in lint_data(loaded, tmp_path / "data") if finding.severity is Severity.ERROR]
    assert [finding.code for finding in errors] == ["unreadable-scene"]
    assert "scene 'arc'" in errors[0].message and word in errors[0].message


def test_data_that_is_not_there(tmp_path: Path) -> None:
    loaded = load_protocol(write_protocol(tmp_path / "tiny.yaml", scenes=("arc", "bow")))
    (tmp_path / "data").mkdir()
    (missing,) = lint_data(loaded, tmp_path / "data")
    assert (missing.code, missing.severity) == ("no-data", Severity.ERROR)
    write_data(tmp_path / "data", ("arc",))
    found = [finding for finding in lint_data(loaded, tmp_path / "data") if finding.severity is Severity.ERROR]
    assert [finding.code for finding in found] == ["unreadable-scene"] and "bow" in found[0].message


def test_ids_out_of_range(tmp_path: Path) -> None:
    write_data(tmp_path / "data", ("arc",))
    loaded = load_protocol(write_protocol(tmp_path / "tiny.yaml", scenes=("arc",), targets=("0004", "0408")))
    errors = [finding for finding in lint_data(loaded, tmp_path / "data") if finding.severity is Severity.ERROR]
    assert {finding.message for finding in errors} == {"views that scene 'arc' does not have: 0408"}


def test_files_that_are_not_those_that_were_frozen(tmp_path: Path) -> None:
    """An image of the same size in the place of another, a camera that moved, an image that is gone."""
    folder = write_data(tmp_path / "data", ("arc",)) / "scenes/arc"
    arc = build_reader("transforms").load_scene(folder.parent, "arc")
    images = {name: pin_view(view).image or "" for name, view in arc.views.items()}
    cameras = {name: pin_view(view).camera or "" for name, view in arc.views.items()}
    pins: dict[str, Any] = {"image_sha256": {"arc": images}, "camera_sha256": {"arc": cameras}}
    loaded = load_protocol(write_protocol(tmp_path / "tiny.yaml", scenes=("arc",), **pins))

    def errors() -> list[tuple[str, str]]:
        found = lint_data(loaded, tmp_path / "data")
        return [(each.code, each.message) for each in found if each.severity is Severity.ERROR]

    assert errors() == []
    (folder / "images/0004.png").write_bytes((folder / "images/0003.png").read_bytes())  # 0003 is in no case
    document = json.loads((folder / "transforms.json").read_text())
    document["frames"][5]["transform_matrix"][0][3] += 0.1
    (folder / "transforms.json").write_text(json.dumps(document))
    assert errors() == [
        ("not-the-pinned", "scene 'arc': images other than frozen: 0004"),
        ("not-the-pinned", "scene 'arc': cameras other than frozen: 0005"),
    ]
    (folder / "images/0001.png").unlink()
    (gone,) = [message for _, message in errors() if "0001" in message]
    assert "files that cannot be read" in gone and "images/0001.png" in gone


def with_cases(loaded: LoadedProtocol, *cases: Case) -> LoadedProtocol:
    index = CaseIndex(schema_version=1, cases=cases, image_sha256={}, camera_sha256={})
    return LoadedProtocol(loaded.protocol, index, loaded.hash, None)


def test_near_duplicates_of_real_scenes(data_dir: Path) -> None:
    # A turntable's last photograph is its first; NeRF-Synthetic's test orbit starts on a training view.
    found = lint_data(load_protocol("real/objects-many"), data_dir)
    messages = {(finding.case, finding.code): finding.message for finding in found}
    assert messages["temple_ring-all", "same-pose"] == "the views templeR0030, templeR0001 have one pose"
    assert "'templeR0001' is nearly reference 'templeR0030'" in messages["temple_ring-all", "near-duplicate"]
    assert "'test_000' is nearly reference 'train_061'" in messages["nerf_synthetic_lego-all", "near-duplicate"]


def test_real_few_view_scenes_extrapolate_in_part(data_dir: Path) -> None:
    found = {finding.code: finding for finding in lint_data(load_protocol("real/llff-few"), data_dir)}
    assert set(found) == {"extrapolation"}
    assert found["extrapolation"].message == "14 of 24 targets (58.3 %) lie outside what their references span"
