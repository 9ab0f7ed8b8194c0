"""Checks of steps over two GPUs: in one process, and of shards in two processes, one on each."""

import math
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from gpu_checking import Task, check
from gpu_samples import MAKERS, busy_seconds, differences, drawn, give, miscounted, samples, side, waits

import minima.torch as mt

__all__ = ["TASKS"]

DEVICES = "cuda:0", "cuda:1"
WILD: dict[int, tuple[int, ...]] = {1: (1,), 2: (0,), 5: (0, 1)}
"""In which steps on which GPUs gradients are not finite."""


def both(rule: str, dtype: torch.dtype, **options: Any) -> tuple[Any, ...]:
    """The generator, and parameters with their optimizer on the CPU, and by turns on two GPUs."""
    draw = torch.Generator().manual_seed(0)
    given = list(samples(dtype, draw))
    (cpu, ours), (far, theirs) = (
        side(MAKERS[rule], given, *devices, engine="fused", **options) for devices in (("cpu",), DEVICES)
    )
    return draw, cpu, far, ours, theirs


def check_bits() -> None:
    for rule in ("AdamW", "SGD"):
        for dtype in (torch.float32, torch.bfloat16):
            with check("several", f"{rule} {str(dtype)[6:]} on two GPUs has the bits of the CPU") as faults:
                draw, cpu, far, ours, theirs = both(rule, dtype)
                for step in range(4):
                    give(draw, cpu, far)
                    for x, y in zip(cpu[step::5], far[step::5], strict=True):
                        x.grad = y.grad = None
                    ours.step(measure=step == 3), theirs.step(measure=step == 3)
                faults += differences(cpu, far, ours, theirs)
                if repr(ours.measures.total) != repr(theirs.measures.total):
                    faults.append(f"measured {theirs.measures.total}, and not {ours.measures.total}")
    for engine in ("fused", "torch"):
        with check("several", f"a clipped step is that of the CPU: engine={engine}"):
            draw, cpu, far, ours, theirs = both("AdamW that clips and averages", torch.float32)
            theirs.engine = engine
            for _ in range(3):
                give(draw, cpu, far)
                ours.step(), theirs.step()
            for x, y in zip(cpu, far, strict=True):
                torch.testing.assert_close(x, y.cpu(), rtol=2e-5, atol=2e-6)


def check_left_out() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        what = f"a gradient on one GPU that is not finite leaves the step out on both: {str(dtype)[6:]}"
        with check("several", what) as faults:
            draw, cpu, far, ours, theirs = both("AdamW", dtype, on_nonfinite="skip")
            for step in range(7):
                give(draw, cpu, far)
                for i in WILD.get(step, ()):
                    cpu[4 + i].grad.view(-1)[-1] = math.inf
                    far[4 + i].grad.view(-1)[-1] = math.inf
                if step == 3:  # none on the first
                    for x, y in zip(cpu[::2], far[::2], strict=True):
                        x.grad = y.grad = None
                ours.step(), theirs.step()
            faults += differences(cpu, far, ours, theirs)
            faults += miscounted(ours, theirs)
            if (ours.t, ours.skipped) != (4, 3):
                faults.append(f"{ours.t} taken, {ours.skipped} left out")
            if {kept["step"].device for kept in theirs.state.values()} != {*map(torch.device, DEVICES)}:
                faults.append("the GPUs do not count")


def check_scaler() -> None:
    for last in (0, 1):
        with check("several", f"GradScaler with a loss on GPU {last}, as for PyTorch's operations") as faults:
            found: list[list[torch.Tensor]] = []
            for engine in ("torch", "fused"):
                params = [torch.ones(500, device=device).requires_grad_() for device in DEVICES]
                optimizer = mt.AdamW(params, lr=0.1, engine=engine)
                scaler = torch.amp.GradScaler("cuda", init_scale=2.0**10)
                for step in range(7):
                    scales = [math.inf if i in WILD.get(step, ()) else step + 1.0 for i in range(2)]
                    terms = [(x * scale).sum().to(DEVICES[last]) for x, scale in zip(params, scales, strict=True)]
                    scaler.scale(terms[0] + terms[1]).backward()
                    scaler.step(optimizer)
                    scaler.update()
                    optimizer.zero_grad()
                if optimizer.t != 4 or scaler.get_scale() != 2.0**7:
                    faults.append(f"{engine}: {optimizer.t} steps, scale {scaler.get_scale()}")
                found.append([x.detach() for x in params])
            for x, y in zip(*found, strict=True):
                torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)


