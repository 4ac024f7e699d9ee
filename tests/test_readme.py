"""The commands of the README and of docs/import-split.md: those on embedded data run in their order, the others are
taken as they stand.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from kaleido_bench.protocol import load_protocol
from kaleido_bench.shipped import find_protocols
from reference_model.checkpoint import find_checkpoint
from tests.cli.conftest import Kbench, kbench
from tests.guides import Command, follow, read_blocks, read_commands
from tests.importers.published import split_members, write_zip
from tests.predict.tiny import write_scene

__all__ = ["kbench"]  # the fixture

ROOT = Path(__file__).parents[1]
LLFF = ("fern", "flower", "fortress", "horns", "leaves", "orchids", "room", "trex")
TEXT = (ROOT / "README.md").read_text()
DEMO, YOURS, FIELD, TRAIN = (tuple(read_commands(block)) for block in read_blocks(TEXT) if block.language == "console")


def test_the_demo_is_the_one_that_make_runs() -> None:
    said = re.search(r"then: (kbench run .*)", TEXT)
    assert said is not None and said[1].removeprefix("kbench") in (ROOT / "Makefile").read_text()
    assert [command.line for command in DEMO] == ["make demo", "make test"]


def test_your_data_your_method(kbench: Kbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an empty folder, in order. Runs are cut to one case, for the time that the reference model takes."""
    monkeypatch.chdir(tmp_path)
    for command in YOURS:
        follow(command._replace(line=_shorten(command.line)), kbench, monkeypatch)
    assert {path.name for path in Path("runs/quickstart").iterdir()} == {"kaleido@small", "saved@renders"}


SHORTER = {"kbench run": "--limit 1", "kbench compare": "--common"}
"""What makes a command do with one case."""


def _shorten(line: str) -> str:
    return " ".join([line, *(words for command, words in SHORTER.items() if line.startswith(command))])


def test_the_field_s_protocols(kbench: Kbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are looked at and not made: their data sets are not here."""
    monkeypatch.chdir(tmp_path)
    write_zip(Path("benchmark.zip"), split_members("llff", scenes=LLFF, counts=(1, 3), frames=20))
    for command in FIELD:
        words = shlex.split(command.line)[1:]
        ended = kbench(*words, *(["--dry-run"] if words[0] == "run" else []))
        # A suite names what it cannot run, and so does an import of an archive that does not hold everything.
        assert ended.code == (1 if {"seva", "--completed"} & set(words) else 0), f"{command.line}: {ended.err}"
    assert Path("my-protocols/seva-llff-r.yaml").is_file()


def test_importing_splits(kbench: Kbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/import-split.md: one archive in SEVA's layout, one index in pixelSplat's."""
    monkeypatch.chdir(tmp_path)
    write_zip(Path("benchmark.zip"), split_members("llff", scenes=LLFF, counts=(1, 3), frames=20))
    scene = load_protocol("re10k/pixelsplat-2v").cases[0].scene
    Path("evaluation_index.json").write_text(json.dumps({scene: {"context": [0, 9], "target": [3, 4]}}))
    text = (ROOT / "docs/import-split.md").read_text()
    for command in (each for block in read_blocks(text) for each in read_commands(block)):
        words = shlex.split(command.line)[1:]
        ended = kbench(*words, *(["--dry-run"] if words[0] == "run" else []))
        assert ended.code == (1 if {"completed", "--completed"} & set(words) else 0), f"{command.line}: {ended.err}"
    assert load_protocol("mine.yaml").cases[0].targets == ("3", "4")
    assert load_protocol("seva-llff-r.yaml").hash == load_protocol("completed/seva-llff-r.yaml").hash


def test_training(kbench: Kbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the moment when it would train."""
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        write_scene(tmp_path / f"captures/scene{number}", views=8)
    for command in TRAIN:
        words = shlex.split(command.line)
        if words[:2] == ["kbench", "train"]:
            ended = kbench(*words[1:], "--device", "cpu", "--dry-run")
        elif words[0] == "kbench":
            shutil.copytree(find_checkpoint("tiny"), "runs/train/mine")
            ended = kbench(*words[1:], "--dry-run")
        else:
            assert words[0] == "python" and (ROOT / words[1]).is_file()
            options = set(re.findall(r'"(--[a-z-]+)"', (ROOT / words[1]).read_text()))
            assert {word for word in words if word.startswith("--")} <= options
            continue
        assert ended.code == 0, f"{command.line}: {ended.err}"


def test_paths_protocols_and_commands_that_it_names_are_there(kbench: Kbench) -> None:
    for path in re.findall(r"`((?:docs|benchmarks|reference_model|protocols|leaderboards)/[\w./-]+)`", TEXT):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`((?:real|re10k|dl3dv|kbench)/[\w-]+)`", TEXT):
        assert name in find_protocols(), name
    for line in re.findall(r"`kbench ([a-z-]+)", TEXT):
        assert kbench(line, "--help").code == 0, line


def test_commands_are_read_with_what_is_shown() -> None:
    (block,) = read_blocks("Of `a.py`:\n\n```console\n$ one  # why\nout\n\n  more\n$ two\n```\n")
    assert block.name == "a.py"
    assert list(read_commands(block)) == [Command("one", ("out", "  more")), Command("two", ())]
