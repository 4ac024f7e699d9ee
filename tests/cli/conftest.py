"""The real command line, in this process and in another, on small data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from kaleido_bench.cli.app import build_app
from tests.predict.tiny import install_toys, write_data, write_protocol

ROOT = Path(__file__).resolve().parents[2]


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Kbench = Callable[..., Ended]


@pytest.fixture
def kbench(monkeypatch: pytest.MonkeyPatch) -> Kbench:
    """Runs `kbench WORDS...` in this process. No data directory and no weights unless the words name them."""
    monkeypatch.delenv("KBENCH_DATA", raising=False)
    monkeypatch.delenv("KBENCH_WEIGHTS", raising=False)

    def invoke(*words: object) -> Ended:
        result = CliRunner().invoke(build_app(), [str(word) for word in words], prog_name="kbench")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ended(result.exit_code, result.stdout, result.stderr)

    return invoke


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder with `data/` (two scenes), `tiny.yaml` (two scenes, 1 and 3 references) and its index."""
    write_data(tmp_path / "data", ("arc", "bow"))
    write_protocol(tmp_path / "tiny.yaml", scenes=("arc", "bow"))
    return tmp_path


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Adapters of another package, found by this process and by its children."""
    folder = install_toys(tmp_path / "site")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
    return folder


def start_kbench(*words: object) -> subprocess.Popen[str]:
    """`kbench WORDS...` as a process of its own, in a session of its own so that its workers can be found."""
    return subprocess.Popen(
        [sys.executable, "-m", "kaleido_bench", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
