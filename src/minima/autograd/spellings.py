"""PyTorch's names for axes, ``dim`` and ``keepdim``, beside NumPy's ``axis`` and ``keepdims``."""

from collections.abc import Mapping
from typing import Any, TypedDict, cast

import numpy as np

from minima.checks import flag
from minima.errors import sentence

__all__ = ["Axis", "Dim", "Dims", "Place", "Spread", "freedom", "kept", "spelled"]

Axis = int | tuple[int, ...] | None


class Dims(TypedDict, total=False):
    """The keywords of a reduction."""

    dim: Axis
    keepdim: bool


class Spread(Dims, total=False):
    """The keywords of a variance."""

    correction: int
    unbiased: bool


class Place(TypedDict, total=False):
    """The keywords of what finds a place along one axis."""

    dim: int | None
    keepdim: bool


class Dim(TypedDict, total=False):
    """The keyword of what works along one axis and keeps it."""

    dim: int


def spelled(
    who: str, words: Mapping[str, Any], axis: Any, keepdims: bool | None = None, default: Any = None
) -> tuple[Any, bool]:
    """``axis`` and ``keepdims``, from PyTorch's ``words`` where these are given.

    Args:
        keepdims: ``None`` where the axis is kept anyway.
        default: The ``axis`` of a caller who gives none.
    """
    known = {"dim"} if keepdims is None else {"dim", "keepdim"}
    if words.keys() - known:
        rule = "the keywords are " + ("axis, or dim" if keepdims is None else "axis and keepdims, or dim and keepdim")
        raise TypeError(sentence(who, rule, got=sorted(words.keys() - known)))
    if "dim" in words:
        if axis != default:
            raise TypeError(
                sentence(who, "axis and dim are the same argument", got=(axis, words["dim"]), hint="give one")
            )
        axis = words["dim"]
        if isinstance(axis, list):
            axis = tuple(cast("list[int]", axis))
    if "keepdim" in words:
        if keepdims:
            raise TypeError(sentence(who, "keepdims and keepdim are the same argument", hint="give one"))
        keepdims = flag(who, "keepdim", words["keepdim"])
    return axis, bool(keepdims)


def kept(who: str, keepdims: Any) -> bool:
    """The argument ``keepdims``, which may be 0 or 1 too, as in NumPy."""
    if not isinstance(keepdims, int) and not isinstance(keepdims, np.integer | np.bool_):
        raise TypeError(sentence(who, "keepdims must be True or False", got=keepdims))
    return bool(cast(Any, keepdims))


def freedom(who: str, words: Mapping[str, Any], ddof: int) -> tuple[dict[str, Any], int]:
    """The ``words`` that name axes, and ``ddof``, which PyTorch calls ``correction`` or ``unbiased``."""
    rest = dict(words)
    given = [rest.pop(name) for name in ("correction", "unbiased") if name in rest]
    if len(given) + bool(ddof) > 1:
        raise TypeError(sentence(who, "ddof, correction and unbiased are the same argument", hint="give one"))
    return rest, int(given[0]) if given else ddof
