"""Elementary functions of single numbers, compiled: what the host part of a program asks for in every step."""

import ctypes
from collections.abc import Callable
from functools import lru_cache, partial

from minima.optim.engines.cpu.elements import Elements
from minima.optim.engines.cpu.llvm import FLOATS, compiled, ir
from minima.optim.engines.cpu.once import once
from minima.optim.language.elementary import power_of_floats
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.program import Program

__all__ = ["functions_of"]

_DOUBLE = FLOATS["float64"]


@once
def functions_of(program: Program) -> tuple[tuple[str, Callable[..., float]], ...]:
    """What computes the elementary operations of a program's host part, with the bits of their definitions."""
    # A power of t is found by squaring, and asks for nothing here.
    asked = {line.operation: len(line.operands) for line in program.host if line.operands[1:] != ("t",)}
    found = {name: _compiled(name, many) for name, many in asked.items() if OPERATIONS[name].definition is not None}
    if "pow" in found:
        found["pow"] = _kept(partial(power_of_floats, power=found["pow"]))
    return tuple(found.items())


def _kept(power: Callable[[float, float], float]) -> Callable[[float, float], float]:
    """A power that is kept: what one step asks for ``t + 1``, the next one asks for ``t``.

    Zeros of both signs are one key, and have powers of their own: these are not kept.
    """
    kept = lru_cache(8)(power)
    return lambda x, y: kept(x, y) if x else power(x, y)


@once
def _compiled(name: str, arguments: int) -> Callable[..., float]:
    """An operation on numbers in float64, in a tenth of the time that Python's operators take."""
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(_DOUBLE, [_DOUBLE] * arguments), "function")
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(Elements(builder, _DOUBLE).operation(name, function.args))
    address = compiled(str(module), "function").address
    return partial(ctypes.PYFUNCTYPE(ctypes.c_double, *[ctypes.c_double] * arguments)(address))  # which has a hash
