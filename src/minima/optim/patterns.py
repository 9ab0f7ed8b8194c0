"""Who gets which hyperparameters: parameters sorted by patterns of their names."""

import difflib
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Protocol, TypeVar, cast

from minima.errors import sentence
from minima.optim.language.hyper import Hyper

__all__ = ["Patterns", "check", "read", "sort", "warn"]

Patterns = Mapping[str, Mapping[str, Any]]
"""Pattern to hyperparameters, in the order in which they are tried. ``*`` stands for any characters, dots included,
``?`` for one, ``[ab]`` for one of these."""


class _Named(Protocol):
    @property
    def name(self) -> str | None: ...


_Slot = TypeVar("_Slot", bound=_Named)


def read(who: str, patterns: object) -> Patterns:
    """The patterns that the user gave, if they are such; ``who`` is the public name that complains."""
    if not isinstance(patterns, Mapping):
        hint = "write {'*.bias': {'weight_decay': 0}}"
        raise TypeError(sentence(who, "groups must be a dict of patterns to hyperparameters", got=patterns, hint=hint))
    rules = cast(Mapping[Any, Any], patterns)
    for pattern, own in rules.items():
        if not isinstance(pattern, str) or not isinstance(own, Mapping) or "params" in own:
            rule = f"groups must give each pattern a dict of hyperparameters; {pattern!r} does not"
            raise TypeError(sentence(who, rule, got=cast(object, own)))
    return rules


def check(who: str, slots: Sequence[_Named], rules: Patterns) -> None:
    """Complain of a pattern that matches none of all parameters."""
    names = [slot.name for slot in slots if slot.name is not None]
    if rules and not names:
        hint = "pass the model, or its named_parameters()"
        raise ValueError(sentence(who, "groups needs parameters with names", hint=hint))
    for pattern in rules:
        if not any(fnmatchcase(name, pattern) for name in names):
            (closest,) = difflib.get_close_matches(pattern, names, n=1, cutoff=0)
            raise ValueError(sentence(who, f"groups: no parameter matches {pattern!r}", hint=f"closest is {closest!r}"))


def warn(who: str, hypers: Mapping[str, Hyper], said: Collection[str], slots: Iterable[Any], level: int) -> bool:
    """Warn of these parameters whose names speak against a default that nobody has confirmed."""
    for name, declared in hypers.items():
        asked = slots if declared.doubted and name not in said else ()
        found = [x for x in asked if x.name and len(x.tensor.shape) > 1 and re.search(declared.doubted, x.name)]
        if found:
            theirs = "its name" if len(found) == 1 else "their names"
            rule = f"{', '.join(map(str, found))} may not be meant to have {name}={declared.default}, by {theirs}"
            other = {slot.name: {name: not declared.default} for slot in found}
            hint = f"say groups={other}, or {name}={declared.default}"
            warnings.warn(sentence(who, rule, hint=hint), stacklevel=level)
            return True
    return False


def sort(slots: Sequence[_Slot], rules: Patterns) -> Iterator[tuple[str, Mapping[str, Any], list[_Slot]]]:
    """Every pattern with its hyperparameters and the parameters whose names it is the first to match; the rest first.

    Patterns that are left without a parameter are left out.
    """
    found: dict[str | None, list[_Slot]] = {None: [], **{pattern: [] for pattern in rules}}
    for slot in slots:
        name = slot.name
        matching = (pattern for pattern in rules if name is not None and fnmatchcase(name, pattern))
        found[next(matching, None)].append(slot)
    for pattern, members in found.items():
        if members:
            yield pattern or "", {} if pattern is None else rules[pattern], members
