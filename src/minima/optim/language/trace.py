"""The tracer: runs a rule once on symbols and writes down what it did, as a graph of shared expressions."""

import inspect
import numbers
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

from minima.errors import sentence
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.refusals import Refusing
from minima.optim.language.rule import Rule
from minima.optim.language.vocabulary import Symbolic

__all__ = ["Symbol", "Trace", "Variant", "reachable", "trace"]

Variant = tuple[tuple[str, Any], ...]
"""Which variant of a rule: ``("decay", ...)``, ``("maximize", ...)``, and the hyperparameters whose value the rule
itself is to see: flags, numbers that are left out (None), and numbers that are switched off (0.0)."""

_OPERATORS = {row.numpy.__name__: name for name, row in OPERATIONS.items() if row.python}
"""What NumPy calls Python's operators."""


class Symbol(Refusing, Symbolic):
    """A value of a rule under trace: an input, a literal, or an operation on other symbols."""

    __slots__ = ("args", "graph", "is_truth", "on_host", "operation", "value")

    def __init__(self, graph: "Graph", operation: str, args: "tuple[Symbol, ...]", value: str | float = "") -> None:
        self.graph = graph
        self.operation = operation
        """``"array"``, ``"number"`` (an input that is named by ``value``), ``"literal"``, or a key of OPERATIONS."""
        self.args = args
        self.value = value
        self.on_host = operation != "array" and all(arg.on_host for arg in args)
        """Whether it depends on hyperparameters and ``t`` alone."""
        chooses = operation == "where" and all(arg.is_truth for arg in args)
        self.is_truth = chooses or operation in OPERATIONS and OPERATIONS[operation].is_truth

    def call(self, name: str, args: tuple[Any, ...]) -> "Symbol":
        symbols = tuple(map(self.graph.symbol, args))
        if name in ("and", "or", "not") and not all(symbol.is_truth for symbol in symbols):
            self.graph.refuse("update must use &, | and ~ between comparisons only", "write (x > 0) & (y > 0)")
        if name == "where" and symbols[0].operation == "literal":
            return symbols[1] if symbols[0].value else symbols[2]
        if name == "where" and not symbols[0].is_truth:
            self.graph.refuse("where must be given a comparison as its condition", "write where(x != 0, ...)")
        return self.graph.node(name, symbols)

    def __add__(self, other: Any) -> "Symbol":
        return self.call("add", (self, other))

    def __radd__(self, other: Any) -> "Symbol":
        return self.call("add", (other, self))

    def __sub__(self, other: Any) -> "Symbol":
        return self.call("sub", (self, other))

    def __rsub__(self, other: Any) -> "Symbol":
        return self.call("sub", (other, self))

    def __mul__(self, other: Any) -> "Symbol":
        return self.call("mul", (self, other))

    def __rmul__(self, other: Any) -> "Symbol":
        return self.call("mul", (other, self))

    def __truediv__(self, other: Any) -> "Symbol":
        return self.call("div", (self, other))

    def __rtruediv__(self, other: Any) -> "Symbol":
        return self.call("div", (other, self))

    def __pow__(self, other: Any) -> "Symbol":
        return self.call("pow", (self, other))

    def __rpow__(self, other: Any) -> "Symbol":
        return self.call("pow", (other, self))

    def __neg__(self) -> "Symbol":
        return self.call("neg", (self,))

    def __pos__(self) -> "Symbol":
        return self

    def __abs__(self) -> "Symbol":
        return self.call("abs", (self,))

    def __lt__(self, other: Any) -> "Symbol":
        return self.call("lt", (self, other))

    def __le__(self, other: Any) -> "Symbol":
        return self.call("le", (self, other))

    def __gt__(self, other: Any) -> "Symbol":
        return self.call("gt", (self, other))

    def __ge__(self, other: Any) -> "Symbol":
        return self.call("ge", (self, other))

    def __eq__(self, other: Any) -> "Symbol":  # pyright: ignore[reportIncompatibleMethodOverride] - elementwise, as in NumPy
        return self.call("eq", (self, other))

    def __ne__(self, other: Any) -> "Symbol":  # pyright: ignore[reportIncompatibleMethodOverride] - elementwise, as in NumPy
        return self.call("ne", (self, other))

    __hash__ = object.__hash__

    def __and__(self, other: Any) -> "Symbol":
        return self.call("and", (self, other))

    def __rand__(self, other: Any) -> "Symbol":
        return self.call("and", (other, self))

    def __or__(self, other: Any) -> "Symbol":
        return self.call("or", (self, other))

    def __ror__(self, other: Any) -> "Symbol":
        return self.call("or", (other, self))

    def __invert__(self) -> "Symbol":
        return self.call("not", (self,))

    def __bool__(self) -> bool:
        if self in self.graph.switches:  # those that are off are plain numbers
            return True
        hint = "use where(condition, x, y), minimum(x, y) or maximum(x, y)"
        if self.operation == "number":
            hint += f"; if 0 is to switch a term off, declare {self.value} with hyper(..., switch=True)"
        self.refuse("update must not branch on a value ('if', 'and', 'or', 'min', 'max')", hint)

    def refuse(self, rule: str, hint: str) -> NoReturn:
        self.graph.refuse(rule, hint)

    def refuse_value(self, value: Any) -> NoReturn:
        self.graph.refuse_value(value)

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> "Symbol":
        if ufunc.__name__ in _OPERATORS and method == "__call__" and not kwargs:  # a number of NumPy's stood first
            return self.call(_OPERATORS[ufunc.__name__], args)
        self.refuse_function("NumPy", ufunc.__name__)


