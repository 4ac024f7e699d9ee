"""A published file completes the pending protocol it belongs to, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kaleido_bench.errors import BenchError
from kaleido_bench.importers import IMPORTERS, build_importer
from kaleido_bench.importers.archives import open_archive
from kaleido_bench.importers.completion import Completed, complete_pending, import_like, write_completed
from kaleido_bench.importers.ids import POSITIONS, Numbering, infer_numbering
from kaleido_bench.protocol import (
    IndexFile,
    PendingIndex,
    fields_hash,
    hashed_fields,
    load_protocol,
    read_protocol,
)
from kaleido_bench.records import sha256_hex
from kaleido_bench.shipped import find_protocols
from tests.importers.published import split_members, write_index, write_zip

ARCHIVED = ("seva", "reconfusion", "viewcrafter", "4dim")
"""Whose splits are published in SEVA's layout; test_on_disk.py has the others."""

PENDING = [
    name
    for name in find_protocols()
    if name.split("/")[0] in ARCHIVED and isinstance(read_protocol(name).protocol.index, PendingIndex)
]


def complete(name: str, path: Path, out: Path, kind: str | None = None) -> Completed:
    record = read_protocol(name).protocol
    assert isinstance(record.index, PendingIndex)
    return complete_pending(record, record.index, open_archive(path), kind or record.index.completed_by, out=out)


def members_of(name: str, **changes: Any) -> dict[str, str]:
    """What the published archive would hold for a pending protocol, in its layout and with its counts."""
    record = read_protocol(name).protocol
    assert isinstance(record.index, PendingIndex) and not isinstance(record.reference_counts, str)
    settings: dict[str, Any] = {
        "scenes": [f"scene_{number:04d}" for number in range(record.index.expected.scenes or 3)],
        "counts": record.reference_counts,
        "targets": record.index.expected.targets,
    }
    return split_members(record.index.entry, **{**settings, **changes})


@pytest.mark.parametrize("name", PENDING)
def test_every_pending_protocol_is_completed_by_its_own_layout(name: str, tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "published.zip", members_of(name))
    out = tmp_path / "done.yaml"
    write_completed(complete(name, archive, out), out)
    loaded, pending = load_protocol(out), read_protocol(name).protocol
    assert loaded.protocol.name == name
    assert hashed_fields(loaded.protocol) == hashed_fields(pending)
    assert (loaded.protocol.title, loaded.protocol.sources) == (pending.title, pending.sources)
    assert isinstance(loaded.protocol.index, IndexFile) and loaded.protocol.index.completed_from is not None
    assert loaded.protocol.index.completed_from.file == "published.zip"
    assert loaded.protocol.index.completed_from.sha256 == sha256_hex(archive.read_bytes())
    first = loaded.cases[0]
    assert first.references == tuple(map(str, range(len(first.references))))


def test_all_seventeen_entries_of_seva_are_there() -> None:
    # Stability-AI/stable-virtual-camera, benchmark/README.md. The seventeenth, re10k-pixelsplat, is pixelSplat's index.
    entries = {
        *("omniobject3d", "gso", "re10k-4dim", "re10k", "re10k-viewcrafter", "llff", "dtu", "co3d"),
        *("co3d-viewcrafter", "wildgbd/easy", "wildgbd/hard", "mipnerf360", "dl3dv10", "dl3dv140", "tnt-viewcrafter"),
        "tnt-longlrm",
    }
    found = {
        record.index.entry
        for name in PENDING
        if name.startswith("seva/") and isinstance((record := read_protocol(name).protocol).index, PendingIndex)
    }
    assert found == entries and len(entries) == 16
    frozen, pairs = load_protocol("seva/re10k-p"), load_protocol("re10k/pixelsplat-2v")
    assert frozen.cases == pairs.cases and len(frozen.cases) == 6474
    assert frozen.protocol.preparation != pairs.protocol.preparation and frozen.hash != pairs.hash


def test_the_same_file_gives_the_same_bytes_and_a_folder_the_same_hash(tmp_path: Path) -> None:
    members = members_of("seva/llff-r")
    one = complete("seva/llff-r", write_zip(tmp_path / "a.zip", members), tmp_path / "x.yaml")
    two = complete("seva/llff-r", tmp_path / "a.zip", tmp_path / "x.yaml")
    assert (one.yaml_bytes, one.index_bytes) == (two.yaml_bytes, two.index_bytes)
    for name, text in members.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_text(text)
    assert complete("seva/llff-r", tmp_path / "folder", tmp_path / "y.yaml").loaded.hash == one.loaded.hash


