"""The tracer: runs a rule once on symbols and writes down what it did, as a graph of shared expressions."""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Real
from typing import Any

from minima.errors import sentence
from minima.optim.language.questions import Answers, Question
from minima.optim.language.ranks import (
    COLUMN,
    COLUMNS_BY_COLUMNS,
    ELEMENT,
    MATRIX,
    MODEL,
    ROW,
    ROWS_BY_ROWS,
    TENSOR,
    fits,
    shape_in_words,
)
from minima.optim.language.rule import LOSS, PARAM, Rule
from minima.optim.language.symbols import FORMS, Graph, Symbol, reachable
from minima.optim.language.vocabulary import direction, norm, sqrt, total, where

__all__ = ["EMA", "EMA_DECAY", "MAX_NORM", "Trace", "Variant", "trace"]

Variant = tuple[tuple[str, Any], ...]
"""Which variant of a rule: ``("decay", ...)``, ``("maximize", ...)``, and the hyperparameters whose value the rule
itself is to see: flags, numbers that are left out (None), and numbers that are switched off (0.0)."""

MAX_NORM, EMA_DECAY = "max_norm", "ema_decay"
"""What is composed around every rule: the largest norm of all gradients together, and the share that a moving average
of the parameter keeps."""
EMA = "ema"
"""The state that is this average."""


@dataclass(frozen=True, eq=False)
class Trace:
    """What one run of a rule on symbols showed."""

    name: str
    arrays: dict[str, Symbol]
    """``param, grad`` and the state, as they are before the step."""
    hypers: dict[str, Symbol]
    """The hyperparameters, ``t``, ``first`` and ``loss``."""
    decayed: dict[str, Symbol]
    """What ``update`` is given for ``param`` or ``grad``, where weight decay or ``maximize`` has changed them."""
    outputs: dict[str, Symbol]
    """``param`` and the state, as they are after the step."""
    variant: Variant
    """The variant of the rule that was run."""
    names: dict[Symbol, str]
    """What the rule itself calls a node: its local variables as they stood at the end."""
    earlier: dict[Symbol, str]
    """What it called other nodes before that, as in a loop."""
    first: Mapping[str, float | str]
    """What each state begins as, as the rule says it."""
    ranks: Mapping[str, int]
    """How many there are of each state."""
    asked: bool = False
    """Whether the rule asked for the form of the parameter's shape."""
    form: str = FORMS[0]
    """The form that it was told."""
    is_directed: bool = False
    """Whether the rule said which value is its direction."""
    questions: tuple[Question, ...] = ()
    """What it asked of the step and of the shape, in this order."""


@cache
def trace(rule: Rule, coefficient: str, variant: Variant, form: str = FORMS[0], answers: Answers = ()) -> Trace:
    """Run a rule once on symbols, behind weight decay.

    Args:
        rule: The rule.
        coefficient: What weight decay's coefficient is called, ``"wd"`` or ``"weight_decay"``.
        variant: Which variant of the rule. Its ``"decay"`` says how weight decay works: ``"decoupled"``,
            ``param <- (1 - lr * wd) * param``; ``"independent"`` of the learning rate, ``param <- (1 - wd) * param``,
            which is also what a rule without ``lr`` gets; ``"l2"``, ``grad <- grad + wd * param``. Nothing is put in
            front where the coefficient is switched off: 0 times an infinite parameter is NaN; nor where the rule takes
            the coefficient itself. With ``"maximize"`` the gradient, and the loss, are negated before all else. With
            ``"cautious"`` entries of the direction that go against the gradient are left out. The other values the rule
            sees itself and may branch on, so that each combination has a program of its own.
        form: Which of FORMS the parameter has.
        answers: What its first questions are answered with (`questions`); all others with no.
    """
    fixed = dict(variant)
    decay, maximize, cautious = fixed["decay"], fixed["maximize"], fixed.get("cautious", False)
    graph = Graph(f"{rule.name}.{rule.function}", form, answers)
    ranks = {"param": ELEMENT, "grad": ELEMENT, **rule.ranks}
    arrays = {name: graph.array(name, ranks.get(name, ELEMENT)) for name in ("param", "grad", *rule.state)}
    numbers = (*rule.keywords, coefficient, MAX_NORM, EMA_DECAY)
    hypers = {name: graph.node("number", (), name) for name in numbers if name not in fixed}
    graph.switches.update(node for name, node in hypers.items() if name in rule.switches)
    values: dict[str, Any] = {name: fixed[name] if name in fixed else hypers[name] for name in rule.keywords}
    if "first" in hypers:  # which hosts hand over as 1 or 0
        values["first"] = hypers["first"] = hypers["first"] != 0
    if LOSS in hypers and maximize:  # what is made small is the negated loss, whose gradient the negated one is
        values[LOSS] = -hypers[LOSS]

    decayed = {"grad": -arrays["grad"]} if maximize else {}
    if MAX_NORM in hypers:
        grad, limit = (arrays | decayed)["grad"], hypers[MAX_NORM]
        size = sqrt(total(norm(grad) ** 2))
        graph.earlier[size] = "total_norm"
        decayed["grad"] = where(size <= limit, 1, limit / size) * grad  # of NaN, NaN
    wd = hypers.get(coefficient)
    if coefficient in rule.keywords:
        if wd is None:
            values[coefficient] = graph.off = graph.zero()
    elif wd is not None:
        if decay == "l2":
            decayed["grad"] = (arrays | decayed)["grad"] + wd * arrays["param"]
        else:
            lr = values.get("lr") if decay == "decoupled" else None
            decayed["param"] = (1 - (wd if lr is None else lr * wd)) * arrays["param"]
    if cautious:
        graph.cautious = (arrays | decayed)["grad"]
    try:
        graph.frames.code = getattr(inspect.unwrap(rule.update), "__code__", None)
        results, local = _call(graph, rule.update, (arrays | decayed).values(), values)
        graph.frames.code = None
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
    if cautious and not graph.marks and not any(answers):  # a first step, or one in ten, may be an exception
        raise ValueError(_without_direction(rule, coefficient, fixed, form))
    _check_order(graph, outputs, local)
    if any(node.operation == "mod" for node in reachable(outputs.values())):
        graph.refuse("update must use % in the condition of an if alone", "write if t % 10 == 0: ...")
    first = dict(rule.state)
    if EMA_DECAY in hypers:
        first[EMA] = PARAM
        arrays[EMA], ranks[EMA] = graph.array(EMA, ELEMENT), ELEMENT
        outputs[EMA] = arrays[EMA] + (1 - hypers[EMA_DECAY]) * (outputs["param"] - arrays[EMA])
    for name, result in outputs.items():
        if not fits(result.rank, result.axes, ranks[name]):
            there_is, came = _SIZES[ranks[name]], _size(result)
            graph.refuse(
                f"{name} must be {there_is}, as the signature says, and is {came}", _resized(result, ranks[name])
            )
    own = {value: name for name, value in local.items() if isinstance(value, Symbol) and value.args}
    for node in (*decayed.values(), *hypers.values()):
        own.pop(node, None)
    earlier = {node: name for node, name in graph.earlier.items() if node not in own}
    for node in (*decayed.values(), *hypers.values()):
        earlier.pop(node, None)
    seen = graph.asked, form, graph.marks, tuple(map(Question.of, graph.questions))
    return Trace(rule.name, arrays, hypers, decayed, outputs, variant, own, earlier, first, ranks, *seen)


