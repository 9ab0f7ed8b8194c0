"""The interface that all optimizers share: what constructors take, what can be read and assigned, groups, counts."""

import inspect

import numpy as np
import pytest
from rules import BUILT_IN, ELEMENTWISE, ORACLES, WHOLE, Everything, another, firsts, give

from minima import Tensor
from minima.optim import (
    ADOPT,
    ASGD,
    CAME,
    FTRL,
    LARS,
    MADGRAD,
    MARS,
    QHM,
    SGD,
    SM3,
    SOAP,
    AdaBelief,
    AdaDelta,
    AdaGrad,
    Adam,
    AdaMax,
    AdamW,
    Adan,
    AdEMAMix,
    DAdaptAdam,
    DAdaptSGD,
    DoG,
    DoWG,
    Hyper,
    LaProp,
    Lion,
    MoMo,
    MoMoAdam,
    Muon,
    NAdam,
    NAdamW,
    Optimizer,
    ParamGroup,
    PolyakSGD,
    QHAdam,
    RAdam,
    RMSProp,
    Rprop,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
    Shampoo,
    Signum,
    SimplifiedAdEMAMix,
    SophiaG,
    Yogi,
    hyper,
)
from minima.optim.language.ranks import MATRIX, state_shape


def tensor(*values):
    return Tensor(values or (1.0, 2.0), requires_grad=True)


each_rule = pytest.mark.parametrize("cls", ORACLES)

# The contract --------------------------------------------------------------------------------------------------------

