"""The derivative of indexing: elements go back to where they were taken from, and what was taken twice adds up."""

from typing import Any

import numpy as np

from minima.autograd.primitive import Array, Namespace

__all__ = ["scatter"]


def scatter(xp: Namespace, g: Array, shape: tuple[int, ...], index: tuple[Any, ...]) -> Array:
    """Zeros of ``shape``, plus ``g`` at ``index``: the one place where an array is filled step by step.

    NumPy has no pure form of it; other namespaces (JAX) have ``.at[index].add``.
    """
    if xp is not np:
        return xp.zeros(shape, g.dtype).at[index].add(g)
    out = np.zeros(shape, g.dtype)
    taken: list[Any] = [i for i in index if isinstance(i, np.ndarray)]
    if all(i.dtype == bool for i in taken):
        out[index] = g  # slices, integers and masks take no element twice
    elif len(taken) == 1 and isinstance(index[0], np.ndarray) and all(i is Ellipsis for i in index[1:]):
        _add_rows(out, taken[0], g)
    else:
        np.add.at(out, index, g)
    return out


def _add_rows(out: Array, rows: Array, g: Array) -> None:
    """``out[rows] += g``, where rows repeat: sorted, so that each is one sum; np.add.at is several times slower."""
    rows = rows.ravel() % len(out) if rows.size else rows.ravel()
    if rows.size == 0 or out.size == 0:
        return
    g = g.reshape(rows.size, *out.shape[1:])
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    out[ordered[starts]] = np.add.reduceat(g[order], starts, axis=0)
