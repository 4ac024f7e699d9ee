"""The paper's ten ablation groups, each as a pair of short runs of equal compute, on procedural worlds at 64 px.

    python benchmarks/ablations.py --out DIR --photographs FILE              # all groups, on every GPU there is
    python benchmarks/ablations.py --out DIR --groups i,x,extra --minutes 5  # the most wanted first, in so much time
    python benchmarks/ablations.py --out DIR --groups vi --stages preset --flops 1.8e16 --diagnose vi
                                                         # the preset's own stages; what happens inside both sides
    python benchmarks/ablations.py --dry-run --devices 0,1,2,3 --tflops 220  # the queue, and how long it would take
    python benchmarks/ablations.py --out DIR --tiny                          # all of it at toy size: does it run
    python benchmarks/ablations.py --draw DIR/ablations.jsonl                # table and figure again

Both sides of a pair get the same model FLOPs (so a cheaper design takes more steps), the same worlds in the same order,
and a schedule over the share of those FLOPs. As in the paper, PSNR is of 1 target from 5 references and of 5 targets
from 5, on worlds that were never trained on, beside the nearest reference; and throughput is of training. Sequences of
training have 10 views, not the 8 of the preset: 5 + 5 is then a length that was trained (the paper trained with 12).
With `--stages preset` they have the preset's, and settings are 5 + 1 and as many targets as that holds. Predictions are
of 1 step and of 8.

`--eager` leaves blocks uncompiled: their fused kernels and the recording of steps remain, and a run of seconds does not
wait most of a minute for a compiler. Both sides of a pair are then eager; throughput is not the trainer's.

Presets that groups share are trained once. The base comes first with all its seeds, because their spread is the noise
that every difference is held against; then the groups in the order given, one seed of each other side. Each outcome is
appended to DIR/ablations.jsonl at once; started again, the same command goes on with what is missing (and with what
failed), and draws DIR/ablations.md and .png from that file alone. `--keep` lets weights of groups stay, in
DIR/weights/GROUP-LABEL; `--diagnose` keeps a pair and ends with reference_model.diagnostics of it, whose numbers (about
half a megabyte) go to DIR/diagnostics.

`extra` are pairs that are not the paper's: what may raise the PSNR of one step most.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from reference_model import diagnostics
from reference_model.ablations import Ablation, build_ablations, build_extra, shorten
from reference_model.config import Preset, without_idle
from reference_model.presets import PRESETS
from reference_model.stored import to_json
from reference_model.studies.estimates import Costs, estimate_queue
from reference_model.studies.figures import draw_study
from reference_model.studies.results import Row, append_rows, load_results
from reference_model.studies.runs import (
    STEPS,
    VIEWS,
    Run,
    Study,
    as_trained,
    choose_settings,
    describe_groups,
    identify,
    plan_runs,
)
from reference_model.studies.workers import Outcome, work_off

PRIORITY = ("i", "ii", "viii", "x", "vi", "vii", "iv", "v", "iii", "ix", "extra")
TINY = {"preset": "smoke", "flops": 8e8, "size": 16, "scenes": 4, "seeds": (2, 1)}


class Plan(NamedTuple):
    base: Preset
    ablations: list[Ablation]
    runs: list[Run]


def choose_groups(base: Preset, names: Sequence[str]) -> list[Ablation]:
    """The pairs of these groups, in this order. Raises ValueError for a name that is none."""
    pairs, extra = build_ablations(base), build_extra(base)
    by_name = {**{pair.group: [pair] for pair in (*pairs, *extra)}, "extra": extra}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise ValueError(f"no group {', '.join(unknown)}: expected some of {', '.join(by_name)}")
    chosen = [pair for name in names for pair in by_name[name]]
    return list({pair.group: pair for pair in chosen}.values())


def build_plan(args: argparse.Namespace) -> Plan:
    """Raises ValueError for groups there are not, and for kept ones that are not to be run."""
    preset = PRESETS[args.preset]()
    base = shorten(preset, size=args.size, views=args.views, flops=args.flops, stages=args.stages)
    ablations = choose_groups(base, args.groups)
    kept = name_kept(args, ablations)
    runs = [
        run._replace(kept=args.weights / f"{kept[run.weights]}{f'-seed-{run.seed}' * (run.seed > 0)}")
        if run.weights in kept
        else run
        for run in plan_runs(base, ablations, args.seeds)
    ]
    return Plan(base, ablations, runs)


def name_kept(args: argparse.Namespace, ablations: Sequence[Ablation]) -> dict[str, str]:
    """By the weights' own names, the folders of those that stay: of a group and a side."""
    names = [pair.group for pair in ablations]
    wanted = names if args.keep == ["all"] else [*args.keep, *([args.diagnose] if args.diagnose else [])]
    if unknown := [name for name in wanted if name not in names]:
        raise ValueError(f"{', '.join(unknown)} to be kept: not among the groups that are run, {', '.join(names)}")
    kept: dict[str, str] = {}
    for pair in sorted(ablations, key=lambda pair: pair.group != args.diagnose):  # its own names for those diagnosed
        for side, label in zip((pair.ours, pair.other), pair.sides, strict=True):
            if pair.group in wanted:
                kept.setdefault(
                    identify(as_trained(side)), re.sub(r"[^a-z0-9.]+", "-", f"{pair.group}-{label}".lower())
                )
    return kept


