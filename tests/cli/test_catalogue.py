"""The catalogue on the command line: pending protocols, imports, suites, published numbers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from kaleido_bench.protocol import PendingIndex, load_protocol, read_protocol
from kaleido_bench.shipped import find_protocols
from tests.cli.conftest import ROOT, Kbench
from tests.importers.published import split_members, write_index, write_zip
from tests.predict.tiny import write_scene

SCENES = [f"scene_{number}" for number in range(8)]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A benchmark.zip with the LLFF entry alone."""
    return write_zip(tmp_path / "benchmark.zip", split_members("llff", scenes=SCENES, counts=(1, 3)))


def test_list_marks_what_is_pending(kbench: Kbench) -> None:
    rows = {row["protocol"]: row for row in json.loads(kbench("list", "protocols", "--json").out)}
    assert rows["seva/llff-r"]["ids"] == "pending" and rows["quickstart"]["ids"] == "frozen"


def test_listing_the_catalogue_is_quick() -> None:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "kaleido_bench", "list", "protocols"], cwd=ROOT, check=True, capture_output=True
    )
    listing = time.perf_counter() - start
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "kaleido_bench", "--version"], cwd=ROOT, check=True, capture_output=True)
    # Measured beside the same program's start, because machines differ and are busy. Loading indices takes ten seconds.
    assert listing < 4 * (time.perf_counter() - start) + 0.5


def test_show_says_what_is_missing_and_what_completes_it(kbench: Kbench) -> None:
    text = kbench("show", "seva/llff-r").out
    for word in ("PENDING", "benchmark.zip", "kbench import-split seva FILE --protocol seva/llff-r", "scenes 8"):
        assert word in text
    document = json.loads(kbench("show", "seva/llff-r", "--json").out)
    assert document["ids"] == "pending" and "cases" not in document


def test_running_a_pending_protocol_is_one_error(kbench: Kbench, tmp_path: Path) -> None:
    for words in (["run"], ["run", "--dry-run"]):
        ended = kbench(*words, "seva/llff-r", "--model", "nearest", "--out", tmp_path)
        assert ended.code == 2 and ended.out == ""
        (line,) = ended.err.splitlines()
        assert "its view ids are pending" in line and "kbench import-split seva FILE --protocol seva/llff-r" in line


