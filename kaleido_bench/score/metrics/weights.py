"""Where the weights of a learned metric are, and that they are the right ones. Nothing here downloads anything."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from pydantic import Field

from kaleido_bench.atomic import write_bytes_atomic
from kaleido_bench.errors import BenchError
from kaleido_bench.records import Record, Sha256, canonical_json, load_json_record, sha256_hex, suggest

if TYPE_CHECKING:
    from torch import Tensor


class WeightsSpec(NamedTuple):
    """A file of weights, `<name>.safetensors`; its name is its key in `WEIGHTS` and in a convention.

    Args:
        accepted: the sha256 of every container known to hold exactly these tensors; the first one names the weights in
            a result. Empty where none is known, and then any file is taken and its own sha256 is recorded.
        size: bytes of the first container; None where none is known.
        checkpoint: torchvision's checkpoint, which the file is the `features.*` part of. torchvision writes the first 8
            digits of its sha256 into its name.
        source, licence: where the tensors come from, and on which terms.
    """

    accepted: tuple[str, ...]
    size: int | None
    checkpoint: str
    source: str
    licence: str

    @property
    def checkpoint_sha256(self) -> str:
        """What the checkpoint's sha256 begins with, from its name."""
        return Path(self.checkpoint).stem.rpartition("-")[2]


class WeightsFile(NamedTuple):
    """Weights that are there. `sha256` names them wherever a number made with them is written."""

    path: Path
    sha256: str


class WeightsMissing(NamedTuple):
    """Weights that are not there: which, where they were looked for, and what to do about it."""

    name: str
    spec: WeightsSpec
    folders: tuple[Path, ...]

    @property
    def file(self) -> str:
        return f"{self.name}.safetensors"

    @property
    def found(self) -> str:
        return f"{self.file} is not in {', '.join(map(str, self.folders))}"

    @property
    def expected(self) -> str:
        pin = f"sha256 {self.spec.accepted[0]}" if self.spec.accepted else f"the features of {self.spec.checkpoint}"
        return f"{self.file}, {pin}"

    @property
    def fix(self) -> str:
        return (
            f"`kbench weights fetch {self.name}` gets it. Without a network: copy it to {self.folders[0]}, or get "
            f"{self.spec.source} elsewhere and give it with --from {self.spec.checkpoint}."
        )

    @property
    def message(self) -> str:
        """One line for a person."""
        return f"{self.found}; expected {self.expected}. {self.fix}"

    def error(self) -> BenchError:
        """The same as an error, for a metric that is not optional."""
        return BenchError(f"weights of {self.name}", self.found, expected=self.expected, fix=self.fix)


_TORCHVISION_LICENCE = "BSD-3-Clause (torchvision); trained on ImageNet, whose images are for research"

# Each pinned trunk has two containers: as distributed with a provenance header, and as `write_trunk` writes it.
WEIGHTS: Mapping[str, WeightsSpec] = {
    "alexnet_features": WeightsSpec(
        accepted=(
            "26ddfade420eb27c0da515e0fd77b920eee55770cd9b1dd157ed6466e9edd802",
            "9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9",
        ),
        size=9_880_016,
        checkpoint="alexnet-owt-7be5be79.pth",
        source="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        licence=_TORCHVISION_LICENCE,
    ),
    "squeezenet1_1_features": WeightsSpec(
        accepted=(
            "9b5919c155b2159e8a71fa8dfbe65a1fdde4535729d5c5ec1aab585dba30d8af",
            "29dd9af42ad48cb39a767454d382a2232dbc1625a1de3f00fca4868ee65dfc4b",
        ),
        size=2_895_056,
        checkpoint="squeezenet1_1-b8a52dc0.pth",
        source="https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
        licence=_TORCHVISION_LICENCE,
    ),
    "vgg16_features": WeightsSpec(
        accepted=(),
        size=None,
        checkpoint="vgg16-397923af.pth",
        source="https://download.pytorch.org/models/vgg16-397923af.pth",
        licence=_TORCHVISION_LICENCE,
    ),
}

HEADS_FILE = "lpips_v0.1_linear_heads.safetensors"
HEADS_SHA256 = "fcc8d3be218cec56206116bd9e02338834d90883dc06ea619b98913c97bbdf59"


