"""Writing so that a killed process leaves either the old state or the new one, never half of it.

Everything is written under a temporary name in the same folder, brought to the disk with fsync, then renamed, and the
folder that holds the name is brought to the disk too. Leftovers of killed processes carry the host and the process that
made them in their name, and are removed when a run is next started.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

FOREIGN_LEFTOVER_AGE = 24 * 3600.0
"""Seconds after which a leftover of another host is taken for dead; its process cannot be looked up from here."""

_HOST = re.sub(r"[^A-Za-z0-9]", "-", socket.gethostname())[:40] or "host"
_LEFTOVER = re.compile(r"^\.tmp\.(?P<host>[A-Za-z0-9-]+)\.(?P<pid>\d+)\.")


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Writes a file so that it is there whole or not at all; an older one is replaced.

    Its folder must exist, on a file system where a rename is atomic.
    """
    handle, name = tempfile.mkstemp(prefix=_prefix(), dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def update_bytes_atomic(path: Path, data: bytes) -> bool:
    """`write_bytes_atomic`, unless the file holds these bytes already. Gives whether it wrote."""
    try:
        if path.read_bytes() == data:
            return False
    except OSError:
        pass  # not there, or not readable: then writing says what is wrong
    write_bytes_atomic(path, data)
    return True


def write_folder_atomic(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes a folder of files so that it is there whole or not at all; an older one is replaced.

    Args:
        path: the folder to make. Its parent must exist.
        files: contents by path below the folder, `/` between parts.
    """
    temporary = Path(tempfile.mkdtemp(prefix=_prefix(), dir=path.parent))
    try:
        for name, data in files.items():
            _write_synced(temporary / name, data)
        for folder in sorted({temporary, *(parent for name in files for parent in _parents(temporary, name))}):
            _sync_folder(folder)
        temporary.chmod(0o777 & ~_umask())
        _replace_folder(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(path.parent)


def remove_leftovers(folder: Path) -> int:
    """Removes what killed processes left in a folder; what a living process is writing stays. Gives the number removed.

    A name with this process's own id is a leftover as well: call it only before this process writes to the folder.
    """
    removed = 0
    for path in sorted(folder.glob(".tmp.*")):
        if _is_dead(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            removed += 1
    return removed


def _prefix() -> str:
    return f".tmp.{_HOST}.{os.getpid()}."


def _write_synced(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _parents(root: Path, name: str) -> list[Path]:
    folders = [(root / name).parent]
    while folders[-1] != root:
        folders.append(folders[-1].parent)
    return folders


def _replace_folder(temporary: Path, path: Path) -> None:
    """Renames onto `path`. A rename cannot replace a folder with something in it, so that one steps aside first."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    if path.exists():
        aside = Path(tempfile.mkdtemp(prefix=_prefix(), dir=path.parent))
        path.replace(aside / "old")
        temporary.rename(path)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        temporary.rename(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    # The umask can only be read by setting it; temporary files are private (0600) and the finished ones should not be.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _is_dead(path: Path) -> bool:
    match = _LEFTOVER.match(path.name)
    if match is None:
        return False
    if match["host"] != _HOST:
        try:
            return time.time() - path.stat().st_mtime > FOREIGN_LEFTOVER_AGE
        except FileNotFoundError:
            return False
    process = int(match["pid"])
    return process == os.getpid() or not _is_running(process)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    """Whether a process has ended and nobody has asked for its exit code: in a container that may last for ever."""
    try:
        # "pid (name) state ...", where the name may hold anything; https://man7.org/linux/man-pages/man5/proc.5.html
        state = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("Z", "X")
