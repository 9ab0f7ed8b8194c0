"""The hyperparameters of a group of PyTorch: a dict that anyone may write to, checked when something in it is new."""

from collections.abc import Mapping
from operator import is_, itemgetter
from typing import Any

import numpy as np
import torch

from minima.errors import sentence
from minima.optim.language.declaration import Declaration
from minima.optim.language.trace import Form

__all__ = ["Values", "check"]


def check(who: str, declaration: Declaration, name: str, value: Any) -> Any:
    """The value of a hyperparameter as it may stand in a group: a number, checked, or a tensor of one."""
    if callable(value):
        hint = "use torch.optim.lr_scheduler, whose LambdaLR takes functions of the step, or write to param_groups"
        raise TypeError(sentence(who, f"{name} must not be a function", hint=hint))
    if not isinstance(value, torch.Tensor):
        return declaration.hypers[name].check(who, value)
    if value.numel() != 1 or value.is_complex():
        raise ValueError(sentence(who, f"{name} must be a number, or a tensor of a single one", got=value))
    if value.device.type == "cpu":  # to look at it elsewhere would be to wait for it
        declaration.hypers[name].check(who, value.item())
    return value


class Values:
    """The hyperparameters of one group, as they were when they were last looked at."""

    def __init__(self, who: str, declaration: Declaration, group: Mapping[str, Any]) -> None:
        self.group = group
        self._who = who
        self._declaration = declaration
        self._names = list(declaration.hypers)
        self._get = itemgetter(*self._names, self._names[0])  # of one name alone it would give no tuple
        self._seen: tuple[Any, ...] = ()
        self.form: Form = ()
        """Which form of the rule they ask for."""
        self.numbers: dict[str, Any] = {}
        """Those that are numbers, in float64, or tensors."""
        self.has_tensors = False
        """Whether there are tensors among them, which others may write to at any time."""
        self.look()

    def look(self) -> Form:
        """Take notice of what is new in the group; which form of the rule it asks for."""
        try:
            now = self._get(self.group)
        except KeyError as error:
            raise ValueError(
                sentence(self._who, f"a group must have {error.args[0]!r}", got=list(self.group))
            ) from None
        if self._seen and all(map(is_, now, self._seen)):
            return self.form
        pairs = zip(self._names, now, strict=False)
        values = {name: check(self._who, self._declaration, name, value) for name, value in pairs}
        self.form = self._declaration.form((values | {"decay": "decoupled", "maximize": False}).__getitem__)
        fixed = dict(self.form)
        self.numbers = {
            name: value if isinstance(value, torch.Tensor) else np.float64(value)
            for name, value in values.items()
            if name not in fixed
        }
        self.has_tensors = any(isinstance(value, torch.Tensor) for value in values.values())
        self._seen = now
        return self.form
