"""What a step costs that is not a repetition: the first one, and those in which other parameters have a gradient.

Experts, generators and critics, layers that are frozen for a while: then the parameters that move change from step to
step. Each contender is made anew for every sample, and they take turns. Run: python benchmarks/planning.py
"""

import argparse
import gc
import random
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

import minima.torch as mt
from minima import Tensor, optim

PEERS = {
    "minima": lambda groups: optim.Adam(groups, lr=1e-3),
    "minima-torch": lambda groups: mt.Adam(groups, lr=1e-3),
    "torch": lambda groups: torch.optim.Adam(groups, lr=1e-3),
    "torch-fused": lambda groups: torch.optim.Adam(groups, lr=1e-3, fused=True),
}


def tensors(peer, number, shape):
    """Parameters with a gradient, of the library that a peer steps."""
    if peer == "minima":
        params = [Tensor(np.ones(shape), dtype="float32", requires_grad=True) for _ in range(number)]
        for param in params:
            param.grad = Tensor(np.full(shape, 0.1), dtype="float32")
        return params
    params = [torch.nn.Parameter(torch.ones(shape)) for _ in range(number)]
    for param in params:
        param.grad = torch.full_like(param, 0.1)
    return params


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def first(peer, number):
    """The first step of so many tensors of 10 x 10."""
    return seconds(PEERS[peer](tensors(peer, number, (10, 10))).step)


def repeated(peer, number):
    """A later step of so many tensors of 10 x 10."""
    optimizer = PEERS[peer](tensors(peer, number, (10, 10)))
    return median(seconds(optimizer.step) for _ in range(8))


def changing(peer, chosen):
    """A step of 300 tensors of 8 x 8, of which in step ``i`` those move that ``chosen`` says."""
    params = tensors(peer, 300, (8, 8))
    optimizer, grads, taken = PEERS[peer](params), [param.grad for param in params], []
    for step in range(12):
        for place, (param, grad) in enumerate(zip(params, grads, strict=True)):
            param.grad = grad if chosen(step, place) else None
        taken.append(seconds(optimizer.step))
    return median(taken[4:])


def groups(peer, number):
    """Making an optimizer with a group for each of so many parameters."""
    params = tensors(peer, number, (2,))
    return seconds(lambda: PEERS[peer]([{"params": [param], "lr": 0.1} for param in params]))


def in_turns(step, place):
    """Two sets of parameters that overlap in a third."""
    return place % 3 != step % 2


def at_random(step, place):
    """Another half in every step."""
    return random.Random(step * 1000 + place).random() < 0.5


CASES = {
    "first step of 10,000 tensors": partial(first, number=10_000),
    "later step of 10,000 tensors": partial(repeated, number=10_000),
    "300 tensors, two sets in turns": partial(changing, chosen=in_turns),
    "300 tensors, others every step": partial(changing, chosen=at_random),
    "an optimizer of 3,000 groups": partial(groups, number=3_000),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=5, help="how often each contender is timed (default: 5)")
    options = parser.parse_args()
    console = Console()
    for peer in PEERS:  # libraries load, and compile, at their first step
        first(peer, 2)
    taken = {(case, peer): [] for case in CASES for peer in PEERS}
    turns = [(sample, case, peer) for sample in range(options.samples) for case in CASES for peer in PEERS]
    for _, case, peer in track(turns, console=console, disable=not console.is_terminal):
        gc.collect()
        gc.disable()
        taken[case, peer].append(CASES[case](peer))
        gc.enable()
    table = Table(title=f"Adam, milliseconds, medians of {options.samples}; in brackets the ratio to torch")
    table.add_column("")
    for peer in PEERS:
        table.add_column(peer, justify="right")
    for case in CASES:
        medians = [median(taken[case, peer]) for peer in PEERS]
        base = medians[list(PEERS).index("torch")]
        table.add_row(case, *(f"{1e3 * value:,.2f} ({value / base:.2f})" for value in medians))
    console.print(table)


if __name__ == "__main__":
    main()
