"""The hyperparameters of a group as a step needs them: checked, and sorted out, when something in them is new."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import eq
from typing import Any, cast

from minima.optim.language.declaration import Declaration
from minima.optim.language.trace import EMA_DECAY, Variant

__all__ = ["Derived", "Settings", "Values", "begun"]


class Derived(float):
    """A number that each parameter has of its own, by its dtype; as a number, that of the first one."""

    of: Callable[[Any], float]
    """Gives that of a tensor."""

    def __new__(cls, of: Callable[[Any], float], first: Any) -> "Derived":
        number = super().__new__(cls, of(first))
        number.of = of
        return number


@dataclass(frozen=True, eq=False)
class Settings:
    """What a group asks for today; another object as soon as something differs."""

    variant: Variant
    """Which variant of the rule."""
    numbers: Mapping[str, Any]
    """The hyperparameters that the variant leaves open: floats, or tensors that live on another device."""
    has_tensors: bool

    @cached_property
    def derived(self) -> dict[str, Derived]:
        """The numbers that depend on the parameter."""
        return {name: number for name, number in self.numbers.items() if isinstance(number, Derived)}

    def numbers_of(self, tensor: Any) -> Mapping[str, Any]:
        """The numbers for a parameter, and for all of its kind."""
        if not self.derived:
            return self.numbers
        return {**self.numbers, **{name: number.of(tensor) for name, number in self.derived.items()}}

    @property
    def is_averaged(self) -> bool:
        """Whether an average of each parameter is kept."""
        return EMA_DECAY in self.numbers


def begun(first: float | str, settings: Settings) -> float:
    """What state begins with in a group: the number that its rule says, or the value of the hyperparameter."""
    return float(settings.numbers[first]) if isinstance(first, str) else first


class Values:
    """The hyperparameters of one group, as they were when they were last looked at."""

    settings: Settings

    def __init__(
        self,
        declaration: Declaration,
        entries: Callable[[], tuple[Any, ...]],
        names: Sequence[str] = (),
        check: Callable[[str, Any, int], Mapping[str, Any]] | None = None,
        same: Callable[[Any, Any], bool] = eq,
        fixed: Mapping[str, Any] | None = None,
    ) -> None:
        """Watch over the hyperparameters of a group.

        Args:
            declaration: Which there are.
            entries: Gives what stands there today, in the order of their names.
            names: What the group calls its entries; by default what the declaration does.
            check: Says which hyperparameters an entry gives, as a step may use them: takes its name, what stands there,
                and the steps that the optimizer has taken. By default what is declared.
            same: Whether all of it is as it was. Equal numbers are, unless others may write what was never checked.
            fixed: The hyperparameters of which no entry says anything.
        """
        self._declaration = declaration
        self._names = tuple(names or declaration.entries)
        self._entries = entries
        self._check = check or self._declared
        self._same = same
        self._seen: tuple[Any, ...] = ()
        self._fixed = fixed or {}
        self._today: dict[str, Any] = {}
        self._moves = False
        """Whether something there may give another number though it is the same object: a function, a tensor."""

    def look(self, t: int) -> Settings:
        """Take notice of what is new; the settings for the step after ``t`` of the optimizer."""
        now = self._entries()
        if not self._moves and self._same(now, self._seen):
            return self.settings
        return self._notice(now, t)

    def _notice(self, now: tuple[Any, ...], t: int) -> Settings:
        seen, today = self._seen or (self,) * len(now), {**self._fixed, **self._today}
        for name, value, old in zip(self._names, now, seen, strict=True):
            if value is not old or not isinstance(value, float | str | bool | None):
                today.update(self._check(name, value, t))
        if not self._today or any(_differ(value, self._today[name]) for name, value in today.items()):
            variant = self._declaration.variant(today.__getitem__)
            fixed = dict(variant)
            numbers = {name: value for name, value in today.items() if name not in fixed}
            self.settings = Settings(variant, numbers, any(not isinstance(value, float) for value in numbers.values()))
        self._seen, self._today = now, today
        self._moves = not all(map(_is_fixed, now))
        return self.settings

    def _declared(self, name: str, value: Any, t: int) -> Mapping[str, Any]:
        who, entry = self._declaration.who, self._declaration.entries[name]
        return {name: entry.at(who, value, t) if callable(value) else entry.check(who, value)}


def _is_fixed(value: Any) -> bool:
    """Whether an entry cannot give another number tomorrow while it is the same object."""
    if type(value) is tuple:
        return all(map(_is_fixed, cast(tuple[Any, ...], value)))
    return isinstance(value, float | int | str | None)


def _differ(value: Any, other: Any) -> bool:
    """Whether one is not the other. Of a tensor the object counts: who wrote to it need not say so."""
    plain = isinstance(value, float | str | bool | None) and isinstance(other, float | str | bool | None)
    return value != other if plain else value is not other
