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
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from scanned_meshes import REFERENCES as MESH_REFERENCES  # noqa: E402
from scanned_meshes import TARGETS as MESH_TARGETS  # noqa: E402
from scanned_meshes import write_objects  # noqa: E402
from zero_shot_pictures import draw_curves, draw_picture, draw_sheets  # noqa: E402
from zero_shot_worlds import (  # noqa: E402
    MANY_COUNTS,
    MOVES,
    SIZE,
    STEPS,
    ask_orbits,
    ask_worlds,
    move_of,
    unpack_parts,
)

from kaleido_bench.authoring import freeze_protocol, pin_views, write_protocol  # noqa: E402
from kaleido_bench.cases import Case  # noqa: E402
from kaleido_bench.data.readers import build_reader, resolve_root  # noqa: E402
from kaleido_bench.drafts import Data, Draft, describe_draft, describe_preparation  # noqa: E402
from kaleido_bench.predict.adapters import label_model, resolve_model  # noqa: E402
from kaleido_bench.protocol import load_protocol  # noqa: E402
from kaleido_bench.score.results import load_result  # noqa: E402
from kaleido_bench.score.rows import read_rows  # noqa: E402
from reference_model.checkpoint import find_checkpoint, hash_checkpoint  # noqa: E402

METRICS = ("psnr", "ssim", "lpips-alex")
NAMED = ("fox", "llff_fern", "llff_flower", "dtu_scan24", "strecha_castle_p30", "strecha_fountain_p11")
"""The photographs that the bar is over; the others are reported beside them."""

OTHERS = ("lund_door", "mydesk", "buddha13", "nerd_gold_cape", "temple_ring")
GSO, LEGO = "gso_toy", "nerf_synthetic_lego"
WORLDS, ORBITS, SCANNED, LEGO_5, PHOTOGRAPHS = (
    f"zero-shot/{name}" for name in ("worlds", "orbits", "scanned", "lego", "photographs")
)
GAIN_ORBIT = 3.0
"""What "does not collapse" is held to: in every way of leaving the orbit, so many dB above the nearest view."""


# Protocols


def draft_protocol(
    name: str, title: str, root: str, counts: Sequence[int], rule: str, *, foreground: bool = False
) -> Draft:
    """A protocol at 128 px, but for its cases."""
    return Draft(
        name=name,
        title=title,
        level="scene" if name == PHOTOGRAPHS else "object",
        regime="few-view",
        data=Data(name.replace("/", "-"), "transforms", root, "as at hand"),
        counts=tuple(counts),
        preparation=describe_preparation(SIZE),
        metrics=(*METRICS, *(("psnr-fg", "ssim-fg") if foreground else ())),
        sources=(rule,),
    )


def freeze_cases(folder: Path, data: Path, draft: Draft, cases: Sequence[Case]) -> Path:
    """Write a protocol over scenes on disk, every view pinned; gives its YAML file."""
    root, reader = resolve_root(draft.data.root, data), build_reader("transforms")
    pins = {name: pin_views(reader.load_scene(root, name), cases) for name in sorted({case.scene for case in cases})}
    frozen = freeze_protocol(describe_draft(draft), cases, pins, header="Written by benchmarks/zero_shot.py.")
    write_protocol(folder, frozen)
    return folder / frozen.yaml_path


def borrow_cases(protocol: str, scenes: Iterable[str], references: int) -> list[Case]:
    """Cases of a shipped protocol, as they are."""
    cases = load_protocol(protocol).cases
    return [case for case in cases if case.scene in tuple(scenes) and len(case.references) == references]


def write_worlds(out: Path, worlds: int, orbits: int) -> list[Path]:
    """The protocols of the held-out worlds that lie in out/data/worlds."""
    counted = [Case.model_validate(question._asdict()) for question in ask_worlds(worlds)]
    around = [Case.model_validate(question._asdict()) for question in ask_orbits(orbits)]
    rule = "reference_model.worlds, seeds beyond training's; views by benchmarks/zero_shot_worlds.py"
    counts = sorted({len(case.references) for case in counted})
    titles = ("Held-out worlds from 1 to 10 views", "Held-out worlds seen from off the references' orbit")
    named = ((WORLDS, titles[0], counts, counted), (ORBITS, titles[1], [5], around))
    return [
        freeze_cases(out / "protocols", out / "data", draft_protocol(name, title, "worlds", numbers, rule), cases)
        for name, title, numbers, cases in named
        if cases
    ]


