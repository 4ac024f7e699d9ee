"""One prediction, written and read: its images as PNG and its manifest, held to their hashes when they are read."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from kaleido_bench.atomic import write_folder_atomic
from kaleido_bench.data.images import decode_image, encode_png
from kaleido_bench.errors import BenchError
from kaleido_bench.items import WorkItem
from kaleido_bench.predictions.checking import Problem, check_png, find_problems, refuse
from kaleido_bench.predictions.records import Cost, PredictionRecord
from kaleido_bench.predictions.runs import Run
from kaleido_bench.records import canonical_json, load_json_record, read_bytes, sha256_hex


def write_prediction(
    run: Run,
    item: WorkItem,
    images: UInt8[np.ndarray, "target height width 3"],
    *,
    seed: int,
    seconds: float,
    cost: Cost = Cost(),
) -> PredictionRecord:
    """Writes one prediction: a folder that is there whole or not at all. An older one is replaced.

    Args:
        run: the run.
        item: what was predicted.
        images: one image per target of the case, in its order.
        seed: the seed that was used.
        seconds: what it took, by the wall clock.
        cost: what else it took.

    Raises:
        BenchError: the images are not uint8 RGB, or not one per target.
    """
    _check_images(run, item, images)
    pngs = {view: encode_png(image) for view, image in zip(item.case.targets, images, strict=True)}
    record = PredictionRecord(
        item=item.key,
        case=item.case.id,
        sample=item.sample,
        scale=item.scale,
        seed=seed,
        seconds=round(seconds, 6),
        **cost._replace(fit_seconds=round(cost.fit_seconds, 6))._asdict(),
        width=images.shape[2],
        height=images.shape[1],
        fingerprint=run.record.fingerprint,
        protocol_hash=run.record.protocol_hash,
        sha256={view: sha256_hex(png) for view, png in pngs.items()},
    )
    contents = {f"{view}.png": png for view, png in pngs.items()}
    contents["case.json"] = canonical_json(record.model_dump(mode="json"))
    write_folder_atomic(run.item_folder(item), contents)
    return record


def _check_images(run: Run, item: WorkItem, images: UInt8[np.ndarray, "target height width 3"]) -> None:
    count = len(item.case.targets)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[0] != count or images.shape[3] != 3:
        raise BenchError(
            f"prediction '{item.key}' of {run.record.model}",
            f"{images.dtype} {list(images.shape)}",
            expected=f"uint8 [{count}, height, width, 3], one image per target",
            fix="Correct the adapter.",
        )


def load_prediction(run: Run, item: WorkItem, size: tuple[int, int]) -> UInt8[np.ndarray, "target height width 3"]:
    """Decodes a prediction, in the order of the case's targets, after checking it.

    Raises:
        BenchError: it is not there, or anything in it is missing, extra, altered, truncated or of the wrong size.
    """
    folder = run.item_folder(item)
    problems = find_problems(run, item, size) if folder.is_dir() else [Problem(folder, "no such prediction")]
    if problems:
        raise refuse(problems[0], item, size)
    paths = [folder / f"{view}.png" for view in item.case.targets]
    return np.stack([decode_image(path.read_bytes(), path) for path in paths])


def load_predicted_view(
    run: Run, item: WorkItem, view: str, sha256: str, size: tuple[int, int]
) -> UInt8[np.ndarray, "height width 3"]:
    """One predicted image. Its file is read once, held to its hash, and decoded.

    Args:
        sha256: as `check_manifest` found it.
        size: width and height it must have, in pixels.
    Raises:
        BenchError: it is missing, altered, truncated or of the wrong size.
    """
    path = run.item_folder(item) / f"{view}.png"
    data = read_bytes(path, what="a predicted view", fix="Predict it again.")
    problems = check_png(path, data, sha256, size)
    if problems:
        raise refuse(Problem(path, problems[0]), item, size)
    return decode_image(data, path)


def load_prediction_record(run: Run, item: WorkItem) -> PredictionRecord:
    """The case.json of one prediction; raises `BenchError` when it is missing or not one."""
    path = run.item_folder(item) / "case.json"
    again = "Predict it again: `kbench run` replaces a prediction that is not whole."
    return load_json_record(path, PredictionRecord, what="the manifest of a prediction", fix=again, broken=again)
