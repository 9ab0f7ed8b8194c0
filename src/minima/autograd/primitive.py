"""A primitive: a pure function of arrays and, for each input, the rule that carries a gradient back through it.

    @primitive
    def multiply(xp, x, y):
        return xp.multiply(x, y)

    @multiply.vjp("x")
    def _(xp, g, y):
        return g * y

The forward function takes the array namespace ``xp``, then the inputs, then keyword-only parameters that are not
differentiated. A rule takes ``xp`` and the gradient ``g`` of the result, then *what it names*: inputs by their names,
``out`` for the result, ``shape`` for the shape of the input that it differentiates; then all keyword-only parameters.
What no rule names is not kept for the backward pass, so its memory may go and may be overwritten.

Neither writes into an array that it was given, nor looks at a value (shapes and dtypes are fine). Into an array of its
own it may write by ``x += y``, which other namespaces take as ``x = x + y``. A rule returns ``g``, a view or a fresh
array, never an array that it was given besides ``g``, and may return the broadcast shape: the tape sums the gradient
to the shape of the input and casts it to its dtype.

Halves are for keeping, not for computing: both get float16 arrays as float32 ones, and the result is rounded once, when
all operands that float are halves. ``@primitive(computes=False)`` is for a primitive that only moves or casts elements,
and gets them as they are.

A primitive may compute a second value that only its rules need (``@primitive(residual="slope")``, and
``return out, slope``); its rules name it. Where the gradients of several inputs come out of one computation, that is
a rule of its own (``@lstm.shared``), called once before them; they name ``shared`` for what it returned. A primitive
of any number of inputs is written ``(xp, *arrays)``; its one rule may name ``arrays`` (all of them) and ``position``
(which of them is differentiated), and what it shares ``positions`` (which of them are, in ascending order).
"""

from collections.abc import Callable, Sequence
from functools import partial
from inspect import Parameter, signature
from typing import Any, NamedTuple, overload

import numpy as np

from minima.errors import sentence

__all__ = [
    "Array",
    "Namespace",
    "Plan",
    "Primitive",
    "is_numpy",
    "primitive",
    "sum_to",
]

Array = Any  # an array of the namespace that it comes with: NumPy's, or a tracer of JAX's
Namespace = Any
Rule = Callable[..., Array]

# What a rule may name: inputs by their places, of which 1 is the first, and these.
OUT, SHAPE, POSITION, ARRAYS, RESIDUAL, SHARED, POSITIONS = 0, -1, -2, -3, -4, -5, -6


class Plan(NamedTuple):
    """What a backward pass to certain inputs of a primitive takes: the values to keep, and the calls of its rules.

    Both are printed and compiled once, for every operation of every step makes them. Of ``multiply``, by both inputs::

        keep = lambda out, inputs, residual: (inputs[0], inputs[1])
        derive = lambda xp, g, kept, edges, statics: (rule_0(xp, g, kept[1]), rule_1(xp, g, kept[0]))
    """

    name: str  # of the primitive
    keep: Callable[[Any, Sequence[Any], Any], tuple[Any, ...]]
    derive: Callable[[Namespace, Array, tuple[Array, ...], Sequence[Any], dict[str, Any]], tuple[Array, ...]]


