"""What the body of a class for PyTorch declares: the arguments of its rule, as type checkers and editors see them."""

import inspect
from typing import Any

from minima.errors import sentence
from minima.optim.language.declaration import OPTIONS as rules
from minima.optim.language.declaration import Declaration

__all__ = ["OPTIONS", "describe", "keyword", "read_fields"]

OPTIONS: dict[str, Any] = {name: default for name, default in rules.items() if name != "groups"}
"""The keywords that every constructor takes besides the hyperparameters and ``groups``, and their defaults."""


class _Keyword:
    """The default of an argument that is given by keyword only."""

    def __init__(self, default: Any) -> None:
        self.default = default


def keyword(*, default: Any, kw_only: bool = True) -> Any:
    """Declare a hyperparameter that the constructor takes by keyword only."""
    return _Keyword(default)


def read_fields(cls: Any, declaration: Declaration) -> None:
    """Check that a class declares the arguments of its rule, if any; a TypeError where it says something else."""
    body: dict[str, Any] = dict(cls.__dict__)
    annotations: dict[str, Any] = body.get("__annotations__", {})
    names = [name for name in annotations if name in body]
    if not names:
        return
    for name in (*names, *declaration.hypers):
        hyper, value = declaration.hypers.get(name), body.get(name)
        wanted = None if hyper is None else (hyper.default, hyper.kw_only)
        found = (value.default, True) if isinstance(value, _Keyword) else (value, False)
        if found != wanted or name not in body:
            raise TypeError(sentence(cls.__name__, f"{name} must be declared as in the rule, {wanted}", got=found))
    if names != list(declaration.hypers):
        raise TypeError(sentence(cls.__name__, f"the order must be {list(declaration.hypers)}", got=names))
    for name in names:
        delattr(cls, name)  # an optimizer has its hyperparameters in its groups


def describe(own: str | None, rule: type) -> str:
    """The docstring of a class: its own, and what its rule's says, but for the example, and where the rest is said."""
    text = inspect.getdoc(rule) or ""
    text = text.partition("\n>>> ")[0].rstrip()
    options = ", ".join(f"``{name}``" for name in ("groups", *OPTIONS))
    text += f"\n\nThe keywords {options} are those of every optimizer, as `minima.torch.Optimizer` explains them."
    return f"{inspect.cleandoc(own)}\n\n{text}\n" if own else f"{text}\n"
