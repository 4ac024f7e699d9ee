"""The commands that show things, and how a command ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaleido_bench import __version__
from kaleido_bench.cli.app import build_app
from kaleido_bench.conventions import find_conventions
from kaleido_bench.lint.advice import ADVICE
from kaleido_bench.protocol import Protocol
from tests.cli.conftest import ROOT, Kbench
from tests.predict.tiny import write_protocol


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["run", "--help"],
        ["compare", "--help"],
        ["leaderboard", "--help"],
        ["list", "models"],
        ["metrics", "show", "seva"],
    ],
)
def test_help_and_listing_import_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from kaleido_bench.cli import main\ntry: main()\nfinally: sys.stderr.write(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=True)
    imported = set(done.stderr.split())
    assert "kaleido_bench.cli.app" in imported
    assert imported & {"torch", "pandas", "pyarrow", "datasets"} == set()
    if "--help" in words:
        assert imported & {"numpy", "PIL", "ruamel.yaml", "rich"} == set()


def test_every_command_has_help(kbench: Kbench) -> None:
    text = kbench("--help").out
    names = [command.name for command in build_app().registered_commands]
    assert {"run", "predict", "score", "table", "compare", "list", "show", "lint", "doctor"} <= set(names)
    for name in (*names, "leaderboard", "metrics", "weights"):
        assert f"  {name} " in text
        assert kbench(name, "--help").code == 0


def test_version(kbench: Kbench) -> None:
    assert kbench("--version") == (0, f"kbench {__version__}\n", "")


def test_list_protocols_names_every_shipped_one(kbench: Kbench) -> None:
    rows = json.loads(kbench("list", "protocols", "--json").out)
    shipped = {
        path.relative_to(ROOT / "protocols").with_suffix("").as_posix() for path in (ROOT / "protocols").rglob("*.yaml")
    }
    assert {row["protocol"] for row in rows} == {name for name in shipped if not name.startswith("suites/")}
    few = next(row for row in rows if row["protocol"] == "real/objects-few")
    assert few["references"] == ["1", "3", "6"] and len(few["hash"]) == 12
    lines = kbench("list", "protocols").out.splitlines()
    assert len(lines) == len(rows) + 1 and lines[0].startswith("protocol")


def test_list_models(kbench: Kbench, toys: Path) -> None:
    rows = {row["model"]: row for row in json.loads(kbench("list", "models", "--json").out)}
    assert {"nearest", "mean", "saved", "kaleido", "toy", "scene-toy"} <= set(rows)
    assert rows["toy"]["title"] == "from the package toy-adapters"
    assert rows["kaleido"]["arguments"][:2] == ["steps", "solver"] and rows["kaleido"]["default"] == "small"


def test_list_datasets_with_and_without_data(kbench: Kbench, data_dir: Path) -> None:
    missing = json.loads(kbench("list", "datasets", "--json").out)
    there = json.loads(kbench("list", "datasets", "--json", "--data", data_dir).out)
    here = [row for row in there if row["folder"] and row["root"] != "package:quickstart"]
    assert {"real-llff", "real-objects", "real-scenes"} <= {row["data set"] for row in here}
    assert all(row["scenes"].split(" of ")[0] == row["scenes"].split(" of ")[1] for row in here)
    assert [row["data set"] for row in missing if row["folder"]] == ["quickstart"]
    assert all(row["get"] for row in there if row["data set"] in ("re10k", "llff", "objaverse"))


def test_list_conventions(kbench: Kbench) -> None:
    listed = {row["convention"]: row for row in json.loads(kbench("list", "conventions", "--json").out)}
    assert set(listed) == set(find_conventions()) >= {"kbench-v1", "3dgs", "seva"}
    assert {"psnr", "ssim", "lpips-alex"} <= set(listed["kbench-v1"]["metrics"])


def test_list_runs(kbench: Kbench, tiny: Path) -> None:
    empty = kbench("list", "runs", "--out", tiny / "runs")
    assert (empty.code, empty.out, empty.err) == (0, "", f"no runs below {tiny / 'runs'}\n")
    arguments = ["--data", tiny / "data", "--out", tiny / "runs"]
    assert kbench("predict", tiny / "tiny.yaml", "--model", "mean", *arguments, "--limit", 3).code == 0
    row = json.loads(kbench("list", "runs", "--out", tiny / "runs", "--json").out)[0]
    assert (row["protocol"], row["model"], row["predictions"], row["result"]) == ("tiny", "mean", "3 of 4", False)


def test_show(kbench: Kbench, tiny: Path) -> None:
    document = json.loads(kbench("show", tiny / "tiny.yaml", "--json").out)
    assert document["counts"] == {"scenes": 2, "cases": 4, "predictions": 4, "images": 8}
    text = kbench("show", tiny / "tiny.yaml").out
    for word in (
        document["hash"],
        "kbench-v1",
        "strict-novel",
        "arc-r3",
        "0000 0001 0002",
        "size 40x32",
        "made by the tests",
    ):
        assert word in text


def test_show_schema_knows_every_field_of_a_protocol_file(kbench: Kbench) -> None:
    ended = kbench("show", "--schema")
    schema = json.loads(ended.out)
    assert ended.code == 0 and set(schema["properties"]) == set(Protocol.model_fields)
    assert schema["additionalProperties"] is False
    assert all(schema["properties"][name].get("description") for name in ("reference_counts", "targets"))


def test_lint_finds_nothing_and_ends_with_0(kbench: Kbench) -> None:
    ended = kbench("lint", "real/objects-few", "--json")
    assert (ended.code, json.loads(ended.out)) == (0, [])


def test_lint_ends_with_1_where_there_is_an_error(kbench: Kbench, tmp_path: Path) -> None:
    path = write_protocol(tmp_path / "leak.yaml", targets=("0000", "0005"), target_policy="strict-novel")
    ended = kbench("lint", path, "--json")
    assert ended.code == 1
    assert [row["severity"] for row in json.loads(ended.out)] == ["error"]
    assert "strict-novel" in ended.out
    assert [row["fix"] for row in json.loads(ended.out)] == [ADVICE["unreadable"]]
    said = kbench("lint", path).out.splitlines()
    assert said[0].startswith("severity") and said[-2:] == ["What to do:", f"  unreadable: {ADVICE['unreadable']}"]


def test_weights(kbench: Kbench, weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KBENCH_CACHE", str(tmp_path / "cache"))
    missing = kbench("weights", "list", "--json")
    assert not any(row["here"] for row in json.loads(missing.out))
    assert "alexnet_features is missing. `kbench weights fetch alexnet_features` gets it" in missing.err
    assert kbench("weights", "verify").code == 0
    assert kbench("weights", "verify", "alexnet_features").code == 1
    monkeypatch.setenv("KBENCH_WEIGHTS", str(weights_dir))
    rows = json.loads(kbench("weights", "verify", "alexnet_features", "--json").out)
    assert rows[0]["verdict"] == "right"
    monkeypatch.setenv("KBENCH_WEIGHTS", str(tmp_path))
    (tmp_path / "alexnet_features.safetensors").write_bytes(b"something else")
    wrong = kbench("weights", "verify", "--json")
    assert wrong.code == 1
    assert json.loads(wrong.out)[0]["verdict"] == "wrong"
    unknown = kbench("weights", "verify", "alexnet")
    assert unknown.code == 2 and "alexnet_features" in unknown.err


def test_doctor(kbench: Kbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KBENCH_CACHE", str(tmp_path / "cache"))
    ended = kbench("doctor", "--json")
    assert ended.code == 0, ended.err
    checks = {(check["topic"], check["name"]): check for check in json.loads(ended.out)}
    assert checks["versions", "kaleido-bench"]["detail"] == __version__
    assert checks["devices", "cpu"]["verdict"] == "ok"
    assert checks["weights", "alexnet_features"]["verdict"] == "missing"
    assert "KBENCH_DATA" in checks["data", "real-scenes"]["fix"]
    text = kbench("doctor").out
    assert (
        "What is missing, and how to get it:" in text
        and "alexnet_features: `kbench weights fetch alexnet_features` gets it" in text
    )


def test_doctor_ends_with_1_where_something_is_broken(
    kbench: Kbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KBENCH_WEIGHTS", str(tmp_path))
    (tmp_path / "alexnet_features.safetensors").write_bytes(b"something else")
    ended = kbench("doctor")
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == "kbench: error: broken: alexnet_features"


def test_an_interrupt_ends_with_130(kbench: Kbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kaleido_bench.catalogue.find_protocols", interrupt)
    ended = kbench("list", "protocols")
    assert ended.code == 130
    assert ended.err.startswith("kbench: interrupted")


def test_a_reader_that_hangs_up_is_no_error() -> None:
    command = f"{sys.executable} -m kaleido_bench show real/objects-few | head -1"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "real/objects-few\n"
