"""Published files are opened without unpacking them, and refused where they are not what they should be."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from kaleido_bench.errors import BenchError
from kaleido_bench.importers.archives import hash_archive, open_archive, read_json
from kaleido_bench.records import sha256_hex
from tests.importers.published import split_members, write_zip

MEMBERS = split_members("llff", scenes=["fern", "flower"], counts=(1, 3))


def test_a_zip_and_its_folder_hold_the_same(tmp_path: Path) -> None:
    zipped = open_archive(write_zip(tmp_path / "benchmark.zip", MEMBERS))
    with zipfile.ZipFile(tmp_path / "benchmark.zip") as file:
        file.extractall(tmp_path / "folder")
    folder = open_archive(tmp_path / "folder")
    assert zipped.names == folder.names == tuple(sorted(MEMBERS))
    assert [zipped.read(name) for name in zipped.names] == [folder.read(name) for name in folder.names]


def test_hashes(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "benchmark.zip", MEMBERS)
    assert hash_archive(open_archive(path)) == sha256_hex(path.read_bytes())
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.json").write_text("{}")
    before = hash_archive(open_archive(tmp_path / "folder"))
    (tmp_path / "folder" / "image.png").write_bytes(b"not counted")
    assert hash_archive(open_archive(tmp_path / "folder")) == before
    (tmp_path / "folder" / "a.json").write_text("{ }")
    assert hash_archive(open_archive(tmp_path / "folder")) != before


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_zip_that_is_cut_short(kept: float, tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "whole.zip", MEMBERS).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(BenchError, match="not a whole zip archive"):
        open_archive(tmp_path / "cut.zip")


def test_a_member_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("llff/fern/train_test_split_1.json", '{"train_ids": [0], "test_ids": [1]}')
    path.write_bytes(path.read_bytes().replace(b'"test_ids"', b'"tost_ids"'))
    with pytest.raises(BenchError, match="damaged"):
        read_json(open_archive(path), "llff/fern/train_test_split_1.json")


@pytest.mark.parametrize(
    "name", ["../evil.json", "/etc/evil.json", "a/../../evil.json", "..\\evil.json", "C:/evil.json"]
)
def test_names_that_leave_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="leaves the archive's folder"):
        open_archive(write_zip(tmp_path / "evil.zip", {**MEMBERS, name: "{}"}))


def test_what_finder_adds_is_passed_over(tmp_path: Path) -> None:
    archive = open_archive(write_zip(tmp_path / "a.zip", {**MEMBERS, "__MACOSX/llff/._fern": "x"}))
    assert archive.names == tuple(sorted(MEMBERS))


@pytest.mark.parametrize(("name", "data"), [("a.zip", b"not a zip"), ("a.zip", b""), ("a.tar", b"x")])
def test_other_files_are_no_archives(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BenchError, match="not a whole zip archive"):
        open_archive(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no such file"):
        open_archive(tmp_path / "benchmark.zip")


def test_text_that_is_not_json(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(BenchError, match="not JSON"):
        read_json(open_archive(tmp_path / "index.json"), "")