def test_import_split_completes_a_protocol(kbench: Kbench, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "llff.yaml"
    ended = kbench("import-split", "seva", archive, "--protocol", "seva/llff-r", "-o", out, "--json")
    assert ended.code == 0, ended.err
    (row,) = json.loads(ended.out)
    assert (row["protocol"], row["scenes"], row["cases"], row["targets"]) == ("seva/llff-r", 8, 8, 32)
    assert load_protocol(out).hash.startswith(row["hash"])
    shown = kbench("show", out).out
    assert "read from benchmark.zip" in shown and "published" in shown
    assert kbench("lint", out).code == 0
    again = kbench("import-split", "seva", archive, "--protocol", "seva/llff-r", "-o", out)
    assert again.code == 0


@pytest.mark.parametrize("told", ["option", "environment"])
def test_show_and_lint_find_a_completed_protocol_by_its_name(
    kbench: Kbench, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    assert kbench("import-split", "seva", archive, "--protocol", "seva/llff-r", "-o", mine / "llff.yaml").code == 0
    words = ["--completed", mine] if told == "option" else []
    if told == "environment":
        monkeypatch.setenv("KBENCH_PROTOCOLS", str(mine))
    document = json.loads(kbench("show", "seva/llff-r", "--json", *words).out)
    assert document["ids"] == "frozen" and document["counts"]["cases"] == 8
    assert json.loads(kbench("show", "seva/dtu-r", "--json", *words).out)["ids"] == "pending"
    suite = [line.split() for line in kbench("show", "seva", *words).out.splitlines()]
    assert {line[0]: line[3] for line in suite if line[:1] in (["seva/llff-r"], ["seva/dtu-r"])} == {
        "seva/llff-r": "completed",
        "seva/dtu-r": "pending",
    }
    rows = json.loads(kbench("lint", "seva/llff-r", "seva/dtu-r", "--json", *words).out)
    assert {row["protocol"]: row["code"] for row in rows} == {
        str(mine / "llff.yaml"): "not-pinned",
        "seva/dtu-r": "ids-pending",
    }
    assert kbench("show", "seva/llff-r", "--completed", tmp_path / "nowhere").code == 2


def test_a_completed_protocol_is_predicted_over_data_of_its_layout(
    kbench: Kbench, archive: Path, tmp_path: Path
) -> None:
    # docs/CLI_USAGE.md of Stability-AI/stable-virtual-camera: <scene>/transforms.json and <scene>/images/.
    for scene in SCENES:
        write_scene(tmp_path / "data" / "seva" / "llff" / scene, views=7)
    out = tmp_path / "llff.yaml"
    assert kbench("import-split", "seva", archive, "--protocol", "seva/llff-r", "-o", out).code == 0
    linted = kbench("lint", out, "--data", tmp_path / "data", "--json")
    assert linted.code == 0, linted.out
    words = ["--model", "nearest", "--data", tmp_path / "data", "--out", tmp_path / "runs"]
    ended = kbench("predict", out, *words)
    assert ended.code == 0, ended.err
    pictures = sorted((tmp_path / "runs" / "seva" / "llff-r" / "nearest" / "predictions").rglob("*.png"))
    assert len(pictures) == 8 * 4
    with Image.open(pictures[0]) as picture:
        assert picture.size == (576, 576)


def test_scenes_known_by_name_are_counted(kbench: Kbench, tmp_path: Path) -> None:
    names = load_pending("seva/tnt-l").expected.scene_names
    assert names == ("train", "truck")
    members = split_members("tnt-longlrm", scenes=["train", "lorry"], counts=(32,))
    archive = write_zip(tmp_path / "b.zip", members)
    ended = kbench("import-split", "seva", archive, "--protocol", "seva/tnt-l", "-o", tmp_path / "x.yaml", "--json")
    assert json.loads(ended.out)[0]["known scenes"] == "1 of 2"
    assert "165f5af8bfe32f70595a1c9393a6e442acf7af019998275144f605b89a306557" in kbench("show", "seva/dl3dv-o").out


def load_pending(name: str) -> PendingIndex:
    index = read_protocol(name).protocol.index
    assert isinstance(index, PendingIndex)
    return index


def test_import_split_completes_all_that_an_archive_holds(kbench: Kbench, archive: Path, tmp_path: Path) -> None:
    ended = kbench("import-split", "seva", archive, "-o", tmp_path / "mine", "--json")
    rows = {row["protocol"]: row for row in json.loads(ended.out)}
    assert ended.code == 1 and "23 of 25 are not completed" in ended.err
    assert rows["seva/llff-r"]["problem"] is None and rows["seva/llff-r-1"]["problem"] is None
    assert "no entry 'gso'" in rows["seva/gso-o"]["problem"]
    assert sorted(path.name for path in (tmp_path / "mine").glob("*.yaml")) == [
        "seva-llff-r-1.yaml",
        "seva-llff-r.yaml",
    ]


def test_import_split_of_an_index_like_another_protocol(kbench: Kbench, tmp_path: Path) -> None:
    index = write_index(tmp_path / "mine.json", {"5aca87f95a9412c6": ([58, 133], [84])})
    out = tmp_path / "mine.yaml"
    ended = kbench("import-split", "pixelsplat", index, "--like", "re10k/pixelsplat-2v", "-o", out)
    assert ended.code == 0, ended.err
    assert load_protocol(out).cases[0].targets == ("84",)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["sewa", "{zip}", "--protocol", "seva/llff-r", "-o", "{out}"], "'sewa'"),
        (["seva", "{zip}", "-o", "{out}"], "neither --protocol nor --like"),
        (["seva", "{zip}", "--protocol", "seva/llff-r", "--like", "quickstart", "-o", "{out}"], "beside --protocol"),
        (["seva", "{zip}", "--protocol", "quickstart", "-o", "{out}"], "its ids are there"),
        (["seva", "{zip}", "--protocol", "seva/lllff-r", "-o", "{out}"], "no protocol of that name"),
        (["seva", "{zip}", "--protocol", "seva/dtu-r", "-o", "{out}"], "no entry 'dtu'"),
        (["reconfusion", "{zip}", "--protocol", "seva/llff-r", "-o", "{out}"], "the split kind 'reconfusion'"),
        (["seva", "{zip}.gone", "--protocol", "seva/llff-r", "-o", "{out}"], "no such file"),
    ],
)
def test_wrong_imports_are_one_line(
    words: list[str], found: str, kbench: Kbench, archive: Path, tmp_path: Path
) -> None:
    filled = [word.format(zip=archive, out=tmp_path / "x.yaml") for word in words]
    ended = kbench("import-split", *filled)
    assert ended.code == 2 and not (tmp_path / "x.yaml").exists()
    (line,) = ended.err.splitlines()
    assert found in line


def test_suites_are_listed_and_shown(kbench: Kbench) -> None:
    rows = {row["suite"]: row for row in json.loads(kbench("list", "suites", "--json").out)}
    assert (rows["seva"]["protocols"], rows["seva"]["ids pending"]) == (27, 25)
    text = kbench("show", "seva").out
    assert text.startswith("seva: ") and "seva/wildrgbd-oh" in text and "pending" in text
    assert "seva/llff-r" in json.loads(kbench("show", "seva", "--json").out)["protocols"]


