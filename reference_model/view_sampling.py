"""How many views of a training sequence are references. One number a step, for the whole batch, so that attention
needs no mask.
"""

from __future__ import annotations

import numpy as np

# Few references are the hard and common case. At least two targets are always left to learn from. Ours: the paper names
# "principled view sampling" and gives no numbers.
WEIGHTS = (0.22, 0.18, 0.2, 0.15, 0.13, 0.12)


def draw_reference_count(step: int, seed: int, views: int) -> int:
    """References at this step, from 1 to views - 2 (or 1), by `WEIGHTS`. A pure function: a resumed run draws the
    same.
    """
    most = max(1, min(len(WEIGHTS), views - 2))
    weights = np.asarray(WEIGHTS[:most])
    return 1 + int(np.random.default_rng((seed, step)).choice(most, p=weights / weights.sum()))
