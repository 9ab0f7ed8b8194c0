"""Operations on lists of tensors: one call for all of them where PyTorch has one, anew or in memory that is there."""

from collections.abc import Callable, Sequence
from operator import methodcaller
from typing import Any, cast

import torch

from minima.optim.language import vocabulary
from minima.optim.language.operations import OPERATIONS, row_of
from minima.optim.language.program import Instruction
from minima.torch.private import foreach

__all__ = ["ADDCDIV", "ADDCMUL", "ADD_SCALED", "SIGN"]
__all__ += ["bases", "can_write_to", "converted", "copy", "is_truth", "on_lists", "single"]

_torch: Any = torch

ADD_SCALED, ADDCMUL, ADDCDIV = "add_scaled", "addcmul", "addcdiv"
"""``x + a*y``, ``x + a*y*z`` and ``x + a*y/z``, with the number last: what programs do not have, and PyTorch has."""
SIGN = "torch_sign"
"""PyTorch's sign, which is 0 for NaN."""
_SCALED = {ADD_SCALED: ("add", "alpha"), ADDCMUL: ("addcmul", "value"), ADDCDIV: ("addcdiv", "value")}
"""What PyTorch calls these, and their numbers."""
_EITHER = ("add", "mul", "maximum", "minimum")
"""What it has between a list and a number, of which the number may also come first."""


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


_OWN: dict[str, Callable[..., Any]] = {"div": _divide, "sign": _sign, "not": _not, SIGN: _torch.sign}
"""What is not said right by an operator of Python or a word of the vocabulary."""
_CHOICES = ("where", "and", "or", "not")
_OUT: dict[str, Callable[..., Any]] = {
    SIGN: _torch.sign,
    "div": _torch.div,
    "where": _torch.where,
    **{name: getattr(_torch, name) for name in ("lt", "le", "gt", "ge", "eq", "ne")},
    **{name: getattr(_torch, f"bitwise_{name}") for name in ("and", "or", "not")},
}
"""What writes its result to a tensor that it is given, one at a time."""


def single(name: str) -> Callable[..., Any]:
    """What an operation is on one tensor."""
    return _OWN.get(name) or row_of(name).python or getattr(vocabulary, name)


def is_truth(line: Instruction) -> bool:
    """Whether a line results in truths."""
    return line.operation in OPERATIONS and OPERATIONS[line.operation].is_truth


def can_write_to(name: str) -> bool:
    """Whether an operation can leave its result in memory that is none of its operands'."""
    return name in _OUT and name != "div"


def bases(name: str, numbers: Sequence[bool]) -> Sequence[int]:
    """The operands in whose memory an operation can leave its result; ``numbers`` says which are numbers."""
    if name in _CHOICES:
        return (1, 2) if name == "where" else range(len(numbers))
    if not _has_lists(name) or numbers[0] and name not in _EITHER:
        return ()
    if numbers[0]:
        return (1,)
    return (0, 1) if name in ("add", "mul", "div") and not any(numbers) else (0,)


def _has_lists(name: str) -> bool:
    return name in _SCALED or name in OPERATIONS and OPERATIONS[name].foreach


def on_lists(name: str, operands: Sequence[Any], into: list[torch.Tensor] | None = None, base: int = 0) -> Any:
    """An operation on lists of tensors, and numbers: one for all, or a list of one for each.

    Args:
        name: The operation: one of a program, or one of the four above.
        operands: The lists, and the numbers.
        into: The tensors that are to hold the result; new ones if None.
        base: Which of the operands they hold, unless the operation can write to any.
    """
    if into is not None and name in _OUT and (name != "div" or base == 1):
        for place, tensor in enumerate(into):
            _OUT[name](*(_at(x, place) for x in operands), out=tensor)
        return into
    if into is not None:
        operands = [into, *(x for place, x in enumerate(operands) if place != base)]
    found = _together(name, operands, in_place=into is not None)
    if found is not None:
        return found
    count = next(len(cast(list[Any], x)) for x in operands if isinstance(x, list))
    return [_on_one(name, [_at(x, place) for x in operands], in_place=into is not None) for place in range(count)]


def _at(x: Any, place: int) -> Any:
    return cast(Any, x[place]) if isinstance(x, list) else x


def _together(name: str, operands: Sequence[Any], *, in_place: bool) -> Any:
    """The operation on all tensors in one call; None if PyTorch has none for these operands."""
    if not _has_lists(name) or any(not isinstance(x, list | float) for x in operands):
        return None
    if not isinstance(operands[0], list):
        x, y = operands
        if name == "sub":  # x - y is -y + x, to the last bit
            negated = _together("neg", [y], in_place=False)
            return None if negated is None else _together("add", [negated, x], in_place=False)
        if name in _EITHER:
            operands = [y, x]
        elif name != "pow":
            return None
    word = _SCALED[name][0] if name in _SCALED else name
    call = foreach(f"{word}_" if in_place else word)
    if call is None:
        return None
    found: Any = call(*operands[:-1], alpha=operands[-1]) if name == ADD_SCALED else call(*operands)
    return cast(list[torch.Tensor], operands[0] if in_place else list(found))


def _on_one(name: str, operands: Sequence[Any], *, in_place: bool) -> Any:
    """The operation on one tensor, with the bits that it has on many."""
    x, *others = operands
    if name in _SCALED:
        word, number = _SCALED[name]
        return methodcaller(f"{word}_" if in_place else word, *others[:-1], **{number: others[-1]})(x)
    if not in_place:
        return single(name)(*operands)
    if hasattr(torch.Tensor, f"{name}_"):
        return methodcaller(f"{name}_", *others)(x)
    return x.copy_(single(name)(*operands))


def copy(targets: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    """Write values to tensors, which may be of another dtype."""
    together = foreach("copy_")
    if together is not None:
        together(targets, values)
    else:
        for target, value in zip(targets, values, strict=True):
            target.copy_(value)


def converted(tensors: Sequence[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """Tensors in another dtype, rounded to nearest; themselves where they have it."""
    if all(x.dtype == dtype for x in tensors):
        return list(tensors)
    found = [torch.empty_like(x, dtype=dtype) for x in tensors]
    copy(found, tensors)
    return found
