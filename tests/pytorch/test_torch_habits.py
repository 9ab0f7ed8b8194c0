"""What people do with optimizers of PyTorch works with ours: groups, hooks, schedulers, scalers, averages, closures."""

import copy
import gc
import inspect
import math
import weakref

import numpy as np
import pytest
import torch
from tensors import EXACT, MINE, SETTINGS, Lion, Odd, arrays, assert_same, own, parameters, steps
from torch.optim import lr_scheduler as schedulers
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils._python_dispatch import TorchDispatchMode

from minima import optim
from minima import torch as mt
from minima.optim import Optimizer, hyper
from minima.optim.language.declaration import CHOICES

each = pytest.mark.parametrize("cls", MINE, ids=lambda cls: cls.__name__)


def tensor(*values):
    return torch.tensor(values or (1.0, 2.0), requires_grad=True)


# Classes -------------------------------------------------------------------------------------------------------------


HABITS = {
    own.SGD: "lr momentum weight_decay dampening nesterov dampen_first",
    own.AdaGrad: "lr weight_decay eps eps_inside initial lr_decay",
    own.RMSProp: "lr weight_decay eps rho eps_inside momentum centered",
    own.Adam: "lr betas eps weight_decay amsgrad eps_hat eps_root max_hat",
    mt.adapt(Lion): "lr betas weight_decay",
    mt.adapt(Odd): "lr warm rough weight_decay",
}


@pytest.mark.parametrize("cls", HABITS, ids=lambda cls: cls.__name__)
def test_a_class_is_one_of_pytorch_s_with_the_arguments_of_its_rule_in_pytorch_s_habits(cls):
    assert issubclass(cls, torch.optim.Optimizer) and issubclass(cls, mt.Optimizer)
    mine, theirs = inspect.signature(cls).parameters, inspect.signature(cls.rule).parameters
    others = {"groups": None, "engine": None, "state_dtype": None, "decay": "decoupled", "maximize": False}
    others |= {"cautious": False, "max_norm": None, "ema_decay": None}
    others |= {"rounding": None, "seed": 0, "on_nonfinite": "propagate", "capturable": False}
    assert {*mine} == {"params", *HABITS[cls].split(), *others}
    assert [name for name in mine if name in HABITS[cls].split()] == HABITS[cls].split()
    for name in mine.keys() - others.keys() - {"betas"}:
        same = theirs[name if name in theirs else "wd"]
        assert (mine[name].default, mine[name].kind) == (same.default, same.kind)
    if "betas" in mine:
        assert mine["betas"].default == (theirs["beta1"].default, theirs["beta2"].default)
    assert {name: mine[name].default for name in others} == others
    assert {*cls([tensor()]).param_groups[0]} == {"params", *HABITS[cls].split(), *CHOICES}


def test_every_optimizer_of_minima_is_there():
    rules = {name for name in optim.__all__ if getattr(getattr(optim, name), "rule", None) is not None}
    pytorchs = {"SGD", "ASGD", "Adagrad", "Adadelta", "RMSprop", "Rprop", "Adam", "AdamW", "Adamax", "NAdam", "RAdam"}
    pytorchs |= {"Adafactor", "Muon"}
    found = {name for name in mt.__all__ if getattr(getattr(mt, name), "rule", None) is not None}
    assert found == rules - {"AdaDelta", "AdaGrad", "RMSProp", "AdaMax"} | pytorchs
    for name in found:
        cls, is_theirs = getattr(mt, name), name in pytorchs
        assert cls.__name__ == name and (cls is mt.adapt(cls.rule)) is not is_theirs
        assert (f"torch.optim.{name}" if is_theirs else "Args:") in inspect.getdoc(cls) and ">>>" not in cls.__doc__


@pytest.mark.parametrize(
    "name, theirs",
    [("RMSProp", "RMSprop"), ("AdaGrad", "Adagrad"), ("AdaMax", "Adamax"), ("AdaDelta", "Adadelta")],
)
def test_a_name_that_pytorch_spells_otherwise_says_so(name, theirs):
    words = f"minima.torch: there is no {name}; PyTorch's algorithm is called {theirs}"
    with pytest.raises(AttributeError, match=f"^{words}; minima's own is adapt\\(minima.optim.{name}\\)$"):
        getattr(mt, name)


