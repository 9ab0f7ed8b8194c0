"""How minima words a mistake: who complains, what is allowed, what came, what to do, in one sentence."""

from types import FunctionType
from typing import Any

__all__ = ["sentence", "speak_as"]

_NOTHING: Any = object()


def sentence(who: str, rule: str, *, got: object = _NOTHING, hint: str = "") -> str:
    """The one sentence that every error of minima consists of.

    Args:
        who: The public name that complains (``"Adam"``, ``"Tensor.backward"``).
        rule: What is allowed, naming the argument (``"beta2 must lie in [0, 1)"``).
        got: What came instead; shown by its ``repr``.
        hint: What to do about it.

    >>> sentence("Adam", "beta2 must lie in [0, 1)", got=1.5)
    'Adam: beta2 must lie in [0, 1); got 1.5'
    """
    parts = [f"{who}: {rule}"]
    if got is not _NOTHING:
        parts.append(f"got {_short(got)}")
    if hint:
        parts.append(hint)
    return "; ".join(parts)


def speak_as(cls: type[Any]) -> None:
    """Let Python's own complaints about arguments name a class, where its parts have the methods."""
    for part in cls.__mro__[1:]:
        for name, member in vars(part).items() if part.__module__.startswith("minima.") else ():
            function = getattr(member, "__func__", member)
            if isinstance(function, FunctionType):
                function.__qualname__ = f"{cls.__name__}.{name}"


def _short(value: object, limit: int = 80) -> str:
    """``repr`` on one line, cut to ``limit`` characters: an error must stay readable whatever came."""
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[: limit - 3] + "..."
