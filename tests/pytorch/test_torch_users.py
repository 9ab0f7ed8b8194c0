"""What users of torch.optim do that is easily forgotten: it works here too, or is answered in a sentence."""

import numpy as np
import pytest
import torch
from tensors import own
from torch import nn

from minima import optim
from minima import torch as mt


def ones(size=3, **options):
    return [torch.ones(size, requires_grad=True, **options)]


def step(optimizer):
    for group in optimizer.param_groups:
        for param in group["params"]:
            if param.requires_grad:
                param.grad = torch.ones_like(param)
    optimizer.step()
    return optimizer


class Named(mt.Adam):
    """A subclass with attributes of its own, set before and after the constructor."""

    def __init__(self, params, lr=0.1):
        self.lr = lr
        self.learning_rate = 3
        super().__init__(params, lr / 2)
        self.wd = 4


def test_a_subclass_may_call_attributes_of_its_own_what_it_likes():
    optimizer = step(Named(ones()))
    assert (optimizer.lr, optimizer.learning_rate, optimizer.wd) == (0.1, 3, 4)
    assert optimizer.param_groups[0]["lr"] == 0.05 and optimizer.eps == 1e-8
    optimizer.lr = 1.0
    assert optimizer.param_groups[0]["lr"] == 0.05


def test_an_option_that_is_set_before_the_constructor_was_called_is_refused():
    class Early(mt.Adam):
        def __init__(self, params):
            self.seed = 1
            super().__init__(params)

    with pytest.raises(AttributeError, match="^Early: seed is an option .*; call super\\(\\).__init__ first$"):
        Early(ones())


def test_one_of_the_betas_leaves_the_other_as_the_optimizer_has_it():
    assert mt.Adam([{"params": ones(), "beta1": 0.3}], betas=(0.5, 0.6)).betas == (0.3, 0.6)
    optimizer = mt.Adam(nn.Linear(2, 2), betas=(0.5, 0.6), groups={"bias": {"beta1": 0.1}})
    assert [group["betas"] for group in optimizer.param_groups] == [(0.5, 0.6), (0.1, 0.6)]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("cls", [mt.AdamW, mt.Adagrad, mt.SGD, own.RMSProp], ids=lambda cls: cls.__name__)
def test_quantised_weights_that_are_frozen_may_be_listed(cls, dtype, engine):
    frozen = nn.Parameter(torch.ones(4).to(dtype), requires_grad=False)
    (param,) = ones()
    optimizer = step(cls([frozen, param], lr=0.5, engine=engine))
    assert not torch.equal(param, torch.ones(3)) and torch.equal(frozen.float(), torch.ones(4))
    cls([frozen, param]).load_state_dict(optimizer.state_dict())


def test_a_list_of_parameters_is_no_model():
    optimizer = mt.Adam(nn.ParameterList([torch.ones(2), torch.ones(3)]))
    optimizer.add_param_group({"params": ones()})
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 1]
    assert "param_names" not in optimizer.param_groups[0]


@pytest.mark.parametrize("wrapper", ["module", "_orig_mod"])
def test_names_are_those_of_the_model_whoever_wraps_it(wrapper):
    plain, inner = nn.Linear(2, 2), nn.Linear(2, 2)
    model = nn.Module()
    model.add_module(wrapper, inner)
    saved = step(mt.Adam(plain.named_parameters())).state_dict()
    saved["param_groups"][0]["param_names"].reverse()
    saved["param_groups"][0]["params"].reverse()
    optimizer = mt.Adam(model)
    optimizer.load_state_dict(saved)
    assert optimizer.steps == (1, 1) and optimizer.state[inner.bias]["exp_avg"].shape == (2,)
    again = mt.Adam(plain.named_parameters())
    again.load_state_dict(optimizer.state_dict())
    assert again.steps == (1, 1)


def test_equal_names_do_not_tell_parameters_apart():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    params = [*first.named_parameters(), *second.named_parameters()]
    optimizer = step(mt.Adam(params))
    second.weight.grad = torch.zeros(2, 2)
    optimizer.step()
    other = mt.Adam(params)
    other.load_state_dict(optimizer.state_dict())
    for param in (first.weight, second.weight):
        assert torch.equal(other.state[param]["exp_avg"], optimizer.state[param]["exp_avg"])


