"""What the body of an optimizer class declares: its hyperparameters, and how a call of the class fills them."""

import difflib
import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from minima.errors import sentence
from minima.optim.language.hyper import Choice, Hyper, hyper
from minima.optim.language.questions import MOST_PATHS, Answers, Question, paths
from minima.optim.language.ranks import SIZES
from minima.optim.language.rule import ESTIMATE, GIVEN, LENT, LOSS, PARAM, WEIGHTS, Estimate, Rule, Weights
from minima.optim.language.symbols import FORMS
from minima.optim.language.trace import EMA, EMA_DECAY, MAX_NORM, Variant, trace

__all__ = ["CHOICES", "DECAYS", "DECAY_MODE", "ELSEWHERE", "EXTRAS", "OPTIONS", "Declaration", "declare"]

_DECAY = ("wd", "weight_decay")
"""The two spellings of weight decay; both are accepted everywhere."""
DECAY_MODE = "decay_mode"
"""The other spelling of ``decay``, the only one where ``decay`` is another number, as it is in Optax."""


DECAYS = ("decoupled", "independent", "l2")
"""The ways in which weight decay may work."""
CHOICES: dict[str, Hyper | Choice] = {
    "decay": Choice("decay", DECAYS[0], DECAYS),
    "maximize": Choice("maximize", False, (False, True)),
    "cautious": Choice("cautious", False, (False, True)),
    MAX_NORM: hyper(None, low=0, kw_only=True),
    EMA_DECAY: hyper(None, low=0, below=1, kw_only=True),
}
"""What every group of a rule has besides the hyperparameters."""
for _name, _entry in CHOICES.items():
    _entry.name = _name
OPTIONS = {
    "engine": None,
    "state_dtype": None,
    "groups": None,
    **{name: choice.default for name, choice in CHOICES.items()},
    "rounding": None,
    "seed": 0,
    "on_nonfinite": "propagate",
}
"""The keywords that every constructor takes besides the hyperparameters, and their defaults."""
EXTRAS = ("cautious", MAX_NORM, EMA_DECAY)
"""The choices of which state dicts of PyTorch, and of earlier versions, say nothing."""
ELSEWHERE = {
    "learning_rate": "lr",
    "betas": "beta1",
    "b1": "beta1",
    "b2": "beta2",
    "epsilon": "eps",
    "alpha": "rho",
    "caution": "cautious",
    **dict.fromkeys(("max_grad_norm", "clip_norm", "clipnorm", "global_clipnorm", "gradient_clip"), MAX_NORM),
    **dict.fromkeys(("ema", "use_ema", "ema_momentum"), EMA_DECAY),
}
"""What other libraries call some hyperparameters and choices."""
_NONE = object()
_MEANINGS = {"first": "says whether the state is new", LOSS: "is that of the step"}
"""What is said of the names that are no hyperparameters, and no attributes either."""
RESERVED = frozenset({"defaults", "param_groups", "params", EMA})
"""The attributes of every optimizer that are not there before one is made."""


