"""Products of matrices between the passes of compiled code on a GPU: matrices of one shape in one batched product.

Their memory is taken from PyTorch for each step, and used again by one *group* after the other: matrices of one shape,
as many as take half a gigabyte. All calls are PyTorch's, on its current stream, and follow its settings, such as
``torch.set_float32_matmul_precision``. None waits for the GPU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch

from minima.optim.engines.cpu.layout import Layout
from minima.optim.engines.cpu.products import Place, planned
from minima.optim.engines.storage import base
from minima.optim.language.operations import REDUCTIONS
from minima.optim.language.program import Instruction, Operand
from minima.optim.language.ranks import TENSOR
from minima.torch.lists import single
from minima.torch.memory import double
from minima.torch.products import has_fast_bfloat16, is_taken, merged, writer
from minima.torch.sums import partial_sums

__all__ = ["BatchedProducts", "Room"]

_torch: Any = torch
_ALIGNED = 256
"""Bytes between the beginnings of arrays, as PyTorch's own are."""
_MOST = 2**29
"""The bytes of a room, at most, unless one matrix takes more."""


class Room(NamedTuple):
    """The memory of a step, for any group."""

    bytes: torch.Tensor
    addresses: torch.Tensor
    """For every matrix where passes leave what products begin with, and find what they end in."""