def write_scanned(out: Path, data: Path) -> Path:
    """GSO and YCB, 3 references. The meshes are rendered where that was not done."""
    folder = out / "data" / "scanned"
    names = write_objects(data / "meshes" / "ycb", folder)
    link(folder / GSO, data / "scenes" / GSO)
    shown = tuple(f"reference_{i}" for i in range(MESH_REFERENCES))[:3]
    asked = tuple(f"target_{i}" for i in range(MESH_TARGETS))
    cases = [Case(id=f"{name}-r3", scene=name, references=shown, targets=asked) for name in names]
    rule = "gso_toy: the case of real/objects-masked; YCB: benchmarks/scanned_meshes.py"
    draft = draft_protocol(SCANNED, "Scanned objects from 3 views", "scanned", [3], rule, foreground=True)
    gso = borrow_cases("real/objects-masked", (GSO,), 3)
    return freeze_cases(out / "protocols", out / "data", draft, [*gso, *cases])


def write_lego(out: Path) -> Path:
    draft = draft_protocol(
        LEGO_5, "Lego from 5 views", "scenes", [5], "the case of kbench/objects-1-20", foreground=True
    )
    return freeze_cases(out / "protocols", out / "data", draft, borrow_cases("kbench/objects-1-20", (LEGO,), 5))


def write_photographs(out: Path) -> Path:
    shipped = ("real/scenes-few", "real/llff-few", "real/objects-few")
    cases = [case for name in shipped for case in borrow_cases(name, (*NAMED, *OTHERS), 3)]
    rule = f"the cases of {', '.join(shipped)} with 3 references"
    draft = draft_protocol(PHOTOGRAPHS, "Photographs from 3 views", "scenes", [3], rule)
    return freeze_cases(out / "protocols", out / "data", draft, cases)


