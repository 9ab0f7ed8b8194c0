"""Products of matrices between the kernels of the fused engine on NVIDIA GPUs, on the memory of CPU tensors."""

import contextlib
import weakref
from functools import partial, update_wrapper

import pytest
import torch
from interpreted import Graph, Interpreted, pretend_counting  # which puts the folder of multiplying on the path
from multiplying import Switching
from tensors import EXACT, arrays, assert_same

from minima import optim
from minima import torch as mt
from minima.optim import hyper, norm
from minima.optim.engines.cpu.small import SmallPrinter
from minima.optim.engines.cuda import phases
from minima.optim.engines.cuda.sums import GridSmallPrinter
from minima.torch import batched, eager, host_products
from minima.torch.batched import BatchedProducts

SHAPES = ((6, 4), (3, 5), (6, 4), (70, 9), (3, 5), (2, 4100), (6, 4), (0, 3), (4, 4), (5, 0), (70, 9))
"""Matrices of which some have one shape: of several bands of rows, of several pieces of a row, of nothing."""
OWN = mt.adapt(optim.Muon)


class Kept(optim.Optimizer):
    """A product that is kept, and one that begins with what nothing is computed of before."""

    lr: float = hyper(1e-2, low=0)

    @staticmethod
    def update(param, grad, u, *, lr):
        if param.ndim < 2:
            return param - lr * grad, u
        first = (grad @ param.T) @ grad / (1 + norm(grad) ** 2) + 0.5 * u
        return param - lr * first.T.T - lr * (u @ u.T) @ u / (1 + norm(u) ** 3), first


@pytest.fixture
def one_by_one(monkeypatch):
    """Products of batches that are those of their matrices.

    All are taken of copies, since on some CPUs the last bit of a product depends on how its operands lie in memory.
    """
    once = {product: getattr(torch, product) for product in ("mm", "addmm")}

    def taken(product, operands, **numbers):
        return once[product](*(x.clone(memory_format=torch.contiguous_format) for x in operands), **numbers)

    def alone(product, *operands, out, **numbers):
        return out.copy_(taken(product, operands, **numbers))

    def batched(product, *operands, out, **numbers):
        each = zip(*operands, strict=True)
        return torch.stack([taken(product, matrices, **numbers) for matrices in each], out=out)

    pairs = {"mm": (alone, "mm"), "addmm": (alone, "addmm"), "bmm": (batched, "mm"), "baddbmm": (batched, "addmm")}
    for name, (function, product) in pairs.items():
        monkeypatch.setattr(torch, name, update_wrapper(partial(function, product), getattr(torch, name)))


@pytest.fixture
def natively(monkeypatch):
    """Products of bfloat16 as GPUs take them."""
    for module in (host_products, batched, eager):
        monkeypatch.setattr(module, "has_fast_bfloat16", lambda device: True)


def stepped(cls, shapes, dtype, *, many=3, **options):
    """Steps in two groups of parameters, some of which have no gradient."""
    draw = torch.Generator().manual_seed(1)
    params = [torch.randn(shape, generator=draw).to(dtype).requires_grad_() for shape in shapes]
    optimizer = cls([{"params": params[::2]}, {"params": params[1::2], "lr": 0.05}], engine="fused", **options)
    for number in range(many):
        for i, param in enumerate(params):
            grad = torch.randn(param.shape, generator=draw).to(dtype)
            param.grad = None if number and (i + number) % 4 == 3 else grad
        optimizer.step(measure=number == many - 1)
    return arrays(optimizer, params[::2] + params[1::2]), repr(dict(optimizer.measures))


def compare(on_grid, cls, shapes, dtype, **options):
    found = []
    for context in (on_grid, contextlib.nullcontext):
        with context():
            found.append(stepped(cls, shapes, dtype, **options))
    assert_same(found[0][0], found[1][0], **EXACT)
    assert found[0][1] == found[1][1]  # of NaN too