def weights_folders(environment: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """The folders that weights are looked for in, first match wins.

    They are $KBENCH_WEIGHTS/lpips, $KBENCH_WEIGHTS, and $KBENCH_CACHE/weights or ~/.cache/kaleido-bench/weights.
    """
    values = os.environ if environment is None else environment
    folders: list[Path] = []
    if values.get("KBENCH_WEIGHTS"):
        root = Path(values["KBENCH_WEIGHTS"])
        folders += [root / "lpips", root]
    cache = Path(values["KBENCH_CACHE"]) if values.get("KBENCH_CACHE") else Path("~/.cache/kaleido-bench").expanduser()
    return (*folders, cache / "weights")


def find_weights(name: str, environment: Mapping[str, str] | None = None) -> WeightsFile | WeightsMissing:
    """Find the weights `name` (a key of `WEIGHTS`) and check what they are.

    Args:
        environment: variables to read KBENCH_WEIGHTS and KBENCH_CACHE from; the process's own where it is None.
    Raises:
        BenchError: no weights of that name are known, or the file of that name has a sha256 that is not accepted.
    """
    spec = _spec(name)
    folders = weights_folders(environment)
    for folder in folders:
        path = folder / f"{name}.safetensors"
        if path.is_file():
            return WeightsFile(path, _checked_sha256(path, spec))
    return WeightsMissing(name, spec, folders)


def _spec(name: str) -> WeightsSpec:
    if name not in WEIGHTS:
        raise BenchError(
            f"weights '{name}'",
            "no weights of that name are known",
            expected=f"one of {', '.join(WEIGHTS)}",
            fix=suggest(name, WEIGHTS, otherwise="`kbench weights list` shows them."),
        )
    return WEIGHTS[name]


def _checked_sha256(path: Path, spec: WeightsSpec) -> str:
    """The sha256 that names the weights: the first accepted one, or the file's own where none is known."""
    status = path.stat()
    found = _file_sha256(path, status.st_size, status.st_mtime_ns)
    if not spec.accepted:
        _check_origin(path, found)
        return found
    if found not in spec.accepted:
        raise BenchError(
            path,
            f"sha256 {found}",
            expected=f"sha256 {' or '.join(spec.accepted)}",
            fix="Delete this file and get it again: a score made with other weights has no name.",
        )
    return spec.accepted[0]


class Origin(Record):
    """`<name>.json` beside weights whose own sha256 nobody has pinned: what they were made from, and what came out."""

    checkpoint: str
    checkpoint_sha256: Sha256
    sha256: Sha256 = Field(description="of the safetensors file, on its first conversion")


def _check_origin(path: Path, found: str) -> None:
    """Refuse a file that is no longer what its conversion recorded. One without a record is taken for what it is."""
    where = path.with_suffix(".json")
    if not where.is_file():
        return
    origin = load_json_record(where, Origin, what="the origin of weights", fix="Delete it and the weights beside it.")
    if found != origin.sha256:
        raise BenchError(
            path,
            f"sha256 {found}",
            expected=f"sha256 {origin.sha256}, as {where.name} recorded when it was made from {origin.checkpoint}",
            fix=f"Delete both and make it again: `kbench weights fetch {path.stem}`.",
        )


@functools.lru_cache(maxsize=64)
def _file_sha256(path: Path, size: int, modified_ns: int) -> str:
    """The sha256 of a file, computed once a process for as long as its size and time of change stay the same."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_heads() -> bytes:
    """The bytes of the LPIPS v0.1 linear heads that ship with the package, as safetensors.

    Raises:
        BenchError: the installed file is not the pinned one.
    """
    path = resources.files("kaleido_bench") / "embedded" / "weights" / HEADS_FILE
    data = path.read_bytes()
    found = sha256_hex(data)
    if found != HEADS_SHA256:
        raise BenchError(path, f"sha256 {found}", expected=f"sha256 {HEADS_SHA256}", fix="Reinstall kaleido-bench.")
    return data


def write_trunk(name: str, checkpoint: str | Path, folder: str | Path) -> Path:
    """Write the trunk `name` from torchvision's checkpoint (a .pth state dict); the same tensors give the same bytes.

    Nothing in the checkpoint is run: `torch.load(weights_only=True)` reads tensors and no other object. What comes out
    has to be the pinned trunk. Where no trunk is pinned the checkpoint has to be the one its name says, and the sha256
    of what came out is recorded beside it.

    Returns:
        The path of the file below `folder`.
    Raises:
        BenchError: the checkpoint is absent or none, or what came out is not the pinned trunk.
    """
    from safetensors.torch import save

    spec, checkpoint = _spec(name), Path(checkpoint)
    origin = None if spec.accepted else _read_origin(spec, checkpoint)
    # Without a metadata map: safetensors writes that in no fixed order, and the file could not be pinned.
    data = save(_load_features(spec, checkpoint))
    found = sha256_hex(data)
    if spec.accepted and found not in spec.accepted:
        raise BenchError(
            checkpoint,
            f"its features have sha256 {found}",
            expected=f"sha256 {' or '.join(spec.accepted)}",
            fix=f"Get the checkpoint again from {spec.source}.",
        )
    path = Path(folder) / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(path, data)
    if origin is not None:
        record = Origin(checkpoint=spec.checkpoint, checkpoint_sha256=origin, sha256=found)
        write_bytes_atomic(path.with_suffix(".json"), canonical_json(record.model_dump(mode="json")))
    return path


def _load_features(spec: WeightsSpec, checkpoint: Path) -> dict[str, Tensor]:
    import torch

    if not checkpoint.is_file():
        raise BenchError(
            checkpoint, "no such file", expected=f"torchvision's {spec.checkpoint}", fix=f"It is at {spec.source}."
        )
    try:
        state = cast("dict[str, Tensor]", torch.load(checkpoint, map_location="cpu", weights_only=True))
        features = {key: value.contiguous() for key, value in state.items() if key.startswith("features.")}
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, ValueError, KeyError, OSError) as error:
        raise BenchError(
            checkpoint,
            f"not a checkpoint of tensors ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
            expected=f"torchvision's {spec.checkpoint}",
            fix=f"Get it again from {spec.source}.",
        ) from None
    if not features:
        raise BenchError(
            checkpoint,
            "no features.* in it",
            expected=f"torchvision's {spec.checkpoint}",
            fix=f"It is at {spec.source}.",
        )
    return features


def _read_origin(spec: WeightsSpec, checkpoint: Path) -> str | None:
    """The sha256 of a checkpoint whose trunk nobody has pinned: it has to begin as its name says."""
    if not checkpoint.is_file():
        return None
    status = checkpoint.stat()
    found = _file_sha256(checkpoint, status.st_size, status.st_mtime_ns)
    if not found.startswith(spec.checkpoint_sha256):
        raise BenchError(
            checkpoint,
            f"sha256 {found}",
            expected=f"a sha256 that begins with {spec.checkpoint_sha256}, that of {spec.checkpoint}",
            fix=f"Get it again from {spec.source}.",
        )
    return found
