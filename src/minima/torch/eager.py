"""The engine for any device: a program through PyTorch's own operations, many tensors at a time where it has such.

Nothing here looks at a value, so that nothing waits for the device: hyperparameters that are tensors stay tensors. What
there is one of for each element, row or column is a list of tensors, one for each parameter; what there is one of for a
parameter is one entry of a single tensor. Where a parameter is many matrices, all three axes of a batch are there:
what is made of their rows or columns is a list of tensors of one number for each matrix.

What lines become calls is in `fusing`, where their results go in `placing`, what they compute in `eager_lines`: a step
takes all its memory before it writes anything.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from minima.optim.language.program import Instruction
from minima.optim.language.ranks import ELEMENT, TENSOR, batch_shape, matrix_shape
from minima.torch.eager_lines import EagerLines, Row
from minima.torch.kernel import Work, are_finite
from minima.torch.lists import converted, copy
from minima.torch.memory import brought, double, is_direct, local, wide
from minima.torch.placing import Call
from minima.torch.products import has_fast_bfloat16
from minima.torch.rounding import Noise, narrowed
from minima.torch.scalars import tensor_scalars
from minima.torch.schedules import schedules
from minima.torch.sharding import Shards, own_part, whole
from minima.torch.soundness import Likeness, is_freed

__all__ = ["Eager"]


class Eager(EagerLines):
    """Runs the body of a program on lists of tensors, one list for each row of scalars."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        param, program = work.params[0], work.program
        self._compute = _real(wide(param.dtype))
        self._device = param.device
        self._double = double(param.device)
        self.on_device = param.device.type != "cpu"
        kept = [program.rank(name) for name in program.kept]
        pairs = zip(work.keeping.states, kept, strict=True)
        self._states_of = {
            name: (itemgetter(entry.name), rank) for name, (entry, rank) in zip(program.kept, pairs, strict=True)
        }
        """What gets each state, and how many there are of it."""
        self._members: list[list[int]] = []
        dtypes = {"param": param.dtype, "grad": param.dtype}
        dtypes |= {name: x.dtype(param) for name, x in zip(program.kept, work.keeping.states, strict=True)}
        self._owned = frozenset(
            name for name, x in dtypes.items() if program.rank(name) > TENSOR and _real(x) != self._compute
        )
        """The inputs that are copied to be computed with."""
        random = self._owned.difference(["grad", *(["param"] if work.rounding != "stochastic" else [])])
        self._numbers = {"param": -1, **dict(zip(program.state, program.numbers, strict=True))}
        """What gives the parameters and each state random numbers of their own."""
        self._likeness = Likeness([*work.params, *self._states()])
        self._local = _itself if all(map(is_direct, work.params)) else local
        self._is_whole = self.shards is not None and program.by_rows
        """Whether steps put together what they find shards of."""
        self._matrices = batch_shape if work.keeping.is_batched else matrix_shape
        """The shape in which steps see a parameter, where they see rows and columns."""
        self._schedules = schedules(
            program,
            in_half=has_fast_bfloat16(param.device),
            owned=self._owned,
            random=random,
            in_place=not self._is_whole and all(map(self._is_view, self._written())),
        )
        self._halves = self._schedules.halves
        self._like = [(local(x).shape, x.dtype, x.device) for x in work.params]
        self._grads: Sequence[torch.Tensor] = ()
        self._known_sizes: dict[int, Sequence[torch.Tensor]] = {}
        """Numbers of rows and columns, by the first parameter that has them."""
        self._rows: list[Row] = []
        self._noise: Noise | None = None
        self._copied: list[tuple[list[Any], list[Any]]] = []
        """What is to be written, once all memory is there, and where."""
        self._digits: dict[str, torch.Tensor] = {}
        """What lines need as tensors of one number while results are written, by its digits: -0.0 equals 0.0."""
        self._told: dict[str, torch.Tensor] = {}
        """What the last stage has found of what is told of the parameters, row after row."""
        self._stage = 0
        self._has_written = False
        self.host_part = partial(tensor_scalars, program, self._device)

    @property
    def reports(self) -> NDArray[np.float64]:
        return self._read(self.work.program.reports)

    @property
    def totalled(self) -> NDArray[np.float64]:
        return self._read(self.work.program.totalled)

    def total(self, column: int) -> torch.Tensor:
        return self._joined(self.work.program.totalled[column]).sum()

    def _read(self, names: tuple[str, ...]) -> NDArray[np.float64]:
        """For every parameter these numbers, as far as they are known, which takes waiting for the device."""
        found = np.full((len(self.work.params), len(names)), np.nan)
        members = [i for row in self._rows for i in row.members]
        for place, name in enumerate(names):
            if name in self._told or self._is_known(name):
                found[members, place] = self._joined(name).cpu().numpy()
        return found

    def _is_known(self, name: str) -> bool:
        return all(name in row.values for row in self._rows)

    def _joined(self, name: str) -> torch.Tensor:
        """What there is one of for each parameter, of all of them, row after row."""
        if name in self._told:
            return self._told[name]
        return torch.cat([self._spread(row.values[name], row) for row in self._rows])

    def _spread(self, value: Any, row: Row) -> torch.Tensor:
        """What there is one of for each parameter, as one tensor."""
        return self._number(value, self._double).expand(len(row.members))

    @property
    def has_written(self) -> bool:
        return self._has_written

    def load(self, grads: Sequence[Any]) -> bool:
        self._has_written = False
        if any(grad is None for grad in grads):
            return False
        for tensor, (shape, dtype, device) in zip(grads, self._like, strict=True):
            if tensor.layout != torch.strided or self._local(tensor).shape != shape or is_freed(tensor):
                return False
            if tensor.dtype != dtype or tensor.device != device:
                return False
        if not self._likeness.holds(chain(self.work.params, self._states())):
            return False
        self._grads = grads
        return True

    def found_finite(self) -> list[bool]:
        return are_finite(list(map(local, self._grads)))

    def drop(self) -> None:
        self._grads, self._copied, self._digits, self._noise = (), [], {}, None
        self._rows = [replace(row, values={}, rounded={}) for row in self._rows]

    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        numbers = list(map(int, rows))
        self._members = [[i for i, mine in enumerate(numbers) if mine == row] for row in range(max(numbers) + 1)]
        self._known_sizes.clear()

    @torch.no_grad()
    def begin(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int], model: Sequence[float] = ()) -> None:
        rows = zip(self._members, scalars, ts, strict=True)
        self._rows = [self._begun(members, row, t) for members, row, t in rows]
        self._stage, self._told = 0, {}
        self._advance(model)

    @torch.no_grad()
    def proceed(self, model: Sequence[float]) -> None:
        self._stage += 1
        self._advance(model)

    def _begun(self, members: Sequence[int], scalars: Sequence[Any], t: int) -> Row:
        """What some parameters begin a step with."""
        program = self.work.program
        names = [name for name in ("param", "grad", *program.kept) if name not in self._owned]
        values: dict[str, Any] = {name: self._input(name, members) for name in names}
        lists = [cast(list[torch.Tensor], x) for x in values.values() if isinstance(x, list)]
        given = frozenset(id(x) for tensors in lists for x in tensors)
        for name, scalar in zip((*program.scalars, *program.wide), scalars, strict=True):
            is_afar = isinstance(scalar, torch.Tensor) and scalar.device.type != "cpu"
            values[name] = scalar if is_afar else float(scalar)
        values |= zip(program.shape, self._sizes(members), strict=False)
        way, numbers = self._schedules.way(values, self._compute, is_afar=self.on_device)
        return Row(members, t, {**values, **numbers}, given, way)

    def _tensors(self, name: str, members: Sequence[int]) -> list[torch.Tensor]:
        """Parameters, their gradients, or a state of each."""
        if name in ("param", "grad"):
            tensors = self.work.params if name == "param" else self._grads
            return [tensors[i] for i in members]
        get, _ = self._states_of[name]
        return [get(self.work.kept[i]) for i in members]

    def _input(self, name: str, members: Sequence[int]) -> Any:
        """An input of the program as it is computed with: where there are rows and columns, as matrices."""
        view = whole if self._is_whole else self._local
        tensors = [view(x) for x in self._tensors(name, members)]
        rank = self._states_of[name][1] if name in self._states_of else ELEMENT
        if rank == TENSOR:
            return torch.stack(tensors)
        found = converted(tensors, self._compute)
        if rank == ELEMENT and self.work.program.by_rows:
            return [x.reshape(self._matrices(x.shape)) for x in found]
        if self.work.keeping.is_batched:
            return [x.reshape(batch_shape(x.shape)) for x in found]
        return found

    def _written(self) -> Iterator[torch.Tensor]:
        """The parameters, and what there is of their state for each element."""
        yield from self.work.params
        for get, rank in self._states_of.values():
            yield from (get(kept) for kept in self.work.kept if rank == ELEMENT)

    def _is_view(self, tensor: torch.Tensor) -> bool:
        """Whether what steps see of a tensor is its own memory."""
        tensor = local(tensor)
        return (
            not self.work.program.by_rows
            or tensor.reshape(self._matrices(tensor.shape)).data_ptr() == tensor.data_ptr()
        )

    def _sizes(self, members: Sequence[int]) -> Sequence[torch.Tensor]:
        """The numbers of rows and of columns, where the program reads them: brought to the device once."""
        if not self.work.program.shape:
            return ()
        if members[0] not in self._known_sizes:
            sizes = [self._matrices(self.work.params[i].shape)[-2:] for i in members]
            found = torch.tensor(sizes, dtype=self._double, device="cpu").to(self._device)
            self._known_sizes[members[0]] = found.unbind(1)
        return self._known_sizes[members[0]]

    def _advance(self, model: Sequence[float]) -> None:
        """Compute what can be had in a stage before anything is written; in the last one, take all memory for that."""
        numbers = [brought(x, self._device) if isinstance(x, torch.Tensor) else x for x in model]
        for row in self._rows:
            row.values.update(zip(self.work.program.model, numbers, strict=True) if model else ())
        for number in self._schedules.parts_of[self._stage]:
            for row in self._rows:
                for call in row.way.schedule.parts[number]:
                    self._call(call, row)
            if self.shards is not None and not self._is_whole:
                self._add_shards(self.shards, self._schedules.gathers[number])
        if not self._is_last:
            return
        told = (*self.work.program.reports, *self.work.program.totalled)
        self._told = {name: self._joined(name) for name in told if self._is_known(name)}
        self._copied = [pair for row in self._rows for pair in self._results(row, late=False)]
        for row in self._rows:
            for name, is_truth in row.way.schedule.reserved:
                dtype = torch.bool if is_truth else self._compute
                row.values[name] = [torch.empty_like(x, dtype=dtype) for x in row.values["param"]]
            for line in (call.line for call in row.way.schedule.late if call.line.operation in ("where", "div")):
                numbers = (row.values.get(x) if isinstance(x, str) else x for x in line.operands)
                for number in (x for x in numbers if isinstance(x, float)):
                    self._digits[number.hex()] = self._number(number, self._compute)

    @property
    def _is_last(self) -> bool:
        """Whether the stage is the last one of the step."""
        return self._stage + 1 == len(self._schedules.parts_of)

    @torch.no_grad()
    def run(self) -> None:
        if not self._is_last:
            return
        copied, self._has_written = self._copied, True
        for row in self._rows:
            for call in row.way.schedule.late:
                self._call(call, row)
            copied += self._results(row, late=True)
        together: dict[Any, tuple[list[Any], list[Any]]] = {}
        for targets, values in copied:
            known = together.setdefault((targets[0].dtype, values[0].dtype), ([], []))
            known[0].extend(targets)
            known[1].extend(values)
        for targets, values in together.values():
            copy(targets, values)
        self.drop()

    def _add_shards(self, shards: Shards, lines: Sequence[Instruction]) -> None:
        """Make of what was found of the local shards what it is of the whole of each parameter: together, in a call."""
        for is_max in (False, True):
            places = [(row, line) for row in self._rows for line in lines if line.operation.startswith("max") is is_max]
            if not places:
                continue
            found = [row.values[line.target] for row, line in places]
            found = [x.square() if line.operation == "norm" else x for x, (_, line) in zip(found, places, strict=True)]
            sums: Any = (shards.largest if is_max else shards.summed)(torch.cat(found))
            parts = sums.split([len(row.members) for row, _ in places])
            for (row, line), part in zip(places, parts, strict=True):
                row.values[line.target] = part.sqrt() if line.operation == "norm" else part

    def _results(self, row: Row, *, late: bool) -> Iterator[tuple[list[Any], list[Any]]]:
        """Parameters and state that are to be copied to, as lists of tensors, and their new values.

        They are those whose values are there before anything is written, or the other ones.
        """
        program, way = self.work.program, row.way
        computed_late = {call.line.target for call in way.schedule.late}
        for name in ("param", *program.kept):
            value: Any = way.results[name]
            if value == name or name in way.schedule.written or (value in computed_late) is not late:
                continue
            tensors = [self._local(x) for x in self._tensors(name, row.members)]
            if name in row.rounded:
                yield tensors, row.rounded[name]
            elif program.rank(name) == TENSOR:
                value = row.values[value] if isinstance(value, str) else value
                yield tensors, list(self._spread(value, row).unbind())
            else:
                yield tensors, self._result(name, value, tensors, row)

    def _result(self, name: str, value: Any, tensors: Sequence[torch.Tensor], row: Row) -> list[torch.Tensor]:
        """What is to be copied to these tensors."""
        value = self._value(value, row) if isinstance(value, str) else value
        if not isinstance(value, list):
            value = [self._number(value, self._compute)] * len(tensors)
        # A rule may hand on an input as it is: what is written first must not show in what is written next.
        found = converted(cast(list[torch.Tensor], value), self._compute)
        found = [x.clone() if id(x) in row.given else x for x in found]
        if self.work.program.rank(name) == ELEMENT:
            found = [self._shaped(x, i) for x, i in zip(found, row.members, strict=True)]
        elif self.work.keeping.is_batched:
            found = [x.reshape(like.shape) if x.dim() else x for x, like in zip(found, tensors, strict=True)]
        if name not in self._schedules.random:
            return found
        self._noise = self._noise or Noise(self._device)
        ts = [row.t + self.shifts[i] for i in row.members]
        return narrowed(found, tensors, ts, self._numbers[name], self._noise)

    def _value(self, name: str, row: Row) -> Any:
        """A value of the program; an input that is copied to be computed with is so when it is first read."""
        if name not in row.values:
            row.values[name] = self._input(name, row.members)
        return row.values[name]

    def _shaped(self, x: torch.Tensor, place: int) -> torch.Tensor:
        """A result, which may be smaller, in the shape of a parameter, as far as it is here."""
        param, shape = self.work.params[place], self._like[place][0]
        if self._is_whole:
            return own_part(x.expand(self._matrices(param.shape)).reshape(param.shape), param)
        if x.shape == shape:
            return x
        return x.expand(self._matrices(shape)).reshape(shape) if self.work.program.by_rows else x.expand(shape)

    def _call(self, call: Call, row: Row) -> None:
        values, line = row.values, call.line
        for name in line.reads:
            self._value(name, row)
        held = None if call.into is None else values[call.into]
        into = cast(list[torch.Tensor], held) if isinstance(held, list) else None  # what chooses may give a number
        if call.is_copied and into is not None:
            copy(into, values[str(line.operands[call.base])])
        values[line.target] = self._apply(line, row, into, call.base)
        for name in call.dying:
            del values[name]
        for name in row.way.rounded.get(line.target, ()):
            tensors = [self._local(x) for x in self._tensors(name, row.members)]
            row.rounded[name] = self._result(name, line.target, tensors, row)
        if line.target in row.way.unread:
            del values[line.target]


def _real(dtype: torch.dtype) -> torch.dtype:
    return dtype.to_real() if dtype.is_complex else dtype


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor
