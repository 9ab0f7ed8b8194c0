"""What a step touches and what it leaves alone: missing gradients, memory, groups, order, copies, mistakes."""

import copy
import math
import pickle
import re
from itertools import permutations

import numpy as np
import pytest
from rules import (
    BUILT_IN,
    GRADIENTS,
    ORACLES,
    SHAPES,
    STARTS,
    WHOLE,
    Everything,
    able,
    assert_close,
    bits,
    drive,
    give,
    numbers,
    outcomes,
    parameters,
    read,
    split,
)

from minima import Tensor, no_grad
from minima.optim import SGD, Adam, Optimizer, RMSProp, hyper

each_rule = pytest.mark.parametrize("cls", ORACLES)


def tensor(values, dtype="float32"):
    return Tensor(values, dtype=dtype, requires_grad=True)


def entries(optimizer, position):
    """A parameter and its state, to the last bit."""
    own = [optimizer.params[position], *(getattr(optimizer, name)[position] for name in optimizer.rule.state)]
    return [x.detach().numpy().tobytes() for x in own]


# Parameters without a gradient ---------------------------------------------------------------------------------------


def absent(step, position):
    """A pattern in which every parameter misses some steps, one of them the first, and none the same as another."""
    return (step + position) % 4 == 0 or (position == 3 and step < 6)


@each_rule
def test_a_parameter_without_a_gradient_is_skipped_with_its_state_and_its_count(cls, engine):
    params = parameters("float64")
    optimizer = cls(params, wd=0.1, **engine)
    for step, row in enumerate(GRADIENTS):
        before = [entries(optimizer, position) for position in range(len(params))]
        give(params, [None if absent(step, position) else part for position, part in enumerate(split(row))])
        optimizer.step()
        for position in range(len(params)):
            if absent(step, position):
                assert entries(optimizer, position) == before[position]
    assert optimizer.t == len(GRADIENTS)
    owners = np.repeat(range(len(SHAPES)), [math.prod(shape) for shape in SHAPES])
    wanted = []
    for owner, start, grads in zip(owners, STARTS.tolist(), GRADIENTS.T.tolist(), strict=True):
        seen = [grad for step, grad in enumerate(grads) if not absent(step, owner)]
        wanted.append(outcomes(cls, {"wd": 0.1}, start, seen)[-1])
    assert_close(read(optimizer, params), wanted, "float64", len(GRADIENTS))
    taken = [sum(not absent(step, position) for step in range(len(GRADIENTS))) for position in range(len(params))]
    assert optimizer.steps == tuple(taken) and len(set(taken)) > 1


def test_a_step_without_any_gradient_counts_for_the_optimizer_and_for_no_parameter(engine):
    w = tensor([1.0])
    optimizer = Adam([w], lr=0.1, wd=0.5, **engine)
    optimizer.step()
    assert (optimizer.t, optimizer.steps, w.tolist()) == (1, (0,), [1.0])


def test_a_frozen_parameter_stays_and_goes_on_from_its_own_count_when_thawed(engine):
    a, b = tensor([1.0, 2.0]), tensor([3.0, -4.0])
    alone = tensor([3.0, -4.0])
    optimizer, separate = Adam([a, b], lr=0.1, **engine), Adam([alone], lr=0.1, **engine)
    for step in range(6):
        b.requires_grad = step not in (2, 3)
        (a * a * b).sum().backward()
        held = entries(optimizer, 1)
        alone.grad = b.grad
        if alone.grad is not None:
            separate.step()
        optimizer.step()
        assert (entries(optimizer, 1) == held) == (step in (2, 3))
        optimizer.zero_grad()
    assert optimizer.steps == (6, 4) and separate.steps == (4,)
    assert entries(optimizer, 1) == entries(separate, 0)


# Memory --------------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "contiguous": lambda base: base[2:6, :5],
    "every other": lambda base: base[::2, ::2],
    "transposed": lambda base: base[:5, :4].T,
    "backwards": lambda base: base[7:3:-1, 4::-1],
    "a column": lambda base: base[:, 3],
    "a diagonal": lambda base: np.lib.stride_tricks.as_strided(base, (8,), (base.strides[0] + base.strides[1],)),
    "without axes": lambda base: base[3, 3, ...],
    "empty": lambda base: base[3:3],
}


