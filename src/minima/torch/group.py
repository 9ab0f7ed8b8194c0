"""A group of parameters, as PyTorch's schedulers want to find it."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from minima.errors import sentence

__all__ = ["Group", "betas"]


class Group(dict[str, Any]):
    """A dict in which ``betas`` are ``beta1`` and ``beta2``: schedulers that cycle momentum look for that name."""

    def __contains__(self, name: object) -> bool:
        return (
            super().__contains__(name)
            or name == "betas"
            and super().__contains__("beta1")
            and super().__contains__("beta2")
        )

    def __missing__(self, name: str) -> Any:
        if name == "betas" and name in self:
            return self["beta1"], self["beta2"]
        raise KeyError(name)

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "betas" and name in self:
            self.update(betas("a group", value))
        else:
            super().__setitem__(name, value)

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default


def betas(who: str, value: Any) -> dict[str, Any]:
    """Both numbers of a pair, under their names here."""
    is_pair = isinstance(value, Iterable) and not isinstance(value, str | Mapping)
    pair = tuple(cast(Iterable[Any], value)) if is_pair else ()
    if len(pair) != 2:
        raise ValueError(sentence(who, "betas must be a pair of numbers", got=cast(object, value)))
    return dict(zip(("beta1", "beta2"), pair, strict=True))
