"""LLVM, as far as printers need it: types, a loop, and the way to machine code."""

import ctypes
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from minima.optim.engines.cpu.once import LOCK

__all__ = [
    "BIT",
    "FLOATS",
    "INT",
    "VOID",
    "Code",
    "binding",
    "compiled",
    "counting_loop",
    "integer",
    "ir",
    "item",
    "least",
    "loop",
    "optimised",
    "pause",
    "prefetch",
    "shares",
    "when",
]

# llvmlite has no types: taken by name, it is Any to a type checker.
ir: Any = import_module("llvmlite.ir")
binding: Any = import_module("llvmlite.binding")

INT = ir.IntType(64)
BIT = ir.IntType(1)
VOID = ir.VoidType()
FLOATS: dict[str, Any] = {"float16": ir.HalfType(), "float32": ir.FloatType(), "float64": ir.DoubleType()}
_SIZES = {FLOATS["float16"]: 2, FLOATS["float32"]: 4, FLOATS["float64"]: 8}
_LINE = 64
"""Bytes in a line of the cache."""


def integer(value: int, kind: Any = INT) -> Any:
    """A literal."""
    return ir.Constant(kind, value)


@contextmanager
def loop(builder: Any, stop: Any, name: str, start: Any = None, step: Any = None) -> Generator[Any]:
    """Code that is repeated for an index from ``start``, or 0, up to ``stop``, by ``step``, or 1."""
    with counting_loop(builder, stop, name, start, step=step) as (index, _):
        yield index


@contextmanager
def counting_loop(
    builder: Any,
    stop: Any,
    name: str,
    start: Any = None,
    counter: tuple[Any, Any] | None = None,
    step: Any = None,
    width: int = 0,
) -> Generator[tuple[Any, Any]]:
    """A loop with a second counter, given as its first value and its step: cheaper than computing it from the index.

    ``width`` says how many turns are to be done at once, where LLVM would go by the widest number that it finds.
    """
    start = integer(0) if start is None else start
    before, body, done = builder.block, builder.append_basic_block(name), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", start, stop), body, done)
    builder.position_at_end(body)
    counters = [(builder.phi(INT, name), start, integer(1) if step is None else step)]
    if counter is not None:
        counters.append((builder.phi(counter[0].type), *counter))
    for phi, first, _ in counters:
        phi.add_incoming(first, before)
    yield counters[0][0], counters[-1][0]
    following = [(phi, builder.add(phi, step)) for phi, _, step in counters]
    for phi, value in following:
        phi.add_incoming(value, builder.block)
    branch = builder.cbranch(builder.icmp_signed("<", following[0][1], stop), body, done)
    if width:
        branch.set_metadata("llvm.loop", _hint(builder.module, width))
    builder.position_at_end(done)


def _hint(module: Any, width: int) -> Any:
    """Metadata of a loop: a node that begins with itself."""
    word = ir.IntType(32)
    wish = module.add_metadata([ir.MetaDataString(module, "llvm.loop.vectorize.width"), integer(width, word)])
    single = module.add_metadata([ir.MetaDataString(module, "llvm.loop.interleave.count"), integer(1, word)])
    # Unrolled before it is vectorised, a short loop of few operations would end in single ones.
    whole = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    node = ir.MDValue(module, [wish], name=str(len(module.metadata)))
    node.operands = (node, wish, single, whole)
    return node


@contextmanager
def when(builder: Any, condition: Any, name: str) -> Generator[Any]:
    """Code that is run where a condition holds; gives the block behind it."""
    then, behind = builder.append_basic_block(name), builder.append_basic_block(f"{name}_behind")
    builder.cbranch(condition, then, behind)
    builder.position_at_end(then)
    yield behind
    if not builder.block.is_terminated:
        builder.branch(behind)
    builder.position_at_end(behind)


