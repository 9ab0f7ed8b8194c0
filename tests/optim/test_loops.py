"""What all loops around an optimizer have in common: they look like it, are saved with it, and nest."""

import copy
import pickle

import numpy as np
import pytest
from loops import gradients, start

import minima as mi
from minima import Tensor, nn
from minima.optim import EMA, SAM, SGD, Adam, Lookahead, Optimizer, clip_grad_norm, lr_range_test, schedules

LOOPS = {
    "Lookahead": lambda inside: Lookahead(inside, k=3, alpha=0.6),
    "SAM": lambda inside: SAM(inside, rho=0.3),
    "ASAM": lambda inside: SAM(inside, rho=0.5, adaptive=True, eta=0.1),
    "SAM in Lookahead": lambda inside: Lookahead(SAM(inside, rho=0.3), k=3),
    "Lookahead in SAM": lambda inside: SAM(Lookahead(inside, k=3), rho=0.3),
    "Lookahead in Lookahead": lambda inside: Lookahead(Lookahead(inside, k=2, alpha=0.8), k=4, alpha=0.3),
}
each_loop = pytest.mark.parametrize("make", LOOPS.values(), ids=LOOPS)


def weights(dtype="float64"):
    return [(f"w{i}", Tensor(x, dtype=dtype, requires_grad=True)) for i, x in enumerate(start())]


def tensors(named):
    return [tensor for _, tensor in named]


def closure_of(params, step):
    def closure():
        values = [param.buffer.astype("float64") for param in params]
        for param, grad in zip(params, gradients(values, step), strict=True):
            param.grad = Tensor(grad, dtype=param.dtype)
        return float(sum(np.abs(value).sum() for value in values))

    return closure


def run(optimizer, params, begin, end):
    for step in range(begin, end):
        optimizer.step(closure_of(params, step))


def bits(params):
    return [param.buffer.tobytes() for param in params]


@each_loop
def test_it_has_all_that_the_optimizer_inside_has(make):
    named = weights()
    inside = Adam([{"params": named[:1]}, {"params": named[1:], "lr": 0.5}], lr=0.1, on_nonfinite="skip")
    optimizer = make(inside)
    assert optimizer.params == inside.params and optimizer.param_groups is inside.param_groups
    assert optimizer.lr == 0.1 and optimizer.steps == (0, 0, 0) and optimizer.t == optimizer.skipped == 0
    run(optimizer, tensors(named), 0, 4)
    assert optimizer.t == inside.t == 4 and optimizer.exp_avg is inside.exp_avg
    optimizer.lr, optimizer.on_nonfinite, optimizer.t = 0.25, "raise", 7
    assert (inside.lr, inside.on_nonfinite, inside.t) == (0.25, "raise", 7)
    optimizer.param_groups[1]["lr"] = 0.125
    assert inside.param_groups[1]["lr"] == 0.125
    optimizer.lr = schedules.linear(1.0, steps=10)
    assert optimizer.current("lr") == pytest.approx(0.3)
    optimizer.set_steps(3)
    assert inside.steps == (3, 3, 3)
    assert str(optimizer.formula()) == str(Adam.formula())
    optimizer.zero_grad()
    assert all(param.grad is None for param in tensors(named))
    with pytest.raises(AttributeError, match="no hyperparameter 'lrr'; did you mean lr"):
        optimizer.lrr = 1.0
    with pytest.raises(AttributeError, match="speed"):
        optimizer.speed  # noqa: B018
    with pytest.raises(AttributeError):
        optimizer.optimizer = inside


def test_its_text_names_the_optimizer_inside_and_its_own_hyperparameters():
    (name, w), *_ = weights()
    assert repr(Lookahead(Adam([w]), k=3)) == f"Lookahead({Adam([w])!r}, k=3, alpha=0.5)"
    assert repr(SAM(Adam([w]), 0.1)) == f"SAM({Adam([w])!r}, rho=0.1, adaptive=False, eta=0.01)"


@each_loop
def test_measures_are_those_of_the_optimizer_inside(make):
    named = weights()
    optimizer = make(SGD(named, lr=0.1))
    optimizer.step(closure_of(tensors(named), 0), measure=True)
    assert optimizer.measures["w1"].update > 0


@each_loop
def test_parameters_that_are_added_are_stepped_by_the_loop_too(make):
    params = tensors(weights())
    optimizer = make(SGD(params[:2], lr=0.1, momentum=0.5))
    optimizer.add_param_group({"params": params[2:]})
    whole = tensors(weights())
    other = make(SGD([{"params": whole[:2]}, {"params": whole[2:]}], lr=0.1, momentum=0.5))
    run(optimizer, params, 0, 8)
    run(other, whole, 0, 8)
    assert bits(params) == bits(whole)


