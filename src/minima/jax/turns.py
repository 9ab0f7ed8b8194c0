"""Programs that take turns: what a rule asks of the step is answered on the device, since ``t`` is traced under jit.

What it asks of the shape is answered while JAX traces. All programs of a leaf that are left keep the same state, so
that one `jax.lax.switch` over whole steps chooses among them; outside of jit the host chooses.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minima.errors import sentence
from minima.jax.device import widely, widest
from minima.jax.scalars import settled
from minima.jax.words import known, word
from minima.jax.xla import jax, jnp, traced
from minima.optim.language.program import Program
from minima.optim.language.questions import MOST_PATHS, Question
from minima.optim.language.rule import GIVEN
from minima.optim.language.symbols import reachable

__all__ = ["Answers", "Key", "Way", "by_turns"]

Key = tuple[Any, ...]
"""A condition on the step, as one group and one shape ask for it."""


class Way(NamedTuple):
    """A program, and the answers for which it is the one."""

    asked: dict[Key, bool]
    program: Program


class Answers:
    """What the conditions of a step hold, each computed once."""

    def __init__(self, who: str, numbers: Sequence[Mapping[str, Any]], t: Any) -> None:
        """Answer questions of the step ``t``, for which every group has its numbers."""
        self._who = who
        self._numbers = [{name: settled(x) for name, x in own.items()} for own in numbers]
        self._given = {"t": t if traced(t) else float(t), "first": t == 1 if traced(t) else float(t == 1)}
        self._truths: dict[Key, Any] = {}

    def of_shape(self, question: Question, place: int, shape: tuple[int, int]) -> bool:
        """The answer for a group to what is the same in every step."""
        truth = self.truth(self.key(question, place, shape), question, place, shape)
        if traced(truth):
            rule = f"{question.text} chooses a program, and must be known while JAX traces"
            raise ValueError(sentence(self._who, rule, hint="give plain numbers, and no arrays"))
        return truth

    def key(self, question: Question, place: int, shape: tuple[int, int]) -> Key:
        """What a condition is called: those of the step alone are the same for all groups and shapes."""
        read = {str(node.value) for node in reachable([question.condition]) if node.operation == "number"}
        return (question.text, *(() if read <= {*GIVEN} else (place, shape)))

    def truth(self, key: Key, question: Question, place: int, shape: tuple[int, int]) -> Any:
        """Whether a condition holds: a truth, or a traced array of one."""
        if key not in self._truths:
            facts = {**self._numbers[place], "rows": float(shape[0]), "columns": float(shape[1]), **self._given}
            with widely():
                found = _evaluated(question, facts)
            self._truths[key] = found if traced(found) else bool(found)
        return self._truths[key]

    def known(self, key: Key) -> Any:
        """What was found for a condition."""
        return self._truths[key]


def _evaluated(question: Question, facts: Mapping[str, Any]) -> Any:
    values: dict[Any, Any] = {}
    for node in reachable([question.condition]):
        if not node.args:
            value: Any = node.value if node.operation == "literal" else facts[str(node.value)]
            values[node] = value if traced(value) else float(value)
            continue
        operands = [values[arg] for arg in node.args]
        if any(map(traced, operands)):  # whole numbers are exact, in float32 up to 2**24
            wide = [x if traced(x) and x.dtype == np.bool_ else jnp.asarray(x, widest()) for x in operands]
            values[node] = word(node.operation)(*wide)
        else:
            values[node] = known(node.operation, operands)
    return values[question.condition]


def by_turns(who: str, ways: Mapping[int, Sequence[Way]], answers: Answers, run: Callable[..., Any]) -> Any:
    """Take the step of every leaf by the program whose turn it is.

    Args:
        who: Who complains.
        ways: The programs of each leaf; of each, one holds in any step.
        answers: What the conditions hold.
        run: Takes a program for each leaf; gives a tree of arrays of which all programs make the same.
    """
    rounds: list[dict[Key, bool]] = [{}]
    for each in {tuple(tuple(way.asked.items()) for way in own): own for own in ways.values()}.values():
        pairs = [(before, way.asked) for before in rounds for way in each if _possible(way.asked, answers)]
        rounds = [{**before, **asked} for before, asked in pairs if _agree(before, asked)]
        if len(rounds) > MOST_PATHS:
            rule = f"groups and shapes together have more than {MOST_PATHS} programs that take turns"
            raise ValueError(sentence(who, rule, hint="give all groups the same interval"))
    programs = [
        {leaf: next(way.program for way in own if _agree(asked, way.asked)) for leaf, own in ways.items()}
        for asked in rounds
    ]
    if len(rounds) == 1:
        return run(programs[0])
    which = np.zeros([], np.int32)
    for number, asked in enumerate(rounds):
        which = which + np.int32(number) * _all_hold(asked, answers).astype(np.int32)
    return jax.lax.switch(which, [partial(run, each) for each in programs])


def _agree(known: Mapping[Key, bool], asked: Mapping[Key, bool]) -> bool:
    return all(known.get(key, answer) is answer for key, answer in asked.items())


def _possible(asked: Mapping[Key, bool], answers: Answers) -> bool:
    return all(traced(answers.known(key)) or answers.known(key) is answer for key, answer in asked.items())


def _all_hold(asked: Mapping[Key, bool], answers: Answers) -> Any:
    found = jnp.asarray(True)
    for key, answer in asked.items():
        found = found & (answers.known(key) == answer)
    return found
