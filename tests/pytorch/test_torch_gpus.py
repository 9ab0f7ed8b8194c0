"""Several GPUs in one process: each counts and steps its own parameters, and all leave out the same steps."""

import contextlib
import copy

import pytest
import torch
from gpus import pretend_gpus
from tensors import EXACT, ROUNDING, SETTINGS, arrays, assert_same, parameters
from test_torch_cuda import KINDS, name

from minima import torch as mt
from minima.torch import counting

DEVICES = ["cuda:0", "cuda:1"]
STEPS = 8


class Here:
    """Stands for GPUs where all is on the CPU, without any."""

    def __init__(self):
        self.waits = []

    def put(self, tensor, device):
        return tensor.clone()

    def leaf(self, tensor, device):
        return tensor.detach().clone().requires_grad_()


def compared(monkeypatch, run, engine="fused"):
    """What a run by an engine gives on the CPU, and on two GPUs."""
    found = []
    for gpus in (None, 2):
        with monkeypatch.context() as patched:
            gpus = gpus and pretend_gpus(patched, gpus)
            with gpus or contextlib.nullcontext():
                found.append(run(gpus or Here()))
                assert gpus is None or (min(gpus.launched) > 0) is (engine == "fused")
    return found


def same(pair):
    assert_same(pair[0][1], pair[1][1], **EXACT)
    assert pair[0][2] == pair[1][2]


def told(optimizer, params):
    """What is compared of an optimizer: its arrays, on the CPU, and its counts."""
    found = [{key: x.cpu() for key, x in each.items()} for each in arrays(optimizer, params)]
    return optimizer, found, (optimizer.t, optimizer.skipped, optimizer.steps)


WILD = {1: (1,), 2: (0,), 5: (0, 1), 6: (1,)}
"""In which steps on which GPUs gradients are not finite."""
IDLE = {3: 0, 4: 1, 6: 0}
"""In which steps on which GPUs no parameter has a gradient."""


def skipping(gpus, cls=mt.AdamW, hypers=None, dtype=torch.float32, **options):
    """Steps of which some are to be left out, of parameters on two GPUs, in two groups, with counts of their own."""
    params = [gpus.leaf(x, DEVICES[i % 2]) for i, x in enumerate(parameters(dtype)[:-1])]
    draw = torch.Generator().manual_seed(2)
    groups = [{"params": params[:3]}, {"params": params[3:], "lr": 0.02}]
    optimizer = cls(groups, engine="fused", on_nonfinite="skip", lr=0.1, **(hypers or {}), **options)
    for step in range(STEPS):
        for i, param in enumerate(params):
            grad = torch.randn(param.shape, generator=draw, dtype=torch.float64).to(dtype)
            is_idle = IDLE.get(step) == i % 2 or (step + i) % 7 == 0
            if i in (0, 1) and i in WILD.get(step, ()) and not is_idle:
                grad.view(-1)[-1] = (torch.inf, torch.nan)[step % 2]
            param.grad = None if is_idle else gpus.put(grad, DEVICES[i % 2])
        optimizer.step()
    assert optimizer.skipped == 3 and is_counting(optimizer) is (params[0].is_cuda)
    return told(optimizer, params)


def is_counting(optimizer):
    """Whether GPUs count, each the steps of its parameters."""
    counted = {param: kept["step"].device for param, kept in optimizer.state.items()}
    assert all(device.type == "cpu" or device == param.device for param, device in counted.items())
    return optimizer._held.host.counts.device is not None


@pytest.mark.parametrize("cls, hypers", [*SETTINGS[:3], *SETTINGS[-3:], (mt.NAdam, {})], ids=name)
def test_steps_are_counted_and_left_out_as_on_the_host(monkeypatch, cls, hypers):
    found = compared(monkeypatch, lambda gpus: skipping(gpus, cls, hypers))
    same(found)


@pytest.mark.parametrize("dtype, options", KINDS[1:], ids=name)
def test_steps_are_counted_and_left_out_in_every_kind(monkeypatch, dtype, options):
    same(compared(monkeypatch, lambda gpus: skipping(gpus, mt.AdamW, {"amsgrad": True}, dtype, **options)))


