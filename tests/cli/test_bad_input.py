"""Each kind of bad input through the real command line: exit code 2, and one line with what, where and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kaleido_bench.cases import Case
from kaleido_bench.data.images import encode_png
from tests.cli.conftest import Ended, Kbench
from tests.predict.tiny import make_image, write_protocol


def edit_protocol(old: str, new: str) -> Callable[[Path], None]:
    def edit(tiny: Path) -> None:
        text = (tiny / "tiny.yaml").read_text()
        assert old in text
        (tiny / "tiny.yaml").write_text(text.replace(old, new))

    return edit


def edit_frame(view: int, change: Callable[[list[list[float]]], None]) -> Callable[[Path], None]:
    """Change one camera of the scene `arc`."""

    def edit(tiny: Path) -> None:
        path = tiny / "data/scenes/arc/transforms.json"
        document = json.loads(path.read_text())
        change(document["frames"][view]["transform_matrix"])
        path.write_text(json.dumps(document))

    return edit


def set_element(row: int, column: int, value: float) -> Callable[[list[list[float]]], None]:
    def change(matrix: list[list[float]]) -> None:
        matrix[row][column] = value

    return change


def image(tiny: Path, view: str = "0000") -> Path:
    return tiny / f"data/scenes/arc/images/{view}.png"


def empty_scene(tiny: Path) -> None:
    path = tiny / "data/scenes/arc/transforms.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "frames": []}))


def write_case(references: tuple[str, ...], targets: tuple[str, ...]) -> Callable[[Path], None]:
    def write(tiny: Path) -> None:
        case = Case.model_construct(id="arc-r1", scene="arc", references=references, targets=targets)
        write_protocol(tiny / "tiny.yaml", counts=(1,), cases=[case])

    return write


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


BAD_INPUT = {
    "unknown key": (
        edit_protocol("regime:", "regim: few-view\nregime:"),
        ["tiny.yaml:6: unknown key 'regim'", "Did you mean 'regime'?"],
    ),
    "wrong type": (edit_protocol("seed: 0", "seed: zero"), ["tiny.yaml:", "'seed' is \"zero\"", "integer"]),
    "missing index": (lambda tiny: (tiny / "tiny.json").unlink(), ["tiny.json: no such file"]),
    "wrong index hash": (
        lambda tiny: (tiny / "tiny.json").write_bytes((tiny / "tiny.json").read_bytes().replace(b"0004", b"0003")),
        ["tiny.json", "sha256", "Restore the frozen index"],
    ),
    "reference id not in the scene": (write_case(("0099",), ("0004",)), ["scene arc: no view '0099'"]),
    "target id not in the scene": (write_case(("0000",), ("0099",)), ["scene arc: no view '0099'"]),
    "target that is also a reference": (
        write_case(("0004",), ("0004", "0005")),
        ["case 'arc-r1'", "'0004'", "strict-novel"],
    ),
    "image missing": (lambda tiny: image(tiny).unlink(), ["images/0000.png: no such image"]),
    "image truncated": (lambda tiny: truncate(image(tiny)), ["0000.png: unreadable image"]),
    "image of the wrong size": (
        lambda tiny: image(tiny).write_bytes(encode_png(make_image(0, 0.0, 20, 10))),
        ["0000.png: an image of 20 x 10 pixels; expected 40 x 32"],
    ),
    "camera with NaN": (edit_frame(0, set_element(0, 3, float("nan"))), ["transforms.json", "c2w holds NaN"]),
    "camera that is not rigid": (edit_frame(0, set_element(0, 0, 1.5)), ["transforms.json", "is not rigid"]),
    "empty scene": (empty_scene, ["arc", "no views"]),
    "reader unknown": (edit_protocol("reader: transforms", "reader: transform"), ["'transform'", "transforms"]),
}


def check_one_line(ended: Ended, code: int, words: list[str]) -> None:
    assert ended.code == code, ended.err
    errors = [line for line in ended.err.splitlines() if line.startswith("kbench: error: ")]
    assert len(errors) == 1 and ended.err.splitlines()[-1] == errors[0], ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in errors[0]


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input(name: str, tiny: Path, kbench: Kbench) -> None:
    spoil, words = BAD_INPUT[name]
    spoil(tiny)
    ended = kbench("run", tiny / "tiny.yaml", "--model", "nearest", "--data", tiny / "data", "--out", tiny / "runs")
    check_one_line(ended, 2, words)
    assert ended.out == ""


def test_the_same_call_without_the_fault_is_fine(tiny: Path, kbench: Kbench) -> None:
    ended = kbench("run", tiny / "tiny.yaml", "--model", "nearest", "--data", tiny / "data", "--out", tiny / "runs")
    assert ended.code == 0, ended.err


CALLS = {
    "unknown model": (["--model", "nearst"], ["unknown model 'nearst'", "Did you mean nearest?"]),
    "unknown model argument": (["--model", "nearest", "--model-arg", "k=3"], ["no argument 'k'"]),
    "model argument without a value": (["--model", "nearest", "--model-arg", "k"], ["'k'", "KEY=VALUE"]),
    "misspelt device": (["--model", "nearest", "--device", "gpu"], ["--device: 'gpu'"]),
    "unknown scene": (["--model", "nearest", "--scenes", "arch"], ["--scenes: 'arch'", "Did you mean 'arc'?"]),
    "unknown reference count": (["--model", "nearest", "--references", "2"], ["--references: '2'", "1, 3"]),
    "unreadable reference count": (["--model", "nearest", "--references", "one"], ["--references: 'one'"]),
    "list with an empty part": (["--model", "nearest", "--scenes", "arc,"], ["--scenes: 'arc,'"]),
    "checkpoint that is not there": (["--model", "kaleido@absent"], ["kaleido@absent", "no checkpoint"]),
    "saved without a folder": (["--model", "saved"], ["saved@DIR"]),
    "saved folder that is not there": (["--model", "saved@absent"], ["absent: no such folder"]),
}


@pytest.mark.parametrize("name", CALLS)
def test_wrong_call(name: str, tiny: Path, kbench: Kbench) -> None:
    words, expected = CALLS[name]
    ended = kbench("run", tiny / "tiny.yaml", "--data", tiny / "data", "--out", tiny / "runs", *words)
    check_one_line(ended, 2, expected)
    assert not (tiny / "runs").exists()


def test_what_no_model_can_answer_is_said_once(tiny: Path, kbench: Kbench) -> None:
    models = ["--model", "nearest", "--model", "mean"]
    ended = kbench("run", tiny / "tiny.yaml", *models, "--data", tiny / "data", "--references", "2")
    check_one_line(ended, 2, ["--references: '2'", "1, 3"])


def test_no_data_directory(tiny: Path, kbench: Kbench) -> None:
    ended = kbench("run", tiny / "tiny.yaml", "--model", "nearest", "--out", tiny / "runs")
    check_one_line(ended, 2, ["no data directory", "Set KBENCH_DATA or pass --data DIR"])
    assert not (tiny / "runs").exists()


def test_a_data_directory_that_is_not_there(tiny: Path, kbench: Kbench) -> None:
    ended = kbench("run", tiny / "tiny.yaml", "--model", "nearest", "--data", tiny / "absent", "--out", tiny / "runs")
    check_one_line(ended, 2, ["--data", "absent"])


def test_an_output_folder_in_a_file(tiny: Path, kbench: Kbench) -> None:
    (tiny / "file").write_text("in the way")
    arguments = ["--model", "nearest", "--data", tiny / "data", "--out", tiny / "file" / "runs"]
    check_one_line(kbench("run", tiny / "tiny.yaml", *arguments), 2, ["--out", f"{tiny / 'file'} is a file"])


def test_unknown_protocol(kbench: Kbench, tmp_path: Path) -> None:
    ended = kbench("run", "real/object-few", "--model", "nearest", "--out", tmp_path)
    check_one_line(ended, 2, ["'real/object-few'", "Did you mean 'real/objects-few'?"])


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["run", "x"], ["Missing option '--model'", "See `kbench run --help`."]),
        (["run", "--model", "nearest"], ["Missing argument 'PROTOCOL'", "See `kbench run --help`."]),
        (["run", "x", "--samples", "0"], ["--samples", "greater than or equal to 1", "See `kbench run --help`."]),
        (["fly"], ["No such command 'fly'", "See `kbench --help`."]),
        (["weights", "fetsh"], ["Did you mean 'fetch'?", "See `kbench weights --help`."]),
        (["list", "birds"], ["'birds'", "See `kbench list --help`."]),
        (["table", "runs", "--colour"], ["No such option: --colour", "See `kbench table --help`."]),
    ],
)
def test_usage_errors_are_one_line_and_end_with_2(words: list[str], parts: list[str], kbench: Kbench) -> None:
    check_one_line(kbench(*words), 2, parts)


@pytest.mark.parametrize("words", [[], ["weights"]])
def test_no_command_shows_the_help(words: list[str], kbench: Kbench) -> None:
    ended = kbench(*words)
    assert ended.code == 2 and "Usage: kbench" in ended.err + ended.out


# ------------------------------------------------------------------------------------------------ prediction folders


def saved_folder(tiny: Path) -> Path:
    """Images for every case of the tiny protocol, as another program would have left them."""
    folder = tiny / "images-from-elsewhere"
    for scene in ("arc", "bow"):
        for count in (1, 3):
            for view in ("0004", "0005"):
                path = folder / f"{scene}-r{count}" / f"{view}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode_png(make_image(7, count)))
    return folder


SPOIL_PREDICTION = {
    "missing view": (lambda case: (case / "0004.png").unlink(), ["0004.png: missing"]),
    "extra view": (lambda case: (case / "0003.png").write_bytes((case / "0004.png").read_bytes()), ["0003.png: "]),
    "wrong size": (
        lambda case: (case / "0004.png").write_bytes(encode_png(make_image(0, 0.0, 20, 10))),
        ["0004.png: 20x10"],
    ),
    "truncated": (lambda case: truncate(case / "0004.png"), ["0004.png: "]),
}


@pytest.mark.parametrize("name", SPOIL_PREDICTION)
def test_a_saved_folder_with_a_fault(name: str, tiny: Path, kbench: Kbench) -> None:
    folder = saved_folder(tiny)
    spoil, words = SPOIL_PREDICTION[name]
    spoil(folder / "bow-r3")
    arguments = [tiny / "tiny.yaml", "--model", f"saved@{folder}", "--data", tiny / "data", "--out", tiny / "runs"]
    check_one_line(kbench("run", *arguments), 2, ["bow-r3/", *words])


@pytest.mark.parametrize("name", SPOIL_PREDICTION)
def test_a_run_that_was_tampered_with_is_not_scored(name: str, tiny: Path, kbench: Kbench) -> None:
    arguments = [tiny / "tiny.yaml", "--model", "mean", "--data", tiny / "data", "--out", tiny / "runs"]
    assert kbench("predict", *arguments).code == 0
    spoil, words = SPOIL_PREDICTION[name]
    run = tiny / "runs/tiny/mean"
    spoil(run / "predictions/bow-r3")
    check_one_line(kbench("score", run, "--data", tiny / "data"), 2, ["bow-r3/", *words])
    assert not (run / "result.json").exists()


def test_a_prediction_with_other_pixels_than_its_manifest_says_is_not_scored(tiny: Path, kbench: Kbench) -> None:
    arguments = [tiny / "tiny.yaml", "--model", "mean", "--data", tiny / "data", "--out", tiny / "runs"]
    assert kbench("predict", *arguments).code == 0
    forged = tiny / "runs/tiny/mean/predictions/arc-r1/0004.png"
    forged.write_bytes(image(tiny, "0004").read_bytes())
    ended = kbench("score", tiny / "runs/tiny/mean", "--data", tiny / "data")
    check_one_line(ended, 2, ["arc-r1/0004.png: altered"])


def test_run_predicts_again_what_was_tampered_with(tiny: Path, kbench: Kbench) -> None:
    arguments = [tiny / "tiny.yaml", "--model", "mean", "--data", tiny / "data", "--out", tiny / "runs"]
    assert kbench("run", *arguments).code == 0
    run = tiny / "runs/tiny/mean"
    result, png = (run / "result.json").read_bytes(), run / "predictions/arc-r1/0004.png"
    honest = png.read_bytes()
    png.write_bytes(encode_png(np.zeros((32, 40, 3), np.uint8)))
    ended = kbench("run", *arguments)
    assert ended.code == 0 and "predicted again" in ended.err and "0004.png: altered" in ended.err
    assert png.read_bytes() == honest
    assert (run / "result.json").read_bytes() == result


def test_a_run_of_another_protocol_of_the_same_name(tiny: Path, kbench: Kbench) -> None:
    arguments = [tiny / "tiny.yaml", "--model", "mean", "--data", tiny / "data", "--out", tiny / "runs"]
    assert kbench("run", *arguments).code == 0
    edit_protocol("seed: 0", "seed: 1")(tiny)
    check_one_line(kbench("run", *arguments), 2, ["run.json: protocol hash", "name another --out"])