SIGNATURES = {
    Optimizer: "(params, *, ENGINE)",
    SGD: "(params, lr=0.01, momentum=0.0, wd=0.0, *, dampening=None, nesterov=False, dampen_first=True, ENGINE)",
    ASGD: "(params, lr=0.01, lambd=0.0001, alpha=0.75, t0=1000000.0, weight_decay=0.0, *, ENGINE)",
    QHM: "(params, lr=0.001, momentum=0.999, nu=0.7, weight_decay=0.0, *, ENGINE)",
    AdaGrad: "(params, lr=0.001, wd=0.0, eps=1e-07, *, eps_inside=True, initial=0.0, lr_decay=None, ENGINE)",
    FTRL: "(params, lr=0.001, l1=0.0, weight_decay=0.0, *, beta=0.0, initial=0.1, ENGINE)",
    MADGRAD: "(params, lr=0.01, momentum=0.9, eps=1e-06, weight_decay=0.0, *, ENGINE)",
    RMSProp: (
        "(params, lr=0.001, wd=0.0, eps=1e-07, rho=0.9, *, eps_inside=True, momentum=None, centered=False, ENGINE)"
    ),
    AdaDelta: "(params, lr=1.0, rho=0.9, eps=1e-06, weight_decay=0.0, *, ENGINE)",
    Rprop: (
        "(params, lr=0.01, eta_minus=0.5, eta_plus=1.2, step_min=1e-06, step_max=50.0, weight_decay=0.0, *, ENGINE)"
    ),
    Adam: (
        "(params, lr=1e-05, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.0, *, "
        "amsgrad=False, eps_hat=False, eps_root=None, max_hat=False, ENGINE)"
    ),
    Signum: "(params, lr=0.001, momentum=0.9, weight_decay=0.0, *, ENGINE)",
    Lion: "(params, lr=0.0001, beta1=0.9, beta2=0.99, weight_decay=0.0, *, ENGINE)",
    AdamW: (
        "(params, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.01, *, "
        "amsgrad=False, eps_hat=False, eps_root=None, max_hat=False, ENGINE)"
    ),
    ScheduleFreeSGD: (
        "(params, lr=1.0, momentum=0.9, weight_decay=0.0, warmup_steps=0.0, r=0.0, weight_lr_power=2.0, *, ENGINE)"
    ),
    ScheduleFreeAdamW: (
        "(params, lr=0.0025, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.0, warmup_steps=0.0, r=0.0, "
        "weight_lr_power=2.0, *, ENGINE)"
    ),
    AdaBelief: (
        "(params, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-16, weight_decay=0.0, *, "
        "eps_root=None, amsgrad=False, rectify=False, ENGINE)"
    ),
    QHAdam: ("(params, lr=0.001, beta1=0.995, beta2=0.999, eps=1e-08, weight_decay=0.0, *, nu1=0.7, nu2=1.0, ENGINE)"),
    Yogi: "(params, lr=0.01, beta1=0.9, beta2=0.999, eps=0.001, weight_decay=0.0, *, initial=1e-06, ENGINE)",
    LaProp: "(params, lr=0.0004, beta1=0.9, beta2=0.999, eps=1e-15, weight_decay=0.0, *, ENGINE)",
    AdEMAMix: (
        "(params, lr=0.001, beta1=0.9, beta2=0.999, beta3=0.9999, alpha=5.0, eps=1e-08, weight_decay=0.0, *, "
        "warmup=None, ENGINE)"
    ),
    Adan: (
        "(params, lr=0.001, beta1=0.98, beta2=0.92, beta3=0.99, eps=1e-08, weight_decay=0.0, *, proximal=True, ENGINE)"
    ),
    SimplifiedAdEMAMix: (
        "(params, lr=0.0001, beta1=0.99, beta2=0.95, alpha=0.0, eps=1e-08, weight_decay=0.0, *, ENGINE)"
    ),
    ADOPT: (
        "(params, lr=0.001, beta1=0.9, beta2=0.9999, eps=1e-06, weight_decay=0.0, *, "
        "clip_exp=0.25, clipped=True, ENGINE)"
    ),
    LARS: (
        "(params, lr=1.0, momentum=0.9, weight_decay=0.0, trust=0.001, *, sum_of_norms=False, trust_clip=False, "
        "adaptive=True, ENGINE)"
    ),
    SophiaG: (
        "(params, lr=0.06, beta1=0.96, beta2=0.99, rho=0.01, eps=1e-12, weight_decay=0.0, *, "
        "batch_size=1.0, estimator='gauss_newton', ENGINE)"
    ),
    SM3: "(params, lr=0.1, momentum=0.9, beta=None, eps=1e-30, weight_decay=0.0, *, ENGINE)",
    CAME: (
        "(params, lr=0.0002, beta1=0.9, beta2=0.999, beta3=0.9999, eps1=1e-30, eps2=1e-16, threshold=1.0, "
        "weight_decay=0.0, *, ENGINE)"
    ),
    AdaMax: ("(params, lr=0.002, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.0, *, eps_inside=True, ENGINE)"),
    MARS: (
        "(params, lr=0.003, beta1=0.95, beta2=0.99, eps=1e-08, weight_decay=0.0, gamma=0.025, *, "
        "optimize_1d=False, ENGINE)"
    ),
    RAdam: (
        "(params, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.0, *, "
        "threshold=5.0, eps_hat=True, degenerated_to_sgd=True, ENGINE)"
    ),
    NAdam: (
        "(params, lr=0.002, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.0, momentum_decay=0.004, *, "
        "schedule=True, corrected_ahead=True, ENGINE)"
    ),
    NAdamW: (
        "(params, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.01, momentum_decay=0.004, *, "
        "schedule=False, corrected_ahead=True, ENGINE)"
    ),
    PolyakSGD: "(params, lr=1.0, weight_decay=0.0, bound=0.0, c=1.0, eps=0.0, *, positive=False, ENGINE)",
    MoMo: "(params, lr=1.0, beta=0.9, weight_decay=0.0, bound=0.0, *, ENGINE)",
    MoMoAdam: "(params, lr=0.01, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.0, bound=0.0, *, ENGINE)",
    DoG: "(params, lr=1.0, weight_decay=0.0, reps_rel=1e-06, eps=1e-08, *, ENGINE)",
    DoWG: "(params, lr=1.0, weight_decay=0.0, r0=0.0001, eps=0.0001, *, ENGINE)",
    DAdaptSGD: "(params, lr=1.0, momentum=0.9, weight_decay=0.0, d0=1e-06, *, ENGINE)",
    DAdaptAdam: (
        "(params, lr=1.0, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.0, d0=1e-06, *, "
        "bias_correction=False, ENGINE)"
    ),
    Shampoo: "(params, lr=0.001, eps=1e-06, weight_decay=0.0, *, interval=1, max_size=10000, ENGINE)",
    SOAP: (
        "(params, lr=0.003, beta1=0.95, beta2=0.95, eps=1e-08, weight_decay=0.01, *, shampoo_beta=None, interval=10, "
        "max_size=10000, ENGINE)"
    ),
    Everything: "(params, lr=0.1, limit=1.0, warm=3.0, floor=None, *, rough=False, wd=0.0, ENGINE)",
}

