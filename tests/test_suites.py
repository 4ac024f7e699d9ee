"""Suites list protocols that exist; what they stand for is run, and what cannot be run is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaleido_bench.errors import BenchError
from kaleido_bench.importers.archives import open_archive
from kaleido_bench.importers.completion import complete_pending, write_completed
from kaleido_bench.protocol import PendingError, PendingIndex, read_protocol
from kaleido_bench.shipped import find_protocols, find_suites
from kaleido_bench.suites import expand_protocols, find_completed, load_suite
from tests.importers.published import split_members, write_zip

NAMES = ("eschernet", "many-view", "objects", "reconfusion", "scenes", "seva", "two-view")


def test_the_suites_that_ship() -> None:
    assert set(find_suites()) >= set(NAMES)


@pytest.mark.parametrize("name", sorted(find_suites()))
def test_a_suite_lists_protocols_that_exist(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert set(suite.protocols) <= set(find_protocols())


@pytest.mark.parametrize("name", sorted(find_suites()))
def test_a_suite_with_a_leaky_protocol_has_its_twin_too(name: str) -> None:
    listed, shipped = set(load_suite(name).protocols), set(find_protocols())
    twins = {f"{protocol}-strict-novel" for protocol in listed} & shipped
    assert twins <= listed


def test_the_seva_suite_is_all_of_seva() -> None:
    assert set(load_suite("seva").protocols) == {name for name in find_protocols() if name.startswith("seva/")}


def test_no_suite_has_the_name_of_a_protocol() -> None:
    assert not set(find_suites()) & set(find_protocols())


def test_an_unknown_suite() -> None:
    with pytest.raises(BenchError, match="Did you mean 'seva'"):
        load_suite("sewa")


def test_words_that_are_no_suite_stay_what_they_are(tmp_path: Path) -> None:
    expanded = expand_protocols(["quickstart", "mine.yaml", "no-such-thing", "quickstart"], None)
    assert expanded.protocols == ("quickstart", "mine.yaml", "no-such-thing")
    assert expanded.not_run == () and expanded.from_suites == frozenset()


def test_a_suite_is_its_protocols_and_names_the_pending() -> None:
    expanded = expand_protocols(["reconfusion", "quickstart"], None)
    assert expanded.protocols == ("quickstart",)
    assert [each.name for each in expanded.not_run] == list(load_suite("reconfusion").protocols)
    assert all("import-split reconfusion" in each.reason for each in expanded.not_run)


def test_a_pending_protocol_by_its_own_name_is_an_error() -> None:
    with pytest.raises(PendingError, match="import-split seva"):
        expand_protocols(["seva/llff-r"], None)


@pytest.fixture
def completed(tmp_path: Path) -> Path:
    """A folder with seva/llff-r, completed."""
    members = split_members("llff", scenes=[f"scene_{number}" for number in range(8)], counts=(3,))
    record = read_protocol("seva/llff-r").protocol
    assert isinstance(record.index, PendingIndex)
    archive = open_archive(write_zip(tmp_path / "benchmark.zip", members))
    out = tmp_path / "mine" / "llff.yaml"
    write_completed(complete_pending(record, record.index, archive, "seva", out=out), out)
    return out


def test_a_completed_protocol_takes_the_place_of_the_pending_one(completed: Path) -> None:
    assert set(find_completed(completed.parent)) == {"seva/llff-r"}
    by_name = expand_protocols(["seva/llff-r"], completed.parent)
    assert by_name.protocols == (str(completed),) and by_name.from_suites == frozenset()
    by_suite = expand_protocols(["seva"], completed.parent)
    frozen = {"seva/re10k-p", "seva/re10k-p-strict-novel"}
    assert set(by_suite.protocols) == by_suite.from_suites == {str(completed), *frozen}
    assert len(by_suite.not_run) == len(load_suite("seva").protocols) - 3


def test_a_completed_protocol_of_other_fields_is_refused(completed: Path) -> None:
    completed.write_text(completed.read_text().replace("size: [576, 576]", "size: [512, 512]"))
    with pytest.raises(BenchError, match="other fields than the pending protocol"):
        expand_protocols(["seva"], completed.parent)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no such folder"):
        expand_protocols(["seva"], tmp_path / "nowhere")
