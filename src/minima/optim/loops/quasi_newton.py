"""L-BFGS on a vector, whatever the vector is made of: the pairs that are kept, the two loops, and when to stop."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from minima.checks import one_of
from minima.errors import sentence
from minima.optim.core.interrupts import uninterrupted
from minima.optim.loops.wolfe import Point, strong_wolfe

__all__ = ["Closure", "Limits", "Memory", "Move", "Pair", "Space", "guard", "minimise"]

GUARDS = ("skip", "raise", "propagate")
"""What may be done about a loss or a gradient that is not finite."""
CURVED = 1e-10
"""The inner product of a move and the change of the gradient along it must exceed this for the pair to be kept, so that
the approximation of the Hessian stays positive definite: PyTorch's number."""


class Space(Protocol):
    """All parameters of an optimizer as one vector, and the arithmetic of such vectors."""

    def parameters(self) -> Any:
        """A copy of the parameters."""
        ...

    def gradient(self) -> Any:
        """A copy of their gradients, zeros where there is none."""
        ...

    def put(self, start: Any, step: float = 0.0, direction: Any = None) -> None:
        """Let the parameters be ``start``, or ``start + step * direction``."""
        ...

    def minus(self, x: Any, y: Any) -> Any:
        """``x - y``."""
        ...

    def times(self, factor: float, x: Any) -> Any:
        """``factor * x``."""
        ...

    def add(self, y: Any, factor: float, x: Any) -> None:
        """``y += factor * x``, in place."""
        ...

    def dot(self, x: Any, y: Any) -> float:
        """The inner product."""
        ...

    def largest(self, x: Any) -> float:
        """The largest absolute value; NaN if there is one."""
        ...

    def total(self, x: Any) -> float:
        """The sum of absolute values."""
        ...


class Limits(NamedTuple):
    """When a call stops, and how it goes along a direction."""

    lr: float
    max_iter: int
    max_eval: int
    tolerance_grad: float
    tolerance_change: float
    history_size: int
    searches: bool
    """Whether the length of a step is searched for."""
    guard: str
    """One of GUARDS."""

    @classmethod
    def of(cls, settings: Mapping[str, Any], guard: str) -> "Limits":
        """What the settings of an L-BFGS ask for."""
        names = ("lr", "max_iter", "max_eval", "tolerance_grad", "tolerance_change", "history_size")
        given = {name: settings[name] for name in names}
        if given["max_eval"] is None:
            given["max_eval"] = given["max_iter"] * 5 // 4
        return cls(**given, searches=settings["line_search_fn"] is not None, guard=guard)


class Pair(NamedTuple):
    """What a move taught about the curvature."""

    move: Any
    change: Any
    """Of the gradient."""
    weight: float
    """1 by the inner product of the two."""


class Move(NamedTuple):
    """The last move, and what was known where it began."""

    direction: Any
    step: float
    grad: Any
    loss: float


@dataclass
class Memory:
    """What stays from one call to the next."""

    evaluations: int = 0
    iterations: int = 0
    pairs: list[Pair] = field(default_factory=list[Pair])
    """The oldest first."""
    scale: float = 1.0
    """What the inverse of the Hessian is taken for at first, times the identity."""
    last: Move | None = None

    def forget(self) -> None:
        """Begin anew from the next call on."""
        self.iterations, self.pairs, self.scale, self.last = 0, [], 1.0, None


def minimise(who: str, space: Space, memory: Memory, evaluate: Callable[[], float], limits: Limits) -> bool:
    """Take up to ``max_iter`` steps; False where the loss, or the gradient, was not finite to begin with.

    J. Nocedal and S. J. Wright, *Numerical Optimization*, 2006, Algorithms 7.4 and 7.5, with the choices of PyTorch.
    Whatever ``evaluate`` raises, the parameters then are where the last step that was finished had led to.

    Args:
        who: The public name that complains.
        space: The parameters.
        memory: What is known of them.
        evaluate: Computes gradients where the parameters are; gives the loss.
        limits: When to stop.

    Raises:
        FloatingPointError: The loss or the gradient is not finite, and ``guard`` is ``"raise"``.
    """
    before = memory.evaluations

    def evaluated() -> tuple[float, Any]:
        loss = evaluate()
        memory.evaluations += 1
        return loss, space.gradient()

    loss, grad = evaluated()
    largest = space.largest(grad)
    if fault := _fault(limits.guard, loss, largest):
        if limits.guard == "raise":
            raise FloatingPointError(sentence(who, fault, hint="nothing was changed"))
        return False
    if largest <= limits.tolerance_grad:
        return True
    for iteration in range(1, limits.max_iter + 1):
        if memory.last is None:
            direction, total = space.times(-1.0, grad), space.total(grad)
            step = min(1.0, 1 / total if total else 1.0) * limits.lr
        else:
            _learn(space, memory, memory.last, grad, loss, limits.history_size)
            direction, step = _direction(space, memory, grad), limits.lr
        slope = space.dot(grad, direction)
        here = Move(direction, 0.0, grad, loss)
        if slope > -limits.tolerance_change:
            memory.iterations, memory.last = memory.iterations + 1, here
            break
        size, start = space.largest(direction), space.parameters()
        try:
            if limits.searches:
                found = strong_wolfe(
                    _along(space, evaluated, start, direction, is_guarded=limits.guard != "propagate"),
                    Point(0.0, loss, slope, grad),
                    step,
                    most=limits.max_eval - (memory.evaluations - before),
                    size=size,
                    tolerance=limits.tolerance_change,
                )
                step, loss, grad = found.step, found.loss, found.grad
            space.put(start, step, direction)
            if not limits.searches and iteration < limits.max_iter:  # behind the last step nobody looks
                loss, grad = evaluated()
            largest = space.largest(grad)
            if fault := _fault(limits.guard, loss, largest):
                space.put(start)
                memory.forget()
                if limits.guard == "raise":
                    raise FloatingPointError(sentence(who, fault, hint="the step that led there was taken back"))
                break
        except BaseException:
            with uninterrupted():
                space.put(start)
            raise
        memory.iterations, memory.last = memory.iterations + 1, here._replace(step=step)
        if (
            memory.evaluations - before >= limits.max_eval
            or largest <= limits.tolerance_grad
            or abs(step) * size <= limits.tolerance_change
            or abs(loss - here.loss) < limits.tolerance_change
        ):
            break
    return True


