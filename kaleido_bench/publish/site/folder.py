"""The files of a site: written where they changed, and removed where an earlier build made them and this one does not.

`files.json` lists what a build made. What it does not list is nobody's to overwrite or remove.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import StringConstraints

from kaleido_bench.atomic import update_bytes_atomic
from kaleido_bench.errors import BenchError
from kaleido_bench.records import Record, Sha256, load_json_record, sha256_hex

MANIFEST = "files.json"

PagePath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.@+=-]+(/[A-Za-z0-9_.@+=-]+)*$")]
"""A relative path; `..` in it is looked for where it matters."""


class Manifest(Record):
    """`files.json`."""

    schema_version: Literal[1] = 1
    made_by: Literal["kbench leaderboard build"] = "kbench leaderboard build"
    files: dict[PagePath, Sha256]


class Written(NamedTuple):
    """What a build did."""

    folder: Path
    home: Path
    pages: int
    files: int
    changed: int
    removed: int


def write_site(folder: Path, files: Mapping[str, bytes]) -> Written:
    """Write the files of a site, each whole or not at all, `files.json` last.

    Args:
        folder: made where it is not there.
        files: contents by path below the folder; `index.html` is among them.

    Raises:
        BenchError: a file that no build made stands in the place of one.
    """
    before = _read_manifest(folder)
    for name in files:
        if name not in before and (folder / name).exists():
            raise BenchError(
                folder / name,
                "a file that no build made",
                expected="a folder of its own for the pages",
                fix="Name another with -o, or move the file.",
            )
    folder.mkdir(parents=True, exist_ok=True)
    hashes = {name: sha256_hex(data) for name, data in sorted(files.items())}
    # Both, until the last file is right: a build that is killed leaves nothing that the next one would not own.
    _write_manifest(folder, before | hashes)
    changed = sum(_write(folder / name, data) for name, data in files.items())
    stale = [name for name in before if name not in files]
    removed = sum(_remove(folder, name, before[name]) for name in stale)
    _write_manifest(folder, hashes)
    pages = sum(name.endswith(".html") for name in files)
    return Written(folder, folder / "index.html", pages, len(files), changed, removed)


def _read_manifest(folder: Path) -> dict[str, str]:
    path = folder / MANIFEST
    if not path.exists():
        return {}
    fix = "Name another folder with -o, or remove this one."
    return dict(load_json_record(path, Manifest, what="the list of a build's files", fix=fix).files)


def _write_manifest(folder: Path, hashes: Mapping[str, str]) -> None:
    record = Manifest(files=dict(sorted(hashes.items()))).model_dump(mode="json")
    update_bytes_atomic(folder / MANIFEST, (json.dumps(record, indent=1) + "\n").encode())


def _write(path: Path, data: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    return update_bytes_atomic(path, data)


def _remove(folder: Path, name: str, sha256: str) -> bool:
    """Removes a page of an earlier build, unless somebody changed it since; and its folder, where that is empty now."""
    path = folder / name
    if ".." in path.parts or not path.is_file() or sha256_hex(path.read_bytes()) != sha256:
        return False
    path.unlink()
    for parent in path.parents:
        if parent == folder or any(parent.iterdir()):
            break
        parent.rmdir()
    return True
