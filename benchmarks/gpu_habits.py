"""Checks on a GPU of what users do: schedules, groups, streams, other sides; and that steps do not wait for it."""

import gc
from copy import deepcopy
from typing import Any

import torch
from gpu_checking import Task, check
from gpu_graphs import refusal
from gpu_samples import DEVICE, MAKERS, PASSES, RULES, differences, drawn, give, pair, samples, side, waits

import minima.torch as mt

__all__ = ["TASKS"]


def check_rates() -> None:
    with check("habits", "a learning rate that changes") as faults:
        draw, cpu, gpu, ours, theirs = pair("AdamW", torch.float32)
        for step in range(5):
            for optimizer in (ours, theirs):
                optimizer.param_groups[0]["lr"] = 1e-3 * (step + 1)
            give(draw, cpu, gpu)
            ours.step(), theirs.step()
        faults += differences(cpu, gpu, ours, theirs)


def grouped(params: list[torch.Tensor]) -> Any:
    return mt.Adam([{"params": params[::2]}, {"params": params[1::2], "lr": 0.1, "weight_decay": 0.5}])


def check_groups() -> None:
    with check("habits", "groups, and parameters without gradients") as faults:
        draw = torch.Generator().manual_seed(1)
        given = list(samples(torch.float32, draw))
        (cpu, ours), (gpu, theirs) = (side(grouped, given, device) for device in ("cpu", DEVICE))
        for step in range(4):
            give(draw, cpu, gpu)
            for x, y in zip(cpu[step::5], gpu[step::5], strict=True):
                x.grad = y.grad = None
            ours.step(), theirs.step()
        faults += differences(cpu, gpu, ours, theirs)


def check_streams() -> None:
    with check("habits", "steps on two streams by turns") as faults:
        draw, cpu, gpu, ours, theirs = pair("AdamW", torch.float32)
        stream = torch.cuda.Stream()
        for step in range(6):
            give(draw, cpu, gpu)
            ours.step()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream if step % 2 else torch.cuda.current_stream()):
                torch.cuda._sleep(20_000_000)
                theirs.step()
            torch.cuda.current_stream().wait_stream(stream)
        faults += differences(cpu, gpu, ours, theirs)


def check_changed_sides() -> None:
    for dtype, options in ((torch.bfloat16, {}), (torch.float32, {"state_dtype": "int8"})):
        with check("habits", f"state of the CPU goes on on the GPU, and back: {str(dtype)[6:]}") as faults:
            draw, cpu, gpu, ours, theirs = pair("AdamW", dtype, **options)
            for turn in range(2):
                for _ in range(2):
                    give(draw, cpu, gpu)
                    ours.step(), theirs.step()
                mine, its = deepcopy(ours.state_dict()), deepcopy(theirs.state_dict())
                (ours.load_state_dict(its), theirs.load_state_dict(mine)) if turn == 0 else None
            faults += differences(cpu, gpu, ours, theirs)


def check_line() -> None:
    with check("habits", "a hundred steps that wait in line, and an optimizer that is deleted meanwhile") as faults:
        params = [torch.zeros(50_000, device=DEVICE, requires_grad=True) for _ in range(20)]
        optimizer = mt.SGD(params, lr=1.0)
        torch.cuda._sleep(200_000_000)
        for step in range(100):
            optimizer.param_groups[0]["lr"] = float(step % 7)
            for param in params:
                param.grad = torch.full_like(param, -1.0)
            optimizer.step()
        del optimizer
        gc.collect()
        filled = [torch.full((100_000,), 7.0, device=DEVICE) for _ in range(50)]  # what was free is used again
        expected = sum(step % 7 for step in range(100))
        if not all(bool((param == expected).all()) for param in params) or len(filled) != 50:
            faults.append("other numbers")


AFTER: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("SGD", "Adagrad", "RMSprop", "Adam", "AdamW", "Lion", "LAMB"), {"lr": 0.1}),
    "Prodigy": {"d0": 0.01},  # a millionth, its own, moves no one in bfloat16
}
"""Rules that start after torch.set_default_device, with options by which they move each parameter at once."""


def check_default_device() -> None:
    with check("habits", "after torch.set_default_device") as faults:
        for engine in (None, "torch", "fused"):
            for name, options in AFTER.items():
                for dtype in (torch.float32, torch.bfloat16):
                    param = torch.ones(300, dtype=dtype, device=DEVICE, requires_grad=True)
                    far = torch.ones(300, dtype=dtype, requires_grad=True)
                    try:
                        torch.set_default_device(DEVICE)
                        params = [param] if engine == "fused" else [param, far]  # so that the GPU counts too
                        optimizer = getattr(mt, name)(params, engine=engine, **options)
                        param.grad, far.grad = torch.ones_like(param), torch.ones_like(far)
                        optimizer.step()
                        optimizer.load_state_dict(optimizer.state_dict())
                        optimizer.on_nonfinite = "skip"
                        optimizer.step(measure=True)
                    finally:
                        torch.set_default_device(None)
                    if any(bool((x == 1).any()) for x in params):
                        faults.append(f"{name} stood still")


