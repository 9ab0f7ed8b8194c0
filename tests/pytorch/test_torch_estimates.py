"""Rules that take estimates into their state, inside PyTorch: on every engine, in every precision, beside autograd."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch

import minima.torch as mt
from minima import Tensor, optim

SHAPES = ((6, 4), (3, 5), (7,), (), (0,), (300,), (2, 3, 4, 5))
HYPERS = {"lr": 0.2, "rho": 0.1, "betas": (0.9, 0.7), "weight_decay": 0.1}
each_engine = pytest.mark.parametrize("engine", ["fused", "reference", "torch"])


def weights(dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)) for shape in SHAPES]


def give(params, seed):
    draw = torch.Generator().manual_seed(seed)
    for param in params:
        param.grad = (torch.randn(param.shape, generator=draw, dtype=torch.float64) + 0.5).to(param.dtype)


def trained(optimizer, begin=0, end=7):
    """Steps, with an estimate in front of each third."""
    params = optimizer.param_groups[0]["params"]
    for step in range(begin, end):
        if step % 3 == 1:
            give(params, 100 + step)
            optimizer.update_hessian()
        give(params, step)
        optimizer.step()
    return params


def everything(optimizer):
    params = optimizer.param_groups[0]["params"]
    return [{"param": param.detach(), **optimizer.state[param]} for param in params]


def assert_same(one, other, **close):
    for mine, theirs in zip(one, other, strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            torch.testing.assert_close(value, theirs[name], equal_nan=True, **close or {"rtol": 0, "atol": 0})


@each_engine
@pytest.mark.parametrize("estimator", ["gauss_newton", "hutchinson"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str)
def test_both_faces_give_the_same(dtype, estimator, engine):
    optimizer = mt.SophiaG(weights(dtype), **HYPERS, estimator=estimator, batch_size=3.0, engine=engine)
    params = trained(optimizer)
    name = str(dtype).removeprefix("torch.")
    tensors = [Tensor(x.detach().numpy().copy(), dtype=name, requires_grad=True) for x in weights(dtype)]
    hypers = {"lr": 0.2, "rho": 0.1, "beta1": 0.9, "beta2": 0.7, "weight_decay": 0.1}
    other = optim.SophiaG(tensors, **hypers, estimator=estimator, batch_size=3.0, engine="reference")
    for step in range(7):
        for seed in ([100 + step] if step % 3 == 1 else []) + [step]:
            give(params, seed)
            for tensor, param in zip(tensors, params, strict=True):
                tensor.grad = Tensor(param.grad.numpy().copy(), dtype=name)
            other.update_hessian() if seed > 99 else other.step()
    off = (
        {"rtol": 1e-3 if dtype == torch.float16 else 1e-5, "atol": 1e-6}
        if engine == "torch"
        else {"rtol": 0, "atol": 0}
    )
    for place, param in enumerate(params):
        pairs = {"param": (param.detach(), tensors[place].detach().numpy())}
        pairs |= {
            key: (optimizer.state[param][key], getattr(other, key)[place].numpy()) for key in ("exp_avg", "hessian")
        }
        for found, wanted in pairs.values():
            np.testing.assert_allclose(found.numpy(), wanted, **off)


@each_engine
def test_an_estimate_counts_no_step_and_marks_no_parameter_as_written_to(engine):
    """Gradients of another loss, of the same predictions, may still be computed behind it."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    optimizer = mt.SophiaG(model, **HYPERS, batch_size=16, engine=engine)
    logits = model(torch.randn(16, 4))
    sampled = torch.distributions.Categorical(logits=logits.detach()).sample()
    torch.nn.functional.cross_entropy(logits, sampled).backward(retain_graph=True)
    params, versions = list(model.parameters()), [param._version for param in model.parameters()]
    before, grads = [x.detach().clone() for x in params], [x.grad.clone() for x in params]
    optimizer.update_hessian()
    assert versions == [param._version for param in params] and optimizer.steps == (0,) * 4 and optimizer.t == 0
    for param, old, grad in zip(params, before, grads, strict=True):
        kept = optimizer.state[param]
        assert torch.equal(param, old) and torch.equal(param.grad, grad) and kept["step"] == 0
        torch.testing.assert_close(kept["hessian"], 0.3 * 16 * grad**2)
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(logits, torch.zeros(16, dtype=torch.long)).backward()
    optimizer.step()
    assert optimizer.steps == (1,) * 4 and not torch.equal(params[0], before[0])


