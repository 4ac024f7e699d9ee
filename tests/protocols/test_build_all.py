"""One command writes every shipped protocol again. That a builder writes the shipped bytes is its own test's affair."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.protocols.scripts import FOLDER, load_script


def test_every_builder_is_run_and_the_summary_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    build_all = load_script("build_all")
    builders = {path.stem for path in FOLDER.glob("build_*.py")} - {"build_all"}
    called: list[str] = []
    for name in builders:

        def record(arguments: list[str], name: str = name) -> None:
            called.append(name)
            assert arguments[-2:] == ["--out", str(tmp_path)]

        monkeypatch.setattr(getattr(build_all, name), "main", record)
    build_all.main(["splits", "data", "--out", str(tmp_path)])
    assert sorted(called) == sorted(builders) and called[-1] == "build_summary"
