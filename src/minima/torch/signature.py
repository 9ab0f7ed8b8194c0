"""The signature that a dialect gives a constructor, with types, for ``help``, editors and parsers of command lines."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter
from typing import Any

import torch

from minima.torch.dialect import DECAY, Dialect, Entry

__all__ = ["NUMBER", "Params", "signature"]

Params = torch.nn.Module | Iterable[torch.Tensor] | Iterable[tuple[str, torch.Tensor]] | Iterable[dict[str, Any]]
"""What an optimizer takes: a model, tensors, pairs of name and tensor, or one dict for each group."""
NUMBER = float | torch.Tensor | Callable[[int], float]
"""A hyperparameter may be a number, a tensor of one, or a function of the step."""
_KEYWORDS: dict[str, tuple[Any, Any]] = {
    "engine": (None, str | None),
    "state_dtype": (None, str | None),
    "groups": (None, Mapping[str, Mapping[str, Any]] | None),
    "decay": (None, str | None),
    "rounding": (None, str | None),
    "seed": (0, int),
    "on_nonfinite": ("propagate", str),
}
"""The keywords of every constructor besides the hyperparameters: their defaults and types."""


def signature(dialect: Dialect) -> inspect.Signature:
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
        return tuple[(NUMBER,) * len(entry.means)]
    if entry.name == DECAY:
        return str
    if isinstance(entry.default, bool):
        return bool
    if not entry.means:
        return bool | None
    return NUMBER | None if entry.default is None else NUMBER
