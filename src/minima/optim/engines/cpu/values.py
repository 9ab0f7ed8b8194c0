"""The printer of where values stand between two passes: of a tensor as a whole, its rows, its columns, its elements."""

from dataclasses import replace
from typing import Any

from minima.optim.engines.cpu.elements import Elements
from minima.optim.engines.cpu.layout import Layout
from minima.optim.engines.cpu.llvm import BIT, integer, ir, item
from minima.optim.engines.cpu.printer import WIDE, Printer
from minima.optim.engines.cpu.tensors import Tensor
from minima.optim.engines.passes import array_of, cut, invariant
from minima.optim.engines.storage import BLOCKS
from minima.optim.language.program import Operand, Program
from minima.optim.language.ranks import COLUMN, MODEL, NUMBER, ROW, TENSOR

__all__ = ["ValuePrinter"]


class ValuePrinter(Printer):
    """Finds the values that passes read, and what is computed between them, for one tensor."""

    def __init__(self, program: Program, param: str, state: tuple[str, ...], compute: str) -> None:
        self.cut = cut(program, (param, *state), compute)
        self.layout = Layout(program, self.cut)
        self._compute = compute
        self._matrices = [array_of(value) for value in (*self.cut.operands, *self.cut.results)]
        self._invariant = list(invariant(program))
        self._truths = self.layout.truths
        super().__init__(program, param, state, compute)

    def _add_matrices(self) -> None:
        """Have what products of matrices begin with and end in among the arrays."""
        for name in self._matrices:
            self.kinds[name], self.numbers[name] = self._compute, -1
            self.columns.append((name, self.number, 1))

    def _begin_pass(self, k: int) -> tuple[list[tuple[str, Any, int]], dict[int, list[str]], list[str]]:
        """Get ready to print a pass: its arrays, the values for rows and for columns that it reads, and all others."""
        made, program = self.cut.passes[k], self.program
        assert made is not None
        touched = {name for _, name in made.reads} | {name for name, _ in made.writes}
        self.blocks = [name for name in self.kinds if name in touched and self.kinds[name] in BLOCKS]
        touched |= {f"{name}.scale" for name in self.blocks}
        arrays = [column for column in self.columns if column[0] in touched]
        leaves = self.layout.leaves(k)
        along = {rank: [x for x in leaves if program.rank(x) == rank] for rank in (ROW, COLUMN)}
        fixed = [x for x in leaves if program.rank(x) <= TENSOR]
        self.mine = replace(made, reads=(*made.reads, *((name, name) for name in along[COLUMN])))
        return arrays, along, fixed

    # What there is of a tensor ---------------------------------------------------------------------------------------

    def _address(self, tensor: Tensor, name: str) -> Any:
        """Where an array of the tensor begins; ``name`` is that of a column."""
        names = [column for column, _, _ in self.columns if column != "grad" and column not in self._matrices]
        builder, kind = tensor.builder, next(kind for column, kind, _ in self.columns if column == name)
        if name == "grad":
            address = item(builder, tensor.table("grads"), tensor.number)
        elif name in self._matrices:
            address = item(builder, tensor.table("matrices"), self._matrix(tensor, self._matrices.index(name)))
        else:
            line = builder.mul(tensor.number, integer(len(names)))
            address = item(builder, tensor.table("buffers"), line, names.index(name))
        return builder.inttoptr(address, kind.as_pointer(self.space))

    def _matrix(self, tensor: Tensor, number: int) -> Any:
        """The place in ``matrices`` of one of those that products begin with and end in: all tensors share them."""
        return integer(number)

    def _along(self, tensor: Tensor, name: str) -> Any:
        """Where the values for rows, or for columns, begin."""
        if name in self.kinds:
            return self._address(tensor, name)
        builder, rank = tensor.builder, self.program.rank(name)
        start = builder.mul(integer(self.layout.places(rank)[name]), tensor.count(rank))
        if rank == COLUMN:  # behind all that there is of rows
            of_rows = builder.mul(integer(len(self.layout.places(ROW))), tensor.place("rows"))
            start = builder.add(start, of_rows)
        return builder.gep(tensor.table("scratch"), [builder.add(tensor.place("scratch"), start)])

    def _leaves_of(self, tensor: Tensor, target: str, k: int) -> Any:
        """Where the sums of a reduction begin, which pass ``k`` leaves."""
        builder, leaves = tensor.builder, tensor.place("leaves")
        if target in self.layout.terms[k]:
            start = builder.mul(integer(self.layout.terms[k][target]), leaves)
        else:
            size = builder.mul(tensor.place("bands"), tensor.place("columns"))
            start = builder.mul(integer(self.layout.bands[k][target]), size)
            start = builder.add(start, builder.mul(integer(self.layout.term_count), leaves))
        return builder.gep(tensor.table("sums"), [builder.add(tensor.place("sums"), start)])

    def _loaded(self, builder: Any, name: str, array: Any, place: Any) -> Any:
        """An entry of an array of numbers, where a truth is kept as one."""
        value = item(builder, array, place)
        if name not in self._truths:
            return value
        return builder.fcmp_unordered("!=", value, ir.Constant(value.type, 0.0))

    def _wide_value(self, tensor: Tensor, operand: Operand, known: dict[str, Any]) -> Any:
        """A value as lines for the tensor read it, in float64."""
        builder = tensor.builder
        if not isinstance(operand, str):
            return ir.Constant(WIDE, operand)
        if operand in known:
            return known[operand]
        rank = self.program.rank(operand)
        if rank == NUMBER:
            if operand not in self.program.wide:
                value = self._scalar(tensor, operand)
                return value if self.number == WIDE else builder.fpext(value, WIDE)
            place = builder.mul(tensor.row, integer(len(self.program.wide)))
            return item(builder, tensor.table("wide"), place, self.program.wide.index(operand))
        if operand in self.program.shape:
            side = ("rows", "columns")[self.program.shape.index(operand)]
            return builder.sitofp(tensor.place(side), WIDE)
        if rank == MODEL:
            return item(builder, tensor.table("model"), integer(self.program.model.index(operand)))
        if operand in self.kinds:
            return builder.load(self._address(tensor, operand))
        place = builder.mul(tensor.number, integer(len(self.layout.values)))
        place = builder.add(place, integer(self.layout.values[operand]))
        return self._loaded(builder, operand, tensor.table("values"), place)

    def _value(self, tensor: Tensor, name: str, known: dict[str, Any]) -> Any:
        """A number of the host, or for the tensor, as lines for rows, columns and elements read it."""
        if self.program.rank(name) == NUMBER:
            return self._scalar(tensor, name)
        value = self._wide_value(tensor, name, known)
        return value if value.type == BIT or self.number == WIDE else tensor.builder.fptrunc(value, self.number)

    def _scalar(self, tensor: Tensor, name: str) -> Any:
        place = tensor.builder.mul(tensor.row, integer(len(self.program.scalars)))
        return item(tensor.builder, tensor.table("scalars"), place, self.program.scalars.index(name))

    def _widen(self, elements: Elements, name: str, raw: Any, values: dict[str, Any]) -> Any:
        if self.program.rank(name) == COLUMN:
            return elements.builder.fcmp_unordered("!=", raw, elements.constant(0.0)) if name in self._truths else raw
        return super()._widen(elements, name, raw, values)
