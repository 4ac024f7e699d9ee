"""The list of shipped protocols is quick and right: what it says is what loading them says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from kaleido_bench import catalogue
from kaleido_bench.catalogue import SUMMARY, list_catalogue, render_summary, summarise_protocol
from kaleido_bench.shipped import find_protocols, protocols_folder

SMALL = ["quickstart", "real/llff-few", "seva/wildrgbd-oh"]


def test_the_summary_knows_every_shipped_protocol_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        pytest.fail(f"{path} is not in {SUMMARY} as it is: run protocols/build_summary.py")

    monkeypatch.setattr(catalogue, "summarise_protocol", refuse)
    assert [each.name for each in list_catalogue()] == list(find_protocols())


@pytest.mark.parametrize("name", [*SMALL, "re10k/pixelsplat-2v", "dl3dv/lagernvs-6v", "llff/regnerf"])
def test_the_summary_says_what_the_protocol_is(name: str) -> None:
    listed = {each.name: each for each in list_catalogue()}
    assert listed[name] == summarise_protocol(find_protocols()[name])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three protocols with their summary."""
    for name in SMALL:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(protocols_folder() / f"{name}.yaml", tmp_path / f"{name}.yaml")
    shutil.copytree(protocols_folder() / "indices" / "real", tmp_path / "indices" / "real")
    shutil.copy(protocols_folder() / "indices" / "quickstart.json", tmp_path / "indices" / "quickstart.json")
    (tmp_path / SUMMARY).write_bytes(render_summary(tmp_path))
    return tmp_path


def test_a_changed_protocol_is_counted_anew(folder: Path) -> None:
    path = folder / "real" / "llff-few.yaml"
    path.write_text(path.read_text().replace('title: "Two', 'title: "Twice two'))
    listed = {each.name: each for each in list_catalogue(folder)}
    assert listed["real/llff-few"].title.startswith("Twice two")
    assert listed["quickstart"].title == summarise_protocol(find_protocols()["quickstart"]).title


@pytest.mark.parametrize("damage", ["missing", "other columns"])
def test_a_summary_of_another_version_is_passed_over(damage: str, folder: Path) -> None:
    whole = list_catalogue(folder)
    if damage == "missing":
        (folder / SUMMARY).unlink()
    else:
        entries = [{**entry, "more": 1} for entry in json.loads((folder / SUMMARY).read_text())]
        (folder / SUMMARY).write_text(json.dumps(entries))
    assert list_catalogue(folder) == whole


def test_pending_protocols_say_what_is_known() -> None:
    listed = {each.name: each for each in list_catalogue()}
    hard = listed["seva/wildrgbd-oh"]
    assert (hard.ids, hard.scenes, hard.cases, hard.targets) == ("pending", 20, 40, 20 * (18 + 15))
    assert (listed["seva/llff-r"].scenes, listed["seva/llff-r"].targets) == (8, None)
    dense = listed["mipnerf360/dense"]
    assert (dense.references, dense.scenes, dense.cases) == (("all",), 9, 9)
