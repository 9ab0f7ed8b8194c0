"""Every operation of a program on arrays of JAX, and on numbers that are known while JAX traces."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from minima.jax.device import widest
from minima.jax.xla import Array, jax, jnp
from minima.optim.language.elementary import power_of_floats
from minima.optim.language.operations import row_of

__all__ = ["known", "power_of_steps", "reduced", "word"]


def _where(condition: Any, x: Any, y: Any) -> Any:
    """Of arrays that are alike, one operation; JAX's own traces a function of several in every place."""
    alike = all(isinstance(each, Array) for each in (condition, x, y)) and condition.shape == x.shape == y.shape
    return jax.lax.select(condition, x, y) if alike and x.dtype == y.dtype else jnp.where(condition, x, y)


def _maximum(x: Any, y: Any) -> Any:
    return _where((x >= y) | (x != x), x, y)  # JAX's own may give either of 0.0 and -0.0


def _minimum(x: Any, y: Any) -> Any:
    return _where((x <= y) | (x != x), x, y)


def _sign(x: Any) -> Any:
    return _where(x == 0, jnp.zeros_like(x), jnp.sign(x))  # that of -0.0 is 0.0


def _bfloat16(x: Any) -> Any:
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)  # XLA may leave out casts to and fro


def _product(x: Any, y: Any) -> Any:
    return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)  # a GPU would round float32 to 10 bits


def _decomposed(name: str) -> Callable[[Any], tuple[Any, Any]]:
    """What LAPACK does, in float64 where the device has it; of a matrix that is not finite, all is NaN."""

    def found(x: Any) -> tuple[Any, Any]:
        wide = x.astype(widest())
        is_finite = jnp.isfinite(wide).all()
        first, second = getattr(jnp.linalg, name)(jnp.where(is_finite, wide, np.eye(len(x))))
        first = first[None] if first.ndim < 2 else first
        return tuple(jnp.where(is_finite, part, jnp.nan).astype(x.dtype) for part in (first, second))  # pyright: ignore

    return found


def _sort_columns(x: Any, by: Any) -> Any:
    """One sort of pairs: indices would be int64 here, and where this is compiled there are none."""
    return jax.lax.sort((jnp.broadcast_to(-by, x.shape), x), dimension=1, is_stable=True, num_keys=1)[1]


_WORDS: dict[str, Callable[..., Any]] = {
    "pow": jnp.power,
    "not": operator.invert,
    "where": _where,
    "maximum": _maximum,
    "minimum": _minimum,
    "sign": _sign,
    "bfloat16": _bfloat16,
    "matmul": _product,
    "transpose": jnp.transpose,
    "mod": jnp.mod,
    "eigh": _decomposed("eigh"),
    "qr": _decomposed("qr"),
    "item0": operator.itemgetter(0),
    "item1": operator.itemgetter(1),
    "sort_columns": _sort_columns,
}


def word(name: str) -> Callable[..., Any]:
    """What an operation is on arrays."""
    if name in _WORDS:
        return _WORDS[name]
    row = row_of(name)
    return row.python or getattr(jnp, row.library)


def reduced(operation: str, x: Any, dtype: Any) -> Any:
    """What a reduction makes of an array; terms are added in float64, where the device has it.

    One number for the whole stays in that precision, those for rows and columns are taken into ``dtype``.
    """
    name, axis = (operation[:-1], int(operation[-1])) if operation[-1] in "01" else (operation, None)
    wide = x if name == "max" else x.astype(widest())
    if name == "norm":
        found = jnp.sqrt(jnp.sum(wide * wide, axis=axis, keepdims=axis is not None))
    else:
        found = getattr(jnp, name)(wide, axis=axis, keepdims=axis is not None)
    return found.astype(dtype if axis is not None else widest())


def known(name: str, operands: list[float]) -> float:
    """An operation on numbers that are known, as the host part of every other face computes it."""
    row = row_of(name)
    with np.errstate(all="ignore"):  # infinity and NaN are for the user to see in the result
        if name == "pow":
            return power_of_floats(*operands)
        if row.definition is not None and row.number is not None:
            return float(row.number(*operands))
        if row.truths:
            operands[: row.truths] = [bool(x) for x in operands[: row.truths]]
        return float(row.numpy(*(x if isinstance(x, bool) else np.float64(x) for x in operands)))


def power_of_steps(x: Any, t: Any) -> Any:
    """``x**t`` for an array ``t`` of nonnegative integers, by the squarings with which every face computes it."""
    found = jnp.ones_like(x)
    for place in reversed(range(31)):
        found = found * found
        found = jnp.where((t >> place) & 1, found * x, found)
    return found
