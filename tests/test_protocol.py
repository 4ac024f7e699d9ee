"""Protocols: what they refuse, what their hash covers, and how they are found."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleido_bench.authoring import render_yaml
from kaleido_bench.cases import Case, CaseIndex
from kaleido_bench.drafts import describe_preparation
from kaleido_bench.errors import BenchError
from kaleido_bench.protocol import (
    UNHASHED_FIELDS,
    PendingError,
    PendingIndex,
    Protocol,
    fields_hash,
    load_protocol,
    protocol_hash,
    read_protocol,
)
from kaleido_bench.records import parse_yaml_record
from kaleido_bench.shipped import find_protocols
from tests.conftest import protocol_fields

FIELDS: dict[str, Any] = {
    **protocol_fields(),
    "index": {"file": "index.json", "sha256": "0" * 64},
    "preparation": describe_preparation(16, 12, filter="bilinear"),
}
CASE = Case(id="a-r1", scene="a", references=("v0",), targets=("t0", "t1"))
INDEX = CaseIndex(schema_version=1, cases=(CASE,), image_sha256={"a": {"v0": "1" * 64}}, camera_sha256={})


def parse(fields: dict[str, Any]) -> Protocol:
    return parse_yaml_record(render_yaml(fields), Protocol, where="p.yaml")


BASE = protocol_hash(parse(FIELDS), INDEX)


def changed(path: str, value: Any) -> dict[str, Any]:
    """FIELDS with one (nested) field changed."""
    head, _, rest = path.partition(".")
    return {**FIELDS, head: {**FIELDS[head], rest: value} if rest else value}


def refusal(path: Path) -> str:
    with pytest.raises(BenchError) as caught:
        load_protocol(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


# What it refuses


def test_a_good_protocol_loads(protocol_files: Any) -> None:
    loaded = protocol_files.load()
    assert [case.id for case in loaded.cases] == ["a-r1", "a-r2", "b-r1", "b-r2"]
    assert loaded.reference_labels == ("1", "2")
    assert [loaded.reference_label(case) for case in loaded.cases] == ["1", "2", "1", "2"]
    assert loaded.cases_by_id["b-r2"].references == ("v0", "v1")


def test_where_all_other_views_are_references_the_axis_has_one_label(protocol_files: Any) -> None:
    loaded = protocol_files.load(reference_counts="all", regime="many-view")
    assert loaded.reference_labels == ("all",)
    assert {loaded.reference_label(case) for case in loaded.cases} == {"all"}


@pytest.mark.parametrize(
    ("old", "new", "at", "words"),
    [
        ("metrics: [psnr", "metrix: [psnr", "metrix", ["unknown key 'metrix'", "Did you mean 'metrics'?"]),
        ("  fit:", "  fitt:", "fitt", ["unknown key 'fitt'", "Did you mean 'fit'?"]),
        ("  reader:", "  raeder:", "raeder", ["unknown key 'raeder'", "Did you mean 'reader'?"]),
        ("policy: given", "policy: normalised\n  ruel: x", "ruel", ["unknown key 'ruel'", "Did you mean 'rule'?"]),
        ("policy: given", "rule: focus-unit", "cameras", ["the key 'policy' is missing in 'cameras'"]),
        ("policy: given", "policy: givn", "cameras", ["'givn'", "'given'"]),
        ("policy: given", "policy: normalised\n  rule: focus", "rule", ["no rule is named 'focus'", "'focus-unit'"]),
        ("policy: given", "policy: scale-sweep\n  scales: [1, 1.0]", "scales", ["each once"]),
        ("policy: given", "policy: scale-sweep\n  scales: [-1]", "scales", ["'cameras.scales[0]' is -1"]),
        ("policy: given", "policy: scale-sweep\n  scales: []", "scales", ["one scale or more"]),
        ("samples: 1", "samples: one", "samples", ["'samples' is \"one\"", "valid integer"]),
        ("samples: 1", "samples: 0", "samples", ["greater than or equal to 1"]),
        ("seed: 7", "seed: -1", "seed", ["greater than or equal to 0"]),
        ("seed: 7\n", "", "schema_version", ["the key 'seed' is missing"]),
        ("schema_version: 1", "schema_version: 2", "schema_version", ["'schema_version' is '2'"]),
        (
            "schema_version: 1",
            'schema_version: "1"',
            "schema_version",
            ["is the text '1'; expected 1. Write it without"],
        ),
        (
            "name: tiny\nversion",
            "name: my tiny\nversion",
            "name",
            ["letters, digits and _ . + -, with / between parts"],
        ),
        ("reader: transforms", "reader: transform", "reader", ["no reader is named 'transform'", "'transforms'"]),
        ("root: scenes", "root: ../scenes", "root", ["'../scenes' leaves the data directory"]),
        ("root: scenes", "root: /scenes", "root", ["'/scenes' leaves the data directory"]),
        ("name: tiny\nversion", "name: ../tiny\nversion", "name", ["begins with a dot"]),
        ("level: object", "level: objekt", "level", ["'objekt'", "Did you mean 'object'?"]),
        ("counts: [1, 2]", "counts: [2, 1]", "reference_counts", ["ascending"]),
        ("counts: [1, 2]", "counts: [1, 1]", "reference_counts", ["each once"]),
        ("counts: [1, 2]", "counts: []", "reference_counts", ["one number or more"]),
        ("counts: [1, 2]", "counts: any", "reference_counts", ["a list or 'all'"]),
        ("counts: [1, 2]", "counts: [1]", "reference_counts", ["case 'a-r2' has 2 references", "[1]"]),
        ("counts: [1, 2]", "counts: [1, 2, 3]", "reference_counts", ["no case with 3 references for the scene 'a'"]),
        ("kbench-v1", "kbench-v2", "convention", ["'kbench-v2'", "Did you mean 'kbench-v1'?"]),
        ("[psnr, ssim]", "[psnr, lpips]", "metrics", ["'lpips' is not in the convention", "lpips-"]),
        ("[lpips-alex]", "[lpips-alx]", "optional_metrics", ["Did you mean 'lpips-alex'?"]),
        ("[lpips-alex]", "[psnr]", "optional_metrics", ["'psnr' is named twice"]),
        ("metrics: [psnr, ssim]", "metrics: []", "metrics", ["at least 1"]),
        ("sources: [a test]", "sources: []", "sources", ["at least 1"]),
        ("sha256: ", "sha256: x", "sha256", ["'index.sha256'"]),
        ("background: white", "background: [1, 2, 300]", "background", ["background"]),
        ("filter: lanczos", "filter: lancoz", "filter", ["'lancoz'", "Did you mean 'lanczos'?"]),
        ("size: [16, 12]", "size: [16, 0]", "size", ["'preparation.size[1]'"]),
        ("fit: cover-crop", "fit: none-crop", "fit", ["'none-crop'"]),
        ("title: Two scenes", "title: Two\ntitle: Three", "title: Three", ["duplicate key 'title'"]),
    ],
)
def test_a_bad_protocol_is_refused_with_its_line(
    protocol_files: Any, old: str, new: str, at: str, words: list[str]
) -> None:
    path = protocol_files.write(replace=[(old, new)])
    lines = path.read_text().splitlines()
    expected = next(number for number, line in enumerate(lines, start=1) if line.lstrip().startswith(at))
    message = refusal(path)
    assert message.startswith(f"{path}:{expected}: "), message
    for word in words:
        assert word in message, message


def test_a_missing_index_is_named(protocol_files: Any) -> None:
    path = protocol_files.write()
    (path.parent / "index.json").unlink()
    assert "index.json: no such file; expected the case index that the protocol names" in refusal(path)


def test_a_wrong_index_hash_gives_both(protocol_files: Any) -> None:
    path = protocol_files.write(index={"file": "index.json", "sha256": "0" * 64})
    message = refusal(path)
    assert "0" * 64 in message and "Restore the frozen index" in message and "sha256 " in message


def test_a_target_that_is_a_reference_needs_as_published(protocol_files: Any) -> None:
    leak = Case(id="a-r2", scene="a", references=("v0", "v1"), targets=("t/0", "v1"))
    keep = Case(id="a-r1", scene="a", references=("v0",), targets=("t/0", "v1"))
    message = refusal(protocol_files.write(cases=[keep, leak]))
    assert "case 'a-r2' has the view 'v1' among its references and its targets" in message
    assert "as-published" in message
    assert protocol_files.load(cases=[keep, leak], targets="as-published").hash


def test_a_missing_file_and_an_unknown_name_are_different_mistakes(tmp_path: Path) -> None:
    assert "no such file; expected a protocol file" in refusal(tmp_path / "none.yaml")
    # A path of the checkout means nothing where the package was installed from a wheel; the name does.
    message = refusal(tmp_path / "protocols/real/llff-few.yaml")
    assert "no such file" in message and "named 'real/llff-few', without a path and .yaml" in message
    with pytest.raises(BenchError, match=r"protocol 'real/llff-fwe'.*Did you mean 'real/llff-few'\?"):
        load_protocol("real/llff-fwe")


# What its hash covers


@given(st.randoms(use_true_random=False), st.text("# :x-", max_size=5))
def test_order_comments_and_style_do_not_change_the_hash(rng: random.Random, words: str) -> None:
    def shuffle(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        return {key: shuffle(node[key]) for key in rng.sample(list(node), len(node))}

    lines = render_yaml(shuffle(FIELDS)).splitlines()
    text = "\n\n".join(f"#{words}\n{line}   # {words}" for line in lines)
    assert protocol_hash(parse_yaml_record(text, Protocol, where="p.yaml"), INDEX) == BASE


def test_flow_style_and_written_out_defaults_do_not_change_the_hash() -> None:
    assert protocol_hash(parse_yaml_record(json.dumps(FIELDS, indent=1), Protocol, where="p.yaml"), INDEX) == BASE
    without = {key: value for key, value in FIELDS.items() if key != "known_problems"}
    assert protocol_hash(parse(without), INDEX) == BASE
    whole, decimal = ({"policy": "scale-sweep", "scales": [scale]} for scale in (1, 1.0))
    assert protocol_hash(parse(changed("cameras", whole)), INDEX) == protocol_hash(
        parse(changed("cameras", decimal)), INDEX
    )


UNSCIENTIFIC = {
    "title": "Other",
    "sources": ["other"],
    "known_problems": ["other"],
    "index": {"file": "moved/index.json", "sha256": "2" * 64},
}


@pytest.mark.parametrize("field", sorted(UNHASHED_FIELDS))
def test_words_and_places_do_not_change_the_hash(field: str) -> None:
    assert protocol_hash(parse(changed(field, UNSCIENTIFIC[field])), INDEX) == BASE


SCIENTIFIC: dict[str, Any] = {
    "name": "tiny2",
    "version": 2,
    "level": "scene",
    "regime": "many-view",
    "dataset.name": "other",
    "dataset.reader": "colmap",
    "dataset.root": "other",
    "dataset.revision": "r2",
    "reference_counts": [1, 2, 3],
    "preparation.size": [16, 16],
    "preparation.fit": "stretch",
    "preparation.filter": "bicubic",
    "preparation.antialias": False,
    "preparation.background": "black",
    "preparation.alpha": "drop",
    "cameras": {"policy": "normalised", "rule": "focus-unit"},
    "convention": "other-v1",
    "metrics": ["psnr"],
    "optional_metrics": [],
    "samples": 2,
    "seed": 8,
    "targets": "as-published",
}


@pytest.mark.parametrize("path", sorted(SCIENTIFIC))
def test_every_scientific_field_changes_the_hash(path: str) -> None:
    assert protocol_hash(parse(changed(path, SCIENTIFIC[path])), INDEX) != BASE


def test_no_field_is_forgotten_by_these_tests() -> None:
    tested = {path.split(".")[0] for path in SCIENTIFIC} | UNHASHED_FIELDS | {"schema_version"}
    assert tested == set(Protocol.model_fields)
    for part in ("dataset", "preparation"):
        nested = {path.split(".")[1] for path in SCIENTIFIC if path.startswith(f"{part}.")}
        assert nested == set(FIELDS[part])


@pytest.mark.parametrize(
    "case",
    [
        {"id": "a-r1b"},
        {"scene": "b"},
        {"references": ("v1",)},
        {"targets": ("t0",)},
        {"targets": ("t1", "t0")},
    ],
)
def test_every_part_of_a_case_changes_the_hash(case: dict[str, Any]) -> None:
    other = INDEX.model_copy(update={"cases": (CASE.model_copy(update=case),)})
    assert protocol_hash(parse(FIELDS), other) != BASE


def test_an_image_hash_changes_the_hash() -> None:
    other = INDEX.model_copy(update={"image_sha256": {"a": {"v0": "2" * 64}}})
    assert protocol_hash(parse(FIELDS), other) != BASE


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_cases_does_not_change_the_hash(order: list[str]) -> None:
    def index(names: list[str]) -> CaseIndex:
        return CaseIndex(
            schema_version=1,
            cases=tuple(CASE.model_copy(update={"id": name}) for name in names),
            image_sha256={},
            camera_sha256={},
        )

    protocol = parse(FIELDS)
    assert protocol_hash(protocol, index(order)) == protocol_hash(protocol, index(sorted(order)))


# How it is found


def test_shipped_protocols_are_found_by_name_and_name_themselves() -> None:
    shipped = find_protocols()
    assert "real/llff-few" in shipped
    for name in shipped:
        assert read_protocol(name).protocol.name == name
    assert not [name for name in shipped if name.startswith("suites/")]


def test_protocols_are_found_in_any_folder(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "y.yaml").touch()
    assert find_protocols(tmp_path) == {"x/y": tmp_path / "x" / "y.yaml"}


# Protocols whose view ids the user brings


def test_a_pending_protocol_is_read_but_not_loaded() -> None:
    protocol = read_protocol("seva/wildrgbd-oh").protocol
    assert isinstance(protocol.index, PendingIndex)
    assert protocol.index.expected.targets == (18, 15) and protocol.reference_counts == (3, 6)
    with pytest.raises(PendingError) as caught:
        load_protocol("seva/wildrgbd-oh")
    assert caught.value.found == "its view ids are pending"
    assert "wildgbd/hard, from benchmark.zip" in caught.value.expected
    assert "kbench import-split seva FILE --protocol seva/wildrgbd-oh -o seva-wildrgbd-oh.yaml" in caught.value.fix


PENDING = {
    "ids": "pending",
    "completed_by": "seva",
    "entry": "llff",
    "obtain": "a zip",
    "expected": {"scenes": 8, "targets": None},
}


def test_where_the_ids_come_from_is_no_part_of_the_hash() -> None:
    frozen = parse({**FIELDS, "index": {"file": "a.json", "sha256": "0" * 64}})
    origin = {"kind": "seva", "file": "benchmark.zip", "sha256": "1" * 64}
    completed = parse({**FIELDS, "index": {"file": "b.json", "sha256": "2" * 64, "completed_from": origin}})
    pending = parse({**FIELDS, "index": PENDING})
    assert fields_hash(frozen) == fields_hash(completed) == fields_hash(pending)
    assert "completed_from" not in frozen.model_dump(mode="json")["index"]
    assert completed.model_dump(mode="json")["index"]["completed_from"] == origin


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ({**PENDING, "ids": "known"}, ["index.ids", "pending"]),
        ({**PENDING, "expected": {"scenes": 8, "targets": [3]}}, ["index.expected.targets", "2 numbers"]),
        ({**PENDING, "expected": {"scenes": 0, "targets": None}}, ["index.expected.scenes"]),
        ({key: value for key, value in PENDING.items() if key != "obtain"}, ["'obtain' is missing"]),
        ({"file": "a.json", "sha256": "0" * 64, "fille": "b"}, ["unknown key 'fille'", "'file'"]),
    ],
)
def test_a_wrong_index_is_refused(index: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(BenchError) as caught:
        parse({**FIELDS, "index": index})
    for word in words:
        assert word in str(caught.value)
