"""The distribution function of the standard normal and the error function, which NumPy lacks."""

from math import factorial, pi, sqrt

import numpy as np
from numpy.polynomial.chebyshev import cheb2poly

from minima.autograd.primitive import Array, Namespace

__all__ = ["error_function", "normal"]

# The Chebyshev series of (1 + 2z) exp(z^2) erfc(z) in u = (z - 3) / (z + 3), for z >= 0: the smooth function of
# Shepherd and Laframboise, Chebyshev approximation of (1 + 2x) exp(x^2) erfc x, Mathematics of Computation, 1981.
# The coefficients were computed with 60 digits; a test sums the series against math.erfc.
_SERIES = (
    1.17756257419656, 0.005353904539615676, -0.09377550342284209, 0.05436652555744322,
    -0.018976596707845208, 0.004453426061462712, -0.0006335531710553147, 1.7661719523171593e-05,
    1.2841532864056671e-05, -2.0072285659059913e-06, -1.807522790414837e-07, 7.549828343825093e-08,
    1.885668523838603e-09, -2.699519049798364e-09, -1.460079119939105e-11, 1.0361607445969489e-10,
    1.475715976623473e-12, -4.277340064396911e-12, -2.07922492859799e-13, 1.8134502003176963e-13,
    1.973425574544739e-14, -7.287943737592673e-15, -1.5169878690228116e-15, 2.3514112258781403e-16,
    1.0006111691821667e-16,
)  # fmt: skip
# By powers of u, highest first; cut where the rest is below the rounding error.
_DOUBLE = [float(c) for c in cheb2poly(_SERIES)[::-1]]
_SINGLE = [float(c) for c in cheb2poly(_SERIES[:12])[::-1]]

# The Taylor series of erf(x) / x in x^2, highest power first; for |x| <= 1 the terms left out are below the rounding.
_TAYLOR = [2 / sqrt(pi) * (-1) ** n / (factorial(n) * (2 * n + 1)) for n in range(18)][::-1]


def normal(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """P(N(0, 1) <= x), to a few units in the last place in both tails, and the density of N(0, 1) at x.

    In the lower tail ``1 + erf`` would cancel.
    """
    z = xp.abs(x) * sqrt(0.5)
    u = 1 - 6 / (z + 3)
    powers = _DOUBLE if x.dtype == np.float64 else _SINGLE
    tail = u * powers[0] + powers[1]
    for coefficient in powers[2:]:
        tail *= u
        tail += coefficient
    falling = xp.exp(-z * z)
    z *= 4
    z += 2
    tail /= z
    tail *= falling
    # 1 - tail above 0, else tail: in NumPy a fifth of the time of where, whose branches nobody can foresee.
    cdf = xp.abs((x > 0) - tail)
    falling *= 1 / sqrt(2 * pi)
    return cdf, falling


def error_function(xp: Namespace, x: Array) -> Array:
    """``2 P(N(0, 1) <= sqrt(2) x) - 1``, by its Taylor series where that difference would cancel."""
    z = xp.abs(x)
    small = xp.minimum(z, 1)
    t = small * small
    series = xp.zeros_like(t)
    for coefficient in _TAYLOR if x.dtype == np.float64 else _TAYLOR[-11:]:
        series = series * t + coefficient
    return xp.where(z < 1, small * series, 1 - 2 * normal(xp, -sqrt(2) * z)[0]) * xp.sign(x)
