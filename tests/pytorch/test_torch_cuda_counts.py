"""Steps that a GPU counts: they have the host's bits, CUDA graphs can record them, and they leave themselves out."""

import copy
import gc
import pickle
import re
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from interpreted import Graph, Interpreted, pretend_counting
from tensors import EXACT, SETTINGS, arrays, assert_same, parameters, steps
from test_torch_cuda import FEW_SIZES, KINDS, Largest, name, of_several_batches, shared_of

from minima import torch as mt
from minima.optim.schedules import cosine
from minima.torch import capture, choice, counting, dialect, fused, grid, lbfgs
from minima.torch.device_counts import Mode


def compared(monkeypatch, run):
    """What a run gives on the CPU, and on a GPU that counts."""
    found = []
    for is_there in (False, True):
        with monkeypatch.context() as patched:
            if is_there:
                pretend_counting(patched)
            before = Interpreted.launched
            found.append(run())
            assert (Interpreted.launched > before) is is_there
    return found


def of_all_shapes(cls, hypers, dtype, options):
    """Steps of parameters of all shapes and layouts, in two groups, some without gradients: each has its own count."""
    params = parameters(dtype)
    room = torch.zeros(90, dtype=dtype)
    params += [room[i : i + 21].detach().requires_grad_() for i in (1, 32)]  # from odd addresses
    groups = [{"params": params[::2]}, {"params": params[1::2], "lr": 0.02}]
    optimizer = cls(groups, capturable=True, **hypers, **options)
    steps(optimizer, params, 3)
    optimizer.param_groups[0]["lr"] = 0.3
    steps(optimizer, params, 2, seed=5)
    assert optimizer.t == 5
    return optimizer, params


def same(pair):
    assert_same(*(arrays(optimizer, params) for optimizer, params in pair), **EXACT)
    assert pair[0][0].steps == pair[1][0].steps


@pytest.mark.parametrize("cls, hypers", SETTINGS, ids=name)
def test_every_rule_has_the_bits_of_the_host(monkeypatch, cls, hypers):
    same(compared(monkeypatch, lambda: of_all_shapes(cls, {"lr": 0.1, **hypers}, torch.float32, {})))


@pytest.mark.parametrize("dtype, options", KINDS, ids=name)
def test_every_kind_has_the_bits_of_the_host(monkeypatch, dtype, options):
    same(compared(monkeypatch, lambda: of_all_shapes(mt.AdamW, {"lr": 0.1, "amsgrad": True}, dtype, options)))


def test_random_numbers_are_those_of_the_host(monkeypatch):
    same(compared(monkeypatch, lambda: of_all_shapes(mt.AdamW, {"lr": 0.1, "seed": 7}, torch.bfloat16, {})))


PASSES = [
    (mt.LAMB, {}),
    (mt.StableAdamW, {"cautious": True}),
    (mt.NAdam, {}),
    (mt.AdamW, {"max_norm": 0.5, "ema_decay": 0.9}),
    (mt.adapt(Largest), {}),
]


@pytest.mark.parametrize("cls, hypers", PASSES, ids=name)
def test_passes_have_the_bits_of_the_host(monkeypatch, cls, hypers):
    def run():
        draw = torch.Generator().manual_seed(1)
        params = [torch.randn(size, generator=draw).requires_grad_() for size in FEW_SIZES]
        optimizer = cls(params, engine="fused", capturable=True, **hypers)
        for number in range(3):
            for param in params:
                param.grad = torch.randn(param.shape, generator=draw)
            optimizer.step(measure=number == 2)
        return optimizer, params

    found = compared(monkeypatch, run)
    same(found)
    assert repr(dict(found[0][0].measures).values()) == repr(dict(found[1][0].measures).values())


WHOLE = [
    (mt.Prodigy, {"d0": 1e-2}),
    (mt.Prodigy, {"d0": 1e-2, "bias_correction": True, "safeguard_warmup": True, "weight_decay": 0.1}),
    (mt.DoG, {}),
    (mt.DoWG, {}),
    (mt.DAdaptSGD, {"d0": 1e-2}),
    (mt.DAdaptAdam, {"d0": 1e-2}),
    (mt.PolyakSGD, {}),
    (mt.MoMo, {}),
    (mt.MoMo, {"weight_decay": 0.1, "maximize": True, "bound": -3.0}),
    (mt.MoMoAdam, {}),
    (mt.AdamW, {"max_norm": 0.5}),
]
"""Rules with something that there is one of for all parameters."""


@pytest.mark.parametrize(
    "cls, hypers, options",
    [
        *((*each, {"capturable": True}) for each in WHOLE[::2]),
        *((*each, {"on_nonfinite": "skip"}) for each in WHOLE[1::4]),
        *((*each, {}) for each in WHOLE[6:8]),  # the others are counted by the host
    ],
    ids=name,
)
def test_what_all_parameters_share_has_the_bits_of_the_host(monkeypatch, cls, hypers, options):
    def run():
        draw = torch.Generator().manual_seed(1)
        params = of_several_batches(draw)
        optimizer = cls([{"params": params[:2]}, {"params": params[2:]}], engine="fused", **hypers, **options)
        for number in range(6):
            for param in params:
                param.grad = torch.randn(param.shape, generator=draw, dtype=torch.float64).to(param.dtype)
            if number == 2:
                params[3].grad = None  # the plan is another one
            loss = torch.tensor(float(torch.rand((), generator=draw)), dtype=(torch.float32, torch.float64)[number % 2])
            if options and "on_nonfinite" in options and number == 3:
                params[1].grad[0, 0] = torch.nan
            if options and "on_nonfinite" in options and number == 4:
                loss = torch.tensor(torch.inf)
            optimizer.step(loss=loss, measure=number == 5)
        assert optimizer.skipped == 2 * ("on_nonfinite" in options)
        return optimizer, params

    found = compared(monkeypatch, run)
    same(found)
    assert shared_of(found[0][0]) == shared_of(found[1][0])
    assert repr(dict(found[0][0].measures).values()) == repr(dict(found[1][0].measures).values())


