"""`kbench metrics`, and scoring under several conventions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kaleido_bench.conventions import find_conventions, load_convention
from tests.cli.conftest import Kbench


@pytest.fixture
def run(tiny: Path, kbench: Kbench) -> Path:
    words = ["run", tiny / "tiny.yaml", "--model", "mean", "--data", tiny / "data", "--out", tiny / "runs"]
    assert kbench(*words).code == 0
    return tiny / "runs/tiny/mean"


@pytest.mark.parametrize("name", sorted(find_conventions()))
def test_show_has_everything_a_reader_must_know(kbench: Kbench, name: str) -> None:
    convention, shown = load_convention(name), kbench("metrics", "show", name)
    assert shown.code == 0, shown.err
    assert convention.hash in shown.out and all(source in shown.out for source in convention.source)
    assert convention.quirk is None or convention.quirk in shown.out
    assert all(entry.why in shown.out for entry in convention.unset)
    assert ("unset" in shown.out) == bool(convention.unset)
    document = json.loads(kbench("metrics", "show", name, "--json").out)
    assert document["hash"] == convention.hash
    assert [entry["field"] for entry in document["unset"]] == [entry.field for entry in convention.unset]


def test_show_of_an_unknown_convention(kbench: Kbench) -> None:
    ended = kbench("metrics", "show", "3gds")
    assert ended.code == 2 and "Did you mean '3dgs'?" in ended.err


def test_diff_names_the_step_that_makes_the_gap(tiny: Path, kbench: Kbench, run: Path) -> None:
    words = ["metrics", "diff", "kbench-v1", "3dgs", "--run", run, "--data", tiny / "data"]
    ended = kbench(*words)
    assert ended.code == 0, ended.err
    lines = {tuple(line.split()[:2]): line for line in ended.out.splitlines() if line}
    assert "ssim.border: valid -> zero" in lines["ssim", "1"]
    assert lines["psnr", "1"].split()[4:] == ["+0.0000", "-", "-"]
    document = json.loads(kbench(*words, "--json").out)
    ssim = next(each for each in document["differences"] if (each["metric"], each["references"]) == ("ssim", "3"))
    assert (document["first"]["name"], document["second"]["name"], ssim["most"]) == ("kbench-v1", "3dgs", "ssim.border")
    assert ssim["gap"] == ssim["second"] - ssim["first"]
    assert {step["name"]: step["change"] for step in ssim["steps"]}["ssim.border"] == pytest.approx(ssim["gap"])


def test_diff_under_an_unknown_convention_or_run(tiny: Path, kbench: Kbench, run: Path) -> None:
    ended = kbench("metrics", "diff", "kbench-v1", "nobody", "--run", run, "--data", tiny / "data")
    assert ended.code == 2 and "'nobody'" in ended.err
    ended = kbench("metrics", "diff", "kbench-v1", "3dgs", "--run", tiny / "nowhere", "--data", tiny / "data")
    assert ended.code == 2 and "nowhere" in ended.err


def test_score_under_several_conventions(tiny: Path, kbench: Kbench, run: Path) -> None:
    before = (run / "result.json").read_bytes()
    ended = kbench("score", run, "--data", tiny / "data", "--convention", "3dgs,seva,kbench-v1", "--json")
    assert ended.code == 0, ended.err
    sections = json.loads(ended.out)["sections"]
    assert [section["convention"] for section in sections] == ["3dgs", "seva", "kbench-v1"]
    assert sections[1]["convention_hash"] == load_convention("seva").hash
    assert any(note.startswith("seva: reduction is unset") for note in sections[1]["notes"])
    assert sections[2]["notes"] == []
    assert (run / "result.json").read_bytes() == before
    for name in ("3dgs", "seva"):
        assert json.loads((run / f"scores/{name}.json").read_text())["convention"]["name"] == name
        assert kbench("table", run, "--convention", name).code == 0


@pytest.mark.parametrize("names", ["kbench-v1,", "3dgs,3dgs"])
def test_a_list_of_conventions_that_is_none(tiny: Path, kbench: Kbench, run: Path, names: str) -> None:
    ended = kbench("score", run, "--data", tiny / "data", "--convention", names)
    assert ended.code == 2 and "--convention" in ended.err


def test_show_counts_the_masks_that_are_frozen(kbench: Kbench) -> None:
    assert "56 images, 56 cameras, 28 mask files of 56 views, by sha256" in kbench("show", "real/objects-masked").out
    assert "mask files of" not in kbench("show", "real/objects-few").out
