"""Rules that train other weights than they are to be judged by: Schedule-Free, and what a user may write."""

import copy
import pickle
import threading

import beyond
import numpy as np
import pytest

from minima import Tensor, checkpoint, nn
from minima.optim import ASGD, SGD, Adam, Optimizer, PerTensor, ScheduleFreeAdamW, ScheduleFreeSGD, hyper

SHAPES = ((6, 4), (3, 5), (7,), (), (0,), (300,))
RULES = {ScheduleFreeSGD: beyond.schedule_free_sgd, ScheduleFreeAdamW: beyond.schedule_free_adamw}
"""Each with its oracle, which gives the weights to evaluate too."""
HYPERS = {"lr": 0.05, "weight_decay": 0.1, "warmup_steps": 4}
each_rule = pytest.mark.parametrize("cls", RULES)
ULP = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10}


def weights(dtype="float64"):
    rng = np.random.default_rng(0)
    return [Tensor(rng.normal(size=shape), dtype=dtype, requires_grad=True) for shape in SHAPES]


def give(params, step):
    rng = np.random.default_rng([1, step])
    for param in params:
        param.grad = Tensor(rng.normal(size=param.shape) + 0.5, dtype=param.dtype)


def steps(optimizer, params, begin, end):
    for step in range(begin, end):
        give(params, step)
        optimizer.step()


def trained(cls, count=6, dtype="float64", **more):
    params = weights(dtype)
    optimizer = cls(params, **HYPERS, **more)
    steps(optimizer, params, 0, count)
    return params, optimizer


def values(params):
    return [param.buffer.copy() for param in params]


def same(one, other):
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def close(one, other, tolerance):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.astype("float64"), b.astype("float64"), rtol=0, atol=tolerance)


def means(cls, optimizer):
    """The weights to evaluate, by the definition of the ones to train: ``y = (1 - beta)*z + beta*x``."""
    beta = optimizer.momentum if cls is ScheduleFreeSGD else optimizer.beta1
    pairs = zip(optimizer.params, optimizer.z, strict=True)
    return [(y.buffer.astype("float64") - (1 - beta) * z.numpy().astype("float64")) / beta for y, z in pairs]


# What is evaluated ---------------------------------------------------------------------------------------------------


@each_rule
@pytest.mark.parametrize("hypers", [{"lr": 0.05}, {**HYPERS, "r": 1.0}, {"lr": 0.05, "weight_lr_power": 0.5}], ids=str)
def test_the_weights_to_evaluate_are_the_weighted_mean_of_all_z(cls, hypers, engine):
    starts, rows = beyond.problem("float64")
    params = [Tensor(start, dtype="float64", requires_grad=True) for start in starts]
    optimizer = cls(params, **hypers, **engine)
    given = {"wd" if name == "weight_decay" else name: value for name, value in hypers.items()}
    told = [RULES[cls](start, [row[k] for row in rows], **given) for k, start in enumerate(starts)]
    for row in rows:
        for param, grad in zip(params, row, strict=True):
            param.grad = Tensor(grad, dtype="float64")
        optimizer.step()
        wanted = [next(oracle)[1] for oracle in told]
        with optimizer.averaged():
            for param, mean in zip(params, wanted, strict=True):
                largest = np.max(np.abs(mean), initial=0.0)
                assert np.max(np.abs(param.buffer - mean), initial=0.0) <= 1e-13 * largest


@each_rule
def test_the_average_weighs_by_the_largest_learning_rate_so_far_where_it_changes(cls, engine):
    rates = [0.01, 0.05, 0.02, 0.04, 0.0, 0.03]
    start, grads = np.array([1.0, -2.0]), [np.array([0.5, -1.0]) * (step + 1) for step in range(6)]
    w = Tensor(start, dtype="float64", requires_grad=True)
    optimizer = cls([w], **engine)
    for (kept, mean), rate, grad in zip(RULES[cls](start, grads, lr=rates), rates, grads, strict=True):
        optimizer.lr = rate
        w.grad = Tensor(grad, dtype="float64")
        optimizer.step()
        np.testing.assert_allclose(w.buffer, kept["param"], rtol=1e-14)
        assert optimizer.lr_max[0].item() == kept["lr_max"]
        with optimizer.averaged():
            np.testing.assert_allclose(w.buffer, mean, rtol=1e-13)


