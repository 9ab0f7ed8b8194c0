"""State dicts: what stands in them, how they are loaded, what is refused; copies and pickles."""

import copy
import io
import multiprocessing
import pickle
import subprocess
import sys

import pytest
import torch
from tensors import EXACT, SETTINGS, Lion, arrays, assert_same, own, parameters, steps

from minima import optim
from minima import torch as mt

each = pytest.mark.parametrize("cls, hypers", SETTINGS, ids=lambda value: getattr(value, "__name__", ""))
OPTIONS = [{}, {"state_dtype": "bfloat16"}, {"state_dtype": "int8"}, {"rounding": "master"}]


def named(params):
    return [(f"p{i}", param) for i, param in enumerate(params)]


def saved(optimizer):
    """A state dict as it comes back from a file."""
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@each
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_resumed_run_is_the_run_that_was_never_stopped(cls, hypers, options, dtype):
    params = parameters(dtype)
    optimizer = cls(params, lr=0.1, **hypers, **options)
    steps(optimizer, params, 6)
    others = [param.detach().clone().requires_grad_() for param in params]
    other = cls(others, **options, decay=optimizer.decay)
    other.load_state_dict(saved(optimizer))
    for model, by in ((params, optimizer), (others, other)):
        steps(by, model, 6, seed=2)
    assert_same(arrays(other, others), arrays(optimizer, params), **EXACT)


def test_a_state_dict_has_the_form_of_pytorch_s():
    params = parameters()[:2]
    optimizer = own.Adam(named(params), lr=0.1)
    steps(optimizer, params, 3, all_of_them=True)
    found = optimizer.state_dict()
    assert found.keys() == {"state", "param_groups"}
    assert found["state"][1].keys() == {"step", "exp_avg", "exp_avg_sq"}
    step = found["state"][1]["step"]
    assert step.dtype == torch.float64 and step.shape == () and step == 3
    storages = {step.untyped_storage().data_ptr(), found["state"][0]["step"].untyped_storage().data_ptr()}
    assert len(storages) == 2 and optimizer.state[params[1]]["step"].untyped_storage().data_ptr() not in storages
    (group,) = found["param_groups"]
    hypers = {
        "lr": 0.1,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": ("decoupled", 0.0),
        "amsgrad": False,
        "eps_hat": False,
        "eps_root": None,
        "max_hat": False,
    }
    hypers |= {"decay": "decoupled", "maximize": False, "cautious": False, "max_norm": None, "ema_decay": None}
    assert group == {**hypers, "params": [0, 1], "param_names": ["p0", "p1"]}


def test_counts_in_the_state_keep_up_with_the_steps():
    params = parameters()[:3]
    optimizer = own.Adam(params)
    for count in range(1, 4):
        steps(optimizer, params, 1, all_of_them=True)
        assert [optimizer.state[param]["step"].item() for param in params] == [count] * 3
    params[1].grad = None
    optimizer.step()
    optimizer.step()
    assert [optimizer.state[param]["step"].item() for param in params] == [5, 3, 5]
    optimizer.state[params[1]]["step"] = torch.tensor(10.0)
    steps(optimizer, params, 1, all_of_them=True)
    assert [optimizer.state[param]["step"].item() for param in params] == [6, 11, 6]


def test_a_count_that_someone_sets_is_what_the_next_step_goes_by():
    w = torch.ones(2, requires_grad=True)
    optimizer = own.Adam([w], lr=0.1)
    w.grad = torch.ones(2)
    optimizer.step()
    optimizer.step()
    optimizer.state[w]["step"].fill_(7)
    optimizer.step()
    assert optimizer.state[w]["step"] == 8
    optimizer.state[w]["step"] = torch.tensor(3.0)
    optimizer.step()
    assert optimizer.state[w]["step"] == 4


def test_an_optimizer_that_has_taken_no_step_counts_on_from_what_it_loads():
    params = parameters()[:3]
    optimizer = own.Adam(params)
    steps(optimizer, params, 4, all_of_them=True)
    other = own.Adam(params)
    other.load_state_dict(saved(optimizer))
    assert other.t == 4
    params[0].grad = None
    other.step()
    other.load_state_dict(saved(optimizer))
    assert other.t == 5
    own.Adam(params).load_state_dict(own.Adam(params).state_dict())