@each_rule
@pytest.mark.parametrize("layout", LAYOUTS)
def test_parameters_and_gradients_may_lie_in_memory_as_they_like(cls, layout, dtype, engine):
    rng = np.random.default_rng(3)
    base, seen = rng.normal(size=(8, 12)).astype(dtype), LAYOUTS[layout]
    straight = base.copy()
    part = seen(base)
    strided, plain = Tensor.from_numpy(part), Tensor.from_numpy(part.copy())
    first, second = cls([strided], lr=0.1, wd=0.1, **engine), cls([plain], lr=0.1, wd=0.1, **engine)
    for _ in range(3):
        grads = rng.normal(size=base.shape).astype(dtype)
        strided.grad, plain.grad = Tensor.from_numpy(seen(grads)), Tensor.from_numpy(seen(grads).copy())
        first.step()
        second.step()
    assert bits(first) == bits(second)
    seen(straight)[...] = plain.numpy()
    assert np.array_equal(base, straight)  # and nothing beside the parameter was written to


@each_rule
def test_a_gradient_may_be_one_number_broadcast_without_memory_of_its_own(cls, dtype, engine):
    grads = np.broadcast_to(np.array(0.5, dtype), (3, 2))
    one, other = tensor(np.ones((3, 2)), dtype), tensor(np.ones((3, 2)), dtype)
    one.grad, other.grad = Tensor.from_numpy(grads), Tensor.from_numpy(grads.copy())
    optimizers = cls([one], lr=0.1, **engine), cls([other], lr=0.1, **engine)
    for optimizer in optimizers:
        optimizer.step()
    assert bits(optimizers[0]) == bits(optimizers[1])


@each_rule
def test_a_step_writes_into_the_parameter_s_own_buffer_and_leaves_the_gradient_alone(cls, dtype, engine):
    memory = np.linspace(1, 2, 7).astype(dtype)
    w = Tensor.from_numpy(memory)
    alias, row, buffer = w.detach(), memory[2:4], w.buffer
    w.grad = grad = Tensor(np.linspace(-1, 1, 7), dtype=dtype)
    before = grad.numpy().copy()
    optimizer = cls([w], lr=0.25, wd=0.5, **WHOLE.get(cls, {}), **engine)
    states = [getattr(optimizer, name)[0].buffer for name in optimizer.rule.state]
    for _ in range(2):
        optimizer.step()
    assert w.buffer is buffer is memory
    assert all(
        getattr(optimizer, name)[0].buffer is array for name, array in zip(optimizer.rule.state, states, strict=True)
    )
    assert (memory != np.linspace(1, 2, 7).astype(dtype)).all()
    assert np.array_equal(alias.numpy(), memory) and np.array_equal(row, memory[2:4])
    assert w.grad is grad and np.array_equal(grad.numpy(), before)


def test_a_parameter_may_be_its_own_gradient(engine):
    w = tensor(np.linspace(-1, 1, 5), "float64")
    w.grad = w.detach()
    SGD([w], lr=0.25, **engine).step()
    assert w.tolist() == (0.75 * np.linspace(-1, 1, 5)).tolist()


def test_a_parameter_whose_buffer_was_replaced_is_stepped_in_the_new_one(engine):
    v, w = tensor([1.0, 2.0]), tensor([1.0, 2.0])
    optimizer = SGD([v, w], lr=0.5, **engine)
    give([v, w], [[1.0, 1.0], [1.0, 1.0]])
    optimizer.step()
    old, w.buffer = w.buffer, np.array([10.0, 20.0], np.float32)
    optimizer.step()
    assert w.tolist() == [9.5, 19.5] and old.tolist() == [0.5, 1.5] and v.tolist() == [0.0, 1.0]


def test_backward_refuses_values_that_a_step_has_overwritten(engine):
    w = tensor([1.0, 2.0])
    loss = (w * w).sum()
    give([w], [[1.0, 1.0]])
    SGD([w], **engine).step()
    with pytest.raises(RuntimeError):
        loss.backward()


