# pyright: basic
# ruamel.yaml ships without complete types; this file is the only one that touches it, and what it gives out is typed.
"""YAML as plain values with the line of every key, so that an error can say where."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import JsonValue
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from kaleido_bench.errors import BenchError

Steps = tuple[str | int, ...]
"""Keys and positions from the top of a document to a value."""


class ParsedYaml(NamedTuple):
    """A document."""

    value: JsonValue  # without comments and style: what the file means
    lines: Mapping[Steps, int]  # line of each key and list item, from 1; () is the document


def parse_yaml(text: str, where: str) -> ParsedYaml:
    """Parses one YAML document.

    Args:
        text: the document.
        where: stands for the file in errors.

    Raises:
        BenchError: it is not YAML, writes a key twice, or has a value that is none of text, number, boolean,
            list and mapping.
    """
    lines: dict[Steps, int] = {(): 1}
    return ParsedYaml(_plain(_load(text, where), (), lines, where), lines)


def _load(text: str, where: str) -> object:
    try:
        return YAML(typ="rt", pure=True).load(io.StringIO(text))
    except DuplicateKeyError as error:
        problem = str(error.problem or "a key is written twice").split(" with value")[0].replace('"', "'")
        raise BenchError(
            f"{where}:{_line_of(error)}", problem, expected="each key once", fix="Keep one; the other would be lost."
        ) from None
    except MarkedYAMLError as error:
        raise BenchError(
            f"{where}:{_line_of(error)}",
            f"not YAML ({error.problem or error.context})",
            expected="valid YAML",
            fix="Correct that line.",
        ) from None
    except YAMLError as error:
        raise BenchError(
            where, f"not YAML ({str(error).splitlines()[0]})", expected="valid YAML", fix="Correct the file."
        ) from None


def _line_of(error: MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark else 1


def _plain(node: object, steps: Steps, lines: dict[Steps, int], where: str) -> JsonValue:
    if isinstance(node, CommentedMap):
        for key in node:
            _note_key(node, key, steps, lines, where)
        return {str(key): _plain(node[key], (*steps, str(key)), lines, where) for key in node}
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            lines[*steps, index] = _line(node, index, lines[steps])
        return [_plain(item, (*steps, index), lines, where) for index, item in enumerate(node)]
    if node is None:
        return None
    # ruamel keeps how a scalar was written in subclasses of the plain types.
    if isinstance(node, ScalarBoolean):
        return bool(node)
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    raise BenchError(
        f"{where}:{lines[steps]}",
        f"a YAML value of kind {type(node).__name__}",
        expected="text, a number, true or false, a list or a mapping",
        fix="Put quotes around it if it is meant as text.",
    )


def _note_key(node: CommentedMap, key: object, steps: Steps, lines: dict[Steps, int], where: str) -> None:
    line = _line(node, key, lines[steps])
    if not isinstance(key, str):
        raise BenchError(
            f"{where}:{line}", f"the key {key!r}", expected="a key that is text", fix="Put quotes around it."
        )
    lines[*steps, str(key)] = line


def _line(node: CommentedMap | CommentedSeq, key: object, otherwise: int) -> int:
    """The line of a key or item. Keys that came through a merge (`<<`) have none of their own."""
    positions = node.lc.data or {}
    return positions[key][0] + 1 if key in positions else otherwise