@pytest.fixture
def gpus(monkeypatch):
    with pretend_gpus(monkeypatch) as gpus:
        yield gpus


def ones(gpus, cls=mt.SGD, many=2, size=3, **hypers):
    """Parameters of ones, by turns on two GPUs, with such gradients, and their optimizer."""
    params = [gpus.leaf(torch.ones(size), DEVICES[i % 2]) for i in range(many)]
    for param in params:
        give(param, 1.0)
    return params, cls(params, **{"lr": 0.25, "engine": "fused", "on_nonfinite": "skip", **hypers})


def give(param, value):
    param.grad = None if value is None else torch.full_like(param, value)


@pytest.mark.parametrize("has_run", [False, True])
def test_until_they_have_been_run_several_gpus_count_only_where_they_are_asked_to(gpus, monkeypatch, has_run):
    monkeypatch.setattr(counting, "RUN_ON_SEVERAL", has_run)
    for engine, is_asked in ((None, False), ("fused", True)):
        params, optimizer = ones(gpus, engine=engine)
        optimizer.step()
        give(params[0], torch.nan)
        optimizer.step()
        assert is_counting(optimizer) is (has_run or is_asked)
        assert optimizer.skipped == 1 and all(param.tolist() == [0.75] * 3 for param in params)


NAN, INF = torch.nan, torch.inf


@pytest.mark.parametrize("wild", [(NAN, 1.0), (1.0, INF), (INF, NAN), (None, NAN), (INF, None)], ids=str)
def test_a_gradient_on_one_gpu_leaves_the_step_out_on_all(gpus, wild):
    (w, v), optimizer = ones(gpus)
    for values, moved in (((1.0, 1.0), 1), (wild, 1), ((1.0, 1.0), 2)):
        give(w, values[0]), give(v, values[1])
        optimizer.step()
        assert w.tolist() == v.tolist() == [1 - 0.25 * moved] * 3
    assert (optimizer.t, optimizer.skipped, optimizer.steps) == (2, 1, (2, 2)) and is_counting(optimizer)


def test_a_step_on_other_gpus_than_the_first_counts(gpus):
    (w, v), optimizer = ones(gpus, mt.Adam)
    optimizer.step()
    give(w, None)
    for value, counts in ((1.0, (2, 0)), (NAN, (2, 1)), (1.0, (3, 1))):
        give(v, value)
        optimizer.step()
        assert (optimizer.t, optimizer.skipped) == counts
    optimizer.on_nonfinite = "propagate"
    optimizer.capturable = False
    assert optimizer.steps == (1, 3) and is_counting(optimizer)


@pytest.mark.parametrize("loss", [1.0, NAN, torch.tensor(INF)], ids=str)
def test_a_loss_leaves_a_step_out_in_which_no_parameter_has_a_gradient(monkeypatch, loss):
    def run(gpus):
        params, optimizer = ones(gpus)
        optimizer.step(loss=1.0)
        for param in params:
            param.grad = None
        optimizer.step(loss=loss)
        optimizer.step(loss=loss)
        return told(optimizer, params)

    same(compared(monkeypatch, run))


@pytest.mark.parametrize("where", [*DEVICES, "cpu"])
def test_a_loss_is_looked_at_where_it_is(gpus, where):
    (w, v), optimizer = ones(gpus)
    for loss in (1.0, INF, NAN, -1.0):
        gpus.waits.clear()
        optimizer.step(loss=gpus.put(torch.tensor(loss), where))
    assert not gpus.waits
    assert w.tolist() == v.tolist() == [0.5] * 3 and optimizer.skipped == 2


def test_no_step_waits_for_a_gpu(gpus):
    params, optimizer = ones(gpus, mt.Adam, many=5)
    loss = gpus.put(torch.tensor(1.0), "cuda:1")
    for values in ([1.0] * 5, [None, 1.0] * 2 + [None], [1.0, None] * 2 + [1.0]):
        for step in range(3):
            for param, value in zip(params, values, strict=True):
                give(param, value)
            optimizer.step(loss=loss)
            if step:
                assert not gpus.waits
            gpus.waits.clear()
    assert optimizer.t == 9 and set(optimizer.steps) == {6}