@each_rule
@pytest.mark.parametrize("dtype", ULP)
def test_eval_and_train_go_to_the_average_and_back_to_rounding(cls, dtype, engine):
    params, optimizer = trained(cls, dtype=dtype, **engine)
    before, wanted = values(params), means(cls, optimizer)
    optimizer.eval()
    held = values(params)
    close(held, wanted, 16 * ULP[dtype])
    assert not same(held, before) and {param.dtype.name for param in params} == {dtype}
    optimizer.eval()  # once more makes no difference
    assert same(held, values(params))
    optimizer.train()
    close(values(params), before, 4 * ULP[dtype])
    behind = values(params)
    optimizer.train()
    assert same(behind, values(params))
    with optimizer.averaged():
        assert not same(behind, values(params))
    assert same(behind, values(params))


@each_rule
def test_with_a_master_copy_half_precision_comes_back_to_the_bit(cls, engine):
    params, optimizer = trained(cls, dtype="float16", rounding="master", **engine)
    params[0].data = params[0].buffer * np.float16(1.5)  # which the copy takes over
    twin, other = trained(cls, dtype="float16", rounding="master", **engine)
    twin[0].data = twin[0].buffer * np.float16(1.5)
    before = values(params)
    optimizer.eval()
    assert not same(before, values(params))
    optimizer.train()
    assert same(before, values(params))
    steps(optimizer, params, 6, 8)
    steps(other, twin, 6, 8)
    assert same(values(params), values(twin))


@each_rule
@pytest.mark.parametrize("state_dtype", ["bfloat16", "int8"])
def test_z_is_kept_as_it_is_computed_whatever_the_rest_is_kept_as(cls, state_dtype, engine):
    params, optimizer = trained(cls, dtype="float32", state_dtype=state_dtype, **engine)
    assert {slot.state["z"].kind for slot in optimizer._slots} == {"float32"}
    before, wanted = values(params), means(cls, optimizer)
    with optimizer.averaged():
        close(values(params), wanted, 16 * ULP["float32"])
    optimizer.eval()
    close(values(params), wanted, 16 * ULP["float32"])
    optimizer.train()
    close(values(params), before, 4 * ULP["float32"])


@each_rule
def test_before_the_first_step_all_weights_are_the_same(cls):
    params = weights()
    optimizer = cls(params)
    params[0].data = np.ones((6, 4))  # as a model has when it is loaded after its optimizer was made
    before = values(params)
    optimizer.eval()
    assert same(before, values(params))
    with pytest.raises(RuntimeError, match="the parameters hold the weights to evaluate"):
        optimizer.step()
    optimizer.train()
    with optimizer.averaged():
        assert same(before, values(params))


@each_rule
def test_a_parameter_without_a_step_stays_as_it_is(cls):
    params = weights()
    optimizer = cls(params, **HYPERS)
    give(params, 0)
    params[1].grad = None
    optimizer.step()
    give(params, 1)
    params[1].grad = None
    optimizer.step()
    before = values(params)
    optimizer.eval()
    assert [same([a], [b]) for a, b in zip(before, values(params), strict=True)] == [False, True, False, False] + [
        True,
        False,
    ]


def test_groups_are_averaged_by_their_own_share():
    params = weights()[:2]
    optimizer = ScheduleFreeSGD([{"params": params[:1]}, {"params": params[1:], "momentum": 0.5}], lr=0.1)
    steps(optimizer, params, 0, 4)
    wanted = [
        (y.buffer - (1 - beta) * z.numpy()) / beta for y, z, beta in zip(params, optimizer.z, (0.9, 0.5), strict=True)
    ]
    optimizer.eval()
    close(values(params), wanted, 1e-14)


# Who may do what -----------------------------------------------------------------------------------------------------


@each_rule
def test_no_step_is_taken_with_the_weights_to_evaluate(cls, engine):
    params, optimizer = trained(cls, **engine)
    optimizer.eval()
    before, calls = values(params), []
    give(params, 7)
    words = f"^{cls.__name__}.step: the parameters hold the weights to evaluate; call train[(][)] first$"
    for call in (optimizer.step, lambda: optimizer.step(lambda: calls.append(1))):
        with pytest.raises(RuntimeError, match=words):
            call()
    assert same(before, values(params)) and optimizer.t == 6 and not calls
    optimizer.train()
    optimizer.step()
    assert optimizer.t == 7


