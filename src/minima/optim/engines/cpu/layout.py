"""Where the numbers of a program stand between two passes: sums that passes leave, and what small lines make of them.

For every tensor there is a row of doubles, *values*, for what there is one of; *scratch*, for what there is of its rows
and columns; and the *sums* that its pieces have left. All have a place only if somebody else than who computes them
reads them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from minima.optim.engines.passes import Cut
from minima.optim.language.operations import REDUCTIONS
from minima.optim.language.program import Instruction, Operand, Program
from minima.optim.language.ranks import COLUMN, ROW, TENSOR

__all__ = ["Layout"]

Group = tuple[int, list[Instruction]]
"""Lines of one rank, which are computed together."""


@dataclass(frozen=True)
class Layout:
    """The places of a program's numbers."""

    program: Program
    cut: Cut

    @cached_property
    def groups(self) -> list[list[Group]]:
        """The small lines in front of each pass, sorted into few loops."""
        return [_grouped(lines) for lines in self.cut.small]

    @cached_property
    def terms(self) -> list[dict[str, int]]:
        """For each pass the reductions that leave one sum for each piece of a row, or chunk: which place they have."""
        return [self._numbered(k, by_columns=False) for k in range(len(self.cut.passes))]

    @cached_property
    def bands(self) -> list[dict[str, int]]:
        """For each pass the reductions that leave a sum for each column: which place they have."""
        return [self._numbered(k, by_columns=True) for k in range(len(self.cut.passes))]

    def _numbered(self, k: int, *, by_columns: bool) -> dict[str, int]:
        made = self.cut.passes[k]
        ends = () if made is None else made.ends
        return {line.target: i for i, line in enumerate(x for x in ends if (x.rank == COLUMN) is by_columns)}

    def folded(self, k: int) -> tuple[Instruction, ...]:
        """The reductions whose sums are added up in front of pass ``k``."""
        before = self.cut.passes[k - 1] if k else None
        return () if before is None else before.ends

    def written(self, rank: int) -> list[tuple[str, Operand]]:
        """The state of a rank that changes, and its new values."""
        new = zip(("param", *self.program.state), self.program.outputs, strict=True)
        return [(name, value) for name, value in new if self.program.rank(name) == rank and value != name]

    def leaves(self, k: int) -> list[str]:
        """The values that pass ``k`` reads, but for arrays of elements: what was computed before it."""
        made = self.cut.passes[k]
        assert made is not None
        operands = [name for line in (*made.lines, *made.ends) for name in line.reads]
        operands += [value for _, value in made.writes if isinstance(value, str)]
        own = {line.target for line in made.lines} | {value for value, _ in made.reads}
        return [name for name in dict.fromkeys(operands) if name not in own]

    @cached_property
    def _readers(self) -> dict[str, set[tuple[int, int]]]:
        """Who reads each value: which group in front of which pass; group -1 is the pass, -2 the end of all."""
        readers: dict[str, set[tuple[int, int]]] = {}

        def note(names: Iterator[str] | Sequence[str], reader: tuple[int, int]) -> None:
            for name in names:
                readers.setdefault(name, set()).add(reader)

        for k, groups in enumerate(self.groups):
            for number, (_, lines) in enumerate(groups):
                for line in lines:
                    note(line.reads, (k, number))
            if self.cut.passes[k] is not None:
                note(self.leaves(k), (k, -1))
        last = len(self.cut.small) - 1
        for rank in (TENSOR, ROW, COLUMN):
            note([value for _, value in self.written(rank) if isinstance(value, str)], (last, -2))
        outside = [name for line in self.cut.products for name in line.reads]
        note((*self.program.reports, *self.program.totalled, *outside), (len(self.cut.small), -2))
        return readers

    def _makers(self) -> Iterator[tuple[str, int, tuple[int, int]]]:
        """Every small value, its rank, and who computes it; what passes leave is added up before all groups."""
        for k, groups in enumerate(self.groups):
            for line in self.folded(k):
                yield line.target, line.rank, (k, -3)
            for number, (rank, lines) in enumerate(groups):
                for line in lines:
                    yield line.target, rank, (k, number)

    @cached_property
    def values(self) -> dict[str, int]:
        """The place of each number for the tensor that is read behind the next pass, or by others."""
        found: dict[str, int] = {}
        for name, rank, (k, _) in self._makers():
            outside = any(reader[0] != k or reader[1] == -1 for reader in self._readers.get(name, ()))
            if rank == TENSOR and outside:
                found[name] = len(found)
        made = (line.target for line in self.cut.products if line.rank == TENSOR)
        for name in (*made, *self.program.totalled):  # of totals, what is added up may be a state or a size
            found.setdefault(name, len(found))
        return found

    def places(self, rank: int) -> dict[str, int]:
        """The place of each value for rows, or columns, that is read in another loop than its own."""
        return self._places[rank]

    @cached_property
    def _places(self) -> dict[int, dict[str, int]]:
        found: dict[int, dict[str, int]] = {ROW: {}, COLUMN: {}}
        for name, rank, maker in self._makers():
            if rank != TENSOR and self._readers.get(name, set()) - {maker}:
                found[rank][name] = len(found[rank])
        return found

    @property
    def term_count(self) -> int:
        """How many sums there are of a piece of a row, or of a chunk."""
        return max(map(len, self.terms))

    @property
    def band_count(self) -> int:
        """How many sums there are of a column of a band."""
        return max(map(len, self.bands))

    @property
    def has_small_reductions(self) -> bool:
        """Whether anything is added up over the numbers of rows or columns, for which there must be room."""
        lines = (line for lines in self.cut.small for line in lines)
        return any(line.operation in REDUCTIONS for line in lines)


def _grouped(lines: Sequence[Instruction]) -> list[Group]:
    groups: list[Group] = []
    left = list(lines)
    while left:
        for rank in (TENSOR, ROW, COLUMN):
            waiting = {line.target for line in left}
            mine: list[Instruction] = []
            for line in left:
                if line.rank == rank and not any(name in waiting for name in line.reads):
                    mine.append(line)
                    waiting.discard(line.target)
            if mine:
                groups.append((rank, mine))
                left = [line for line in left if line not in mine]
    return groups
