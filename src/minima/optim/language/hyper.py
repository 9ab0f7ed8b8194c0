"""Hyperparameters: one declaration gives the default, the range, the check and the words of the complaint."""

import math
import numbers
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast, overload

import numpy as np

from minima.errors import sentence

__all__ = ["Choice", "Common", "Hyper", "hyper"]


@dataclass(eq=False)
class Hyper:
    """A declared hyperparameter: its default, its range, and the check that belongs to them.

    As a class attribute it is the declaration (``Adam.beta1.range`` is ``'[0, 1)'``); as an attribute of an optimizer
    it is the current value. Assignments are checked; a function of the step is allowed too.
    """

    default: float | bool | str | None
    low: float = -math.inf
    low_open: bool = True
    high: float = math.inf
    high_open: bool = True
    kw_only: bool = False
    switch: bool = False
    whole: bool = False
    """Whether only whole numbers are allowed."""
    choices: tuple[Any, ...] = ()
    """The values allowed, where there are a few, each of which is a variant of the rule."""
    doubted: str = ""
    """Names of matrices for which the default may not be meant, as a regular expression: who has said nothing is warned
    of them."""
    name: str = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def is_flag(self) -> bool:
        """Whether the value is True or False, and so chooses among the variants of a rule."""
        return isinstance(self.default, bool)

    @property
    def range(self) -> str:
        """The allowed values, as text: ``[0, 1)``, ``True or False``."""
        if self.is_flag:
            return "True or False"
        if self.choices:
            first, *_, last = self.choices
            if isinstance(first, int):
                return f"a whole number from {first} to {last}"
            return f"{', '.join(map(repr, self.choices[:-1]))} or {last!r}"
        numbers = f"a whole number in {self.interval}" if self.whole else self.interval
        return f"None or {numbers}" if self.default is None else numbers

    @property
    def interval(self) -> str:
        """The allowed numbers: ``[0, 1)``."""
        return f"{'(' if self.low_open else '['}{self.low:g}, {self.high:g}{')' if self.high_open else ']'}"

    def check(self, who: str, value: Any) -> Any:
        """The value as the engine wants it; a TypeError or ValueError in one sentence where it is not allowed.

        A function of the step is asked for its value at step 0, and handed back.
        """
        if self.is_flag:
            if type(value) in (bool, np.bool):
                return bool(value)
            raise TypeError(sentence(who, f"{self.name} must be True or False", got=value))
        if self.choices:
            return self._chosen(who, value)
        if value is None and self.default is None:
            return None
        if isinstance(value, type):
            none = "None, " if self.default is None else ""
            rule = f"{self.name} must be {none}a number in {self.interval}, or a function of the step"
            raise TypeError(sentence(who, rule, got=value, hint="call the class, as in cosine(0.1, steps=1000)"))
        if callable(value):
            self.at(who, value, 0)
            return value
        return self._number(who, value, "None or " if self.default is None else "")

    def at(self, who: str, value: Any, step: int) -> Any:
        """Today's value: what a function gives for ``step``, checked; any other value as it is."""
        if not callable(value):
            return value
        result: Any = value(step)
        if getattr(result, "shape", None) == ():  # functions that compute with arrays give such
            result = result.item()
        return self._number(f"{who}, at step {step}", result)

    def _number(self, who: str, value: Any, none: str = "") -> float:
        """A number, checked; ``none`` is what else the complaint says to be allowed."""
        kind, words = (numbers.Integral, "a whole number") if self.whole else (numbers.Real, "a number")
        if isinstance(value, bool) or not isinstance(value, kind):
            raise TypeError(sentence(who, f"{self.name} must be {none}{words} in {self.interval}", got=value))
        try:
            number = float(value)
        except OverflowError:  # an integer beyond all floats
            number = math.inf  # of either sign: no bound admits it
        if not self.allows(number):
            place = f"be {none}lie in" if none else "lie in"
            raise ValueError(sentence(who, f"{self.name} must {place} {self.interval}", got=number))
        return int(cast(Any, value)) if self.whole else number

    def _chosen(self, who: str, value: Any) -> Any:
        number = not isinstance(value, bool) and isinstance(value, numbers.Real)
        for one in self.choices:
            if value == one if number and isinstance(one, int) else type(value) is type(one) and value == one:
                return one
        error = ValueError if number or isinstance(value, str) else TypeError
        raise error(sentence(who, f"{self.name} must be {self.range}", got=value))

    def allows(self, number: float) -> bool:
        """Whether a number lies in the range."""
        above = number > self.low if self.low_open else number >= self.low
        below = number < self.high if self.high_open else number <= self.high
        return above and below  # of NaN neither holds

    @overload
    def __get__(self, optimizer: None, owner: type) -> "Hyper": ...
    @overload
    def __get__(self, optimizer: Any, owner: type) -> float: ...
    def __get__(self, optimizer: Any, owner: type) -> Any:
        return self if optimizer is None else self.at(owner.__name__, optimizer.defaults[self.name], optimizer.t)

    def __set__(self, optimizer: Any, value: float | Callable[[int], float]) -> None:
        who = type(optimizer).__name__
        if "defaults" not in vars(optimizer):
            rule = f"{self.name} is a hyperparameter, and there once the constructor was called"
            raise AttributeError(sentence(who, rule, hint="call super().__init__ first"))
        optimizer.defaults[self.name] = self.check(who, value)


