"""The step, once for every face: everything is checked before anything changes, and plans are kept and repeated."""

import math
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from minima.errors import sentence
from minima.optim.core.clock import Clock
from minima.optim.core.host import Host, Member
from minima.optim.core.interrupts import uninterrupted
from minima.optim.core.lending import Tenure
from minima.optim.core.measures import Measures
from minima.optim.core.plan import Plan, turn
from minima.optim.core.values import Values
from minima.optim.language.rule import WEIGHTS

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
        train_mode: Whether the parameters hold the weights to train; else those to evaluate, where the rule has such.
    """

    def __init__(self, host: Any, clock: Clock | None = None) -> None:
        self.host: Host = host
        self.clock = clock or Clock()
        self.members: list[Member] = []
        self.groups: list[Values] = []
        self.measures: Measures | None = None
        self.skipped = 0
        self.train_mode = True
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

    def begin(self, who: str = "") -> None:
        """Keep other threads from stepping until `end`; ``who`` complains, by default a step.

        Raises:
            RuntimeError: Another thread is stepping, or the parameters hold their averages, or the weights to evaluate.
        """
        if not self.tenure.busy.acquire(False):
            self._refuse(who or f"{self.host.who}.step")
        if self.tenure.blocks or not self.train_mode:
            try:
                self.require_own(who)
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

    def has_averages(self) -> bool:
        """Whether `averaged` has anything to lend: what a group asks for, or the weights to evaluate of the rule."""
        asked = [member for member in self.members if member.values.look(self.clock.t).is_averaged]
        return bool(asked or self.host.variants.rule.to_lend)

    @contextmanager
    def averaged(self, who: str) -> Generator[None]:
        """Within, the parameters hold their averages, and nothing steps them: moving ones where a group asks for such,
        else the weights to evaluate of their rule.

        Raises:
            ValueError: There are no averages, or one of them cannot be lent.
            RuntimeError: Another thread is stepping.
        """

        def averages() -> Iterator[tuple[Any, Any]]:
            if not self.has_averages():
                rule, hint = "there are no averages of the parameters", "give the optimizer an ema_decay, as in 0.999"
                raise ValueError(sentence(who, rule, hint=hint))
            return self._averages(who)

        with self.lending(who, averages):
            yield

    @contextmanager
    def lending(self, who: str, pairs: Callable[[], Iterable[tuple[Any, Any]]]) -> Generator[None]:
        """Within, parameters hold other values, and nothing steps them; behind it their own, bit for bit.

        Args:
            who: The public name that complains.
            pairs: Gives every parameter with the values that it is to have, once no other thread steps.

        Raises:
            RuntimeError: Another thread is stepping.
        """
        tenure, host = self.tenure, self.host
        with self.alone(who):
            tenure.lend(pairs(), host.copied, host.write)
        try:
            yield
        finally:
            with tenure.busy:
                tenure.give_back()

    def _averages(self, who: str) -> Iterator[tuple[Any, Any]]:
        """Every parameter with its average, where there is one that it does not hold."""
        host = self.host
        weights = host.variants.rule.to_lend if self.train_mode else None
        for member in self.members:
            values = None
            if member.values.settings.is_averaged:
                values = host.average(who, member)
            elif weights is not None:
                values = host.weights(who, member, weights)
            if values is not None:
                yield member.tensor, values

    def switch(self, who: str, *, train_mode: bool) -> None:
        """Let the parameters hold the weights to train, or those to evaluate; nothing where the rule has one kind.

        Raises:
            ValueError: One of the parameters, or its state, is not what it was. Nothing was changed.
            RuntimeError: Another thread is stepping, or the parameters hold their averages.
        """
        host = self.host
        if not host.variants.rule.weights:
            return
        weights = host.variants.rule.weights[WEIGHTS[train_mode]]
        with self.alone(who):
            self._require_given_back(who)
            if train_mode is self.train_mode:
                return
            for values in self.groups:
                values.look(self.clock.t)
            found = [(member.tensor, host.weights(who, member, weights)) for member in self.members]
            with uninterrupted():
                for tensor, values in found:
                    if values is not None:
                        host.write(tensor, values)
                self.train_mode = train_mode

    def require_own(self, who: str = "") -> None:
        """A RuntimeError while the parameters hold other values than those to train."""
        who = who or f"{self.host.who}.step"
        self._require_given_back(who)
        if not self.train_mode:
            raise RuntimeError(sentence(who, "the parameters hold the weights to evaluate", hint="call train() first"))

    def _require_given_back(self, who: str) -> None:
        if self.tenure.blocks:
            raise RuntimeError(sentence(who, "the parameters hold their averages", hint="leave averaged() first"))

    def step(self, on_nonfinite: str, seed: int, measured: bool, loss: Any) -> None:
        """Step every parameter that has a gradient; all of them, or none where anything is wrong.

        Who calls it has begun (`begin`). An interrupt (Ctrl-C) waits until the step is done and counted.

        Args:
            on_nonfinite: What to do about a gradient or a loss that is not finite: ``propagate``, ``raise``, ``skip``.
            seed: What the random numbers of stochastic rounding depend on, besides the step and the element.
            measured: Whether to fill ``measures``.
            loss: The loss of this step, if known: a number, or a tensor that the kernels of all batches can read.

        Raises:
            TypeError: The rule needs the loss, and it is not known.
        """
        clock, plan = self.clock, self._plan
        if plan is None or plan.measured is not measured or not plan.fits(clock.t) or not plan.find():
            self._plan = None
            with self.host.planning():
                self._plan = plan = self._anew(measured)
        if loss is None and plan is not None and plan.needs_loss:
            plan.drop()
            rule, hint = "needs the loss of this step", "call step(loss=loss) or step(closure); nothing was changed"
            raise TypeError(sentence(f"{self.host.who}.step", rule, hint=hint))
        if on_nonfinite != "propagate" and not self._is_finite(plan, loss, on_nonfinite):
            self.skipped += 1
            return
        t = clock.t
        if plan is not None:
            plan.has_begun = False
        try:
            if plan is not None:
                plan.run(seed, math.nan if loss is None else loss)
            clock.t = t + 1
        except BaseException:
            if plan is not None:
                plan.drop()
                clock.t = t + plan.has_begun
            raise
        if measured:
            self.measures = Measures(plan.measures if plan else ())

    def estimate(self, action: str, on_nonfinite: str, seed: int) -> None:
        """Take what stands for the gradients into the state, as the rule says; no step is taken, and none is counted.

        Who calls it has begun (`begin`). The arguments are those of `step`, and ``action`` is what messages call it.
        """
        host = self.host
        host.action, before = action, host.action
        try:
            with host.planning():
                plan = self._anew(False, estimates=True)
            if plan is None or on_nonfinite != "propagate" and not self._is_finite(plan, None, on_nonfinite):
                return
            try:
                plan.run(seed, math.nan)
            finally:
                plan.drop()
        finally:
            host.action = before

    def _is_finite(self, plan: Plan | None, loss: Any, on_nonfinite: str) -> bool:
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
            raise FloatingPointError(sentence(f"{self.host.who}.{self.host.action}", what, hint="nothing was changed"))
        return False

    def _anew(self, measured: bool, *, estimates: bool = False) -> Plan | None:
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
        key = (tuple(member.place for member in moving), tuple(variants.values()), have_tensors, measured, estimates)
        plan = self._plans.get((*key, turn(host, self.clock, moving, variants)))
        if plan is None or not plan.load(grads):
            idle = [member for member, grad in found if grad is None]
            self.planned += 1
            try:
                plan = Plan(host, self.clock, moving, idle, variants, measured=measured, estimates=estimates)
            except BaseException:
                self.forget()  # state may have been replaced
                raise
            if plan.replaces:
                self.forget()
            if not plan.load(grads):
                host.unfit(moving)
        key = (*key, plan.turn)  # of a parameter whose state is new, it was not known before
        self._plans[key] = plan
        self._plans.move_to_end(key)
        while len(self._plans) > PLANS:
            self._plans.popitem(last=False)
        return plan
