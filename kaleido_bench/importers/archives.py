"""The file that a split is published as: a zip archive, a folder of the same content, or a single JSON file.

Nothing is ever unpacked: members are read by name into memory. Names that would leave the folder they are unpacked to
are refused all the same, because whoever packed them is not who they say.
"""

from __future__ import annotations

import functools
import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from kaleido_bench.errors import BenchError
from kaleido_bench.records import sha256_hex

MEMBER_LIMIT = 256 * 2**20
"""Bytes. The largest published index is 16 MB (RE10K video); a member beyond this is no split file."""

_CHUNK = 2**20


class Archive(NamedTuple):
    """A published file."""

    path: Path
    names: tuple[str, ...]  # of its members, `/` between the parts; ("",) for a single file
    read: Callable[[str], bytes]

    def where(self, name: str) -> str:
        """A member, as errors name it."""
        return f"{self.path}, {name}" if name else str(self.path)


def open_archive(path: Path) -> Archive:
    """Lists what a published file holds.

    Raises:
        BenchError: it is not there, is neither zip nor JSON, is cut short, or has names that leave its folder.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise BenchError(path, "no such file", expected="the published split file", fix="Correct the path.")
    if path.suffix.lower() == ".json":

        def read_it(_name: str) -> bytes:
            return _read_file(path)

        return Archive(path, ("",), read_it)
    return _open_zip(path)


def hash_archive(archive: Archive) -> str:
    """sha256 of the file's bytes; of a folder, of the lines `<sha256>  <name>` of its JSON files, sorted by name."""
    if archive.path.is_dir():
        wanted = [name for name in archive.names if name.endswith(".json")]
        lines = [f"{sha256_hex(archive.read(name))}  {name}\n" for name in sorted(wanted)]
        return sha256_hex("".join(lines).encode())
    digest = hashlib.sha256()
    with archive.path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def read_json(archive: Archive, name: str) -> JsonValue:
    """A member as JSON.

    Raises:
        BenchError: it is damaged or not JSON.
    """
    try:
        return json.loads(archive.read(name))
    except (ValueError, RecursionError) as error:
        raise BenchError(
            archive.where(name), f"not JSON ({error})", expected="a split file", fix="Fetch it again."
        ) from None


def _open_folder(path: Path) -> Archive:
    names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())

    def read(name: str) -> bytes:
        return _read_file(path / name)

    return Archive(path, tuple(names), read)


def _open_zip(path: Path) -> Archive:
    try:
        with zipfile.ZipFile(path) as file:
            names = [info.filename for info in file.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise BenchError(
            path, f"not a whole zip archive ({error})", expected="the published archive", fix="Fetch it again."
        ) from None
    for name in names:
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise BenchError(
                path,
                f"the member {name!r} leaves the archive's folder",
                expected="names below it",
                fix="Do not unpack this archive. Fetch it from where it is published.",
            )
    kept = sorted(name for name in names if not name.startswith("__MACOSX/"))
    return Archive(path, tuple(kept), functools.partial(_read_member, path))


def _read_member(path: Path, name: str) -> bytes:
    where = f"{path}, {name}"
    try:
        with zipfile.ZipFile(path) as file:
            info = file.getinfo(name)
            if info.file_size > MEMBER_LIMIT:
                raise BenchError(
                    where, f"{info.file_size} bytes", expected=f"at most {MEMBER_LIMIT}", fix="Check the archive."
                )
            return file.read(info)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise BenchError(
            where, f"damaged ({error})", expected="a whole member", fix="Fetch the archive again."
        ) from None


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BenchError(
            path, f"cannot be read ({error.strerror})", expected="a split file", fix="Check the file."
        ) from None