@dataclass
class Choice:
    """What every group has besides hyperparameters: one of a few values, which the rule itself never sees."""

    name: str
    default: Any
    allowed: tuple[Any, ...]
    reason: str = ""
    """Why there are no others, where there could be."""

    def check(self, who: str, value: Any) -> Any:
        """The value, if it is allowed; else a TypeError or ValueError in one sentence."""
        if isinstance(value, np.bool):
            value = bool(cast(Any, value))
        if not any(type(value) is type(one) and value == one for one in self.allowed):
            error = ValueError if isinstance(value, type(self.default)) else TypeError
            one_of = "one of " if len(self.allowed) > 1 else ""
            rule = f"{self.name} must be {one_of}{', '.join(map(repr, self.allowed))}"
            raise error(sentence(who, rule, got=value, hint=self.reason))
        return value

    def at(self, who: str, value: Any, step: int) -> Any:
        """The value itself, which does not depend on the step."""
        return value


class Common:
    """An attribute of every optimizer with a rule that is an entry of its groups; of others any attribute."""

    def __init__(self, entry: Hyper | Choice) -> None:
        self.name = entry.name
        self._entry = entry

    def __get__(self, optimizer: Any, owner: type) -> Any:
        if optimizer is None:
            return self._entry.default
        if optimizer.rule is None:
            return optimizer.__dict__.get(self.name, self._entry.default)
        return self._entry.at(owner.__name__, optimizer.defaults.get(self.name, self._entry.default), optimizer.t)

    def __set__(self, optimizer: Any, value: Any) -> None:
        if optimizer.rule is None:
            optimizer.__dict__[self.name] = value
            return
        entry = optimizer._declaration.entries[self.name]  # a rule may allow less
        optimizer.defaults[self.name] = entry.check(type(optimizer).__name__, value)


