"""The elementary functions: exp, log, powers and cube roots, in operations that IEEE 754 rounds exactly.

Each is written once, for every kind of number that has Python's operators and the few functions of `Numbers`: floats
of Python, arrays of NumPy, and what compiled code computes with. So it has the same bits wherever it is computed, and
those of no library. There are no tables and no branches, so that compiled loops take several elements at once.

All compute in float64. Of float32 the result is rounded once more, and off by 0.5002 units in the last place at most;
in float64 a result is off by less than one (``tools/accuracy.py`` measures both). NaN, infinities and signed zeros are
as in annex F of the C standard.
"""

import math
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

__all__ = [
    "Definition",
    "Numbers",
    "cbrt",
    "exp",
    "log",
    "of_arrays",
    "of_floats",
    "power",
    "power_of_floats",
    "powers",
]


class Numbers(Protocol):
    """A kind of numbers in float64, but for their operators.

    Bits are integers without a sign, of 64 bits. Truths have ``&`` and ``|``.
    """

    is_single: bool
    """Whether arguments come from float32, and the result goes there."""

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        """The first where the condition holds, else the second."""
        ...

    def bits(self, x: Any) -> Any:
        """The bits of a number."""
        ...

    def number(self, bits: Any) -> Any:
        """The number that has these bits."""
        ...


Definition = Callable[..., Any]
"""Takes a kind of numbers, and one or two of them."""

_choose: Any = np.where  # which has types in part only
_FRACTION, _ONE, _SIGN = 2**52 - 1, 0x3FF << 52, 1 << 63
_ROOT = 0x3FE6A09E667F3BCD
"""The bits of sqrt(1/2)."""
_NORMAL = 2.0**-1022
_WHOLE = 1.5 * 2.0**52
"""Added to a number below 2**51 and subtracted again, it rounds to whole numbers; its sum ends in the whole number."""
_LN2 = math.log(2)
_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
"""The logarithm of 2 in two parts: the first has 32 bits, so that its product with an exponent is exact."""


# exp -----------------------------------------------------------------------------------------------------------------

_EXP = [1 / math.factorial(n) for n in range(2, 14)]
"""The series of (exp(r) - 1 - r) / r**2. What follows is below 2**-57 for r up to ln(2) / 2."""


def exp(on: Numbers, x: Any) -> Any:
    """The exponential function."""
    if not on.is_single:
        return _exp(on, x, 0.0)
    inside = on.where(x < -110.0, -110.0, x)  # beyond these float32 has nothing but 0 and infinity
    inside = on.where(inside > 90.0, 90.0, inside)
    k = _rounded(inside * (1 / _LN2))
    return _polynomial(inside - k * _LN2, [1.0, 1.0, *_EXP[:8]]) * _two_to(on, k)


def _exp(on: Numbers, x: Any, tail: Any) -> Any:
    """exp(x + tail), where the tail is below the last place of x."""
    inside = on.where(x < -746.0, -746.0, x)  # beyond these is nothing but 0 and infinity
    inside = on.where(inside > 710.0, 710.0, inside)
    k = _rounded(inside * (1 / _LN2))
    high, low = inside - k * _LN2_HIGH, on.where(inside == x, tail, 0.0) - k * _LN2_LOW
    r = high + low
    one = 1.0 + r
    rest = (r - (one - 1.0)) + ((low - (r - high)) + r * r * _polynomial(r, _EXP))
    # In two steps: 2**k itself may be no number, and a subnormal result is rounded once.
    half = _rounded(k * 0.5)
    return (one + rest) * _two_to(on, half) * _two_to(on, k - half)


def _rounded(x: Any) -> Any:
    """The whole number that is next."""
    return (x + _WHOLE) - _WHOLE


def _two_to(on: Numbers, k: Any) -> Any:
    """2**k, of a whole k that is an exponent of normal numbers."""
    return on.number(on.bits(k + (_WHOLE + 1023.0)) << 52)