def scaled(gpus, unscale, dtype=torch.float32, last=1):
    """Steps by a scaler, whose loss is on the last GPU; some overflow, on one of them alone."""
    params = [gpus.leaf(torch.linspace(-1, 1, 7 + i).to(dtype), DEVICES[i % 2]) for i in range(4)]
    optimizer = mt.AdamW(params, lr=0.1, engine="fused")
    scaler, draw = torch.amp.GradScaler("cpu", init_scale=2.0**10), torch.Generator().manual_seed(2)
    for step in range(6):
        scaler.scale(gpus.put(torch.ones(()), DEVICES[last]))
        scale = scaler.get_scale()
        for i, param in enumerate(params):
            grad = torch.randn(param.shape, generator=draw).to(dtype) * scale
            grad[2] *= INF if step in (1 + i % 2, 4) and i < 2 else 1.0
            param.grad = gpus.put(grad, DEVICES[i % 2])
        if unscale:
            scaler.unscale_(optimizer)
        gpus.waits.clear()
        scaler.step(optimizer)
        if step not in (0, 1):  # the first plans; what it has settled shows in the second
            assert not gpus.waits
        scaler.update()
    assert scaler.get_scale() == 2.0**7
    return told(optimizer, params)


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("unscale", [False, True])
def test_scaled_gradients_are_stepped_and_left_out_on_all_gpus(monkeypatch, unscale, last):
    found = compared(monkeypatch, lambda gpus: scaled(gpus, unscale, last=last))
    assert_same(found[0][1], found[1][1], **EXACT)
    (t, skipped, counts), theirs = found[0][2], found[1][2]
    assert (t, counts) == (theirs[0], theirs[2]) == (3, (3,) * 4)
    assert skipped == 0 and theirs[1] == 3  # the host is not asked to step
    assert is_counting(found[1][0])


def test_a_pipeline_trains_as_on_the_cpu(monkeypatch):
    def run(gpus):
        draw = torch.Generator().manual_seed(0)
        first, second = (gpus.leaf(torch.randn(4, 4, generator=draw), device) for device in DEVICES)
        optimizer = mt.AdamW([first, second], lr=0.1, engine="fused")
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
        inputs = gpus.put(torch.randn(8, 4, generator=draw), DEVICES[0])
        for step in range(6):
            scale = scaler.get_scale() if step else 4.0
            inside = torch.tanh(inputs @ first).to(second.device)
            loss = (inside @ second).square().sum() * (INF if step == 3 else 1.0)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            assert scaler.get_scale() == scale * {1: 2, 3: 0.5, 5: 2}.get(step, 1)
            optimizer.zero_grad()
        return told(optimizer, [first, second])

    found = compared(monkeypatch, run)
    assert_same(found[0][1], found[1][1], **EXACT)
    assert found[0][2][0] == found[1][2][0] == 5 and is_counting(found[1][0])


# Graphs, memory, streams ---------------------------------------------------------------------------------------------


def test_a_graph_records_one_gpu(gpus):
    rule = "SGD.step: capturable=True is for steps that a GPU takes alone: {}, and a graph records one GPU; leave cap"
    with pytest.raises(ValueError, match=rule.format("the parameters are on several GPUs")):
        ones(gpus, capturable=True)
    rate = gpus.put(torch.tensor(0.5), "cuda:1")
    with pytest.raises(ValueError, match=rule.format("lr is a tensor on cuda:1, the parameters are on cuda:0")):
        ones(gpus, many=1, capturable=True, lr=rate)
    (w,), optimizer = ones(gpus, many=1, capturable=True, lr=gpus.put(rate, "cuda:0"))
    optimizer.step()
    assert w.tolist() == [0.5] * 3


