"""What an optimizer knows, as plain data: names, arrays and numbers, to be kept and to be loaded again.

A state dict has these entries::

    algorithm      the name of the class
    state_dtype    how the state is kept
    rounding, seed how parameters in half precision are written to
    t, skipped     steps taken, and steps left out for gradients that were not finite
    defaults       the optimizer's hyperparameters by name, its way of decay, whether it maximizes,
                   and whether its steps are cautious
    groups         for every group its parameters, as "params", and the hyperparameters of its own
    steps          for every parameter the number of steps that it has taken
    new            the parameters that have state with which no step has been taken
    state          for every parameter its state by name, as arrays; those in 8 bits with their scales, "cache.scale"
    shared         the state that all parameters share by name, as arrays; where the rule has such
    train_mode     whether the parameters held the weights to train; where the rule has others to evaluate
    loops          what each loop around the optimizer knows, the outermost first; where there is one

A parameter is called by its name, or where it has none by its position. A schedule stands there as the dict that its
own ``state_dict()`` gives, any other function of the step as ``{"function": its name}``, and nothing of what it may
remember.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, cast

import numpy as np

from minima.checks import flag, integer
from minima.errors import sentence
from minima.loading import LoadReport, fitting
from minima.optim import schedules
from minima.optim.core.clock import MOST
from minima.optim.core.options import check_rounding
from minima.optim.core.stepper import Stepper
from minima.optim.core.variants import MASTER
from minima.optim.engines import Array, Stored
from minima.optim.groups import ParamGroup
from minima.optim.host import Slot, TensorHost
from minima.optim.language.declaration import CHOICES, EXTRAS, OPTIONS, Declaration
from minima.optim.language.rule import Rule
from minima.optim.language.trace import EMA
from minima.optim.schedules.schedule import adopt

__all__ = ["LOOPS", "Stateful", "described", "dump", "loops_of", "prepare", "refuse_loops"]

LOOPS = "loops"
"""The entry of a state dict that says what loops around the optimizer know."""

_ENTRIES = ("algorithm", "state_dtype", "t", "skipped", "defaults", "groups", "steps", "state")
"""What must be there. (Earlier versions had ``decay`` beside the defaults, and no ``rounding``, ``seed``, ``new``.)"""


class Stateful(Protocol):
    """What of an optimizer there is to know, besides its parameters."""

    rule: ClassVar[Rule | None]

    @property
    def t(self) -> int: ...
    @t.setter
    def t(self, t: int) -> None: ...

    defaults: dict[str, Any]
    param_groups: tuple[ParamGroup, ...]
    state_dtype: str | None
    rounding: str | None
    seed: int

    @property
    def skipped(self) -> int: ...
    @skipped.setter
    def skipped(self, skipped: int) -> None: ...
    @property
    def steps(self) -> tuple[int, ...]: ...


def dump(
    optimizer: Stateful,
    declaration: Declaration,
    slots: Sequence[Slot],
    stepper: Stepper,
    *,
    copies: bool = True,
) -> dict[str, Any]:
    """The state dict of an optimizer: a snapshot, of which training on changes nothing; or, without, its own arrays."""
    groups = [
        {"params": _members(group)} | _plain({} if group.own is optimizer.defaults else group.own)
        for group in optimizer.param_groups
    ]
    host = _host(stepper)
    shared = {} if host is None else host.shared_state
    modes = host is not None and host.variants.rule.weights
    return {
        "algorithm": declaration.who,
        **{name: _option(optimizer, name) for name in ("state_dtype", "rounding", "seed")},
        "t": optimizer.t,
        "skipped": optimizer.skipped,
        "defaults": _plain(optimizer.defaults),
        "groups": groups,
        "steps": {slot.key: t for slot, t in zip(slots, optimizer.steps, strict=True)},
        "new": [slot.key for slot in slots if slot.is_new],
        "state": {
            slot.key: {name: array.copy() if copies else array for name, array in _arrays(slot.state)} for slot in slots
        },
        **({"shared": {name: array.copy() if copies else array for name, array in shared.items()}} if shared else {}),
        **({"train_mode": stepper.train_mode} if modes else {}),
    }


def prepare(
    optimizer: Stateful,
    declaration: Declaration,
    slots: Sequence[Slot],
    given: Any,
    stepper: Stepper,
    *,
    strict: bool,
) -> Callable[[], LoadReport]:
    """Check a state dict, and give what takes it over, which cannot fail. Only a rule has a host, and state."""
    who, host = f"{declaration.who}.load_state_dict", _host(stepper)
    flag(who, "strict", strict)
    if not isinstance(given, Mapping) or any(name not in given for name in _ENTRIES):
        got: object = list(cast(Mapping[str, Any], given)) if isinstance(given, Mapping) else given
        raise TypeError(sentence(who, "state_dict must be what an optimizer's state_dict() gave", got=got))
    given = cast(Mapping[str, Any], given)
    refuse_loops(who, given)
    for name, own in (("algorithm", declaration.who), ("state_dtype", _option(optimizer, "state_dtype"))):
        if given[name] != own:
            rule = f"state_dict must be that of an optimizer with {name} {own!r}"
            raise ValueError(sentence(who, rule, got=given[name], hint="nothing was loaded"))
    t, skipped = integer(who, "t", given["t"], high=MOST), integer(who, "skipped", given["skipped"])
    rounding = check_rounding(who, given.get("rounding", _option(optimizer, "rounding")))
    seed = integer(who, "seed", given.get("seed", _option(optimizer, "seed")))
    train_mode = flag(who, "train_mode", given.get("train_mode", stepper.train_mode))
    defaults: Any = given["defaults"]
    unsaid = [name for name in EXTRAS if isinstance(defaults, Mapping) and name not in defaults]
    if isinstance(defaults, Mapping):
        # Options that were not there when it was written stay as they are, or are what they are by default.
        before = {name: choice.default for name, choice in CHOICES.items() if name in declaration.entries}
        before |= {name: optimizer.defaults[name] for name in unsaid if name in before}
        if before and "decay" in given:
            before["decay"] = given["decay"]
        before |= {name: hyper.default for name, hyper in declaration.hypers.items() if hyper.kw_only}
        defaults = before | dict(cast(Mapping[str, Any], defaults))
    hypers = [_Hypers(who, declaration, defaults, optimizer.defaults)]
    hypers[0].must_be_all()
    by_name = "'state' and 'steps' must be dicts by the names of parameters"
    for name in ("state", "steps"):
        if not isinstance(given[name], Mapping):
            raise TypeError(sentence(who, by_name, got=given[name]))
    try:
        arrays = {f"{key}/{name}": array for key, state in given["state"].items() for name, array in state.items()}
        steps = {key: integer(who, f"steps of {key!r}", n, high=MOST) for key, n in given["steps"].items()}
        arrays |= {f"{key}/t": count for key, count in steps.items()}
    except AttributeError:
        raise TypeError(sentence(who, by_name, got=given["state"])) from None
    new = given.get("new", [key for key, count in steps.items() if count == 0])
    if not isinstance(new, list | tuple) or not all(isinstance(key, str) for key in cast(Sequence[object], new)):
        raise TypeError(sentence(who, "'new' must be a list of names of parameters", got=cast(object, new)))
    fresh = frozenset(cast(Sequence[str], new))
    states = {slot.key: _expected(slot, given["state"].get(slot.key), host) for slot in slots}
    own_arrays = {f"{key}/{name}": array for key, state in states.items() for name, array in _arrays(state)}
    counts = {slot.key: np.array(t) for slot, t in zip(slots, optimizer.steps, strict=True)}
    own_arrays |= {f"{key}/t": count for key, count in counts.items()}
    if host is not None and (host.shared_state or given.get("shared")):
        own_arrays |= {f"shared {name}": array for name, array in host.shared_state.items()}
        shared = given.get("shared", {})
        if not isinstance(shared, Mapping):
            raise TypeError(sentence(who, "'shared' must be a dict by the names of state", got=shared))
        arrays |= {f"shared {name}": array for name, array in cast(Mapping[str, Any], shared).items()}
    report, values = fitting(who, "the optimizer", own_arrays, arrays, strict=strict, exact=True)
    # Groups come after it: parameters of other names are the better complaint about another model.
    for group, own in _groups(who, optimizer, given["groups"], strict=strict):
        if group.own is optimizer.defaults:  # the only group is the optimizer itself
            own = {**defaults, **own}
        else:
            own = {name: group.own[name] for name in unsaid if name in group.own} | own
        hypers.append(_Hypers(who, declaration, own, group.own))

    def write() -> LoadReport:
        for each in hypers:
            each.write()
        for name, value in values.items():  # shared state in its own memory
            own_arrays[name][...] = value
        for slot in slots:
            slot.state = states[slot.key]
            if slot.key in steps:  # else it stays as it is
                slot.is_new = bool(slot.state) and slot.key in fresh
        stepper.clock.set([slot.place for slot in slots], [int(counts[slot.key]) for slot in slots])
        optimizer.t, optimizer.skipped, stepper.train_mode = t, skipped, train_mode
        if optimizer.rule is not None:
            optimizer.rounding, optimizer.seed = rounding, seed
        return report

    return write


def loops_of(state_dict: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a state dict says of loops around the optimizer, the outermost first; each has its name as ``loop``."""
    given: Any = state_dict.get(LOOPS) or []
    listed = list(cast(Sequence[Any], given)) if isinstance(given, list | tuple) else [cast(object, given)]
    return [cast(Mapping[str, Any], each) if isinstance(each, Mapping) else {"loop": each} for each in listed]


