"""The engine for any device: a program through PyTorch's own operations, many tensors at a time where it has such.

Nothing here looks at a value, so that nothing waits for the device: hyperparameters that are tensors stay tensors.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from minima.optim.language import vocabulary
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.program import Instruction, Program
from minima.torch.kernel import TensorKernel, Work, are_finite
from minima.torch.memory import is_direct, local, wide
from minima.torch.private import foreach
from minima.torch.rounding import narrowed
from minima.torch.soundness import Likeness, is_freed

__all__ = ["Eager", "host_scalars"]


class Eager(TensorKernel):
    """Runs the body of a program on lists of tensors, one list for each row of scalars."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        param = work.params[0]
        self._compute = wide(param.dtype)
        if self._compute.is_complex:
            self._compute = self._compute.to_real()
        self._device = param.device
        self._getters = [itemgetter(name) for name in work.names]
        self._members: list[list[int]] = []
        self._body = list(zip(work.program.body, _dying(work.program), strict=True))
        self._likeness = Likeness([*work.params, *self._states()])
        self._local = _itself if all(map(is_direct, work.params)) else local
        self._like = [(local(x).shape, x.dtype, x.device) for x in work.params]
        self._grads: Sequence[torch.Tensor] = ()
        self._measures: dict[int, list[torch.Tensor]] = {}
        self.host_part = partial(_host_part, work.program)

    @property
    def measures(self) -> NDArray[np.float64]:
        found = [torch.stack(self._measures[i]) for i in range(len(self.work.params))]
        return torch.stack(found).cpu().numpy()

    def load(self, grads: Sequence[Any]) -> bool:
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

    def finite(self) -> list[bool]:
        return are_finite(list(map(local, self._grads)))

    def drop(self) -> None:
        self._grads = ()

    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        numbers = list(map(int, rows))
        self._members = [[i for i, mine in enumerate(numbers) if mine == row] for row in range(max(numbers) + 1)]

    @torch.no_grad()
    def run(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int]) -> None:
        # All is computed before anything is written: memory may run out.
        rows = zip(self._members, scalars, ts, strict=True)
        written = [self._results(members, row, t) for members, row, t in rows]
        for targets, results in written:
            for tensors, values in zip(targets, results, strict=True):
                _copy(tensors, values)
        self.drop()

    def _results(self, members: Sequence[int], scalars: Sequence[Any], t: int) -> tuple[list[Any], list[Any]]:
        """The parameters and their state, as lists of tensors; and what a step makes of them."""
        work, program = self.work, self.work.program
        view = self._local
        params = [view(work.params[i]) for i in members]
        grads = [view(self._grads[i]) for i in members]
        states = [[view(get(work.kept[i])) for i in members] for get in self._getters]
        inputs = [[x.to(self._compute) for x in tensors] for tensors in (params, grads, *states)]
        values: dict[str, Any] = dict(zip(program.inputs, inputs, strict=True))
        for name, scalar in zip(program.scalars, scalars, strict=True):
            values[name] = scalar if isinstance(scalar, torch.Tensor) else float(scalar)
        for line, dying in self._body:
            values[line.target] = self._apply(line, values)
            for name in dying:
                del values[name]
        results: list[Any] = [values[output] if isinstance(output, str) else output for output in program.outputs]
        # A rule may hand on an input as it is: what is written first must not show in what is written next.
        given = {id(x) for tensors in (params, *states) for x in tensors}
        results = [x if isinstance(x, list) else [self._number(x).expand_as(p) for p in params] for x in results]
        results = [[x.clone() if id(x) in given else x for x in tensors] for tensors in results]
        if work.measured:
            for place, grad, old, new in zip(members, inputs[1], inputs[0], results[0], strict=True):
                self._measures[place] = [x.double().square().sum() for x in (grad, new - old, old)]
        targets, kinds = [params, *states], [work.rounding, *("stochastic" for _ in states)]
        for i, (tensors, kind, number) in enumerate(zip(targets, kinds, (-1, *program.numbers), strict=True)):
            results[i] = [narrowed(x, like, kind, t, number) for x, like in zip(results[i], tensors, strict=True)]
        return targets, results

    def _apply(self, line: Instruction, values: Mapping[str, Any]) -> Any:
        name = line.operation
        if name == "nearest":
            dtype = local(self.work.params[0]).dtype
            return [x.to(dtype).to(self._compute) for x in values[str(line.operands[0])]]
        operands: list[Any] = [values[operand] if isinstance(operand, str) else operand for operand in line.operands]
        many = [isinstance(operand, list) for operand in operands]
        if name == "where":
            operands = [operands[0], *map(self._number, operands[1:])]
            if isinstance(operands[0], bool):
                return operands[1] if operands[0] else operands[2]
        if name == "div" and not many[0]:  # once, and not for each of the tensors
            operands[0] = self._number(operands[0])
        if not any(many):
            return _single(name)(*operands)
        if OPERATIONS[name].foreach:
            result = _foreach(name, operands, many)
            if result is not None:
                return list(result)
        count = len(operands[many.index(True)])
        single = _single(name)
        return [single(*(x[i] if isinstance(x, list) else x for x in operands)) for i in range(count)]

    def _number(self, operand: Any) -> Any:
        """A number as a tensor of the precision of the loop."""
        if not isinstance(operand, float):
            return operand
        return torch.full((), operand, dtype=self._compute, device=self._device)