class Declaration:
    """The hyperparameters of an optimizer class, in the order of its constructor."""

    def __init__(self, who: str, hypers: Mapping[str, Hyper], *, decays: bool) -> None:
        """Read the declared hyperparameters; where ``decays`` and none is weight decay, add ``wd`` by keyword."""
        self.who = who
        self.has_rule = decays
        self.hypers = dict(hypers)
        own = [name for name in _DECAY if name in self.hypers]
        if len(own) == 2:
            raise TypeError(
                sentence(who, "wd and weight_decay are two names of the same hyperparameter", hint="declare one")
            )
        if not own and decays:
            self.hypers["wd"] = hyper(0.0, low=0, kw_only=True)
            self.hypers["wd"].__set_name__(object, "wd")
            own = ["wd"]
        self.coefficient = own[0] if own else ""
        """What weight decay's coefficient is called in this class."""
        self.aliases = {name: self.coefficient for name in _DECAY if own and name not in own}
        """The other spellings that are understood, with the names that are declared."""
        if decays and DECAY_MODE not in self.hypers:
            self.aliases[DECAY_MODE] = "decay"
        self.switches = {name for name, h in self.hypers.items() if h.switch or name == self.coefficient}
        """The hyperparameters of which 0 switches a term off. Weight decay's coefficient is one in every rule."""
        self.choosing = [
            name
            for name, h in self.hypers.items()
            if h.default is None or h.is_flag or h.choices or name in self.switches
        ]
        """The hyperparameters that choose among the variants of a rule."""
        for declared in self.hypers.values():
            declared.check(f"{who}, default of {declared.name}", declared.default)
        self.entries: dict[str, Hyper | Choice] = {**self.hypers, **(CHOICES if decays else {})}
        """All that a group has: the hyperparameters, and the choices that every rule gives."""

    def place_decay_itself(self) -> None:
        """Take notice that the rule says what weight decay does."""
        hint = "the rule places weight decay itself"
        self.entries["decay"] = Choice("decay", DECAYS[0], DECAYS[:1], hint)

    @property
    def numbers(self) -> dict[str, Hyper]:
        """All numbers that a group has: the hyperparameters, and those that every rule takes."""
        return {name: entry for name, entry in self.entries.items() if isinstance(entry, Hyper)}

    def spelled(self, name: str) -> str:
        """The declared name behind one that a user wrote; a TypeError that lists the allowed ones if there is none."""
        if name in self.entries:
            return name
        if isinstance(name, str) and name in self.aliases:  # pyright: ignore[reportUnnecessaryIsInstance]
            return self.aliases[name]
        if self.has_rule and name in OPTIONS:
            rule = f"{name} is an option of the whole optimizer, and no hyperparameter"
            raise TypeError(sentence(self.who, rule, hint="give it to the constructor"))
        close = ""
        if isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - what users pass is not typed
            close = self.meant(name) or next(iter(difflib.get_close_matches(name, self.hypers, n=1, cutoff=0.5)), "")
        also = [name for name, meant in self.aliases.items() if meant == self.coefficient]
        allowed = ", ".join(self.hypers) + "".join(f" (also as {name})" for name in also)
        allowed += f"; and for every rule {', '.join(CHOICES)}" if self.has_rule else ""
        hint = f"did you mean {close}? " if close else ""
        raise TypeError(
            sentence(self.who, f"there is no hyperparameter {name!r}", hint=f"{hint}there are {allowed or 'none'}")
        )

    def meant(self, name: str) -> str:
        """The hyperparameter or option that was probably meant by a name that is none; empty where nothing is close."""
        if name in self.entries or name in self.aliases or name in OPTIONS:
            return ""
        elsewhere = ELSEWHERE.get(name, "")
        if elsewhere in self.entries:
            return elsewhere
        options = [option for option in OPTIONS if self.has_rule and option not in ("groups", *CHOICES)]
        close = difflib.get_close_matches(name.lower(), [*self.entries, *self.aliases], n=1, cutoff=0.8)
        return next(iter(close or difflib.get_close_matches(name, options, n=1, cutoff=0.9)), "")

    def values(self, who: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """The given hyperparameters under their declared names, each checked."""
        checked: dict[str, Any] = {}
        for written, value in given.items():
            name = self.spelled(written)
            if name in checked:
                other = next(alias for alias, meant in self.aliases.items() if meant == name)
                pair = " and ".join(sorted((name, other), key=len))
                raise TypeError(sentence(who, f"{name} is given twice", hint=f"{pair} are the same argument"))
            checked[name] = self.entries[name].check(who, value)
        return checked

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Every hyperparameter's value for a call ``Class(params, *args, **kwargs)``."""
        places = [name for name, declared in self.hypers.items() if not declared.kw_only]
        if len(args) > len(places):
            rule = f"takes at most {1 + len(places)} positional arguments ({', '.join(['params', *places])})"
            raise TypeError(sentence(self.who, rule, got=1 + len(args)))
        given = dict(zip(places, args, strict=False))
        for name in kwargs:
            if self.spelled(name) in given:
                raise TypeError(sentence(self.who, f"{self.spelled(name)} is given twice"))
        defaults = {name: declared.default for name, declared in self.entries.items()}
        return defaults | self.values(self.who, {**given, **kwargs})

    def variant(self, value: Callable[[str], Any]) -> Variant:
        """Which variant of the rule the values of ``"decay"``, ``"maximize"`` and the hyperparameters ask for."""
        entries: list[tuple[str, Any]] = []
        for name, choice in CHOICES.items():
            given = value(name)
            if given is None or isinstance(choice, Choice):
                entries.append((name, given))
        for name in self.choosing:
            given = value(name)
            if given is None or isinstance(given, bool) or self.hypers[name].choices:
                entries.append((name, given))
            elif isinstance(given, float | int) and given == 0 and name in self.switches:  # a tensor is never off
                entries.append((name, 0.0))
        return tuple(entries)

    def complete(self, given: Mapping[str, Any], decay: str = "decoupled") -> Variant:
        """The variant with all terms: no number is switched off but those that are given as 0."""
        values = self.bind((), given)
        on = self.switches - {self.spelled(name) for name in given}
        values |= dict.fromkeys(on, 1.0) | {"decay": decay}
        return self.variant(values.__getitem__)

    def variants(self) -> Iterator[Variant]:
        """Every variant that flags, numbers left out and numbers switched off can ask for, with one way of decay."""
        defaults = {name: declared.default for name, declared in self.entries.items()}
        names = [name for name in self.choosing if name != self.coefficient]  # which no state depends on
        for chosen in itertools.product(*(_alternatives(self.hypers[name], self.switches) for name in names)):
            yield self.variant((defaults | dict(zip(names, chosen, strict=True))).__getitem__)

    def signature(self) -> inspect.Signature:
        """The constructor's signature, for ``help`` and editors."""
        parameters = [inspect.Parameter("params", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
        for kind, kw_only in ((inspect.Parameter.POSITIONAL_OR_KEYWORD, False), (inspect.Parameter.KEYWORD_ONLY, True)):
            declared = [(name, each.default) for name, each in self.hypers.items() if each.kw_only is kw_only]
            parameters += [inspect.Parameter(name, kind, default=default) for name, default in declared]
        parameters += [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=d) for n, d in OPTIONS.items()]
        return inspect.Signature(parameters)


def declare(cls: Any, interface: type) -> None:
    """Read a new subclass of the interface: its hyperparameters, its rule if any, and whether the two fit together."""
    who = cls.__name__
    bases: list[type] = cls.__mro__[::-1]
    hypers: dict[str, Hyper] = {}
    for base in bases:
        hypers |= {name: value for name, value in vars(base).items() if isinstance(value, Hyper)}
    update: Any = inspect.getattr_static(cls, "update", _NONE)
    if update is _NONE:
        update = None
    elif not isinstance(update, staticmethod) or not callable(update.__func__):
        raise TypeError(sentence(who, "update must be a @staticmethod: a pure function of its arguments"))
    for name in hypers:
        _check_name(who if update is None else f"{who}.update", name, interface)
    declaration = Declaration(who, hypers, decays=update is not None)
    for name in declaration.hypers.keys() - hypers.keys():
        setattr(cls, name, declaration.hypers[name])
    for alias, name in declaration.aliases.items():
        setattr(cls, alias, _Alias(name))
    cls.hyperparameters = declaration.hypers
    cls._declaration = declaration
    cls.rule = None
    if update is not None:
        rule = _with_weights(cls, Rule.read(who, cls.update, declaration.switches))
        cls.rule = _with_estimate(cls, rule, declaration)
        if declaration.coefficient in cls.rule.keywords:
            declaration.place_decay_itself()
        _check(cls.rule, declaration, hypers, interface)
    if "step" in vars(cls):
        cls.step = _counted(vars(cls)["step"])
    if "__init__" in vars(cls):
        cls.__init__ = _complete(vars(cls)["__init__"])
    # With a constructor of its own, a class has that one's signature.
    cls.__signature__ = declaration.signature() if cls.__init__ is interface.__init__ else None


def _with_weights(cls: Any, rule: Rule) -> Rule:
    """The rule, with its functions between the weights to train and those to evaluate, if the class has them."""
    found: list[Any] = [inspect.getattr_static(cls, name, None) for name in WEIGHTS]
    if (lent := inspect.getattr_static(cls, LENT, None)) is not None:
        if not isinstance(lent, staticmethod) or any(found):
            hint = f"take {WEIGHTS[False]} and {WEIGHTS[True]} where there is a way back"
            raise TypeError(sentence(rule.name, f"{LENT} must be a @staticmethod, without {WEIGHTS[False]}", hint=hint))
        return replace(rule, lent=Weights.read(f"{rule.name}.{LENT}", getattr(cls, LENT), rule))
    if not any(found):
        return rule
    if not all(isinstance(each, staticmethod) for each in found):
        hint = "each is the other's inverse"
        raise TypeError(sentence(rule.name, f"{' and '.join(WEIGHTS)} must both be a @staticmethod", hint=hint))
    read = {name: Weights.read(f"{rule.name}.{name}", getattr(cls, name), rule) for name in WEIGHTS}
    return replace(rule, weights=read)


def _with_estimate(cls: Any, rule: Rule, declaration: Declaration) -> Rule:
    """The rule, with what takes estimates into its state, if the class has that."""
    found: Any = inspect.getattr_static(cls, ESTIMATE, None)
    if found is None:
        return rule
    who = f"{rule.name}.{ESTIMATE}"
    if not isinstance(found, staticmethod):
        raise TypeError(sentence(rule.name, f"{ESTIMATE} must be a @staticmethod: a pure function of its arguments"))
    read = Estimate.read(who, getattr(cls, ESTIMATE), rule, declaration.coefficient)
    for name in read.hypers:
        if name not in declaration.hypers:
            hint = f"declare it in the class: {name}: float = hyper(...)"
            raise TypeError(sentence(who, f"takes {name}, which is not a hyperparameter", hint=hint))
    own = replace(rule, update=read, keywords=read.hypers, weights={}, function=ESTIMATE)
    return replace(rule, estimate=own)


def _check(rule: Rule, declaration: Declaration, own: Mapping[str, Hyper], interface: type) -> None:
    """A TypeError in one sentence unless a rule and the declared hyperparameters fit together."""
    who = f"{rule.name}.update"
    for name in rule.keywords:
        if name in _DECAY and name not in own:
            hint = f"leave it out, as decay is put in front of every rule; or declare {name} to place it yourself"
            raise TypeError(sentence(who, f"must not take {name}, which is not declared", hint=hint))
        if name not in GIVEN and name not in declaration.hypers:
            hint = f"declare it in the class: {name}: float = hyper(...)"
            raise TypeError(sentence(who, f"takes {name}, which is not a hyperparameter", hint=hint))
    for name, first in rule.state.items():
        if isinstance(first, str) and first != PARAM:
            _check_first(who, name, first, declaration)
    for name in declaration.hypers:
        asked = {*rule.keywords, *rule.state.values(), *(rule.estimate.keywords if rule.estimate else ())}
        if name not in asked and name != declaration.coefficient:
            hint = f"add it after the * in the signature: update(param, grad, ..., *, {name})"
            raise TypeError(sentence(who, f"must take the declared hyperparameter {name}", hint=hint))
    for name in rule.state:
        _check_name(who, name, interface, *_DECAY, *declaration.aliases)
    for name, meaning in _MEANINGS.items():
        if name in declaration.hypers:
            rule_text = f"{name} {meaning}, and cannot be a hyperparameter"
            raise TypeError(sentence(who, rule_text, hint="choose another name"))
    defaults = {name: declared.default for name, declared in declaration.hypers.items()}
    usual = declaration.variant((defaults | {name: choice.default for name, choice in CHOICES.items()}).__getitem__)
    for variant in dict.fromkeys((usual, declaration.complete({}))):
        for form in FORMS:
            if not _check_all(rule, declaration.coefficient, variant, form):
                break


def _check_all(rule: Rule, coefficient: str, variant: Variant, form: str) -> bool:
    """Run a rule for all answers to its questions; whether it asks for the form of the shape in one of them."""

    def questions(answers: Answers) -> Sequence[Question]:
        return trace(rule, coefficient, variant, form, answers).questions

    found = paths(questions, MOST_PATHS)
    if len(found) > MOST_PATHS:
        text = f"must not branch on t, first and the shape in more than {MOST_PATHS} ways"
        raise TypeError(sentence(f"{rule.name}.update", text, hint="use where(condition, x, y)"))
    return any(trace(rule, coefficient, variant, form, path).asked for path in found)


def _check_first(who: str, name: str, first: str, declaration: Declaration) -> None:
    """A TypeError unless state may begin as the value of the hyperparameter ``first``."""
    if first in SIZES.values():
        rule = f"state {name} must start as a number"
        raise TypeError(sentence(who, rule, got=first, hint=f"write {name}: {first}, with a colon"))
    if first == "grad":
        rule = f"state {name} cannot start as the gradient"
        raise TypeError(sentence(who, rule, hint="take first after the *, and write where(first, grad, ...)"))
    if first not in declaration.hypers:
        hint = f"declare it in the class: {first}: float = hyper(...)"
        raise TypeError(sentence(who, f"state {name} starts as {first!r}, which is not a hyperparameter", hint=hint))
    if first in declaration.choosing:
        hint = "declare it without a flag, None or a switch"
        raise TypeError(sentence(who, f"state {name} starts as {first}, which must always be a number", hint=hint))


def _alternatives(declared: Hyper, switches: set[str]) -> list[Any]:
    """The values of a hyperparameter that choose among variants, and 1 for all other numbers."""
    if declared.is_flag:
        return [False, True]
    if declared.choices:  # how often something is done decides of no state
        return [declared.default] if isinstance(declared.default, int) else list(declared.choices)
    off = [0.0] if declared.name in switches else []
    return [1.0, *off, None] if declared.default is None else [1.0, *off]


def _check_name(who: str, name: str, interface: type, *others: str) -> None:
    if name in RESERVED or name in dir(interface) or name in others:
        raise TypeError(sentence(who, f"{name} is an attribute of every optimizer", hint="choose another name"))


class _Alias:
    """The other spelling of a hyperparameter, as an attribute."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, optimizer: Any, owner: type) -> Any:
        return getattr(owner if optimizer is None else optimizer, self._name)

    def __set__(self, optimizer: Any, value: Any) -> None:
        setattr(optimizer, self._name, value)


def _counted(step: Any) -> Any:
    """An imperative ``step`` that counts ``t``, unless it, or the ``step`` that it overrides, counts or skips."""

    @functools.wraps(step)
    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = self.t, self.skipped
        result = step(self, *args, **kwargs)
        if (self.t, self.skipped) == before:
            self.t += 1
        return result

    return counted


def _complete(init: Any) -> Any:
    """A constructor of a subclass, which must have called that of Optimizer when it is done."""

    @functools.wraps(init)
    def complete(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if "defaults" not in vars(self):
            hint = "write super().__init__(params) in it, first of all"
            raise TypeError(sentence(type(self).__name__, "__init__ must call that of Optimizer", hint=hint))

    return complete
