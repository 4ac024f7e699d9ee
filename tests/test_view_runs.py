"""View lists as short text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleido_bench.records import RefusedError
from kaleido_bench.view_runs import pack_views, unpack_views

NUMBERS = st.lists(st.integers(0, 1200), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("views", "text"),
    [
        (["7"], "7"),
        (["0", "5", "12", "13", "14"], "0 5 12..14"),
        (["1", "2"], "1 2"),
        (["8", "9", "10", "11"], "8..11"),
        (["0008", "0009", "0010"], "0008..0010"),
        (["098", "099", "100"], "098..100"),
        (["09", "10", "11"], "09..11"),
        (["99", "100", "101"], "99..101"),
        (["3", "2", "1"], "3 2 1"),
        (["1", "02", "03"], "1 02 03"),
        (["train/r_0", "train/r_1", "train/r_2"], "train/r_0 train/r_1 train/r_2"),
    ],
)
def test_what_is_written(views: list[str], text: str) -> None:
    assert pack_views(views) == text
    assert unpack_views(text) == tuple(views)


@given(NUMBERS, st.integers(0, 6))
def test_any_list_comes_back(numbers: list[int], width: int) -> None:
    views = [str(number).zfill(width) for number in sorted(numbers)]
    assert unpack_views(pack_views(views)) == tuple(views)


@given(st.lists(st.sampled_from(["0", "1", "2", "00", "01", "9", "10", "09", "a", "r_1"]), min_size=1, max_size=12))
def test_mixed_spellings_come_back(views: list[str]) -> None:
    assert unpack_views(pack_views(views)) == tuple(views)


@pytest.mark.parametrize("text", ["5..3", "a..b", "1...3", "0..999999999", "08..9", "8..09", "..", "1..", "01..100"])
def test_runs_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="the run"):
        unpack_views(text)


@pytest.mark.parametrize("text", ["", "1  2", " 1", "1 "])
def test_spaces_too_many_are_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="a space too many"):
        unpack_views(text)
