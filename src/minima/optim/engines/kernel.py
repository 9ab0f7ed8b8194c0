"""The printer of the fused engine: a program as one loop over elements, in LLVM's language, compiled in memory.

What is compiled is, for a program of ``n`` arrays::

    def kernel(buffers, grads, rows, scalars, chunks, first, last):
        for c in range(first, last):
            tensor, start, count = chunks[c]
            update(count, *(address of each array + start), *scalars[rows[tensor]])

    def update(count, param, grad, *state, *scalars):
        for i in range(count):
            one line for each instruction of the program

No operation is reordered and none is contracted, so that square roots and the four operations give the bits of the
reference engine, for any number of threads and any chunks.
"""

import ctypes
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from minima.optim.program import Instruction, Operand, Program

__all__ = ["Kernel", "compile_kernel"]

# llvmlite has no types: taken by name, it is Any to a type checker.
ir: Any = import_module("llvmlite.ir")
llvm: Any = import_module("llvmlite.binding")

INT = ir.IntType(64)
BIT = ir.IntType(1)
VOID = ir.VoidType()
OBJECT_HEAD = object.__basicsize__
"""Where a NumPy array, as a C struct, keeps the address of its data: right behind what every Python object has."""

_TYPES: dict[str, Any] = {"float16": ir.HalfType(), "float32": ir.FloatType(), "float64": ir.DoubleType()}
_ARITHMETIC = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "=="}
_LOGIC = {"and": "and_", "or": "or_"}
_INTRINSICS = {"sqrt": "llvm.sqrt", "exp": "llvm.exp", "log": "llvm.log", "abs": "llvm.fabs", "pow": "llvm.pow"}
"""The operations by the names that LLVM has for them."""


@dataclass(frozen=True)
class Kernel:
    """Compiled machine code; the call releases the GIL."""

    call: Callable[..., None]
    """Takes the addresses of buffers, grads, rows, scalars and chunks; the first chunk to do, and where to stop."""
    keep: Any
    """What owns the code."""


@cache
def compile_kernel(program: Program, dtype: str, state: tuple[str, ...], compute: str) -> Kernel:
    """The machine code of a program for parameters and gradients of ``dtype`` and states of these, in ``compute``."""
    machine = _machine()
    module = llvm.parse_assembly(str(_Printer(program, dtype, state, compute).module))
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = True
    tuning.loop_interleaving = True
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 5, ctypes.c_int64, ctypes.c_int64)
    return Kernel(signature(engine.get_function_address("kernel")), engine)


