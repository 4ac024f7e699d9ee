"""Which items a protocol asks for, which of them a call makes, and their seeds."""

from __future__ import annotations

from typing import Any

import pytest

from kaleido_bench.cases import Case
from kaleido_bench.errors import BenchError
from kaleido_bench.items import Deviations, WorkItem, item_seed, plan_items, select_items
from kaleido_bench.protocol import LoadedProtocol


@pytest.fixture
def loaded(protocol_files: Any) -> LoadedProtocol:
    return protocol_files.load()


def test_every_case_is_planned_once(loaded: LoadedProtocol) -> None:
    assert [item.key for item in plan_items(loaded)] == ["a-r1", "a-r2", "b-r1", "b-r2"]


def test_samples_and_scales_multiply_and_have_their_own_folders(protocol_files: Any) -> None:
    loaded = protocol_files.load(samples=2, cameras={"policy": "scale-sweep", "scales": [0.5, 1]})
    keys = [item.key for item in plan_items(loaded)]
    assert keys[:4] == ["a-r1~x0.5", "a-r1~x1", "a-r1~s1~x0.5", "a-r1~s1~x1"]
    assert len(keys) == len(set(keys)) == 16
    assert len(plan_items(loaded, samples=1)) == 8


def test_deviations_choose_items(loaded: LoadedProtocol) -> None:
    def keys(**choice: Any) -> list[str]:
        return [item.key for item in select_items(loaded, Deviations(**choice))]

    assert keys() == ["a-r1", "a-r2", "b-r1", "b-r2"] and not Deviations().any
    assert keys(limit=3) == ["a-r1", "a-r2", "b-r1"]
    assert keys(scenes=("b",)) == ["b-r1", "b-r2"]
    assert keys(reference_counts=(2,)) == ["a-r2", "b-r2"]
    assert keys(scenes=("b",), reference_counts=(1,), samples=2) == ["b-r1", "b-r1~s1"]
    assert all(Deviations(**choice).any for choice in ({"limit": 1}, {"scenes": ("a",)}, {"samples": 1}))


def test_a_choice_that_does_not_exist_is_refused(loaded: LoadedProtocol) -> None:
    with pytest.raises(BenchError, match=r"--scenes: 'c'; expected one of a, b"):
        select_items(loaded, Deviations(scenes=("a", "c")))
    with pytest.raises(BenchError, match=r"--references: '3'; expected one of 1, 2"):
        select_items(loaded, Deviations(reference_counts=(3,)))


def test_a_seed_depends_on_protocol_case_sample_and_seed_alone() -> None:
    case = Case(id="a-r1", scene="a", references=("v",), targets=("t",))
    base = item_seed("h", WorkItem(case, 0, None), 7)
    assert 0 <= base < 2**64
    assert base == item_seed("h", WorkItem(case, 0, 0.5), 7), "an oracle sweep compares scales under the same noise"
    others = [
        item_seed("g", WorkItem(case, 0, None), 7),
        item_seed("h", WorkItem(case.model_copy(update={"id": "a-r2"}), 0, None), 7),
        item_seed("h", WorkItem(case, 1, None), 7),
        item_seed("h", WorkItem(case, 0, None), 8),
    ]
    assert len({base, *others}) == 5
    # The value itself: a change of the formula changes every generative result.
    assert base == 2828798750754566935
