"""The derivative of indexing: elements go back to where they were taken from, and what was taken twice adds up."""

from typing import Any

import numpy as np

from minima.autograd.primitive import Array, Namespace

__all__ = ["scatter"]


def scatter(xp: Namespace, g: Array, shape: tuple[int, ...], index: tuple[Any, ...], *, once: bool = False) -> Array:
    """Zeros of ``shape``, plus ``g`` at ``index``: the one place where an array is filled step by step.

    ``once`` says that the index takes no element twice.

    NumPy has no pure form of it; other namespaces (JAX) have ``.at[index].add``.
    """
    if xp is not np:
        return xp.zeros(shape, g.dtype).at[index].add(g)
    out = np.zeros(shape, g.dtype)
    taken: list[Any] = [i for i in index if isinstance(i, np.ndarray)]
    if once or all(i.dtype == bool for i in taken):
        out[index] = g  # slices, integers and masks take no element twice
    elif len(taken) == 1 and index[0] is taken[0] and all(i is Ellipsis for i in index[1:]) and g.size >= _MANY:
        _add_rows(out, taken[0].ravel() % shape[0], g.reshape(-1, *shape[1:]))
    else:
        np.add.at(out, index, g)
    return out


# From about here sorting pays: 4096 rows of 64 out of 1000 take 1.3 ms instead of the 4.5 ms of np.add.at.
_MANY = 8192


def _add_rows(out: Array, rows: Array, g: Array) -> None:
    """``out[rows] += g``, where rows repeat: sorted by row, so that the gradients of each are one sum."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    out[ordered[starts]] = np.add.reduceat(g[order], starts, axis=0)