# Graphs --------------------------------------------------------------------------------------------------------------


def begun(cls, dtype=torch.float32, **hypers):
    """Parameters, with gradients that stay where they are, and an optimizer that has taken a step."""
    params = parameters(dtype)[:-1]  # the last has gaps, and PyTorch copies it, which no graph here records
    optimizer = cls(params, capturable=True, **hypers)
    for param in params:
        param.grad = torch.zeros_like(param)
    draw = torch.Generator().manual_seed(3)
    give(params, draw)
    optimizer.step()
    return params, optimizer, draw


def give(params, draw):
    for param in params:
        param.grad.copy_(torch.randn(param.shape, generator=draw, dtype=torch.float64))


GRAPHS = [*SETTINGS, (mt.NAdam, {}), (mt.RAdam, {}), (mt.Adamax, {}), (mt.LAMB, {"engine": "fused"})]


@pytest.mark.parametrize("cls, hypers", GRAPHS, ids=name)
def test_a_recorded_step_goes_on_counting(monkeypatch, cls, hypers):
    found = []
    for is_recorded in (False, True):
        with monkeypatch.context() as patched:
            pretend_counting(patched)
            params, optimizer, draw = begun(cls, **{"lr": 0.1, **hypers})
            graph = Graph()
            if is_recorded:
                before = arrays(optimizer, params)
                with graph:
                    optimizer.step()
                assert_same(before, arrays(optimizer, params), **EXACT)
            for _ in range(6):
                give(params, draw)
                graph.replay() if is_recorded else optimizer.step()
            assert optimizer.t == 7 and set(optimizer.steps) == {7}
            give(params, draw)
            optimizer.step()  # and outside of the graph
            found.append((optimizer, params))
            found_there = {x["step"].item() for x in optimizer.state.values()}
            assert found_there == {8}
    same(found)


@pytest.mark.parametrize("cls, hypers", WHOLE[1::2], ids=name)
def test_a_recorded_step_goes_on_with_what_all_parameters_share(monkeypatch, cls, hypers):
    found = []
    for is_recorded in (False, True):
        with monkeypatch.context() as patched:
            pretend_counting(patched)
            draw = torch.Generator().manual_seed(1)
            params, loss = of_several_batches(draw), torch.tensor(0.7)
            optimizer = cls(params, engine="fused", capturable=True, **hypers)
            for param in params:
                param.grad = torch.zeros_like(param)
            give(params, draw)
            optimizer.step(loss=loss)
            graph = Graph()
            if is_recorded:
                before = arrays(optimizer, params), shared_of(optimizer)
                with graph:
                    optimizer.step(loss=loss)
                assert_same(before[0], arrays(optimizer, params), **EXACT)
                assert before[1] == shared_of(optimizer)
            for number in range(4):
                give(params, draw)
                loss.fill_(1.0 / (1 + number))
                graph.replay() if is_recorded else optimizer.step(loss=loss)
            give(params, draw)
            optimizer.step(loss=loss)  # and outside of the graph
            found.append((optimizer, params))
    same(found)
    assert shared_of(found[0][0]) == shared_of(found[1][0])


@pytest.fixture
def gpu(monkeypatch):
    """The GPU is there for the whole test, and tensors of hyperparameters are on it."""
    pretend_counting(monkeypatch)
    monkeypatch.setattr(dialect, "_number", lambda value: value)
    return monkeypatch


def ones(cls=mt.SGD, many=1, **hypers):
    """Parameters of ones with such gradients, and an optimizer that can be captured."""
    params = [torch.ones(3, requires_grad=True) for _ in range(many)]
    for param in params:
        param.grad = torch.ones(3)
    return params, cls(params, **{"lr": 0.25, "capturable": True, **hypers})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_a_rate_that_is_a_tensor_is_read_where_it_is(gpu, dtype):
    rate = torch.tensor(0.25, dtype=dtype)
    (w,), optimizer = ones(lr=rate)
    optimizer.step()
    rate.fill_(0.5)
    optimizer.step()
    assert w.tolist() == [0.25] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_replay_reads_a_rate_that_is_a_tensor_and_has_kept_one_that_is_none(gpu, dtype):
    rate = torch.tensor(0.25, dtype=dtype)
    (w, other), optimizer = ones(many=2, lr=rate)
    optimizer.add_param_group({"params": [v := torch.ones(3, requires_grad=True)], "lr": 0.5})
    v.grad = torch.ones(3)
    optimizer.step()
    with Graph() as graph:
        optimizer.step()
    rate.fill_(1.0)
    optimizer.param_groups[1]["lr"] = 9.0
    graph.replay()
    assert w.tolist() == other.tolist() == [-0.25] * 3 and v.tolist() == [0.0] * 3
    optimizer.step()
    assert w.tolist() == [-1.25] * 3 and v.tolist() == [-9.0] * 3


