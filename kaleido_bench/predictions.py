"""The folder where predicting and scoring meet: its layout, and whether what is there is right.

    runs/<protocol>/<model>/
        run.json                          what was run, with what, and how often it was continued
        protocol.json                     protocol and index in canonical form: the run can be re-scored by itself
        predictions/<item>/<view>.png     8-bit RGB at the prepared size
        predictions/<item>/case.json      seed, seconds, adapter, and the sha256 of each PNG
        scores/<convention>.parquet       one row a view and metric
        result.json                       the product
        efficiency.json                   what predicting took: beside the result, since two honest runs differ in it

A prediction folder is there whole or not at all. Nothing in it is believed without its hash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from pydantic import Field, JsonValue

from kaleido_bench.atomic import remove_leftovers, update_bytes_atomic, write_bytes_atomic, write_folder_atomic
from kaleido_bench.cases import CaseIndex, ViewId
from kaleido_bench.data.images import decode_image, encode_png
from kaleido_bench.errors import BenchError
from kaleido_bench.items import Deviations, WorkItem, plan_items
from kaleido_bench.protocol import (
    LoadedProtocol,
    Protocol,
    ProtocolName,
    build_protocol,
)
from kaleido_bench.records import (
    Record,
    Sha256,
    canonical_json,
    load_json_record,
    parse_json_record,
    read_bytes,
    sha256_hex,
)


class Session(Record):
    """One call that made predictions: the circumstances, none of which may change a number."""

    started: str = Field(description="UTC, ISO 8601")
    command: tuple[str, ...]
    device: str
    precision: str
    versions: dict[str, str] = Field(description="package -> version")
    git_commit: str | None = Field(description="of the harness, null outside a checkout")
    git_dirty: bool | None
    deviations: Deviations = Deviations()


MemoryKind = Literal["device", "host growth"]
"""All that torch allocated on the device; or how far the process grew while it predicted, weights not counted."""


class Cost(NamedTuple):
    """What one prediction took, beside its seconds.

    Args:
        fit_seconds: of fit alone, by the wall clock; 0 for a method without one.
        peak_memory: in bytes, of the kind `memory_kind`; both None where it was not measured.
        device, precision: as `Session` has them, of the worker that predicted.
    """

    fit_seconds: float = 0.0
    peak_memory: int | None = None
    memory_kind: MemoryKind | None = None
    device: str | None = None
    precision: str | None = None


class AdapterRecord(Record):
    """The adapter's card."""

    name: str = Field(min_length=1)
    variant: str | None
    weights_sha256: str | None
    settings: dict[str, JsonValue]
    training_data: tuple[str, ...] | None = Field(description="() is none, null is unknown")
    generative: bool | None = Field(default=None, description="its samples differ; null in runs before it was recorded")
    parameters: int | None = Field(default=None, ge=0, description="learned numbers; 0 is none, null is unknown")
    function_evaluations: int | None = Field(
        default=None, ge=0, description="passes through its network for one answer; 0 is no network, null is unknown"
    )

    @property
    def deterministic(self) -> bool:
        """It is known to answer every sample of a case alike."""
        return self.generative is False


class RunRecord(Record):
    """`run.json`."""

    schema_version: Literal[1] = 1
    protocol: ProtocolName
    protocol_version: int
    protocol_hash: Sha256
    convention: str
    model: str = Field(description="as named on the command line: kaleido@tiny")
    adapter: AdapterRecord
    fingerprint: str = Field(min_length=1, description="of the adapter: code version, weights and settings")
    seed: int
    sessions: tuple[Session, ...] = Field(description="the calls that made predictions, in order")

    @property
    def deviations(self) -> Deviations:
        """Those of the last call that made predictions."""
        return self.sessions[-1].deviations if self.sessions else Deviations()


class PredictionRecord(Record):
    """`case.json`: one finished prediction."""

    schema_version: Literal[1] = 1
    item: str
    case: str
    sample: int
    scale: float | None
    seed: int
    seconds: float = Field(ge=0, description="of predict (and fit), by the wall clock")
    fit_seconds: float = Field(default=0, ge=0, description="of fit alone, where the method has one")
    peak_memory: int | None = Field(default=None, ge=0, description="bytes; null where it was not measured")
    memory_kind: MemoryKind | None = Field(default=None, description="what peak_memory is of")
    device: str | None = Field(default=None, description="what it was computed on; null before it was recorded")
    precision: str | None = None
    width: int
    height: int
    fingerprint: str
    protocol_hash: Sha256
    sha256: dict[ViewId, Sha256] = Field(description="view id -> sha256 of its PNG")


@dataclass(frozen=True)
class Run:
    """A run folder and what its run.json says."""

    path: Path
    record: RunRecord

    @property
    def predictions(self) -> Path:
        """The folder of predictions."""
        return self.path / "predictions"

    @property
    def result(self) -> Path:
        """The result file."""
        return self.path / "result.json"

    @property
    def efficiency(self) -> Path:
        """The file of what its predictions took."""
        return self.path / "efficiency.json"

    def item_folder(self, item: WorkItem) -> Path:
        """The folder of one prediction."""
        return self.predictions / item.key

    def scores(self, convention: str) -> Path:
        """The rows scored under one convention."""
        return self.path / "scores" / f"{convention}.parquet"


