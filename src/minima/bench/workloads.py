"""The parameters that are stepped: shapes as they come out of an architecture, and gradients for them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["START", "WORKLOADS", "Workload", "gradients"]

Shape = tuple[int, ...]

START = 5.0
"""Every parameter starts as its gradient times this, so that nobody has to keep a copy of where it started."""


@dataclass(frozen=True)
class Workload:
    """A list of shapes, and how long to measure it."""

    title: str
    shapes: tuple[Shape, ...]
    seconds: float
    """Of measuring, for one algorithm."""

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(map(prod, self.shapes))

    @property
    def is_streamed(self) -> bool:
        """Whether a step has to fetch its arrays from memory: four times 40 MB are in nobody's cache."""
        return self.size >= 10_000_000

    def __str__(self) -> str:
        size = self.size
        count = f"{size / 1e6:.1f} million" if size >= 1e6 else f"{size:,}"
        tensors = "1 tensor" if len(self.shapes) == 1 else f"{len(self.shapes)} tensors"
        return f"{self.title}: {tensors}, {count} parameters"


def gradients(workload: Workload) -> list[NDArray[Any]]:
    """A gradient for each shape, set once and used in every step: an optimizer does not use it up.

    All have a size between 0.005 and 0.01, and so no average and no sum of squares ever comes near the denormal
    numbers, with which processors are many times slower: constant gradients of 1e-2 keep squares at 1e-4, for
    however many steps. Nor is there a zero, so that rules agree which differ only in where their eps stands (and have
    eps = 0).
    """
    random = np.random.default_rng(0)
    return [_gradient(random, shape) for shape in workload.shapes]


def _gradient(random: np.random.Generator, shape: Shape) -> NDArray[Any]:
    grad = random.random(shape, dtype=np.float32)
    grad -= 0.5
    grad += np.copysign(np.float32(0.5), grad)
    grad *= np.float32(0.01)
    return grad


def _perceptron(*widths: int) -> Iterator[Shape]:
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        yield from ((outputs, inputs), (outputs,))


def _resnet50() -> Iterator[Shape]:
    """He et al., Deep Residual Learning for Image Recognition, 2016, table 1; batch normalisation after each map."""

    def convolution(inputs: int, outputs: int, size: int) -> Iterator[Shape]:
        yield from ((outputs, inputs, size, size), (outputs,), (outputs,))

    yield from convolution(3, 64, 7)
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            yield from convolution(inputs, width, 1)
            yield from convolution(width, width, 3)
            yield from convolution(width, 4 * width, 1)
            if block == 0:  # the way around the first block of a stage changes the width too
                yield from convolution(inputs, 4 * width, 1)
            inputs = 4 * width
    yield from _perceptron(inputs, 1000)


def _gpt2(width: int, layers: int) -> Iterator[Shape]:
    """Radford et al., Language Models are Unsupervised Multitask Learners, 2019; the output shares the embedding."""
    yield from ((50257, width), (1024, width))
    yield from _gpt2_blocks(width, layers)
    yield from ((width,), (width,))


def _gpt2_blocks(width: int, layers: int) -> Iterator[Shape]:
    for _ in range(layers):
        yield from ((width,), (width,))
        yield from ((width, 3 * width), (3 * width,), (width, width), (width,))
        yield from ((width,), (width,))
        yield from ((width, 4 * width), (4 * width,), (4 * width, width), (width,))


def _matrices(shapes: Iterable[Shape]) -> Iterator[Shape]:
    return (shape for shape in shapes if len(shape) == 2)


WORKLOADS = {
    "small": Workload("30-24-24-24-2", tuple(_perceptron(30, 24, 24, 24, 2)), 1.5),
    "medium": Workload("784-512-512-10", tuple(_perceptron(784, 512, 512, 10)), 1.5),
    "many": Workload("300 of 32x32", ((32, 32),) * 300, 2),
    "single": Workload("100,000", ((100_000,),), 1.5),
    "resnet50": Workload("ResNet-50", tuple(_resnet50()), 3),
    "gpt2": Workload("GPT-2 small", tuple(_gpt2(768, 12)), 8),
    "blocks": Workload("4 blocks of GPT-2", tuple(_gpt2_blocks(768, 4)), 4),
    "matrices": Workload("GPT-2's matrices", tuple(_matrices(_gpt2_blocks(768, 12))), 100),
    "block": Workload("matrices of a block", tuple(_matrices(_gpt2_blocks(768, 1))), 8),
    "vector": Workload("30 million", ((30_000_000,),), 4),
    "huge": Workload("100 million", ((100_000_000,),), 8),
}
"""By their names on the command line."""