def test_adapt_gives_one_class_for_one_rule():
    assert mt.adapt(Lion) is mt.adapt(Lion) and mt.adapt(Lion).__name__ == "Lion"
    assert "Optimizer of PyTorch" not in (mt.adapt(Odd).__doc__ or "") and "words" in mt.adapt(Odd).__doc__


def test_what_is_no_rule_is_refused():
    class Imperative(Optimizer):
        def step(self):
            pass

    class Keeping(Optimizer):
        lr: float = hyper(0.1, low=0)

        @staticmethod
        def update(param, grad, master, *, lr):
            return param - lr * grad, master

    for wrong, message in (
        (Imperative, "has no rule"),
        (Keeping, "master"),
        (torch.optim.Adam, "subclass"),
        (3, "subclass"),
    ):
        with pytest.raises(TypeError, match=f"adapt: .*{message}"):
            mt.adapt(wrong)


@each
def test_a_subclass_is_an_optimizer_too(cls):
    class Mine(cls):
        pass

    params = parameters()
    steps(Mine(params, lr=0.1), params, 2)


# Constructors and groups ---------------------------------------------------------------------------------------------


def test_groups_have_hyperparameters_of_their_own(engine):
    v, w = tensor(1.0), tensor(1.0)
    optimizer = own.SGD(
        [{"params": [v], "lr": 0.5, "tag": "x"}, {"params": w, "weight_decay": 0.5}], lr=0.25, engine=engine
    )
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.25]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.5]
    assert optimizer.param_groups[0]["tag"] == "x"
    v.grad, w.grad = torch.ones(1), torch.ones(1)
    optimizer.step()
    assert v.item() == 0.5 and w.item() == 1 - 0.125 - 0.25
    u = tensor(1.0)
    optimizer.add_param_group({"params": [u], "lr": 1.0})
    u.grad = torch.ones(1)
    optimizer.step()
    assert u.item() == 0.0 and v.item() == 0.0


def test_a_group_may_be_written_to_at_any_time(engine):
    w = tensor(1.0)
    optimizer = own.SGD([w], lr=0.5, engine=engine)
    w.grad = torch.ones(1)
    optimizer.step()
    group = optimizer.param_groups[0]
    group["lr"] = 0.25
    optimizer.step()
    assert w.item() == 0.25
    group["momentum"], group["dampening"], group["nesterov"] = 0.5, 0.0, True
    optimizer.step()
    assert optimizer.state[w]["u"].item() == 1.0 and w.item() == 0.25 - 0.25 * 1.5
    group["lr"] = -1.0
    before = w.item()
    with pytest.raises(ValueError, match=r"SGD.*lr must lie in \[0, inf\); got -1.0"):
        optimizer.step()
    assert w.item() == before
    group["lr"] = 0.0
    optimizer.step()
    assert w.item() == before


def test_a_learning_rate_may_be_a_tensor(engine):
    w, v = tensor(1.0, -2.0), tensor(1.0, -2.0)
    lr = torch.tensor(0.5, dtype=torch.float64)
    optimizer, other = own.Adam([w], lr=lr, weight_decay=0.1, engine=engine), own.Adam([v], lr=0.5, weight_decay=0.1)
    assert optimizer.param_groups[0]["lr"] is lr
    for value in (0.5, 0.125, 0.25):
        lr.fill_(value)
        other.param_groups[0]["lr"] = value
        for param, by in ((w, optimizer), (v, other)):
            param.grad = param.detach() ** 2
            by.step()
        torch.testing.assert_close(w, v)


def test_parameters_may_have_names():
    net = torch.nn.Linear(2, 3)
    optimizer = own.Adam(net.named_parameters())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    net.bias.grad = torch.ones(4)[:3].to_sparse()
    with pytest.raises(TypeError, match=r"Adam.step: gradient of parameter 1 \('bias'\) must not be sparse"):
        optimizer.step()


