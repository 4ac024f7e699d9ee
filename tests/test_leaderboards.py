"""The results that ship: each is complete, and of the protocol and convention that ship beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaleido_bench.conventions import load_convention
from kaleido_bench.protocol import load_protocol, read_protocol
from kaleido_bench.score.results.records import load_result
from kaleido_bench.shipped import find_protocols

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "leaderboards").glob("**/results/*.json"))


def test_there_are_results_of_every_protocol_whose_data_is_at_hand() -> None:
    scored = {str(path.parents[1].relative_to(ROOT / "leaderboards")) for path in RESULTS}
    roots = {name: read_protocol(name).protocol.dataset.root for name in find_protocols()}
    assert scored == {name for name, root in roots.items() if root == "scenes" or root.startswith("package:")}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: str(path.relative_to(ROOT / "leaderboards")))
def test_a_shipped_result_belongs_to_what_ships(path: Path) -> None:
    result = load_result(path)
    loaded = load_protocol(str(path.parents[1].relative_to(ROOT / "leaderboards")))
    assert result.protocol.hash == loaded.hash
    assert result.convention.hash == load_convention(loaded.protocol.convention).hash
    assert result.complete and not result.partial
    assert path.stem == result.model.model
