"""Products of matrices and what lies between them, in memory that is used again and again.

Lines of a program are *planned* once: every array that they make gets a place in one of a few pieces of memory, which
the next array takes when nobody reads the last one any more. For each shape of parameters they are *bound* once: the
views are made, and a list of calls on them, which a step only goes through. What a step of Muon needs beside its
parameters is a few matrices of the size of the largest one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.cpu.between import Between
from minima.optim.engines.reductions import reducer
from minima.optim.engines.storage import rounding
from minima.optim.language.operations import OPERATIONS, REDUCTIONS
from minima.optim.language.program import Instruction
from minima.optim.language.ranks import TENSOR

__all__ = ["Call", "NumpyProducts", "Place", "Products", "planned"]

Array = NDArray[Any]
Call = Callable[[dict[str, Any], dict[str, Any]], None]
"""A line on its views; it is given the numbers for elements, and those in float64 for tensors, and may add to them."""
_ALIGNED = 64


@dataclass(frozen=True)
class Place:
    """Where an array is while it is needed."""

    slot: int
    """In which piece of memory."""
    axes: tuple[int, int] = (0, 1)
    """Which sizes it has: 0 is the number of rows of the parameter, 1 that of its columns."""
    is_turned: bool = False
    """Whether it lies column after column."""
    kind: str = "number"
    """What it is of: ``number``, in the precision of the loop; ``truth``; ``half``, numbers in bfloat16."""

    def shape(self, sizes: Sequence[int]) -> tuple[int, int]:
        return sizes[self.axes[0]], sizes[self.axes[1]]


class Products(ABC):
    """Lines that begin and end with products of matrices, for parameters of a kind."""

    def __init__(
        self,
        lines: Sequence[Instruction],
        param: str,
        dtype: np.dtype[Any],
        operands: Sequence[str],
        results: Sequence[str],
        shapes: Iterable[tuple[int, int]],
    ) -> None:
        """Get ready for lines.

        Args:
            lines: What is to be computed.
            param: The kind in which parameters are kept.
            dtype: The precision of the loop.
            operands: The arrays that lines begin with.
            results: Those that are read behind them.
            shapes: The shapes of all parameters, as matrices.
        """
        self._nearest, self._dtype, self._param, self._results = rounding(param, dtype), dtype, param, set(results)
        self._lines, halves = self.prepared(lines, results)
        self.places, self._settled = planned(self._lines, operands, results, halves)
        """The place of every array; and that to which a result is copied, where its own is not plain memory."""
        sizes: dict[int, int] = {}
        known = set(shapes)
        for place in (*self.places.values(), *self._settled.values()):
            most = max((np.prod(place.shape(shape), dtype=np.int64) for shape in known), default=0)
            sizes[place.slot] = max(sizes.get(place.slot, 0), int(most) * dtype.itemsize)
        self.memory = [_piece(sizes[slot]) for slot in range(len(sizes))]
        ends = [self.places[name] for name in operands]
        ends += [self._settled.get(name) or self.places[name] for name in results]
        self.addresses = [self.memory[place.slot].ctypes.data for place in ends]
        """Where operands are to be written, and where results are read, whatever the shape."""
        self._bound: dict[tuple[int, int], list[Call]] = {}

    @abstractmethod
    def prepared(
        self, lines: Sequence[Instruction], results: Collection[str]
    ) -> tuple[Sequence[Instruction], Collection[str]]:
        """The lines as they are computed; and the arrays that are kept in bfloat16."""

    @abstractmethod
    def calls(self, lines: Sequence[Instruction], views: Mapping[str, Array]) -> list[Call]:
        """Lines that make arrays, on their views."""

    def __call__(self, shape: tuple[int, int], numbers: dict[str, Any], wide: dict[str, Any]) -> None:
        """Run the lines for a parameter of a shape.

        Args:
            shape: Its rows and columns.
            numbers: What lines for elements and matrices read of numbers, in the precision of the loop. Numbers that
                are found are put in.
            wide: What lines for the tensor read of them, in float64. So are they here.
        """
        calls = self._bound.get(shape)
        if calls is None:
            calls = self._bound[shape] = self._calls(shape)
        with np.errstate(all="ignore"):  # overflow and 0/0 are for the user to see in the result
            for call in calls:
                call(numbers, wide)

    def _calls(self, shape: tuple[int, int]) -> list[Call]:
        views = {name: self.view(place, shape) for name, place in self.places.items()}
        calls: list[Call] = []
        computed = (line for line in self._lines if line.operation != "transpose")
        for is_array, group in groupby(computed, key=lambda line: line.target in views):
            lines = list(group)
            calls += self.calls(lines, views) if is_array else [self._number(line, views) for line in lines]
        for name, place in self._settled.items():
            calls.append(self.copy(self.view(place, shape), views[name]))
        return calls

    def view(self, place: Place, sizes: tuple[int, int]) -> Array:
        """What lies in a place, for a parameter of these sizes."""
        shape = place.shape(sizes)
        dtype = {"truth": np.dtype(np.bool_), "half": np.dtype(np.uint16)}.get(place.kind, self._dtype)
        flat = self.memory[place.slot][: shape[0] * shape[1] * dtype.itemsize].view(dtype)
        return flat.reshape(shape[::-1]).T if place.is_turned else flat.reshape(shape)

    @abstractmethod
    def copy(self, target: Array, source: Array) -> Call:
        """A copy to plain memory."""

    def reduction(self, operation: str, x: Array) -> Callable[[], Any]:
        """One number of all entries."""
        reduce = reducer(operation, self._dtype, by_rows=True)
        return lambda: reduce(x)

    def _number(self, line: Instruction, views: Mapping[str, Array]) -> Call:
        """A line that makes a number."""
        target, (first, *_) = line.target, line.operands
        if line.operation in REDUCTIONS and first in views:
            reduce = self.reduction(line.operation, views[str(first)])

            def reduced(numbers: dict[str, Any], wide: dict[str, Any]) -> None:
                wide[target] = reduce()

            return reduced
        if line.operation == "narrow":
            number = self._dtype.type

            def narrowed(numbers: dict[str, Any], wide: dict[str, Any]) -> None:
                wide[target] = numbers[target] = number(wide[first] if isinstance(first, str) else first)

            return narrowed
        function, is_wide = OPERATIONS[line.operation].numpy, line.rank <= TENSOR
        literal = np.float64 if is_wide else self._dtype.type
        is_truth = _is_truth(line.operation)

        def call(numbers: dict[str, Any], wide: dict[str, Any]) -> None:
            known = wide if is_wide else numbers
            known[target] = function(*(known[x] if isinstance(x, str) else literal(x) for x in line.operands))
            if is_truth:  # which lines for elements read as it is
                numbers[target] = known[target]

        return call

    def numpy_call(self, line: Instruction, views: Mapping[str, Array]) -> Call:
        """A line that makes an array, in NumPy."""
        function = self._nearest if line.operation == "nearest" else _NUMPY[line.operation]
        out = views[line.target]
        operands: list[Any] = [views.get(x, x) if isinstance(x, str) else self._dtype.type(x) for x in line.operands]
        places = [place for place, x in enumerate(operands) if isinstance(x, str)]

        if not isinstance(function, np.ufunc):

            def copied(numbers: dict[str, Any], wide: dict[str, Any]) -> None:
                np.copyto(out, function(*(numbers[x] if isinstance(x, str) else x for x in operands)))

            return copied

        if not places:

            def plain(numbers: dict[str, Any], wide: dict[str, Any]) -> None:
                function(*operands, out=out)

            return plain

        def call(numbers: dict[str, Any], wide: dict[str, Any]) -> None:
            function(*(numbers[x] if isinstance(x, str) else x for x in operands), out=out)

        return call


class NumpyProducts(Products):
    """Products by NumPy, and what lies between them in one loop, with the bits of the reference engine."""

    def prepared(
        self, lines: Sequence[Instruction], results: Collection[str]
    ) -> tuple[Sequence[Instruction], Collection[str]]:
        return _postponed(lines), ()

    def calls(self, lines: Sequence[Instruction], views: Mapping[str, Array]) -> list[Call]:
        calls: list[Call] = []
        for (is_product, _), group in groupby(lines, key=lambda line: (_is_product(line), views[line.target].shape)):
            run = list(group)
            if is_product:
                calls += [self.numpy_call(line, views) for line in run]
            else:
                calls += self._between(run, views)
        return calls

    def _between(self, lines: Sequence[Instruction], views: Mapping[str, Array]) -> list[Call]:
        """Lines for the elements of matrices of one shape: one loop, or line by line where truths are read or kept."""
        made = {line.target for line in lines}
        outside = {name for line in self._lines if line not in lines for name in line.reads} | self._results
        given = {name: views[name] for line in lines for name in line.reads if name in views and name not in made}
        kept = {line.target: views[line.target] for line in lines if line.target in outside}
        if any(array.dtype != self._dtype for array in (*given.values(), *kept.values())):
            return [self.numpy_call(line, views) for line in lines]
        loop = Between(lines, given, kept, self._param)
        return [lambda numbers, wide: loop(numbers)]

    def copy(self, target: Array, source: Array) -> Call:
        if source.dtype != target.dtype:
            return lambda numbers, wide: np.copyto(target, source)
        loop = Between((), {"x": source}, {"x": target}, self._param)
        return lambda numbers, wide: loop(numbers)


def _is_product(line: Instruction) -> bool:
    return line.operation == "matmul"


def _postponed(lines: Sequence[Instruction]) -> list[Instruction]:
    """The same lines, those for elements directly before the first that reads them, so that one loop does several."""
    waiting: dict[str, Instruction] = {}
    found: list[Instruction] = []

    def take(line: Instruction) -> None:
        for name in line.reads:
            if name in waiting:
                take(waiting.pop(name))
        found.append(line)

    for line in lines:
        if line.rank > TENSOR and not _is_product(line) and line.operation != "transpose":
            waiting[line.target] = line
        else:
            take(line)
    while waiting:
        take(waiting.pop(next(iter(waiting))))
    return found


_NUMPY: dict[str, Callable[..., Any]] = {name: row.numpy for name, row in OPERATIONS.items()} | {"matmul": np.matmul}


def planned(
    lines: Sequence[Instruction], operands: Sequence[str], results: Sequence[str], halves: Collection[str]
) -> tuple[dict[str, Place], dict[str, Place]]:
    """Where lines on matrices leave what they make.

    Args:
        lines: The lines.
        operands: The arrays that they begin with.
        results: Those that are read behind them.
        halves: Those that are kept in bfloat16.

    Returns:
        The place of every array; and that to which a result is copied, where its own is not plain memory.
    """
    places: dict[str, Place] = {}
    users: dict[int, int] = {}
    last = {name: place for place, line in enumerate(lines) for name in line.reads}

    def free() -> int:
        return next(slot for slot in count() if not users.get(slot))

    def put(name: str, place: Place) -> None:
        places[name] = place
        users[place.slot] = users.get(place.slot, 0) + 1

    for name in operands:
        put(name, Place(free()))
    for number, line in enumerate(lines):
        target = line.target
        read = [name for name in dict.fromkeys(line.reads) if name in places]
        dead = [name for name in read if last[name] == number and name not in results]
        if line.operation == "transpose":
            there = places[read[0]]
            put(target, replace(there, axes=there.axes[::-1], is_turned=not there.is_turned))
        elif line.rank > TENSOR and read:
            kind = "half" if target in halves else "truth" if _is_truth(line.operation) else "number"
            if line.operation in ("matmul", "addmm"):
                x, y = (places[str(name)] for name in line.operands[:2])
                put(target, Place(free(), (x.axes[0], y.axes[1]), kind=kind))
            else:  # laid out as NumPy would, so that what reads it computes the same
                like = places[read[0]]
                made = Place(0, like.axes, all(places[name].is_turned for name in read), kind)
                own = [places[name].slot for name in dead if replace(places[name], slot=0) == made]
                put(target, replace(made, slot=next((slot for slot in own if users[slot] == 1), free())))
        for name in dead:
            users[places[name].slot] -= 1
    settled: dict[str, Place] = {}
    for name in results:
        place = places[name]
        if place.is_turned or place.kind != "number":
            settled[name] = Place(free(), place.axes)
            users[settled[name].slot] = 1
    return places, settled


def _is_truth(operation: str) -> bool:
    return operation in OPERATIONS and OPERATIONS[operation].is_truth


def _piece(size: int) -> NDArray[np.uint8]:
    """Aligned memory, of a byte at least."""
    memory = np.empty(max(1, size) + _ALIGNED, np.uint8)
    return memory[-memory.ctypes.data % _ALIGNED :][: max(1, size)]
