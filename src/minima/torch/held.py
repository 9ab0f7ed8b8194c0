"""What an optimizer of PyTorch holds, and its counts: what the parts of its class have in common."""

from typing import Any, ClassVar

import torch

from minima.checks import integer
from minima.optim.core.clock import MOST
from minima.optim.core.stepped import Stepped
from minima.optim.core.stepper import Stepper
from minima.optim.core.variants import Variants
from minima.torch.counting import check
from minima.torch.dialect import Dialect
from minima.torch.holdings import Holdings

__all__ = ["Held"]


class Held(Stepped[torch.Tensor], torch.optim.Optimizer):
    """An optimizer that holds groups, parameters and state, which others may change between steps."""

    _dialect: ClassVar[Dialect]
    _variants: ClassVar[Variants]
    _tensor_type = torch.Tensor
    _options: dict[str, Any]
    _held: Holdings

    @property
    def t(self) -> int:
        """The number of steps that the optimizer has taken. An assignment changes this count, which schedules use.

        The counts of the parameters, in ``state[param]["step"]``, are set by `set_steps`. While a GPU counts, reading
        this waits for it.
        """
        self._held.read()
        return self._held.stepper.clock.t

    @t.setter
    def t(self, t: int) -> None:
        t, held = integer(type(self).__name__, "t", t, high=MOST), self._current()
        held.read()
        held.stepper.clock.t = t
        held.tell()
        held.show()

    @property
    def engines(self) -> dict[str, str]:
        """For every device, the code that updates the parameters there, and the reason.

        >>> import torch
        >>> from minima.torch import Adam
        >>> Adam([torch.zeros(2, requires_grad=True)]).engines
        {'cpu': 'fused: compiled code, in one pass over memory'}
        """
        return self._held.engines()

    def _replan(self) -> None:
        """Prepare the next step anew: something that it depends on has changed."""
        self._held.stepper.forget()
        for slot in self._held.slots:
            self._held.host.choice(slot)  # complains where nothing can step it
        check(self._held)

    def _current(self) -> Holdings:
        """What the optimizer holds, with all that others have changed."""
        held = self._held
        if held.is_recorded and not held.is_ready(self.param_groups, self.state):
            held.host.refuse_plan()
        if self.state is not held.host.state or not held.has_groups(self.param_groups):
            held = self._held = held.renewed(self.param_groups, self.state)
        held.listen(self.state)
        return held

    def _held_stepper(self) -> Stepper:
        return self._held.stepper

    def _renewed_stepper(self) -> Stepper:
        return self._current().stepper

    def _read_counts(self) -> None:
        self._held.read()

    def _tell_counts(self) -> None:
        self._held.tell()

    def _switch_weights(self, who: str, *, train_mode: bool) -> None:
        with self._held.stepper.alone(who):  # what is held may be renewed
            held = self._current()
            held.read()
            held.stepper.switch(who, train_mode=train_mode)
