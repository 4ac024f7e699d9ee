"""The run folder: where its parts lie, making it or continuing it, finding those below a folder."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from kaleido_bench.atomic import remove_leftovers, update_bytes_atomic, write_bytes_atomic
from kaleido_bench.cases import CaseIndex
from kaleido_bench.errors import BenchError
from kaleido_bench.items import WorkItem
from kaleido_bench.predictions.records import AdapterRecord, RunRecord, Session
from kaleido_bench.protocol import LoadedProtocol, Protocol, build_protocol
from kaleido_bench.records import Record, canonical_json, load_json_record, sha256_hex


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
        _write_json(path / "run.json", record.model_dump(mode="json"))
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
    _write_json(run.path / "run.json", record.model_dump(mode="json"))
    return Run(run.path, record)


def name_finish(run: Run) -> str:
    """The command that finishes its predictions: the last that made some, since the same call makes what is missing."""
    return shlex.join(run.record.sessions[-1].command) if run.record.sessions else "kbench run"


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
    again = "`kbench run` writes it again."
    stored = load_json_record(where, _StoredProtocol, what="the run's copy of its protocol", fix=again, broken=again)
    loaded = build_protocol(stored.protocol, stored.index, path=None)
    if loaded.hash != run.record.protocol_hash:
        raise BenchError(
            where,
            f"protocol hash {loaded.hash}",
            expected=f"{run.record.protocol_hash}, as run.json says",
            fix=again,
        )
    return loaded


def _write_json(path: Path, value: object) -> None:
    """Writes plain values as canonical JSON, atomically."""
    write_bytes_atomic(path, canonical_json(value))
