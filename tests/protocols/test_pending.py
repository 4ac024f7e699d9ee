"""The protocols whose ids the user brings: what is shipped is what the script writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "protocols"
ROOMS = ("seva", "reconfusion", "viewcrafter", "4dim")


def test_the_script_writes_the_shipped_bytes(tmp_path: Path) -> None:
    specification = importlib.util.spec_from_file_location("build_pending", FOLDER / "build_pending.py")
    assert specification is not None and specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    script.main(["--out", str(tmp_path)])
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.yaml")}
    shipped = {path.relative_to(FOLDER) for room in ROOMS for path in (FOLDER / room).rglob("*.yaml")}
    assert set(written) == shipped
    for path, data in written.items():
        assert (FOLDER / path).read_bytes() == data, path
