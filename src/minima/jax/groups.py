"""Who gets which hyperparameters, and what the state shows of them."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np

from minima import optim
from minima.errors import sentence
from minima.jax.scalars import Held
from minima.jax.sharding import beside
from minima.jax.xla import Array, jnp, traced
from minima.optim import patterns
from minima.optim.core.model import agreed
from minima.optim.language.declaration import CHOICES, Declaration
from minima.optim.language.program import Program
from minima.optim.language.trace import Variant

__all__ = ["Group", "Groups"]


_ALIASES = {"wd": "weight_decay", "weight_decay": "wd", "lr": "learning_rate", "learning_rate": "lr"}
"""Other spellings that are understood."""


class Group:
    """The hyperparameters of the leaves whose names a pattern is the first to match; ``""`` is that of all others."""

    def __init__(
        self,
        pattern: str,
        values: Mapping[str, Any],
        own: frozenset[str],
        declaration: Declaration,
        *,
        decays: bool = True,
    ) -> None:
        self.pattern = pattern
        self.decays = decays
        """Whether weight decay has its coefficient; of leaves that a mask leaves out it has not."""
        if not decays:
            values = {**values, declaration.coefficient: 0.0}
        self._masked = "" if decays else declaration.coefficient
        self.values = values
        """Every hyperparameter and option: a number, a flag, a word, None, a function of the step, or an array."""
        self.own = own
        """Those that the pattern says."""
        self.variant: Variant = declaration.variant(values.__getitem__)

    def has(self, name: str) -> bool:
        """Whether a number is as it is given: the coefficient of decay is 0 of leaves that a mask leaves out."""
        return name != self._masked


class _Named(NamedTuple):
    name: str


class Groups:
    """All groups of a transformation."""

    def __init__(
        self,
        who: str,
        cls: type[optim.Optimizer],
        given: Mapping[str, Any],
        by_pattern: Any,
        adjustable: Sequence[str],
        spelling: Mapping[str, str],
        constants: Mapping[str, str],
        *,
        masked: bool,
    ) -> None:
        self._who = who
        self._spelling = spelling
        self._constants = constants
        self._shown_as = {ours: theirs for theirs, ours in spelling.items()}
        self.declaration: Declaration = cls._declaration  # pyright: ignore[reportPrivateUsage] - a face of it
        self._patterns = patterns.read(who, {} if by_pattern is None else by_pattern)
        values = {name: self.checked(who, name, value) for name, value in given.items()}
        self.adjustable = self._adjustable(adjustable)
        self.all = [Group("", values, frozenset(values), self.declaration)]
        for pattern, own in self._patterns.items():
            special: dict[str, Any] = {}
            for written, value in own.items():
                name = self.spelled(written)
                if name in special:
                    raise TypeError(sentence(who, f"groups[{pattern!r}] gives {name} twice"))
                special[name] = self.checked(f"{who}, groups[{pattern!r}]", name, value)
            self.all.append(Group(pattern, values | special, frozenset(special), self.declaration))
        shared = {self.shown(name) for name, _ in self._in_state(self.all[0])}
        if clash := next((pattern for pattern in self._patterns if pattern in shared), ""):
            rule = f"groups: {clash!r} is what the state calls a hyperparameter, and cannot be a pattern"
            raise ValueError(sentence(who, rule, hint=f"write '[{clash[0]}]{clash[1:]}', which matches the same"))
        self._masked = len(self.all) if masked else 0
        if masked:
            twins = [(each.pattern, each.values, each.own, self.declaration) for each in self.all]
            self.all += [Group(*twin, decays=False) for twin in twins]

    def spelled(self, name: str) -> str:
        """The rule's name of a hyperparameter or option of a group, from what the factory calls it."""
        if name == "decay_mode":
            return "decay"
        for each in (name, _ALIASES.get(name, "")):
            if each in self._spelling:
                return self._spelling[each]
            if each in CHOICES:
                return each
        close = difflib.get_close_matches(name, [*self._spelling, *CHOICES], n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        allowed = ", ".join([*self._spelling, "decay_mode", *list(CHOICES)[1:]])
        raise TypeError(sentence(self._who, f"there is no hyperparameter {name!r}", hint=f"{hint}there are {allowed}"))

    def has(self, name: str) -> bool:
        """Whether the factory has a hyperparameter of the rule among its arguments."""
        return name in self._shown_as

    def shown(self, name: str) -> str:
        """What the factory calls a hyperparameter of the rule."""
        return self._shown_as.get(name, name)

    def checked(self, who: str, name: str, value: Any) -> Any:
        """A hyperparameter, checked; arrays, which may be traced, are taken as they come."""
        if isinstance(value, Array) and (traced(value) or not self._chooses(name)):
            if (
                value.ndim
                or not jnp.issubdtype(value.dtype, jnp.number)
                or self.declaration.entries[name].default is True
            ):
                raise TypeError(sentence(who, f"{name} must be a number", got=value))
            return value
        if isinstance(value, np.ndarray | Array) and not value.ndim:
            value = value.item()
        if callable(value) and not isinstance(value, type) and name in self.declaration.numbers:
            if name in self._constants:
                rule = f"{self.shown(name)} must be a number, and no function of the step"
                raise TypeError(sentence(who, rule, got=value, hint=self._constants[name]))
            return value  # a function of a traced step, which may know nothing of numbers
        return self.declaration.entries[name].check(who, value)

    def _chooses(self, name: str) -> bool:
        """Whether the value of an entry chooses among programs, so that it must be known while JAX traces."""
        declared = self.declaration.hypers.get(name)
        return (
            name in CHOICES
            and name not in self.declaration.numbers
            or bool(declared and (declared.is_flag or declared.choices))
        )

    def _adjustable(self, names: Sequence[str]) -> frozenset[str]:
        if isinstance(names, str):
            raise TypeError(
                sentence(self._who, "adjustable must be a sequence of names", got=names, hint=f"({names!r},)")
            )
        found = {self.spelled(name) for name in names if name != "lr" or "lr" in self.declaration.hypers}
        if fixed := [name for name in found if self._chooses(name) or name not in self.declaration.numbers]:
            raise ValueError(sentence(self._who, f"{fixed[0]} chooses a program, and cannot be adjustable"))
        return frozenset(found)

    def places(self, names: Sequence[str], decays: Sequence[bool]) -> list[int]:
        """Which group each leaf belongs to, given whether a mask lets it decay.

        A ValueError that names the closest leaf where a pattern matches none.
        """
        if self._patterns and names:
            patterns.check(self._who, [_Named(name) for name in names], self._patterns)
        patterned = [(i, each.pattern) for i, each in enumerate(self.all) if each.pattern and each.decays]
        found = [next((i for i, pattern in patterned if fnmatchcase(name, pattern)), 0) for name in names]
        pairs = zip(found, decays, strict=True) if self._masked else ()
        return [place + (0 if decaying else self._masked) for place, decaying in pairs] or found

    def require_agreement(self, programs: Mapping[int, Program]) -> None:
        """A ValueError unless groups agree on what goes into numbers for the whole model; by the places of groups."""
        for name in sorted({name for program in programs.values() for name in agreed(program)}):
            values = [self.all[place].values[name] for place in programs]
            if other := [x for x in values if x is not values[0] and not (isinstance(x, float) and x == values[0])]:
                rule = f"{self.shown(name)} goes into what all parameters share, and must be the same in all groups"
                raise ValueError(sentence(self._who, rule, hint=f"got {values[0]!r} and {other[0]!r}"))

    # What the state holds of them ------------------------------------------------------------------------------------

    def begin(self) -> dict[str, Any]:
        """The hyperparameters that stand in the state before the first step."""
        return self._held(lambda value: _single(_today(value, 0)))

    def names(self) -> dict[str, Any]:
        """What they are called there, those of a pattern under it."""
        return self._held(lambda value: None)

    def _held(self, made: Callable[[Any], Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for group in self.all:
            if not group.decays:  # what a mask leaves out has no numbers of its own
                continue
            kept = {self.shown(name): made(value) for name, value in self._in_state(group)}
            found |= kept if not group.pattern else {group.pattern: kept} if kept else {}
        return found

    def _in_state(self, group: Group) -> list[tuple[str, Any]]:
        """What the state shows of a group: what may be adjusted, and what functions give."""
        names = sorted(group.own & self.declaration.numbers.keys())
        shown = [(name, group.values[name]) for name in names if group.values[name] is not None]
        return [(name, value) for name, value in shown if callable(value) or name in self.adjustable]

    def today(self, hypers: Mapping[str, Any], t: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The numbers of every group for the step after ``t``, and what the state shows of them then.

        A number that stands in the state counts as the float that it was rounded from, until somebody sets another.
        """
        numbers: list[dict[str, Any]] = []
        shown: dict[str, Any] = {}
        for group in self.all:
            held: Mapping[str, Any] = hypers.get(group.pattern, {}) if group.pattern else hypers
            here: dict[str, Any] = {}
            kept: dict[str, Any] = {}
            for name in self.declaration.numbers:
                value, inherited, key = group.values[name], name not in group.own, self.shown(name)
                source: Mapping[str, Any] = hypers if inherited else held
                if not group.has(name):
                    source = {}
                if callable(value):
                    value = _today(value, t)
                elif isinstance(value, float) and key in source:
                    here[name] = _adjusted(value, source[key])
                    value = source[key]  # the state keeps the very array: a new one makes each leaf wait for a copy
                here.setdefault(name, value)
                if not inherited and key in held and group.decays:
                    kept[key] = _single(value)
            numbers.append(here)
            shown |= kept if not group.pattern else {group.pattern: kept} if kept else {}
        return numbers, shown

    def adjusted(
        self, who: str, hypers: Mapping[str, Any], values: Mapping[str, Any], pattern: str = ""
    ) -> dict[str, Any]:
        """The hyperparameters in the state, with other values of some."""
        if pattern and pattern not in self._patterns:
            raise ValueError(sentence(who, f"there is no group {pattern!r}", hint=f"there are {list(self._patterns)}"))
        held = dict(hypers.get(pattern, {}) if pattern else hypers)
        group = next(each for each in self.all if each.pattern == pattern)
        for written, value in values.items():
            name = self.spelled(written)
            key = self.shown(name)
            if callable(group.values[name]):
                raise ValueError(
                    sentence(who, f"{written} is a function of the step", hint="only numbers can be adjusted")
                )
            if key not in held:
                hint = f"make it one by adjustable=({written!r},), or give the group a value of its own"
                raise ValueError(sentence(who, f"{written} is not adjustable here", hint=hint))
            value = self.checked(who, name, value)
            if callable(value) or value is None:
                raise TypeError(sentence(who, f"{written} must be a number", got=value))
            held[key] = beside(_single(value), [held[key]])
        return {**hypers, pattern: held} if pattern else held


def _today(value: Any, t: Any) -> Any:
    """What a function of the step gives for the step after ``t``; any other value as it is."""
    if not callable(value):
        return value
    found = value(t)
    return float(found) if isinstance(found, int | float) else jnp.asarray(found)


def _adjusted(given: float, held: Any) -> Any:
    same = jnp.asarray(held) == np.float32(given)
    if traced(same):
        return Held(given, jnp.asarray(held, jnp.float32), same)
    return given if bool(same) else float(held)


def _single(value: Any) -> Any:
    """A number as the state keeps it."""
    return jnp.asarray(value, jnp.float32)
