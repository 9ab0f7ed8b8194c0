"""The fused engine on rules that look beyond one element: the reference's bits for all sizes, threads and phases."""

import contextlib
import signal
import threading
import time

import numpy as np
import pytest
from multiplying import Switching
from rules import DTYPES, give

from minima import Tensor
from minima.optim import (
    LAMB,
    LARS,
    Adafactor,
    Adam,
    Lion,
    Muon,
    NovoGrad,
    Optimizer,
    Prodigy,
    StableAdamW,
    hyper,
    maximum,
    minimum,
    sqrt,
    where,
)
from minima.optim import abs as magnitude
from minima.optim.engines.cpu.between import Between as Lines
from minima.optim.engines.cpu.launch import Launch
from minima.optim.engines.cpu.pieces import Pieces
from minima.optim.engines.cpu.products import Products
from minima.optim.language.lowering import lower
from minima.optim.language.program import Instruction
from minima.optim.language.vocabulary import PerColumn, PerRow, PerTensor, Shared, max, mean, norm, sum, total

SHAPES = [(), 0, 1, 31, 4096, 4097, 3 * 4096, 70_000, (1, 9), (9, 1), (1, 5000), (5000, 1), (65, 4100), (130, 7)]
SHAPES += [(0, 5), (5, 0), (4200, 3), (3, 4, 5)]


class Largest(Optimizer):
    """SM3: largest values of rows and columns, which begin anew in every step."""

    lr: float = hyper(1e-2, low=0)

    @staticmethod
    def update(param, grad, rows: PerRow, columns: PerColumn, *, lr):
        size = minimum(rows, columns) + grad**2
        return param - lr * grad / (sqrt(size) + 1e-8), max(size, axis=1), max(size, axis=0)


class Confident(Optimizer):
    """CAME: four passes, means of rows and columns of two values."""

    lr: float = hyper(1e-2, low=0)
    beta: float = hyper(0.9, low=0, below=1)

    @staticmethod
    def update(param, grad, exp_avg, rows: PerRow, columns: PerColumn, r: PerRow, c: PerColumn, *, lr, beta):
        square = grad**2 + 1e-30
        rows = beta * rows + (1 - beta) * mean(square, axis=1)
        columns = beta * columns + (1 - beta) * mean(square, axis=0)
        step = grad / sqrt(rows * columns / mean(rows))
        step = step / maximum(1, sqrt(mean(step**2)))
        exp_avg = beta * exp_avg + (1 - beta) * step
        rest = (step - exp_avg) ** 2 + 1e-16
        r = beta * r + (1 - beta) * mean(rest, axis=1)
        c = beta * c + (1 - beta) * mean(rest, axis=0)
        return param - lr * exp_avg / sqrt(r * c / mean(r)), exp_avg, rows, columns, r, c


class Odd(Optimizer):
    """Truths of every rank, sizes, old numbers of rows in elements, state that changes places."""

    lr: float = hyper(1e-2, low=0)
    warm: float = hyper(3.0, low=0)

    @staticmethod
    def update(param, grad, a: PerRow, b: PerRow, c: PerColumn, n: PerTensor, m: PerTensor, e, f, *, lr, warm, t):
        rows, columns = param.shape
        tall = norm(grad, axis=1) > 1.0
        wide = max(magnitude(grad), axis=0) > 0.5
        early = t < warm
        x = where(tall & wide, grad, a * grad) + where(early, c, 0.5) * param
        top, low = max(x), -max(-x)
        y = where(top > 2, x, 2 * x) * columns / (rows + columns)
        s = sum(y * e, axis=1)
        z = max(s) + norm(s) + mean(c)
        step = where(n > m, y, z * grad)
        weight = where(early, 1.0, where(tall, 2.0, s))
        c = c + sum(y, axis=0) + max(c)
        return (
            param - lr * (step * weight + low),
            b + weight,
            a,
            c,
            m + top,
            n - low,
            step / (1 + magnitude(step)),
            x > 0,
        )