HALVES = [
    (torch.bfloat16, {}),
    (torch.bfloat16, {"rounding": "master"}),
    (torch.bfloat16, {"rounding": "nearest", "state_dtype": "float32"}),
    (torch.float16, {"rounding": "stochastic", "state_dtype": "bfloat16"}),
    (torch.float16, {"rounding": "master"}),
    (torch.float32, {"state_dtype": "bfloat16"}),
    (torch.float32, {"state_dtype": "int8"}),
    (torch.bfloat16, {"state_dtype": "int8", "estimator": "hutchinson"}),
]


@pytest.mark.parametrize("dtype, options", HALVES, ids=str)
def test_half_precision_does_the_same_on_every_engine(dtype, options):
    found = []
    for engine in ("reference", "fused", "torch"):
        if engine == "torch" and options.get("state_dtype") == "int8":
            continue
        optimizer = mt.SophiaG(weights(dtype), **HYPERS, engine=engine, **options)
        trained(optimizer)
        found.append(everything(optimizer))
    assert_same(found[1], found[0])
    if len(found) > 2:
        assert_same(found[2], found[0], rtol=2e-2, atol=2e-2)


@each_engine
@pytest.mark.parametrize("dtype, options", HALVES, ids=str)
def test_steps_leave_the_estimate_alone_to_the_bit(dtype, options, engine):
    if engine == "torch" and options.get("state_dtype") == "int8":
        pytest.skip("which this engine does not keep")
    optimizer = mt.SophiaG(weights(dtype), **HYPERS, engine=engine, **options)
    params = trained(optimizer, 0, 2)

    def kept():
        return [{k: v.clone() for k, v in optimizer.state[x].items() if k.startswith("hessian")} for x in params]

    before = kept()
    for step in range(5):
        give(params, step)
        optimizer.step()
    assert all(before) and before[0].keys() == kept()[0].keys()
    assert_same(kept(), before)


@each_engine
def test_layouts_of_memory_and_parameters_without_gradients_do_not_count(engine):
    found = []
    for change in (lambda x: x.to(memory_format=torch.channels_last), torch.Tensor.contiguous):
        param = torch.nn.Parameter(change(torch.linspace(-1, 1, 120).view(2, 3, 4, 5)))
        idle = torch.nn.Parameter(torch.ones(3))
        optimizer = mt.SophiaG([param, idle], **HYPERS, engine=engine)
        for step in range(3):
            param.grad = torch.linspace(-1, 2, param.numel()).view(param.shape) * (step + 1)
            optimizer.update_hessian()
            optimizer.step()
        assert idle not in optimizer.state or optimizer.state[idle].get("step", 0) == 0
        found.append((param.detach().contiguous(), optimizer.state[param]["hessian"].contiguous()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("engine", ["fused", "reference", "torch"])
def test_complex_numbers_count_as_pairs(engine):
    found = []
    for dtype in (torch.complex64, torch.float32):
        draw = torch.Generator().manual_seed(0)
        param = torch.randn((3, 4), generator=draw, dtype=torch.complex64)
        param = torch.nn.Parameter(param if dtype.is_complex else torch.view_as_real(param).contiguous())
        optimizer = mt.SophiaG([param], **HYPERS, engine=engine)
        for _ in range(3):
            grad = torch.randn((3, 4), generator=draw, dtype=torch.complex64)
            param.grad = grad if dtype.is_complex else torch.view_as_real(grad).contiguous()
            optimizer.update_hessian()
            optimizer.step()
        values = param.detach(), optimizer.state[param]["hessian"]
        found.append([torch.view_as_real(x) if x.is_complex() else x for x in values])
    torch.testing.assert_close(found[0], found[1], rtol=1e-6, atol=1e-7)


def by_file(optimizer, make):
    file = io.BytesIO()
    params = optimizer.param_groups[0]["params"]
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other = make([torch.nn.Parameter(param.detach().clone()) for param in params])
    other.load_state_dict(torch.load(file, weights_only=True))
    return other


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "int8"])
@pytest.mark.parametrize(
    "way",
    [by_file, lambda x, _: copy.deepcopy(x), lambda x, _: pickle.loads(pickle.dumps(x))],
    ids=["file", "copy", "pickle"],
)
@pytest.mark.parametrize("begun", [0, 2, 4])
def test_a_run_that_goes_on_elsewhere_goes_on_alike(begun, way, state_dtype):
    def make(params):
        return mt.SophiaG(params, **HYPERS, state_dtype=state_dtype)

    optimizer = make(weights(torch.float32))
    if begun:
        trained(optimizer, 0, begun)
    else:  # an estimate, and no step
        give(optimizer.param_groups[0]["params"], 0)
        optimizer.update_hessian()
    other = way(optimizer, make)
    for each in (optimizer, other):
        trained(each, begun, begun + 5)
    assert_same(everything(other), everything(optimizer))


