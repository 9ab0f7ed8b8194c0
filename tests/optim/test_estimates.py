"""Rules that take estimates into their state, between steps: Sophia-G, and what a user may write."""

import copy
import pickle
import threading

import numpy as np
import pytest
from beyond import problem

from minima import Tensor, checkpoint
from minima.optim import SGD, Lion, Optimizer, PerTensor, SophiaG, hyper, norm, where
from minima.optim.rules import RULES

SHAPES = ((6, 4), (3, 5), (7,), (), (0,), (300,))
HYPERS = {"lr": 0.2, "rho": 0.1, "beta2": 0.7, "weight_decay": 0.1}


def weights(dtype="float64"):
    rng = np.random.default_rng(0)
    return [Tensor(rng.normal(size=shape), dtype=dtype, requires_grad=True) for shape in SHAPES]


def give(params, seed, size=1.0):
    rng = np.random.default_rng([1, seed])
    for param in params:
        param.grad = Tensor(size * rng.normal(0.5, size=param.shape), dtype=param.dtype)


def trained(optimizer, begin=0, end=7):
    """Steps, with an estimate in front of each third."""
    for step in range(begin, end):
        if step % 3 == 1:
            give(optimizer.params, 100 + step)
            optimizer.update_estimate()
        give(optimizer.params, step)
        optimizer.step()


def everything(optimizer):
    """The bits of the parameters and of all that is kept of them."""
    state = optimizer.state_dict()["state"]
    kept = [array for entry in state.values() for array in entry.values()]
    return [array.tobytes() for array in (*(param.buffer for param in optimizer.params), *kept)]


# What an estimate does -----------------------------------------------------------------------------------------------


def test_an_estimate_changes_its_state_and_nothing_else(engine):
    optimizer = SophiaG(weights(), **HYPERS, batch_size=4.0, **engine)
    trained(optimizer)
    give(optimizer.params, 50)
    params = [param.buffer.copy() for param in optimizer.params]
    averages, before = ([x.numpy().copy() for x in entry] for entry in (optimizer.exp_avg, optimizer.hessian))
    counts = optimizer.t, optimizer.steps, optimizer.skipped
    optimizer.update_hessian()
    assert counts == (optimizer.t, optimizer.steps, optimizer.skipped) == (7, (7,) * len(SHAPES), 0)
    for place, param in enumerate(optimizer.params):
        grad = param.grad.numpy()
        assert np.array_equal(param.buffer, params[place])
        assert np.array_equal(optimizer.exp_avg[place].numpy(), averages[place])
        wanted = 0.7 * before[place] + 0.3 * 4 * grad**2
        np.testing.assert_allclose(optimizer.hessian[place].numpy(), wanted, rtol=1e-14)


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "int8"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_steps_leave_the_estimate_alone_to_the_bit(dtype, state_dtype, engine):
    optimizer = SophiaG(weights(dtype), **HYPERS, state_dtype=state_dtype, **engine)
    trained(optimizer, 0, 2)

    def kept():
        state = optimizer.state_dict()["state"]
        return {
            (key, name): array.tobytes()
            for key, entry in state.items()
            for name, array in entry.items()
            if name.startswith("hessian")
        }

    before = kept()
    for step in range(5):
        give(optimizer.params, step)
        optimizer.step()
    assert before and kept() == before


@pytest.mark.parametrize("estimator", ["gauss_newton", "hutchinson"])
@pytest.mark.parametrize("rounding", [None, "stochastic", "master"])
@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "int8"])
def test_every_engine_gives_the_bits_of_the_reference(estimator, rounding, state_dtype):
    found = []
    for engine in ("reference", "fused"):
        if engine == "fused":
            pytest.importorskip("llvmlite")
        options = {"rounding": rounding, "state_dtype": state_dtype, "estimator": estimator}
        optimizer = SophiaG(weights("float16"), **HYPERS, engine=engine, **options)
        trained(optimizer)
        found.append(everything(optimizer))
    assert found[0] == found[1]