class Deep(Optimizer):
    """Three stages, and numbers for the tensor in each."""

    lr: float = hyper(1e-2, low=0)
    beta: float = hyper(0.9, low=0, below=1)

    @staticmethod
    def update(param, grad, m, s: PerTensor, q: Shared = 1.0, *, lr, beta):
        grad = grad / (norm(grad) + 1e-6)
        scale = total(norm(grad * param))
        m = beta * m + (1 - beta) * grad * scale
        length = norm(m)
        most = total(length) + total(s)
        return param - lr * m * minimum(1, most) / (length + 1e-6), m, s + scale * q + length, most + q


class Anchored(Optimizer):
    """A state that stays as it is."""

    lr: float = hyper(1e-2, low=0)

    @staticmethod
    def update(param, grad, start="param", *, lr):
        return param - lr * (grad / norm(grad) + 0.1 * (param - start)), start


RULES = [LARS, LAMB, NovoGrad, StableAdamW, Adafactor, Prodigy, Largest, Confident, Odd, Deep, Anchored]


def stepped(cls, engine, dtype, state_dtype, shapes=SHAPES, steps=3, **options):
    """Parameters, state and measures after some steps, in which some gradients are missing."""
    rng = np.random.default_rng(0)
    params = [Tensor(np.asarray(rng.standard_normal(shape)), dtype=dtype, requires_grad=True) for shape in shapes]
    other = {} if cls in (Prodigy, Deep) else {"lr": 0.02}
    groups = [{"params": params[::2]}, {"params": params[1::2], **other}]
    optimizer = cls(groups, engine=engine, state_dtype=state_dtype, **options)
    found = []
    for t in range(steps):
        grads = [rng.standard_normal(p.shape) * 10.0 ** rng.integers(-3, 2, p.shape) for p in params]
        give(params, [None if (i + t) % 5 == 4 else grad for i, grad in enumerate(grads)])
        optimizer.step(measure=t == 1)
        if t == 1:
            found.append([(m.grad, m.update, m.param) for m in optimizer.measures.values()])
    found += [p.detach().numpy() for p in params]
    for kept in optimizer.state_dict()["state"].values():
        found += [np.asarray(value) for value in kept.values()]
    return found


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)


KEPT_IN_BLOCKS = [cls for cls in RULES if cls not in (Adafactor, Largest, Confident, Odd)]


def crossed(classes, kinds, dtypes=DTYPES):
    """Each class with each dtype, and with each kind of state as far as they go; each kind with each dtype.

    An element is read into the precision of its loop before anything is done with it, and rounded to what is kept of it
    behind that: what is kept does not meet what is computed.
    """
    return [
        (cls, kinds[(number + row) % len(kinds)], dtype)
        for number, cls in enumerate(classes)
        for row, dtype in enumerate(dtypes)
    ]


@pytest.mark.parametrize(
    ("cls", "state_dtype", "dtype"),
    crossed(KEPT_IN_BLOCKS, (None, "bfloat16", "int8"))
    + crossed([cls for cls in RULES if cls not in KEPT_IN_BLOCKS], (None, "bfloat16")),
)
def test_every_rule_has_the_references_bits(cls, state_dtype, dtype, monkeypatch):
    wanted = stepped(cls, "reference", dtype, state_dtype)
    for threads in (1, 2, 3):
        monkeypatch.setenv("MINIMA_NUM_THREADS", str(threads))
        assert_same(stepped(cls, "fused", dtype, state_dtype), wanted)


class Between(Optimizer):
    """Norms, transposed matrices and state between products; one product is kept."""

    lr: float = hyper(1e-2, low=0)

    @staticmethod
    def update(param, grad, u, v, *, lr):
        if param.ndim < 2:
            return param - lr * grad, u, v
        u = 0.9 * u + grad
        outer = u @ u.T
        first = (outer / (norm(outer) + 1e-3)) @ grad + 0.5 * v
        inner = first.T @ grad
        last = (grad @ inner) / (norm(inner) + 1)
        return param - lr * last / (norm(last) + 1e-3) - lr * first, u, first


class Normed(Optimizer):
    """Norms and largest values of what products make, for the tensor and its rows, and a state that keeps one."""

    lr: float = hyper(1e-2, low=0)

    @staticmethod
    def update(param, grad, size: PerTensor, *, lr):
        v = (param @ param.T) @ grad
        return param - lr * v / (norm(v) + 1e-3) - lr * v / (max(abs(v), axis=1) + 1), size + norm(v)