@cache
def _machine() -> Any:
    """This machine, as LLVM knows it."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    features = llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=3, jit=True)


class _Printer:
    """Writes the two functions that a kernel consists of."""

    def __init__(self, program: Program, dtype: str, state: tuple[str, ...], compute: str) -> None:
        self.program = program
        self.number = _TYPES[compute]
        self.module: Any = ir.Module(program.name)
        self.stored = [_TYPES[dtype], _TYPES[dtype], *(_TYPES[kind] for kind in state)]
        """The types of ``param``, ``grad`` and the state in memory."""
        self._print_kernel(self._print_update())

    def _print_update(self) -> Any:
        pointers = [kind.as_pointer() for kind in self.stored]
        arguments = [INT, *pointers, *[self.number] * len(self.program.scalars)]
        function = ir.Function(self.module, ir.FunctionType(VOID, arguments), "update")
        function.linkage = "internal"
        count, *rest = function.args
        arrays, scalars = rest[: len(pointers)], rest[len(pointers) :]
        for array in arrays:  # no two arrays of a step overlap, unless the user made them so
            array.add_attribute("noalias")
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        with _loop(builder, ir.Constant(INT, 0), count, "i") as i:
            places = [builder.gep(array, [i]) for array in arrays]
            values = dict(zip(self.program.scalars, scalars, strict=True))
            for name, place in zip(self.program.inputs, places, strict=True):
                values[name] = self._widen(builder, builder.load(place, name=name))
            for line in self.program.body:
                values[line.target] = self._operation(builder, line, values)
            stored = [places[0], *places[2:]]
            for place, output in zip(stored, self.program.outputs, strict=True):
                builder.store(self._narrow(builder, self._value(output, values), place.type.pointee), place)
        builder.ret_void()
        return function

    def _print_kernel(self, update: Any) -> None:
        address = INT.as_pointer()
        arguments = [address, address, address, self.number.as_pointer(), address, INT, INT]
        function = ir.Function(self.module, ir.FunctionType(VOID, arguments), "kernel")
        buffers, grads, rows, scalars, chunks, first, last = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        width, wide = len(self.program.scalars), len(self.stored) - 1

        def item(array: Any, index: Any, offset: int = 0) -> Any:
            return builder.load(builder.gep(array, [builder.add(index, ir.Constant(INT, offset))]))

        def times(index: Any, factor: int) -> Any:
            return builder.mul(index, ir.Constant(INT, factor))

        with _loop(builder, first, last, "chunk") as chunk:
            tensor, start, count = (item(chunks, times(chunk, 3), place) for place in range(3))
            of_grad = builder.add(item(grads, tensor), ir.Constant(INT, OBJECT_HEAD))
            starts = [item(buffers, times(tensor, wide), place) for place in range(wide)]
            starts.insert(1, builder.load(builder.inttoptr(of_grad, address)))
            arrays = [
                builder.gep(builder.inttoptr(where, kind.as_pointer()), [start])
                for where, kind in zip(starts, self.stored, strict=True)
            ]
            row = times(item(rows, tensor), width)
            builder.call(update, [count, *arrays, *(item(scalars, row, place) for place in range(width))])
        builder.ret_void()

    def _operation(self, builder: Any, line: Instruction, values: dict[str, Any]) -> Any:
        name = line.operation
        operands = [self._value(operand, values) for operand in line.operands]
        if name in _LOGIC:
            return getattr(builder, _LOGIC[name])(*operands)
        if name == "not":
            return builder.not_(*operands)
        if name == "where":
            condition, x, y = operands
            return builder.select(condition, self._as_number(builder, x), self._as_number(builder, y))
        x, *others = (self._as_number(builder, operand) for operand in operands)
        if name in _ARITHMETIC:
            return getattr(builder, _ARITHMETIC[name])(x, *others)
        if name in _COMPARISONS:
            return builder.fcmp_ordered(_COMPARISONS[name], x, *others)
        if name in _INTRINSICS:
            return builder.call(self.module.declare_intrinsic(_INTRINSICS[name], [self.number]), [x, *others])
        zero, one, minus = (ir.Constant(self.number, value) for value in (0.0, 1.0, -1.0))
        if name == "neg":
            return builder.fneg(x)
        if name == "ne":
            return builder.fcmp_unordered("!=", x, *others)
        if name == "sign":  # of NaN, NaN
            still = builder.select(builder.fcmp_ordered("==", x, zero), zero, x)
            falling = builder.select(builder.fcmp_ordered("<", x, zero), minus, still)
            return builder.select(builder.fcmp_ordered(">", x, zero), one, falling)
        # maximum, minimum: NaN if one of both is
        (y,) = others
        wins = builder.fcmp_ordered({"maximum": ">=", "minimum": "<="}[name], x, y)
        return builder.select(builder.or_(wins, builder.fcmp_unordered("!=", x, x)), x, y)

    def _value(self, operand: Operand, values: dict[str, Any]) -> Any:
        return values[operand] if isinstance(operand, str) else ir.Constant(self.number, operand)

    def _as_number(self, builder: Any, value: Any) -> Any:
        return builder.uitofp(value, self.number) if value.type == BIT else value

    def _widen(self, builder: Any, value: Any) -> Any:
        return value if value.type == self.number else builder.fpext(value, self.number)

    def _narrow(self, builder: Any, value: Any, kind: Any) -> Any:
        value = self._as_number(builder, value)
        return value if kind == self.number else builder.fptrunc(value, kind)


@contextmanager
def _loop(builder: Any, start: Any, stop: Any, name: str) -> Generator[Any]:
    """Code that is repeated for an index from ``start`` up to ``stop``."""
    before, body, done = builder.block, builder.append_basic_block(name), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", start, stop), body, done)
    builder.position_at_end(body)
    index = builder.phi(INT, name)
    index.add_incoming(start, before)
    yield index
    following = builder.add(index, ir.Constant(INT, 1))
    index.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, stop), body, done)
    builder.position_at_end(done)