class PredictionState(NamedTuple):
    """What is wrong with one prediction, one line each."""

    present: bool  # its folder is there
    problems: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """There, with exactly the expected views, of the expected size, unaltered."""
        return self.present and not self.problems


# The run folder


def run_folder(out: Path, protocol: str, model: str) -> Path:
    """`<out>/<protocol>/<model>`, with the model's name made safe: `saved@../x` would otherwise leave the folder."""
    safe = re.sub(r"[^A-Za-z0-9_.@+=-]+", "-", model).strip(".-")[:80]
    name = safe if safe == model else f"{safe}-{sha256_hex(model.encode())[:8]}"
    return out / protocol / name


def create_run(out: Path, loaded: LoadedProtocol, *, model: str, adapter: AdapterRecord, fingerprint: str) -> Run:
    """Makes the run folder of a protocol and a model, or continues the one that is there.

    Leftovers of a killed process are removed. What run.json and protocol.json say beside the two hashes (a title, the
    adapter's training data) is brought up to date. Predictions, scores and sessions stay as they are.

    Args:
        out: the folder of all runs.
        loaded: the protocol.
        model: the model's name as the user wrote it.
        adapter: the adapter's card.
        fingerprint: the adapter's fingerprint.

    Raises:
        BenchError: the folder belongs to another protocol hash or another adapter fingerprint.
    """
    path = run_folder(out, loaded.protocol.name, model)
    there = (path / "run.json").is_file()
    before = open_run(path, protocol_hash=loaded.hash, fingerprint=fingerprint).record if there else None
    record = RunRecord(
        protocol=loaded.protocol.name,
        protocol_version=loaded.protocol.version,
        protocol_hash=loaded.hash,
        convention=loaded.protocol.convention,
        model=model,
        adapter=adapter,
        fingerprint=fingerprint,
        seed=loaded.protocol.seed,
        sessions=before.sessions if before else (),
    )
    for folder in (path, path / "predictions", path / "scores"):
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    update_bytes_atomic(path / "protocol.json", _render_protocol(loaded))
    if record != before:
        write_json_atomic(path / "run.json", record.model_dump(mode="json"))
    return Run(path, record)


def open_run(path: Path, *, protocol_hash: str | None = None, fingerprint: str | None = None) -> Run:
    """Opens a run folder.

    Args:
        path: the folder.
        protocol_hash: what its protocol's hash must be, if it must.
        fingerprint: what its adapter's fingerprint must be, if it must.

    Raises:
        BenchError: it is no run folder, or belongs to another protocol or adapter.
    """
    where = path / "run.json"
    record = load_json_record(
        where,
        RunRecord,
        what="a run folder with its run.json",
        fix="Make it with `kbench run`, or name another folder.",
    )
    for what, found, expected in (
        ("protocol hash", record.protocol_hash, protocol_hash),
        ("adapter fingerprint", record.fingerprint, fingerprint),
    ):
        if expected is not None and found != expected:
            raise BenchError(
                where,
                f"{what} {found}",
                expected=f"{expected}, that of this call",
                fix="Its predictions answer another question: name another --out, or remove this folder.",
            )
    return Run(path, record)


def append_session(run: Run, session: Session) -> Run:
    """Records that a call is about to make predictions. A call that finds nothing to do records nothing."""
    now = open_run(run.path).record  # another process may have begun meanwhile
    record = now.model_copy(update={"sessions": (*now.sessions, session)})
    write_json_atomic(run.path / "run.json", record.model_dump(mode="json"))
    return Run(run.path, record)


def find_runs(out: Path) -> list[Path]:
    """The run folders below a folder, sorted. A link back to a folder above is not followed."""
    return _find_runs(out, frozenset())


def _find_runs(folder: Path, above: frozenset[Path]) -> list[Path]:
    if (folder / "run.json").is_file():
        return [folder]
    real = folder.resolve()
    if not folder.is_dir() or real in above:
        return []
    below = (child for child in sorted(folder.iterdir()) if child.is_dir() and not child.name.startswith("."))
    return [found for child in below for found in _find_runs(child, above | {real})]


class _StoredProtocol(Record):
    """`protocol.json`."""

    protocol: Protocol
    index: CaseIndex


def _render_protocol(loaded: LoadedProtocol) -> bytes:
    stored = {"protocol": loaded.protocol.model_dump(mode="json"), "index": loaded.index.model_dump(mode="json")}
    return canonical_json(stored)


def load_run_protocol(run: Run) -> LoadedProtocol:
    """The protocol that a run answers, from the copy it carries.

    Raises:
        BenchError: the copy is missing or is not the protocol whose hash run.json has.
    """
    where = run.path / "protocol.json"
    stored = load_json_record(where, _StoredProtocol, what="the run's copy of its protocol", fix="Restore it.")
    loaded = build_protocol(stored.protocol, stored.index, path=None)
    if loaded.hash != run.record.protocol_hash:
        raise BenchError(
            where,
            f"protocol hash {loaded.hash}",
            expected=f"{run.record.protocol_hash}, as run.json says",
            fix="Restore it, or score with the protocol file itself.",
        )
    return loaded