MISTAKES = [
    (lambda: own.Adam(tensor()), TypeError, "iterable"),
    (lambda: own.Adam([]), ValueError, "empty"),
    (
        lambda: own.Adam([torch.ones(2).to(torch.float8_e4m3fn).requires_grad_()]),
        TypeError,
        "Adam: parameter 0 must have 16 bits at least; got 'torch.float8_e4m3fn'",
    ),
    (lambda: own.Adam([tensor()], beta3=1), TypeError, "Adam: there is no hyperparameter 'beta3'; did you mean beta"),
    (lambda: own.Adam([tensor()], lr=-1), ValueError, r"Adam: lr must lie in \[0, inf\); got -1.0"),
    (lambda: own.Adam([tensor()], lr=torch.tensor(-1.0)), ValueError, r"Adam: lr must lie in \[0, inf\); got -1.0"),
    (
        lambda: own.Adam([tensor()], lr=torch.ones(2)),
        ValueError,
        "Adam: lr must be a number, or a tensor of a single one",
    ),
    (
        lambda: own.Adam([tensor()], lr=lambda t: -0.1),
        ValueError,
        r"Adam, at step 0: lr must lie in \[0, inf\); got -0.1",
    ),
    (lambda: own.Adam([tensor()], wd=0.1, weight_decay=0.1), TypeError, "given twice"),
    (lambda: own.Adam([{"params": [tensor()], "wd": 0.1, "weight_decay": 0.1}]), TypeError, "given twice"),
    (
        lambda: own.Adam([{"params": [tensor()], "beta2": 1.0}]),
        ValueError,
        r"Adam: beta2 must lie in \[0, 1\); got 1.0",
    ),
    (
        lambda: own.Adam([tensor()], engine="cuda"),
        ValueError,
        "Adam: engine must be one of 'fused', 'reference', 'torch'",
    ),
    (
        lambda: own.Adam([tensor()], state_dtype="int4"),
        ValueError,
        "Adam: state_dtype must be None, 'float32', 'bfloat16' or 'int8'",
    ),
    (lambda: own.Adam([tensor()], decay="none"), ValueError, "Adam: decay must be one of"),
    (
        lambda: own.Adam([tensor()], rounding="up"),
        ValueError,
        "Adam: rounding must be one of 'stochastic', 'nearest', 'mas",
    ),
    (lambda: own.Adam([tensor()], seed=-1), ValueError, "Adam: seed must be an integer of at least 0"),
    (
        lambda: own.Adam([tensor()], state_dtype="int8", engine="torch"),
        ValueError,
        "Adam: state_dtype 'int8' is for the fused",
    ),
    (
        lambda: own.Adam([torch.ones(2, device="meta")], engine="fused"),
        ValueError,
        "Adam: engine 'fused' is for the CPU",
    ),
    (lambda: own.Adam([tensor()], 0.1, (0.9, 0.9), 0.1, 0.1, 0.1), TypeError, "Adam: takes at most 5 positional"),
]


@pytest.mark.parametrize("make, error, message", MISTAKES, ids=[row[2] for row in MISTAKES])
def test_a_mistake_is_answered_in_one_sentence(make, error, message):
    with pytest.raises(error, match=message):
        make()


EIGHT = torch.ones(2).to(torch.float8_e4m3fn).requires_grad_()
LATER = [
    ({"params": [tensor(), EIGHT]}, TypeError, "Adam: parameter 1 must have 16 bits at least"),
    ({"params": [torch.ones(2, device="meta")]}, ValueError, "Adam: engine 'fused' is for the CPU"),
    ({"params": [tensor()], "betas": 0.9}, ValueError, "Adam: betas must be a pair of numbers; got 0.9"),
    ({"params": [tensor()], "betas": (0.9, 0.9, 0.9)}, ValueError, "Adam: betas must be a pair of numbers"),
    ({"params": [tensor()], "betas": (0.9, 1.5)}, ValueError, r"Adam: beta2 must lie in \[0, 1\); got 1.5"),
]


