"""The loops that inspect tensors, in LLVM's language, compiled in memory.

What is printed is, but for its language::

    def fits(tensor, i, heads, sizes, strides, kinds, targets, none):
        require tensor is not none and describe(tensor, described) == 0
        ndim, first, width, extent = heads[i]
        require (described.device, described.dtype) == kinds[i] and described.ndim == ndim
        for j in range(ndim):
            require described.shape[j] == sizes[first + j]
            require described.strides[j] == strides[first + j] or described.shape[j] == 1 or extent == 0
        require described.data & (width - 1) == 0 and (described.data or extent == 0)
        storage = tensor.storage
        require described.data + extent <= storage.data + storage.size or extent == 0
        *targets[i] = described.data

    def inspect(tensors, count):
        for i in range(count):
            require fits(tensors[i], i)

    def collect(params, grads, states, names, many, attribute, count):
        for i in range(count):
            require fits(params[i], i)
        for i in range(count):
            grads[i] = getattr(params[i], attribute)
            require fits(grads[i], count + i)
        for j in range(many):
            for i in range(count):
                require fits(states[i][names[j]], (2 + j) * count + i)

    def stand(states, name, tensors, addresses, count):
        for i in range(count):
            require states[i][name] is tensors[i] and tensors[i].storage.data == addresses[i]

where ``require`` returns 0 at once if something does not hold, and the end of a function returns 1. The first
three also take the arguments of ``fits`` after ``i``. Lists and dicts are Python's, and ``described`` is a ``DLTensor``
(``dlpack.h``). One kind of tensor comes after the other: so they mostly lie in memory. Of freed storage the address and
the size are 0.
"""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

from minima.optim.engines.cpu.llvm import BIT, INT, Code, compiled, integer, ir, loop
from minima.optim.engines.cpu.once import once
from minima.torch.private import Layout

__all__ = ["Inspection", "compile_inspection"]

DATA, DEVICE, NDIM, DTYPE, SHAPE, STRIDES, OFFSET, END = 0, 8, 16, 20, 24, 32, 40, 48
"""Offsets of the fields of a ``DLTensor``, and its size, for pointers of 8 bytes."""
TABLES = 6
"""How many arguments the first three functions have in common."""

_SMALL = ir.IntType(32)
_TABLE = INT.as_pointer()


class Inspection(NamedTuple):
    """The loops, which hold the GIL while they run."""

    inspect: Code
    collect: Code
    stand: Code


@once
def compile_inspection(describe: int, layout: Layout) -> Inspection:
    """The loops around the function at the address ``describe``."""
    source = str(_module(describe, layout))
    names = ("inspect_task", "collect_task", "stand_task")
    return Inspection(*(compiled(source, name, ctypes.c_int64, 1, lets_go=False) for name in names))


class _Function:
    """A function that returns 1 unless a requirement failed."""

    def __init__(self, module: Any, name: str, arguments: Sequence[Any], *, fitting: bool = True) -> None:
        kinds = [*arguments, *([*[_TABLE] * (TABLES - 1), INT] if fitting else ())]
        self.function = ir.Function(module, ir.FunctionType(INT, kinds), name)
        self.arguments = self.function.args[: len(arguments)]
        self.tables = self.function.args[len(arguments) :]
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))

    def require(self, *conditions: Any) -> None:
        """Return 0 unless one of the conditions holds."""
        builder, holds = self.builder, ir.Constant(BIT, 0)
        for condition in conditions:
            holds = builder.or_(holds, condition)
        misfit, fits = builder.append_basic_block("misfit"), builder.append_basic_block("fits")
        builder.cbranch(holds, fits, misfit)
        builder.position_at_end(misfit)
        builder.ret(integer(0))
        builder.position_at_end(fits)

    def same(self, x: Any, y: Any) -> Any:
        return self.builder.icmp_signed("==", x, y)

    def other(self, x: Any, y: Any) -> Any:
        return self.builder.icmp_signed("!=", x, y)

    def word(self, address: Any, offset: int, kind: Any = INT) -> Any:
        builder = self.builder
        return builder.load(builder.inttoptr(builder.add(address, integer(offset)), kind.as_pointer()))

    def item(self, array: Any, index: Any, offset: int = 0) -> Any:
        builder = self.builder
        return builder.load(builder.gep(array, [builder.add(index, integer(offset))]))

    def python(self, name: str, *arguments: Any, result: Any = INT) -> Any:
        """The result of a function of Python's C API."""
        address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
        return self.called(address, *arguments, result=result)

    def called(self, address: int, *arguments: Any, result: Any) -> Any:
        kind = ir.FunctionType(result, [argument.type for argument in arguments]).as_pointer()
        return self.builder.call(self.builder.inttoptr(integer(address), kind), arguments)


def _module(describe: int, layout: Layout) -> Any:
    module = ir.Module("inspection")
    fits = _fits(module, describe, layout)
    for print_ in (_inspect, _collect):
        _print_task(module, print_(module, fits))
    _print_task(module, _stand(module, layout))
    return module


