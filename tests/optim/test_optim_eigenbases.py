"""SOAP and Shampoo, against implementations of their own, that know of no eigenvectors.

SOAP is given gradients of full rank, as eigenvectors of others are arbitrary.
"""

import math
from functools import partial

import numpy as np
import pytest

from minima import Tensor
from minima.optim import SOAP, Shampoo

STEPS = 25
SHAPES = ((4, 4), (6, 6), (2, 2), (7,), ())


def problem(dtype="float64"):
    """Where parameters start, and gradients that grow and shrink by a factor of 200."""
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=shape) for shape in SHAPES]
    sizes = [200 ** (0.5 * math.sin(step)) for step in range(STEPS)]
    drift = [rng.normal(size=shape) for shape in SHAPES]
    rows = [[size * (part + rng.normal(size=part.shape)) for part in drift] for size in sizes]
    return tuple(
        [[part.astype(dtype).astype("float64") for part in row] for row in group] for group in ([starts], rows)
    )


def trained(cls, dtype="float64", **hypers):
    """Our steps: after each the parameters and all state, by name, in float64."""
    (starts,), rows = problem(dtype)
    params = [Tensor(start, dtype=dtype, requires_grad=True) for start in starts]
    optimizer = cls(params, **hypers)
    for row in rows:
        for param, grad in zip(params, row, strict=True):
            param.grad = Tensor(grad, dtype=dtype)
        optimizer.step()
        entries = {"param": params} | {name: getattr(optimizer, name) for name in optimizer.rule.state}
        yield {name: [np.array(x.detach().numpy(), "float64") for x in entry] for name, entry in entries.items()}


def fading(values, keep):
    """The average that keeps a share in each step, in closed form."""
    weights = (1 - keep) * keep ** np.arange(len(values) - 1, -1, -1.0)
    return np.tensordot(weights, np.stack(values), 1)


def orthogonal(x):
    """The orthogonal factor, column by column by Gram and Schmidt instead of Householder's reflections.

    Twice, in long doubles where the machine has them: a covariance of one gradient has the square of its condition.
    """
    found = np.array(x, np.longdouble)
    for _ in range(2):
        for j in range(found.shape[1]):
            for i in range(j):
                found[:, j] -= (found[:, i] @ found[:, j]) * found[:, i]
            found[:, j] /= np.sqrt(found[:, j] @ found[:, j])
    return np.array(found, np.float64)


def soap(start, grads, *, lr=3e-3, beta1=0.95, beta2=0.95, eps=1e-8, wd=0.01, shampoo_beta=None, interval=10,
         max_size=10000, cautious=False):  # fmt: skip
    """SOAP of one tensor: the averages in closed form, the first bases by the singular vectors of the gradient."""
    keep = beta2 if shampoo_beta is None else shampoo_beta
    param, second = start, np.zeros_like(start)
    turns = [start.ndim == 2 and size <= max_size for size in (*start.shape, 1, 1)[:2]]
    if start.ndim == 2:
        u, _, v = np.linalg.svd(grads[0])
        bases = [u if turns[0] else np.eye(len(start)), v.T if turns[1] else np.eye(start.shape[1])]

    def turned(x, back=False):
        if start.ndim < 2:
            return x
        left, right = bases
        return left @ x @ right.T if back else left.T @ x @ right

    for k, grad in enumerate(grads):
        sides = [fading([g @ g.T for g in grads[: k + 1]], keep), fading([g.T @ g for g in grads[: k + 1]], keep)] \
            if start.ndim == 2 else []  # fmt: skip
        if k:
            first = fading(grads[1 : k + 1], beta1)
            second = beta2 * second + (1 - beta2) * turned(grad) ** 2
            step = turned(turned(first) / (np.sqrt(second) + eps), back=True)
            if cautious:
                mask = step * grad > 0
                step = step * mask / max(mask.mean(), 1e-3)
            param = param - lr * math.sqrt(1 - beta2**k) / (1 - beta1**k) * step
            param = param - lr * wd * param
            if k % interval == 0:
                for axis, side in enumerate(sides):
                    if turns[axis]:
                        rayleigh = np.einsum("ij,ik,kj->j", bases[axis], side, bases[axis])
                        order = np.argsort(-rayleigh)
                        bases[axis] = orthogonal((side @ bases[axis])[:, order])
                        second = second.take(order, axis)
        found = {"param": param, "exp_avg": fading(grads[1 : k + 1], beta1) if k else 0 * grad, "exp_avg_sq": second}
        if start.ndim == 2:
            names = (("left", "q_left"), ("right", "q_right"))
            for axis, (kept, basis) in enumerate(names):
                if turns[axis]:
                    found |= {kept: sides[axis], basis: bases[axis]}
        yield found