MATRICES = [(), 7, (1, 9), (9, 1), (65, 130), (130, 65), (70, 70), (3, 4, 5), (0, 5), (5, 0), (300, 20), (300, 270)]


MULTIPLYING = [Muon, Between, Normed, Switching]


@pytest.mark.parametrize(("cls", "state_dtype", "dtype"), crossed(MULTIPLYING, (None, "bfloat16")))
def test_products_of_matrices_have_the_references_bits(cls, state_dtype, dtype, monkeypatch):
    wanted = stepped(cls, "reference", dtype, state_dtype, MATRICES)
    for threads in (1, 2):
        monkeypatch.setenv("MINIMA_NUM_THREADS", str(threads))
        assert_same(stepped(cls, "fused", dtype, state_dtype, MATRICES), wanted)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_matrices_between_products_are_read_and_written_as_they_lie(threads, dtype, monkeypatch):
    """Row after row, column after column, both at once, in place and across."""
    monkeypatch.setenv("MINIMA_NUM_THREADS", threads)
    x = np.random.default_rng(0).normal(size=(390, 390)).astype(dtype)
    plain, across = x[:300, :].copy(), np.asfortranarray(x[90:, :])
    fresh, turned, square = np.empty_like(plain), np.empty_like(across), x.copy()
    lines = [
        Instruction("product", "mul", ("across", "factor")),
        Instruction("sum", "add", ("product", "plain")),
        Instruction("difference", "sub", ("sum", 2.0)),
    ]
    loop = Lines(lines, {"across": across, "plain": plain}, {"sum": fresh, "difference": across}, dtype)
    product = across * x.dtype.type(3)
    loop({"factor": 3})
    np.testing.assert_array_equal(fresh, product + plain)
    np.testing.assert_array_equal(across, product + plain - 2)
    Lines((), {"x": plain}, {"x": turned}, dtype)({})
    np.testing.assert_array_equal(turned, plain)
    both = Lines([Instruction("sum", "add", ("x", "y"))], {"x": x, "y": x.T}, {"sum": square}, dtype)
    both({})
    np.testing.assert_array_equal(square, x + x.T)


def test_products_use_the_same_memory_in_every_step(monkeypatch):
    made = []
    inner = Products.__init__
    monkeypatch.setattr(Products, "__init__", lambda self, *given: made.append(self) or inner(self, *given))
    params = [Tensor(np.ones(shape), requires_grad=True) for shape in ((30, 40), (50, 60), (20, 20))]
    optimizer, sizes = Muon(params, engine="fused"), []
    for _ in range(4):
        give(params, [np.ones(p.shape) for p in params])
        optimizer.step()
        sizes.append([(flat.ctypes.data, flat.nbytes) for each in made for flat in each.memory])
    assert sizes[0] and sizes[0] == sizes[1] == sizes[2] == sizes[3]
    assert all(len(each.memory) <= 5 for each in made)
    assert sorted(size for _, size in sizes[3])[-1] == 50 * 60 * 4


@pytest.mark.parametrize("cls", [Adam, Lion])
def test_cautious_rules_have_the_references_bits(cls, dtype):
    wanted = stepped(cls, "reference", dtype, None, cautious=True)
    assert_same(stepped(cls, "fused", dtype, None, cautious=True), wanted)


@pytest.mark.parametrize("cls", [LAMB, Adafactor, Odd])
def test_entries_that_are_not_finite_are_the_references(cls):
    def last(engine):
        params = [Tensor(np.ones(shape), dtype="float32", requires_grad=True) for shape in ((80, 70), (9000,), (3, 4))]
        optimizer = cls(params, engine=engine)
        for bad in (np.nan, np.inf, -np.inf):
            grads = [np.linspace(-1, 1, p.size).reshape(p.shape) for p in params]
            grads[0][70, 3] = grads[1][4100] = bad
            give(params, grads)
            optimizer.step()
        return [p.detach().numpy() for p in params]

    assert_same(last("fused"), last("reference"))


def test_bands_of_bands_of_rows_are_added_in_order():
    """More rows than 64 bands have."""
    shapes = [(64 * 64 + 70, 3), (64 * 64 * 2 + 1, 2)]
    wanted = stepped(Adafactor, "reference", "float32", None, shapes)
    assert_same(stepped(Adafactor, "fused", "float32", None, shapes), wanted)


