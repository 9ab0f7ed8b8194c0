"""The addresses of many gradients at once, each checked: shape, dtype, and that it lies in memory plainly.

Asking an array for these things in Python takes a quarter of a microsecond, which for a network of many small tensors
is more than their update. Compiled code reads them from the C struct that every NumPy array is, a part of NumPy's
stable binary interface (``PyArrayObject_fields`` in ``ndarraytypes.h``). Whether this interpreter and this NumPy lay it
out so is tried once, on arrays that are known; if not, Python does the asking.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from minima.optim.engines.cpu.llvm import INT, Code, compiled, integer, ir, loop
from minima.optim.engines.engine import Array

__all__ = ["Gather"]

HEAD = object.__basicsize__
"""Where the fields begin: behind what every Python object has."""
DATA, NDIM, SHAPE, DTYPE, FLAGS = HEAD, HEAD + 8, HEAD + 16, HEAD + 40, HEAD + 48
"""Offsets of the fields, for pointers of 8 bytes."""
PLAIN = 0x0001 | 0x0100
"""The flags of an array that is contiguous in C's order, and aligned."""


class Gather:
    """Collects the addresses of arrays that must have the shapes and the dtype of some parameters."""

    def __init__(self, params: Sequence[Array], addresses: Array) -> None:
        """Collect them into ``addresses``, an array of 64-bit integers."""
        self._params = params
        self._dtype = np.dtype(params[0].dtype.name)  # the object that arrays share, not a copy of it
        self.addresses = addresses
        self._objects = np.zeros(len(params), np.int64)
        sizes = [param.ndim for param in params]
        # For every array: how many axes, and where in the list of all sizes its own begin.
        self._axes = np.array([sizes, np.cumsum([0, *sizes[:-1]])], np.int64).T.copy()
        self._sizes = np.array([size for param in params for size in param.shape], np.int64)
        tables = (self._objects, self._axes, self._sizes, self.addresses)
        self._arguments = (*(table.ctypes.data for table in tables), len(params), id(self._dtype))

    def __call__(self, arrays: Sequence[Array]) -> bool:
        """Fill ``addresses``; False if an array is not as it must be."""
        code = _code()
        if code is None:
            return self._in_python(arrays)
        self._objects[:] = list(map(id, arrays))
        return code.call(*self._arguments) == len(self._params)

    def _in_python(self, arrays: Sequence[Array]) -> bool:
        for array, param in zip(arrays, self._params, strict=True):
            if array.shape != param.shape or array.dtype is not self._dtype or not array.flags.c_contiguous:
                return False
        self.addresses[:] = [array.ctypes.data for array in arrays]
        return all(array.flags.aligned for array in arrays)


@cache
def _code() -> Code | None:
    """The compiled code; None where arrays are not laid out as it supposes."""
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        return None
    code = compiled(str(_module()), "gather", ctypes.c_int64, 6)
    return code if _reads_right(code) else None


def _reads_right(code: Code) -> bool:
    samples = [np.zeros((2, 3), np.float32), np.zeros((), np.float32), np.zeros((4, 0, 5), np.float32)]
    others = [np.zeros((3, 2), np.float32), np.zeros((2, 3)), np.zeros((3, 2), np.float32).T, np.zeros(2, np.float32)]
    objects, addresses = np.zeros(1, np.int64), np.zeros(1, np.int64)

    def fits(array: Array, like: Array) -> bool:
        axes, sizes = np.array([like.ndim, 0], np.int64), np.array(like.shape, np.int64)
        objects[0], addresses[0] = id(array), 0
        tables = (table.ctypes.data for table in (objects, axes, sizes, addresses))
        return code.call(*tables, 1, id(like.dtype)) == 1

    right = all(fits(sample, sample.copy()) and addresses[0] == sample.ctypes.data for sample in samples)
    return right and not any(fits(other, samples[0]) for other in others)


def _module() -> Any:
    """``gather(objects, axes, sizes, addresses, count, dtype)``: how many arrays fit, up to the first that does not."""
    table, small = INT.as_pointer(), ir.IntType(32)
    module = ir.Module("gather")
    function = ir.Function(module, ir.FunctionType(INT, [table, table, table, table, INT, INT]), "gather")
    objects, axes, sizes, addresses, count, dtype = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))

    def item(array: Any, index: Any) -> Any:
        return builder.load(builder.gep(array, [index]))

    def field(array: Any, offset: int, kind: Any = INT) -> Any:
        return builder.load(builder.inttoptr(builder.add(array, integer(offset)), kind.as_pointer()))

    def require(condition: Any, index: Any) -> None:
        misfit, fits = builder.append_basic_block("misfit"), builder.append_basic_block("fits")
        builder.cbranch(condition, fits, misfit)
        builder.position_at_end(misfit)
        builder.ret(index)
        builder.position_at_end(fits)

    with loop(builder, count, "i") as i:
        array = item(objects, i)
        axis = builder.mul(i, integer(2))
        ndim, first = item(axes, axis), item(axes, builder.add(axis, integer(1)))
        require(builder.icmp_signed("==", field(array, DTYPE), dtype), i)
        require(builder.icmp_signed("==", builder.sext(field(array, NDIM, small), INT), ndim), i)
        flags = builder.and_(field(array, FLAGS, small), integer(PLAIN, small))
        require(builder.icmp_signed("==", flags, integer(PLAIN, small)), i)
        shape = builder.inttoptr(field(array, SHAPE), table)
        with loop(builder, ndim, "j") as j:
            require(builder.icmp_signed("==", item(shape, j), item(sizes, builder.add(first, j))), i)
        builder.store(field(array, DATA), builder.gep(addresses, [i]))
    builder.ret(count)
    return module
