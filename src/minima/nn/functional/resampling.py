"""Images of another size: interpolate."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from minima.autograd import Tensor, matmul
from minima.autograd.formulas import floating, rounded, widened
from minima.autograd.tensor import TensorLike
from minima.checks import flag, number, one_of
from minima.errors import sentence
from minima.nn.functional.windows import Sizes, sizes

__all__ = ["Mode", "check_resampling", "interpolate", "mixed", "resampled"]

Mode = Literal["nearest", "linear", "bilinear", "trilinear"]
_MODES = {"nearest": (1, 2, 3), "linear": (1,), "bilinear": (2,), "trilinear": (3,)}


def interpolate(
    input: TensorLike,
    size: Sizes | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: Mode = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """The input, larger or smaller: arguments, shapes and errors are those of `minima.nn.Upsample`.

    >>> interpolate([[[1.0, 3.0]]], size=4, mode="linear").tolist()
    [[[1.0, 1.5, 2.5, 3.0]]]
    """
    check_resampling("interpolate", size, scale_factor, mode, align_corners)
    return resampled("interpolate", input, size, scale_factor, mode, bool(align_corners))


def check_resampling(
    who: str,
    size: Sizes | None,
    scale_factor: float | Sequence[float] | None,
    mode: str,
    align_corners: bool | None,
) -> None:
    """Refuses what is wrong whatever the input will be."""
    if (size is None) == (scale_factor is None):
        raise ValueError(sentence(who, "takes either size or scale_factor", got=(size, scale_factor)))
    if size is not None:
        sizes(who, "size", size, len(size) if isinstance(size, Sequence) else 1)
    elif 0 in [number(who, "scale_factor", factor) for factor in _listed(scale_factor)]:
        raise ValueError(sentence(who, "scale_factor must be positive", got=scale_factor))
    one_of(who, "mode", mode, tuple(_MODES))
    if align_corners is not None:
        flag(who, "align_corners", align_corners)
        if mode == "nearest":
            rule = "align_corners is for the modes that interpolate"
            raise ValueError(sentence(who, rule, got=align_corners, hint="leave it out"))


def resampled(
    who: str,
    input: TensorLike,
    size: Sizes | None,
    scale_factor: float | Sequence[float] | None,
    mode: str,
    corners: bool,
) -> Tensor:
    """The input in another size, of arguments that are checked."""
    given = floating(input)
    axes = len(given.shape) - 2
    if axes not in _MODES[mode]:
        allowed = " or ".join(str(count + 2) for count in _MODES[mode])
        raise ValueError(sentence(who, f"mode {mode!r} takes inputs (N, C, ...) of {allowed} axes", got=given.shape))
    asked = scale_factor if size is None else size
    targets = _listed(asked)
    if not isinstance(asked, Sequence):
        targets *= axes
    if 0 in given.shape[2:] or len(targets) != axes:
        told = f"{'scale_factor' if size is None else 'size'}={asked}, mode={mode!r}"
        rule = f"{told} wants an input (N, C, ...) with {axes} sizes that are not 0"
        raise ValueError(sentence(who, rule, got=given.shape))
    out = widened(given)
    for axis, wanted in enumerate(targets, start=2):
        length = out.shape[axis]
        target = math.floor(length * wanted) if size is None else int(wanted)
        if target < 1:
            raise ValueError(sentence(who, f"nothing is left of axis {axis}", got=given.shape))
        # As in PyTorch, where a factor leaves a size alone or doubles it, what it is beyond that does not move places;
        # of the nearest ones, those of images only.
        exact = size is not None or (axes == 2 and mode == "nearest" and target in (length, 2 * length))
        ratio = length / target if exact else 1 / wanted
        if mode != "nearest":
            if target == length:
                continue
            out = mixed(out, axis, _interpolation(length, target, ratio, corners))
        elif target % length == 0 and ratio == length / target:  # whole repeats: a view
            spread = out.unsqueeze(axis + 1).expand(*(*[-1] * (axis + 1), target // length, *[-1] * (axes + 1 - axis)))
            out = spread.reshape(*out.shape[:axis], target, *out.shape[axis + 1 :])
        else:
            places = (np.arange(target, dtype=np.float32) * np.float32(ratio)).astype(int).clip(max=length - 1)
            out = out[(slice(None),) * axis + (places,)]
    return rounded(out, given)


def mixed(x: Tensor, axis: int, matrix: np.ndarray[Any, Any]) -> Tensor:
    """A matrix (outputs, inputs) applied along an axis."""
    weights = Tensor.from_numpy(matrix.astype(x.dtype))
    last = len(x.shape) - 1
    if axis == last:
        return matmul(x, weights.T)
    moved = x.swapaxes(axis, last - 1)
    return matmul(weights, moved).swapaxes(axis, last - 1)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) else [value]  # pyright: ignore[reportUnknownArgumentType]


def _interpolation(length: int, target: int, ratio: float, corners: bool) -> np.ndarray[Any, Any]:
    """Linear interpolation as a matrix."""
    places = np.arange(target)
    if corners:
        at = places * ((length - 1) / (target - 1) if target > 1 else 0.0)
    else:
        at = np.maximum((places + 0.5) * ratio - 0.5, 0)
    low = np.minimum(at.astype(int), length - 1)
    high = np.minimum(low + 1, length - 1)
    matrix = np.zeros((target, length))
    np.add.at(matrix, (places, low), 1 - (at - low))
    np.add.at(matrix, (places, high), at - low)
    return matrix
