"""The fused engine on NVIDIA GPUs, without one: its launches on the memory of CPU tensors, and who gets it."""

import ast
import contextlib
import copy
import ctypes
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from interpreted import Event, Interpreted, pretend
from tensors import EXACT, SETTINGS, Lion, Odd, arrays, assert_same, own, parameters, steps, told

from minima import optim
from minima import torch as mt
from minima.optim import hyper, minimum, sqrt
from minima.optim.core.variants import Variants
from minima.optim.engines.cuda import driver, words
from minima.optim.engines.passes import products
from minima.optim.engines.reductions import CHUNK
from minima.optim.language.vocabulary import PerColumn, PerRow, max, mean
from minima.torch import choice, grid, holdings
from minima.torch.choice import Wish, choose
from minima.torch.tables import Noter, Sender
from minima.torch.totals import Total

CPU = torch.device("cpu")


class Largest(optim.Optimizer):
    """SM3: largest values of rows and columns, which begin anew in every step; and their mean."""

    lr: float = hyper(1e-2, low=0)

    @staticmethod
    def update(param, grad, rows: PerRow, columns: PerColumn, *, lr):
        size = minimum(rows, columns) + grad**2 + 1e-3 * mean(rows)
        return param - lr * grad / (sqrt(size) + 1e-8), max(size, axis=1), max(size, axis=0)


# Launches ------------------------------------------------------------------------------------------------------------


KINDS = [
    (torch.float32, {}),
    (torch.float64, {}),
    (torch.complex64, {}),
    (torch.bfloat16, {}),
    (torch.bfloat16, {"rounding": "nearest", "state_dtype": "float32"}),
    (torch.bfloat16, {"rounding": "master"}),
    (torch.float16, {"rounding": "stochastic"}),
    (torch.float32, {"state_dtype": "bfloat16"}),
    (torch.float64, {"state_dtype": "bfloat16"}),
    (torch.float32, {"state_dtype": "int8"}),
    (torch.bfloat16, {"state_dtype": "int8"}),
]


def name(value):
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize("cls, hypers", SETTINGS, ids=name)
@pytest.mark.parametrize("dtype, options", KINDS[:1], ids=name)
def test_every_rule_has_the_bits_of_the_cpu(on_grid, cls, hypers, dtype, options):
    compare(on_grid, cls, {"lr": 0.1, **hypers}, dtype, options)


@pytest.mark.parametrize("dtype, options", KINDS, ids=name)
def test_every_kind_has_the_bits_of_the_cpu(on_grid, dtype, options):
    compare(on_grid, mt.AdamW, {"lr": 0.1, "amsgrad": True}, dtype, options)


def compare(on_grid, cls, hypers, dtype, options):
    """Steps of parameters of all shapes and layouts, in two groups, some without gradients."""
    found = []
    for context in (on_grid, contextlib.nullcontext):
        params = parameters(dtype)
        room = torch.zeros(90, dtype=dtype)
        params += [room[i : i + 21].detach().requires_grad_() for i in (1, 32)]  # from odd addresses
        groups = [{"params": params[::2]}, {"params": params[1::2], "lr": 0.02}]
        with context():
            optimizer = cls(groups, engine="fused", **hypers, **options)
            steps(optimizer, params, 3)
            optimizer.param_groups[0]["lr"] = 0.3
            steps(optimizer, params, 2, seed=5)
        found.append(arrays(optimizer, params[::2] + params[1::2]))
    assert_same(*found, **EXACT)


@pytest.mark.parametrize("dtype, options", KINDS[1:], ids=name)
def test_passes_have_the_bits_of_the_cpu_in_every_kind(on_grid, dtype, options):
    compare_passes(on_grid, mt.LAMB, {"max_norm": 0.5}, dtype, options)


def of_several_batches(draw):
    """Parameters that take several kernels: of two dtypes, which alternate, one of them without elements."""
    sizes = (3, (7, 9), 5, (2, 4100), 0, 1)
    kinds = (torch.float32, torch.float64, torch.float32, torch.float32, torch.float64, torch.float64)
    return [
        torch.randn(size, generator=draw, dtype=torch.float64).to(kind).requires_grad_()
        for size, kind in zip(sizes, kinds, strict=True)
    ]


