"""What every schedule can do: be called, compared, printed, saved, read back, scaled and drawn."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from importlib import import_module
from io import StringIO
from typing import Any, cast, overload

import numpy as np

from minima.axes import axes
from minima.checks import integer, one_of
from minima.errors import sentence
from minima.optim.schedules.arguments import ARGUMENTS

__all__ = ["Schedule", "adopt", "from_dict", "scale"]

_PACKAGE = __name__.rpartition(".")[0]
_KNOWN: dict[str, type["Schedule"]] = {}
"""Every schedule that there is, by the name under which it is saved."""


def _is_ours(kind: "type[Schedule]") -> bool:
    return kind.__module__.startswith(f"{_PACKAGE}.")


def _saved_as(kind: "type[Schedule]") -> str:
    return kind.__name__ if _is_ours(kind) else f"{kind.__module__}.{kind.__qualname__}"


class Schedule(ABC):
    """A hyperparameter as a function of the step; a frozen dataclass whose fields are its arguments.

    For your own schedule, derive a dataclass with a `formula` and a `span`; it is saved, printed and plotted like those
    of this module. Arguments with the usual names (``peak``, ``steps``, ``warmup``, ``end``, ...) are checked in the
    same way.

    >>> from dataclasses import dataclass
    >>> from minima.optim.schedules import Schedule, from_dict
    >>> @dataclass(frozen=True, repr=False)
    ... class triangle(Schedule):
    ...     peak: float
    ...     steps: int
    ...     @property
    ...     def span(self):
    ...         return self.steps
    ...     def formula(self, step):
    ...         return self.peak * (1 - abs(2 * step / self.steps - 1))
    >>> lr = triangle(0.1, steps=4)
    >>> [lr(step) for step in range(5)]
    [0.0, 0.05, 0.1, 0.05, 0.0]
    >>> from_dict(lr.state_dict()) == lr
    True
    """

    def __init_subclass__(cls) -> None:
        if not _is_ours(cls) and cls.__name__ in _KNOWN:
            raise TypeError(sentence("Schedule", "the name of a schedule of minima is taken", got=cls.__name__))
        _KNOWN[_saved_as(cls)] = cls

    def __post_init__(self) -> None:
        who = type(self).__name__
        for field in _fields(self):
            value = getattr(self, field.name)
            # An argument that was left out may be None until the class itself fills it.
            if field.name in ARGUMENTS and not (value is None and field.default is None):
                self._set(**{field.name: ARGUMENTS[field.name](who, field.name, value)})
        warmup, steps = (vars(self).get(name) for name in ("warmup", "steps"))
        if warmup is not None and steps is not None and warmup >= steps:
            raise ValueError(sentence(who, f"warmup must be less than steps, which is {steps}", got=warmup))

    def _set(self, **values: Any) -> None:
        """Set fields while the object is being made: from then on a frozen one refuses."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @abstractmethod
    def formula(self, step: Any) -> Any:
        """The value at a step, a number at least 0 or an array of such numbers, with operations that work for both."""

    @property
    @abstractmethod
    def span(self) -> int:
        """The number of steps that a plot should show: the whole run, if its length is known."""

    @overload
    def __call__(self, step: float) -> float: ...
    @overload
    def __call__(self, step: Any) -> Any: ...
    def __call__(self, step: Any) -> Any:
        """The value at a step.

        Args:
            step: The number of steps taken so far, at least 0: a number, or an array of NumPy or JAX of any shape, also
                one that ``jax.jit`` traces.

        Returns:
            A ``float``, or an array of that shape: float64 in NumPy, JAX's default in JAX.

        Raises:
            TypeError: ``step`` is something else.
            ValueError: ``step`` is a negative number. (In arrays no value is looked at.)
        """
        one: Any = step.item() if isinstance(step, cast(Any, np.generic)) else step
        who = type(self).__name__
        if isinstance(one, (int, float)):
            if not one >= 0:
                raise ValueError(sentence(who, "step must be a number of at least 0", got=one))
            return float(self.formula(one))
        if not hasattr(one, "__array_namespace__"):
            raise TypeError(sentence(who, "step must be a number or an array", got=one))
        if isinstance(one, np.ndarray) and not np.ndim(step):  # arithmetic would make a number of it
            return np.asarray(self(step.item()))
        return self.formula(1.0 * step)  # integers of few bits would overflow

    def __repr__(self) -> str:
        parts: list[str] = []
        for field in _fields(self):
            value = getattr(self, field.name)
            if field.default is MISSING or value != field.default:
                parts.append(f"{field.name}={value!r}" if field.kw_only or parts else repr(value))
        return f"{type(self).__name__}({', '.join(parts)})"

    def __mul__(self, by: float) -> "scale":
        """``0.5 * schedule``: half of it at every step."""
        return scale(self, by)

    __rmul__ = __mul__

    def state_dict(self) -> dict[str, Any]:
        """The schedule as a plain dict for JSON: its name under ``schedule``, and its arguments.

        The name of your own schedule includes the module, because another module may use the same name.

        >>> from minima.optim.schedules import linear
        >>> linear(0.1, steps=100).state_dict()
        {'schedule': 'linear', 'peak': 0.1, 'steps': 100, 'warmup': 0, 'end': 0.0}

        Raises:
            TypeError: A part of it is a function, of which nothing can be saved but its name.
        """
        who = type(self).__name__
        if not is_dataclass(self):
            raise TypeError(sentence(who, "a schedule that is saved must be a dataclass"))
        arguments = {field.name: _plain(who, getattr(self, field.name)) for field in _fields(self)}
        return {"schedule": _saved_as(type(self)), **arguments}

    def plot(self, steps: int | None = None, ax: Any = None) -> Any:
        """Plot the value over the steps, as a step function, with Matplotlib.

        Args:
            steps: Number of steps to plot, at least 1; by default enough to show its shape.
            ax: The Axes; by default those of a new figure.

        Returns:
            The Axes.

        Raises:
            ImportError: ``ax`` is not given and Matplotlib is not installed.
        """
        who = f"{type(self).__name__}.plot"
        last = self.span if steps is None else integer(who, "steps", steps, low=1)
        if ax is None:
            ax = axes(who, figsize=(6, 3))
            ax.set_title(repr(self), loc="left", fontsize="medium")
        shown = sorted({round(last * part / 1000) for part in range(1001)})
        # A line from value to value would show a jump, of a staircase or of a restart, as a slope that is not there.
        ax.plot(shown, [self(step) for step in shown], drawstyle="steps-post", label=repr(self))
        ax.set_xlabel("step")
        ax.set_ylabel("value")
        return ax

    def _repr_svg_(self) -> str | None:  # notebooks show this
        try:
            figure: Any = import_module("matplotlib.figure")
        except ImportError:
            return None
        drawn, text = figure.Figure(figsize=(6, 3), layout="constrained"), StringIO()  # which pyplot knows nothing of
        self.plot(ax=drawn.subplots()).set_title(repr(self), loc="left", fontsize="medium")
        drawn.savefig(text, format="svg")
        return text.getvalue()


