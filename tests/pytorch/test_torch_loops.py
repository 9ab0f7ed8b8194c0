"""Lookahead and SAM inside PyTorch: the numbers of minima.optim and of pytorch_optimizer, and PyTorch's habits."""

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch

from minima import Tensor, optim
from minima import torch as mt

SHAPES = ((6, 4), (3, 5), (7,))
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64]
LOOPS = {
    "Lookahead": lambda inside: mt.Lookahead(inside, k=3, alpha=0.6),
    "SAM": lambda inside: mt.SAM(inside, rho=0.3),
    "ASAM": lambda inside: mt.SAM(inside, rho=0.5, adaptive=True, eta=0.1),
    "SAM in Lookahead": lambda inside: mt.Lookahead(mt.SAM(inside, rho=0.3), k=3),
    "Lookahead in SAM": lambda inside: mt.SAM(mt.Lookahead(inside, k=3), rho=0.3),
    "Lookahead in Lookahead": lambda inside: mt.Lookahead(mt.Lookahead(inside, k=2, alpha=0.8), k=4, alpha=0.3),
}
each_loop = pytest.mark.parametrize("make", LOOPS.values(), ids=LOOPS)


def weights(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    return [value.to(dtype).requires_grad_() for value in made]


def closure_of(params, step):
    """Gradients that depend on all parameters, of a size that rises and falls by a factor of 200."""
    generator = torch.Generator().manual_seed(step)
    noise = [torch.randn(shape, generator=generator, dtype=torch.float64) / 10 for shape in SHAPES]
    size = 200 ** math.sin(step) / 4

    def closure():
        with torch.no_grad():
            common = sum(param.abs().double().sum() for param in params) / 100
            for param, more in zip(params, noise, strict=True):
                grad = size * (torch.sin(3 * param) + 0.2 * param + common + more)
                param.grad = grad.to(param.dtype)
        return common.item()

    return closure


def run(optimizer, params, begin, end):
    for step in range(begin, end):
        optimizer.step(closure_of(params, step))


def same(params, others):
    return all(torch.equal(param, other) for param, other in zip(params, others, strict=True))


def values(params):
    return [param.detach().clone() for param in params]


# The same elsewhere --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.5, 0.8])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_lookahead_is_that_of_pytorch_optimizer(alpha, momentum):
    po = pytest.importorskip("pytorch_optimizer")
    params, others = weights(), weights()
    ours = mt.Lookahead(mt.SGD(params, lr=0.02, momentum=momentum), k=5, alpha=alpha)
    theirs = po.Lookahead(torch.optim.SGD(others, lr=0.02, momentum=momentum), k=5, alpha=alpha)
    for step in range(22):
        ours.step(closure_of(params, step))
        theirs.step(closure_of(others, step))
        for param, other, slow in zip(params, others, ours.slow, strict=True):
            torch.testing.assert_close(param, other, rtol=1e-13, atol=1e-14)
            torch.testing.assert_close(slow, theirs.state[other]["slow_params"], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("rho", [0.05, 0.5])
def test_sam_is_that_of_pytorch_optimizer(adaptive, rho):
    po = pytest.importorskip("pytorch_optimizer")
    params, others = weights(), weights()
    ours = mt.SAM(mt.SGD(params, lr=0.002, momentum=0.9), rho, adaptive, eta=0.0)
    theirs = po.SAM(others, torch.optim.SGD, rho=rho, adaptive=adaptive, lr=0.002, momentum=0.9)
    for step in range(22):
        ours.step(closure_of(params, step))
        closure_of(others, step)()  # which has the first gradients before its step
        theirs.step(closure_of(others, step))
        for param, other in zip(params, others, strict=True):
            torch.testing.assert_close(param, other, rtol=1e-6, atol=1e-7)  # its norm is in float32


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("name", LOOPS)
def test_the_numbers_are_those_of_the_loop_of_minima_optim(name, groups, engine):
    params = weights()
    arrays = [Tensor(param.detach().numpy(), dtype="float64", requires_grad=True) for param in params]

    def divided(given):
        return [{"params": given[:1]}, {"params": given[1:], "lr": 0.3, "weight_decay": 0.2}] if groups else given

    own = {"mt": optim.Lookahead, "SAM": optim.SAM}
    made = LOOPS[name](mt.Adam(divided(params), lr=0.1, engine=engine, decay="decoupled"))
    inside = optim.Adam(divided(arrays), lr=0.1)
    other = {
        "Lookahead": lambda: own["mt"](inside, k=3, alpha=0.6),
        "SAM": lambda: own["SAM"](inside, rho=0.3),
        "ASAM": lambda: own["SAM"](inside, rho=0.5, adaptive=True, eta=0.1),
        "SAM in Lookahead": lambda: own["mt"](own["SAM"](inside, rho=0.3), k=3),
        "Lookahead in SAM": lambda: own["SAM"](own["mt"](inside, k=3), rho=0.3),
        "Lookahead in Lookahead": lambda: own["mt"](own["mt"](inside, k=2, alpha=0.8), k=4, alpha=0.3),
    }[name]()

    def closure(step):
        def compute():
            copies = [torch.from_numpy(array.buffer.copy()) for array in arrays]
            closure_of(copies, step)()
            for array, each in zip(arrays, copies, strict=True):
                array.grad = Tensor(each.grad.numpy(), dtype="float64")

        return compute

    for step in range(20):
        made.step(closure_of(params, step))
        other.step(closure(step))
        for param, array in zip(params, arrays, strict=True):
            np.testing.assert_allclose(param.detach().numpy(), array.buffer, rtol=1e-10, atol=1e-11)


@each_loop
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_stepped(make, dtype):
    params = weights(dtype)
    optimizer = make(mt.SGD(params, lr=0.05))
    before = values(params)
    run(optimizer, params, 0, 4)
    assert not any(torch.equal(param, value) for param, value in zip(params, before, strict=True))
    assert all(param.dtype == dtype and torch.isfinite(param).all() for param in params)
    if isinstance(optimizer, mt.Lookahead):
        wide = torch.promote_types(dtype, torch.float32)
        assert all(slow.dtype == wide for slow in optimizer.slow)


# PyTorch's habits ----------------------------------------------------------------------------------------------------


@each_loop
def test_it_is_an_optimizer_of_pytorch_with_all_that_the_one_inside_has(make):
    params = weights()
    inside = mt.Adam(params, lr=0.1)
    optimizer = make(inside)
    assert isinstance(optimizer, torch.optim.Optimizer) and isinstance(optimizer, optim.Lookahead | optim.SAM)
    assert optimizer.param_groups is inside.param_groups and optimizer.state is inside.state
    assert optimizer.defaults is inside.defaults and optimizer.lr == 0.1
    run(optimizer, params, 0, 3)
    assert optimizer.t == inside.t == 3 and optimizer.steps == (3, 3, 3)
    optimizer.lr = 0.2
    assert inside.param_groups[0]["lr"] == 0.2
    optimizer.zero_grad(set_to_none=False)
    assert all((param.grad == 0).all() for param in params)
    optimizer.zero_grad()
    assert all(param.grad is None for param in params)
    assert repr(optimizer).startswith(f"{type(optimizer).__name__}(") and "Adam" in repr(optimizer)


@each_loop
def test_schedulers_work_on_it_and_do_not_warn(make, recwarn):
    params = weights()
    optimizer = make(mt.SGD(params, lr=1.0))
    for scheduler in (
        torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5),
        torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, 20, cycle_momentum=False),
        torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer),
    ):
        before = optimizer.param_groups[0]["lr"]
        optimizer.step(closure_of(params, 0))
        scheduler.step(*([1.0] if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) else []))
        assert isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) or optimizer.lr != before
    assert not recwarn.list
    twin = copy.deepcopy(optimizer)  # without what schedulers put in the place of its step
    assert "step" not in vars(twin) and twin.lr == optimizer.lr