def refuse_loops(who: str, state_dict: Mapping[str, Any]) -> None:
    """A ValueError where a state dict is that of a loop around an optimizer, such as Lookahead."""
    if loops := [each.get("loop") for each in loops_of(state_dict)]:
        rule, hint = "state_dict must be that of an optimizer without a loop around it", "load it into such a loop"
        raise ValueError(sentence(who, rule, got=loops, hint=f"{hint}; nothing was loaded"))


def _host(stepper: Stepper) -> TensorHost | None:
    """What holds state; None without a rule."""
    return cast("TensorHost | None", stepper.host)


def _option(optimizer: Stateful, name: str) -> Any:
    """An option; without a rule there is none, and an attribute of that name is the class's own."""
    return OPTIONS[name] if optimizer.rule is None else getattr(optimizer, name)


def _expected(slot: Slot, given: Any, host: TensorHost | None) -> dict[str, Stored]:
    """The state that a parameter is going to have: what was saved of it, and what it cannot be without."""
    if host is None or not isinstance(given, Mapping):
        return slot.state
    saved, kept = cast(Mapping[str, Any], given), host.variants.rule.state
    expected: dict[str, Stored] = {}
    for name in dict.fromkeys((*kept, *saved)):
        present, signed = slot.state.get(name), getattr(saved.get(name), "dtype", None) != np.uint8
        if name not in saved:
            if present is not None and name in kept and name not in host.variants.dispensable:
                expected[name] = present
        elif present is not None and present.kind != ("uint8" if signed else "int8"):
            expected[name] = present
        elif name in kept or name in (MASTER, EMA):
            expected[name] = host.made(slot, name, signed=signed)
    return expected