def _print_task(module: Any, function: Any) -> None:
    """The function again, with its arguments in a table: one argument is called faster than many."""
    function.linkage = "internal"
    task = ir.Function(module, ir.FunctionType(INT, [_TABLE]), f"{function.name}_task")
    builder = ir.IRBuilder(task.append_basic_block("entry"))
    words = [builder.load(builder.gep(task.args[0], [integer(place)])) for place in range(len(function.args))]
    pairs = zip(words, function.args, strict=True)
    given = [word if arg.type == INT else builder.inttoptr(word, arg.type) for word, arg in pairs]
    builder.ret(builder.call(function, given))


def _fits(module: Any, describe: int, layout: Layout) -> Any:
    function = _Function(module, "fits", [INT, INT])
    function.function.linkage = "internal"
    builder, same, item = function.builder, function.same, function.item
    (this, i), (heads, sizes, strides, kinds, targets, none) = function.arguments, function.tables
    tensor = builder.ptrtoint(builder.alloca(INT, END // 8), INT)

    def field(offset: int, kind: Any = INT) -> Any:
        return function.word(tensor, offset, kind)

    function.require(function.other(this, none))
    function.require(same(function.called(describe, this, tensor, result=_SMALL), integer(0, _SMALL)))
    head, pair = builder.mul(i, integer(4)), builder.mul(i, integer(2))
    ndim, first, width, extent = (item(heads, head, place) for place in range(4))
    empty = same(extent, integer(0))
    function.require(same(field(DEVICE), item(kinds, pair)))
    function.require(same(builder.sext(field(DTYPE, _SMALL), INT), item(kinds, pair, 1)))
    function.require(same(builder.sext(field(NDIM, _SMALL), INT), ndim))
    shape, steps = builder.inttoptr(field(SHAPE), _TABLE), builder.inttoptr(field(STRIDES), _TABLE)
    with loop(builder, ndim, "j") as j:
        size, place = item(shape, j), builder.add(first, j)
        function.require(same(size, item(sizes, place)))
        function.require(same(item(steps, j), item(strides, place)), same(size, integer(1)), empty)
    address = builder.add(field(DATA), field(OFFSET))
    function.require(function.other(address, integer(0)), empty)
    storage = function.word(function.word(this, layout.tensor), layout.storage)
    end = builder.add(function.word(storage, layout.data), function.word(storage, layout.size))
    function.require(builder.icmp_unsigned("<=", builder.add(address, extent), end), empty)
    function.require(same(builder.and_(address, builder.sub(width, integer(1))), integer(0)))
    builder.store(address, builder.inttoptr(item(targets, i), _TABLE))
    builder.ret(integer(1))
    return function.function


def _inspect(module: Any, fits: Any) -> Any:
    function = _Function(module, "inspect", [INT, INT])
    builder, (tensors, count) = function.builder, function.arguments
    with loop(builder, count, "i") as i:
        this = function.python("PyList_GetItem", tensors, i)
        function.require(function.same(builder.call(fits, [this, i, *function.tables]), integer(1)))
    builder.ret(integer(1))
    return function.function


def _collect(module: Any, fits: Any) -> Any:
    function = _Function(module, "collect", [INT, INT, INT, _TABLE, INT, INT, INT])
    builder = function.builder
    params, grads, states, names, many, attribute, count = function.arguments

    def require_fitting(tensor: Any, index: Any) -> None:
        function.require(function.same(builder.call(fits, [tensor, index, *function.tables]), integer(1)))

    with loop(builder, count, "i") as i:
        require_fitting(function.python("PyList_GetItem", params, i), i)
    with loop(builder, count, "i") as i:
        grad = function.python("PyObject_GetAttr", function.python("PyList_GetItem", params, i), attribute)
        function.require(function.other(grad, integer(0)))
        function.python("PyList_SetItem", grads, i, grad, result=_SMALL)  # takes the reference over
        require_fitting(grad, builder.add(count, i))
    with loop(builder, many, "j") as j:
        name, first = function.item(names, j), builder.mul(builder.add(j, integer(2)), count)
        with loop(builder, count, "i") as i:
            tensor = function.python("PyDict_GetItemWithError", function.python("PyList_GetItem", states, i), name)
            function.require(function.other(tensor, integer(0)))
            require_fitting(tensor, builder.add(first, i))
    builder.ret(integer(1))
    return function.function


def _stand(module: Any, layout: Layout) -> Any:
    function = _Function(module, "stand", [INT, INT, INT, _TABLE, INT], fitting=False)
    states, name, tensors, addresses, count = function.arguments
    with loop(function.builder, count, "i") as i:
        tensor = function.python("PyList_GetItem", tensors, i)
        state = function.python("PyList_GetItem", states, i)
        function.require(function.same(function.python("PyDict_GetItemWithError", state, name), tensor))
        storage = function.word(function.word(tensor, layout.tensor), layout.storage)
        function.require(function.same(function.word(storage, layout.data), function.item(addresses, i)))
    function.builder.ret(integer(1))
    return function.function
