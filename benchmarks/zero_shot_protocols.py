"""What `zero_shot.py` asks: the protocols that do not ship, over worlds, scanned objects, lego and photographs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from scanned_meshes import REFERENCES as MESH_REFERENCES
from scanned_meshes import TARGETS as MESH_TARGETS
from scanned_meshes import write_objects
from zero_shot_worlds import (
    SIZE,
    ask_orbits,
    ask_worlds,
)

from kaleido_bench.authoring import freeze_protocol, pin_views, write_protocol
from kaleido_bench.cases import Case
from kaleido_bench.data.readers import build_reader, resolve_root
from kaleido_bench.drafts import Data, Draft, describe_draft, describe_preparation
from kaleido_bench.protocol import load_protocol

METRICS = ("psnr", "ssim", "lpips-alex")
NAMED = ("fox", "llff_fern", "llff_flower", "dtu_scan24", "strecha_castle_p30", "strecha_fountain_p11")
"""The photographs that the bar is over; the others are reported beside them."""

OTHERS = ("lund_door", "mydesk", "buddha13", "nerd_gold_cape", "temple_ring")
GSO, LEGO = "gso_toy", "nerf_synthetic_lego"
WORLDS, ORBITS, SCANNED, LEGO_5, PHOTOGRAPHS = (
    f"zero-shot/{name}" for name in ("worlds", "orbits", "scanned", "lego", "photographs")
)


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
