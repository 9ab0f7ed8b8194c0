"""LLVM, as far as the printer needs it: types, a loop, and this machine."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

__all__ = ["BIT", "FLOATS", "INT", "VOID", "binding", "integer", "ir", "loop", "machine"]

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
    start = integer(0) if start is None else start
    before, body, done = builder.block, builder.append_basic_block(name), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed("<", start, stop), body, done)
    builder.position_at_end(body)
    index = builder.phi(INT, name)
    index.add_incoming(start, before)
    yield index
    following = builder.add(index, integer(1))
    index.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, stop), body, done)
    builder.position_at_end(done)


@cache
def machine() -> Any:
    """This machine, as the target of a compilation."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    features = binding.get_host_cpu_features().flatten()
    return target.create_target_machine(cpu=binding.get_host_cpu_name(), features=features, opt=3, jit=True)