@each_loop
def test_hooks_hear_of_every_step_once(make):
    params, heard = weights(), []
    inside = mt.SGD(params, lr=0.1)
    optimizer = make(inside)
    optimizer.register_step_pre_hook(lambda each, *_: heard.append(("before", each is inside)))
    optimizer.register_step_post_hook(lambda each, *_: heard.append(("after", each is inside)))
    optimizer.step(closure_of(params, 0))
    assert heard == [("before", True), ("after", True)]


@each_loop
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_copies_go_on_by_themselves_to_the_same_bits(make, copied):
    params = weights()
    optimizer = make(mt.AdamW(params, lr=0.1))
    run(optimizer, params, 0, 4)
    twin = copied(optimizer)
    theirs = [param for group in twin.param_groups for param in group["params"]]
    run(optimizer, params, 4, 9)
    before = values(params)
    run(twin, theirs, 4, 9)
    assert same(theirs, before) and same(params, before)


@each_loop
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_run_that_is_resumed_has_the_bits_of_one_that_was_not_stopped(make, named, dtype):
    def fresh(order=(0, 1, 2)):
        params = weights(dtype)
        given = [(f"w{i}", params[i]) if named else params[i] for i in order]
        return params, make(mt.Adam([{"params": given[:2]}, {"params": given[2:]}], lr=0.1))

    params, optimizer = fresh()
    run(optimizer, params, 0, 7)
    file = io.BytesIO()
    torch.save({"params": values(params), "optimizer": optimizer.state_dict()}, file)
    run(optimizer, params, 7, 15)
    file.seek(0)
    saved = torch.load(file)  # with weights_only
    others, resumed = fresh((1, 0, 2) if named else (0, 1, 2))
    with torch.no_grad():
        for param, value in zip(others, saved["params"], strict=True):
            param.copy_(value)
    resumed.load_state_dict(saved["optimizer"])
    run(resumed, others, 7, 15)
    assert same(others, params)