def shared_of(optimizer):
    """The state that all parameters share."""
    kept = next(iter(optimizer.state.values()))
    return {name: float(kept[name]) for name in optimizer.rule.rule.shared}


@pytest.mark.parametrize(
    "cls, hypers", [(mt.Prodigy, {"d0": 1e-2}), (mt.DoG, {}), (mt.MoMo, {}), (mt.AdamW, {"max_norm": 0.5})], ids=name
)
def test_what_all_parameters_share_has_the_bits_of_the_cpu(on_grid, cls, hypers):
    found = []
    for context in (on_grid, contextlib.nullcontext):
        draw = torch.Generator().manual_seed(1)
        params = of_several_batches(draw)
        with context():
            optimizer = cls([{"params": params[:2]}, {"params": params[2:]}], engine="fused", **hypers)
            for number in range(5):
                for param in params:
                    param.grad = torch.randn(param.shape, generator=draw, dtype=torch.float64).to(param.dtype)
                params[3].grad = None if number == 2 else params[3].grad
                optimizer.step(loss=0.5 + number)
        found.append((arrays(optimizer, params), shared_of(optimizer)))
    assert_same(found[0][0], found[1][0], **EXACT)
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("seed", range(3))
def test_totals_over_several_batches_are_added_in_the_order_of_parameters(on_grid, seed):
    found = []
    for context in (on_grid, contextlib.nullcontext):
        draw = torch.Generator().manual_seed(seed)
        kinds = [torch.float64 if i % 3 else torch.float32 for i in range(60)]
        params = [torch.randn(7, generator=draw).to(kind).requires_grad_() for kind in kinds]
        for param in params:
            param.grad = torch.randn(7, generator=draw, dtype=torch.float64).to(param.dtype)
        with context():
            mt.SGD(params, lr=0.1, max_norm=0.5, engine="fused").step()
        found.append([{"": param} for param in params])
    assert_same(*found, **EXACT)


def test_a_total_of_many_parameters_has_room_for_the_sums_of_their_chunks(monkeypatch):
    pretend(monkeypatch)
    many, given = 2 * CHUNK + 1, []
    adding = (lambda *how: given.extend(how[-1])), 1
    total = Total([(SimpleNamespace(device=CPU, column=lambda _: range(many), adding=adding), 0, range(many))])
    total.add()
    _, room, count, result = given
    assert count == many and room + 8 * 3 <= result == total.result.data_ptr()


FEW_SIZES = (3, (70, 9), (2, 4100))

FAULTS = {
    "nobody waits": (r"bar\.sync\s+0;", "", mt.adapt(Largest)),
    "one exchange twice": (r", 1, 31, -1", ", 2, 31, -1", mt.LAMB),
    "every thread is the first": (r"setp\.ne\.b32 (.*), 0;", r"setp.ne.b32 \1, 99;", mt.LAMB),
}
"""Faults to put into all kernels of a rule."""


def test_passes_have_the_bits_of_the_cpu_whichever_warp_comes_first(on_grid, monkeypatch):
    monkeypatch.setattr(Interpreted, "apart", min)
    for cls in (mt.LAMB, mt.Adafactor, mt.CAME, mt.adapt(Largest)):
        compare_passes(on_grid, cls, {}, torch.float32, {}, FEW_SIZES)


@pytest.mark.parametrize("pattern, fault, cls", FAULTS.values(), ids=FAULTS)
def test_the_interpreter_sees_a_fault_in_passes(on_grid, pattern, fault, cls, monkeypatch):
    monkeypatch.setattr(Interpreted, "apart", min)
    monkeypatch.setattr(Interpreted, "fault", (pattern, fault))
    monkeypatch.setattr(Interpreted, "faults", 0)
    with pytest.raises(AssertionError):
        compare_passes(on_grid, cls, {}, torch.float32, {}, FEW_SIZES)
    assert Interpreted.faults


