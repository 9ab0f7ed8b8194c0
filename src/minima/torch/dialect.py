"""A dialect: what an ecosystem calls the hyperparameters, the choices and the state of a rule.

It is a table, of which everything is made that users of the ecosystem see: the signature of the constructor, the
entries of its groups and their checks, the names of state, and what a state dict must say to be of the algorithm.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch

from minima import optim
from minima.checks import flag
from minima.errors import sentence
from minima.optim.language.declaration import CHOICES, DECAY_MODE, ELSEWHERE, OPTIONS, Declaration
from minima.optim.language.hyper import Hyper

__all__ = ["CAPTURABLE", "COEFFICIENT", "DECAY", "FLAG", "Dialect", "Entry", "habits", "is_zero", "pair", "plain"]

DECAY = "decay"
"""The entry of a group that says how weight decay works. In a dialect without it, it is there only where needed."""
CAPTURABLE = "capturable"
"""Whether a CUDA graph may record steps: an entry of groups where PyTorch has it, else an option of the optimizer."""
FLAG = "decoupled_weight_decay"
"""What PyTorch's Adam calls its choice between two ways of decay."""
COEFFICIENT = "weight_decay"
"""What PyTorch calls the coefficient of weight decay."""
_SPELLINGS = {"wd": COEFFICIENT, DECAY_MODE: DECAY}
"""The other spellings of entries that minima understands, in a constructor and in groups that are given to it."""


@dataclass(frozen=True)
class Entry:
    """An argument of a constructor, which is an entry of every group too."""

    name: str
    default: Any
    means: tuple[str, ...] = ()
    """The hyperparameters of the rule that it gives; several come as a tuple; none, and it has no effect."""
    kw_only: bool = False
    words: Mapping[Any, Any] = field(default_factory=dict[Any, Any])
    """What some of its values are called by the rule."""
    absent: float | None = None
    """The number that does what None does in the rule, where None is no value here."""
    derived: Callable[[torch.Tensor], float] | None = None
    """What None in a tuple stands for, by the parameter."""
    refused: str = ""
    """Why it must be as it is by default, if it must."""
    is_argument: bool = True
    """Whether signatures show it."""
    text: str = ""
    """What it is, for docstrings."""


