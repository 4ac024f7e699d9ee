"""Protocols over scenes that are at hand: cases chosen from their cameras, and every view pinned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from kaleido_bench.authoring import FrozenProtocol, freeze_protocol, pin_views
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
