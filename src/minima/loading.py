"""Loading by name: what a mapping of arrays lacks, has too much of, or has in another shape, in one sentence."""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from minima.errors import sentence

__all__ = ["LoadReport", "fitting"]


class LoadReport(NamedTuple):
    """The names for which loading found no counterpart; both empty when everything fitted."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def fitting(
    who: str,
    target: str,
    own: Mapping[str, NDArray[Any]],
    given: Any,
    *,
    strict: bool = True,
    exact: bool = False,
    source: str = "state_dict",
) -> tuple[LoadReport, dict[str, NDArray[Any]]]:
    """What of the given is to be copied into each of the arrays ``own``; or one error that lists every misfit.

    Args:
        who: The public name that complains.
        target: What the arrays belong to, as the message calls it.
        own: The arrays to be written to, by name.
        given: Name to array: a NumPy array, a tensor of any library that lives in memory, a list.
        strict: Whether the names must be the same. Shapes must be in any case.
        exact: Whether dtypes must be the same; else a value may have any of the same kind.
        source: What the message calls the given.

    Returns:
        The names without counterpart, and by name a copy of each value that has one.
    """
    if not isinstance(given, Mapping):
        raise TypeError(sentence(who, f"{source} must be a mapping of names to arrays", got=given))
    values = cast(Mapping[str, Any], given)
    report = LoadReport([name for name in own if name not in values], [name for name in values if name not in own])
    wrong: list[str] = []
    if strict and report.missing_keys:
        wrong.append(f"missing {_listed(report.missing_keys)}")
    if strict and report.unexpected_keys:
        wrong.append(f"unexpected {_listed(report.unexpected_keys)}")
    found: dict[str, NDArray[Any]] = {}
    for name, array in own.items():
        if name not in values:
            continue
        try:
            value = np.asarray(values[name]).copy()  # it may be a view of another of the arrays
        except (TypeError, ValueError, RuntimeError) as error:  # such as a tensor on a GPU
            wrong.append(f"{name!r} cannot be read as an array ({error})")
            continue
        if value.shape != array.shape:
            wrong.append(f"{name!r} has shape {value.shape} where {array.shape} is needed")
        elif value.dtype != array.dtype if exact else not np.can_cast(value.dtype, array.dtype, casting="same_kind"):
            wrong.append(f"{name!r} is {value.dtype} where {array.dtype} is needed")
        else:
            found[name] = value
    if wrong:
        raise ValueError(sentence(who, f"{source} must fit {target}: {', '.join(wrong)}", hint="nothing was loaded"))
    return report, found


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names))
