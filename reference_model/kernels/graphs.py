"""A function of tensors as one CUDA graph: its kernels are launched together, where the host is slower than the device.

A denoising step of one target view is some hundred kernels of a few microseconds; launched one by one, the host is what
takes the time. Shapes are fixed; what the function reads besides its arguments (weights, caches, cameras) must stay
where it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Graphed:
    """`function`, recorded once for tensors of the examples' shapes; called with others of the same shapes."""

    def __init__(self, function: Callable[..., Tensor], *examples: Tensor, warm: int = 3) -> None:
        self.inputs = [example.clone() for example in examples]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # kernels are compiled and chosen outside the record
            for _ in range(warm):
                function(*self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.output = function(*self.inputs)

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Raises ValueError for tensors of other shapes than the examples'."""
        for held, given in zip(self.inputs, tensors, strict=True):
            if held.shape != given.shape:
                raise ValueError(f"recorded for {tuple(held.shape)}, called with {tuple(given.shape)}")
            held.copy_(given)
        self.graph.replay()
        return self.output.clone()