def test_entries_below_a_folder_and_beside_their_namesakes(tmp_path: Path) -> None:
    members = {
        **members_of("seva/re10k-r", above="benchmark/"),
        **members_of("seva/re10k-d", above="benchmark/"),
        "benchmark/re10k/scene_0000/train_test_split_1-from32.json": "{}",
    }
    done = complete("seva/re10k-r", write_zip(tmp_path / "b.zip", members), tmp_path / "x.yaml")
    assert len(done.loaded.cases) == 10


def drop_scene(members: dict[str, str]) -> None:
    del members["llff/scene_0000/train_test_split_3.json"]


def write_split(**ids: Any) -> Callable[[dict[str, str]], None]:
    def change(members: dict[str, str]) -> None:
        members["llff/scene_0003/train_test_split_3.json"] = json.dumps(ids)

    return change


def rename_entry(members: dict[str, str]) -> None:
    for name in list(members):
        members[name.replace("llff/", "dtu/")] = members.pop(name)


def drop_counts(members: dict[str, str]) -> None:
    for name in list(members):
        members[name.replace("split_3", "split_9")] = members.pop(name).replace("0, 1, 2", "0, 1, 2, 3, 4, 5, 6, 7, 8")


def add_frames(members: dict[str, str]) -> None:
    frames = [{"file_path": f"images/{number}.png"} for number in range(6)]
    members["llff/scene_0003/transforms.json"] = json.dumps({"frames": frames})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_scene, ["7 scenes with 3 references", "8 scenes"]),
        (rename_entry, ["no entry 'llff'", "dtu"]),
        (drop_counts, ["nothing with 3 references", "[9]"]),
        (write_split(train_ids=[0, 1], test_ids=[3]), ["2 train_ids", "3, as its name says"]),
        (write_split(train_ids=[0, 1, 2], test_ids=[]), ["test_ids", "a list of view ids"]),
        (write_split(train_ids=[0, 1, 2]), ["no train_ids and test_ids"]),
        (write_split(train_ids=[0, 1, 1], test_ids=[3]), ["the id 1 twice"]),
        (write_split(train_ids=["0", "1", "2"], test_ids=[3]), ["the id '0' as text", "without quotes"]),
        (write_split(train_ids=[0, 1, "two"], test_ids=[3]), ["numbers and texts"]),
        (write_split(train_ids=[0, 1, 2.5], test_ids=[3]), ["the id 2.5"]),
        (write_split(train_ids=[0, 1, True], test_ids=[3]), ["the id True"]),
        (write_split(train_ids=[0, 1, -1], test_ids=[3]), ["the id -1"]),
        (write_split(train_ids=[0, 1, 2], test_ids=None), ["None", "a list of view ids"]),
        (add_frames, ["scene_0003", "the id 6 of 6 views", "0 to 5"]),
    ],
)
def test_what_does_not_match_is_refused(
    change: Callable[[dict[str, str]], None], words: list[str], tmp_path: Path
) -> None:
    members = members_of("seva/llff-r")
    change(members)
    with pytest.raises(BenchError) as caught:
        complete("seva/llff-r", write_zip(tmp_path / "b.zip", members), tmp_path / "x.yaml")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        ("scene 0007", ["scene is 'scene 0007'", "names that can be paths"]),
        (".hidden", ["id is '.hidden"]),
        ("SCENE_0006", ["are one name"]),
    ],
)
def test_scenes_that_cannot_be_paths_are_refused(scene: str, words: list[str], tmp_path: Path) -> None:
    members = {name.replace("scene_0007", scene): text for name, text in members_of("seva/llff-r").items()}
    with pytest.raises(BenchError) as caught:
        complete("seva/llff-r", write_zip(tmp_path / "b.zip", members), tmp_path / "x.yaml")
    for word in words:
        assert word in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_wrong_numbers_of_targets_are_refused(tmp_path: Path) -> None:
    members = members_of("seva/wildrgbd-oh", targets=(15, 18))
    with pytest.raises(BenchError, match="has 15 targets; expected 18 targets"):
        complete("seva/wildrgbd-oh", write_zip(tmp_path / "b.zip", members), tmp_path / "x.yaml")


def test_another_kind_than_the_protocol_names(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "b.zip", members_of("seva/llff-r"))
    with pytest.raises(BenchError, match="expected 'seva'"):
        complete("seva/llff-r", path, tmp_path / "x.yaml", kind="reconfusion")


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "x.yaml"
    done = complete("seva/llff-r", write_zip(tmp_path / "b.zip", members_of("seva/llff-r")), out)
    assert write_completed(done, out) and not write_completed(done, out)
    out.write_text("something else")
    with pytest.raises(BenchError, match="another file stands there"):
        write_completed(done, out)
    assert out.read_text() == "something else"


