"""The variants of a rule: its program for what a group asks for, and what is known of the state in it."""

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from typing import Any

from minima.errors import sentence
from minima.optim.language.declaration import Declaration
from minima.optim.language.lowering import live, lower
from minima.optim.language.master import with_master
from minima.optim.language.program import Program
from minima.optim.language.questions import MOST_PATHS, Answers, Facts, Question, paths
from minima.optim.language.ranges import never_negative
from minima.optim.language.rule import ESTIMATE, Rule
from minima.optim.language.symbols import FORMS
from minima.optim.language.trace import EMA_DECAY, MAX_NORM, Trace, Variant, trace

__all__ = ["MASTER", "Variants"]

MASTER = "master"
"""The state that holds a parameter in half precision as it is computed."""


class Variants:
    """A rule and its declaration, in all their variants."""

    def __init__(self, rule: Rule, declaration: Declaration) -> None:
        self.rule = rule
        self.declaration = declaration
        # Kept here: a cache on methods would keep every class that was ever made.
        self.bounded = cache(self._bounded)
        self.estimate = cache(self._estimate)
        self._traced, self._paths, self._lowered = cache(self._trace), cache(self._all_paths), cache(self._lower)
        self._turns: dict[Program, tuple[Program, ...]] = {}

    def program(
        self, variant: Variant, master: bool = False, form: str = FORMS[0], facts: Facts | None = None
    ) -> Program:
        """The program of a variant; with ``master``, on a copy of the parameter in full precision.

        Args:
            variant: The variant.
            master: Whether on a copy of the parameter.
            form: What the rule may know of the parameter's shape.
            facts: What its questions are answered by. Without, the answers are no, and so are they to those of the
                step, where the facts say nothing of it: all programs that take turns keep the same state.
        """
        known: dict[str, bool] = {}

        def holds(question: Question) -> bool:
            if question.text not in known:
                is_open = facts is None or question.is_of_time and "t" not in facts
                known[question.text] = not is_open and question.answer(facts or {})
            return known[question.text]

        found = self.choices(variant, master, form, holds)
        return next(program for asked, program in found if all(holds(question) is answer for question, answer in asked))

    def choices(
        self, variant: Variant, master: bool, form: str, holds: Callable[[Question], bool]
    ) -> list[tuple[tuple[tuple[Question, bool], ...], Program]]:
        """The programs that take turns, each with the answers to questions of the step for which it is the one.

        ``holds`` answers those of the shape. In any step the answers of one program hold.
        """
        found: list[tuple[Answers, list[tuple[Question, bool]]]] = []
        for path in self._paths(variant, form):
            pairs = list(zip(self._traced(variant, form, path).questions, path, strict=True))
            if all(holds(question) is answer for question, answer in pairs if not question.is_of_time):
                found.append((path, [pair for pair in pairs if pair[0].is_of_time]))
        turns = tuple(path for path, _ in found)
        return [(tuple(asked), self._lowered(variant, master, form, path, turns)) for path, asked in found]

    def asks(self, variant: Variant, form: str) -> bool:
        """Whether programs of a variant take turns, so that each step has to look for its own."""
        found = (self._traced(variant, form, path).questions for path in self._paths(variant, form))
        return any(question.is_of_time for questions in found for question in questions)

    def turns(self, program: Program) -> tuple[Program, ...]:
        """The programs that take turns with one of them, itself among them."""
        return self._turns.get(program, (program,))

    def _trace(self, variant: Variant, form: str, answers: Answers) -> Trace:
        traced = trace(self.rule, self.declaration.coefficient, variant, FORMS[0], answers)
        if form == FORMS[0]:
            return traced
        # By another form it may ask other questions.
        other = trace(self.rule, self.declaration.coefficient, variant, form, answers)
        return other if other.asked else traced

    def _all_paths(self, variant: Variant, form: str) -> tuple[Answers, ...]:
        return tuple(paths(lambda answers: self._traced(variant, form, answers).questions, MOST_PATHS))

    def _lower(self, variant: Variant, master: bool, form: str, mine: Answers, turns: tuple[Answers, ...]) -> Program:
        kept = frozenset(name for path in turns for name in live(self._traced(variant, form, path)))
        found = {path: lower(self._traced(variant, form, path), kept) for path in turns}
        if master:
            found = {path: with_master(program) for path, program in found.items()}
        for program in found.values():
            self._turns[program] = tuple(dict.fromkeys((*self.turns(program), *found.values())))
        return found[mine]

    def _estimate(self, variant: Variant) -> Program:
        """The program by which a variant takes estimates into its state: neither steps nor decay are part of it."""
        assert self.rule.estimate is not None
        without = {"cautious": False, MAX_NORM: None, EMA_DECAY: None, self.declaration.coefficient: 0.0}
        program = lower(
            trace(self.rule.estimate, self.declaration.coefficient, tuple((dict(variant) | without).items()))
        )
        if not program.is_plain:
            who, hint = f"{self.rule.name}.{ESTIMATE}", "let update look further, at the state"
            raise TypeError(sentence(who, "must be elementwise", hint=hint))
        return program

    def _bounded(self, program: Program) -> frozenset[str]:
        """The state of a program, and of those that take turns with it, that is never negative."""
        first = {name: self.rule.state.get(name, -1.0) for name in program.state}
        found = never_negative(program, self.declaration.numbers, first, self.turns(program))
        # Of what estimates do to state, the program of a step says nothing.
        return frozenset(found) - {*self.rule.estimated}

    def all_programs(self, *, master: bool = False, forms: Sequence[str] = FORMS) -> list[Program]:
        """The programs of all variants, in one way of decay."""
        found: list[Program] = []
        for variant in self.declaration.variants():
            for form in forms:
                try:
                    programs = self._all_turns(variant, master, form)
                except Exception:  # no variant: the rule refuses this combination
                    continue
                found += [program for program in programs if program not in found]
        return found

    def _all_turns(self, variant: Variant, master: bool, form: str) -> list[Program]:
        """The programs of a variant for all answers to its questions."""
        answers = {path: self._shape_answers(variant, form, path) for path in self._paths(variant, form)}
        found: list[Program] = []
        for path, own in answers.items():
            fit = (other for other, theirs in answers.items() if all(theirs.get(x, own[x]) is own[x] for x in own))
            found.append(self._lowered(variant, master, form, path, tuple(fit)))
        return found

    def _shape_answers(self, variant: Variant, form: str, path: Answers) -> dict[str, bool]:
        """What is answered to the questions of the shape."""
        questions = self._traced(variant, form, path).questions
        return {x.text: answer for x, answer in zip(questions, path, strict=True) if not x.is_of_time}

    @cached_property
    def dispensable(self) -> frozenset[str]:
        """The state without which some variant does: SGD's ``u``, whose momentum may be 0."""
        return frozenset(x for program in self.all_programs() for x in self.rule.state.keys() - {*program.state})

    def __reduce__(self) -> Any:
        return Variants, (self.rule, self.declaration)

    def __deepcopy__(self, memo: Any) -> "Variants":
        return self  # nothing in it changes
