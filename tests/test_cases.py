"""Cases and the frozen index."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaleido_bench.cases import Case, CaseIndex, load_index, render_index
from kaleido_bench.data.scenes import Pin
from kaleido_bench.errors import BenchError
from kaleido_bench.records import sha256_hex

CASE = {"id": "a-r1", "scene": "a", "references": ["v0"], "targets": ["t0", "t1"]}


def write_index(folder: Path, *lines: str, hashes: str = "{}") -> tuple[Path, str]:
    tail = f'"camera_sha256":{{}},"image_sha256":{hashes}'
    data = ('{"cases":[\n' + ",\n".join(lines) + f'\n],\n"schema_version":1,\n{tail}}}\n').encode()
    path = folder / "index.json"
    path.write_bytes(data)
    return path, sha256_hex(data)


def line(**changes: object) -> str:
    import json

    return json.dumps({**CASE, **changes})


def test_an_index_survives_writing_and_reading(tmp_path: Path) -> None:
    index = CaseIndex(
        schema_version=1,
        cases=(
            Case(id="b-r1", scene="b", references=("x/1",), targets=("2", "1")),
            Case(id="a-r1", scene="a", references=("0",), targets=("1",)),
        ),
        image_sha256={"b": {"x/1": "0" * 64}},
        camera_sha256={"b": {"x/1": "1" * 64}, "a": {"0": "2" * 64}},
    )
    data = render_index(index)
    (tmp_path / "i.json").write_bytes(data)
    loaded = load_index(tmp_path / "i.json", sha256_hex(data))
    assert [case.id for case in loaded.cases] == ["a-r1", "b-r1"]
    assert loaded.cases[1].targets == ("2", "1")
    assert render_index(loaded) == data
    assert loaded.canonical() == index.canonical()
    assert loaded.pin("b", "x/1") == Pin("0" * 64, "1" * 64)
    assert loaded.pin("a", "0") == Pin(None, "2" * 64) and loaded.pin("c", "0") == Pin(None, None)
    assert sum(b'"targets"' in row for row in data.splitlines()) == 2  # one case a line


def test_a_missing_index_says_so(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"none\.json: no such file; expected the case index"):
        load_index(tmp_path / "none.json", "0" * 64)


def test_a_changed_index_is_refused_with_both_hashes(tmp_path: Path) -> None:
    path, sha256 = write_index(tmp_path, line())
    assert load_index(path, sha256).cases[0].id == "a-r1"
    path.write_bytes(path.read_bytes().replace(b"t1", b"t2"))
    with pytest.raises(BenchError) as caught:
        load_index(path, sha256)
    message = str(caught.value)
    assert sha256 in message and sha256_hex(path.read_bytes()) in message and "Restore" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"references": ["v0", "v0"]}, ["case 'a-r1'", "'v0' twice in references"]),
        ({"targets": ["t0", "t1", "t0"]}, ["case 'a-r1'", "'t0' twice in targets"]),
        ({"targets": []}, ["case 'a-r1' has no targets"]),
        ({"references": []}, ["case 'a-r1' has no references"]),
        ({"targets": ["../../etc/passwd"]}, ["begins with a dot", "path on disk"]),
        ({"targets": ["/etc/passwd"]}, ["cases[0].targets[0]"]),
        ({"targets": ["a//b"]}, ["cases[0].targets[0]"]),
        ({"targets": ["a b"]}, ["cases[0].targets[0]"]),
        ({"targets": ["a\\b"]}, ["cases[0].targets[0]"]),
        ({"targets": [".hidden"]}, ["begins with a dot"]),
        ({"targets": [3]}, ["cases[0].targets[0]", "valid string"]),
        ({"scene": "../a"}, ["cases[0].scene"]),
        ({"id": "a/b"}, ["cases[0].id"]),
        ({"id": "a~s1"}, ["cases[0].id"]),
        ({"id": ".a"}, ["cases[0].id"]),
        ({"id": ""}, ["cases[0].id"]),
        ({"target": ["t"]}, ["unknown key 'target'", "Did you mean 'targets'?"]),
    ],
)
def test_a_bad_case_is_refused_with_its_line(tmp_path: Path, changes: dict[str, object], words: list[str]) -> None:
    path, sha256 = write_index(tmp_path, line(**changes))
    with pytest.raises(BenchError) as caught:
        load_index(path, sha256)
    assert f"{path}:2" in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("second", ["a-r1", "A-R1"])
def test_case_ids_are_unique_on_every_file_system(tmp_path: Path, second: str) -> None:
    path, sha256 = write_index(tmp_path, line(), line(id=second))
    with pytest.raises(BenchError, match="are one name"):
        load_index(path, sha256)


def test_an_index_without_cases_is_refused(tmp_path: Path) -> None:
    path, sha256 = write_index(tmp_path)
    with pytest.raises(BenchError, match="an index without cases"):
        load_index(path, sha256)


def test_image_hashes_must_be_hashes(tmp_path: Path) -> None:
    path, sha256 = write_index(tmp_path, line(), hashes='{"a":{"v0":"abc"}}')
    with pytest.raises(BenchError, match=r"sha256\.a\.v0"):
        load_index(path, sha256)


# Compact indices


def test_a_compact_index_is_the_same_index(tmp_path: Path) -> None:
    index = CaseIndex(
        schema_version=1,
        cases=(
            Case(id="a_b-r1", scene="a/b", references=("7",), targets=("0", "1", "2", "5")),
            Case(id="own", scene="a", references=("v0", "v1"), targets=("t0",)),
        ),
        image_sha256={},
        camera_sha256={},
    )
    data = render_index(index, compact=True)
    assert b'["a/b","7","0..2 5"]' in data and b'["own","a","v0 v1","t0"]' in data
    (tmp_path / "i.json").write_bytes(data)
    loaded = load_index(tmp_path / "i.json", sha256_hex(data))
    assert loaded == index and loaded.canonical() == index.canonical()
    assert render_index(loaded, compact=True) == data


def test_both_forms_go_in_one_file(tmp_path: Path) -> None:
    path, sha256 = write_index(tmp_path, line(), '["b","0","1..3"]')
    assert [case.id for case in load_index(path, sha256).cases] == ["a-r1", "b-r1"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('["a","0"]', r"the case \['a', '0'\]; expected \[scene, references, targets\]"),
        ('["a","0",1]', r"the case .*; expected \[scene, references, targets\]"),
        ('["a","0","5..3"]', "the run '5..3'; expected FIRST..LAST"),
        ('["a","0",""]', "a space too many"),
        ('["a","0","1 1"]', "names the view '1' twice in targets"),
        ('["a","0","../x"]', "the run '../x'"),
        ("7", "'cases.0.' is 7|valid dictionary|object"),
    ],
)
def test_a_broken_compact_case_is_refused(tmp_path: Path, row: str, message: str) -> None:
    path, sha256 = write_index(tmp_path, row)
    with pytest.raises(BenchError, match=message):
        load_index(path, sha256)