# pixelSplat's layout

RE10K = ("5aca87f95a9412c6", "322261824c4a3003")


def import_index(tmp_path: Path, scenes: dict[str, Any], *, like: str = "re10k/pixelsplat-2v") -> Completed:
    path = write_index(tmp_path / "mine.json", scenes)
    out = tmp_path / "mine.yaml"
    return import_like(load_protocol(like), open_archive(path), "pixelsplat", None, None, name="mine", out=out)


def test_an_index_becomes_a_protocol_like_another(tmp_path: Path) -> None:
    done = import_index(tmp_path, {RE10K[0]: ([58, 133], [84, 102]), RE10K[1]: ([33, 78], [38, 78]), "x": None})
    write_completed(done, tmp_path / "mine.yaml")
    loaded = load_protocol(tmp_path / "mine.yaml")
    like = load_protocol("re10k/pixelsplat-2v").protocol
    assert loaded.protocol.preparation == like.preparation and loaded.protocol.dataset == like.dataset
    assert loaded.protocol.reference_counts == (2,) and loaded.protocol.targets == "as-published"
    assert loaded.cases_by_id[f"{RE10K[0]}-r2"].targets == ("84", "102")
    assert loaded.protocol.known_problems == ("1 scenes of the published file are null and left out.",)
    assert fields_hash(loaded.protocol) != fields_hash(like)


def test_the_published_index_gives_the_shipped_cases(tmp_path: Path, data_dir: Path) -> None:
    shipped = load_protocol("re10k/pixelsplat-2v")
    path = data_dir / "splits" / "dcharatan+pixelsplat" / "evaluation_index_re10k.json"
    done = import_like(shipped, open_archive(path), "pixelsplat", None, None, name="x", out=tmp_path / "x.yaml")
    questions = {(case.scene, case.references, case.targets) for case in done.loaded.cases}
    assert questions == {(case.scene, case.references, case.targets) for case in shipped.cases}
    assert len(done.loaded.cases) == 6474


@pytest.mark.parametrize(
    ("scenes", "words"),
    [
        ({"675a09ccbf601dff": ([7, 54], [10])}, ["none of its 1 scenes", "re10k/pixelsplat-2v"]),
        ({RE10K[0]: None}, ["no entry that is not null"]),
        ({RE10K[0]: (["58", "133"], [84])}, ["the id '58' as text"]),
        ({RE10K[0]: ([58, 133], [84, 84])}, ["the id 84 twice"]),
        ({RE10K[0]: ([], [84])}, ["a list of view ids"]),
    ],
)
def test_an_index_of_something_else_is_refused(scenes: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(BenchError) as caught:
        import_index(tmp_path, scenes)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[]", '{"a": 3}', '{"a": {"context": [1]}}', '{"a": {"train_ids": [1], "test_ids": [2]}}']
)
def test_other_json_is_no_evaluation_index(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(BenchError):
        build_importer("pixelsplat").read_split(open_archive(tmp_path / "x.json"), None)


def test_positions_are_named_by_the_data_where_it_is_at_hand(tmp_path: Path, data_dir: Path) -> None:
    like = load_protocol("real/llff-few")
    path = write_index(tmp_path / "fern.json", {"llff_fern": ([1, 10], [0, 8])})
    archive, out = open_archive(path), tmp_path / "x.yaml"
    done = import_like(like, archive, "pixelsplat", None, data_dir, name="x", out=out)
    assert done.loaded.cases[0].references == ("image001", "image010")
    with pytest.raises(BenchError, match="no list of them is at hand"):
        import_like(like, archive, "pixelsplat", None, None, name="x", out=out)
    far = open_archive(write_index(tmp_path / "far.json", {"llff_fern": ([1, 10], [999])}))
    with pytest.raises(BenchError, match="the id 999 of 20 views"):
        import_like(like, far, "pixelsplat", None, data_dir, name="x", out=out)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["0", "7", "12"], POSITIONS),
        (["000", "012"], Numbering(3)),
        (["0", "012"], None),
        (["image001"], None),
        ([], None),
    ],
)
def test_how_a_protocol_numbers_its_views(ids: list[str], expected: Numbering | None) -> None:
    assert infer_numbering(ids) == expected


def test_unknown_kinds() -> None:
    assert {"seva", "reconfusion", "viewcrafter", "4dim", "pixelsplat"} <= set(IMPORTERS)
    with pytest.raises(BenchError, match="Did you mean 'seva'"):
        build_importer("sewa")