def test_parameters_that_are_not_contiguous_are_stepped_in_every_stage():
    def last(cls, engine):
        values = np.asfortranarray(np.linspace(-1, 1, 5000 * 3, dtype=np.float32).reshape(5000, 3))
        param = Tensor.from_numpy(values)
        param.requires_grad = True
        optimizer = cls([param], engine=engine)
        for _ in range(2):
            give([param], [np.linspace(1, 2, 5000 * 3).reshape(5000, 3)])
            optimizer.step()
        return values

    for cls in (LAMB, Deep):
        np.testing.assert_array_equal(last(cls, "fused"), last(cls, "reference"))


def test_small_tensors_alone_take_one_phase(monkeypatch):
    taken = []
    inner = Pieces.take
    monkeypatch.setattr(Pieces, "take", lambda self, *phases: taken.append(phases) or inner(self, *phases))
    for shape, many in (((50, 50), 1), ((100, 100), 2)):
        taken.clear()
        param = Tensor(np.ones(shape), requires_grad=True)
        give([param], [np.ones(shape)])
        LAMB([param], engine="fused").step()
        assert [end - begin for begin, end in taken] == [many]


def test_programs_of_elements_alone_have_one_phase_and_nothing_between():
    program = lower(Adam._trace({}))
    launch = Launch(program, "float32", ("float32", "float32"), np.dtype("float32"), [(100, 100)])
    assert launch.reports.shape == launch.totalled.shape == (1, 0)
    assert launch._pieces.job[9:12].tolist() == [0, 0, 1]


def test_a_kernel_of_eight_bit_state_that_tells_rows_apart_is_refused_in_a_sentence():
    param = Tensor(np.ones((4, 4)), requires_grad=True)
    give([param], [np.ones((4, 4))])
    with pytest.raises((ValueError, NotImplementedError), match="blocks"):
        Confident([param], engine="fused", state_dtype="int8").step()


# Threads ---------------------------------------------------------------------------------------------------------


def large(steps, cls=LAMB):
    param = Tensor(np.linspace(-1, 1, 300_000, dtype="float32").reshape(300, 1000), requires_grad=True)
    optimizer = cls([param], engine="fused")
    for _ in range(steps):
        give([param], [np.linspace(1, 2, 300_000).reshape(300, 1000)])
        optimizer.step()
    return param.detach().numpy()


def test_threads_that_step_at_once_have_the_bits_of_one(monkeypatch):
    monkeypatch.setenv("MINIMA_NUM_THREADS", "3")
    wanted, found = large(20), [None] * 4

    def work(place):
        found[place] = large(20)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        np.testing.assert_array_equal(each, wanted)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads here")
@pytest.mark.parametrize("cls", [LAMB, Deep])
def test_an_interrupt_leaves_no_step_half_done(cls):
    """Every step is whole: so many are counted as are done."""
    shape = (2000, 500)
    param = Tensor(np.full(shape, 0.5, np.float32), requires_grad=True)
    optimizer = cls([param], engine="fused")
    give([param], [np.ones(shape)])
    optimizer.step()
    me, stop, is_open = threading.get_ident(), threading.Event(), [False]

    def interrupt(*_):
        if is_open[0]:  # once for each time that it is
            is_open[0] = False
            raise KeyboardInterrupt

    def disturb():
        while not stop.wait(0.002):
            signal.pthread_kill(me, signal.SIGINT)

    before = signal.signal(signal.SIGINT, interrupt)
    disturber = threading.Thread(target=disturb)
    disturber.start()
    end, interrupts = time.monotonic() + 10, 0
    while interrupts < 20 and time.monotonic() < end:
        with contextlib.suppress(KeyboardInterrupt):
            is_open[0] = True
            while True:
                optimizer.step()
        interrupts += 1
    stop.set()
    disturber.join()
    signal.signal(signal.SIGINT, before)
    assert interrupts >= 1
    again = Tensor(np.full(shape, 0.5, np.float32), requires_grad=True)
    other = cls([again], engine="fused")
    for _ in range(optimizer.t):
        give([again], [np.ones(shape)])
        other.step()
    np.testing.assert_array_equal(param.detach().numpy(), again.detach().numpy())
