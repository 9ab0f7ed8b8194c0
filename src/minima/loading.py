"""Loading by name: what a mapping of arrays lacks, has too much of, or has in another shape, in one sentence.

A class whose state is large has, beside `state_dict` and `load_state_dict`, two methods that need no memory for it:

- ``_state_views()`` gives what `state_dict` gives, with its own arrays in the place of copies;
- ``_prepare_load(state_dict)`` checks what `load_state_dict` is given, changes nothing, and gives a function of no
  arguments that writes it, which cannot fail. It keeps none of the arrays.

A subclass that overrides the public one of a pair is taken at its word: the private one does not count any more.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from minima.errors import sentence

__all__ = ["LoadReport", "fitting", "halves", "state_views"]


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
        The names without counterpart, and by name each value that has one: a copy, if it lies in the arrays ``own``.
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
    in_own = _overlap(own.values())
    for name, array in own.items():
        if name not in values:
            continue
        try:
            value = np.asarray(values[name])
            value = value.copy() if in_own(value) else value  # else it would change while others are written
        except (TypeError, ValueError, RuntimeError) as error:  # such as a tensor on a GPU
            wrong.append(f"{name!r} cannot be read as an array ({error})")
            continue
        if value.shape != array.shape:
            wrong.append(f"{name!r} has shape {value.shape} where {array.shape} is needed")
        elif value.dtype != array.dtype if exact else not np.can_cast(value.dtype, array.dtype, casting="same_kind"):
            wrong.append(f"{name!r} is {value.dtype} where {array.dtype} is needed")
        elif not array.flags.writeable:
            wrong.append(f"{name!r} lies in memory that is read-only")
        else:
            found[name] = value
    if wrong:
        raise ValueError(sentence(who, f"{source} must fit {target}: {', '.join(wrong)}", hint="nothing was loaded"))
    return report, found


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names))


def _overlap(arrays: Iterable[NDArray[Any]]) -> Callable[[NDArray[Any]], bool]:
    """Whether an array may share memory with one of these."""
    bounds = sorted(byte_bounds(array) for array in arrays if array.size)
    starts = [low for low, _ in bounds]
    ends = list(accumulate((high for _, high in bounds), max))

    def overlaps(value: NDArray[Any]) -> bool:
        low, high = byte_bounds(value)
        before = bisect_left(starts, high)
        return before > 0 and ends[before - 1] > low

    return overlaps


def state_views(each: Any) -> Any:
    """The state dict of an object, which may consist of its own arrays: to be read at once, and not to be kept."""
    views = _beside(each, "state_dict", "_state_views")
    return each.state_dict() if views is None else views()


def halves(each: Any) -> Callable[[Any], Callable[[], object]] | None:
    """What prepares the loading of an object's state, where it loads in two halves."""
    return _beside(each, "load_state_dict", "_prepare_load")


def _beside(each: Any, public: str, private: str) -> Callable[..., Any] | None:
    """The private method of the class that has defined the public one, if it has it."""
    for kind in () if public in getattr(each, "__dict__", {}) else type(each).__mro__:
        if public in vars(kind):
            method = vars(kind).get(private)
            return None if method is None else partial(method, each)
    return None
