"""PyTorch's own operations step tensors in as few calls, and as little memory, as PyTorch's optimizers on many tensors.

And a step that runs out of memory has written nothing, which theirs do not say.
"""

import random
from collections import Counter

import pytest
import torch
from both import SETTINGS, Run, together
from tensors import EXACT, MINE, arrays, assert_same, parameters, told
from tensors import SETTINGS as OURS
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from minima import optim
from minima import torch as mt
from minima.optim import Optimizer
from minima.torch import rounding
from minima.torch.eager import Eager

FOREACH = [name for name in vars(torch) if name.startswith("_foreach_")]
PLAIN = [(name, options) for name, options in SETTINGS if not any(map(torch.is_tensor, options.values()))]
PLAIN = [(name, options) for name, options in PLAIN if not isinstance(options.get("betas", [0])[0], torch.Tensor)]
PLAIN += [("Adafactor", {}), ("Adafactor", {"weight_decay": 0.1, "maximize": True})]
"""The settings that PyTorch takes for many tensors."""
MORE = {"centered": 7}
"""What makes more calls here, and how many. The variance of a centered RMSprop is a small difference of two averages,
which are computed to the bit of the definition: by four calls and three, where PyTorch takes two and one and has the
error of their rounding. It is kept from being negative by a call, where PyTorch's root is NaN."""

MORE_ROWS = 6
"""And those of Adafactor: sums of rows and columns are in float64, which takes calls to divide and to round them."""


def like(name, options, params, count=2):
    """PyTorch's run and ours, some steps after the first."""
    theirs = getattr(torch.optim, name)([x.detach().clone().requires_grad_() for x in params], **options, foreach=True)
    mine = getattr(mt, name)([x.detach().clone().requires_grad_() for x in params], **options, engine="torch")
    runs = [Run(x.param_groups[0]["params"], x) for x in (theirs, mine)]
    for step in range(count):
        give(runs, step)
        for run in runs:
            run.optimizer.step()
    give(runs, count)
    return runs


def give(runs, seed):
    draw = torch.Generator().manual_seed(seed)
    for params in zip(*(run.params for run in runs), strict=True):
        grad = torch.randn(params[0].shape, generator=draw, dtype=params[0].dtype)
        for param in params:
            param.grad = grad.clone()


def plain_parameters(size=(40, 30)):
    return [torch.randn(size, generator=torch.Generator().manual_seed(i)) for i in range(4)]