def aligned(found, wanted):
    """Columns with the signs of others, which do not matter."""
    return found * np.where(np.einsum("ij,ij->j", found, wanted) < 0, -1, 1)


def assert_all_close(ours, wanted, allowed, step):
    for place, expected in enumerate(wanted):
        for name, value in expected.items():
            found = ours[name][place]
            found = aligned(found, value) if name.startswith("q_") else found
            largest = np.max(np.abs(value), initial=0.0)
            off = np.max(np.abs(found - value), initial=0.0)
            assert found.shape == value.shape and off <= allowed * largest, (step, SHAPES[place], name, off / largest)


SETTINGS = [
    {},
    {"lr": 0.02, "wd": 0.1, "interval": 1},
    {"lr": 0.02, "wd": 0.0, "interval": 3},
    {"lr": 0.02, "beta1": 0.5, "beta2": 0.9, "eps": 0.1, "wd": 0.3, "interval": 5},
    {"lr": 0.02, "beta1": 0.0, "shampoo_beta": 0.7, "interval": 2},
    {"lr": 0.02, "beta2": 0.8, "shampoo_beta": 0.0, "interval": 4},
    {"lr": 0.02, "max_size": 4, "interval": 3},
    {"lr": 0.02, "interval": 3, "cautious": True},
]


@pytest.mark.parametrize(("dtype", "allowed"), [("float64", 1e-11), ("float32", 2e-2)])
@pytest.mark.parametrize("hypers", SETTINGS, ids=str)
def test_soap_gives_what_its_oracle_says_of_parameters_and_all_state(hypers, dtype, allowed):
    (starts,), rows = problem(dtype)
    ours = trained(SOAP, dtype, **hypers)
    theirs = zip(*(soap(x, [row[i] for row in rows], **hypers) for i, x in enumerate(starts)), strict=True)
    for step, (found, wanted) in enumerate(zip(ours, theirs, strict=True), start=1):
        assert_all_close(found, wanted, allowed, step)


def test_the_first_step_of_soap_leaves_the_parameter_and_its_averages_as_they_are():
    (starts,), _ = problem()
    found = next(trained(SOAP, lr=0.5, weight_decay=0.5))
    for place, start in enumerate(starts):
        assert np.array_equal(found["param"][place], start)
        assert not found["exp_avg"][place].any() and not found["exp_avg_sq"][place].any()


@pytest.mark.parametrize("interval", [1, 3, 10, 100])
def test_soap_is_pytorch_optimizer_s_with_orthogonal_factors_in_float64(interval, monkeypatch):
    torch, theirs = pytest.importorskip("torch"), pytest.importorskip("pytorch_optimizer")
    (starts,), rows = problem()
    exact = torch.linalg.qr
    kept = {}

    def wide(x, dtype=None, *args, **kwargs):
        return x if dtype is torch.float32 else kept["to"](x, dtype, *args, **kwargs)

    kept["to"] = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", wide)
    params = [torch.nn.Parameter(torch.tensor(start)) for start in starts[:4]]
    other = theirs.SOAP(params, lr=0.02, weight_decay=0.1, precondition_frequency=interval)
    for row, found in zip(rows, trained(SOAP, lr=0.02, weight_decay=0.1, interval=interval), strict=True):
        for param, grad in zip(params, row, strict=False):
            param.grad = torch.tensor(grad)
        other.step()
        for param, own in zip(params, found["param"], strict=False):
            assert np.abs(param.detach().numpy() - own).max() <= 1e-10 * np.abs(own).max()
    assert torch.linalg.qr is exact