def test_a_step_under_no_grad_and_one_outside_of_it_are_the_same(engine):
    inside, outside = tensor([1.0]), tensor([1.0])
    give([inside, outside], [[2.0], [2.0]])
    with no_grad():
        SGD([inside], lr=0.1, **engine).step()
    SGD([outside], lr=0.1, **engine).step()
    assert inside.tolist() == outside.tolist() and outside.requires_grad and outside.is_leaf


class Lagging(Optimizer):
    """Steps by the gradient of two steps ago."""

    lr: float = hyper(1.0, low=0)

    @staticmethod
    def update(param, grad, last, before_last, *, lr):
        return param - lr * before_last, grad, last


def test_a_rule_sees_all_values_as_they_were_before_the_step(engine):
    w = tensor([0.0])
    optimizer = Lagging([w], **engine)
    for grad, position in zip((1.0, 2.0, 4.0, 8.0), (0.0, 0.0, -1.0, -3.0), strict=True):
        give([w], [[grad]])
        optimizer.step()
        assert w.item() == position
    assert (optimizer.last[0].item(), optimizer.before_last[0].item()) == (8.0, 4.0)


# Precision -----------------------------------------------------------------------------------------------------------


@each_rule
def test_state_is_kept_in_the_precision_of_the_update_which_is_float32_at_least(cls, dtype, engine):
    optimizer = cls([tensor([1.0], dtype)], **engine)
    drive_one(optimizer)
    for name in optimizer.rule.state:
        is_wide = dtype == "float64" or name in numbers(cls)
        assert getattr(optimizer, name)[0].dtype == ("float64" if is_wide else "float32")
    assert optimizer.params[0].dtype == dtype


def drive_one(optimizer):
    for param in optimizer.params:
        param.grad = Tensor(np.ones(param.shape), dtype=param.dtype)
    optimizer.step()


@pytest.mark.parametrize("other", ["float16", "float32", "float64"])
@each_rule
def test_a_gradient_of_another_floating_dtype_is_cast_to_the_parameter_s(cls, other, dtype, engine):
    values = np.array([0.1, -3.3, 1e-9, 70000.0], other if other != "float16" else "float32").clip(-6e4, 6e4)
    ours, theirs = tensor(np.ones(4), dtype), tensor(np.ones(4), dtype)
    first, second = cls([ours], lr=0.1, **engine), cls([theirs], lr=0.1, **engine)
    ours.grad = Tensor.from_numpy(values.astype(other))
    theirs.grad = Tensor.from_numpy(values.astype(other).astype(dtype))
    first.step()
    second.step()
    assert bits(first) == bits(second)
    assert ours.grad.dtype == other


def test_a_gradient_beyond_the_parameter_s_dtype_becomes_infinite_without_a_warning(engine):
    w = tensor([1.0, 1.0], "float16")
    w.grad = Tensor([1e30, -1e30], dtype="float64")
    SGD([w], **engine).step()
    assert w.tolist() == [-math.inf, math.inf]


def test_infinite_and_undefined_gradients_reach_their_own_elements_only_and_warn_of_nothing(engine):
    w = tensor([1.0, 1.0, 1.0, 1.0])
    optimizer = Adam([w], lr=0.5, **engine)
    give([w], [[math.nan, math.inf, 1e38, 1.0]])
    optimizer.step()
    found = w.tolist()
    assert math.isnan(found[0]) and math.isnan(found[1]) and found[3] == 0.5


def test_a_hyperparameter_beyond_the_parameter_s_precision_warns_of_nothing(engine):
    w = tensor([1.0])
    give([w], [[1.0]])
    SGD([w], lr=1e300, **engine).step()
    assert w.tolist() == [-math.inf]


# Groups, and the order of parameters ---------------------------------------------------------------------------------


def gradients_for(number, size):
    return np.random.default_rng(number).normal(size=(4, size))


def run(cls, groups, engine):
    """Steps of seven parameters, of which some miss a gradient; the bits of each under its number."""
    sizes = (3, 1, 8, 0, 17, 2, 64)
    dtypes = ("float32", "float64", "float32", "float32", "float16", "float64", "float32")
    params = [tensor(np.linspace(-1, 1, n), kind) for n, kind in zip(sizes, dtypes, strict=True)]
    optimizer = cls(groups(params), lr=0.1, **engine)
    for step in range(4):
        for number, param in enumerate(params):
            grad = gradients_for(number, param.size)[step]
            param.grad = None if (step + number) % 5 == 0 else Tensor(grad, dtype=param.dtype)
        optimizer.step()
    place = {id(param): position for position, param in enumerate(optimizer.params)}
    return [entries(optimizer, place[id(param)]) for param in params]


