"""Products of matrices and what lies between them, in NumPy, in memory that is used again and again.

A result goes into an array that nobody reads any more, as a rule that of an operand: what a step of Muon needs beside
its parameters is a few matrices of the size of the largest one.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.reductions import reducer
from minima.optim.engines.storage import rounding
from minima.optim.language.operations import OPERATIONS, REDUCTIONS
from minima.optim.language.program import Instruction, Operand
from minima.optim.language.ranks import TENSOR

__all__ = ["Products"]

Array = NDArray[Any]


class Products:
    """Lines of a program that begin and end with products of matrices."""

    def __init__(self, lines: Sequence[Instruction], param: str, dtype: np.dtype[Any], kept: Sequence[str]) -> None:
        """Prepare lines for parameters of a kind, computed in ``dtype``; of what they give, some is ``kept``."""
        self._dtype = dtype
        self._nearest = rounding(param, dtype)
        last = {name: place for place, line in enumerate(lines) for name in line.reads}
        self._lines = [
            (line, [name for name in dict.fromkeys(line.reads) if last[name] == place and name not in kept])
            for place, line in enumerate(lines)
        ]
        """Every line, with the values that nobody reads behind it."""
        self._free: list[Array] = []
        """Memory that is not in use."""

    def room(self, shape: tuple[int, ...]) -> Array:
        """An array with any values, which is to be given back."""
        size = math.prod(shape)
        self._free.sort(key=np.size)
        fits = (place for place, flat in enumerate(self._free) if flat.size >= size)
        place = next(fits, len(self._free) - 1)
        flat = self._free.pop(place) if self._free else None
        if flat is None or flat.size < size:  # in the place of the largest one
            flat = None
            flat = np.empty(max(1, size), self._dtype)
        return flat[:size].reshape(shape)

    def give_back(self, array: Array) -> None:
        """Say that an array that was taken is not in use any more."""
        while array.base is not None:
            array = array.base
        if array.dtype == self._dtype:  # and no truths
            self._free.append(array.ravel(order="K"))

    def __call__(self, numbers: Mapping[str, Any], wide: Mapping[str, Any], arrays: dict[str, Array]) -> dict[str, Any]:
        """Run the lines.

        Args:
            numbers: What lines for elements and matrices read of numbers, in the precision of the loop.
            wide: What lines for the tensor read of them, in float64.
            arrays: What the products begin with, in arrays from `room`, which are given back.

        Returns:
            What they give: of arrays those that are kept, which are to be given back.
        """
        known: dict[str, Any] = {}
        values: dict[str, Any] = dict(arrays)
        owners = {name: name for name in arrays}
        users = dict.fromkeys(arrays, 1)
        with np.errstate(all="ignore"):  # overflow and 0/0 are for the user to see in the result
            for line, dead in self._lines:
                outer = wide if line.rank <= TENSOR else numbers
                operands = [self._operand(x, values, outer, line.rank) for x in line.operands]
                target = line.target
                if line.operation == "transpose":
                    values[target] = operands[0].T
                    owners[target] = owners[str(line.operands[0])]
                    users[owners[target]] += 1
                elif line.rank <= TENSOR:
                    known[target] = values[target] = self._number(line, operands)
                else:
                    values[target] = self._array(line, operands, self._reused(line, dead, values, owners, users))
                    owners[target] = target
                    users[target] = 1
                for name in dead:
                    if name in owners:
                        users[owners[name]] -= 1
                        array = values.pop(name)
                        if not users[owners[name]] and array is not values.get(target):
                            if not np.may_share_memory(array, values[target]):
                                self.give_back(array)
        return {**known, **values}

    def _operand(self, operand: Operand, values: Mapping[str, Any], outer: Mapping[str, Any], rank: int) -> Any:
        if isinstance(operand, str):
            return values[operand] if operand in values else outer[operand]
        return np.float64(operand) if rank <= TENSOR else self._dtype.type(operand)

    def _number(self, line: Instruction, operands: Sequence[Any]) -> Any:
        """A line for the tensor."""
        if line.operation in REDUCTIONS:
            return reducer(line.operation, self._dtype, by_rows=True)(operands[0])
        if line.operation == "narrow":
            return self._dtype.type(operands[0])
        return OPERATIONS[line.operation].numpy(*operands)

    def _reused(
        self,
        line: Instruction,
        dead: Sequence[str],
        values: Mapping[str, Any],
        owners: Mapping[str, str],
        users: Mapping[str, int],
    ) -> Array | None:
        """The array of an operand that the result may take the place of."""
        if line.operation == "matmul":
            return None
        for name in dead:
            if owners.get(name) == name and users[name] == 1 and values[name].dtype == self._dtype:
                return values[name]
        return None

    def _like(self, operands: Sequence[Any], reused: Array | None) -> Array:
        """Where a result goes that NumPy would lay out by itself: by columns where all operands are laid out so."""
        shape = np.broadcast_shapes(*(np.shape(x) for x in operands))
        by_columns = all(x.flags.f_contiguous and not x.flags.c_contiguous for x in operands if np.ndim(x))
        if reused is not None and reused.shape == shape and by_columns is not reused.flags.c_contiguous:
            return reused
        return self.room(shape[::-1]).T if by_columns else self.room(shape)

    def _array(self, line: Instruction, operands: Sequence[Any], reused: Array | None) -> Array:
        """A line for elements, or for a matrix."""
        if line.operation == "matmul":
            x, y = operands
            return np.matmul(x, y, out=self.room((x.shape[0], y.shape[1])))
        function = self._nearest if line.operation == "nearest" else OPERATIONS[line.operation].numpy
        is_truth = line.operation in OPERATIONS and OPERATIONS[line.operation].is_truth
        if isinstance(function, np.ufunc) and not is_truth:
            return function(*operands, out=self._like(operands, reused))
        return function(*operands)
