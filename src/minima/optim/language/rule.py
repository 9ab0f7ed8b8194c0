"""A rule: an optimization algorithm written as a pure function of a parameter, in plain Python arithmetic.

    @staticmethod
    def update(param, grad, cache, *, lr, eps, rho):
        cache = rho * cache + (1 - rho) * grad**2
        return param - lr / sqrt(cache + eps) * grad, cache

Its signature is its declaration. The positional names after ``param, grad`` are the state: arrays of the parameter's
shape, zero at first unless the name has a default: a number (``cache=0.1``), or the name of a hyperparameter, as whose
value it begins (``cache="initial"``), or ``"param"``, as a copy of which it begins. Annotations give state another size
than the parameter's: ``PerTensor, PerRow, PerColumn, Shared`` (`ranks`); or say that it is kept as it is computed:
``Exact``. The keyword-only names are hyperparameters, or one of three that every rule may ask for: ``t``, the number of
steps that the parameter has taken, this one included; ``first``, which is true in the step in which the entry of the
state was made; and ``loss``, the loss of this step, one number for all parameters. A rule that takes the coefficient of
weight decay places the decay itself.

A rule that trains other weights than it is to be judged by says so in two more functions, each the other's inverse:

    @staticmethod
    def weights_to_evaluate(param, z, *, momentum):
        return param + (1 - 1 / momentum) * (z - param)

    @staticmethod
    def weights_to_train(param, z, *, momentum):
        return param + (1 - momentum) * (z - param)

A rule that keeps other weights on the side, from which there is no way back, has one function, ``weights_to_lend``:
they are lent for a while, and never take the parameter's place. All of these take the parameter, any state of its size
and any hyperparameters, and are plain arithmetic on arrays.

A rule with state that no step changes, but estimates that come now and then, says in one more function what they do:

    @staticmethod
    def estimate(grad, hessian, *, beta2):
        return beta2 * hessian + (1 - beta2) * grad**2

It takes what is estimated, in the place of a gradient, then the state that it changes, of the parameter's size, and any
hyperparameters; and gives the new state. Like ``update`` it is traced, and may look at one element at a time.
"""

import inspect
import numbers
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from minima.errors import sentence
from minima.optim.language.ranks import ELEMENT, MODEL, SIZES, is_exact, meant, sizes

__all__ = ["ESTIMATE", "GIVEN", "LENT", "LOSS", "PARAM", "WEIGHTS", "Estimate", "Rule", "Weights"]

LOSS = "loss"
"""The loss of the step, which whoever steps must give to a rule that asks for it."""
GIVEN = ("t", "first", LOSS)
"""What a rule may ask for besides its hyperparameters."""
PARAM = "param"
"""What state begins as that begins as a copy of the parameter."""
WEIGHTS = ("weights_to_evaluate", "weights_to_train")
"""What the functions of a rule are called that turn the weights to train into those to evaluate, and back."""
ESTIMATE = "estimate"
"""What the function of a rule is called that takes an estimate into its state."""

LENT = "weights_to_lend"
"""What the function of a rule is called that gives weights which can only be lent."""


@dataclass(frozen=True, eq=False)
class Weights:
    """A function of a rule that gives other weights of a parameter."""

    compute: Callable[..., Any]
    state: tuple[str, ...]
    """The state that it takes behind the parameter."""
    hypers: tuple[str, ...]

    @classmethod
    def read(cls, who: str, compute: Callable[..., Any], rule: "Rule") -> "Weights":
        """Read its signature; one sentence where it does not fit the rule."""
        parameters = inspect.signature(compute).parameters.values()
        hypers = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        param, *state = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] or [""]
        whole = {name for name, rank in rule.ranks.items() if rank == ELEMENT}
        if param != PARAM or not whole.issuperset(state) or len(parameters) > 1 + len(state) + len(hypers):
            got = ", ".join(map(str, parameters))
            text = "must take param, then state of its size, then hyperparameters after a *"
            raise TypeError(sentence(who, text, got=f"({got})"))
        if others := [name for name in hypers if name in GIVEN or name not in rule.keywords]:
            raise TypeError(sentence(who, f"takes {others[0]}, which is not a hyperparameter of the rule"))
        return cls(compute, tuple(state), hypers)


