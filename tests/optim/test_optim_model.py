"""What there is one of for all parameters: totals over them, the state that they share, and the stages of a step."""

import copy
import gc
import math
import pickle
import signal
import weakref

import numpy as np
import pytest

from minima import Tensor
from minima.optim import Optimizer, PerTensor, Shared, hyper, maximum, minimum, norm, sqrt, total

SHAPES = ((6, 4), (7,), (), (0,), (9000,))


class Distance(Optimizer):
    """Steps by the distance so far over the size of all gradients, as rules without a learning rate do."""

    lr: float = hyper(1.0, low=0)
    first_step: float = hyper(0.1, above=0)

    @staticmethod
    def update(param, grad, start="param", longest: Shared = "first_step", squares: Shared = 0.0, *, lr, t):
        longest = maximum(longest, sqrt(total((param - start) ** 2)))
        squares = squares + total(norm(grad) ** 2) + 0 * t
        return param - lr * longest / sqrt(squares + 1e-8) * grad, start, longest, squares


class Twice(Optimizer):
    """A total of what a total went into: three stages."""

    lr: float = hyper(1.0, low=0)

    @staticmethod
    def update(param, grad, seen: PerTensor, *, lr):
        scaled = grad / sqrt(total(grad**2) + 1)
        seen = seen + norm(scaled)
        return param - lr * scaled / (total(abs(scaled)) + 1), seen


class Counting(Optimizer):
    """Keeps what nobody else looks at; the parameter does not depend on it."""

    lr: float = hyper(1.0, low=0)

    @staticmethod
    def update(param, grad, most: Shared, *, lr):
        return param - lr * grad, maximum(most, total(abs(grad)))


def weights(dtypes=("float64",) * 5):
    rng = np.random.default_rng(0)
    pairs = zip(SHAPES, dtypes, strict=True)
    return [Tensor(rng.normal(size=shape), dtype=dtype, requires_grad=True) for shape, dtype in pairs]


def give(params, step):
    rng = np.random.default_rng([1, step])
    for number, param in enumerate(params):
        values = ((0.1, 3.0, 1.0)[step % 3] * rng.normal(size=param.shape)).astype(param.dtype)
        param.grad = None if (number, step) in ((0, 1), (4, 2)) else Tensor(values, dtype=param.dtype)


def values(params):
    return [param.buffer.copy() for param in params]


def same(one, other):
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


# Values --------------------------------------------------------------------------------------------------------------


def test_totals_are_over_all_parameters_that_move_and_shared_state_goes_on_from_them(engine):
    params = weights()
    optimizer = Distance(params, lr=3.0, **engine)
    now = [value.astype(np.float64) for value in values(params)]
    start, longest, squares = [value.copy() for value in now], 0.1, 0.0
    for step in range(7):
        give(params, step)
        moving = [i for i, param in enumerate(params) if param.grad is not None]
        grads = {i: params[i].grad.numpy().astype(np.float64) for i in moving}
        optimizer.step()
        longest = max(longest, math.sqrt(math.fsum(float(((now[i] - start[i]) ** 2).sum()) for i in moving)))
        squares += math.fsum(float((grad**2).sum()) for grad in grads.values())
        for i, grad in grads.items():
            now[i] = now[i] - 3.0 * longest / math.sqrt(squares + 1e-8) * grad
        for param, wanted in zip(params, now, strict=True):
            np.testing.assert_allclose(param.buffer, wanted, rtol=1e-12, atol=1e-13)
        for name, wanted in (("longest", longest), ("squares", squares)):
            entry = getattr(optimizer, name)
            assert [each.shape for each in entry] == [()] * 5 and entry[0].dtype == np.float64
            assert entry[3].item() == pytest.approx(wanted, rel=1e-13)
    assert longest > 0.1
    for entry, wanted in zip(optimizer.start, start, strict=True):
        np.testing.assert_array_equal(entry.numpy(), wanted)