def test_estimates_in_8_bits_keep_their_signs(engine):
    w = Tensor(np.ones(256), dtype="float32", requires_grad=True)
    optimizer = SophiaG([w], estimator="hutchinson", beta2=0.0, state_dtype="int8", **engine)
    w.grad = Tensor(np.linspace(-3, 5, 256), dtype="float32")
    optimizer.step()
    optimizer.update_hessian()
    np.testing.assert_allclose(optimizer.hessian[0].numpy(), w.grad.numpy(), atol=0.1)
    optimizer.step()
    assert optimizer.hessian[0].numpy().min() < -2.8


def test_without_an_estimate_every_element_moves_by_lr_times_rho(engine):
    optimizer = SophiaG(weights(), lr=0.5, rho=0.25, **engine)
    before = [param.buffer.copy() for param in optimizer.params]
    give(optimizer.params, 0)
    optimizer.step()
    for param, old in zip(optimizer.params, before, strict=True):
        np.testing.assert_allclose(np.abs(param.buffer - old), 0.125, rtol=1e-12)


def test_an_estimate_may_come_before_the_first_step_and_several_times(engine):
    """State begins as it does in a step, and is new until one is taken."""
    w = Tensor([1.0, 2.0], dtype="float64", requires_grad=True)
    optimizer = SophiaG([w], beta2=0.5, **engine)
    for _ in range(2):
        w.grad = Tensor([2.0, 4.0], dtype="float64")
        optimizer.update_hessian()
    assert optimizer.hessian[0].tolist() == [3.0, 12.0]
    assert optimizer.state_dict()["new"] == ["0"]
    optimizer.step()
    assert optimizer.state_dict()["new"] == [] and optimizer.steps == (1,)


def test_a_parameter_without_a_gradient_is_left_out_and_none_at_all_is_fine(engine):
    a, b = (Tensor([1.0], dtype="float64", requires_grad=True) for _ in range(2))
    optimizer = SophiaG([a, b], beta2=0.5, **engine)
    optimizer.update_hessian()
    a.grad = Tensor([2.0], dtype="float64")
    optimizer.update_hessian()
    assert [x.item() for x in optimizer.hessian] == [2.0, 0.0]


def test_groups_have_their_own_settings(engine):
    a, b, c = (Tensor([2.0], dtype="float64", requires_grad=True) for _ in range(3))
    groups = [
        {"params": [a], "batch_size": 10},
        {"params": [b], "beta2": 0.75},
        {"params": [c], "estimator": "hutchinson", "maximize": True},
    ]
    optimizer = SophiaG(groups, beta2=0.5, **engine)
    for param in (a, b, c):
        param.grad = Tensor([3.0], dtype="float64")
    optimizer.update_hessian()
    assert [x.item() for x in optimizer.hessian] == [45.0, 2.25, -1.5]
    optimizer.batch_size = 2.0  # of the groups that have none of their own
    optimizer.update_hessian()
    assert [x.item() for x in optimizer.hessian] == [22.5 + 45, 0.75 * 2.25 + 0.25 * 18, -2.25]


def test_hyperparameters_may_be_functions_of_the_step(engine):
    w = Tensor([1.0], dtype="float64", requires_grad=True)
    optimizer = SophiaG([w], beta2=0.0, batch_size=lambda step: 1.0 + step, **engine)
    for step in range(3):
        w.grad = Tensor([2.0], dtype="float64")
        optimizer.update_hessian()
        assert optimizer.hessian[0].item() == 4.0 * (1 + step)
        optimizer.step()


@pytest.mark.parametrize("more", [{"max_norm": 0.1}, {"cautious": True}, {"ema_decay": 0.9}, {"wd": 0.5}], ids=str)
def test_what_is_composed_around_steps_has_no_part_in_estimates(more, engine):
    found = []
    for options in ({}, more):
        optimizer = SophiaG(weights(), beta2=0.5, **options, **engine)
        give(optimizer.params, 0)
        optimizer.update_hessian()
        found.append([x.numpy().tobytes() for x in optimizer.hessian])
    assert found[0] == found[1]


