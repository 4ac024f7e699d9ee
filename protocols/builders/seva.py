"""SEVA's benchmark: sixteen of its seventeen entries. The other, `re10k-pixelsplat`, is in re10k.py."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from builders.pending import FROZEN_TODAY, SEVA_ZIP, V_INPUTS, Split
from kaleido_bench.drafts import GIVEN

SWEEP: dict[str, JsonValue] = {"policy": "scale-sweep", "scales": [round(0.1 * step, 1) for step in range(1, 21)]}

SEVA_SOURCES = (
    "split, preparation: Stability-AI/stable-virtual-camera, benchmark/README.md",
    "counts: SEVA (Zhou et al. 2025, arXiv 2503.14489), Table 7",
    "metrics: Stability-AI/stable-virtual-camera#53",
)
SEVA_PROBLEMS = (
    "SEVA resizes by torch's area filter, which averages whole pixels; ours (box) weighs pixels that it cuts.",
    "No metric code was published: see `kbench metrics show seva` for what nobody knows of the convention.",
)
SWEPT = (
    "Oracle: the unit of length is swept over 0.1 ... 2.0 and the best of 20 predictions counts, as SEVA does with one "
    "input (docs/CLI_USAGE.md)."
)
LATER_RESIZE = "SEVA predicts at 576x576 and resizes to 256x256 before metrics; here predictions are made at 256x256."
LATER_CROP = (
    "SEVA predicts with the shortest side at 576 and crops the centre before metrics; here the crop comes first."
)
RENDERS = "Neither renders nor cameras were published ({}); whoever has other renders has another data set."


DL3DV_SCENES = (
    "165f5af8bfe32f70595a1c9393a6e442acf7af019998275144f605b89a306557",
    "341b4ff3dfd3d377d7167bd81f443bedafbff003bf04881b99760fc0aeb69510",
    "3bb3bb4d3e871d79eb71946cbab1e3afc7a8e33a661153033f32deb3e23d2e52",
    "3bb894d1933f3081134ad2d40e54de5f0636bd8b502b0a8561873bb63b0dce85",
    "9e9a89ae6fed06d6e2f4749b4b0059f35ca97f848cedc4a14345999e746f7884",
    "cd9c981eeb4a9091547af19181b382698e9d9eee0a838c7c9783a8a268af6aee",
    "d4fbeba0168af8fddb2fc695881787aedcd62f477c7dcec9ebca7b8594bbd95b",
    "e78f8cebd2bd93d960bfaeac18fac0bb2524f15c44288903cd20b73e599e8a81",
    "ed16328235c610f15405ff08711eaf15d88a0503884f3a9ccb5a0ee69cb4acb5",
    "f71ac346cd0fc4652a89afb37044887ec3907d37d01d1ceb0ad28e1a780d8e03",
)
"""SEVA's list; all ten are scenes of DL3DV-140."""

WILDRGBD_SCENES = (
    "ball/563",
    "apple/234",
    "microwave/143",
    "scissor/489",
    "bucket/294",
    "keyboard/092",
    "shoe/868",
    "kettle/399",
    "clock/524",
    "hat/039",
    "backpack/264",
    "scissor/958",
    "truck/232",
    "handbag/575",
    "pineapple/182",
    "train/033",
    "remote_control/453",
    "bowl/673",
    "tv/062",
)
"""19 of SEVA's 20; one is lost at a page break of the paper."""

SCENE_NAMES = {"dl3dv10": DL3DV_SCENES, "wildgbd/easy": WILDRGBD_SCENES, "wildgbd/hard": WILDRGBD_SCENES}
SCENE_NAMES["tnt-longlrm"] = ("train", "truck")


def seva(
    name: str,
    title: str,
    entry: str,
    data: str,
    level: str,
    counts: Sequence[int],
    scenes: int,
    targets: Sequence[int] | None = None,
    *,
    size: int = 576,
    problems: Sequence[str] = (),
) -> Split:
    """One split of SEVA's benchmark. A single input is swept over scales, as SEVA's single-input rows are."""
    swept = tuple(counts) == (1,)
    return Split(
        name=f"seva/{name}",
        title=f"SEVA, {title}",
        kind="seva",
        entry=entry,
        data=data,
        level=level,
        counts=tuple(counts),
        scenes=scenes,
        targets=None if targets is None else tuple(targets),
        size=(size, size),
        cameras=SWEEP if swept else GIVEN,
        convention="seva",
        optional=(),
        filter="box",
        sources=SEVA_SOURCES,
        problems=((SWEPT,) if swept else ()) + tuple(problems) + SEVA_PROBLEMS,
        root=f"seva/{entry}",
        obtain=SEVA_ZIP,
        scene_names=SCENE_NAMES.get(entry, ()),
    )