def test_a_total_may_go_into_what_another_total_is_of(engine):
    params = weights()
    optimizer = Twice(params, lr=0.5, **engine)
    now, seen = values(params), [0.0] * 5
    for step in range(4):
        give(params, step)
        grads = {i: param.grad.numpy() for i, param in enumerate(params) if param.grad is not None}
        optimizer.step()
        size = math.sqrt(math.fsum(float((grad**2).sum()) for grad in grads.values()) + 1)
        spread = math.fsum(float(np.abs(grad / size).sum()) for grad in grads.values()) + 1
        for i, grad in grads.items():
            now[i] = now[i] - 0.5 * grad / size / spread
            seen[i] += float(np.sqrt(((grad / size) ** 2).sum()))
    for param, wanted, entry, norms in zip(params, now, optimizer.seen, seen, strict=True):
        np.testing.assert_allclose(param.buffer, wanted, rtol=1e-13, atol=1e-14)
        assert entry.item() == pytest.approx(norms, rel=1e-13)


def test_parameters_of_all_dtypes_and_groups_are_added_up_together(engine):
    dtypes = ("float32", "float64", "float16", "float32", "float64")
    params = weights(dtypes)
    optimizer = Counting([{"params": params[1::2]}, {"params": params[::2], "maximize": True}], **engine)
    give(params, 0)
    wanted = math.fsum(float(np.abs(param.grad.numpy().astype(np.float64)).sum()) for param in params)
    optimizer.step()
    assert optimizer.most[0].item() == pytest.approx(wanted, rel=1e-12)


def test_engines_agree_to_the_last_bit():
    found = []
    for name in ("reference", "fused"):
        for cls in (Distance, Twice, Counting):
            params = weights(("float32", "float64", "float16", "float32", "float32"))
            optimizer = cls(params, engine=name)
            for step in range(5):
                give(params, step)
                optimizer.step()
            found.append([*values(params), *(np.array(x) for x in optimizer.state_dict().get("shared", {}).values())])
    for one, other in zip(found[:3], found[3:], strict=True):
        assert same(one, other)


# State that all parameters share -------------------------------------------------------------------------------------


def test_shared_state_is_one_array_in_its_own_memory(engine):
    params = weights()
    optimizer = Distance(params, **engine)
    entry = optimizer.longest[0]
    assert entry.item() == 0.1
    optimizer.longest[2].buffer[...] = 7.0
    assert entry.item() == 7.0
    give(params, 0)
    optimizer.step()
    assert optimizer.longest[4].item() == 7.0 and "longest" not in optimizer.state_dict()["state"]["0"]
    assert {name: float(value) for name, value in optimizer.state_dict()["shared"].items()}["longest"] == 7.0


@pytest.mark.parametrize("way", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_copies_go_on_by_themselves(engine, way):
    params = weights()
    optimizer = Distance(params, **engine)
    for step in range(3):
        give(params, step)
        optimizer.step()
    others, other = way((params, optimizer))
    for each, tensors in ((optimizer, params), (other, others)):
        for step in range(3, 6):
            give(tensors, step)
            each.step()
    assert same(values(params), values(others))
    assert optimizer.longest[0].item() == other.longest[0].item()
    other.longest[0].buffer[...] = 0.0
    assert optimizer.longest[0].item() > 0


def test_a_run_goes_on_from_a_state_dict_with_the_bits_of_one_that_never_stopped(engine):
    params, others = weights(), weights()
    optimizer, other = Distance(params, **engine), Distance(others, **engine)
    for step in range(3):
        give(params, step)
        optimizer.step()
    for target, value in zip(others, values(params), strict=True):
        target.data = value
    saved = optimizer.state_dict()
    give(params, 5)
    optimizer.step()
    other.load_state_dict(saved)
    give(others, 5)
    other.step()
    assert same(values(params), values(others)) and other.squares[0].item() == optimizer.squares[0].item()


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda saved: saved.pop("shared"), "missing 'shared longest', 'shared squares'"),
        (lambda saved: saved["shared"].pop("squares"), "missing 'shared squares'"),
        (lambda saved: saved["shared"].update(other=np.array(1.0)), "unexpected 'shared other'"),
        (lambda saved: saved["shared"].update(squares=np.zeros(2)), r"'shared squares' has shape \(2,\)"),
        (lambda saved: saved.update(shared=[1.0]), "'shared' must be a dict by the names of state"),
    ],
)
def test_a_state_dict_whose_shared_state_does_not_fit_changes_nothing(change, complaint):
    params = weights()
    optimizer = Distance(params)
    give(params, 0)
    optimizer.step()
    saved, before = copy.deepcopy(optimizer.state_dict()), pickle.dumps(optimizer.state_dict())
    change(saved)
    with pytest.raises((TypeError, ValueError), match=complaint):
        optimizer.load_state_dict(saved)
    assert pickle.dumps(optimizer.state_dict()) == before