def _settle() -> None:
    """Call each function of one number once, on one element.

    Where several threads are the first to call one, MKL may answer a whole chunk with 12 bits (pytorch issue 188792).
    """
    for word in ("sqrt", "exp", "log"):
        for dtype in (torch.float32, torch.float64):
            getattr(torch, word)(torch.ones(1, dtype=dtype, device="cpu"))


_settle()


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _host_part(program: Program, numbers: Mapping[str, Any], t: int, first: bool) -> list[Any]:
    return host_scalars(program, {**numbers, "t": t, "first": first})


def host_scalars(program: Program, numbers: Mapping[str, Any]) -> list[Any]:
    """The scalars of a program, where some of the numbers are tensors."""
    values: dict[str, Any] = {name: x if isinstance(x, torch.Tensor) else float(x) for name, x in numbers.items()}
    for line in program.host:
        operands: list[Any] = [values[operand] if isinstance(operand, str) else operand for operand in line.operands]
        values[line.target] = _single(line.operation)(*operands)
    return [values[name] for name in program.scalars]


def _foreach(name: str, operands: Sequence[Any], many: Sequence[bool]) -> Any:
    """The operation on all tensors in one call; None if PyTorch has none for these operands."""
    if not all(many) and not isinstance(operands[many.index(False)], float):
        return None
    if not many[0]:
        x, y = operands
        if name == "sub":  # x - y is -y + x, to the last bit
            negated = _foreach("neg", [y], [True])
            return None if negated is None else _foreach("add", [negated, x], [True, False])
        if name in ("add", "mul", "maximum", "minimum"):
            operands = y, x
        elif name != "pow":
            return None
    operation = foreach(name)
    return None if operation is None else operation(*operands)


def _copy(targets: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    copy = foreach("copy_")
    if copy is not None:
        copy(targets, values)
    else:
        for target, value in zip(targets, values, strict=True):
            target.copy_(value)


def _dying(program: Program) -> list[list[str]]:
    """For each line of the body the values that nothing needs after it."""
    kept = {*program.outputs, *program.scalars, *program.inputs}
    seen: set[str] = set()
    dying: list[list[str]] = []
    for line in reversed(program.body):
        names = dict.fromkeys(x for x in line.operands if isinstance(x, str) and x not in kept and x not in seen)
        seen |= names.keys()
        dying.append(list(names))
    return dying[::-1]


def _divide(x: Any, y: Any) -> Any:
    if isinstance(y, torch.Tensor) and not isinstance(x, torch.Tensor):  # the operator would multiply by 1 / y
        x = torch.full((), x, dtype=y.dtype, device=y.device)
    return x / y


def _sign(x: Any) -> Any:
    if not isinstance(x, torch.Tensor):
        return vocabulary.sign(x)
    return torch.where(x.isnan(), x, x.sign())  # PyTorch's sign of NaN is 0


def _not(x: Any) -> Any:
    return ~x if isinstance(x, torch.Tensor) else not x


_OWN: dict[str, Callable[..., Any]] = {"div": _divide, "sign": _sign, "not": _not}
"""What is not said right by an operator of Python or a word of the vocabulary."""


def _single(name: str) -> Callable[..., Any]:
    """What an operation is on one tensor."""
    return _OWN.get(name) or OPERATIONS[name].python or getattr(vocabulary, name)
