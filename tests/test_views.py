"""The view reader: an index that belongs to another data set is told before anything is predicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaleido_bench.cases import Case
from kaleido_bench.errors import BenchError
from kaleido_bench.views import ViewReader
from tests.conftest import ProtocolFiles
from tests.data.readers.layouts import LAYOUTS

LAYOUT = next(layout for layout in LAYOUTS if layout.reader == "wildrgbd")


def build_reader(files: ProtocolFiles, root: Path, case: Case) -> ViewReader:
    """A protocol with this case on WildRGB-D's layout."""
    LAYOUT.write(root / "wild", LAYOUT.views())
    dataset = {"name": "wildrgbd", "reader": "wildrgbd", "root": "wild", "revision": "r1"}
    return ViewReader(files.load(cases=[case], dataset=dataset, reference_counts=[len(case.references)]), root)


def test_an_index_of_the_data_set_reads(protocol_files: ProtocolFiles, tmp_path: Path) -> None:
    case = Case(id="a-r1", scene="ball/563", references=("00001",), targets=("00003",))
    assert build_reader(protocol_files, tmp_path, case).load_view("ball/563", "00003").image.shape == (12, 16, 3)


@pytest.mark.parametrize("asked", ["00001", "25"])
def test_an_index_of_another_data_set_names_both(asked: str, protocol_files: ProtocolFiles, tmp_path: Path) -> None:
    # Positions where the reader gives stems: the mistake of an index made for another layout. The reference is right,
    # and reading it says so already.
    case = Case(id="a-r1", scene="ball/563", references=("00001",), targets=("25", "26"))
    with pytest.raises(BenchError) as caught:
        build_reader(protocol_files, tmp_path, case).load_camera("ball/563", asked)
    message = str(caught.value)
    for part in (
        "protocol tiny, scene ball/563: no view '25' among the 4 of data set wildrgbd, read by wildrgbd",
        "(2 of the 3 views that the index names are not there)",
        "00002",
        "https://github.com/wildrgbd/wildrgbd",
    ):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("scene", ["ball/564", "fern"])
def test_a_missing_scene_is_named_with_how_to_get_it(scene: str, protocol_files: ProtocolFiles, tmp_path: Path) -> None:
    case = Case(id="a-r1", scene=scene, references=("00001",), targets=("00002",))
    with pytest.raises(BenchError, match=rf"{scene.partition('/')[0]}.*no such scene.*download\.py --cat"):
        build_reader(protocol_files, tmp_path, case).load_camera(scene, "00001")


def test_a_missing_root_is_named_with_how_to_get_it(protocol_files: ProtocolFiles, tmp_path: Path) -> None:
    case = Case(id="a-r1", scene="ball/563", references=("00001",), targets=("00002",))
    reader = build_reader(protocol_files, tmp_path, case)
    (tmp_path / "wild").rename(tmp_path / "elsewhere")
    with pytest.raises(BenchError, match=r"wild: no such folder.*download\.py --cat.*github\.com/wildrgbd"):
        reader.load_camera("ball/563", "00001")