def _learn(space: Space, memory: Memory, last: Move, grad: Any, loss: float, most: int) -> None:
    """Keep what the last move taught, if it saw the loss curve upwards."""
    change, move = space.minus(grad, last.grad), space.times(last.step, last.direction)
    curvature, length = space.dot(change, move), space.dot(change, change)
    pairs, scale = memory.pairs, memory.scale
    if curvature > CURVED and length > 0:
        pairs, scale = [*pairs, Pair(move, change, 1 / curvature)][-most:], curvature / length
    with uninterrupted():
        memory.pairs, memory.scale, memory.last = pairs, scale, last._replace(step=0.0, grad=grad, loss=loss)


def _direction(space: Space, memory: Memory, grad: Any) -> Any:
    """Minus the gradient times the inverse of the Hessian, as the pairs tell it: the two loops."""
    direction = space.times(-1.0, grad)
    shares: list[float] = []
    for pair in reversed(memory.pairs):
        shares.append(pair.weight * space.dot(pair.move, direction))
        space.add(direction, -shares[-1], pair.change)
    direction = space.times(memory.scale, direction)
    for pair, share in zip(memory.pairs, reversed(shares), strict=True):
        space.add(direction, share - pair.weight * space.dot(pair.change, direction), pair.move)
    return direction


def _along(
    space: Space, evaluated: Callable[[], tuple[float, Any]], start: Any, direction: Any, *, is_guarded: bool
) -> Callable[[float], Point]:
    """Evaluates steps along a direction. What is not finite there counts as infinitely high: as gone too far."""

    def at(step: float) -> Point:
        space.put(start, step, direction)
        loss, grad = evaluated()
        slope = space.dot(grad, direction)
        if is_guarded and not (math.isfinite(loss) and math.isfinite(slope)):
            return Point(step, math.inf, math.nan, grad)
        return Point(step, loss, slope, grad)

    return at


def _fault(guard: str, loss: float, largest: float) -> str:
    """What is wrong where the loss is this, and the largest entry of the gradient is that; empty if nothing is."""
    if guard == "propagate" or math.isfinite(loss) and math.isfinite(largest):
        return ""
    return "the gradient is not finite" if math.isfinite(loss) else f"loss is {loss}"


def guard(who: str, name: str, value: Any) -> str:
    """What to do about what is not finite, checked."""
    return one_of(who, name, value, GUARDS)


class Closure:
    """What computes the loss and the gradients where the parameters are; its calls give the loss as a number."""

    def __init__(self, who: str, closure: Any, recording: Callable[[], AbstractContextManager[Any]]) -> None:
        """Take what a user gave to the step of this name; ``recording`` is the mode in which it runs.

        Raises:
            TypeError: ``closure`` is not a function.
        """
        if not callable(closure):
            rule = "closure must be a function that clears gradients, computes them anew, and returns the loss"
            raise TypeError(sentence(who, rule, got=closure, hint="write step(closure)"))
        self._who, self._closure, self._recording = who, closure, recording
        self._returned: list[Any] = []

    @property
    def first(self) -> Any:
        """What the first call returned, as it was."""
        return self._returned[0]

    def __call__(self) -> float:
        with self._recording():
            loss: Any = self._closure()
        if not self._returned:
            self._returned.append(loss)
        try:
            if isinstance(loss, str | bytes):  # float() would read them
                raise TypeError
            return float(loss.item() if hasattr(loss, "item") else loss)
        except (TypeError, ValueError, RuntimeError):
            rule = "closure must return the loss, a number or a tensor of one"
            raise TypeError(sentence(self._who, rule, got=loss)) from None
