"""What two processes train together, for test_torch_distributed.py: run as a script, it is one of the two.

    python two_processes.py RANK FOLDER

They meet over a file in FOLDER, and each leaves there what it found: ``0.pt`` and ``1.pt``.
"""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from minima import optim
from minima.optim import Optimizer, PerTensor, abs, hyper, max, maximum, mean, sign, sum
from minima.torch import (
    LAMB,
    LBFGS,
    SGD,
    Adam,
    AdamW,
    Lookahead,
    MoMo,
    MoMoAdam,
    NovoGrad,
    PolyakSGD,
    Prodigy,
    RMSprop,
    ScheduleFreeSGD,
    adapt,
)

STEPS = 4


class Lion(Optimizer):
    """A user's rule."""

    lr: float = hyper(1e-2, low=0)
    beta: float = hyper(0.9, low=0, below=1)

    @staticmethod
    def update(param, grad, exp_avg, *, lr, beta):
        exp_avg = beta * exp_avg + (1 - beta) * grad
        return param - lr * sign(exp_avg), exp_avg


class Peaks(Optimizer):
    """A rule of maxima, means and sums."""

    lr: float = hyper(1e-2, low=0)

    @staticmethod
    def update(param, grad, largest: PerTensor, *, lr):
        largest = maximum(0.5 * largest, max(abs(grad)))
        return param - lr * (grad - mean(grad)) / (largest + abs(sum(grad))), largest


OPTIMIZERS = {
    "Adam": (Adam, {"lr": 0.05, "weight_decay": 0.1}),
    "Adam, bfloat16 state": (Adam, {"lr": 0.05, "state_dtype": "bfloat16"}),
    "SGD": (SGD, {"lr": 0.1, "momentum": 0.9, "decay": "l2", "weight_decay": 0.1}),
    "RMSprop, reference": (RMSprop, {"lr": 0.02, "engine": "reference"}),
    "RMSprop, torch": (RMSprop, {"lr": 0.02, "engine": "torch"}),
    "own rule": (adapt(Lion), {"lr": 0.01, "weight_decay": 0.1}),
}
"""What is run in every way of distribution."""
FURTHER = {
    "LAMB": (LAMB, {"lr": 0.05, "weight_decay": 0.1}),
    "NovoGrad": (NovoGrad, {"lr": 0.05, "weight_decay": 0.1}),
    "cautious": (AdamW, {"lr": 0.05, "cautious": True}),
    "LAMB, bfloat16 state": (LAMB, {"lr": 0.05, "state_dtype": "bfloat16"}),
    "peaks": (adapt(Peaks), {"lr": 0.05}),
    "Adafactor": (adapt(optim.Adafactor), {"lr": 0.05}),
    "SM3": (adapt(optim.SM3), {"lr": 0.05}),
    "CAME": (adapt(optim.CAME), {"lr": 0.05}),
    "Muon": (adapt(optim.Muon), {"lr": 0.05, "weight_decay": 0.1}),
    "Shampoo": (adapt(optim.Shampoo), {"lr": 0.05, "eps": 0.1, "interval": 2}),
    "Adafactor, bfloat16 state": (adapt(optim.Adafactor), {"lr": 0.02, "state_dtype": "bfloat16"}),
}
"""What looks at whole parameters: norms and means, of which processes that hold shards have parts."""
TOTALS = {
    "Prodigy": (Prodigy, {"d0": 1e-3}),
    "MoMo": (MoMo, {"lr": 0.5, "weight_decay": 0.01}),
    "MoMoAdam": (MoMoAdam, {"lr": 0.3}),
    "PolyakSGD": (PolyakSGD, {"lr": 0.5}),
    "clipped": (SGD, {"lr": 0.1, "momentum": 0.9, "max_norm": 0.2}),
    "LAMB, clipped": (LAMB, {"lr": 0.05, "max_norm": 0.2}),
}
"""What looks at all parameters together."""
ESTIMATES = {
    "SophiaG": (adapt(optim.SophiaG), {"lr": 0.5, "rho": 0.1, "beta2": 0.5, "batch_size": 8.0}),
    "SophiaG, bfloat16 state": (adapt(optim.SophiaG), {"lr": 0.02, "rho": 0.1, "state_dtype": "bfloat16"}),
}
"""What takes estimates into its state, in front of every third step."""


