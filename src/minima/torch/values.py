"""The hyperparameters of a group of PyTorch: a dict that anyone may write to, checked when something in it is new."""

from collections.abc import Callable, Mapping
from operator import is_, itemgetter
from typing import Any, cast

import torch

from minima.errors import sentence
from minima.optim.core.values import Derived, Values
from minima.optim.language.declaration import CHOICES
from minima.torch.dialect import DECAY, FLAG, Dialect

__all__ = ["GroupValues"]


def _identical(now: tuple[Any, ...], seen: tuple[Any, ...]) -> bool:
    """Whether both consist of the same objects."""
    return len(now) == len(seen) and all(map(is_, now, seen))


class GroupValues:
    """A group, and those of its entries that are functions of the step.

    The group itself shows numbers: schedulers want to find such. A function counts for as long as the number that it
    gave stands there; who writes another takes over. (Who puts the number back, as one does after a step at a rate of
    0, gives way again.)
    """

    def __init__(self, dialect: Dialect, group: dict[str, Any]) -> None:
        self.group = group
        self.functions: dict[str, tuple[Any, Any]] = {}
        """The entries that are functions, or have some in them, each with what the group shows instead."""
        self.dialect = dialect
        keys = dialect.keys
        self._open = dialect.open
        """The entries that are there only where they are needed."""
        self._get: Callable[[Any], tuple[Any, ...]] = itemgetter(*keys[: len(keys) - len(self._open)])
        self._size = 0
        """How many keys the group had when they were last looked at."""

    def watched(self) -> Values:
        """What a step sees of the group. Not kept here: parameters must go as soon as nobody refers to them."""
        dialect = self.dialect
        return Values(dialect.declaration, self._entries, dialect.keys, self._check, _identical, dialect.base)

    def _entries(self) -> tuple[Any, ...]:
        group = self.group
        if len(group) != self._size:
            self._read()
        try:
            now = self._get(group)
        except KeyError as error:
            rule = f"a group must have {error.args[0]!r}"
            raise ValueError(sentence(self.dialect.name, rule, got=list(group))) from None
        if self._open:
            now = (*now, *map(group.get, self._open))
        if not self.functions:
            return now
        given = self.active
        return tuple(given.get(name, value) for name, value in zip(self.dialect.keys, now, strict=True))

    @property
    def active(self) -> dict[str, Any]:
        """The functions that count: what they gave stands in the group."""
        return {name: given for name, (given, shown) in self.functions.items() if self.group.get(name) is shown}

    def _read(self) -> None:
        """Look at the keys, of which some are new."""
        for name in self.group:
            if meant := self.dialect.misspelt(name):
                rule = f"a group has no hyperparameter {name!r}"
                raise TypeError(sentence(self.dialect.name, rule, hint=f"did you mean {meant}?"))
        self._size = len(self.group)

    def _check(self, name: str, value: Any, t: int) -> Mapping[str, Any]:
        dialect = self.dialect
        if value is None and name in self._open:
            return {name: dialect.way(self.group) if name == DECAY else CHOICES[name].default}
        today = dialect.today(dialect.name, name, value, t)
        if today is not value and _has_functions(value):
            self.group[name] = today
            self.functions[name] = value, today
        if name in (DECAY, FLAG):
            if DECAY in self._open and None not in (self.group.get(DECAY), self.group.get(FLAG)):
                rule = f"{DECAY} and {FLAG} of a group say the same"
                raise TypeError(sentence(dialect.name, rule, hint="let one of them be None"))
            return {DECAY: dialect.way(self.group)}
        said = dialect.said(name, today)
        if isinstance(today, tuple):  # of which a part may be left out
            said = {meant: self._derived(name) if part is None else part for meant, part in said.items()}
        return said

    def _derived(self, name: str) -> Derived:
        """What None in a tuple stands for, which the dtype of each parameter says."""
        entry, params = self.dialect.entries[name], self.group["params"]
        assert entry.derived is not None
        return Derived(entry.derived, params[0] if params else torch.empty(0, device="cpu"))


def _has_functions(value: Any) -> bool:
    return callable(value) or isinstance(value, list | tuple) and any(map(callable, cast(list[Any], value)))