def test_a_step_is_recorded_with_gradients_at_new_addresses(gpu):
    (w,), optimizer = ones()
    optimizer.step()
    w.grad = inside = torch.ones(3)
    with Graph() as graph:
        optimizer.step()
    w.grad = torch.full((3,), 9.0)
    optimizer.step()  # with others, in between
    inside.fill_(2.0)
    graph.replay()
    assert w.tolist() == [0.75 - 0.25 * 9 - 0.5] * 3


def test_two_graphs_of_one_optimizer_do_not_disturb_each_other(gpu):
    (w, v), optimizer = ones(many=2, cls=mt.Adam, lr=0.1)
    other = ones(many=2, cls=mt.Adam, lr=0.1)[0]
    plain = torch.optim.Adam(other, lr=0.1)
    graphs = []
    optimizer.step(), plain.step()
    for grads in ((w.grad, None), (w.grad, v.grad)):
        w.grad, v.grad = grads
        optimizer.step()
        for x, y in zip(other, grads, strict=True):
            x.grad = y
        plain.step()
        with Graph() as graph:
            optimizer.step()
        graphs.append((graph, grads))
    for which in (0, 1, 1, 0, 1):
        graph, grads = graphs[which]
        graph.replay()
        for x, y in zip(other, grads, strict=True):
            x.grad = y
        plain.step()
    assert optimizer.steps == (8, 5) and optimizer.t == 8
    for mine, theirs in zip((w, v), other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-6, atol=2e-7)


def test_what_a_graph_uses_is_kept_as_long_as_the_parameter(gpu):
    (w,), optimizer = ones(mt.Adam)
    optimizer.step()
    with Graph() as graph:
        optimizer.step()
    average, step = map(weakref.ref, (optimizer.state[w]["exp_avg"], optimizer._held.host.counts.device.tensors[0]))
    del optimizer
    gc.collect()
    expected = step().item() + 1
    graph.replay()
    assert step().item() == expected
    del w, graph
    gc.collect()
    assert average() is None and step() is None


def test_counts_are_marked_as_used_on_another_stream(monkeypatch):
    streams = pretend_counting(monkeypatch)
    marked = []
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda tensor, stream: marked.append((tensor.data_ptr(), stream))
    )
    (w,), optimizer = ones()
    optimizer.step()
    assert not marked
    for streams.current in (2, 2, 1, 3):
        optimizer.step()
    counts = optimizer._held.host.counts.device
    for tensor in [*counts.on(torch.device("cpu")), optimizer.state[w]["step"]]:
        assert [stream for address, stream in marked if address == tensor.data_ptr()] == [2, 3]


def test_an_optimizer_that_is_deleted_leaves_nothing_behind(monkeypatch):
    """But for what graphs use: memory on its way is PyTorch's to keep."""
    pretend_counting(monkeypatch)
    (w,), optimizer = ones(mt.Adam, on_nonfinite="skip", capturable=False)
    optimizer.step()
    known = [weakref.ref(x) for x in (optimizer, optimizer._held, optimizer._held.host.counts.device)]
    known += [weakref.ref(x) for x in optimizer.state[w].values()]
    del optimizer
    assert not any(reference() for reference in known)


def test_a_step_that_may_be_left_out_leaves_no_gradient_behind(gpu):
    (w,), optimizer = ones(on_nonfinite="skip", capturable=False)
    for _ in range(2):
        w.grad = torch.ones(3)
        optimizer.step()
        grad, w.grad = weakref.ref(w.grad), None
        assert grad() is None


def test_a_gradient_without_memory_is_refused_where_a_step_may_be_left_out(gpu):
    (w,), optimizer = ones(on_nonfinite="skip", capturable=False)
    w.grad.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="gradient of parameter 0 must have memory; its storage was freed"):
        optimizer.step()
    assert optimizer.t == optimizer.skipped == 0 and w.tolist() == [1.0] * 3


def test_nothing_is_counted_where_memory_runs_out(gpu):
    for cls, hypers in ((mt.Adam, {}), (mt.AdamW, {"max_norm": 1.0, "engine": "fused"})):
        (w,), optimizer = ones(cls, **hypers)
        optimizer.step()
        before = w.tolist()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(torch, "empty", out_of_memory)
            patched.setattr(torch, "full", out_of_memory)
            with pytest.raises(torch.cuda.OutOfMemoryError):
                optimizer.step()
        assert w.tolist() == before and optimizer.steps == (1,) and optimizer.t == 1
        optimizer.step()
        assert optimizer.steps == (2,) and optimizer.t == 2


def out_of_memory(*args, **kwargs):
    raise torch.cuda.OutOfMemoryError("none is left")


# What cannot be recorded ---------------------------------------------------------------------------------------------


def refused(optimizer, message, error=RuntimeError, **options):
    before, t = [w.clone() for w in optimizer.param_groups[0]["params"]], optimizer.t
    with pytest.raises(error, match=message), Graph():
        optimizer.step(**options)
    assert all(map(torch.equal, before, optimizer.param_groups[0]["params"])) and optimizer.t == t


NEW = (
    "SGD.step: a step that a CUDA graph records must be like one that was taken before; take some outside of the graph"
)


def test_a_step_that_is_new_is_not_recorded(gpu):
    (w, v), optimizer = ones(many=2)
    refused(optimizer, NEW)
    optimizer.step()
    v.grad = None
    refused(optimizer, NEW)
    v.grad = torch.ones(3)
    optimizer.state[w] = dict(optimizer.state[w])
    refused(optimizer, NEW)
    optimizer.step()
    optimizer.add_param_group({"params": [torch.ones(1, requires_grad=True)]})
    refused(optimizer, NEW)
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    refused(optimizer, NEW)
    optimizer.step()
    with Graph() as graph:
        optimizer.step()
    assert graph.launches


