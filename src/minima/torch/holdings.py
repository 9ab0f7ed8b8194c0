"""What an optimizer of PyTorch holds: groups, parameters and state, all of which others may change between steps."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from operator import is_
from typing import TYPE_CHECKING, Any, cast

import torch

from minima.errors import sentence
from minima.optim.core.host import called
from minima.optim.core.interrupts import uninterrupted
from minima.optim.core.stepper import Stepper
from minima.optim.core.variants import Variants
from minima.torch.addresses import Standing
from minima.torch.capture import is_capturing
from minima.torch.counting import check
from minima.torch.counts import step_count
from minima.torch.dialect import CAPTURABLE, Dialect
from minima.torch.host import TorchHost
from minima.torch.kernel import Slot
from minima.torch.state import STEP
from minima.torch.values import GroupValues

if TYPE_CHECKING:
    from minima.torch.finite import Finite

__all__ = ["Holdings"]


class Holdings:
    """The groups and parameters as they were when they were last looked at, and what steps them."""

    def __init__(self, variants: Variants, dialect: Dialect, options: dict[str, Any]) -> None:
        """Hold nothing as yet, for a rule; ``options`` are those of the optimizer, as they are at any time."""
        self.options = options
        self.slots: list[Slot] = []
        self.host = TorchHost(variants, dialect, options, self.slots)
        self.stepper = Stepper(self.host, self.host.counts)
        self.groups: list[GroupValues] = []
        self.dialect = dialect
        self._variants = variants
        self._listed: list[list[torch.Tensor]] = []
        """The parameters of every group, as they were listed there."""
        self._called: dict[torch.Tensor, str] = {}
        """What messages call each parameter."""
        self._known: tuple[list[Any], Standing] | None = None
        """What the last step found: the entries of the state, and the counts in them."""
        self._planned = -1
        self.settled: Any = None
        """For what it was last found out who counts."""
        self.scales: tuple[Any, ...] = ()
        """For what it was last found out whether a step takes scaled gradients, and that."""

    @cached_property
    def finite(self) -> "Finite":
        """What looks whether gradients on GPUs are finite."""
        from minima.torch.finite import Finite  # loads LLVM

        return Finite()

    def has_groups(self, groups: Sequence[Mapping[str, Any]]) -> bool:
        """Whether these are the groups, with the parameters that they had."""
        if len(groups) != len(self.groups):
            return False
        try:
            for group, values, listed in zip(groups, self.groups, self._listed, strict=True):
                params = group["params"]
                if group is not values.group or len(params) != len(listed) or not all(map(is_, params, listed)):
                    return False
        except (KeyError, TypeError):  # no list of parameters is there
            return False
        return True

    def listen(self, state: Mapping[Any, Any]) -> None:
        """Take notice of what others did to state and counts since the last step."""
        if not self._knows(state):
            self.stepper.forget()
            self.settled = None
            self.host.counts.take_back()
        if self.host.counts.heard():
            self.host.counts.take()

    def read(self) -> None:
        """Take over what a GPU has counted, if one counts; this waits for it."""
        if (found := self.host.counts.read()) is not None:
            fresh, self.stepper.skipped = found
            for slot, is_new in zip(self.slots, fresh, strict=True):
                slot.is_new = is_new

    def tell(self) -> None:
        """Let a GPU that counts know of the optimizer's own counts, which someone has set here."""
        if (device := self.host.counts.device) is not None:
            device.own[0].fill_(float(self.stepper.clock.t))
            device.own[1].fill_(float(self.stepper.skipped))

    @property
    def is_capturable(self) -> bool:
        """Whether a CUDA graph may record steps: as the groups say, or the optimizer where its groups do not."""
        usual = self.options.get(CAPTURABLE, False)
        return bool(self.groups) and all(values.group.get(CAPTURABLE, usual) for values in self.groups)

    @property
    def is_recorded(self) -> bool:
        """Whether a CUDA graph records steps."""
        return self.host.mode is not None and self.host.mode.is_capturable and is_capturing()

    def is_ready(self, groups: Sequence[Mapping[str, Any]], state: Any) -> bool:
        """Whether a step needs nothing prepared that a CUDA graph cannot record, as far as that shows before it."""
        return state is self.host.state and self.has_groups(groups) and self.settled is not None

    def _knows(self, state: Mapping[Any, Any]) -> bool:
        """Whether the state consists of what the last step found."""
        if self._known is None:
            return False
        entries, standing = self._known
        return len(state) == len(entries) and all(map(is_, state.values(), entries)) and standing()

    def remember(self, state: Mapping[Any, Any]) -> None:
        """Remember what the step has found, if it has planned, to know next time what others have changed."""
        if self.stepper.planned != self._planned:
            settled = [(slot, slot.kept) for slot in self.slots if slot.kept is not None]
            shown = [self.host.counts.tensor(slot.place) for slot, _ in settled]
            compiled = any(self.host.choice(slot).engine == "fused" for slot, _ in settled[:1])
            self._known = list(state.values()), Standing(shown, [kept for _, kept in settled], STEP, compiled=compiled)
            self._planned = self.stepper.planned

    def renewed(self, groups: Sequence[dict[str, Any]], state: dict[Any, Any]) -> "Holdings":
        """What these groups and this state are to hold; where they are the same, with their counts and functions."""
        self.read()
        fresh, clock = Holdings(self._variants, self.dialect, self.options), self.stepper.clock
        known = {id(values.group): values for values in self.groups}
        before = {slot.tensor: slot for slot in self.slots}
        fresh.stepper.tenure, fresh.stepper.clock.t = self.stepper.tenure, clock.t
        fresh.stepper.skipped, fresh.stepper.measures = self.stepper.skipped, self.stepper.measures
        fresh.stepper.train_mode = self.stepper.train_mode
        for group in groups:
            fresh.enlist(known.get(id(group)) or GroupValues(self.dialect, group), state)
        for slot in fresh.slots:
            if (old := before.get(slot.tensor)) is not None:
                if slot.kept is old.kept:
                    slot.is_new = old.is_new
                if slot.kept is None and old.kept is None:
                    fresh.stepper.clock.set([slot.place], int(clock.counts[old.place]))
        return fresh

    def enlist(self, values: GroupValues, state: dict[Any, Any]) -> None:
        """Hold one more group, with the state that its parameters have now; or complain, and hold nothing of it."""
        who, host, given = self.host.who, self.host, dict[torch.Tensor, str]()
        if not isinstance(values.group, dict):  # pyright: ignore[reportUnnecessaryIsInstance] - anyone may write there
            raise TypeError(sentence(who, "a group must be a dict with 'params'", got=values.group))
        slots, watched, listed = list[Slot](), values.watched(), values.group.get("params")
        if not isinstance(listed, list | tuple):
            raise TypeError(sentence(who, "a group must have 'params', a list of tensors", got=listed))
        for which, name, position, param in _listed(values.group):
            if param.requires_grad:  # quantised weights that are frozen may be listed with all others
                host.require_steppable(which, param)
                if wrong := self.dialect.unfit(param):
                    raise ValueError(sentence(who, f"{which} {wrong}"))
            if (same := self._called.get(param) or given.get(param)) is not None:
                raise ValueError(sentence(who, f"{which} is {same} again", hint="pass every tensor once"))
            given[param] = which
            slot = Slot(param, name, position, len(self.slots) + len(slots))
            slot.values = watched
            slots.append(slot)
        watched.look(self.stepper.clock.t)
        for slot in slots:
            host.choice(slot)  # complains where nothing can step it
        found: list[tuple[Slot, Any]] = [(slot, state.get(slot.tensor)) for slot in slots]
        settled = [
            (slot, cast(dict[str, Any], kept)) for slot, kept in found if isinstance(kept, dict) and STEP in kept
        ]
        taken = [step_count(who, str(slot), kept[STEP]) for slot, kept in settled]
        self.read()
        host.counts.come_back()
        with uninterrupted():
            self.stepper.add(slots, [watched])
            host.counts.set([slot.place for slot, _ in settled], taken)
            for (slot, kept), count in zip(settled, taken, strict=True):
                kept[STEP] = host.counts.tensor(slot.place)
                slot.kept, slot.is_new = kept, count == 0
            host.state = state
            self._called |= given
            self.slots += slots
            self.groups.append(values)
            self._listed.append(list(values.group["params"]))
            self._known = None
            if self.dialect.begins_with_state:
                host.begin(slots)

    @property
    def is_on_cuda(self) -> bool:
        """Whether some parameter is on a GPU now; models move after their optimizer was made."""
        return any(slot.tensor.is_cuda for slot in self.slots)

    def engines(self) -> dict[str, str]:
        """For every device what steps the parameters there, and why."""
        for watched in self.stepper.groups:
            watched.look(self.stepper.clock.t)
        check(self)
        found: dict[str, dict[str, None]] = {}
        for slot in self.slots:
            found.setdefault(str(slot.tensor.device), {})[str(self.host.choice(slot))] = None
        return {device: "; ".join(choices) for device, choices in found.items()}

    def show(self) -> None:
        """Let groups show today's value of hyperparameters that are functions of the step, where these give one.

        What a function raises, it raises again in the step that needs the value.
        """
        stepper = self.stepper
        for values, watched in zip(self.groups, stepper.groups, strict=True):
            if values.functions:
                with suppress(Exception):
                    watched.look(stepper.clock.t)


def _listed(group: Mapping[str, Any]) -> Iterator[tuple[str, str | None, int, torch.Tensor]]:
    """Every parameter of a group: what a message calls it, its name, its position, and itself."""
    params = group["params"]
    names = group.get("param_names") or [None] * len(params)
    if len(names) != len(params):
        raise ValueError(sentence("a group", f"param_names must name all {len(params)} parameters", got=len(names)))
    for i, (name, param) in enumerate(zip(names, params, strict=True)):
        which = called(i, name)
        if not isinstance(param, torch.Tensor):
            raise TypeError(sentence("a group", f"{which} must be a tensor", got=param))
        yield which, name, i, param
