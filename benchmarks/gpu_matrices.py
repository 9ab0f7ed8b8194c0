"""Checks on a GPU of rules that multiply matrices between two kernels of the fused engine, and whom they race."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from gpu_checking import Task, check
from gpu_graphs import STEPS, recorded
from gpu_samples import DEVICE, Side, drawn, give, miscounted, side, waits

import minima.torch as mt
from minima import optim
from minima.optim import Optimizer, hyper, maximum, norm

__all__ = ["MOVED", "TARGETS", "TASKS", "racers"]

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


OWN = "minima's Muon"
MULTIPLYING: dict[str, Callable[..., Any]] = {
    "Muon": lambda params, **more: mt.Muon(params, lr=0.02, **more),
    OWN: lambda params, **more: mt.adapt(optim.Muon)(params, lr=0.02, **more),
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


def closeness(rule: str, dtype: torch.dtype) -> float:
    """How far two steps may be apart, as a share of one: products are added up in other orders.

    Under PyTorch's name products are in bfloat16; and parameters in half precision are rounded to one side or another.
    """
    if dtype.itemsize == 2:
        return 0.15
    if rule == "Muon":
        return 0.03
    return 1e-9 if dtype == torch.float64 else 1e-3


def matrices(dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [drawn(shape, dtype, draw) for shape in SHAPES]


def apart(begin: Sequence[torch.Tensor], one: Side, other: Side, share: float) -> Iterator[str]:
    """The parameters in which two sides are further apart than a share of what they moved."""
    for i, (start, x, y) in enumerate(zip(begin, one[0], other[0], strict=True)):
        start, x, y = (each.detach().cpu().double() for each in (start, x, y))
        moved, between = torch.linalg.norm(x - start), torch.linalg.norm(x - y)
        if not between <= share * moved:
            yield f"param {i} {tuple(x.shape)}: {between:.2e} apart, moved by {moved:.2e}"


def check_near(rule: str) -> None:
    for dtype, options in KINDS:
        check_kind(rule, dtype, options)


def check_kind(rule: str, dtype: torch.dtype, options: dict[str, Any]) -> None:
    """Beside the fused engine on the CPU, and PyTorch's operations on the GPU."""
    make, words = MULTIPLYING[rule], "".join(f" {name}={value}" for name, value in options.items())
    for device, engine in (("cpu", "fused"), (DEVICE, "torch")):
        with check("matrices", f"{rule} {str(dtype)[6:]}{words} beside {engine} on {device}") as faults:
            begin, draw = matrices(dtype), torch.Generator().manual_seed(1)
            mine = side(make, begin, DEVICE, engine="fused", **options)
            other = side(make, begin, device, engine=engine, **options)
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
                begin, draw = matrices(dtype), torch.Generator().manual_seed(1)
                sides = [side(without_empties(made), begin, DEVICE, **more) for made, more in muons(options)]
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


def check_streams() -> None:
    with check("matrices", "a rate that changes, a stream of its own, steps that are measured") as faults:
        begin, draw, stream = matrices(), torch.Generator().manual_seed(1), torch.cuda.Stream()
        mine, other = (side(MULTIPLYING[OWN], begin, DEVICE, engine=engine) for engine in ("fused", "torch"))
        for step in range(4):
            give(draw, mine[0], other[0])
            for _, optimizer in (mine, other):
                optimizer.param_groups[0]["lr"] = 0.01 * (step + 1)
            other[1].step(measure=step == 3)
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream if step % 2 else torch.cuda.current_stream()):
                mine[1].step(measure=step == 3)
            torch.cuda.current_stream().wait_stream(stream)
        faults += apart(begin, other, mine, closeness(OWN, torch.float32))
        if abs(mine[1].measures.total.update / other[1].measures.total.update - 1) > 1e-3:
            faults.append(f"measured {mine[1].measures.total}, and not {other[1].measures.total}")


def check_changed_sides() -> None:
    with check("matrices", "state of the CPU goes on on the GPU") as faults:
        begin, draw = matrices(), torch.Generator().manual_seed(1)
        mine = side(MULTIPLYING[OWN], begin, DEVICE, engine="fused")
        other = side(MULTIPLYING[OWN], begin, "cpu")
        for step in range(3):
            give(draw, mine[0], other[0])
            if step == 1:
                mine[1].load_state_dict(other[1].state_dict())
            mine[1].step(), other[1].step()
        faults += apart(begin, other, mine, closeness(OWN, torch.float32))


def check_memory() -> None:
    with check("matrices", "nothing of a step's memory stays behind") as faults:
        params, optimizer = side(MULTIPLYING[OWN], matrices(), DEVICE, engine="fused")
        give(torch.Generator().manual_seed(1), params)
        optimizer.step()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        optimizer.step()
        if torch.cuda.memory_allocated() > before + 2**16:  # tables of addresses
            faults.append(f"{torch.cuda.memory_allocated() - before} bytes")


def check_left_out() -> None:
    with check("matrices", "steps are left out on the GPU as on the CPU") as faults:
        begin, draw = matrices(), torch.Generator().manual_seed(1)
        mine = side(MULTIPLYING[OWN], begin, DEVICE, engine="fused", on_nonfinite="skip")
        other = side(MULTIPLYING[OWN], begin, "cpu", on_nonfinite="skip")
        for step in range(5):
            give(draw, mine[0], other[0])
            if step in (0, 3):
                for params, _ in (mine, other):
                    params[0].grad[0, 0] = torch.inf
            mine[1].step(), other[1].step()
        faults += apart(begin, other, mine, closeness(OWN, torch.float32))
        if (mine[1].skipped, mine[1].t) != (2, 3):
            faults.append(f"{mine[1].skipped} left out, {mine[1].t} taken")


def check_replays(rule: str) -> None:
    with check("matrices", f"{STEPS} replays of {rule} are as many steps") as faults:
        begin, draw = matrices(), torch.Generator().manual_seed(1)
        mine, other = (side(MULTIPLYING[rule], begin, DEVICE, engine="fused", capturable=True) for _ in range(2))
        give(draw, mine[0], other[0])
        for _ in range(3):
            mine[1].step()
        graph = recorded(other[1].step)
        for _ in range(STEPS):
            give(draw, mine[0], other[0], in_place=True)
            mine[1].step(), graph.replay()
        faults += apart(begin, mine, other, closeness(rule, torch.float32))
        faults += miscounted(mine[1], other[1])


def check_waits(rule: str) -> None:
    with check("matrices", f"{rule}: steps do not wait for the GPU") as faults:
        params, optimizer = side(MULTIPLYING[rule], matrices(), DEVICE, engine="fused")
        give(torch.Generator().manual_seed(1), params)
        optimizer.step()
        # Five would be more than the 1,024 launches or so that the driver takes in advance, before it waits itself.
        faults += waits(lambda number: optimizer.step(), many=2)


TASKS = [
    *(Task("matrices", each, rule) for rule in MULTIPLYING for each in (check_near, check_replays)),
    *(
        Task("matrices", each)
        for each in (check_same, check_streams, check_changed_sides, check_memory, check_left_out)
    ),
    *(Task("matrices", check_waits, rule, alone=True) for rule in MULTIPLYING),
]


# Time ----------------------------------------------------------------------------------------------------------------

MOVED = 28
"""The bytes that passes move for every parameter around the products."""
TARGETS = {"Muon": ("PyTorch", 0.7), OWN: ("its products alone", 1.1)}
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
    yield "minima", lambda params: make(params, engine="fused")
