"""Foreground metrics on real scenes, from writing the protocol to the table: masks in files, in alpha, and none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaleido_bench.authoring import freeze_protocol, pin_views, write_protocol
from kaleido_bench.cases import Case
from kaleido_bench.data.readers import build_reader
from tests.cli.conftest import Kbench, kbench

__all__ = ["kbench"]

SIZE = (96, 96)


def write(folder: Path, data_dir: Path, scenes: tuple[str, ...], *, required: bool) -> Path:
    """A protocol of one case a scene: the first two views are given, the next two asked for. Masks are frozen."""
    reader = build_reader("transforms")
    cases, pins = [], {}
    for name in scenes:
        scene = reader.load_scene(data_dir / "scenes", name)
        ids = list(scene.views)
        cases.append(Case(id=f"{name}-r2", scene=name, references=tuple(ids[:2]), targets=tuple(ids[2:4])))
        pins[name] = pin_views(scene, cases, masks=True)
    foreground = ["psnr-fg", "ssim-fg"]
    preparation = {"size": list(SIZE), "fit": "cover-crop", "filter": "lanczos", "antialias": True}
    frozen = freeze_protocol(
        {
            "schema_version": 1,
            "name": "masked",
            "version": 1,
            "title": "Objects with masks",
            "level": "object",
            "regime": "few-view",
            "dataset": {"name": "real", "reader": "transforms", "root": "scenes", "revision": "as it lies here"},
            "reference_counts": [2],
            "preparation": {**preparation, "background": "white", "alpha": "composite"},
            "cameras": {"policy": "given"},
            "convention": "kbench-v1",
            "metrics": ["psnr", "ssim", *(foreground if required else [])],
            "optional_metrics": [] if required else foreground,
            "samples": 1,
            "seed": 0,
            "targets": "strict-novel",
            "sources": ["written by a test"],
        },
        cases,
        pins,
        header="Written by a test.",
    )
    write_protocol(folder, frozen)
    return folder / frozen.yaml_path


def run(kbench: Kbench, protocol: Path, data_dir: Path, out: Path):
    return kbench("run", protocol, "--model", "nearest", "--data", data_dir, "--out", out)


def means(out: Path) -> dict[str, float]:
    result = json.loads((out / "masked/nearest/result.json").read_text())
    return {each["metric"]: each["mean"] for each in result["means"] if each["targets"] == "strict-novel"}


@pytest.mark.parametrize("scene", ["nerf_synthetic_lego", "dtu_scan24", "nerd_gold_cape"])
def test_masks_of_files_and_of_alpha_channels(scene: str, data_dir: Path, tmp_path: Path, kbench: Kbench) -> None:
    protocol = write(tmp_path, data_dir, (scene,), required=True)
    index = json.loads((tmp_path / "indices/masked.json").read_text())
    # An alpha channel is frozen with its image.
    assert (scene in index.get("mask_sha256", {})) == (scene != "nerf_synthetic_lego")
    ended = run(kbench, protocol, data_dir, tmp_path / "runs")
    assert ended.code == 0, ended.err
    found = means(tmp_path / "runs")
    assert set(found) == {"psnr", "ssim", "psnr-fg", "ssim-fg"}
    assert all(abs(found[f"{name}-fg"] - found[name]) > 0.01 for name in ("psnr", "ssim"))


def test_a_scene_without_masks_among_others(data_dir: Path, tmp_path: Path, kbench: Kbench) -> None:
    scenes = ("nerf_synthetic_lego", "temple_ring")
    ended = run(kbench, write(tmp_path, data_dir, scenes, required=False), data_dir, tmp_path / "runs")
    assert ended.code == 0, ended.err
    assert "psnr-fg: no masks" in ended.out and "psnr-fg is left out" in ended.err and "temple_ring, view" in ended.err
    assert set(means(tmp_path / "runs")) == {"psnr", "ssim"}
    ended = run(kbench, write(tmp_path / "again", data_dir, scenes, required=True), data_dir, tmp_path / "runs2")
    assert ended.code == 2 and "temple_ring, view" in ended.err and "no mask" in ended.err


def test_how_much_of_a_gap_is_a_mask(data_dir: Path, tmp_path: Path, kbench: Kbench) -> None:
    """nerfbaselines multiplies by the mask files of a data set; an alpha channel is no mask to it."""
    gaps = {}
    for scene in ("dtu_scan24", "nerf_synthetic_lego"):
        folder = tmp_path / scene
        assert run(kbench, write(folder, data_dir, (scene,), required=False), data_dir, folder / "runs").code == 0
        words = ["kbench-v1", "nerfbaselines", "--run", folder / "runs/masked/nearest", "--data", data_dir, "--json"]
        document = json.loads(kbench("metrics", "diff", *words).out)
        gaps[scene] = {each["metric"]: (each["gap"], each["most"]) for each in document["differences"]}
    assert gaps["dtu_scan24"]["psnr"][0] > 0.5 and gaps["dtu_scan24"]["psnr"][1] == "mask"
    assert gaps["dtu_scan24"]["psnr-fg"][0] == 0
    assert gaps["nerf_synthetic_lego"] == {"psnr": (0, None), "ssim": (0, None)}