def compare_passes(on_grid, cls, hypers, dtype, options, sizes=((), 31, 4097, (0, 3), (70, 9), (2, 4100), (4200, 1))):
    found = []
    for context in (on_grid, contextlib.nullcontext):
        draw = torch.Generator().manual_seed(1)
        params = [torch.randn(size, generator=draw).to(dtype).requires_grad_() for size in sizes]
        with context():
            optimizer = cls([{"params": params[::2]}, {"params": params[1::2]}], engine="fused", **hypers, **options)
            for number in range(3):
                for param in params:
                    param.grad = torch.randn(param.shape, generator=draw).to(dtype)
                optimizer.step(measure=number == 2, **told(optimizer))
        found.append((arrays(optimizer, params[::2] + params[1::2]), dict(optimizer.measures)))
    assert_same(found[0][0], found[1][0], **EXACT)
    assert repr(found[0][1]) == repr(found[1][1])  # of NaN too


def test_tables_are_marked_as_used_on_another_stream(on_grid):
    param = torch.ones(3, requires_grad=True)
    optimizer = mt.SGD([param], lr=0.25, engine="fused")
    with on_grid() as streams:
        for streams.current, recorded in ((1, []), (2, [2]), (1, [2])):
            param.grad = torch.ones(3)
            optimizer.step()
            assert streams.recorded == recorded
    assert param.tolist() == [0.25] * 3


def test_what_kernels_are_given_in_every_step_is_marked_as_used_on_another_stream(on_grid, monkeypatch):
    given, marked, launch = {1: set(), 2: set()}, set(), Interpreted.__call__
    params = [torch.ones(size, requires_grad=True) for size in (3, 5000)]
    optimizer = mt.LAMB(params, lr=0.1, engine="fused")
    with on_grid() as streams:
        monkeypatch.setattr(
            Interpreted, "__call__", lambda self, *how: given[streams.current].update(how[-1]) or launch(self, *how)
        )
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: marked.add(tensor.data_ptr()))
        for streams.current in given:
            for param in params:
                param.grad = torch.ones_like(param)
            optimizer.step()
    stays = {word for word in given[1] & given[2] if word > 2**20}  # the others are numbers
    assert len(stays) > 3 and stays <= marked


@pytest.mark.parametrize("count, waited", [(64, 0), (64 + 1, 1), (64 + 3 * 32, 3)])
def test_the_host_runs_some_tens_of_steps_ahead_and_no_further(on_grid, monkeypatch, count, waited):
    param = torch.ones(1, requires_grad=True)
    optimizer = mt.SGD([param], lr=0.25, engine="fused")
    param.grad = torch.ones(1)
    with on_grid():
        optimizer.step()
        monkeypatch.setattr(Interpreted, "__call__", lambda *launch: None)
        for _ in range(count - 1):
            optimizer.step()
    assert Event.waited == waited and Event.most <= 2


class Passing:
    """An event that knows which copies are in front of it; ``passed`` are those that someone has waited for."""

    copied, passed = 0, 0

    def record(self):
        self._copies = Passing.copied

    def synchronize(self):
        Passing.passed = self._copies


def test_pinned_memory_is_not_written_to_before_it_has_been_read(monkeypatch):
    pretend(monkeypatch)
    monkeypatch.setattr(torch.cuda, "Event", Passing)
    monkeypatch.setattr(Passing, "copied", 0)
    monkeypatch.setattr(Passing, "passed", 0)
    copy_, read = torch.Tensor.copy_, {}

    def copied(there, here, **how):
        assert Passing.passed >= read.get(here.data_ptr(), 0)
        Passing.copied += 1
        read[here.data_ptr()] = Passing.copied
        return copy_(there, here, **how)

    monkeypatch.setattr(torch.Tensor, "copy_", copied)
    sender = Sender(CPU)
    for number in range(200):
        assert sender.send(1, np.array([number])).tolist() == [number]
    assert Passing.copied == 200 > len(read)


def test_each_stream_has_a_table_of_its_own_and_each_size_too(monkeypatch):
    pretend(monkeypatch)
    sender = Sender(CPU)
    with torch.inference_mode():
        first = sender.send(1, np.arange(3))
    second = sender.send(2, np.arange(3, 6))
    assert (first.tolist(), second.tolist()) == ([0, 1, 2], [3, 4, 5])
    assert sender.send(1, np.arange(6, 9)) is first and first.tolist() == [6, 7, 8]
    large = np.arange(2**18)
    assert torch.equal(sender.send(1, large), torch.from_numpy(large))
    assert len(sender.send(1, large, room=2**19)) == 2**19
    assert sender.send(1, np.arange(3)).tolist() == [0, 1, 2]