def test_parameters_are_found_by_name_in_whatever_order():
    params = parameters()
    optimizer = own.Adam(named(params), lr=0.1)
    steps(optimizer, params, 6)
    turned = named(params)[::-1]
    other = own.Adam(turned)
    other.load_state_dict(saved(optimizer))
    for param in params:
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(other.state[param][name], optimizer.state[param][name])
    assert other.param_groups[0]["lr"] == 0.1
    assert other.param_groups[0]["param_names"] == [name for name, _ in turned]


def test_groups_are_found_by_the_names_in_them():
    params = parameters()[:4]
    pairs = named(params)
    optimizer = own.Adam([{"params": pairs[:1], "lr": 0.1}, {"params": pairs[1:], "lr": 0.2}])
    steps(optimizer, params, 3)
    other = own.Adam([{"params": pairs[:0:-1]}, {"params": pairs[:1]}])
    other.load_state_dict(saved(optimizer))
    assert [group["lr"] for group in other.param_groups] == [0.2, 0.1]
    assert torch.equal(other.state[params[2]]["exp_avg"], optimizer.state[params[2]]["exp_avg"])


def test_without_names_the_position_counts():
    params = parameters()[:2]
    optimizer = own.Adam(params)
    steps(optimizer, params, 2, all_of_them=True)
    others = parameters(seed=5)[:2]
    other = own.Adam(named(others))
    other.load_state_dict(saved(optimizer))
    assert torch.equal(other.state[others[1]]["exp_avg"], optimizer.state[params[1]]["exp_avg"])
    assert other.param_groups[0]["param_names"] == ["p0", "p1"]


def test_names_count_only_where_both_sides_have_them():
    params, others = parameters()[:2], parameters(seed=5)[:2]
    optimizer = own.Adam(named(params))
    steps(optimizer, params, 2, all_of_them=True)
    other = own.Adam(others)
    other.load_state_dict(saved(optimizer))
    assert torch.equal(other.state[others[1]]["exp_avg"], optimizer.state[params[1]]["exp_avg"])
    assert "param_names" not in other.param_groups[0]


def test_what_is_loaded_is_a_copy():
    params, others = parameters(), parameters()
    optimizer, other = own.Adam(params, lr=0.1), own.Adam(others)
    steps(optimizer, params, 3)
    other.load_state_dict(optimizer.state_dict())
    before = copy.deepcopy(arrays(other, others))
    steps(optimizer, params, 3)
    assert_same(arrays(other, others), before, **EXACT)


def test_state_keeps_its_precision():
    w = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    optimizer = own.Adam([w])
    w.grad = torch.full((3,), 0.1, dtype=torch.bfloat16)
    optimizer.step()
    other = own.Adam([w])
    other.load_state_dict(saved(optimizer))
    assert other.state[w]["exp_avg"].dtype == torch.bfloat16
    assert torch.equal(other.state[w]["exp_avg"], optimizer.state[w]["exp_avg"])
    wide = own.Adam([w], state_dtype="float32")
    wide.load_state_dict(saved(optimizer))
    assert wide.state[w]["exp_avg"].dtype == torch.float32
    assert torch.equal(wide.state[w]["exp_avg"], optimizer.state[w]["exp_avg"].float())


def state_of(params, **options):
    optimizer = own.Adam(params, **options)
    for group in optimizer.param_groups:
        for param in group["params"]:
            param.grad = torch.ones_like(param)
    optimizer.step()
    return optimizer.state_dict()


def tensor(*shape):
    return torch.ones(shape, requires_grad=True)


