"""How views are chosen when a protocol is written."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleido_bench.data.cameras import Camera, build_camera
from kaleido_bench.splits import (
    choose_every,
    choose_linspace,
    choose_spread,
    describe_poses,
    nested_cases,
    order_references,
)


def look_along_z(x: float) -> Camera:
    c2w = np.eye(4)
    c2w[0, 3] = x
    return build_camera(c2w, [[10, 0, 5], [0, 10, 5], [0, 0, 1]], 10, 10, where="test")


def turned(angle: float) -> Camera:
    c2w = np.eye(4)
    c2w[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    return build_camera(c2w, [[10, 0, 5], [0, 10, 5], [0, 0, 1]], 10, 10, where="test")


@given(st.integers(1, 200), st.integers(1, 20))
def test_spread_is_distinct_sorted_and_even(count: int, wanted: int) -> None:
    chosen = choose_spread(count, wanted)
    assert len(chosen) == min(count, wanted) and chosen == sorted(set(chosen))
    assert chosen[0] >= 0 and chosen[-1] < count
    gaps = np.diff(chosen)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1


def test_spread_keeps_away_from_the_ends() -> None:
    assert choose_spread(12, 4) == [1, 4, 7, 10]
    assert choose_spread(11, 3) == [1, 5, 9]


def test_linspace_is_that_of_the_field() -> None:
    # fern: 17 training views; RegNeRF's and FreeNeRF's three are the first, the middle and the last.
    assert choose_linspace(17, 3) == [0, 8, 16]
    assert choose_linspace(29, 6) == [0, 6, 11, 17, 22, 28]


def test_every_8th() -> None:
    assert choose_every(20, 8) == [0, 8, 16]


def test_farthest_points_on_a_line() -> None:
    poses = describe_poses([look_along_z(x) for x in range(9)])
    # The target is at 4; the nearest candidates are 3 and 5 (the lower wins), then the far end, then the near end.
    assert order_references(poses, [0, 1, 2, 3, 5, 6, 7, 8], [4], 3) == [3, 8, 0]


def test_directions_count_when_centres_do_not_differ() -> None:
    poses = describe_poses([turned(angle) for angle in (0.0, 0.1, 0.2, 1.0, 3.0)])
    assert order_references(poses, [1, 2, 3, 4], [0], 2) == [1, 4]


@given(st.floats(0.001, 1000), st.floats(-100, 100))
def test_the_choice_does_not_depend_on_unit_and_origin(unit: float, origin: float) -> None:
    places = np.asarray([0.0, 1.0, 2.5, 4.7, 7.0, 11.0])
    plain = describe_poses([look_along_z(x) for x in places])
    moved = describe_poses([look_along_z(x * unit + origin) for x in places])
    assert order_references(plain, [0, 1, 3, 4, 5], [2], 4) == order_references(moved, [0, 1, 3, 4, 5], [2], 4)


@given(st.integers(0, 2**31), st.integers(2, 8))
def test_references_are_nested_and_distinct_and_no_targets(seed: int, wanted: int) -> None:
    rng = np.random.default_rng(seed)
    poses = rng.normal(size=(20, 6))
    targets = [int(i) for i in rng.choice(20, size=5, replace=False)]
    candidates = [i for i in range(20) if i not in targets]
    order = order_references(poses, candidates, targets, wanted)
    assert len(set(order)) == wanted and not set(order) & set(targets)
    assert order_references(poses, candidates, targets, wanted - 1) == order[:-1]


@pytest.mark.parametrize("count", [1, 2])
def test_nested_cases_are_prefixes(count: int) -> None:
    cases = nested_cases("s", ["p", "q", "r"], ["x"], (1, 2))
    assert (cases[count - 1].id, cases[count - 1].references) == (f"s-r{count}", ("p", "q")[:count])
    assert {case.targets for case in cases} == {("x",)}
    assert nested_cases("chair/one", ["p"], ["x"], (1,))[0].id == "chair_one-r1"
