"""SEVA's benchmark: sixteen of its seventeen entries. The other, `re10k-pixelsplat`, is in re10k.py."""

from __future__ import annotations

from pydantic import JsonValue

from builders.pending import FROZEN_TODAY, SEVA_ZIP, V_INPUTS, Entry, Published, draft_entry
from kaleido_bench.drafts import Draft

SWEEP: dict[str, JsonValue] = {"policy": "scale-sweep", "scales": [round(0.1 * step, 1) for step in range(1, 21)]}

SEVA = Published(
    kind="seva",
    title="SEVA, {}",
    root="seva",
    obtain=SEVA_ZIP,
    size=576,
    sources=(
        "split, preparation: Stability-AI/stable-virtual-camera, benchmark/README.md",
        "counts: SEVA (Zhou et al. 2025, arXiv 2503.14489), Table 7",
        "metrics: Stability-AI/stable-virtual-camera#53",
    ),
    problems=(
        "SEVA resizes by torch's area filter, which averages whole pixels; ours (box) weighs pixels that it cuts.",
        "No metric code was published: see `kbench metrics show seva` for what nobody knows of the convention.",
    ),
    convention="seva",
    optional=(),
    filter="box",
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

OUT_OF_RANGE = (
    "A user found test id 408 of scene d9b6376623741313... out of range (Stability-AI/stable-virtual-camera#60); "
    "`kbench lint --data` names such ids."
)
SAME_AS_L = (
    "Inputs are Long-LRM's 32 of k-means, targets every 8th frame: {} asks the same of the data as prepared there."
)

ENTRIES = (
    Entry("omniobject3d-s", "OmniObject3D S (SV3D's dynamic orbits)", "omniobject3d", "omniobject3d", "object", 308,
          (1,), problems=(RENDERS.format("Stability-AI/stable-virtual-camera#76 asks for GSO's"),)),
    Entry("omniobject3d-o", "OmniObject3D O (dynamic orbits)", "omniobject3d", "omniobject3d", "object", 308,
          (3,), problems=(RENDERS.format("Stability-AI/stable-virtual-camera#76 asks for GSO's"),)),
    Entry("gso-s", "GSO S (SV3D's orbits)", "gso", "gso", "object", 300,
          (1,), problems=(RENDERS.format("Stability-AI/stable-virtual-camera#76"),)),
    Entry("gso-o", "GSO O (orbits)", "gso", "gso", "object", 300,
          (3,), problems=(RENDERS.format("Stability-AI/stable-virtual-camera#76"),)),
    Entry("re10k-d", "RealEstate10K D (4DiM)", "re10k-4dim", "re10k", "scene", 128,
          (1,), problems=(LATER_RESIZE,), size=256),
    Entry("re10k-r", "RealEstate10K R (ReconFusion)", "re10k", "re10k", "scene", 10, (1, 3)),
    Entry("re10k-v", "RealEstate10K V (ViewCrafter)", "re10k-viewcrafter", "re10k", "scene", 10,
          (1,), problems=(LATER_CROP, V_INPUTS)),
    Entry("llff-r", "LLFF R (ReconFusion)", "llff", "llff", "scene", 8,
          (1, 3), problems=(FROZEN_TODAY.format("llff/regnerf"),)),
    Entry("dtu-r", "DTU R (ReconFusion)", "dtu", "dtu", "object", 15, (1, 3), {1: 25, 3: 25},
          ("Whether object masks are applied is not stated.", FROZEN_TODAY.format("dtu/regnerf"))),
    Entry("co3d-r", "CO3D R (ReconFusion)", "co3d", "co3d", "object", 20, (1, 3)),
    Entry("co3d-v", "CO3D V (ViewCrafter)", "co3d-viewcrafter", "co3d", "object", 10,
          (1,), problems=(LATER_CROP,)),
    Entry("wildrgbd-oe", "WildRGB-D O, easy (the first third of each sequence)", "wildgbd/easy", "wildrgbd", "object",
          20, (3,), {3: 18}, scene_names=WILDRGBD_SCENES),
    Entry("wildrgbd-oh", "WildRGB-D O, hard (whole sequences)", "wildgbd/hard", "wildrgbd", "object",
          20, (1, 3, 6), {1: 20, 3: 18, 6: 15},
          ("Targets differ with the number of inputs: its columns are means over other views.",),
          scene_names=WILDRGBD_SCENES),
    Entry("mipnerf360-r", "Mip-NeRF 360 R (ReconFusion)", "mipnerf360", "mipnerf360", "scene", 9, (1, 3, 6)),
    Entry("dl3dv-o", "DL3DV O (ten scenes)", "dl3dv10", "dl3dv", "scene", 10,
          (1, 3, 6), problems=(OUT_OF_RANGE,), scene_names=DL3DV_SCENES),
    Entry("dl3dv-l", "DL3DV L (Long-LRM)", "dl3dv140", "dl3dv", "scene", 140,
          (32,), problems=(OUT_OF_RANGE, SAME_AS_L.format("dl3dv/long-lrm"))),
    Entry("tnt-v", "Tanks and Temples V (ViewCrafter)", "tnt-viewcrafter", "tanks-and-temples", "scene", 22,
          (1,), problems=(LATER_CROP,)),
    Entry("tnt-l", "Tanks and Temples L (Long-LRM)", "tnt-longlrm", "tanks-and-temples", "scene", 2,
          (32,), problems=(SAME_AS_L.format("tnt/long-lrm"),), scene_names=("train", "truck")),
)  # fmt: skip
"""Scenes, inputs and, where the paper says how many, targets of each."""


def part_by_inputs(entry: Entry) -> list[Entry]:
    """An entry with one input and with more is two protocols: the single input is swept over scales, as SEVA's
    single-input rows are. `-1` is added to the name of that one.
    """
    if 1 not in entry.counts:
        return [entry]
    one = entry._replace(counts=(1,), cameras=SWEEP, problems=(SWEPT, *entry.problems))
    more = tuple(count for count in entry.counts if count > 1)
    if not more:
        return [one]
    return [
        entry._replace(title=f"{entry.title}, {', '.join(map(str, more))} inputs", counts=more),
        one._replace(name=f"{entry.name}-1", title=f"{entry.title}, 1 input"),
    ]


def build() -> list[Draft]:
    """One or two protocols an entry."""
    return [draft_entry(SEVA, part) for entry in ENTRIES for part in part_by_inputs(entry)]