BAD = [
    (r"group 0 of state_dict must have as many parameters as here, 1; got 2", lambda: state_of([tensor(2), tensor(2)])),
    (
        r"must have as many groups as the optimizer, 1; got 2",
        lambda: state_of([{"params": [tensor(2)]}, {"params": [tensor(2)]}]),
    ),
    (r"parameter 0 \('w'\) must have 'exp_avg' of shape \(2,\); got \(3,\)", lambda: state_of([("w", tensor(3))])),
    (r"parameters of group 0; \['w'\] are missing", lambda: state_of([("v", tensor(2))])),
    (r"must have a tensor 'exp_avg_sq'; got None", lambda: without(state_of([tensor(2)]), "exp_avg_sq")),
    (r"must have a whole number 'step' of at least 0; got None", lambda: without(state_of([tensor(2)]), "step")),
    (r"must consist of \['step', 'exp_avg', 'exp_avg_sq'\]", lambda: state_of([tensor(2)], state_dtype="int8")),
    (r"state_dict must be that of Adam, whose groups have 'betas'", lambda: sgd_of([tensor(2)], momentum=0.9)),
    (r"group 0 of state_dict must have 'params'; got {}", lambda: {"state": {}, "param_groups": [{}]}),
    (r"group 0 of state_dict must have 'params'; got", lambda: {"state": {}, "param_groups": [{"params": 1}]}),
    (r"the groups of state_dict must be a list; got None", lambda: {"state": {}, "param_groups": None}),
    (r"state of parameter 0 \('w'\) must be a dict; got 3", lambda: {**state_of([tensor(2)]), "state": {0: 3}}),
    (r"the state of state_dict must be a dict; got 3", lambda: {**state_of([tensor(2)]), "state": 3}),
    (r"whole number 'step' of at least 0; got 1.5", lambda: counted(state_of([tensor(2)]), 1.5)),
    (r"must consist of \['step', 'exp_avg', 'exp_avg_sq'\]", lambda: state_of([bfloat()], rounding="master")),
    (r"must consist of .*'momentum_buffer'", lambda: {**state_of([tensor(2)]), "state": {0: {"momentum_buffer": 1}}}),
    (r"beta1 must lie in \[0, 1\); got 2", lambda: changed(state_of([tensor(2)]), "betas", (2.0, 0.9))),
]


@pytest.mark.parametrize("given", [None, 3, {}, {"state": {}}, {"weight": torch.ones(2)}], ids=str)
def test_what_is_no_state_of_an_optimizer_is_refused(given):
    optimizer = own.Adam([tensor(2)])
    with pytest.raises(ValueError, match="Adam.load_state_dict: state_dict must have 'state' and 'param_groups'"):
        optimizer.load_state_dict(given)


def test_a_learning_rate_in_a_tensor_is_each_optimizer_s_own():
    one, other = (own.Adam([tensor(2)], lr=torch.tensor(0.1)) for _ in range(2))
    other.load_state_dict(one.state_dict())
    other.param_groups[0]["lr"].fill_(0.5)
    assert one.param_groups[0]["lr"] == torch.tensor(0.1)


def bfloat():
    return torch.ones(2, dtype=torch.bfloat16, requires_grad=True)


def counted(state_dict, step):
    state_dict["state"][0]["step"] = step
    return state_dict


def sgd_of(params, **options):
    optimizer = own.SGD(params, **options)
    params[0].grad = torch.ones_like(params[0])
    optimizer.step()
    return optimizer.state_dict()


def changed(state_dict, name, value):
    state_dict["param_groups"][0][name] = value
    return state_dict


def without(state_dict, name):
    del state_dict["state"][0][name]
    return state_dict


@pytest.mark.parametrize("message, make", BAD, ids=[row[0] for row in BAD])
def test_a_state_that_does_not_fit_is_refused_in_one_sentence_and_nothing_is_changed(message, make):
    w = tensor(2)
    given = make()
    optimizer = own.Adam([("w", w)], lr=0.25)
    w.grad = torch.ones(2)
    optimizer.step()
    before = copy.deepcopy(arrays(optimizer, [w]))
    with pytest.raises((TypeError, ValueError), match=rf"Adam.*{message}"):
        optimizer.load_state_dict(given)
    assert_same(arrays(optimizer, [w]), before, **EXACT)
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_state_in_fewer_bits_is_not_taken_for_wider_numbers_nor_the_other_way_round():
    for kept, wanted in (("bfloat16", "int8"), (None, "int8"), ("int8", None), ("int8", "bfloat16")):
        optimizer = own.Adam([tensor(2)], state_dtype=wanted)
        with pytest.raises(ValueError, match="state_dtype|must have a tensor|must consist of"):
            optimizer.load_state_dict(state_of([tensor(2)], state_dtype=kept))


