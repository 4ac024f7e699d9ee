"""Whether what lies in a prediction's folder is what its manifest and its case say: files, hashes, sizes."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import NamedTuple

from kaleido_bench.data.images import decode_image
from kaleido_bench.errors import BenchError
from kaleido_bench.items import WorkItem, plan_items
from kaleido_bench.predictions.records import PredictionRecord
from kaleido_bench.predictions.runs import Run
from kaleido_bench.protocol import LoadedProtocol
from kaleido_bench.records import parse_json_record, read_bytes, sha256_hex


class PredictionState(NamedTuple):
    """What is wrong with one prediction, one line each."""

    present: bool  # its folder is there
    problems: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """There, with exactly the expected views, of the expected size, unaltered."""
        return self.present and not self.problems


def check_prediction(run: Run, item: WorkItem, size: tuple[int, int]) -> PredictionState:
    """Whether a prediction is there and right, by reading every byte of it.

    Args:
        run: the run.
        item: the prediction.
        size: width and height it must have, in pixels.
    """
    if not run.item_folder(item).is_dir():
        return PredictionState(present=False, problems=())
    problems = find_problems(run, item, size)
    return PredictionState(present=True, problems=tuple(f"{problem.path}: {problem.found}" for problem in problems))


def check_manifest(run: Run, item: WorkItem, size: tuple[int, int]) -> PredictionRecord | None:
    """The case.json of a prediction that is there, whose files are those that it names. No image is opened.

    Args:
        size: width and height its images must have, in pixels, for the error.
    Raises:
        BenchError: the folder is there and case.json or a file is missing, extra, or of another prediction.
    """
    if not run.item_folder(item).is_dir():
        return None
    record, problems = _check_folder(run, item)
    if record is None or problems:
        raise refuse(problems[0], item, size)
    return record


def unexpected_items(run: Run, loaded: LoadedProtocol, samples: int | None = None) -> list[str]:
    """What in predictions/ answers nothing the protocol asks. Hidden files are not ours, nor anybody's prediction."""
    known = {item.key for item in plan_items(loaded, samples)}
    if not run.predictions.is_dir():
        return []
    names = sorted(path.name for path in run.predictions.iterdir())
    return [name for name in names if name not in known and not name.startswith(".")]


class Problem(NamedTuple):
    """A file or folder, and what is wrong with it."""

    path: Path
    found: str


def refuse(problem: Problem, item: WorkItem, size: tuple[int, int]) -> BenchError:
    """The error that a problem is where a prediction has to be right."""
    return BenchError(
        problem.path,
        problem.found,
        expected=f"{len(item.case.targets)} views of {size[0]}x{size[1]}, as case.json has them",
        fix="Predict it again: `kbench run` replaces a prediction that is not whole.",
    )


def find_problems(run: Run, item: WorkItem, size: tuple[int, int]) -> list[Problem]:
    """All that is wrong with a prediction folder."""
    folder = run.item_folder(item)
    record, problems = _check_folder(run, item)
    for view in item.case.targets:
        path = folder / f"{view}.png"
        if path.is_file():
            known = record.sha256.get(view) if record else None
            problems += [Problem(path, found) for found in check_png(path, path.read_bytes(), known, size)]
    return problems


def _check_folder(run: Run, item: WorkItem) -> tuple[PredictionRecord | None, list[Problem]]:
    """The manifest, and what is wrong with it or with the list of files."""
    folder = run.item_folder(item)
    record, problems = _read_record(run, item)
    expected = {f"{view}.png" for view in item.case.targets}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"case.json"}
    found = {name for name in found if not PurePath(name).name.startswith(".")}  # .DS_Store; no view has such a name
    problems += [Problem(folder / name, "missing") for name in sorted(expected - found)]
    extra = f"extra, no target of case '{item.case.id}'"
    problems += [Problem(folder / name, extra) for name in sorted(found - expected)]
    return record, problems


def _read_record(run: Run, item: WorkItem) -> tuple[PredictionRecord | None, list[Problem]]:
    """The case.json of a prediction, and what is wrong with it."""
    path = run.item_folder(item) / "case.json"
    try:
        data = read_bytes(path, what="the manifest of a prediction", fix="Predict it again.")
        record = parse_json_record(data, PredictionRecord, where=str(path))
    except BenchError as error:
        return None, [Problem(path, error.found)]
    wrong = [
        f"{what} {found!r}, expected {expected!r}"
        for what, found, expected in (
            ("item", record.item, item.key),
            ("protocol hash", record.protocol_hash, run.record.protocol_hash),
            ("adapter fingerprint", record.fingerprint, run.record.fingerprint),
        )
        if found != expected
    ]
    listed, targets = set(record.sha256), set(item.case.targets)
    wrong += [f"no sha256 for the view '{view}'" for view in sorted(targets - listed)]
    wrong += [f"sha256 for '{view}', which is no target" for view in sorted(listed - targets)]
    return record, [Problem(path, found) for found in wrong]


def check_png(path: Path, data: bytes, expected_sha256: str | None, size: tuple[int, int]) -> list[str]:
    """What is wrong with one PNG. Decoding is only needed to tell truncated from altered, or without a hash."""
    intact = expected_sha256 is not None and sha256_hex(data) == expected_sha256
    if intact:
        found = _read_png_size(data)
    else:
        try:
            image = decode_image(data, path)
        except BenchError:
            return [f"truncated or not a PNG ({len(data)} bytes)"]
        if image.shape[2] != 3:
            return [f"{image.shape[2]} channels, expected 3"]
        found = (image.shape[1], image.shape[0])
    problems: list[str] = []
    if found != size:
        problems.append(f"{found[0]}x{found[1]}, expected {size[0]}x{size[1]}")
    if expected_sha256 is not None and not intact:
        problems.append("altered, its sha256 is not the one in case.json")
    return problems


def _read_png_size(data: bytes) -> tuple[int, int]:
    """Width and height from a PNG's header: bytes 16 to 24 (IHDR comes first, by the PNG specification)."""
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