def test_a_step_is_not_recorded_unless_all_groups_ask_for_it(gpu):
    (w,), optimizer = ones(mt.Adam, capturable=False)
    optimizer.step()
    sentence = "Adam.step: a step cannot be captured into a CUDA graph, .*; make the optimizer with capturable=True$"
    refused(optimizer, sentence)
    v = torch.ones(3, requires_grad=True)
    optimizer.add_param_group({"params": [v], "capturable": True})
    optimizer.step()
    refused(optimizer, sentence)
    optimizer.param_groups[0]["capturable"] = True
    optimizer.step()
    with Graph():
        optimizer.step()


def test_measures_are_not_recorded(gpu):
    (w,), optimizer = ones(engine="fused")
    optimizer.step(measure=True)
    refused(optimizer, "SGD.step: measures cannot be captured into a CUDA graph", measure=True)


def test_an_estimate_is_not_recorded(gpu):
    (w,), optimizer = ones(mt.SophiaG, lr=0.1)
    optimizer.update_estimate()
    optimizer.step()
    assert optimizer.t == 1 and optimizer.steps == (1,)
    with pytest.raises(RuntimeError, match="SophiaG.update_estimate: .*; call it outside of the graph"), Graph():
        optimizer.update_estimate()


def halved(t):
    return 0.5**t


def test_functions_of_the_step_do_not_go_with_capturable(gpu):
    rule = "SGD.step: capturable=True is for steps that a GPU takes alone: lr is a function of the step"
    with pytest.raises(ValueError, match=rule):
        ones(lr=halved)
    (w,), optimizer = ones()
    optimizer.step()
    optimizer.param_groups[0]["lr"] = halved
    refused(optimizer, rule, ValueError)
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    with pytest.raises(ValueError, match=rule):
        (w,), optimizer = ones(lr=halved, capturable=False)
        optimizer.capturable = True


def test_what_waits_for_the_gpu_does_not_go_with_capturable(gpu):
    rule = "SGD.step: on_nonfinite 'raise' waits for the GPU in each step, and does not go with capturable=True"
    with pytest.raises(ValueError, match=rule):
        ones(on_nonfinite="raise")
    _, optimizer = ones()
    with pytest.raises(ValueError, match=rule):
        optimizer.on_nonfinite = "raise"
    assert optimizer.on_nonfinite == "propagate"
    optimizer.step()


def test_parameters_must_be_on_one_gpu(gpu):
    gpu.setattr(counting, "is_there", lambda tensor: tensor.numel() != 2)
    rule = "SGD.step: capturable=True is for steps that a GPU takes alone: not all parameters are on an NVIDIA GPU"
    with pytest.raises(ValueError, match=rule):
        mt.SGD([torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)], capturable=True)
    mt.SGD([torch.ones(2, requires_grad=True)], capturable=True)  # on the CPU there is nothing to record


@pytest.mark.parametrize("cls", [mt.SGD, mt.Adam, mt.Lion], ids=name)
def test_capturable_is_true_or_false(cls):
    w = torch.ones(2, requires_grad=True)
    with pytest.raises(TypeError, match=f"{cls.__name__}: capturable must be True or False; got 'yes'"):
        cls([w], capturable="yes")
    optimizer = cls([w], capturable=True)
    assert optimizer.capturable is True
    optimizer.capturable = False
    assert optimizer.capturable is False
    assert ("capturable" in optimizer.param_groups[0]) is (cls is mt.Adam)  # as in PyTorch


# Steps that are left out ---------------------------------------------------------------------------------------------


WILD = (0, 3, 4)
"""The steps whose gradients are not finite."""


def skipping(cls, hypers, dtype=torch.float32):
    """Steps of which some are to be left out, of parameters with counts of their own."""
    params, draw = parameters(dtype), torch.Generator().manual_seed(2)
    optimizer = cls(params, on_nonfinite="skip", **hypers)
    for number in range(7):
        for i, param in enumerate(params):
            grad = torch.randn(param.shape, generator=draw, dtype=torch.float64).to(dtype)
            param.grad = grad if (number + i) % 5 else None
        if number in WILD:
            last = next(param for param in params[::-1] if param.grad is not None and param.numel())
            last.grad.view(-1)[-1] = (torch.inf, torch.nan)[number % 2]
        before = [param.grad.clone() for param in params if param.grad is not None]
        optimizer.step()
        assert_same([{"": x.grad} for x in params if x.grad is not None], [{"": x} for x in before], **EXACT)
    assert optimizer.skipped == 3 and optimizer.t == 4
    return optimizer, params


@pytest.mark.parametrize("cls, hypers", [*SETTINGS[:3], *SETTINGS[-3:], (mt.NAdam, {"engine": "fused"})], ids=name)
def test_a_step_is_left_out_as_on_the_host(monkeypatch, cls, hypers):
    same(compared(monkeypatch, lambda: skipping(cls, hypers)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.complex64], ids=str)
def test_a_step_is_left_out_in_every_kind(monkeypatch, dtype):
    same(compared(monkeypatch, lambda: skipping(mt.AdamW, {}, dtype)))


def test_steps_of_several_passes_are_left_out_as_on_the_host(monkeypatch):
    same(compared(monkeypatch, lambda: skipping(mt.AdamW, {"max_norm": 0.5, "engine": "fused"})))


