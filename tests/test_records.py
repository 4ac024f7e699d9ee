"""Records: canonical form, strictness, and errors that say where."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from kaleido_bench.errors import BenchError
from kaleido_bench.records import Record, canonical_json, nearest, parse_json_record, parse_yaml_record

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


class Inner(Record):
    count: int = Field(ge=1)
    kind: Literal["red", "blue"]


class Outer(Record):
    name: str
    inner: Inner
    pair: tuple[float, float]
    items: tuple[Inner, ...] = ()


GOOD = "name: x\ninner:\n  count: 1\n  kind: red\npair: [1, 2.5]\n"


def refusal(text: str) -> str:
    with pytest.raises(BenchError) as caught:
        parse_yaml_record(text, Outer, where="f.yaml")
    message = str(caught.value)
    assert "\n" not in message
    return message


@given(VALUES)
def test_canonical_json_is_json_and_ignores_the_order_of_keys(value: object) -> None:
    def reverse(node: object) -> object:
        if isinstance(node, dict):
            return {key: reverse(node[key]) for key in reversed(list(node))}
        return [reverse(item) for item in node] if isinstance(node, list) else node

    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(reverse(value)) == data
    assert data.endswith(b"\n")


def test_canonical_json_has_no_nan() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


def test_a_good_record_loads_and_is_frozen() -> None:
    record = parse_yaml_record(GOOD, Outer, where="f.yaml")
    assert record == Outer(name="x", inner=Inner(count=1, kind="red"), pair=(1.0, 2.5))
    with pytest.raises(ValueError, match="frozen"):
        record.name = "y"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("  count", "  cuont", 3, ["unknown key 'cuont'", "Did you mean 'count'?"]),
        ("name:", "nmae:", 1, ["unknown key 'nmae'", "Did you mean 'name'?"]),
        ("count: 1", 'count: "1"', 3, ["'inner.count'", '"1"', "valid integer"]),
        ("count: 1", "count: true", 3, ["'inner.count'", "true", "valid integer"]),
        ("count: 1", "count: 1.5", 3, ["1.5", "valid integer"]),
        ("count: 1", "count: 0", 3, ["greater than or equal to 1"]),
        ("kind: red", "kind: rde", 4, ["'rde'", "'red' or 'blue'", "Did you mean 'red'?"]),
        ("  kind: red\n", "", 2, ["the key 'kind' is missing in 'inner'"]),
        ("[1, 2.5]", "[1]", 5, ["'pair' has 1 values", "2 or more"]),
        ("[1, 2.5]", "[1, x]", 5, ["'pair[1]'", '"x"']),
        ("[1, 2.5]", "[1, .inf]", 5, ["finite"]),
        ("[1, 2.5]", "3", 5, ["'pair' is 3", "a list"]),
        ("name: x", "name: x\nname: y", 2, ["duplicate key 'name'"]),
        ("name: x", "name: [x", 2, ["not YAML"]),
        ("name: x", "name: 2024-01-01", 1, ["kind date", "quotes"]),
        ("name: x", "1: x", 1, ["the key 1", "quotes"]),
        ("pair:", "items:\n- count: 1\n  kind: red\n- count: 2\n  knid: red\npair:", 9, ["unknown key 'knid'"]),
    ],
)
def test_an_error_names_the_line_and_what_is_wrong(old: str, new: str, line: int, words: list[str]) -> None:
    assert old in GOOD
    message = refusal(GOOD.replace(old, new, 1))
    assert message.startswith(f"f.yaml:{line}: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize("text", ["", "- 1\n", "just text\n"])
def test_a_document_that_is_no_mapping_is_refused(text: str) -> None:
    assert "a mapping of keys to values" in refusal(text)


def test_several_problems_are_counted() -> None:
    assert "2 more problems" in refusal(GOOD.replace("count: 1", "count: x").replace("kind: red", "kind: 3\n  z: 1"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"name": "x",\n "inner": {"count": 1, "kind": "red"},\n "pair": [1, "x"]}', ["f.json:3", "'pair[1]'"]),
        (b'{"name": "x",\n "name": "y"}', ["'name' is written twice"]),
        (b'{"name": "x",\n', ["f.json:2", "not JSON"]),
        (b"\xff\xfe", ["not UTF-8"]),
        (b"[1, 2]", ["f.json"]),
    ],
)
def test_json_errors_say_where_too(data: bytes, words: list[str]) -> None:
    with pytest.raises(BenchError) as caught:
        parse_json_record(data, Outer, where="f.json")
    for word in words:
        assert word in str(caught.value)


def test_nearest_says_nothing_when_nothing_is_near() -> None:
    assert nearest("psnr", ["ssim", "psnr-y"]) == "psnr-y"
    assert nearest("zzz", ["ssim", "psnr"]) is None