@pytest.mark.parametrize("group, error, message", LATER, ids=[row[2] for row in LATER])
def test_a_group_that_is_refused_is_not_added(group, error, message):
    optimizer = own.Adam([tensor()], engine="fused")
    with pytest.raises(error, match=message):
        optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
def test_a_tensor_given_twice_is_refused():
    w = tensor()
    with pytest.raises(ValueError, match=r"Adam: parameter 1 \('b'\) is parameter 0 \('a'\) again"):
        own.Adam([("a", w), ("b", w)])


def test_a_tensor_whose_elements_share_memory_is_refused_before_anything_changes(engine):
    v, w = tensor(), torch.ones(1).expand(2).requires_grad_()
    optimizer = own.SGD([v, w], lr=0.1, engine=engine)
    v.grad, w.grad = torch.ones(2), torch.ones(2)
    with pytest.raises(ValueError, match="SGD.step: parameter 1 must have a place in memory for each"):
        optimizer.step()
    assert v.tolist() == [1.0, 2.0] and not optimizer.state[w]


def test_a_view_that_conjugates_or_negates_is_refused_instead_of_left_where_it_is(engine):
    for w in (torch.tensor([1 + 2j]).conj(), torch.tensor([1 + 2j]).conj().imag):
        w = w.detach().requires_grad_()
        optimizer = own.SGD([w], lr=0.1, engine=engine)
        w.grad = torch.ones_like(w)
        with pytest.raises(
            ValueError, match="SGD.step: parameter 0 must not be a conjugated or negated view; make it by"
        ):
            optimizer.step()