# What can go wrong ---------------------------------------------------------------------------------------------------


def test_groups_must_agree_on_what_goes_into_shared_numbers_and_on_nothing_else(engine):
    class Scaled(Optimizer):
        lr: float = hyper(1.0, low=0)
        keep: float = hyper(0.5, low=0, below=1)

        @staticmethod
        def update(param, grad, size: Shared = 0.0, *, lr, keep):
            return param - lr * grad, keep * size + total(norm(grad) ** 2)

    params = weights()
    groups = [{"params": params[:2]}, {"params": params[2:], "keep": 0.25, "lr": 2.0}]
    optimizer = Scaled(groups, **engine)
    give(params, 0)
    before = values(params)
    wanted = (
        "Scaled.step: keep goes into what all parameters share, and must be the same in all groups; got 0.5 and 0.25"
    )
    with pytest.raises(ValueError, match=wanted):
        optimizer.step()
    assert same(values(params), before) and optimizer.steps == (0,) * 5 and optimizer.size[0].item() == 0
    optimizer.param_groups[1]["keep"] = 0.5
    optimizer.step()
    assert optimizer.size[0].item() > 0


def test_an_interrupt_between_the_stages_waits_until_the_step_is_done(monkeypatch):
    from minima.optim.core import model

    found, whole = model._added, []

    def interrupted(sources):
        signal.raise_signal(signal.SIGINT)
        return found(sources)

    for hit in (False, True):
        params = weights()
        optimizer = Twice(params, engine="reference")
        give(params, 0)
        if hit:
            monkeypatch.setattr(model, "_added", interrupted)
            with pytest.raises(KeyboardInterrupt):
                optimizer.step()
        else:
            optimizer.step()
        assert optimizer.t == 1 and optimizer.steps == (1,) * 5
        whole.append(values(params))
    assert same(*whole)


def test_gradients_are_let_go_after_the_last_stage(engine):
    params = weights()
    optimizer = Distance(params, **engine)
    give(params, 0)
    optimizer.step()

    grads = [weakref.ref(param.grad.buffer) for param in params]
    for param in params:
        param.grad = None
    gc.collect()
    assert not any(grad() is not None for grad in grads)


# Programs that differ within one step --------------------------------------------------------------------------------


def test_a_total_of_state_is_of_what_it_was(engine):
    class Late(Optimizer):
        lr: float = hyper(0.1, low=0)

        @staticmethod
        def update(param, grad, size: PerTensor = 1.0, seen: Shared = 0.0, *, lr):
            return param - lr * grad, norm(param), total(size)

    w = Tensor(np.ones(4), dtype="float64", requires_grad=True)
    optimizer = Late([w], **engine)
    for wanted in (1.0, 2.0):
        w.grad = Tensor(np.zeros(4), dtype="float64")
        optimizer.step()
        assert optimizer.seen[0].item() == wanted


