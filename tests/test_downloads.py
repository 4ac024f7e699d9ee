"""Downloads against a server of our own: whole, cut off, continued, wrong, absent."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from kaleido_bench.downloads import Pin, Wanted, download
from kaleido_bench.errors import BenchError
from tests.serving import Served, serve

DATA = bytes(range(256)) * 12_000  # 3 MB, a few blocks
SHA256 = hashlib.sha256(DATA).hexdigest()


def wanted(target: Path, urls: Sequence[str], pin: str = SHA256) -> Wanted:
    return Wanted(urls, target, Pin(pin), "Get it by hand.")


@pytest.mark.parametrize("digits", [8, 64])
def test_a_file_is_got_once(tmp_path: Path, digits: int) -> None:
    told: list[tuple[int, int | None]] = []
    with serve({"/file": Served(DATA)}) as server:
        asked = wanted(tmp_path / "new" / "file", [f"{server.url}/file"], SHA256[:digits])
        assert download(asked, lambda here, total: told.append((here, total))) == SHA256
        assert download(asked) == SHA256
        assert server.requests == [("/file", None)]
    assert asked.target.read_bytes() == DATA
    assert [path.name for path in asked.target.parent.iterdir()] == ["file"]
    assert told[-1] == (len(DATA), len(DATA)) and len(told) > 1


def test_a_lost_connection_is_continued_where_it_was_cut(tmp_path: Path) -> None:
    with serve({"/file": Served(DATA, cut=1_000_000)}) as server:
        assert download(wanted(tmp_path / "file", [f"{server.url}/file"])) == SHA256
        assert server.requests == [("/file", None), ("/file", "bytes=1000000-")]
    assert (tmp_path / "file").read_bytes() == DATA


@pytest.mark.parametrize("ranges", [True, False])
def test_a_killed_call_is_continued_by_the_next(tmp_path: Path, ranges: bool) -> None:
    """A server that knows no ranges sends all of it again."""
    (tmp_path / "file.part").write_bytes(DATA[:777])
    with serve({"/file": Served(DATA, ranges=ranges)}) as server:
        assert download(wanted(tmp_path / "file", [f"{server.url}/file"])) == SHA256
        assert server.requests == [("/file", "bytes=777-")]
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_whole_part_needs_nothing_more(tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(DATA)
    with serve({"/file": Served(DATA)}) as server:
        assert download(wanted(tmp_path / "file", [f"{server.url}/file"])) == SHA256


def test_a_part_of_another_file_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"something else")
    with serve({"/file": Served(DATA)}) as server:
        assert download(wanted(tmp_path / "file", [f"{server.url}/file"])) == SHA256
        assert [asked for _, asked in server.requests] == ["bytes=14-", None]


def test_the_next_mirror_is_tried(tmp_path: Path) -> None:
    with serve({"/wrong": Served(b"<html>captive portal</html>"), "/file": Served(DATA)}) as server:
        urls = [f"{server.url}/{name}" for name in ("gone", "wrong", "file")]
        assert download(wanted(tmp_path / "file", urls)) == SHA256
    assert (tmp_path / "file").read_bytes() == DATA


def refused(target: Path, urls: Sequence[str]) -> str:
    with pytest.raises(BenchError) as caught:
        download(wanted(target, urls), timeout=5)
    message = str(caught.value)
    assert "\n" not in message and str(target) in message and message.endswith("Get it by hand.")
    assert SHA256 in message and not target.exists()
    return message


def test_a_wrong_file_is_refused_and_not_kept(tmp_path: Path) -> None:
    with serve({"/file": Served(DATA[::-1])}) as server:
        message = refused(tmp_path / "file", [f"{server.url}/file"])
    assert f"sha256 {hashlib.sha256(DATA[::-1]).hexdigest()} is not the pinned one" in message
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with serve({}) as server:
        assert f"{server.url}/file: HTTP 404" in refused(tmp_path / "file", [f"{server.url}/file"])


def test_no_network_keeps_what_is_here(tmp_path: Path) -> None:
    """The first name is reserved never to resolve (RFC 6761); nobody listens at the second."""
    (tmp_path / "file.part").write_bytes(DATA[:100])
    with serve({}) as server:
        pass
    message = refused(tmp_path / "file", ["http://nowhere.invalid/file", f"{server.url}/file"])
    assert "http://nowhere.invalid/file: " in message and "Connection refused" in message
    assert "100 bytes are kept, the same command goes on from there" in message


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    with (tmp_path / "file.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BenchError, match="another process is downloading it"):
            download(wanted(tmp_path / "file", ["http://nowhere.invalid/file"]))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BenchError, match="cannot be written"):
        download(wanted(tmp_path / "file" / "below", ["http://nowhere.invalid/file"]))
