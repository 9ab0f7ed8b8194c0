"""Steps that a GPU counts: they have the bits of the host's, can be recorded by a CUDA graph, and leave themselves out."""

import gc
import weakref

import pytest
import torch
from interpreted import Graph, Interpreted, pretend_counting
from tensors import EXACT, SETTINGS, arrays, assert_same, parameters, steps
from test_torch_cuda import FEW_SIZES, KINDS, Largest, name

from minima import torch as mt
from minima.torch import counting, dialect


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


# What cannot be recorded ---------------------------------------------------------------------------------------------


def refused(optimizer, message, error=RuntimeError, **options):
    before, t = [w.clone() for w in optimizer.param_groups[0]["params"]], optimizer.t
    with pytest.raises(error, match=message), Graph():
        optimizer.step(**options)
    assert all(map(torch.equal, before, optimizer.param_groups[0]["params"])) and optimizer.t == t


NEW = "SGD.step: a step that a CUDA graph records must be like one that was taken before; take some outside of the graph"


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