def link(place: Path, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        place.symlink_to(target.resolve(), target_is_directory=True)


# Runs


class Setting(NamedTuple):
    """A model as kbench is told of it."""

    model: str
    steps: int | None  # of the sampler; None: it has none
    told: bool = True  # in words of the command; renders know without

    @property
    def args(self) -> dict[str, str]:
        return {"steps": str(self.steps)} if self.told and self.steps not in (None, 1) else {}

    @property
    def label(self) -> str:
        return label_model(resolve_model(self.model), self.args)


NEAREST = Setting("nearest", None)


class Ask(NamedTuple):
    """Protocols with one selection of their cases."""

    protocols: tuple[str, ...]
    words: tuple[str, ...] = ()


SHIPPED = (
    Ask(("real/objects-masked", "real/scenes-few", "real/llff-few"), ("--references", "3")),
    Ask(("kbench/objects-1-20",), ("--references", "5", "--scenes", f"{GSO},{LEGO}")),
)


class Bench(NamedTuple):
    """Where everything lies."""

    out: Path
    device: str
    workers: int

    def run(self, ask: Ask, setting: Setting) -> None:
        """`kbench run`; its tables go to out/log.txt."""
        words = [
            "--model",
            setting.model,
            "--data",
            str(self.out / "data"),
            "--out",
            str(self.out / "runs"),
            *ask.words,
        ]
        for key, value in setting.args.items():
            words += ["--model-arg", f"{key}={value}"]
        workers = 1 if setting == NEAREST else self.workers
        words += ["--device", self.device, "--workers", str(workers)]
        begun = time.monotonic()
        with (self.out / "log.txt").open("a") as log:
            command = [sys.executable, "-m", "kaleido_bench", "run", *ask.protocols, *words]
            ended = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
        if ended.returncode:
            raise SystemExit(f"kbench run {' '.join(ask.protocols)} --model {setting.model}: see {log.name}")
        names = ", ".join(Path(name).stem for name in ask.protocols)
        print(f"{names}: {setting.label}, {time.monotonic() - begun:.0f} s", flush=True)

    def folder(self, protocol: str, setting: Setting) -> Path:
        return self.out / "runs" / protocol / setting.label


Means = dict[tuple[str, int, str], float]
"""(scene, references, metric) -> the mean over its targets."""


def load_means(folder: Path) -> Means:
    """Of every scene that a run has. Raises what load_result does."""
    result = load_result(folder / "result.json")
    return {
        (row.scene, int(row.references), row.metric): row.mean for row in result.scenes if row.targets == "strict-novel"
    }


def average(means: Means, references: int, metric: str, scenes: Iterable[str] | None = None) -> float | None:
    """Over scenes: all of them, or the named; None where a named one has no such mean."""
    found = {scene: value for (scene, count, name), value in means.items() if (count, name) == (references, metric)}
    wanted = list(found) if scenes is None else list(scenes)
    return fmean(found[scene] for scene in wanted) if wanted and all(scene in found for scene in wanted) else None


# Reports


class Line(NamedTuple):
    """A method's means on some scenes; None where a metric is not defined there."""

    data: str
    size: int
    references: int
    method: str
    psnr: float
    gain: float | None  # in PSNR, over `nearest`
    ssim: float
    lpips: float
    foreground: float | None


class Bar(NamedTuple):
    """What was asked, what was reached. `setting` is the number of steps."""

    name: str
    setting: str
    wanted: float
    reached: float
    unit: str

    @property
    def met(self) -> bool:
        return round(self.reached, 2) >= self.wanted


class Group(NamedTuple):
    """Scenes of a protocol that are reported together."""

    data: str
    protocol: str
    references: int
    size: int = 128
    scenes: tuple[str, ...] | None = None


def list_groups(counts: Sequence[int], meshes: Sequence[str]) -> list[Group]:
    scanned = Group("GSO and YCB", SCANNED, 3)
    return [
        *(Group("held-out worlds", WORLDS, count) for count in counts),
        scanned,
        scanned._replace(data="GSO toy", scenes=(GSO,)),
        scanned._replace(data="YCB", scenes=tuple(meshes)),
        Group("lego", LEGO_5, 5),
        Group("photographs named", PHOTOGRAPHS, 3, scenes=NAMED),
        Group("all photographs", PHOTOGRAPHS, 3),
        *(Group(scene, PHOTOGRAPHS, 3, scenes=(scene,)) for scene in (*NAMED, *OTHERS)),
        Group("GSO toy, as shipped", "real/objects-masked", 3, 256, (GSO,)),
        Group("lego, as shipped", "kbench/objects-1-20", 5, 256, (LEGO,)),
        Group("DTU and gold cape, as shipped", "real/objects-masked", 3, 256, ("dtu_scan24", "nerd_gold_cape")),
        Group("real/scenes-few, as shipped", "real/scenes-few", 3, 256),
        Group("real/llff-few, as shipped", "real/llff-few", 3, 256),
    ]


def tabulate(bench: Bench, groups: Sequence[Group], settings: Mapping[str, Sequence[Setting]]) -> list[Line]:
    """A line for each group and method that has results. `settings`: protocol -> the methods it was asked of."""
    lines: list[Line] = []
    for group in groups:
        base: float | None = None
        for setting in (NEAREST, *settings.get(group.protocol, ())):
            folder = bench.folder(group.protocol, setting)
            if not (folder / "result.json").is_file():
                continue
            means = load_means(folder)
            psnr, ssim, lpips = (average(means, group.references, metric, group.scenes) for metric in METRICS)
            if psnr is None or ssim is None or lpips is None:
                continue
            base = psnr if setting == NEAREST else base
            name = "nearest" if setting == NEAREST else f"{setting.steps} step{'s' * (setting.steps != 1)}"
            gain = None if base is None or setting == NEAREST else psnr - base
            front = average(means, group.references, "psnr-fg", group.scenes)
            lines.append(Line(group.data, group.size, group.references, name, psnr, gain, ssim, lpips, front))
    return lines


def measure_moves(bench: Bench, settings: Sequence[Setting]) -> list[tuple[str, str, float, float]]:
    """(move, method, PSNR in dB, PSNR over nearest in dB): means over the targets that leave the orbit alike."""
    found: dict[str, dict[str, float]] = {}
    for setting in (NEAREST, *settings):
        path = bench.folder(ORBITS, setting) / "scores" / "kbench-v1.parquet"
        if not path.is_file():
            continue
        rows = [row for row in read_rows(path) if row.metric == "psnr"]
        name = "nearest" if setting == NEAREST else f"{setting.steps} step{'s' * (setting.steps != 1)}"
        found[name] = {move: fmean(row.value for row in rows if move_of(row.view) == move) for move in MOVES}
    return [
        (move, name, values[move], values[move] - found["nearest"][move])
        for move in MOVES
        for name, values in found.items()
    ]


def hold_to_bars(lines: Sequence[Line], moves: Sequence[tuple[str, str, float, float]]) -> list[Bar]:
    """Every bar for every method that was measured."""
    bars: list[Bar] = []
    for line in lines:
        if line.gain is None or line.size != 128:
            continue
        told = (line.data, line.references)
        if told == ("held-out worlds", 3):
            bars.append(Bar("held-out worlds, 3 references: over nearest", line.method, 8, line.gain, "dB"))
        if told == ("GSO and YCB", 3):
            bars.append(Bar("scanned objects, 3 references: PSNR", line.method, 22, line.psnr, "dB"))
            bars.append(Bar("scanned objects, 3 references: over nearest", line.method, 5, line.gain, "dB"))
        if told == ("lego", 5):
            bars.append(Bar("lego, 5 references: PSNR", line.method, 20, line.psnr, "dB"))
        if told == ("photographs named", 3):
            bars.append(Bar("photographs, 3 references: over nearest", line.method, 2, line.gain, "dB"))
    curve = [line.psnr for line in lines if line.data == "held-out worlds" and line.method == "1 step"]
    if len(curve) == 10:
        worst = min(later - sooner for sooner, later in itertools.pairwise(curve))
        bars.append(Bar("1 to 10 references: the smallest rise", "1 step", 0, worst, "dB"))
    for method in dict.fromkeys(name for _, name, _, _ in moves if name != "nearest"):
        gain = min(over for _, name, _, over in moves if name == method)
        bars.append(Bar("off the orbit, the worst move: over nearest", method, GAIN_ORBIT, gain, "dB"))
    return bars


def render_report(
    model: str, bars: Sequence[Bar], lines: Sequence[Line], moves: Sequence[tuple[str, str, float, float]]
) -> str:
    """Markdown."""
    text = [f"# {model}, zero-shot", "", "| bar | steps | wanted | reached | |", "|:--|:--|--:|--:|:--|"]
    for bar in bars:
        verdict = "met" if bar.met else f"missed by {bar.wanted - bar.reached:.2f}"
        text.append(f"| {bar.name} | {bar.setting} | {bar.wanted:g} {bar.unit} | {bar.reached:.2f} | {verdict} |")
    text += [
        "",
        "| data | px | references | method | PSNR | over nearest | SSIM | LPIPS-alex | PSNR of the foreground |",
    ]
    text.append("|:--|--:|--:|:--|--:|--:|--:|--:|--:|")
    for line in lines:
        gain = "" if line.gain is None else f"{line.gain:+.2f}"
        front = "" if line.foreground is None else f"{line.foreground:.2f}"
        text.append(
            f"| {line.data} | {line.size} | {line.references} | {line.method} | {line.psnr:.2f} | {gain} | "
            f"{line.ssim:.3f} | {line.lpips:.3f} | {front} |"
        )
    text += ["", "| off the orbit, 5 references | method | PSNR | over nearest |", "|:--|:--|--:|--:|"]
    text += [f"| {move} | {name} | {value:.2f} | {over:+.2f} |" for move, name, value, over in moves]
    return "\n".join(text) + "\n"


SINGLE = frozenset((*NAMED, *OTHERS))
"""Groups that are one photograph's: in the report, not in the card."""


def render_card(lines: Sequence[Line]) -> str:
    """The table of a model card: a row for each group, PSNR / SSIM / LPIPS-alex of each method."""
    rows: dict[tuple[str, int, int], dict[str, Line]] = {}
    for line in lines:
        shown = line.data != "held-out worlds" or line.references in MANY_COUNTS
        if shown and line.data not in SINGLE:
            rows.setdefault((line.data, line.references, line.size), {})[line.method] = line
    decided = [line for line in lines if line.data == "lego"] or lines  # real data: 1 step and the best of many
    steps = sorted({int(line.method.split()[0]) for line in decided if line.method != "nearest"})
    methods = ["nearest", *(f"{number} step{'s' * (number != 1)}" for number in steps)]
    text = [f"| data | references | px | {' | '.join(methods)} |", "|:--|--:|--:|" + ":--|" * len(methods)]
    for (data, references, size), found in rows.items():
        cells = [
            f"{line.psnr:.2f} / {line.ssim:.3f} / {line.lpips:.3f}" if (line := found.get(name)) else ""
            for name in methods
        ]
        text.append(f"| {data} | {references} | {size} | {' | '.join(cells)} |")
    return "\n".join(text) + "\n"


def choose_many(lines: Sequence[Line]) -> int | None:
    """The number of steps above 1 with the best PSNR on held-out worlds from 3 references."""
    found = {
        int(line.method.split()[0]): line.psnr
        for line in lines
        if (line.data, line.references) == ("held-out worlds", 3) and line.method not in ("nearest", "1 step")
    }
    return max(found, key=lambda steps: found[steps]) if found else None


# The whole


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


def run_real(bench: Bench, model: str, many: int | None) -> list[Setting]:
    """1 step everywhere; the best of many at 128 px."""
    own = Ask(tuple(str(bench.out / "protocols" / f"{name}.yaml") for name in (SCANNED, LEGO_5, PHOTOGRAPHS)))
    one = Setting(model, 1)
    for setting in (NEAREST, one):
        for ask in (own, *SHIPPED):
            bench.run(ask, setting)
    if many is None:
        return [one]
    bench.run(own, Setting(model, many))
    return [one, Setting(model, many)]


class Report(NamedTuple):
    bars: list[Bar]
    lines: list[Line]
    moves: list[tuple[str, str, float, float]]


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
        "moves": [dict(zip(("move", "method", "psnr", "gain"), move, strict=True)) for move in moves],
    }
    (bench.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (bench.out / "report.md").write_text(render_report(model, bars, lines, moves))
    (bench.out / "card.md").write_text(render_card(lines))
    return Report(bars, lines, moves)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Judge a trained reference model zero-shot.")
    parser.add_argument("model", help="kaleido@FOLDER, or kaleido@tiny")
    parser.add_argument("--data", type=Path, help="KBENCH_DATA with scenes/ and meshes/ycb/; without it: worlds alone")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--packed", type=Path, nargs="+", default=[], help="worlds-N.tar of zero_shot_worlds.py")
    parser.add_argument("--worlds", type=int, help="held-out scenes; default: those that are there, or 8")
    parser.add_argument("--orbits", type=int, help="likewise; or 4")
    parser.add_argument("--steps", default=",".join(map(str, STEPS)))
    parser.add_argument("--many", type=int, help="steps on real data beside 1; default: the best on held-out worlds")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
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
        real = run_real(bench, options.model, options.many or best)
        report = write_report(bench, options.model, worlds, real)
    draw_curves(bench.out, [line._asdict() for line in report.lines])
    pair = [setting for setting in worlds if setting.steps in (1, best)]
    draw_sheets(bench.out, dict.fromkeys((WORLDS, ORBITS), pair) | dict.fromkeys((SCANNED, LEGO_5, PHOTOGRAPHS), real))
    draw_picture(bench.out, WORLDS, pair)
    print((bench.out / "report.md").read_text())


if __name__ == "__main__":
    main()