KINDS = [
    (torch.float32, {}),
    (torch.float64, {}),
    (torch.bfloat16, {}),
    (torch.bfloat16, {"rounding": "nearest", "state_dtype": "float32"}),
    (torch.bfloat16, {"rounding": "master"}),
    (torch.float16, {"rounding": "stochastic"}),
    (torch.float32, {"state_dtype": "bfloat16"}),
]
VARIANTS = [
    (mt.Muon, {"lr": 0.02, "nesterov": False, "momentum": 0.5, "weight_decay": 0.0}),
    (mt.Muon, {"lr": 0.02, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3}),
    (mt.Muon, {"lr": 0.02, "eps": 10.0}),
    (OWN, {"scale": None, "ns_steps": 2}),
    (OWN, {"scale": "match_rms_adamw", "nesterov": False}),
    (OWN, {"in_bfloat16": True, "ema_decay": 0.9}),
    (OWN, {"matrix": False}),
    (mt.adapt(Switching), {}),
    (mt.adapt(Switching), {"damp": 3.0, "warm": 4.0}),
    (mt.adapt(Kept), {}),
]


def name(value):
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize("cls, hypers", VARIANTS, ids=name)
def test_every_variant_has_the_bits_of_the_cpu(on_grid, one_by_one, cls, hypers):
    compare(on_grid, cls, SHAPES, torch.float32, **hypers)