def test_a_total_is_that_of_its_place_in_the_rule_in_every_program(engine):
    class Branching(Optimizer):
        lr: float = hyper(1.0, low=0)
        more: bool = hyper(False)

        @staticmethod
        def update(param, grad, *, lr, more):
            scale = total(norm(param) ** 2) if more else 1.0
            return param - lr * scale / total(norm(grad) ** 2) * grad

    params = weights()
    optimizer = Branching([{"params": params[:2], "more": True}, {"params": params[2:]}], **engine)
    give(params, 0)
    before, grads = values(params), [param.grad.numpy() for param in params]
    optimizer.step()
    scale = sum(float((value**2).sum()) for value in before[:2])
    size = sum(float((grad**2).sum()) for grad in grads)
    for place, (param, value, grad) in enumerate(zip(params, before, grads, strict=True)):
        wanted = value - (scale if place < 2 else 1.0) / size * grad
        np.testing.assert_allclose(param.buffer, wanted, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("first", [True, False])
def test_shared_state_is_what_those_make_of_it_that_change_it(engine, first):
    class Matrices(Optimizer):
        lr: float = hyper(1.0, low=0)

        @staticmethod
        def update(param, grad, seen: Shared = 1.0, *, lr):
            if param.ndim < 2:
                return param - lr * seen * grad, seen
            return param - lr * grad, seen + total(norm(grad) ** 2)

    shapes = [(3, 3), (4,)] if first else [(4,), (3, 3)]
    params = [Tensor(np.zeros(shape), dtype="float64", requires_grad=True) for shape in shapes]
    optimizer = Matrices(params, **engine)
    for param in params:
        param.grad = Tensor(np.ones(param.shape), dtype="float64")
    optimizer.step()
    assert optimizer.seen[0].item() == 10.0


def test_totals_that_wait_for_others_in_some_programs_only_are_refused(engine):
    class Uneven(Optimizer):
        lr: float = hyper(1.0, low=0)

        @staticmethod
        def update(param, grad, *, lr):
            scale = _whole(grad) if param.ndim == 2 else 1.0
            return param - lr * grad / _whole(param * scale)

    params = [Tensor(np.ones(shape), dtype="float64", requires_grad=True) for shape in ((2, 2), (3,))]
    optimizer = Uneven(params, **engine)
    for param in params:
        param.grad = Tensor(np.ones(param.shape), dtype="float64")
    with pytest.raises(ValueError, match="Uneven.step: a total must depend on as many other totals for all parameters"):
        optimizer.step()
    assert optimizer.t == 0 and all((param.buffer == 1).all() for param in params)


def _whole(x):
    return total(norm(x) ** 2)


def test_shared_state_that_a_flag_switches_off_reads_saves_and_loads(engine):
    class Optional(Optimizer):
        lr: float = hyper(1.0, low=0)
        use: bool = hyper(False)

        @staticmethod
        def update(param, grad, seen: Shared = 1.0, *, lr, use):
            return param - lr * grad, seen + total(norm(grad) ** 2) if use else seen

    saved = []
    for use in (False, True):
        params = weights()
        optimizer = Optional(params, use=use, **engine)
        give(params, 0)
        optimizer.step()
        assert (optimizer.seen[0].item() > 1.0) is use and "Tensor" in repr(optimizer.seen)
        saved.append((optimizer, optimizer.state_dict()))
    (one, first), (two, second) = saved
    one.load_state_dict(second)
    two.load_state_dict(first)
    assert one.seen[0].item() > 1.0 == two.seen[0].item()


def test_terms_with_decay_that_is_off_have_their_size_and_are_nothing(engine):
    class Own(Optimizer):
        lr: float = hyper(1.0, low=0)
        wd: float = hyper(0.0, low=0)

        @staticmethod
        def update(param, grad, *, lr, wd):
            pull = wd * param
            assert pull.ndim == param.ndim
            step = minimum(1.0, 1.0 / wd) * grad + (pull @ param.T) @ grad + total(norm(pull) ** 2) * grad
            return param - lr * step - pull

    w = Tensor(np.ones((2, 3)), dtype="float64", requires_grad=True)
    optimizer = Own([w], **engine)
    w.grad = Tensor(np.full((2, 3), 0.25), dtype="float64")
    optimizer.step()
    assert (w.buffer == 0.75).all()
