"""The named operations of a tensor, as methods."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any, Unpack

from minima.autograd.arrays import as_axis, as_bound, as_integers, as_number
from minima.autograd.operations import activations, elementwise, shapes
from minima.autograd.primitive import Primitive
from minima.autograd.spellings import Axis, Dim, spelled
from minima.checks import integer
from minima.errors import sentence

if TYPE_CHECKING:
    from minima.autograd.tensor import Tensor, TensorLike

__all__ = ["Methods"]


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

    @abstractmethod
    def _with(
        self, primitive: Primitive, other: TensorLike, kinds: str, *, floating: bool = False, **statics: Any
    ) -> Tensor:
        """``primitive(self, other, **statics)`` for another tensor whose dtype is of one of these kinds."""

    # Element by element ------------------------------------------------------------------------------------------

    def exp(self) -> Tensor:
        """The exponential."""
        return self._unary(elementwise.exp, floating=True)

    def log(self) -> Tensor:
        """The natural logarithm."""
        return self._unary(elementwise.log, floating=True)

    def log1p(self) -> Tensor:
        """``log(1 + x)``, exact for small x too."""
        return self._unary(elementwise.log1p, floating=True)

    def log2(self) -> Tensor:
        """The logarithm to base 2."""
        return self._unary(elementwise.log2, floating=True)

    def log10(self) -> Tensor:
        """The logarithm to base 10."""
        return self._unary(elementwise.log10, floating=True)

    def expm1(self) -> Tensor:
        """``exp(x) - 1``, exact for small x too."""
        return self._unary(elementwise.expm1, floating=True)

    def sqrt(self) -> Tensor:
        """The square root."""
        return self._unary(elementwise.sqrt, floating=True)

    def square(self) -> Tensor:
        """``x * x``."""
        return self._unary(elementwise.square)

    def reciprocal(self) -> Tensor:
        """``1 / x``."""
        return self._unary(elementwise.reciprocal, floating=True)

    def erf(self) -> Tensor:
        """The error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t**2)`` from 0 to x."""
        return self._unary(elementwise.erf, floating=True)

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
        return self._unary(activations.sigmoid, floating=True)

    def relu(self) -> Tensor:
        """``max(x, 0)``; its derivative at 0 is 0."""
        return self._unary(activations.relu)

    def gelu(self, approximate: str = "none") -> Tensor:
        """``x * P(N(0, 1) <= x)``, exactly, or by ``approximate="tanh"`` (Hendrycks and Gimpel, 2016)."""
        if approximate not in ("none", "tanh"):
            raise ValueError(sentence("gelu", "approximate must be 'none' or 'tanh'", got=approximate))
        return self._unary(activations.gelu if approximate == "none" else activations.gelu_tanh, floating=True)

    def silu(self) -> Tensor:
        """``x * sigmoid(x)`` (Elfwing et al., 2018), also called swish."""
        return self._unary(activations.silu, floating=True)

    def softplus(self, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
        """``log(1 + exp(beta * x)) / beta``, without overflow; and x where ``beta * x > threshold``, as in PyTorch.

        Args:
            beta: Above 0.
        """
        beta, threshold = as_number("softplus", "beta", beta), as_number("softplus", "threshold", threshold)
        if not beta > 0:
            raise ValueError(sentence("softplus", "beta must be above 0", got=beta))
        return self._unary(activations.softplus, floating=True, beta=beta, threshold=threshold)

    def leaky_relu(self, negative_slope: float = 0.01) -> Tensor:
        """``x`` where it is positive, else ``negative_slope * x``, and its derivative at 0 too."""
        slope = as_number("leaky_relu", "negative_slope", negative_slope)
        return self._unary(activations.leaky_relu, floating=True, slope=slope)

    def elu(self, alpha: float = 1.0) -> Tensor:
        """``x`` where it is positive, else ``alpha * (exp(x) - 1)`` (Clevert et al., 2016)."""
        return self._unary(activations.elu, floating=True, alpha=as_number("elu", "alpha", alpha))

    def abs(self) -> Tensor:
        """The absolute value; its derivative at 0 is 0."""
        return self._unary(elementwise.abs)

    def sign(self) -> Tensor:
        """-1, 0 or 1, in the dtype of the tensor; its derivative is 0."""
        return self._unary(elementwise.sign)

    def clip(self, low: float | None = None, high: float | None = None) -> Tensor:
        """The values, clipped to the range from ``low`` to ``high``; outside the range the derivative is 0."""
        return self._clipped("clip", low, high, "low", "high")

    def _clipped(self, who: str, low: Any, high: Any, *names: str) -> Tensor:
        """The values, clipped to the range between two bounds, which ``who`` calls by these names."""
        low, high = as_bound(who, names[0], low), as_bound(who, names[1], high)
        return self._unary(elementwise.clip, low=low, high=high)

    def round(self, decimals: int = 0) -> Tensor:
        """Rounds to ``decimals`` decimals, with ties to even; its derivative is 0."""
        return self._unary(elementwise.round, decimals=decimals)

    def floor(self) -> Tensor:
        """The nearest integer below; its derivative is 0."""
        return self._unary(elementwise.floor)

    def ceil(self) -> Tensor:
        """The nearest integer above; its derivative is 0."""
        return self._unary(elementwise.ceil)

    def masked_fill(self, mask: TensorLike, value: float) -> Tensor:
        """``value`` where the boolean ``mask`` is true, else the tensor; the mask broadcasts to the tensor's shape."""
        if not isinstance(value, int):
            value = as_number("masked_fill", "value", value)
        return self._with(elementwise.masked_fill, mask, "b", floating=isinstance(value, float), value=value)

    # Shapes ------------------------------------------------------------------------------------------------------

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """The same elements in another shape; one size may be -1 and is then inferred."""
        return self._unary(shapes.reshape, to=_flat(shape))

    def flatten(self, start: int = 0, end: int = -1, *, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """The axes ``start`` to ``end`` as one; PyTorch calls them ``start_dim`` and ``end_dim``."""
        if (start and start_dim) or (end != -1 and end_dim != -1):
            raise TypeError(
                sentence("flatten", "start and start_dim, end and end_dim are the same arguments", hint="give one")
            )
        start = integer("flatten", "start", start or start_dim, None)
        end = integer("flatten", "end", end if end != -1 else end_dim, None)
        sizes, ndim = self.shape, len(self.shape)
        if ndim == 0:
            return self.reshape(1)
        if not (-ndim <= start < ndim and -ndim <= end < ndim and start % ndim <= end % ndim):
            raise ValueError(sentence("flatten", f"start and end must be axes of {sizes}, in order", got=(start, end)))
        start, end = start % ndim, end % ndim
        return self.reshape(*sizes[:start], prod(sizes[start : end + 1]), *sizes[end + 1 :])

    def transpose(self, *axes: int | Sequence[int]) -> Tensor:
        """The axes in the order ``axes``, or reversed; two numbers swap two axes, as in PyTorch."""
        ndim = len(self.shape)
        if len(axes) == 2 and ndim >= 2:
            first, second = axes
            if isinstance(first, int) and isinstance(second, int) and ndim > 2:
                return self.swapaxes(first, second)
            if first in (0, -2) and second in (1, -1):
                rule = "for a matrix, (0, 1) does nothing in NumPy and swaps the axes in PyTorch"
                raise ValueError(sentence("transpose", rule, got=axes, hint="write T, or permute(0, 1)"))
        return self._unary(shapes.transpose, axes=_flat(axes) or tuple(range(len(self.shape)))[::-1])

    def permute(self, *axes: int | Sequence[int]) -> Tensor:
        """The axes in the order ``axes``."""
        return self._unary(shapes.transpose, axes=_flat(axes))

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """The tensor with two axes swapped."""
        ndim, who = len(self.shape), "swapaxes"
        axis1, axis2 = integer(who, "axis1", axis1, None), integer(who, "axis2", axis2, None)
        if not (-ndim <= axis1 < ndim and -ndim <= axis2 < ndim):
            raise ValueError(sentence(who, f"axis1 and axis2 must lie in [-{ndim}, {ndim})", got=(axis1, axis2)))
        axes = list(range(ndim))
        axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
        return self._unary(shapes.transpose, axes=tuple(axes))

    def flip(self, axis: Axis = None, *, dims: Axis = None) -> Tensor:
        """The elements in reverse along all axes, or along ``axis``, which PyTorch calls ``dims``; a view."""
        if axis is not None and dims is not None:
            raise TypeError(sentence("flip", "axis and dims are the same argument", got=(axis, dims), hint="give one"))
        axis = dims if axis is None else axis
        return self._unary(shapes.flip, axis=None if axis is None else as_integers("flip", "axis", axis))

    def tril(self, diagonal: int = 0) -> Tensor:
        """The lower triangle of the last two axes, with 0 above a diagonal: 0 is the main diagonal, 1 the one above."""
        return self._unary(shapes.tril, diagonal=self._matrices("tril", diagonal))

    def triu(self, diagonal: int = 0) -> Tensor:
        """The upper triangle of the last two axes, with 0 below a diagonal: 0 is the main diagonal, 1 the one above."""
        return self._unary(shapes.triu, diagonal=self._matrices("triu", diagonal))

    def _matrices(self, who: str, diagonal: int) -> int:
        if len(self.shape) < 2:
            raise ValueError(sentence(who, "the tensor must have at least two axes", got=self.shape))
        return integer(who, "diagonal", diagonal, None)

    @property
    def T(self) -> Tensor:
        """The axes reversed, as in NumPy: for a matrix, its transpose; ``mT`` swaps the last two."""
        return self.transpose()

    def squeeze(self, axis: Axis = None, **words: Unpack[Dim]) -> Tensor:
        """Without the axes of size 1, or without those in ``axis``, whose size must be 1."""
        if words:
            axis, _ = spelled("squeeze", words, axis)
        ndim = len(self.shape)
        if axis is None:
            drop = {i for i, size in enumerate(self.shape) if size == 1}
        else:
            places = as_integers("squeeze", "axis", axis)
            drop = {i % max(ndim, 1) for i in (places if isinstance(places, tuple) else (places,))}
        if any(i >= ndim or self.shape[i] != 1 for i in drop):
            raise ValueError(sentence("squeeze", f"axis must name axes of size 1 in {self.shape}", got=axis))
        return self._unary(shapes.reshape, to=tuple(size for i, size in enumerate(self.shape) if i not in drop))

    def unsqueeze(self, axis: int | None = None, **words: Unpack[Dim]) -> Tensor:
        """With a new axis of size 1 at ``axis``."""
        if words:
            axis, _ = spelled("unsqueeze", words, axis)
        if axis is None:
            raise TypeError(sentence("unsqueeze", "axis, or dim, must be given"))
        axis = as_axis("unsqueeze", axis, len(self.shape) + 1)
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