@pytest.mark.parametrize("options", [{}, {"on_nonfinite": "propagate"}], ids=["counted there", "counted here"])
def test_what_was_stepped_is_counted_where_another_gpu_fails(gpus, monkeypatch, options):
    (w, v), optimizer = ones(gpus, mt.Adam, **options)
    optimizer.step()
    assert is_counting(optimizer) is not bool(options)
    before, versions = (w.tolist(), v.tolist()), (w._version, v._version)
    kernel = optimizer._held.stepper._plan._batches[1].kernel
    with monkeypatch.context() as patched:  # all memory is taken before anything is stepped
        patched.setattr(kernel.launch._table, "send", out_of_memory)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            optimizer.step()
    assert (w.tolist(), v.tolist()) == before and (optimizer.t, optimizer.steps) == (1, (1, 1))
    kernel = optimizer._held.stepper._plan._batches[1].kernel
    with monkeypatch.context() as patched:
        patched.setattr(kernel, "run", out_of_memory)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            optimizer.step()
    assert w.tolist() < before[0] and v.tolist() == before[1]
    assert (w._version > versions[0], v._version > versions[1]) == (True, False)
    assert (optimizer.t, optimizer.steps) == (2, (2, 1))
    optimizer.step()
    assert (optimizer.t, optimizer.steps) == (3, (3, 2))


def out_of_memory(*args):
    raise torch.cuda.OutOfMemoryError("none is left")


def test_nothing_is_counted_where_a_verdict_finds_no_memory(gpus, monkeypatch):
    (w, v), optimizer = ones(gpus, mt.Adam)
    optimizer.step()
    before = w.tolist()
    with monkeypatch.context() as patched:
        patched.setattr("minima.torch.device_counts.brought", out_of_memory)
        with pytest.raises(torch.cuda.OutOfMemoryError):
            optimizer.step()
    assert w.tolist() == v.tolist() == before and (optimizer.t, optimizer.steps) == (1, (1, 1))


def test_tables_and_counts_are_marked_as_used_on_another_stream_of_their_gpu(gpus, monkeypatch):
    marked = []
    used = torch.Tensor.record_stream
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda x, stream: (used(x, stream), marked.append(x.data_ptr())))
    (w, v), optimizer = ones(gpus, mt.Adam)
    optimizer.step()
    assert not marked
    gpus.streams[1] = 2
    optimizer.step()
    steps = [optimizer.state[param]["step"].data_ptr() for param in (w, v)]
    assert steps[1] in marked and steps[0] not in marked


# What others do ------------------------------------------------------------------------------------------------------


def test_counts_follow_a_parameter_to_another_gpu(gpus):
    (w, v), optimizer = ones(gpus, mt.Adam)
    for step, device in enumerate(("cuda:1", "cuda:0", "cuda:1"), 1):
        optimizer.step()
        assert optimizer.steps == (step, step) and is_counting(optimizer)
        w.data = gpus.put(w.data, device)
        w.grad = gpus.put(torch.ones(3), device)
        for key in ("exp_avg", "exp_avg_sq"):
            optimizer.state[w][key] = gpus.put(optimizer.state[w][key], device)
    assert torch.equal(w.cpu(), v.cpu())


def test_the_host_counts_where_a_parameter_goes_to_the_cpu(gpus):
    (w, v), optimizer = ones(gpus, mt.SGD)
    optimizer.step()
    w.data = gpus.put(w.data, "cpu")
    w.grad = torch.ones(3)
    optimizer.step()
    assert optimizer.steps == (2, 2) and not is_counting(optimizer)
    assert torch.equal(w, v.cpu())


def test_counts_are_read_wherever_someone_has_put_them(gpus):
    (w, v), optimizer = ones(gpus, mt.Adam)
    optimizer.step()
    optimizer.state[v]["step"].data = torch.tensor(30.0)
    assert optimizer.steps == (1, 30)
    optimizer.step()
    assert optimizer.steps == (2, 31) and is_counting(optimizer)
    optimizer.state[w]["step"].data = gpus.put(torch.tensor(7, dtype=torch.int32), "cuda:1")
    optimizer.step()
    assert optimizer.steps == (8, 32) and is_counting(optimizer)
    optimizer.state[w]["step"].data = torch.tensor([1.0, 2.0])
    rule = r"Adam: the state of parameter 0 must have a whole number 'step' of at least 0; got tensor\(\[1., 2.\]\)"
    with pytest.raises(ValueError, match=rule):
        optimizer.steps  # noqa: B018