def test_a_loss_that_is_not_finite_leaves_a_step_out(gpu):
    (w,), optimizer = ones(on_nonfinite="skip")
    for loss in (1.0, float("nan"), torch.tensor(float("inf")), torch.tensor(2.0)):
        optimizer.step(loss=loss)
    assert w.tolist() == [0.5] * 3 and optimizer.skipped == 2 and optimizer.t == 2
    with pytest.raises(TypeError, match="SGD.step: loss must be a number, or a tensor of one; got 'much'"):
        optimizer.step(loss="much")


def test_large_gradients_are_finite(gpu):
    (w,), optimizer = ones(on_nonfinite="skip", lr=1e-308)
    w.data, w.grad = w.double(), torch.full((3,), 1e308, dtype=torch.float64)
    optimizer.step()
    assert w.tolist() == pytest.approx([0.0] * 3, abs=1e-15) and optimizer.skipped == 0


def test_no_step_waits_for_the_gpu(gpu):
    """Nothing asks for a number of a tensor, which PyTorch's own checks of this do not see on the CPU."""
    (w, v), optimizer = ones(cls=mt.Adam, many=2, on_nonfinite="skip", lr=0.1)
    loss = torch.tensor(1.0)
    optimizer.step(loss=loss)
    asked = watched(gpu)
    for number in range(3):
        w.grad, v.grad = torch.ones(3), None if number else torch.ones(3)
        optimizer.step(loss=loss)
    w.grad = None
    optimizer.step()
    gpu.undo()
    assert not asked


def watched(gpu):
    """What is asked of tensors from now on that would wait for a GPU."""
    asked = []
    for method in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "nonzero"):
        gpu.setattr(torch.Tensor, method, lambda *args, method=method: asked.append(method))
    return asked


@pytest.mark.parametrize("options", [{}, {"on_nonfinite": "skip"}], ids=str)
@pytest.mark.parametrize("cls", [mt.Prodigy, mt.MoMo, mt.PolyakSGD], ids=name)
def test_no_step_waits_for_what_all_parameters_share(gpu, cls, options):
    gpu.setattr(fused, "Launch", lambda *what, threads, products: grid.GridLaunch(*what, torch.device("cpu")))
    gpu.setattr(fused.Fused, "on_device", True)
    (w, v), optimizer = ones(cls, many=2, engine="fused", capturable=False, **{"lr": 0.1, **options})
    loss = torch.tensor(1.0)
    optimizer.step(loss=loss)
    before, asked = w.tolist(), watched(gpu)
    for _ in range(3):
        optimizer.step(loss=loss)
    gpu.undo()
    assert not asked and w.tolist() != before


def test_what_all_parameters_share_goes_to_a_checkpoint_and_back(gpu):
    (w, v), optimizer = ones(mt.Prodigy, many=2, d0=0.01, engine="fused")
    optimizer.step(), optimizer.step()
    assert optimizer.state[v]["d"] is optimizer.state[w]["d"]
    params, other = ones(mt.Prodigy, many=2, d0=0.01, engine="reference", capturable=False)
    other.load_state_dict(optimizer.state_dict())
    whole = copy.deepcopy(optimizer)
    assert shared_of(other) == shared_of(whole) == shared_of(optimizer)
    for mine, theirs in zip((w, v), params, strict=True):
        theirs.data = mine.detach().clone()
    for each in (optimizer, other):
        each.state[each.param_groups[0]["params"][0]]["d"].fill_(0.05)  # which all of them show
        each.step(), each.step()
    assert torch.equal(w, params[0]) and torch.equal(v, params[1]) and shared_of(other) == shared_of(optimizer)
    optimizer.state[w]["d"] = torch.tensor(1.0)
    with pytest.raises(ValueError, match="Prodigy.step: the state 'd' must be the same for all parameters"):
        optimizer.step()
    assert optimizer.t == 4


def test_what_all_parameters_share_is_read_though_others_have_narrowed_it(gpu):
    found = []
    for is_narrow in (False, True):
        (w,), optimizer = ones(mt.Prodigy, lr=1.0)
        optimizer.step()
        own = optimizer.state[w]["d"]
        own.data = torch.tensor(0.5, dtype=torch.float32 if is_narrow else torch.float64)
        optimizer.step()
        found.append((w.tolist(), float(optimizer.state[w]["d"])))
    assert found[0] == found[1]


def test_a_loss_is_recorded_where_it_is(gpu):
    (w,), optimizer = ones(mt.PolyakSGD, engine="fused")
    optimizer.step(loss=torch.tensor(3.0))
    message = "PolyakSGD.step: a loss in a CUDA graph must be a tensor of one number on cpu"
    for loss in (3.0, torch.tensor([3.0, 4.0]), torch.tensor(3j), "3"):
        refused(optimizer, message, TypeError, loss=loss)
    refused(optimizer, "PolyakSGD.step: needs the loss of this step", TypeError)
    for loss in (torch.tensor([3.0, 4.0]), torch.tensor(3j), "3"):
        with pytest.raises(TypeError, match="PolyakSGD.step: loss must be a number, or a tensor of one"):
            optimizer.step(loss=loss)
    assert optimizer.t == 1


