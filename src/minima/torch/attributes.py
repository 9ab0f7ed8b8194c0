"""The attributes of an optimizer of PyTorch: its keywords, and the hyperparameters that all groups agree on."""

from collections.abc import MutableMapping
from typing import Any, cast

import torch

from minima.checks import flag, one_of
from minima.errors import sentence
from minima.optim.core import options
from minima.optim.language.declaration import CHOICES
from minima.torch.dialect import CAPTURABLE, DECAY, FLAG, Dialect
from minima.torch.held import Held
from minima.torch.host import ENGINES

__all__ = ["Attributes"]

_KINDS: dict[str, tuple[type, str]] = {"param_groups": (list, "list of groups"), "state": (MutableMapping, "dict")}
"""What may be assigned to the attributes that PyTorch's optimizers have."""


def _equal(value: Any, other: Any) -> bool:
    if isinstance(value, torch.Tensor) or isinstance(other, torch.Tensor):
        return value is other or bool(value == other)
    return type(value) is type(other) and value == other or not isinstance(value, bool) and value == other


def _engine(who: str, engine: Any) -> Any:
    return None if engine is None else one_of(who, "engine", engine, tuple(ENGINES))


class _Capturable(options.Option):
    """The option, where it is no entry of groups."""

    def __get__(self, optimizer: Any, owner: type) -> Any:
        if optimizer is not None and CAPTURABLE in optimizer._dialect.entries:
            return optimizer._agreed(CAPTURABLE)
        return super().__get__(optimizer, owner)


class Attributes(Held):
    """How attributes are read and assigned."""

    engine: str | None = cast(Any, options.Option(None, _engine))
    state_dtype: str | None = options.state_dtype("float32", "bfloat16", "int8")
    rounding: str | None = options.rounding()
    seed: int = options.seed()
    on_nonfinite: str = options.on_nonfinite()
    capturable: bool = cast(Any, _Capturable(False, lambda who, value: flag(who, CAPTURABLE, value)))

    def __getattr__(self, name: str) -> Any:
        dialect: Dialect | None = getattr(type(self), "_dialect", None)
        entry = name if dialect is None else dialect.spelled(name)
        if (
            dialect is None
            or not (entry in dialect.entries or entry in dialect.open)
            or "param_groups" not in self.__dict__
        ):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._agreed(entry)

    def __setattr__(self, name: str, value: Any) -> None:
        dialect = self._dialect
        is_own = name in self.__dict__ or "_held" not in self.__dict__  # a subclass may call its own what it likes
        name = name if is_own else dialect.spelled(name)
        if not is_own and (name in dialect.entries or name in dialect.open):
            value = dialect.check(type(self).__name__, name, value)
            if name not in CHOICES:
                self._agreed(name)
            for group in (self.defaults, *self.param_groups):
                if name == DECAY:
                    dialect.set_way(group, value)
                elif name in dialect.open and value == CHOICES[name].default:
                    group.pop(name, None)
                else:
                    group[name] = value
            return
        if not is_own and type(self).__name__ == dialect.name and not hasattr(type(self), name):
            if name == "groups":
                hint = "write to the entries of param_groups"
                raise AttributeError(sentence(dialect.name, "groups is for the constructor alone", hint=hint))
            if meant := dialect.misspelt(name):
                rule, hint = f"there is no hyperparameter {name!r}", f"did you mean {meant}?"
                raise AttributeError(sentence(type(self).__name__, rule, hint=hint))
        if name in _KINDS and not isinstance(value, _KINDS[name][0]):
            raise TypeError(sentence(type(self).__name__, f"{name} must be a {_KINDS[name][1]}", got=value))
        super().__setattr__(name, value)

    def _agreed(self, name: str) -> Any:
        """What all groups say; an AttributeError if they differ."""
        groups: list[dict[str, Any]] = self.param_groups or [self.defaults]
        values: list[Any] = [self._dialect.chosen(group, name) for group in groups]
        if others := [i for i, value in enumerate(values) if not _equal(value, values[0])]:
            rule = f"{name} differs between groups: 0 has {values[0]!r}, {others[0]} has {values[others[0]]!r}"
            key = FLAG if name == DECAY and FLAG in groups[others[0]] else name
            hint = f"write optimizer.param_groups[{others[0]}][{key!r}]"
            raise AttributeError(sentence(type(self).__name__, rule, hint=hint))
        return values[0]