@pytest.mark.parametrize(
    "cls, dtype, options",
    [(OWN, *kind) for kind in KINDS] + [(mt.adapt(Switching), *kind) for kind in KINDS[1:5:3]],
    ids=name,
)
def test_every_kind_has_the_bits_of_the_cpu(on_grid, one_by_one, cls, dtype, options):
    compare(on_grid, cls, (*SHAPES[:5], (3, 4, 2), 7, ()), dtype, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_products_in_bfloat16_have_the_bits_of_the_cpu(on_grid, one_by_one, natively, dtype):
    compare(on_grid, mt.Muon, (*SHAPES[:5], (50, 130)), dtype, lr=0.02)


@pytest.mark.parametrize("cls", [mt.Muon, OWN], ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_batches_have_the_numbers_of_matrices_one_by_one(on_grid, cls, dtype):
    with on_grid():
        found, _ = stepped(cls, SHAPES, dtype)
    wanted, _ = stepped(cls, SHAPES, dtype)
    close = {"rtol": 1e-11, "atol": 1e-13} if dtype == torch.float64 else {"rtol": 2e-5, "atol": 2e-6}
    assert_same(found, wanted, **close)


def test_matrices_of_one_shape_take_one_product_together(on_grid, monkeypatch):
    """Of each product of the rule there is one call for each shape, and nothing of the step stays behind."""
    taken, rooms = [], []
    for word in ("mm", "bmm", "addmm", "baddbmm"):
        call = getattr(torch, word)
        monkeypatch.setattr(
            torch, word, lambda *given, word=word, call=call, **more: taken.append(word) or call(*given, **more)
        )
    take = BatchedProducts.room
    monkeypatch.setattr(BatchedProducts, "room", lambda self: rooms.append(take(self)) or rooms[-1])
    params = [torch.ones(shape, requires_grad=True) for shape in ((4, 6), (6, 4), (4, 6), (4, 6), (5, 5))]
    optimizer = mt.Muon(params, engine="fused")
    for param in params:
        param.grad = torch.ones_like(param)
    with on_grid():
        optimizer.step()
        assert [taken.count(word) for word in ("bmm", "baddbmm", "mm", "addmm")] == [5, 10, 10, 20]
        # The largest group, of three matrices, takes three arrays.
        assert 4 * 3 * 24 <= rooms[0].bytes.nbytes <= 3 * 4 * 3 * 24 + 3 * 256
        room = weakref.ref(rooms.pop().bytes)
        assert room() is None


@pytest.mark.parametrize("most", [1, 1200, 3000])
def test_matrices_take_turns_where_they_take_much_memory(on_grid, one_by_one, monkeypatch, most):
    """Groups of one matrix; of one shape, or less of it. State for the tensor, and what is known of it, is its own."""
    monkeypatch.setattr(batched, "_MOST", most)
    groups, init = [], BatchedProducts.__init__
    monkeypatch.setattr(
        BatchedProducts, "__init__", lambda self, *given: init(self, *given) or groups.append(self.groups)
    )
    shapes = ((6, 4), (9, 10), (6, 4), (3, 5), (9, 10), (6, 4), (70, 9), (9, 10))
    compare(on_grid, mt.adapt(Switching), shapes, torch.float32)
    every = {1: [1] * 8, 1200: [2, 1, 1, 1, 1, 1, 1], 3000: [3, 2, 1, 1, 1]}[most]
    assert sorted(map(len, groups[0]), reverse=True) == every
    assert sorted(tensor for members in groups[0] for tensor in members) == list(range(8))


def test_rules_that_multiply_share_a_step_with_those_that_do_not(on_grid, one_by_one):
    compare(on_grid, OWN, ((6, 4), 7, (6, 4), (), (5, 3)), torch.float32)


def test_a_step_that_breaks_off_between_two_kernels_is_counted_as_its_state_is(on_grid, monkeypatch):
    params, draw = [torch.ones(4, 6, requires_grad=True)], torch.Generator().manual_seed(0)
    params[0].grad = torch.randn(4, 6, generator=draw)
    optimizer = mt.Muon(params, engine="fused")

    def broken(self, number, room, values):
        raise RuntimeError("the library has broken")

    with on_grid():
        optimizer.step()
        before, average = params[0].tolist(), optimizer.state[params[0]]["momentum_buffer"].tolist()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(BatchedProducts, "__call__", broken)
            with pytest.raises(RuntimeError, match="the library has broken"):
                optimizer.step()
        assert params[0].tolist() == before and optimizer.state[params[0]]["momentum_buffer"].tolist() != average
        assert optimizer.t == 2 and optimizer.steps == (2,)
        optimizer.step()
        assert params[0].tolist() != before and optimizer.t == 3


# Faults --------------------------------------------------------------------------------------------------------------


def test_it_has_the_bits_of_the_cpu_whichever_warp_comes_first(on_grid, one_by_one, monkeypatch):
    monkeypatch.setattr(Interpreted, "apart", min)
    compare(on_grid, mt.adapt(Switching), SHAPES, torch.float32)


def left_out(monkeypatch):
    monkeypatch.setattr(BatchedProducts, "__call__", lambda self, number, room, values: room.bytes.zero_())


def without_what_they_find(monkeypatch):
    init = BatchedProducts.__init__

    def made(self, *given):
        init(self, *given)
        self._found = {}

    monkeypatch.setattr(BatchedProducts, "__init__", made)


def in_one_place(monkeypatch):
    init = BatchedProducts.__init__

    def made(self, *given):
        init(self, *given)
        self._offsets[2:] = self._offsets[:-2].clone()

    monkeypatch.setattr(BatchedProducts, "__init__", made)


def of_the_first(monkeypatch):
    select = torch.Tensor.index_select
    monkeypatch.setattr(torch.Tensor, "index_select", lambda x, axis, places: select(x, axis, places * 0))


def in_one_row(monkeypatch):
    monkeypatch.setattr(GridSmallPrinter, "_matrix", SmallPrinter._matrix)
    monkeypatch.setattr(phases, "phases_ptx", phases.phases_ptx._make)  # anew


@pytest.mark.parametrize("fault", [left_out, without_what_they_find, in_one_place, of_the_first, in_one_row])
def test_a_fault_is_seen(on_grid, one_by_one, monkeypatch, fault):
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        compare(on_grid, mt.adapt(Switching), ((6, 4), (3, 5), (6, 4), (4, 4)), torch.float32)


# Steps that a GPU counts ---------------------------------------------------------------------------------------------


@pytest.fixture
def gpu(monkeypatch, one_by_one):
    """A GPU that counts, and graphs that record."""
    pretend_counting(monkeypatch)


def begun(cls, shapes=SHAPES[:5], **options):
    """Parameters with gradients that stay where they are, and an optimizer that has taken a step."""
    draw = torch.Generator().manual_seed(3)
    params = [torch.randn(shape, generator=draw).requires_grad_() for shape in shapes]
    for param in params:
        param.grad = torch.zeros_like(param)
    optimizer = cls(params, engine="fused", **options)
    give(params, draw)
    optimizer.step()
    return params, optimizer, draw


def give(params, draw, scale=1.0):
    for param in params:
        param.grad.copy_(torch.randn(param.shape, generator=draw) * scale)


@pytest.mark.parametrize("cls", [mt.Muon, OWN, mt.adapt(Switching)], ids=name)
def test_a_recorded_step_goes_on_counting(gpu, cls):
    found = []
    for is_recorded in (False, True):
        params, optimizer, draw = begun(cls, capturable=True)
        graph = Graph()
        if is_recorded:
            before = arrays(optimizer, params)
            with graph:
                optimizer.step()
            assert_same(before, arrays(optimizer, params), **EXACT)
        for _ in range(4):
            give(params, draw)
            graph.replay() if is_recorded else optimizer.step()
        assert optimizer.t == 5
        give(params, draw)
        optimizer.step()  # and outside of the graph
        found.append(arrays(optimizer, params))
    assert_same(*found, **EXACT)


@pytest.mark.parametrize("cls", [mt.Muon, mt.adapt(Switching)], ids=name)
@pytest.mark.parametrize("options", [{"capturable": True}, {"on_nonfinite": "skip"}], ids=str)
def test_steps_that_a_gpu_counts_have_the_bits_of_the_host(monkeypatch, one_by_one, cls, options):
    found = []
    for is_there in (False, True):
        with pytest.MonkeyPatch.context() as patched:
            if is_there:
                pretend_counting(patched)
            params, optimizer, draw = begun(cls, **options)
            for number in range(4):
                give(params, draw, torch.inf if number in (0, 2) and "on_nonfinite" in options else 1.0)
                optimizer.step()
            assert (optimizer._held.host.counts.device is not None) is is_there
            assert (optimizer.t, optimizer.skipped) == ((3, 2) if "on_nonfinite" in options else (5, 0))
            found.append(arrays(optimizer, params))
    assert_same(*found, **EXACT)


def test_gradients_that_a_scaler_has_scaled_are_stepped_as_they_were(gpu):
    found = []
    for scale in (1.0, 8.0):
        params, optimizer, draw = begun(mt.Muon)
        for _ in range(2):
            give(params, draw, scale)
            if scale != 1.0:
                optimizer.found_inf, optimizer.grad_scale = torch.zeros(()), torch.tensor(scale)
            optimizer.step()
        found.append(arrays(optimizer, params))
        assert optimizer._step_supports_amp_scaling
    assert_same(*found, **EXACT)


def test_no_step_waits_for_the_gpu(gpu, monkeypatch):
    """Nothing asks for a number of a tensor."""
    params, optimizer, draw = begun(mt.adapt(Switching), on_nonfinite="skip")
    optimizer.step()
    asked = []
    with pytest.MonkeyPatch.context() as patched:
        for method in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "nonzero"):
            patched.setattr(torch.Tensor, method, lambda *args, method=method: asked.append(method))
        optimizer.step()
    assert not asked


def test_nothing_is_counted_or_written_where_memory_runs_out(gpu, monkeypatch):
    params, optimizer, _ = begun(mt.Muon, on_nonfinite="skip")
    before = arrays(optimizer, params)

    def none(*given, **more):
        raise torch.cuda.OutOfMemoryError("none is left")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch, "empty", none)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            optimizer.step()
    assert_same(before, arrays(optimizer, params), **EXACT)
    assert optimizer.t == 1
    optimizer.step()
    assert optimizer.t == 2