def test_a_matrix_that_is_not_square_takes_the_steps_of_given_bases():
    rng = np.random.default_rng(0)
    w = Tensor(rng.normal(size=(3, 5)), dtype="float64", requires_grad=True)
    start, grads = w.detach().numpy().copy(), [rng.normal(size=(3, 5)) for _ in range(22)]
    optimizer = SOAP([w], lr=0.02, weight_decay=0.1, interval=4)
    w.grad = Tensor(grads[0], dtype="float64")
    optimizer.step()
    bases = [np.linalg.qr(rng.normal(size=(size, size)))[0] for size in (3, 5)]
    optimizer.q_left[0].numpy()[...], optimizer.q_right[0].numpy()[...] = bases  # which are the state itself
    left, right = (1 - 0.95) * grads[0] @ grads[0].T, (1 - 0.95) * grads[0].T @ grads[0]
    first, second, param = np.zeros((3, 5)), np.zeros((3, 5)), start
    for k, grad in enumerate(grads[1:], start=1):
        w.grad = Tensor(grad, dtype="float64")
        optimizer.step()
        first, turned = 0.95 * first + 0.05 * grad, bases[0].T @ grad @ bases[1]
        second = 0.95 * second + 0.05 * turned**2
        step = bases[0] @ (bases[0].T @ first @ bases[1] / (np.sqrt(second) + 1e-8)) @ bases[1].T
        param = (param - 0.02 * math.sqrt(1 - 0.95**k) / (1 - 0.95**k) * step) * (1 - 0.02 * 0.1)
        left, right = 0.95 * left + 0.05 * grad @ grad.T, 0.95 * right + 0.05 * grad.T @ grad
        if k % 4 == 0:
            for axis, side in enumerate((left, right)):
                order = np.argsort(-np.diag(bases[axis].T @ side @ bases[axis]))
                second = second.take(order, axis)
                bases[axis] = np.linalg.qr((side @ bases[axis])[:, order])[0]
        assert np.allclose(w.detach().numpy(), param, rtol=1e-9, atol=1e-12)
    for found, wanted in ((optimizer.left[0], left), (optimizer.right[0], right), (optimizer.exp_avg_sq[0], second)):
        assert np.allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-12)


def test_groups_of_soap_have_their_own_intervals_and_decay_and_a_parameter_its_own_steps():
    (starts,), rows = problem()
    settings = [{"lr": 0.02, "interval": 2, "wd": 0.1}, {"lr": 0.05, "interval": 3, "beta1": 0.5, "wd": 0.0}]
    params = [Tensor(start, dtype="float64", requires_grad=True) for start in starts]
    optimizer = SOAP([{"params": params[:1], **settings[0]}, {"params": params[1:], **settings[1]}])
    for step, row in enumerate(rows):
        for place, param in enumerate(params):
            skipped = place == 1 and step % 6 == 4
            param.grad = None if skipped else Tensor(row[place], dtype="float64")
        optimizer.step()
    for place, start in enumerate(starts):
        own = [row[place] for step, row in enumerate(rows) if not (place == 1 and step % 6 == 4)]
        *_, wanted = soap(start, own, **settings[place > 0])
        assert optimizer.steps[place] == len(own)
        assert np.allclose(params[place].detach().numpy(), wanted["param"], rtol=1e-8, atol=1e-10)


