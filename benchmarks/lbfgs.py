#!/usr/bin/env python
"""Whole calls of L-BFGS, ours and PyTorch's in turns in one process: the time of a call, and the ratio.

    python benchmarks/lbfgs.py                  # all problems
    python benchmarks/lbfgs.py large --seconds 60

Every call begins anew at one place, and takes as many steps and evaluations as all others: gradients are written down
by hand, so that what is measured is the optimizer. On a machine that others use too, take --threads 1.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import minima as mi
import minima.torch
from minima.bench.timing import race, repeated
from minima.optim import LBFGS

Arrays = Sequence[Any]
"""The parameters, or their gradients: NumPy's arrays, or tensors of PyTorch."""


@dataclass(frozen=True)
class Problem:
    """What is minimised."""

    title: str
    start: Callable[[], list[np.ndarray[Any, Any]]]
    function: Callable[[Any, Arrays, Callable[[np.ndarray[Any, Any]], Any]], tuple[Any, Arrays]]
    """Takes a library of arrays, parameters in it, and what makes constants of it; gives the loss and gradients."""
    settings: dict[str, Any]


def _rosenbrock(xp: Any, params: Arrays, constant: Any) -> tuple[Any, Arrays]:
    (x,) = params
    bend, off = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    grad = xp.zeros_like(x)
    grad[1:] += 200 * bend
    grad[:-1] -= 400 * x[:-1] * bend + 2 * off
    return (100 * bend**2 + off**2).sum(), [grad]


_ROWS = np.random.default_rng(0).normal(size=(400, 5000)).astype(np.float32)
_SIDES = np.sign(_ROWS[:, :50].sum(1) + np.random.default_rng(1).normal(size=400).astype(np.float32)).astype(np.float32)


def _logistic(xp: Any, params: Arrays, constant: Any) -> tuple[Any, Arrays]:
    (w,) = params
    rows, sides = constant(_ROWS), constant(_SIDES)
    margins = sides * (rows @ w)
    share = 1 / (1 + xp.exp(margins))
    loss = xp.log1p(xp.exp(-xp.abs(margins))).sum() - xp.clip(margins, None, 0).sum() + 0.5 * (w * w).sum()
    return loss, [w - rows.T @ (share * sides)]


_CURVES = [np.geomspace(1, 1e4, 50_000, dtype=np.float32) for _ in range(20)]


def _large(xp: Any, params: Arrays, constant: Any) -> tuple[Any, Arrays]:
    grads = [p * constant(curve) for p, curve in zip(params, _CURVES, strict=False)]
    return sum((p * g).sum() for p, g in zip(params, grads, strict=True)) / 2, grads


WOLFE: dict[str, Any] = {"line_search_fn": "strong_wolfe", "tolerance_grad": 0, "tolerance_change": 0}
PROBLEMS = {
    "valley": Problem(
        "Rosenbrock's valley, 2,000 numbers in float64, 50 steps",
        lambda: [np.tile([-1.2, 1.0], 1000)],
        _rosenbrock,
        {**WOLFE, "max_iter": 50, "history_size": 20},
    ),
    "logistic": Problem(
        "Logistic regression, 5,000 weights in float32, 10 steps",
        lambda: [np.zeros(5000, np.float32)],
        _logistic,
        {**WOLFE, "max_iter": 10, "history_size": 10},
    ),
    "large": Problem(
        "A bowl, 1 million numbers in 20 tensors in float32, 10 steps",
        lambda: [np.ones_like(curve) for curve in _CURVES],
        _large,
        {**WOLFE, "max_iter": 10},
    ),
    "long": Problem(
        "A bowl of 200,000 numbers in 4 tensors, without a search, 20 steps",
        lambda: [np.ones_like(curve) for curve in _CURVES[:4]],
        _large,
        {**WOLFE, "max_iter": 20, "line_search_fn": None, "lr": 0.5},
    ),
}


def pytorch(problem: Problem, kind: Any) -> Callable[[], tuple[int, int]]:
    """A call of one of PyTorch's optimizers from the start; gives the numbers of evaluations and steps."""
    constants: dict[int, torch.Tensor] = {}

    def constant(array: np.ndarray[Any, Any]) -> torch.Tensor:
        return constants.setdefault(id(array), torch.from_numpy(array))

    def call() -> tuple[int, int]:
        params = [torch.from_numpy(part).requires_grad_() for part in problem.start()]
        optimizer = kind(params, **problem.settings)

        @torch.no_grad()
        def closure() -> torch.Tensor:
            loss, grads = problem.function(torch, params, constant)
            for param, grad in zip(params, grads, strict=True):
                param.grad = grad
            return loss

        optimizer.step(closure)
        state = optimizer.state[params[0]]
        return state["func_evals"], state["n_iter"]

    return call


def own(problem: Problem) -> Callable[[], tuple[int, int]]:
    """The same of minima's own optimizer, with NumPy's arrays."""

    def call() -> tuple[int, int]:
        params = [mi.Tensor(part, dtype=str(part.dtype), requires_grad=True) for part in problem.start()]
        optimizer = LBFGS(params, **problem.settings)

        def closure() -> float:
            loss, grads = problem.function(np, [param.detach().numpy() for param in params], lambda array: array)
            for param, grad in zip(params, grads, strict=True):
                param.grad = mi.Tensor.from_numpy(grad)
            return float(loss)

        optimizer.step(closure)
        return optimizer.func_evals, optimizer.n_iter

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", nargs="*", choices=[[], *PROBLEMS], help="which ones; by default all")
    parser.add_argument("--seconds", type=float, default=20, help="how long each race takes (default: 20)")
    parser.add_argument("--threads", type=int, default=None, help="how many PyTorch takes (default: its own choice)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    for name in options.problem or PROBLEMS:
        problem = PROBLEMS[name]
        calls = {
            "torch.optim": pytorch(problem, torch.optim.LBFGS),
            "minima.torch": pytorch(problem, minima.torch.LBFGS),
            "minima.optim": own(problem),
        }
        counts = {who: call() for who, call in calls.items()}
        timings = race({who: repeated(call) for who, call in calls.items()}, options.seconds)
        print(f"\n{problem.title}", flush=True)
        theirs = timings["torch.optim"].seconds
        for who, timing in timings.items():
            evaluations, steps = counts[who]
            ratio = timing.seconds / theirs
            print(
                f"  {who:12}  {timing.seconds * 1e3:9.2f} ms  {ratio:5.2f}   {evaluations} evaluations, {steps} steps"
            )


if __name__ == "__main__":
    main()
