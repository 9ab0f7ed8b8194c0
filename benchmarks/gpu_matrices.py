"""Checks on a GPU of rules that multiply matrices between two kernels of the fused engine, and whom they race."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from gpu_checking import DEVICE, busy_seconds, check, chosen, drawn
from gpu_graphs import STEPS, recorded

import minima.torch as mt
from minima import optim
from minima.optim import Optimizer, hyper, maximum, norm

__all__ = ["MOVED", "TARGETS", "check_matrices", "racers"]

ROUNDS = 5


class Turned(Optimizer):
    """A user's rule: it steps along the gradient, turned by a product with itself."""

    lr: float = hyper(0.02, low=0)

    @staticmethod
    def update(param, grad, trend, *, lr):
        trend = 0.9 * trend + 0.1 * grad
        if param.ndim < 2:
            return param - lr * trend, trend
        x = trend / maximum(norm(trend), 1e-7)
        x = 1.5 * x - 0.5 * (x @ x.T) @ x
        return param - lr * x / maximum(norm(x), 1e-7), trend


MULTIPLYING: dict[str, Callable[..., Any]] = {
    "Muon": lambda params, **more: mt.Muon(params, lr=0.02, **more),
    "minima's Muon": lambda params, **more: mt.adapt(optim.Muon)(params, lr=0.02, **more),
    "user's products": lambda params, **more: mt.adapt(Turned)(params, **more),
}
KINDS: list[tuple[torch.dtype, dict[str, Any]]] = [
    (torch.float32, {}),
    (torch.float64, {}),
    (torch.bfloat16, {}),
    (torch.bfloat16, {"rounding": "nearest", "state_dtype": "float32"}),
    (torch.bfloat16, {"rounding": "master"}),
    (torch.float16, {"rounding": "stochastic"}),
    (torch.float32, {"state_dtype": "bfloat16"}),
]
SHAPES = [(6, 4), (3, 5), (6, 4), (64, 33), (64, 33), (129, 1031), (1031, 129), (256, 256), (256, 256), (256, 256)]
SHAPES += [(1, 7), (0, 4), (5, 0), (300, 4100)]

Side = tuple[list[torch.Tensor], Any]
"""Parameters, and their optimizer."""


def closeness(rule: str, dtype: torch.dtype) -> float:
    """How far two steps may be apart, as a share of one: products are added up in other orders.

    Under PyTorch's name products are in bfloat16; and parameters in half precision are rounded to one side or another.
    """
    if dtype.itemsize == 2:
        return 0.15
    if rule == "Muon":
        return 0.03
    return 1e-9 if dtype == torch.float64 else 1e-3


def side(make: Callable[..., Any], dtype: torch.dtype, device: str, **options: Any) -> Side:
    draw = torch.Generator().manual_seed(0)
    params = [drawn(shape, dtype, draw).to(device).requires_grad_() for shape in SHAPES]
    return params, make(params, **options)


def give(draw: torch.Generator, *sides: Sequence[torch.Tensor], without: int | None = None) -> None:
    """The same gradients on all sides, in place where there are some; every fourth from one on gets none."""
    for number, twins in enumerate(zip(*sides, strict=True)):
        grad = drawn(twins[0].shape, twins[0].dtype, draw)
        for param in twins:
            if without is not None and number % 4 == without:
                param.grad = None
            elif param.grad is None:
                param.grad = grad.to(param.device)
            else:
                param.grad.copy_(grad)


def apart(begin: Sequence[torch.Tensor], one: Side, other: Side, share: float) -> Iterator[str]:
    """The parameters in which two sides are further apart than a share of what they moved."""
    for i, (start, x, y) in enumerate(zip(begin, one[0], other[0], strict=True)):
        start, x, y = (each.detach().cpu().double() for each in (start, x, y))
        moved, between = torch.linalg.norm(x - start), torch.linalg.norm(x - y)
        if not between <= share * moved:
            yield f"param {i} {tuple(x.shape)}: {between:.2e} apart, moved by {moved:.2e}"