class Graph:
    """The nodes of one trace, each there once."""

    def __init__(self, who: str) -> None:
        self.who = who
        self._nodes: dict[tuple[Any, ...], Symbol] = {}
        self.switches: set[Symbol] = set()
        """Hyperparameters that are known not to be 0."""
        self.refusal: TypeError | None = None
        """The last complaint."""

    def node(self, operation: str, args: tuple[Symbol, ...], value: str | float = "") -> Symbol:
        """The node of this description: the one that is there already, or a new one."""
        key = (operation, *map(id, args), repr(value))  # repr: 0.0 and -0.0 are equal, and not the same
        if key not in self._nodes:
            self._nodes[key] = Symbol(self, operation, args, value)
        return self._nodes[key]

    def symbol(self, value: Any) -> Symbol:
        """A value as a node: itself, or a literal."""
        if isinstance(value, Symbol):
            if value.graph is not self:
                rule = "update must not compute with a value of an earlier call, which somebody has kept"
                self.refuse(rule, "what one step hands to the next is state: name it after grad in the signature")
            return value
        if isinstance(value, numbers.Real):
            try:
                return self.node("literal", (), float(value))
            except OverflowError:
                self.refuse("update must not compute with an integer beyond all floats", "write math.inf")
        self.refuse_value(value)

    def refuse_value(self, value: Any) -> NoReturn:
        """Complain of what is no node and no number."""
        self.refusal = TypeError(
            sentence(self.who, "update may compute with its arguments and with numbers only", got=value)
        )
        raise self.refusal

    def refuse(self, rule: str, hint: str) -> NoReturn:
        """Complain of what the rule under trace does."""
        self.refusal = TypeError(sentence(self.who, rule, hint=hint))
        raise self.refusal


@dataclass(frozen=True, eq=False)
class Trace:
    """What one run of a rule on symbols showed."""

    name: str
    arrays: dict[str, Symbol]
    """``param, grad`` and the state, as they are before the step."""
    hypers: dict[str, Symbol]
    """The hyperparameters, ``t`` and ``first``."""
    decayed: dict[str, Symbol]
    """What ``update`` is given for ``param`` or ``grad``, where weight decay or ``maximize`` has changed them."""
    outputs: dict[str, Symbol]
    """``param`` and the state, as they are after the step."""
    variant: Variant
    """The variant of the rule that was run."""
    names: dict[Symbol, str]
    """What the rule itself calls a node: its local variables as they stood at the end."""


def reachable(results: Iterable[Symbol]) -> Iterator[Symbol]:
    """The nodes that the results depend on and the results themselves, each after those that it depends on."""
    seen: set[Symbol] = set()
    stack = [(node, False) for node in reversed(list(results))]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((arg, False) for arg in reversed(node.args))


