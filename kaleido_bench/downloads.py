"""Downloading a pinned file: from the first mirror that has it, resumed where it was cut off, and checked.

What has arrived lies beside the target as `<name>.part`, so that a call that was interrupted, or lost its connection,
is continued by the next one with a Range request (RFC 9110, section 14). The file gets its name once its hash is right.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import io
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from kaleido_bench.errors import BenchError

BLOCK = 2**20
ATTEMPTS = 3
"""So often one mirror is asked for the rest after its connection was lost."""

TIMEOUT = 30.0
"""Seconds without a byte after which a connection is lost."""

Report = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes there are, None where the server does not say."""


class Pin(NamedTuple):
    """What the sha256 of a file begins with: all 64 digits, or as many as are known (at least 8)."""

    sha256: str

    def fits(self, found: str) -> bool:
        return len(self.sha256) >= 8 and found.startswith(self.sha256)


class Wanted(NamedTuple):
    """A file to get.

    Args:
        urls: where it is, in the order in which they are tried.
        target: where it goes.
        pin: what it has to be.
        manual: what to do by hand where no download works: the end of every error.
    """

    urls: Sequence[str]
    target: Path
    pin: Pin
    manual: str


class _LostError(Exception):
    """A connection that ended before the file did."""


def download(wanted: Wanted, report: Report | None = None, *, timeout: float = TIMEOUT) -> str:
    """Get the file, unless it is there and right. Gives its sha256.

    Raises:
        BenchError: no mirror has it, what came is not the pinned file, or the folder cannot be written. What has
            arrived of a right file stays, and the same call goes on from there.
    """
    target = wanted.target
    if target.is_file() and wanted.pin.fits(found := hash_file(target)):
        return found
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _open_alone(part, wanted) as stream:
            found = _download_part(stream, wanted, report, timeout)
            part.replace(target)
    except OSError as error:
        raise _fail(wanted, f"cannot be written ({error.strerror or error})", "Name a folder that can be.") from error
    return found


def hash_file(path: Path) -> str:
    """The sha256 of a file, read a block at a time."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download_part(stream: io.BufferedRandom, wanted: Wanted, report: Report | None, timeout: float) -> str:
    """Fill the part from one mirror after another until it is the pinned file. Gives its sha256."""
    troubles: list[str] = []
    for url in wanted.urls:
        resumed = stream.seek(0, os.SEEK_END) > 0
        for _ in range(ATTEMPTS):
            try:
                _receive(stream, url, report, timeout)
            except _LostError as error:
                troubles.append(f"{url}: {error}")
                continue
            except urllib.error.HTTPError as error:
                troubles.append(f"{url}: HTTP {error.code} {error.reason}")
                break
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
                troubles.append(f"{url}: {getattr(error, 'reason', None) or error or type(error).__name__}")
                break
            found = _hash_stream(stream)
            if wanted.pin.fits(found):
                return found
            troubles.append(f"{url}: sha256 {found} is not the pinned one")
            stream.truncate(0)
            if not resumed:
                break
            resumed = False  # the beginning may have been another file's: once more, from the start
    here = stream.seek(0, os.SEEK_END)
    kept = f" ({here} bytes are kept, the same command goes on from there)" if here else ""
    raise _fail(wanted, f"not downloaded: {'; '.join(dict.fromkeys(troubles))}{kept}", wanted.manual)


def _receive(stream: io.BufferedRandom, url: str, report: Report | None, timeout: float) -> None:
    """Append what is missing. Raises _LostError when the connection ends early; what came is kept."""
    here = stream.seek(0, os.SEEK_END)
    request = urllib.request.Request(url, headers={"User-Agent": "kaleido-bench", "Accept-Encoding": "identity"})
    if here:
        request.add_header("Range", f"bytes={here}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and here:
            return  # there is no more: the hash says whether it is the file
        raise
    with response:
        if here and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            here = stream.truncate(0)  # a server without ranges sends everything
        elif here and not response.headers.get("Content-Range", "").startswith(f"bytes {here}-"):
            stream.truncate(0)
            raise _LostError("it answers with another range than it was asked for")
        length = response.headers.get("Content-Length")
        total = None if length is None else here + int(length)
        while block := _read_block(response, total, here):
            stream.write(block)
            here += len(block)
            if report is not None:
                report(here, total)
    stream.flush()
    if total is not None and here < total:
        raise _LostError(f"the connection ended after {here} of {total} bytes")


def _read_block(response: http.client.HTTPResponse, total: int | None, here: int) -> bytes:
    try:
        return response.read(BLOCK)
    except http.client.IncompleteRead as error:
        return error.partial
    except (ConnectionError, TimeoutError) as error:
        raise _LostError(f"the connection ended after {here} of {total or '?'} bytes ({error})") from error


def _hash_stream(stream: io.BufferedRandom) -> str:
    stream.flush()
    os.fsync(stream.fileno())
    stream.seek(0)
    return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _open_alone(part: Path, wanted: Wanted) -> Generator[io.BufferedRandom]:
    """The part, for this process alone: two that append to one file spoil it."""
    with part.open("a+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _fail(wanted, "another process is downloading it", "Wait for that one.") from None
        try:
            yield stream
        finally:
            if part.is_file() and part.stat().st_size == 0:
                part.unlink()  # nothing arrived, so there is nothing to go on from


def _fail(wanted: Wanted, found: str, fix: str) -> BenchError:
    names = ", ".join(urlsplit(url).hostname or url for url in wanted.urls)
    return BenchError(
        wanted.target, found, expected=f"a file from {names} whose sha256 begins with {wanted.pin.sha256}", fix=fix
    )