def copies(params: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [param.detach().clone() for param in params]


def check_matrices() -> None:
    for rule, make in chosen(MULTIPLYING).items():
        for dtype, options in KINDS:
            check_near(rule, make, dtype, options)
    check_same()
    check_habits()
    check_graphs()


def check_near(rule: str, make: Callable[..., Any], dtype: torch.dtype, options: dict[str, Any]) -> None:
    """Beside the fused engine on the CPU, and PyTorch's operations on the GPU."""
    words = "".join(f" {name}={value}" for name, value in options.items())
    for device, engine in (("cpu", "fused"), (DEVICE, "torch")):
        with check("matrices", f"{rule} {str(dtype)[6:]}{words} beside {engine} on {device}") as faults:
            mine = side(make, dtype, DEVICE, engine="fused", **options)
            other = side(make, dtype, device, engine=engine, **options)
            begin, draw = copies(other[0]), torch.Generator().manual_seed(1)
            for step in range(3):
                give(draw, mine[0], other[0], without=step or None)
                mine[1].step(), other[1].step()
            faults += apart(begin, other, mine, closeness(rule, dtype))
            faults += [str(x) for x in mine[1].engines.values() if not x.startswith("fused")]


def check_same() -> None:
    for options in ({}, {"nesterov": False, "momentum": 0.5}, {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 3}):
        for dtype in (torch.float32, torch.float64):
            words = "".join(f" {name}={value}" for name, value in options.items())
            with check("matrices", f"Muon {str(dtype)[6:]}{words} beside torch.optim.Muon") as faults:
                sides = [side(without_empties(made), dtype, DEVICE, **more) for made, more in muons(options)]
                begin, draw = copies(sides[0][0]), torch.Generator().manual_seed(1)
                for _ in range(3):
                    give(draw, *(params for params, _ in sides))
                    for _, optimizer in sides:
                        optimizer.step()
                faults += apart(begin, *sides, closeness("Muon", dtype))


def without_empties(make: Callable[..., Any]) -> Callable[..., Any]:
    """PyTorch's Muon divides by the number of columns."""
    return lambda params, **options: make([param for param in params if param.numel()], **options)


def muons(options: dict[str, Any]) -> Iterator[tuple[Callable[..., Any], dict[str, Any]]]:
    """PyTorch's Muon, and ours."""
    yield torch.optim.Muon, {"lr": 0.02, **options}
    yield mt.Muon, {"lr": 0.02, "engine": "fused", **options}


def check_habits() -> None:
    make = MULTIPLYING["minima's Muon"]
    with check("matrices", "a rate that changes, a stream of its own, steps that are measured") as faults:
        mine, other = (side(make, torch.float32, DEVICE, engine=engine) for engine in ("fused", "torch"))
        begin, draw, stream = copies(other[0]), torch.Generator().manual_seed(1), torch.cuda.Stream()
        for step in range(4):
            give(draw, mine[0], other[0])
            for _, optimizer in (mine, other):
                optimizer.param_groups[0]["lr"] = 0.01 * (step + 1)
            other[1].step(measure=step == 3)
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream if step % 2 else torch.cuda.current_stream()):
                mine[1].step(measure=step == 3)
            torch.cuda.current_stream().wait_stream(stream)
        faults += apart(begin, other, mine, closeness("", torch.float32))
        if abs(mine[1].measures.total.update / other[1].measures.total.update - 1) > 1e-3:
            faults.append(f"measured {mine[1].measures.total}, and not {other[1].measures.total}")
    with check("matrices", "state of the CPU goes on on the GPU") as faults:
        mine, other = side(make, torch.float32, DEVICE, engine="fused"), side(make, torch.float32, "cpu")
        begin, draw = copies(other[0]), torch.Generator().manual_seed(1)
        for step in range(3):
            give(draw, mine[0], other[0])
            if step == 1:
                mine[1].load_state_dict(other[1].state_dict())
            mine[1].step(), other[1].step()
        faults += apart(begin, other, mine, closeness("", torch.float32))
    with check("matrices", "nothing of a step's memory stays behind") as faults:
        mine = side(make, torch.float32, DEVICE, engine="fused")
        give(torch.Generator().manual_seed(1), mine[0])
        mine[1].step()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        mine[1].step()
        if torch.cuda.memory_allocated() > before + 2**16:  # tables of addresses
            faults.append(f"{torch.cuda.memory_allocated() - before} bytes")
    for rule, made in chosen(MULTIPLYING).items():
        with check("matrices", f"{rule}: five steps do not wait for the GPU") as faults:
            params, optimizer = side(made, torch.float32, DEVICE, engine="fused")
            give(torch.Generator().manual_seed(1), params)
            optimizer.step()
            taken = busy_seconds(lambda number, step=optimizer.step: step())
            if taken > 0.1:
                faults.append(f"{taken * 1e3:.2f} ms on the host")


