"""The errors a person sees."""

from __future__ import annotations

import copy
import pickle

import pytest

from kaleido_bench.errors import BenchError, IncompleteError


class OwnError(BenchError):
    """A method's own kind of BenchError, with a constructor of its own."""

    def __init__(self, step: int) -> None:
        super().__init__(f"a.yaml:{step}", "7", expected="8", fix="Write 8.")


@pytest.mark.parametrize("error", [BenchError("a.yaml:3", "7", expected="8", fix="Write 8."), OwnError(3)])
def test_an_error_survives_the_way_between_processes(error: BenchError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error) and str(again) == str(error) == "a.yaml:3: 7; expected 8. Write 8."
        assert (again.where, again.found, again.expected, again.fix) == ("a.yaml:3", "7", "8", "Write 8.")


def test_something_incomplete_survives_it_too() -> None:
    assert str(pickle.loads(pickle.dumps(IncompleteError("2 of 3")))) == "2 of 3"


def test_a_message_is_one_line() -> None:
    assert "\n" not in str(BenchError("a\nb", "c\nd", expected="e\nf", fix="g\nh"))
