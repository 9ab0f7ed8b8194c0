"""A group of parameters, as PyTorch's schedulers want to find it."""

from typing import Any

__all__ = ["Group"]


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
            value = tuple(value)
            super().__setitem__("beta1", value[0])
            super().__setitem__("beta2", value[1])
        else:
            super().__setitem__(name, value)