def test_hooks_see_what_is_saved_and_loaded():
    seen = []
    optimizer = own.Adam([tensor(2)])
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("before saving"))
    optimizer.register_state_dict_post_hook(lambda o, d: d | {"more": 1})
    optimizer.register_load_state_dict_pre_hook(lambda o, d: seen.append(sorted(d)))
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("after loading"))
    state_dict = optimizer.state_dict()
    assert state_dict["more"] == 1
    optimizer.load_state_dict(state_dict)
    assert seen == ["before saving", ["more", "param_groups", "state"], "after loading"]


@each
@pytest.mark.parametrize(
    "through", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
def test_a_copy_goes_on_by_itself_as_the_original_does(cls, hypers, through):
    params = parameters()
    optimizer = cls(params, lr=0.1, **hypers)
    steps(optimizer, params, 3)
    other = through(optimizer)
    others = [param for group in other.param_groups for param in group["params"]]
    assert type(other) is cls and others[0] is not params[0]
    steps(optimizer, params, 3, seed=2)
    steps(other, others, 3, seed=2)
    assert_same(arrays(other, others), arrays(optimizer, params), **EXACT)


@pytest.mark.parametrize(
    "through", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
def test_a_copy_may_be_given_more_parameters(through):
    (w,), (v,) = [tensor(2)], [tensor(2)]
    optimizer = own.Adam([w])
    w.grad = torch.ones(2)
    optimizer.step()
    other = through(optimizer)
    other.add_param_group({"params": [v]})
    v.grad = torch.ones(2)
    other.step()
    assert other.state[v]["step"] == 1 and other.state["beside"] == {}


def test_options_are_copied_too():
    optimizer = mt.adapt(Lion)([tensor(2)], rounding="nearest", seed=3, decay="l2", engine="reference")
    other = copy.deepcopy(optimizer)
    assert (other.rounding, other.seed, other.decay, other.engine) == ("nearest", 3, "l2", "reference")


class Mine(mt.adapt(Lion)):
    """A subclass that a module has under its name."""


def test_the_class_of_a_rule_can_be_pickled_where_the_rule_can():
    for cls in (mt.adapt(Lion), mt.adapt(optim.Adam), Mine, own.Adam):
        assert pickle.loads(pickle.dumps(cls)) is copy.deepcopy(cls) is cls
        optimizer = cls([tensor(2)])
        for other in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
            assert type(other) is cls

    class Local(Lion):
        pass

    for cls in (mt.adapt(Local), type("Here", (mt.adapt(Lion),), {})):
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pickle.dumps(cls)


def test_the_class_of_a_rule_reaches_another_process():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(issubclass, (mt.adapt(Lion), mt.Optimizer))


PROGRAM = """
import torch
from minima.torch import Adam
torch.manual_seed(0)
net = torch.nn.Linear(3, 2)
optimizer = Adam(net.named_parameters(), lr=0.1, weight_decay=0.1)
start, stop, source, target = {}
if source:
    kept = torch.load(source, weights_only=True)
    net.load_state_dict(kept["net"])
    optimizer.load_state_dict(kept["optimizer"])
for step in range(start, stop):
    net(torch.full((4, 3), float(step))).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
torch.save({{"net": net.state_dict(), "optimizer": optimizer.state_dict()}}, target)
"""


def test_a_run_goes_on_in_another_process(tmp_path):
    files = [str(tmp_path / name) for name in ("half", "whole", "resumed")]
    for arguments in ((0, 3, "", files[0]), (0, 6, "", files[1]), (3, 6, files[0], files[2])):
        subprocess.run([sys.executable, "-c", PROGRAM.format(arguments)], check=True, timeout=120)
    whole, resumed = (torch.load(file, weights_only=True) for file in files[1:])
    assert resumed["optimizer"]["param_groups"] == whole["optimizer"]["param_groups"]
    found, wanted = ((kept["net"], kept["optimizer"]["state"]) for kept in (resumed, whole))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
