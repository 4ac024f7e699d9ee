"""Names for runs of one label: the shortest ends of their paths that differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaleido_bench.cli.labels import name_differences


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/tiny/mean", "runs-2/tiny/mean"], ["runs", "runs-2"]),
        (["x/tiny/mean", "x/y/tiny/mean"], ["x", "y"]),
        (["a/r/t/mean", "b/r/t/mean", "c/s/t/mean"], ["a/r", "b/r", "c/s"]),
        (["t/mean", "t/mean-2"], ["mean", "mean-2"]),
    ],
)
def test_the_shortest_ends_that_differ(paths: list[str], names: list[str]) -> None:
    assert name_differences([Path(path) for path in paths]) == names