# What is refused, and skipped ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_nonfinite", ["propagate", "raise", "skip"])
def test_an_estimate_that_is_not_finite_is_treated_as_on_nonfinite_says(on_nonfinite, engine):
    optimizer = SophiaG(weights(), **HYPERS, on_nonfinite=on_nonfinite, **engine)
    trained(optimizer)
    give(optimizer.params, 0)
    optimizer.params[2].grad.buffer[3] = np.nan
    before = everything(optimizer)
    if on_nonfinite == "raise":
        words = r"^SophiaG.update_estimate: gradient of parameter 2 is not finite; nothing was changed$"
        with pytest.raises(FloatingPointError, match=words):
            optimizer.update_hessian()
    else:
        optimizer.update_hessian()
    assert (everything(optimizer) == before) == (on_nonfinite != "propagate")
    assert np.isnan(optimizer.hessian[2].numpy()).sum() == (on_nonfinite == "propagate")
    assert optimizer.skipped == 0  # which counts steps


def test_a_gradient_that_does_not_fit_is_refused_and_changes_nothing(engine):
    optimizer = SophiaG(weights(), **HYPERS, **engine)
    trained(optimizer)
    give(optimizer.params, 0)
    optimizer.params[1].grad = Tensor(np.ones(4), dtype="float64")
    before = everything(optimizer)
    with pytest.raises(ValueError, match=r"^SophiaG.update_estimate: gradient of parameter 1 has shape \(4,\)"):
        optimizer.update_hessian()
    assert everything(optimizer) == before
    with pytest.raises(ValueError, match=r"^SophiaG.step: gradient of parameter 1 has shape \(4,\)"):
        optimizer.step()


@pytest.mark.parametrize("cls", [SGD, Lion])
def test_a_rule_without_estimates_says_so(cls):
    optimizer = cls(weights(), lr=0.1)
    words = f"^{cls.__name__}.update_estimate: the rule takes no estimates; they are for rules that have an estimate"
    with pytest.raises(TypeError, match=words):
        optimizer.update_estimate()
    assert not hasattr(optimizer, "update_hessian")


def test_an_optimizer_in_the_imperative_style_takes_none():
    class Imperative(Optimizer):
        def step(self): ...

    with pytest.raises(TypeError, match=r"^Imperative.update_estimate: the rule takes no estimates"):
        Imperative(weights()).update_estimate()