STATE = {
    Optimizer: (),
    SGD: ("u",),
    ASGD: ("average", "eta", "mu"),
    QHM: ("exp_avg",),
    AdaGrad: ("cache",),
    RMSProp: ("cache", "grad_avg", "momentum_buffer"),
    Signum: ("exp_avg",),
    AdaDelta: ("square_avg", "acc_delta"),
    Rprop: ("prev_grad", "step_size"),
    Lion: ("exp_avg",),
    Adam: ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    AdamW: ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
    AdaBelief: ("exp_avg", "exp_avg_var", "max_exp_avg_var"),
    QHAdam: ("exp_avg", "exp_avg_sq"),
    Yogi: ("exp_avg", "exp_avg_sq"),
    LaProp: ("exp_avg", "exp_avg_sq"),
    AdEMAMix: ("exp_avg", "exp_avg_sq", "exp_avg_slow"),
    Adan: ("exp_avg", "exp_avg_diff", "exp_avg_sq", "prev_grad"),
    FTRL: ("z", "grad_sum_sq"),
    SimplifiedAdEMAMix: ("exp_avg", "exp_avg_sq"),
    ADOPT: ("exp_avg", "exp_avg_sq"),
    LARS: ("momentum_buffer",),
    SophiaG: ("exp_avg", "hessian"),
    AdaMax: ("exp_avg", "exp_inf"),
    MARS: ("exp_avg", "exp_avg_sq", "prev_grad"),
    RAdam: ("exp_avg", "exp_avg_sq"),
    Shampoo: ("left", "right", "left_power", "right_power", "left_diagonal", "right_diagonal"),
    SOAP: ("exp_avg", "exp_avg_sq", "left", "right", "q_left", "q_right"),
}


NOT_HYPER = ("params", "engine", "state_dtype", "groups", "rounding", "seed", "on_nonfinite")
CHOICES = {"decay": "l2", "maximize": True, "cautious": True, "max_norm": 0.5, "ema_decay": 0.5}
CAUTIOUS = {*BUILT_IN} - {ASGD, FTRL, MADGRAD, AdaDelta, AdaGrad, Muon, Rprop, ScheduleFreeSGD, ScheduleFreeAdamW}
CAUTIOUS -= {DoG, DoWG, DAdaptSGD, PolyakSGD}
"""The rules that say which value is their direction."""
OPTIONS = (
    "engine=None, state_dtype=None, groups=None, decay='decoupled', maximize=False, cautious=False, "
    "max_norm=None, ema_decay=None, rounding=None, seed=0, on_nonfinite='propagate'"
)


@pytest.mark.parametrize("cls", SIGNATURES)
def test_the_signature_is_the_contract_s(cls):
    signature = inspect.signature(cls)
    wanted = SIGNATURES[cls].replace("ENGINE", OPTIONS)
    assert str(signature.replace(return_annotation=signature.empty)) == wanted