def _polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """A polynomial, by Horner's rule."""
    *others, found = coefficients
    for coefficient in reversed(others):
        found = found * x + coefficient
    return found


# log -----------------------------------------------------------------------------------------------------------------

_LOG = [2 / n for n in range(5, 29, 2)]
"""The series of log((1 + s) / (1 - s)) behind 2 * s + 2 / 3 * s**3, in s**2. With s up to 0.172 what follows is below
2**-70 of it; behind the sixth of these, below 2**-44."""
_TWO_THIRDS, _TWO_THIRDS_LOW = 2 / 3, 2.0**-54 * (2 / 3)


def log(on: Numbers, x: Any) -> Any:
    """The natural logarithm."""
    k, m = _scaled(on, x)
    f = m - 1.0
    s = f / (m + 1.0)
    z = s * s
    if on.is_single:
        found = k * _LN2 + s * _polynomial(z, [2.0, _TWO_THIRDS, *_LOG[:6]])
    else:
        found = _log(k, f, s, z)
    found = on.where(x < math.inf, found, x)
    return on.where(x > 0.0, found, on.where(x == 0.0, -math.inf, math.nan))


def _log(k: Any, f: Any, s: Any, z: Any) -> Any:
    """k * log(2) + log(1 + f)."""
    # log(m) is 2 * s and more; in 2 * s = f - s * f the first term is exact, and 2 * s * f = f**2 - s * f**2.
    half = 0.5 * f * f
    more = s * (half + z * (_TWO_THIRDS + z * _polynomial(z, _LOG)))
    return k * _LN2_HIGH - ((half - (more + k * _LN2_LOW)) - f)


def _scaled(on: Numbers, x: Any) -> tuple[Any, Any]:
    """k and m with ``x = 2**k * m``, where m is from sqrt(1/2) to sqrt(2); of what is positive and finite."""
    is_small = x < _NORMAL
    bits = on.bits(on.where(is_small, x * 2.0**54, x)) + (_ONE - _ROOT)
    k = _as_number(on, bits >> 52) - on.where(is_small, 1023.0 + 54.0, 1023.0)
    return k, on.number((bits & _FRACTION) + _ROOT)


def _as_number(on: Numbers, bits: Any) -> Any:
    """An integer below 2**52 as a number: the fraction of 2**52 + it."""
    return on.number(bits | 1023 + 52 << 52) - 2.0**52


# Powers --------------------------------------------------------------------------------------------------------------


def power(on: Numbers, x: Any, y: Any) -> Any:
    """``x**y``, as ``exp(y * log(x))``."""
    size, many = abs(x), abs(y)
    far = on.where(many > 2.0**70, 2.0**70, many)  # far enough for all but 1, and its products are finite
    times = on.where(y < 0.0, -far, far)
    if on.is_single:
        found = exp(on, times * log(on, size))
    else:
        found = _exp(on, *_product(times, _log_in_two(on, size)))
    is_zero = size == 0.0
    found = on.where(is_zero | (size == math.inf), on.where(is_zero == (y < 0.0), math.inf, 0.0), found)
    # Above 2**52 all numbers are whole, above 2**53 even.
    half = many * 0.5
    is_whole = (many >= 2.0**52) | ((many + 2.0**52) - 2.0**52 == many)
    is_odd = is_whole & (half < 2.0**52) & ((half + 2.0**52) - 2.0**52 != half)
    found = on.where((on.bits(x) >= _SIGN) & is_odd, -found, found)
    found = on.where((x < 0.0) & (x > -math.inf), on.where(is_whole, found, math.nan), found)
    found = on.where((x != x) | (y != y), math.nan, found)
    return on.where((x == 1.0) | (y == 0.0), 1.0, found)


