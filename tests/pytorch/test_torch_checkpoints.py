"""State dicts go from torch.optim to ours and back, through files; what is foreign is refused."""

import copy

import pytest
import torch
from both import (
    DECAYING,
    DIFFERENCES,
    NAMES,
    NUMBERS,
    SETTINGS,
    Run,
    assert_alike,
    assert_groups,
    grouped,
    plain,
    together,
    twins,
)
from tensors import parameters
from torch.distributed.checkpoint import state_dict as checkpoint

from minima import torch as mt


def through_a_file(state_dict, folder):
    torch.save(state_dict, folder / "state.pt")
    return torch.load(folder / "state.pt", weights_only=True)


def handed(run, library, folder, special=None, *, named=False, **more):
    """A new run by the class of that name in another library, which loads what the old one saved."""
    params = copy.deepcopy(run.params)
    cls = getattr(library, type(run.optimizer).__name__)
    fresh = Run(params, cls(grouped(params, special, named=named), **more))
    fresh.optimizer.load_state_dict(through_a_file(run.optimizer.state_dict(), folder))
    return fresh


NAMED = [
    (*setting, names)
    for number, setting in enumerate(SETTINGS)
    for names in (("neither", "both") if number % 2 else ("before", "after"))
]
"""Every setting, and every algorithm with names on all sides: names are read where groups are, whatever is in them."""


def test_every_algorithm_changes_sides_with_names_and_without():
    assert len({(name, names) for name, _, names in NAMED}) == 4 * len(DIFFERENCES)