def network(seed=0):
    """Five outputs in the middle: no two processes get equal shares of it, and of the last layer one gets nothing."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))


def data():
    x = torch.arange(48.0).reshape(8, 6).sin()
    return x, x.sum(1, keepdim=True).cos()


def groups(model):
    """Two groups, with names: as people keep biases from decay."""
    named = list(model.named_parameters())
    return [
        {"params": [(name, p) for name, p in named if name.endswith("weight")]},
        {"params": [(name, p) for name, p in named if name.endswith("bias")], "weight_decay": 0.0},
    ]


def told(model, optimizer, loss):
    """The loss, for rules that look at it: the mean for replicas, and for shards the own one, which a step averages."""
    rule = getattr(optimizer, "rule", None)
    if rule is None or not rule.rule.needs_loss:
        return {}
    loss = loss.detach().double()
    if isinstance(model, nn.parallel.DistributedDataParallel):
        dist.all_reduce(loss)
        loss /= dist.get_world_size()
    return {"loss": loss}


def train(model, optimizer, x, y, steps=STEPS, clip=None, scheduler=None):
    for step in range(steps):
        optimizer.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if hasattr(optimizer, "update_hessian") and step % 3 == 0:
            optimizer.update_hessian()
        optimizer.step(**told(model, optimizer, loss))
        if scheduler is not None:
            scheduler.step()


def values(model):
    """All parameters, whole."""
    return {name.removeprefix("module."): whole(p).detach().clone() for name, p in model.named_parameters()}


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def sharded(model):
    """FSDP2: each process holds a part of every parameter."""
    from torch.distributed.fsdp import fully_shard

    fully_shard(model[0])
    fully_shard(model)
    return model


# What the processes do -----------------------------------------------------------------------------------------------


def with_ddp(x, y):
    found = {}
    for name, (cls, options) in (OPTIMIZERS | FURTHER | TOTALS | ESTIMATES).items():
        model = nn.parallel.DistributedDataParallel(network())
        train(model, cls(model.parameters(), **options), x, y)
        found[name] = values(model)
    return found


def with_ddp_in_bfloat16(x, y):
    model = nn.parallel.DistributedDataParallel(network().bfloat16())
    train(model, Adam(model.parameters(), lr=0.01, seed=3), x.bfloat16(), y.bfloat16())
    return values(model)


def with_zero(x, y):
    from torch.distributed.optim import ZeroRedundancyOptimizer

    found = {}
    for name, (cls, options) in (OPTIMIZERS | FURTHER).items():
        model = nn.parallel.DistributedDataParallel(network())
        train(model, ZeroRedundancyOptimizer(model.parameters(), optimizer_class=cls, **options), x, y)
        found[name] = values(model)
    return found


def with_zero_and_scheduler(x, y):
    """The state is spread: put together on the first process, it is that of one optimizer."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = nn.parallel.DistributedDataParallel(network())
    optimizer = ZeroRedundancyOptimizer(model.parameters(), optimizer_class=Adam, lr=0.1)
    train(model, optimizer, x, y, scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5))
    own = len(optimizer.optim.state)
    optimizer.consolidate_state_dict(to=0)
    return values(model), own, optimizer.state_dict() if dist.get_rank() == 0 else None


def with_fsdp(x, y):
    found = {}
    for name, (cls, options) in (OPTIMIZERS | FURTHER | TOTALS | ESTIMATES).items():
        model = sharded(network())
        optimizer = cls(model.parameters(), **options)
        train(model, optimizer, x, y)
        found[name] = values(model)
        for param, kept in optimizer.state.items():
            for tensor in kept.values():
                if hasattr(tensor, "to_local"):
                    assert tensor.to_local().shape == param.to_local().shape
                else:  # few numbers, which both have
                    assert tensor.shape == () or name.startswith(("Adafactor", "SM3", "CAME", "Shampoo"))
    return found


def what_fsdp_measures(x, y):
    model = sharded(network())
    optimizer = Adam(groups(model), lr=0.05, weight_decay=0.1)
    train(model, optimizer, x, y)
    optimizer.step(measure=True)
    return dict(optimizer.measures)


