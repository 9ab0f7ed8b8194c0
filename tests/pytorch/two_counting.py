"""Steps that two processes count on their GPUs, for test_torch_distributed_counts.py: run as `two_processes.py` is.

The GPUs are pretended, in the memory of the processes; in between, both speak by gloo.
"""

import contextlib

import pytest
import torch
import torch.distributed as dist
from interpreted import pretend_counting
from torch import nn
from two_processes import groups, network, run, sharded, values

from minima.torch import SGD, Adam, AdamW

WILD = {1: 1, 3: 0, 4: 1}
"""The steps of which a process has a gradient that is not finite: in a shard of its own."""
COUNTED = {
    "SGD": (SGD, {"lr": 0.1, "momentum": 0.9}),
    "AdamW": (AdamW, {"lr": 0.05, "weight_decay": 0.1}),
    "Adam, bfloat16 state": (Adam, {"lr": 0.05, "state_dtype": "bfloat16"}),
}


def counted(model, optimizer, x, y, scaler=None):
    """Steps of which some are to be left out, each for what one of the processes finds; how many were, and counts."""
    for step in range(7):
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        (loss if scaler is None else scaler.scale(loss)).backward()
        if WILD.get(step) == dist.get_rank():
            next(p for p in reversed([*model.parameters()]) if p.to_local().numel()).grad.to_local()[-1] = torch.inf
        if scaler is None:
            wild = step == 5 and dist.get_rank() == 0
            optimizer.step(loss=loss.detach() * torch.nan if wild else 1.0)
        else:
            scaler.step(optimizer)
            scaler.update()
    scale = None if scaler is None else scaler.get_scale()
    return optimizer.skipped, optimizer.t, optimizer.steps, scale, optimizer._held.host.counts.device is not None


@contextlib.contextmanager
def on_gpu(is_there):
    """CPU tensors are stepped and counted as those of a GPU."""
    with pytest.MonkeyPatch.context() as patched:
        if is_there:
            pretend_counting(patched)
        yield


def with_fsdp_and_steps_left_out(x, y):
    """On the host, and as a GPU counts: what the parameters are, and what was counted."""
    found = {}
    for name, (cls, options) in COUNTED.items():
        for is_there in (False, True):
            with on_gpu(is_there):
                model = sharded(network())
                optimizer = cls(groups(model), engine="fused", on_nonfinite="skip", **options)
                found[name, is_there] = counted(model, optimizer, x, y), values(model)
    return found


def with_fsdp_and_a_scaler(x, y):
    found = {}
    for is_there in (False, True):
        with on_gpu(is_there):
            model = sharded(network())
            optimizer = AdamW(groups(model), lr=0.05, engine="fused")
            scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
            found[is_there] = counted(model, optimizer, x, y, scaler), values(model)
    return found


def with_flattened_parameters_and_a_scaler(x, y):
    """Which asks all processes only where the host decides."""
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

    with on_gpu(True):
        model = FullyShardedDataParallel(network(), device_id=torch.device("cpu"))
        optimizer, scaler = SGD(model.parameters(), lr=0.1, engine="fused"), ShardedGradScaler("cpu", init_scale=4.0)
        for step in range(3):
            optimizer.zero_grad()
            scaler.scale(((model(x) - y) ** 2).mean()).backward()
            if step == 1 and dist.get_rank() == 1:
                next(model.parameters()).grad[-1] = torch.inf
            scaler.step(optimizer)
            scaler.update()
        return optimizer.t, optimizer.steps, scaler.get_scale()


def with_a_scaler_that_asks_along_the_first_parameter(x, y):
    """What is replicated tells PyTorch to ask no other process; the shards of the second parameter are not finite."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Replicate, Shard

    mesh = init_device_mesh("cpu", (2,))
    with on_gpu(True):
        kinds = (Replicate(), Shard(0))
        params = [nn.Parameter(DTensor.from_local(torch.ones(3), mesh, [kind])) for kind in kinds]
        optimizer = SGD(params, lr=0.25, engine="fused")
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        for step in range(3):
            scaler.scale(torch.ones(()))
            for param, kind in zip(params, kinds, strict=True):
                wild = step == 1 and kind.is_shard() and dist.get_rank() == 1
                grad = torch.full((3,), torch.inf if wild else scaler.get_scale())
                param.grad = DTensor.from_local(grad, mesh, [kind])
            scaler.step(optimizer)
            scaler.update()
        for param in params if dist.get_rank() == 0 else ():  # who has no gradient is still asked
            param.grad = None
        scaler.step(optimizer)
        return [param.to_local().tolist() for param in params], optimizer.t, optimizer.skipped, optimizer.steps


def with_unreduced_gradients_and_steps_left_out(x, y):
    """Their sum counts: it may be too large though its parts are not."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate

    mesh, found = init_device_mesh("cpu", (2,)), []
    for is_there in (False, True):
        with on_gpu(is_there):
            param = nn.Parameter(DTensor.from_local(torch.ones(3), mesh, [Replicate()]))
            optimizer = SGD([param], lr=0.25, engine="fused", on_nonfinite="skip")
            for value in (1.0, torch.inf if dist.get_rank() else 1.0, 3e38, 1.0):
                param.grad = DTensor.from_local(torch.full((3,), value), mesh, [Partial()])
                optimizer.step()
            found.append((param.to_local().tolist(), optimizer.skipped, optimizer.t, optimizer.steps))
    return found


PARTS = {
    "left out": with_fsdp_and_steps_left_out,
    "scaled": with_fsdp_and_a_scaler,
    "scaled, flattened": with_flattened_parameters_and_a_scaler,
    "scaled, replicated": with_a_scaler_that_asks_along_the_first_parameter,
    "unreduced": with_unreduced_gradients_and_steps_left_out,
}

if __name__ == "__main__":
    run(PARTS)
