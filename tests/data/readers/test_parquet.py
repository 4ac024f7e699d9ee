"""The Parquet reader: real scenes written and read back byte for byte, one image at a time."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kaleido_bench.data.cameras import build_camera, intrinsics_matrix
from kaleido_bench.data.images import ImagePreparation, encode_png
from kaleido_bench.data.readers.parquet import SCHEMA, ParquetReader, write_parquet_scenes
from kaleido_bench.data.readers.transforms import TransformsReader
from kaleido_bench.data.scenes import Scene, View, build_scene, load_view
from kaleido_bench.errors import BenchError

SMALL = ImagePreparation(
    size=(64, 64), fit="cover-crop", filter="lanczos", antialias=True, background="white", alpha="composite"
)


def test_real_scenes_come_back_byte_for_byte(data_dir: Path, tmp_path: Path) -> None:
    scenes = [TransformsReader().load_scene(data_dir / "scenes", name) for name in ("dtu_scan24", "lund_door")]
    write_parquet_scenes(scenes, tmp_path / "both.parquet")
    reader = ParquetReader(tmp_path / "cache")
    assert reader.scene_names(tmp_path) == ["dtu_scan24", "lund_door"]

    for scene in scenes:
        found = reader.load_scene(tmp_path, scene.name)
        assert list(found.views) == list(scene.views)
        for view_id, expected in scene.views.items():
            view = found.views[view_id]
            assert np.array_equal(view.camera.c2w, expected.camera.c2w)
            assert np.array_equal(view.camera.K, expected.camera.K)
            assert (view.camera.width, view.camera.height) == (expected.camera.width, expected.camera.height)
            assert view.read_image() == expected.read_image()
            assert (view.read_mask is None) == (expected.read_mask is None)
            if view.read_mask is not None and expected.read_mask is not None:
                assert view.read_mask() == expected.read_mask()

    view_id = next(iter(scenes[0].views))
    ours = load_view(reader.load_scene(tmp_path, "dtu_scan24"), view_id, SMALL)
    theirs = load_view(scenes[0], view_id, SMALL)
    assert np.array_equal(ours.image, theirs.image) and ours.mask is not None and theirs.mask is not None
    assert np.array_equal(ours.mask, theirs.mask)


def noisy_view(number: int, mask: bool = False) -> View:
    pixels = np.random.default_rng(number).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    data = encode_png(pixels)  # noise does not compress: 36 kB each
    camera = build_camera(np.eye(4), intrinsics_matrix(90, 91, 60, 50), 120, 100, where="test")
    return View(f"v/{number:03}", camera, lambda: data, (lambda: data[::-1]) if mask else None, f"view {number}")


def noisy_scene(name: str, count: int) -> Scene:
    return build_scene(name, [noisy_view(number, mask=number % 2 == 1) for number in range(count)], name)


def test_nothing_loads_a_scene_whole(tmp_path: Path) -> None:
    write_parquet_scenes([noisy_scene("noise", 200)], tmp_path / "noise.parquet")
    assert (tmp_path / "noise.parquet").stat().st_size > 7_000_000
    reader = ParquetReader(tmp_path / "cache")
    reader.load_scene(tmp_path, "noise")  # the first time, datasets writes its memory-mapped files

    before = pa.total_allocated_bytes()
    scene = reader.load_scene(tmp_path, "noise")
    assert pa.total_allocated_bytes() - before < 200_000  # mapped, not read
    assert scene.views["v/150"].read_image() == noisy_view(150).read_image()
    assert pa.total_allocated_bytes() - before < 200_000


def test_writing_holds_a_few_images_at_a_time(tmp_path: Path) -> None:
    held: list[int] = []
    scene = noisy_scene("noise", 100)

    def counted(view: View) -> View:
        def read() -> bytes:
            held.append(pa.total_allocated_bytes())
            return view.read_image()

        return View(view.id, view.camera, read, None, view.source)

    before = pa.total_allocated_bytes()
    write_parquet_scenes([build_scene("noise", map(counted, scene.views.values()), "noise")], tmp_path / "n.parquet")
    assert len(held) == 100  # each image once
    assert max(held) - before < 40 * 36_000


def test_views_with_and_without_masks_share_a_file(tmp_path: Path) -> None:
    write_parquet_scenes([noisy_scene("a", 3), noisy_scene("b", 2)], tmp_path / "x.parquet")
    write_parquet_scenes([noisy_scene("c", 1)], tmp_path / "y.parquet")
    reader = ParquetReader(tmp_path / "cache")
    assert reader.scene_names(tmp_path) == ["a", "b", "c"]
    views = reader.load_scene(tmp_path, "b").views
    assert views["v/000"].read_mask is None
    assert views["v/001"].read_mask is not None
    assert views["v/001"].read_mask() == noisy_view(1).read_image()[::-1]


def test_a_scene_may_span_files(tmp_path: Path) -> None:
    for part in range(2):
        views = [noisy_view(number) for number in range(2 * part, 2 * part + 2)]
        write_parquet_scenes([build_scene("long", views, "long")], tmp_path / f"part-{part}.parquet")
    scene = ParquetReader(tmp_path / "cache").load_scene(tmp_path, "long")
    assert list(scene.views) == ["v/000", "v/001", "v/002", "v/003"]


def test_images_declared_as_such_stay_bytes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    view = noisy_view(0)
    row = {"scene": "hub", "view": view.id, "image": {"bytes": view.read_image(), "path": None}}
    row |= {"K": view.camera.K.tolist(), "c2w": view.camera.c2w.tolist(), "width": 120, "height": 100}
    table = datasets.Dataset.from_list([row]).cast_column("image", datasets.Image())
    table.to_parquet(str(tmp_path / "hub.parquet"))
    scene = ParquetReader(tmp_path / "cache").load_scene(tmp_path, "hub")
    assert scene.views["v/000"].read_image() == view.read_image() and scene.views["v/000"].read_mask is None


def test_views_can_go_to_another_process(tmp_path: Path) -> None:
    write_parquet_scenes([noisy_scene("a", 3)], tmp_path / "x.parquet")
    view = ParquetReader(tmp_path / "cache").load_scene(tmp_path, "a").views["v/002"]
    again = pickle.loads(pickle.dumps(view))
    assert again.read_image() == noisy_view(2).read_image()
    assert len(pickle.dumps(view)) < 20_000  # it carries the way to the image, not the image


# ------------------------------------------------------------------------------------------------------------ refusal


def test_what_is_missing_or_malformed_is_said(tmp_path: Path) -> None:
    reader = ParquetReader(tmp_path / "cache")
    with pytest.raises(BenchError, match="no Parquet files"):
        reader.scene_names(tmp_path)
    write_parquet_scenes([noisy_scene("a", 1)], tmp_path / "x.parquet")
    with pytest.raises(BenchError, match="no scene 'b'"):
        reader.load_scene(tmp_path, "b")
    (tmp_path / "y.parquet").write_bytes((tmp_path / "x.parquet").read_bytes()[:-100])
    with pytest.raises(BenchError, match=r"y\.parquet: unreadable"):
        reader.scene_names(tmp_path)
    pq.write_table(pa.table({"scene": ["a"], "image": [b""]}), tmp_path / "y.parquet")
    with pytest.raises(BenchError, match=r"y\.parquet: no column view, K, c2w, width, height"):
        reader.scene_names(tmp_path)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"c2w": [[float("nan")] * 4] * 4}, "view v/000: c2w holds NaN"),
        ({"K": [[1.0]]}, "view v/000: K of shape 1x1"),
        ({"view": "../up"}, r"the view id '\.\./up'"),
    ],
)
def test_a_bad_row_is_refused(tmp_path: Path, changes: dict[str, object], found: str) -> None:
    write_parquet_scenes([noisy_scene("a", 1)], tmp_path / "x.parquet")
    rows = pq.read_table(tmp_path / "x.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist([rows[0] | changes], SCHEMA), tmp_path / "x.parquet")
    with pytest.raises(BenchError, match=found):
        ParquetReader(tmp_path / "cache").load_scene(tmp_path, "a")


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gone.png"
    view = View("v", noisy_view(0).camera, path.read_bytes, None, str(path))
    with pytest.raises(BenchError, match=r"gone\.png: no such image"):
        write_parquet_scenes([build_scene("a", [noisy_view(0), view], "a")], tmp_path / "x.parquet")
    assert list(tmp_path.iterdir()) == []


def test_without_datasets_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet_scenes([noisy_scene("a", 1)], tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BenchError, match=r"pip install 'kaleido-bench\[parquet\]'"):
        ParquetReader().load_scene(tmp_path, "a")
