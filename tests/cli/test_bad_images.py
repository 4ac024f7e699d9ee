"""Images, masks, predictions and weights of every wrong kind, through the real command line: one line, exit code 2.

And those that look odd and are fine: grey, palette and transparent ground truth.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from kaleido_bench.data.images import encode_png
from tests.cli.conftest import ROOT, Kbench
from tests.cli.test_bad_input import check_one_line, image, saved_folder
from tests.data.bombs import build_bomb
from tests.predict.tiny import HEIGHT, WIDTH, make_image

PIXELS = make_image(3, 0.4)


def encode(kind: str, picture: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


PLAIN = Image.fromarray(PIXELS)
SOFT = Image.fromarray(np.dstack([PIXELS, np.full((HEIGHT, WIDTH), 128, np.uint8)]))

REFUSED = {
    "16-bit colour": (cv2.imencode(".png", PIXELS.astype(np.uint16) * 257)[1].tobytes(), ["16 bits a channel"]),
    "16-bit grey": (cv2.imencode(".png", PIXELS[..., 0].astype(np.uint16))[1].tobytes(), ["16 bits a channel"]),
    "CMYK": (encode("JPEG", PLAIN.convert("CMYK")), ["Pillow mode CMYK", "Convert the image first"]),
    "truncated": (encode_png(PIXELS)[:-300], ["unreadable image"]),
    "no image": (b"<html>404</html>", ["16 bytes that are no image"]),
    "empty": (b"", ["0 bytes that are no image"]),
    "wrong size": (encode_png(make_image(3, 0.4, 24, 16)), ["24", "16", f"{WIDTH}", f"{HEIGHT}"]),
    "decompression bomb": (build_bomb(), ["promises 1600000000 pixels; expected at most 178956970 pixels"]),
}
TAKEN = {
    "grey": encode("PNG", PLAIN.convert("L")),
    "grey with alpha": encode("PNG", SOFT.convert("LA")),
    "palette": encode("PNG", PLAIN.quantize(32)),
    "palette with a transparent colour": encode("PNG", PLAIN.quantize(32), transparency=0),
    "RGBA": encode("PNG", SOFT),
    "JPEG": encode("JPEG", PLAIN),
}


def run(kbench: Kbench, tiny: Path, *words: object, model: str = "mean"):
    arguments = ["--model", model, "--data", tiny / "data", "--out", tiny / "runs"]
    return kbench("run", tiny / "tiny.yaml", *arguments, *words)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("view", ["0000", "0004"], ids=["reference", "ground truth"])
def test_an_image_of_the_data_set_that_is_refused(name: str, view: str, tiny: Path, kbench: Kbench) -> None:
    data, words = REFUSED[name]
    image(tiny, view).write_bytes(data)
    check_one_line(run(kbench, tiny), 2, [f"{view}.png: ", *words])
    assert not (tiny / "runs/tiny/mean/result.json").exists()


@pytest.mark.parametrize("name", TAKEN)
def test_an_image_of_the_data_set_that_is_fine(name: str, tiny: Path, kbench: Kbench) -> None:
    for view in ("0000", "0004"):
        image(tiny, view).write_bytes(TAKEN[name])
    ended = run(kbench, tiny)
    assert ended.code == 0, ended.err
    assert json.loads((tiny / "runs/tiny/mean/result.json").read_text())["complete"]


@pytest.mark.parametrize("name", [*REFUSED, "RGBA", "grey with alpha", "palette with a transparent colour"])
def test_a_saved_prediction_that_is_refused(name: str, tiny: Path, kbench: Kbench) -> None:
    data, words = REFUSED.get(name) or (TAKEN[name], [f"{WIDTH}x{HEIGHT} pixels with 4 channels", "Write RGB"])
    folder = saved_folder(tiny)
    (folder / "bow-r3/0004.png").write_bytes(data)
    check_one_line(run(kbench, tiny, model=f"saved@{folder}"), 2, ["bow-r3/0004.png: ", *words])


@pytest.mark.parametrize("name", ["grey", "palette"])
def test_a_saved_prediction_that_is_fine(name: str, tiny: Path, kbench: Kbench) -> None:
    """Its colours are what counts, not how the file packs them."""
    folder = saved_folder(tiny)
    (folder / "bow-r3/0004.png").write_bytes(TAKEN[name])
    assert run(kbench, tiny, model=f"saved@{folder}").code == 0


@pytest.mark.parametrize("name", REFUSED)
def test_a_prediction_that_was_exchanged_is_not_scored(name: str, tiny: Path, kbench: Kbench) -> None:
    """Before anything is decoded: its header, its size or its bytes are not those that the manifest names."""
    assert run(kbench, tiny).code == 0
    folder = tiny / "runs/tiny/mean"
    before = (folder / "result.json").stat().st_mtime_ns
    (folder / "predictions/arc-r1/0004.png").write_bytes(REFUSED[name][0])
    check_one_line(kbench("score", folder, "--data", tiny / "data"), 2, ["arc-r1/0004.png: ", "as case.json has them"])
    assert (folder / "result.json").stat().st_mtime_ns == before


NAN_ADAPTER = """
import numpy as np
from kaleido_bench.predict.adapters import Capabilities, build_card