@each_rule
def test_bits_do_not_depend_on_how_parameters_are_grouped_or_ordered(cls, engine):
    plain = run(cls, lambda params: params, engine)
    assert run(cls, lambda params: params[::-1], engine) == plain
    assert run(cls, lambda params: [params[i] for i in (4, 0, 6, 2, 1, 5, 3)], engine) == plain
    assert run(cls, lambda params: [{"params": [param]} for param in params], engine) == plain
    assert run(cls, lambda params: [{"params": params[5:]}, {"params": params[:5], "lr": 0.1}], engine) == plain


@pytest.mark.parametrize("cls", [SGD, Adam, Everything])
def test_bits_do_not_depend_on_how_a_long_parameter_is_cut(cls, dtype, engine):
    rng = np.random.default_rng(5)
    size, cuts = 150_001, [1, 2, 1025, 1026, 65_536, 65_537, 149_999]
    start, grads = rng.normal(size=size), rng.normal(size=(2, size))
    whole, pieces = [tensor(start, dtype)], [tensor(part, dtype) for part in np.split(start, cuts)]
    first, second = cls(whole, lr=0.1, wd=0.1, **engine), cls(pieces, lr=0.1, wd=0.1, **engine)
    for row in grads:
        give(whole, [row])
        give(pieces, np.split(row, cuts))
        first.step()
        second.step()
    for ours, theirs in zip([whole, *states(first)], [pieces, *states(second)], strict=True):
        assert ours[0].detach().numpy().tobytes() == b"".join(x.detach().numpy().tobytes() for x in theirs)


def states(optimizer):
    return [getattr(optimizer, name) for name in optimizer.rule.state]


def test_groups_with_hyperparameters_and_flags_of_their_own_do_in_any_order_what_separate_optimizers_do(engine):
    settings = [{"nesterov": True}, {"lr": 0.5, "wd": 0.25}, {"momentum": 0.0}, {"dampening": 0.0}]
    common = {"lr": 0.1, "momentum": 0.9}

    def steps(optimizer, params):
        for step in range(3):
            give(
                params, [gradients_for(number, param.size)[step] for number, param in zip(numbers, params, strict=True)]
            )
            optimizer.step()

    def fresh():
        return [tensor(np.linspace(1, 2, 5)) for _ in settings]

    alone = []
    for number, (param, own) in enumerate(zip(fresh(), settings, strict=True)):
        numbers = [number]
        optimizer = SGD([param], **(common | own), **engine)
        steps(optimizer, [param])
        alone.append(entries(optimizer, 0))
    assert len({tuple(entry) for entry in alone}) == len(settings)
    for numbers in permutations(range(4)):
        params = fresh()
        optimizer = SGD([{"params": [params[i]], **settings[i]} for i in numbers], **common, **engine)
        steps(optimizer, optimizer.params)
        assert [entries(optimizer, numbers.index(i)) for i in range(4)] == alone


def test_a_hyperparameter_of_one_group_changed_between_steps_reaches_that_group_only(engine):
    a, b = tensor([1.0]), tensor([1.0])
    optimizer = SGD([{"params": [a]}, {"params": [b]}], lr=0.5, **engine)
    for lr, wanted in ((None, (0.5, 0.5)), (0.25, (0.0, 0.25)), (0.0, (-0.5, 0.25))):
        if lr is not None:
            optimizer.param_groups[1]["lr"] = lr
        give([a, b], [[1.0], [1.0]])
        optimizer.step()
        assert (a.item(), b.item()) == wanted


def test_a_flag_changed_between_steps_changes_the_rule_from_the_next_step_on(engine):
    w = tensor([0.0], "float64")
    optimizer = SGD([w], lr=1.0, momentum=0.5, dampening=0.0, **engine)
    moves = []
    for nesterov in (False, True, False):
        optimizer.nesterov = nesterov
        give([w], [[1.0]])
        before = w.item()
        optimizer.step()
        moves.append(before - w.item())
    assert moves == [1.0, 0.5 * 1.5 + 1.0, 0.5 * 1.5 + 1.0]


