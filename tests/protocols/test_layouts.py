"""Catalogue protocols end to end on real scenes, laid out as the field publishes them.

fern, flower and lego are the very scenes that the protocols name (lego at half its size). Of DTU and GSO another scan
and another object are at hand; they stand in under a name that the protocol knows, which is enough to see that the
layout is read, and that what is scored has the protocol's size, number and order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from typer.testing import CliRunner

from kaleido_bench.cli.app import build_app
from kaleido_bench.data.cameras import c2w_to_opengl, invert_rigid
from kaleido_bench.data.images import decode_image, prepare_image
from kaleido_bench.data.readers import build_reader
from kaleido_bench.data.scenes import Scene
from kaleido_bench.protocol import load_protocol
from kaleido_bench.score.results.records import load_result
from kaleido_bench.score.results.rows import read_rows
from kaleido_bench.score.truth import TruthReader
from tests.data.readers.object_layouts import write_co3d, write_dtu_mvsnet
from tests.data.readers.points import TrueView, make_views
from tests.data.readers.render_layouts import write_nmr
from tests.data.readers.scene_layouts import write_re10k


def write_co3d_ndc(root: Path, views: list[TrueView]) -> None:
    write_co3d(root, views, "ndc_norm_image_bounds")


PIXELS_FROM_UNIT = np.array([[256.0, 0.0, 256.0], [0.0, 192.0, 192.0], [0.0, 0.0, 1.0]])
"""[-1, 1] x [-1, 1] to the pixels of the DTU images at hand, 512 x 384."""


def load_scene(data_dir: Path, name: str) -> Scene:
    return build_reader("transforms").load_scene(data_dir / "scenes", name)


def lay_out_llff(data_dir: Path, root: Path) -> None:
    """nerf_llff_data/<scene>/poses_bounds.npy and images_8/, the released poses beside the images at hand."""
    for scene in ("fern", "flower"):
        folder = root / "nerf_llff_data" / scene
        (folder / "images_8").mkdir(parents=True)
        poses = (data_dir / "splits" / "llff_poses_bounds" / f"{scene}.npy").read_bytes()
        (folder / "poses_bounds.npy").write_bytes(poses)
        for image in (data_dir / "scenes" / f"llff_{scene}" / "images").iterdir():
            (folder / "images_8" / image.name).symlink_to(image)


def lay_out_lego(data_dir: Path, root: Path) -> None:
    """nerf_synthetic/lego/transforms_train.json, transforms_test.json, with the 41 test views at hand."""
    scene, folder = load_scene(data_dir, "nerf_synthetic_lego"), root / "nerf_synthetic" / "lego"
    angle = 2 * math.atan(200 / scene.views["train_000"].camera.K[0, 0])
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        frames: list[dict[str, object]] = []
        for name, view in scene.views.items():
            if name.startswith(split):
                path = f"{split}/r_{int(name[-3:])}"
                (folder / f"{path}.png").symlink_to(view.source)
                pose = c2w_to_opengl(view.camera.c2w)
                frames.append({"file_path": f"./{path}", "transform_matrix": pose.tolist()})
        (folder / f"transforms_{split}.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))


def lay_out_dtu(data_dir: Path, root: Path) -> None:
    """rs_dtu_4/DTU/scan8/image/, mask/ and cameras.npz, with scan 24 in its place."""
    scene, folder = load_scene(data_dir, "dtu_scan24"), root / "rs_dtu_4" / "DTU" / "scan8"
    (folder / "image").mkdir(parents=True)
    (folder / "mask").symlink_to(data_dir / "scenes" / "dtu_scan24" / "masks")
    arrays: dict[str, np.ndarray] = {}
    for number, view in enumerate(scene.views.values()):
        (folder / "image" / Path(view.source).name).symlink_to(view.source)
        projection = np.linalg.inv(PIXELS_FROM_UNIT) @ view.camera.K @ invert_rigid(view.camera.c2w)[:3]
        arrays[f"world_mat_{number}"] = np.vstack([projection, [0.0, 0.0, 0.0, 1.0]])
        arrays[f"scale_mat_{number}"] = np.eye(4)
    np.savez(folder / "cameras.npz", **arrays)  # type: ignore[arg-type]


def lay_out_gso(data_dir: Path, root: Path) -> None:
    """GSO30/train/render_mvs_25/model/000.png and 000.npy, with 25 views of the toy in its place."""
    scene, folder = load_scene(data_dir, "gso_toy"), root / "GSO30" / "train" / "render_mvs_25" / "model"
    folder.mkdir(parents=True)
    for number, view in enumerate(list(scene.views.values())[:50:2]):
        (folder / f"{number:03d}.png").symlink_to(view.source)
        np.save(folder / f"{number:03d}.npy", invert_rigid(c2w_to_opengl(view.camera.c2w))[:3])


def find_lego(scene: str, view: str) -> tuple[str, str]:
    split, _, number = view.partition("/r_")
    return "nerf_synthetic_lego", f"{split}_{int(number):03d}"


class Trial(NamedTuple):
    """A protocol, some of its scenes, and how their data is laid out."""

    protocol: str
    scenes: tuple[str, ...]
    references: str  # the counts that are run
    lay_out: Callable[[Path, Path], None]
    size: tuple[int, int]
    targets: tuple[int, ...]  # of each scene
    original: Callable[[str, str], tuple[str, str]]  # (scene, view) of the protocol -> those of the data at hand


TRIALS = (
    Trial(
        "llff/regnerf",
        ("fern", "flower"),
        "3,6,9",
        lay_out_llff,
        (504, 378),
        (3, 5),
        lambda scene, view: (f"llff_{scene}", view),
    ),
    Trial("nerf-synthetic/dietnerf-8v", ("lego",), "8", lay_out_lego, (400, 400), (25,), find_lego),
    Trial("nerf-synthetic/eschernet-20t", ("lego",), "1,100", lay_out_lego, (256, 256), (20,), find_lego),
    Trial("dtu/regnerf", ("scan8",), "3", lay_out_dtu, (400, 300), (25,), lambda scene, view: ("dtu_scan24", view)),
    Trial(
        "gso/eschernet",
        ("train",),
        "1,10",
        lay_out_gso,
        (256, 256),
        (15,),
        lambda scene, view: ("gso_toy", f"{2 * int(view):08d}_rgba"),
    ),
)


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.protocol)
def test_nearest_runs_end_to_end_and_is_asked_what_the_protocol_asks(
    trial: Trial, data_dir: Path, weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.lay_out(data_dir, tmp_path)
    monkeypatch.setenv("KBENCH_WEIGHTS", str(weights_dir))
    words = ["run", trial.protocol, "--model", "nearest", "--data", str(tmp_path), "--out", str(tmp_path / "runs")]
    words += ["--scenes", ",".join(trial.scenes), "--references", trial.references]
    ended = CliRunner().invoke(build_app(), words, prog_name="kbench")
    assert ended.exit_code == 0, ended.output

    run = tmp_path / "runs" / trial.protocol / "nearest"
    result = load_result(run / "result.json")
    assert result.complete and result.partial  # a part of the protocol never reaches a leaderboard
    loaded = load_protocol(trial.protocol)
    counts = [int(count) for count in trial.references.split(",")]
    cases = [case for case in loaded.cases if case.scene in trial.scenes and len(case.references) in counts]
    assert len(cases) == len(trial.scenes) * len(counts)
    expected = dict(zip(trial.scenes, trial.targets, strict=True))
    rows = read_rows(run / "scores" / f"{loaded.protocol.convention}.parquet")
    statuses = {metric.name: metric.status for metric in result.metrics}
    assert trial.protocol != "dtu/regnerf" or statuses["psnr-fg"] == statuses["ssim-fg"] == "scored"
    truth = TruthReader(loaded, tmp_path)
    for case in cases:
        assert len(case.targets) == expected[case.scene]
        assert truth.image_size(case) == loaded.protocol.preparation.size == trial.size
        assert sorted(row.view for row in rows if row.case == case.id and row.metric == "psnr") == sorted(case.targets)
        images = truth.load(case, case.targets).images
        assert images.shape == (len(case.targets), trial.size[1], trial.size[0], 3)
        for place in (0, len(case.targets) - 1):
            scene, name = trial.original(case.scene, case.targets[place])
            view = load_scene(data_dir, scene).views[name]
            pixels = decode_image(view.read_image(), view.source)
            wanted = prepare_image(pixels, view.camera, None, loaded.protocol.preparation, view.source)
            assert np.array_equal(images[place], wanted.image)
        assert not any(row.target_is_reference for row in rows)


class Fixture(NamedTuple):
    """A protocol, one scene of it, and how many views of the made-up scene its layout gets."""

    protocol: str
    scene: str
    root: str
    write: Callable[[Path, list[TrueView]], None]
    count: int
    cases: int
    targets: int
    shown: int  # targets that are references too


FIXTURES = (
    Fixture("re10k/pixelsplat-2v", "5aca87f95a9412c6", "re10k/test", write_re10k, 134, 1, 3, 0),
    Fixture("re10k/mvsplat360-inter-14t", "5aca87f95a9412c6", "re10k/test", write_re10k, 134, 1, 14, 1),
    Fixture("co3d/latentsplat-hydrant-360", "hydrant/417_57776_111531", "co3d", write_co3d_ndc, 102, 6, 102, 2),
    Fixture(
        "shapenet/pixelnerf-categories",
        "03691459/101354f9d8dede686f7b08d9de913afe",
        "NMR_Dataset",
        write_nmr,
        24,
        1,
        23,
        0,
    ),
    Fixture("dtu/mvsplat-3v", "scan1", "mvs_training/dtu", write_dtu_mvsnet, 45, 4, 4, 0),
)


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.protocol)
def test_nearest_runs_end_to_end_on_a_made_up_scene(fixture: Fixture, tmp_path: Path) -> None:
    size = {write_nmr: (64, 64), write_dtu_mvsnet: (640, 512)}.get(fixture.write, (96, 72))
    views = make_views(*size)
    fixture.write(tmp_path / fixture.root, [views[number % len(views)] for number in range(fixture.count)])
    words = ["run", fixture.protocol, "--model", "nearest", "--data", str(tmp_path), "--out", str(tmp_path / "runs")]
    ended = CliRunner().invoke(build_app(), [*words, "--scenes", fixture.scene], prog_name="kbench")
    assert ended.exit_code == 0, ended.output
    loaded = load_protocol(fixture.protocol)
    assert "targets strict-novel" in ended.output  # alone, or below the published ones
    assert ("targets as-published" in ended.output) == (loaded.protocol.targets == "as-published")
    cases = [case for case in loaded.cases if case.scene == fixture.scene]
    rows = read_rows(tmp_path / "runs" / fixture.protocol / "nearest" / f"scores/{loaded.protocol.convention}.parquet")
    asked = {(case.id, view) for case in cases for view in case.targets}
    assert (len(cases), len(asked)) == (fixture.cases, fixture.targets)
    psnr = [row for row in rows if row.metric == "psnr"]
    assert {(row.case, row.view) for row in psnr} == asked and len(psnr) == len(asked)
    assert sum(row.target_is_reference for row in psnr) == fixture.shown
    truth = TruthReader(loaded, tmp_path)
    assert {truth.image_size(case) for case in cases} == {loaded.protocol.preparation.size}


def test_the_released_poses_of_fern_are_those_at_hand(data_dir: Path, tmp_path: Path) -> None:
    """The same order of views, so that an index list means the same images: camera centres correspond by a "
    "similarity."""
    lay_out_llff(data_dir, tmp_path)
    for scene in ("fern", "flower"):
        released = build_reader("llff-8").load_scene(tmp_path / "nerf_llff_data", scene)
        at_hand = load_scene(data_dir, f"llff_{scene}")
        assert list(released.views) == list(at_hand.views)
        one, other = (
            np.stack([view.camera.c2w[:3, 3] for view in each.views.values()]) for each in (released, at_hand)
        )
        distances = [np.linalg.norm(each[:, None] - each[None], axis=-1) for each in (one, other)]
        ratio = distances[0][0, 1:] / distances[1][0, 1:]
        assert ratio.std() / ratio.mean() < 1e-3


def test_a_scene_that_is_not_there_is_named(data_dir: Path, tmp_path: Path) -> None:
    """Never skipped: the mean over the scenes at hand would be another protocol's."""
    lay_out_llff(data_dir, tmp_path)
    words = ["run", "llff/regnerf", "--model", "nearest", "--data", str(tmp_path), "--out", str(tmp_path / "runs")]
    ended = CliRunner().invoke(build_app(), words, prog_name="kbench")
    assert ended.exit_code == 2
    assert "fortress" in ended.output and "nerf_llff_data" in ended.output