def with_a_gradient_that_is_not_finite_in_one_process(x, y):
    """In the last row of a layer, which the second process holds; and a loss that is not, in the first process."""
    found = {}
    for guard in ("skip", "raise"):
        for what in ("gradient", "loss"):
            model = sharded(network())
            optimizer = Adam(groups(model), lr=0.05, on_nonfinite=guard)
            train(model, optimizer, x, y, steps=1)
            before, said = values(model), ""
            if what == "gradient" and dist.get_rank() == 1:
                model[0].weight.grad.to_local()[-1] = torch.nan
            loss = torch.inf if what == "loss" and dist.get_rank() == 0 else 1.0
            try:
                optimizer.step(loss=loss)
            except FloatingPointError as error:
                said = str(error)
            after = values(model)
            unmoved = all(torch.equal(after[name], before[name]) for name in before)
            found[guard, what] = said, unmoved, optimizer.skipped, optimizer.t
    return found


def with_fsdp_and_clipping(x, y):
    model = sharded(network())
    train(model, Adam(groups(model), lr=0.05, weight_decay=0.1), x, y, clip=0.1)
    return values(model)


def with_fsdp_in_bfloat16(x, y):
    """The gradient is 1: what is lost by rounding is never made up for by another step."""
    from torch.distributed.fsdp import fully_shard

    found = {}
    for rounding in ("stochastic", "master"):
        model = nn.Linear(64, 5, bias=False, dtype=torch.bfloat16)
        nn.init.ones_(model.weight)
        fully_shard(model)
        optimizer = SGD(model.parameters(), lr=1e-3, rounding=rounding)
        for _ in range(500):
            for param in model.parameters():
                param.grad = torch.ones_like(param)
            optimizer.step()
        found[rounding] = values(model)
    return found


ROUNDED = {
    "SGD": {"lr": 1e-3},
    "SGD, torch": {"lr": 1e-3, "engine": "torch"},
    "SGD, reference": {"lr": 1e-3, "engine": "reference"},
    "Adam": {"lr": 1e-3},
    "Adam, torch": {"lr": 1e-3, "engine": "torch"},
    "Adam, reference": {"lr": 1e-3, "engine": "reference"},
}
"""Parameters and state in bfloat16: what a step writes depends on the random number of each element."""


def rounded(name, split=lambda model: None):
    """A matrix of which two processes do not have equal shares, after steps whose gradient is the matrix itself."""
    model = nn.Linear(64, 5, bias=False, dtype=torch.bfloat16)
    nn.init.ones_(model.weight)
    split(model)
    optimizer = {"SGD": SGD, "Adam": Adam}[name.split(",")[0]](model.parameters(), seed=3, **ROUNDED[name])
    for _ in range(20):
        for param in model.parameters():
            param.grad = param.detach().clone()
        optimizer.step()
    return values(model)


def with_fsdp_and_random_numbers(x, y):
    from torch.distributed.fsdp import fully_shard

    return {name: rounded(name, fully_shard) for name in ROUNDED}


def looking(params, **options):
    return Lookahead(Lookahead(Adam(params, **options), k=2, alpha=0.8), k=3)


CHECKPOINTS = {
    "by position": (Adam, {}),
    "by name": (Adam, {}),
    "NovoGrad": (NovoGrad, {}),
    "Adafactor": (adapt(optim.Adafactor), {}),
    "Prodigy": (Prodigy, {"d0": 0.1}),
    "Lookahead": (looking, {}),
}
"""What is saved and resumed, with state of every size."""


def with_a_sharded_checkpoint(x, y):
    """Saved half way; gone on with, and resumed by a model and an optimizer that knew nothing."""
    found, folder = {}, Path(sys.argv[2])
    for name, (cls, options) in CHECKPOINTS.items():
        names = name != "by position"
        place = folder / f"checkpoint {name}"
        model = sharded(network())
        optimizer = cls(groups(model) if names else model.parameters(), lr=0.05, weight_decay=0.1, **options)
        train(model, optimizer, x, y)
        dcp.save(_state(model, optimizer), checkpoint_id=place)
        train(model, optimizer, x, y)
        other = sharded(network(seed=1))
        resumed = cls(groups(other) if names else other.parameters(), lr=1.0, **options)
        state = _state(other, resumed)
        dcp.load(state, checkpoint_id=place)
        other.load_state_dict(state["model"])
        set_optimizer_state_dict(other, resumed, state["optimizer"])
        train(other, resumed, x, y)
        found[name] = values(model), values(other)
    return found


def _state(model, optimizer):
    return {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}