def test_an_estimate_is_no_step(monkeypatch):
    def run():
        (w,), optimizer = ones(mt.SophiaG, lr=0.1, on_nonfinite="skip")
        optimizer.found_inf, optimizer.grad_scale = torch.zeros(()), torch.tensor(2.0)
        if optimizer.engines["cpu"] and not counting.is_there(w):  # the host knows no scales
            del optimizer.found_inf, optimizer.grad_scale
            w.grad = w.grad / 2
        for _ in range(3):
            optimizer.step()
            grad, w.grad = w.grad, torch.full((3,), 3.0)
            optimizer.update_estimate()
            w.grad = grad
        assert optimizer.t == 3 and optimizer.steps == (3,)
        return optimizer, [w]

    same(compared(monkeypatch, run))


def test_gradients_that_come_and_go_take_no_memory_of_the_host_anew(gpu):
    (w, v), optimizer = ones(mt.Adam, many=2, on_nonfinite="skip", capturable=False, engine="fused")
    pinned = []
    gpu.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor.clone())
    for number in range(8):
        v.grad = torch.ones(3) if number % 2 == 0 else None
        w.grad = torch.full((3,), torch.nan if number in (3, 6) else 1.0)
        optimizer.step()
        if number == 3:
            pinned.clear()
    assert not pinned and optimizer.skipped == 2 and optimizer.steps == (6, 3)


def test_a_gradient_that_is_spread_over_less_memory_is_looked_at(gpu):
    (w,), optimizer = ones(on_nonfinite="skip", capturable=False, engine="fused")
    for value in (1.0, torch.nan):
        w.grad = torch.full((1,), value).expand(3)
        optimizer.step()
    assert optimizer.skipped == 1 and w.tolist() == [0.75] * 3


def test_what_others_do_to_counts_and_state_is_noticed(gpu):
    (w, v), optimizer = ones(mt.Adam, many=2)
    optimizer.step()
    optimizer.state[w]["step"].fill_(6.0)  # it is on the GPU, and the GPU goes on from it
    optimizer.state[v] = dict(optimizer.state[v])
    optimizer.step()
    assert optimizer.steps == (7, 2) and optimizer.state[w]["step"] == 7
    optimizer.set_steps(3, v)
    optimizer.t = 10
    optimizer.step()
    assert optimizer.steps == (8, 4) and optimizer.t == 11
    optimizer.state[v]["step"] = torch.tensor(20.0)
    optimizer.state[w]["step"].data = torch.tensor(30.0, dtype=torch.float64)
    optimizer.step()
    assert optimizer.steps == (31, 21)
    optimizer.skipped = 4
    optimizer.state[w].clear()
    optimizer.step()
    assert optimizer.steps == (1, 22) and optimizer.skipped == 4
    optimizer.state[v]["step"].fill_(0.5)
    with pytest.raises(
        ValueError, match="Adam: the state of parameter 1 must have a whole number 'step' of at least 0; g"
    ):
        optimizer.steps  # noqa: B018
    optimizer.state[v]["step"].fill_(5.0)
    optimizer.step()
    assert optimizer.steps == (2, 6) and optimizer._held.host.counts.device is not None


def test_state_goes_to_a_checkpoint_and_back(gpu):
    (w, v), optimizer = ones(mt.Adam, many=2, on_nonfinite="skip")
    for _ in range(3):
        optimizer.step()
    v.grad = None
    optimizer.step()
    kept = optimizer.state_dict()
    assert [kept["state"][i]["step"].item() for i in range(2)] == [4, 3]
    params, other = ones(mt.Adam, many=2)
    other.load_state_dict(kept)
    assert other.steps == (4, 3) and other.t == 4
    whole = pickle.loads(pickle.dumps(optimizer))
    again = copy.deepcopy(optimizer)
    for each in (whole, again):
        assert each.steps == (4, 3) and each.t == 4 and each.param_groups[0]["capturable"] is True
    for mine, theirs in zip((w, v), params, strict=True):
        theirs.data = mine.detach().clone()
        theirs.grad = mine.grad = torch.full((3,), 0.5)
    optimizer.step(), other.step()
    assert torch.equal(w, params[0]) and torch.equal(v, params[1])
    plain = torch.optim.Adam(params, capturable=True)
    plain.load_state_dict(optimizer.state_dict())
    assert plain.state[params[0]]["step"] == 5


def test_a_portable_state_dict_has_what_the_gpu_has_counted(monkeypatch):
    def run():
        (w, v), optimizer = ones(mt.Adam, many=2, on_nonfinite="skip", capturable=False)
        for value in (1.0, torch.nan, 1.0):
            w.grad = torch.full((3,), value)
            optimizer.step()
        w.grad = None
        optimizer.step()
        found = mt.portable_state_dict(optimizer)
        mt.load_portable_state_dict(optimizer, found)
        assert (optimizer.t, optimizer.skipped, optimizer.steps) == (3, 1, (2, 3))
        return [found[name] for name in ("t", "skipped", "steps")]

    ours, theirs = compared(monkeypatch, run)
    assert ours == theirs and ours[:2] == [3, 1]


def test_a_checkpoint_of_schedules_sets_the_count_of_an_optimizer_whose_gpu_counts(monkeypatch):
    def run():
        params, other = ones(many=1, capturable=False, lr=cosine(0.1, steps=100))
        for _ in range(10):
            other.step()
        (w,), optimizer = ones(on_nonfinite="skip", capturable=False)
        optimizer.step()
        w.grad = torch.full((3,), torch.inf)
        optimizer.step()
        optimizer.load_state_dict(other.state_dict())
        assert (optimizer.t, optimizer.skipped, optimizer.steps) == (10, 1, (10,))
        return optimizer, [w]

    same(compared(monkeypatch, run))