def test_flags_may_be_numbers_and_nothing_else_than_numbers_may_be_none():
    assert mt.Adam(ones(), amsgrad=1).amsgrad is True and mt.SGD(ones(), maximize=0).maximize is False
    for cls, name, interval in (
        (mt.SGD, "dampening", r"\[0, 1\]"),
        (mt.RMSprop, "momentum", r"\[0, 1\)"),
        (mt.Adagrad, "lr_decay", r"\[0, inf\)"),
    ):
        with pytest.raises(TypeError, match=f"^{cls.__name__}: {name} must be a number in {interval}; got None$"):
            cls(ones(), **{name: None})


def test_a_rate_in_a_tensor_is_one_for_groups_that_were_loaded():
    optimizer = mt.Adam([{"params": ones()}, {"params": ones()}], lr=torch.tensor(0.1))
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.lr == torch.tensor(0.1)
    optimizer.lr = 0.5
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


def test_a_flag_beside_a_way_of_decay_is_refused_by_the_step():
    optimizer = mt.Adam(ones(), decay="independent")
    optimizer.param_groups[0]["decoupled_weight_decay"] = True
    with pytest.raises(TypeError, match="^Adam: decay and decoupled_weight_decay of a group say the same; let one"):
        step(optimizer)
    optimizer.param_groups[0]["decoupled_weight_decay"] = None
    step(optimizer)


def test_classes_are_related_as_those_of_pytorch_are():
    assert issubclass(mt.AdamW, mt.Adam) and not issubclass(mt.SGD, mt.Adam)
    assert mt.AdamW(ones()).decay == "decoupled" and mt.Adam(ones()).decay == "l2"


def test_momentum_is_forgotten_by_none_in_the_place_of_its_buffer(engine):
    pairs = [(torch.ones(3, requires_grad=True), cls) for cls in (mt.SGD, torch.optim.SGD)]
    optimizers = [
        cls([param], lr=0.1, momentum=0.9, dampening=0.5, **({"engine": engine} if cls is mt.SGD else {}))
        for param, cls in pairs
    ]
    for number in range(4):
        for (param, _), optimizer in zip(pairs, optimizers, strict=True):
            if number == 2:
                optimizer.state[param]["momentum_buffer"] = None
            step(optimizer)
    torch.testing.assert_close(pairs[0][0], pairs[1][0], rtol=1e-6, atol=0)


def test_groups_list_their_entries_in_the_order_of_pytorch():
    for name in ("SGD", "Adagrad", "ASGD", "Adadelta", "Rprop", "RMSprop", "Adam", "AdamW"):
        mine, theirs = (list(getattr(module, name)(ones()).param_groups[0]) for module in (mt, torch.optim))
        assert mine == theirs


def test_the_patterns_of_a_constructor_are_no_attribute():
    with pytest.raises(AttributeError, match="^Adam: groups is for the constructor alone; write to the entries"):
        mt.Adam(ones()).groups = {}


THEIRS = [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adagrad]
MINE = [
    lambda params: own.Adam(params, eps_hat=True),
    lambda params: own.Adam(params, weight_decay=0.1),
    lambda params: own.SGD(params, momentum=0.9, dampening=0),
    lambda params: own.SGD(params, weight_decay=0.1),
    lambda params: mt.SGD(params, momentum=0.9, state_dtype="int8"),
    lambda params: mt.SGD(params, weight_decay=0.1, decay="decoupled"),
    lambda params: mt.Lion(params),
]


@pytest.mark.parametrize("made", MINE)
@pytest.mark.parametrize("cls", THEIRS, ids=lambda cls: cls.__name__)
def test_no_optimizer_of_pytorch_goes_on_with_what_it_cannot_read(cls, made):
    (param,) = ones()
    saved = step(made(ones())).state_dict()
    with pytest.raises((TypeError, KeyError, ValueError, AttributeError)):
        theirs = cls([param])
        theirs.load_state_dict(saved)
        step(theirs)
    assert torch.equal(param, torch.ones(3))


