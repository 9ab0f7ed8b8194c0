"""Lookahead: some steps of any optimizer, then a step back towards where they began."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.checks import checked, integer, number
from minima.errors import sentence
from minima.optim.core.host import Member
from minima.optim.core.interrupts import uninterrupted
from minima.optim.core.stepper import Stepper
from minima.optim.loops.loop import Loop

__all__ = ["Lookahead"]


class Lookahead(Loop):
    """Lets an optimizer take ``k`` steps, moves slow weights part of the way to the result, and continues from there.

    ::

        (a step of the optimizer inside, on param)
        if t mod k == 0:
            slow = slow + alpha*(param - slow)
            param = slow

    The inner steps may be long, and overshoot from side to side: between the first and the last of ``k`` steps, only
    their common direction remains.

    Args:
        optimizer: An optimizer with a rule, or a wrapper around one.
        k: Number of steps after which the slow weights move, an integer, at least 1; ``t`` counts the steps of the
            parameter itself.
        alpha: Share of the way that they move, in [0, 1]: 1 has no effect, 0 undoes each round.

    Attributes:
        optimizer: The optimizer inside. slow: The slow weights, by the position of the parameter, in float32 at least.

    The wrapper has the interface of the inner optimizer: parameters, groups, hyperparameters, ``t``, ``skipped``,
    measures and state are those of the inner optimizer, and assignments go to it. Weight decay, clipping and
    ``ema_decay`` apply in each inner step; state such as momentum does not change when the weights go back. With a rule
    that computes each parameter from its state alone, such as `FTRL`, or `MADGRAD` with ``momentum=0``, the next step
    undoes the move. Skipped steps do not count for ``k``.

    Keeps one array per parameter, ``slow``, which starts as the parameter at its addition. State dicts contain it, and
    `averaged` puts it into the parameters.

    Raises:
        TypeError: ``optimizer`` is not an optimizer, or overrides ``step()`` and thus has no step counts; or ``k`` or
            ``alpha`` is not a number.
        ValueError: ``k`` or ``alpha`` is out of its range.

    Source: Zhang, Lucas, Hinton and Ba, *Lookahead Optimizer: k steps forward, 1 step back*, NeurIPS 2019, Algorithm 1;
    the defaults of ``k`` and ``alpha`` are those of pytorch_optimizer, whose ``Lookahead`` is the same up to rounding.
    Differs from timm, whose slow weights start as the parameter after the first ``k`` steps, which are thus never moved
    back.

    >>> from minima import Tensor
    >>> from minima.optim import SGD, Lookahead
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Lookahead(SGD([w], lr=0.25), k=2)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.slow[0]
    (Tensor([ 0.625, -1.25 ], requires_grad=True), Tensor([ 0.625, -1.25 ]))
    """

    k: int = checked(partial(integer, low=1))
    alpha: float = checked(partial(number, high=1))

    def __init__(self, optimizer: Any, k: int = 5, alpha: float = 0.5) -> None:
        self._take(optimizer)
        if self._innermost.rule is None:
            rule = "the optimizer must have a rule, as one that overrides step() counts no steps of its parameters"
            raise TypeError(sentence(type(self).__name__, rule, got=optimizer))
        self._slow: dict[int, tuple[Any, Any]] = {}
        """Every parameter with its slow weights, by its identity."""
        self._looked_at: tuple[Any, int] = (None, 0)
        self.k = k
        self.alpha = alpha
        self._members()

    @property
    def slow(self) -> Sequence[Any]:
        """The slow weights, by the position of the parameter; not copies."""
        return tuple(self._face.shown(self._slow_of(member)) for member in self._members().members)

    def step(self, closure: Callable[[], Any] | None = None, *, loss: Any = None, measure: bool = False) -> Any:
        """Take a step of the inner optimizer, with its arguments; after every ``k``-th step, move the slow weights.

        Returns:
            The result of the inner step.
        """
        before = self._members()
        counts, given = before.clock.counts.copy(), self._given(loss, measure)
        if closure is not None:
            result = self._inner.step(closure, **given)
            with uninterrupted():
                self._synchronize(before, counts)
            return result
        with uninterrupted():
            result = self._inner.step(**given)
            self._synchronize(before, counts)
        return result

    def _synchronize(self, before: Stepper, counts: NDArray[np.int64]) -> None:
        """Move the slow weights of all parameters that have ended a round since they had taken ``counts`` steps."""
        stepper, face = self._members(), self._face
        if stepper is not before or len(stepper.members) != len(counts):  # groups were changed in between
            known = {id(member.tensor): counts[member.place] for member in before.members[: len(counts)]}
            counts = np.array([known.get(id(member.tensor), 0) for member in stepper.members], np.int64)
        for place in np.flatnonzero(stepper.clock.counts // self.k > counts // self.k):
            member = stepper.members[place]
            slow, change = self._slow_of(member), face.widened(member.tensor)
            change -= slow
            change *= self.alpha
            slow += change
            face.write(member.tensor, slow)

    def _members(self) -> Stepper:
        """What steps the parameters, all of which have slow weights then."""
        stepper = self._stepper()
        looked_at = stepper, len(stepper.members)
        if self._looked_at != looked_at:
            for member in stepper.members:
                if id(member.tensor) not in self._slow:
                    self._slow[id(member.tensor)] = member.tensor, self._face.widened(member.tensor)
            self._looked_at = looked_at
        return stepper

    def _slow_of(self, member: Member) -> Any:
        tensor, slow = self._slow[id(member.tensor)]
        near = self._face.near(slow, tensor)
        if near is not slow:
            self._slow[id(tensor)] = tensor, near
        return near

    @contextmanager
    def averaged(self) -> Generator[None]:
        """Within ``with optimizer.averaged():`` the parameters hold the slow weights; afterwards they are restored.

        If the inner optimizer keeps averages, by ``ema_decay`` or by its rule, the parameters hold these instead.

        Raises:
            RuntimeError: Another thread is stepping the optimizer.
        """
        stepper = self._members()
        if stepper.has_averages():
            with self._inner.averaged():
                yield
            return
        with stepper.lending(f"{type(self).__name__}.averaged", self._pairs):
            yield

    def _pairs(self) -> list[tuple[Any, Any]]:
        return [(member.tensor, self._slow_of(member)) for member in self._members().members]

    def _own(self, *, copies: bool) -> dict[str, Any]:
        stepper, face = self._members(), self._face
        values = [self._slow_of(member) for member in stepper.members]
        kept = [face.copied(face.shown(value)) if copies else value for value in values]
        return {"k": self.k, "alpha": self.alpha, "slow": dict(zip(face.keys(stepper), kept, strict=True))}

    def _own_hypers(self) -> dict[str, Any]:
        return {"k": self.k, "alpha": self.alpha}

    def _prepare_own(
        self, who: str, given: Mapping[str, Any], state_dict: Mapping[str, Any], *, strict: bool
    ) -> Callable[[], None]:
        k, alpha = integer(who, "k", given["k"], 1), number(who, "alpha", given["alpha"], 0, 1)
        face, own = self._face, [self._slow_of(member) for member in self._members().members]
        found = face.fitting(who, self._innermost, own, given["slow"], state_dict, strict=strict)

        def take_over() -> None:
            self.k, self.alpha = k, alpha
            for slow, value in zip(own, found, strict=True):
                if value is not None:
                    face.write(face.shown(slow), value)

        return take_over

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_slow": list(self._slow.values()), "_looked_at": (None, 0)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state | {"_slow": {id(tensor): (tensor, slow) for tensor, slow in state["_slow"]}})