def test_a_constructor_takes_betas_as_pytorch_s_does():
    optimizer = own.Adam([tensor()], lr=0.1, betas=(0.5, 0.25))
    assert optimizer.defaults["betas"] == (0.5, 0.25) and optimizer.param_groups[0]["betas"] == (0.5, 0.25)
    for pair in ([0.5, 0.25], np.array([0.5, 0.25]), (x for x in (0.5, 0.25))):  # as readers of settings give them
        assert own.Adam([tensor()], betas=pair).param_groups[0]["betas"] == (0.5, 0.25)
    for wrong, words in (
        ({"betas": {0.5: 1, 0.25: 2}}, "Adam: betas must be a pair of numbers; got {0.5: 1, 0.25: 2}"),
        ({"betas": 0.5}, "Adam: betas must be a pair of numbers; got 0.5"),
        ({"betas": (0.5, 1.0)}, r"Adam: beta2 must lie in \[0, 1\); got 1.0"),
        ({"betas": (0.5, 0.5), "beta2": 0.5}, "Adam: beta2 is given twice; betas are beta1 and beta2"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^{words}$"):
            own.Adam([tensor()], **wrong)
    with pytest.raises(TypeError, match="^Adam: betas is given twice"):
        own.Adam([tensor()], 0.1, (0.9, 0.9), betas=(0.5, 0.5))
    assert own.Adam([tensor()], beta2=0.5).param_groups[0]["betas"] == (0.9, 0.5)  # as the rule has it
    with pytest.raises(TypeError, match="^SGD: there is no hyperparameter 'betas'"):
        own.SGD([tensor()], betas=(0.5, 0.5))


def test_help_says_where_the_common_keywords_are_explained():
    for name in ("groups", "engine", "state_dtype", *CHOICES, "rounding", "seed", "on_nonfinite", "capturable"):
        assert f"``{name}``" in own.Adam.__doc__ and f"{name}: " in mt.Optimizer.__doc__


def test_a_gradient_that_does_not_fit_changes_nothing(engine):
    v, w = tensor(), tensor()
    optimizer = own.Adam([v, w], lr=0.1, engine=engine)
    v.grad, w.grad = torch.ones(2), torch.ones(2)
    optimizer.step()
    before = arrays(optimizer, [v, w])
    w.grad = torch.ones(2).to_sparse()
    with pytest.raises(TypeError, match="parameter 1 must not be sparse; .*SparseAdam"):
        optimizer.step()
    assert_same(arrays(optimizer, [v, w]), before, **EXACT)


def test_a_refused_step_holds_no_gradient(engine):
    v, w = tensor(), torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
    optimizer = own.SGD([v, w], engine=engine)
    v.grad, w.grad = torch.ones_like(v), torch.ones_like(w)
    optimizer.step()
    v.grad, w.grad = torch.ones_like(v), torch.ones_like(w).to_sparse()
    held = weakref.ref(v.grad)
    with pytest.raises(TypeError, match="sparse"):
        optimizer.step()
    optimizer.zero_grad()
    assert held() is None


@pytest.mark.parametrize("lr", [0.1, lambda t: 0.1 / (t + 1)])
def test_parameters_and_state_go_with_the_last_that_refers_to_them(lr, engine):
    params = [tensor(), torch.ones(2, dtype=torch.bfloat16, requires_grad=True), torch.ones(6, 6, requires_grad=True)]
    optimizer = own.Adam(params, lr=lr, engine=engine)
    for step in range(6):
        for param in params[step % 2 :]:
            param.grad = torch.ones_like(param)
        optimizer.step(measure=step == 3)
        optimizer.zero_grad()
    held = [weakref.ref(x) for param in params for x in (param, optimizer.state[param]["exp_avg"])]
    gc.collect()  # what others left behind
    gc.disable()
    try:
        del optimizer, params, param
        assert not any(ref() is not None for ref in held)
    finally:
        gc.enable()


def test_state_of_another_shape_is_refused():
    w = tensor()
    optimizer = own.Adam([w])
    w.grad = torch.ones(2)
    optimizer.step()
    optimizer.state[w]["exp_avg"] = torch.zeros(3)
    with pytest.raises(
        ValueError, match=r"Adam: the state of parameter 0 must have 'exp_avg' of shape \(2,\); got \(3,\)"
    ):
        optimizer.step()


# Steps ---------------------------------------------------------------------------------------------------------------


def test_a_closure_is_called_once_with_gradients_enabled_and_its_loss_is_returned(engine):
    w = tensor(1.0)
    optimizer = own.SGD([w], lr=0.5, engine=engine)

    def closure():
        optimizer.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 1.0
        assert optimizer.step(closure=closure).item() == 0.0
    assert w.item() == 0.0 and optimizer.step() is None


@pytest.mark.parametrize("wrong", [torch.tensor(0.5), 0.5, True], ids=repr)
def test_what_is_no_closure_is_refused_in_one_sentence(wrong):
    w = tensor(1.0)
    optimizer = own.SGD([w])
    w.grad = torch.ones(1)
    rule = (
        r"^SGD.step: closure must be a function that computes the loss; got .*; a loss is given as step\(loss=loss\)$"
    )
    with pytest.raises(TypeError, match=rule):
        optimizer.step(wrong)
    assert w.item() == 1.0


def test_hooks_are_called_and_may_be_taken_away(engine):
    w, seen = tensor(1.0), []
    optimizer = own.SGD([w], lr=0.5, engine=engine)
    w.grad = torch.ones(1)
    handles = [
        optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append(("pre", o is optimizer, w.item()))),
        optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append(("post", o is optimizer, w.item()))),
        register_optimizer_step_post_hook(lambda o, args, kwargs: seen.append("global")),
    ]
    optimizer.step()
    assert seen == [("pre", True, 1.0), ("post", True, 0.5), "global"]
    for handle in handles:
        handle.remove()
    optimizer.step()
    assert len(seen) == 3 and w.item() == 0.0


def test_hooks_of_a_subclass_that_overrides_step_are_called_once():
    class Mine(own.SGD):
        def step(self, closure=None):
            return super().step(closure)

    w, seen = tensor(1.0), []
    optimizer = Mine([w], lr=0.5)
    optimizer.register_step_post_hook(lambda *_: seen.append(1))
    w.grad = torch.ones(1)
    optimizer.step()
    assert seen == [1] and w.item() == 0.5


