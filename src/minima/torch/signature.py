"""What a dialect makes of a class: a constructor with a true signature, and a docstring, for all who look for them."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter
from textwrap import fill
from typing import Any, cast

import torch

from minima.optim.language.declaration import CHOICES
from minima.optim.language.trace import EMA_DECAY, MAX_NORM
from minima.torch.dialect import CAPTURABLE, DECAY, Dialect, Entry

__all__ = ["NUMBER", "OPTIONS", "Params", "constructor", "described"]

Params = torch.nn.Module | Iterable[torch.Tensor] | Iterable[tuple[str, torch.Tensor]] | Iterable[dict[str, Any]]
"""What an optimizer takes: a model, tensors, pairs of name and tensor, or one dict for each group."""
NUMBER = float | torch.Tensor | Callable[[int], float]
"""A hyperparameter may be a number, a tensor of one, or a function of the step."""
_KEYWORDS: dict[str, tuple[Any, Any]] = {
    "engine": (None, str | None),
    "state_dtype": (None, str | None),
    "groups": (None, Mapping[str, Mapping[str, Any]] | None),
    "decay": (None, str | None),
    "cautious": (False, bool),
    MAX_NORM: (None, float | Callable[[int], float] | None),
    EMA_DECAY: (None, float | Callable[[int], float] | None),
    "rounding": (None, str | None),
    "seed": (0, int),
    "on_nonfinite": ("propagate", str),
    CAPTURABLE: (False, bool),
}
"""The keywords of every constructor besides the hyperparameters: their defaults and types."""
OPTIONS = tuple(name for name in _KEYWORDS if name not in ("groups", *CHOICES))
"""Those that are attributes of the optimizer, and no entries of groups unless PyTorch has them there."""


def constructor(cls: type, dialect: Dialect) -> Any:
    """The ``__init__`` of a class, whose signature ``help``, editors and parsers of command lines read."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        self._make(*args, **kwargs)

    made: Any = __init__
    made.__signature__ = shown = _signature(dialect)
    made.__annotations__ = {name: each.annotation for name, each in shown.parameters.items() if name != "self"}
    made.__annotations__["return"] = None
    made.__qualname__, made.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    return made


def described(dialect: Dialect) -> str:
    """The docstring of a class, made from its rule's."""
    text = (inspect.getdoc(dialect.rule) or "").partition("\n>>> ")[0].rstrip()
    keywords = ", ".join(f"``{name}``" for name in ("groups", *CHOICES, *OPTIONS))
    more = f"The keywords {keywords} are common to all optimizers; see `minima.torch.Optimizer`."
    if not dialect.is_foreign:
        tuples = [f"``{x.name}`` is ``({', '.join(x.means)})``" for x in dialect.table if len(x.means) > 1]
        renamed = [
            f"``{x.means[0]}`` is ``{x.name}``" for x in dialect.table if x.means != (x.name,) and x.means[1:] == ()
        ]
        here = f"Here {', and '.join([*tuples, *renamed])}. " if tuples or renamed else ""
        return f"{text}\n\n{fill(here + more, 120)}\n"
    first = text.partition("\n\n")[0]
    same = (
        f"This is ``torch.optim.{dialect.name}``, with its arguments, its numbers up to rounding, its group entries "
        "and its state names; each loads the state dicts of the other. A step takes the fewest possible passes over "
        "memory: one, unless the algorithm uses norms, rows and columns, or matrix products. "
        f"{_switches(dialect)}``{dialect.name}.formula()`` returns the equations. minima's own definition is "
        f"``adapt(minima.optim.{dialect.rule.__name__})``."
    )
    return f"""{first}

{fill(same, 120, break_on_hyphens=False)}

Args:
    params: The tensors to optimize, pairs of name and tensor, a model, or groups as dicts.
{chr(10).join(f"    {x.name}: {_meaning(dialect, x)}" for x in dialect.table if x.text)}

{fill(more, 120)}
"""


def _switches(dialect: Dialect) -> str:
    """What PyTorch's choices among its own ways of stepping do here; empty where it has none."""
    names = ("foreach", "fused", "differentiable")
    shown = [dialect.entries[name] for name in names if name in dialect.entries]
    free, refused = ([f"``{x.name}``" for x in shown if bool(x.refused) is is_refused] for is_refused in (False, True))
    found = [f"{' and '.join(free)} {'are' if free[1:] else 'is'} accepted without effect"] if free else []
    found += [f"{' and '.join(refused)} must be False"] if refused else []
    return f"{'; '.join(found)}. " if found else ""


def _meaning(dialect: Dialect, entry: Entry) -> str:
    """What an argument is, and what it may be."""
    declared = [dialect.declaration.hypers[meant] for meant in entry.means if meant in dialect.declaration.hypers]
    intervals = {each.interval for each in declared if not (each.is_flag or each.choices)}
    counts = {each.range for each in declared if each.choices and not entry.words}
    ranges = [f" In {each}." for each in intervals] + [f" {each.capitalize()}." for each in counts]
    return "".join([entry.text, *ranges])


def _signature(dialect: Dialect) -> inspect.Signature:
    """The signature of ``__init__``, ``self`` included."""
    shown = [entry for entry in dialect.table if entry.is_argument]
    found = [Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)]
    found.append(Parameter("params", Parameter.POSITIONAL_OR_KEYWORD, annotation=Params))
    for entry in sorted(shown, key=lambda entry: entry.kw_only):
        kind = Parameter.KEYWORD_ONLY if entry.kw_only else Parameter.POSITIONAL_OR_KEYWORD
        found.append(Parameter(entry.name, kind, default=entry.default, annotation=_type(entry)))
    for name, (default, annotation) in _KEYWORDS.items():
        if name not in dialect.entries:
            found.append(Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation))
    return inspect.Signature(found, return_annotation=None)


def _type(entry: Entry) -> Any:
    if len(entry.means) > 1:
        return tuple[tuple(NUMBER | None if part is None else NUMBER for part in entry.default)]
    if entry.name in (MAX_NORM, EMA_DECAY):
        return _KEYWORDS[entry.name][1]
    default: Any = entry.default
    if isinstance(default, tuple):
        return tuple[tuple(map(type, cast(tuple[Any, ...], default)))]
    if entry.name == DECAY:
        return str
    if isinstance(default, bool):
        return bool
    if any(isinstance(word, str) for word in (default, *entry.words.values())):
        return str | None
    if not entry.means:
        return bool | None
    return NUMBER | None if entry.default is None else NUMBER