@dataclass(frozen=True)
class _Group:
    """Matrices of one shape, which are stepped together."""

    shape: tuple[int, int]
    members: Sequence[int]
    """Which of all tensors they are;"""
    there: torch.Tensor
    """the same on the GPU."""
    firsts: Mapping[int, int]
    """Where in the room each slot begins."""

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes in front of those of a matrix: one alone takes its products as on the CPU."""
        return (len(self.members),) if len(self.members) > 1 else ()

    def each(self, numbers: torch.Tensor) -> torch.Tensor:
        """A number of each, with the axes of arrays."""
        return numbers.reshape(*self.axes, 1, 1)


class BatchedProducts:
    """The lines of a program that begin and end with products, for tensors on a GPU."""

    def __init__(
        self,
        layout: Layout,
        param: str,
        compute: np.dtype[Any],
        shapes: Sequence[tuple[int, int]],
        device: torch.device,
    ) -> None:
        """Get ready for lines.

        Args:
            layout: The places of the program's numbers, which lines read and write too.
            param: The kind in which parameters are kept.
            compute: The precision of the loop.
            shapes: The shapes of all tensors, as matrices.
            device: Where they are.
        """
        cut = layout.cut
        self._device, self._wide = device, double(device)
        self._compute: torch.dtype = getattr(torch, compute.name)
        self._param: torch.dtype = getattr(torch, base(param))
        found = merged(cut.products, cut.results, in_half=has_fast_bfloat16(device))
        self._lines = [line for line in found.lines if line.operation != "transpose"]
        self._places, self._settled = planned(found.lines, cut.operands, cut.results, found.halves)
        made = {line.target for line in found.lines}
        read = dict.fromkeys(name for line in found.lines for name in line.reads if name not in made)
        self._given = {name: layout.values[name] for name in read if name not in self._places}
        self._truths = layout.truths
        self._found = {name: slot for name, slot in layout.values.items() if name in made}
        ends = [self._places[name] for name in cut.operands]
        ends += [self._settled.get(name) or self._places[name] for name in cut.results]
        self._groups, self._size = list[_Group](), _ALIGNED
        for shape in dict.fromkeys(shapes):
            self._add_groups(shape, [tensor for tensor, other in enumerate(shapes) if other == shape])
        offsets = np.zeros((len(shapes), len(ends)), np.int64)
        for group in self._groups:
            step = prod(group.shape) * self._compute.itemsize
            for row, tensor in enumerate(group.members):
                offsets[tensor] = [group.firsts[place.slot] + row * step for place in ends]
        self._offsets = _torch.from_numpy(offsets).to(device)

    def _add_groups(self, shape: tuple[int, int], members: Sequence[int]) -> None:
        """Divide the matrices of a shape into as few groups as fit into the room."""
        needs: dict[int, int] = {}
        for place in (*self._places.values(), *self._settled.values()):
            size = prod(place.shape(shape)) * self._dtype(place).itemsize
            needs[place.slot] = max(needs.get(place.slot, 0), size)
        parts = -(-len(members) // max(1, _MOST // max(1, sum(needs.values()))))
        most = -(-len(members) // parts)
        for first in range(0, len(members), most):
            mine = members[first : first + most]
            end, firsts = 0, dict[int, int]()
            for slot, size in needs.items():
                firsts[slot], end = end, end + -(-size * len(mine) // _ALIGNED) * _ALIGNED
            self._size = max(self._size, end)
            there = _torch.tensor(mine, dtype=torch.int64, device="cpu").to(self._device)
            self._groups.append(_Group(shape, mine, there, firsts))

    def _dtype(self, place: Place) -> torch.dtype:
        return {"truth": torch.bool, "half": torch.bfloat16}.get(place.kind, self._compute)

    @property
    def groups(self) -> list[Sequence[int]]:
        """The tensors of every group."""
        return [group.members for group in self._groups]

    @property
    def tables(self) -> list[torch.Tensor]:
        """What stays on the GPU from step to step."""
        return [self._offsets, *(group.there for group in self._groups)]

    def room(self) -> Room:
        """Take the memory of a step."""
        memory = _torch.empty(self._size, dtype=torch.uint8, device=self._device)
        return Room(memory, self._offsets + memory.data_ptr())

    @torch.no_grad()
    def __call__(self, number: int, room: Room, values: torch.Tensor) -> None:
        """Run the lines for a group.

        Args:
            number: Which group it is.
            room: The memory of the step, in which passes have left what lines begin with.
            values: For each tensor its numbers. Those that lines find are put in.
        """
        group = self._groups[number]
        flat = {dtype: room.bytes.view(dtype) for dtype in (torch.bool, torch.bfloat16, self._compute)}
        known = self._known(group, values, flat)
        for line in self._lines:
            if line.target in known.arrays:
                self._make_array(line, known)
            else:
                self._make_number(line, known)
        for name, place in self._settled.items():
            self._view(place, group, flat).copy_(known.arrays[name])
        for name, slot in self._found.items():
            values.select(1, slot).index_copy_(0, group.there, known.wide[name].to(values.dtype))

    def _known(self, group: _Group, values: torch.Tensor, flat: Mapping[torch.dtype, torch.Tensor]) -> "_Known":
        """What lines begin with, and where they leave arrays."""
        seen: dict[Place, torch.Tensor] = {}
        for place in self._places.values():
            if place not in seen:
                seen[place] = self._view(place, group, flat)
        known = _Known(group, {name: seen[place] for name, place in self._places.items()}, {}, {})
        if self._given:
            wide = values.index_select(0, group.there)
            narrow = wide.to(self._compute)
            for name, slot in self._given.items():
                known.wide[name] = wide[:, slot] if name not in self._truths else wide[:, slot] != 0
                known.numbers[name] = group.each(narrow[:, slot])
        return known

    def _view(self, place: Place, group: _Group, flat: Mapping[torch.dtype, torch.Tensor]) -> torch.Tensor:
        """What lies in a place, for all matrices of a group."""
        dtype, (rows, columns) = self._dtype(place), place.shape(group.shape)
        steps = (1, rows) if place.is_turned else (columns, 1)
        strides = *(rows * columns for _ in group.axes), *steps
        return flat[dtype].as_strided((*group.axes, rows, columns), strides, group.firsts[place.slot] // dtype.itemsize)

    def _make_array(self, line: Instruction, known: "_Known") -> None:
        out, operands = known.arrays[line.target], [known.operand(x) for x in line.operands]
        if is_taken(line.operation):
            writer(line.operation, out)(*operands)
        elif line.operation == "nearest":
            out.copy_(operands[0].to(self._param))
        else:
            out.copy_(self._computed(line.operation, operands, self._compute))

    def _make_number(self, line: Instruction, known: "_Known") -> None:
        """A line that makes a number of each matrix: in float64, unless it is for elements."""
        target, first, group = line.target, line.operands[0], known.group
        if line.operation in REDUCTIONS:
            array = known.arrays[str(first)].to(self._compute)
            matrices = list(array.unbind()) if group.axes else [array]
            known.wide[target] = partial_sums(line.operation, matrices, [prod(group.shape)] * len(matrices))
        elif line.operation == "narrow":
            number = known.wide[str(first)].to(self._compute)
            known.wide[target], known.numbers[target] = number.to(self._wide), group.each(number)
        elif line.rank <= TENSOR:
            operands = [known.wide[x] if isinstance(x, str) else x for x in line.operands]
            found = known.wide[target] = self._computed(line.operation, operands, self._wide)
            if found.dtype == torch.bool:  # which lines for elements read as it is
                known.numbers[target] = group.each(found)
        else:
            operands = [known.operand(x) for x in line.operands]
            known.numbers[target] = self._computed(line.operation, operands, self._compute)

    def _computed(self, operation: str, operands: Sequence[Any], dtype: torch.dtype) -> torch.Tensor:
        """An operation on what is, or is brought, to a precision, truths among it."""
        there: list[Any] = [
            x.to(dtype) if isinstance(x, torch.Tensor) and x.dtype != torch.bool else x for x in operands
        ]
        if operation == "where":
            numbers = (isinstance(x, torch.Tensor) for x in there)
            there = [
                x if is_there else _torch.full((), x, dtype=dtype, device=self._device)
                for x, is_there in zip(there, numbers, strict=True)
            ]
        return single(operation)(*there)


@dataclass(frozen=True)
class _Known:
    """The values of a step, for the matrices of a group."""

    group: _Group
    arrays: dict[str, torch.Tensor]
    numbers: dict[str, torch.Tensor]
    """In the precision of the loop, with the axes of arrays."""
    wide: dict[str, torch.Tensor]
    """In float64."""

    def operand(self, x: Operand) -> Any:
        """An operand of a line for elements."""
        if not isinstance(x, str):
            return x
        return self.arrays[x] if x in self.arrays else self.numbers[x]
