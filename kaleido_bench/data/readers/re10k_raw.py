"""RealEstate10K and ACID as published: a text file of cameras for each clip, and the frames somebody extracted.

`<key>.txt` holds the video's URL in its first line, then for each frame nineteen numbers: the timestamp in
microseconds, then the eighteen that the `re10k` reader describes
(https://google.github.io/realestate10k/download.html). Frames are `<key>/<timestamp>.jpg` or `.png`, as
yilundu/cross_attention_renderer:data_download/generate_realestate.py writes them and
dcharatan/real_estate_10k_tools:src/convert.py reads them. The text files may lie beside the folders, or both below
`metadata/` and `images/`.

- A view's id is the position of its line, as in the chunks made from these files.
- convert.py leaves a clip out when one frame is missing; here the frame is missed when it is read.
"""

from __future__ import annotations

from pathlib import Path

from kaleido_bench.data.datasets import how_to_get
from kaleido_bench.data.readers.arrays import parse_numbers
from kaleido_bench.data.readers.folders import find_scene_folder, is_below, read_image_size, read_text, require_images
from kaleido_bench.data.readers.re10k import camera_from_entry
from kaleido_bench.data.scenes import Scene, View, build_scene
from kaleido_bench.errors import BenchError

_GET = how_to_get("re10k", "acid")


class Re10kRawReader:
    """Reads `<key>.txt` with `<key>/<timestamp>.*`, side by side or below `metadata/` and `images/`."""

    def scene_names(self, root: Path) -> list[str]:
        """The clips that have both a text file and a folder of frames."""
        texts, images = _parts(root)
        if not texts.is_dir():
            raise BenchError(texts, "no such folder", expected="the camera files", fix=_GET)
        return sorted(path.stem for path in texts.glob("*.txt") if (images / path.stem).is_dir())

    def load_scene(self, root: Path, name: str) -> Scene:
        """The cameras of all lines; images stay on disk, but for the header of one, which gives their size.

        Raises:
            BenchError: no text file, no frames, a line that is none, a camera that is none.
        """
        texts, images = _parts(root)
        path = texts / f"{name}.txt"
        if not is_below(name) or not path.is_file():
            raise BenchError(path, "no such scene", expected="the clip's camera file", fix=_GET)
        frames = {image.stem: image for image in require_images(find_scene_folder(images, name, _GET), _GET)}
        size = read_image_size(next(iter(frames.values())))
        lines = [line for line in read_text(path, "a camera file").splitlines()[1:] if line.strip()]
        views = [
            _build_view(str(number), line, images / name, frames, size, f"{path}, line {number + 2}")
            for number, line in enumerate(lines)
        ]
        return build_scene(name, views, path)


def _parts(root: Path) -> tuple[Path, Path]:
    """Where the text files and the folders of frames lie."""
    return (root / "metadata", root / "images") if (root / "metadata").is_dir() else (root, root)


def _build_view(
    view_id: str, line: str, folder: Path, frames: dict[str, Path], size: tuple[int, int], where: str
) -> View:
    numbers = parse_numbers(line, where)
    if len(numbers) != 19:
        raise BenchError(
            where, f"{len(numbers)} numbers", expected="a timestamp and 18 of a camera", fix="Fetch the file again."
        )
    timestamp = line.split()[0]
    image = frames.get(timestamp, folder / f"{timestamp}.jpg")
    return View(view_id, camera_from_entry(numbers[1:], size, where), image.read_bytes, None, str(image))