def _log_in_two(on: Numbers, x: Any) -> tuple[Any, Any]:
    """The logarithm as the sum of two numbers, exact to some 65 bits: y may make 10 bits of error of one.

    With s = f / d and z = s**2 it is k * log(2) + 2 * s + s * z * q. Each of these is a head of 26 bits and a tail
    (Dekker): the product of two heads is exact, and the others are so small that they may be rounded.
    """
    k, m = _scaled(on, x)
    f, d = m - 1.0, m + 1.0
    d_head, inverse = _head(d), 1.0 / d
    s_head = _head(f * inverse)
    s_tail = ((f - s_head * d_head) - s_head * ((d - d_head) + (m - (d - 1.0)))) * inverse
    s = s_head + s_tail
    square = s_head * s_head
    z_head, z_rest = _head(square), s_tail * (s_head + s)
    z_tail, z = (square - z_head) + z_rest, square + z_rest
    later = z * _polynomial(z, _LOG)
    q = _TWO_THIRDS + later
    q_head = _head(q)
    q_tail = ((_TWO_THIRDS - q_head) + later) + _TWO_THIRDS_LOW
    third = z_head * q_head
    t_head = _head(third)
    t_tail = (third - t_head) + (z_head * q_tail + z_tail * q)
    first, second = 2.0 * s_head, s_head * t_head
    high = first + second
    low = (second - (high - first)) + (2.0 * s_tail + (s_head * t_tail + s_tail * (t_head + t_tail)))
    exponent = k * _LN2_HIGH
    found = exponent + high
    return found, (high - (found - exponent)) + (low + k * _LN2_LOW)


def _product(y: Any, log: tuple[Any, Any]) -> tuple[Any, Any]:
    """``y * log``, both in two parts."""
    whole = log[0] + log[1]
    y_head, head = _head(y), _head(whole)
    first = y_head * head
    second = y_head * ((log[0] - head) + log[1]) + (y - y_head) * whole
    high = first + second
    return high, second - (high - first)


def _head(x: Any) -> Any:
    """The first 26 bits of a number, by Veltkamp's splitting."""
    far = x * (2.0**27 + 1.0)
    return far - (far - x)


def power_of_floats(x: float, y: float, *, power: Callable[[float, float], float] | None = None) -> float:
    """``x**y`` of plain numbers: by repeated squaring for whole exponents above 0.

    The relative error of these is below ``y * 2**-53``. ``power`` is what finds the others, if it is not the one here.
    """
    if 0.0 < y <= 2.0**31:
        whole = int(y)
        if whole == y and x:
            return powers(x, whole >> 6)[whole & 63]
    if y == 0.0:
        return 1.0
    return (power or _power)(x, y)


@lru_cache(64)
def powers(x: float, begin: int) -> tuple[float, ...]:
    """64 powers of ``x``, which is not 0, the first by ``64 * begin``.

    They are found by squaring repeatedly, from the first digit of an exponent on; and kept, since many rules ask for
    ``beta**t`` in every step. Of zeros there are two, which are equal.
    """
    x = float(x)
    found = x
    for digit in bin(begin)[3:]:  # behind the first, which stands behind 0b
        found = found * found * x if digit == "1" else found * found
    made = [found if begin else 1.0]
    for _ in range(6):
        squares = [each * each for each in made]
        made = [more for square in squares for more in (square, square * x)]
    return tuple(made)


# Cube roots ----------------------------------------------------------------------------------------------------------

_CBRT = [
    0.47514693623890253,
    0.8317431442479309,
    -0.4602977267696209,
    0.19665479701360078,
    -0.04831832068166114,
    0.005072953325277491,
]
"""The cube root from 1 to 2, as the polynomial that meets it at six points of Chebyshev: within 2**-19."""
_CBRT_2, _CBRT_HALF = 1.2599210498948732, 0.7937005259840998


_CBRT_FIRST = 1430186361.0
"""Less a third of the upper half of a number's bits, it is about the upper half of those of 1 by its cube root."""
_CBRT_NEXT = (1.5584014437945388, -0.7821149457622478, 0.22371158682784986)
"""``u**(-1/3)`` for u from 0.898 to 1.103: the parabola of least squares, within 2**-14."""


