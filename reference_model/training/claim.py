"""One run at a time in a folder. The claim is a lock on the folder itself, which ends with the process however that
ends: nothing is left behind.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system: two runs in one folder are then the user's to avoid
    fcntl = None


@contextmanager
def claim(out: Path) -> Generator[None]:
    """Inside, no other run trains in `out`, which is made where it is not there. On a file system without locks, as
    some network disks are, nothing is claimed.

    Raises ValueError where another run is at it, OSError where the folder cannot be made.
    """
    out.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    folder = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another run is training in {out}: wait for it, stop it, or give another --out") from None
        except OSError:
            pass
        yield
    finally:
        os.close(folder)


def check_free(out: Path) -> None:
    """Raises ValueError where a run is training in `out`."""
    if out.is_dir():
        with claim(out):
            pass