@pytest.mark.parametrize(("name", "options", "names"), NAMED, ids=str)
def test_a_run_may_change_sides_in_the_middle(name, options, names, tmp_path):
    theirs, mine = twins(name, options, special=DIFFERENCES[name], named=names in ("both", "before"))
    together(theirs, mine, count=7)
    named = names in ("both", "after")
    crossed = [handed(theirs, mt, tmp_path, named=named), handed(mine, torch.optim, tmp_path, named=named)]
    stayed = [handed(theirs, torch.optim, tmp_path, named=named), handed(mine, mt, tmp_path, named=named)]
    for other in (*crossed, stayed[1]):
        assert_groups(stayed[0].optimizer, other.optimizer, aside=("param_names",))
    together(theirs, mine, *crossed, *stayed, count=7, seed=1)
    assert_alike(theirs, mine, *crossed, *stayed)
    back = [handed(crossed[0], torch.optim, tmp_path, named=named), handed(crossed[1], mt, tmp_path, named=named)]
    together(theirs, *back, count=7, seed=2)
    assert_alike(theirs, *back)


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_a_run_may_change_sides_before_its_first_step(name, options, tmp_path):
    """Adagrad's state is there from the beginning."""
    theirs, mine = twins(name, options, special=DIFFERENCES[name])
    crossed = [handed(theirs, mt, tmp_path), handed(mine, torch.optim, tmp_path)]
    together(theirs, mine, *crossed, count=7)
    assert_alike(theirs, mine, *crossed)


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_a_parameter_that_never_had_a_gradient_begins_after_a_change_of_sides(name, options, tmp_path):
    theirs, mine = twins(name, options)
    for run in (theirs, mine):
        run.params[1].requires_grad_(False)
        run.params[4].requires_grad_(False)
    for _ in range(3):
        for i in range(len(theirs.params)):
            for run in (theirs, mine):
                run.params[i].grad = torch.ones_like(run.params[i]) if run.params[i].requires_grad else None
        for run in (theirs, mine):
            run.optimizer.step()
    crossed = [handed(theirs, mt, tmp_path), handed(mine, torch.optim, tmp_path)]
    for run in (theirs, mine, *crossed):
        run.params[1].requires_grad_()
        run.params[4].requires_grad_()
    together(theirs, mine, *crossed, count=7)
    assert_alike(theirs, mine, *crossed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_other_dtypes_change_sides(name, dtype, tmp_path):
    theirs, mine = twins(name, {}, dtype, DIFFERENCES[name])
    together(theirs, mine, count=5)
    crossed = [handed(theirs, mt, tmp_path), handed(mine, torch.optim, tmp_path)]
    together(theirs, mine, *crossed, count=5, seed=1)
    assert_alike(theirs, mine, *crossed)


@pytest.mark.parametrize("fresh", [False, True], ids=["stepped", "fresh"])
@pytest.mark.parametrize(("given", "taking"), [("Adam", "AdamW"), ("AdamW", "Adam")])
def test_adam_and_adamw_are_one_algorithm_whose_decay_stands_in_the_groups(given, taking, fresh, tmp_path):
    runs = []
    for source, library in ((torch.optim, torch.optim), (torch.optim, mt), (mt, mt), (mt, torch.optim)):
        params = parameters(torch.float64)
        run = Run(params, getattr(source, given)(params, lr=0.1, weight_decay=0.3))
        if not fresh:
            together(run, count=3)
        new = Run(params, getattr(library, taking)(params))
        new.optimizer.load_state_dict(through_a_file(run.optimizer.state_dict(), tmp_path))
        runs.append(new)
    together(*runs, count=5, seed=1)
    assert_alike(*runs)


PATTERNS = {
    "on, off, on": [0.9, 0.9, 0.0, 0.0, 0.9, 0.9],
    "off, on, off, on": [0.0, 0.0, 0.9, 0.9, 0.0, 0.5],
    "off, on": [0.0, 0.0, 0.0, 0.5, 0.5, 0.9],
}


@pytest.mark.parametrize("saved", [None, 1, 3, 4, 5])
@pytest.mark.parametrize("dampening", [0.0, 0.3])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_momentum_may_be_switched_off_and_on_with_a_change_of_sides_between(pattern, dampening, saved, tmp_path):
    momenta = PATTERNS[pattern]
    theirs, mine = twins("SGD", {"lr": 0.1, "momentum": momenta[0], "dampening": dampening})
    runs = [theirs, mine]
    for step, momentum in enumerate(momenta):
        if step == saved:
            runs += [handed(theirs, mt, tmp_path), handed(mine, torch.optim, tmp_path)]
        for run in runs:
            run.optimizer.param_groups[0]["momentum"] = momentum  # the other group stays without
        together(*runs, count=1, seed=step)
        assert_alike(*runs)


@pytest.mark.parametrize("saved", [None, 3])
def test_momentum_of_rmsprop_may_be_switched_off_and_on(saved, tmp_path):
    theirs, mine = twins("RMSprop", {"lr": 0.01, "momentum": 0.9})
    runs = [theirs, mine]
    for step, momentum in enumerate([0.9, 0.9, 0.0, 0.0, 0.9, 0.5]):
        if step == saved:
            runs += [handed(theirs, mt, tmp_path), handed(mine, torch.optim, tmp_path)]
        for run in runs:
            run.optimizer.param_groups[0]["momentum"] = momentum
        together(*runs, count=1, seed=step)
    assert_alike(*runs)


@pytest.mark.parametrize("decay", ["decoupled", "independent", "l2"])
@pytest.mark.parametrize("name", DECAYING)
def test_a_way_of_decay_is_kept_in_files(name, decay, tmp_path):
    _, mine = twins(name, {"lr": 0.1, "weight_decay": 0.25}, decay=decay)
    together(mine, count=3)
    resumed = handed(mine, mt, tmp_path)
    together(mine, resumed, count=3, seed=1)
    assert_alike(mine, resumed)


@pytest.mark.parametrize(("name", "decay"), [*((name, "independent") for name in DECAYING), ("SGD", "decoupled")])
def test_a_way_of_decay_that_pytorch_has_not_is_not_taken_for_its_own(name, decay, tmp_path):
    _, mine = twins(name, {"lr": 0.1, "weight_decay": 0.25}, decay=decay)
    together(mine, count=3)
    with pytest.raises((TypeError, ValueError)):
        together(handed(mine, torch.optim, tmp_path), count=1)


def test_names_find_parameters_in_whatever_order(tmp_path):
    params = parameters(torch.float64)
    mine = Run(params, mt.Adam([(f"layer.{i}", param) for i, param in enumerate(params)], lr=0.1))
    theirs = Run(again := copy.deepcopy(params), torch.optim.Adam(again, lr=0.1))
    together(theirs, mine, count=5)
    turned = copy.deepcopy(params)
    named = [(f"layer.{i}", param) for i, param in enumerate(turned)]
    other = Run(turned, mt.Adam(named[::-1]))
    other.optimizer.load_state_dict(through_a_file(mine.optimizer.state_dict(), tmp_path))
    together(theirs, mine, other, count=5, seed=1)
    assert_alike(theirs, mine, other)


# What is refused -----------------------------------------------------------------------------------------------------

ALGORITHMS = [
    name for name in torch.optim.__all__ if isinstance(getattr(torch.optim, name), type) and name != "Optimizer"
]


def made(cls, *, fresh, **options):
    w = torch.ones(2, 2, requires_grad=True)
    optimizer = cls([w], **options)
    if not fresh:
        w.grad = torch.ones(2, 2)
        if cls is torch.optim.SparseAdam:
            w.grad = w.grad.to_sparse()
        optimizer.step(lambda: torch.tensor(1.0)) if cls is torch.optim.LBFGS else optimizer.step()
    return optimizer


def refused(optimizer, state_dict, match):
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=match) as caught:
        optimizer.load_state_dict(state_dict)
    assert "\n" not in str(caught.value)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    torch.testing.assert_close(after["state"], before["state"], rtol=0, atol=0)