def test_a_run_of_soap_goes_on_from_its_state_with_the_same_bits_between_two_bases():
    (starts,), rows = problem("float32")

    def stepped(params, optimizer, some):
        for row in some:
            for param, grad in zip(params, row, strict=True):
                param.grad = Tensor(grad)
            optimizer.step()

    whole, half = ([Tensor(start, requires_grad=True) for start in starts] for _ in range(2))
    make = partial(SOAP, lr=0.02, interval=4)
    stepped(whole, make(whole), rows)
    before, after = make(half), make(half)
    stepped(half, before, rows[:7])
    after.load_state_dict(before.state_dict())
    stepped(half, after, rows[7:])
    for one, other in zip(whole, half, strict=True):
        assert np.array_equal(one.detach(), other.detach())


def test_soap_whose_state_was_dropped_looks_first_again_and_never_divides_by_zero():
    (starts,), rows = problem()
    params = [Tensor(start, dtype="float64", requires_grad=True) for start in starts]
    optimizer = SOAP(params, lr=0.02)
    for step, row in enumerate(rows):
        for param, grad in zip(params, row, strict=True):
            param.grad = Tensor(grad, dtype="float64")
        optimizer.step()
        if step == 5:
            optimizer.set_steps(0)
    assert all(np.isfinite(param.detach().numpy()).all() for param in params)


# Shampoo -------------------------------------------------------------------------------------------------------------

SIDES = ((4, 4), (3, 5), (5, 2), (7,), (), (2, 3, 2), (1, 4), (4, 1))


def inverse_root(x):
    """The inverse square root of a matrix, by the iteration of Denman and Beavers."""
    y, z = x / np.linalg.norm(x), np.eye(len(x))
    for _ in range(60):
        y, z = (y + np.linalg.inv(z)) / 2, (z + np.linalg.inv(y)) / 2
    return z / math.sqrt(np.linalg.norm(x))


def shampoo(start, grads, *, lr=1e-3, eps=1e-6, wd=0.0, interval=1, max_size=10000, cautious=False):
    """Shampoo of one tensor, from all gradients so far."""
    param, roots = start, {}
    is_matrix = start.ndim > 1
    for k in range(len(grads)):
        seen = [grad.reshape((len(grad), -1) if is_matrix else (-1, 1)) for grad in grads[: k + 1]]
        sides = {"left": [g for g in seen], "right": [g.T for g in seen]} if is_matrix else {"left": seen}
        step, found = seen[-1], {}
        for name, values in sides.items():
            own = step if name == "left" else step.T
            if len(values[0]) > max_size:
                diagonal = eps + sum((g**2).sum(1, keepdims=True) for g in values)
                found[f"{name}_diagonal"] = diagonal if name == "left" else diagonal.T
                own = own / diagonal ** (0.25 if is_matrix else 0.5)
            else:
                found[name] = eps * np.eye(len(values[0])) + sum(g @ g.T for g in values)
                if k % interval == 0:
                    half = inverse_root(found[name])
                    roots[name] = inverse_root(np.linalg.inv(half)) if is_matrix else half
                if interval > 1:
                    found[f"{name}_power"] = roots[name]
                own = roots[name] @ own
            step = own if name == "left" else own.T
        step = step.reshape(start.shape)
        if cautious:
            mask = step * grads[k] > 0
            step = step * mask / max(mask.mean(), 1e-3)
        param = (1 - lr * wd) * param - lr * step
        yield {"param": param, **found}


def shampoo_problem(dtype):
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=shape) for shape in SIDES]
    rows = [[200 ** (0.5 * math.sin(k)) * rng.normal(size=shape) for shape in SIDES] for k in range(STEPS)]
    return [[part.astype(dtype).astype("float64") for part in row] for row in (starts, *rows)]