@pytest.mark.parametrize("cls", SIGNATURES)
def test_positional_arguments_fill_the_signature_in_its_order(cls):
    places = [p for p in inspect.signature(cls).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
    values = [0.0625 * (1 + number) + (p.name in ("warm", "eta_plus")) for number, p in enumerate(places)]
    optimizer = cls([tensor()], *values)
    assert [getattr(optimizer, p.name) for p in places] == values


@pytest.mark.parametrize("cls", BUILT_IN)
def test_hyperparameters_start_at_their_defaults_and_can_be_given_by_name(cls):
    parameters = inspect.signature(cls).parameters
    defaults = {name: p.default for name, p in parameters.items() if name not in NOT_HYPER}
    optimizer = cls(params=[tensor()])
    assert {name: getattr(optimizer, name) for name in defaults} == defaults == optimizer.defaults
    values = {name: another(cls.hyperparameters[name]) for name in defaults if name not in CHOICES} | CHOICES
    values |= {} if cls in CAUTIOUS else {"cautious": False}
    values |= {"decay": "decoupled"} if cls._declaration.coefficient in cls.rule.keywords else {}
    optimizer = cls([tensor()], **values)
    assert {name: getattr(optimizer, name) for name in defaults} == values


LATE = {"warmup": 4.0}
"""Values of numbers that a smaller one would leave without effect."""
BESIDE = {"max_hat": {"amsgrad": True}, "amsgrad": {"beta2": 0.5}}
"""Settings beside which alone others have an effect."""


@pytest.mark.parametrize("cls", ELEMENTWISE)
def test_every_hyperparameter_can_be_assigned_and_is_used_from_then_on(cls):
    for name, declared in cls.hyperparameters.items():
        if name in cls.rule.state.values():  # which state begins with: it is used when that is made
            continue
        w, other, unchanged = tensor(1.0), tensor(1.0), tensor(1.0)
        number = LATE.get(name) or next(x for x in (0.25, 1.25, 4.5) if declared.allows(x))
        value = not declared.default if declared.is_flag else number
        common = {"lr": 0.5} | ({"eps": 0.5} if "eps" in cls.hyperparameters else WHOLE.get(cls, {}))
        common |= BESIDE.get(name, {})
        assigned, given = cls([w], **common), cls([other], **(common | {name: value}))
        without = cls([unchanged], **common)
        setattr(assigned, name, value)
        assert getattr(assigned, name) == assigned.param_groups[0][name] == value
        for grad in (2.0, 0.0, -0.5, -0.1, 0.0, 0.2, -0.3, -0.1, 0.1, 0.2):
            give([w, other, unchanged], [[grad]] * 3)
            for optimizer in (assigned, given, without):
                optimizer.step()
        found = [
            [x.tolist() for x in (param, *made.average)] if cls is ASGD else param.tolist()
            for param, made in zip((w, other, unchanged), (assigned, given, without), strict=True)
        ]
        assert found[0] == found[1] != found[2], name


@pytest.mark.parametrize("cls", STATE)
def test_state_is_read_under_the_names_of_the_contract_by_the_parameter_s_position(cls):
    params = [Tensor(np.ones(shape), requires_grad=True) for shape in ((), (3,), (2, 0), (4, 5))]
    optimizer = cls(params)
    begins = dict(zip(STATE[cls], firsts(cls, {}), strict=True)) if cls.rule else {}
    for name in STATE[cls]:
        entries = getattr(optimizer, name)
        shapes = [state_shape(cls.rule.ranks[name], param.shape) for param in params]
        assert [entry.shape for entry in entries] == shapes
        assert all(isinstance(entry, Tensor) and not entry.requires_grad for entry in entries)
        is_square = cls.rule is not None and cls.rule.ranks[name] > MATRIX  # begins as so many times the identity
        for entry in entries:
            first = begins[name] * np.eye(len(entry)) if is_square else np.full(entry.shape, begins[name])
            assert np.array_equal(entry.numpy(), first.astype(entry.numpy().dtype))
    assert (tuple(cls.rule.state) if cls.rule else ()) == STATE[cls]


def test_state_starts_at_the_default_in_the_signature_of_update():
    assert Everything([tensor()]).peak[0].tolist() == [0.25, 0.25]


def test_state_may_start_as_a_hyperparameter_of_its_group_which_counts_when_the_state_is_made(engine):
    v, w, late = tensor(), tensor(), tensor()
    optimizer = AdaGrad([{"params": [v]}, {"params": [w], "initial": 2.0}], initial=0.5, **engine)
    assert [entry.tolist() for entry in optimizer.cache] == [[0.5, 0.5], [2.0, 2.0]]
    optimizer.initial = 3.0
    optimizer.add_param_group({"params": [late]})
    give([v, w, late], [[1.0, 2.0]] * 3)
    optimizer.step()
    assert [entry.tolist() for entry in optimizer.cache] == [[1.5, 4.5], [3.0, 6.0], [4.0, 7.0]]


@each_rule
def test_wd_and_weight_decay_are_one_hyperparameter_in_every_rule(cls):
    for spelled in ("wd", "weight_decay"):
        w = tensor()
        optimizer = cls([w], lr=0.5, **{spelled: 0.5})
        assert optimizer.wd == optimizer.weight_decay == 0.5
        assert optimizer.param_groups[0]["wd"] == optimizer.param_groups[0]["weight_decay"] == 0.5
        setattr(optimizer, spelled, 0.25)
        assert optimizer.wd == optimizer.weight_decay == 0.25
        optimizer.param_groups[0][spelled] = 0.125
        assert optimizer.wd == optimizer.weight_decay == 0.125
        assert SGD([{"params": [tensor()], spelled: 0.5}, {"params": [tensor()]}]).param_groups[0]["wd"] == 0.5
    assert cls.wd is cls.weight_decay


def test_a_rule_without_a_learning_rate_decays_by_wd_alone():
    class Averaging(Optimizer):
        @staticmethod
        def update(param, grad):
            return param - grad

    w = tensor(8.0)
    give([w], [[1.0]])
    Averaging([w], wd=0.25).step()
    assert w.tolist() == [5.0]


def test_an_optimizer_may_have_other_bases_that_take_keywords_of_its_class():
    class Tagged:
        def __init_subclass__(cls, tag="", **kwargs):
            super().__init_subclass__(**kwargs)
            cls.tag = tag

    class Mine(SGD, Tagged, tag="mine"):
        pass

    assert Mine.tag == "mine" and Mine([tensor()], lr=0.5).lr == 0.5


def test_a_declaration_reads_as_itself_on_the_class_and_as_the_value_on_an_optimizer():
    assert isinstance(Adam.beta1, Hyper) and isinstance(Adam.wd, Hyper)
    assert list(Adam.hyperparameters) == [
        "lr",
        "beta1",
        "beta2",
        "eps",
        "weight_decay",
        "amsgrad",
        "eps_hat",
        "eps_root",
        "max_hat",
    ]
    ranges = [Adam.lr.range, Adam.beta1.range, SGD.dampening.range, SGD.nesterov.range, Everything.limit.range]
    assert ranges == ["[0, inf)", "[0, 1)", "None or [0, 1]", "True or False", "(0, inf)"]
    assert hyper(1.0).range == "(-inf, inf)" and hyper(1.0, above=-1, high=2).range == "(-1, 2]"
    assert Hyper(1.0).range == "(-inf, inf)" and not Hyper(1.0).kw_only
    assert [SGD.nesterov.is_flag, SGD.dampening.is_flag, SGD.lr.is_flag] == [True, False, False]


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.5), np.float64(0.25), np.int64(1)], ids=repr)
def test_any_real_number_serves_as_a_hyperparameter_and_is_kept_as_a_float(value):
    optimizer = SGD([tensor()], lr=value)
    assert optimizer.lr == value and type(optimizer.lr) is float