def test_a_long_table_goes_over_in_several_launches(monkeypatch):
    pretend(monkeypatch)
    for many, room in ((1003, 0), (1003, 2000)):
        there = Noter(CPU).send(1, np.arange(many), room)
        assert there[:many].tolist() == [*range(many)] and many <= len(there) >= room


def test_gradients_that_are_not_finite_are_seen(on_grid):
    param = torch.ones(3, requires_grad=True)
    optimizer = mt.SGD([param], lr=0.25, engine="fused", on_nonfinite="skip")
    with on_grid():
        for value in (1.0, float("inf")):
            param.grad = torch.full((3,), value)
            optimizer.step()
    assert param.tolist() == [0.75] * 3 and optimizer.skipped == 1 and optimizer.t == 1


def test_a_scalar_beyond_the_precision_is_infinite(on_grid):
    param = torch.ones(3, requires_grad=True)
    with on_grid():
        optimizer = mt.SGD([param], lr=1e300, engine="fused")
        param.grad = torch.ones(3)
        optimizer.step()
    assert param.tolist() == [-float("inf")] * 3


def test_nothing_is_launched_where_there_is_no_element(on_grid):
    w, empty = torch.ones(3, requires_grad=True), torch.ones(0, 2, requires_grad=True)
    with on_grid():
        optimizer = mt.Adam([w, empty], engine="fused")
        w.grad, empty.grad = torch.ones(3), torch.ones(0, 2)
        optimizer.step()
        launched = Interpreted.launched
        w.grad = None
        optimizer.step()
        assert Interpreted.launched == launched
    assert optimizer.state[empty]["step"] == 2 and optimizer.state[w]["step"] == 1


# The driver ----------------------------------------------------------------------------------------------------------


class Refusing:
    """A driver that takes no kernel, or no launch."""

    def __init__(self, loading, launching, waiting=0, is_capturing=0):
        self.is_capturing = is_capturing
        self.cuStreamSynchronize = lambda stream: waiting
        self.cuModuleLoadDataEx = lambda module, text, many, options, values: loading
        self.cuModuleGetFunction = lambda function, module, name: 0
        self.cuLaunchKernel = lambda *arguments: launching

    def cuStreamIsCapturing(self, stream, status):
        ctypes.cast(status, ctypes.POINTER(ctypes.c_int))[0] = self.is_capturing
        return 0

    def cuGetErrorString(self, result, place):
        said = ctypes.cast(place, ctypes.POINTER(ctypes.c_char_p))
        said[0] = b"not today"


@pytest.mark.parametrize("loading, launching", [(218, 0), (0, 700)])
def test_what_the_driver_refuses_is_said_in_one_sentence(monkeypatch, loading, launching):
    monkeypatch.setattr(driver, "_driver", lambda: Refusing(loading, launching))
    monkeypatch.setattr(driver, "_loaded", driver._loaded._make)
    rule = f"^minima_SGD: NVIDIA's driver did not take the kernel, by error {loading or launching}; got 'not today'"
    with pytest.raises(RuntimeError, match=rule):
        driver.Launcher("", "minima_SGD", 6, 0)(1, 128, 0, range(6))


@pytest.mark.parametrize("switch", ["", "0", "1"])
def test_a_launch_waits_and_says_whose_kernel_went_wrong_where_a_switch_is_set(monkeypatch, switch):
    monkeypatch.setattr(driver, "_driver", lambda: Refusing(0, 0, 700))
    monkeypatch.setattr(driver, "_loaded", lambda text, name, device: ctypes.c_void_p())
    monkeypatch.setenv("MINIMA_LAUNCH_BLOCKING", switch)
    launcher = driver.Launcher("", "minima_SGD", 6, 0)
    if switch != "1":
        launcher(1, 128, 0, range(6))
        return
    with pytest.raises(RuntimeError, match="^minima_SGD: NVIDIA's driver stopped the kernel, by error 700"):
        launcher(1, 128, 0, range(6))