@dataclass(frozen=True, repr=False)
class scale(Schedule):
    """Another schedule, multiplied by a number; short form: ``0.5 * schedule``.

    Args:
        inner: A schedule, or any function of the step.
        by: The factor, at least 0.

    >>> from minima.optim.schedules import linear
    >>> half = 0.5 * linear(0.1, steps=100)
    >>> half
    scale(linear(0.1, steps=100), by=0.5)
    >>> half(0)
    0.05
    """

    inner: Callable[[Any], Any]
    by: float

    @property
    def span(self) -> int:
        return span(self.inner)

    def formula(self, step: Any) -> Any:
        return self.by * self.inner(step)


def from_dict(state: Mapping[str, Any]) -> Schedule:
    """The schedule from the result of `Schedule.state_dict`.

    Args:
        state: A dict with the schedule's name under ``schedule``, and its arguments. Arguments with defaults may be
            omitted, so a configuration file can use the same form. Your own schedule, which is saved with its module,
            may be given by its name alone if the name is unique.

    Raises:
        TypeError: ``state`` is not such a dict, or an argument is missing, unknown, or of the wrong type.
        ValueError: The name is unknown or ambiguous, or an argument is out of range.

    >>> from minima.optim.schedules import from_dict
    >>> from_dict({"schedule": "cosine", "peak": 0.001, "steps": 1000, "warmup": 50})
    cosine(0.001, steps=1000, warmup=50)
    """
    if not isinstance(cast(Any, state), Mapping) or "schedule" not in state:
        raise TypeError(sentence("from_dict", "state must be a dict that names a schedule under 'schedule'", got=state))
    arguments = dict(state)
    kind: Any = _found(arguments.pop("schedule"))
    name = kind.__name__
    taken = {field.name: field for field in _fields(kind)}
    for unknown in arguments.keys() - taken.keys():
        raise TypeError(sentence(name, f"there is no argument {unknown!r}", hint=f"it takes {', '.join(taken)}"))
    for field in taken.values():
        if field.name not in arguments and field.default is field.default_factory is MISSING:
            raise TypeError(sentence(name, f"{field.name} is missing", got=state))
    return kind(**{key: _read(value) for key, value in arguments.items()})