@pytest.mark.parametrize(
    ("made", "saved", "words"),
    [
        (own.Adam, lambda: torch.optim.Adam(ones(), weight_decay=0.5), "is of torch.optim, whose Adam is another"),
        (own.SGD, lambda: mt.SGD(ones(), weight_decay=0.5), "is of torch.optim, whose SGD is another"),
        (own.RMSProp, lambda: torch.optim.RMSprop(ones()), "is of torch.optim, whose RMSProp is another"),
        (mt.RMSprop, lambda: torch.optim.Adadelta(ones()), "must be that of RMSprop, whose groups have 'momentum'"),
        (mt.Adam, lambda: torch.optim.Rprop(ones()), "must be that of Adam, whose groups have 'betas'"),
        (
            mt.SGD,
            lambda: own.SGD(ones(), momentum=0.9),
            r"is of minima's own definition, by 'dampen_first' in it; load it into adapt\(minima.optim.SGD\)",
        ),
        (
            mt.Adam,
            lambda: own.Adam(ones(), eps_hat=True),
            r"is of minima's own definition, by 'eps_hat' in it; load it into adapt\(",
        ),
    ],
)
def test_the_state_of_another_algorithm_is_refused_by_name(made, saved, words):
    optimizer = made(ones(), lr=0.25)
    with pytest.raises(ValueError, match=f"^{type(optimizer).__name__}.load_state_dict, group 0: state_dict {words}"):
        optimizer.load_state_dict(saved().state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_codes_under_the_names_that_earlier_versions_gave_them_are_loaded():
    params = [torch.linspace(-1, 1, 600).requires_grad_()]
    optimizer, other = (own.Adam(params, state_dtype="int8") for _ in range(2))
    saved = step(optimizer).state_dict()
    kept = saved["state"][0]
    saved["state"][0] = {name.removesuffix("_codes"): value for name, value in kept.items()}
    assert "exp_avg" in saved["state"][0]
    other.load_state_dict(saved)
    for name, value in kept.items():
        assert torch.equal(other.state[params[0]][name], value)


def test_what_others_keep_beside_the_parameters_keeps_its_keys():
    (param,) = ones()
    optimizer = step(mt.Adam([param]))
    optimizer.state["theirs"] = {param: torch.ones(3)}
    other = mt.Adam([param])
    other.load_state_dict(optimizer.state_dict())
    assert torch.equal(other.state["theirs"][param], torch.ones(3))


def test_the_rho_of_a_wrapper_is_not_that_of_a_rule():
    optimizer = mt.RMSprop([{"params": ones(), "rho": 0.05}])
    step(optimizer).param_groups[0]["rho"] = 0.1
    step(optimizer)
    with pytest.raises(TypeError, match="^RMSprop: there is no hyperparameter 'rho'; did you mean alpha?"):
        mt.RMSprop(ones(), rho=0.5)


def test_minima_s_own_definitions_are_not_pytorch_s():
    assert mt.adapt(optim.SGD) is own.SGD and own.SGD is not mt.SGD


def test_a_parameter_in_8_bits_that_is_thawed_is_refused_by_the_step(engine):
    param = nn.Parameter(torch.ones(4).to(torch.float8_e4m3fn), requires_grad=False)
    optimizer = mt.SGD([param, *ones()], engine=engine)
    param.grad = torch.ones(4).to(torch.float8_e4m3fn)
    with pytest.raises(TypeError, match="^SGD: parameter 0 must have 16 bits at least; got 'torch.float8_e4m3fn'"):
        optimizer.step()
    assert optimizer.t == 0


@pytest.mark.parametrize(
    "params",
    [nn.Linear, 3, None, "weights", dict(nn.Linear(2, 2).named_parameters()), np.ones(3)],
    ids=["class", "number", "None", "string", "dict", "array"],
)
def test_what_nobody_can_go_through_is_refused_in_a_sentence(params):
    hint = "pass model.parameters\\(\\), or for groups a list of dicts"
    with pytest.raises(TypeError, match=f"^Adam: params must be a model or an iterable of tensors; got .*; {hint}$"):
        mt.Adam(params)
    with pytest.raises(TypeError, match="^Adam: params must be a model or an iterable of tensors; got "):
        mt.Adam([{"params": params}])


@pytest.mark.parametrize("ask", ["formula", "explain"])
def test_the_class_that_all_have_in_common_has_no_formula(ask):
    with pytest.raises(TypeError, match="^minima.torch.Optimizer: it is abstract; use one of minima.torch's"):
        getattr(mt.Optimizer, ask)()