class _Hypers:
    """Hyperparameters out of a state dict, checked, and where to write them."""

    def __init__(self, who: str, declaration: Declaration, given: Any, present: dict[str, Any]) -> None:
        self._who, self._names, self._present = who, list(declaration.entries), present
        self._declaration = declaration
        if not isinstance(given, Mapping):
            raise TypeError(sentence(who, "hyperparameters must be a dict", got=given))
        read = {
            written: self._read(who, declaration.spelled(written), value)
            for written, value in cast(Mapping[str, Any], given).items()
        }
        self._values = declaration.values(who, read)

    def must_be_all(self) -> None:
        if missing := [name for name in self._names if name not in self._values]:
            rule = f"defaults must hold every hyperparameter; {', '.join(missing)} is missing"
            raise ValueError(sentence(self._who, rule, hint="nothing was loaded"))

    def _read(self, who: str, name: str, given: Any) -> Any:
        if not isinstance(given, Mapping):
            hyper = self._declaration.hypers.get(name)
            if given is None and hyper is not None and hyper.default is not None:  # as earlier versions said it
                return hyper.default
            return given
        description = dict(cast(Mapping[str, Any], given))
        if "function" not in description:
            return schedules.from_dict(description)
        if not callable(self._present.get(name)):
            rule = f"{name} was the function {description['function']}, which no state_dict can hold"
            raise ValueError(sentence(who, rule, hint="give the optimizer that function first; nothing was loaded"))
        return self._present[name]

    def write(self) -> None:
        self._values = {name: adopt(self._present.get(name), value) for name, value in self._values.items()}
        if self._present.keys() != self._values.keys():
            self._present.clear()
        self._present.update(self._values)


def _groups(who: str, optimizer: Stateful, given: Any, *, strict: bool) -> Iterator[tuple[ParamGroup, Any]]:
    """Every group that the state dict has too, by its parameters, with the hyperparameters that it has there."""
    saved: dict[frozenset[str], dict[str, Any]] = {}
    try:
        for entry in given:
            values = dict(entry)
            saved[frozenset(values.pop("params"))] = values
    except (TypeError, ValueError, KeyError):
        raise TypeError(sentence(who, "groups must be a list of dicts with 'params'", got=given)) from None
    for number, group in enumerate(optimizer.param_groups):
        members = frozenset(_members(group))
        if members in saved:
            yield group, saved[members]
        elif strict:
            rule = f"group {number} ({len(members)} parameters) must be a group of the state_dict too"
            hint = "make the optimizer with the groups that it had; nothing was loaded"
            raise ValueError(sentence(who, rule, hint=hint))


def _members(group: ParamGroup) -> list[str]:
    return [slot.key for slot in group.slots]


def _arrays(state: Mapping[str, Stored]) -> Iterator[tuple[str, Array]]:
    """The arrays that a parameter's state is kept in; a state in blocks has its scales beside it."""
    for name, stored in state.items():
        yield from zip((name, f"{name}.scale"), stored.arrays, strict=False)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: described(value) if callable(value) else value for name, value in values.items()}


def described(function: Any) -> dict[str, Any]:
    """A function of the step as plain data: a schedule whole, of others the name."""
    if isinstance(function, schedules.Schedule):
        return function.state_dict()
    return {"function": getattr(function, "__qualname__", type(function).__qualname__)}