def test_bounds_belong_to_the_range_or_not_as_declared():
    class Bounded(Optimizer):
        closed: float = hyper(0.5, low=0, high=1)
        open: float = hyper(0.5, above=0, below=1)

        @staticmethod
        def update(param, grad, *, closed, open):
            return param - closed * open * grad

    for value in (0, 1):
        assert Bounded([tensor()], closed=value).closed == value
        with pytest.raises(ValueError, match=r"open must lie in \(0, 1\)"):
            Bounded([tensor()], open=value)
    for value in (-1e-9, 1 + 1e-9):
        with pytest.raises(ValueError, match=r"closed must lie in \[0, 1\]"):
            Bounded([tensor()], closed=value)


def test_true_and_false_of_numpy_serve_as_flags():
    assert SGD([tensor()], nesterov=np.True_).nesterov is True


# Parameters ----------------------------------------------------------------------------------------------------------


def test_parameters_may_come_as_any_iterable():
    a, b = tensor(), tensor()
    for given in ([a, b], (a, b), iter([a, b]), (p for p in (a, b)), {"x": a, "y": b}.values(), dict(a=a, b=b).items()):
        optimizer = SGD(given)
        assert len(optimizer.params) == 2 and optimizer.params[0] is a and optimizer.params[1] is b


def test_a_generator_may_give_the_parameters_of_a_group():
    a, b = tensor(), tensor()
    optimizer = SGD([{"params": (p for p in (a,))}, {"params": iter([("bias", b)]), "wd": 0.0}], wd=0.1)
    assert [group["params"] for group in optimizer.param_groups] == [(a,), (b,)]


