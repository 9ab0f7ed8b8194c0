"""The optimizers of minima inside PyTorch: what ``torch.optim`` has is the same here, and any rule can be made one."""

from typing import Any

from minima.errors import sentence

try:
    from minima.torch.adaptation import adapt, named
    from minima.torch.dialects import DIALECTS, INSTEAD
    from minima.torch.optimizer import Optimizer
except ModuleNotFoundError as error:
    if error.name != "torch":  # PyTorch is there, and what is missing is for its own message to say
        raise
    hint = "pip install torch"
    raise ModuleNotFoundError(sentence("minima.torch", "needs PyTorch", hint=hint), name="torch") from None

from minima.optim.rules import RULES

_NAMES = sorted({*DIALECTS, *RULES} - {*INSTEAD})
"""The optimizers; each class is made when it is first asked for."""

__all__ = ["Optimizer", "adapt", *_NAMES]  # pyright: ignore[reportUnsupportedDunderAll] - the stub lists them


def __getattr__(name: str) -> Any:
    if name in INSTEAD:
        rule = f"there is no {name}; PyTorch's algorithm is called {INSTEAD[name]}"
        raise AttributeError(sentence("minima.torch", rule, hint=f"minima's own is adapt(minima.optim.{name})"))
    if name not in _NAMES:
        raise AttributeError(f"module 'minima.torch' has no attribute {name!r}")
    globals()[name] = made = named(name)
    return made


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