@pytest.mark.parametrize(
    ("target", "source", "words"),
    [
        (
            lambda p: mt.Lookahead(mt.SGD(p)),
            mt.SGD,
            "Lookahead.load_state_dict: state_dict must be that of Lookahead; got",
        ),
        (
            lambda p: mt.Lookahead(mt.SGD(p)),
            torch.optim.SGD,
            "Lookahead.load_state_dict: .*; got 'that of an optimizer w",
        ),
        (lambda p: mt.SAM(mt.SGD(p)), lambda p: mt.Lookahead(mt.SGD(p)), "SAM.load_state_dict: .*; got 'Lookahead'"),
        (
            mt.SGD,
            lambda p: mt.Lookahead(mt.SGD(p)),
            r"SGD.load_state_dict: .* a loop around it; got \['Lookahead'",
        ),
        (lambda p: mt.Lookahead(mt.SGD(p)), lambda p: mt.Lookahead(mt.Adam(p)), "SGD.load_state_dict, group 0"),
        (
            lambda p: mt.Lookahead(mt.SGD(p)),
            lambda p: mt.Lookahead(mt.SGD(p[:2])),
            "Lookahead.load_state_dict: group 0 of state_dict must have as many parameters as here, 3; got 2",
        ),
        (
            lambda p: mt.Lookahead(mt.SGD(p)),
            lambda p: mt.Lookahead(mt.SGD([{"params": p[:2]}, {"params": p[2:]}])),
            "Lookahead.load_state_dict: state_dict must have as many groups as the optimizer, 1; got 2",
        ),
        (
            lambda p: mt.Lookahead(mt.SGD(p)),
            lambda p: mt.Lookahead(mt.SGD([p[1].detach().requires_grad_(), p[0], p[2]])),
            r"must have the slow weights of parameter 0, of shape \(6, 4\); got \(3, 5\)",
        ),
    ],
)
def test_the_state_of_another_loop_or_algorithm_is_refused_and_nothing_is_loaded(target, source, words):
    params = weights()
    optimizer = target(params)
    run(optimizer, params, 0, 3)
    given, before = source(weights()).state_dict(), optimizer.state_dict()
    with pytest.raises(ValueError, match=words):
        optimizer.load_state_dict(given)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"] and str(after) == str(before)


def test_what_is_no_optimizer_of_minima_torch_is_refused_in_a_sentence():
    params = weights()
    for wrong in (torch.optim.SGD(params), params, None, optim.SGD([Tensor([1.0])])):
        with pytest.raises(TypeError, match="Lookahead: optimizer must be one of minima.torch, or a loop around one"):
            mt.Lookahead(wrong)
    with pytest.raises(TypeError, match=r"SAM: optimizer must be an optimizer, and not its class; .*write SAM\(SGD\("):
        mt.SAM(mt.SGD)
    with pytest.raises(TypeError, match="must be one of minima.optim"):
        optim.Lookahead(mt.SGD(params))


def test_groups_may_come_and_be_exchanged():
    params = weights()
    optimizer = mt.SAM(mt.Lookahead(mt.SGD(params[:1], lr=0.1), k=2), rho=0.3)
    optimizer.add_param_group({"params": params[1:2]})
    optimizer.param_groups.append({**optimizer.param_groups[0], "params": params[2:]})
    others = weights()
    whole = mt.SAM(mt.Lookahead(mt.SGD([{"params": [param]} for param in others], lr=0.1), k=2), rho=0.3)
    run(optimizer, params, 0, 6)
    run(whole, others, 0, 6)
    assert same(params, others)