@pytest.mark.parametrize(("dtype", "allowed"), [("float64", 1e-8), ("float32", 1e-3)])
@pytest.mark.parametrize(
    "hypers",
    [
        {},
        {"lr": 0.1, "wd": 0.1},
        {"lr": 0.1, "eps": 0.01, "interval": 3},
        {"lr": 0.1, "interval": 7, "wd": 0.3},
        {"lr": 0.1, "eps": 1.0, "max_size": 3},
        {"lr": 0.1, "max_size": 0, "interval": 2},
        {"lr": 0.1, "eps": 0.1, "cautious": True},
    ],
    ids=str,
)
def test_shampoo_gives_what_its_oracle_says_of_parameters_and_all_state(hypers, dtype, allowed):
    if dtype == "float32":  # in which sums hold nothing of what is 1e-7 of them
        hypers = {**hypers, "eps": max(hypers.get("eps", 0), 0.1)}
    starts, *rows = shampoo_problem(dtype)
    params = [Tensor(start, dtype=dtype, requires_grad=True) for start in starts]
    optimizer = Shampoo(params, **hypers)
    oracles = [shampoo(start, [row[i] for row in rows], **hypers) for i, start in enumerate(starts)]
    for step, row in enumerate(rows, start=1):
        for param, grad in zip(params, row, strict=True):
            param.grad = Tensor(grad, dtype=dtype)
        optimizer.step()
        for place, oracle in enumerate(oracles):
            for name, value in next(oracle).items():
                found = (params if name == "param" else getattr(optimizer, name))[place].detach().numpy()
                off = np.max(np.abs(found - value), initial=0.0) / np.max(np.abs(value))
                assert found.shape == value.shape and off <= allowed, (step, SIDES[place], name, off)


def test_groups_of_shampoo_have_their_own_settings():
    starts, *rows = shampoo_problem("float64")
    settings = [{"lr": 0.1, "interval": 2, "eps": 0.5}, {"lr": 0.3, "wd": 0.1, "max_size": 2}]
    params = [Tensor(start, dtype="float64", requires_grad=True) for start in starts]
    optimizer = Shampoo([{"params": params[:3], **settings[0]}, {"params": params[3:], **settings[1]}])
    for row in rows:
        for param, grad in zip(params, row, strict=True):
            param.grad = Tensor(grad, dtype="float64")
        optimizer.step()
    for place, start in enumerate(starts):
        *_, wanted = shampoo(start, [row[place] for row in rows], **settings[place > 2])
        assert np.allclose(params[place].detach().numpy(), wanted["param"], rtol=1e-8, atol=1e-10)


def test_a_direction_without_gradients_takes_no_step_and_one_far_weaker_than_others_as_long_a_one():
    w = Tensor(np.zeros((3, 3)), dtype="float64", requires_grad=True)
    optimizer = Shampoo([w], lr=1.0, eps=1e-14)
    w.grad = Tensor(np.diag([1e3, 1e-3, 0.0]), dtype="float64")
    optimizer.step()
    assert np.allclose(w.detach().numpy(), np.diag([-1.0, -1.0, 0.0]), atol=1e-6)


def test_rounding_that_makes_an_eigenvalue_negative_makes_no_nan():
    rng = np.random.default_rng(0)
    w = Tensor(np.zeros((6, 6)), requires_grad=True)
    optimizer = Shampoo([w], lr=1.0)
    for _ in range(30):
        w.grad = Tensor(1e3 * np.outer(rng.normal(size=6), rng.normal(size=6)))
        optimizer.step()
    assert np.isfinite(w.detach().numpy()).all()


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_shampoo_is_pytorch_optimizer_s(decay):
    torch, theirs = pytest.importorskip("torch"), pytest.importorskip("pytorch_optimizer")
    starts, *rows = shampoo_problem("float64")
    places = [0, 1, 2, 3]
    params = [torch.nn.Parameter(torch.tensor(starts[place])) for place in places]
    other = theirs.Shampoo(params, lr=0.1, momentum=0.0, weight_decay=decay, weight_decouple=True)
    own = [Tensor(starts[place], dtype="float64", requires_grad=True) for place in places]
    optimizer = Shampoo(own, lr=0.1, weight_decay=decay)
    for row in rows:
        for place in places:
            params[place].grad, own[place].grad = torch.tensor(row[place]), Tensor(row[place], dtype="float64")
        other.step()
        optimizer.step()
        for param, mine in zip(params, own, strict=True):
            assert np.abs(param.detach().numpy() - mine.detach().numpy()).max() <= 1e-9