# Copies, and what is saved -------------------------------------------------------------------------------------------


@each_loop
@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_a_run_that_is_resumed_from_a_file_has_the_bits_of_one_that_was_not_stopped(make, dtype, tmp_path):
    def fresh(names=(0, 1, 2)):
        named = weights(dtype)
        made = make(Adam([named[i] for i in names], lr=0.1, rounding="stochastic" if dtype == "float16" else None))
        return tensors(named), made

    params, optimizer = fresh()
    run(optimizer, params, 0, 7)
    mi.save(tmp_path / "run", optimizer=optimizer, params=params)
    run(optimizer, params, 7, 15)
    others, resumed = fresh((2, 0, 1))  # found by their names
    loaded = mi.load(tmp_path / "run", optimizer=resumed)["params"]
    for param, value in zip(others, loaded, strict=True):
        param.data = value
    run(resumed, others, 7, 15)
    assert bits(others) == bits(params)


@each_loop
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_copies_go_on_by_themselves_to_the_same_bits(make, copied):
    named = weights()
    optimizer = make(SGD(named, lr=0.1, momentum=0.9, wd=0.1))
    run(optimizer, tensors(named), 0, 4)
    twin = copied(optimizer)
    run(optimizer, tensors(named), 4, 9)
    before = bits(tensors(named))
    run(twin, list(twin.params), 4, 9)
    assert bits(twin.params) == before == bits(tensors(named))


@each_loop
def test_a_state_dict_is_a_snapshot(make):
    named = weights()
    optimizer = make(Adam(named, lr=0.1))
    run(optimizer, tensors(named), 0, 4)
    state = optimizer.state_dict()
    before = pickle.dumps(state)
    run(optimizer, tensors(named), 4, 9)
    assert pickle.dumps(state) == before
    assert optimizer.load_state_dict(state) == ([], []) and pickle.dumps(optimizer.state_dict()) == before


def test_hyperparameters_of_a_loop_are_loaded():
    named = weights()
    slow, sharp = Lookahead(SGD(named), k=3, alpha=0.2), SAM(SGD(named), 0.3, True, 0.2)
    other_slow, other_sharp = Lookahead(SGD(named)), SAM(SGD(named))
    other_slow.load_state_dict(slow.state_dict())
    other_sharp.load_state_dict(sharp.state_dict())
    assert (other_slow.k, other_slow.alpha) == (3, 0.2)
    assert (other_sharp.rho, other_sharp.adaptive, other_sharp.eta) == (0.3, True, 0.2)


@pytest.mark.parametrize(
    ("target", "source", "words"),
    [
        (
            lambda p: Lookahead(SGD(p)),
            SGD,
            "Lookahead.load_state_dict: state_dict must be that of Lookahead; got 'SGD'",
        ),
        (
            lambda p: SAM(SGD(p)),
            lambda p: Lookahead(SGD(p)),
            "SAM.load_state_dict: .* of SAM; got 'Lookahead'; nothing",
        ),
        (
            SGD,
            lambda p: Lookahead(SGD(p)),
            r"SGD.load.*without a loop around it; got \['Lookahead'\]; load it into such",
        ),
        (lambda p: SAM(SGD(p)), lambda p: SAM(Lookahead(SGD(p))), r"SGD.load.* without a loop .*\['Lookahead'\]"),
        (
            lambda p: SAM(Lookahead(SGD(p))),
            lambda p: SAM(SGD(p)),
            "Lookahead.load.* must be that of Lookahead; got 'SGD'",
        ),
        (
            lambda p: Lookahead(SGD(p)),
            lambda p: Lookahead(Adam(p)),
            "SGD.load_state_dict: .*algorithm 'SGD'; got 'Adam'",
        ),
        (lambda p: Lookahead(SGD(p)), lambda p: Lookahead(SGD(p[:2])), "Lookahead.load_state_dict: .*missing 'w2'"),
    ],
)
def test_the_state_of_another_loop_or_algorithm_is_refused_and_nothing_is_loaded(target, source, words):
    named = weights()
    optimizer = target(named)
    run(optimizer, tensors(named), 0, 3)
    given, before = source(weights()).state_dict(), pickle.dumps(optimizer.state_dict())
    with pytest.raises(ValueError, match=words):
        optimizer.load_state_dict(given)
    assert pickle.dumps(optimizer.state_dict()) == before


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda own: own.pop("slow"), "the entry of Lookahead in 'loops' must have 'slow'"),
        (lambda own: own.update(k=0), "k must be an integer of at least 1; got 0"),
        (lambda own: own.update(alpha="much"), "alpha must be a number in .0, 1.; got 'much'"),
        (lambda own: own["slow"].update(w0=np.zeros(3)), r"'w0' has shape \(3,\) where \(6, 4\) is needed"),
    ],
)
def test_a_damaged_state_is_refused_and_nothing_is_loaded(wrong, words):
    named = weights()
    optimizer = Lookahead(SGD(named, lr=0.1, momentum=0.5), k=2)
    run(optimizer, tensors(named), 0, 3)
    state, before = optimizer.state_dict(), pickle.dumps(optimizer.state_dict())
    run(optimizer, tensors(named), 3, 6)
    other = pickle.dumps(optimizer.state_dict())
    wrong(state["loops"][0])
    with pytest.raises((TypeError, ValueError), match=words):
        optimizer.load_state_dict(state)
    assert pickle.dumps(optimizer.state_dict()) == other != before
    with pytest.raises(TypeError, match=r"must be what Lookahead.state_dict\(\) gave; got 5"):
        optimizer.load_state_dict(5)