def check_habits() -> None:
    with check("several", "steps on another stream of the second GPU") as faults:
        draw, cpu, far, ours, theirs = both("AdamW", torch.float32, on_nonfinite="skip")
        stream = torch.cuda.Stream(DEVICES[1])
        for step in range(6):
            give(draw, cpu, far)
            ours.step()
            with torch.cuda.device(DEVICES[1]):
                main = torch.cuda.current_stream()
                stream.wait_stream(main)
                with torch.cuda.stream(stream if step % 2 else main):
                    torch.cuda._sleep(20_000_000)
                    theirs.step()
                main.wait_stream(stream)
        faults += differences(cpu, far, ours, theirs)
    with check("several", "a rate that is a tensor on the other GPU, for each engine") as faults:
        for engine in ("fused", "torch"):
            rate = torch.tensor(0.25, device=DEVICES[1])
            params = [torch.ones(9, device=device).requires_grad_() for device in DEVICES]
            optimizer = mt.SGD(params, lr=rate, engine=engine, on_nonfinite="skip")
            for value in (0.25, 0.5):
                rate.fill_(value)
                for param in params:
                    param.grad = torch.ones_like(param)
                optimizer.step()
            if [x.tolist() for x in params] != [[0.25] * 9] * 2:
                faults.append(f"{engine}: {params}")
    with check("several", "capturable=True is refused") as faults:
        said = ""
        try:
            mt.SGD([torch.ones(9, device=device).requires_grad_() for device in DEVICES], capturable=True)
        except ValueError as error:
            said = str(error)
        if "on several GPUs, and a graph records one" not in said:
            faults.append(said or "taken")


def check_waits() -> None:
    for name in ("no option", "on_nonfinite", "GradScaler"):
        with check("several", f"five steps wait for none of the GPUs: {name}") as faults:
            params = [torch.randn(100, 100, device=DEVICES[i % 2]).requires_grad_() for i in range(30)]
            more = {"on_nonfinite": "skip"} if name == "on_nonfinite" else {}
            optimizer: Any = mt.AdamW(params, engine="fused", **more)
            for param in params:
                param.grad = torch.randn_like(param)
            if name == "GradScaler":
                optimizer.found_inf = torch.zeros((), device=DEVICES[1])
                optimizer.grad_scale = torch.ones((), device=DEVICES[1])
            optimizer.step()
            faults += waits(lambda number, step=optimizer.step: step())
            if optimizer.t != 6:
                faults.append(f"{optimizer.t} steps")


# Shards --------------------------------------------------------------------------------------------------------------


def check_shards(backend: str = "nccl", devices: Sequence[str] = DEVICES) -> None:
    """Two processes hold shards, each on its device."""
    with check("several", "shards in two processes: both leave out the same steps, and wait for no GPU") as faults:
        with tempfile.TemporaryDirectory() as folder:
            torch.multiprocessing.spawn(train_shards, (Path(folder), backend, tuple(devices)), nprocs=2)
            found = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
        for rank, told in enumerate(found):
            by_host, by_device = told["torch"], told["fused"]
            if by_host[0] != by_device[0] or by_device[0] != [4, 3, [4] * 4]:
                faults.append(f"process {rank}: counted {by_device[0]}, and not {by_host[0]}")
            for x, y in zip(by_host[1], by_device[1], strict=True):
                torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)
            if told["taken"] > 0.1:
                faults.append(f"process {rank}: {told['taken'] * 1e3:.2f} ms on the host")


def train_shards(rank: int, folder: Path, backend: str, devices: tuple[str, ...]) -> None:
    """What one of the processes does; it leaves in the folder what it has found."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    device = torch.device(devices[rank])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group(backend, init_method=f"file://{folder}/store", rank=rank, world_size=2)
    mesh = init_device_mesh(device.type, (2,))
    told: dict[str, Any] = {"taken": 0.0}
    for engine in ("torch", "fused"):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Tanh(), torch.nn.Linear(6, 2)).to(device)
        fully_shard(net, mesh=mesh)
        optimizer = mt.AdamW(net.parameters(), lr=0.05, engine=engine, on_nonfinite="skip")
        draw = torch.Generator().manual_seed(rank)
        for step in range(7):
            optimizer.zero_grad()
            net(drawn((16, 6), torch.float32, draw).to(device)).square().mean().backward()
            if rank in WILD.get(step, ()):
                next(net.parameters()).grad.to_local().view(-1)[-1] = math.inf
            optimizer.step()
        told[engine] = (
            [optimizer.t, optimizer.skipped, list(optimizer.steps)],
            [x.full_tensor().detach().cpu() for x in net.parameters()],
        )
        if engine == "fused" and device.type == "cuda":
            told["taken"] = busy_seconds(lambda number, step=optimizer.step: step())
    torch.save(told, folder / f"{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


TASKS = [
    Task("several", each, alone=True)
    for each in (check_bits, check_left_out, check_scaler, check_habits, check_waits, check_shards)
]
