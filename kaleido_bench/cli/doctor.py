"""`kbench doctor`: what this machine can do, what is missing, and the command that gets it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import typer

from kaleido_bench.cli.options import Data, Json
from kaleido_bench.cli.printing import format_rows, print_json
from kaleido_bench.errors import BenchError, IncompleteError

# Packages of the extras, and the extra that brings each.
EXTRAS = {"pycolmap": "colmap", "datasets": "parquet"}

GET_DATA = (
    "`kbench list datasets` says where each is, and under which terms; its root goes below the folder that KBENCH_DATA "
    "or --data names."
)


class Check(NamedTuple):
    """One thing looked for.

    Args:
        topic: `versions`, `devices`, `data`, `weights`, ...
        name: the thing.
        verdict: `ok`; `missing`, which something optional may be; `broken`, which nothing may be.
        detail: what was found.
        fix: how to get it; "" when there is nothing to do.
    """

    topic: str
    name: str
    verdict: str
    detail: str
    fix: str = ""


def doctor(data: Data = None, json: Json = False) -> None:
    """What this machine can do. Versions, devices, models, data, weights; ends with 1 when something is broken."""
    checks = [
        *check_versions(),
        *check_extras(),
        *check_devices(),
        *check_models(),
        *check_data(data),
        *check_weights(),
    ]
    if json:
        print_json([check._asdict() for check in checks])
    else:
        typer.echo(render(checks))
    broken = [check.name for check in checks if check.verdict == "broken"]
    if broken:
        raise IncompleteError(f"broken: {', '.join(broken)}")


def check_versions() -> list[Check]:
    """This program and what it computes with."""
    from kaleido_bench.predict.sessions import read_versions

    return [Check("versions", name, "ok", version) for name, version in read_versions().items()]


def check_extras() -> list[Check]:
    """Optional packages."""
    from importlib.metadata import PackageNotFoundError, version

    checks: list[Check] = []
    for package, extra in EXTRAS.items():
        try:
            checks.append(Check("extras", package, "ok", version(package)))
        except PackageNotFoundError:
            fix = f'pip install "kaleido-bench[{extra}]"'
            checks.append(Check("extras", package, "missing", "not installed", fix))
    return checks


def check_devices() -> list[Check]:
    """What torch can compute on."""
    import os

    try:
        import torch
    except Exception as error:
        return [Check("devices", "torch", "broken", f"cannot be imported ({error})", "Install torch again.")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    checks = [Check("devices", "cpu", "ok", f"cores {cores}, torch threads {torch.get_num_threads()}")]
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(gpus):
        free, total = torch.cuda.mem_get_info(index)
        memory = f"{free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
        checks.append(Check("devices", f"cuda:{index}", "ok", f"{torch.cuda.get_device_name(index)}, {memory}"))
    if not gpus:
        checks.append(
            Check("devices", "cuda", "missing", "no GPU that this build of torch sees; everything runs on the CPU")
        )
    return checks


def check_models() -> list[Check]:
    """The methods, and the weights that ship for the reference model."""
    from kaleido_bench.predict.adapters.kaleido import find_shipped_weights
    from kaleido_bench.predict.adapters.registry import find_adapters

    shipped, adapters = find_shipped_weights(), find_adapters()
    checks = [Check("models", name, "ok", entry.title) for name, entry in sorted(adapters.items()) if name != "kaleido"]
    if not shipped:
        return [
            *checks,
            Check(
                "models", "kaleido", "missing", "no weights ship with this package", "Name a checkpoint: kaleido@DIR."
            ),
        ]
    default = adapters["kaleido"].default_variant
    told = {name: "weights ship with this package" + (", the default" if name == default else "") for name in shipped}
    return [*checks, *(Check("models", f"kaleido@{name}", "ok", detail) for name, detail in told.items())]


def check_data(data_dir: Path | None) -> list[Check]:
    """The data sets that shipped protocols read, one line each. What ships with the package must be there."""
    from kaleido_bench.cli.listing import list_datasets

    rows: dict[str, list[dict[str, object]]] = {}
    for row in list_datasets(data_dir):
        if row["protocols"]:
            rows.setdefault(str(row["data set"]), []).append(row)
    return [_check_data_set(name, copies, data_dir) for name, copies in rows.items()]


def _check_data_set(name: str, copies: list[dict[str, object]], data_dir: Path | None) -> Check:
    """One data set, which protocols may read in several layouts."""
    here = [row for row in copies if row["folder"] is not None]
    whole = [row for row in here if str(row["scenes"]).partition(" of ")[0] == str(row["scenes"]).partition(" of ")[2]]
    if whole:
        return Check("data", name, "ok", f"{whole[0]['scenes']} scenes in {whole[0]['folder']}")
    if any(str(row["root"]).startswith("package:") for row in copies):
        found = str(here[0]["scenes"]) if here else "no"
        return Check("data", name, "broken", f"{found} scenes", "Install the package again.")
    if here:
        detail = f"{here[0]['scenes']} scenes in {here[0]['folder']}"
    else:
        detail = f"not below {data_dir}" if data_dir else "no data directory"
    return Check("data", name, "missing", detail, GET_DATA)


def check_weights() -> list[Check]:
    """The weights of learned metrics."""
    from kaleido_bench.score.metrics.weights import WEIGHTS, WeightsFile, find_weights

    checks: list[Check] = []
    for name in WEIGHTS:
        try:
            found = find_weights(name)
        except BenchError as error:
            checks.append(Check("weights", name, "broken", str(error), error.fix))
            continue
        if isinstance(found, WeightsFile):
            checks.append(Check("weights", name, "ok", str(found.path)))
        else:
            checks.append(Check("weights", name, "missing", f"looked in {found.folders[0]}", found.fix))
    return checks


def render(checks: list[Check]) -> str:
    """Checks by topic in aligned columns, then what is missing with its remedy."""
    rows = [[check.topic, check.name, check.verdict, check.detail] for check in checks]
    for above, row in zip(reversed(rows[:-1]), reversed(rows[1:]), strict=True):
        row[0] = "" if row[0] == above[0] else row[0]
    remedies = [
        f"  {', '.join(dict.fromkeys(check.name for check in checks if check.fix == fix))}: {fix}"
        for fix in dict.fromkeys(check.fix for check in checks if check.fix)
    ]
    return "\n".join([format_rows(rows), *(["", "What is missing, and how to get it:"] if remedies else []), *remedies])