def test_a_group_may_hold_one_tensor_by_itself():
    a = tensor()
    assert SGD([{"params": a}]).params == (a,)


def test_a_mapping_that_is_given_as_a_group_is_left_as_it_was():
    group = {"params": iter([tensor()]), "lr": 0.5}
    held = dict(group)
    SGD([group])
    assert group == held


def test_tensors_that_require_no_gradient_may_be_parameters():
    w = Tensor([1.0])
    w.grad = Tensor([1.0])
    SGD([w], lr=0.5).step()
    assert w.tolist() == [0.5]


def test_zero_grad_clears_the_gradients_of_all_groups():
    a, b, c = tensor(), tensor(), tensor()
    optimizer = SGD([{"params": [a]}, {"params": [b]}])
    give([a, b, c], [[1.0, 1.0]] * 3)
    optimizer.zero_grad(set_to_none=True)
    assert a.grad is None and b.grad is None and c.grad is not None


@pytest.mark.parametrize("cls", [Optimizer, *BUILT_IN])
def test_zero_grad_belongs_to_every_optimizer(cls):
    w = tensor()
    (w * w).sum().backward()
    cls([w]).zero_grad()
    assert w.grad is None


@each_rule
def test_t_counts_the_steps_of_the_optimizer_and_steps_those_of_each_parameter(cls):
    a, b = tensor(), tensor()
    optimizer = cls([a, b])
    assert (optimizer.t, optimizer.steps) == (0, (0, 0))
    for step in range(1, 4):
        give([a, b], [[1.0, 1.0], [1.0, 1.0] if step == 2 else None])
        optimizer.step()
        assert type(optimizer.t) is int and optimizer.t == step
    assert optimizer.steps == (3, 1)


def test_the_repr_says_what_the_optimizer_has():
    assert repr(Adam([tensor()], lr=0.5)) == (
        "Adam(1 parameter, lr=0.5, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.0, amsgrad=False, eps_hat=False, "
        "eps_root=None, max_hat=False)"
    )
    rates = [0.5].__getitem__
    optimizer = Adam([tensor()], lr=rates)
    assert "lr=0.5, " in repr(optimizer.param_groups[0])
    optimizer.t = 1  # what the function raises is for the step that needs its number
    assert f"lr={rates!r}, " in repr(optimizer.param_groups[0])
    assert repr(AdaGrad([tensor()]).param_groups[0]) == (
        "ParamGroup(1 parameter, lr=0.001, wd=0.0, eps=1e-07, eps_inside=True, initial=0.0, lr_decay=None)"
    )


# Groups --------------------------------------------------------------------------------------------------------------


def test_the_only_group_and_its_optimizer_have_one_set_of_values():
    for optimizer in (SGD([tensor()], lr=0.5), SGD([{"params": [tensor()], "lr": 0.5}], lr=0.1)):
        (group,) = optimizer.param_groups
        assert optimizer.lr == group["lr"] == 0.5
        optimizer.lr = 0.25
        assert group["lr"] == 0.25
        group["lr"] = 0.125
        assert optimizer.lr == 0.125


def test_an_optimizer_of_several_groups_passes_its_values_to_those_without_their_own():
    optimizer = SGD([{"params": [tensor()], "lr": 0.5}, {"params": [tensor()]}, {"params": [tensor()]}], lr=0.1)
    first, second, third = optimizer.param_groups
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1, 0.1]
    optimizer.lr = 0.25
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.25, 0.25]
    second["lr"] = 0.75
    assert (optimizer.lr, second["lr"], third["lr"]) == (0.25, 0.75, 0.25)
    optimizer.lr = 0.125
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.75, 0.125]