@each_rule
def test_weights_are_put_nowhere_where_one_parameter_cannot_take_them(cls):
    params, optimizer = trained(cls)
    before = values(params)
    params[-1].buffer.flags.writeable = False
    with pytest.raises(ValueError, match=rf"^{cls.__name__}.eval: parameter .* is read-only, .*; nothing was changed$"):
        optimizer.eval()
    assert same(before, values(params))
    params[-1].buffer.flags.writeable = True
    give(params, 7)
    optimizer.step()  # with the weights to train, which the parameters hold still


@each_rule
def test_in_the_mode_for_evaluation_nothing_is_lent(cls):
    params, optimizer = trained(cls)
    optimizer.eval()
    before = values(params)
    with optimizer.averaged():
        assert same(before, values(params))
    assert same(before, values(params))


@each_rule
def test_while_averages_are_lent_the_mode_stays(cls):
    params, optimizer = trained(cls)
    before = values(params)
    with optimizer.averaged():
        held = values(params)
        with optimizer.averaged():
            assert same(held, values(params))
        for switch in (optimizer.eval, optimizer.train):
            words = f"{cls.__name__}.{switch.__name__}: the parameters hold their averages; leave averaged[(][)] first"
            with pytest.raises(RuntimeError, match=words):
                switch()
        with pytest.raises(RuntimeError, match="step: the parameters hold their averages; leave averaged"):
            optimizer.step()
    assert same(before, values(params))


@each_rule
def test_an_ema_that_was_asked_for_is_lent_in_place_of_the_rule_s_own_average(cls):
    params, optimizer = trained(cls, ema_decay=0.5)
    wanted = [slot.state["ema"].read().copy() for slot in optimizer._slots]
    mean = means(cls, optimizer)
    with optimizer.averaged():
        assert same(wanted, values(params))
    optimizer.eval()
    close(values(params), mean, 1e-13)


@each_rule
def test_a_parameter_that_cannot_be_written_to_leaves_all_as_they_were(cls):
    params, optimizer = trained(cls)
    before = values(params)
    params[2].buffer.flags.writeable = False
    with pytest.raises(ValueError, match=f"{cls.__name__}.eval: parameter 2 is read-only"):
        optimizer.eval()
    with pytest.raises(ValueError, match=f"{cls.__name__}.averaged: parameter 2 is read-only"), optimizer.averaged():
        pass
    assert same(before, values(params))
    params[2].buffer.flags.writeable = True
    optimizer.step()


@each_rule
def test_the_mode_is_not_switched_while_another_thread_steps(cls):
    params, optimizer = trained(cls)
    said = []

    def switch():
        try:
            optimizer.eval()
        except RuntimeError as error:
            said.append(str(error))

    def closure():
        with optimizer._stepper.alone("test"):
            thread = threading.Thread(target=switch)
            thread.start()
            thread.join()

    give(params, 7)
    optimizer.step(closure)
    assert said == [f"{cls.__name__}.eval: another thread is stepping this optimizer; let one thread step it at a time"]


def test_other_rules_have_one_kind_of_weights():
    class Own(Optimizer):
        def step(self):
            pass

    for cls in (SGD, Adam, Own):
        params = weights()
        optimizer = cls(params)
        before = values(params)
        optimizer.eval()
        assert same(before, values(params))
        give(params, 0)
        optimizer.step()
        optimizer.train()
        assert optimizer.t == 1 and "train_mode" not in optimizer.state_dict()
    with pytest.raises(ValueError, match="SGD.averaged: there are no averages"), SGD(weights()).averaged():
        pass


# What is kept --------------------------------------------------------------------------------------------------------


@each_rule
def test_a_state_dict_says_which_weights_there_were(cls, engine):
    params, optimizer = trained(cls, **engine)
    assert optimizer.state_dict()["train_mode"] is True
    optimizer.eval()
    kept, held = copy.deepcopy(optimizer.state_dict()), values(params)
    assert kept["train_mode"] is False
    others = weights()
    for other, value in zip(others, held, strict=True):
        other.data = value
    resumed = cls(others, **engine)
    resumed.load_state_dict(kept)
    with pytest.raises(RuntimeError, match="call train"):
        resumed.step()
    for each, its in ((optimizer, params), (resumed, others)):
        each.train()
        steps(each, its, 6, 9)
        each.eval()
    assert same(values(params), values(others))


