"""Checks of CUDA graphs that record steps, and of steps that the GPU counts and leaves out by itself."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch
from gpu_checking import Task, check
from gpu_samples import (
    BY_ROWS,
    DEVICE,
    LOSSES,
    MAKERS,
    PASSES,
    RULES,
    Side,
    differences,
    give,
    miscounted,
    pair,
    samples,
    side,
    waits,
)

import minima.torch as mt

__all__ = ["STEPS", "TASKS", "recorded", "refusal"]

STEPS = 100


def recorded(step: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """A graph of a step, after some on another stream, as PyTorch asks for it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


def refusal(step: Callable[[], object], param: torch.Tensor) -> str:
    """What a step of a parameter says while a graph records; nothing if it is recorded."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            assert param.grad is not None
            param.grad.mul_(1.0)  # so that there is something to record
            step()
    except RuntimeError as error:
        return str(error)
    return ""


def twins(rule: str, dtype: torch.dtype) -> list[Side]:
    """Twice the same parameters on the GPU, without gaps, with gradients that stay where they are."""
    draw = torch.Generator().manual_seed(0)
    given = [x for x in samples(dtype, draw) if x.is_contiguous() or (x.dim() > 2 and rule not in BY_ROWS)]
    sides = [side(MAKERS[rule], given, DEVICE, engine="fused", capturable=True) for _ in range(2)]
    give(draw, *(params for params, _ in sides))
    return sides


def apart(one: Side, other: Side) -> Iterator[str]:
    """What differs between two optimizers on the GPU, counts among it."""
    (mine, ours), (its, theirs) = one, other
    yield from differences(mine, its, ours, theirs)
    yield from miscounted(ours, theirs)


def check_replays(rule: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        with check("graphs", f"{STEPS} replays of {rule} are as many steps: {str(dtype)[6:]}") as faults:
            (mine, ours), (its, theirs) = twins(rule, dtype)
            draw = torch.Generator().manual_seed(1)
            for _ in range(3):
                ours.step()
            graph = recorded(theirs.step)
            for _ in range(STEPS):
                give(draw, mine, its, in_place=True)
                ours.step(), graph.replay()
            faults += apart((mine, ours), (its, theirs))
            ours.step(), theirs.step()
            faults += apart((mine, ours), (its, theirs))


def check_losses(rule: str) -> None:
    with check("graphs", f"{rule} reads the loss on the GPU: as on the CPU, and in each replay") as faults:
        draw, cpu, gpu, ours, theirs = pair(rule, torch.float32, capturable=True)
        loss = torch.tensor(1.0, device=DEVICE)
        for step in range(3):
            give(draw, cpu, gpu)
            ours.step(loss=1.0 + step)
            theirs.step(loss=loss.fill_(1.0 + step))
        faults += differences(cpu, gpu, ours, theirs)
        (mine, ours), (its, theirs) = twins(rule, torch.float32)
        for _ in range(3):
            ours.step(loss=loss)
        graph = recorded(lambda: theirs.step(loss=loss))
        for step in range(STEPS):
            give(draw, mine, its, in_place=True)
            loss.fill_(1.0 / (1 + step))
            ours.step(loss=loss), graph.replay()
        faults += apart((mine, ours), (its, theirs))


def check_counts() -> None:
    with check("graphs", "steps that are counted on the GPU have the bits of those of the CPU") as faults:
        draw, cpu, gpu, ours, theirs = pair("AdamW", torch.float32, capturable=True)
        for _ in range(5):
            give(draw, cpu, gpu)
            ours.step(), theirs.step()
        faults += differences(cpu, gpu, ours, theirs)


def check_whole() -> None:
    with check("graphs", "a whole step of training is recorded: forward, backward, update") as faults:
        nets: list[torch.nn.Module] = []
        for is_recorded in (False, True):
            torch.manual_seed(0)
            net = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1)).to(DEVICE)
            inputs = torch.randn(64, 8, generator=torch.Generator().manual_seed(1), device="cpu").to(DEVICE)
            optimizer = mt.AdamW(net.parameters(), lr=1e-2, capturable=True)

            def step(net: Any = net, inputs: Any = inputs, optimizer: Any = optimizer) -> None:
                optimizer.zero_grad()
                (net(inputs) - inputs.sum(1, keepdim=True)).square().mean().backward()
                optimizer.step()

            if is_recorded:
                graph = recorded(step)
                for _ in range(STEPS):
                    graph.replay()
            else:
                for _ in range(3 + STEPS):
                    step()
            if optimizer.t != 3 + STEPS:
                faults.append(f"counted {optimizer.t}")
            nets.append(net)
        for x, y in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)


def check_rates() -> None:
    with check("graphs", "a rate on the GPU is read in each replay, and a graph outlives its optimizer") as faults:
        rate = torch.tensor(0.5, device=DEVICE)
        param = torch.zeros(1000, device=DEVICE, requires_grad=True)
        param.grad = torch.ones_like(param)
        optimizer = mt.SGD([param], lr=rate, capturable=True)
        graph = recorded(optimizer.step)
        rate.fill_(2.0)
        graph.replay()
        del optimizer
        gc.collect()
        torch.cuda.empty_cache()
        filled = [torch.full((1000,), 7.0, device=DEVICE) for _ in range(50)]  # what was free is used again
        graph.replay()
        if bool((param != -5.5).any()) or len(filled) != 50:
            faults.append(str(param[:3]))


def check_refused() -> None:
    with check("graphs", "a step that is new is refused while a graph records") as faults:
        param = torch.zeros(10, device=DEVICE, requires_grad=True)
        optimizer, param.grad = mt.SGD([param], capturable=True), torch.ones_like(param)
        said = refusal(optimizer.step, param)
        if "must be like one that was taken before" not in said:
            faults.append(said or "recorded")


def check_left_out() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        with check("graphs", f"steps are left out on the GPU as on the CPU: {str(dtype)[6:]}") as faults:
            draw, cpu, gpu, ours, theirs = pair("AdamW", dtype, on_nonfinite="skip")
            for step in range(6):
                give(draw, cpu, gpu, scale=float("inf") if step in (0, 3) else 0.01)
                ours.step(), theirs.step()
            faults += differences(cpu, gpu, ours, theirs)
            if (theirs.skipped, theirs.t, {*theirs.steps}) != (2, 4, {4}):
                faults.append(f"{theirs.skipped} left out, {theirs.t} taken, {theirs.steps}")


def check_scaler() -> None:
    with check("graphs", "GradScaler, with and without unscale_, as for PyTorch's operations") as faults:
        for unscale in (False, True):
            found: list[torch.Tensor] = []
            for engine in ("torch", "fused"):
                param = torch.ones(500, device=DEVICE, requires_grad=True)
                optimizer = mt.AdamW([param], lr=0.1, engine=engine)
                scaler = torch.amp.GradScaler(DEVICE, init_scale=2.0**10)
                for step in range(8):
                    scaler.scale((param * (float("inf") if step in (1, 4) else step + 1)).sum()).backward()
                    if unscale:
                        scaler.unscale_(optimizer)
                        torch.nn.utils.clip_grad_norm_([param], 1.0)
                    scaler.step(optimizer)
                    scaler.update()
                    optimizer.zero_grad()
                if optimizer.t != 6 or scaler.get_scale() != 2.0**8:
                    faults.append(f"{engine}: {optimizer.t} steps, scale {scaler.get_scale()}")
                found.append(param.detach())
            torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


WAITS: dict[str, dict[str, Any]] = {
    "on_nonfinite": {"on_nonfinite": "skip"},
    "capturable": {"capturable": True},
    "GradScaler": {},
    "Prodigy": {},
    "MoMo": {},
    "AdamW that clips and averages": {},
}


def check_waits() -> None:
    for what, options in WAITS.items():
        check_waiting(what, options)


def check_waiting(what: str, options: dict[str, Any]) -> None:
    with check("graphs", f"five steps do not wait for the GPU: {what}") as faults:
        params = [torch.randn(100, 100, device=DEVICE, requires_grad=True) for _ in range(30)]
        make = MAKERS.get(what, RULES["AdamW"])
        optimizer, loss = make(params, engine="fused", **options), torch.tensor(1.0, device=DEVICE)
        for param in params:
            param.grad = torch.randn_like(param)
        if what == "GradScaler":
            optimizer.found_inf = torch.zeros((), device=DEVICE)
            optimizer.grad_scale = torch.ones((), device=DEVICE)
        optimizer.step(loss=loss)
        faults += waits(lambda number: optimizer.step(loss=loss))
        if optimizer.t != 6:
            faults.append(f"{optimizer.t} steps")


TASKS = [
    *(Task("graphs", check_replays, rule) for rule in RULES | PASSES),
    *(Task("graphs", check_losses, rule) for rule in LOSSES),
    *(
        Task("graphs", each)
        for each in (check_counts, check_whole, check_rates, check_refused, check_left_out, check_scaler)
    ),
    Task("graphs", check_waits, alone=True),
]
