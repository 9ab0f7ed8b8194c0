"""What an optimizer of PyTorch keeps: its state dict in PyTorch's form, minima's own, and pickles."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, cast

from minima.optim.language.declaration import CHOICES
from minima.torch.attributes import Attributes
from minima.torch.checkpoint import Loaded, load, saved, with_counts_of_its_own
from minima.torch.holdings import Holdings
from minima.torch.portable import dump, prepare
from minima.torch.private import loading_hooks
from minima.torch.signature import OPTIONS

__all__ = ["Stateful"]


class Stateful(Attributes):
    """How state is saved, loaded, copied and pickled."""

    _is_made = False
    """Whether the constructor is done."""

    def state_dict(self) -> dict[str, Any]:
        """The state in PyTorch's form: ``state`` by number of the parameter, and ``param_groups``.

        For an algorithm of ``torch.optim``, names and numbers are PyTorch's, and PyTorch can load it. If
        hyperparameters are functions of the step, their group has an entry ``functions`` with these and the optimizer's
        ``t``. For a rule with weights to evaluate, every group has an entry ``train_mode``: whether the parameters held
        the training weights.
        """
        held = self._current()
        state_dict = with_counts_of_its_own(super().state_dict())
        train_mode = held.stepper.train_mode if self._variants.rule.weights else None
        in_blocks = self._options["state_dtype"] == "int8"
        return saved(self._dialect, state_dict, held.groups, self.t, in_blocks=in_blocks, train_mode=train_mode)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load the state of another optimizer of the same algorithm, all of it or nothing; its tensors are copied.

        It may be an optimizer of ``torch.optim``. If ``state_dict`` and this optimizer have unique names (from
        ``named_parameters()``), parameters are found by name, in any order; otherwise by position.

        Raises:
            ValueError: It belongs to another algorithm, requires an option that does not exist, or names, shapes, or
                entries of the state do not fit. Nothing was changed.
        """
        who = f"{type(self).__name__}.load_state_dict"
        state_dict = cast(dict[str, Any], copy(state_dict))
        before, after = loading_hooks(self)
        for hook in before.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        held = self._current()
        loaded = load(who, held.groups, held.host, state_dict)
        self._take(loaded)
        clock = self._held.stepper.clock
        if loaded.t is None and not clock.t:  # as PyTorch's state dicts say it
            clock.t = int(clock.counts.max(initial=0))
        for hook in after.values():
            hook(self)

    def _take(self, loaded: Loaded) -> None:
        """Take over what a state dict says."""
        held = self._held
        self.state.clear()
        self.state.update(loaded.state)
        for each, group, functions in zip(held.groups, loaded.groups, loaded.functions, strict=True):
            each.group.clear()
            each.group.update(group)
            each.functions = functions
        if loaded.t is not None:
            held.read()
            held.stepper.clock.t = loaded.t
            held.tell()
        if loaded.train_mode is not None:
            held.stepper.train_mode = loaded.train_mode
        self._held = held.renewed(self.param_groups, self.state)

    def _state_views(self) -> dict[str, Any]:
        """The state by the names of parameters, for `minima.save`."""
        return dump(f"{type(self).__name__}.state_dict", self._current(), copies=False)

    def _prepare_load(self, state_dict: Any, who: str = "") -> Callable[[], None]:
        """Check such state, for `minima.load`, and give what takes it over."""
        run, loaded = prepare(who or f"{type(self).__name__}.load_state_dict", self._current(), state_dict)

        def write() -> None:
            self._take(loaded)
            self._options |= {name: x for name, x in run.options.items() if x is not None}
            stepper, slots = self._held.stepper, self._held.slots
            stepper.clock.t, stepper.skipped = run.t, run.skipped
            for slot, name in zip(slots, run.steps, strict=True):
                slot.is_new = name in run.new
            self._held.show()

        return write

    def __getstate__(self) -> dict[str, Any]:
        functions = [each.active for each in self._current().groups]
        kept = {"t": self.t, "skipped": self.skipped, "measures": self.measures, "functions": functions}
        kept |= {"train_mode": self._held.stepper.train_mode}
        state = with_counts_of_its_own(super().__getstate__())  # who shares a tensor with a process moves its memory
        return state | {"_minima": {**self._options, **kept}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        kept = dict(state.get("_minima", {}))
        self._options = {}
        self._held = Holdings(self._variants, self._dialect, self._options)
        super().__setstate__({name: value for name, value in state.items() if name != "_minima"})
        self.state = defaultdict(dict, self.state)
        for group in self.param_groups:  # pickles of earlier versions lack what was not there yet
            for name in CHOICES.keys() & self._dialect.entries.keys():
                group.setdefault(name, self._dialect.entries[name].default)
        functions, t, skipped = kept.pop("functions", ()), kept.pop("t", 0), kept.pop("skipped", 0)
        for name in OPTIONS:
            if name not in self._dialect.entries:
                setattr(self, name, kept.get(name, getattr(Attributes, name)))
        self._held.stepper.clock.t, self._held.stepper.skipped = t, skipped
        self._held.stepper.measures = kept.get("measures")
        self._held.stepper.train_mode = kept.get("train_mode", True)
        self._held = self._held.renewed(self.param_groups, self.state)
        for each, own in zip(self._held.groups, functions, strict=False):
            each.functions = {name: (function, each.group[name]) for name, function in own.items()}
        self._is_made = True
