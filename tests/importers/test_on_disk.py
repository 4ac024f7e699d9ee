"""Rules over the files of a data set, completed from folders in the published layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kaleido_bench.cli.app import build_app
from kaleido_bench.data.readers.mipnerf360 import MipNerf360Reader
from kaleido_bench.errors import BenchError
from kaleido_bench.importers import IMPORTERS
from kaleido_bench.importers.on_disk import RulesOnDisk, load_long_lrm
from kaleido_bench.protocol import LoadedProtocol, PendingError, load_protocol, read_protocol
from kaleido_bench.view_runs import unpack_views

SCENES_360 = ("bicycle", "bonsai", "counter", "flowers", "garden", "kitchen", "room", "stump", "treehill")


def complete(kind: str, folder: Path, protocol: str, out: Path) -> LoadedProtocol:
    words = ["import-split", kind, str(folder), "--protocol", protocol, "-o", str(out)]
    ended = CliRunner().invoke(build_app(), words, prog_name="kbench")
    assert ended.exit_code == 0, ended.output
    return load_protocol(out)


def refuse(kind: str, folder: Path, protocol: str, out: Path) -> str:
    words = ["import-split", kind, str(folder), "--protocol", protocol, "-o", str(out)]
    ended = CliRunner().invoke(build_app(), words, prog_name="kbench")
    assert ended.exit_code == 2 and not out.exists()
    return " ".join(ended.output.split())


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def mipnerf360(tmp_path: Path) -> Path:
    """Nine scenes of 30 and more images, with reduced copies beside them that must not count."""
    for number, scene in enumerate(SCENES_360):
        for image in range(30 + number):
            for folder in ("images", "images_2", "images_4"):
                touch(tmp_path / "360" / scene / folder / f"_DSC{8679 + 3 * image}.JPG")
        touch(tmp_path / "360" / scene / "sparse" / "0" / "images.bin")
    return tmp_path / "360"


def test_mipnerf360_dense_is_every_8th_of_the_sorted_names(mipnerf360: Path, tmp_path: Path) -> None:
    loaded = complete("mipnerf360", mipnerf360, "mipnerf360/dense", tmp_path / "dense.yaml")
    assert loaded.reference_labels == ("all",) and len(loaded.cases) == 9
    case = next(case for case in loaded.cases if case.scene == "bicycle")
    names = [f"_DSC{8679 + 3 * image}" for image in range(30)]
    assert case.targets == tuple(names[::8]) == ("_DSC8679", "_DSC8703", "_DSC8727", "_DSC8751")
    assert case.references == tuple(name for place, name in enumerate(names) if place % 8)
    again = complete("mipnerf360", mipnerf360, "mipnerf360/dense", tmp_path / "again.yaml")
    assert again.hash == loaded.hash


def test_mipnerf360_sparse_truncates(mipnerf360: Path, tmp_path: Path) -> None:
    loaded = complete("mipnerf360", mipnerf360, "mipnerf360/sparse", tmp_path / "sparse.yaml")
    assert loaded.reference_labels == ("12", "24") and len(loaded.cases) == 18
    for case in loaded.cases:
        views = 30 + SCENES_360.index(case.scene)
        rest = [place for place in range(views) if place % 8]
        count = len(case.references)
        places = [int(i * (len(rest) - 1) / (count - 1) + 1e-9) for i in range(count)]
        assert case.references == tuple(f"_DSC{8679 + 3 * rest[place]}" for place in places)
        assert np.array_equal(places, np.linspace(0, len(rest) - 1, count, dtype=int))
        assert len(case.targets) == len(range(0, views, 8))


def test_a_scene_too_few_is_refused(mipnerf360: Path, tmp_path: Path) -> None:
    (mipnerf360 / "garden").rename(tmp_path / "garden")
    message = refuse("mipnerf360", mipnerf360, "mipnerf360/dense", tmp_path / "x.yaml")
    assert "8 scenes" in message and "9 scenes" in message


def test_a_scene_with_too_few_images_is_refused(mipnerf360: Path, tmp_path: Path) -> None:
    for image in sorted((mipnerf360 / "room" / "images").iterdir())[20:]:
        image.unlink()
    message = refuse("mipnerf360", mipnerf360, "mipnerf360/sparse", tmp_path / "x.yaml")
    assert "room" in message and "20 images" in message


@pytest.mark.parametrize(
    "name", ["mipnerf360/dense", "dl3dv/long-lrm", "shapenet/pixelnerf-srn-cars", "rtmv/eschernet"]
)
def test_a_folder_of_something_else_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    kind = read_protocol(name).protocol.index.completed_by  # type: ignore[union-attr]
    assert "no scene in the layout" in refuse(kind, tmp_path / "empty", name, tmp_path / "x.yaml")


@pytest.mark.parametrize("name", ["mipnerf360/sparse", "tnt/long-lrm", "shapenet/pixelnerf-two-objects"])
def test_a_pending_one_names_the_command_that_completes_it(name: str) -> None:
    with pytest.raises(PendingError, match=rf"kbench import-split \S+ FILE --protocol {name}"):
        load_protocol(name)


def write_long_lrm(folder: Path, frames: dict[str, int]) -> None:
    for scene, count in frames.items():
        (folder / scene).mkdir(parents=True)
        (folder / scene / "opencv_cameras.json").write_text(json.dumps({"frames": [{}] * count}))


def test_long_lrm_has_the_published_references_and_every_8th_frame(tmp_path: Path, data_dir: Path) -> None:
    published = json.loads(
        (data_dir / "splits" / "arthurhero+Long-LRM" / "tnt_fold_8_kmeans_input_idx.json").read_text()
    )
    write_long_lrm(tmp_path / "tnt", {"train": 301, "truck": 251})
    loaded = complete("long-lrm", tmp_path / "tnt", "tnt/long-lrm", tmp_path / "out.yaml")
    assert loaded.reference_labels == ("16", "32")
    for row in published:
        for count in (16, 32):
            case = loaded.cases_by_id[f"{row['scene_name']}-r{count}"]
            assert [int(view) for view in case.references] == row[f"fold_8_kmeans_{count}_input"]
            frames = {"train": 301, "truck": 251}[case.scene]
            assert [int(view) for view in case.targets] == list(range(0, frames, 8))


def test_long_lrm_refuses_a_scene_with_frames_left_out(tmp_path: Path) -> None:
    write_long_lrm(tmp_path / "tnt", {"train": 200, "truck": 251})
    message = refuse("long-lrm", tmp_path / "tnt", "tnt/long-lrm", tmp_path / "x.yaml")
    assert "train" in message and "200 frames" in message and "more than 275" in message


def test_the_lists_of_long_lrm_are_the_published_ones(data_dir: Path) -> None:
    lists = load_long_lrm()
    for name, scenes in (("dl3dv", 140), ("tnt", 2)):
        path = data_dir / "splits" / "arthurhero+Long-LRM" / f"{name}_fold_8_kmeans_input_idx.json"
        rows = json.loads(path.read_text())
        assert len(rows) == len(lists[name]) == scenes
        for row in rows:
            for place, count in enumerate((16, 32)):
                views = [int(view) for view in unpack_views(lists[name][row["scene_name"]][place])]
                assert views == row[f"fold_8_kmeans_{count}_input"] and not any(view % 8 == 0 for view in views)


def test_srn_gives_views_64_and_104(tmp_path: Path) -> None:
    for scene in ("a1", "b2"):
        touch(*(tmp_path / "cars_test" / scene / "rgb" / f"{view:06d}.png" for view in range(251)))
        touch(*(tmp_path / "cars_test" / scene / "pose" / f"{view:06d}.txt" for view in range(251)))
    loaded = complete("srn", tmp_path / "cars_test", "shapenet/pixelnerf-srn-cars", tmp_path / "out.yaml")
    one, two = loaded.cases_by_id["a1-r1"], loaded.cases_by_id["a1-r2"]
    assert (one.references, len(one.targets)) == (("000064",), 250)
    assert (two.references, len(two.targets)) == (("000064", "000104"), 249)


def test_rtmv_is_the_first_and_the_last_ten(tmp_path: Path) -> None:
    for scene in range(10):
        for view in range(20):
            touch(*(tmp_path / "rtmv" / f"{scene:05d}" / f"{view:05d}.{suffix}" for suffix in ("json", "exr")))
    loaded = complete("rtmv", tmp_path / "rtmv", "rtmv/eschernet", tmp_path / "out.yaml")
    assert len(loaded.cases) == 50
    case = loaded.cases_by_id["00003-r5"]
    assert case.references == ("00000", "00001", "00002", "00003", "00004")
    assert case.targets == tuple(f"{view:05d}" for view in range(10, 20))
    (tmp_path / "rtmv" / "00004" / "00012.json").unlink()
    assert "no view 00012" in refuse("rtmv", tmp_path / "rtmv", "rtmv/eschernet", tmp_path / "x.yaml")


def test_a_rule_that_is_none_names_the_others() -> None:
    with pytest.raises(BenchError, match=r"'dens'.*one of dense.*Did you mean 'dense'"):
        RulesOnDisk({"dense": lambda archive: []}).read_split(None, "dens")  # type: ignore[arg-type]


def test_the_reader_takes_half_indoors_and_a_quarter_outdoors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, object] = {}

    class Recorder:
        def __init__(self, factor: int | None = None) -> None:
            self.factor = factor

        def load_scene(self, root: Path, name: str) -> None:
            asked[name] = self.factor

    monkeypatch.setattr("kaleido_bench.data.readers.mipnerf360.ColmapReader", Recorder)
    for scene in SCENES_360:
        MipNerf360Reader().load_scene(tmp_path, scene)
    assert [scene for scene, factor in asked.items() if factor == 2] == ["bonsai", "counter", "kitchen", "room"]
    assert list(asked.values()).count(4) == 5


@pytest.mark.parametrize("kind", ["mipnerf360", "long-lrm", "srn", "rtmv"])
def test_each_kind_is_listed(kind: str) -> None:
    assert IMPORTERS[kind].title.startswith(("the folder", "a folder"))
