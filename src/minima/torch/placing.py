"""Where the results of lines go: to new memory, to that of a value nobody reads any more, or to that of a state.

A step that fails must have written nothing. So all lines that take new memory come first, then the memory is taken that
later ones need, and only then is anything written: by operations that take none, in the memory of the states and of the
parameter. What PyTorch computes anew behind a write costs one call more here, a copy into memory that is there.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from minima.optim.language.operations import BEYOND
from minima.optim.language.program import Instruction, Operand
from minima.optim.language.ranks import ELEMENT, TENSOR
from minima.torch.lists import bases, can_write_to, is_truth

__all__ = ["Call", "Facts", "Schedule", "placed"]

Parts = Sequence[Sequence[Instruction]]


@dataclass(frozen=True)
class Call:
    """A line, and where its result goes."""

    line: Instruction
    into: str | None = None
    """The value in whose memory it is left; new memory if None."""
    base: int = 0
    """Which operand must be there before."""
    is_copied: bool = False
    """Whether that operand has to be copied there."""
    dying: tuple[str, ...] = ()
    """What nothing reads any more."""


@dataclass(frozen=True)
class Facts:
    """What is known of the values of a program."""

    small: Collection[str]
    """Those that have no room for a result: numbers, lists of such, and what is kept in fewer bits."""
    kept: Collection[str]
    """What is read when all lines have been run."""
    inputs: Collection[str]
    owned: Collection[str]
    """The inputs that are copies, which a step may write to."""
    results: Mapping[str, Operand]
    """The new value of the parameter and of each state."""
    in_place: bool
    """Whether these can be computed in the memory of the old values."""
    by_rows: bool
    """Whether there are rows and columns: then a quotient may be left in its divisor, by a call for each tensor."""


@dataclass(frozen=True)
class Schedule:
    """A program as calls."""

    parts: Sequence[Sequence[Call]]
    """What is done before anything is written."""
    reserved: Sequence[tuple[str, bool]] = ()
    """The values whose memory is then taken, each like the parameters; and whether it is for truths."""
    late: Sequence[Call] = ()
    """What is done then."""
    written: Collection[str] = ()
    """The states that have their new values without being copied to."""


def placed(parts: Parts, facts: Facts) -> Schedule:
    """Find a place for the result of every line."""
    if facts.in_place and all(line.rank <= ELEMENT for part in parts for line in part):
        chains = _chains(parts[-1], facts)
        while chains:
            order = _order(parts[-1], chains)
            if order is None:
                chains.popitem()
                continue
            found = _split(parts, facts, chains, *order)
            if found is not None:
                return found
            break
    orders = [parts, [_depth_first(part) for part in parts]] if facts.owned else [parts]
    found = [Schedule([list(calls) for calls in _Placing(facts).early(order, facts.kept)]) for order in orders]
    return min(found, key=lambda schedule: _cost(schedule, facts))


def _depth_first(lines: Sequence[Instruction]) -> list[Instruction]:
    """Lines in an order in which a value is computed when it is needed, of two the one that takes more lines first."""
    made = {line.target: line for line in lines}
    below = {line.target: sorted({name for name in line.reads if name in made}) for line in lines}
    count: dict[str, int] = {}
    for line in lines:
        count[line.target] = 1 + sum(count[name] for name in below[line.target])
    read = {name for names in below.values() for name in names}
    waiting = [line.target for line in reversed(lines) if line.target not in read]
    found: dict[str, Instruction] = {}
    while waiting:
        first = sorted((name for name in below[waiting[-1]] if name not in found), key=lambda name: count[name])
        waiting += first
        if not first:
            name = waiting.pop()
            found[name] = made[name]
    return list(found.values())


def _split(
    parts: Parts,
    facts: Facts,
    chains: Mapping[str, Sequence[tuple[Instruction, int]]],
    first: list[Instruction],
    before: Mapping[str, Collection[str]],
) -> Schedule | None:
    """Calls before and after memory is taken: a line that can come first does so where that takes no more of it."""
    best = _Placing(facts).split(parts, chains, first, before)
    for line in reversed(first):
        read_first = {name for other in first if other is not line for name in other.reads}
        if best is None or line.target in facts.small or line.target in read_first:
            continue
        fewer = [other for other in first if other is not line]
        found = _Placing(facts).split(parts, chains, fewer, before)
        if found is not None and _cost(found, facts) <= _cost(best, facts):
            best, first = found, fewer
    return best


def _cost(schedule: Schedule, facts: Facts) -> tuple[float, int]:
    """How many lists like the parameters there are at most, of which truths take a quarter; and how often one is copied
    to make room."""
    held: dict[str, float] = {}
    peak = 0.0
    for call in (call for part in schedule.parts for call in part):
        held |= {name: 1 for name in call.line.reads if name in facts.owned}
        if call.into is not None:
            held[call.line.target] = held.pop(call.into, 0)
        elif call.line.target not in facts.small:
            held[call.line.target] = 0.25 if is_truth(call.line) else 1
        peak = max(peak, sum(held.values()))
        for name in call.dying:
            held.pop(name, None)
    reserved = sum(0.25 if kind else 1 for _, kind in schedule.reserved)
    return max(peak, sum(held.values()) + reserved), sum(call.is_copied for call in schedule.late)


# The lines that write ------------------------------------------------------------------------------------------------


def _chains(lines: Sequence[Instruction], facts: Facts) -> dict[str, list[tuple[Instruction, int]]]:
    """For each state that can be computed in its own memory the lines that do, and which operand of each is there."""
    made = {line.target: line for line in lines}
    states = {name for name in facts.results if name not in facts.small}
    taken: set[str] = set()

    def found(
        state: str, value: Operand, *, may_begin: bool, is_last: bool = False
    ) -> list[tuple[Instruction, int]] | None:
        """The lines up to a value that are left in the memory of a state; the first may be one that writes anywhere."""
        line = made.get(value) if isinstance(value, str) else None
        if line is None or value in facts.small or value in taken or not is_last and value in facts.kept:
            return None
        for base in _bases(line, facts):
            if line.operands[base] == state:
                return [(line, base)]
            before = found(state, line.operands[base], may_begin=may_begin)
            if before is not None:
                return [*before, (line, base)]
        return [(line, 0)] if may_begin and _can_write_anywhere(line, facts) and not is_truth(line) else None

    chains: dict[str, list[tuple[Instruction, int]]] = {}
    for state in (name for name in facts.results if name in states):
        value = facts.results[state]
        chain = found(state, value, may_begin=False, is_last=True) or found(state, value, may_begin=True, is_last=True)
        if chain is not None:
            chains[state] = chain
            taken.update(line.target for line, _ in chain)
    return chains


def _bases(line: Instruction, facts: Facts) -> Iterator[int]:
    """The operands in whose memory a line can leave its result, if nothing else reads them."""
    if _chooses(line, facts):
        return iter(())
    numbers = [x in facts.small or not isinstance(x, str) for x in line.operands]
    found = bases(line.operation, numbers)
    if line.operation == "div" and not facts.by_rows:
        found = found[:1]
    return (base for base in found if not numbers[base])


def _can_write_anywhere(line: Instruction, facts: Facts) -> bool:
    return can_write_to(line.operation) and not _chooses(line, facts)


def _chooses(line: Instruction, facts: Facts) -> bool:
    """Whether a line gives one of its operands as it is."""
    return line.operation == "where" and line.operands[0] in facts.small


def _order(
    lines: Sequence[Instruction], chains: Mapping[str, Sequence[tuple[Instruction, int]]]
) -> tuple[list[Instruction], dict[str, set[str]]] | None:
    """The lines that can come before anything is written, and for each line what must come before it.

    None if some would have to come before themselves: what is written is read for what is written.
    """
    made = {line.target for line in lines}
    before = {line.target: {name for name in line.reads if name in made} for line in lines}
    for state, chain in chains.items():
        places = [state, *(line.target for line, _ in chain)]
        for (line, _), place in zip(chain, places, strict=False):
            before[line.target].update(x.target for x in lines if place in x.reads and x is not line)
    try:
        names = list(TopologicalSorter(before).static_order())
    except CycleError:
        return None
    writing = {line.target for chain in chains.values() for line, _ in chain}
    late = set(writing)
    for name in names:
        if before[name] & late:
            late.add(name)
    return [line for line in lines if line.target not in late], before


# Memory --------------------------------------------------------------------------------------------------------------


class _Placing:
    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.owned = {*facts.owned}
        """The values whose memory is new in this step, and no other's."""
        self.pinned: set[str] = set()
        """The values whose memory another may have, too."""

    def early(self, parts: Parts, kept: Collection[str]) -> Iterator[Iterator[Call]]:
        """Calls that may take new memory, and write to none that is not; ``kept`` is what is read later."""
        last: dict[str, tuple[int, int]] = {}
        for number, part in enumerate(parts):
            for place, line in enumerate(part):
                last |= dict.fromkeys(line.reads, (number, place))
        for number, part in enumerate(parts):
            yield self._part(number, part, last, {*kept, *self.facts.inputs} - self.owned | {*kept})

    def _part(
        self, number: int, part: Sequence[Instruction], last: Mapping[str, tuple[int, int]], kept: Collection[str]
    ) -> Iterator[Call]:
        for place, line in enumerate(part):
            dying = tuple(x for x in dict.fromkeys(line.reads) if last[x] == (number, place) and x not in kept)
            into = next((base for base in _bases(line, self.facts) if self.is_free(line.operands[base], dying)), None)
            self._note(line)
            where = None if into is None else str(line.operands[into])
            yield Call(line, where, into or 0, dying=dying)

    def is_free(self, value: Operand, dying: Collection[str]) -> bool:
        return value in dying and value in self.owned and value not in self.pinned

    def _note(self, line: Instruction) -> None:
        """Know whose memory the result of a line has."""
        if line.target in self.facts.small:
            return
        if line.operation in BEYOND or _chooses(line, self.facts) or line.operation in ("bfloat16", "nearest"):
            self.pinned.update(line.reads)
        else:
            self.owned.add(line.target)

    def split(
        self,
        parts: Parts,
        chains: Mapping[str, Sequence[tuple[Instruction, int]]],
        first: Sequence[Instruction],
        before: Mapping[str, Collection[str]],
    ) -> Schedule | None:
        """The calls before anything is written, and those from then on; None where the latter would take memory."""
        facts = self.facts
        done = {line.target for line in first}
        waiting = [line for line in parts[-1] if line.target not in done]
        read_late = {name for line in waiting for name in line.reads}
        calls = [list(calls) for calls in self.early([*parts[:-1], first], {*facts.kept, *read_late})]
        homes: dict[str, tuple[str, int]] = {}
        for state, chain in chains.items():
            place = state
            for line, base in chain:
                homes[line.target] = place, base
                place = line.target
        late, reserved = _Late(self, homes, parts), list[tuple[str, bool]]()
        while waiting:
            ready = [line for line in waiting if not {*before[line.target]} - done]
            line = min(ready, key=lambda line: late.cost(line, waiting))
            waiting.remove(line)
            done.add(line.target)
            call = late.call(line, waiting, reserved)
            if call is None:
                return None
            late.calls.append(call)
        return Schedule(calls, reserved, late.calls, {*chains})


