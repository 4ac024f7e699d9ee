"""Every protocol with every model: the loop that `run` and `predict` share.

A pair that fails does not take the others with it: the rest is finished, and then it is said which failed.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import typer
from pydantic import ValidationError

from kaleido_bench.cli.console import say, show_progress
from kaleido_bench.cli.failures import EXIT_INCOMPLETE, exit_code, print_error
from kaleido_bench.cli.folders import check_folder
from kaleido_bench.data.readers import resolve_root
from kaleido_bench.errors import BenchError, IncompleteError
from kaleido_bench.items import Deviations, select_items
from kaleido_bench.predict.adapters import Adapter, AdapterCard, ModelName, find_adapters, label_model, resolve_model
from kaleido_bench.predict.execution.devices import check_device
from kaleido_bench.predict.execution.local import InProcess, ModelRequest, Workers, build_requested, choose_device
from kaleido_bench.predict.runner import PredictOutcome, PredictPlan, Report, Task, predict_run
from kaleido_bench.predict.sessions import describe_session
from kaleido_bench.predictions import AdapterRecord, Run, create_run, open_run, run_folder
from kaleido_bench.protocol import LoadedProtocol, load_protocol
from kaleido_bench.score.results.efficiency import build_efficiency, write_efficiency

if TYPE_CHECKING:
    from kaleido_bench.cli.scores import ScoreOutcome  # imports torch, which predicting may not need


class Call(NamedTuple):
    """What the command line asked for, checked as far as it can be without any protocol."""

    protocols: tuple[str, ...]
    models: tuple[ModelName, ...]
    args: Mapping[str, str]
    data_dir: Path | None
    out: Path
    device: str
    workers: int
    deviations: Deviations


class Pair(NamedTuple):
    """One protocol and one model."""

    loaded: LoadedProtocol
    request: ModelRequest
    label: str

    def __str__(self) -> str:
        return f"{self.loaded.protocol.name} {self.label}"


class Failure(NamedTuple):
    """A pair (or a protocol that could not be loaded) that failed, and the exit code it asks for."""

    name: str
    code: int


Result = TypeVar("Result")


def build_call(
    protocols: Sequence[str],
    models: Sequence[str],
    args: Mapping[str, str],
    *,
    data_dir: Path | None,
    out: Path,
    device: str,
    workers: int,
    deviations: Deviations,
) -> Call:
    """Check names and the device before any work is done. Raises BenchError."""
    if data_dir is not None and not data_dir.is_dir():
        raise BenchError(
            "--data",
            f"no such folder {data_dir}",
            expected="the folder of the data sets",
            fix="Correct it or KBENCH_DATA.",
        )
    check_folder(out, "--out")
    names = tuple(dict.fromkeys(resolve_model(name) for name in models))
    unique = tuple(dict.fromkeys(protocols))
    return Call(unique, names, args, data_dir, out, check_device(device), workers, deviations)


def for_each_pair(call: Call, work: Callable[[Pair], Result]) -> tuple[list[Result], list[Failure]]:
    """Do the work for every pair, model by model, going on after one that fails."""
    failures: list[Failure] = []
    loaded: list[LoadedProtocol] = []
    for name in call.protocols:
        with go_on(name, failures):
            protocol = load_protocol(name)
            select_items(protocol, call.deviations)  # a scene that it lacks is said once, not once a model
            # A name and its file are one protocol.
            if (protocol.protocol.name, protocol.hash) not in {(each.protocol.name, each.hash) for each in loaded}:
                loaded.append(protocol)
    results: list[Result] = []
    for model in call.models:
        request = ModelRequest(model, call.args, call.device)
        for protocol in loaded:
            pair = Pair(protocol, request, label_model(model, call.args))
            with go_on(str(pair), failures):
                results.append(work(pair))
    return results, failures


def finish(failures: Sequence[Failure], finished: int) -> None:
    """End the command as its failures ask. A wrong call (2) outweighs something incomplete (1)."""
    if not failures:
        return
    if finished + len(failures) > 1:
        names = ", ".join(failure.name for failure in failures)
        say(f"kbench: {len(failures)} failed ({names}), {finished} finished")
    raise typer.Exit(max(failure.code for failure in failures))


@contextmanager
def go_on(name: str, failures: list[Failure]) -> Generator[None]:
    """Print what fails inside, note it in `failures`, and go on."""
    try:
        yield
    except (BenchError, IncompleteError) as error:
        print_error(error)
        failures.append(Failure(name, exit_code(error)))
    except OSError as error:
        print_error(IncompleteError(f"{name}: {error}"))
        failures.append(Failure(name, EXIT_INCOMPLETE))
    except (Exception, SystemExit) as error:
        # A fault of a method (which may even call exit) or of kbench, for which somebody will want the traceback.
        traceback.print_exc(file=sys.stderr)
        print_error(
            IncompleteError(f"{name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        )
        failures.append(Failure(name, EXIT_INCOMPLETE))


class Models:
    """Adapters, built when first needed; one is kept at a time, because two may not fit on a GPU."""

    def __init__(self) -> None:
        self._request: ModelRequest | None = None
        self._adapter: Adapter | None = None

    def build(self, request: ModelRequest) -> Adapter:
        if self._adapter is None or self._request != request:
            self._adapter = None
            self._adapter = build_requested(request)
            self._request = request
        return self._adapter

    def drop(self) -> None:
        """Let go of the adapter, and of what it holds on a GPU."""
        self._request = self._adapter = None


def predict_pair(call: Call, pair: Pair, models: Models) -> PredictOutcome:
    """Predict what is missing of one pair. What a method prints goes to standard error: it is no part of the answer."""
    with redirect_stdout(sys.stderr):
        return _predict_pair(call, pair, models)


def _predict_pair(call: Call, pair: Pair, models: Models) -> PredictOutcome:
    folder = run_folder(call.out, pair.loaded.protocol.name, pair.label)
    if not folder.is_dir():
        # Before a folder is made for nothing.
        resolve_root(pair.loaded.protocol.dataset.root, call.data_dir)
    # Workers build adapters of their own; this one only says who it is, and leaves the GPU to them.
    adapter = models.build(pair.request if call.workers == 1 else pair.request._replace(device="cpu"))
    deterministic = not adapter.capabilities.generative
    if deterministic and (call.deviations.samples or pair.loaded.protocol.samples) > 1:
        say(f"{pair}: answers every sample of a case alike, so it is asked for one and one is counted")
    deviations = call.deviations.model_copy(update={"samples": None}) if deterministic else call.deviations
    items = select_items(pair.loaded, deviations, deterministic=deterministic)
    run = _open(call, pair, adapter)
    device = choose_device(pair.request)
    session = describe_session(_command(), device, deviations, datetime.now(UTC))
    engine = InProcess(adapter, device) if call.workers == 1 else Workers(pair.request, call.workers)
    task = Task(run, pair.loaded, call.data_dir)
    outcome = predict_run(task, engine, items=items, session=session, watch=lambda plan: _watch(pair, plan))
    write_efficiency(outcome.run, build_efficiency(outcome.run, pair.loaded))
    return outcome


def _open(call: Call, pair: Pair, adapter: Adapter) -> Run:
    card = adapter.describe()
    run = create_run(
        call.out,
        pair.loaded,
        model=pair.label,
        adapter=_record_card(pair, card, adapter.capabilities.generative),
        fingerprint=card.fingerprint,
    )
    # Read back, so that a result says the same, to the order of its keys, in this call and in one that continues it.
    return open_run(run.path)


def _record_card(pair: Pair, card: AdapterCard, generative: bool) -> AdapterRecord:
    """The card as run.json keeps it. Raises BenchError where a method of another package says something else."""
    try:
        fields = {
            key: getattr(card, key)
            for key, field in AdapterRecord.model_fields.items()
            if field.is_required() or hasattr(card, key)
        }
        return AdapterRecord.model_validate({**fields, "generative": generative})
    except AttributeError as error:
        found = str(error)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    raise BenchError(
        f"{pair.label}, describe()",
        found,
        expected="an AdapterCard, as kaleido_bench.predict.adapters.build_card makes it",
        fix="Correct the adapter.",
    )


@contextmanager
def _watch(pair: Pair, plan: PredictPlan) -> Generator[Report]:
    for problem in plan.problems:
        say(f"{pair}: predicted again: {problem}")
    with show_progress(f"{pair}: predict", len(plan.missing), "cases") as advance:
        yield advance


def _command() -> list[str]:
    return ["kbench", *sys.argv[1:]]


class Outlook(NamedTuple):
    """What is there of a pair, by its folders."""

    folder: Path
    expected: int
    there: int
    result: bool


def look_at(call: Call, pair: Pair) -> Outlook:
    """Count what is there of a pair; nothing is read or made."""
    entry = find_adapters().get(pair.request.model.name)
    items = select_items(pair.loaded, call.deviations, deterministic=entry is not None and entry.deterministic)
    folder = run_folder(call.out, pair.loaded.protocol.name, pair.label)
    there = sum((folder / "predictions" / item.key).is_dir() for item in items)
    return Outlook(folder, len(items), there, (folder / "result.json").is_file())


class Done(NamedTuple):
    """What was done for a pair."""

    predicted: PredictOutcome
    scored: ScoreOutcome


def report_work(done: Sequence[Done], out: Path) -> None:
    """One line on what this call did."""
    made = sum(each.predicted.done for each in done)
    there = made + sum(each.predicted.reused for each in done)
    scored = sum(each.scored.scored for each in done)
    results = sum(each.scored.changed for each in done)
    if made or scored or results:
        say(
            f"{made} of {there} predictions made, {scored} scored, {results} of {len(done)} results written below {out}"
        )
    elif done:
        ending = "and result" if len(done) == 1 else f"and {len(done)} results"
        say(f"nothing to do: {there} of {there} predictions, scores {ending} are there")
