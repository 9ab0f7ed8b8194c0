"""The lines of a program as fewer ones, for which PyTorch has calls: ``x + a*y``, ``x + a*y*z`` and ``x + a*y/z``.

A list of tensors times a number is not computed: the number goes along, into the next line that has room for one. So do
products and quotients that one sum reads, and sums that are scaled and then added to something. What becomes of numbers
alone is computed once a step, in float64. The results are those of the program to rounding.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from minima.optim.language.operations import BEYOND
from minima.optim.language.program import Instruction, Operand
from minima.optim.language.ranks import NUMBER, TENSOR
from minima.torch.lists import ADD_SCALED, ADDCDIV, ADDCMUL, SIGN, is_truth
from minima.torch.scales import Given, Numbers, Scales
from minima.torch.sums import OF_SQUARES, gathers

__all__ = ["Fused", "fused"]

Parts = Sequence[Sequence[Instruction]]


@dataclass(frozen=True)
class Fused:
    """A program in few lines."""

    parts: Parts
    numbers: Numbers
    """What is computed of the scalars before the lines."""
    aliases: Mapping[str, Operand]
    """The values of the program that are another value, or a number."""


def fused(
    parts: Parts, given: Given, needed: Collection[str], states: Mapping[str, str], choices: Mapping[str, bool]
) -> Fused:
    """Make few lines of those of a program.

    Args:
        parts: The lines, in the parts in which they are run.
        given: Which of the values are numbers.
        needed: What is read when the lines have been run.
        states: For each result that takes the place of a state, or of the parameter, which that is.
        choices: The truths that are known, with which of two values lines choose.
    """
    return _Fusing(parts, given, needed, states, choices).fused()


@dataclass(frozen=True)
class _Term:
    """A number times a list of tensors, maybe times or over another one."""

    scale: Operand
    x: str | None
    """None where there is only something to divide by."""
    times: str | None = None
    over: str | None = None

    @property
    def is_pure(self) -> bool:
        return self.x is not None and self.times is None and self.over is None


class _Fusing:
    def __init__(
        self,
        parts: Parts,
        given: Given,
        needed: Collection[str],
        states: Mapping[str, str],
        choices: Mapping[str, bool],
    ) -> None:
        self.choices = choices
        self.states = states
        self.old = {*states.values()}
        self.parts = _alive(parts, needed, choices)
        lines = [line for part in self.parts for line in part]
        read = Counter(name for line in lines for name in self._read(line))
        self.once = {line.target for line in lines if read[line.target] == 1 and line.target not in needed}
        self.needed = needed
        self.ranks = {**given.ranks, **{line.target: line.rank for line in lines}}
        self.delicate = self._delicate(lines)
        """What is computed as the program says: it decides about a difference of which the relative size counts."""
        self.values: dict[str, Sequence[_Term]] = {}
        """What is not computed yet."""
        self.sums: set[str] = set()
        self.differences: set[str] = set()
        """They may be much smaller than their terms."""
        self.lists: set[str] = set()
        """What is computed."""
        self.begins: dict[str, str] = {}
        """The value in whose memory a result can be, the first of all that follow from one another so."""
        self.taken = {*given.scalars, *given.single, *needed, *self.old, *states}
        self.taken.update(name for line in lines for name in (line.target, *line.reads))
        self.part: list[Instruction] = []
        self.aliases: dict[str, Operand] = {}
        self.numbers = Scales(given, needed, self._unused, self._append)

    def _append(self, line: Instruction) -> None:
        self.part.append(line)

    def _delicate(self, lines: Sequence[Instruction]) -> set[str]:
        """The differences that roots are taken of, or that divide, and all that goes into them.

        A difference of values that are about equal makes much of how they were rounded.
        """
        roots: set[str] = set()
        for line in reversed(lines):
            if line.target in roots or line.operation in ("sqrt", "log", "pow"):
                roots.update(line.reads)
            elif line.operation == "div" and isinstance(line.operands[1], str):
                roots.add(line.operands[1])
        lists = {line.target for line in lines if line.rank > TENSOR} | {"grad", *self.old}
        taken = {x.target for x in lines if x.operation == "sub" and x.target in roots and {*x.operands} <= lists}
        for line in reversed(lines):
            if line.target in taken:
                taken.update(line.reads)
        return taken

    def _read(self, line: Instruction) -> list[str]:
        """What a line reads, where choices are known."""
        if line.operation == "where" and line.operands[0] in self.choices:
            return [x for x in [self._chosen(line)] if isinstance(x, str)]
        return list(line.reads)

    def _chosen(self, line: Instruction) -> Operand:
        return line.operands[1 if self.choices[str(line.operands[0])] else 2]

    def fused(self) -> Fused:
        parts: list[list[Instruction]] = []
        for part in self.parts:
            self.part = []
            parts.append(self.part)
            for line in part:
                self._take(line)
        return Fused(parts, self.numbers.host, self.aliases)

    # Lines -----------------------------------------------------------------------------------------------------------

    def _take(self, line: Instruction) -> None:
        numbers = self.numbers
        if line.target in numbers.stands_for:
            return
        chosen = self._chosen(line) if line.operation == "where" and line.operands[0] in self.choices else None
        if chosen in numbers.afar:
            numbers.afar.add(line.target)
            self.part.append(Instruction(line.target, "narrow", (str(chosen),)))
            return
        if chosen is not None and not numbers.is_list(chosen):
            self._stand_for(line.target, chosen)
            return
        is_list = line.rank > TENSOR and line.operation not in BEYOND
        is_list = is_list and line.target not in numbers.single and line.target not in numbers.afar
        if is_list and not any(map(numbers.is_list, line.operands)):  # what was chosen was a number
            operands = tuple(map(numbers.of, line.operands))
            if is_truth(line):
                numbers.single.add(line.target)
                self.part.append(replace(line, operands=operands))
            else:
                self._stand_for(line.target, numbers.derived(line.operation, *operands))
            return
        if gathers(line) and line.operation in OF_SQUARES and self._take_squares(line):
            return
        made = None if chosen is None else self._terms(chosen)
        if made is None and is_list and line.target not in self.delicate:
            made = self._terms_of(line)
        if made is None:
            found = [self._exact(self._terms(x)) if numbers.is_list(x) else numbers.of(x) for x in line.operands]
            if is_list:
                found = [self._listed(x) if x in numbers.spread else x for x in found]
                self.lists.add(line.target)
            self.part.append(replace(line, operands=tuple(found)))
            return
        if len(made) > 1 and line.operation in ("add", "sub"):
            (self.sums if line.operation == "add" else self.differences).add(line.target)
        if line.target in self.needed:
            self._settle(line.target, (_Term(1.0, self._exact(made, line.target)),))
        elif line.target not in self.once and (len(made) > 1 or not made[0].is_pure):
            self._settle(line.target, (_Term(*self._atom(made, line.target)),))
        else:
            self.values[line.target] = made

    def _take_squares(self, line: Instruction) -> bool:
        """Reduce squares that nothing else reads without computing them before."""
        (name,) = line.operands
        terms = self.values.get(str(name), ())
        if len(terms) != 1 or name not in self.once or terms[0].scale != 1.0 or terms[0].x != terms[0].times:
            return False
        self.part.append(replace(line, operation=OF_SQUARES[line.operation], operands=(str(terms[0].x),)))
        return True

    def _stand_for(self, target: str, number: Operand) -> None:
        """Know a value to be a number."""
        number = self.numbers.of(number)
        self.numbers.stands_for[target] = number
        if target in self.needed:
            self.aliases[target] = self._listed(number) if number in self.numbers.spread else number

    def _settle(self, target: str, value: Sequence[_Term]) -> None:
        if value == (_Term(1.0, target),):
            return
        self.values[target] = value
        if value[0].scale == 1.0:
            self.aliases[target] = str(value[0].x)

    def _terms_of(self, line: Instruction) -> Sequence[_Term] | None:
        """The result of a line, as far as it need not be computed; None where it must be as the program says."""
        name, operands = line.operation, line.operands
        numbers = self.numbers
        if any(x in numbers.afar for x in operands):
            return None
        lists = [numbers.is_list(x) for x in operands]
        if name == "neg" and lists[0]:
            return self._scaled(self._terms(operands[0]), -1.0)
        if name == "mul":
            return self._product(operands, lists)
        if name == "div":
            return self._quotient(operands, lists)
        if name in ("add", "sub"):
            x, y = operands
            sign = -1.0 if name == "sub" else 1.0
            if not lists[1]:
                return self._shifted(self._terms(x), numbers.times(numbers.of(y), sign))
            second = self._scaled(self._in_order(y), sign)
            return [*self._in_order(x), *second] if lists[0] else self._shifted(second, numbers.of(x))
        if name == "sign" and lists[0]:  # PyTorch's own is 0 for NaN
            x = self._exact(self._terms(operands[0]))
            truth = self._emit("ne", (x, x))
            return (_Term(1.0, self._emit("where", (truth, x, self._emit(SIGN, (x,))), line.target)),)
        if name == "sqrt" and lists[0]:
            scale, inner = self._atom(self._terms(operands[0]))
            if scale == 1.0:
                return (_Term(1.0, self._emit("sqrt", (inner,), line.target)),)
            if numbers.divides(scale) and (isinstance(scale, str) or scale > 0):
                numbers.divide(scale)
                return (_Term(numbers.derived("sqrt", scale), self._emit("sqrt", (inner,))),)
            return (_Term(1.0, self._emit("sqrt", (self._exact((_Term(scale, inner),)),), line.target)),)
        return None

    def _product(self, operands: Sequence[Operand], lists: Sequence[bool]) -> Sequence[_Term]:
        x, y = operands
        if not all(lists):
            number, other = (y, x) if lists[0] else (x, y)
            return self._scaled(self._few(other), self.numbers.of(number))
        first, second = (self._simple(x, may_be_inverse=True) for x in operands)
        scale = self.numbers.times(first.scale, second.scale)
        if first.x is not None and second.x is not None:
            return (_Term(scale, first.x, times=second.x),)
        if first.x is None and second.x is None:
            second = _Term(1.0, self._emit("div", (1.0, str(second.over))))
        listed, inverse = (first, second) if first.x is not None else (second, first)
        return (_Term(scale, listed.x, over=inverse.over),)

    def _quotient(self, operands: Sequence[Operand], lists: Sequence[bool]) -> Sequence[_Term] | None:
        numbers, (x, y) = self.numbers, operands
        if not lists[1]:
            below = numbers.of(y)
            return self._scaled(self._few(x), numbers.derived("div", 1.0, below)) if numbers.divides(below) else None
        divisor = self._simple(y)
        if not numbers.divides(divisor.scale):
            divisor = _Term(1.0, self._exact((divisor,)))
        terms = self._few(x) if lists[0] else (_Term(numbers.of(x), None),)
        if lists[0] and not all(term.is_pure for term in terms):
            terms = (_Term(*self._atom(terms)),)
        return tuple(_Term(numbers.ratio(term.scale, divisor.scale), term.x, over=divisor.x) for term in terms)

    def _shifted(self, terms: Sequence[_Term], number: Operand) -> Sequence[_Term]:
        """A value plus a number: ``s*x + a`` is ``s*(x + a/s)``."""
        scale, name = self._atom(terms)
        if not (self.numbers.divides(scale) and self.numbers.is_known(number)):
            scale, name = 1.0, self._exact((_Term(scale, name),))
        return (_Term(scale, self._emit("add", (name, self.numbers.ratio(number, scale)))),)

    # Values ----------------------------------------------------------------------------------------------------------

    def _terms(self, operand: Operand) -> Sequence[_Term]:
        return self.values.get(str(operand), (_Term(1.0, str(operand)),))

    def _few(self, operand: Operand) -> Sequence[_Term]:
        """A value to scale or to divide: a difference is taken first, and so is a sum of many, or of what is written to
        when its terms are added."""
        terms = self._terms(operand)
        is_old = any(term.x in self.old for term in terms)
        if len(terms) > 2 or len(terms) > 1 and (is_old or operand in self.differences):
            return (_Term(*self._atom(terms)),)
        return terms

    def _in_order(self, operand: Operand) -> Sequence[_Term]:
        """A value to add: a sum that was not scaled is taken first, as what corrects errors of rounding counts on."""
        terms = self._terms(operand)
        return (_Term(*self._atom(terms)),) if operand in self.sums | self.differences else terms

    def _simple(self, operand: Operand, *, may_be_inverse: bool = False) -> _Term:
        """A value as a number times a list that is there, or over one."""
        terms = self._terms(operand)
        if len(terms) == 1 and (terms[0].is_pure or may_be_inverse and terms[0].x is None):
            return terms[0]
        return _Term(*self._atom(terms))

    def _scaled(self, terms: Sequence[_Term], number: Operand) -> Sequence[_Term]:
        return tuple(replace(term, scale=self.numbers.times(term.scale, number)) for term in terms)

    def _atom(self, terms: Sequence[_Term], target: str | None = None) -> tuple[Operand, str]:
        """A value as a number times a list that is there from now on."""
        if len(terms) > 1:
            return 1.0, self._sum(terms, target)
        (term,) = terms
        if term.times is not None:
            return term.scale, self._emit("mul", (str(term.x), term.times), target)
        if term.over is not None:
            if term.x is not None:
                return term.scale, self._emit("div", (term.x, term.over), target)
            if term.scale in self.numbers.spread:
                return term.scale, self._emit("div", (1.0, term.over), target)
            return 1.0, self._emit("div", (term.scale, term.over), target)
        return term.scale, str(term.x)

    def _exact(self, terms: Sequence[_Term], target: str | None = None) -> str:
        """A value as a list that is there from now on."""
        is_plain = (
            len(terms) > 1 or terms[0].scale == 1.0 or terms[0].x is None and terms[0].scale not in self.numbers.spread
        )
        scale, name = self._atom(terms, target if is_plain else None)
        if scale == 1.0:
            return name
        return self._emit("neg", (name,), target) if scale == -1.0 else self._emit("mul", (name, scale), target)

    def _sum(self, terms: Sequence[_Term], target: str | None) -> str:
        """The sum of some terms, each added to the ones before it in a call."""
        state = self.states.get(target) if target is not None else None

        def fitness(term: _Term) -> tuple[bool, bool, bool, bool]:
            """How good a term is to begin with: in the memory of the state that it becomes, and unscaled."""
            name = term.x or ""
            leads = state is not None and self.begins.get(name, name) == state
            is_ours = name in self.lists and name not in self.needed
            return term.is_pure, term.is_pure and leads, term.scale == 1.0, is_ours

        first = max(range(len(terms)), key=lambda place: fitness(terms[place]))
        others = [*terms[:first], *terms[first + 1 :]]
        total = self._exact((terms[first],))
        for place, term in enumerate(others, 1):
            name = target if place == len(others) else None
            if term.x is None:
                term = _Term(*self._atom((term,)))
            scale, x = term.scale, str(term.x)
            if term.times is not None:
                total = self._emit(ADDCMUL, (total, x, term.times, scale), name)
            elif term.over is not None:
                total = self._emit(ADDCDIV, (total, x, term.over, scale), name)
            elif scale in self.numbers.spread:
                total = self._emit(ADDCMUL, (total, x, self._listed(scale), 1.0), name)
            elif scale == 1.0:
                total = self._emit("add", (total, x), name)
            else:
                total = self._emit(ADD_SCALED, (total, x, scale), name)
        return total

    def _listed(self, number: Operand) -> str:
        """What there is one of for each tensor, as a list."""
        target = self._unused("narrow")
        self.part.append(Instruction(target, "narrow", (number,)))
        return target

    def _emit(self, operation: str, operands: tuple[Operand, ...], target: str | None = None) -> str:
        target = target or self._unused(operation)
        rank = NUMBER
        for operand in operands:
            rank |= self.ranks.get(str(operand), NUMBER)
        self.ranks[target] = rank
        self.part.append(Instruction(target, operation, operands, rank))
        self.lists.add(target)
        if isinstance(operands[0], str):
            self.begins[target] = self.begins.get(operands[0], operands[0])
        return target

    def _unused(self, name: str) -> str:
        number = len(self.taken)
        while f"{name}_{number}" in self.taken:
            number += 1
        self.taken.add(f"{name}_{number}")
        return f"{name}_{number}"


def _alive(parts: Parts, needed: Collection[str], choices: Mapping[str, bool]) -> list[list[Instruction]]:
    """The lines whose results are read, where choices are known; what gathers is asked for from elsewhere."""
    wanted = {*needed}
    kept: list[list[Instruction]] = []
    for part in reversed(parts):
        kept.append([])
        for line in reversed(part):
            if line.target not in wanted and not gathers(line):
                continue
            kept[-1].append(line)
            if line.operation == "where" and line.operands[0] in choices:
                wanted.add(str(line.operands[1 if choices[str(line.operands[0])] else 2]))
            else:
                wanted.update(line.reads)
        kept[-1].reverse()
    return kept[::-1]
