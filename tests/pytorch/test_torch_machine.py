"""What users do, in any order: PyTorch's own optimizers beside ours, the fused beside the reference engine."""

import copy
import pickle
import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minima import torch as mt

lr_scheduler = torch.optim.lr_scheduler

COMMON = ["lr", "weight_decay", "maximize"]
KINDS = {
    "SGD": ("SGD", ["momentum"], {}),
    "Nesterov": ("SGD", ["momentum"], {"momentum": 0.9, "nesterov": True}),
    "Dampened": ("SGD", ["momentum", "dampening"], {"momentum": 0.9, "dampening": 0.5}),
    "Adam": ("Adam", ["betas", "eps", "decoupled_weight_decay"], {}),
    "AMSGrad": ("Adam", ["betas", "eps"], {"amsgrad": True}),
    "AdamW": ("AdamW", ["betas", "eps"], {}),
    "RMSprop": ("RMSprop", ["alpha", "eps"], {}),
    "Centered": ("RMSprop", ["alpha", "eps", "momentum"], {"momentum": 0.5, "centered": True, "eps": 0.25}),
    "Adagrad": ("Adagrad", ["lr_decay", "eps"], {"initial_accumulator_value": 0.1}),
}
"""Classes of both libraries, what users write into their groups, and how they make them."""
NUMBERS = {
    "lr": [0.0, 0.125, 0.5],
    "momentum": [0.0, 0.5, 0.9],
    "weight_decay": [0.0, 0.125],
    "betas": [(0.0, 0.5), (0.5, 0.9), (0.9, 0.999)],
    "alpha": [0.5, 0.99],
    "eps": [0.25, 1e-3],
    "lr_decay": [0.0, 0.5],
    "maximize": [True, False],
    "dampening": [0.0, 0.5],
    "decoupled_weight_decay": [True, False],
}
OTHERS = [torch.float32, torch.bfloat16, torch.float16, torch.complex64]
"""Dtypes in which engines are compared with each other alone; and what only ours can be told."""
OPTIONS = {
    "rounding": ["stochastic", "nearest", "master", None],
    "seed": [0, 5],
    "decay": ["decoupled", "independent", "l2"],
    "on_nonfinite": ["propagate", "raise", "skip"],
    "engine": ["fused", "reference"],
}
SHAPES = [(), (1,), (0,), (3, 5), (4, 1), (257,)]
LAYOUTS = {
    "plain": lambda grad: grad.clone(),
    "every other": lambda grad: torch.stack([grad, grad], -1)[..., 0],
    "transposed": lambda grad: grad.T.contiguous().T if grad.dim() == 2 else grad.clone(),
    "expanded": lambda grad: grad.flatten()[:1].clone().expand_as(grad) if grad.dim() == 1 else grad.clone(),
    "with a graph": lambda grad: grad.clone().requires_grad_() * 1.0,
}
SCHEDULERS = {
    "ExponentialLR": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.5),
    "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, 2),
    "LambdaLR": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch)),
    "CosineAnnealingLR": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 4),
    "CyclicLR": lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.1, 0.5, step_size_up=2, cycle_momentum=False),
}


