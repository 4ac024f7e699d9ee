"""Guides that are run: their files, programs and commands, in the order in which a reader meets them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from kaleido_bench.cli.tables import DEFAULT_WIDTH
from tests.cli.conftest import Kbench

_FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a guide, and the last name in backticks of the line above it: a file's, where it is one."""

    language: str
    text: str
    name: str


class Command(NamedTuple):
    """A line after `$ `, without its comment, and the lines printed below it."""

    line: str
    shown: tuple[str, ...]


def read_blocks(text: str) -> list[Block]:
    """The fenced blocks of a guide."""
    blocks: list[Block] = []
    for found in _FENCE.finditer(text):
        names = re.findall(r"`([^`\n]+)`", text[: found.start()].rstrip().rpartition("\n")[2])
        blocks.append(Block(found[1], found[2], names[-1] if names else ""))
    return blocks


def read_commands(block: Block) -> Iterator[Command]:
    """The commands of a console block."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, *shown = part.splitlines()
        yield Command(re.sub(r"\s+# .*", "", line), tuple(each.rstrip() for each in shown if each.strip()))


def follow(command: Command, kbench: Kbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command in the working directory and find all lines that the guide shows in what it prints, as wide as
    where no terminal is.
    """
    monkeypatch.setenv("COLUMNS", str(DEFAULT_WIDTH))  # workers of pytest have 80
    words = shlex.split(command.line)
    if words[0] == "export":
        name, _, value = words[1].partition("=")
        monkeypatch.setenv(name, value.replace("$PWD", str(Path.cwd())))
        return
    if words[0] == "kbench":
        paths = [str(each) for word in words[1:] if word.endswith("*") for each in sorted(Path().glob(word))]
        ended = kbench(*(word for word in words[1:] if not word.endswith("*")), *paths)
        code, printed = ended.code, ended.out + ended.err
    else:
        program = [sys.executable, *words[1:]] if words[0] == "python" else words
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        code, printed = done.returncode, done.stdout + done.stderr
    assert code == 0, f"{command.line}: {printed}"
    lines = {_plain(line) for line in printed.splitlines()}
    missing = [line for line in command.shown if _plain(line) not in lines]
    assert not missing, f"{command.line} printed\n{printed}"


def _plain(line: str) -> str:
    """Columns are as wide as what else is in them."""
    return " ".join(line.split())
