"""The state that all parameters of an optimizer share: one tensor of a number, which the state of each shows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch

from minima.errors import sentence
from minima.optim.core.values import begun
from minima.torch.addresses import Standing
from minima.torch.kernel import Slot
from minima.torch.state import STEP, Entry, Keeping

__all__ = ["Shared"]

State = Mapping[Any, Any]
"""The state of an optimizer: for each parameter, by name, what is kept of it. Anyone may have written there."""


class Shared:
    """What there is of it, by the names that the rule has for it."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        """Share among these parameters, of which there may be more in time."""
        self._slots = slots
        self._entries: dict[str, Entry] = {}
        self._tensors: dict[str, torch.Tensor] = {}
        self._shown: list[Standing] | None = None
        """Who showed the tensors when that was last looked at one by one; whenever state may be new, a step is planned,
        and it is forgotten."""

    def settled(self, member: Slot, keeping: Keeping, kept: dict[str, Any], state: State) -> dict[str, torch.Tensor]:
        """See to it that what is kept of a parameter shows what all of them share, and give what that is."""
        found: dict[str, torch.Tensor] = {}
        for name, entry in keeping.shared.items():
            own = self._tensors.get(name)
            if kept.get(entry.name) is None:
                if own is None or not any(STEP in x for x in _dicts(state.values())):  # all of it may have been cleared
                    first = begun(entry.first, member.values.settings)
                    own = torch.tensor(first, dtype=torch.float64, device="cpu")
                kept[entry.name] = own
            elif own is None:
                own = kept[entry.name] = keeping.fitting(str(member), member.tensor, entry, kept[entry.name])
            found[name] = own
        return found

    def take(self, keeping: Keeping, tensors: Mapping[str, torch.Tensor]) -> None:
        """Share these from now on."""
        self._entries |= keeping.shared
        self._tensors |= tensors
        self._shown = None

    def tensors(self, who: str, state: State, *, compiled: bool = False) -> dict[str, torch.Tensor]:
        """The tensors, which all parameters show, whatever others have put in their place.

        Args:
            who: The public name that complains.
            state: The state of the optimizer.
            compiled: Whether compiled code may look.

        Raises:
            ValueError: They have put there what differs, or no number. Nothing was changed.
        """
        if self._shown is not None and all(stands() for stands in self._shown):
            return self._tensors
        shown: list[Standing] = []
        for name, entry in self._entries.items():
            own = self._tensors[name]
            pairs: list[tuple[Slot, Any]] = [(slot, state.get(slot.tensor)) for slot in self._slots]
            entries = [(slot, cast(dict[str, Any], kept)) for slot, kept in pairs if isinstance(kept, dict)]
            holders = [(slot, kept) for slot, kept in entries if STEP in kept]
            others = [(slot, kept) for slot, kept in holders if kept.get(entry.name) is not own]
            # Others have put something else there, which counts if they have done so everywhere; or deleted it.
            found = [(slot, kept[entry.name]) for slot, kept in others if kept.get(entry.name) is not None]
            numbers = dict.fromkeys(repr(_number(who, slot, entry, value)) for slot, value in found)
            if len(numbers) > 1 or numbers and len(others) < len(holders):
                rule = f"the state {entry.name!r} must be the same for all parameters, which share it"
                hint = "write to the tensor that is there; nothing was changed"
                raise ValueError(sentence(who, rule, hint=hint))
            if numbers:
                own.fill_(float(next(iter(numbers))))
            for _, kept in others:
                kept[entry.name] = own
            kept = [kept for _, kept in holders]
            shown.append(Standing([own] * len(kept), kept, entry.name, compiled=compiled))
        self._shown = shown
        return self._tensors

    def fill(self, values: Mapping[str, float]) -> None:
        """Write new values to the tensors."""
        for name, value in values.items():
            self._tensors[name].fill_(value)

    def are_on(self, device: torch.device) -> bool:
        """Whether the tensors are on a device, for kernels that read them and write to them."""
        return all(own.device == device and own.dtype == torch.float64 for own in self._tensors.values())

    def move(self, device: torch.device, state: State) -> None:
        """Move the tensors to a device, in the state of all parameters."""
        for name, entry in self._entries.items():
            own = self._tensors[name]
            there = self._tensors[name] = own.to(device, torch.float64)
            for kept in _dicts(state.values()):
                if kept.get(entry.name) is own:
                    kept[entry.name] = there
        self._shown = None


def _dicts(entries: Iterable[Any]) -> Iterator[dict[str, Any]]:
    return (cast(dict[str, Any], entry) for entry in entries if isinstance(entry, dict))


def _number(who: str, member: Slot, entry: Entry, value: Any) -> float:
    """What others have put in the place of what all parameters share; a ValueError if it is no single number."""
    is_one = isinstance(value, torch.Tensor) and value.numel() == 1 and not (value.is_complex() or value.is_meta)
    if is_one or isinstance(value, int | float):
        return float(value)
    rule = f"the state {entry.name!r} of {member} must be a tensor of a single number"
    raise ValueError(sentence(who, rule, got=value, hint="nothing was changed"))