class Users:
    """Optimizers that are treated alike, each with parameters of its own. ``pick`` chooses one of a sequence."""

    def __init__(self, pick):
        self.pick = pick
        self.kind, self.dtype = pick([*KINDS]), pick([*[torch.float64] * 4, *OTHERS])
        self.draw = torch.Generator().manual_seed(pick(range(100)))
        name, words, options = KINDS[self.kind]
        theirs, ours, self.names = getattr(torch.optim, name), getattr(mt, name), [*COMMON, *words]
        self.makes = [
            lambda groups: ours(groups, engine="fused", **options),
            lambda groups: ours(groups, engine="reference", **options),
        ]
        if self.dtype == torch.float64:
            self.makes.append(lambda groups: ours(groups, engine="torch", **options))
            self.makes.append(lambda groups: theirs(groups, foreach=False, **options))
        self.params = [[] for _ in self.makes]
        groups = [self.group() for _ in range(pick([1, 2]))]
        self.optimizers = [make([own(group) for group in groups]) for make, own in self.pairs()]
        self.schedulers = []
        self.t = 0
        self.measured = False

    def pairs(self):
        """How to make each optimizer, and how to make a group of its own parameters."""
        for make, params in zip(self.makes, self.params, strict=True):

            def own(group, params=params):
                added = [value.clone().requires_grad_() for value in group["params"]]
                params.extend(added)
                return {**group, "params": added}

            yield make, own

    def group(self):
        shapes = [self.pick(SHAPES) for _ in range(self.pick([1, 2, 3]))]
        return {"params": [self.values(shape) for shape in shapes], "lr": self.pick(NUMBERS["lr"])}

    def values(self, shape):
        return torch.randn(shape, generator=self.draw, dtype=torch.float64).to(self.dtype)

    def act(self):
        acts = (
            [self.step] * 4
            + ([self.option] * 2 if self.dtype in OTHERS else [])
            + [self.write, self.write, self.zero, self.freeze, self.schedule, self.schedule]
        )
        self.pick([*acts, self.add, self.resume, self.copy, self.overwrite, self.move_state])()
        self.look()

    # What users do ---------------------------------------------------------------------------------------------------

    def step(self):
        """Step by some gradients; others stay as they are, or are taken away."""
        layout = LAYOUTS[self.pick([*LAYOUTS])]
        for place, first in enumerate(self.params[0]):
            grad, what = self.values(first.shape), self.pick(["new", "new", "new", "none", "as it is"])
            if self.dtype in OTHERS and grad.numel() and self.pick(range(12)) == 0:
                grad.flatten()[-1] = torch.inf
            for params in self.params:
                if not params[place].requires_grad or what == "none":
                    params[place].grad = None
                elif what == "new":
                    params[place].grad = layout(grad)
        self.measured = self.pick([True, False])
        refused = [self.took_none(optimizer) for optimizer in self.optimizers]
        assert len({*refused}) == 1
        for scheduler in self.schedulers:
            scheduler.step()
        self.t += not refused[0]

    def took_none(self, optimizer):
        """Whether no step was taken, for gradients that are not finite."""
        skipped = getattr(optimizer, "skipped", 0)
        try:
            optimizer.step(**{"measure": self.measured} if isinstance(optimizer, mt.Optimizer) else {})
        except FloatingPointError:
            return True
        return getattr(optimizer, "skipped", 0) > skipped

    def option(self):
        name = self.pick([*OPTIONS])
        value = self.pick(OPTIONS[name])
        if name == "engine":
            value = [value, {"fused": "reference", "reference": "fused"}[value]]
        for optimizer, one in zip(self.optimizers, value if isinstance(value, list) else [value] * 2, strict=True):
            setattr(optimizer, name, one)

    def zero(self):
        to_none = self.pick([True, False])
        for params, optimizer in zip(self.params, self.optimizers, strict=True):
            for param in params:
                if param.grad is not None:
                    param.grad = param.grad.detach().clone()  # expanded memory cannot be set to zero
            optimizer.zero_grad(set_to_none=to_none)

    def write(self):
        """Write to a group."""
        name = self.pick(self.names)
        place, value = self.pick(range(len(self.optimizers[0].param_groups))), self.pick(NUMBERS[name])
        if name == "momentum" and not value and self.kind in ("Nesterov", "Centered"):
            return  # torch.optim.RMSprop cannot switch it on again
        for optimizer in self.optimizers:
            optimizer.param_groups[place][name] = value

    def freeze(self):
        """Freeze a parameter, or thaw it."""
        place = self.pick(range(len(self.params[0])))
        for params in self.params:
            params[place].requires_grad_(not params[place].requires_grad)
            params[place].grad = None

    def schedule(self):
        self.schedulers = []
        make = SCHEDULERS[self.pick([*SCHEDULERS])]
        self.schedulers = [make(optimizer) for optimizer in self.optimizers]

    def add(self):
        if self.kind == "Adagrad" or self.schedulers:  # neither PyTorch's Adagrad nor its schedulers expect more
            return
        group = self.group()
        for optimizer, (_, own) in zip(self.optimizers, self.pairs(), strict=True):
            optimizer.add_param_group(own(group))

    def resume(self):
        """Save the optimizers, and load what was saved into new ones, or into themselves."""
        new, self.schedulers = self.pick([True, False]), []
        for place, (optimizer, make) in enumerate(zip(self.optimizers, self.makes, strict=True)):
            saved = copy.deepcopy(optimizer.state_dict())
            if new:
                counted = getattr(optimizer, "t", 0)
                optimizer = make([{"params": group["params"]} for group in optimizer.param_groups])
                if place < 3:
                    optimizer.t = counted
            optimizer.load_state_dict(saved)
            self.optimizers[place] = optimizer

    def copy(self):
        """Go on with copies of everything."""
        through = self.pick([copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
        self.schedulers = []
        for place, pair in enumerate(zip(self.params, self.optimizers, strict=True)):
            for param in pair[0]:
                param.grad = None  # pickle leaves gradients out
            self.params[place], self.optimizers[place] = through(pair)

    def overwrite(self):
        """Write to a parameter, as loading a model does, or move it to other memory."""
        place, move = self.pick(range(len(self.params[0]))), self.pick([True, False])
        value = self.values(self.params[0][place].shape)
        for params in self.params:
            with torch.no_grad():
                if move:
                    params[place].data = value.clone()
                else:
                    params[place].copy_(value)

    def move_state(self):
        """Put tensors of the state into other memory, as offloading does."""
        for params, optimizer in zip(self.params, self.optimizers, strict=True):
            for param in params:
                for name, tensor in optimizer.state.get(param, {}).items():
                    if isinstance(tensor, torch.Tensor):
                        moved = tensor.T.contiguous().T if tensor.dim() == 2 else tensor.clone()
                        optimizer.state[param][name] = moved

    # What must hold --------------------------------------------------------------------------------------------------

    def look(self):
        fused, reference, *theirs = zip(self.params, self.optimizers, strict=True)
        for mine, other in zip(fused[0], reference[0], strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=0, equal_nan=True)
            kept, its = fused[1].state.get(mine, {}), reference[1].state.get(other, {})
            torch.testing.assert_close(kept, its, rtol=0, atol=0, equal_nan=True)
        groups = [[{**group, "params": 0} for group in each[1].param_groups] for each in (fused, reference)]
        assert groups[0] == groups[1] and fused[1].t == reference[1].t == self.t
        assert fused[1].skipped == reference[1].skipped
        if self.measured:
            rows = [[(m.grad, m.update, m.param) for m in each[1].measures.values()] for each in (fused, reference)]
            torch.testing.assert_close(*map(torch.tensor, rows), rtol=1e-5, atol=1e-6, equal_nan=True)
        self.measured = False
        for params, optimizer in theirs:
            for mine, other in zip(fused[0], params, strict=True):
                torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-10)
                for name, value in optimizer.state.get(other, {}).items():
                    torch.testing.assert_close(
                        fused[1].state[mine][name], value, rtol=1e-9, atol=1e-10, check_dtype=False
                    )


@pytest.mark.parametrize("number", range(30))
def test_ours_do_what_pytorch_s_own_do_whatever_users_do(number):
    users = Users(random.Random(number).choice)
    for _ in range(40):
        users.act()


@settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_ours_do_what_pytorch_s_own_do_whatever_is_drawn_that_users_do(data):
    """The same, found by a search, which makes short what it finds."""
    users = Users(lambda options: data.draw(st.sampled_from(options)))
    for _ in range(data.draw(st.integers(1, 20))):
        users.act()