def test_a_second_group_takes_over_what_it_does_not_set_and_then_both_can_part():
    optimizer = SGD([tensor()], lr=0.1, momentum=0.5)
    optimizer.add_param_group({"params": [tensor()], "lr": 0.5})
    first, second = optimizer.param_groups
    assert [(group["lr"], group["momentum"]) for group in (first, second)] == [(0.1, 0.5), (0.5, 0.5)]
    optimizer.momentum = 0.25
    assert first["momentum"] == second["momentum"] == 0.25
    first["lr"] = 0.75
    assert (optimizer.lr, first["lr"], second["lr"]) == (0.1, 0.75, 0.5)


def test_added_parameters_come_after_those_that_were_there():
    a, b, c = tensor(), tensor(), tensor(3.0)
    optimizer = Adam([a, b])
    optimizer.add_param_group({"params": [("head", c)]})
    assert [id(p) for p in optimizer.params] == [id(a), id(b), id(c)]
    assert [entry.shape for entry in optimizer.exp_avg] == [(2,), (2,), (1,)]
    assert len(optimizer.param_groups) == 2 and optimizer.param_groups[1]["params"] == (c,)


@pytest.mark.parametrize(
    "bad", [{"params": []}, {"params": [Tensor([1])]}, {"params": [tensor()], "lr": -1}, {"lr": 0.1}, 3]
)
def test_a_group_that_is_refused_leaves_the_optimizer_as_it_was(bad):
    w = tensor()
    optimizer = SGD([w], lr=0.1)
    with pytest.raises((TypeError, ValueError)):
        optimizer.add_param_group(bad)
    assert optimizer.params == (w,) and len(optimizer.u) == len(optimizer.param_groups) == 1
    optimizer.param_groups[0]["lr"] = 0.5
    assert optimizer.lr == 0.5  # it is still the only group


def test_a_group_is_a_mapping_of_its_parameters_and_of_every_hyperparameter():
    w = tensor()
    (group,) = RMSProp([w], lr=0.5).param_groups
    assert isinstance(group, ParamGroup)
    own = ["lr", "wd", "eps", "rho", "eps_inside", "momentum", "centered"]
    assert list(group) == ["params", *own, *CHOICES] and len(group) == 13
    hypers = {"lr": 0.5, "wd": 0.0, "eps": 1e-7, "rho": 0.9, "eps_inside": True, "momentum": None, "centered": False}
    choices = {"decay": "decoupled", "maximize": False, "cautious": False, "max_norm": None, "ema_decay": None}
    assert dict(group) == {"params": (w,), **hypers, **choices}
    assert list(group.values()) == [dict(group)[name] for name in group] and dict(group.items()) == dict(group)
    assert "lr" in group and group.get("eps") == 1e-7


def test_a_group_says_of_a_name_that_it_does_not_know_that_it_is_not_in_it():
    (group,) = SGD([tensor()]).param_groups
    assert "rho" not in group
    assert group.get("rho", "absent") == "absent"
    with pytest.raises(KeyError, match="SGD: there is no hyperparameter 'rho'; there are lr, momentum"):
        group["rho"]


def test_a_number_of_threads_that_is_none_is_refused_when_an_optimizer_is_made(monkeypatch):
    monkeypatch.setenv("MINIMA_NUM_THREADS", "0")
    with pytest.raises(ValueError, match="^MINIMA_NUM_THREADS: must be a whole number, at least 1; got '0'$"):
        SGD([Tensor([1.0], requires_grad=True)])


def test_python_complains_in_the_name_of_the_class_wherever_a_method_stands():
    optimizer = SGD([Tensor([1.0], requires_grad=True)])
    for call in (optimizer.set_steps, optimizer.averaged, optimizer.formula, optimizer.eval, optimizer.state_dict):
        with pytest.raises(TypeError, match=rf"^Optimizer\.{call.__name__}\(\) "):
            call(1, 2, 3, 4)
