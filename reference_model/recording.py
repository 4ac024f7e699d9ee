"""CUDA graphs: kernels that are launched once and replayed, where the host is slower than the device.

`RecordedFunction` is for inference: a denoising step of one target view is some hundred kernels of a few microseconds.
`Recordings` keeps those of a sampler, one for each shape of what it is given; its plain twin is to call the function.
Shapes are fixed; what is read besides the arguments (weights, caches, cameras) must stay where it is. A training step
is recorded in training/stepping.py.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor


def warm_up(call: Callable[[], object], times: int, stream: torch.cuda.Stream | None = None) -> None:
    """Calls outside the record, on a stream of their own: compiles, and lets libraries choose their kernels."""
    aside = stream or torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(times):
            call()
    torch.cuda.current_stream().wait_stream(aside)


class Shared(NamedTuple):
    """What recordings share that never run at once: memory, and the stream they are made on, which has a workspace for
    matrix products of its own. None: each has memory of its own.
    """

    pool: Any = None
    stream: torch.cuda.Stream | None = None


class RecordedFunction:
    """`function` of tensors, recorded for the examples' shapes; called with others of the same shapes. On the current
    device.
    """

    def __init__(self, function: Callable[..., Tensor], *examples: Tensor, shared: Shared = Shared()) -> None:
        self.inputs = [example.clone() for example in examples]
        warm_up(lambda: function(*self.inputs), 3, shared.stream)
        self.graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile: their calls are no part of this.
        with torch.cuda.graph(self.graph, *shared, capture_error_mode="thread_local"):
            self.output = function(*self.inputs)

    def __call__(self, *tensors: Tensor) -> Tensor:
        """A copy of the output: it outlives the next call. ValueError for shapes other than the examples'."""
        for held, given in zip(self.inputs, tensors, strict=True):
            if held.shape != given.shape:
                raise ValueError(f"recorded for {tuple(held.shape)}, called with {tuple(given.shape)}")
            held.copy_(given)
        self.graph.replay()
        return self.output.clone()


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """Where kernels are launched: what is not CUDA's needs no saying."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def list_tensors(held: Any) -> list[Tensor]:
    """The tensors of nested tuples and lists, in their order."""
    if isinstance(held, Tensor):
        return [held]
    return [x for part in held for x in list_tensors(part)] if isinstance(held, tuple | list) else []


def copy_tensors(held: Any) -> Any:
    """The same nested tuples with tensors of their own."""
    if isinstance(held, Tensor):
        return held.clone()
    if not isinstance(held, tuple):
        return held
    parts = [copy_tensors(part) for part in held]
    return type(held)(*parts) if hasattr(held, "_fields") else tuple(parts)


def describe_tensors(held: Any) -> Hashable:
    """All of nested tuples but the tensors' values: what is alike here, one recording serves."""
    if isinstance(held, Tensor):
        return held.shape, held.dtype, held.device
    return (type(held), *map(describe_tensors, held)) if isinstance(held, tuple) else held


Predict = Callable[[Tensor, Tensor, Any], Tensor]
"""Of x, t, and nested tuples that hold everything else that changes from call to call."""


class Recording:
    """One `Predict`, beside tensors that stay in one place; recorded at its first call."""

    def __init__(self, predict: Predict, held: Any, shared: Shared) -> None:
        self.predict, self.held, self.shared = predict, copy_tensors(held), shared
        self.replay: RecordedFunction | None = None

    def hold(self, held: Any) -> None:
        """Take the values of others of the same shapes."""
        with torch.inference_mode():
            for place, value in zip(list_tensors(self.held), list_tensors(held), strict=True):
                place.copy_(value)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        with torch.inference_mode(), on_device(x.device):
            if self.replay is None:
                self.replay = RecordedFunction(lambda x, t: self.predict(x, t, self.held), x, t, shared=self.shared)
            return self.replay(x, t)


class Recordings:
    """Recordings by what they are of and the shapes of what they hold; the last used `most` are kept. For inference on
    one CUDA device and in one thread: between `record` and the last call of what it gives, nothing alike may be
    recorded.
    """

    def __init__(self, most: int = 16) -> None:
        self.most, self.shared = most, Shared()
        self.kept: dict[Hashable, Recording] = {}

    def record(self, name: Hashable, predict: Predict, held: Any) -> Recording:
        """`predict` beside `held`, by an earlier recording where there is one of this name and these shapes: what
        `predict` reads beside its arguments is the name's, and must be the same for all of one name.
        """
        device = list_tensors(held)[0].device
        if self.shared.stream is None and device.type == "cuda":
            self.shared = Shared(torch.cuda.graph_pool_handle(), torch.cuda.Stream(device))
        key = name, describe_tensors(held)
        recording = self.kept.pop(key, None) or Recording(predict, held, self.shared)
        recording.hold(held)
        self.kept[key] = recording  # the last used stands last
        while len(self.kept) > self.most:
            del self.kept[next(iter(self.kept))]
        return recording