def test_every_algorithm_of_pytorch_is_here():
    assert {*NAMES, "NAdam", "RAdam", "ASGD", "Adamax", "Rprop", "LBFGS", "Muon"} <= {*ALGORITHMS}


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "stepped"])
@pytest.mark.parametrize("given", ALGORITHMS)
@pytest.mark.parametrize("name", NAMES)
def test_the_state_of_another_algorithm_is_refused(name, given, fresh):
    if name == given or {name, given} == {"Adam", "AdamW"}:
        return
    state_dict = made(getattr(torch.optim, given), fresh=fresh).state_dict()
    for started in (True, False):
        refused(made(getattr(mt, name), fresh=started), state_dict, f"^{name}.load_state_dict.*: ")


@pytest.mark.parametrize("given", NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_the_state_of_another_of_ours_is_refused(name, given):
    if name == given or {name, given} == {"Adam", "AdamW"}:
        return
    state_dict = made(getattr(mt, given), fresh=False).state_dict()
    refused(made(getattr(mt, name), fresh=True), state_dict, f"^{name}.load_state_dict.*: ")


@pytest.mark.parametrize("name", NAMES)
def test_a_switch_that_we_have_not_is_refused(name, switch="differentiable"):
    optimizer = made(getattr(torch.optim, name), fresh=True)
    if switch in optimizer.defaults:
        state_dict = made(getattr(torch.optim, name), fresh=False).state_dict()
        state_dict["param_groups"][0][switch] = True
        refused(made(getattr(mt, name), fresh=False), state_dict, f"^{name}.load_state_dict.*: .*{switch}")


@pytest.mark.parametrize("name", NAMES)
def test_capturable_comes_with_a_state_dict(name):
    if "capturable" in made(getattr(torch.optim, name), fresh=True).defaults:
        state_dict = made(getattr(torch.optim, name), fresh=False).state_dict()
        state_dict["param_groups"][0]["capturable"] = True
        optimizer = made(getattr(mt, name), fresh=True)
        optimizer.load_state_dict(state_dict)
        assert optimizer.param_groups[0]["capturable"] is True
        assert optimizer.state_dict()["param_groups"][0]["capturable"] is True


OLD = {
    "SGD": (
        {"lr": 0.1, "momentum": 0.9, "wd": 0.0, "dampening": None, "nesterov": False, "dampen_first": True},
        {"step": torch.tensor(3.0, dtype=torch.float64), "u": torch.ones(2, 2)},
    ),
    "Adagrad": (
        {"lr": 0.1, "wd": 0.0, "eps": 1e-7, "eps_inside": True, "initial": None, "lr_decay": None},
        {"step": torch.tensor(3.0, dtype=torch.float64), "cache": torch.ones(2, 2)},
    ),
    "RMSprop": (
        {"lr": 0.1, "wd": 0.0, "eps": 1e-7, "rho": 0.9, "eps_inside": True},
        {"step": torch.tensor(3.0, dtype=torch.float64), "cache": torch.ones(2, 2)},
    ),
    "Adam": (
        {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
        {
            "step": torch.tensor(3.0, dtype=torch.float64),
            "exp_avg": torch.ones(2, 2),
            "exp_avg_sq": torch.ones(2, 2),
        },
    ),
}
"""Groups and state as the classes of minima.torch 0.1 saved them, which were minima's own definitions."""


@pytest.mark.parametrize("stepped", [True, False], ids=["stepped", "fresh"])
@pytest.mark.parametrize("name", [*OLD, "AdamW"])
def test_a_file_of_minima_s_own_definition_is_refused_and_told_where_to_go(name, stepped):
    group, kept = OLD[name.removesuffix("W")]
    group = {**group, "decay": "decoupled", "maximize": False, "params": [0]}
    state_dict = {"state": {0: kept} if stepped else {}, "param_groups": [group]}
    refused(made(getattr(mt, name), fresh=True), state_dict, f"^{name}.load_state_dict.*: .*adapt")


@pytest.mark.parametrize("rule", ["SGD", "AdaGrad", "RMSProp", "Adam"])
def test_a_file_of_minima_s_own_definition_goes_into_the_adapted_rule(rule, tmp_path):
    from minima import optim

    group, kept = OLD[{"AdaGrad": "Adagrad", "RMSProp": "RMSprop"}.get(rule, rule)]
    group = {**group, "decay": "decoupled", "maximize": False, "params": [0]}
    optimizer = made(mt.adapt(getattr(optim, rule)), fresh=True)
    optimizer.load_state_dict(through_a_file({"state": {0: kept}, "param_groups": [group]}, tmp_path))
    (w,) = optimizer.param_groups[0]["params"]
    assert optimizer.param_groups[0]["lr"] == 0.1
    torch.testing.assert_close(dict(optimizer.state[w]), kept, rtol=0, atol=0)
    if rule == "Adam":
        assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def stepped(optimizer):
    (w,) = optimizer.param_groups[0]["params"]
    w.grad = torch.full_like(w, 0.5)
    optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_state_in_8_bits_is_its_own_kind(name, tmp_path):
    """It goes on to the bit in ours; torch.optim must not take codes for moments."""
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    optimizer = made(getattr(mt, name), fresh=False, state_dtype="int8", **options)
    state_dict = through_a_file(optimizer.state_dict(), tmp_path)
    other = made(getattr(mt, name), fresh=True, state_dtype="int8")
    with torch.no_grad():
        other.param_groups[0]["params"][0].copy_(optimizer.param_groups[0]["params"][0])
    other.load_state_dict(state_dict)
    for each in (optimizer, other):
        stepped(each)
    assert torch.equal(*(each.param_groups[0]["params"][0] for each in (optimizer, other)))
    refused(made(getattr(mt, name), fresh=True), state_dict, f"^{name}.load_state_dict.*: .*state_dtype")
    theirs = made(getattr(torch.optim, name), fresh=False, **options)
    names = {*theirs.state_dict()["state"][0]} - NUMBERS.keys()
    assert not names & {*state_dict["state"][0]}
    if name != "SGD":  # whose torch.optim class begins anew where it finds no buffer
        with pytest.raises(KeyError):
            theirs.load_state_dict(state_dict)
            stepped(theirs)


@pytest.mark.parametrize("name", NAMES)
def test_what_others_keep_in_a_state_dict_comes_along(name):
    """Wrappers keep entries of their own in groups and beside the parameters."""
    for library in (torch.optim, mt):
        state_dict = made(getattr(library, name), fresh=False).state_dict()
        state_dict["param_groups"][0]["initial_lr"] = 0.5
        state_dict["param_groups"][0]["lr_scale"] = 2.0
        optimizer = made(getattr(mt, name), fresh=True)
        optimizer.load_state_dict(state_dict)
        assert plain(optimizer.param_groups[0]) == plain(state_dict["param_groups"][0])


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_an_older_pytorch_is_taken(name):
    """Switches that came later are missing from its groups, and its counts of steps are numbers."""
    later = ("foreach", "maximize", "capturable", "differentiable", "fused", "decoupled_weight_decay")
    runs = [made(getattr(torch.optim, name), fresh=False) for _ in range(2)]
    state_dict = copy.deepcopy(runs[0].state_dict())
    for key in later:
        state_dict["param_groups"][0].pop(key, None)
    for kept in state_dict["state"].values():
        if "step" in kept:
            kept["step"] = int(kept["step"])
    optimizer = made(getattr(mt, name), fresh=False)
    optimizer.load_state_dict(state_dict)
    for each in (runs[0], optimizer):
        stepped(each)
    torch.testing.assert_close(*(each.param_groups[0]["params"][0] for each in (optimizer, runs[0])))


def test_a_buffer_of_momentum_that_an_older_pytorch_had_not_begun_begins_now():
    state_dict = made(torch.optim.SGD, fresh=True, momentum=0.9).state_dict()
    state_dict["state"] = {0: {"momentum_buffer": None}}
    runs = [made(cls, fresh=True) for cls in (torch.optim.SGD, mt.SGD)]
    for each in runs:
        each.load_state_dict(copy.deepcopy(state_dict))
        stepped(each)
        stepped(each)
    torch.testing.assert_close(*(each.param_groups[0]["params"][0] for each in runs))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_distributed_checkpoints_change_sides(name, flat):
    """The state dicts of torch.distributed.checkpoint, which name everything."""
    options = checkpoint.StateDictOptions(flatten_optimizer_state_dict=flat)
    more = {"momentum": 0.9} if name == "SGD" else {}

    def train(model, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            model(torch.ones(1, 2, dtype=torch.float64)).square().sum().backward()
            optimizer.step()
        return list(model.parameters())

    def start(library):
        torch.manual_seed(0)
        model = torch.nn.Linear(2, 2, dtype=torch.float64)
        return model, getattr(library, name)(model.parameters(), lr=0.1, **more)

    for before, after in ((torch.optim, mt), (mt, torch.optim), (mt, mt)):
        model, optimizer = start(before)
        train(model, optimizer, 3)
        saved = copy.deepcopy(checkpoint.get_optimizer_state_dict(model, optimizer, options=options))
        resumed, other = start(after)
        resumed.load_state_dict(model.state_dict())
        checkpoint.set_optimizer_state_dict(resumed, other, saved, options=options)
        torch.testing.assert_close(train(resumed, other, 3), train(model, optimizer, 3))