@pytest.mark.parametrize("words", [["run"], ["run", "--dry-run"], ["predict"]], ids=" ".join)
def test_a_suite_names_what_it_does_not_run(words: list[str], kbench: Kbench, tmp_path: Path) -> None:
    ended = kbench(*words, "reconfusion", "quickstart", "--model", "nearest", "--out", tmp_path, "--limit", 1)
    assert ended.code == 1
    assert "quickstart" in ended.out if words[0] == "run" else (tmp_path / "quickstart" / "nearest").is_dir()
    lines = [line for line in ended.err.splitlines() if line.startswith("not run: ")]
    assert [line.split(": ")[1] for line in lines] == [
        f"reconfusion/{name}" for name in ("re10k", "llff", "dtu", "co3d", "mipnerf360")
    ]
    assert all("; expected the ids of " in line and "With that as FILE, run" in line for line in lines)
    assert "not run: 5 of 6 protocols" in ended.err


def test_a_suite_names_protocols_whose_data_is_missing(kbench: Kbench, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    ended = kbench("run", "eschernet", "--model", "nearest", "--data", tmp_path / "data", "--out", tmp_path / "runs")
    assert ended.code == 1
    assert "not run: gso/eschernet" in ended.err and "no such folder" in ended.err


def test_published_numbers_say_whether_they_compare(kbench: Kbench) -> None:
    lines = kbench("show", "gso/eschernet").out.splitlines()
    row = next(line for line in lines if "EscherNet 6DoF  10 " in line)
    assert "27.75" in row and row.rstrip().endswith("YES")
    document = json.loads(kbench("show", "re10k/pixelsplat-2v", "--json").out)
    token = next(each for each in document["published"] if each["method"] == "TokenGS")
    assert token["not comparable because"] == ["from a secondary source", "convention unknown"]


def test_lint_of_all_says_each_fault_once(kbench: Kbench) -> None:
    ended = kbench("lint", "re10k/pixelsplat-2v", "dl3dv/depthsplat-6v", "dl3dv/lagernvs-6v", "--json")
    assert ended.code == 0
    rows = json.loads(ended.out)
    leaks = [row for row in rows if row["code"] == "target-is-reference"]
    assert [row["finding"] for row in leaks] == [
        "583 of 19422 targets (3.0 %) are also references, in 575 of 6474 scenes",
        "840 of 7000 targets (12.0 %) are also references, in 140 of 140 scenes",
    ]
    assert {row["protocol"] for row in rows if row["code"] == "rival-targets"} == {
        "dl3dv/depthsplat-6v",
        "dl3dv/lagernvs-6v",
    }


def test_lint_takes_a_suite(kbench: Kbench) -> None:
    ended = kbench("lint", "reconfusion", "quickstart", "--json")
    names = {row["protocol"] for row in json.loads(ended.out)}
    assert ended.code == 0 and {"reconfusion/llff", "reconfusion/re10k"} <= names and "reconfusion" not in names
    assert "linted 6:" in ended.err


def test_lint_verbose_names_every_case(kbench: Kbench) -> None:
    rows = json.loads(kbench("lint", "acid/pixelsplat-2v", "--verbose", "--json").out)
    cases = [row["case"] for row in rows if row["code"] == "target-is-reference" and row["case"]]
    assert len(cases) == 132


def test_lint_with_data(kbench: Kbench, data_dir: Path, tmp_path: Path) -> None:
    ended = kbench("lint", "real/llff-few", "--data", data_dir, "--json")
    assert ended.code == 0 and "extrapolation" in {row["code"] for row in json.loads(ended.out)}
    missing = kbench("lint", "gso/eschernet", "--data", tmp_path)
    assert missing.code == 1 and "no-data" in missing.out
    assert kbench("lint", "quickstart", "--data", tmp_path / "nowhere").code == 2


def test_show_says_what_to_type_next(kbench: Kbench) -> None:
    frozen, pending = kbench("show", "re10k/pixelsplat-2v").out, kbench("show", "seva/llff-r").out
    assert "kbench run re10k/pixelsplat-2v --model NAME --data DIR" in frozen
    assert (
        "kbench run quickstart --model NAME\n" in kbench("show", "quickstart").out
    )  # its scenes ship with the package
    assert "dcharatan/pixelsplat" in frozen and "get the data" in frozen
    assert "kbench run seva/llff-r --model NAME --data DIR --completed DIR" in pending


def test_show_names_the_file_and_runs_a_protocol_of_one_s_own_by_it(kbench: Kbench, tiny: Path) -> None:
    """Its name alone means nothing to another command; a shipped one's means the same everywhere."""
    path = tiny / "tiny.yaml"
    assert f"kbench run {path} --model NAME --data DIR\n" in kbench("show", path).out
    assert json.loads(kbench("show", path, "--json").out)["file"] == str(path)
    shipped = kbench("show", "re10k/pixelsplat-2v").out
    assert f"  file         {find_protocols()['re10k/pixelsplat-2v']}\n" in shipped
    assert shipped.endswith("more cases: `kbench show re10k/pixelsplat-2v --cases`\n")
