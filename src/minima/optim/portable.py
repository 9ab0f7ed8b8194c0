"""A state dict as another face of minima reads it: what each parameter has, checked before anything is made of it.

`minima.optim.state_dict` says what a state dict consists of. The faces keep the same in their own ways; here is what
they have in common when a run moves from one to another.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from minima.checks import flag, integer
from minima.errors import sentence
from minima.optim.core.clock import MOST
from minima.optim.core.options import check_rounding
from minima.optim.state_dict import refuse_loops

__all__ = ["NOTHING", "Run", "read"]

NOTHING = "nothing was loaded"

_ENTRIES = ("algorithm", "state_dtype", "t", "steps", "defaults", "groups", "state")


@dataclass(frozen=True)
class Run:
    """What a state dict says of a run, by the names of parameters."""

    who: str
    t: int
    skipped: int
    options: Mapping[str, Any]
    """How half precision is written, as ``rounding`` and ``seed``; None where nothing was said."""
    steps: Mapping[str, int]
    new: frozenset[str]
    """The parameters that have state with which no step has been taken."""
    defaults: Mapping[str, Any]
    hypers: Mapping[str, Mapping[str, Any]]
    """The hyperparameters of each parameter's group, functions of the step as plain data."""
    state: Mapping[str, Mapping[str, Any]]
    shared: Mapping[str, Any]
    train_mode: bool

    def has_begun(self, name: str) -> bool:
        """Whether there is state of a parameter, or there should be."""
        return bool(self.state[name]) or self.steps[name] > 0

    def agreed(self, hyper: str, names: Sequence[str], otherwise: Any = None) -> Any:
        """The value of a hyperparameter for parameters that share it here; a ValueError where they did not there."""
        found = [self.hypers[name].get(hyper, otherwise) for name in names]
        for name, value in zip(names, found, strict=True):
            if value != found[0]:
                rule = f"{hyper} must be the same for {names[0]!r} and {name!r}, which share it here"
                hint = f"it was {found[0]!r} and {value!r}: make the optimizer with the groups that it had; {NOTHING}"
                raise ValueError(sentence(self.who, rule, hint=hint))
        return found[0] if found else self.defaults.get(hyper, otherwise)


def read(who: str, given: Any, algorithm: str, state_dtype: str | None, names: Iterable[str]) -> Run:
    """Check a state dict of any face, for an optimizer of this algorithm on parameters of these names.

    Raises:
        TypeError: It is no state dict.
        ValueError: It is that of another algorithm or of other parameters, keeps state in another way, or the
            parameters held the weights to evaluate.
    """
    if not isinstance(given, Mapping) or any(name not in given for name in _ENTRIES):
        got: object = list(cast(Mapping[str, Any], given)) if isinstance(given, Mapping) else given
        hint = "torch's own dict has positions: take portable_state_dict(optimizer)" if _is_of_torch(given) else ""
        raise TypeError(sentence(who, "state_dict must be what a state_dict() of minima gave", got=got, hint=hint))
    known = cast(Mapping[str, Any], given)
    refuse_loops(who, known)
    for name, own in (("algorithm", algorithm), ("state_dtype", state_dtype)):
        if known[name] != own:
            raise ValueError(
                sentence(who, f"state_dict must be one with {name} {own!r}", got=known[name], hint=NOTHING)
            )
    for name in ("steps", "defaults", "state"):
        _mapping(who, f"{name!r} of state_dict", known[name])
    wanted = list(names)
    if missing := [name for name in wanted if name not in known["state"] or name not in known["steps"]]:
        hint = f"it holds {list(known['state'])[:6]}; {NOTHING}"
        raise ValueError(sentence(who, f"state_dict must hold {', '.join(map(repr, missing[:4]))}", hint=hint))
    if extra := [name for name in known["state"] if name not in wanted]:
        rule = f"state_dict holds {', '.join(map(repr, extra[:4]))}, which the parameters here do not have"
        raise ValueError(sentence(who, rule, hint=f"they have {wanted[:6]}; {NOTHING}"))
    steps = {name: integer(who, f"steps of {name!r}", known["steps"][name], high=MOST) for name in wanted}
    for name in wanted:
        _mapping(who, f"the state of {name!r}", known["state"][name])
    new = known.get("new", [name for name, count in steps.items() if not count])
    return Run(
        who,
        integer(who, "t", known["t"], high=MOST),
        integer(who, "skipped", known.get("skipped", 0)),
        {
            "rounding": check_rounding(who, known.get("rounding")),
            "seed": None if known.get("seed") is None else integer(who, "seed", known["seed"]),
        },
        steps,
        frozenset(cast(Iterable[str], new)),
        known["defaults"],
        _hypers(who, known, wanted),
        known["state"],
        _mapping(who, "'shared' of state_dict", known.get("shared", {})),
        flag(who, "train_mode", known.get("train_mode", True)),
    )


def _is_of_torch(given: Any) -> bool:
    return isinstance(given, Mapping) and "param_groups" in given


def _mapping(who: str, what: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(sentence(who, f"{what} must be a dict", got=value, hint=NOTHING))
    return cast(Mapping[str, Any], value)


def _hypers(who: str, known: Mapping[str, Any], names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """For each parameter the hyperparameters that its group had."""
    found: dict[str, Mapping[str, Any]] = {}
    try:
        for group in known["groups"]:
            own = {name: value for name, value in group.items() if name != "params"}
            found |= dict.fromkeys(group["params"], {**known["defaults"], **own})
    except (AttributeError, KeyError, TypeError):
        rule = "'groups' of state_dict must be a list of dicts with 'params'"
        raise TypeError(sentence(who, rule, got=known["groups"], hint=NOTHING)) from None
    if missing := [name for name in names if name not in found]:
        rule = f"'groups' of state_dict must list {missing[0]!r}"
        raise ValueError(sentence(who, rule, hint=NOTHING))
    return found
