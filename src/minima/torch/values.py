"""The hyperparameters of a group of PyTorch: a dict that anyone may write to, checked when something in it is new."""

from collections.abc import Callable
from operator import is_, itemgetter
from typing import Any, cast

import torch

from minima.errors import sentence
from minima.optim.core.values import Values
from minima.optim.language.declaration import Declaration

__all__ = ["GroupValues", "check", "misspelt"]


def check(who: str, declaration: Declaration, name: str, value: Any) -> Any:
    """The value of a hyperparameter as it may stand in a group: a number, checked, a function, or a tensor of one."""
    if not isinstance(value, torch.Tensor):
        return declaration.entries[name].check(who, value)
    if value.numel() != 1 or value.is_complex():
        raise ValueError(sentence(who, f"{name} must be a number, or a tensor of a single one", got=value))
    if value.device.type == "cpu":  # to look at it elsewhere would be to wait for it
        declaration.entries[name].check(who, value.item())
    return value


def misspelt(declaration: Declaration, name: Any) -> str:
    """The entry of a group that was probably meant by a key that is none; empty where it may well be someone else's.

    Schedulers and others keep numbers of their own in groups, under names like ``initial_lr`` and ``lr_scale``.
    """
    if not isinstance(name, str) or any(
        name.startswith(f"{entry}_") or name.endswith(f"_{entry}") for entry in declaration.entries
    ):
        return ""
    return declaration.meant(name)


def _identical(now: tuple[Any, ...], seen: tuple[Any, ...]) -> bool:
    """Whether both consist of the same objects."""
    return len(now) == len(seen) and all(map(is_, now, seen))


class GroupValues:
    """A group, and those of its hyperparameters that are functions of the step.

    The group itself shows numbers: schedulers want to find such. A function counts for as long as the number that it
    gave stands there; who writes another takes over. (Who puts the number back, as one does after a step at a rate of
    0, gives way again.)
    """

    def __init__(self, declaration: Declaration, group: dict[str, Any]) -> None:
        self.group = group
        self.functions: dict[str, tuple[Callable[[int], float], float]] = {}
        """The functions, each with the number that the group shows."""
        self._declaration = declaration
        self._get = itemgetter(*declaration.entries)
        self._size = 0
        """How many keys the group had when they were last looked at."""

    def watched(self) -> Values:
        """What a step sees of the group. Not kept here: parameters must go as soon as nobody refers to them."""
        return Values(self._declaration, self._entries, self._check, _identical)

    def _entries(self) -> tuple[Any, ...]:
        if len(self.group) != self._size:
            self._read()
        try:
            now = self._get(self.group)
        except KeyError as error:
            rule = f"a group must have {error.args[0]!r}"
            raise ValueError(sentence(self._declaration.who, rule, got=list(self.group))) from None
        if not self.functions:
            return now
        given = self.active
        return tuple(given.get(name, value) for name, value in zip(self._declaration.entries, now, strict=True))

    @property
    def active(self) -> dict[str, Callable[[int], float]]:
        """The functions that count: the number that they gave stands in the group."""
        return {name: function for name, (function, shown) in self.functions.items() if self.group[name] is shown}

    def _read(self) -> None:
        """Look at the keys, of which some are new."""
        for name in self.group:
            if meant := misspelt(self._declaration, name):
                rule = f"a group has no hyperparameter {name!r}"
                raise TypeError(sentence(self._declaration.who, rule, hint=f"did you mean {meant}?"))
        self._size = len(self.group)

    def _check(self, name: str, value: Any, t: int) -> Any:
        who = self._declaration.who
        if isinstance(value, torch.Tensor):
            value = check(who, self._declaration, name, value)
            return float(value) if value.device.type == "cpu" else value
        if not callable(value):
            return self._declaration.entries[name].check(who, value)
        number = self._declaration.hypers[name].at(who, value, t)
        self.group[name] = number
        self.functions[name] = cast(Callable[[int], float], value), number
        return number
