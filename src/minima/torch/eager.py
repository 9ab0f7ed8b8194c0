"""The engine for any device: a program through PyTorch's own operations, many tensors at a time where it has such.

Nothing here looks at a value, so that nothing waits for the device: hyperparameters that are tensors stay tensors.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import torch

from minima.optim.language import vocabulary
from minima.optim.language.program import Instruction, Program
from minima.torch.batch import Batch, Kernel
from minima.torch.memory import here, wide
from minima.torch.private import foreach
from minima.torch.rounding import narrowed

__all__ = ["Eager", "host_scalars"]

_operators: Any = operator  # some of which have types in part only
_MANY = ("add", "sub", "mul", "div", "pow", "neg", "sqrt", "exp", "log", "abs", "maximum", "minimum")
"""The operations that PyTorch has for many tensors at a time."""


class Eager(Kernel):
    """Runs the body of a program on lists of tensors, one list for each row of scalars."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self._compute = wide(batch.params[0].dtype)
        if self._compute.is_complex:
            self._compute = self._compute.to_real()
        self._device = batch.params[0].device
        self._getters = [itemgetter(name) for name in batch.names]
        self._members = [[i for i, mine in enumerate(batch.rows) if mine == row] for row in range(max(batch.rows) + 1)]
        self._body = list(zip(batch.program.body, _dying(batch.program), strict=True))
        self._like = [(here(param).shape, param.dtype, param.device) for param in batch.params]
        self._grads: Sequence[torch.Tensor] = ()

    def load(self, grads: Sequence[Any]) -> bool:
        if any(grad is None for grad in grads):
            return False
        for tensors in (grads, self.batch.params):
            for tensor, (shape, dtype, device) in zip(tensors, self._like, strict=True):
                if tensor.layout != torch.strided or here(tensor).shape != shape or _is_empty(tensor):
                    return False
                if tensor.dtype != dtype or tensor.device != device:
                    return False
        self._grads = grads
        for name in self.batch.names:
            if any(name not in kept or _is_empty(kept[name]) for kept in self.batch.kept):
                return False
        return True

    def run(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int]) -> None:
        for members, row, t in zip(self._members, scalars, ts, strict=True):
            self._run(members, row, t)
        self._grads = ()

    def _run(self, members: Sequence[int], scalars: Sequence[Any], t: int) -> None:
        batch, program = self.batch, self.batch.program
        params = [here(batch.params[i]) for i in members]
        grads = [here(self._grads[i]) for i in members]
        states = [[here(get(batch.kept[i])) for i in members] for get in self._getters]
        inputs = [[x.to(self._compute) for x in tensors] for tensors in (params, grads)] + states
        values: dict[str, Any] = dict(zip(program.inputs, inputs, strict=True))
        for name, scalar in zip(program.scalars, scalars, strict=True):
            values[name] = scalar if isinstance(scalar, torch.Tensor) else float(scalar)
        for line, dying in self._body:
            values[line.target] = self._apply(line, values)
            for name in dying:
                del values[name]
        results: list[Any] = [values[output] if isinstance(output, str) else output for output in program.outputs]
        # A rule may hand on an input as it is: what is written first must not show in what is written next.
        given = [id(tensors) for tensors in inputs]
        results = [[x.clone() for x in result] if id(result) in given else result for result in results]
        results = [x if isinstance(x, list) else [self._number(x).expand_as(p) for p in params] for x in results]
        pairs = zip(results[0], params, strict=True)
        results[0] = [narrowed(x, param, batch.rounding, t) for x, param in pairs]
        for targets, result in zip([params, *states], results, strict=True):
            _copy(targets, result)

    def _apply(self, line: Instruction, values: Mapping[str, Any]) -> Any:
        name = line.operation
        operands: list[Any] = [values[operand] if isinstance(operand, str) else operand for operand in line.operands]
        many = [isinstance(operand, list) for operand in operands]
        if name == "where":
            operands = [operands[0], *map(self._number, operands[1:])]
            if isinstance(operands[0], bool):
                return operands[1] if operands[0] else operands[2]
        if not any(many):
            return _single(name)(*operands)
        if name in _MANY:
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


def _is_empty(tensor: torch.Tensor) -> bool:
    """Whether a tensor has elements and no storage: PyTorch's operations would end the process."""
    tensor = here(tensor)
    return not tensor.untyped_storage().nbytes() and tensor.numel() != 0


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


_SINGLE: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": _divide,
    "pow": _operators.pow,
    "neg": operator.neg,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
    "and": _operators.and_,
    "or": _operators.or_,
    "not": _not,
    "sign": _sign,
}
"""What operations of a program are on one tensor, where no word of the vocabulary says so."""


def _single(name: str) -> Callable[..., Any]:
    return _SINGLE.get(name) or getattr(vocabulary, name)