@dataclass(frozen=True, eq=False)
class Dialect:
    """The words of an ecosystem for one rule."""

    name: str
    rule: type[optim.Optimizer]
    table: Sequence[Entry]
    """What a group has, in the order of the constructor."""
    state: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the state of the rule is called, where that differs."""
    fixed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The hyperparameters of the rule that make it this algorithm, and which no entry gives."""
    idle: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of these the ones that have no effect where another hyperparameter is 0."""
    decay: str = "decoupled"
    """How weight decay works where a group says nothing else."""
    is_foreign: bool = False
    """Whether it is an algorithm of the ecosystem's own."""
    is_known: bool = True
    """Whether the ecosystem has an algorithm that could take the state of this one for its own."""
    order: str = ""
    """The entries in the order in which groups list them, where that is not the constructor's."""
    extends: str = ""
    """The algorithm of which PyTorch's class is a subclass, if of one."""
    is_batched: bool = False
    """Whether a parameter of more than two axes is many matrices, of the last two; by default it is one, of the first
    axis by all others."""
    counts: bool = True
    """Whether the state of a parameter says how many steps it has taken. Ours always does."""
    begins_with_state: bool = False
    """Whether state is there before the first step."""
    unfit: Callable[[torch.Tensor], str] = lambda param: ""
    """Why a parameter is none for this algorithm, in words; empty if it is one."""
    check_together: Callable[[Mapping[str, Any]], str] = lambda group: ""
    """What is wrong with the arguments of a constructor taken together, in words; empty if nothing is."""

    @cached_property
    def declaration(self) -> Declaration:
        """What the rule itself declares."""
        return cast(Any, self.rule)._declaration

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """What a group has, by name."""
        return {entry.name: entry for entry in self.table}

    @cached_property
    def givers(self) -> dict[str, str]:
        """For every hyperparameter of the rule the entry that gives it."""
        return {meant: entry.name for entry in self.table for meant in entry.means}

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The entries that a step looks at, in the order in which it does."""
        return (*(entry.name for entry in self.table if entry.means or entry.refused), *self.open)

    @cached_property
    def open(self) -> tuple[str, ...]:
        """The choices of which the ecosystem knows nothing: a group has an entry only where one is needed."""
        return tuple(name for name in CHOICES if name not in self.entries)

    @cached_property
    def base(self) -> dict[str, Any]:
        """The hyperparameters of the rule before any entry has its say."""
        defaults = {name: hyper.default for name, hyper in self.declaration.entries.items()}
        return defaults | dict(self.fixed) | {DECAY: self.decay}

    @cached_property
    def marks(self) -> list[str]:
        """The entries by which a group of a state dict is known to be of this algorithm."""
        return [x.name for x in self.table if x.means and not x.kw_only and x.name != "maximize"]

    @cached_property
    def stamped(self) -> str:
        """The entry that stands in a pair with the way of decay where a state dict is not for PyTorch's algorithm."""
        return COEFFICIENT if COEFFICIENT in self.entries else self.marks[-1]

    def is_given(self, name: str, group: Mapping[str, Any]) -> bool:
        """Whether a group has an entry, maybe in the rule's own words."""
        means = self.entries[name].means
        return name in {*map(self.spelled, group)} or all(meant in group for meant in means)

    def spelled(self, name: str) -> str:
        """The entry behind a name that a user wrote in another spelling; any other name as it is."""
        other = _SPELLINGS.get(name, name)
        return other if name not in self.entries and (other in self.entries or other in self.open) else name

    # Values ----------------------------------------------------------------------------------------------------------

    def check(self, who: str, name: str, value: Any) -> Any:
        """A value as it may stand in a group: a number, a flag, a function of the step, a tensor of one number."""
        if name in self.open:
            return self.declaration.entries[name].check(who, value)  # a rule may allow less
        entry = self.entries[name]
        if entry.refused:
            given = plain(cast(Any, value).tolist() if isinstance(value, torch.Tensor) else value)
            if given and given != entry.default:
                raise ValueError(sentence(who, f"{name} must be {entry.default}", got=value, hint=entry.refused))
            return given
        if not entry.means:
            return flag(who, name, value) if name == CAPTURABLE else value
        if self.is_foreign and isinstance(entry.default, bool) and type(value) is int and value in (0, 1):
            value = bool(value)
        first, *others = entry.means
        if others:
            parts = zip(entry.means, cast(tuple[Any, ...], entry.default), pair(who, entry, value), strict=True)
            return tuple(None if x is default is None else self._one(who, meant, x) for meant, default, x in parts)
        if entry.words and _is_plain(value) and value in entry.words:
            return value
        if name == FLAG:
            if value is None:  # then the entry ``decay`` says it
                return value
            raise TypeError(sentence(who, f"{name} must be True or False", got=value))
        return self._one(who, first, value, entry)

    def today(self, who: str, name: str, value: Any, t: int) -> Any:
        """What a value of a group is at step ``t``, checked: functions of the step give their number."""
        means = self.entries[name].means if name in self.entries else ()
        if len(means) > 1:
            parts = pair(who, self.entries[name], value)
            if any(map(callable, parts)):
                value = tuple(self._at(who, x, part, t) for x, part in zip(means, parts, strict=True))
        elif callable(value) and (means or name in self.open):
            return self._at(who, means[0] if means else name, value, t)
        return self.check(who, name, value)

    def said(self, name: str, value: Any) -> dict[str, Any]:
        """Which hyperparameters of the rule a checked value gives."""
        if name in self.open:
            return {name: value}
        entry = self.entries[name]
        if len(entry.means) > 1:
            return {meant: _number(part) for meant, part in zip(entry.means, value, strict=True)}
        if entry.words and _is_plain(value):
            value = entry.words.get(value, value)
        return dict.fromkeys(entry.means, _number(value))

    def way(self, group: Mapping[str, Any]) -> str:
        """How weight decay works in a group."""
        if (own := group.get(DECAY)) is not None:
            return own
        if FLAG in self.entries:
            return "decoupled" if group.get(FLAG) else "l2"
        return self.decay

    def chosen(self, group: Mapping[str, Any], name: str) -> Any:
        """What a group has under a name, said or not."""
        if name == DECAY:
            return self.way(group)
        return group.get(name, CHOICES[name].default) if name in self.open else group[name]

    def foreign_way(self, group: Mapping[str, Any]) -> str:
        """How weight decay works in a group once an optimizer of PyTorch has loaded it, which knows no ``decay``."""
        if self.is_foreign and self.decay == "decoupled":
            return self.decay
        return "decoupled" if group.get(FLAG) else "l2"

    def set_way(self, group: dict[str, Any], way: str) -> None:
        """Let weight decay work in such a way in a group."""
        is_flagged = FLAG in self.entries
        if DECAY in self.entries:
            group[DECAY] = way
        elif is_flagged and self.decay == "l2" and way != "independent":
            group.pop(DECAY, None)
            group[FLAG] = way == "decoupled"
        elif way == self.decay:
            group.pop(DECAY, None)
            group |= {FLAG: self.entries[FLAG].default} if is_flagged else {}
        else:
            group[DECAY] = way
            group |= {FLAG: None} if is_flagged else {}

    def _one(self, who: str, meant: str, value: Any, entry: Entry | None = None) -> Any:
        declared = self.declaration.entries[meant]
        if entry is not None and isinstance(declared, Hyper):
            declared = replace(declared, name=entry.name, default=entry.default)
        if not isinstance(value, torch.Tensor) or meant in CHOICES:
            return declared.check(who, value)
        if value.numel() != 1 or value.is_complex():
            rule = f"{declared.name} must be a number, or a tensor of a single one"
            raise ValueError(sentence(who, rule, got=value))
        if value.device.type == "cpu":  # to look at it elsewhere would be to wait for it
            declared.check(who, value.item())
        return value

    def _at(self, who: str, meant: str, value: Any, t: int) -> Any:
        declared = self.declaration.entries[meant]
        return declared.at(who, value, t) if isinstance(declared, Hyper) else value

    # Names -----------------------------------------------------------------------------------------------------------

    def meant(self, name: str) -> str:
        """The entry or option that was probably meant by a name that is none; empty where nothing is close."""
        if name in self.entries or name in OPTIONS:
            return ""
        if (own := self.givers.get(name)) is not None:
            return own
        if (spelled := self.spelled(name)) != name or name == COEFFICIENT and name in self.entries:
            return spelled
        elsewhere = ELSEWHERE.get(name, "")
        if giver := self.givers.get(elsewhere, elsewhere if elsewhere in self.open else ""):
            return giver
        shown = [*(entry.name for entry in self.table if entry.means), *self.open]
        options = [option for option in OPTIONS if option not in ("groups", *CHOICES)]
        close = difflib.get_close_matches(name.lower(), shown, n=1, cutoff=0.8)
        return next(iter(close or difflib.get_close_matches(name, options, n=1, cutoff=0.9)), "")

    def misspelt(self, name: Any) -> str:
        """As `meant`; but schedulers and others keep numbers in groups, under names like ``initial_lr``."""
        if not isinstance(name, str):
            return ""
        # decay is no number, and without it wieght_decay would be such a name.
        numbers = [entry for entry in (*self.entries, *self.open) if entry != DECAY]
        if any(name.startswith(f"{entry}_") or name.endswith(f"_{entry}") for entry in numbers):
            return ""
        giver = self.givers.get(name, "")
        if giver and len(self.entries[giver].means) == 1 and giver != COEFFICIENT:  # RMSprop has no rho, and SAM does
            return ""
        return self.meant(name)

    def unknown(self, who: str, name: object) -> TypeError:
        """The complaint of a hyperparameter that there is not."""
        if name in OPTIONS:
            rule = f"{name} is an option of the whole optimizer, and no hyperparameter"
            return TypeError(sentence(who, rule, hint="give it to the constructor"))
        close = self.meant(name) if isinstance(name, str) else ""
        if not close and isinstance(name, str):
            close = next(iter(difflib.get_close_matches(name, self.entries, n=1, cutoff=0.5)), "")
        hint = f"did you mean {close}? " if close else ""
        own = [entry.name for entry in self.table if entry.is_argument and entry.means and entry.name not in CHOICES]
        listed = ", ".join(own) + (" (weight_decay also as wd)" if COEFFICIENT in self.entries else "")
        listed += f"; and for every rule {', '.join(CHOICES)}"
        return TypeError(sentence(who, f"there is no hyperparameter {name!r}", hint=f"{hint}there are {listed}"))

    # Calls -----------------------------------------------------------------------------------------------------------

    def translated(
        self,
        group: Mapping[str, Any],
        who: str = "",
        *,
        strict: bool = False,
        defaults: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A group, or keywords, as a user gave them: checked, under the names that a group has; other entries stay.

        Args:
            group: What the user gave.
            who: Who complains; by default the optimizer.
            strict: Whether an unknown name is a mistake, and no entry of somebody else's.
            defaults: What a tuple is made of besides the parts that are given; by default what the class has.
        """
        who, result, parts = who or self.name, dict[str, Any](), dict[str, Any]()
        for written, value in group.items():
            name = self.spelled(written)
            giver = self.givers.get(name, name)
            if giver != name and len(self.entries[giver].means) > 1:  # beta1 of betas
                parts[name] = value
                continue
            if name in result:
                pair_of = next(f"{other} and {name}" for other, entry in _SPELLINGS.items() if entry == name)
                raise TypeError(sentence(who, f"{name} is given twice", hint=f"{pair_of} are the same argument"))
            if name in self.entries or name in self.open:
                result[name] = self.check(who, name, value)
            elif strict:
                raise self.unknown(who, written)
            elif meant := self.misspelt(name):
                raise TypeError(sentence(who, f"a group has no hyperparameter {name!r}", hint=f"did you mean {meant}?"))
            else:
                result[name] = value
        for giver in {self.givers[name]: None for name in parts}:
            entry = self.entries[giver]
            if giver in result:
                both = f"{giver} are {' and '.join(entry.means)}"
                raise TypeError(sentence(who, f"{next(iter(parts))} is given twice", hint=both))
            usual = pair(who, entry, (defaults or {}).get(giver, entry.default))
            whole = [parts.get(x, default) for x, default in zip(entry.means, usual, strict=True)]
            result[giver] = self.check(who, giver, whole)
        if DECAY not in self.entries and DECAY in result:
            if result.get(FLAG) is not None:
                raise TypeError(sentence(who, f"{DECAY} and {FLAG} say the same", hint="give one of them"))
            self.set_way(result, result[DECAY])
        return result

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults of groups, for a call ``Class(params, *args, **kwargs)``."""
        places = [entry.name for entry in self.table if not entry.kw_only and entry.is_argument]
        if len(args) > len(places):
            rule = f"takes at most {1 + len(places)} positional arguments ({', '.join(['params', *places])})"
            raise TypeError(sentence(self.name, rule, got=1 + len(args)))
        given = dict(zip(places, args, strict=False))
        for name in kwargs:
            if {name, self.spelled(name), self.givers.get(name, name)} & given.keys():
                raise TypeError(sentence(self.name, f"{name} is given twice"))
        result = {name: self.entries[name].default for name in self.order.split() or self.entries}
        result |= self.translated({**given, **kwargs}, strict=True)
        for name in self.open:
            if name != DECAY and result.get(name) == CHOICES[name].default:
                result.pop(name, None)
        if wrong := self.check_together(result):
            raise ValueError(sentence(self.name, wrong))
        return result


def pair(who: str, entry: Entry, value: Any) -> tuple[Any, ...]:
    """A sequence of as many numbers as an entry has."""
    if isinstance(value, torch.Tensor) and value.dim() == 1:
        value = cast(list[Any], value.tolist())  # pyright: ignore[reportUnknownMemberType] - it may nest
    is_many = isinstance(value, Iterable) and not isinstance(value, str | Mapping | torch.Tensor)
    parts = tuple(cast(Iterable[Any], value)) if is_many else ()
    if len(parts) != len(entry.means):
        count = {2: "a pair of"}.get(len(entry.means), f"{len(entry.means)}")
        raise ValueError(sentence(who, f"{entry.name} must be {count} numbers", got=cast(object, value)))
    return parts


def plain(value: Any) -> object:
    """A value of a group as it may be written to a file: numbers and tuples of them, however they came."""
    if isinstance(value, np.generic):
        return cast(Any, value).item()
    if isinstance(value, np.ndarray | Sequence) and not isinstance(value, str):
        return tuple(map(plain, cast(Sequence[Any], value)))
    return cast(object, value)


def is_zero(value: Any) -> bool:
    """Whether a value of a group is the number 0."""
    return isinstance(value, int | float) and value == 0


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float | str | None)


def _number(value: Any) -> Any:
    """A hyperparameter as a step may use it: a tensor on the CPU as the number that it has now."""
    if isinstance(value, torch.Tensor):
        return float(value) if value.device.type == "cpu" else value
    return value


def habits(rule: type[optim.Optimizer], *, is_known: bool) -> Dialect:
    """A rule in the habits of PyTorch: several betas are one tuple, and decay's coefficient is ``weight_decay``."""
    declaration: Declaration = cast(Any, rule)._declaration
    betas = tuple(name for name in declaration.hypers if name.startswith("beta") and name[4:].isdigit())
    table: list[Entry] = []
    for name, hyper in declaration.hypers.items():
        if len(betas) > 1 and name in betas:
            if name == betas[0]:
                defaults = tuple(declaration.hypers[x].default for x in betas)
                table.append(Entry("betas", defaults, betas, hyper.kw_only))
            continue
        called = COEFFICIENT if name == declaration.coefficient else name
        table.append(Entry(called, hyper.default, (name,), hyper.kw_only))
    table += [Entry(name, choice.default, (name,), kw_only=True) for name, choice in CHOICES.items()]
    return Dialect(declaration.who, rule, table, is_known=is_known)
