"""The variants of a rule: its program for what a group asks for, and what is known of the state in it."""

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

from minima.errors import sentence
from minima.optim.language.declaration import Declaration
from minima.optim.language.lowering import lower
from minima.optim.language.master import with_master
from minima.optim.language.program import Program
from minima.optim.language.ranges import never_negative
from minima.optim.language.rule import ESTIMATE, Rule
from minima.optim.language.symbols import FORMS
from minima.optim.language.trace import EMA_DECAY, MAX_NORM, Variant, trace

__all__ = ["MASTER", "Variants"]

MASTER = "master"
"""The state that holds a parameter in half precision as it is computed."""


class Variants:
    """A rule and its declaration, in all their variants."""

    def __init__(self, rule: Rule, declaration: Declaration) -> None:
        self.rule = rule
        self.declaration = declaration
        # Kept here: a cache on methods would keep every class that was ever made.
        self.program = cache(self._program)
        self.bounded = cache(self._bounded)
        self.estimate = cache(self._estimate)

    def _program(self, variant: Variant, master: bool = False, form: str = FORMS[0]) -> Program:
        """The program of a variant; with ``master``, on a copy of the parameter in full precision.

        ``form`` is what the rule may know of the parameter's shape.
        """
        traced = trace(self.rule, self.declaration.coefficient, variant)
        if traced.asked and form != FORMS[0]:
            traced = trace(self.rule, self.declaration.coefficient, variant, form)
        program = lower(traced)
        return with_master(program) if master else program

    def _estimate(self, variant: Variant) -> Program:
        """The program by which a variant takes estimates into its state: neither steps nor decay are part of it."""
        assert self.rule.estimate is not None
        without = {"cautious": False, MAX_NORM: None, EMA_DECAY: None, self.declaration.coefficient: 0.0}
        program = lower(
            trace(self.rule.estimate, self.declaration.coefficient, tuple((dict(variant) | without).items()))
        )
        if not program.is_plain:
            who, hint = f"{self.rule.name}.{ESTIMATE}", "let update look further, at the state"
            raise TypeError(sentence(who, "may look at one element at a time, and no further", hint=hint))
        return program

    def _bounded(self, program: Program) -> frozenset[str]:
        """The state of a program that is never negative."""
        first = {name: self.rule.state.get(name, -1.0) for name in program.state}
        # Of what estimates do to state, the program of a step says nothing.
        return frozenset(never_negative(program, self.declaration.numbers, first)) - {*self.rule.estimated}

    def all_programs(self, *, master: bool = False, forms: Sequence[str] = FORMS) -> list[Program]:
        """The programs of all variants, in one way of decay."""
        found: list[Program] = []
        for variant in self.declaration.variants():
            for form in forms:
                try:
                    program = self.program(variant, master, form)
                except Exception:  # no variant: the rule refuses this combination
                    continue
                if program not in found:
                    found.append(program)
        return found

    @cached_property
    def dispensable(self) -> frozenset[str]:
        """The state without which some variant does: SGD's ``u``, whose momentum may be 0."""
        return frozenset(x for program in self.all_programs() for x in self.rule.state.keys() - {*program.state})

    def __reduce__(self) -> Any:
        return Variants, (self.rule, self.declaration)

    def __deepcopy__(self, memo: Any) -> "Variants":
        return self  # nothing in it changes