class Nan:
    capabilities = Capabilities(per_scene=False, generative=False, max_references=None)

    def describe(self):
        return build_card("nan", code_version="1", training_data=())

    def predict(self, references, targets, generator):
        images = np.zeros((len(targets.ids), targets.cameras.height, targets.cameras.width, 3), np.float32)
        images[0, 0, 0] = np.nan
        return images


def build(variant, args, device):
    return Nan()
"""


def test_a_prediction_of_nan(tiny: Path, kbench: Kbench, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tiny / "site"
    info = site / "nan_adapter-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "nan_adapter.py").write_text(NAN_ADAPTER)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nan-adapter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kbench.adapters]\nnan = nan_adapter:build\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", f"{site}:{ROOT}")
    check_one_line(run(kbench, tiny, model="nan"), 2, ["float32", "with 3 values NaN or infinite", "uint8"])
    assert not list((tiny / "runs").rglob("*.png"))


# Masks

FOREGROUND = ("metrics: [psnr, ssim]", "metrics: [psnr, ssim, psnr-fg, ssim-fg]")


def white(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)


def ask_foreground(tiny: Path, replace: tuple[str, str] = FOREGROUND) -> None:
    """The tiny protocol with foreground metrics, and masks for its targets that are white all over."""
    text = (tiny / "tiny.yaml").read_text()
    assert replace[0] in text
    (tiny / "tiny.yaml").write_text(text.replace(*replace))
    for scene in ("arc", "bow"):
        folder = tiny / f"data/scenes/{scene}/masks"
        folder.mkdir()
        for view in ("0004", "0005"):
            (folder / f"{view}.png").write_bytes(encode_png(white()))


def edge() -> np.ndarray:
    mask = 0 * white()
    mask[:3] = 255
    return mask


SPOIL_MASK: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "missing": (lambda path: path.unlink(), ["bow, view 0005: no mask", "a mask file or an alpha channel"]),
    "nothing inside": (
        lambda path: path.write_bytes(encode_png(0 * white())),
        ["bow, view 0005: a mask with 0 pixels inside", "Correct the mask"],
    ),
    "no whole window inside": (
        lambda path: path.write_bytes(encode_png(edge())),
        ["bow, view 0005: a mask with 120 pixels inside, all within 5 px of the border"],
    ),
    "of another size": (
        lambda path: path.write_bytes(encode_png(white(20, 30))),
        ["0005.png: a mask of 30 x 20 pixels; expected 40 x 32"],
    ),
    "truncated": (lambda path: path.write_bytes(encode_png(PIXELS)[:-300]), ["mask of", "0005.png: unreadable image"]),
    "16-bit": (
        lambda path: path.write_bytes(cv2.imencode(".png", np.zeros((HEIGHT, WIDTH), np.uint16))[1].tobytes()),
        ["mask of", "16 bits a channel"],
    ),
    "a bomb": (lambda path: path.write_bytes(build_bomb()), ["mask of", "promises 1600000000 pixels"]),
}


@pytest.mark.parametrize("name", SPOIL_MASK)
def test_a_mask_that_is_refused(name: str, tiny: Path, kbench: Kbench) -> None:
    ask_foreground(tiny)
    spoil, words = SPOIL_MASK[name]
    spoil(tiny / "data/scenes/bow/masks/0005.png")
    check_one_line(run(kbench, tiny), 2, words)


def test_foreground_metrics_in_a_table(tiny: Path, kbench: Kbench) -> None:
    ask_foreground(tiny)
    ended = run(kbench, tiny)
    assert ended.code == 0, ended.err
    assert "PSNR-fg ↑" in ended.out and "SSIM-fg ↑" in ended.out


def test_optional_foreground_metrics_without_masks_are_left_out_and_said(tiny: Path, kbench: Kbench) -> None:
    ask_foreground(tiny, ("metrics: [psnr, ssim]", "metrics: [psnr, ssim]\noptional_metrics: [psnr-fg]"))
    (tiny / "data/scenes/bow/masks/0005.png").unlink()
    ended = run(kbench, tiny)
    assert ended.code == 0, ended.err
    assert "psnr-fg is left out, not every target view has a mask: bow, view 0005 has none" in ended.err
    assert "psnr-fg: no masks" in ended.out


# Weights


def test_weights_of_another_content(tiny: Path, kbench: Kbench, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (tiny / "tiny.yaml").read_text()
    (tiny / "tiny.yaml").write_text(text.replace("metrics: [psnr, ssim]", "metrics: [psnr, lpips-alex]"))
    path = tiny / "weights/lpips/alexnet_features.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"these are no weights")
    monkeypatch.setenv("KBENCH_WEIGHTS", str(tiny / "weights"))
    words = ["alexnet_features.safetensors: sha256", "expected sha256 26ddfade", "Delete this file and get it again"]
    check_one_line(run(kbench, tiny), 2, words)
