"""The checks of arguments that several parts share; each raises the sentence that names who was called."""

import math
import operator
from collections.abc import Callable
from typing import Any

from minima.errors import sentence

__all__ = ["checked", "dropped", "flag", "integer", "number", "one_of", "or_none", "positive"]


def flag(who: str, name: str, value: Any) -> bool:
    """``value``, which is True or False."""
    if value is not True and value is not False:
        raise TypeError(sentence(who, f"{name} must be True or False", got=value))
    return value


def dropped(who: str, set_to_none: Any) -> None:
    """``set_to_none``, an argument that PyTorch's users write, must be True: gradients are not filled with zeros."""
    if set_to_none is not True:
        raise TypeError(sentence(who, "set_to_none must be True", got=set_to_none, hint="gradients become None"))


def integer(who: str, name: str, value: Any, low: int | None = 0, high: int | None = None) -> int:
    """``value`` as an ``int`` with ``low <= value < high``."""
    if low is None:
        rule = f"{name} must be an integer"
    elif high is None:
        rule = f"{name} must be an integer of at least {low}"
    else:
        rule = f"{name} must be an integer in [{low}, {high})"
    if isinstance(value, bool):
        raise TypeError(sentence(who, rule, got=value))
    try:
        whole = operator.index(value)
    except TypeError:
        raise TypeError(sentence(who, rule, got=value)) from None
    if (low is not None and whole < low) or (high is not None and whole >= high):
        raise ValueError(sentence(who, rule, got=value))
    return whole


def number(who: str, name: str, value: Any, low: float = 0.0, high: float = math.inf) -> float:
    """``value`` as a ``float`` with ``low <= value <= high``, finite."""
    bounds = f" of at least {low:g}" if high == math.inf else f" in [{low:g}, {high:g}]"
    rule = f"{name} must be " + ("a finite number" if low == -high == -math.inf else f"a number{bounds}")
    try:
        if isinstance(value, bool | str | bytes):  # float() would read them
            raise TypeError
        real = float(value)
    except (TypeError, ValueError):
        raise TypeError(sentence(who, rule, got=value)) from None
    except OverflowError:  # an integer beyond all floats
        real = math.inf
    if not (math.isfinite(real) and low <= real <= high):
        raise ValueError(sentence(who, rule, got=value))
    return real


def positive(who: str, name: str, value: Any) -> float:
    """``value`` as a ``float`` above 0, finite."""
    real = number(who, name, value)
    if real == 0:
        raise ValueError(sentence(who, f"{name} must be positive", got=value))
    return real


def one_of(who: str, name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    """``value``, which is one of ``allowed``."""
    if not isinstance(value, str) or value not in allowed:  # an array would compare element by element
        raise ValueError(sentence(who, f"{name} must be one of {', '.join(map(repr, allowed))}", got=value))
    return value


class _Checked:
    """It has no ``__get__``, so that the attribute is read from the object as fast as any other."""

    def __init__(self, check: Callable[[str, str, Any], Any]) -> None:
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __set__(self, each: Any, value: Any) -> None:
        vars(each)[self._name] = self._check(type(each).__name__, self._name, value)


def checked(check: Callable[[str, str, Any], Any]) -> Any:
    """Declares an attribute that is checked whenever it is assigned, in the middle of a run too.

    Args:
        check: One of the functions here, with its bounds: takes who complains, the name, and the value.
    """
    return _Checked(check)


def or_none(check: Callable[[str, str, Any], Any]) -> Callable[[str, str, Any], Any]:
    """The same check, which lets None pass."""
    return lambda who, name, value: None if value is None else check(who, name, value)