def describe_plan(args: argparse.Namespace, base: Preset) -> Row:
    return {
        "row": "plan", "preset": args.preset, "flops": args.flops, "size": args.size, "views": args.views,
        "sizes": list(dict.fromkeys(stage.image_size for stage in base.train.stages)), "compiled": not args.eager,
        "scenes": args.scenes, "settings": [setting.name for setting in choose_settings(args.views)],
        "steps": [str(count) for count in STEPS], "base": identify(base),
        "record": json.loads(to_json(without_idle(base))),
    }  # fmt: skip


def open_file(path: Path, plan: Row, groups: list[Row]) -> set[tuple[str, int]]:
    """Begin the file, or go on with it: what it has of (side, seed). Raises ValueError where it holds another study."""
    found = load_results(path) if path.is_file() else None
    if found is not None and found.plan != plan:
        other = [f"{key} {found.plan.get(key)} there, {value} here" for key, value in plan.items()
                 if found.plan.get(key) != value and key != "record"]  # fmt: skip
        raise ValueError(f"{path} holds another study ({'; '.join(other) or 'another base'}): choose another --out")
    append_rows(path, [*([] if found else [plan]), *groups])
    return found.finished() if found else set()


def name_run(run: Run, plan: Plan) -> str:
    """The groups and sides that a run serves."""
    own = {identify(side) for side in run.sides}
    if identify(plan.base) in own:
        return f"base, seed {run.seed}"
    places = [
        f"{pair.group} {label}"
        for pair in plan.ablations
        for side, label in zip((pair.ours, pair.other), pair.sides, strict=True)
        if identify(side) in own
    ]
    return f"{'; '.join(places)}, seed {run.seed}"


def tell(outcome: Outcome, name: str) -> None:
    """One line for people."""
    row = outcome.rows[0]
    if row["row"] == "failed":
        print(f"FAILED {name}, after {outcome.seconds:.0f} s: {row['error']}", flush=True)
        return
    numbers = "; ".join(
        f"{setting} " + ", ".join(f"{steps}: {sum(values) / len(values):.2f}" for steps, values in scores.items())
        for setting, scores in row["psnr"].items()
    )
    pace = f"{row['steps']} training steps, {row['steps_per_s'] or 0:.1f}/s, {row['tflops'] or 0:.0f} TFLOP/s"
    times = f"{row['train_s']} of them training, {row['first_step_s']} until its first step, {row['score_s']} scoring"
    print(f"{name}: PSNR {numbers}; {pace}; {outcome.seconds:.0f} s, {times}", flush=True)


def find_devices() -> list[str]:
    return [str(number) for number in range(torch.cuda.device_count())] or ["cpu"]


def print_estimate(args: argparse.Namespace) -> None:
    """The queue as it would be worked off, and when it would be done."""
    plan, devices = build_plan(args), args.devices or find_devices()
    costs = Costs(tflops=args.tflops)
    costs = costs.eager() if args.eager else costs
    slots = estimate_queue(plan.runs, devices, args.flops, costs)
    for slot in slots:
        print(f"{slot.begin:5.0f} to {slot.end:5.0f} s, device {slot.device}: {name_run(slot.run, plan)}"
              + (f", kept as {slot.run.kept}" if slot.run.kept else ""))  # fmt: skip
    print(f"{len(slots)} runs of {args.flops:.3g} model FLOPs, {len(slots) * args.flops:.3g} in all, on {len(devices)} "
          f"devices at {args.tflops:g} TFLOP/s each: {max(slot.end for slot in slots):.0f} s"
          + (", and about 30 s of diagnostics" if args.diagnose else ""))  # fmt: skip


def diagnose(args: argparse.Namespace) -> int:
    """Activations and attention of the kept pair. 1 where a model overflows.

    Raises ValueError where weights are not there.
    """
    plan = build_plan(args)
    pair = next(pair for pair in plan.ablations if pair.group == args.diagnose)
    wanted = [identify(as_trained(side)) for side in (pair.ours, pair.other)]
    by_weights = {run.weights: run.kept for run in reversed(plan.runs)}  # of seed 0
    folders = [str(by_weights[weights]) for weights in dict.fromkeys(wanted)]
    if missing := [folder for folder in folders if not (Path(folder) / "card.json").is_file()]:
        raise ValueError(f"no weights in {', '.join(missing)}: only a call that trains them with --diagnose keeps them")
    sizes = sorted({stage.image_size for stage in plan.base.train.stages})
    words = [*folders, "--out", str(args.out / "diagnostics"), "--sizes", *map(str, [*sizes, 2 * sizes[-1]])]
    words += ["--device", "cuda" if torch.cuda.is_available() else "cpu", *(["--no-figures"] if args.no_draw else [])]
    return diagnostics.main(words)


