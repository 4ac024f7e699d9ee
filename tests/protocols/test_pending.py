"""The protocols whose ids the user brings: what is shipped is what the script writes."""

from __future__ import annotations

from pathlib import Path

from kaleido_bench.protocol import PendingIndex, read_protocol
from tests.protocols.scripts import load_script

FOLDER = Path(__file__).resolve().parents[2] / "protocols"
ROOMS = ("seva", "reconfusion", "viewcrafter", "4dim")


def test_the_script_writes_the_shipped_bytes(tmp_path: Path) -> None:
    load_script("build_pending").main(["--out", str(tmp_path)])
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.yaml")}
    shipped = {
        path.relative_to(FOLDER)
        for room in ROOMS
        for path in (FOLDER / room).rglob("*.yaml")
        if isinstance(read_protocol(path).protocol.index, PendingIndex)
    }
    assert set(written) == shipped
    for path, data in written.items():
        assert (FOLDER / path).read_bytes() == data, path