def hyper(
    default: float | bool | str | None,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    kw_only: bool = False,
    switch: bool = False,
    whole: bool = False,
    choices: Iterable[int | str | None] = (),
    doubted: str = "",
) -> Any:
    """Declare a hyperparameter of a rule.

    Args:
        default: The default value. ``True`` or ``False`` declares a flag, which ``update`` may use in an ``if``;
            ``None`` declares an optional number.
        low: Smallest allowed value (``lr >= low``).
        high: Largest allowed value.
        above: Bound that the value must exceed (``lr > above``).
        below: Bound that the value must stay under (``beta1 < below``).
        kw_only: Whether the constructor takes it only by keyword.
        switch: Whether 0 switches a term of the rule off: ``update`` may then use the hyperparameter in an ``if``
            (``if momentum:``). There it is the number 0, and the variant without the term keeps none of its state.
        whole: Whether only integers are allowed.
        choices: The allowed values, if they are a few strings or consecutive integers: ``choices=range(1, 10)``.
            ``update`` may then use the hyperparameter wherever Python needs its value, as in ``range(steps)``; each
            value is a separate variant.
        doubted: A regular expression for names of matrices for which the default may be wrong. An optimizer with such
            parameters warns once, unless a value was given.

    Without a bound, any finite number is allowed; NaN and infinity never are.

    Raises:
        TypeError: A bound is not a number, a side has two, a flag has one or is to be a switch too, ``choices`` are
            neither words nor whole numbers in a row, or have bounds beside them, or what is not a flag is ``doubted``.
        ValueError: No value is left between the bounds, a switch does not allow 0, or ``doubted`` is no regular
            expression.

    >>> from minima.optim import Optimizer, hyper, sign
    >>> class SignDescent(Optimizer):
    ...     lr: float = hyper(default=0.01, low=0)
    ...     @staticmethod
    ...     def update(param, grad, *, lr):
    ...         return param - lr * sign(grad)
    >>> SignDescent.lr.range
    '[0, inf)'
    """
    who = "hyper"
    for name, each in (("low", low), ("high", high), ("above", above), ("below", below)):
        if each is not None:
            _check_bound(who, name, each)
    for name, each in (("kw_only", kw_only), ("switch", switch), ("whole", whole)):
        if each is not True and each is not False:
            raise TypeError(sentence(who, f"{name} must be True or False", got=each))
    if low is not None and above is not None or high is not None and below is not None:
        raise TypeError(sentence("hyper", "a side has one bound: low or above, high or below; got two"))
    declared = Hyper(
        default,
        low=above if above is not None else low if low is not None else -math.inf,
        low_open=low is None,
        high=below if below is not None else high if high is not None else math.inf,
        high_open=high is None,
        kw_only=kw_only,
        switch=switch,
        whole=whole,
        choices=_choices_of(who, choices),
        doubted=doubted,
    )
    if doubted != "":
        _check_doubted(who, declared)
    if declared.choices:
        _check_choices(declared, bounded=not (low is above is high is below is None))
        return declared
    if declared.is_flag and not (low is above is high is below is None):
        raise TypeError(sentence(who, "a flag has no bounds", hint="leave them out"))
    if declared.low > declared.high or (declared.low == declared.high and (declared.low_open or declared.high_open)):
        raise ValueError(sentence(who, "the bounds must leave room for a value", got=declared.range))
    if switch and declared.is_flag:
        raise TypeError(sentence("hyper", "a flag is a switch already", hint="leave switch out"))
    if switch and not declared.allows(0.0):
        raise ValueError(sentence("hyper", f"a switch must allow 0, which is off; its range is {declared.range}"))
    return declared


def _choices_of(who: str, choices: Any) -> tuple[Any, ...]:
    try:
        if not isinstance(choices, str):
            return (*choices,)
    except TypeError:  # what cannot be iterated over
        pass
    raise TypeError(sentence(who, "choices must be two or more words, or whole numbers in a row", got=choices))


def _check_doubted(who: str, declared: Hyper) -> None:
    if not declared.is_flag:
        raise TypeError(sentence(who, "only a flag can be doubted", got=declared.default, hint="leave doubted out"))
    try:
        re.compile(declared.doubted)
    except (re.error, TypeError):
        raise ValueError(sentence(who, "doubted must be a regular expression", got=declared.doubted)) from None


def _check_choices(declared: Hyper, *, bounded: bool) -> None:
    choices = declared.choices
    in_a_row = all(type(x) is int for x in choices) and all(y == x + 1 for x, y in pairwise(choices))
    if len({*map(repr, choices)}) < max(2, len(choices)) or not (
        in_a_row or all(isinstance(x, str | None) for x in choices)
    ):
        rule = "choices must be two or more words, or whole numbers in a row"
        raise TypeError(sentence("hyper", rule, got=list(choices), hint="write choices=range(1, 10)"))
    if bounded or declared.switch:
        raise TypeError(sentence("hyper", "choices leave no room for bounds or a switch", hint="leave these out"))


def _check_bound(who: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or value != value:
        raise TypeError(sentence(who, f"{name} must be a number", got=value))