def seva_pair(
    name: str,
    title: str,
    entry: str,
    data: str,
    level: str,
    counts: Sequence[int],
    scenes: int,
    *,
    targets: Sequence[int] | None = None,
    one: int | None = None,
    problems: Sequence[str] = (),
) -> list[Split]:
    """An entry with one input and with more: two protocols, because the single input is swept over scales.

    Args:
        name: of the protocol with more inputs; `-1` is added for the other.
        title: of both.
        entry: folder in the archive.
        data: name of the data set.
        level: object or scene.
        counts: numbers of inputs beyond one.
        scenes: how many.
        targets: of a case, one for each of `counts`.
        one: targets of a case with one input.
        problems: what else a reader must know.
    """
    views = ", ".join(map(str, counts))
    return [
        seva(name, f"{title}, {views} inputs", entry, data, level, counts, scenes, targets, problems=problems),
        seva(
            f"{name}-1",
            f"{title}, 1 input",
            entry,
            data,
            level,
            (1,),
            scenes,
            None if one is None else (one,),
            problems=problems,
        ),
    ]


OUT_OF_RANGE = (
    "A user found test id 408 of scene d9b6376623741313... out of range (Stability-AI/stable-virtual-camera#60); "
    "`kbench lint --data` names such ids."
)
SAME_AS_L = (
    "Inputs are Long-LRM's 32 of k-means, targets every 8th frame: {} asks the same of the data as prepared there."
)

SEVA = [
    seva(
        "omniobject3d-s",
        "OmniObject3D S (SV3D's dynamic orbits)",
        "omniobject3d",
        "omniobject3d",
        "object",
        (1,),
        308,
        problems=(RENDERS.format("Stability-AI/stable-virtual-camera#76 asks for GSO's"),),
    ),
    seva(
        "omniobject3d-o",
        "OmniObject3D O (dynamic orbits)",
        "omniobject3d",
        "omniobject3d",
        "object",
        (3,),
        308,
        problems=(RENDERS.format("Stability-AI/stable-virtual-camera#76 asks for GSO's"),),
    ),
    seva(
        "gso-s",
        "GSO S (SV3D's orbits)",
        "gso",
        "gso",
        "object",
        (1,),
        300,
        problems=(RENDERS.format("Stability-AI/stable-virtual-camera#76"),),
    ),
    seva(
        "gso-o",
        "GSO O (orbits)",
        "gso",
        "gso",
        "object",
        (3,),
        300,
        problems=(RENDERS.format("Stability-AI/stable-virtual-camera#76"),),
    ),
    seva(
        "re10k-d",
        "RealEstate10K D (4DiM)",
        "re10k-4dim",
        "re10k",
        "scene",
        (1,),
        128,
        size=256,
        problems=(LATER_RESIZE,),
    ),
    *seva_pair("re10k-r", "RealEstate10K R (ReconFusion)", "re10k", "re10k", "scene", (3,), 10),
    seva(
        "re10k-v",
        "RealEstate10K V (ViewCrafter)",
        "re10k-viewcrafter",
        "re10k",
        "scene",
        (1,),
        10,
        problems=(LATER_CROP, V_INPUTS),
    ),
    *seva_pair(
        "llff-r",
        "LLFF R (ReconFusion)",
        "llff",
        "llff",
        "scene",
        (3,),
        8,
        problems=(FROZEN_TODAY.format("llff/regnerf"),),
    ),
    *seva_pair(
        "dtu-r",
        "DTU R (ReconFusion)",
        "dtu",
        "dtu",
        "object",
        (3,),
        15,
        targets=(25,),
        one=25,
        problems=("Whether object masks are applied is not stated.", FROZEN_TODAY.format("dtu/regnerf")),
    ),
    *seva_pair("co3d-r", "CO3D R (ReconFusion)", "co3d", "co3d", "object", (3,), 20),
    seva("co3d-v", "CO3D V (ViewCrafter)", "co3d-viewcrafter", "co3d", "object", (1,), 10, problems=(LATER_CROP,)),
    seva(
        "wildrgbd-oe",
        "WildRGB-D O, easy (the first third of each sequence)",
        "wildgbd/easy",
        "wildrgbd",
        "object",
        (3,),
        20,
        (18,),
    ),
    *seva_pair(
        "wildrgbd-oh",
        "WildRGB-D O, hard (whole sequences)",
        "wildgbd/hard",
        "wildrgbd",
        "object",
        (3, 6),
        20,
        targets=(18, 15),
        one=20,
        problems=("Targets differ with the number of inputs: its columns are means over other views.",),
    ),
    *seva_pair("mipnerf360-r", "Mip-NeRF 360 R (ReconFusion)", "mipnerf360", "mipnerf360", "scene", (3, 6), 9),
    *seva_pair("dl3dv-o", "DL3DV O (ten scenes)", "dl3dv10", "dl3dv", "scene", (3, 6), 10, problems=(OUT_OF_RANGE,)),
    seva("dl3dv-l", "DL3DV L (Long-LRM)", "dl3dv140", "dl3dv", "scene", (32,), 140,
         problems=(OUT_OF_RANGE, SAME_AS_L.format("dl3dv/long-lrm"))),
    seva("tnt-v", "Tanks and Temples V (ViewCrafter)", "tnt-viewcrafter", "tanks-and-temples", "scene", (1,), 22,
         problems=(LATER_CROP,)),
    seva("tnt-l", "Tanks and Temples L (Long-LRM)", "tnt-longlrm", "tanks-and-temples", "scene", (32,), 2,
         problems=(SAME_AS_L.format("tnt/long-lrm"),)),
]  # fmt: skip
