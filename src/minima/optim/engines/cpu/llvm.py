"""LLVM, as far as printers need it: types, a loop, and the way to machine code."""

import ctypes
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

__all__ = [
    "BIT",
    "FLOATS",
    "INT",
    "VOID",
    "Code",
    "compiled",
    "counting_loop",
    "integer",
    "ir",
    "loop",
    "optimised",
    "turns",
]

# llvmlite has no types: taken by name, it is Any to a type checker.
ir: Any = import_module("llvmlite.ir")
binding: Any = import_module("llvmlite.binding")

INT = ir.IntType(64)
BIT = ir.IntType(1)
VOID = ir.VoidType()
FLOATS: dict[str, Any] = {"float16": ir.HalfType(), "float32": ir.FloatType(), "float64": ir.DoubleType()}


def integer(value: int, kind: Any = INT) -> Any:
    """A literal."""
    return ir.Constant(kind, value)


@contextmanager
def loop(builder: Any, stop: Any, name: str, start: Any = None) -> Generator[Any]:
    """Code that is repeated for an index from ``start``, or 0, up to ``stop``."""
    with counting_loop(builder, stop, name, start) as (index, _):
        yield index


@contextmanager
def counting_loop(
    builder: Any, stop: Any, name: str, start: Any = None, counter: tuple[Any, Any] | None = None
) -> Generator[tuple[Any, Any]]:
    """A loop with a second counter, given as its first value and its step: cheaper than computing it from the index."""
    start = integer(0) if start is None else start
    before, body, done = builder.block, builder.append_basic_block(name), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", start, stop), body, done)
    builder.position_at_end(body)
    counters = [(builder.phi(INT, name), start, integer(1))]
    if counter is not None:
        first, step = counter
        counters.append((builder.phi(first.type), first, step))
    for phi, first, _ in counters:
        phi.add_incoming(first, before)
    yield counters[0][0], counters[-1][0]
    following = [(phi, builder.add(phi, step)) for phi, _, step in counters]
    for phi, value in following:
        phi.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_signed("<", following[0][1], stop), body, done)
    builder.position_at_end(done)


@contextmanager
def turns(builder: Any, done: Any, many: Any, grain: Any) -> Generator[Any]:
    """Code that is run for each of ``many`` pieces, by whichever thread takes it: ``grain`` pieces at a time.

    ``done`` points to how many have been taken; it is moved in one go, so that no two threads get the same pieces.
    """
    claim, work, end = (builder.append_basic_block(name) for name in ("claim", "work", "end"))
    builder.branch(claim)
    builder.position_at_end(claim)
    first = builder.atomic_rmw("add", done, grain, "monotonic")
    builder.cbranch(builder.icmp_signed("<", first, many), work, end)
    builder.position_at_end(work)
    last = builder.add(first, grain)
    last = builder.select(builder.icmp_signed("<", last, many), last, many)
    with loop(builder, last, "piece", first) as piece:
        yield piece
    builder.branch(claim)
    builder.position_at_end(end)


@dataclass(frozen=True)
class Code:
    """Machine code, as a Python function of integers; a call lets other threads run."""

    call: Callable[..., Any]
    keep: Any
    """What owns the code: without it there is nothing to call."""


def compiled(source: str, name: str, result: Any, arguments: int, *, lets_go: bool = True) -> Code:
    """A function of a module, compiled; while it runs, it lets go of the interpreter unless it needs it itself."""
    engine = binding.create_mcjit_compiler(optimised(source), _machine())
    engine.finalize_object()
    prototype = ctypes.CFUNCTYPE if lets_go else ctypes.PYFUNCTYPE
    signature = prototype(result, *[ctypes.c_int64] * arguments)
    return Code(signature(engine.get_function_address(name)), engine)


def optimised(source: str) -> Any:
    """A module with everything done to it that makes it fast, its loops vectorised."""
    module = binding.parse_assembly(source)
    tuning = binding.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = True
    tuning.loop_interleaving = True
    passes = binding.create_pass_builder(_machine(), tuning)
    passes.getModulePassManager().run(module, passes)
    return module


@cache
def _machine() -> Any:
    """This machine, as the target of a compilation."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    features = binding.get_host_cpu_features().flatten()
    return target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=3, jit=True)
