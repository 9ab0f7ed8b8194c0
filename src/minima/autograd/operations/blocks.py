"""Formulas of many operations on one array, evaluated block by block in NumPy.

What stands between two operations then stays in the cache, where whole arrays go through memory once for each of them.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from minima.autograd.primitive import Array, Namespace

__all__ = ["BLOCK", "in_blocks"]

BLOCK = 16384
"""Elements in a block. The exact GELU of 524,288 numbers takes 17 ms as a whole, 9, 4.9, 4.1 and 3.7 ms in blocks of
2048, 8192, 16384 and 32768."""


def in_blocks(formula: Callable[..., tuple[Array, ...]]) -> Callable[..., tuple[Array, ...]]:
    """Decorates a function of a namespace, an array and numbers, that gives arrays computed element by element.

    A slope that is not known, as that of GELU at infinity, is NaN without a word: nobody may ask for it.
    """

    @wraps(formula)
    @np.errstate(invalid="ignore")
    def call(xp: Namespace, x: Array, **statics: Any) -> tuple[Array, ...]:
        if xp is not np or x.size <= 2 * BLOCK:
            return formula(xp, x, **statics)
        order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
        dense = np.ascontiguousarray(x.transpose(order))  # a view where the memory has no gaps, whatever its order
        flat = dense.reshape(-1)
        first = formula(np, flat[:BLOCK], **statics)
        results = [np.empty(dense.shape, part.dtype) for part in first]
        places = [result.reshape(-1) for result in results]
        for start in range(0, flat.size, BLOCK):
            stop = start + BLOCK
            parts = formula(np, flat[start:stop], **statics) if start else first
            for place, part in zip(places, parts, strict=True):
                place[start:stop] = part
        back = sorted(range(x.ndim), key=order.__getitem__)
        return tuple(result.transpose(back) for result in results)

    return call