class Watch(TorchDispatchMode):
    """Counts operations, and the bytes of the tensors that they make and somebody holds."""

    def __init__(self, fails_at=None, size=0):
        super().__init__()
        self.called, self.held, self.peak = Counter(), {}, 0
        self.fails_at, self.size, self.made = fails_at, size, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {x.untyped_storage()._cdata for x in tensors((args, kwargs or {}))}
        found = function(*args, **(kwargs or {}))
        self.called[function._schema.name.removeprefix("aten::")] += 1
        new = [x for x in tensors(found) if x.untyped_storage()._cdata not in given]
        if any(x.numel() >= self.size for x in new) and self.size:
            if self.made == self.fails_at:
                raise torch.OutOfMemoryError
            self.made += 1
        for storage in (tensor.untyped_storage() for tensor in new):
            self.held[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.held = {key: pair for key, pair in self.held.items() if not pair[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.held.values()))
        return found


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [x for each in value for x in tensors(each)] if isinstance(value, list | tuple) else []


def counting(function, calls, word):
    def call(*args, **kwargs):
        calls[word] += 1
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize(("name", "options"), PLAIN, ids=str)
def test_a_step_makes_no_more_calls_than_pytorch_s_on_many_tensors(name, options, monkeypatch):
    counted = []
    runs = like(name, options, plain_parameters())
    for run in runs:
        calls = Counter()
        with monkeypatch.context() as patch:
            for word in FOREACH:
                patch.setattr(torch, word, counting(getattr(torch, word), calls, word))
            run.optimizer.step()
        counted.append(calls)
    more = sum(number for option, number in MORE.items() if options.get(option))
    more += MORE_ROWS if name == "Adafactor" else 0
    assert counted[1].total() <= counted[0].total() + more, counted
    assert counted[1]


@pytest.mark.parametrize(("name", "options"), PLAIN, ids=str)
def test_a_step_holds_no_more_memory_than_pytorch_s_on_many_tensors(name, options):
    peaks = []
    params = plain_parameters((200, 100))
    for run in like(name, options, params):
        with Watch() as watch:
            run.optimizer.step()
        peaks.append(watch.peak)
    size = params[0].nbytes
    more = 4 * size if options.get("centered") else size / 50  # single numbers
    if name == "Adafactor":  # the squares of one tensor after another, where PyTorch has a norm; sums in float64
        more += 1.1 * size
    if name == "Rprop":  # two truths for each element, where PyTorch has one tensor after another
        more += 2 * size
    assert peaks[1] <= peaks[0] + more, [peak / size for peak in peaks]


@pytest.mark.parametrize(("name", "options"), PLAIN, ids=str)
def test_a_step_computes_what_pytorch_does_on_many_tensors(name, options):
    theirs, mine = like(name, options, [x.double() for x in plain_parameters()], 4)
    for mode in (theirs, mine):
        before = [x.grad.clone() for x in mode.params]
        mode.optimizer.step()
        is_nesterov = mode is theirs and options.get("nesterov")  # which adds the momentum to the gradients themselves
        assert all(map(torch.equal, before, (x.grad for x in mode.params))) or is_nesterov
    loose = {"rtol": 1e-6, "atol": 1e-7} if name in ("ASGD", "NAdam") else {"rtol": 1e-11, "atol": 1e-12}
    for there, here in zip(theirs.params, mine.params, strict=True):  # whose rates PyTorch keeps in float32
        torch.testing.assert_close(here, there, **loose)


# Half precision ------------------------------------------------------------------------------------------------------

FREE = (
    "view",
    "detach",
    "alias",
    "slice",
    "split_with_sizes",
    "as_strided",
    "unbind",
    "empty",
    "empty_like",
    "new_empty",
)
"""What computes nothing."""
HALF = [
    ("SGD", {"momentum": 0.9}, torch.bfloat16, {}, 15, 37, 5.1),
    ("SGD", {"momentum": 0.9}, torch.float16, {}, 9, 0, 6.01),
    ("RMSprop", {}, torch.bfloat16, {}, 18, 42, 7.1),
    ("AdamW", {}, torch.bfloat16, {}, 29, 45, 7.1),
    ("AdamW", {}, torch.bfloat16, {"rounding": "nearest"}, 27, 28, 7.1),
    ("AdamW", {}, torch.bfloat16, {"rounding": "nearest", "state_dtype": "float32"}, 19, 0, 8.01),
    ("AdamW", {}, torch.float16, {}, 19, 0, 8.01),
    ("AdamW", {}, torch.float16, {"rounding": "stochastic"}, 22, 33, 8.01),
    ("Adafactor", {}, torch.bfloat16, {"rounding": "nearest"}, 29, 51, 8.1),
]
"""Calls on many tensors, calls on one, and what a step holds beside the parameters, in their size; at most.

Lines are run one at a time, with the bits of the other engines, as rounding makes much of the last one. An input in
half precision takes a call to be copied to float32. To round stochastically takes three calls on lists and five on one
tensor; random numbers take ten for the parameters and as many for each two states, and two or three to be used.
"""
GROWING = {"RMSprop": {"div"}, "Adafactor": {"sum", "div", "_to_copy", "expand"}}
"""What PyTorch does one tensor after another: it divides no number by many tensors, and does not add up many."""


def half_step(name, options, dtype, more, count, size):
    """A watched step of some parameters in half precision, the third one."""
    params = [x.to(dtype).requires_grad_() for x in (plain_parameters(size) * 4)[:count]]
    optimizer = getattr(mt, name)(params, **options, **more, engine="torch")
    runs = [Run(params, optimizer)]
    for step in range(3):
        give(runs, step)
        with Watch() as watch:
            optimizer.step()
    alone = {word: n for word, n in watch.called.items() if not word.startswith("_foreach_") and word not in FREE}
    together = sum(n for word, n in watch.called.items() if word.startswith("_foreach_"))
    return together, sum(alone.values()), watch.peak / sum(x.nbytes for x in params), alone


@pytest.mark.parametrize(("name", "options", "dtype", "more", "lists", "single", "memory"), HALF, ids=str)
def test_calls_in_half_precision_do_not_grow_with_parameters(
    name, options, dtype, more, lists, single, memory, monkeypatch
):
    found = [half_step(name, options, dtype, more, count, (40, 30)) for count in (4, 12)]
    assert found[0][0] == found[1][0] <= lists, found
    assert found[0][1] <= single, found
    assert {word for word, _ in found[0][3].items() ^ found[1][3].items()} <= GROWING.get(name, set()), found
    monkeypatch.setattr(rounding, "ON_CPU", 1200)  # what is rounded together is little, as it is in large models
    assert half_step(name, options, dtype, more, 16, (120, 100))[2] <= memory


FAILING = [(getattr(mt, name), options) for name, options in PLAIN]
FAILING += [*OURS, *((cls, {}) for cls in MINE), (mt.adapt(optim.LAMB), {}), (mt.adapt(optim.Adafactor), {})]
FAILING += [(mt.Adam, {"max_norm": 1.0}), (mt.Adam, {"state_dtype": "bfloat16"})]
FAILING = [(torch.float32, *each) for each in FAILING]
FAILING += [
    (torch.bfloat16, mt.SGD, {"momentum": 0.9}),
    (torch.bfloat16, mt.AdamW, {}),
    (torch.float16, mt.RMSprop, {"rounding": "master"}),
]


@pytest.mark.parametrize(("dtype", "cls", "options"), FAILING, ids=lambda x: getattr(x, "__name__", str(x)))
def test_memory_that_runs_out_anywhere_leaves_everything_as_it_was(cls, options, dtype):
    params = [x.to(dtype).requires_grad_() for x in plain_parameters((3, 50))]
    run = Run(params, cls([{"params": params[:2]}, {"params": params[2:], "lr": 0.5}], **options, engine="torch"))
    for step in range(2):
        give([run], step)
        run.optimizer.step(**told(run.optimizer))
    give([run], 2)
    for number in range(1000):
        before, t = arrays(run.optimizer, params), run.optimizer.t
        kept = [{name: x.clone() for name, x in each.items()} for each in before]
        try:
            with Watch(fails_at=number, size=1) as watch:
                run.optimizer.step(**told(run.optimizer))
        except torch.OutOfMemoryError:
            assert_same(arrays(run.optimizer, params), kept, **EXACT)
            assert run.optimizer.t == t == 2
            continue
        assert run.optimizer.t == 3 and watch.made == number
        pairs = zip(arrays(run.optimizer, params), kept, strict=True)
        assert any(not torch.equal(mine["param"], other["param"]) for mine, other in pairs)
        return
    raise AssertionError("there is no end to it")


# What rules may say --------------------------------------------------------------------------------------------------

HEAD = """
class Drawn(Optimizer):
    lr: float = hyper(0.1, low=0)
    s: float = hyper(0.5)
    r: float = hyper(-0.25)

    @staticmethod
    def update(param, grad, a, b=0.5, c: PerTensor = 1.0, *, lr, s, r, t):
"""


def drawn(seed):
    """A rule of some lines, of which most are differences, scaled sums, products and quotients of what was before."""
    pick = random.Random(seed).choice
    lists, numbers = ["param", "grad", "a", "b"], ["lr", "s", "r", "2.0", "0.5", "-1.0", "1 / (t + 1)", "c", "(1 + c)"]
    body = ["c = s * c + norm(grad) / 8"] if pick([True, False]) else []
    for number in range(pick(range(3, 10))):
        x, y, z, n, m = pick(lists), pick(lists), pick(lists), pick(numbers), pick(numbers)
        line = pick(
            [
                f"{n} * {x} + {m} * {y}",
                f"{n} * ({x} + {m} * {y})",
                f"{x} - {n} * {y} * {z}",
                f"{x} + {n} * {y} / (1.5 + abs({z}))",
                f"{n} * {x} * {y}",
                f"-{x} * {n}",
                f"{x} + {n}",
                f"{n} / (2 + {y} * {y})",
                f"{m} * ({x} + {n} * {y}) / (3 + abs({z}))",
                f"sqrt(0.5 * ({x} * {x} + 0.1)) * {y}",
                f"maximum({x}, {n} * {y})",
                f"where(t > 2, {n} * {x}, {y})",
                f"where(t > 1, 0.0, {x})",
                f"where(grad > 0.1, {x}, {n} * {y})",
                f"abs({x} - {y})",
                f"sign(grad) * {x}",
                f"{x} / {n} + {x} / {n}",
                f"({x} + {y}) - {x}",
            ]
        )
        name = pick(["a", "b", f"x{number}"])
        body.append(f"{name} = {line}")
        body.append(f"{name} = {name} / (1 + abs({name}))" if pick([True, False]) else f"{name} = 0.3 * {name}")
        lists.append(name)
    step = pick(
        [f"lr * {pick(lists)}", f"lr * ({pick(lists)} + s * {pick(lists)})", f"s * {pick(lists)} / (2 + b * b)"]
    )
    body.append(f"return {pick(['param', '(1 - lr * s) * param'])} - {step}, a, {pick(['b', 'grad', 'b', 'a'])}, c")
    source = HEAD + "".join(f"        {line}\n" for line in body)
    names = {"Optimizer": Optimizer} | {name: getattr(optim, name) for name in WORDS}
    exec(source, names)
    return names["Drawn"], source


WORDS = ["hyper", "PerTensor", "norm", "sqrt", "maximum", "where", "sign"]


@pytest.mark.parametrize("is_afar", [False, True], ids=["", "numbers on a device"])
@pytest.mark.parametrize("seed", range(150))
def test_any_rule_is_what_the_reference_computes(seed, is_afar, monkeypatch):
    rule, source = drawn(seed)
    if is_afar:
        made = Eager.__init__

        def elsewhere(self, work):
            made(self, work)
            self.on_device = True

        monkeypatch.setattr(Eager, "__init__", elsewhere)
    options = [{}, {"max_norm": 1.0}, {"weight_decay": 0.1}, {"s": 0.0}][seed % 4]
    runs = []
    for engine in ("reference", "torch"):
        params = parameters(torch.float64)
        groups = [{"params": params[:4]}, {"params": params[4:], "r": 0.5}]
        runs.append(Run(params, mt.adapt(rule)(groups, engine=engine, **options)))
    together(*runs, count=4)
    found, wanted = (arrays(run.optimizer, run.params) for run in runs)
    assert_same(found, wanted, rtol=1e-9, atol=1e-10), source


ROWS = [("Adafactor", {}), ("Adafactor", {"momentum": 0.9, "weight_decay": 0.1}), ("Adafactor", {"max_norm": 1.0})]
ROWS += [("CAME", {}), ("SM3", {}), ("SM3", {"momentum": 0.9})]


@pytest.mark.parametrize("is_afar", [False, True], ids=["", "numbers on a device"])
@pytest.mark.parametrize(("name", "options"), ROWS, ids=str)
def test_rules_with_rows_and_columns_are_what_the_reference_computes(name, options, is_afar, monkeypatch):
    if is_afar:
        made = Eager.__init__

        def elsewhere(self, work):
            made(self, work)
            self.on_device = True

        monkeypatch.setattr(Eager, "__init__", elsewhere)
    runs = []
    for engine in ("reference", "torch"):
        params = [x for x in parameters(torch.float64) if x.is_contiguous()]
        groups = [{"params": params[:4]}, {"params": params[4:], "lr": 0.05}]
        runs.append(Run(params, mt.adapt(getattr(optim, name))(groups, engine=engine, **options)))
    together(*runs, count=6)
    found, wanted = (arrays(run.optimizer, run.params) for run in runs)
    assert_same(found, wanted, rtol=1e-12, atol=1e-14)


def test_numbers_that_would_not_do_are_not_taken_together():
    """Such as a rate that is no normal number in float32, and a divisor of 0."""

    class Rated(Optimizer):
        rate: float = optim.hyper(0.0)

        @staticmethod
        def update(param, grad, last=1.0, *, rate):
            small = rate * grad
            return param + (small + 3e-39) * 1e38 + last / (rate * 1e-30 * grad), grad

    for rate in (0.0, 1e-38, 1.0):
        found = []
        for engine in ("reference", "torch"):
            w = torch.full((5,), 0.5, requires_grad=True)
            optimizer = mt.adapt(Rated)([w], rate=rate, engine=engine)
            w.grad = torch.full((5,), 2.0)
            optimizer.step()
            found.append(w.detach())
        torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=0)


def test_a_difference_is_taken_before_it_is_scaled():
    """Of numbers that are nearly equal it is exact, which what is left of the scaled ones is not."""

    class Change(Optimizer):
        scale: float = optim.hyper(0.3)

        @staticmethod
        def update(param, grad, last, change, below, *, scale):
            return param, grad, scale * (grad - last), scale * (grad - optim.maximum(grad, 1e6 + 1))

    w = torch.zeros(4, requires_grad=True)
    optimizer = mt.adapt(Change)([w], engine="torch")
    small = torch.tensor([0.0625, 0.125, -0.5, 1.0])
    for grad in (torch.full((4,), 1e6), torch.full((4,), 1e6) + small):
        w.grad = grad
        optimizer.step()
    torch.testing.assert_close(optimizer.state[w]["change"], 0.3 * small, rtol=1e-6, atol=0)
    torch.testing.assert_close(optimizer.state[w]["below"], 0.3 * (small - 1), rtol=1e-6, atol=0)
