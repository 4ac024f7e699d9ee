"""Writing a protocol: its YAML and its frozen index, so that the same choices give the same bytes on every machine."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pydantic import JsonValue

from kaleido_bench.cases import Case, CaseIndex, render_index
from kaleido_bench.data.scenes import Pin, Scene, find_view, pin_view
from kaleido_bench.protocol import Protocol, build_protocol
from kaleido_bench.records import parse_yaml_record, sha256_hex

WIDTH = 115
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./@+-]*( [A-Za-z0-9_./@+(-][A-Za-z0-9_./@+()-]*)*")
_RESERVED = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


class FrozenProtocol(NamedTuple):
    """A protocol as files."""

    yaml_path: str  # below the folder of protocols
    yaml_bytes: bytes
    index_path: str
    index_bytes: bytes


def freeze_protocol(
    fields: Mapping[str, JsonValue],
    cases: Sequence[Case],
    pins: Mapping[str, Mapping[str, Pin]],
    *,
    header: str,
    compact: bool = False,
    index_name: str | None = None,
) -> FrozenProtocol:
    """Renders a protocol and its index, and checks that they load.

    Args:
        fields: the protocol's fields but for `index`, in the order to be written; `name` places the files.
        cases: its cases.
        pins: scene -> view -> what is frozen of it.
        header: the first line of the YAML file, a comment.
        compact: see `render_index`.
        index_name: the protocol whose index file this one names too, because it has the same cases; its own if None.

    Raises:
        BenchError: the fields are no protocol, or it does not fit its cases.
    """
    masks = {scene: {view: p.mask for view, p in views.items() if p.mask} for scene, views in pins.items()}
    index = CaseIndex(
        schema_version=1,
        cases=tuple(cases),
        image_sha256={scene: {view: p.image for view, p in views.items() if p.image} for scene, views in pins.items()},
        camera_sha256={
            scene: {view: p.camera for view, p in views.items() if p.camera} for scene, views in pins.items()
        },
        mask_sha256={scene: views for scene, views in masks.items() if views},
    )
    index_bytes = render_index(index, compact=compact)
    name = str(fields["name"])
    index_path = f"indices/{index_name or name}.json"
    up = "../" * (len(PurePosixPath(name).parts) - 1)
    reference: JsonValue = {"file": up + index_path, "sha256": sha256_hex(index_bytes)}
    text = f"# {header}\n" + render_yaml(_insert_after(fields, "dataset", "index", reference))
    build_protocol(parse_yaml_record(text, Protocol, where=f"{name}.yaml"), index, path=None)
    return FrozenProtocol(f"{name}.yaml", text.encode(), index_path, index_bytes)


def write_protocol(folder: Path, frozen: FrozenProtocol) -> None:
    """Writes both files below the folder of protocols."""
    for path, data in ((frozen.index_path, frozen.index_bytes), (frozen.yaml_path, frozen.yaml_bytes)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def pin_views(scene: Scene, cases: Sequence[Case], *, masks: bool = False) -> dict[str, Pin]:
    """What to freeze of every view of a scene that its cases use. Reads their image files.

    Args:
        scene: from a reader.
        cases: of this scene and of others.
        masks: freeze the mask files too. A protocol with foreground metrics wants that; an alpha channel is frozen with
            its image.
    """
    used = {view for case in cases if case.scene == scene.name for view in (*case.references, *case.targets)}
    return {view: pin_view(find_view(scene, view), masks=masks) for view in sorted(used)}


def render_yaml(value: Mapping[str, JsonValue]) -> str:
    """Plain values as block YAML with a line length that people read. The YAML reader gives the same values back."""
    return "\n".join(_block(value, 0)) + "\n"


def _insert_after(fields: Mapping[str, JsonValue], after: str, key: str, value: JsonValue) -> dict[str, JsonValue]:
    ordered: dict[str, JsonValue] = {}
    for name, item in fields.items():
        ordered[name] = item
        if name == after:
            ordered[key] = value
    return ordered


def _block(value: Mapping[str, JsonValue], depth: int) -> list[str]:
    lines: list[str] = []
    for key, item in value.items():
        head = "  " * depth + f"{key}:"
        if isinstance(item, dict) and item:
            lines += [head, *_block(item, depth + 1)]
        elif isinstance(item, list) and len(f"{head} [{', '.join(_inline(part) for part in item)}]") > WIDTH:
            lines.append(head)
            for part in item:
                lines += _scalar("  " * (depth + 1) + "-", part, depth + 2)
        else:
            lines += _scalar(head, item, depth + 1)
    return lines


def _scalar(head: str, value: JsonValue, depth: int) -> list[str]:
    """A value on the line of its key; long text is folded below it."""
    if isinstance(value, list):
        return [f"{head} [{', '.join(_inline(part) for part in value)}]"]
    line = f"{head} {_inline(value)}"
    if len(line) <= WIDTH or not isinstance(value, str) or value != " ".join(value.split()):
        return [line]
    indent = "  " * depth
    folded = textwrap.wrap(value, WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
    return [f"{head} >-", *(indent + part for part in folded)]


def _inline(value: JsonValue) -> str:
    return value if isinstance(value, str) and _is_plain(value) else json.dumps(value, ensure_ascii=False)


def _is_plain(text: str) -> bool:
    """Whether YAML reads the text as that text without quotes. Narrower than YAML is."""
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _RESERVED
