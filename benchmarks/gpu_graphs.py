"""Checks of CUDA graphs that record steps, and of steps that the GPU counts and leaves out by itself."""

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from gpu_checking import DEVICE, PASSES, RULES, busy_seconds, check, differences, drawn, give, pair, samples, twin

import minima.torch as mt

__all__ = ["check_graphs"]

STEPS = 100


def recorded(step: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """A graph of a step, after some on another stream, as PyTorch asks for it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


def twins(make: Callable[..., Any], dtype: torch.dtype, **options: Any) -> list[tuple[list[Any], Any]]:
    """Twice the same parameters on the GPU, without gaps, with gradients that stay where they are."""
    draw = torch.Generator().manual_seed(0)
    given = [x for x in samples(dtype, draw) if x.is_contiguous() or x.dim() > 2]
    found: list[tuple[list[Any], Any]] = []
    for _ in range(2):
        params = [twin(x, DEVICE) for x in given]
        for param in params:
            param.grad = torch.zeros_like(param)
        found.append((params, make(params, **options)))
    return found


def fill(draw: torch.Generator, *sides: Sequence[Any], scale: float = 0.01) -> None:
    """The same gradients in the gradients of both sides."""
    for pair_of in zip(*sides, strict=True):
        grad = drawn(pair_of[0].shape, pair_of[0].dtype, draw) * scale
        for param in pair_of:
            param.grad.copy_(grad)


def apart(one: tuple[list[Any], Any], other: tuple[list[Any], Any]) -> Iterator[str]:
    """What differs between two optimizers on the GPU, counts among it."""
    (mine, ours), (its, theirs) = one, other
    yield from differences(mine, its, ours, theirs)
    counted = [(each.t, each.skipped, each.steps) for each in (ours, theirs)]
    if counted[0] != counted[1]:
        yield f"counted {counted[1]}, and not {counted[0]}"


def check_graphs() -> None:
    for name, make in {**RULES, **PASSES}.items():
        for dtype in (torch.float32, torch.bfloat16):
            if name == "Adafactor" and dtype == torch.bfloat16:
                continue
            with check("graphs", f"{STEPS} replays of {name} are as many steps: {str(dtype)[6:]}") as faults:
                (mine, ours), (its, theirs) = twins(make, dtype, engine="fused", capturable=True)
                draw = torch.Generator().manual_seed(1)
                for _ in range(3):
                    ours.step()
                graph = recorded(theirs.step)
                for _ in range(STEPS):
                    fill(draw, mine, its)
                    ours.step(), graph.replay()
                faults += apart((mine, ours), (its, theirs))
                ours.step(), theirs.step()
                faults += apart((mine, ours), (its, theirs))
    with check("graphs", "steps that are counted on the GPU have the bits of those of the CPU") as faults:
        draw, cpu, gpu, ours, theirs = pair(RULES["AdamW"], torch.float32, capturable=True)
        for _ in range(5):
            give(draw, cpu, gpu)
            ours.step(), theirs.step()
        faults += differences(cpu, gpu, ours, theirs)
    check_whole()
    check_rates()
    check_losses()
    check_left_out()
    check_waits()


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
    with check("graphs", "a step that is new is refused while a graph records") as faults:
        param = torch.zeros(10, device=DEVICE, requires_grad=True)
        optimizer, param.grad = mt.SGD([param], capturable=True), torch.ones_like(param)
        said, graph = "", torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                param.grad.mul_(1.0)
                optimizer.step()
        except RuntimeError as error:
            said = str(error)
        if "must be like one that was taken before" not in said:
            faults.append(said or "recorded")


LOSSES: dict[str, Callable[..., Any]] = {
    "PolyakSGD": lambda params, **more: mt.PolyakSGD(params, **more),
    "MoMo": lambda params, **more: mt.MoMo(params, **more),
    "MoMoAdam": lambda params, **more: mt.MoMoAdam(params, lr=0.01, **more),
}
"""Rules that compute with the loss."""


def check_losses() -> None:
    for name, make in LOSSES.items():
        with check("graphs", f"{name} reads the loss on the GPU: as on the CPU, and in each replay") as faults:
            draw, cpu, gpu, ours, theirs = pair(make, torch.float32, engine="fused", capturable=True)
            loss = torch.tensor(1.0, device=DEVICE)
            for step in range(3):
                give(draw, cpu, gpu)
                ours.step(loss=1.0 + step)
                theirs.step(loss=loss.fill_(1.0 + step))
            faults += differences(cpu, gpu, ours, theirs)
            (mine, ours), (its, theirs) = twins(make, torch.float32, engine="fused", capturable=True)
            for _ in range(3):
                ours.step(loss=loss)
            graph = recorded(lambda step=theirs.step, loss=loss: step(loss=loss))
            for step in range(STEPS):
                fill(draw, mine, its)
                loss.fill_(1.0 / (1 + step))
                ours.step(loss=loss), graph.replay()
            faults += apart((mine, ours), (its, theirs))


def check_left_out() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        with check("graphs", f"steps are left out on the GPU as on the CPU: {str(dtype)[6:]}") as faults:
            draw, cpu, gpu, ours, theirs = pair(RULES["AdamW"], dtype, on_nonfinite="skip")
            for step in range(6):
                give(draw, cpu, gpu, float("inf") if step in (0, 3) else 0.01)
                ours.step(), theirs.step()
            faults += differences(cpu, gpu, ours, theirs)
            if (theirs.skipped, theirs.t, {*theirs.steps}) != (2, 4, {4}):
                faults.append(f"{theirs.skipped} left out, {theirs.t} taken, {theirs.steps}")
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
    for name, options in WAITS.items():
        with check("graphs", f"five steps do not wait for the GPU: {name}") as faults:
            params = [torch.randn(100, 100, device=DEVICE, requires_grad=True) for _ in range(30)]
            make = LOSSES.get(name) or PASSES.get(name) or RULES["AdamW"]
            optimizer, loss = make(params, engine="fused", **options), torch.tensor(1.0, device=DEVICE)
            for param in params:
                param.grad = torch.randn_like(param)
            if name == "GradScaler":
                optimizer.found_inf = torch.zeros((), device=DEVICE)
                optimizer.grad_scale = torch.ones((), device=DEVICE)
            optimizer.step(loss=loss)
            taken = busy_seconds(lambda number, step=optimizer.step, loss=loss: step(loss=loss))
            if taken > 0.1 or optimizer.t != 6:
                faults.append(f"{taken * 1e3:.2f} ms on the host, {optimizer.t} steps")
