"""docs/protocols.md: every command runs as printed and prints what is shown, every file loads, no field is left out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from kaleido_bench.cases import Case, CaseIndex
from kaleido_bench.data.images import BACKGROUNDS, FILTERS, Fit, ImagePreparation
from kaleido_bench.data.normalisation import NORMALISATIONS
from kaleido_bench.data.readers import build_reader, resolve_root
from kaleido_bench.lint.advice import ADVICE
from kaleido_bench.protocol import PendingIndex, Protocol, load_protocol
from kaleido_bench.protocol.records import CompletedFrom, Dataset, ExpectedCounts, IndexFile
from kaleido_bench.records import parse_yaml_record
from kaleido_bench.suites import Suite
from tests.cli.conftest import Kbench, kbench
from tests.guides import Block, follow, read_blocks, read_commands

__all__ = ["kbench"]  # the fixture

TEXT = (Path(__file__).parents[1] / "docs/protocols.md").read_text()
BLOCKS = read_blocks(TEXT)


def named(name: str, language: str) -> Block:
    (block,) = [each for each in BLOCKS if (each.name, each.language) == (name, language)]
    return block


def test_the_guide_runs_as_printed(kbench: Kbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, from the first block to the last."""
    monkeypatch.chdir(tmp_path)
    commands = 0
    for block in BLOCKS:
        path = Path(block.name)
        if block.language == "console":
            for command in read_commands(block):
                follow(command, kbench, monkeypatch)
                commands += 1
        elif path.exists():  # what a program wrote is what is shown
            assert path.read_text() == block.text
        elif path.suffix in (".py", ".json", ".yaml"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        else:
            assert block.language == "yaml" and parse_yaml_record(block.text, Suite, where="guide").name == "mine"
    assert commands > 10
    published = load_protocol("mine/published.yaml")
    assert published.protocol.targets == "as-published" and load_protocol("mine/pairs.yaml").hash


def test_the_converter_gives_the_cameras_and_images_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = resolve_root("package:quickstart", None)
    views = list(build_reader("transforms").load_scene(root, "world-01").views.values())
    images = tmp_path / "raw/desk/images"
    images.mkdir(parents=True)
    for view in views:
        (images / f"{view.id}.png").write_bytes(view.read_image())
    rig = {"c2w": np.stack([view.camera.c2w for view in views]), "K": np.stack([view.camera.K for view in views])}
    np.savez(tmp_path / "raw/desk/cameras.npz", **rig)
    monkeypatch.setattr("sys.argv", ["convert.py", "raw", "data/mine"])
    exec(named("convert.py", "python").text, {})
    again = list(build_reader("transforms").load_scene(tmp_path / "data/mine", "desk").views.values())
    assert [view.id for view in again] == [view.id for view in views]
    for one, other in zip(views, again, strict=True):
        assert np.array_equal(one.camera.c2w, other.camera.c2w) and np.array_equal(one.camera.K, other.camera.K)
        assert one.read_image() == other.read_image()


RECORDS: dict[str, type[BaseModel]] = {
    "": Protocol,
    "dataset.": Dataset,
    "index.": IndexFile,
    "preparation.": ImagePreparation,
    "cases.": Case,
}
PROMISED: dict[str, type[BaseModel]] = {"index.": PendingIndex, "index.expected.": ExpectedCounts}


def test_every_field_is_there_with_its_default() -> None:
    """In a table, but for those of a pending index; fields that hold others are there as these."""
    rows = {name: row for row in TEXT.splitlines() if row.startswith("| `") for name in _names(row)}
    whole = {"dataset", "index", "preparation", "cameras", "index.schema_version"}
    fields = {prefix + name: field for prefix, model in RECORDS.items() for name, field in model.model_fields.items()}
    fields |= {name: field for name, field in CaseIndex.model_fields.items() if name != "schema_version"}
    absent = [name for name in fields if name not in rows and name not in whole]
    assert absent == []
    for name, field in fields.items():
        if name not in whole:
            assert ("optional, " in rows[name]) == (not field.is_required()), name
    assert {"cameras.policy", "cameras.rule", "cameras.scales"} <= set(rows)
    for prefix, model in PROMISED.items():
        assert all(f"`{prefix}{name}" in TEXT for name in model.model_fields), prefix
    assert all(f"`{name}`" in rows["index.completed_from"] for name in CompletedFrom.model_fields)


def _names(row: str) -> list[str]:
    return re.findall(r"`([^`]+)`", row.split("|")[1])


def test_every_choice_is_named() -> None:
    for name in (*Fit, *FILTERS, *BACKGROUNDS, *NORMALISATIONS):
        assert f"`{name}`" in TEXT, name
    choices = re.findall(
        r"Literal\[([^]]+)\]", "\n".join(str(field.annotation) for field in Protocol.model_fields.values())
    )
    for name in re.findall(r"'([a-z-]+)'", " ".join(choices)):
        assert f"`{name}`" in TEXT, name


def test_every_fault_stands_with_what_lint_says_to_do() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (?:error|warning|note)[^|]* \| [^|]+ \| (.*) \|$", TEXT, re.MULTILINE)
    assert dict(rows) == dict(ADVICE)