def test_a_launch_that_a_graph_records_does_not_wait(monkeypatch):
    monkeypatch.setattr(driver, "_driver", lambda: Refusing(0, 0, 700, is_capturing=1))
    monkeypatch.setattr(driver, "_loaded", lambda text, name, device: ctypes.c_void_p())
    monkeypatch.setenv("MINIMA_LAUNCH_BLOCKING", "1")
    driver.Launcher("", "minima_SGD", 6, 0)(1, 128, 0, range(6))


# Who gets it ---------------------------------------------------------------------------------------------------------

GPU = SimpleNamespace(device=torch.device("cuda", 1), is_complex=lambda: False)
PLAIN, ROUGH, LAMB = (Variants(rule.rule, rule._declaration).all_programs()[-1] for rule in (Lion, Odd, optim.LAMB))
ROWS = attrgetter("by_rows")
ADAFACTOR, MUON, SOAP = (
    next(program for program in Variants(rule.rule, rule._declaration).all_programs() if has(program))
    for rule, has in (
        (optim.Adafactor, lambda program: program.by_rows),
        (optim.Muon, products),
        (optim.SOAP, products),
    )
)
FEW = "compiled code, in as few passes over memory as can be"
HIP = "compiled code is for NVIDIA GPUs, and this is ROCm"
FAST = "compiled code, in one pass over memory"


def wish(program=PLAIN, engine=None, state_dtype=None, has_tensors=False, measured=False):
    return Wish(engine, state_dtype, program.measured() if measured else program, has_tensors)


@pytest.mark.parametrize(
    "obstacle, asked, engine, reason",
    [
        ("", wish(), "fused", FAST),
        ("", wish(engine="fused"), "fused", FAST),
        ("", wish(engine="torch"), "torch", "as asked"),
        ("", wish(state_dtype="int8"), "fused", FAST),
        ("", wish(ROUGH), "fused", FAST),
        ("", wish(measured=True), "fused", FEW),
        ("", wish(has_tensors=True), "torch", "a hyperparameter is a tensor on a device, which compiled code would"),
        ("", wish(engine="fused", has_tensors=True), "fused", FAST),
        (HIP, wish(), "torch", HIP),
        ("", wish(LAMB), "fused", FEW),
        ("", wish(LAMB, "fused"), "fused", FEW),
        ("", wish(MUON), "fused", FEW),
        ("", wish(MUON, measured=True), "fused", FEW),
        ("", wish(SOAP), "torch", "it keeps matrices of rows by rows"),
    ],
)
def test_a_gpu_gets_the_fused_engine_where_it_can_have_it(monkeypatch, obstacle, asked, engine, reason):
    monkeypatch.setattr(choice, "_obstacle", lambda device: obstacle)
    monkeypatch.setattr(choice, "_order_obstacle", lambda param, wish: "")  # there is no memory
    found = choose("Lion", "parameter 0", GPU, asked)
    assert found.engine == engine and found.reason.startswith(reason)


@pytest.mark.parametrize(
    "obstacle, asked, message",
    [
        (
            HIP,
            wish(engine="fused"),
            f"^Lion: engine 'fused' cannot step parameter 0 on cuda:1: {HIP}; leave engine out$",
        ),
        ("", wish(engine="reference"), "^Lion: engine 'reference' is for the CPU; parameter 0 is on cuda:1"),
        (
            "",
            wish(SOAP, "fused"),
            "^Lion: engine 'fused' cannot step parameter 0 on cuda:1: it keeps matrices of rows by rows",
        ),
        (
            "",
            wish(ADAFACTOR, "fused", "int8"),
            "^Lion: engine 'fused' cannot step parameter 0 on cuda:1: it tells rows and columns apart",
        ),
        (
            "",
            wish(SOAP, state_dtype="int8"),
            "^Lion: state_dtype 'int8' is for the fused .*; got 'it keeps matrices of rows by rows",
        ),
    ],
)
def test_what_a_gpu_cannot_have_is_refused_in_one_sentence(monkeypatch, obstacle, asked, message):
    monkeypatch.setattr(choice, "_obstacle", lambda device: obstacle)
    monkeypatch.setattr(choice, "_order_obstacle", lambda param, wish: "")  # there is no memory
    with pytest.raises(ValueError, match=message):
        choose("Lion", "parameter 0", GPU, asked)


