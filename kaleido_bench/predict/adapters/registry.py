"""From a model's name to an adapter. Nothing is imported before the adapter is built.

Built-in methods are listed here. Others come from installed packages, which name a `build` function under the
entry-point group `kbench.adapters`:

    [project.entry-points."kbench.adapters"]
    mymethod = "mypackage.adapter:build"

where `build(variant: str | None, args: Mapping[str, str], device: str) -> Adapter`.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import PurePath
from typing import NamedTuple, cast

from kaleido_bench.errors import BenchError
from kaleido_bench.predict.adapters.interface import Adapter

ENTRY_POINT_GROUP = "kbench.adapters"

Build = Callable[[str | None, Mapping[str, str], str], object]


class AdapterEntry(NamedTuple):
    """What is known of a method before it is imported.

    Args:
        target: where its build function is, "module:function".
        title: one line for people.
        arguments: the keys that `--model-arg` takes, and what each does; None when only the method itself knows.
        variant: what stands after the `@`, for people; "" when nothing may.
        default_variant: what a bare name means; None when a bare name is complete or not allowed.
        uses_device: whether it computes on the device that the call names.
        deterministic: it is known to answer every sample of a case alike (the adapter itself says, once it is built).
    """

    target: str
    title: str
    arguments: Mapping[str, str] | None = None
    variant: str = ""
    default_variant: str | None = None
    uses_device: bool = True
    deterministic: bool = False


ADAPTERS: Mapping[str, AdapterEntry] = {
    "external": AdapterEntry(
        "kaleido_bench.predict.adapters.external:build",
        "a program of your own, started by what FILE says and asked case by case over files",
        None,
        "FILE",
    ),
    "kaleido": AdapterEntry(
        "kaleido_bench.predict.adapters.kaleido:build",
        "the reference model: a rectified-flow transformer over reference and target views",
        {
            "steps": "steps of the sampler, a whole number from 1 (default 1)",
            "solver": "euler, or heun: two passes a step but for the last",
            "schedule": "where the steps lie: shifted, or quantiles of the levels of training",
            "guidance": "of a model trained with reference dropout, two passes a step; 1 is none",
            "chunk": "targets made together (default 4)",
            "order": "of the targets: given, nearest or trajectory",
            "references": "at most so many a chunk, the nearest (default: as many as in training)",
            "generated": "at most so many views made before that a chunk sees, the nearest (default 0)",
            "growth": "how those join the references: reencode (all anew, default), or append (once: cheaper)",
            "precision": "of the network: float32 (default), or bfloat16, for GPUs",
        },
        "small, tiny, or a checkpoint folder",
        "small",
    ),
    "mean": AdapterEntry(
        "kaleido_bench.predict.adapters.mean:build",
        "the per-pixel mean of the reference views",
        {},
        uses_device=False,
        deterministic=True,
    ),
    "nearest": AdapterEntry(
        "kaleido_bench.predict.adapters.nearest:build",
        "a copy of the reference view whose camera is closest",
        {},
        uses_device=False,
        deterministic=True,
    ),
    "saved": AdapterEntry(
        "kaleido_bench.predict.adapters.saved:build",
        "images made elsewhere: DIR/<case>/<view>.png",
        {},
        "DIR",
        uses_device=False,
    ),
}


_TO_NAME = {"DIR": "Name the folder that holds the images.", "FILE": "Name the file that says how it is started."}
"""What has to follow the `@`, and what it is."""


class ModelName(NamedTuple):
    """`name` or `name@variant`, as the command line spells it."""

    name: str
    variant: str | None

    def __str__(self) -> str:
        return self.name if self.variant is None else f"{self.name}@{self.variant}"


def parse_model_name(text: str) -> ModelName:
    """Split `kaleido@small` at the first `@`. Raises BenchError when a part is empty."""
    name, separator, variant = text.partition("@")
    if not name or (separator and not variant):
        raise BenchError(
            "--model", f"{text!r}", expected="NAME or NAME@VARIANT", fix="`kbench list models` names the models."
        )
    return ModelName(name, variant if separator else None)


def find_adapters() -> dict[str, AdapterEntry]:
    """Every method there is: the built-in ones, then those of installed packages, by name. Imports none of them.

    A package cannot take a built-in name: a table that says `nearest` means ours.
    """
    found = dict(ADAPTERS)
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=_by_name):
        if point.name not in found:
            package = point.dist.name if point.dist is not None else point.value.partition(":")[0]
            found[point.name] = AdapterEntry(point.value, f"from the package {package}", None, "as the package says")
    return found


def resolve_model(text: str) -> ModelName:
    """The full name of a model: known, and with its default variant filled in. Raises BenchError otherwise."""
    model = parse_model_name(text)
    entry = _find_entry(model)
    if model.variant is None and entry.default_variant is not None:
        return ModelName(model.name, entry.default_variant)
    if model.variant is None and entry.variant in _TO_NAME:
        raise BenchError("--model", f"{text!r}", expected=f"{model.name}@{entry.variant}", fix=_TO_NAME[entry.variant])
    if model.variant is not None and not entry.variant:
        raise BenchError(
            "--model",
            f"{text!r}",
            expected=f"{model.name!r}, which has no variants",
            fix="Leave out what follows the @.",
        )
    return model


def build_adapter(model: ModelName, args: Mapping[str, str], device: str) -> Adapter:
    """Import a method and build it.

    Args:
        model: as `resolve_model` gave it.
        args: what `--model-arg` said.
        device: a torch device (`cpu`, `cuda:1`), not `auto`.

    Raises:
        BenchError: an argument the method does not know, or an adapter that cannot be imported or is none.
    """
    entry = _find_entry(model)
    check_arguments(model, args, entry.arguments)
    adapter = _import_build(model, entry)(model.variant, args, device)
    if not isinstance(adapter, Adapter):
        raise BenchError(
            entry.target,
            f"build returned a {type(adapter).__name__}",
            expected="an object with capabilities, describe and predict",
            fix="See kaleido_bench.predict.adapters.Adapter.",
        )
    return adapter


def check_arguments(model: ModelName, args: Mapping[str, str], known: Mapping[str, str] | None) -> None:
    """Refuse a `--model-arg` that the method does not know. `known` is None when only the method itself can tell."""
    unknown = [key for key in args if known is not None and key not in known]
    if unknown:
        raise BenchError(
            f"--model-arg {unknown[0]}={args[unknown[0]]}",
            f"{model} has no argument {unknown[0]!r}",
            expected=", ".join(known) if known else "no argument at all",
            fix="`kbench list models` shows what each model takes.",
        )


def label_model(model: ModelName, args: Mapping[str, str]) -> str:
    """The name of a model in tables, and of its folder below `runs/<protocol>/`: `kaleido@tiny+steps=8`.

    A path is shortened to its last part. Whether two runs of one label are one method, their fingerprints tell.
    """
    variant = "" if model.variant is None else f"@{PurePath(model.variant).name or 'root'}"
    settings = "".join(f"+{key}={value}" for key, value in sorted(args.items()))
    return re.sub(r"[^A-Za-z0-9_.@+=-]", "-", f"{model.name}{variant}{settings}")


def _find_entry(model: ModelName) -> AdapterEntry:
    known = find_adapters()
    if model.name in known:
        return known[model.name]
    nearest = difflib.get_close_matches(model.name, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(nearest)}? " if nearest else ""
    raise BenchError(
        "--model",
        f"unknown model {model.name!r}",
        expected=f"one of {', '.join(known)}",
        fix=f"{hint}See `kbench list models`.",
    )


def _import_build(model: ModelName, entry: AdapterEntry) -> Build:
    module_name, _, attribute = entry.target.partition(":")
    try:
        return cast(Build, getattr(importlib.import_module(module_name), attribute))
    except (ImportError, AttributeError) as error:
        raise BenchError(
            entry.target,
            f"the adapter {model.name!r} cannot be imported ({error})",
            expected="an importable build function",
            fix="Install what it needs, or uninstall the package that names it.",
        ) from error


def _by_name(point: EntryPoint) -> tuple[str, str]:
    return point.name, point.value
