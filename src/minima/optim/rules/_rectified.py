"""Rectification: what RAdam multiplies a step with and divides it by, for whatever average of squares it may be."""

from typing import Any

from minima.optim.language.vocabulary import sqrt, where

__all__ = ["rectified"]


def rectified(root: Any, beta2: Any, threshold: Any, early: int, t: Any) -> tuple[Any, Any]:
    """The factor of a step and what it is divided by: ``root`` once that is to be trusted, before 1, with the factor
    ``early``, 0 or 1."""
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
    # A rho or rho_inf of at most 4 would make the root one of a negative number, or the divisor 0.
    over = where(rho > threshold, (rho - 4) * (rho - 2) * rho_inf, early)
    under = where(rho > threshold, (rho_inf - 4) * (rho_inf - 2) * rho, 1)
    rect = sqrt(over / under)
    size = where(rho > threshold, root, 1)
    return rect, size
