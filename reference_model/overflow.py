"""Which layer first gives a number that is none, found by running a model again with hooks on its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reference_model.recording import list_tensors


class Overflow(NamedTuple):
    """The first layer whose output is not finite though its inputs are."""

    layer: str
    share: float  # of its output's values
    largest_input: float

    def __str__(self) -> str:
        return (
            f"{self.layer}: {100 * self.share:.3g} % of its output is NaN or infinite, from inputs of at most "
            f"{self.largest_input:.3g}"
        )


@contextmanager
def run_eagerly(model: nn.Module) -> Iterator[None]:
    """Without the compiled twins of modules: those would not call hooks."""
    compiled = {module: module._compiled_call_impl for module in model.modules()}
    for module in compiled:
        module._compiled_call_impl = None
    try:
        with torch.compiler.set_stance("force_eager"):  # for what is compiled inside a module (sharding.wrap_blocks)
            yield
    finally:
        for module, call in compiled.items():
            module._compiled_call_impl = call


@contextmanager
def hook_layers(
    model: nn.Module, kind: type[nn.Module], hook: Callable[[str, nn.Module, tuple[Any, ...], Any], None]
) -> Iterator[None]:
    """Call hook(name, module, inputs, output) after each module of a type, by its name in the model."""
    handles = [
        module.register_forward_hook(lambda m, inputs, output, name=name: hook(name, m, inputs, output))
        for name, module in model.named_modules()
        if isinstance(module, kind) and name
    ]
    try:
        with run_eagerly(model):
            yield
    finally:
        for handle in handles:
            handle.remove()


def list_floats(value: Any) -> list[Tensor]:
    """The floating-point tensors in an argument or an output."""
    return [x.detach() for x in list_tensors(value) if x.is_floating_point()]


def gather_rows(parameter: Tensor) -> Tensor:
    """All rows of a weight, of which a sharded model's processes hold a share each; they go through it together. What
    shards models is not imported here: this is for use as well, where torch.distributed may not be needed at all.
    """
    return getattr(parameter, "full_tensor", parameter.detach)().detach()


def find_overflow(model: nn.Module, call: Callable[[], object]) -> Overflow | None:
    """The first weight or layer that is, or makes of finite inputs, NaN or infinity when `call` runs the model; None
    where there is none.

    For a trainer whose loss has become NaN: `find_overflow(model, lambda: loss(tensors, references))` repeats the step
    eagerly.
    Layers are the innermost modules that show it: `blocks.3.mlp.up` rather than `blocks.3`.
    """
    for name, parameter in model.named_parameters():
        wrong = (~torch.isfinite(gather_rows(parameter))).float().mean().item()
        if wrong:
            return Overflow(f"weights of {name}", wrong, 0.0)
    found: list[Overflow] = []

    def look(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        outputs = list_floats(output)
        if found or all(torch.isfinite(x).all() for x in outputs):
            return
        given = list_floats(inputs)
        share = max((~torch.isfinite(x)).float().mean().item() for x in outputs)
        largest = max((x.abs().max().item() for x in given if x.numel()), default=0.0)
        if all(torch.isfinite(x).all() for x in given):
            found.append(Overflow(name, share, largest))

    with torch.no_grad(), hook_layers(model, nn.Module, look):  # nothing is kept for a backward pass: memory is full
        call()
    return found[0] if found else None
