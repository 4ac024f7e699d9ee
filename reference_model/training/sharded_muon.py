"""Muon for sharded matrices. Orthogonalising needs a whole matrix; a process has some rows of each. So the matrices are
dealt out: each process receives the rows of its own from all others, works on them alone, and sends the rows back.
Nothing is computed twice, and every process sends and receives one bfloat16 copy of its share of the gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from reference_model.config import TrainConfig
from reference_model.optim import BatchedMuon, build_optimizers, orthogonalise
from reference_model.training.sharding import local_parts, rows_of

AT_ONCE = 2**26  # elements that a process orthogonalises in one batch: a few times 128 MiB of bfloat16


def orthogonalise_shared(parts: Sequence[Tensor], rows: int, group: dist.ProcessGroup) -> list[Tensor]:
    """`orthogonalise` of matrices of one shape, of which each process holds `rows_of` the rows.

    Args:
        parts: this process' rows of each matrix; the same matrices in the same order on all processes.
        rows: of a whole matrix.

    Returns this process' rows of the results, in bfloat16.
    """
    size, rank, columns = group.size(), group.rank(), parts[0].shape[1]
    held = [len(range(rows)[rows_of(rows, size, process)]) for process in range(size)]
    owned = [len(range(process, len(parts), size)) for process in range(size)]  # dealt out in turn
    order = [i for process in range(size) for i in range(process, len(parts), size)]
    sent = [count * held[rank] * columns for count in owned]
    received = [owned[rank] * count * columns for count in held]

    outgoing = torch.stack([parts[i] for i in order]).bfloat16().flatten()
    incoming = outgoing.new_empty(sum(received))
    dist.all_to_all_single(incoming, outgoing, received, sent, group=group)
    whole = torch.cat(
        [x.view(owned[rank], count, columns) for x, count in zip(incoming.split(received), held, strict=True)], dim=1
    )
    done = orthogonalise(whole) if len(whole) else whole
    returned = torch.cat([x.flatten() for x in done.split(held, dim=1)])
    dist.all_to_all_single(outgoing, returned, sent, received, group=group)
    results: list[Tensor] = [outgoing] * len(parts)
    for i, result in zip(order, outgoing.view(len(parts), held[rank], columns), strict=True):
        results[i] = result
    return results


class ShardedMuon(torch.optim.Optimizer):
    """`BatchedMuon` over sharded matrices: the same update but for the order of sums, the same state under the same
    names, sharded.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(list(params), {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[DTensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                at_once = max(1, AT_ONCE // shape.numel()) * parameters[0].device_mesh.size()
                for i in range(0, len(parameters), at_once):
                    self._update(parameters[i : i + at_once], group["lr"], group["weight_decay"], group["momentum"])

    def _update(self, parameters: list[DTensor], lr: float, weight_decay: float, momentum: float) -> None:
        """Of parameters of one shape."""
        for p in parameters:
            self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
        own = local_parts(parameters)
        gradients = local_parts(p.grad for p in parameters if p.grad is not None)
        buffers = local_parts(self.state[p]["momentum_buffer"] for p in parameters)
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        nesterov = torch._foreach_lerp(gradients, buffers, momentum)
        rows, columns = parameters[0].shape
        updates = orthogonalise_shared(nesterov, rows, parameters[0].device_mesh.get_group())
        torch._foreach_mul_(own, 1 - lr * weight_decay)
        torch._foreach_add_(own, [x.float() for x in updates], alpha=-lr * 0.2 * max(rows, columns) ** 0.5)


def build_sharded_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Those of `build_optimizers`, of the same parameters in the same order; AdamW knows sharded ones itself."""
    return [
        ShardedMuon(optimizer.param_groups[0]["params"], config.learning_rate, config.weight_decay)
        if isinstance(optimizer, BatchedMuon)
        else optimizer
        for optimizer in build_optimizers(model, config)
    ]
