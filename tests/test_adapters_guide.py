"""docs/adapters.md: its programs answer, its commands print what is shown."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from kaleido_bench.predict.adapters.external import ExternalMethod
from tests.cli.conftest import Kbench, kbench
from tests.guides import follow, read_blocks, read_commands

__all__ = ["kbench"]  # the fixture

TEXT = (Path(__file__).parents[1] / "docs/adapters.md").read_text()


def test_the_guide_runs_as_printed(kbench: Kbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    for block in read_blocks(TEXT):
        if block.language == "console":
            for command in read_commands(block):
                follow(command, kbench, monkeypatch)
        else:
            Path(block.name).write_text(block.text)
        if block.language == "toml":  # what `pip install -e .` tells Python
            points = tomllib.loads(block.text)["project"]["entry-points"]["kbench.adapters"]
            info = Path("blend_nvs-0.1.dist-info")
            info.mkdir()
            (info / "METADATA").write_text("Metadata-Version: 2.1\nName: blend-nvs\nVersion: 0.1\n")
            lines = "".join(f"{name} = {target}\n" for name, target in points.items())
            (info / "entry_points.txt").write_text(f"[kbench.adapters]\n{lines}")
    refused = kbench("run", "quickstart", "--model", "blend", "--model-arg", "sharp=1")
    assert refused.code == 2 and "'sharp'; expected sharpness=NUMBER" in refused.err
    sys.modules.pop("blend", None)


def test_every_field_of_the_file_is_there_with_its_default() -> None:
    rows = {name: row for row in TEXT.splitlines() if row.startswith("| `") for name in row.split("|")[1].split("`")}
    for name, field in ExternalMethod.model_fields.items():
        assert ("optional, " in rows[name]) == (not field.is_required()), name