def test_slow_weights_are_lent_and_the_parameters_come_back_to_the_last_bit():
    params = weights(torch.bfloat16)
    optimizer = mt.Lookahead(mt.Adam(params, lr=0.1), k=3)
    run(optimizer, params, 0, 4)
    own, slow = values(params), [value.bfloat16() for value in optimizer.slow]
    with pytest.raises(RuntimeError, match=r"Adam.step: the parameters hold their averages; leave averaged\(\) first"):
        with optimizer.averaged():
            assert same(params, slow)
            optimizer.step()
    assert same(params, own) and not same(params, slow)
    averaging = mt.Lookahead(mt.SGD(params, lr=0.1, ema_decay=0.5), k=3)
    run(averaging, params, 0, 1)
    with averaging.averaged():
        assert not same(params, averaging.slow)


# SAM -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_parameters_and_buffers_come_back_to_the_last_bit_if_the_second_closure_raises(dtype):
    params = weights(dtype)
    buffer = torch.nn.Module()
    buffer.register_buffer("seen", torch.zeros(2))
    optimizer = mt.SAM(mt.SGD(params, lr=0.1), rho=3.0, model=buffer)
    seen = []

    def closure():
        seen.append(values(params))
        buffer.seen += 1
        closure_of(params, 0)()
        if len(seen) == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        optimizer.step(closure)
    assert same(params, seen[0]) and not same(params, seen[1])
    assert buffer.seen.tolist() == [1, 1] and optimizer.t == 0 and not optimizer.is_perturbed


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))


@pytest.mark.parametrize("by_hand", [False, True])
def test_running_statistics_know_nothing_of_the_worst_point_if_the_model_is_given(by_hand):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))

    def trained(with_model, rho=0.5):
        model = network()
        optimizer = mt.SAM(mt.SGD(model, lr=0.1), rho=rho, model=model if with_model else None)

        def closure():
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            return loss

        if by_hand:
            closure()
            optimizer.first_step()
            closure()
            optimizer.second_step()
        else:
            optimizer.step(closure)
        return values(model.buffers())

    alone = trained(True, rho=0.0)
    assert same(trained(True), alone) and alone[2] == 1 and trained(False)[2] == 2


def test_a_scaler_of_gradients_calls_the_second_step_or_leaves_it_out():
    params, others = weights(torch.float32), weights(torch.float32)
    scaled, plain = mt.SAM(mt.SGD(params, lr=0.1), rho=0.3), mt.SAM(mt.SGD(others, lr=0.1), rho=0.3)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)

    def gradients(step, bad=False):
        for param in params:
            param.grad = None
        closure_of(params, step)()
        for param in params:
            param.grad *= scaler.get_scale()
        if bad:
            params[0].grad[0, 0] = math.inf

    scaler.scale(torch.ones(()))
    for step in range(3):
        before = values(params)
        gradients(step)
        scaled.first_step(zero_grad=True)
        gradients(step, bad=step == 1)
        scaler.step(scaled)
        scaled.restore()
        scaler.update()
        if step == 1:
            assert same(params, before)
        else:
            plain.step(closure_of(others, step))
    assert scaled.t == 2 and scaler.get_scale() == 128
    for param, other in zip(params, others, strict=True):
        torch.testing.assert_close(param, other, rtol=1e-4, atol=1e-5)


def test_a_compiled_function_may_take_the_steps(monkeypatch):
    params, others = weights(), weights()
    optimizer, plain = (mt.Lookahead(mt.SGD(each, lr=0.1), k=2) for each in (params, others))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    calls = []

    def uncompiled(self, *given):
        calls.append(given)
        monkeypatch.undo()
        return self.step()

    monkeypatch.setattr(type(optimizer), "_uncompiled_step", uncompiled)
    closure_of(params, 0)()
    optimizer.step()
    closure_of(others, 0)()
    plain.step()
    assert calls == [(None, None, False)] and same(params, others)


def test_slow_weights_follow_a_parameter_to_another_device():
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = mt.Lookahead(mt.SGD([w], lr=0.1), k=2)
    moved = torch.ones(3, device="meta")
    optimizer._slow = {id(w): (moved, optimizer.slow[0])}  # as if it were the same parameter, on another device
    optimizer._slow[id(moved)] = optimizer._slow[id(w)]
    assert optimizer.slow[0].device == moved.device


def test_in_a_notebook_a_loop_shows_the_text_of_pytorch_s_optimizer():
    inner = mt.AdamW([torch.nn.Parameter(torch.ones(3))])
    shown = mt.Lookahead(inner)._repr_markdown_()
    assert shown.startswith("## Lookahead\n\n`") and shown.endswith(f", around:\n\n```text\n{inner!r}\n```")