class _Late:
    """Calls that take no new memory."""

    def __init__(self, placing: _Placing, homes: Mapping[str, tuple[str, int]], parts: Parts) -> None:
        self.placing = placing
        self.facts = placing.facts
        self.homes = homes
        """Where the lines leave their results that compute states, and which operand is there."""
        self.calls: list[Call] = []
        self.free: dict[bool, list[str]] = {False: [], True: []}
        """The values that nothing reads any more, whose memory can be taken; those that are truths, and others."""
        self.truths = {line.target for part in parts for line in part if is_truth(line)}

    def cost(self, line: Instruction, waiting: Sequence[Instruction]) -> tuple[bool, bool]:
        """Whether a line writes to the parameter, which is best done in the end, and whether it takes memory."""
        home = self.homes.get(line.target, ("", 0))[0]
        takes = not home and line.target not in self.facts.small and self._base(line, waiting) is None
        origin = home
        while origin in self.homes:
            origin = self.homes[origin][0]
        return origin == "param", takes

    def _dying(self, line: Instruction, waiting: Sequence[Instruction]) -> list[str]:
        read = {name for other in waiting if other is not line for name in other.reads}
        return [name for name in dict.fromkeys(line.reads) if name not in read and name not in self.facts.kept]

    def _base(self, line: Instruction, waiting: Sequence[Instruction]) -> int | None:
        dying = self._dying(line, waiting)
        free = (x for x in _bases(line, self.facts) if self.placing.is_free(line.operands[x], dying))
        return next((base for base in free if line.operands[base] not in self.homes), None)

    def call(self, line: Instruction, waiting: Sequence[Instruction], reserved: list[tuple[str, bool]]) -> Call | None:
        """A line as a call; None if it cannot do without new memory. What must be there before is ``reserved``."""
        kind = line.target in self.truths
        base, dying = self._base(line, waiting), self._dying(line, waiting)
        if line.target in self.homes:
            place, base = self.homes[line.target]
            made = Call(line, place, base)
        elif TENSOR < line.rank < ELEMENT:
            return None  # there is room for whole parameters only
        elif line.target in self.facts.small:
            made = Call(line)
        elif base is not None:
            made = Call(line, str(line.operands[base]), base)
            self.placing.owned.add(line.target)
        else:
            base = next(_bases(line, self.facts), None)
            if base is None and not _can_write_anywhere(line, self.facts):
                return None
            if not self.free[kind]:
                reserved.append((f"buffer {len(reserved)}", kind))
                self.free[kind].append(reserved[-1][0])
            made = Call(line, self.free[kind].pop(), base or 0, is_copied=not can_write_to(line.operation))
            self.placing.owned.add(line.target)
        for name in dying:
            if self.placing.is_free(name, dying) and name != made.into and name not in self.homes:
                self.free[name in self.truths].append(name)
        return made