@pytest.mark.parametrize("on_nonfinite", ["propagate", "raise", "skip"])
@each_engine
def test_an_estimate_that_is_not_finite_is_treated_as_on_nonfinite_says(on_nonfinite, engine):
    optimizer = mt.SophiaG(weights(), **HYPERS, on_nonfinite=on_nonfinite, engine=engine)
    params = trained(optimizer)
    give(params, 0)
    params[2].grad[3] = torch.inf
    before = copy.deepcopy(everything(optimizer))
    if on_nonfinite == "raise":
        words = r"^SophiaG.update_estimate: gradient of parameter 2 is not finite; nothing was changed$"
        with pytest.raises(FloatingPointError, match=words):
            optimizer.update_hessian()
    else:
        optimizer.update_hessian()
    if on_nonfinite != "propagate":
        assert_same(everything(optimizer), before)
    assert torch.isinf(optimizer.state[params[2]]["hessian"]).sum() == (on_nonfinite == "propagate")
    assert optimizer.skipped == 0


def test_what_cannot_be_is_said_in_a_sentence():
    w = torch.nn.Parameter(torch.ones(3))
    with pytest.raises(TypeError, match=r"^SGD.update_estimate: the rule takes no estimates; they are for rules that"):
        mt.SGD([w], lr=0.1).update_estimate()
    assert not hasattr(mt.SGD([w], lr=0.1), "update_hessian")
    optimizer = mt.SophiaG([w])
    w.grad = torch.eye(3)[0].to_sparse()
    with pytest.raises(TypeError, match=r"^SophiaG.update_estimate: gradient of parameter 0 must not be sparse"):
        optimizer.update_hessian()
    w.grad = torch.ones(3)
    with optimizer._held.stepper.alone("test"):
        optimizer._held.stepper.tenure.blocks = 1
        with pytest.raises(RuntimeError, match=r"^SophiaG.update_estimate: the parameters hold their averages"):
            optimizer.update_hessian()
        optimizer._held.stepper.tenure.blocks = 0
    optimizer.update_hessian()


def test_hooks_and_schedulers_hear_of_steps_and_of_no_estimate():
    w = torch.nn.Parameter(torch.ones(3))
    optimizer, heard = mt.SophiaG([w], lr=0.1), []
    optimizer.register_step_post_hook(lambda *_: heard.append("step"))
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    w.grad = torch.ones(3)
    optimizer.update_hessian()
    assert heard == []
    optimizer.step()
    scheduler.step()
    assert heard == ["step"] and optimizer.lr == 0.05


def test_a_user_s_rule_has_the_names_of_its_state():
    class Curved(optim.Optimizer):
        lr: float = optim.hyper(0.1, low=0)

        @staticmethod
        def update(param, grad, curvature, *, lr):
            return param - lr * grad / (1 + curvature), curvature

        @staticmethod
        def estimate(grad, curvature):
            return curvature + abs(grad)

    w = torch.nn.Parameter(torch.ones(2))
    optimizer = mt.adapt(Curved)([w])
    w.grad = torch.tensor([1.0, -3.0])
    optimizer.update_curvature()
    optimizer.update_estimate()
    optimizer.step()
    torch.testing.assert_close(w.detach(), torch.tensor([1 - 0.1 / 3, 1 + 0.3 / 7]))
