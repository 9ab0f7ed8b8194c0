"""What a factory is: its arguments as somebody else names them, and the rule that they are the settings of."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from minima import optim
from minima.errors import sentence
from minima.jax.core import OPTIONS, Core
from minima.jax.transformation import Transformation
from minima.jax.xla import Array, traced

__all__ = ["REQUIRED", "Dialect", "Entry", "factory", "habits", "own_names"]

REQUIRED: Any = inspect.Parameter.empty
"""The default of an argument that must be given."""


@dataclass(frozen=True)
class Entry:
    """An argument of a factory."""

    name: str
    default: Any = REQUIRED
    to: str = ""
    """The hyperparameter of the rule that it is; empty where it is none."""
    kw_only: bool = False
    read: Callable[[Any], Any] | None = None
    """What the value means to the rule; by default itself."""
    only: tuple[Any, ...] = ()
    """The values that can be had, of what is no hyperparameter."""
    hint: str = ""
    """What to do in place of the others."""
    is_constant: bool = False
    """Whether it cannot be a function of the step, which would not do here what it does elsewhere."""
    or_else: str = ""
    """The argument whose value it has where it is None."""


@dataclass(frozen=True)
class Dialect:
    """A factory: its name, its rule, and a table of its arguments."""

    name: str
    rule: type[optim.Optimizer]
    table: tuple[Entry, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What of the rule is so, and cannot be asked for."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The options whose defaults are others."""
    otherwise: "Dialect | None" = None
    """What it is with ``nesterov=True``, where that is another rule."""
    module: str = "minima.jax"
    text: str = ""
    """What the docstring says beyond the rule's own."""

    @property
    def spelling(self) -> dict[str, str]:
        """The hyperparameters of the rule, by what the factory calls them."""
        return {entry.name: entry.to for entry in self.table if entry.to}

    @property
    def constants(self) -> dict[str, str]:
        """The hyperparameters of the rule that cannot be functions of the step, with what to do instead."""
        return {entry.to: entry.hint for entry in self.table if entry.is_constant}


def factory(dialect: Dialect) -> Callable[..., Transformation]:
    """Make the function."""
    signature = inspect.Signature([*_parameters(dialect)])

    def made(*args: Any, **kwargs: Any) -> Transformation:
        try:
            bound = signature.bind(*args, **_aliased(dialect, kwargs))
        except TypeError as error:
            raise TypeError(
                sentence(dialect.name, f"{error}", hint=f"it is {dialect.name}{_short(signature)}")
            ) from None
        bound.apply_defaults()
        return _made(dialect, dict(bound.arguments))

    function: Any = made
    function.__signature__ = signature
    function.__name__ = function.__qualname__ = dialect.name
    function.__module__ = dialect.module
    function.__doc__ = "\n\n".join(filter(None, [dialect.text, inspect.getdoc(dialect.rule)]))
    function.dialect = dialect
    return function


def _made(dialect: Dialect, given: dict[str, Any]) -> Transformation:
    options = {name: given.pop(name) for name in OPTIONS}
    if dialect.otherwise is not None and given.get("nesterov") is True:
        other = dialect.otherwise
        return _made(other, {**{name: x for name, x in given.items() if name in _names(other)}, **options})
    values = {name: declared.default for name, declared in dialect.rule.hyperparameters.items()} | dict(dialect.fixed)
    mask: Any = None
    for entry in dialect.table:
        value = given[entry.name]
        if value is None and entry.or_else:
            value = given[entry.or_else]
        if entry.name in ("mask", "weight_decay_mask"):
            mask = value
        elif entry.to:
            values[entry.to] = entry.read(value) if entry.read else value
        elif not _is_one_of(value, entry.only):
            allowed = " or ".join(map(repr, entry.only))
            rule = f"{entry.name} must be {allowed}"
            raise ValueError(sentence(dialect.name, rule, got=value, hint=entry.hint))
    core = Core(dialect.name, dialect.rule, values, options, dialect.spelling, dialect.constants, mask)
    return Transformation(core)


def _is_one_of(value: Any, allowed: tuple[Any, ...]) -> bool:
    """Whether a value is one of these. A number that is traced, since somebody injects it, is trusted to be."""
    if isinstance(value, Array) and not value.ndim:
        if traced(value):
            return any(isinstance(one, float) for one in allowed)
        value = value.item()
    return any(value is one or (type(value) is type(one) and value == one) for one in allowed)


def _names(dialect: Dialect) -> set[str]:
    return {entry.name for entry in dialect.table}


def _parameters(dialect: Dialect) -> list[inspect.Parameter]:
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    found = [inspect.Parameter(each.name, kinds[each.kw_only], default=each.default) for each in dialect.table]
    found.sort(key=lambda parameter: parameter.kind)
    rates = tuple(each.name for each in dialect.table if each.to == "lr")
    adjustable = {"adjustable": rates} if rates else {}
    options = {**OPTIONS, **adjustable, **dialect.options}
    return found + [inspect.Parameter(name, kinds[1], default=default) for name, default in options.items()]


def _aliased(dialect: Dialect, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords, where the other faces' spellings are understood too."""
    known = {*_names(dialect), *OPTIONS}
    found: dict[str, Any] = {}
    for name, value in kwargs.items():
        other = {"decay": "decay_mode", "wd": "weight_decay", "weight_decay": "wd"}.get(name, name)
        spelled = name if name in known or other not in known else other
        if spelled in found:
            raise TypeError(sentence(dialect.name, f"{spelled} is given twice"))
        found[spelled] = value
    return found


def _short(signature: inspect.Signature) -> str:
    names = [name for name in signature.parameters if name not in OPTIONS]
    return f"({', '.join(names)}, ...)"


def own_names(rule: type[optim.Optimizer], module: str) -> Dialect:
    """A rule with its own names, order and defaults."""
    table = [Entry(name, declared.default, name, declared.kw_only) for name, declared in rule.hyperparameters.items()]
    return Dialect(rule.__name__.lower(), rule, tuple(table), module=module)


_HABITS = {"lr": "learning_rate", "beta1": "b1", "beta2": "b2", "beta3": "b3", "wd": "weight_decay"}
"""What Optax calls what all optimizers have."""


def habits(rule: type[optim.Optimizer]) -> Dialect:
    """A rule that Optax lacks, in Optax's habits: its names, and a learning rate that comes first."""
    own = own_names(rule, "minima.jax")
    table = [replace(entry, name=_HABITS.get(entry.name, entry.name)) for entry in own.table]
    table.sort(key=lambda entry: entry.name != "learning_rate")
    return replace(own, table=tuple(table))