@each_rule
def test_a_state_dict_without_a_mode_leaves_it_and_one_that_is_none_is_refused(cls):
    _, optimizer = trained(cls)
    kept = optimizer.state_dict()
    optimizer.eval()
    optimizer.load_state_dict({name: value for name, value in kept.items() if name != "train_mode"})
    assert optimizer.state_dict()["train_mode"] is False
    with pytest.raises(TypeError, match=f"{cls.__name__}.load_state_dict: train_mode must be True or False; got 'no'"):
        optimizer.load_state_dict(kept | {"train_mode": "no"})


@each_rule
@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))], ids=["copy", "pickle"]
)
def test_a_copy_has_the_mode_of_the_original(cls, again):
    params, optimizer = trained(cls)
    optimizer.eval()
    twins, twin = again((params, optimizer))
    with pytest.raises(RuntimeError, match="call train"):
        twin.step()
    for each, its in ((optimizer, params), (twin, twins)):
        each.train()
        steps(each, its, 6, 8)
    assert same(values(params), values(twins))


@each_rule
def test_a_checkpoint_in_the_mode_for_evaluation_goes_on_to_the_bit(cls, tmp_path):
    runs = []
    for _ in range(2):
        model = nn.Linear(5, 3)
        runs.append((model, cls(model, **HYPERS)))
    (model, optimizer), (other, resumed) = runs
    steps(optimizer, optimizer.params, 0, 4)
    optimizer.eval()
    checkpoint.save(tmp_path / "run.mi", model=model, optimizer=optimizer)
    checkpoint.load(tmp_path / "run.mi", model=other, optimizer=resumed)
    assert same(values(model.parameters()), values(other.parameters()))
    for each in (optimizer, resumed):
        each.train()
        steps(each, each.params, 4, 6)
    assert same(values(model.parameters()), values(other.parameters()))


@each_rule
def test_training_may_end_at_any_time(cls):
    """On a valley with noise, the average is far nearer to the bottom than what is trained, at a constant lr."""
    rng = np.random.default_rng(0)
    w = Tensor(np.full(200, 3.0), dtype="float64", requires_grad=True)
    optimizer = cls([w], lr=0.3 if cls is ScheduleFreeSGD else 0.05)
    for _ in range(400):
        w.grad = Tensor(w.buffer + rng.normal(size=200), dtype="float64")
        optimizer.step()
    trained_at = np.abs(w.buffer).mean()
    z = np.abs(optimizer.z[0].numpy()).mean()
    optimizer.eval()
    assert np.abs(w.buffer).mean() < 0.5 * z and trained_at < z


# Averages on the side ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "int8"])
@pytest.mark.parametrize("dtype", ULP)
def test_an_average_on_the_side_is_lent_and_never_takes_the_place_of_the_parameters(dtype, state_dtype, engine):
    params, oracle = weights(dtype), [[] for _ in SHAPES]
    optimizer = ASGD(params, lr=0.05, t0=2, state_dtype=state_dtype, **engine)
    with optimizer.averaged():  # there is none yet
        assert same(values(params), values(weights(dtype)))
    for step in range(8):
        steps(optimizer, params, step, step + 1)
        for seen, param in zip(oracle, params, strict=True):
            seen.append(param.buffer.astype("float64"))
    before, wanted = values(params), [np.mean(seen[3:], axis=0) for seen in oracle]
    with pytest.raises(RuntimeError, match=r"ASGD.step: the parameters hold their averages; leave averaged\(\) first"):
        with optimizer.averaged():
            assert same(values(params), [average.buffer.astype(dtype) for average in optimizer.average])
            close(values(params), wanted, {None: 8 * ULP[dtype]}.get(state_dtype, 0.1))
            optimizer.step()
    assert same(values(params), before) and not same(before, [w.astype(dtype) for w in wanted])
    optimizer.eval()
    assert same(values(params), before)
    steps(optimizer, params, 8, 9)
    assert "train_mode" not in optimizer.state_dict() and optimizer.t == 9