def cbrt(on: Numbers, x: Any) -> Any:
    """The cube root."""
    size = abs(x)
    if on.is_single:
        return on.number(on.bits(_cbrt_of_single(on, size)) | on.bits(x) & _SIGN)
    is_small = size < _NORMAL
    bits = on.bits(on.where(is_small, size * 2.0**54, size))
    exponent, m = _as_number(on, bits >> 52) - 1023.0, on.number(bits & _FRACTION | _ONE)
    k = _rounded(exponent * (1 / 3))
    left = exponent - 3.0 * k  # -1, 0 or 1
    near = _polynomial(m, _CBRT) * on.where(left == 0.0, 1.0, on.where(left > 0.0, _CBRT_2, _CBRT_HALF))
    root = (near + 1.5 * 2.0**36) - 1.5 * 2.0**36  # 17 bits, so that its cube is exact
    cube = root * root * root
    off = (m * on.where(left == 0.0, 1.0, on.where(left > 0.0, 2.0, 0.5)) - cube) / cube
    found = root + root * (off * (1 / 3 - off * (1 / 9 - off * (5 / 81))))  # root * (1 + off)**(1/3)
    found = found * _two_to(on, k - on.where(is_small, 18.0, 0.0))
    found = on.number(on.bits(found) | on.bits(x) & _SIGN)
    return on.where((size > 0.0) & (size < math.inf), found, x)


def _cbrt_of_single(on: Numbers, x: Any) -> Any:
    """The cube root of what comes from float32 and is not below 0; 0, infinity and NaN take care of themselves.

    With y near to ``x**(-1/3)`` and ``u = x * y**3``, the root is ``x * y**2 * u**(-2/3)``, and of u near to 1 the
    power is a short series. So it takes no division.
    """
    high = _as_number(on, on.bits(x) >> 32)
    y = on.number(on.bits((_CBRT_FIRST + 2.0**52) - high * (1 / 3)) << 32)
    y = y * _polynomial(x * y * y * y, _CBRT_NEXT)
    near = x * y * y
    return near * _polynomial(near * y, (20 / 9, -16 / 9, 5 / 9))


# Kinds of numbers ----------------------------------------------------------------------------------------------------


class _Floats:
    """Python's own, several times faster than single numbers of NumPy."""

    is_single = False
    _pack, _unpack = struct.Struct("<d"), struct.Struct("<Q")

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        return x if condition else y

    def bits(self, x: Any) -> Any:
        return self._unpack.unpack(self._pack.pack(x))[0]

    def number(self, bits: Any) -> Any:
        return self._pack.unpack(self._unpack.pack(bits & 2**64 - 1))[0]


class _Arrays:
    """Arrays of NumPy in float64."""

    def __init__(self, is_single: bool) -> None:
        self.is_single = is_single

    def where(self, condition: Any, x: Any, y: Any) -> Any:
        return _choose(condition, x, y)

    def bits(self, x: Any) -> Any:
        return x.view(np.uint64)

    def number(self, bits: Any) -> Any:
        return bits.view(np.float64)


_FLOATS = _Floats()
_SINGLE, _DOUBLE = _Arrays(True), _Arrays(False)


def of_floats(definition: Definition) -> Callable[..., float]:
    """A function as it is defined, of plain numbers."""
    return lambda *args: definition(_FLOATS, *map(float, args))


_power = of_floats(power)


def of_arrays(definition: Definition) -> Callable[..., Any]:
    """A function as it is defined, of arrays and numbers of NumPy: in the dtype that an operation on them has."""

    def function(*args: Any) -> Any:
        dtype: np.dtype[Any] = np.result_type(*args)
        dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
        given = (np.asarray(x).astype(dtype, casting="same_kind") for x in args)  # complex numbers are refused
        with np.errstate(all="ignore"):  # infinity and NaN are for the user to see in the result
            wide = [x.astype(np.float64) for x in given]
            found = definition(_SINGLE if dtype.itemsize < 8 else _DOUBLE, *wide).astype(dtype)
        return found[()]

    return function
