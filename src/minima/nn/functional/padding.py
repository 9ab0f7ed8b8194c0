"""Frames around tensors: pad, and the padding modes of convolutions."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np

from minima.autograd import Tensor
from minima.autograd.operations import shapes
from minima.autograd.tensor import TensorLike, apply, as_tensor
from minima.checks import integer, number, one_of
from minima.errors import sentence

__all__ = ["MODES", "framed", "pad"]

MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""What fills a frame with the input's own elements, and what NumPy calls it."""


def pad(
    input: TensorLike,
    pad: Sequence[int],
    mode: Literal["constant", "reflect", "replicate", "circular"] = "constant",
    value: float | None = None,
) -> Tensor:
    """Put a frame around the input.

    Args:
        input: Of any shape.
        pad: The widths (before, after) of the frame along the last axis, then along the last but one, and so on: two
            for each axis that gets a frame. A negative one cuts off.
        mode: What the frame is filled with: ``value`` (``"constant"``), or the input ``"reflect"``-ed at its edge, its
            edge (``"replicate"``), or the opposite side (``"circular"``).
        value: The number in the frame, 0 by default; for the mode ``"constant"`` only.

    Raises:
        TypeError: A width is not an integer, or ``value`` is no number.
        ValueError: ``mode`` is unknown, the widths are not two for each of at most all axes, more is cut off than
            there is, or an axis is too short for the mode.

    `minima.pad` takes its widths as NumPy does, for all axes from the first.

    >>> pad(Tensor([1.0, 2.0, 3.0]), (1, 2), mode="circular").tolist()
    [3.0, 1.0, 2.0, 3.0, 1.0, 2.0]
    """
    who, x = "pad", as_tensor(input)
    one_of(who, "mode", mode, ("constant", *MODES))
    rule = f"pad must be pairs of widths, of {x.ndim} axes at most"
    if not isinstance(pad, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise TypeError(sentence(who, rule, got=pad))
    widths = [integer(who, "pad", width, None) for width in pad]
    if len(widths) % 2 or len(widths) > 2 * x.ndim:
        raise ValueError(sentence(who, rule, got=pad))
    pairs = {x.ndim - 1 - i: (widths[2 * i], widths[2 * i + 1]) for i in range(len(widths) // 2)}
    if mode != "constant":
        if value is not None:
            raise ValueError(sentence(who, "value is for the mode 'constant'", got=value, hint="leave it out"))
        return framed(who, x, pairs, mode)
    filling = 0.0 if value is None else number(who, "value", value, -np.inf)
    frame = [pairs.get(axis, (0, 0)) for axis in range(x.ndim)]
    kept = tuple(_kept(who, x, axis, pair) for axis, pair in enumerate(frame))
    outside = tuple((max(before, 0), max(after, 0)) for before, after in frame)
    return apply(shapes.pad, x[kept] if min(widths, default=0) < 0 else x, widths=outside, value=filling)


def framed(who: str, x: Tensor, pairs: Mapping[int, tuple[int, int]], mode: str) -> Tensor:
    """The input in a frame of its own elements, of widths (before, after) for each axis."""
    for axis, pair in pairs.items():
        size = x.shape[axis]
        longest = {"reflect": size - 1, "circular": size, "replicate": np.inf if size else 0}[mode]
        if max(pair) > longest:
            raise ValueError(sentence(who, f"padding {pair} by mode {mode!r} needs a longer axis {axis}", got=x.shape))
        kept = _kept(who, x, axis, pair)
        if any(pair):
            outside = tuple(max(width, 0) for width in pair)
            places = cast(Any, np).pad(np.arange(size), outside, mode=MODES[mode])
            x = x[(slice(None),) * axis + (places[kept],)]
    return x


def _kept(who: str, x: Tensor, axis: int, pair: tuple[int, int]) -> slice:
    """What widths below zero leave of an axis."""
    before, after = (max(-width, 0) for width in pair)
    if before + after > x.shape[axis]:
        raise ValueError(sentence(who, f"padding {pair} cuts off more than axis {axis} has", got=x.shape))
    return slice(before, -after or None)
