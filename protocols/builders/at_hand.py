"""Protocols over scenes that are at hand: cases chosen from their cameras, and every view pinned."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from kaleido_bench.authoring import FrozenProtocol, freeze_protocol, pin_views, write_protocol
from kaleido_bench.cases import Case
from kaleido_bench.data.readers import build_reader
from kaleido_bench.data.scenes import Pin, Scene
from kaleido_bench.drafts import Draft, describe_draft
from kaleido_bench.records import sha256_hex


class Chosen(NamedTuple):
    """The cases of some scenes, and what is frozen of each of their views."""

    cases: tuple[Case, ...]
    pins: dict[str, dict[str, Pin]]
    revision: str  # names the files that the choice was made with; the index pins every view

    def freeze(self, draft: Draft, header: str) -> FrozenProtocol:
        """A draft over these cases as files."""
        fields = describe_draft(draft._replace(cases=self.cases, data=draft.data._replace(revision=self.revision)))
        return freeze_protocol(fields, self.cases, self.pins, header=header)


def choose_at_hand(
    root: Path, names: Sequence[str], choose: Callable[[Scene], Sequence[Case]], *, masks: bool = False
) -> Chosen:
    """The cases that a rule chooses in each of these scenes.

    Args:
        root: the folder of the scenes, each with its transforms.json.
        names: of the scenes, in the order of the index.
        choose: the rule.
        masks: freeze the mask files too.
    """
    reader = build_reader("transforms")
    cases: list[Case] = []
    pins: dict[str, dict[str, Pin]] = {}
    for name in names:
        scene = reader.load_scene(root, name)
        cases += choose(scene)
        pins[name] = pin_views(scene, cases, masks=masks)
    cameras = sha256_hex(b"".join((root / name / "transforms.json").read_bytes() for name in names))
    return Chosen(tuple(cases), pins, f"transforms.json sha256 {cameras[:16]}")


def run_builder(
    arguments: Sequence[str] | None,
    *,
    description: str,
    out: Path,
    freeze: Callable[[Path], Iterable[FrozenProtocol]],
    scenes: Path | None = None,
) -> None:
    """The command line of a script: write what it freezes.

    Args:
        arguments: its words; None: those it was called with.
        description: of the script.
        out: the folder of protocols, where no other is named.
        freeze: the protocols, from the folder of the data.
        scenes: that folder where no other is named; None: it must be.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data_dir", type=Path, nargs="?" if scenes else None, default=scenes, help="where scenes are")
    parser.add_argument("--out", type=Path, default=out, help="the folder of protocols")
    options = parser.parse_args(arguments)
    for frozen in freeze(options.data_dir):
        write_protocol(options.out, frozen)
        print(f"{options.out / frozen.yaml_path}: {frozen.index_bytes.count(b'targets')} cases")
