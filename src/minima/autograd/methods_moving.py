"""Choosing, repeating and moving elements, as methods."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from minima.autograd.arrays import as_axis, as_integers, as_plain
from minima.autograd.operations import shapes
from minima.autograd.primitive import Primitive
from minima.autograd.spellings import Axis, Dim, spelled
from minima.autograd.tape import Value
from minima.checks import integer
from minima.errors import sentence

if TYPE_CHECKING:
    from minima.autograd.tensor import Tensor, TensorLike

__all__ = ["MethodsMoving"]


class MethodsMoving:
    """The methods, in terms of what the tensor supplies."""

    __slots__ = ()

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""

    @abstractmethod
    def __getitem__(self, index: Any) -> Tensor:
        """Some of the elements."""

    @abstractmethod
    def permute(self, *axes: int | Sequence[int]) -> Tensor:
        """The axes in the order ``axes``."""

    @abstractmethod
    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """The same elements in another shape."""

    @abstractmethod
    def broadcast_to(self, *shape: int | Sequence[int]) -> Tensor:
        """The tensor repeated to ``shape``."""

    @abstractmethod
    def _unary(self, primitive: Primitive, *, floating: bool = False, **statics: Any) -> Tensor:
        """``primitive(self, **statics)``."""

    # Along one axis ----------------------------------------------------------------------------------------------

    def chunk(self, chunks: int, axis: int = 0, **words: Unpack[Dim]) -> list[Tensor]:
        """At most so many parts along ``axis``, all but the last of one size."""
        axis = self._axis("chunk", axis, words)
        total = self.shape[axis]
        size = max(1, -(-total // integer("chunk", "chunks", chunks, 1)))
        return [self[self._at(axis, slice(i, i + size))] for i in range(0, max(total, 1), size)]

    def unbind(self, axis: int = 0, **words: Unpack[Dim]) -> list[Tensor]:
        """The parts of size 1 along ``axis``, without that axis."""
        axis = self._axis("unbind", axis, words)
        return [self[self._at(axis, i)] for i in range(self.shape[axis])]

    def narrow(self, axis: int, start: int, length: int) -> Tensor:
        """So many elements along ``axis``, from ``start`` on; a view."""
        axis = self._axis("narrow", axis, {})
        size = self.shape[axis]
        start, length = integer("narrow", "start", start), integer("narrow", "length", length)
        if start + length > size:
            raise ValueError(sentence("narrow", f"start + length must be at most {size}", got=(start, length)))
        return self[self._at(axis, slice(start, start + length))]

    def index_select(self, axis: int, index: TensorLike) -> Tensor:
        """The elements along ``axis`` whose numbers the vector ``index`` holds, in its order."""
        numbers = as_plain(index)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            got = (numbers.shape, str(numbers.dtype))
            raise TypeError(sentence("index_select", "index must be a vector of integers", got=got))
        return self[self._at(self._axis("index_select", axis, {}), numbers)]

    def repeat_interleave(self, repeats: int | TensorLike, axis: int | None = None, **words: Unpack[Dim]) -> Tensor:
        """Each element along ``axis`` so many times in a row; by default of all elements, in a vector.

        Args:
            repeats: One number for all elements, or a vector with one for each.
        """
        if axis is None and "dim" not in words:
            return self.reshape(-1).repeat_interleave(repeats, 0)
        axis = self._axis("repeat_interleave", axis, words)
        counts = as_plain(repeats)
        if counts.dtype.kind not in "iu" or counts.shape not in ((), (1,), (self.shape[axis],)) or (counts < 0).any():
            rule = f"repeats must be an integer of at least 0, or a vector of {self.shape[axis]}"
            raise ValueError(sentence("repeat_interleave", rule, got=repeats))
        return self[self._at(axis, np.repeat(np.arange(self.shape[axis]), counts))]

    # Whole -------------------------------------------------------------------------------------------------------

    def roll(self, shifts: int | Sequence[int], axis: Axis = None, *, dims: Axis = None) -> Tensor:
        """The elements moved along ``axis``, which PyTorch calls ``dims``, and those from the end put in front.

        Args:
            shifts: By how many places; one number for each axis, or one for all. Without an axis, as in a vector.
        """
        if axis is not None and dims is not None:
            raise TypeError(sentence("roll", "axis and dims are one thing", got=(axis, dims), hint="give one"))
        axis = dims if axis is None else axis
        by = as_integers("roll", "shifts", shifts)
        along = None if axis is None else as_integers("roll", "axis", axis)
        if isinstance(by, tuple) and (not isinstance(along, tuple) or len(by) != len(along)):
            raise ValueError(sentence("roll", "shifts and axis must be as many", got=(shifts, axis)))
        return self._unary(shapes.roll, shifts=by, axis=along)

    def tile(self, *reps: int | Sequence[int]) -> Tensor:
        """The whole tensor so many times along each axis; the numbers are those of the last axes."""
        times = _listed(as_integers("tile", "reps", reps[0] if len(reps) == 1 else reps))
        ndim = max(len(times), len(self.shape))
        times, sizes = (1,) * (ndim - len(times)) + times, (1,) * (ndim - len(self.shape)) + self.shape
        if any(number < 0 for number in times):
            raise ValueError(sentence("tile", "reps must be at least 0", got=times))
        apart = self.reshape(*(part for size in sizes for part in (1, size)))
        spread = apart.broadcast_to(*(part for pair in zip(times, sizes, strict=True) for part in pair))
        return spread.reshape(*(number * size for number, size in zip(times, sizes, strict=True)))

    def repeat(self, *_: Any) -> Tensor:
        """Refused: NumPy's repeats each element, PyTorch's the whole tensor."""
        rule = "NumPy repeats each element, PyTorch the whole tensor"
        raise TypeError(sentence("repeat", rule, hint="write repeat_interleave, or tile"))

    def movedim(self, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
        """The axes ``source`` at the places ``destination``, and all others in their order."""
        ndim = len(self.shape)
        sources = _listed(as_integers("movedim", "source", source))
        places = _listed(as_integers("movedim", "destination", destination))
        named = [{axis % max(ndim, 1) for axis in axes if -ndim <= axis < ndim} for axes in (sources, places)]
        if not len(sources) == len(places) == len(named[0]) == len(named[1]):
            rule = f"source and destination must name as many axes in [-{ndim}, {ndim}), each once"
            raise ValueError(sentence("movedim", rule, got=(source, destination)))
        taken = {place % ndim: axis % ndim for axis, place in zip(sources, places, strict=True)}
        left = iter([axis for axis in range(ndim) if axis not in named[0]])
        return self.permute(*(taken[place] if place in taken else next(left) for place in range(ndim)))

    moveaxis = movedim

    def diag(self, diagonal: int = 0) -> Tensor:
        """The diagonal of a matrix; of a vector, the matrix with it as its diagonal: 0 is the main one, 1 above it."""
        if len(self.shape) not in (1, 2):
            raise ValueError(sentence("diag", "the tensor must have one axis or two", got=self.shape))
        return self._unary(shapes.diag, diagonal=integer("diag", "diagonal", diagonal, None))

    def trace(self) -> Tensor:
        """The sum of the main diagonal of a matrix."""
        if len(self.shape) != 2:
            raise ValueError(sentence("trace", "the tensor must be a matrix", got=self.shape))
        return self.diag().sum()

    def masked_select(self, mask: TensorLike) -> Tensor:
        """The elements for which the boolean ``mask`` holds, in a vector; both broadcast."""
        chosen = as_plain(mask)
        if chosen.dtype != bool:
            raise TypeError(sentence("masked_select", "mask must be boolean", got=str(chosen.dtype)))
        try:
            shape = np.broadcast_shapes(self.shape, chosen.shape)
        except ValueError:
            rule = "tensor and mask must broadcast"
            raise ValueError(sentence("masked_select", rule, got=[self.shape, chosen.shape])) from None
        return self.broadcast_to(*shape)[np.broadcast_to(chosen, shape)]

    def view_as(self, other: Tensor) -> Tensor:
        """In the shape of ``other``, with the same elements."""
        return self.reshape(*_shape_of("view_as", other))

    reshape_as = view_as

    def expand_as(self, other: Tensor) -> Tensor:
        """Repeated to the shape of ``other``."""
        return self.broadcast_to(*_shape_of("expand_as", other))

    def _axis(self, who: str, axis: int | None, words: Any) -> int:
        if words:
            axis, _ = spelled(who, words, axis, default=0 if axis == 0 else None)
        return as_axis(who, axis, len(self.shape))

    def _at(self, axis: int, index: Any) -> tuple[Any, ...]:
        return (*(slice(None),) * axis, index)


def _listed(numbers: int | tuple[int, ...]) -> tuple[int, ...]:
    return numbers if isinstance(numbers, tuple) else (numbers,)


def _shape_of(who: str, other: Any) -> tuple[int, ...]:
    if not isinstance(other, Value):
        raise TypeError(sentence(who, "other must be a Tensor", got=other))
    return other.buffer.shape