@dataclass(frozen=True, eq=False)
class Estimate:
    """The function of a rule that takes an estimate into its state; called, it is an ``update`` that does no more."""

    who: str
    compute: Callable[..., Any]
    state: tuple[str, ...]
    """The state that it changes."""
    hypers: tuple[str, ...]
    places: tuple[int, ...]
    """Where this state stands among all of the rule."""

    @classmethod
    def read(cls, who: str, compute: Callable[..., Any], rule: "Rule", coefficient: str) -> "Estimate":
        """Read its signature; one sentence where it does not fit the rule, whose weight decay is ``coefficient``."""
        parameters = inspect.signature(compute).parameters.values()
        hypers = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        grad, *state = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] or [""]
        whole = {name for name, rank in rule.ranks.items() if rank == ELEMENT}
        fits = grad == "grad" and state and whole.issuperset(state)
        if not fits or len(parameters) > 1 + len(state) + len(hypers):
            got = ", ".join(map(str, parameters))
            text = (
                "must take grad, then the state of the parameter's size that it changes, then hyperparameters after a *"
            )
            raise TypeError(sentence(who, text, got=f"({got})"))
        if others := [name for name in hypers if name in (*GIVEN, coefficient)]:
            raise TypeError(sentence(who, f"must not take {others[0]}, which is about steps"))
        return cls(who, compute, tuple(state), hypers, tuple(list(rule.state).index(name) for name in state))

    def __call__(self, param: Any, grad: Any, *state: Any, **hypers: Any) -> tuple[Any, ...]:
        new = list(state)
        result = self.compute(grad, *(state[place] for place in self.places), **hypers)
        results = cast(tuple[Any, ...], result) if isinstance(result, tuple) else (result,)
        if len(results) != len(self.places):
            text = f"must return as many values as it takes state, {len(self.places)} ({', '.join(self.state)})"
            raise TypeError(sentence(self.who, text, got=len(results)))
        for place, value in zip(self.places, results, strict=True):
            new[place] = value
        return param, *new

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The function itself, for those who read its code."""
        return self.compute


@dataclass(frozen=True, eq=False)
class Rule:
    """An ``update`` that has been read: what it keeps, and what it asks for."""

    name: str
    update: Callable[..., Any]
    state: Mapping[str, float | str]
    """The names of the state, with the value that each entry has at first, or the hyperparameter that is that value, or
    ``"param"``."""
    keywords: tuple[str, ...]
    """The hyperparameters that ``update`` asks for; ``t``, ``first`` and ``loss`` may be among them."""
    switches: frozenset[str] = frozenset()
    """The hyperparameters that ``update`` may branch on, as on truths: 0, or not."""
    ranks: Mapping[str, int] = field(default_factory=dict[str, int])
    """How many there are of each state (`ranks`)."""
    annotated: frozenset[str] = frozenset()
    """The state that the signature says to be kept as it is computed."""
    weights: Mapping[str, Weights] = field(default_factory=dict[str, Weights])
    """The functions between the weights to train and those to evaluate; none where these are the same."""
    lent: Weights | None = None
    """The function that gives weights which can only be lent, if there are such."""
    estimate: "Rule | None" = None
    """What an estimate does to the state: a rule of its own, whose ``update`` is an `Estimate`."""
    function: str = "update"
    """What the function is called that ``update`` is."""

    @property
    def to_lend(self) -> Weights | None:
        """What gives the weights to evaluate of the parameter that is trained; None where they are the same."""
        return self.lent or self.weights.get(WEIGHTS[False])

    @property
    def exact(self) -> frozenset[str]:
        """The state that is kept as it is computed, in whatever form the rest is: it is weights, and no average.

        What begins as the parameter is such too: rules look at how far the parameter has come from it, which is a small
        difference of large numbers. Of other state the rule says so (``Exact``).
        """
        begun = {name for name, first in self.state.items() if first == PARAM}
        return frozenset(self.annotated.union(begun, *(weights.state for weights in self.weights.values())))

    @property
    def needs_loss(self) -> bool:
        """Whether steps need the loss, in some variants at least."""
        return LOSS in self.keywords

    @property
    def estimated(self) -> tuple[str, ...]:
        """The state that estimates change."""
        return self.estimate.update.state if self.estimate and isinstance(self.estimate.update, Estimate) else ()

    @property
    def shared(self) -> dict[str, float | str]:
        """The state of which there is one for all parameters, with its first values."""
        return {name: first for name, first in self.state.items() if self.ranks.get(name, ELEMENT) == MODEL}

    @classmethod
    def read(cls, name: str, update: Callable[..., Any], switches: Iterable[str] = ()) -> "Rule":
        """Read the declaration that a signature is; one sentence where it is none."""
        who = f"{name}.update"
        positional: list[inspect.Parameter] = []
        keywords: list[str] = []
        signature = inspect.signature(update)
        for parameter in signature.parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise TypeError(sentence(who, f"every argument must be named, {parameter} is not"))
            if parameter.kind is parameter.KEYWORD_ONLY:
                keywords.append(parameter.name)
            else:
                positional.append(parameter)
        if [p.name for p in positional[:2]] != ["param", "grad"]:
            got = ", ".join(p.name for p in positional)
            raise TypeError(sentence(who, f"the first two arguments must be param, grad; got ({got})"))
        keyword_only = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
        for parameter in (*positional[:2], *keyword_only):
            if sizes(parameter.annotation) != ELEMENT:
                rule = f"{parameter.name} is no state, and cannot be of a size of its own"
                raise TypeError(sentence(who, rule, hint="leave the annotation out"))
        state: dict[str, float | str] = {}
        ranks: dict[str, int] = {}
        annotated = frozenset(p.name for p in positional[2:] if is_exact(p.annotation))
        for parameter in positional[2:]:
            first = 0.0 if parameter.default is parameter.empty else parameter.default
            ranks[parameter.name] = sizes(parameter.annotation)
            if name_meant := meant(parameter.annotation):
                says = "nothing" if name_meant == "Exact" else "no size"
                rule, hint = f"the annotation of state {parameter.name} says {says}", f"write {name_meant}"
                raise TypeError(sentence(who, rule, got=parameter.annotation, hint=hint))
            if first == PARAM and ranks[parameter.name] != ELEMENT:
                rule = f"state {parameter.name} starts as the parameter, and must have its size"
                raise TypeError(sentence(who, rule, hint="leave the annotation out"))
            if isinstance(first, bool) or not isinstance(first, numbers.Real | str):
                hint = f"write {parameter.name}: {SIZES[sizes(first)]}, with a colon" if sizes(first) in SIZES else ""
                raise TypeError(sentence(who, f"state {parameter.name} must start as a number", got=first, hint=hint))
            try:
                state[parameter.name] = first if isinstance(first, str) else float(first)
            except OverflowError:
                rule = f"state {parameter.name} must start as a number that a float can be"
                raise ValueError(sentence(who, rule, got=first)) from None
            if first != first:  # every step would keep it
                raise ValueError(sentence(who, f"state {parameter.name} must not start as NaN"))
        return cls(name, update, state, tuple(keywords), frozenset(switches), ranks, annotated=annotated)
