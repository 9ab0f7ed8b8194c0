"""The loop that inspects tensors, in LLVM's language, compiled in memory.

What is printed is, but for its language::

    def inspect(tensors, heads, sizes, strides, kinds, targets, count, none):
        for i in range(count):
            if tensors[i] is none or describe(tensors[i], tensor) != 0:
                return i
            ndim, first, width, many = heads[i]
            require (tensor.device, tensor.dtype) == kinds[i] and tensor.ndim == ndim
            for j in range(ndim):
                require tensor.shape[j] == sizes[first + j]
                require tensor.strides[j] == strides[first + j] or tensor.shape[j] == 1 or many == 0
            require tensor.data & (width - 1) == 0 and (tensor.data or many == 0)
            *targets[i] = tensor.data
        return count

where ``require`` returns ``i`` of what it does not hold for; ``tensors`` is a list of Python's, and ``tensor`` a
``DLTensor`` (``dlpack.h``).
"""

import ctypes
from typing import Any

from minima.optim.engines.cpu.llvm import BIT, INT, Code, compiled, integer, ir, loop
from minima.optim.engines.cpu.once import once

__all__ = ["compile_inspection"]

DATA, DEVICE, NDIM, DTYPE, SHAPE, STRIDES, OFFSET, END = 0, 8, 16, 20, 24, 32, 40, 48
"""Offsets of the fields of a ``DLTensor``, and its size, for pointers of 8 bytes."""

_GET = ctypes.cast(ctypes.pythonapi.PyList_GetItem, ctypes.c_void_p).value or 0
"""The address of Python's function that gives an item of a list."""


@once
def compile_inspection(describe: int) -> Code:
    """The loop around the function at the address ``describe``; it needs the interpreter while it runs."""
    return compiled(str(_module(describe)), "inspect", ctypes.c_int64, 8, lets_go=False)


def _module(describe: int) -> Any:
    table, small = INT.as_pointer(), ir.IntType(32)
    module = ir.Module("inspection")
    arguments = [INT, table, table, table, table, table, INT, INT]
    function = ir.Function(module, ir.FunctionType(INT, arguments), "inspect")
    tensors, heads, sizes, strides, kinds, targets, count, none = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    tensor = builder.ptrtoint(builder.alloca(INT, END // 8), INT)
    described = builder.inttoptr(integer(describe), ir.FunctionType(small, [INT, INT]).as_pointer())
    get = builder.inttoptr(integer(_GET), ir.FunctionType(INT, [INT, INT]).as_pointer())

    def item(array: Any, index: Any, offset: int = 0) -> Any:
        return builder.load(builder.gep(array, [builder.add(index, integer(offset))]))

    def field(offset: int, kind: Any = INT) -> Any:
        return builder.load(builder.inttoptr(builder.add(tensor, integer(offset)), kind.as_pointer()))

    def same(x: Any, y: Any) -> Any:
        return builder.icmp_signed("==", x, y)

    def require(index: Any, *conditions: Any) -> None:
        """Return the index unless one of the conditions holds."""
        holds = ir.Constant(BIT, 0)
        for condition in conditions:
            holds = builder.or_(holds, condition)
        misfit, fits = builder.append_basic_block("misfit"), builder.append_basic_block("fits")
        builder.cbranch(holds, fits, misfit)
        builder.position_at_end(misfit)
        builder.ret(index)
        builder.position_at_end(fits)

    with loop(builder, count, "i") as i:
        this = builder.call(get, [tensors, i])
        require(i, builder.icmp_signed("!=", this, none))
        require(i, same(builder.call(described, [this, tensor]), integer(0, small)))
        head, pair = builder.mul(i, integer(4)), builder.mul(i, integer(2))
        ndim, first, width, many = (item(heads, head, place) for place in range(4))
        empty = same(many, integer(0))
        require(i, same(field(DEVICE), item(kinds, pair)))
        require(i, same(builder.sext(field(DTYPE, small), INT), item(kinds, pair, 1)))
        require(i, same(builder.sext(field(NDIM, small), INT), ndim))
        shape, steps = builder.inttoptr(field(SHAPE), table), builder.inttoptr(field(STRIDES), table)
        with loop(builder, ndim, "j") as j:
            size, place = item(shape, j), builder.add(first, j)
            require(i, same(size, item(sizes, place)))
            require(i, same(item(steps, j), item(strides, place)), same(size, integer(1)), empty)
        address = builder.add(field(DATA), field(OFFSET))
        require(i, builder.icmp_signed("!=", address, integer(0)), empty)
        require(i, same(builder.and_(address, builder.sub(width, integer(1))), integer(0)))
        builder.store(address, builder.inttoptr(item(targets, i), table))
    builder.ret(count)
    return module