def test_the_profiler_sees_a_step():
    w = tensor(1.0)
    optimizer = own.SGD([w], lr=0.5)
    w.grad = torch.ones(1)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step()
    assert "Optimizer.step#SGD.step" in {event.key for event in profile.key_averages()}
    assert w.item() == 0.5


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad_is_pytorch_s(set_to_none):
    w = tensor()
    w.grad = torch.ones(2)
    optimizer = own.SGD([w])
    optimizer.zero_grad(set_to_none=set_to_none)
    assert w.grad is None if set_to_none else w.grad.tolist() == [0.0, 0.0]


def test_an_optimizer_may_step_in_backward(engine):
    params = [tensor(1.0, 2.0), tensor(3.0)]
    others = [param.detach().clone().requires_grad_() for param in params]
    by = {param: own.Adam([param], lr=0.1, engine=engine) for param in params}
    whole = own.Adam(others, lr=0.1, engine=engine)

    def hook(param):
        by[param].step()
        by[param].zero_grad()

    for param in params:
        param.register_post_accumulate_grad_hook(hook)
    for _ in range(3):
        sum((param**2).sum() for param in params).backward()
        sum((param**2).sum() for param in others).backward()
        whole.step()
        whole.zero_grad()
    for param, other in zip(params, others, strict=True):
        assert torch.equal(param, other) and param.grad is None


def test_clipping_and_the_scaler_go_before_a_step():
    w = tensor(3.0, 4.0)
    optimizer = own.SGD([w], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale((w**2).sum() / 2).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_([w], 1.0)
    scaler.step(optimizer)
    scaler.update()
    torch.testing.assert_close(w.detach(), torch.tensor([2.4, 3.2]))
    w.grad = torch.tensor([math.inf, 1.0])
    scaler.step(optimizer)
    torch.testing.assert_close(w.detach(), torch.tensor([2.4, 3.2]))


def test_weights_are_averaged_along_the_way():
    net = torch.nn.Linear(1, 1, bias=False)
    average = torch.optim.swa_utils.AveragedModel(net)
    optimizer = own.SGD(net.parameters(), lr=0.5)
    schedule = torch.optim.swa_utils.SWALR(optimizer, swa_lr=0.25, anneal_epochs=1)
    seen = []
    for _ in range(3):
        net.weight.grad = torch.ones(1, 1)
        optimizer.step()
        average.update_parameters(net)
        schedule.step()
        seen.append(net.weight.item())
    assert average.module.weight.item() == pytest.approx(sum(seen) / 3)
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_tensors_with_a_seat_in_the_graph_are_seen_by_it():
    w = tensor(1.0)
    optimizer = own.SGD([w], lr=0.5)
    loss = (w**3).sum()
    (w.grad,) = torch.autograd.grad(loss, [w], create_graph=True)  # the gradient itself has a graph
    optimizer.step()
    assert w.item() == -0.5 and w.requires_grad and w.is_leaf


# Schedulers ----------------------------------------------------------------------------------------------------------

SCHEDULERS = {
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda epoch: 0.9**epoch),
    "MultiplicativeLR": lambda o: schedulers.MultiplicativeLR(o, lambda epoch: 0.9),
    "StepLR": lambda o: schedulers.StepLR(o, 3),
    "MultiStepLR": lambda o: schedulers.MultiStepLR(o, [2, 5]),
    "ConstantLR": lambda o: schedulers.ConstantLR(o, 0.5, 3),
    "LinearLR": lambda o: schedulers.LinearLR(o, 0.5, total_iters=5),
    "ExponentialLR": lambda o: schedulers.ExponentialLR(o, 0.8),
    "PolynomialLR": lambda o: schedulers.PolynomialLR(o, 6),
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, 6),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 4),
    "CyclicLR": lambda o: schedulers.CyclicLR(o, 0.01, 0.1, step_size_up=3),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 0.1, total_steps=12),
    "ReduceLROnPlateau": lambda o: schedulers.ReduceLROnPlateau(o, patience=1),
    "SequentialLR": lambda o: schedulers.SequentialLR(
        o, [schedulers.ConstantLR(o, 0.1, 3), schedulers.ExponentialLR(o, 0.9)], [3]
    ),
    "ChainedScheduler": lambda o: schedulers.ChainedScheduler(
        [schedulers.ConstantLR(o, 0.1, 3), schedulers.ExponentialLR(o, 0.9)]
    ),
}