def test_moving_averages_come_before_those_on_the_side():
    params = weights()
    optimizer = ASGD(params, lr=0.05, t0=0, ema_decay=0.5)
    steps(optimizer, params, 0, 3)
    with optimizer.averaged():
        averages = [average.buffer for average in optimizer.average]
        assert not same(values(params), averages)


# What a user may write -----------------------------------------------------------------------------------------------


def rule(**functions):
    def update(param, grad, z="param", size: PerTensor = 0.0, *, lr, share):
        return param - lr * share * grad, z - lr * grad, size + 1

    body = {
        "__annotations__": {"lr": float, "share": float},
        "lr": hyper(0.1, low=0),
        "share": hyper(0.5, above=0, below=1),
        "update": staticmethod(update),
    }
    return type("Mine", (Optimizer,), body | functions)


def to_evaluate(param, z, *, share):
    return param - share * z


def to_train(param, z, *, share):
    return param + share * z


def test_a_rule_of_a_user_may_have_weights_to_evaluate():
    cls = rule(weights_to_evaluate=staticmethod(to_evaluate), weights_to_train=staticmethod(to_train))
    w = Tensor([1.0, 2.0], requires_grad=True)
    optimizer = cls([w], share=0.25)
    w.grad = Tensor([0.0, 0.0])
    optimizer.step()
    optimizer.eval()
    assert w.tolist() == [0.75, 1.5]
    optimizer.train()
    assert w.tolist() == [1.0, 2.0]


FIT = {"weights_to_evaluate": staticmethod(to_evaluate), "weights_to_train": staticmethod(to_train)}
BOTH = "^Mine: weights_to_evaluate and weights_to_train must both be a @staticmethod; each is the other's inverse$"
TAKES = r"^Mine.weights_to_train: must take param, then state of its size, then hyperparameters after a \*; got "


def test_a_rule_of_a_user_may_lend_weights_that_stay_on_the_side():
    w = Tensor([1.0, 2.0], requires_grad=True)
    optimizer = rule(weights_to_lend=staticmethod(to_evaluate))([w], share=0.25)
    w.grad = Tensor([0.0, 0.0])
    optimizer.step()
    with optimizer.averaged():
        assert w.tolist() == [0.75, 1.5]
    optimizer.eval()
    assert w.tolist() == [1.0, 2.0]


LEND = "^Mine: weights_to_lend must be a @staticmethod, without weights_to_evaluate; take weights_to_evaluate and"


@pytest.mark.parametrize(
    ("functions", "words"),
    [
        ({"weights_to_lend": to_evaluate}, LEND),
        ({"weights_to_lend": staticmethod(to_evaluate), "weights_to_train": staticmethod(to_train)}, LEND),
        ({"weights_to_lend": staticmethod(lambda z: z)}, r"^Mine.weights_to_lend: must take param, then state"),
    ],
)
def test_a_function_that_lends_must_fit_the_rule_and_stand_alone(functions, words):
    with pytest.raises(TypeError, match=words):
        rule(**functions)


@pytest.mark.parametrize(
    ("functions", "words"),
    [
        ({"weights_to_train": None}, BOTH),
        ({"weights_to_evaluate": to_evaluate}, BOTH),
        ({"weights_to_train": staticmethod(lambda z: z)}, TAKES + r"'\(z\)'$"),
        ({"weights_to_train": staticmethod(lambda: 0)}, TAKES + r"'\(\)'$"),
        ({"weights_to_train": staticmethod(lambda param, y: y)}, TAKES),
        ({"weights_to_train": staticmethod(lambda param, size: size)}, TAKES),
        ({"weights_to_train": staticmethod(lambda param, *others: param)}, TAKES),
        (
            {"weights_to_train": staticmethod(lambda param, *, t: param)},
            "^Mine.weights_to_train: takes t, which is not a hyperparameter of the rule$",
        ),
        (
            {"weights_to_train": staticmethod(lambda param, *, wd: param)},
            "^Mine.weights_to_train: takes wd, which is not a hyperparameter of the rule$",
        ),
    ],
)
def test_functions_that_do_not_fit_the_rule_are_refused_in_one_sentence(functions, words):
    with pytest.raises(TypeError, match=words):
        rule(**FIT | functions)
