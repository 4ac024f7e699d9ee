"""Judging a trained model: what is asked of held-out worlds, the renderer of scanned meshes, the bars, and the whole
road once, small.
"""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kaleido_bench.data.cameras import Camera, intrinsics_matrix

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "zero_shot_worlds",
    "zero_shot_pictures",
    "scanned_meshes",
    "zero_shot_protocols",
    "zero_shot_runs",
    "zero_shot_report",
    "zero_shot",
)


@pytest.fixture(scope="module")
def scripts() -> Iterator[dict[str, ModuleType]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield {name: importlib.import_module(name) for name in NAMES}
        for name in NAMES:
            sys.modules.pop(name, None)


@pytest.fixture
def worlds(scripts: dict[str, ModuleType]) -> Any:
    return scripts["zero_shot_worlds"]


# Questions


def test_references_are_nested_and_targets_stay(worlds: Any) -> None:
    questions = worlds.ask_worlds(2)
    assert [len(question.references) for question in questions[:10]] == list(range(1, 11))
    assert {question.targets for question in questions} == {("10", "11", "12", "13")}
    for fewer, more in itertools.pairwise(questions[:10]):
        assert more.references[: len(fewer.references)] == fewer.references
    assert len({question.id for question in questions}) == 20


def test_targets_leave_the_orbit_as_they_are_called(worlds: Any) -> None:
    rig = worlds.draw_orbit(torch.Generator().manual_seed(0))
    centre = rig.c2w[0, :, :3, 3]
    distance, height = centre.norm(dim=-1), centre[:, 2]
    shown = worlds.ORBIT_REFERENCES
    assert torch.allclose(distance[:shown], distance[:1].expand(shown), atol=1e-5)
    assert torch.allclose(height[:shown], height[:1].expand(shown), atol=1e-5)
    (question,) = worlds.ask_orbits(1)
    by_move = {move: [i for i in question.targets if worlds.move_of(i) == move] for move in worlds.MOVES}
    assert all(len(views) == 2 for views in by_move.values())
    ratio = {move: [round((distance[int(i)] / distance[0]).item(), 3) for i in by_move[move]] for move in worlds.MOVES}
    assert ratio["orbit"] == ratio["higher"] == ratio["turned"] == [1, 1]
    assert ratio["nearer"] == [0.75, 0.6] and ratio["farther"] == [1.4, 1.8]
    elevation = torch.asin(height / distance).rad2deg()
    risen = [round((elevation[int(i)] - elevation[0]).item()) for i in by_move["higher"]]
    assert risen == [30, 50]
    # All but the turned and the free ones look at the middle.
    forward = rig.c2w[0, :, :3, 2]
    off = torch.acos((-(centre / distance[:, None]) * forward).sum(-1).clamp(-1, 1))
    assert {move for move in worlds.MOVES if max(off[int(i)] for i in by_move[move]) > 1e-2} == {"turned", "free"}


def test_parts_hold_everything_and_stay_small(worlds: Any, tmp_path: Path) -> None:
    paths = []
    for number in range(40):
        paths.append(tmp_path / f"{number:02d}.png")
        paths[-1].write_bytes(b"x" * (1000 + 37 * number))
    parts = worlds.share_out(paths, 24000)
    assert [path for part in parts for path in part] == paths and len(parts) > 2
    assert all(sum(512 + -(-path.stat().st_size // 512) * 512 for path in part) + 10240 <= 24000 for part in parts)


# Scanned meshes


def plane(scripts: dict[str, ModuleType], depth: float, slope: float, blue: float) -> Any:
    """A large square z = depth + slope x, facing the camera, whose red and green are its texture coordinates."""
    side = 8.0
    corners = np.array([[-side, -side], [side, -side], [side, side], [-side, side]])
    points = np.column_stack([corners, depth + slope * corners[:, 0]])
    grid = (np.arange(256) + 0.5) / 256
    texture = np.stack([*np.meshgrid(grid, grid[::-1]), np.full((256, 256), blue)], -1)
    faces = np.array([[0, 2, 1], [0, 3, 2]])
    return scripts["scanned_meshes"].Mesh(points, corners / (2 * side) + 0.5, faces, faces, texture)


def test_a_tilted_plane_has_the_colours_of_its_rays(scripts: dict[str, ModuleType]) -> None:
    meshes = scripts["scanned_meshes"]
    camera = Camera(np.eye(4), intrinsics_matrix(32, 32, 16, 16), 32, 32)
    mesh = plane(scripts, 3.0, 0.3, 0.4)
    image = meshes.render_mesh(mesh, camera).astype(float) / 255
    grid = (np.arange(32) + 0.5 - 16) / 32
    x, y = np.meshgrid(grid, grid)
    z = 3.0 / (1 - 0.3 * x)
    normal = np.array([0.3, 0, -1]) / np.linalg.norm([0.3, 0, -1])
    light = meshes.AMBIENT + (1 - meshes.AMBIENT) * max(normal @ meshes.LIGHT, 0)
    expected = np.stack([x * z / 16 + 0.5, y * z / 16 + 0.5, np.full_like(x, 0.4)], -1) * light
    assert (image[..., 3] == 1).all()
    assert np.abs(image[..., :3] - expected).max() < 0.006


def test_the_nearer_of_two_surfaces_is_seen(scripts: dict[str, ModuleType]) -> None:
    meshes = scripts["scanned_meshes"]
    far, near = plane(scripts, 4.0, 0.0, 0.2), plane(scripts, 2.0, 0.0, 0.8)
    both = far._replace(
        points=np.concatenate([far.points, near.points * [0.05, 0.05, 1]]),
        corners=np.concatenate([far.corners, near.corners + 4]),
        uvs=np.concatenate([far.uvs, far.uvs]),
    )
    camera = Camera(np.eye(4), intrinsics_matrix(32, 32, 16, 16), 32, 32)
    found = meshes.rasterise(both.points[both.corners], camera, 32)
    shown = np.isin(found.triangle, (2, 3)).reshape(32, 32)
    # 0.4 to each side at depth 2: 6.4 pixels from the middle.
    inside = np.abs(np.arange(32) + 0.5 - 16) < 6.4
    assert (shown == np.outer(inside, inside)).all()


def test_objects_lie_in_the_frame_and_references_are_no_targets(
    scripts: dict[str, ModuleType], data_dir: Path, tmp_path: Path
) -> None:
    meshes = scripts["scanned_meshes"]
    cameras = meshes.place_cameras(0.3, 64)
    chosen = meshes.choose_places(cameras)
    assert not set(chosen.references) & set(chosen.targets)
    for camera in cameras:
        assert np.allclose(camera.c2w[:3, :3] @ [0, 0, 1], -camera.c2w[:3, 3] / meshes.DISTANCE)
        assert abs(np.linalg.det(camera.c2w[:3, :3]) - 1) < 1e-9 and camera.c2w[2, 1] <= 0  # y points down
    source = data_dir / "meshes" / "ycb" / "rubiks_cube"
    meshes.write_object(tmp_path / "cube", meshes.centre_mesh(meshes.load_mesh(source)), 0.0, 64)
    for path in sorted((tmp_path / "cube" / "images").iterdir()):
        alpha = np.asarray(Image.open(path))[..., 3] > 0
        assert 0.1 < alpha.mean() < 0.5
        assert not (alpha[0].any() or alpha[-1].any() or alpha[:, 0].any() or alpha[:, -1].any())


# Bars


def test_bars_are_met_and_missed(scripts: dict[str, ModuleType]) -> None:
    report = scripts["zero_shot_report"]

    def line(data: str, references: int, method: str, psnr: float, gain: float | None) -> Any:
        return report.Line(data, 128, references, method, psnr, gain, 0.5, 0.5, None)

    lines = [line("held-out worlds", count, "1 step", 20 + count - (count == 7) * 1.5, 9.0) for count in range(1, 11)]
    lines += [line("GSO and YCB", 3, "1 step", 22.0, 4.9), line("lego", 5, "4 steps", 19.99, 6.0)]
    lines += [line("photographs named", 3, "nearest", 12.0, None), line("photographs named", 3, "1 step", 14.0, 2.0)]
    told = [("orbit", "1 step", 20.0, 8.0), ("nearer", "1 step", 15.0, 2.5), ("nearer", "nearest", 12.5, 0.0)]
    moves = [report.Move(*each) for each in told]
    found = {
        (bar.name.split(":")[0], bar.wanted): (bar.met, round(bar.reached, 2))
        for bar in report.hold_to_bars(lines, moves)
    }
    assert found == {
        ("held-out worlds, 3 references", 8): (True, 9.0),
        ("1 to 10 references", 0): (False, -0.5),
        ("scanned objects, 3 references", 22): (True, 22.0),
        ("scanned objects, 3 references", 5): (False, 4.9),
        ("lego, 5 references", 20): (False, 19.99),
        ("photographs, 3 references", 2): (True, 2.0),
        ("off the orbit, the worst move", 3.0): (False, 2.5),
    }
    assert report.render_card([line("lego", 5, "nearest", 12.0, None), line("lego", 5, "4 steps", 19.99, 6.0)]) == (
        "| data | references | px | nearest | 4 steps |\n|:--|--:|--:|:--|:--|\n"
        "| lego | 5 | 128 | 12.00 / 0.500 / 0.500 | 19.99 / 0.500 / 0.500 |\n"
    )
    assert report.choose_many([line("held-out worlds", 3, f"{n} steps", 20 - abs(n - 4), 1.0) for n in (2, 4, 8)]) == 4


# The whole


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Random weights of the toy preset."""
    from reference_model.checkpoint import write_checkpoint
    from reference_model.model import Kaleido
    from reference_model.presets import smoke

    torch.manual_seed(0)
    model = Kaleido(smoke().model)
    write_checkpoint(tmp_path / "toy", model.state_dict(), smoke(), {"training_data": ["reference_model.worlds"]})
    return tmp_path / "toy"


def test_worlds_made_elsewhere_are_scored_here(
    scripts: dict[str, ModuleType],
    weights: Path,
    weights_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    worlds, zero = scripts["zero_shot_worlds"], scripts["zero_shot"]
    monkeypatch.setattr(worlds, "SIZE", 32)
    monkeypatch.setattr(scripts["zero_shot_protocols"], "SIZE", 32)
    monkeypatch.setenv("KBENCH_WEIGHTS", str(weights_dir))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    words = ["--worlds", "1", "--orbits", "1", "--steps", "1", "--device", "cpu"]
    worlds.main([str(weights), "--out", str(there), "--pack", str(there), *words])
    first = json.loads(capsys.readouterr().out.splitlines()[1])["psnr"]
    packed = sorted(str(path) for path in there.glob("worlds-*.tar"))
    zero.main([f"kaleido@{weights}", "--out", str(here), "--packed", *packed, "--steps", "1"])
    report = json.loads((here / "report.json").read_text())
    lines = {line["references"]: line for line in report["lines"] if line["method"] == "1 step"}
    assert sorted(lines) == list(range(1, 11))
    assert round(lines[3]["psnr"], 2) == pytest.approx(first["world 3"], abs=0.011)
    assert {move["move"] for move in report["moves"]} == set(worlds.MOVES)
    assert all((here / name).is_file() for name in ("views.png", "steps.png", "sheets/worlds.png", "sheets/orbits.png"))
    (here / "renders" / "weights.txt").write_text("another\n")
    with pytest.raises(SystemExit, match="answers of weights another"):
        zero.main([f"kaleido@{weights}", "--out", str(here), "--steps", "1"])


def test_weights_that_are_not_there_are_refused_before_anything_is_rendered(
    scripts: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        scripts["zero_shot"].main(["kaleido@nowhere", "--out", str(tmp_path / "out")])
    assert "kaleido@nowhere: no checkpoint 'nowhere'" in capsys.readouterr().err and not (tmp_path / "out").exists()
