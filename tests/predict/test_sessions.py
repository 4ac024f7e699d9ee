from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

from kaleido_bench.items import Deviations
from kaleido_bench.predict import sessions
from kaleido_bench.predict.sessions import describe_session, read_git_state, read_versions


def test_a_session_says_when_what_and_with_what() -> None:
    now = datetime(2026, 3, 1, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    session = describe_session(["kbench", "run"], "cpu", Deviations(limit=2), now)
    assert session.started == "2026-02-28T23:02:03Z"
    assert session.command == ("kbench", "run")
    assert session.device.startswith("cpu (")
    assert session.deviations.limit == 2
    assert (session.git_commit, session.git_dirty) == read_git_state(Path(sessions.__file__).parent)


def test_versions_are_of_what_is_installed() -> None:
    import numpy as np

    versions = read_versions()
    assert versions["numpy"] == np.__version__
    assert {"kaleido-bench", "python", "pillow"} <= set(versions)


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", str(folder), *identity, *words], check=True, capture_output=True)


def test_git_state(tmp_path: Path) -> None:
    assert read_git_state(tmp_path) == (None, None)
    git(tmp_path, "init")
    (tmp_path / "sessions.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    commit, dirty = read_git_state(tmp_path)
    assert commit is not None and len(commit) == 40 and dirty is False
    (tmp_path / "sessions.py").write_text("2")
    assert read_git_state(tmp_path) == (commit, True)
    inside = tmp_path / ".venv" / "package"
    inside.mkdir(parents=True)
    (inside / "sessions.py").write_text("installed, not under version control")
    assert read_git_state(inside) == (None, None)