def test_parameters_added_later_start_their_own_count(engine):
    a, b = tensor([1.0, 2.0]), tensor([3.0])
    optimizer, alone = Adam([a], lr=0.1, **engine), tensor([3.0])
    drive_one(optimizer)
    drive_one(optimizer)
    held = entries(optimizer, 0)
    optimizer.add_param_group({"params": [b], "lr": 0.5})
    assert entries(optimizer, 0) == held and optimizer.steps == (2, 0)
    separate = Adam([alone], lr=0.5, **engine)
    drive_one(optimizer)
    drive_one(separate)
    assert optimizer.steps == (3, 1) and optimizer.t == 3
    assert entries(optimizer, 1) == entries(separate, 0)


# Copies --------------------------------------------------------------------------------------------------------------


def through_pickle(pair):
    return pickle.loads(pickle.dumps(pair))


@pytest.mark.parametrize("clone", [copy.deepcopy, through_pickle])
@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("cls", [*BUILT_IN, Everything])
def test_a_copy_of_parameters_and_optimizer_goes_on_with_the_same_bits(cls, before, clone, engine):
    params = parameters("float32")
    optimizer = cls(params, lr=0.1, wd=0.1, **able(cls, engine))
    drive(optimizer, params, GRADIENTS[:before])
    twins, twin = clone((params, optimizer))
    assert bits(twin) == bits(optimizer)
    held = bits(optimizer)
    drive(twin, twins, GRADIENTS[before:])
    assert bits(optimizer) == held  # nothing is shared
    drive(optimizer, params, GRADIENTS[before:])
    assert bits(twin) == bits(optimizer)
    assert all(ours is theirs for ours, theirs in zip(twins, twin.params, strict=True))


@pytest.mark.parametrize("clone", [copy.deepcopy, through_pickle])
def test_a_copy_keeps_its_groups_and_its_hyperparameters_joined(clone):
    optimizer = clone(SGD([tensor([1.0])], lr=0.1))
    optimizer.lr = 0.5
    assert optimizer.param_groups[0]["lr"] == 0.5
    optimizer.param_groups[0]["lr"] = 0.25
    assert optimizer.lr == 0.25
    with pytest.raises(ValueError, match=re.escape("SGD: lr must lie in [0, inf); got -1.0")):
        optimizer.lr = -1


# All or nothing ------------------------------------------------------------------------------------------------------

BAD_GRADIENTS = {
    "another shape": (
        np.ones((4,), np.float32),
        ValueError,
        "has shape (4,), the parameter has (3,); nothing was changed",
    ),
    "a shape that would broadcast": (
        np.ones((1,), np.float32),
        ValueError,
        "has shape (1,), the parameter has (3,); nothing was changed",
    ),
    "an axis too many": (
        np.ones((1, 3), np.float32),
        ValueError,
        "has shape (1, 3), the parameter has (3,); nothing was changed",
    ),
    "no axis": (np.ones((), np.float32), ValueError, "has shape (), the parameter has (3,); nothing was changed"),
    "integers": (np.ones(3, np.int64), TypeError, "must be floating; got 'int64'; nothing was changed"),
    "truths": (np.ones(3, bool), TypeError, "must be floating; got 'bool'; nothing was changed"),
}


@pytest.mark.parametrize("bad", BAD_GRADIENTS)
@pytest.mark.parametrize("position", [0, 2, 4])
@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("named", [False, True])
def test_one_bad_gradient_anywhere_leaves_everything_as_it_was(bad, position, before, named, engine):
    array, error, words = BAD_GRADIENTS[bad]
    params = [tensor(np.linspace(i, i + 1, 3)) for i in range(5)]
    given = [(f"layer{i}.weight", param) for i, param in enumerate(params)] if named else params
    optimizer = Adam([{"params": given[:2]}, {"params": given[2:], "lr": 0.5}], lr=0.1, wd=0.1, **engine)
    rows = np.random.default_rng(1).normal(size=(before + 1, 5, 3))
    for row in rows[:-1]:
        give(params, row)
        optimizer.step()
    give(params, rows[-1])
    params[position].grad = Tensor.from_numpy(array)
    held = bits(optimizer)
    who = f"gradient of parameter {position}" + (f" ('layer{position}.weight')" if named else "")
    with pytest.raises(error, match=re.escape(f"Adam.step: {who} {words}") + "$"):
        optimizer.step()
    assert bits(optimizer) == held
    params[position].grad = Tensor(rows[-1][position])
    optimizer.step()
    assert optimizer.t == before + 1 and optimizer.steps == (before + 1,) * 5 and bits(optimizer) != held


