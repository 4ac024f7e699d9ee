"""The registry of readers, and where a protocol's root leads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kaleido_bench.data.readers import READERS, build_reader, resolve_root
from kaleido_bench.errors import BenchError


@pytest.mark.parametrize("name", READERS)
def test_every_registered_reader_can_be_built(name: str) -> None:
    reader = build_reader(name)
    assert callable(reader.scene_names) and callable(reader.load_scene)


def test_an_unknown_reader_names_the_known() -> None:
    with pytest.raises(BenchError, match=r"'nerfstudio'; expected one of transforms, colmap, .*, llff"):
        build_reader("nerfstudio")


def test_importing_the_data_rooms_stays_light() -> None:
    code = (
        "import sys; from kaleido_bench.data import cameras, images, scenes;"
        "from kaleido_bench.data.readers import build_reader;"
        "from kaleido_bench.data.readers import READERS;"
        "[build_reader(name) for name in READERS if name != 'parquet'];"
        "heavy = ('torch', 'pandas', 'pyarrow', 'pycolmap', 'datasets', 'cv2', 'OpenEXR');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_root_lies_below_the_data_directory(tmp_path: Path) -> None:
    (tmp_path / "scenes" / "small").mkdir(parents=True)
    assert resolve_root("scenes/small", tmp_path) == tmp_path / "scenes" / "small"
    assert resolve_root(".", tmp_path) == tmp_path
    with pytest.raises(BenchError, match=r"large: no such folder.*--data"):
        resolve_root("scenes/large", tmp_path)
    for outside in ("/etc", "../scenes", "scenes/../.."):
        with pytest.raises(BenchError, match="leaves the data directory"):
            resolve_root(outside, tmp_path)


def test_without_a_data_directory_the_message_names_both_ways() -> None:
    with pytest.raises(BenchError, match=r"no data directory.*KBENCH_DATA.*--data DIR"):
        resolve_root("scenes", None)


def test_embedded_roots_need_no_data_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "embedded" / "scenes" / "quickstart").mkdir(parents=True)
    monkeypatch.setattr("importlib.resources.files", lambda package: tmp_path)
    assert resolve_root("package:quickstart", None) == tmp_path / "embedded" / "scenes" / "quickstart"
    for unknown in ("package:slowstart", "package:", "package:..", "package:../scenes"):
        with pytest.raises(BenchError, match="expected one of quickstart"):
            resolve_root(unknown, None)