def test_without_strict_parameters_without_counterpart_stay_as_they_are():
    named = weights()
    part, whole = Lookahead(SGD(named[:2], lr=0.1), k=2), Lookahead(SGD(weights(), lr=0.1), k=2)
    run(part, tensors(named)[:2] + tensors(weights())[2:], 0, 2)
    before = whole.slow[2].buffer.copy()
    report = whole.load_state_dict(part.state_dict() | {"groups": []}, strict=False)
    assert "w2/t" in report.missing_keys
    assert bits(whole.slow[:2]) == bits(part.slow) and (whole.slow[2].buffer == before).all()


# What goes inside ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Lookahead, SAM])
def test_what_is_no_optimizer_is_refused_in_a_sentence(cls):
    name = cls.__name__
    with pytest.raises(TypeError, match=rf"{name}: optimizer must be an optimizer, and not its class; .* {name}.SGD"):
        cls(SGD)
    for wrong in (None, 0.1, tensors(weights()), nn.Linear(2, 2)):
        with pytest.raises(
            TypeError, match=f"{name}: optimizer must be one of minima.optim, or a loop around one; got"
        ):
            cls(wrong)


def test_what_looks_at_optimizers_takes_loops(tmp_path):
    mi.manual_seed(0)
    network = nn.Linear(3, 1)
    optimizer = Lookahead(SGD(network, lr=0.1), k=2)
    x = Tensor(np.ones((4, 3)), dtype="float32")

    def loss(x):
        return (network(x) ** 2).mean()

    loss(x).backward()
    assert clip_grad_norm(optimizer, 0.1) > 0.1
    assert EMA(optimizer).averages.keys() == {"weight", "bias"}
    before = bits(optimizer.params), pickle.dumps(optimizer.state_dict())
    test = lr_range_test(loss, optimizer, [x], low=1e-3, high=10, steps=20)
    assert len(test.losses) > 5 and before == (bits(optimizer.params), pickle.dumps(optimizer.state_dict()))


def test_lookahead_around_sam_is_sam_around_lookahead():
    one, other = tensors(weights()), tensors(weights())
    run(Lookahead(SAM(Adam(one, lr=0.1), rho=0.2), k=3), one, 0, 10)
    run(SAM(Lookahead(Adam(other, lr=0.1), k=3), rho=0.2), other, 0, 10)
    assert bits(one) == bits(other)


def test_a_loop_is_not_passed_by():
    optimizer = Lookahead(SAM(SGD(weights())))
    for name in ("first_step", "second_step"):
        assert not hasattr(optimizer, name)
        with pytest.raises(AttributeError, match=f"Lookahead: there is no {name}, as it would go past Lookahead; call"):
            getattr(optimizer, name)


def test_an_optimizer_in_the_imperative_style_can_be_inside_of_sam_only():
    class Own(Optimizer):
        def step(self):
            for param in self.params:
                param.data = param.data - 0.1 * param.grad.data

    params, others = tensors(weights()), tensors(weights())
    run(SAM(Own(params), rho=0.3), params, 0, 5)
    run(SAM(SGD(others, lr=0.1), rho=0.3), others, 0, 5)
    for param, other in zip(params, others, strict=True):
        np.testing.assert_allclose(param.buffer, other.buffer, rtol=1e-13)
    with pytest.raises(TypeError, match=r"Lookahead: the optimizer must have a rule, as one that overrides step\(\)"):
        Lookahead(Own(params))
