"""The step, once for every face: everything is checked before anything changes, and plans are kept and repeated."""

import math
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from minima.errors import sentence
from minima.optim.core.clock import Clock
from minima.optim.core.host import Host, Member
from minima.optim.core.lending import Tenure
from minima.optim.core.measures import Measures
from minima.optim.core.plan import Plan
from minima.optim.core.values import Values

__all__ = ["Stepper"]

PLANS = 16
"""How many plans are kept: sets of parameters that take turns (experts, generators and critics, frozen layers)."""


class Stepper:
    """Takes the steps of one optimizer.

    Attributes:
        clock: The steps that the optimizer and its parameters have taken.
        members: The parameters.
        groups: The hyperparameters of every group.
        measures: What the last step measured that was asked to.
        skipped: The steps that were not taken, for gradients that were not finite.
        tenure: Who has the parameters; all steppers of one optimizer share it.
    """

    def __init__(self, host: Any, clock: Clock | None = None) -> None:
        self.host: Host = host
        self.clock = clock or Clock()
        self.members: list[Member] = []
        self.groups: list[Values] = []
        self.measures: Measures | None = None
        self.skipped = 0
        self.planned = 0
        """How many plans have been made."""
        self._plan: Plan | None = None
        self._plans: OrderedDict[Any, Plan] = OrderedDict()
        self.tenure = Tenure()

    def add(self, members: Sequence[Member], groups: Sequence[Values]) -> None:
        """Step more parameters, and groups, from the next step on."""
        self.members += members
        self.groups += groups
        self.clock.add(len(members))
        self.forget()

    def __getstate__(self) -> dict[str, Any]:
        # Plans hold machine code. What a copy is given as the parameters are its own, averages or not.
        return self.__dict__ | {"_plan": None, "_plans": OrderedDict(), "tenure": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"tenure": Tenure()})
        self.clock.owner = None

    def forget(self) -> None:
        """Plan anew from the next step on: parameters, state, or how they are to be stepped, are others."""
        self._plan = None
        self._plans.clear()
        self.clock.owner = None

    def begin(self) -> None:
        """Keep other threads from stepping until `end`.

        Raises:
            RuntimeError: Another thread is stepping, or the parameters hold their averages.
        """
        if not self.tenure.busy.acquire(False):
            self._refuse(f"{self.host.who}.step")
        if self.tenure.blocks:
            try:
                self.require_own()
            finally:
                self.end()

    def end(self) -> None:
        """Let other threads step again."""
        self.tenure.busy.release()

    def _refuse(self, who: str) -> NoReturn:
        rule = "another thread is stepping this optimizer"
        raise RuntimeError(sentence(who, rule, hint="let one thread step it at a time"))

    @contextmanager
    def alone(self, who: str) -> Generator[None]:
        """Within, no other thread steps; a RuntimeError while one does."""
        if not self.tenure.busy.acquire(False):
            self._refuse(who)
        try:
            yield
        finally:
            self.end()

    @contextmanager
    def averaged(self, who: str) -> Generator[None]:
        """Within, the parameters hold their moving averages, and nothing steps them.

        Raises:
            ValueError: No group has averages, or one of them cannot be lent.
            RuntimeError: Another thread is stepping.
        """
        tenure, host = self.tenure, self.host
        with self.alone(who):
            asked = [member for member in self.members if member.values.look(self.clock.t).is_averaged]
            if not asked:
                rule, hint = "there are no averages of the parameters", "give the optimizer an ema_decay, as in 0.999"
                raise ValueError(sentence(who, rule, hint=hint))
            pairs = [(member.tensor, host.average(who, member)) for member in asked]
            tenure.lend([pair for pair in pairs if pair[1] is not None], host.copied, host.write)
        try:
            yield
        finally:
            with tenure.busy:
                tenure.give_back()

    def require_own(self) -> None:
        """A RuntimeError while the parameters hold other values than their own."""
        if self.tenure.blocks:
            rule = "the parameters hold their averages"
            raise RuntimeError(sentence(f"{self.host.who}.step", rule, hint="leave averaged() first"))

    def step(self, on_nonfinite: str, seed: int, measured: bool, loss: float | None) -> None:
        """Step every parameter that has a gradient; all of them, or none where anything is wrong.

        Who calls it has begun (`begin`). An interrupt (Ctrl-C) waits until the step is done and counted.

        Args:
            on_nonfinite: What to do about a gradient or a loss that is not finite: ``propagate``, ``raise``, ``skip``.
            seed: What the random numbers of stochastic rounding depend on, besides the step and the element.
            measured: Whether to fill ``measures``.
            loss: The loss of this step, if known.
        """
        clock, plan = self.clock, self._plan
        if plan is None or plan.measured is not measured or not plan.fits(clock.t) or not plan.find():
            self._plan = None
            with self.host.planning():
                self._plan = plan = self._anew(measured)
        if on_nonfinite != "propagate" and not self._is_finite(plan, loss, on_nonfinite):
            return
        t = clock.t
        if plan is not None:
            plan.has_begun = False
        try:
            if plan is not None:
                plan.run(seed)
            clock.t = t + 1
        except BaseException:
            if plan is not None:
                plan.drop()
                clock.t = t + plan.has_begun
            raise
        if measured:
            self.measures = Measures(plan.measures if plan else ())

    def _is_finite(self, plan: Plan | None, loss: float | None, on_nonfinite: str) -> bool:
        what = ""
        if loss is not None and not math.isfinite(loss):
            what = f"loss is {loss}"
        elif plan is not None and (member := plan.not_finite()) is not None:
            what = f"gradient of {member} is not finite"
        if not what:
            return True
        if plan is not None:
            plan.drop()
        if on_nonfinite == "raise":
            raise FloatingPointError(sentence(f"{self.host.who}.step", what, hint="nothing was changed"))
        self.skipped += 1
        return False

    def _anew(self, measured: bool) -> Plan | None:
        """The plan for the parameters that have a gradient now, which it has loaded; None where there is none."""
        host = self.host
        if not isinstance(measured, bool):  # pyright: ignore[reportUnnecessaryIsInstance] - what users pass is not typed
            raise TypeError(sentence(f"{host.who}.step", "measure must be True or False", got=measured))
        settings = {values: values.look(self.clock.t) for values in self.groups}
        found = [(member, host.checked(member)) for member in self.members]
        moving = [member for member, grad in found if grad is not None]
        grads = [grad for _, grad in found if grad is not None]
        if not moving:
            return None
        variants = {values: today.variant for values, today in settings.items()}
        have_tensors = tuple(today.has_tensors for today in settings.values())
        key = (tuple(member.place for member in moving), tuple(variants.values()), have_tensors, measured)
        plan = self._plans.get(key)
        if plan is None or not plan.load(grads):
            idle = [member for member, grad in found if grad is None]
            self.planned += 1
            try:
                plan = Plan(host, self.clock, moving, idle, variants, measured=measured)
            except BaseException:
                self.forget()  # state may have been replaced
                raise
            if plan.replaces:
                self.forget()
            if not plan.load(grads):
                host.unfit(moving)
        self._plans[key] = plan
        self._plans.move_to_end(key)
        while len(self._plans) > PLANS:
            self._plans.popitem(last=False)
        return plan
