"""Optimizers by name, for command lines and files of settings."""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module

from minima.errors import sentence
from minima.optim.optimizer import Optimizer
from minima.optim.rules import RULES

__all__ = ["AROUND", "FAMILIES", "LOOPS", "by_name", "families", "meant", "names"]

AROUND = {"Lookahead": "minima.optim.loops.lookahead", "SAM": "minima.optim.loops.sam"}
"""What is put around another optimizer, and is none by itself, with its module."""
LOOPS = {"LBFGS": "minima.optim.loops.lbfgs", **AROUND}
"""What is no rule: loops around a step."""
FAMILIES = {
    "SGD": "Gradient descent, momentum and averages",
    "AdaGrad": "A step size for each element, from its gradients",
    "Rprop": "The sign of the gradient",
    "Adam": "Adam and its kin",
    "LARS": "The norm of each tensor",
    "Adafactor": "Little memory: rows and columns",
    "SophiaG": "More than the gradient: curvature and loss",
    "DoG": "No learning rate to find",
    "Muon": "Matrices",
    "LBFGS": "Loops around steps",
}
"""The families, by the first member of each: an optimizer belongs to the one that its place in RULES says."""
_PLACES = {**RULES, "LBFGS": LOOPS["LBFGS"]}
"""Every optimizer with its module."""


def names() -> tuple[str, ...]:
    """The names of all optimizers, in lower case, from the simplest to the hardest.

    >>> from minima import optim
    >>> optim.names()[:3]
    ('sgd', 'schedulefreesgd', 'asgd')

    As what a command line may be given: ``parser.add_argument("--optimizer", choices=optim.names())``.
    """
    return tuple(map(str.lower, _PLACES))


def families() -> dict[str, list[str]]:
    """The names of all optimizers and loops by their families, from the simplest to the hardest.

    >>> from minima.optim.catalog import families
    >>> families()["The sign of the gradient"]
    ['Rprop', 'Signum', 'Lion']
    """
    found: dict[str, list[str]] = {}
    family = ""
    for name in (*RULES, *LOOPS):
        family = FAMILIES.get(name, family)
        found.setdefault(family, []).append(name)
    return found


def by_name(name: str) -> type[Optimizer]:
    """The optimizer class with a name, in any case; ``-``, ``_`` and spaces are ignored.

    Args:
        name: Such as ``"adamw"``, ``"AdamW"`` or ``"schedule-free-sgd"``.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: There is no such optimizer, or it wraps another one: ``"sam"``, ``"lookahead"``.

    >>> from minima import optim
    >>> optim.by_name("adamw") is optim.AdamW
    True
    """
    found = meant("minima.optim.by_name", name, _PLACES, AROUND)
    return getattr(import_module(_PLACES[found]), found)


def meant(who: str, name: str, known: Iterable[str], around: Iterable[str] = ()) -> str:
    """Which of the ``known`` names is meant; ``who`` complains where none is, or one that goes ``around`` others."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - what users pass is not typed
        raise TypeError(sentence(who, "name must be a string", got=name))
    plain = {_plain(one): one for one in known}
    if _plain(name) not in plain:
        if loop := next((one for one in around if _plain(one) == _plain(name)), ""):
            rule, hint = f"{loop} goes around an optimizer, and is none by itself", f"write {loop}(optimizer)"
            raise ValueError(sentence(who, rule, hint=hint))
        close = get_close_matches(_plain(name), plain, 1)
        hint = f"did you mean {plain[close[0]]!r}?" if close else f"names() lists all {len(plain)}"
        raise ValueError(sentence(who, "there is no optimizer of this name", got=name, hint=hint))
    return plain[_plain(name)]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in "-_ ")
