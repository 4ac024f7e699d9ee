"""The script that writes quickstart, on a small made-up folder and, once they are there, on the embedded scenes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from kaleido_bench.data.images import encode_png
from kaleido_bench.errors import BenchError
from kaleido_bench.protocol import load_protocol
from tests.protocols.scripts import FOLDER, load_script

build_quickstart = load_script("build_quickstart")


def write_scene(folder: Path, views: int) -> None:
    """Cameras on a circle that look at its middle, in OpenGL axes, with grey images."""
    (folder / "images").mkdir(parents=True)
    frames = []
    for number in range(views):
        angle = 2 * np.pi * number / views
        out = np.asarray(
            [np.cos(angle), 0.0, np.sin(angle)]
        )  # the camera's +z in OpenGL axes points away from the scene
        right = np.cross([0.0, 1.0, 0.0], out)
        c2w = np.eye(4)
        c2w[:3, 0], c2w[:3, 1], c2w[:3, 2], c2w[:3, 3] = right, [0.0, 1.0, 0.0], out, 3 * out
        name = f"images/{number:04d}.png"
        (folder / name).write_bytes(encode_png(np.full((128, 128, 3), number, np.uint8)))
        frames.append({"file_path": name, "transform_matrix": c2w.tolist()})
    lens = {"fl_x": 128.0, "fl_y": 128.0, "cx": 64.0, "cy": 64.0, "w": 128, "h": 128}
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))


def test_one_command_writes_a_protocol_that_loads(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_scene(tmp_path / "scenes" / name, 12)
    build_quickstart.main([str(tmp_path / "scenes"), "--out", str(tmp_path / "out")])
    loaded = load_protocol(tmp_path / "out" / "quickstart.yaml")
    assert [case.id for case in loaded.cases] == [f"{name}-r{count}" for name in ("one", "two") for count in (1, 3, 5)]
    one, three, five = loaded.cases[:3]
    assert one.targets == three.targets == five.targets == ("0002", "0006", "0010")
    assert five.references[:3] == three.references and three.references[:1] == one.references
    assert not set(five.references) & set(five.targets)
    assert loaded.protocol.preparation.size == (128, 128)
    assert loaded.protocol.metrics == ("psnr", "ssim") and loaded.protocol.optional_metrics == (
        "lpips-alex",
        "lpips-vgg",
    )
    used = {*five.references, *five.targets}
    assert set(loaded.index.image_sha256["one"]) == set(loaded.index.camera_sha256["one"]) == used
    again = build_quickstart.freeze_quickstart(tmp_path / "scenes")
    assert again.yaml_bytes == (tmp_path / "out" / "quickstart.yaml").read_bytes()


def test_scenes_with_too_few_views_are_refused(tmp_path: Path) -> None:
    write_scene(tmp_path / "scenes" / "small", 7)
    with pytest.raises(BenchError, match="7 views; expected 8 or more: 5 references and 3 targets"):
        build_quickstart.freeze_quickstart(tmp_path / "scenes")


def test_the_shipped_protocol_is_what_the_script_writes() -> None:
    if not build_quickstart.SCENES.is_dir():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("the embedded scenes are not there")
    frozen = build_quickstart.freeze_quickstart(build_quickstart.SCENES)
    assert (FOLDER / frozen.yaml_path).read_bytes() == frozen.yaml_bytes
    assert (FOLDER / frozen.index_path).read_bytes() == frozen.index_bytes
    assert load_protocol("quickstart").protocol.dataset.root == "package:quickstart"