def write_json_atomic(path: Path, value: object) -> None:
    """Writes plain values as canonical JSON, atomically."""
    write_bytes_atomic(path, canonical_json(value))


# One prediction


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
    targets = item.case.targets
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[0] != len(targets) or images.shape[3] != 3:
        raise BenchError(
            f"prediction '{item.key}' of {run.record.model}",
            f"{images.dtype} {list(images.shape)}",
            expected=f"uint8 [{len(targets)}, height, width, 3], one image per target",
            fix="Correct the adapter.",
        )
    pngs = {view: encode_png(image) for view, image in zip(targets, images, strict=True)}
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


def check_prediction(run: Run, item: WorkItem, size: tuple[int, int]) -> PredictionState:
    """Whether a prediction is there and right, by reading every byte of it.

    Args:
        run: the run.
        item: the prediction.
        size: width and height it must have, in pixels.
    """
    if not run.item_folder(item).is_dir():
        return PredictionState(present=False, problems=())
    problems = _find_problems(run, item, size)
    return PredictionState(present=True, problems=tuple(f"{problem.path}: {problem.found}" for problem in problems))


def load_prediction(run: Run, item: WorkItem, size: tuple[int, int]) -> UInt8[np.ndarray, "target height width 3"]:
    """Decodes a prediction, in the order of the case's targets, after checking it.

    Raises:
        BenchError: it is not there, or anything in it is missing, extra, altered, truncated or of the wrong size.
    """
    folder = run.item_folder(item)
    problems = _find_problems(run, item, size) if folder.is_dir() else [_Problem(folder, "no such prediction")]
    if problems:
        raise _refuse(problems[0], item, size)
    paths = [folder / f"{view}.png" for view in item.case.targets]
    return np.stack([decode_image(path.read_bytes(), path) for path in paths])


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
        raise _refuse(problems[0], item, size)
    return record


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
    problems = _check_png(path, data, sha256, size)
    if problems:
        raise _refuse(_Problem(path, problems[0]), item, size)
    return decode_image(data, path)


def load_prediction_record(run: Run, item: WorkItem) -> PredictionRecord:
    """The case.json of one prediction; raises `BenchError` when it is missing or not one."""
    path = run.item_folder(item) / "case.json"
    return load_json_record(path, PredictionRecord, what="the manifest of a prediction", fix="Predict it again.")


def unexpected_items(run: Run, loaded: LoadedProtocol, samples: int | None = None) -> list[str]:
    """What in predictions/ answers nothing the protocol asks. Hidden files are not ours, nor anybody's prediction."""
    known = {item.key for item in plan_items(loaded, samples)}
    if not run.predictions.is_dir():
        return []
    names = sorted(path.name for path in run.predictions.iterdir())
    return [name for name in names if name not in known and not name.startswith(".")]


class _Problem(NamedTuple):
    path: Path
    found: str


def _refuse(problem: _Problem, item: WorkItem, size: tuple[int, int]) -> BenchError:
    return BenchError(
        problem.path,
        problem.found,
        expected=f"{len(item.case.targets)} views of {size[0]}x{size[1]}, as case.json has them",
        fix="Predict it again: `kbench run` replaces a prediction that is not whole.",
    )


def _find_problems(run: Run, item: WorkItem, size: tuple[int, int]) -> list[_Problem]:
    """All that is wrong with a prediction folder."""
    folder = run.item_folder(item)
    record, problems = _check_folder(run, item)
    for view in item.case.targets:
        path = folder / f"{view}.png"
        if path.is_file():
            known = record.sha256.get(view) if record else None
            problems += [_Problem(path, found) for found in _check_png(path, path.read_bytes(), known, size)]
    return problems


def _check_folder(run: Run, item: WorkItem) -> tuple[PredictionRecord | None, list[_Problem]]:
    """The manifest, and what is wrong with it or with the list of files."""
    folder = run.item_folder(item)
    record, problems = _read_record(run, item)
    expected = {f"{view}.png" for view in item.case.targets}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"case.json"}
    found = {name for name in found if not PurePath(name).name.startswith(".")}  # .DS_Store; no view has such a name
    problems += [_Problem(folder / name, "missing") for name in sorted(expected - found)]
    extra = f"extra, no target of case '{item.case.id}'"
    problems += [_Problem(folder / name, extra) for name in sorted(found - expected)]
    return record, problems


def _read_record(run: Run, item: WorkItem) -> tuple[PredictionRecord | None, list[_Problem]]:
    """The case.json of a prediction, and what is wrong with it."""
    path = run.item_folder(item) / "case.json"
    try:
        data = read_bytes(path, what="the manifest of a prediction", fix="Predict it again.")
        record = parse_json_record(data, PredictionRecord, where=str(path))
    except BenchError as error:
        return None, [_Problem(path, error.found)]
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
    return record, [_Problem(path, found) for found in wrong]


def _check_png(path: Path, data: bytes, expected_sha256: str | None, size: tuple[int, int]) -> list[str]:
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
