"""Products of a few rows on a processor, which its libraries round by how many threads they have.

MKL shares a product of a handful of rows (5 to 11, but for 8, on one AMD EPYC) among threads in another order of sums
than one thread has; of those of many rows, of attention and of sums along rows the bits are the same. Such products are
those of t alone, a row a view: `kaleido@small` from 6 references was another file under another OMP_NUM_THREADS.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


def apply_alone(layer: nn.Module, rows: Float[Tensor, "*batch channels"]) -> Float[Tensor, "*batch d"]:
    """`layer(rows)`, on a processor by one thread: the same bits whatever the number of threads. Elsewhere, and while
    compiling, it is the call alone.
    """
    if rows.device.type != "cpu" or torch.compiler.is_compiling():
        return layer(rows)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return layer(rows)
    finally:
        torch.set_num_threads(threads)