def check_measures() -> None:
    with check("habits", "measures, and gradients that are not finite") as faults:
        draw, cpu, gpu, ours, theirs = pair("Adam", torch.float32)
        ours.engine = theirs.engine = None
        ours.on_nonfinite = theirs.on_nonfinite = "skip"
        for scale in (1.0, float("inf"), 1.0):
            give(draw, cpu, gpu, scale=scale)
            ours.step(measure=True), theirs.step(measure=True)
        total, other = ours.measures.total, theirs.measures.total
        if ours.skipped != 1 or theirs.skipped != 1 or abs(total.update / other.update - 1) > 1e-5:
            faults.append(f"{theirs.skipped} skipped, {total} and {other}")


def check_tensor_rates() -> None:
    with check("habits", "a learning rate that is a tensor on the GPU goes to PyTorch's operations") as faults:
        param = torch.ones(5, device=DEVICE, requires_grad=True)
        optimizer = mt.SGD([param], lr=0.5)
        for lr, engine in ((0.5, "fused"), (torch.tensor(0.25, device=DEVICE), "torch"), (0.25, "fused")):
            optimizer.param_groups[0]["lr"] = lr
            param.grad = torch.ones_like(param)
            optimizer.step()
            if not optimizer.engines[str(param.device)].startswith(engine):
                faults.append(str(optimizer.engines))
        if param.tolist() != [0.0] * 5:
            faults.append(str(param))


def check_scaler() -> None:
    with check("habits", "GradScaler") as faults:
        param = torch.ones(5, device=DEVICE, requires_grad=True)
        optimizer, scaler = mt.SGD([param], lr=0.5), torch.amp.GradScaler(DEVICE, init_scale=8.0)
        for scale in (1.0, float("inf")):
            scaler.scale((param * scale).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        if param.tolist() != [0.5] * 5 or scaler.get_scale() != 4.0:
            faults.append(f"{param}, scale {scaler.get_scale()}")


def check_profiler() -> None:
    with check("habits", "a profiler sees the name of the rule") as faults:
        param = torch.ones(5000, device=DEVICE, requires_grad=True)
        optimizer, param.grad = mt.AdamW([param]), torch.ones_like(param)
        optimizer.step()
        with torch.profiler.profile() as profile:
            optimizer.step()
            torch.cuda.synchronize()
        names = [event.key for event in profile.key_averages()]
        if "minima_AdamW" not in names:
            faults.append(str(names))


def check_refused_graph() -> None:
    with check("habits", "a step is not captured into a graph") as faults:
        for engine in (None, "torch"):
            param = torch.ones(5, device=DEVICE, requires_grad=True)
            optimizer, param.grad = mt.SGD([param], lr=0.5, engine=engine), torch.ones_like(param)
            optimizer.step()
            said = refusal(optimizer.step, param)
            if "cannot be captured" not in said or param.tolist() != [0.5] * 5:
                faults.append(said or "captured")


def check_checkpoints() -> None:
    for name, options in (("Adam", {"amsgrad": True}), ("AdamW", {}), ("SGD", {"momentum": 0.9}), ("Adagrad", {})):
        with check("habits", f"a checkpoint of PyTorch's fused {name} goes on, and back"):
            draw = torch.Generator().manual_seed(2)
            mine = [drawn(shape, torch.float32, draw).to(DEVICE).requires_grad_() for shape in ((30, 7), (5,))]
            other = [x.detach().clone().requires_grad_() for x in mine]
            ours = getattr(mt, name)(mine, lr=0.1, **options)
            theirs = getattr(torch.optim, name)(other, lr=0.1, fused=name != "Adagrad", **options)
            for turn in range(3):
                for x, y in zip(mine, other, strict=True):
                    x.grad = drawn(x.shape, x.dtype, draw).to(DEVICE)
                    y.grad = x.grad.clone()
                if turn == 1:
                    ours.load_state_dict(theirs.state_dict())
                    for x, y in zip(mine, other, strict=True):
                        x.data.copy_(y)
                if turn == 2:
                    theirs.load_state_dict(deepcopy(ours.state_dict()))  # which would share its tensors
                if turn:
                    ours.step()
                theirs.step()
            for x, y in zip(mine, other, strict=True):
                torch.testing.assert_close(x, y, rtol=2e-5, atol=2e-6)


def check_sync(rule: str) -> None:
    with check("sync", f"{rule}: five steps do not wait for the GPU") as faults:
        params = [torch.randn(100, 100, device=DEVICE, requires_grad=True) for _ in range(30)]
        optimizer = MAKERS[rule](params, engine="fused")
        for param in params:
            param.grad = torch.randn_like(param)
        optimizer.step()

        def step(number: int) -> None:
            optimizer.param_groups[0]["lr"] = 1e-3 * (number + 1)
            for param in params:
                param.grad = torch.clone(param.grad)
            optimizer.step()

        faults += waits(step)


HABITS = (
    check_rates,
    check_groups,
    check_streams,
    check_changed_sides,
    check_line,
    check_default_device,
    check_measures,
    check_tensor_rates,
    check_scaler,
    check_profiler,
    check_refused_graph,
    check_checkpoints,
)
TASKS = [
    *(Task("habits", each) for each in HABITS),
    *(Task("sync", check_sync, rule, alone=True) for rule in RULES | PASSES),
]
