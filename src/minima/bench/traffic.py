"""What the passes of a rule move through memory, as minima's search over them finds it."""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

from minima.bench.algorithms import Algorithm
from minima.explain import Explanation
from minima.optim.engines.passes import Cut, cut

__all__ = ["moved", "passes", "search"]

Shape = tuple[int, ...]


def passes(algorithm: Algorithm, shapes: Sequence[Shape]) -> Cut | None:
    """The passes over the largest of some tensors, in float32, without products of matrices; None if there are none."""
    return _explained(algorithm, shapes).cut


def moved(algorithm: Algorithm, shapes: Sequence[Shape]) -> float | None:
    """The bytes that all passes together read and write for an element."""
    found = passes(algorithm, shapes)
    return found.bytes if found else None


def search(algorithm: Algorithm, shapes: Sequence[Shape]) -> Callable[[], Cut]:
    """What searches for the passes anew in every call."""
    explained = _explained(algorithm, shapes)
    kinds = tuple(explained.kinds[name] for name in ("param", *explained.program.kept))
    return partial(cut.__wrapped__, explained.program, kinds, explained.compute)


def _explained(algorithm: Algorithm, shapes: Sequence[Shape]) -> Explanation:
    kind, settings = algorithm.minima
    return kind.explain(ndim=len(max(shapes, key=prod)), **settings)