def test_another_thread_that_steps_is_not_disturbed(engine):
    optimizer, refused = SophiaG(weights(), **HYPERS, **engine), []
    give(optimizer.params, 0)

    def other():
        try:
            optimizer.update_hessian()
        except RuntimeError as error:
            refused.append(str(error))

    with optimizer._stepper.alone("test"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert refused == [
        "SophiaG.update_estimate: another thread is stepping this optimizer; let one thread step it at a time"
    ]


def test_no_estimate_is_taken_while_the_parameters_hold_their_averages(engine):
    optimizer = SophiaG(weights(), **HYPERS, ema_decay=0.9, **engine)
    trained(optimizer)
    with (
        optimizer.averaged(),
        pytest.raises(RuntimeError, match=r"^SophiaG.update_estimate: the parameters hold their"),
    ):
        optimizer.update_hessian()
    optimizer.update_hessian()


@pytest.mark.parametrize("when", ["before the pieces", "after the pieces"])
def test_an_interrupted_estimate_is_finished_and_no_step_is_counted(when):
    pytest.importorskip("llvmlite")
    params = [Tensor(np.ones(size), dtype="float64", requires_grad=True) for size in (3, 200_000)]
    optimizer = SophiaG(params, beta2=0.5, engine="fused")
    for param in params:
        param.grad = Tensor(np.full(param.shape, 2.0), dtype="float64")
    optimizer.update_hessian()
    (plan,) = optimizer._stepper._plans.values()
    pieces = plan._batches[0].kernel._launch._pieces
    conduct, interrupts = pieces._conduct, []

    def interrupted(job):
        if when == "after the pieces":
            conduct(job)
        if not interrupts:
            interrupts.append(1)
            raise KeyboardInterrupt
        conduct(job)

    pieces._conduct = interrupted
    with pytest.raises(KeyboardInterrupt):
        optimizer.update_hessian()
    assert all((x.numpy() == 3.0).all() for x in optimizer.hessian)
    assert (optimizer.t, optimizer.steps) == (0, (0, 0)) and optimizer.state_dict()["new"] == ["0", "1"]


# What goes on elsewhere ----------------------------------------------------------------------------------------------


def by_copy(optimizer, make, path):
    return copy.deepcopy(optimizer)


def by_pickle(optimizer, make, path):
    return pickle.loads(pickle.dumps(optimizer))


def by_state_dict(optimizer, make, path):
    other = make([Tensor(param.buffer.copy(), dtype=param.dtype, requires_grad=True) for param in optimizer.params])
    other.load_state_dict(optimizer.state_dict())
    return other


def by_file(optimizer, make, path):
    other = make([Tensor(param.buffer.copy(), dtype=param.dtype, requires_grad=True) for param in optimizer.params])
    checkpoint.save(path / "run.mi", optimizer=optimizer)
    checkpoint.load(path / "run.mi", optimizer=other)
    return other


@pytest.mark.parametrize("state_dtype", [None, "int8"])
@pytest.mark.parametrize("way", [by_copy, by_pickle, by_state_dict, by_file])
@pytest.mark.parametrize("begun", [0, 2, 4])
def test_a_run_that_goes_on_elsewhere_goes_on_alike(way, begun, state_dtype, engine, tmp_path):
    def make(params):
        return SophiaG(params, **HYPERS, state_dtype=state_dtype, **engine)

    optimizer = make(weights("float32"))
    if begun:
        trained(optimizer, 0, begun)
    else:  # an estimate, and no step
        give(optimizer.params, 0)
        optimizer.update_hessian()
    other = way(optimizer, make, tmp_path)
    for each in (optimizer, other):
        trained(each, begun, begun + 5)
    assert everything(other) == everything(optimizer)


def test_several_threads_and_many_parameters_give_the_same_bits(monkeypatch):
    pytest.importorskip("llvmlite")
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("MINIMA_NUM_THREADS", threads)
        starts, rows = problem("float32")
        params = [Tensor(start, dtype="float32", requires_grad=True) for start in starts]
        params.append(Tensor(np.linspace(-1, 1, 300_000), dtype="float32", requires_grad=True))
        optimizer = SophiaG(params, **HYPERS, engine="fused", state_dtype="bfloat16")
        trained(optimizer, 0, 5)
        found.append(everything(optimizer))
    assert found[0] == found[1]


# Rules of one's own --------------------------------------------------------------------------------------------------


class Curved(Optimizer):
    """Two states by one function, which counts: and one that a variant has no use for."""

    lr: float = hyper(0.1, low=0)
    share: float = hyper(0.5, low=0, below=1)
    momentum: float = hyper(0.9, low=0, below=1, switch=True)
    plain: bool = hyper(False)

    @staticmethod
    def update(param, grad, u, seen, curvature=1.0, *, lr, momentum, plain):
        if plain:
            return param - lr * grad, u, seen, curvature
        if momentum:
            u = momentum * u + grad
            grad = u
        return param - lr * grad / where(seen > 0, curvature, 1), u, seen, curvature

    @staticmethod
    def estimate(grad, curvature, seen, *, share):
        return share * curvature + (1 - share) * abs(grad), seen + 1


def test_several_states_change_in_the_order_of_the_function(engine):
    w = Tensor([1.0, -2.0], dtype="float64", requires_grad=True)
    optimizer = Curved([w], **engine)
    w.grad = Tensor([3.0, -5.0], dtype="float64")
    optimizer.update_estimate()
    optimizer.update_seen()
    assert optimizer.seen[0].tolist() == [2.0, 2.0] and optimizer.curvature[0].tolist() == [2.5, 4.0]
    optimizer.step()
    np.testing.assert_allclose(w.tolist(), [1 - 0.3 / 2.5, -2 + 0.5 / 4])


def test_a_variant_that_has_no_use_for_an_estimate_keeps_none(engine):
    a, b = (Tensor([1.0], dtype="float64", requires_grad=True) for _ in range(2))
    optimizer = Curved([{"params": [a], "plain": True}, {"params": [b]}], **engine)
    for param in (a, b):
        param.grad = Tensor([3.0], dtype="float64")
    optimizer.update_estimate()
    assert [sorted(entry) for entry in optimizer.state_dict()["state"].values()] == [[], ["curvature", "seen", "u"]]
    assert optimizer.curvature[1].item() == 2.0
    optimizer.step()
    assert a.item() == 1 - 0.1 * 3


def test_the_functions_are_plain_functions_still():
    assert SophiaG.estimate(3.0, 1.0, beta2=0.5, batch_size=2.0, estimator="gauss_newton") == 9.5
    assert Curved.estimate(-3.0, 1.0, 0.0, share=0.5) == (2.0, 1.0)


def test_a_name_of_ones_own_is_kept():
    class Named(Curved):
        def update_seen(self):
            return "mine"

    assert Named(weights()).update_seen() == "mine"


def rule(estimate, **more):
    def update(param, grad, h, few: PerTensor, *, lr, scale):
        return param - lr * scale * grad / (h + few + 1), h, few + norm(grad)

    fields = {"lr": hyper(0.1), "scale": hyper(1.0), "update": staticmethod(update), "estimate": estimate, **more}
    fields["__annotations__"] = {"lr": float, "scale": float}
    return type("Mine", (Optimizer,), fields)


MUST = "must take grad, then the state of the parameter's size that it changes, then hyperparameters after a \\*"


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        (lambda h, grad: h, rf"Mine.estimate: {MUST}; got '\(h, grad\)'"),
        (lambda grad: grad, rf"Mine.estimate: {MUST}; got '\(grad\)'"),
        (lambda grad, few: grad, rf"Mine.estimate: {MUST}; got '\(grad, few\)'"),
        (lambda grad, other: grad, rf"Mine.estimate: {MUST}; got '\(grad, other\)'"),
        (lambda grad, *h: grad, rf"Mine.estimate: {MUST}; got '\(grad, \*h\)'"),
        (lambda grad, h, *, t: h, "Mine.estimate: must not take t, which is about steps"),
        (lambda grad, h, *, first: h, "Mine.estimate: must not take first, which is about steps"),
        (lambda grad, h, *, wd: h, "Mine.estimate: must not take wd, which is about steps"),
        (lambda grad, h, *, rho: h, "Mine.estimate: takes rho, which is not a hyperparameter; declare it in the class"),
        (lambda grad, h: (h, grad), r"Mine.estimate: must return as many values as it takes state, 1 \(h\); got 2"),
        (lambda grad, h: h + norm(grad), "Mine.estimate: must be elementwise"),
        (lambda grad, h: h if grad > 0 else grad, "Mine.estimate: "),
    ],
)
def test_a_function_that_does_not_fit_is_refused_when_the_class_is_made(estimate, words):
    with pytest.raises(TypeError, match=f"^{words}"):
        rule(staticmethod(estimate))


def test_a_method_is_no_such_function():
    with pytest.raises(TypeError, match=r"^Mine: estimate must be a @staticmethod"):
        rule(lambda self: None)


def test_of_all_rules_sophia_alone_takes_estimates():
    import minima.optim

    assert [name for name in RULES if getattr(minima.optim, name).rule.estimate] == ["SophiaG"]
