"""The ceiling: the time in which this machine moves the bytes that a step must move, doing next to nothing with them.

Two ways to stream them are raced with the others, over the same arrays, and the faster one counts:

- a rule of minima's that reads and writes what the algorithm reads and writes, with one addition for each array: it
  shows what is left to gain in the arithmetic of a kernel;
- NumPy's additions on blocks that stay in a core's own cache, in as many threads as minima has: it owes nothing to
  minima's engine, and shows what is left to gain there.

Both work in place and with the same mix of reads and writes as a step: three reads and two writes are not as fast as
five reads.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from algorithms import Algorithm
from numpy.typing import NDArray
from workloads import START

from minima.autograd import Tensor
from minima.optim import Optimizer, hyper
from minima.optim.engines.cpu.threads import thread_count

__all__ = ["ceilings"]

BLOCK = 1 << 15
"""Elements: a block of the gradient stays in the second cache while it is added to one array after another."""


class Stream0(Optimizer):
    """Reads two arrays and writes one."""

    lr: float = hyper(1e-4, low=0)

    @staticmethod
    def update(param, grad, *, lr):
        return param + lr * grad


class Stream1(Optimizer):
    """Reads three arrays and writes two."""

    lr: float = hyper(1e-4, low=0)

    @staticmethod
    def update(param, grad, first, *, lr):
        step = lr * grad
        return param + step, first + step


class Stream2(Optimizer):
    """Reads four arrays and writes three."""

    lr: float = hyper(1e-4, low=0)

    @staticmethod
    def update(param, grad, first, second, *, lr):
        step = lr * grad
        return param + step, first + step, second + step


def ceilings(algorithm: Algorithm, grads: list[NDArray[Any]]) -> dict[str, Callable[[], object]]:
    """The two ways to stream, by their names."""
    params = [Tensor.from_numpy(np.multiply(grad, np.float32(START))) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.requires_grad = True
        param.grad = Tensor.from_numpy(grad)
    optimizer = (Stream0, Stream1, Stream2)[algorithm.states](params)
    states = [getattr(optimizer, name) for name in ("first", "second")[: algorithm.states]]
    written = [params, *states]
    groups = [
        (grad.ravel(), [array.detach().numpy().ravel() for array in group])
        for grad, *group in zip(grads, *written, strict=True)
    ]
    spans = _spans([grad.size for grad, _ in groups], thread_count())
    pool = ThreadPoolExecutor(len(spans) - 1) if len(spans) > 1 else None

    def work(span: list[tuple[int, int, int]]) -> None:
        for number, first, last in span:
            grad, arrays = groups[number]
            for start in range(first, last, BLOCK):
                block = slice(start, min(start + BLOCK, last))
                for array in arrays:
                    np.add(array[block], grad[block], out=array[block])

    def stream() -> None:
        waiting = [pool.submit(work, span) for span in spans[1:]] if pool else []
        work(spans[0])
        for future in waiting:
            future.result()

    return {"stream-minima": optimizer.step, "stream-numpy": stream}


def _spans(sizes: list[int], threads: int) -> list[list[tuple[int, int, int]]]:
    """For each thread the parts of arrays that are its own: number, start and end. All threads get the same amount."""
    share = -(-sum(sizes) // threads)
    spans: list[list[tuple[int, int, int]]] = [[]]
    room = share
    for number, size in enumerate(sizes):
        start = 0
        while start < size:
            if room == 0:
                spans.append([])
                room = share
            count = min(room, size - start)
            spans[-1].append((number, start, start + count))
            start += count
            room -= count
    return spans
