"""The hyperparameters of a group as a step needs them: checked, and sorted out, when something in them is new."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import is_
from typing import Any

from minima.optim.language.declaration import Declaration
from minima.optim.language.trace import Form

__all__ = ["Settings", "Values"]


@dataclass(frozen=True, eq=False)
class Settings:
    """What a group asks for today; another object as soon as something differs."""

    form: Form
    """Which form of the rule."""
    numbers: Mapping[str, Any]
    """The hyperparameters that the form leaves open: floats, or tensors that live on another device."""
    has_tensors: bool = False


class Values:
    """The hyperparameters of one group, as they were when they were last looked at."""

    settings: Settings

    def __init__(
        self,
        declaration: Declaration,
        entries: Callable[[int], tuple[Any, ...]],
        check: Callable[[str, Any], Any],
    ) -> None:
        """Watch over the hyperparameters of a group.

        Args:
            declaration: Which there are.
            entries: Today's values, in their order, given the steps that the optimizer has taken.
            check: The value of one hyperparameter as a step may use it, given its name and what the user wrote.
        """
        self._declaration = declaration
        self._names = tuple(declaration.entries)
        self._entries = entries
        self._check = check
        self._seen: tuple[Any, ...] = ()
        self._checked: dict[str, Any] = {}

    def look(self, t: int) -> Settings:
        """Take notice of what is new; the settings for the step after ``t`` of the optimizer."""
        now = self._entries(t)
        if self._seen and all(map(is_, now, self._seen)):
            return self.settings
        return self._notice(now)

    def _notice(self, now: tuple[Any, ...]) -> Settings:
        seen = self._seen or (self,) * len(now)
        pairs = zip(self._names, now, seen, strict=True)
        new = {name: self._check(name, value) for name, value, old in pairs if value is not old}
        checked = self._checked | new
        # Functions of the step give another object each time, if often the same number.
        if not self._seen or any(_differ(value, self._checked[name]) for name, value in new.items()):
            form = self._declaration.form(checked.__getitem__)
            fixed = dict(form)
            numbers = {name: value for name, value in checked.items() if name not in fixed}
            tensors = any(not isinstance(value, float) for value in numbers.values())
            self.settings = Settings(form, numbers, tensors)
        self._seen, self._checked = now, checked
        return self.settings


def _differ(value: Any, other: Any) -> bool:
    """Whether one is not the other: of tensors, the object counts, for others may write to it."""
    if isinstance(value, float) and isinstance(other, float):
        return value != other
    return value is not other
