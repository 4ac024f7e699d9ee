"""A target that is not what it should be stops a run before anything is predicted, not when all of it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaleido_bench.records import sha256_hex
from tests.cli.conftest import Kbench
from tests.cli.test_bad_input import check_one_line
from tests.predict.tiny import write_protocol


@pytest.mark.parametrize("frozen", [False, True])
def test_a_bad_target_is_found_before_predicting(tiny: Path, kbench: Kbench, frozen: bool) -> None:
    path = tiny / "data/scenes/arc/images/0005.png"
    pins = {"arc": {"0005": sha256_hex(path.read_bytes())}} if frozen else {}
    protocol = write_protocol(tiny / "tiny.yaml", image_sha256=pins)
    path.write_bytes(path.read_bytes()[:-300])
    words = ["--model", "mean", "--data", tiny / "data", "--out", tiny / "runs"]
    said = "differs from the one the protocol froze" if frozen else "unreadable image"
    check_one_line(kbench("run", protocol, *words), 2, ["0005.png: ", said])
    assert list((tiny / "runs").rglob("*.png")) == []
    # Predicting alone needs no target, and asks for none.
    assert kbench("predict", protocol, *words).code == 0