def check_graphs() -> None:
    for rule, make in chosen(MULTIPLYING).items():
        with check("matrices", f"{STEPS} replays of {rule} are as many steps") as faults:
            mine, other = (side(make, torch.float32, DEVICE, engine="fused", capturable=True) for _ in range(2))
            begin, draw = copies(mine[0]), torch.Generator().manual_seed(1)
            give(draw, mine[0], other[0])
            for _ in range(3):
                mine[1].step()
            graph = recorded(other[1].step)
            for _ in range(STEPS):
                give(draw, mine[0], other[0])
                mine[1].step(), graph.replay()
            faults += apart(begin, mine, other, closeness(rule, torch.float32))
            counted = [(optimizer.t, optimizer.steps) for _, optimizer in (mine, other)]
            if counted[0] != counted[1]:
                faults.append(f"counted {counted[1]}, and not {counted[0]}")
    with check("matrices", "steps are left out on the GPU as on the CPU") as faults:
        make = MULTIPLYING["minima's Muon"]
        mine = side(make, torch.float32, DEVICE, engine="fused", on_nonfinite="skip")
        other = side(make, torch.float32, "cpu", on_nonfinite="skip")
        begin, draw = copies(other[0]), torch.Generator().manual_seed(1)
        for step in range(5):
            give(draw, mine[0], other[0])
            if step in (0, 3):
                mine[0][0].grad[0, 0] = other[0][0].grad[0, 0] = torch.inf
            mine[1].step(), other[1].step()
        faults += apart(begin, other, mine, closeness("", torch.float32))
        if (mine[1].skipped, mine[1].t) != (2, 3):
            faults.append(f"{mine[1].skipped} left out, {mine[1].t} taken")


# Time ----------------------------------------------------------------------------------------------------------------

MOVED = 28
"""The bytes that passes move for every parameter around the products."""
TARGETS = {"Muon": ("PyTorch", 0.7), "minima's Muon": ("its products alone", 1.1)}
"""Beside whom the fused engine races, and which share of their time it may take at most."""


class Alone:
    """The products of Muon's iteration in float32, batched, and nothing else."""

    def __init__(self, params: Sequence[torch.Tensor]) -> None:
        shapes = [min(tuple(x.shape), tuple(x.shape)[::-1]) for x in params]
        self._batches: list[tuple[torch.Tensor, ...]] = []
        for rows, columns in dict.fromkeys(shapes):
            many = shapes.count((rows, columns))
            x = torch.randn(many, rows, columns, device=DEVICE) / columns
            self._batches.append((x, torch.empty_like(x), *torch.empty(2, many, rows, rows, device=DEVICE).unbind()))

    def step(self) -> None:
        for x, y, a, b in self._batches:
            for _ in range(ROUNDS):
                torch.bmm(x, x.mT, out=a)
                torch.baddbmm(a, a, a, beta=-4.775, alpha=2.0315, out=b)
                torch.baddbmm(x, b, x, beta=3.4445, out=y)


def racers(rule: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Who steps matrices, and how each is made of them."""
    make, (other, _) = MULTIPLYING[rule], TARGETS[rule]
    yield other, Alone if rule != "Muon" else lambda params: torch.optim.Muon(params, lr=0.02)
    yield "minima, engine=None", make
    yield "minima", lambda params: make(params, engine="fused")
