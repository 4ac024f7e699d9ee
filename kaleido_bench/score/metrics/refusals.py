"""A convention may ask for more than this version can do. What it asks for is done or refused, never ignored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from kaleido_bench.errors import BenchError

Value = TypeVar("Value")


def require_implemented(field: str, value: Value | None, implemented: Sequence[Value | None]) -> Value:
    """Refuse a value of a convention's field that no code here stands for.

    Args:
        field: its path in the convention, like `psnr.aggregation`.
    Returns:
        `value`.
    Raises:
        BenchError: `value` is not one of `implemented`.
    """
    if value is None or value not in implemented:
        raise BenchError(
            f"convention: {field}",
            f"{value!r}, which this version cannot score",
            expected=" or ".join(repr(item) for item in implemented),
            fix="Score with another convention; see `kbench list conventions`.",
        )
    return value
