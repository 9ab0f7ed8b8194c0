"""Clipping: gradients made smaller in place, all together, unit by unit, or entry by entry."""

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from minima.autograd import Tensor
from minima.autograd.tensor import mark_written
from minima.checks import integer, number
from minima.errors import sentence
from minima.optim.engines import Array, precision
from minima.optim.engines.reductions import finite, norm, unit_norms
from minima.optim.training.params import Tensors, named_gradients

__all__ = ["clip_grad_adaptive", "clip_grad_norm", "clip_grad_value"]


def clip_grad_norm(
    params: Tensors, max_norm: float, *, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> float:
    """Scale all gradients by one factor, so that their common norm is at most ``max_norm``.

    The direction of the gradients does not change; only their length is bounded.

    Args:
        params: An iterable of Tensors or of ``(name, Tensor)`` pairs, a module, an optimizer, or one Tensor. Tensors
            without a gradient are ignored, and duplicates count once.
        max_norm: The bound, at least 0. With infinity, the gradients are only measured.
        norm_type: The order of the norm, above 0: 2 is the Euclidean norm; ``math.inf`` the largest magnitude.
        error_if_nonfinite: Whether a NaN or infinite norm raises an error. If not, the factor ``max_norm / norm`` is
            applied, as in PyTorch: 0 for an infinite norm, NaN for NaN.

    Returns:
        The norm before clipping.

    Raises:
        TypeError: ``params`` holds no Tensors, a gradient is not floating, or an argument is not a number. ValueError:
            ``params`` is empty, an argument is out of range, or the norm is not finite and ``error_if_nonfinite`` is
            set. Nothing was changed.

    Gradients are scaled in place; a gradient that is read-only, or shares memory with another, is replaced.

    Pascanu, Mikolov and Bengio, *On the difficulty of training recurrent neural networks*, 2013, algorithm 1. Differs
    from PyTorch: the factor is ``max_norm / norm``, not ``max_norm / (norm + 1e-6)``; the norm is computed in float64
    for any dtype, so it does not overflow, and does not depend on the number of threads.

    >>> from minima import Tensor
    >>> from minima.optim import clip_grad_norm
    >>> w, b = Tensor([1.0, 2.0], requires_grad=True), Tensor(0.0, requires_grad=True)
    >>> (3 * w[0] + 4 * b).backward()
    >>> clip_grad_norm([w, b], 1.0)
    5.0
    >>> w.grad, b.grad
    (Tensor([0.6, 0. ]), Tensor(0.8))
    """
    who = "clip_grad_norm"
    limit = max_norm if max_norm == math.inf else number(who, "max_norm", max_norm)
    power = norm_type if norm_type == math.inf else number(who, "norm_type", norm_type)
    if power == 0:
        raise ValueError(sentence(who, "norm_type must be above 0", got=norm_type))
    found = named_gradients(who, params)
    buffers = [grad.buffer for _, _, grad in found]
    total = norm(buffers, power)
    if error_if_nonfinite and not math.isfinite(total):
        wrong = [repr(name) for (name, _, _), fine in zip(found, finite(buffers), strict=True) if not fine]
        rule = f"the norm of the gradients must be finite; it is {total}"
        hint = f"the gradient of {', '.join(wrong)} is not; nothing was changed" if wrong else "nothing was changed"
        raise ValueError(sentence(who, rule, hint=hint))
    if limit < math.inf and not total <= limit:  # so written that NaN is clipped too
        factor, root = np.array(limit / total), np.array(math.sqrt(limit) / math.sqrt(total))
        grads = _writable(found)
        steps = {dtype: _steps(dtype, factor, root) for dtype in {grad.dtype for grad in grads}}
        with np.errstate(all="ignore"):
            for grad in grads:
                _multiply(grad, steps[grad.dtype])
    return total


def clip_grad_value(params: Tensors, max_value: float) -> None:
    """Clip every entry of every gradient to ``[-max_value, max_value]``; NaN stays NaN.

    This changes the direction of the gradients, towards a diagonal.

    Args:
        params: As for `clip_grad_norm`.
        max_value: The bound, at least 0.

    Raises:
        TypeError: ``params`` holds no Tensors, a gradient is not floating, or ``max_value`` is not a number.
        ValueError: ``params`` is empty, or ``max_value`` is out of range.

    As PyTorch's ``clip_grad_value_``.

    >>> from minima import Tensor
    >>> from minima.optim import clip_grad_value
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> (w * Tensor([0.1, -7.0])).sum().backward()
    >>> clip_grad_value([w], 0.5)
    >>> w.grad
    Tensor([ 0.1, -0.5])
    """
    who = "clip_grad_value"
    limit = number(who, "max_value", max_value)
    for grad in _writable(named_gradients(who, params)):
        with np.errstate(over="ignore"):  # a bound beyond the dtype is infinite, and bounds nothing
            high = grad.dtype.type(limit)
        np.clip(grad, -high, high, out=grad)


def clip_grad_adaptive(params: Tensors, clip: float = 0.01, eps: float = 1e-3, *, unit_axis: int = 0) -> None:
    """Scale the gradient of each unit so that its norm is at most ``clip`` times the norm of the unit's weights.

    So each step is bounded relative to the size of the weights, unit by unit: ::

        limit = clip * max(norm(weights of the unit), eps)
        grad  = grad * limit / norm(grad)   where norm(grad) > limit

    Args:
        params: As for `clip_grad_norm`. The paper excludes the last layer.
        clip: The largest ratio of the two norms, at least 0. The paper uses 0.01 for batches of 4096 samples, and more
            for smaller batches, up to 0.16 for 256.
        eps: Lower bound of the norm of a unit's weights, at least 0. With it, a unit that starts at 0 can move.
        unit_axis: The axis of the units in an array with two or more axes: 0, as in the weight of ``Linear``, which is
            ``(outputs, inputs)``, and of ``Embedding``; -1 for layouts with the outputs last. A scalar or a vector is a
            single unit.

    Raises:
        TypeError: ``params`` holds no Tensors, a gradient is not floating, or an argument is not a number.
        ValueError: ``params`` is empty, an argument is out of range, or a gradient and its parameter differ in shape.
            Nothing was changed.

    Brock, De, Smith and Simonyan, *High-Performance Large-Scale Image Recognition Without Normalization*, 2021,
    equation 3. PyTorch has no such function.

    >>> from minima import Tensor
    >>> from minima.optim import clip_grad_adaptive
    >>> w = Tensor([[3.0, 4.0], [30.0, 40.0]], requires_grad=True)  # two units, with norms 5 and 50
    >>> (w * 0.1).sum().backward()
    >>> clip_grad_adaptive([w])
    >>> w.grad.numpy().round(4)
    array([[0.0354, 0.0354],
           [0.1   , 0.1   ]], dtype=float32)
    """
    who = "clip_grad_adaptive"
    ratio, least = number(who, "clip", clip), number(who, "eps", eps)
    axis = integer(who, "unit_axis", unit_axis, None)
    found = named_gradients(who, params)
    for name, tensor, grad in found:
        if grad.shape != tensor.shape:
            rule = f"the gradient of {name!r} has shape {grad.shape}, the parameter has {tensor.shape}"
            raise ValueError(sentence(who, rule, hint="nothing was changed"))
        if len(tensor.shape) > 1 and not -len(tensor.shape) <= axis < len(tensor.shape):
            rule = f"unit_axis must be an axis of every array; {name!r} has {len(tensor.shape)} axes"
            raise ValueError(sentence(who, rule, got=unit_axis, hint="nothing was changed"))
    for (_, tensor, _), grad in zip(found, _writable(found), strict=True):
        units = axis if grad.ndim > 1 else None
        limits = ratio * np.maximum(unit_norms(tensor.buffer, units), least)
        norms = unit_norms(grad, units)
        over = norms > limits
        if over.any():
            with np.errstate(all="ignore"):
                factors = np.where(over, limits / norms, 1.0)
                roots = np.where(over, np.sqrt(limits) / np.sqrt(norms), 1.0)
                _multiply(grad, _steps(grad.dtype, factors, roots))


def _steps(dtype: np.dtype[Any], factors: NDArray[np.float64], roots: NDArray[np.float64]) -> list[Array]:
    """What a gradient of this dtype is multiplied with, one after the other, in float32 at least.

    A factor below the normal numbers has lost bits; its square root, which is given too, has not.
    """
    wide = precision(dtype)
    lost = (roots > 0) & (factors < np.finfo(wide).smallest_normal)
    with np.errstate(all="ignore"):
        return [each.astype(wide) for each in ([roots, roots] if lost.any() else [factors])]


def _multiply(grad: Array, steps: list[Array]) -> None:
    for each in steps:
        np.multiply(grad, each, out=grad, dtype=each.dtype, casting="same_kind")


def _writable(found: list[tuple[str, Tensor, Tensor]]) -> list[Array]:
    """The gradients' own buffers, to be written to; one that cannot be written to alone is replaced first."""
    buffers = [grad.buffer for _, _, grad in found]
    alone = all(buffer.flags.owndata and buffer.flags.writeable for buffer in buffers)
    if not alone or len(set(map(id, buffers))) < len(buffers):
        end = 0
        for place in sorted(range(len(buffers)), key=lambda place: byte_bounds(buffers[place])):
            low, high = byte_bounds(buffers[place])
            if low < end or not buffers[place].flags.writeable or _overlaps_itself(buffers[place]):
                buffers[place] = buffers[place].copy()
                found[place][1].grad = Tensor.from_numpy(buffers[place])
            end = max(end, high)
    mark_written(tensor.grad for _, tensor, _ in found if tensor.grad is not None)
    return buffers


def _overlaps_itself(array: Array) -> bool:
    """Whether elements share memory, as in what ``broadcast_to`` gives."""
    extent = array.itemsize
    for stride, size in sorted(zip(map(abs, array.strides), array.shape, strict=True)):
        if size > 1 and stride < extent:
            return True
        extent += stride * (size - 1)
    return False