def test_what_cannot_be_printed_for_a_gpu_is_named(monkeypatch):
    monkeypatch.setattr(choice, "_obstacle", lambda device: "")
    monkeypatch.setattr(words, "PRINTED", words.PRINTED - {"pow"})
    lack = "Odd uses pow, which compiled code for GPUs does not have"
    found = choose("Lion", "parameter 0", GPU, wish(ROUGH))
    assert found.engine == "torch" and found.reason.startswith(lack)
    with pytest.raises(ValueError, match=f"^Lion: engine 'fused' cannot step parameter 0 on cuda:1: {lack}"):
        choose("Lion", "parameter 0", GPU, wish(ROUGH, "fused"))
    with pytest.raises(ValueError, match="^Lion: state_dtype 'int8' is for the fused .* gets 'torch'; got 'Odd"):
        choose("Lion", "parameter 0", GPU, wish(ROUGH, None, "int8"))


@pytest.mark.parametrize(
    "hip, available, capability, obstacle",
    [
        ("6.4", True, (9, 0), HIP),
        (None, False, (9, 0), "NVIDIA's driver is not there"),
        (None, True, (6, 1), "compiled code is for GPUs from Volta on, and this has compute capability 6.1"),
        (None, True, (7, 0), ""),
    ],
)
def test_kernels_need_an_nvidia_gpu_from_volta_on(monkeypatch, hip, available, capability, obstacle):
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(driver, "driver_is_there", lambda: True)
    assert choice._obstacle.__wrapped__(torch.device("cuda", 0)) == obstacle


def test_an_optimizer_says_what_steps_what():
    w, meta = torch.ones(2, requires_grad=True), torch.ones(2, device="meta", requires_grad=True)
    optimizer = mt.SGD([w, meta])
    assert optimizer.engines == {"cpu": f"fused: {FAST}", "meta": "torch: compiled code is for the CPU and NVIDIA GPUs"}
    optimizer.engine = "torch"
    assert optimizer.engines == dict.fromkeys(["cpu", "meta"], "torch: as asked")
    with pytest.raises(AttributeError):
        optimizer.engines = {}


def test_a_step_is_not_captured_into_a_graph(monkeypatch):
    w = torch.ones(2, requires_grad=True)
    optimizer = mt.SGD([w], lr=0.5)
    w.grad = torch.ones(2)
    optimizer.step()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    mt.SGD([w], lr=0.0).step()  # on the CPU there is nothing to capture
    moved = SimpleNamespace(tensor=SimpleNamespace(is_cuda=True))  # as by model.cuda(), after the first step
    monkeypatch.setattr(optimizer._held, "slots", [moved])
    with pytest.raises(RuntimeError, match="^SGD.step: a step cannot be captured into a CUDA graph"):
        optimizer.step()
    assert w.tolist() == [0.5, 0.5] and optimizer.t == 1


def test_a_rate_that_becomes_a_tensor_on_a_device_changes_the_plan():
    w = torch.ones(2, device="meta", requires_grad=True)
    optimizer = mt.SGD([w], lr=0.5)
    w.grad = torch.ones(2, device="meta")
    for lr, planned in ((0.5, 1), (0.25, 1), (torch.ones((), device="meta"), 2), (0.5, 2)):
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        assert optimizer._held.stepper.planned == planned


