"""Widening and narrowing of what is kept in fewer bits, in LLVM's language: what ``storage`` defines in NumPy."""

from typing import Any

from minima.optim.engines.cpu.elements import WORD, Elements
from minima.optim.engines.cpu.llvm import FLOATS, ir
from minima.optim.engines.storage import largest_code, power_unit

__all__ = [
    "CODES",
    "decode",
    "edge_code",
    "encode",
    "inverse",
    "narrow",
    "nearest",
    "noise",
    "noise_counter",
    "unit",
    "widen",
]

CODES: dict[str, Any] = {"bfloat16": ir.IntType(16), "int8": ir.IntType(8), "uint8": ir.IntType(8)}
"""The integers that hold a code."""


def _word(value: int) -> Any:
    return ir.Constant(WORD, value)


def noise_counter(builder: Any, index: Any, t: Any) -> tuple[Any, Any]:
    """What ``noise`` hashes, as a counter: its value for the element at ``index`` in step ``t``, and its step."""
    seed = builder.mul(builder.trunc(t, WORD), _word(0x85EBCA77))
    return builder.add(builder.mul(builder.trunc(index, WORD), _word(0x9E3779B1)), seed), _word(0x9E3779B1)


def noise(builder: Any, counter: Any, number: int) -> Any:
    """A random number below 2**16 for state ``number`` of an element."""
    x = builder.add(counter, _word((number // 2) * 0xC2B2AE3D & 0xFFFFFFFF))
    x = builder.mul(builder.xor(x, builder.lshr(x, _word(16))), _word(0x7FEB352D))
    x = builder.mul(builder.xor(x, builder.lshr(x, _word(15))), _word(0x846CA68B))
    x = builder.xor(x, builder.lshr(x, _word(16)))
    return builder.lshr(x, _word(16)) if number % 2 else builder.and_(x, _word(0xFFFF))


def widen(elements: Elements, kind: str, raw: Any) -> Any:
    """The number that is kept as ``kind``, in the precision of the loop."""
    builder = elements.builder
    if kind != "bfloat16":
        return raw if FLOATS[kind] == elements.number else builder.fpext(raw, elements.number)
    single = builder.bitcast(builder.shl(builder.zext(raw, WORD), _word(16)), FLOATS["float32"])
    return single if elements.number == FLOATS["float32"] else builder.fpext(single, elements.number)


def narrow(elements: Elements, kind: str, value: Any, chance: Any) -> Any:
    """A number as ``kind`` keeps it; ``chance`` gives the random number that stochastic kinds need."""
    builder = elements.builder
    if kind == "bfloat16":
        return _to_bfloat16(elements, value, chance())
    if kind == "bfloat16_nearest":
        return _to_bfloat16(elements, value, None)
    if kind == "float16_stochastic":
        return _to_float16(elements, value, chance())
    return value if FLOATS[kind] == elements.number else builder.fptrunc(value, FLOATS[kind])


def nearest(elements: Elements, kind: str, value: Any) -> Any:
    """A number as ``kind`` keeps it, rounded to the nearest, and read again."""
    return widen(elements, kind, narrow(elements, "bfloat16_nearest" if kind == "bfloat16" else kind, value, None))


def _to_bfloat16(elements: Elements, value: Any, noise: Any) -> Any:
    """16 bits of a number: the lower half of float32 is rounded up with the probability that it stands for."""
    builder = elements.builder
    return builder.trunc(builder.lshr(elements.bfloat16_bits(value, noise), _word(16)), CODES["bfloat16"])


def _to_float16(elements: Elements, value: Any, noise: Any) -> Any:
    """float16 of float32: what does not fit is rounded up with the probability that it stands for."""
    builder = elements.builder
    word = builder.add(builder.bitcast(value, WORD), builder.lshr(noise, _word(3)))  # 13 bits do not fit
    normal = builder.bitcast(builder.and_(word, _word(0xFFFFE000)), elements.number)
    size = elements.function("llvm.fabs", value)
    # Below its smallest normal number, float16 has a fixed point.
    chance = builder.fmul(builder.uitofp(noise, elements.number), elements.constant(2.0**-16))
    whole = builder.fadd(builder.fmul(size, elements.constant(2.0**24)), chance)
    fixed = builder.fmul(elements.function("llvm.floor", whole), elements.constant(2.0**-24))
    sign = builder.and_(builder.bitcast(value, WORD), _word(0x80000000))
    fixed = builder.bitcast(builder.or_(builder.bitcast(fixed, WORD), sign), elements.number)
    finite = builder.fcmp_ordered("<", size, elements.constant(float("inf")))
    kept = builder.select(finite, normal, value)
    kept = builder.select(builder.fcmp_ordered("<", size, elements.constant(2.0**-14)), fixed, kept)
    return builder.fptrunc(kept, FLOATS["float16"])


def decode(elements: Elements, kind: str, code: Any, unit: Any, edge: Any) -> Any:
    """The number behind a code of 8 bits.

    ``unit`` is the value of a power of 1; codes from ``edge`` up, which is a number, stand for infinity.
    """
    builder = elements.builder
    if kind == "int8":
        x = builder.sitofp(code, elements.number)
        size = elements.function("llvm.fabs", x)
        power = builder.fmul(x, size)
    else:
        x = size = builder.uitofp(code, elements.number)
        square = builder.fmul(x, x)
        power = builder.fmul(square, square)
    infinity = elements.constant(float("inf"))
    return builder.fmul(power, builder.select(builder.fcmp_ordered(">=", size, edge), infinity, unit))


def unit(elements: Elements, kind: str, scale: Any) -> tuple[Any, Any]:
    """For the scale of a block the value of a power of 1, and from which code on a code stands for infinity."""
    builder = elements.builder
    value = builder.fmul(elements.function("llvm.fabs", scale), elements.constant(power_unit(kind)))
    bits, top = ir.IntType(32 if elements.number == FLOATS["float32"] else 64), largest_code(kind)
    has_sign = builder.icmp_signed("<", builder.bitcast(scale, bits), ir.Constant(bits, 0))
    return value, builder.select(has_sign, elements.constant(top), elements.constant(top + 1.0))


def encode(elements: Elements, kind: str, value: Any, inverse: Any, most: Any, noise: Any) -> Any:
    """A code of 8 bits, up to ``most``, for a number of a block, whose scale has this inverse.

    What is not finite gets any code: `edge_code` is its own.
    """
    builder, zero = elements.builder, elements.constant(0.0)
    share = builder.fmul(elements.function("llvm.fabs", value), inverse)
    root = elements.function("llvm.sqrt", share)
    if kind == "uint8":
        root = elements.function("llvm.sqrt", root)
    # A finite number is below four times the scale; NaN and infinity must not become integers.
    root = builder.select(builder.fcmp_ordered("<", share, elements.constant(4.0)), root, zero)
    code = builder.fptosi(builder.fmul(root, elements.constant(largest_code(kind) * 2.0**16)), WORD)
    code = builder.lshr(builder.add(code, noise), _word(16))
    code = builder.select(builder.icmp_signed("<", code, most), code, most)
    if kind == "uint8":
        least = builder.zext(builder.fcmp_ordered(">", share, zero), WORD)
        code = builder.select(builder.icmp_signed(">", code, least), code, least)
    else:
        code = builder.select(builder.fcmp_ordered("<", value, zero), builder.neg(code), code)
    return builder.trunc(code, CODES[kind])


def edge_code(elements: Elements, kind: str, value: Any) -> Any:
    """The code of a number that is not finite."""
    builder, top = elements.builder, ir.Constant(CODES[kind], largest_code(kind))
    if kind == "uint8":
        return top
    return builder.select(builder.fcmp_ordered("<", value, elements.constant(0.0)), builder.neg(top), top)


def inverse(elements: Elements, scale: Any) -> Any:
    """1 / scale, or 0 for a block that is all zero, or as good as zero."""
    builder = elements.builder
    tiny = elements.constant(2.0**-126 if elements.number == FLOATS["float32"] else 2.0**-1022)
    whole = builder.fcmp_ordered(">=", scale, tiny)
    return builder.select(whole, builder.fdiv(elements.constant(1.0), scale), elements.constant(0.0))
