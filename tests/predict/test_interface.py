"""The types handed to an adapter hold no target image, whatever path one walks through them."""

from __future__ import annotations

import dataclasses
import typing

import numpy as np

from kaleido_bench.predict.adapters import Adapter, ReferenceViews, SceneAdapter, TargetCameras, build_card

PIXEL_TYPES = (np.uint8, np.float32, np.float16)


def fields_of(kind: type) -> dict[str, object]:
    """The typed fields of a NamedTuple or dataclass; {} for anything else."""
    record = hasattr(kind, "_fields") or dataclasses.is_dataclass(kind)
    return typing.get_type_hints(kind) if record else {}


def walk(kind: object, path: str = "") -> typing.Iterator[tuple[str, object]]:
    """Every type that can be reached from `kind`: through fields, and through the arguments of generics."""
    yield path, kind
    for argument in typing.get_args(kind):
        yield from walk(argument, f"{path}[]")
    if isinstance(kind, type):
        for name, field in fields_of(kind).items():
            yield from walk(field, f"{path}.{name}")


def holds_pixels(kind: object) -> bool:
    """An array type that can hold an image, or something opaque that could hide one (a function, a path, Any)."""
    if kind is typing.Any or kind is object or typing.get_origin(kind) is not None:
        return typing.get_origin(kind) is not tuple and kind is not Ellipsis
    dtypes = getattr(kind, "dtypes", None)
    return "uint8" in dtypes if dtypes is not None else kind not in (int, str, TargetCameras) and not fields_of(kind)


def test_target_cameras_hold_no_image_and_nothing_that_could_load_one() -> None:
    reached = [(path, kind) for path, kind in walk(TargetCameras) if kind is not Ellipsis]
    assert {path for path, _ in reached} >= {".item", ".ids", ".cameras", ".cameras.c2w", ".cameras.K"}
    assert [path for path, kind in reached if holds_pixels(kind)] == []


def test_the_walk_finds_an_image_where_there_is_one() -> None:
    assert ".images" in [path for path, kind in walk(ReferenceViews) if holds_pixels(kind)]


def test_adapters_receive_nothing_but_references_target_cameras_and_a_generator() -> None:
    predict = typing.get_type_hints(Adapter.predict)
    fit = typing.get_type_hints(SceneAdapter.fit)
    assert [predict[name] for name in predict if name != "return"] == [
        ReferenceViews,
        TargetCameras,
        np.random.Generator,
    ]
    assert [fit[name] for name in fit if name != "return"] == [ReferenceViews, np.random.Generator]


def test_fingerprint_moves_with_everything_that_moves_a_pixel_and_with_nothing_else() -> None:
    card = build_card("m", variant="a", code_version="1", weights_sha256="w", settings={"steps": 4, "chunk": 2})
    same = build_card("m", variant="a", code_version="1", weights_sha256="w", settings={"chunk": 2, "steps": 4})
    assert card.fingerprint == same.fingerprint
    others = [
        build_card("n", variant="a", code_version="1", weights_sha256="w", settings={"steps": 4, "chunk": 2}),
        build_card("m", variant="b", code_version="1", weights_sha256="w", settings={"steps": 4, "chunk": 2}),
        build_card("m", variant="a", code_version="2", weights_sha256="w", settings={"steps": 4, "chunk": 2}),
        build_card("m", variant="a", code_version="1", weights_sha256="v", settings={"steps": 4, "chunk": 2}),
        build_card("m", variant="a", code_version="1", weights_sha256="w", settings={"steps": 5, "chunk": 2}),
    ]
    assert len({card.fingerprint, *(other.fingerprint for other in others)}) == 6