@pytest.mark.parametrize("cls", [mt.Adam, mt.SGD, mt.RMSprop, mt.Adagrad, own.Adam], ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_steps_do_not_depend_on_the_default_device(cls, dtype, engine):
    if engine == "reference" and dtype == torch.bfloat16:
        engine = "fused"
    found = []
    for device in ("cpu", "meta"):
        params = parameters(dtype)
        optimizer = cls(params, engine=engine)
        try:
            torch.set_default_device(device)
            optimizer.load_state_dict(optimizer.state_dict())
            for param in params:
                param.grad = torch.ones_like(param)
            for measure in (False, True):
                optimizer.step(measure=measure)
            optimizer.on_nonfinite = "skip"
            optimizer.step()
        finally:
            torch.set_default_device(None)
        found.append(arrays(optimizer, params))
        assert np.isfinite(optimizer.measures.total.update) and optimizer.t == 3
    assert_same(*found, **EXACT)


@pytest.mark.parametrize(
    "cls, hypers", [(mt.AdamW, {"max_norm": 0.5}), (mt.LAMB, {}), (mt.Prodigy, {}), (mt.MoMo, {})], ids=name
)
def test_kernels_do_not_depend_on_the_default_device(on_grid, cls, hypers):
    found = []
    for device in ("cpu", "meta"):
        params = of_several_batches(torch.Generator().manual_seed(0))
        with on_grid():
            optimizer = cls(params, engine="fused", **hypers)
            for param in params:
                param.grad = torch.ones_like(param)
            try:
                torch.set_default_device(device)
                for measure in (False, True):
                    optimizer.step(loss=1.0, measure=measure)
            finally:
                torch.set_default_device(None)
        found.append(arrays(optimizer, params))
    assert_same(*found, **EXACT)


FACTORIES = "arange empty eye full linspace ones rand randint randn randperm scalar_tensor tensor zeros".split()


def test_every_tensor_that_is_made_is_made_on_a_device_that_is_named():
    """Else it would be where `torch.set_default_device` says."""
    seen = 0
    for path in Path(grid.__file__).parent.glob("*.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            called = ast.unparse(call.func)
            if called in {f"{torch}.{word}" for torch in ("torch", "_torch") for word in FACTORIES}:
                seen += 1
                named = {keyword.arg for keyword in call.keywords}  # None stands for what is unpacked
                assert named & {"device", None}, f"{path.name}, line {call.lineno}: {ast.unparse(call)}"
    assert seen > 15


def test_a_copy_of_a_parameter_with_gaps_is_marked_as_used_on_another_stream(on_grid, monkeypatch):
    with on_grid() as streams:
        marked = []
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, _: marked.append(tensor.data_ptr()))
        param = torch.randn(6, 6)[:, ::2].requires_grad_()
        optimizer = mt.AdamW([param], engine="fused")
        for streams.current in (1, 2):
            param.grad = torch.randn(6, 3)
            optimizer.step()
        ((_, whole),) = optimizer._held.stepper._plan._batches[0].kernel._copies
        assert whole.data_ptr() in marked


def test_a_process_that_was_forked_is_told_so(on_grid, monkeypatch):
    with on_grid():
        param = torch.ones(3, requires_grad=True)
        optimizer, param.grad = mt.Adam([param], engine="fused"), torch.ones(3)
        optimizer.step()
        before = param.tolist()
        monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
        optimizer.step()  # of parameters on the CPU
        assert param.tolist() != before and optimizer.t == 2
        before = param.tolist()
        monkeypatch.setattr(holdings.Holdings, "is_on_cuda", True)
        sentence = "Adam.step: a process that was forked from one that had initialised CUDA cannot step parameters on a"
        with pytest.raises(RuntimeError, match=sentence):
            optimizer.step()
        assert param.tolist() == before and optimizer.t == 2
        monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: False)
        optimizer.step()
        assert optimizer.t == 3


@pytest.mark.parametrize("name, options", [("Adam", {"amsgrad": True}), ("AdamW", {}), ("SGD", {"momentum": 0.9})])
def test_checkpoints_of_fused_optimizers_of_pytorch_go_on_in_ours_and_back(name, options):
    param = torch.ones(3, 4, requires_grad=True)
    param.grad = torch.arange(12.0).reshape(3, 4)
    theirs = getattr(torch.optim, name)([param], lr=0.1, fused=True, **options)
    theirs.step(), theirs.step()
    twin = param.detach().clone().requires_grad_()
    twin.grad = param.grad.clone()
    ours = getattr(mt, name)([twin], lr=0.1, **options)
    ours.load_state_dict(theirs.state_dict())
    theirs.step(), ours.step()
    torch.testing.assert_close(twin, param)
    assert ours.steps == ((2,) if name == "SGD" else (3,))  # of which PyTorch's keeps no count
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    assert theirs.param_groups[0]["fused"] is True
    theirs.step(), ours.step()
    torch.testing.assert_close(twin, param)
