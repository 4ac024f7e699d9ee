"""What a trained reference model shows on data that it never saw, held to the bars set for it.

    python benchmarks/zero_shot.py kaleido@FOLDER --data DIR --out DIR [--packed worlds-*.tar]

Everything is predicted and scored by kbench, `nearest` beside the model, under kbench-v1; this script writes the
protocols that do not ship, calls `kbench run`, and reads the results. Called again it makes what is missing.

- worlds: held-out procedural scenes (`zero_shot_worlds.py`), 1 to 10 references; 1, 2, 4, 8, 25 steps; targets that
  leave the references' orbit. With `--packed`, what that script made on a GPU is scored; else it is predicted here.
- scanned objects: gso_toy and YCB's meshes (`scanned_meshes.py`), 3 references, on white.
- lego: NeRF-Synthetic, 5 references of the training views, 8 of the official test views.
- photographs: every real scene of protocols/real, their cases with 3 references. The bar is over `NAMED`.

The bars are said at 128 px, where the model renders: those protocols are written here with the views of the shipped
ones. The shipped protocols, at 256 px, are run beside them. Which number of steps counts as the best of many is decided
on the held-out worlds, by PSNR, before a real image is looked at.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from zero_shot_pictures import draw_curves, draw_picture, draw_sheets
from zero_shot_protocols import (
    GSO,
    LEGO_5,
    ORBITS,
    PHOTOGRAPHS,
    SCANNED,
    WORLDS,
    link,
    write_lego,
    write_photographs,
    write_scanned,
    write_worlds,
)
from zero_shot_report import (
    Bar,
    Group,
    Line,
    Move,
    choose_many,
    hold_to_bars,
    list_groups,
    measure_moves,
    render_card,
    render_report,
    tabulate,
)
from zero_shot_runs import NEAREST, SHIPPED, Ask, Bench, Setting
from zero_shot_worlds import MANY_COUNTS, STEPS, unpack_parts

from kaleido_bench.errors import BenchError
from kaleido_bench.predict.adapters import resolve_model
from kaleido_bench.score.results.records import load_result
from reference_model.checkpoint import find_checkpoint, hash_checkpoint

HERE = Path(__file__).resolve().parent


class Worlds(NamedTuple):
    """Whose answers on held-out worlds are asked for; `renders`: those that were made elsewhere."""

    model: str
    renders: Path | None

    def setting(self, steps: int) -> Setting | None:
        """None where it was not made elsewhere though others were."""
        if self.renders is None:
            return Setting(self.model, steps)
        saved = self.renders / f"steps-{steps}"
        return Setting(f"saved@{saved}", steps, told=False) if saved.is_dir() else None


def run_worlds(bench: Bench, asked: Worlds, steps: Sequence[int]) -> list[Setting]:
    """1 step under every number of references and off the orbit, more under 3; then the best of those, by PSNR, under
    1, 3 and 5 references and off the orbit. Gives the settings, that of 1 step first.
    """
    worlds, orbits = (str(bench.out / "protocols" / f"{name}.yaml") for name in (WORLDS, ORBITS))
    for setting in (NEAREST, asked.setting(1)):
        assert setting is not None, "1 step is always made"
        bench.run(Ask((worlds, orbits)), setting)
    settings: list[Setting] = []
    for number in steps:
        setting = asked.setting(number)
        if setting is None:
            print(f"{number} steps: not among the answers made elsewhere", flush=True)
            continue
        settings.append(setting)
        if number > 1:
            bench.run(Ask((worlds,), ("--references", "3")), setting)
    many = choose_many(tabulate(bench, [Group("held-out worlds", WORLDS, 3)], {WORLDS: settings}))
    if many is not None:
        best = next(setting for setting in settings if setting.steps == many)
        bench.run(Ask((worlds,), ("--references", ",".join(map(str, MANY_COUNTS)))), best)
        bench.run(Ask((orbits,)), best)
    return settings


def find_renders(out: Path, model: str) -> Path | None:
    """out/renders, if what zero_shot_worlds.py wrote there is of these weights. SystemExit where it is of others."""
    note = out / "renders" / "weights.txt"
    if not note.is_file():
        return None
    found = note.read_text().strip()
    expected = hash_checkpoint(find_checkpoint(resolve_model(model).variant or ""))
    if found != expected:
        raise SystemExit(f"{note}: answers of weights {found[:12]}; {model} is {expected[:12]}: give another --out")
    return note.parent


def run_real(bench: Bench, model: str, many: Sequence[int]) -> list[Setting]:
    """1 step everywhere; each of many at 128 px."""
    own = Ask(tuple(str(bench.out / "protocols" / f"{name}.yaml") for name in (SCANNED, LEGO_5, PHOTOGRAPHS)))
    one = Setting(model, 1)
    for setting in (NEAREST, one):
        for ask in (own, *SHIPPED):
            bench.run(ask, setting)
    more = [Setting(model, number) for number in many]
    for setting in more:
        bench.run(own, setting)
    return [one, *more]


class Report(NamedTuple):
    bars: list[Bar]
    lines: list[Line]
    moves: list[Move]


def write_report(bench: Bench, model: str, worlds: Sequence[Setting], real: Sequence[Setting]) -> Report:
    """report.json, report.md, and card.md for a model card."""
    settings = dict.fromkeys((SCANNED, LEGO_5, PHOTOGRAPHS), real)
    settings |= dict.fromkeys((WORLDS, ORBITS), worlds)
    settings |= {name: real[:1] for ask in SHIPPED for name in ask.protocols}
    meshes = sorted(path.parent.name for path in (bench.out / "data" / "scanned").glob("*/transforms.json"))
    lines = tabulate(bench, list_groups(range(1, 11), [name for name in meshes if name != GSO]), settings)
    moves = measure_moves(bench, worlds)
    bars = hold_to_bars(lines, moves)
    names = [name for name in (*settings, *(WORLDS, ORBITS)) if bench.folder(name, NEAREST).is_dir()]
    report = {
        "model": model,
        "weights_sha256": hash_checkpoint(find_checkpoint(resolve_model(model).variant or "")),
        "protocols": {
            name: load_result(bench.folder(name, NEAREST) / "result.json").protocol.hash
            for name in dict.fromkeys(names)
        },
        "bars": [{**bar._asdict(), "met": bar.met} for bar in bars],
        "lines": [line._asdict() for line in lines],
        "moves": [move._asdict() for move in moves],
    }
    (bench.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (bench.out / "report.md").write_text(render_report(model, bars, lines, moves))
    (bench.out / "card.md").write_text(render_card(lines))
    return Report(bars, lines, moves)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Judge a trained reference model zero-shot.")
    parser.add_argument("model", help="kaleido@FOLDER, kaleido@small or kaleido@tiny")
    parser.add_argument("--data", type=Path, help="KBENCH_DATA with scenes/ and meshes/ycb/; without it: worlds alone")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--packed", type=Path, nargs="+", default=[], help="worlds-N.tar of zero_shot_worlds.py")
    parser.add_argument("--worlds", type=int, help="held-out scenes; default: those that are there, or 8")
    parser.add_argument("--orbits", type=int, help="likewise; or 4")
    parser.add_argument("--steps", default=",".join(map(str, STEPS)))
    parser.add_argument("--many", help="steps on real data beside 1, such as 2,8; default: the best on held-out worlds")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    try:  # before minutes of rendering
        find_checkpoint(resolve_model(options.model).variant or "")
    except (BenchError, ValueError, OSError) as error:
        parser.error(f"{options.model}: {error}")
    bench = Bench(options.out.resolve(), options.device, options.workers)
    bench.out.mkdir(parents=True, exist_ok=True)
    unpack_parts(options.packed, bench.out)
    scenes, renders = bench.out / "data" / "worlds", find_renders(bench.out, options.model)
    if not scenes.is_dir():
        command = [sys.executable, str(HERE / "zero_shot_worlds.py"), "tiny", "--out", str(bench.out), "--steps", ""]
        wanted = ["--worlds", str(options.worlds or 8), "--orbits", str(options.orbits or 4)]
        subprocess.run([*command, *wanted], check=True)
    there = [len(list(scenes.glob(f"{kind}-*/transforms.json"))) for kind in ("world", "orbit")]
    write_worlds(bench.out, min(options.worlds or there[0], there[0]), min(options.orbits or there[1], there[1]))
    steps = [int(number) for number in options.steps.split(",")]
    worlds = run_worlds(bench, Worlds(options.model, renders), steps)
    report, real = write_report(bench, options.model, worlds, ()), []
    best = choose_many(report.lines)
    if options.data is not None:
        link(bench.out / "data" / "scenes", options.data / "scenes")
        write_scanned(bench.out, options.data)
        write_lego(bench.out)
        write_photographs(bench.out)
        many = [int(number) for number in options.many.split(",")] if options.many else [best] * (best is not None)
        real = run_real(bench, options.model, many)
        report = write_report(bench, options.model, worlds, real)
    draw_curves(bench.out, [line._asdict() for line in report.lines])
    pair = [setting for setting in worlds if setting.steps in (1, best)]
    draw_sheets(bench.out, dict.fromkeys((WORLDS, ORBITS), pair) | dict.fromkeys((SCANNED, LEGO_5, PHOTOGRAPHS), real))
    draw_picture(bench.out, WORLDS, pair)
    print((bench.out / "report.md").read_text())


if __name__ == "__main__":
    main()