def adopt(present: Any, loaded: Any) -> Any:
    """``loaded``, in which each part of ``present`` that remembers something takes the place of its counterpart.

    Whoever observes a metric holds that part, and goes on with it.
    """
    if type(present) is not type(loaded):
        return loaded
    if isinstance(loaded, tuple):
        mine, others = cast(tuple[Any, ...], present), cast(tuple[Any, ...], loaded)
        return tuple(map(adopt, mine, others)) if len(mine) == len(others) else others
    if not isinstance(loaded, Schedule):
        return loaded
    if hasattr(present, "load_state_dict"):
        present.load_state_dict(loaded.state_dict())
        return present
    parts = {field.name: adopt(getattr(present, field.name), getattr(loaded, field.name)) for field in _fields(loaded)}
    return replace(cast(Any, loaded), **parts)


def _found(name: Any) -> type[Schedule]:
    """The class that was saved under a name."""
    kinds = {known: kind for known, kind in _KNOWN.items() if is_dataclass(kind)}
    if isinstance(name, str) and name not in kinds:
        alike = [known for known, kind in kinds.items() if _may_be(kind, name)]
        if len(alike) > 1:
            rule = f"schedule must say which one is meant, {' or '.join(map(repr, sorted(alike)))}"
            raise ValueError(sentence("from_dict", rule, got=name))
        name = alike[0] if alike else name
    return kinds[one_of("from_dict", "schedule", name, tuple(sorted(kinds)))]


def _may_be(kind: type[Schedule], name: str) -> bool:
    """Whether a name, under which nothing is known, can mean this class.

    It can be the bare name; or the class is saved by the script that defines it and loaded by one that imports that, or
    the other way round.
    """
    main = f"__main__.{kind.__qualname__}"
    return name in (kind.__name__, main) or (_saved_as(kind) == main and name.endswith(f".{kind.__qualname__}"))


def span(inner: Callable[[Any], Any], otherwise: int = 100) -> int:
    """The span of a part of another schedule, where it has one: a function has none."""
    return inner.span if isinstance(inner, Schedule) else otherwise


def _fields(one: Any) -> tuple[Field[Any], ...]:
    """The fields that are arguments."""
    return tuple(field for field in fields(one) if field.init) if is_dataclass(one) else ()


def _plain(who: str, value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Schedule):
        return value.state_dict()
    if isinstance(value, tuple):
        return [_plain(who, each) for each in cast(tuple[Any, ...], value)]
    if callable(value):
        raise TypeError(sentence(who, "a function cannot be saved", got=value, hint="derive it from Schedule"))
    return value


def _read(value: Any) -> Any:
    """A value from what `_plain` made of it."""
    if isinstance(value, Mapping) and "schedule" in value:
        return from_dict(cast(Mapping[str, Any], value))
    if isinstance(value, list):
        return tuple(map(_read, cast(list[Any], value)))
    return cast(Any, value)
