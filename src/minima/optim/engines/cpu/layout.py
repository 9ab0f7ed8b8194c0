"""Where the numbers of a program stand between two passes: sums that passes leave, and what small lines make of them.

For every tensor there is a row of doubles, *values*, for what there is one of; *scratch*, for what there is of its rows
and columns; and the *sums* that its pieces have left. All have a place only if somebody else than who computes them
reads them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.passes import Cut
from minima.optim.engines.reductions import BAND, CHUNK
from minima.optim.language.operations import OPERATIONS, REDUCTIONS
from minima.optim.language.program import Instruction, Operand, Program
from minima.optim.language.ranks import COLUMN, NUMBER, ROW, TENSOR, matrix_shape

__all__ = ["PLACES", "TABLE_NAMES", "Layout", "Places"]

TABLE_NAMES = (
    *("buffers", "grads", "rows", "scalars", "ts", "wide"),
    *("model", "values", "sums", "scratch", "places", "large", "matrices"),
)
"""The tables that a kernel reads: the first five as every kernel; the numbers of the host in float64, those for the
whole model, those for each tensor; the sums of pieces, what there is of rows and columns; where a tensor has these; the
number of tensors of more than one piece, and which they are; where the matrices are that products begin with and end
in."""
PLACES = ("rows", "columns", "blocks", "bands", "leaves", "sums", "scratch", "room")
"""What is known of a tensor: how many rows and columns, pieces in a row, bands of rows, and sums that a reduction
leaves; where its sums and its scratch begin; and, among the sums, where there is room for others."""

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

    @cached_property
    def truths(self) -> frozenset[str]:
        """The values that are truths; as numbers they are 1 or 0."""
        known = {name for name, row in OPERATIONS.items() if row.is_truth}
        return frozenset(line.target for line in self.program.body if line.operation in known)

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
        """The place of each number for the tensor that is read behind the next pass, or by others.

        So have numbers of the host that products of matrices read.
        """
        found: dict[str, int] = {}
        for name, rank, (k, _) in self._makers():
            outside = any(reader[0] != k or reader[1] == -1 for reader in self._readers.get(name, ()))
            if rank == TENSOR and outside:
                found[name] = len(found)
        inside = {line.target: line.rank for line in self.cut.products}
        others = {name for line in self.program.body if line.target not in inside for name in line.reads}
        made = (name for name in inside if inside[name] == TENSOR and name in others | {*self.program.outputs})
        read = (name for line in self.cut.products for name in line.reads if name not in inside)
        asked = (name for name in read if self.program.rank(name) in (NUMBER, TENSOR))
        for name in (*made, *asked, *self.program.totalled):  # what is asked for may be a state or a size
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


class Places:
    """Where the numbers of some tensors stand."""

    def __init__(self, layout: Layout, shapes: Sequence[Sequence[int]], *, is_shared: bool) -> None:
        """Find a place for all.

        Args:
            layout: What there is of a tensor.
            shapes: The shape of every tensor.
            is_shared: Whether several threads add up the sums of a tensor, which then do not overwrite them.
        """
        many, by_rows = len(shapes), layout.program.by_rows
        matrices = np.array([matrix_shape(shape) for shape in shapes], np.int64).reshape(many, 2)
        rows, columns = matrices.T
        if by_rows:
            blocks, bands = _shares(columns, CHUNK), _shares(rows, BAND)
            pieces, leaves = blocks * bands, rows * blocks
        else:
            blocks, bands = np.ones(many, np.int64), np.ones(many, np.int64)
            pieces = leaves = _shares(rows * columns, CHUNK)
        self.pieces = pieces
        """How many pieces every tensor has."""
        self.stacks = np.where(bands > BAND, _shares(bands, BAND), 0)
        """How many groups of bands every tensor has, where these are not one group."""
        along = np.maximum(rows, columns)
        sums = leaves * layout.term_count + bands * columns * layout.band_count
        room = np.zeros(many, np.int64)
        if is_shared:
            room, added = sums, along * by_rows
            sums = sums + added + 2 * _shares(np.maximum(leaves, added), CHUNK)
        elif layout.has_small_reductions:
            sums = np.maximum(sums, along)
        scratch = rows * len(layout.places(ROW)) + columns * len(layout.places(COLUMN))
        firsts = _firsts(sums)
        known = [rows, columns, blocks, bands, leaves, firsts, _firsts(scratch), firsts + room]
        assert len(known) == len(PLACES)
        self.table = np.ascontiguousarray(np.stack(known, axis=1))
        """For every tensor its ``PLACES``."""
        self.shapes: list[tuple[int, int]] = [(row, column) for row, column in matrices.tolist()]
        """The shape of every tensor, as a matrix."""
        self.sums, self.scratch = int(sums.sum()), int(scratch.sum())
        """How many sums there are in all; how many numbers of rows and columns."""


def _shares(many: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """How many shares of a size there are, one at least."""
    return np.maximum(1, -(-many // size))


def _firsts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each begins of what stands one behind the other."""
    return np.cumsum(sizes) - sizes


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