@pytest.mark.parametrize("cls", [mt.ASGD, mt.ScheduleFreeAdamW], ids=name)
def test_what_is_lent_after_a_step_that_was_left_out_is_what_there_was(gpu, cls):
    (w,), optimizer = ones(cls, engine="fused", on_nonfinite="skip")
    w.grad = torch.full((3,), torch.nan)
    optimizer.step()
    with optimizer.averaged():
        assert w.tolist() == [1.0] * 3
    optimizer.eval()
    assert w.tolist() == [1.0] * 3 and optimizer.skipped == 1


def test_who_counts_follows_the_engine(gpu):
    (w,), optimizer = ones(on_nonfinite="skip", capturable=False)
    for engine, there in ((None, True), ("torch", False), ("fused", True), ("reference", False)):
        optimizer.engine = engine
        optimizer.step()
        assert (optimizer._held.host.counts.device is not None) is there
    (w,), optimizer = ones(mt.SophiaG, on_nonfinite="skip", capturable=False)
    optimizer.step()
    optimizer.engine = "torch"
    optimizer.update_estimate()
    assert optimizer.steps == (1,) and optimizer._held.host.counts.device is None


def test_a_step_without_gradients_counts(gpu):
    (w,), optimizer = ones()
    w.grad = None
    optimizer.step()
    w.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.t == 2 and optimizer.steps == (1,)
    empty = torch.ones(0, requires_grad=True)
    optimizer, empty.grad = mt.SGD([empty], capturable=True), torch.ones(0)
    optimizer.step()
    assert optimizer.t == 1 and optimizer.steps == (1,)


def test_measures_of_a_step_that_was_left_out_are_those_of_before(gpu):
    (w,), optimizer = ones(on_nonfinite="skip", engine="fused")
    optimizer.step(measure=True)
    before = optimizer.measures
    w.grad = torch.full((3,), torch.inf)
    optimizer.step(measure=True)
    assert optimizer.measures is before and optimizer.skipped == 1
    w.grad = torch.ones(3)
    optimizer.step(measure=True)
    assert optimizer.measures is not before


def test_a_function_of_the_step_lets_the_host_count(gpu):
    (w,), optimizer = ones(on_nonfinite="skip", capturable=False)
    optimizer.step()
    assert optimizer._held.host.counts.device is not None
    optimizer.param_groups[0]["lr"] = lambda t: 0.25 * t
    for value in (1.0, torch.inf, 1.0):
        w.grad = torch.full((3,), value)
        optimizer.step()
    assert optimizer._held.host.counts.device is None
    assert w.tolist() == [0.75 - 0.25 - 0.5] * 3 and (optimizer.t, optimizer.skipped) == (3, 1)
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    assert optimizer._held.host.counts.device is not None and optimizer.steps == (4,)


def test_a_recorded_step_leaves_itself_out(gpu):
    """By what a scaler says."""
    (w,), optimizer = ones(mt.Adam, lr=0.1)
    found, scale = torch.zeros(1), torch.tensor(4.0)
    optimizer.found_inf, optimizer.grad_scale = found, scale
    w.grad.mul_(4.0)
    optimizer.step()
    with Graph() as graph:
        optimizer.step()
    for value in (0.0, 1.0, 1.0, 0.0):
        found.fill_(value)
        graph.replay()
    scale.fill_(8.0), w.grad.mul_(2.0)
    found.fill_(0.0), graph.replay()
    (other,), plain = ones(mt.Adam, lr=0.1, capturable=False)
    plain.engine = "reference"
    for _ in range(4):
        plain.step()
    assert torch.equal(w, other) and optimizer.steps == (4,) and (optimizer.t, optimizer.skipped) == (4, 2)


def test_a_recorded_step_looks_at_gradients_as_no_step_before_it_did(gpu):
    (w,), optimizer = ones(on_nonfinite="skip", capturable=False)
    optimizer.step()
    optimizer.capturable = True
    optimizer.step()
    with Graph() as graph:
        optimizer.step()
    for value in (torch.nan, 1.0, torch.inf):
        w.grad.fill_(value)
        graph.replay()
    assert w.tolist() == [0.25] * 3 and optimizer.skipped == 2


# Loss scaling --------------------------------------------------------------------------------------------------------


