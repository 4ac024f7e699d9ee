"""A model of which each process holds a share (FSDP2): weights, gradients, optimizer state and running average, all cut
into rows. For presets too large for a replica on each GPU.

Block by block: a block's weights are gathered when its forward or backward pass begins and forgotten after it, so that
no process ever holds the whole model. What is written to disk goes through `gather`, one tensor at a time, under the
names and shapes of a whole model; what is read goes through `scatter`. Checkpoints do not tell how many GPUs
made them.

    model = Kaleido(config)             on every process, from one seed
    wrap_blocks(model, ...)             compiled, recomputed: inside the hooks that gather
    shard_model(model, mesh, mixed=...)
    average = build_average(model, mesh)
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from reference_model.model import Kaleido
from reference_model.training.parallel import Team


def build_mesh(device: str) -> DeviceMesh:
    """All processes in one row. `device`: this process' own, as `cpu` or `cuda:1`."""
    return init_device_mesh(torch.device(device).type, (dist.get_world_size(),))


def wrap_blocks(model: Kaleido, *, compiled: bool, recomputed: bool) -> None:
    """Compile each block, and compute it again in the backward pass instead of keeping its activations. Before
    `shard_model` or after it: what gathers the weights is hung about a block's call, and only its forward is changed.
    """
    for block in model.stack():
        if compiled and not len(model.encoder):  # as train.compile_blocks
            torch._dynamo.config.cache_size_limit = 64
            block.forward = torch.compile(block.forward, dynamic=False)
        if recomputed:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)


def shard_model(model: Kaleido, mesh: DeviceMesh, *, mixed: bool) -> None:
    """In place: every parameter becomes this process' rows of it, on its device. A model that is still in the host's
    memory is moved block by block, and never whole on a GPU.

    Args:
        mixed: gather weights in bfloat16, half the bytes, for a model that runs under autocast (which would round them
            itself); shares, gradients and their sums stay float32. The embedding of t stays float32: t itself takes
            its type from these weights, and in bfloat16 the levels would be a few hundred.

    Raises ValueError for an encoder-decoder: its encoder reads weights of the decoder's blocks outside of their pass.
    """
    if len(model.encoder):
        raise ValueError("an encoder-decoder cannot be sharded; expected layout decoder-only, or train.sharded=false")
    # Of outputs that are views, as a layer's over four dimensions is. Nothing here is changed in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    exact = MixedPrecisionPolicy(cast_forward_inputs=False)
    half = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False) if mixed else exact
    fully_shard(model.time, mesh=mesh, mp_policy=exact)
    for block in model.stack():
        fully_shard(block, mesh=mesh, mp_policy=half)
    # Resharded after the forward pass, unlike FSDP2's default for a root: a running average is changed in its shares,
    # and what stayed gathered would go stale.
    fully_shard(model, mesh=mesh, mp_policy=half, reshard_after_forward=True)
    for method in ("encode_references", "denoise"):
        register_fsdp_forward_method(model, method)


def build_average(model: Kaleido, mesh: DeviceMesh) -> Kaleido:
    """A copy of a sharded model, sharded likewise, in float32 and without gradients; never whole on any process."""
    with torch.device("meta"):
        average = Kaleido(model.config)
    shard_model(average, mesh, mixed=False)
    average.to_empty(device=mesh.device_type)
    average.eval().requires_grad_(False)
    for own, given in zip(local_parts(average.parameters()), local_parts(model.parameters()), strict=True):
        own.copy_(given)
    return average


def is_sharded(model: torch.nn.Module) -> bool:
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


@torch.no_grad()
def local_parts(tensors: Iterable[Tensor]) -> list[Tensor]:
    """This process' rows, sharing memory; of a tensor that is not sharded, the tensor. What is done element by element
    can be done to these.
    """
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach() for tensor in tensors]


def rows_of(rows: int, processes: int, rank: int) -> slice:
    """Which rows a process holds: as many each, the last ones fewer or none."""
    each = -(-rows // processes)
    return slice(min(rank * each, rows), min((rank + 1) * each, rows))


@torch.no_grad()
def gather(named: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Whole tensors one after another, on the device. All processes must go through it together, to its end."""
    for name, tensor in named:
        yield name, tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach()


def gather_weights(model: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights as `gather` gives them, in the names and order of an unsharded model."""
    return gather(model.state_dict().items())


@torch.no_grad()
def scatter(into: Tensor, whole: Tensor) -> None:
    """This process' rows of a whole tensor, which may be on another device or of another type.

    Raises ValueError for another shape.
    """
    if into.shape != whole.shape:
        raise ValueError(f"found shape {tuple(whole.shape)}, expected {tuple(into.shape)}")
    if isinstance(into, DTensor):
        rows = rows_of(into.shape[0], into.device_mesh.size(), into.device_mesh.get_local_rank())
        into.to_local().copy_(whole[rows])
    else:
        into.copy_(whole)


@torch.no_grad()
def share_like(owner: Tensor, whole: Tensor) -> Tensor:
    """What an optimizer remembers of a parameter, cut as the parameter is: its rows, where it is of the same shape."""
    if not isinstance(owner, DTensor) or owner.shape != whole.shape:
        return whole
    share = torch.empty_like(owner, dtype=whole.dtype)
    scatter(share, whole)
    return share


class ShardedGradients:
    """Of these parameters: what `gradients.Gradients` is to whole ones. Each backward pass adds its own gradients,
    averaged over the processes, to this process' rows of them.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = parameters

    def attach(self) -> None:
        """Nothing: a backward pass finds them itself."""

    def zero(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def parts(self) -> list[Tensor]:
        """This process' rows; none of a parameter that no scene has used."""
        return local_parts(torch.zeros(0, device=p.device) if p.grad is None else p.grad for p in self.parameters)

    def average(self, team: Team, pieces: int) -> None:
        """Turn sums over each process' own pieces, averaged over the processes, into the mean over all pieces."""
        torch._foreach_mul_(self.parts(), team.size / pieces)

    @torch.no_grad()
    def clip(self, limit: float) -> Float[Tensor, " parameter"]:
        """Scale all so that their joint norm is at most `limit`; returns each one's norm before that, the same bits on
        every process. A parameter that no scene has used has norm 0. Where one is no number all become 0
        (`Gradients.clip`).
        """
        parts = self.parts()
        none = torch.zeros(1, device=self.parameters[0].device)  # of no rows: a norm of nothing is not everywhere 0
        squares = torch.stack(torch._foreach_norm([part if part.numel() else none for part in parts])).square()
        dist.all_reduce(squares)
        norms = squares.sqrt()
        total = norms.norm()
        torch._foreach_mul_(parts, (limit / (total + 1e-6)).clamp(max=1.0))
        wrong = ~total.isfinite()
        for part in parts:
            part.masked_fill_(wrong, 0.0)
        return norms