@cache
def trace(rule: Rule, coefficient: str, variant: Variant) -> Trace:
    """Run a rule once on symbols, behind weight decay.

    Args:
        rule: The rule.
        coefficient: What weight decay's coefficient is called, ``"wd"`` or ``"weight_decay"``.
        variant: Which variant of the rule. Its ``"decay"`` says how weight decay works: ``"decoupled"``,
            ``param <- (1 - lr * wd) * param``; ``"independent"`` of the learning rate, ``param <- (1 - wd) * param``,
            which is also what a rule without ``lr`` gets; ``"l2"``, ``grad <- grad + wd * param``. Nothing is put in
            front where the coefficient is switched off: 0 times an infinite parameter is NaN. With ``"maximize"`` the
            gradient is negated before all else. The other values the rule sees itself and may branch on, so that each
            combination has a program of its own.
    """
    fixed = dict(variant)
    decay, maximize = fixed["decay"], fixed["maximize"]
    graph = Graph(f"{rule.name}.update")
    arrays = {name: graph.node("array", (), name) for name in ("param", "grad", *rule.state)}
    hypers = {name: graph.node("number", (), name) for name in (*rule.keywords, coefficient) if name not in fixed}
    graph.switches.update(node for name, node in hypers.items() if name in rule.switches)
    values: dict[str, Any] = {name: fixed[name] if name in fixed else hypers[name] for name in rule.keywords}
    if "first" in hypers:  # which hosts hand over as 1 or 0
        values["first"] = hypers["first"] = hypers["first"] != 0

    decayed = {"grad": -arrays["grad"]} if maximize else {}
    wd = hypers.get(coefficient)
    if wd is not None:
        if decay == "l2":
            decayed["grad"] = (arrays | decayed)["grad"] + wd * arrays["param"]
        else:
            lr = values.get("lr") if decay == "decoupled" else None
            decayed["param"] = (1 - (wd if lr is None else lr * wd)) * arrays["param"]
    try:
        results, local = _call(rule.update, (arrays | decayed).values(), values)
    except Exception as error:
        if graph.refusal is None or error is graph.refusal:
            raise
        raise graph.refusal from error  # which a library has caught, to word it in its own way
    if not isinstance(results, tuple):
        results = (results,)
    results: Sequence[Any]
    wanted = ["param", *rule.state]
    if len(results) != len(wanted):
        rule_text = f"must return as many values as it updates, {len(wanted)} ({', '.join(wanted)})"
        raise TypeError(sentence(graph.who, rule_text, got=len(results)))
    outputs = {name: graph.symbol(result) for name, result in zip(wanted, results, strict=True)}
    _check_order(graph, outputs, local)
    own = {value: name for name, value in local.items() if isinstance(value, Symbol) and value.args}
    for node in (*decayed.values(), *hypers.values()):
        own.pop(node, None)
    return Trace(rule.name, arrays, hypers, decayed, outputs, variant, own)


def _check_order(graph: Graph, outputs: Mapping[str, Symbol], local: Mapping[str, Any]) -> None:
    """Refuse results that stand in each other's place, as the names that the rule has for them say."""
    foreign = {
        name: other
        for name, result in outputs.items()
        for other in outputs
        if result.args and local.get(name) is not result and local.get(other) is result
    }
    for name, other in foreign.items():
        if other in foreign:  # else it may be meant so, as in: return param - lr * grad, param
            order = ", ".join(outputs)
            graph.refuse(f"returns {other} in the place of {name}", f"the order is {order}, as in the signature")


def _call(update: Callable[..., Any], args: Iterable[Any], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Call ``update``; its result, and its local variables as they stood when it returned."""
    local: dict[str, Any] = {}
    code = getattr(inspect.unwrap(update), "__code__", None)

    def watch(frame: Any, event: str, _: Any) -> None:
        if event == "return" and frame.f_code is code:
            local.update(frame.f_locals)

    previous = sys.getprofile()
    sys.setprofile(watch)
    try:
        return update(*args, **kwargs), local
    finally:
        sys.setprofile(previous)