def prefetch(builder: Any, array: Any, first: Any, count: int, ahead: int) -> None:
    """Ask memory for what stands so many bytes behind some entries of an array."""
    word, byte = ir.IntType(32), ir.IntType(8)
    kind = array.type.pointee
    size = count * (kind.width // 8 if isinstance(kind, ir.IntType) else _SIZES[kind])
    place = builder.gep(builder.bitcast(builder.gep(array, [first]), byte.as_pointer()), [integer(ahead)])
    name, arguments = "llvm.prefetch.p0", [integer(0, word), integer(3, word), integer(1, word)]
    known = builder.module.globals.get(name)
    if known is None:
        signature = ir.FunctionType(VOID, [byte.as_pointer(), word, word, word])
        known = ir.Function(builder.module, signature, name)
    for line in range(0, size, _LINE):
        builder.call(known, [builder.gep(place, [integer(line)]), *arguments])


def pause(builder: Any) -> None:
    """Tell the processor that this is a loop that waits for another thread."""
    names: dict[str, tuple[str, list[Any]]] = {
        "x86_64": ("llvm.x86.sse2.pause", []),
        "aarch64": ("llvm.aarch64.isb", [integer(15, ir.IntType(32))]),
        "arm64": ("llvm.aarch64.isb", [integer(15, ir.IntType(32))]),
    }
    name, arguments = names.get(binding.get_default_triple().partition("-")[0], ("", []))
    if name:
        kind = ir.FunctionType(VOID, [argument.type for argument in arguments])
        known = builder.module.globals.get(name)
        builder.call(ir.Function(builder.module, kind, name) if known is None else known, arguments)


def shares(builder: Any, many: Any, size: int) -> Any:
    """How many shares of a size there are, the last of which may be smaller."""
    return builder.udiv(builder.add(many, integer(size - 1)), integer(size))


def least(builder: Any, x: Any, y: Any) -> Any:
    """The smaller one of two integers."""
    return builder.select(builder.icmp_signed("<", x, y), x, y)


def item(builder: Any, array: Any, index: Any, offset: int = 0) -> Any:
    """An entry of an array."""
    return builder.load(builder.gep(array, [builder.add(index, integer(offset)) if offset else index]))


@dataclass(frozen=True)
class Code:
    """Machine code: where it is, and a Python function of integers that calls it."""

    address: int
    call: Callable[..., Any]
    between: int = 0
    """Where the function ``between`` of the same module is, if it has one."""


def compiled(
    source: str, name: str, result: Any = None, arguments: int = 1, *, lets_go: bool = True, effort: int = 3
) -> Code:
    """A function of a module, compiled for ever; a call releases the GIL, unless the code needs it.

    With an ``effort`` of 0 it is compiled as it stands, in a tenth of the time: for what hardly takes any.
    """
    with LOCK:
        module = optimised(source) if effort else binding.parse_assembly(source)
        engine = binding.create_mcjit_compiler(module, _machine(effort))
        engine.finalize_object()
        address, between = engine.get_function_address(name), engine.get_function_address("between")
    # Threads may be in it while the interpreter ends, and disposes of all objects.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
    prototype = ctypes.CFUNCTYPE if lets_go else ctypes.PYFUNCTYPE
    return Code(address, prototype(result, *[ctypes.c_int64] * arguments)(address), between)


def optimised(source: str, machine: Any = None) -> Any:
    """A module with everything done to it that makes it fast: here its loops vectorised, or for another machine."""
    with LOCK:
        module = binding.parse_assembly(source)
        tuning = binding.create_pipeline_tuning_options(speed_level=3)
        tuning.loop_vectorization = tuning.loop_interleaving = machine is None
        passes = binding.create_pass_builder(_machine() if machine is None else machine, tuning)
        passes.getModulePassManager().run(module, passes)
        return module


def _machine(effort: int = 3) -> Any:
    """This machine, as the target of one compilation, which takes possession of it."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    features = binding.get_host_cpu_features().flatten()
    return target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=effort, jit=True)
