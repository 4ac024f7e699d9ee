"""What to do about each thing that lint finds. Said once for a code, however many cases and protocols have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "unreadable": "Correct what the line names; `kbench show --schema` prints the fields of a protocol.",
        "ids-pending": "Get the file that the line names and run its command; until then the protocol cannot be run.",
        "target-is-reference": (
            "Take these views out of the targets and freeze the index again. To keep a published list as it is, say "
            "targets: as-published: tables then have both means, with and without them."
        ),
        "same-image": "Take the target out, or the reference: under two ids it is one picture, and a copy scores inf.",
        "empty-case": "Give the case at least one reference and one target, or drop it.",
        "duplicate-id": "Rename all but one: a case's id is its folder, and some disks ignore upper and lower case.",
        "duplicate-view": "Name each view once.",
        "duplicate-case": "Drop one of the two: its views weigh twice in every mean.",
        "count-off-axis": "Add the number to reference_counts, or correct the case's references.",
        "count-missing": (
            "Add the case, or drop the scene: every column of a table has to average the same scenes. Where each scene "
            "has its own number of references, say reference_counts: all."
        ),
        "count-differs": "Compare the list with the paper's; say in known_problems what differs and why.",
        "targets-move": (
            "Ask for the same targets under every number of references. Where a published list does not, read its "
            "columns one by one: a curve over them mixes the number of references with other targets."
        ),
        "references-not-nested": (
            "Nothing to mend in a published list: more references are other ones, so a curve may fall. In a list of "
            "your own let the smaller sets be prefixes (kaleido_bench.splits.nested_cases)."
        ),
        "null-entries": "State the number of scenes without them: nobody can answer a null entry.",
        "regime": "Say regime: many-view, or split the protocol at 10 references.",
        "not-pinned": (
            "With the data at hand, freeze the index with pins (kaleido_bench.authoring.pin_views). Without: state "
            "which files were used, since changed images or cameras would go unnoticed."
        ),
        "not-the-pinned": (
            "Get the files of dataset.revision. Where the change is meant, freeze the index again and "
            "raise the version: it is another protocol."
        ),
        "unknown-scene": "Compare the name with the folders below dataset.root; then root and reader.",
        "unknown-view": "Compare the ids with docs/readers.md: the reader may count other files than the list does.",
        "no-data": "Do what the line says; nothing was checked against data.",
        "unreadable-scene": "Correct the file that the line names, or drop the scene from the index.",
        "views-not-sorted": "Sort the frames of transforms.json by file name: the ids are positions in that order.",
        "mixed-sizes": "Choose a preparation with a size, or state that every view is scored at its own.",
        "mixed-intrinsics": "Nothing where the camera zoomed; else look for views whose K belongs to another size.",
        "no-baseline": "Choose references that stand apart: nothing can be learned of depth from one point.",
        "same-pose": "Look at the images: one view stored twice (drop one), or a wrong pose (correct it).",
        "near-duplicate": (
            "Look at the two images. Where they show the same, take one out; otherwise say in known_problems that "
            "copying the reference scores high."
        ),
        "extrapolation": "Nothing to mend: say it beside the number, since nobody has seen what these targets show.",
        "rival-targets": (
            "Give the protocol's name and hash beside every number, never the data set and the number of views alone. "
            "Compare under the mean without shown targets, which tables print for leaky protocols."
        ),
        "other-targets": "Compare numbers of one protocol only; the data set and the number of views do not name it.",
    }
)
"""Code of a finding -> what to do. Every code of this room is here (tests/lint/test_protocols.py)."""


def list_advice(codes: Iterable[str]) -> dict[str, str]:
    """What to do about these codes, each once, in order of first appearance."""
    return {code: ADVICE[code] for code in dict.fromkeys(codes)}
