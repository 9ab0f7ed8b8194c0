"""The ceiling: the time in which this machine moves the bytes that a step must move, doing next to nothing with them.

Two ways to stream them are raced with the others, over the same arrays, and the faster one counts:

- for every pass of the algorithm a rule of minima's that reads and writes as many arrays, with one addition for each:
  it shows what is left to gain in the arithmetic of a kernel;
- NumPy's additions on blocks that stay in a core's own cache, in as many threads as minima has: it owes nothing to
  minima's engine, and shows what is left to gain there.

Both work in place and with the same mix of reads and writes as a step: three reads and two writes are not as fast as
five reads.

Where matrices are multiplied, the ceiling is the time of these products alone, by NumPy.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial, reduce
from inspect import Parameter, Signature
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.autograd import Tensor
from minima.bench.algorithms import Algorithm
from minima.bench.traffic import passes
from minima.bench.workloads import START
from minima.optim import Optimizer, PerTensor, hyper, sum
from minima.optim.engines.cpu.threads import thread_count

__all__ = ["ceilings"]

Array = NDArray[Any]

BLOCK = 1 << 15
"""Elements: a block of the gradient stays in the second cache while it is added to one array after another."""
ITERATIONS = 5
"""Of Newton and Schulz, in Muon."""


@dataclass(frozen=True)
class Mix:
    """How many arrays a pass reads, and how many of them it writes."""

    reads: int
    writes: int

    @property
    def states(self) -> int:
        """The arrays besides the gradient, which is read only, and the parameter, which is written if any is."""
        return max(0, self.reads - 2)

    @property
    def is_written(self) -> list[bool]:
        """Of each state."""
        return [number < self.writes - 1 for number in range(self.states)]


def ceilings(algorithm: Algorithm, grads: list[Array]) -> dict[str, Callable[[], object]]:
    """The ways to reach the ceiling, by their names."""
    found = passes(algorithm, [grad.shape for grad in grads])
    if algorithm.looks_at == "matrix" or found is None:
        return {"products": _products(grads)}
    mixes = [Mix(len(reads), len(writes)) for reads, writes in found.traffic]
    params = [Tensor.from_numpy(np.multiply(grad, np.float32(START))) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.requires_grad = True
        param.grad = Tensor.from_numpy(grad)
    optimizers = [_stream(mix)(params) for mix in mixes]
    for mix, optimizer in zip(mixes, optimizers, strict=True):
        for state, is_written in zip(_states(mix, optimizer), mix.is_written, strict=True):
            if not is_written:  # zeros that nobody has written to are one page of memory, again and again
                for array, grad in zip(state, grads, strict=True):
                    np.copyto(array.detach().numpy(), grad)
    pool = ThreadPoolExecutor(thread_count())
    streams = [partial(_numpy_pass, pool, mix, each, grads) for mix, each in zip(mixes, optimizers, strict=True)]
    return {
        "stream-minima": partial(_in_turn, [each.step for each in optimizers]),
        "stream-numpy": partial(_in_turn, streams),
    }


def _states(mix: Mix, optimizer: Optimizer) -> list[Any]:
    return [getattr(optimizer, f"array{number}") for number in range(mix.states)]


def _in_turn(steps: Sequence[Callable[[], object]]) -> None:
    for step in steps:
        step()


@cache
def _stream(mix: Mix) -> type[Optimizer]:
    """A rule that only adds: what is not written to what is; or up into a number, where nothing is written."""
    names = [f"array{number}" for number in range(mix.states)]

    def update(param: Any, grad: Any, *arrays: Any, lr: Any) -> Any:
        if mix.writes == 0:
            *states, seen = arrays
            read = reduce(add, [grad, param, *states][: mix.reads])
            return param, *states, seen + sum(read)
        states = list(zip(arrays, mix.is_written, strict=True))
        step = lr * reduce(add, [grad, *(state for state, is_written in states if not is_written)])
        return param + step, *(state + step if is_written else state for state, is_written in states)

    made: Any = update
    places = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("param", "grad", *names)]
    if mix.writes == 0:
        places.append(Parameter("seen", Parameter.POSITIONAL_OR_KEYWORD, annotation=PerTensor))
    made.__signature__ = Signature([*places, Parameter("lr", Parameter.KEYWORD_ONLY)])
    body = {"__doc__": "Moves what a pass moves.", "lr": hyper(1e-4, low=0), "update": staticmethod(update)}
    return type(f"Stream{mix.reads}{mix.writes}", (Optimizer,), body)


def _numpy_pass(pool: ThreadPoolExecutor, mix: Mix, optimizer: Optimizer, grads: list[Array]) -> None:
    """The same additions, block by block."""
    params, states = optimizer.params, _states(mix, optimizer)
    read, written = [grads, params, *states][: mix.reads], list[Any]()
    if mix.writes:
        read = [grads, *(state for state, is_written in zip(states, mix.is_written, strict=True) if not is_written)]
        written = [params, *(state for state, is_written in zip(states, mix.is_written, strict=True) if is_written)]

    def work(span: list[tuple[int, int, int]]) -> None:
        scratch = np.empty(BLOCK, np.float32)
        for number, first, last in span:
            sources, targets = ([_flat(arrays[number]) for arrays in many] for many in (read, written))
            for start in range(first, last, BLOCK):
                block = slice(start, min(start + BLOCK, last))
                step, room = sources[0][block], scratch[: block.stop - start]
                for source in sources[1:]:
                    step = np.add(step, source[block], out=room)
                if not targets and len(sources) == 1:
                    np.add(step, step, out=room)  # which reads it
                for target in targets:
                    np.add(target[block], step, out=target[block])

    spans = _spans([grad.size for grad in grads], thread_count())
    waiting = [pool.submit(work, span) for span in spans[1:]]
    work(spans[0])
    for future in waiting:
        future.result()


def _flat(array: Any) -> Array:
    return np.ravel(array.detach().numpy() if isinstance(array, Tensor) else array)


def _products(grads: list[Array]) -> Callable[[], object]:
    """The products of Muon's iteration: x @ x.T, that by itself, and that by x, which is the gradient laid across."""
    jobs: list[tuple[Array, ...]] = []
    for grad in grads:
        x = np.ascontiguousarray(grad if grad.shape[0] <= grad.shape[1] else grad.T)
        square = (len(x), len(x))
        jobs.append((x, np.empty(square, np.float32), np.empty(square, np.float32), np.empty_like(x)))

    def products() -> None:
        for x, a, b, y in jobs:
            for _ in range(ITERATIONS):
                np.matmul(x, x.T, out=a)
                np.matmul(a, a, out=b)
                np.matmul(b, x, out=y)

    return products


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
