"""The optimizers of minima inside PyTorch: what ``torch.optim`` has is the same here, and any rule can be made one."""

from typing import Any as _Any

from minima.errors import sentence as _sentence

try:
    import torch as _torch

    from minima.torch.adaptation import adapt
    from minima.torch.adaptation import named as _named
    from minima.torch.dialects import DIALECTS as _DIALECTS
    from minima.torch.dialects import INSTEAD as _INSTEAD
    from minima.torch.exchange import load_portable_state_dict, portable_state_dict
    from minima.torch.lbfgs import LBFGS
    from minima.torch.loops import SAM, Lookahead
    from minima.torch.optimizer import Optimizer
except ModuleNotFoundError as error:
    if error.name != "torch":  # PyTorch is there, and what is missing is for its own message to say
        raise
    _hint = "pip install torch"
    raise ModuleNotFoundError(_sentence("minima.torch", "needs PyTorch", hint=_hint), name="torch") from None

from minima.optim.catalog import AROUND as _AROUND
from minima.optim.catalog import meant as _meant
from minima.optim.rules import RULES as _RULES

_NAMES = sorted({*_DIALECTS, *_RULES} - {*_INSTEAD})
"""The optimizers; each class is made when it is first asked for."""

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll] - the stub lists them
    "LBFGS",
    "SAM",
    "Lookahead",
    "Optimizer",
    "adapt",
    "by_name",
    "load_portable_state_dict",
    "names",
    "portable_state_dict",
    *_NAMES,
]


def names() -> tuple[str, ...]:
    """The names of all optimizers, in lower case and in order, for command lines and configuration files."""
    return tuple(sorted(map(str.lower, (*_NAMES, "LBFGS"))))


def by_name(name: str) -> type[_torch.optim.Optimizer]:
    """The optimizer class with a name, in any case; ``-``, ``_`` and spaces are ignored.

    Args:
        name: Such as ``"adamw"``, ``"AdamW"`` or ``"schedule-free-sgd"``; PyTorch's names are PyTorch's algorithms.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: There is no such optimizer, or it wraps another one: ``"sam"``, ``"lookahead"``.
    """
    found = _meant("minima.torch.by_name", name, (*_NAMES, "LBFGS"), _AROUND)
    return LBFGS if found == "LBFGS" else __getattr__(found)


def __getattr__(name: str) -> _Any:
    if name in _INSTEAD:
        rule = f"there is no {name}; PyTorch's algorithm is called {_INSTEAD[name]}"
        raise AttributeError(_sentence("minima.torch", rule, hint=f"minima's own is adapt(minima.optim.{name})"))
    if name not in _NAMES:
        raise AttributeError(f"module 'minima.torch' has no attribute {name!r}")
    globals()[name] = made = _named(name)
    return made


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
