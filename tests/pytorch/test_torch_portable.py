"""The state of an optimizer by the names of parameters: a run goes to `minima.optim` and back, or is refused whole.

(That a run moves through all faces is tested with those of JAX.)
"""

import copy

import numpy as np
import pytest
import torch

import minima as mi
from minima import Tensor, optim
from minima import torch as mt
from minima.optim import schedules


def network(dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    layers = torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    return torch.nn.Sequential(*layers).to(dtype)


def trained(model, optimizer, count=3):
    """Some steps by gradients that depend on the step alone."""
    draw = torch.Generator().manual_seed(int(optimizer.t))
    for _ in range(count):
        for param in model.parameters():
            param.grad = torch.randn(param.shape, generator=draw).to(param.dtype)
        optimizer.step()
    return optimizer


def run(make, dtype=torch.float32, count=3, **settings):
    model = network(dtype)
    return model, trained(model, make(model, **settings), count)


def in_numpy(cls, model, **settings):
    """The optimizer of `minima.optim` on copies of a model's parameters."""
    pairs = [
        (name, Tensor(x.detach().numpy(), dtype=str(x.dtype)[6:], requires_grad=True))
        for name, x in model.named_parameters()
    ]
    return cls(pairs, **settings)


def everything(optimizer):
    """All that a run consists of, to compare."""
    told = optimizer.state_dict()
    options = {name: getattr(optimizer, name) for name in ("t", "skipped", "rounding", "seed", "steps")}
    return copy.deepcopy((told["state"], told["param_groups"], options))


def same(here, there):
    if isinstance(here, torch.Tensor):
        return here.dtype == there.dtype and torch.equal(here, there)
    if isinstance(here, dict):
        return here.keys() == there.keys() and all(same(here[key], there[key]) for key in here)
    if isinstance(here, list | tuple):
        return len(here) == len(there) and all(map(same, here, there))
    return here == there


# To and fro -----------------------------------------------------------------------------------------------------------


def test_it_is_what_minima_s_own_optimizer_gives():
    model, ours = run(mt.Adam, lr=0.01, groups={"*bias": {"lr": 0.1}})
    numpy = in_numpy(optim.Adam, model, groups={"*bias": {"lr": 0.5}})
    numpy.load_state_dict(mt.portable_state_dict(ours))
    here, there = mt.portable_state_dict(ours), numpy.state_dict()
    assert here.keys() == there.keys() and here["defaults"] == there["defaults"]
    assert here["groups"] == there["groups"] and here["steps"] == there["steps"] == dict.fromkeys(here["state"], 3)
    assert here["state"].keys() == {name for name, _ in model.named_parameters()}


def test_it_is_a_snapshot():
    model, optimizer = run(mt.Adam)
    told = mt.portable_state_dict(optimizer)
    before = copy.deepcopy(told)
    trained(model, optimizer)
    for name, own in told["state"].items():
        for key, array in own.items():
            assert np.array_equal(array, before["state"][name][key])
            assert not np.array_equal(array, mt.portable_state_dict(optimizer)["state"][name][key])


ALGORITHMS = {
    "Adam": {"amsgrad": True, "weight_decay": 0.1},
    "AdamW": {"decay": "independent"},
    "SGD": {"momentum": 0.9, "dampening": 0.5, "nesterov": False},
    "RMSprop": {"momentum": 0.5},
    "Adagrad": {"lr_decay": 0.1, "maximize": True},
    "NAdam": {"decoupled_weight_decay": True, "weight_decay": 0.1},
    "RAdam": {},
    "Adamax": {"cautious": False},
    "Adadelta": {"max_norm": 1.0},
    "Rprop": {"etas": (0.4, 1.3)},
    "ASGD": {"t0": 2},
    "Adafactor": {"ema_decay": 0.9},
    "Lion": {"cautious": True},
    "Prodigy": {},
    "ScheduleFreeAdamW": {},
    "CAME": {},
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_run_that_goes_through_a_file_comes_back_with_its_bits_and_all_settings(name, tmp_path):
    made = getattr(mt, name)
    model, optimizer = run(made, **ALGORITHMS[name])
    mi.save(tmp_path / "run", optimizer=mt.portable_state_dict(optimizer))
    other = copy.deepcopy(model)
    again = made(other)
    mt.load_portable_state_dict(again, mi.load(tmp_path / "run")["optimizer"])
    assert same(everything(again), everything(optimizer))
    trained(model, optimizer), trained(other, again)
    assert all(map(torch.equal, model.parameters(), other.parameters()))


def test_a_checkpoint_takes_the_optimizer_itself(tmp_path):
    model, optimizer = run(mt.AdamW, lr=0.01)
    mi.save(tmp_path / "run", optimizer=optimizer)
    told = mi.load(tmp_path / "run")["optimizer"]
    assert told["algorithm"] == "AdamW" and told["state"]["0.bias"]["exp_avg"].shape == (8,)
    again = mt.AdamW(copy.deepcopy(model))
    mi.load(tmp_path / "run", optimizer=again)
    assert same(everything(again), everything(optimizer))
    numpy = in_numpy(optim.AdamW, model)
    mi.load(tmp_path / "run", optimizer=numpy)
    assert numpy.t == 3 and numpy.lr == 0.01
    before = everything(optimizer)
    with pytest.raises(
        ValueError, match=r"optimizer refuses its state \(AdamW.load_state_dict: state_dict must hold '0"
    ):
        mi.load(tmp_path / "run", optimizer=mt.AdamW([torch.zeros(3, requires_grad=True)]))
    assert same(everything(optimizer), before)


def test_a_rate_that_a_scheduler_has_set_goes_along():
    model = network()
    optimizer = mt.SGD(model, lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    trained(model, optimizer, 1)
    scheduler.step()
    assert mt.portable_state_dict(optimizer)["defaults"]["lr"] == 0.05
    again = mt.SGD(network(), lr=1.0)
    mt.load_portable_state_dict(again, mt.portable_state_dict(optimizer))
    assert again.lr == 0.05 and "initial_lr" not in again.param_groups[0]


def test_a_schedule_goes_along_and_shows_today_s_number():
    cosine = schedules.cosine(0.1, steps=10)
    _, optimizer = run(mt.Adam, lr=cosine)
    again = mt.Adam(network())
    mt.load_portable_state_dict(again, mt.portable_state_dict(optimizer))
    assert again.param_groups[0]["lr"] == cosine(3) and again.t == 3
    trained(network(), again, 1)
    assert mt.portable_state_dict(again)["defaults"]["lr"] == cosine.state_dict()


def test_what_a_group_says_in_its_own_way_stays_so_where_it_says_the_same():
    rate = torch.tensor(0.25)
    model, optimizer = run(mt.Adam, lr=0.25)
    again = mt.Adam(copy.deepcopy(model), lr=rate)
    mt.load_portable_state_dict(again, mt.portable_state_dict(optimizer))
    assert isinstance(again.param_groups[0]["lr"], torch.Tensor)
    optimizer.lr = 0.5
    mt.load_portable_state_dict(again, mt.portable_state_dict(optimizer))
    assert isinstance(again.param_groups[0]["lr"], torch.Tensor) and float(again.param_groups[0]["lr"]) == 0.5
    model, optimizer = run(mt.Adafactor)
    mt.load_portable_state_dict(optimizer, mt.portable_state_dict(optimizer))
    assert optimizer.param_groups[0]["eps"] == (None, 1e-3)


def test_names_are_those_of_the_model_within_its_wrappers():
    wrapped = torch.nn.ModuleDict({"module": network()})
    optimizer = trained(wrapped, mt.Adam(wrapped))
    again = mt.Adam(network())
    mt.load_portable_state_dict(again, mt.portable_state_dict(optimizer))
    assert list(mt.portable_state_dict(optimizer)["state"]) == [name for name, _ in network().named_parameters()]
    assert again.steps == (3, 3, 3, 3)


def test_parameters_without_names_are_called_by_their_places():
    model = network()
    optimizer = trained(model, mt.Adam(model.parameters()))
    told = mt.portable_state_dict(optimizer)
    assert list(told["state"]) == ["0", "1", "2", "3"]
    optim.Adam([Tensor(x.detach().numpy(), requires_grad=True) for x in model.parameters()]).load_state_dict(told)
    refused(mt.Adam(model), told, "state_dict must hold '0.weight', '0.bias', '2.weight', '2.bias'; it holds")


def test_a_parameter_that_has_taken_no_step_has_no_state_and_none_afterwards():
    model = network()
    model[0].weight.requires_grad_(False)
    optimizer = mt.Adam(model)
    for _ in range(2):
        for param in list(model.parameters())[1:]:
            param.grad = torch.ones_like(param)
        optimizer.step()
    told = mt.portable_state_dict(optimizer)
    assert told["state"]["0.weight"] == {} and told["steps"] == {
        "0.weight": 0,
        **dict.fromkeys(list(told["steps"])[1:], 2),
    }
    again = mt.Adam(copy.deepcopy(model))
    mt.load_portable_state_dict(again, told)
    assert again.steps == (0, 2, 2, 2) and len(again.state) == 3


def test_parameters_that_lie_otherwise_in_memory_have_the_same_state():
    image = torch.randn(2, 3, 4, 5)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        param = image.clone(memory_format=layout).requires_grad_()
        optimizer = mt.Adam([("image", param)])
        param.grad = image.clone()
        optimizer.step()
        found.append(mt.portable_state_dict(optimizer))
        again = mt.Adam([("image", image.clone(memory_format=layout).requires_grad_())])
        mt.load_portable_state_dict(again, found[0])
        assert same(everything(again), everything(optimizer))
    assert np.array_equal(*(told["state"]["image"]["exp_avg"] for told in found))
    assert np.array_equal(found[0]["state"]["image"]["exp_avg"], 0.1 * image.numpy())


# Half precision, and state in fewer bits --------------------------------------------------------------------------


def test_state_that_pytorch_s_face_keeps_in_bfloat16_goes_whole_and_comes_back():
    model, optimizer = run(mt.Adam, torch.bfloat16)
    told = mt.portable_state_dict(optimizer)
    assert told["state_dtype"] is None and told["state"]["0.bias"]["exp_avg"].dtype == np.float32
    again = mt.Adam(copy.deepcopy(model))
    mt.load_portable_state_dict(again, told)
    assert same(everything(again), everything(optimizer))


def test_digits_that_would_be_lost_are_refused():
    model, optimizer = run(mt.Adam, torch.bfloat16, state_dtype="float32")
    told = mt.portable_state_dict(optimizer)
    refused(
        mt.Adam(copy.deepcopy(model)),
        told,
        r"the state 'exp_avg' of parameter 0 \('0.weight'\) is kept in bfloat16 here, and has more digits there; make",
    )
    again = mt.Adam(copy.deepcopy(model), state_dtype="float32")
    mt.load_portable_state_dict(again, told)
    assert same(everything(again), everything(optimizer))


def test_the_way_half_precision_is_written_goes_along_where_it_was_chosen():
    model, optimizer = run(mt.Adam, torch.float16, rounding="master", seed=5)
    again = mt.Adam(copy.deepcopy(model))
    mt.load_portable_state_dict(again, mt.portable_state_dict(optimizer))
    assert same(everything(again), everything(optimizer)) and again.rounding == "master" and again.seed == 5
    model, optimizer = run(mt.Adam, torch.float16)
    again = mt.Adam(copy.deepcopy(model), rounding="master")
    mt.load_portable_state_dict(again, mt.portable_state_dict(optimizer))
    assert again.rounding == "master"


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_state_in_fewer_bits_goes_to_numpy_and_back_with_its_bits(kind, tmp_path):
    model, optimizer = run(mt.adapt(optim.Adam), state_dtype=kind)
    numpy = in_numpy(optim.Adam, model, state_dtype=kind)
    mi.save(tmp_path / "run", optimizer=optimizer)
    mi.load(tmp_path / "run", optimizer=numpy)
    again = mt.adapt(optim.Adam)(copy.deepcopy(model), state_dtype=kind)
    mt.load_portable_state_dict(again, numpy.state_dict())
    assert same(everything(again), everything(optimizer))
    for name, tensor in zip(numpy.state_dict()["state"], numpy.params, strict=True):
        tensor.grad = Tensor(np.full(tensor.shape, 0.5), dtype="float32")
        dict(model.named_parameters())[name].grad = torch.full(tensor.shape, 0.5)
    optimizer.step(), numpy.step()
    pairs = zip(model.parameters(), numpy.params, strict=True)
    assert all(np.array_equal(here.detach().numpy(), there.detach().numpy()) for here, there in pairs)


# Refusals -------------------------------------------------------------------------------------------------------------


def refused(optimizer, told, words, kind=ValueError):
    """It is refused in one sentence with these words, and nothing is changed."""
    before = everything(optimizer)
    with pytest.raises(kind, match=rf"^minima.torch.load_portable_state_dict: [^\n]*{words}[^\n]*$"):
        mt.load_portable_state_dict(optimizer, told)
    assert same(everything(optimizer), before)


def changed(told, *path, to):
    """A copy with another entry; ``to`` is it, or None, which takes it away."""
    told = copy.deepcopy(told)
    inner = told
    for key in path[:-1]:
        inner = inner[key]
    inner.pop(path[-1], None)
    if to is not None:
        inner[path[-1]] = to
    return told


WRONG = {
    "no dict": (lambda told: 3, "state_dict must be what a state_dict\\(\\) of minima gave; got 3", TypeError),
    "PyTorch's own": (
        lambda told: {"state": {}, "param_groups": []},
        "torch's own dict has positions: take portable_state_dict",
        TypeError,
    ),
    "another algorithm": (
        lambda told: changed(told, "algorithm", to="SGD"),
        "state_dict must be one with algorithm 'Adam'; got 'SGD'; nothing was loaded",
    ),
    "another state_dtype": (
        lambda told: changed(told, "state_dtype", to="int8"),
        "state_dict must be one with state_dtype None; got 'int8'",
    ),
    "a loop around it": (
        lambda told: {**told, "loops": [{"loop": "Lookahead"}]},
        "that of an optimizer without a loop around it",
    ),
    "a parameter too few": (
        lambda told: changed(told, "state", "2.bias", to=None),
        "state_dict must hold '2.bias'; it hol",
    ),
    "a parameter too many": (
        lambda told: changed(told, "state", "more", to={}),
        "state_dict holds 'more', which the parameters here do not have",
    ),
    "a shape": (
        lambda told: changed(told, "state", "0.bias", "exp_avg", to=np.zeros(9, "float32")),
        r"the state of parameter 1 \('0.bias'\) must have 'exp_avg' of shape \(8,\); got \(9,\)",
    ),
    "state that is missing": (
        lambda told: changed(told, "state", "0.bias", "exp_avg", to=None),
        r"the state of parameter 1 \('0.bias'\) must have a tensor 'exp_avg'",
    ),
    "state that is unknown": (
        lambda told: changed(told, "state", "0.bias", "speed", to=np.zeros(8, "float32")),
        "there is no state 'speed', which '0.bias' had",
    ),
    "state of another variant": (
        lambda told: changed(told, "state", "0.bias", "master", to=np.zeros(8, "float32")),
        r"the state of parameter 1 \('0.bias'\) must consist of .* is it of another algorithm, state_dtype or rounding",
    ),
    "steps that are none": (
        lambda told: changed(told, "steps", "0.bias", to=1.5),
        "steps of '0.bias' must be an integer in",
        TypeError,
    ),
    "what PyTorch's has otherwise": (
        lambda told: changed(told, "defaults", "eps_hat", to=True),
        "eps_hat must be False, as Adam here has it; got True; load it into adapt\\(minima.optim.Adam\\)",
    ),
    "a hyperparameter out of its range": (
        lambda told: changed(told, "defaults", "beta1", to=1.5),
        r"beta1 must lie in \[0, 1\); got 1.5",
    ),
    "a function that no dict can hold": (
        lambda told: changed(told, "defaults", "lr", to={"function": "rate"}),
        "lr was the function rate, which no state_dict can hold",
    ),
    "groups that are none": (
        lambda told: changed(told, "groups", to=[3]),
        "'groups' of state_dict must be a list",
        TypeError,
    ),
    "a group too few": (lambda told: changed(told, "groups", to=[]), "'groups' of state_dict must list '0.weight'"),
    "groups that differ": (
        lambda told: changed(told, "groups", to=halves(told)),
        "lr must be the same for '0.weight' and '2.weight', which share it here; it was .* and 9.0: make the optimizer",
    ),
}


def halves(told):
    names = list(told["state"])
    return [{"params": names[:2]}, {"params": names[2:], "lr": 9.0}]


@pytest.mark.parametrize("kind", WRONG)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(kind):
    change, words, *other = WRONG[kind]
    _, optimizer = run(mt.Adam)
    told = change(mt.portable_state_dict(optimizer))
    trained(network(), optimizer, 1)
    refused(optimizer, told, words, *other)


def test_settings_that_steps_do_not_depend_on_do_not_keep_a_run_from_moving():
    model, _ = run(mt.SGD)
    for settings in ({}, {"momentum": 0.9, "dampening": 0}):
        numpy = in_numpy(optim.SGD, model, lr=0.5, **settings)
        optimizer = mt.SGD(model)
        mt.load_portable_state_dict(optimizer, numpy.state_dict())
        assert optimizer.lr == 0.5 and optimizer.momentum == settings.get("momentum", 0)
    numpy = in_numpy(optim.SGD, model, momentum=0.9)
    refused(
        mt.SGD(model), numpy.state_dict(), "dampening must be 0.0, as SGD here has it; got None; load it into adapt"
    )


def test_groups_may_be_divided_otherwise_where_they_had_the_same():
    model, optimizer = run(mt.Adam, lr=0.5)
    again = mt.Adam(copy.deepcopy(model), groups={"*bias": {"lr": 0.1}})
    mt.load_portable_state_dict(again, mt.portable_state_dict(optimizer))
    assert [group["lr"] for group in again.param_groups] == [0.5, 0.5]
    assert all(map(same, optimizer.state_dict()["state"].values(), (again.state[x] for x in again_order(again))))


def again_order(optimizer):
    named = {
        name: x
        for group in optimizer.param_groups
        for name, x in zip(group["param_names"], group["params"], strict=True)
    }
    return [named[name] for name, _ in network().named_parameters()]


OTHERS = {
    "PyTorch's own": (
        lambda model: torch.optim.Adam(model.parameters()),
        ".*; load its state_dict\\(\\) into the class of",
    ),
    "a loop": (lambda model: mt.Lookahead(mt.Adam(model)), ".*; pass the optimizer inside"),
    "no optimizer": (lambda model: model, "optimizer must be one of minima.torch with a rule; got"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_optimizer_with_a_rule_is_refused(kind):
    make, words = OTHERS[kind]
    with pytest.raises(TypeError, match=f"^minima.torch.portable_state_dict: {words}"):
        mt.portable_state_dict(make(network()))


def test_what_other_faces_cannot_have_is_refused():
    who = "^minima.torch.portable_state_dict: "
    image = torch.randn(2, 3, 4, 5, requires_grad=True)
    with pytest.raises(
        ValueError, match=f"{who}parameter 0 has 4 axes, and is many matrices to Adafactor, where others"
    ):
        mt.portable_state_dict(mt.Adafactor([image]))
    last = image.detach().clone(memory_format=torch.channels_last).requires_grad_()
    optimizer = mt.Adam([last], state_dtype="int8")
    last.grad = torch.ones_like(last)
    optimizer.step()
    with pytest.raises(ValueError, match=f"{who}the state of parameter 0 is in 8 bits, in the order of memory"):
        mt.portable_state_dict(optimizer)
    pairs = [("module.w", torch.ones(1, requires_grad=True)), ("w", torch.ones(1, requires_grad=True))]
    with pytest.raises(ValueError, match=f"{who}two parameters are called 'w'"):
        mt.portable_state_dict(mt.Adam(pairs))
    both = [torch.ones(1, requires_grad=True), torch.ones(1, dtype=torch.float64, requires_grad=True)]
    with pytest.raises(ValueError, match=f"{who}eps of a group with parameters of several dtypes"):
        mt.portable_state_dict(mt.Adafactor(both))
