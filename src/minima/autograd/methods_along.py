"""The named operations along axes, as methods: reductions, running sums, orders."""

from __future__ import annotations

from abc import abstractmethod
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack, overload

from minima.autograd.arrays import as_axis, as_number
from minima.autograd.operations import discrete, elementwise, reductions, shapes
from minima.autograd.primitive import Primitive
from minima.autograd.spellings import Axis, Dim, Dims, Place, Spread, freedom, kept, spelled
from minima.checks import integer
from minima.errors import sentence

if TYPE_CHECKING:
    from minima.autograd.tensor import Tensor, TensorLike

__all__ = ["MethodsAlong", "Selected"]


class Selected(NamedTuple):
    """Elements of a tensor, and their indices along an axis."""

    values: Tensor
    indices: Tensor


class MethodsAlong:
    """The methods, in terms of what the tensor supplies; ``axis`` and ``keepdims`` may be called ``dim``, ``keepdim``.

    With ``dim``, the functions that return values and indices in PyTorch (``max``, ``min``, ``sort``) return both.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""

    @abstractmethod
    def _unary(self, primitive: Primitive, *, floating: bool = False, **statics: Any) -> Tensor:
        """``primitive(self, **statics)``; with ``floating``, integers become float32 first."""

    @abstractmethod
    def _with(self, primitive: Primitive, other: TensorLike, kinds: str, **statics: Any) -> Tensor:
        """``primitive(self, other, **statics)`` for another tensor whose dtype is of one of these kinds."""

    def _reduce(
        self, primitive: Primitive, axis: Axis, keepdims: bool, words: Any, *, floating: bool = False, **statics: Any
    ) -> Tensor:
        if words:
            axis, keepdims = spelled(primitive.name, words, axis, keepdims)
        if keepdims is not False:
            keepdims = kept(primitive.name, keepdims)
        return self._unary(primitive, floating=floating, axis=axis, keepdims=keepdims, **statics)

    # Reductions --------------------------------------------------------------------------------------------------

    def sum(self, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
        """The sum over all axes, or over ``axis``."""
        return self._reduce(reductions.sum, axis, keepdims, words)

    def prod(self, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
        """The product over all axes, or over ``axis``."""
        return self._reduce(reductions.prod, axis, keepdims, words)

    def mean(self, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
        """The mean over all axes, or over ``axis``; of integers and booleans as float32."""
        return self._reduce(reductions.mean, axis, keepdims, words, floating=True)

    @overload
    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
    @overload
    def max(self, *, dim: int, keepdim: bool = False) -> Selected: ...
    def max(self, axis: Axis = None, keepdims: bool = False, **words: Unpack[Place]) -> Tensor | Selected:
        """The largest value; equal largest values share the gradient evenly.

        ``max(dim=1)``, with PyTorch's keyword, returns values and indices; the first of equal values gets the gradient.
        """
        return self._extreme(reductions.max, discrete.argmax, axis, keepdims, words)

    @overload
    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
    @overload
    def min(self, *, dim: int, keepdim: bool = False) -> Selected: ...
    def min(self, axis: Axis = None, keepdims: bool = False, **words: Unpack[Place]) -> Tensor | Selected:
        """The smallest value; equal smallest values share the gradient evenly.

        ``min(dim=1)``, with PyTorch's keyword, returns values and indices; the first of equal values gets the gradient.
        """
        return self._extreme(reductions.min, discrete.argmin, axis, keepdims, words)

    def _extreme(self, value: Primitive, place: Primitive, axis: Axis, keepdims: bool, words: Any) -> Tensor | Selected:
        if not words:
            return self._unary(value, axis=axis, keepdims=kept(value.name, keepdims))
        axis, keepdims = spelled(value.name, words, axis, keepdims)
        if not isinstance(axis, int) or "dim" not in words:
            return self._unary(value, axis=axis, keepdims=keepdims)
        indices = self._unary(place, axis=axis, keepdims=True)
        found = Selected(self._with(shapes.gather, indices, "iu", axis=axis, once=True), indices)
        return found if keepdims else Selected(*(part.squeeze(axis) for part in found))

    def amax(self, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
        """The largest value, under PyTorch's name."""
        return self._reduce(reductions.max, axis, keepdims, words)

    def amin(self, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
        """The smallest value, under PyTorch's name."""
        return self._reduce(reductions.min, axis, keepdims, words)

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False, **words: Unpack[Spread]) -> Tensor:
        """The variance, with the divisor ``n - ddof``. ``ddof`` is 0 by default, as in NumPy; in PyTorch it is 1.

        ``ddof`` may be called ``correction``; ``unbiased=True`` means 1.
        """
        rest, ddof = freedom("var", words, ddof) if words else (words, ddof)
        return self._reduce(reductions.var, axis, keepdims, rest, floating=True, ddof=ddof)

    def std(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False, **words: Unpack[Spread]) -> Tensor:
        """The square root of ``var``; where it is 0 its gradient is 0."""
        rest, ddof = freedom("std", words, ddof) if words else (words, ddof)
        return self._reduce(reductions.std, axis, keepdims, rest, floating=True, ddof=ddof)

    def norm(self, p: float = 2, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
        """``sum(abs(x)**p)**(1/p)`` over all axes, or over ``axis``; where it is 0 its gradient is 0.

        Args:
            p: Above 0; ``inf`` gives the largest magnitude.
        """
        p = as_number("norm", "p", p)
        if not p > 0:
            raise ValueError(sentence("norm", "p must be above 0", got=p))
        if p == inf:
            return self._unary(elementwise.abs, floating=True).amax(axis, keepdims, **words)
        return self._reduce(reductions.norm, axis, keepdims, words, floating=True, p=p)

    def argmax(self, axis: int | None = None, keepdims: bool = False, **words: Unpack[Place]) -> Tensor:
        """The index of the largest value along ``axis``, or in the flattened tensor; the first of equal values."""
        return self._reduce(discrete.argmax, axis, keepdims, words)

    def argmin(self, axis: int | None = None, keepdims: bool = False, **words: Unpack[Place]) -> Tensor:
        """The index of the smallest value along ``axis``, or in the flattened tensor; the first of equal values."""
        return self._reduce(discrete.argmin, axis, keepdims, words)

    def count_nonzero(self, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
        """How many values are not zero."""
        return self._reduce(discrete.count_nonzero, axis, keepdims, words)

    def any(self, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
        """Whether any value is not zero."""
        return self._reduce(discrete.any, axis, keepdims, words)

    def all(self, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
        """Whether no value is zero."""
        return self._reduce(discrete.all, axis, keepdims, words)

    def logsumexp(self, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
        """``log(sum(exp(x)))``, without overflow."""
        return self._reduce(reductions.logsumexp, axis, keepdims, words, floating=True)

    # Along one axis, which stays ---------------------------------------------------------------------------------

    def softmax(self, axis: int = -1, **words: Unpack[Dim]) -> Tensor:
        """``exp(x) / sum(exp(x))`` along ``axis``, without overflow."""
        if words:
            axis, _ = spelled("softmax", words, axis, default=-1)
        return self._unary(reductions.softmax, floating=True, axis=axis)

    def log_softmax(self, axis: int = -1, **words: Unpack[Dim]) -> Tensor:
        """The logarithm of ``softmax``."""
        if words:
            axis, _ = spelled("log_softmax", words, axis, default=-1)
        return self._unary(reductions.log_softmax, floating=True, axis=axis)

    def cumsum(self, axis: int | None = None, **words: Unpack[Dim]) -> Tensor:
        """The running sums along ``axis``, or of the flattened tensor."""
        if words:
            axis, _ = spelled("cumsum", words, axis)
        return self._unary(reductions.cumsum, axis=axis)

    @overload
    def sort(self, axis: int = -1, descending: bool = False) -> Tensor: ...
    @overload
    def sort(self, *, dim: int, descending: bool = False) -> Selected: ...
    def sort(self, axis: int = -1, descending: bool = False, **words: Unpack[Dim]) -> Tensor | Selected:
        """The values sorted along ``axis``, as in NumPy: equal values keep their order, NaN is the largest.

        ``sort(dim=1)``, with PyTorch's keyword, returns values and indices.
        """
        if words:
            axis, _ = spelled("sort", words, axis, default=-1)
        order = self._order("sort", axis, descending)
        values = self._with(shapes.gather, order, "iu", axis=axis, once=True)
        return Selected(values, order) if words else values

    def argsort(self, axis: int = -1, descending: bool = False, **words: Unpack[Dim]) -> Tensor:
        """The indices that sort the values along ``axis``."""
        if words:
            axis, _ = spelled("argsort", words, axis, default=-1)
        return self._order("argsort", axis, descending)

    def topk(self, k: int, axis: int = -1, largest: bool = True, **words: Unpack[Dim]) -> Selected:
        """The ``k`` largest values along ``axis``, in order, and their indices; or the smallest.

        >>> from minima.autograd import Tensor
        >>> values, indices = Tensor([3.0, 1.0, 2.0]).topk(2)
        >>> values.tolist(), indices.tolist()
        ([3.0, 2.0], [0, 2])
        """
        if words:
            axis, _ = spelled("topk", words, axis, default=-1)
        order = self._order("topk", axis, largest)
        size = self.shape[axis]
        if not 0 <= integer("topk", "k", k, None) <= size:
            raise ValueError(sentence("topk", f"k must lie in [0, {size}], the size of the axis", got=k))
        order = order[(slice(None),) * (axis % len(self.shape)) + (slice(k),)]
        return Selected(self._with(shapes.gather, order, "iu", axis=axis, once=True), order)

    def _order(self, who: str, axis: int, descending: bool) -> Tensor:
        return self._unary(discrete.argsort, axis=as_axis(who, axis, len(self.shape)), descending=descending)

    def gather(self, dim: int, index: TensorLike) -> Tensor:
        """The elements at ``index`` along the axis ``dim``, as in PyTorch: ``x[i, index[i, j]]`` for ``dim=1``.

        Args:
            dim: The axis.
            index: Integers, of as many axes as the tensor, and along the others not longer. Negative ones count from
                the end.

        >>> from minima.autograd import Tensor
        >>> Tensor([[1.0, 2.0], [3.0, 4.0]]).gather(1, Tensor([[1], [0]])).tolist()
        [[2.0], [3.0]]
        """
        return self._with(shapes.gather, index, "iu", axis=dim, once=False)
