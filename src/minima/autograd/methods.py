"""The named operations of a tensor, as methods."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from minima.autograd.operations import discrete, elementwise, reductions, shapes
from minima.autograd.primitive import Primitive
from minima.errors import sentence

if TYPE_CHECKING:
    from minima.autograd.tensor import Tensor

__all__ = ["Axis", "Methods"]

Axis = int | tuple[int, ...] | None


class Methods:
    """The methods, in terms of what the tensor supplies: its shape, and applying a primitive to itself."""

    __slots__ = ()

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""

    @abstractmethod
    def _unary(self, primitive: Primitive, *, floating: bool = False, **statics: Any) -> Tensor:
        """``primitive(self, **statics)``; with ``floating``, integers become float32 first."""

    # Element by element ------------------------------------------------------------------------------------------

    def exp(self) -> Tensor:
        """The exponential."""
        return self._unary(elementwise.exp, floating=True)

    def log(self) -> Tensor:
        """The natural logarithm."""
        return self._unary(elementwise.log, floating=True)

    def sqrt(self) -> Tensor:
        """The square root."""
        return self._unary(elementwise.sqrt, floating=True)

    def sin(self) -> Tensor:
        """The sine."""
        return self._unary(elementwise.sin, floating=True)

    def cos(self) -> Tensor:
        """The cosine."""
        return self._unary(elementwise.cos, floating=True)

    def tanh(self) -> Tensor:
        """The hyperbolic tangent."""
        return self._unary(elementwise.tanh, floating=True)

    def sigmoid(self) -> Tensor:
        """``1 / (1 + exp(-x))``, without overflow."""
        return self._unary(elementwise.sigmoid, floating=True)

    def relu(self) -> Tensor:
        """``max(x, 0)``; its derivative at 0 is 0."""
        return self._unary(elementwise.relu)

    def gelu(self, approximate: str = "none") -> Tensor:
        """``x * P(N(0, 1) <= x)``, exactly, or by ``approximate="tanh"`` (Hendrycks and Gimpel, 2016)."""
        if approximate not in ("none", "tanh"):
            raise ValueError(sentence("gelu", "approximate must be 'none' or 'tanh'", got=approximate))
        return self._unary(elementwise.gelu if approximate == "none" else elementwise.gelu_tanh, floating=True)

    def abs(self) -> Tensor:
        """The absolute value; its derivative at 0 is 0."""
        return self._unary(elementwise.abs)

    def clip(self, low: float | None = None, high: float | None = None) -> Tensor:
        """The values, held between the numbers ``low`` and ``high``; outside of them the derivative is 0."""
        return self._unary(elementwise.clip, low=low, high=high)

    # Reductions --------------------------------------------------------------------------------------------------

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The sum over all axes, or over ``axis``."""
        return self._unary(reductions.sum, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The mean over all axes, or over ``axis``; of integers and booleans as float32."""
        return self._unary(reductions.mean, floating=True, axis=axis, keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The largest value; where several are, they share the gradient evenly."""
        return self._unary(reductions.max, axis=axis, keepdims=keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """The smallest value; where several are, they share the gradient evenly."""
        return self._unary(reductions.min, axis=axis, keepdims=keepdims)

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        """The variance, divided by ``n - ddof``: NumPy's default 0, where PyTorch's is 1."""
        return self._unary(reductions.var, floating=True, axis=axis, ddof=ddof, keepdims=keepdims)

    def std(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
        """The square root of ``var``; where it is 0 its gradient is 0."""
        return self._unary(reductions.std, floating=True, axis=axis, ddof=ddof, keepdims=keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Where the largest value stands along ``axis``, or in the flattened tensor: the first of several."""
        return self._unary(discrete.argmax, axis=axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Where the smallest value stands along ``axis``, or in the flattened tensor: the first of several."""
        return self._unary(discrete.argmin, axis=axis, keepdims=keepdims)

    def any(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Whether any value is not zero."""
        return self._unary(discrete.any, axis=axis, keepdims=keepdims)

    def all(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Whether no value is zero."""
        return self._unary(discrete.all, axis=axis, keepdims=keepdims)

    def logsumexp(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """``log(sum(exp(x)))``, without overflow."""
        return self._unary(reductions.logsumexp, floating=True, axis=axis, keepdims=keepdims)

    def softmax(self, axis: int = -1) -> Tensor:
        """``exp(x) / sum(exp(x))`` along ``axis``, without overflow."""
        return self._unary(reductions.softmax, floating=True, axis=axis)

    def log_softmax(self, axis: int = -1) -> Tensor:
        """The logarithm of ``softmax``."""
        return self._unary(reductions.log_softmax, floating=True, axis=axis)

    # Shapes ------------------------------------------------------------------------------------------------------

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """The same elements in another shape; one size may be -1."""
        return self._unary(shapes.reshape, to=_flat(shape))

    def flatten(self, start: int = 0, end: int = -1) -> Tensor:
        """The axes ``start`` to ``end`` as one."""
        sizes, ndim = self.shape, len(self.shape)
        if ndim == 0:
            return self.reshape(1)
        if not (-ndim <= start < ndim and -ndim <= end < ndim and start % ndim <= end % ndim):
            raise ValueError(sentence("flatten", f"start and end must be axes of {sizes}, in order", got=(start, end)))
        start, end = start % ndim, end % ndim
        return self.reshape(*sizes[:start], prod(sizes[start : end + 1]), *sizes[end + 1 :])

    def transpose(self, *axes: int | Sequence[int]) -> Tensor:
        """The axes in the order ``axes``, or reversed."""
        return self._unary(shapes.transpose, axes=_flat(axes) or tuple(range(len(self.shape)))[::-1])

    def permute(self, *axes: int | Sequence[int]) -> Tensor:
        """The axes in the order ``axes``."""
        return self._unary(shapes.transpose, axes=_flat(axes))

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """The two axes exchanged."""
        ndim = len(self.shape)
        if not (-ndim <= axis1 < ndim and -ndim <= axis2 < ndim):
            raise ValueError(sentence("swapaxes", f"axis1 and axis2 must lie in [-{ndim}, {ndim})", got=(axis1, axis2)))
        axes = list(range(ndim))
        axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
        return self._unary(shapes.transpose, axes=tuple(axes))

    @property
    def T(self) -> Tensor:
        """The axes reversed: for a matrix, its transpose."""
        return self.transpose()

    def squeeze(self, axis: Axis = None) -> Tensor:
        """Without the axes of size 1, or without those in ``axis``, whose size must be 1."""
        ndim = len(self.shape)
        if axis is None:
            drop = {i for i, size in enumerate(self.shape) if size == 1}
        else:
            drop = {i % max(ndim, 1) for i in (axis if isinstance(axis, tuple) else (axis,))}
        if any(i >= ndim or self.shape[i] != 1 for i in drop):
            raise ValueError(sentence("squeeze", f"axis must name axes of size 1 in {self.shape}", got=axis))
        return self._unary(shapes.reshape, to=tuple(size for i, size in enumerate(self.shape) if i not in drop))

    def unsqueeze(self, axis: int) -> Tensor:
        """With a new axis of size 1 at ``axis``."""
        ndim = len(self.shape) + 1
        if not -ndim <= axis < ndim:
            raise ValueError(sentence("unsqueeze", f"axis must lie in [-{ndim}, {ndim})", got=axis))
        axis %= ndim
        return self._unary(shapes.reshape, to=(*self.shape[:axis], 1, *self.shape[axis:]))

    def broadcast_to(self, *shape: int | Sequence[int]) -> Tensor:
        """The tensor repeated to ``shape`` without copying, by the rules of broadcasting."""
        return self._unary(shapes.broadcast_to, to=_flat(shape))

    def expand(self, *shape: int | Sequence[int]) -> Tensor:
        """Like ``broadcast_to``; -1 keeps the size of an axis."""
        sizes = list(_flat(shape))
        lead = len(sizes) - len(self.shape)
        for i, size in enumerate(sizes):
            if size == -1 and i >= lead >= 0:
                sizes[i] = self.shape[i - lead]
        return self._unary(shapes.broadcast_to, to=tuple(sizes))


def _flat(sizes: tuple[int | Sequence[int], ...]) -> tuple[int, ...]:
    """``f(2, 3)`` and ``f((2, 3))`` mean the same."""
    flat: Any = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], Sequence) else sizes
    return tuple(flat)
