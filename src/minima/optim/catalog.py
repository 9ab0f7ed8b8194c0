"""Optimizers by name, for command lines and files of settings."""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module

from minima.errors import sentence
from minima.optim.optimizer import Optimizer
from minima.optim.rules import RULES

__all__ = ["by_name", "meant", "names"]

_PLACES = {**RULES, "LBFGS": "minima.optim.loops.lbfgs"}
"""Every optimizer with its module. What is put around another optimizer is none of them."""


def names() -> tuple[str, ...]:
    """The names of all optimizers, in lower case, from the simplest to the hardest.

    >>> from minima import optim
    >>> optim.names()[:3]
    ('sgd', 'schedulefreesgd', 'asgd')

    As what a command line may be given: ``parser.add_argument("--optimizer", choices=optim.names())``.
    """
    return tuple(map(str.lower, _PLACES))


def by_name(name: str) -> type[Optimizer]:
    """The optimizer of a name, in whatever case; ``-``, ``_`` and spaces do not count.

    Args:
        name: Such as ``"adamw"``, ``"AdamW"`` or ``"schedule-free-sgd"``.

    Raises:
        TypeError: ``name`` is no string.
        ValueError: There is no such optimizer.

    >>> from minima import optim
    >>> optim.by_name("adamw") is optim.AdamW
    True
    """
    found = meant("minima.optim.by_name", name, _PLACES)
    return getattr(import_module(_PLACES[found]), found)


def meant(who: str, name: str, known: Iterable[str]) -> str:
    """Which of the ``known`` names is meant; ``who`` complains where none is."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - what users pass is not typed
        raise TypeError(sentence(who, "name must be a string", got=name))
    plain = {_plain(one): one for one in known}
    if _plain(name) not in plain:
        close = get_close_matches(_plain(name), plain, 1)
        hint = f"did you mean {plain[close[0]]!r}?" if close else f"names() lists all {len(plain)}"
        raise ValueError(sentence(who, "there is no optimizer of this name", got=name, hint=hint))
    return plain[_plain(name)]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in "-_ ")