def test_a_checkpoint_goes_on_with_parameters_on_other_gpus(gpus):
    params, optimizer = ones(gpus, mt.Adam, many=4)
    for param in params[:3]:
        optimizer.step()
        give(param, None)
    kept = copy.deepcopy(optimizer.state_dict())
    assert optimizer.steps == (1, 2, 3, 3)
    others = [
        [gpus.leaf(x.cpu(), y) for x, y in zip(params, places, strict=True)]
        for places in (DEVICES[::-1] * 2, ["cuda:0"] * 4, ["cpu"] * 4)
    ]
    for each in others:
        other = mt.Adam(each, lr=1.0)
        other.load_state_dict(kept)
        for param in (*params, *each):
            give(param, 0.5)
        assert other.steps == (1, 2, 3, 3) and other.t == 3
        other.engine, other.on_nonfinite = "fused", "skip"
        other.step()
    optimizer.step()
    assert optimizer.steps == (2, 3, 4, 4)
    for each in others:
        for mine, its in zip(params, each, strict=True):
            assert torch.equal(mine.cpu(), its.cpu())


@pytest.mark.parametrize("engine", ["fused", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_hyperparameters_that_are_tensors_may_be_on_another_gpu(monkeypatch, engine, dtype):
    def run(gpus):
        rate, decay = (gpus.put(torch.tensor(x, dtype=dtype), y) for x, y in ((0.25, "cuda:1"), (0.125, "cuda:0")))
        options = {"weight_decay": decay, "engine": engine}
        params, optimizer = ones(gpus, mt.AdamW, many=4, **options)
        optimizer.add_param_group({"params": [gpus.leaf(torch.ones(2), "cuda:1")], "lr": rate})
        params.append(optimizer.param_groups[1]["params"][0])
        for _ in range(3):
            give(params[-1], 1.0)
            gpus.waits.clear()
            optimizer.step()
            rate.fill_(0.5)
        assert engine == "torch" or not gpus.waits
        return told(optimizer, params)

    ours, theirs = compared(monkeypatch, run, engine)
    assert_same(ours[1], theirs[1], **(EXACT if engine == "fused" else ROUNDING))
    assert ours[2] == theirs[2]


@pytest.mark.parametrize("engine", ["fused", "torch"])
@pytest.mark.parametrize("cls, hypers", [(mt.AdamW, {"max_norm": 0.5}), (mt.LAMB, {"max_norm": 0.5}), (mt.Prodigy, {})],
                         ids=name)  # fmt: skip
def test_totals_are_those_of_all_gpus(monkeypatch, engine, cls, hypers):
    def run(gpus):
        draw = torch.Generator().manual_seed(0)
        params = [gpus.leaf(torch.randn(4 + i, 3, generator=draw), DEVICES[i % 2]) for i in range(11)]
        optimizer = cls(params, engine=engine, **hypers)
        for _ in range(3):
            for param in params:
                param.grad = gpus.put(torch.randn(param.shape, generator=draw), param.device)
            gpus.waits.clear()
            optimizer.step()
        assert cls is mt.Prodigy or not gpus.waits
        optimizer.step(measure=engine == "fused")
        return (*told(optimizer, params), optimizer.measures)

    ours, theirs = compared(monkeypatch, run, engine)
    assert_same(ours[1], theirs[1], **ROUNDING)
    assert ours[2] == theirs[2] and repr(ours[3]) == repr(theirs[3])


def test_the_host_counts_where_several_gpus_compute_what_all_parameters_share(gpus):
    for cls, options, there in ((mt.Prodigy, {}, False), (mt.DoG, {}, False), (mt.AdamW, {"max_norm": 1.0}, True)):
        params, optimizer = ones(gpus, cls, **options)
        optimizer.step()
        assert is_counting(optimizer) is there and optimizer.t == 1
    (w, v), optimizer = ones(gpus, mt.PolyakSGD)
    for loss in (gpus.put(torch.tensor(3.0), "cuda:1"), NAN, 3.0):
        optimizer.step(loss=loss)
    assert not is_counting(optimizer) and (optimizer.t, optimizer.skipped) == (2, 1)