def scaled(cls, hypers, unscale=False, scale=2.0**10, dtype=torch.float32):
    """Steps by a scaler, some of which overflow, of parameters with counts of their own."""
    params, draw = parameters(dtype)[:-1], torch.Generator().manual_seed(2)
    optimizer, scaler = cls(params, **hypers), torch.amp.GradScaler("cpu", init_scale=scale)
    for number in range(7):
        weights = [torch.randn(x.shape, generator=draw, dtype=torch.float64).to(dtype) for x in params]
        used = [i for i in range(len(params)) if (number + i) % 5]
        loss = sum((params[i] * weights[i]).sum() for i in used)
        scaler.scale(loss * (torch.inf if number in WILD else 1.0)).backward()
        if unscale:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(params, 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert optimizer.t == 4 and scaler.get_scale() == scale / 8
    return optimizer, params


@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("cls, hypers", [*SETTINGS[:2], *SETTINGS[-3:], (mt.Rprop, {}), (mt.Adan, {})], ids=name)
def test_scaled_gradients_are_stepped_as_on_the_host(monkeypatch, cls, hypers, unscale):
    found = compared(monkeypatch, lambda: scaled(cls, hypers, unscale))
    same(found)
    assert found[1][0].skipped == 3


def test_a_scale_that_is_no_power_of_two(monkeypatch):
    same(compared(monkeypatch, lambda: scaled(mt.AdamW, {}, scale=1000.0)))


def test_scaled_gradients_in_float16_are_not_rounded_again(gpu):
    (w,), optimizer = ones(lr=2.0**14)
    w.data, w.grad = torch.zeros(3).half(), torch.full((3,), 2.0**-24).half()
    optimizer.found_inf, optimizer.grad_scale = torch.zeros(()), torch.tensor(2.0**4)
    optimizer.step()
    assert w.tolist() == [-(2.0**-14)] * 3


def test_gradients_are_clipped_and_measured_as_they_are_unscaled(gpu):
    (w,), optimizer = ones(max_norm=1.0, engine="fused")
    w.grad = torch.tensor([0.0, 80.0, 0.0])
    optimizer.found_inf, optimizer.grad_scale = torch.zeros(()), torch.tensor(8.0)
    optimizer.step(measure=True)
    assert w.tolist() == [1.0, 0.75, 1.0] and w.grad.tolist() == [0.0, 80.0, 0.0]
    assert optimizer.measures.total.grad == 10.0


def test_who_takes_scaled_gradients_says_so(gpu):
    assert ones(capturable=False)[1]._step_supports_amp_scaling
    assert not ones(capturable=False, lr=halved)[1]._step_supports_amp_scaling
    assert not ones(capturable=False, engine="torch")[1]._step_supports_amp_scaling
    assert mt.MoMo([torch.ones(3, requires_grad=True)], engine="fused")._step_supports_amp_scaling
    (w,), optimizer = ones(capturable=False)
    gpu.setattr(counting, "is_there", lambda tensor: False)
    assert not ones(capturable=False)[1]._step_supports_amp_scaling
    optimizer.found_inf, optimizer.grad_scale = torch.zeros(()), torch.tensor(8.0)
    with pytest.raises(RuntimeError, match="SGD.step: gradients that are scaled cannot be stepped: not all parameters"):
        optimizer.step()
    assert w.tolist() == [1.0] * 3 and optimizer.t == 0


@pytest.mark.parametrize("loop", [mt.Lookahead, mt.SAM], ids=name)
def test_a_loop_lets_the_host_count(gpu, loop):
    (w,), inside = ones(on_nonfinite="skip", capturable=False)
    inside.step()
    assert inside._held.host.counts.device is not None
    optimizer = loop(inside, **({"k": 2, "alpha": 0.5} if loop is mt.Lookahead else {"rho": 0.0}))

    def closure():
        w.grad = torch.ones(3)
        return torch.tensor(1.0)

    for _ in range(2):
        optimizer.step(closure)
    assert inside._held.host.counts.device is None and inside.steps == (3,) and inside.t == 3
    assert w.tolist() == [0.375 if loop is mt.Lookahead else 0.25] * 3
    assert not optimizer._step_supports_amp_scaling
    inside.capturable = False
    with pytest.raises(ValueError, match="SGD.step: capturable=True is .*: a loop around the optimizer looks at its c"):
        inside.capturable = True


def test_a_solver_is_not_recorded(monkeypatch):
    there, here = SimpleNamespace(is_cuda=True), SimpleNamespace(is_cuda=False)
    capture.refuse_solver("LBFGS.step", [there])
    monkeypatch.setattr(capture, "is_capturing", lambda: True)
    capture.refuse_solver("LBFGS.step", [here])
    with pytest.raises(RuntimeError, match="^LBFGS.step: a step cannot be captured into a CUDA graph, as how far it"):
        capture.refuse_solver("LBFGS.step", [here, there])
    optimizer = mt.LBFGS([torch.ones(2, requires_grad=True)])
    monkeypatch.setattr(lbfgs, "refuse_solver", lambda who, params: pytest.fail(who))
    with pytest.raises(pytest.fail.Exception, match="LBFGS.step"):
        optimizer.step(lambda: 1.0)


# Which rules can -----------------------------------------------------------------------------------------------------


def test_the_page_says_which_rules_a_graph_can_record(monkeypatch):
    found = {}
    monkeypatch.setattr(choice, "_obstacle", lambda device: "")
    monkeypatch.setattr(choice, "_order_obstacle", lambda param, wish: "")  # there is no memory
    for called in mt.__all__:
        cls = getattr(mt, called)
        if isinstance(cls, type) and issubclass(cls, mt.Optimizer) and cls is not mt.Optimizer:
            found.setdefault(how(cls), set()).add(called)
    page = (Path(__file__).parents[2] / "docs" / "gpu.md").read_text()
    rows = dict(re.findall(r"^\| (yes|no)[:,] .* \| (.*) \|$", page, re.M))
    assert {row: set(re.findall(r"\w+", names)) for row, names in rows.items()} == found


def how(cls):
    """Whether a graph can record a rule, on a GPU."""
    held = cls([torch.ones(4, 4, requires_grad=True)])._held
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(counting, "is_there", lambda tensor: True)
        patched.setattr(type(held.host), "choice", on_gpu)
        return "no" if counting.obstacle(held, Mode(is_capturable=True)) else "yes"


def on_gpu(host, slot, program):
    tensor = SimpleNamespace(device=torch.device("cuda", 0), is_complex=lambda: False)
    return choice.choose(program.name, "parameter 0", tensor, choice.Wish(None, None, program, has_tensors=False))