def carry_out_study(args: argparse.Namespace) -> int:
    """How many runs failed."""
    begun, plan, path = time.monotonic(), build_plan(args), args.out / "ablations.jsonl"
    study = Study(args.flops, args.size, args.scenes, args.photographs, not args.eager, args.views)
    finished = open_file(path, describe_plan(args, plan.base), describe_groups(plan.ablations))
    runs = [run for run in plan.runs if any((identify(side), run.seed) not in finished for side in run.sides)]
    devices = args.devices or find_devices()
    print(f"{len(runs)} of {len(plan.runs)} runs to do, on {', '.join(devices)}", flush=True)
    deadline = begun + 60 * args.minutes if args.minutes else float("inf")
    done = failed = 0
    with contextlib.closing(work_off(runs, devices, study, deadline)) as outcomes:
        for outcome in outcomes:
            append_rows(path, outcome.rows)
            tell(outcome, name_run(outcome.run, plan))
            done += 1
            failed += any(row["row"] == "failed" for row in outcome.rows)
    left = len(runs) - done
    print(f"{done} done, {failed} failed, {left} left, in {time.monotonic() - begun:.0f} s"
          + ("; the same command goes on" if left or failed else ""), flush=True)  # fmt: skip
    return failed


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of ablations.jsonl, .md and .png")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="only draw this file of rows")
    parser.add_argument("--preset", default="small", choices=sorted(PRESETS))
    parser.add_argument("--groups", type=lambda text: text.split(","), default=list(PRIORITY), help="most wanted first")
    parser.add_argument("--flops", type=float, default=4e15, help="model FLOPs of each run (4e15: 20 s at 200 TFLOP/s)")
    parser.add_argument("--seeds", type=read_seeds, default=(3, 1), help="of the base, and of each other preset")
    parser.add_argument("--minutes", type=float, help="no run is begun after so many")
    parser.add_argument("--devices", type=lambda text: text.split(","), help="numbers of GPUs, or cpu; all there are")
    parser.add_argument("--photographs", type=Path, help="packed by reference_model.worlds.photographs")
    parser.add_argument("--stages", choices=("one", "preset"), default="one", help="of --size alone, or the preset's")
    parser.add_argument("--size", type=int, help="of the images, pixels (64; with --stages preset that of its last)")
    parser.add_argument("--views", type=int, help=f"of a sequence ({VIEWS}; with --stages preset the preset's)")
    parser.add_argument("--scenes", type=int, default=256, help="held-out worlds")
    parser.add_argument("--eager", action="store_true", help="compile no block: steps are recorded all the same")
    parser.add_argument(
        "--keep", type=lambda text: text.split(","), default=[], help="groups whose weights stay, or all"
    )
    parser.add_argument("--weights", type=Path, help="where they stay (DIR/weights)")
    parser.add_argument("--diagnose", metavar="GROUP", help="keep this pair; at the end its activations and attention")
    parser.add_argument("--no-draw", action="store_true", help="write numbers alone: --draw draws them elsewhere")
    parser.add_argument("--dry-run", action="store_true", help="print the queue and how long it would take")
    parser.add_argument("--tflops", type=float, default=200.0, help="a device's, for --dry-run")
    parser.add_argument("--tiny", action="store_true", help="toy size: the numbers mean nothing")
    args = parser.parse_args(words, argparse.Namespace())
    if args.tiny:
        parser.set_defaults(**TINY)
        args = parser.parse_args(words)
    if args.out is None and args.draw is None and not args.dry_run:
        parser.error("--out DIR is needed, or --draw FILE")
    model = PRESETS[args.preset]().model
    own = args.stages == "preset"
    args.size = args.size if args.size and not own else model.image_size if own else 64
    args.views = args.views or (model.max_views if own else VIEWS)
    args.weights = args.weights or (args.out or Path()) / "weights"
    return args


def read_seeds(text: str) -> tuple[int, int]:
    base, other = (int(number) for number in text.split(","))
    return base, other


def main() -> None:
    args = parse()
    try:
        if args.dry_run:
            print_estimate(args)
            sys.exit(0)
        failed = 0 if args.draw else carry_out_study(args)
        if args.diagnose and not args.draw:
            failed += diagnose(args)
        for path in [] if args.no_draw else draw_study(args.draw or args.out / "ablations.jsonl"):
            print(path)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(str(error))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
