"""The state of a parameter as PyTorch keeps it: named tensors, as a rule of the parameter's shape, and the steps taken.

State of another size than the parameter's (``PerTensor``, ``PerRow``, ``PerColumn``, ``RowsByRows``,
``ColumnsByColumns``) is kept as it is computed: of the shapes ``()``, ``(rows, 1)``, ``(1, columns)``, ``(rows, rows)``
and ``(columns, columns)``, where a parameter of more than two axes has as many
columns as a row of its first axis has elements. In a dialect that takes it for many matrices, of its last two axes,
these shapes stand behind the other axes: ``(..., rows, 1)``.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import numpy as np
import torch

from minima.errors import sentence
from minima.optim.core.values import Settings, begun
from minima.optim.core.variants import MASTER
from minima.optim.engines.storage import BLOCK, BLOCKS, Stored
from minima.optim.language.program import Program
from minima.optim.language.ranks import ELEMENT, MATRIX, MODEL, TENSOR, matrix_shape, state_shape
from minima.optim.language.rule import PARAM
from minima.optim.language.trace import EMA
from minima.torch.dialects import DIALECTS
from minima.torch.memory import bits, dense, double, local, same_strides, wide
from minima.torch.soundness import check_memory

__all__ = ["CODES", "SCALE", "STEP", "Entry", "Keeping"]

STEP = "step"
"""The entry that counts the steps of a parameter: a tensor without axes, on the CPU, in float64."""
CODES, SCALE = "_codes", "_scale"
"""What the names of the two entries of state in 8 bits end with: nobody takes codes for numbers."""
_DTYPES = {"bfloat16": torch.bfloat16, "int8": torch.int8, "uint8": torch.uint8}


@dataclass(frozen=True)
class Entry:
    """One tensor of the state."""

    name: str
    """What it is called in the optimizer's state."""
    kind: str
    """How it is kept: ``wide``, ``bfloat16``, ``int8``, ``uint8`` or ``scale``."""
    number: int
    """Which state of its rule it is; -1 for a copy of the parameter."""
    first: float | str = 0.0
    """What it begins with: a number, the value of a hyperparameter, or the parameter."""
    rank: int = ELEMENT
    """How many there are of it (`ranks`)."""
    is_batched: bool = False
    """Whether a parameter of more than two axes is many matrices."""

    def dtype(self, param: torch.Tensor) -> torch.dtype:
        if self.rank <= TENSOR:
            return double(self.device(param))
        return _DTYPES[self.kind] if self.kind in _DTYPES else wide(param.dtype)

    def shape(self, param: torch.Tensor) -> torch.Size:
        if self.kind == "scale":
            return torch.Size((-(-local(param).numel() // BLOCK),))
        return torch.Size(state_shape(self.rank, param.shape, is_batched=self.is_batched))

    def device(self, param: torch.Tensor) -> torch.device:
        """Where it is: beside the parameter, but on the CPU what all parameters share."""
        return torch.device("cpu") if self.rank == MODEL else param.device


class Keeping:
    """What a program keeps of every parameter, and in which form."""

    def __init__(
        self,
        who: str,
        program: Program,
        first: Mapping[str, float | str],
        names: Mapping[str, str],
        state_dtype: str | None,
        bounded: Collection[str],
        dispensable: Collection[str],
        exact: Collection[str] = (),
        *,
        is_batched: bool = False,
    ) -> None:
        """Read what a program keeps.

        Args:
            who: The public name that complains.
            program: The program.
            first: What the state of its rule is at first.
            names: What the state of its rule is called, where that differs.
            state_dtype: How state is kept.
            bounded: The state that is never negative.
            dispensable: The state that may be missing where the rest is there.
            exact: The state that is kept as it is computed.
            is_batched: Whether a parameter of more than two axes is many matrices, of the last two.
        """
        self.who = who
        self.is_batched = is_batched and program.by_rows
        """Whether steps see a parameter as many matrices."""
        self._has_rows = program.by_rows or bool(program.shape)
        self.states: list[Entry] = []
        """The state of the program, in its order."""
        self.entries: list[Entry] = []
        """The tensors of it, in the order in which machine code wants them."""
        self.shared: dict[str, Entry] = {}
        """The state that all parameters share, by the name that the rule has for it."""
        self.listed: list[Entry] = []
        """All of it, in the order of the program."""
        self._dispensable: set[str] = set()
        for state, number in zip(program.state, program.numbers, strict=True):
            rank = program.rank(state)
            kind = "wide" if number < 0 or rank != ELEMENT or state in exact else state_dtype or "wide"
            kind = "uint8" if kind == "int8" and state in bounded else kind
            name = names.get(state, state) if number >= 0 or state == EMA else MASTER
            called, begin = f"{name}{CODES}" if kind in BLOCKS else name, first.get(state, 0.0)
            own = [Entry(called, kind, number, begin, rank, self.is_batched)]
            if rank == MODEL:
                self.shared[state] = own[0]
            else:
                self.states += own
                own += [Entry(f"{name}{SCALE}", "scale", number)] if kind in BLOCKS else []
                self.entries += own
            self.listed += own
            if number < 0 or state in dispensable:
                self._dispensable |= {entry.name for entry in own}
        self.names = [entry.name for entry in self.entries]
        self.needed = [entry.name for entry in self.listed if entry.name not in self._dispensable]
        """The names of those that must be there where any is."""

    def is_like_ours(self, name: str) -> bool:
        """Whether an entry that is none of these is one in another variant, of which steps would know nothing."""
        bare = {known.name.removesuffix(CODES).removesuffix(SCALE) for known in self.listed}
        return name in (MASTER, EMA) or name.removesuffix(CODES).removesuffix(SCALE) in bare or name in _foreign()

    def settle(self, which: str, param: torch.Tensor, kept: dict[str, Any], settings: Settings) -> bool:
        """See to it that ``kept`` holds the whole state of a parameter, each tensor where and as it must be.

        Entries that are not ours stay as they are. Returns whether any state of the rule was made.

        Where something fails, as for want of memory, ``kept`` is left half done, and its tensors as they were.
        """
        missing = [entry for entry in self.states if kept.get(entry.name) is None]
        is_new = STEP not in kept and len(missing) == len(self.states)
        for entry in self.states:
            if entry in missing and (is_new or entry.name in self._dispensable):
                self._make(param, kept, entry, 0.0 if entry.first == PARAM else begun(entry.first, settings))
            elif entry.kind == "int8" and getattr(kept.get(entry.name), "dtype", None) == torch.uint8:
                check_memory(self.who, f"the state {entry.name!r} of {which}", kept[entry.name])
                self._resign(param, kept, entry)
        for entry in self.entries:
            if entry not in missing or kept.get(entry.name) is None:
                kept[entry.name] = self.fitting(which, param, entry, kept.get(entry.name))
        return any(entry.number >= 0 for entry in missing)

    def fitting(self, which: str, param: torch.Tensor, entry: Entry, value: Any, who: str = "") -> torch.Tensor:
        """A tensor of the state, in the dtype, on the device, with the strides that the parameter asks for."""
        if isinstance(value, torch.Tensor) and _fits(value, param, entry):
            return value
        rule, who = f"the state of {which} must have", who or self.who
        if not isinstance(value, torch.Tensor):
            raise ValueError(sentence(who, f"{rule} a tensor {entry.name!r}", got=value))
        dtype, shape = entry.dtype(param), entry.shape(param)
        if value.shape != shape:
            raise ValueError(sentence(who, f"{rule} {entry.name!r} of shape {tuple(shape)}", got=tuple(value.shape)))
        if entry.kind == "int8" and value.dtype == torch.uint8:  # in another variant it was never negative
            dtype = torch.uint8
        if value.dtype != dtype and (entry.kind in BLOCKS or not _holds_numbers(value)):
            hint = "state_dtype must be what it was"
            raise ValueError(sentence(who, f"{rule} {entry.name!r} in {dtype}", got=value.dtype, hint=hint))
        check_memory(who, f"the state {entry.name!r} of {which}", value)
        if value.dtype != dtype or value.device != entry.device(param):
            value = value.to(entry.device(param), dtype)
        if entry.kind == "scale" or entry.rank != ELEMENT:
            return value.contiguous()
        if not same_strides(local(value), dense(local(param))):
            value = torch.empty_like(param.detach(), dtype=dtype).copy_(value)
        return value

    def read(self, param: torch.Tensor, kept: Mapping[str, torch.Tensor], entry: Entry) -> torch.Tensor:
        """A state of a parameter as numbers: the tensor itself, or what codes say. All its tensors are in ``kept``."""
        if entry.kind not in BLOCKS:
            return kept[entry.name]
        near = {name: kept[name].cpu() for name in (entry.name, _scale_of(entry))}
        values = torch.empty_like(param.detach(), dtype=wide(param.dtype))
        own = local(values)  # in the order of memory, as the codes are
        numbers: torch.Tensor = cast(Any, torch).from_numpy(self._stored(param, near, entry).read().reshape(-1))
        own.as_strided((own.numel(),), (1,)).copy_(numbers)
        return values

    def kinds(self, compute: np.dtype[Any]) -> tuple[str, ...]:
        """The kind in which each state is kept, as engines call it."""
        return tuple(_kind(entry, compute) for entry in self.states)

    def stored(self, param: torch.Tensor, kept: Mapping[str, torch.Tensor]) -> tuple[Stored, ...]:
        """The state as engines on the CPU take it."""
        return tuple(self._stored(param, kept, entry) for entry in self.states)

    def _make(self, param: torch.Tensor, kept: dict[str, Any], entry: Entry, first: float) -> None:
        plain = param.detach()
        if entry.kind == "wide" and (entry.number < 0 or entry.first == PARAM):
            kept[entry.name] = plain.to(wide(param.dtype), copy=True)
            return
        if entry.rank != ELEMENT:
            made = torch.full(entry.shape(param), first, dtype=entry.dtype(param), device=param.device)
            if entry.rank >= MATRIX:  # times the identity
                made = made * torch.eye(made.shape[-1], dtype=made.dtype, device=made.device)
            kept[entry.name] = made
            return
        number = complex(first, first) if plain.is_complex() else first  # a pair of real ones
        kept[entry.name] = torch.full_like(plain, number if entry.kind == "wide" else 0, dtype=entry.dtype(param))
        if entry.kind in BLOCKS:
            scales = replace(entry, kind="scale").shape(param)
            kept[_scale_of(entry)] = torch.zeros(scales, dtype=wide(param.dtype), device=param.device)
        if entry.first == PARAM:
            self._write(param, kept, entry, bits(local(plain).to("cpu", wide(local(plain).dtype), copy=True)))
        elif first and entry.kind != "wide":
            self._write(param, kept, entry, first)

    def _resign(self, param: torch.Tensor, kept: dict[str, Any], entry: Entry) -> None:
        """Keep with a sign what, in the variant of before, was never negative."""
        scale = _scale_of(entry)
        near = {name: kept[name].cpu() for name in (entry.name, scale)}
        values = self._stored(param, near, Entry(entry.name, "uint8", entry.number)).read()
        kept[entry.name] = torch.zeros_like(kept[entry.name], dtype=torch.int8)
        kept[scale] = torch.zeros_like(kept[scale])  # the one that is there belongs to the codes that are there
        self._write(param, kept, entry, values)

    def _write(self, param: torch.Tensor, kept: Mapping[str, torch.Tensor], entry: Entry, values: Any) -> None:
        """Let a state have these values: NumPy codes them, on the CPU, wherever the state is."""
        names = [entry.name, _scale_of(entry)] if entry.kind in BLOCKS else [entry.name]
        near = {name: kept[name].cpu() for name in names}  # itself, where it is on the CPU
        stored = self._stored(param, near, entry)
        stored.write(values if isinstance(values, float) else values.reshape(stored.shape), 0)
        for name, tensor in near.items():
            if tensor is not kept[name]:
                kept[name].copy_(tensor)

    def _stored(self, param: torch.Tensor, kept: Mapping[str, torch.Tensor], entry: Entry) -> Stored:
        values = bits(local(kept[entry.name]))
        compute = np.dtype(np.float64 if local(param).dtype == torch.float64 else np.float32)
        kind, shape = _kind(entry, compute), values.shape
        if entry.rank != ELEMENT:
            shape = tuple(entry.shape(param))
        elif self._has_rows:
            shape = matrix_shape(local(param).shape)
        if entry.kind in BLOCKS:
            return Stored(kind, entry.number, shape, compute, (values, bits(local(kept[_scale_of(entry)]))))
        if entry.kind == "wide":
            values = values.reshape(shape)
        return Stored(kind, entry.number, shape, values.dtype if entry.rank <= TENSOR else compute, (values,))


@cache
def _foreign() -> frozenset[str]:
    """What optimizers of PyTorch call their state: where it is none of ours, it is of another algorithm."""
    named = [(dialect.state, cast(Any, dialect.rule).rule.state) for dialect in DIALECTS.values()]
    return frozenset(names.get(own, own) for names, state in named for own in state)


def _kind(entry: Entry, compute: np.dtype[Any]) -> str:
    """How a state is kept, as engines call it."""
    return "float64" if entry.rank <= TENSOR else compute.name if entry.kind == "wide" else entry.kind


def _scale_of(entry: Entry) -> str:
    """The name of the scales of state in 8 bits."""
    return f"{entry.name.removesuffix(CODES)}{SCALE}"


def _fits(value: torch.Tensor, param: torch.Tensor, entry: Entry) -> bool:
    """Whether a tensor of the state is beyond doubt as it must be, as it is in all but the first steps."""
    if type(value) is not torch.Tensor or value.dtype is not entry.dtype(param) or value.device != entry.device(param):
        return False
    return (
        entry.kind != "scale" and value.shape == entry.shape(param) and value.is_contiguous() and param.is_contiguous()
    )


def _holds_numbers(value: torch.Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()
