"""`kbench leaderboard` and stored results in `kbench table`, by the real command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Ended, Kbench
from tests.predict.tiny import write_protocol

SHIPPED = ROOT / "leaderboards"


@pytest.fixture
def runs(kbench: Kbench, tiny: Path) -> Path:
    """Whole runs of two models."""
    ended = run(kbench, tiny, "--model", "nearest", "--model", "mean")
    assert ended.code == 0, ended.err
    return tiny / "runs"


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """Stored results of one protocol that ships."""
    shutil.copytree(SHIPPED / "quickstart", tmp_path / "kept" / "quickstart")
    return tmp_path / "kept"


def run(kbench: Kbench, tiny: Path, *words: object, command: str = "run") -> Ended:
    return kbench(command, tiny / "tiny.yaml", *words, "--data", tiny / "data", "--out", tiny / "runs")


def add(kbench: Kbench, tiny: Path, *words: object) -> Ended:
    return kbench("leaderboard", "add", *(words or [tiny / "runs"]), "--to", tiny / "kept", "--completed", tiny)


def list_files(folder: Path) -> Sequence[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def write_reported(folder: Path) -> None:
    """One published number."""
    folder.mkdir()
    (folder / "external.csv").write_text("name,title\n")
    heading, row, *_ = (SHIPPED / "reported/eschernet.csv").read_text().splitlines(keepends=True)
    assert row.startswith("gso/eschernet,")
    (folder / "one.csv").write_text(heading + row)


def test_from_runs_to_pages(kbench: Kbench, tiny: Path, runs: Path) -> None:
    ended = add(kbench, tiny)
    paths = [tiny / "kept/tiny/results" / f"{name}.json" for name in ("mean", "nearest")]
    assert ended == (0, "".join(f"{path}: added\n" for path in paths), "")
    assert all(path.read_bytes() == (runs / "tiny" / path.stem / "result.json").read_bytes() for path in paths)
    again = json.loads(add(kbench, tiny, runs, "--json").out)
    assert [(each["model"], each["done"], each["changes"]) for each in again] == [
        ("mean", "unchanged", []),
        ("nearest", "unchanged", []),
    ]
    assert kbench("leaderboard", "check", tiny / "kept", "--completed", tiny) == (
        0,
        "",
        "checked 2 results of 1 protocol: 0 faults\n",
    )
    of_runs = kbench("table", runs)
    assert of_runs.code == 0 and kbench("table", tiny / "kept", "--completed", tiny) == of_runs
    write_reported(tiny / "kept/reported")
    built = kbench("leaderboard", "build", tiny / "kept", "--completed", tiny, "--json", "--markdown")
    document = json.loads(built.out)
    assert built.code == 0 and document["home"] == str(tiny / "kept/pages/index.html")
    pages = {path: (tiny / "kept/pages" / path).read_bytes() for path in list_files(tiny / "kept/pages")}
    assert {"index.html", "index.md", "tiny.html", "tiny.md", "data/tiny.csv", "data/tiny/mean.json"} <= set(pages)
    assert b"A tiny protocol" in pages["tiny.html"] and b"gso/eschernet.html" in pages["index.html"]
    assert sum(path.endswith(".html") for path in pages) == 3
    # The pages lie among the results and are no results.
    assert kbench("leaderboard", "check", tiny / "kept", "--completed", tiny).code == 0
    elsewhere = kbench("leaderboard", "build", tiny / "kept", "--completed", tiny, "--markdown", "-o", tiny / "out")
    assert elsewhere.code == 0 and elsewhere.out.startswith(f"{tiny / 'out/index.html'}: ")
    assert {path: (tiny / "out" / path).read_bytes() for path in list_files(tiny / "out")} == pages


def test_a_replaced_result_says_what_changed(kbench: Kbench, tiny: Path, runs: Path) -> None:
    add(kbench, tiny)
    stored = tiny / "kept/tiny/results/mean.json"
    new = stored.read_bytes()
    document = json.loads(new)
    fingerprint = document["model"]["fingerprint"]
    stored.write_bytes(new.replace(fingerprint.encode(), b"f" * 64))
    ended = add(kbench, tiny, runs / "tiny/mean")
    assert ended == (0, f"{stored}: replaced\n  fingerprint ffffffffffff -> {fingerprint[:12]}\n", "")
    assert stored.read_bytes() == new


def test_what_is_not_whole_is_refused_and_the_rest_is_taken(kbench: Kbench, tiny: Path) -> None:
    assert run(kbench, tiny, "--model", "mean", "--limit", 3).code == 0
    assert run(kbench, tiny, "--model", "nearest", command="predict").code == 0
    ended = add(kbench, tiny)
    partial, lacking, summary = ended.err.splitlines()
    assert ended.code == 1 and ended.out == ""
    assert "mean: its result is partial (--limit 3); a leaderboard takes whole ones" in partial
    assert "nearest: no result yet. Make it with" in lacking and "2 failed" in summary
    assert not (tiny / "kept").exists()
    assert run(kbench, tiny, "--model", "nearest").code == 0
    assert add(kbench, tiny).code == 1 and list_files(tiny / "kept") == ["tiny/results/nearest.json"]


def test_an_incomplete_result_is_refused(kbench: Kbench, tiny: Path, runs: Path) -> None:
    shutil.rmtree(runs / "tiny/mean/predictions/arc-r1")
    assert kbench("score", runs / "tiny/mean", "--data", tiny / "data").code == 1
    ended = add(kbench, tiny, runs / "tiny/mean")
    assert (ended.code, ended.out) == (1, "") and "its result has 6 of 8 views" in ended.err


def test_an_edited_result_is_refused_and_the_old_one_stays(kbench: Kbench, tiny: Path, runs: Path) -> None:
    add(kbench, tiny)
    stored, result = tiny / "kept/tiny/results/mean.json", runs / "tiny/mean/result.json"
    before = stored.read_bytes()
    document = json.loads(before)
    document["means"][0]["mean"] += 1.0
    result.write_text(json.dumps(document))
    ended = add(kbench, tiny, runs / "tiny/mean")
    assert ended.code == 2 and "result.json: means[0].mean is" in ended.err and ended.err.count("\n") == 1
    assert stored.read_bytes() == before


def test_a_run_of_another_protocol_than_todays_is_refused(kbench: Kbench, tiny: Path, runs: Path) -> None:
    write_protocol(tiny / "tiny.yaml", scenes=("arc", "bow"), counts=(1, 2))
    ended = add(kbench, tiny, runs / "tiny/mean")
    assert ended.code == 2 and "protocol.hash is" in ended.err and not (tiny / "kept").exists()
    unknown = kbench("leaderboard", "add", runs / "tiny/mean", "--to", tiny / "kept")
    assert unknown.code == 2 and "protocol 'tiny': none of that name ships" in unknown.err


def test_check_names_every_fault_and_ends_with_1(kbench: Kbench, board: Path) -> None:
    results = board / "quickstart/results"
    (results / "mean.json").rename(results / "best.json")
    text = (results / "nearest.json").read_text()
    (results / "nearest.json").write_text(text.replace('"partial": false', '"partial": true'))
    ended = kbench("leaderboard", "check", board)
    lines = ended.out.splitlines()
    assert ended.code == 1 and len(lines) == 2
    assert "best.json: a result of mean; expected mean.json" in lines[0]
    assert "nearest.json: partial is true; expected false" in lines[1]
    assert "checked 4 results of 1 protocol: 2 faults" in ended.err
    document = json.loads(kbench("leaderboard", "check", board, "--json").out)
    assert (document["results"], document["protocols"], len(document["faults"])) == (4, 1, 2)
    assert set(document["faults"][0]) == {"file", "found", "expected", "fix"}


def test_nothing_is_built_of_results_with_a_fault(kbench: Kbench, board: Path) -> None:
    (board / "quickstart/results/mean.json").write_text("{")
    ended = kbench("leaderboard", "build", board)
    assert (
        ended.code == 1
        and "not JSON" in ended.out
        and "1 fault, see above" in ended.err
        and not (board / "pages").exists()
    )


def test_a_row_of_published_numbers_that_breaks_the_rules_is_named(kbench: Kbench, board: Path) -> None:
    shutil.copytree(SHIPPED / "reported", board / "reported")
    path = board / "reported/dense.csv"
    path.write_text(path.read_text().replace(",psnr,28.553,", ",psnr,2855.3,"))
    ended = kbench("leaderboard", "check", board)
    assert ended.code == 2 and "dense.csv:2: the value '2855.3'" in ended.err


@pytest.mark.parametrize(
    ("folder", "message"),
    [("nowhere", "no such folder; expected a folder of results"), ("empty", "no result in it")],
)
@pytest.mark.parametrize("command", ["check", "build"])
def test_a_folder_without_results_is_a_wrong_call(
    kbench: Kbench, tmp_path: Path, command: str, folder: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    ended = kbench("leaderboard", command, tmp_path / folder)
    assert ended.code == 2 and message in ended.err


# Stored results in `kbench table`


def test_stored_results_stand_beside_those_of_runs(kbench: Kbench, tiny: Path, runs: Path) -> None:
    add(kbench, tiny)
    stored = tiny / "kept/tiny/results/mean.json"
    one = kbench("table", stored, runs / "tiny/nearest", "--completed", tiny, "--json")
    rows = json.loads(one.out)["sections"][0]["rows"]
    assert [row["model"] for row in rows] == ["mean", "nearest"]
    # The same result twice is one row; another under the same label is told apart.
    both = kbench("table", tiny / "kept", runs, "--completed", tiny, "--json")
    assert [row["model"] for row in json.loads(both.out)["sections"][0]["rows"]] == ["mean", "nearest"]
    stored.write_bytes(
        stored.read_bytes().replace(json.loads(stored.read_bytes())["model"]["fingerprint"].encode(), b"f")
    )
    both = kbench("table", tiny / "kept", runs, "--completed", tiny, "--json")
    assert [row["model"] for row in json.loads(both.out)["sections"][0]["rows"]] == ["mean (stored)", "mean", "nearest"]


@pytest.mark.parametrize("form", ["text", "md", "latex", "csv", "json", "html"])
def test_the_shipped_results_are_a_table_in_every_form(kbench: Kbench, form: str) -> None:
    ended = kbench("table", SHIPPED / "real", "--format", form)
    document = json.loads((SHIPPED / "real/objects-few/results/kaleido@small.json").read_text())
    number = next(mean["mean"] for mean in document["means"] if (mean["metric"], mean["references"]) == ("psnr", "6"))
    assert ended.code == 0 and "kaleido" in ended.out and f"{number:.2f}" in ended.out


def test_a_stored_result_that_was_edited_is_refused_and_the_others_are_shown(kbench: Kbench, board: Path) -> None:
    path = board / "quickstart/results/mean.json"
    path.write_text(path.read_text().replace('"digits": 6', '"digits": 3'))
    ended = kbench("table", board)
    assert ended.code == 2 and "mean.json: digits is 3; expected 6" in ended.err
    assert "nearest" in ended.out and "mean  " not in ended.out


def test_a_stored_result_is_under_one_convention(kbench: Kbench, board: Path) -> None:
    ended = kbench("table", board / "quickstart/results/mean.json", "--convention", "3dgs")
    assert ended.code == 2 and "a result under kbench-v1; expected one under 3dgs" in ended.err
    assert kbench("table", board, "--convention", "kbench-v1").code == 0


def test_a_folder_with_neither_is_a_wrong_call(kbench: Kbench, tmp_path: Path) -> None:
    ended = kbench("table", tmp_path)
    assert ended.code == 2 and "no run and no stored result in it" in ended.err


# What a first user runs into


def test_two_runs_of_one_label_are_not_taken_in_together(kbench: Kbench, tiny: Path, runs: Path) -> None:
    shutil.copytree(runs, tiny / "again")
    assert add(kbench, tiny, runs, tiny / "again").code == 0  # the same twice
    shutil.rmtree(tiny / "again/tiny/nearest")
    record = tiny / "again/tiny/mean/run.json"
    result = record.with_name("result.json")
    fingerprint = json.loads(record.read_text())["fingerprint"]
    for path in (record, result):
        path.write_text(path.read_text().replace(fingerprint, "f" * 64))
    ended = add(kbench, tiny, runs, tiny / "again")
    assert ended.code == 2 and f"another result of mean than that of {runs / 'tiny/mean'}" in ended.err
    assert fingerprint in (tiny / "kept/tiny/results/mean.json").read_text()


def test_faults_are_json_when_building_too(kbench: Kbench, board: Path) -> None:
    (board / "quickstart/results/mean.json").write_text("{")
    ended = kbench("leaderboard", "build", board, "--json")
    assert ended.code == 1 and len(json.loads(ended.out)["faults"]) == 1


@pytest.mark.parametrize("below", ["", "/below"])
def test_a_file_in_place_of_a_folder_is_a_wrong_call(kbench: Kbench, tiny: Path, runs: Path, below: str) -> None:
    there = tiny / "file"
    there.touch()
    for ended, option in (
        (kbench("leaderboard", "build", SHIPPED, "-o", f"{there}{below}"), "--out"),
        (kbench("leaderboard", "add", runs, "--to", f"{there}{below}", "--completed", tiny), "--to"),
    ):
        assert (ended.code, ended.out) == (2, "")
        expected = f"{option}: {there} is a file; expected a folder, there or not. Name another.\n"
        assert ended.err == f"kbench: error: {expected}"


def test_a_page_that_cannot_be_written_is_one_line(
    kbench: Kbench, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, data: bytes) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("kaleido_bench.publish.site.folder.update_bytes_atomic", refuse)
    ended = kbench("leaderboard", "build", board)
    assert (ended.code, ended.out) == (1, "") and "files.json: Permission denied." in ended.err
    assert ended.err.startswith("kbench: error: ") and ended.err.count("\n") == 1


def test_runs_of_one_label_are_rows_of_their_own(kbench: Kbench, tiny: Path, runs: Path) -> None:
    shutil.copytree(runs / "tiny/mean", tiny / "again/tiny/mean")
    ended = kbench("table", runs, tiny / "again", "--json", "--efficiency")
    (section,) = json.loads(ended.out)["sections"]
    for rows in (section["rows"], section["efficiency"]):
        assert [row["model"] for row in rows] == ["mean (runs)", "nearest", "mean (again)"]
    scored = kbench("score", runs, tiny / "again", "--data", tiny / "data", "--json")
    assert [row["model"] for row in json.loads(scored.out)["sections"][0]["rows"]] == [
        "mean (runs)",
        "nearest",
        "mean (again)",
    ]


def test_stored_results_of_one_label_are_rows_of_their_own(kbench: Kbench, board: Path, tmp_path: Path) -> None:
    stored = tmp_path / "other/quickstart/results/mean.json"
    stored.parent.mkdir(parents=True)
    text = (board / "quickstart/results/mean.json").read_text()
    stored.write_text(text)
    assert kbench("table", board).out == kbench("table", board, tmp_path / "other").out  # the same is one row
    stored.write_text(text.replace(json.loads(text)["model"]["fingerprint"], "f" * 64))
    rows = json.loads(kbench("table", board, tmp_path / "other", "--json").out)["sections"][0]["rows"]
    names = [row["model"] for row in rows]
    assert {"mean (kept)", "mean (other)", "nearest"} < set(names) and len(set(names)) == len(names)
