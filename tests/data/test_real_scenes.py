"""Every real scene at hand loads, lazily, and gives views that agree with their files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from kaleido_bench.data.images import ImagePreparation
from kaleido_bench.data.readers import build_reader, resolve_root
from kaleido_bench.data.scenes import Pin, Scene, hash_image, load_view

VIEWS = {
    "buddha13": 13,
    "dtu_scan24": 49,
    "fox": 50,
    "gso_toy": 64,
    "llff_fern": 20,
    "llff_flower": 34,
    "lund_door": 12,
    "mydesk": 166,
    "nerd_gold_cape": 60,
    "nerf_synthetic_lego": 141,
    "strecha_castle_p30": 30,
    "strecha_fountain_p11": 11,
    "temple_ring": 47,
}
WITH_MASKS = {"dtu_scan24", "gso_toy", "nerd_gold_cape", "nerf_synthetic_lego"}  # files or alpha

PREPARATION = ImagePreparation(
    size=(256, 256), fit="cover-crop", filter="lanczos", antialias=True, background="white", alpha="composite"
)


def count_reads(scene: Scene, reads: list[str]) -> Scene:
    """The scene with views that note each reading of an image."""

    def counted(view_id: str) -> object:
        read = scene.views[view_id].read_image

        def read_and_note() -> bytes:
            reads.append(view_id)
            return read()

        return dataclasses.replace(scene.views[view_id], read_image=read_and_note)

    return Scene(scene.name, {view_id: counted(view_id) for view_id in scene.views})  # type: ignore[misc]


@pytest.mark.parametrize("name", VIEWS)
def test_a_real_scene_loads_lazily(name: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = resolve_root("scenes", data_dir)
    opened: list[Path] = []
    read_bytes = Path.read_bytes

    def noted(path: Path) -> bytes:
        opened.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("an image was opened while loading the scene"))
    scene = build_reader("transforms").load_scene(root, name)
    monkeypatch.undo()
    assert len(scene.views) == VIEWS[name]
    assert opened == [root / name / "transforms.json"]  # these files declare all sizes: no header is read either

    reads: list[str] = []
    middle = list(scene.views)[len(scene.views) // 2]
    view = load_view(count_reads(scene, reads), middle, PREPARATION, Pin(hash_image(scene.views[middle])))
    assert reads == [middle]
    assert view.image.shape == (256, 256, 3) and view.image.dtype == np.uint8
    assert (view.mask is not None) == (name in WITH_MASKS)
    if view.mask is not None:
        assert 0.02 < view.mask.mean() < 0.95


def test_every_image_has_the_size_its_camera_declares(data_dir: Path) -> None:
    # Headers only; the pixels of each scene's middle view are read above.
    from PIL import Image

    root = resolve_root("scenes", data_dir)
    for name in VIEWS:
        for view in build_reader("transforms").load_scene(root, name).views.values():
            with Image.open(view.source) as image:
                assert image.size == (view.camera.width, view.camera.height), view.source


def test_white_is_behind_the_rendered_objects(data_dir: Path) -> None:
    root = resolve_root("scenes", data_dir)
    for name in ("gso_toy", "nerf_synthetic_lego"):
        scene = build_reader("transforms").load_scene(root, name)
        view = load_view(scene, next(iter(scene.views)), PREPARATION)
        assert view.mask is not None
        assert (view.image[:8, :8] == 255).all() and not view.mask[:8, :8].any()
