"""What a step can tell of itself: for every parameter how large gradient and update were, and the parameter."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from minima.optim.core.host import Member

__all__ = ["Measure", "Measures"]


@dataclass(frozen=True)
class Measure:
    """The Euclidean norms of the gradient, the update and the value of one parameter in a step."""

    grad: float
    """Of the gradient."""
    update: float
    """Of what the step added to the parameter, weight decay included."""
    param: float
    """Of the parameter, before the step."""

    @property
    def ratio(self) -> float:
        """The norm of the update relative to the parameter: about 1e-3 is usual; NaN for a parameter of zeros."""
        return self.update / self.param if self.param else math.nan


class Measures(Mapping[str, Measure]):
    """The measurements of a step by parameter: by its name, or by its position if it has no name.

    The type of ``optimizer.measures`` after ``step(measure=True)``. Parameters without a gradient are not included.
    Printed, it is a table.

    >>> from minima import Tensor
    >>> from minima.optim import SGD
    >>> w = Tensor([3.0, 4.0], requires_grad=True)
    >>> w.grad = Tensor([0.6, 0.8])
    >>> optimizer = SGD([("w", w)], lr=0.5)
    >>> optimizer.step(measure=True)
    >>> round(optimizer.measures["w"].ratio, 6), round(optimizer.measures.total.param, 6)
    (0.1, 5.0)
    """

    def __init__(self, found: Iterable[tuple[Member, tuple[float, ...]]]) -> None:
        self._measures = {member.key: Measure(*norms) for member, norms in found}

    def __getitem__(self, name: str) -> Measure:
        return self._measures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._measures)

    def __len__(self) -> int:
        return len(self._measures)

    @property
    def total(self) -> Measure:
        """The norms over all parameters together."""
        each = self._measures.values()
        return Measure(*(math.hypot(*(getattr(m, name) for m in each)) for name in ("grad", "update", "param")))

    def __repr__(self) -> str:
        width = max(len(name) for name in (*self, "parameter"))
        lines = [f"{'parameter':{width}}  {'grad':>9}  {'update':>9}  {'param':>9}  {'ratio':>9}"]
        for name, m in self.items():
            lines.append(f"{name:{width}}  {m.grad:9.3e}  {m.update:9.3e}  {m.param:9.3e}  {m.ratio:9.3e}")
        return "\n".join(lines)