def _without_direction(rule: Rule, coefficient: str, fixed: Mapping[str, Any], form: str) -> str:
    """Why a step cannot be cautious: the rule never says which value is its direction, or not in this variant.

    The reader may have no say in what is missing: PyTorch's Adafactor has no argument for momentum.
    """
    update = inspect.unwrap(rule.update)
    missing = " or ".join(_missing(rule, coefficient, fixed, form))
    if missing or direction.__name__ in getattr(getattr(update, "__code__", None), "co_names", ()):
        rule_text = f"cautious=True needs a direction, which {rule.name} does not have {missing or 'in these settings'}"
        return sentence(rule.name, rule_text)
    rule_text = f"cautious=True is for rules that say which value is their direction, and {rule.name} does not"
    is_ours = getattr(update, "__module__", "").partition(".")[0] == __name__.partition(".")[0]
    hint = "leave cautious out" if is_ours else "write param - lr * direction(...) in its update"
    return sentence(rule.name, rule_text, hint=hint)


def _missing(rule: Rule, coefficient: str, fixed: Mapping[str, Any], form: str) -> list[str]:
    """The settings, each of which alone would give the rule a direction if it were otherwise."""
    found: list[str] = []
    for name, value in fixed.items():
        if name not in rule.keywords or not (value is None or isinstance(value, bool | float)):
            continue
        others = {x: other for x, other in fixed.items() if x != name} | {"cautious": False}
        if isinstance(value, bool):
            others[name] = not value
        try:
            other = trace(rule, coefficient, tuple(others.items()), form)
        except (TypeError, ValueError):  # no variant of the rule
            continue
        if other.is_directed:
            found.append(f"{'with' if value else 'without'} {name}")
    return found


_SIZES = {
    MODEL: "one number for all parameters",
    TENSOR: "one number for each parameter",
    ROW: "one number for each row",
    COLUMN: "one number for each column",
    ELEMENT: "one number for each element",
    ROWS_BY_ROWS: "an array of rows x rows",
    COLUMNS_BY_COLUMNS: "an array of columns x columns",
}
"""How many there are of something, in words."""


def _size(node: Symbol) -> str:
    """How many there are of a value, in words."""
    return _SIZES.get(node.rank, f"an array of {shape_in_words(node.axes)}")


def _resized(node: Symbol, rank: int) -> str:
    """What makes a value of this rank of another one."""
    if node.rank >= MATRIX or rank >= MATRIX:
        return "look for a .T too many or too few"
    if rank == MODEL:
        return "write total(x) for a sum over all parameters"
    if rank == TENSOR:
        return "write sum(x), mean(x), max(x) or norm(x), or annotate it otherwise"
    return f"write mean(x, axis={1 if rank == ROW else 0}) or the like, or annotate it otherwise"


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


def _call(
    graph: Graph, update: Callable[..., Any], args: Iterable[Any], kwargs: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Call ``update``; its result, and its local variables as they stood when it returned."""
    local: dict[str, Any] = {}
    code = getattr(inspect.unwrap(update), "__code__", None)

    def watch(frame: Any, event: str, _: Any) -> None:
        if event == "return" and frame.f_code is code:
            local.update(frame.f_locals)
        # By hand a rule runs on numbers too: only here is it known that one stands where an array must.
        if event == "call" and frame.f_code is direction.__code__ and isinstance(frame.f_locals["x"], Real):
            graph.refuse_direction()

    previous = sys.getprofile()
    if not (previous is None or callable(previous)):  # a profiler in C, as cProfile is, which nothing here can put back
        return update(*args, **kwargs), local
    sys.setprofile(watch)
    try:
        return update(*args, **kwargs), local
    finally:
        sys.setprofile(previous)
