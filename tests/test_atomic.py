"""Files and folders are there whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kaleido_bench import atomic
from kaleido_bench.atomic import remove_leftovers, update_bytes_atomic, write_bytes_atomic, write_folder_atomic


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    write_bytes_atomic(tmp_path / "f", b"one")
    write_bytes_atomic(tmp_path / "f", b"two")
    assert (tmp_path / "f").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_file_that_holds_the_same_is_left_alone(tmp_path: Path) -> None:
    assert update_bytes_atomic(tmp_path / "f", b"one")
    before = (tmp_path / "f").stat().st_mtime_ns, tmp_path.stat().st_mtime_ns
    assert not update_bytes_atomic(tmp_path / "f", b"one")
    assert ((tmp_path / "f").stat().st_mtime_ns, tmp_path.stat().st_mtime_ns) == before
    assert update_bytes_atomic(tmp_path / "f", b"two") and (tmp_path / "f").read_bytes() == b"two"


def test_a_folder_is_written_and_replaced_whole(tmp_path: Path) -> None:
    write_folder_atomic(tmp_path / "d", {"a/b.png": b"1", "case.json": b"{}"})
    write_folder_atomic(tmp_path / "d", {"c.png": b"2"})
    assert {path.name for path in (tmp_path / "d").rglob("*")} == {"c.png"}
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    (tmp_path / "plain-folder").mkdir()
    write_bytes_atomic(tmp_path / "f", b"")
    write_folder_atomic(tmp_path / "d", {"x": b""})
    assert (tmp_path / "f").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "d").stat().st_mode == (tmp_path / "plain-folder").stat().st_mode


def test_a_failure_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes_atomic(tmp_path / "f", b"old")
    write_folder_atomic(tmp_path / "d", {"x": b"old"})

    def fail(descriptor: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(atomic.os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        write_bytes_atomic(tmp_path / "f", b"new")
    with pytest.raises(OSError, match="full"):
        write_folder_atomic(tmp_path / "d", {"x": b"new"})
    assert (tmp_path / "f").read_bytes() == b"old" and (tmp_path / "d" / "x").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "f"]


def test_everything_reaches_the_disk_before_its_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(descriptor: int) -> None:
        events.append("fsync " + Path(f"/proc/self/fd/{descriptor}").readlink().name.split(".tmp")[0])
        real_fsync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        events.append("rename")
        return real_rename(self, target)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    write_folder_atomic(tmp_path / "d", {"a.png": b"1", "b.png": b"2"})
    assert events == ["fsync a.png", "fsync b.png", "fsync ", "rename", f"fsync {tmp_path.name}"]


ROOT = Path(__file__).resolve().parents[1]
WRITER = """
import sys
from pathlib import Path
from kaleido_bench.atomic import write_folder_atomic
folder, number = Path(sys.argv[1]), 0
print("ready", flush=True)
while True:
    write_folder_atomic(folder / "d", {f"{i}.bin": bytes([number % 256]) * 200_000 for i in range(8)})
    number += 1
"""


def test_killed_at_any_moment_a_folder_is_whole(tmp_path: Path) -> None:
    for delay in (0.0, 0.013, 0.041):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05 + delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (tmp_path / "d").exists():  # it steps aside for an instant while it is replaced
            contents = {path.read_bytes() for path in (tmp_path / "d").iterdir()}
            assert len(list((tmp_path / "d").iterdir())) == 8 and len(contents) == 1
        remove_leftovers(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} <= {"d"}


def test_leftovers_of_the_living_stay(tmp_path: Path) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    living = tmp_path / f".tmp.{atomic._HOST}.{sleeper.pid}.x"
    foreign = tmp_path / ".tmp.elsewhere.1.x"
    old = tmp_path / ".tmp.elsewhere.2.x"
    own = tmp_path / f".tmp.{atomic._HOST}.{os.getpid()}.x"
    strange = tmp_path / ".tmp.whatever"
    for path in (living, foreign, old, own, strange):
        path.mkdir()
    os.utime(old, (0, 0))
    assert remove_leftovers(tmp_path) == 2
    assert set(tmp_path.iterdir()) == {living, foreign, strange}
    sleeper.kill()
    sleeper.wait()
    assert remove_leftovers(tmp_path) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says here that a process is a zombie")
def test_leftovers_of_a_zombie_go(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    (tmp_path / f".tmp.{atomic._HOST}.{ended.pid}.x").mkdir()
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked for its exit code
    os.kill(ended.pid, 0)
    assert remove_leftovers(tmp_path) == 1
    ended.wait()