def test_a_parameter_that_cannot_be_written_to_leaves_everything_as_it_was():
    fixed = np.ones(2, np.float32)
    fixed.flags.writeable = False
    free = tensor([1.0, 1.0])
    with pytest.raises(ValueError):
        optimizer = SGD([free, Tensor.from_numpy(fixed)], lr=0.1)
        drive_one(optimizer)
    assert free.tolist() == [1.0, 1.0]


class Misbranching(Optimizer):
    """A rule one of whose variants is wrong; the class is made with the other."""

    lr: float = hyper(0.1, low=0)
    wrong: bool = hyper(False)

    @staticmethod
    def update(param, grad, *, lr, wrong):
        return (param, grad) if wrong else param - lr * grad


def test_a_form_of_a_rule_that_fails_leaves_everything_as_it_was(engine):
    a, b = tensor([1.0]), tensor([1.0])
    optimizer = Misbranching([{"params": [a]}, {"params": [b]}], **engine)
    give([a, b], [[1.0], [1.0]])
    optimizer.param_groups[1]["wrong"] = True
    held = bits(optimizer)
    with pytest.raises(TypeError, match="must return as many values"):
        optimizer.step()
    assert bits(optimizer) == held


def test_rmsprop_without_decay_of_its_average_steps_by_the_sign(engine):
    w = tensor([0.0, 0.0, 0.0], "float64")
    give([w], [[1e-3, -5.0, 1e4]])
    RMSProp([w], lr=0.5, rho=0.0, eps=0.0, **engine).step()
    assert w.tolist() == [-0.5, 0.5, -0.5]


# Gradients that are not finite ---------------------------------------------------------------------------------------

BAD = {"inf": np.inf, "minus inf": -np.inf, "NaN": np.nan}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_gradient_that_is_not_finite_is_handed_on_or_refused_or_skipped_as_asked(bad, dtype, engine):
    found = {}
    for way in ("propagate", "raise", "skip"):
        params = parameters(dtype)
        named = [(f"p{number}", param) for number, param in enumerate(params)]
        optimizer = Adam(named, lr=0.1, on_nonfinite=way, **engine)
        for number, row in enumerate(GRADIENTS[:4]):
            parts = split(row)
            if number in (0, 2):  # in the first step, and in one that repeats a plan
                parts[3][1, 2] = parts[4][0] = bad
            give(params, parts)
            before = bits(optimizer)
            if way == "raise" and number in (0, 2):
                with pytest.raises(FloatingPointError) as caught:
                    optimizer.step()
                assert (
                    str(caught.value) == "Adam.step: gradient of parameter 3 ('p3') is not finite; nothing was changed"
                )
            else:
                optimizer.step()
            assert (bits(optimizer) == before) == (way != "propagate" and number in (0, 2))
        found[way] = optimizer, bits(optimizer)
    assert [found[way][0].t for way in found] == [4, 2, 2]
    assert [found[way][0].skipped for way in found] == [0, 0, 2]
    assert found["raise"][1] == found["skip"][1]
    assert np.isnan(found["propagate"][0].params[4].detach().numpy()[0])


def test_large_gradients_are_finite(dtype, engine):
    w = tensor([0.0, 0.0], dtype)
    optimizer = SGD([w], on_nonfinite="raise", **engine)
    w.grad = Tensor(np.full(2, np.finfo(dtype).max), dtype=dtype)
    optimizer.step()
    assert optimizer.t == 1


def test_the_guard_can_be_changed_between_steps(engine):
    w = tensor([1.0])
    optimizer = SGD([w], lr=1.0, on_nonfinite="skip", **engine)
    for way, wanted in (("skip", [1.0]), ("propagate", [-math.inf])):
        optimizer.on_nonfinite = way
        w.grad = Tensor([math.inf])
        optimizer.step()
        assert w.tolist() == wanted
