"""The addresses of many arrays at once, each checked: shape, dtype, layout, and whether it may be written to.

Asking an array for these things in Python takes a quarter of a microsecond, which for a network of many small tensors
is more than their update. Compiled code reads them from the C struct that every NumPy array is, a part of NumPy's
stable binary interface (``PyArrayObject_fields`` in ``ndarraytypes.h``). Whether this interpreter and this NumPy lay it
out so is tried once, on arrays that are known; if not, Python does the asking. What is printed is, but for its
language::

    def gather(arrays, task):
        count, wanted, sizes = task
        for i in range(count):
            kind, dtype, ndim, first, flags, target = wanted[i]
            require type(arrays[i]) is kind and arrays[i].dtype is dtype and arrays[i].ndim == ndim
            require arrays[i].flags & flags == flags
            for j in range(ndim):
                require arrays[i].shape[j] == sizes[first + j]
            *target = arrays[i].data
        return count

where ``require`` returns ``i`` of what it does not hold for, and ``arrays`` is a list of Python's.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.cpu.llvm import INT, Code, compiled, integer, ir, item, loop
from minima.optim.engines.cpu.once import once
from minima.optim.engines.engine import Array

__all__ = ["Gather"]

HEAD = object.__basicsize__
"""Where the fields begin: behind what every Python object has, the last of which is its type."""
TYPE, DATA, NDIM, SHAPE, DTYPE, FLAGS = HEAD - 8, HEAD, HEAD + 8, HEAD + 16, HEAD + 40, HEAD + 48
"""Offsets of the fields, for pointers of 8 bytes."""
PLAIN, WRITEABLE = 0x0001 | 0x0100, 0x0400
"""The flags of an array that is contiguous in C's order and aligned, and of one that may be written to."""
WORDS = 6
"""What is wanted of an array, and where its address goes."""


class Gather:
    """Collects the addresses of arrays that must be as some samples are."""

    def __init__(
        self, samples: Sequence[Array], table: NDArray[np.int64], places: Sequence[int], writeable: Sequence[bool]
    ) -> None:
        """Collect the address of each array into its place of ``table``; some must be ``writeable``."""
        self._wanted: list[tuple[tuple[int, ...], np.dtype[Any], bool]] = [
            (sample.shape, sample.dtype, each) for sample, each in zip(samples, writeable, strict=True)
        ]
        self._table = table
        self._places = np.array(places, np.int64)
        self._count = len(samples)
        self._code = _code()
        if self._code is not None:
            targets = (table.ctypes.data + 8 * self._places).tolist()
            self._tables = _tables(samples, targets, writeable)
            self._task = self._tables[0].ctypes.data

    def __call__(self, arrays: list[Array]) -> bool:
        """Fill the table; False if an array is not as it must be."""
        if len(arrays) != self._count:
            return False
        if self._code is not None and self._code.call(id(arrays), self._task) == self._count:
            return True
        return self._in_python(arrays)  # also where a type or a dtype is not the same, but as good

    def _in_python(self, arrays: Sequence[Any]) -> bool:
        if not all(isinstance(array, np.ndarray) for array in arrays):
            return False
        for array, (shape, dtype, writeable) in zip(arrays, self._wanted, strict=True):
            if array.shape != shape or array.dtype != dtype:
                return False
            flags = array.flags
            if not (flags.c_contiguous and flags.aligned and (flags.writeable or not writeable)):
                return False
        self._table[self._places] = [array.ctypes.data for array in arrays]
        return True


def _tables(
    samples: Sequence[Array], targets: Sequence[int], writeable: Sequence[bool]
) -> tuple[NDArray[np.int64], ...]:
    """A task, what is wanted of each array, and all sizes of all axes."""
    ends = np.cumsum([0, *(sample.ndim for sample in samples)]).tolist()
    rows = [
        (id(np.ndarray), id(sample.dtype), sample.ndim, first, PLAIN | WRITEABLE * each, target)
        for sample, first, target, each in zip(samples, ends[:-1], targets, writeable, strict=True)
    ]
    wanted = np.array(rows, np.int64)
    sizes = np.array([size for sample in samples for size in sample.shape], np.int64)
    return np.array([len(samples), wanted.ctypes.data, sizes.ctypes.data], np.int64), wanted, sizes


@once
def _code() -> Code | None:
    """The compiled code; None where arrays are not laid out as it supposes."""
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    code = compiled(str(_module()), "gather", ctypes.c_int64, 2, lets_go=False)
    return code if _reads_right(code) else None


def _reads_right(code: Code) -> bool:
    samples = [np.zeros((2, 3), np.float32), np.zeros((), np.float32), np.zeros((4, 0, 5), np.float32)]
    others = [np.zeros((3, 2), np.float32), np.zeros((2, 3)), np.zeros((3, 2), np.float32).T, np.zeros(2, np.float32)]
    frozen = np.zeros((2, 3), np.float32)
    frozen.flags.writeable = False
    address = np.zeros(1, np.int64)

    def fits(array: Any, like: Array, *, writeable: bool = True) -> bool:
        address[0] = 0
        tables = _tables([like], [address.ctypes.data], [writeable])
        arrays = [array]
        return code.call(id(arrays), tables[0].ctypes.data) == 1

    right = all(fits(sample, sample.copy()) and address[0] == sample.ctypes.data for sample in samples)
    right = right and fits(frozen, samples[0], writeable=False)
    return right and not any(fits(other, samples[0]) for other in (*others, frozen, None))


def _module() -> Any:
    table, small = INT.as_pointer(), ir.IntType(32)
    module = ir.Module("gather")
    function = ir.Function(module, ir.FunctionType(INT, [INT, table]), "gather")
    arrays, task = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    count, *places = (item(builder, task, integer(word)) for word in range(3))
    wanted, sizes = (builder.inttoptr(place, table) for place in places)
    address = ctypes.cast(ctypes.pythonapi.PyList_GetItem, ctypes.c_void_p).value or 0
    get = builder.inttoptr(integer(address), ir.FunctionType(INT, [INT, INT]).as_pointer())

    def field(array: Any, offset: int, kind: Any = INT) -> Any:
        return builder.load(builder.inttoptr(builder.add(array, integer(offset)), kind.as_pointer()))

    def require(one: Any, other: Any, index: Any) -> None:
        misfit, fits = builder.append_basic_block("misfit"), builder.append_basic_block("fits")
        builder.cbranch(builder.icmp_signed("==", one, other), fits, misfit)
        builder.position_at_end(misfit)
        builder.ret(index)
        builder.position_at_end(fits)

    with loop(builder, count, "i") as i:
        array = builder.call(get, [arrays, i])
        line = builder.mul(i, integer(WORDS))
        kind, dtype, ndim, first, flags, target = (item(builder, wanted, line, word) for word in range(WORDS))
        require(field(array, TYPE), kind, i)
        require(field(array, DTYPE), dtype, i)
        require(builder.sext(field(array, NDIM, small), INT), ndim, i)
        require(builder.and_(builder.zext(field(array, FLAGS, small), INT), flags), flags, i)
        shape = builder.inttoptr(field(array, SHAPE), table)
        with loop(builder, ndim, "j") as j:
            require(item(builder, shape, j), item(builder, sizes, builder.add(first, j)), i)
        builder.store(field(array, DATA), builder.inttoptr(target, table))
    builder.ret(count)
    return module