def test_every_scheduler_is_in_the_table():
    missing = set(schedulers.__all__) - SCHEDULERS.keys() - {"LRScheduler", "EPOCH_DEPRECATION_WARNING"}
    assert not missing


@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("pair", [(torch.optim.Adam, mt.Adam, {}), (torch.optim.SGD, mt.SGD, {"momentum": 0.9})])
def test_a_scheduler_does_to_ours_what_it_does_to_pytorch_s(pair, name, as_tensor):
    theirs, mine, options = pair
    values = []
    for make in (theirs, mine):
        w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
        rate = torch.tensor(0.1, dtype=torch.float64) if as_tensor else 0.1
        optimizer = make([w], lr=rate, **options)
        scheduler = SCHEDULERS[name](optimizer)
        for step in range(10):
            w.grad = w.detach() * 2 + 1
            optimizer.step()
            scheduler.step(1.0) if name == "ReduceLROnPlateau" else scheduler.step()
            if step == 4:
                kept = copy.deepcopy(scheduler.state_dict())
                scheduler.load_state_dict(kept)
            group = optimizer.param_groups[0]
            values.append(
                [float(group["lr"]), float(group["betas"][0] if "betas" in group else group["momentum"]), *w.tolist()]
            )
    torch.testing.assert_close(torch.tensor(values[10:]), torch.tensor(values[:10]), rtol=1e-6, atol=1e-9)


# Compilers -----------------------------------------------------------------------------------------------------------


def test_a_compiled_model_is_trained_and_a_compiled_step_steps():
    torch.manual_seed(0)
    nets = [torch.nn.Linear(3, 2) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [own.Adam(net.parameters(), lr=0.1) for net in nets]
    model = torch.compile(nets[1], backend="eager")
    x = torch.randn(5, 3)

    def training(net, optimizer):
        optimizer.zero_grad()
        net(x).square().sum().backward()
        optimizer.step()

    compiled = torch.compile(training, backend="eager")
    for _ in range(4):
        training(nets[0], optimizers[0])
        compiled(model, optimizers[1])
    for mine, other in zip(nets[1].parameters(), nets[0].parameters(), strict=True):
        assert torch.equal(mine, other)
    assert [int(kept["step"]) for kept in optimizers[1].state.values()] == [4, 4]


@pytest.mark.parametrize("cls", [own.SGD, own.AdaGrad, own.RMSProp, own.Adam], ids=lambda cls: cls.__name__)
def test_a_step_elsewhere_asks_for_many_tensors_at_a_time(cls):
    class Asked(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            asked.append(str(operation))
            return operation(*args, **kwargs or {})

    counts = []
    for many in (2, 12):
        params = [torch.ones(3, 4, device="meta", requires_grad=True) for _ in range(many)]
        for param in params:
            param.grad = torch.ones_like(param)
        optimizer = cls(params)
        optimizer.step()
        asked: list[str] = []
        with Asked():
            optimizer.step()
        # There is no division of a number by many tensors, and taking memory computes nothing.
        counts.append(len([name for name in asked if name not in ("aten.div.Tensor", "aten.empty_like.default")]))
    assert counts[0] == counts[1] < 10


@pytest.mark.parametrize("cls, hypers", SETTINGS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_step_elsewhere_never_looks_at_a_value(cls, hypers):
    w = torch.ones(3, 4, device="meta", requires_grad=True)  # has no values to look at
    lr = torch.tensor(0.1, device="meta")
    optimizer = cls([w], lr=lr, **hypers)
    for _ in range(3):
        w.grad = torch.ones_like(w)
        optimizer.step()
    assert optimizer.state[w]["step"] == 3


def test_python_complains_in_the_name_of_the_class_wherever_a_method_stands():
    optimizer = mt.SGD([tensor()])
    for call in (optimizer.set_steps, optimizer.averaged, optimizer.formula, optimizer.eval, optimizer.state_dict):
        with pytest.raises(TypeError, match=rf"^Optimizer\.{call.__name__}\(\) "):
            call(1, 2, 3, 4)