AVERAGED = {
    "ema_decay": lambda params: Adam(params, lr=0.05, ema_decay=0.5),
    "Lookahead": lambda params: Lookahead(Adam(params, lr=0.05), k=3),
    "ScheduleFreeSGD": lambda params: ScheduleFreeSGD(params, lr=0.1),
}
"""What lends other weights."""


def outputs(model, optimizer, x, y):
    """What a model says in between, of the whole batch: a call without gradients gathers weights, which stay there."""

    def said():
        with torch.no_grad():
            return model(data()[0])

    train(model, optimizer, x, y)
    with optimizer.averaged():
        found = [said()]
    found.append(said())
    train(model, optimizer, x, y)
    found.append(said())
    optimizer.eval()
    found.append(said())
    optimizer.train()
    train(model, optimizer, x, y)
    return [*found, said()]


def with_averages(x, y):
    found = {}
    for name, make in AVERAGED.items():
        model = sharded(network())
        found[name] = outputs(model, make(model.parameters()), x, y)
    return found


def what_is_refused(x, y):
    """What asks for more of parameters than a process has of them."""
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.optim import ZeroRedundancyOptimizer

    flat = FullyShardedDataParallel(network(), device_id=torch.device("cpu"))

    def solving(model):
        return LBFGS(model.parameters())

    one = (
        {"optimizer_class": Prodigy},
        {"optimizer_class": SGD, "lr": 0.1, "max_norm": 1.0},
        {"optimizer_class": SGD, "lr": 0.1, "on_nonfinite": "skip"},
    )

    def lending(model):
        optimizer = Adam(model.parameters(), ema_decay=0.5)
        train(model, optimizer, x, y, steps=1)
        with optimizer.averaged():
            return

    makers = [
        lambda: LAMB(flat.parameters()),
        lambda: ScheduleFreeSGD(flat.parameters()),
        lambda: lending(flat),
        lambda: SGD(flat.parameters(), on_nonfinite="skip"),
        lambda: solving(flat),
        lambda: solving(sharded(network())),
        *(lambda options=options: ZeroRedundancyOptimizer(network().parameters(), **options) for options in one),
    ]
    said = []
    for make in makers:
        try:
            make()
        except (TypeError, ValueError) as error:
            said.append(str(error))
    return said


def with_int8_state_of_shards(x, y):
    model = sharded(network())
    try:
        Adam(model.parameters(), state_dtype="int8")
    except ValueError as error:
        return str(error)


def with_unreduced_gradients(x, y):
    """A gradient whose parts, one in each process, are still to be added, as tensor parallelism leaves some."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate

    mesh = init_device_mesh("cpu", (2,))
    param = nn.Parameter(DTensor.from_local(torch.ones(3), mesh, [Replicate()]))
    optimizer = SGD([param], lr=1.0)
    for _ in range(2):
        local = torch.full((3,), 1.0 + dist.get_rank())
        param.grad = DTensor.from_local(local, mesh, [Partial()])
        optimizer.step()
    return param.to_local().detach()


PARTS = {
    "ddp": with_ddp,
    "ddp, bfloat16": with_ddp_in_bfloat16,
    "zero": with_zero,
    "zero, scheduler": with_zero_and_scheduler,
    "fsdp": with_fsdp,
    "fsdp, clipping": with_fsdp_and_clipping,
    "fsdp, bfloat16": with_fsdp_in_bfloat16,
    "fsdp, rounded": with_fsdp_and_random_numbers,
    "checkpoint": with_a_sharded_checkpoint,
    "int8": with_int8_state_of_shards,
    "whole": what_is_refused,
    "measures": what_fsdp_measures,
    "not finite": with_a_gradient_that_is_not_finite_in_one_process,
    "averages": with_averages,
    "unreduced": with_unreduced_gradients,
}


def run(parts):
    """Be one of the two processes, which do all parts together."""
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # Two processes share the machine; that PyTorch deprecates parts of itself is not for these tests to tell.
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    x, y = (whole_batch[rank::2] for whole_batch in data())
    found = {name: part(x, y) for name, part in parts.items()}
    torch.save(found, folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def both(script, folder):
    """What each of two processes found, which run a script."""
    commands = [[sys.executable, script, str(rank), str(folder)] for rank in (0, 1)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    try:
        errors = [process.communicate(timeout=300)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], "\n".join(errors)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


if __name__ == "__main__":
    run(PARTS)
