"""The state of a parameter as PyTorch keeps it: named tensors of the parameter's shape, and the steps taken."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from minima.errors import sentence
from minima.optim.engines.storage import BLOCK, Stored
from minima.torch.memory import bits, dense, here, laid_out, wide
from minima.torch.soundness import check_memory

__all__ = ["MASTER", "SCALE", "STEP", "Entry", "Keeping", "steps_of"]

STEP = "step"
"""The entry that counts the steps of a parameter: a tensor without axes, on the CPU, in float64."""
MASTER = "master"
"""The entry that holds a parameter in the precision in which it is computed."""
SCALE = "_scale"
"""What the name of an entry in 8 bits ends with where its scales stand."""
_DTYPES = {"bfloat16": torch.bfloat16, "int8": torch.int8, "uint8": torch.uint8}


@dataclass(frozen=True)
class Entry:
    """One tensor of the state."""

    name: str
    kind: str
    """How it is kept: ``wide``, ``bfloat16``, ``int8``, ``uint8`` or ``scale``."""
    first: float = 0.0

    def dtype(self, param: torch.Tensor) -> torch.dtype:
        if self.kind in _DTYPES:
            return _DTYPES[self.kind]
        return wide(param.dtype)


class Keeping:
    """What the optimizer keeps of every parameter, and in which form."""

    def __init__(self, who: str, state: Mapping[str, float], state_dtype: str | None, bounded: set[str]) -> None:
        """Read what a rule keeps; ``bounded`` are the states that are never negative."""
        self.who = who
        self._states: list[Entry] = []
        for name, first in state.items():
            kind = state_dtype or "wide"
            self._states.append(Entry(name, "uint8" if kind == "int8" and name in bounded else kind, first))

    def entries(self, *, master: bool) -> Iterator[Entry]:
        """The tensors of a parameter's state, in the order in which machine code wants them."""
        for entry in self._states:
            yield entry
            if entry.kind in ("int8", "uint8"):
                yield Entry(f"{entry.name}{SCALE}", "scale")
        if master:
            yield Entry(MASTER, "wide")

    def settle(self, which: str, param: torch.Tensor, kept: dict[str, Any], *, master: bool) -> None:
        """See to it that ``kept`` holds the whole state of a parameter, each tensor where and as it must be.

        Entries that are not ours stay as they are, and do not count as state that is there already.
        """
        fresh = not any(name in kept for name in (STEP, *(entry.name for entry in self.entries(master=master))))
        kept.setdefault(STEP, torch.zeros((), dtype=torch.float64, device="cpu"))
        for entry in self.entries(master=master):
            if entry.name not in kept and (fresh or entry.name == MASTER):
                kept[entry.name] = self._first(entry, param)
            kept[entry.name] = self.fitting(which, param, entry, kept.get(entry.name))
        if fresh:
            for number, entry in enumerate(self._states):
                if entry.first and entry.kind != "wide":
                    self._stored(param, kept, number, entry).write(entry.first, 0)

    def fitting(self, which: str, param: torch.Tensor, entry: Entry, value: Any) -> torch.Tensor:
        """A tensor of the state, in the dtype, on the device, in the layout that the parameter asks for."""
        rule = f"the state of {which} must have"
        if not isinstance(value, torch.Tensor):
            raise ValueError(sentence(self.who, f"{rule} a tensor {entry.name!r}", got=value))
        dtype = entry.dtype(param)
        shape = _scales(param) if entry.kind == "scale" else param.shape
        if value.shape != shape:
            raise ValueError(
                sentence(self.who, f"{rule} {entry.name!r} of shape {tuple(shape)}", got=tuple(value.shape))
            )
        if value.dtype != dtype and (entry.kind not in ("wide", "scale") or not _holds_numbers(value)):
            hint = "state_dtype must be what it was"
            raise ValueError(sentence(self.who, f"{rule} {entry.name!r} in {dtype}", got=value.dtype, hint=hint))
        check_memory(self.who, f"the state {entry.name!r} of {which}", value)
        if value.dtype != dtype or value.device != param.device:
            value = value.to(param.device, dtype)
        if entry.kind != "scale" and not laid_out(here(value), dense(here(param))):
            value = torch.empty_like(param.detach(), dtype=dtype).copy_(value)
        return value

    def _first(self, entry: Entry, param: torch.Tensor) -> torch.Tensor:
        if entry.name == MASTER:
            return param.detach().to(wide(param.dtype), copy=True)
        if entry.kind == "scale":
            return torch.zeros(_scales(param), dtype=wide(param.dtype), device=param.device)
        return torch.full_like(param.detach(), entry.first if entry.kind == "wide" else 0, dtype=entry.dtype(param))

    def stored(self, param: torch.Tensor, kept: Mapping[str, torch.Tensor], *, master: bool) -> tuple[Stored, ...]:
        """The state as engines on the CPU take it."""
        states = [*self._states, Entry(MASTER, "wide")] if master else self._states
        return tuple(self._stored(param, kept, number, entry) for number, entry in enumerate(states))

    def kinds(self, compute: np.dtype[Any], *, master: bool) -> tuple[str, ...]:
        """The kind in which each state is kept, as engines call it."""
        names = [entry.kind for entry in self._states] + ["wide"] * master
        return tuple(compute.name if kind == "wide" else kind for kind in names)

    def _stored(self, param: torch.Tensor, kept: Mapping[str, torch.Tensor], number: int, entry: Entry) -> Stored:
        arrays = [bits(here(kept[entry.name]))]
        if entry.kind in ("int8", "uint8"):
            arrays.append(bits(here(kept[f"{entry.name}{SCALE}"])))
        compute = np.dtype(np.float64 if here(param).dtype == torch.float64 else np.float32)
        kind = compute.name if entry.kind == "wide" else entry.kind
        return Stored(kind, number, arrays[0].shape, compute, tuple(arrays))


def steps_of(kept: Mapping[str, Any]) -> int:
    """The number of steps that a parameter has taken, by its state."""
    return int(kept[STEP])


def _scales(param: torch.Tensor) -> torch.Size:
    return torch.Size((-(-here(param).numel() // BLOCK),))


def _holds_numbers(value: torch.Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()