class Primitive:
    """A forward function with the rules of its derivative; see the module's text for how both are written."""

    __slots__ = (
        "_has_statics",
        "_rules",
        "_shared",
        "_variadic",
        "computes",
        "differentiable",
        "forward",
        "inputs",
        "may_view",
        "name",
        "plans",
        "residual",
    )

    def __init__(
        self,
        forward: Callable[..., Any],
        *,
        may_view: bool = False,
        computes: bool = True,
        residual: str | None = None,
    ) -> None:
        parameters = list(signature(forward).parameters.values())[1:]
        self.forward = forward
        self.name = forward.__name__
        self.may_view = may_view
        self.computes = computes
        self.residual = residual
        self.differentiable = False  # until there is a rule
        self.plans: dict[int, Plan] = {}  # by the differentiated inputs as bits below a leading one
        self.inputs = [p.name for p in parameters if p.kind is not Parameter.KEYWORD_ONLY]
        self._variadic = any(p.kind is Parameter.VAR_POSITIONAL for p in parameters)
        self._has_statics = any(p.kind is Parameter.KEYWORD_ONLY for p in parameters)
        self._rules: dict[int, tuple[Rule, tuple[int, ...]]] = {}
        self._shared: tuple[Rule, tuple[int, ...]] | None = None

    def vjp(self, *inputs: str) -> Callable[[Rule], Rule]:
        """Decorates the rule for the inputs of these names."""

        def declare(rule: Rule) -> Rule:
            self.differentiable = True
            picks = self._picks(rule)
            for name in inputs:
                self._rules[self.inputs.index(name)] = (rule, picks)
            return rule

        return declare

    def shared(self, rule: Rule) -> Rule:
        """Decorates the rule that computes what the others name ``shared``; it names no ``shape``."""
        self._shared = rule, self._picks(rule)
        return rule

    def plan(self, wanted: int) -> Plan:
        """The plan for the inputs whose bits are set in ``wanted``, below a leading one that tells their number."""
        count = wanted.bit_length() - 1
        positions = [position for position in range(count) if wanted >> position & 1]
        if not self._variadic and not all(position in self._rules for position in positions):
            rule = "the derivative by " + " and ".join(self.inputs[p] for p in positions if p not in self._rules)
            raise TypeError(sentence(self.name, f"{rule} is not known", hint="detach() it"))
        rules = {position: self._rules[0 if self._variadic else position] for position in positions}
        named = {place for _, places in rules.values() for place in places}
        shared = self._shared if SHARED in named else None
        if shared is not None:
            named.update(shared[1])
        places = [place for place in range(count + 1) if place in named or (place and ARRAYS in named)]
        values = ["out" if place == OUT else f"inputs[{place - 1}]" for place in places]
        if RESIDUAL in named:
            places.append(RESIDUAL)
            values.append("residual")
        arguments = {place: f"kept[{index}]" for index, place in enumerate(places)}
        arguments[SHARED] = "shared"
        arguments[POSITIONS] = repr(tuple(positions))
        arguments[ARRAYS] = f"[{', '.join(arguments[place] for place in places if place > 0)}]"
        statics = ["**statics"] * self._has_statics
        calls: list[str] = []
        for number, (position, (_, picks)) in enumerate(rules.items()):
            own = arguments | {SHAPE: f"edges[{number}].shape", POSITION: str(position)}
            given = ["xp", "g", *(own[place] for place in picks), *statics]
            calls.append(f"rule_{position}({', '.join(given)})")
        known = {f"rule_{position}": rule for position, (rule, _) in rules.items()}
        gradients = f"({', '.join(calls)},)"
        if shared is not None:
            known["shared_rule"] = shared[0]
            given = ["xp", "g", *(arguments[place] for place in shared[1]), *statics]
            gradients = f"(lambda shared: {gradients})(shared_rule({', '.join(given)}))"
        keep = eval(f"lambda out, inputs, residual: ({''.join(f'{value}, ' for value in values)})")
        derive = eval(f"lambda xp, g, kept, edges, statics: {gradients}", known)
        plan = self.plans[wanted] = Plan(self.name, keep, derive)
        return plan

    def _picks(self, rule: Rule) -> tuple[int, ...]:
        keywords = Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD
        named = [p.name for p in signature(rule).parameters.values() if p.kind not in keywords]
        return tuple(map(self._place, named[2:]))

    def _place(self, name: str) -> int:
        special = {"out": OUT, "shape": SHAPE, self.residual: RESIDUAL, "shared": SHARED}
        if self._variadic:
            special |= {"position": POSITION, "positions": POSITIONS, self.inputs[0]: ARRAYS}
        return special[name] if name in special else self.inputs.index(name) + 1

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"


@overload
def primitive(forward: Callable[..., Array]) -> Primitive: ...
@overload
def primitive(
    *, may_view: bool = ..., computes: bool = ..., residual: str | None = ...
) -> Callable[[Callable[..., Any]], Primitive]: ...
def primitive(
    forward: Callable[..., Array] | None = None,
    *,
    may_view: bool = False,
    computes: bool = True,
    residual: str | None = None,
) -> Primitive | Callable[[Callable[..., Any]], Primitive]:
    """Makes a primitive of its forward function.

    Args:
        forward: The function.
        may_view: The result may share memory with the first input.
        computes: Whether it does more than moving or casting elements, so that float16 must be widened for it.
        residual: The name of a second value that the forward function returns, for its rules alone.
    """
    if forward is None:
        return partial(Primitive, may_view=may_view, computes=computes, residual=residual)
    return Primitive(forward, may_view=may_view, computes=computes, residual=residual)


def is_numpy(array: Array) -> bool:
    """Whether it is NumPy's and has memory and values, as the tracer of a compiler has not."""
    return isinstance(array, np.ndarray)


def sum_to(xp: Namespace, g: Array, shape: Sequence[int]) -> Array:
    """Undoes broadcasting: sums ``g`` to ``shape``."""
    lead = len(g.shape) - len(shape)
    stretched = tuple(lead + i for i, size in enumerate(shape) if size == 1 and g.shape[lead + i] != 1)
    axes = (*range(lead), *stretched)
    if not axes:
        return xp.broadcast_to(g, shape)  # the rule left a broadcast to us
    return xp.reshape(xp.sum(g, axis=axes), shape)
