"""The fused engine: what it compiles, what it allocates, and how its threads behave."""

import os
import re
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from rules import give

from minima import Tensor
from minima.optim import LAMB, SGD, Adam, Muon, NAdam, RMSProp
from minima.optim.engines.cpu import kernel, pool
from minima.optim.engines.cpu.kernel import compile_kernel, kernel_source
from minima.optim.engines.cpu.llvm import optimised
from minima.optim.engines.cpu.reductions import SquareSums
from minima.optim.language.lowering import lower


def ones(*shape):
    return Tensor(np.ones(shape), requires_grad=True)


def step(optimizer):
    give(optimizer.params, [np.ones(p.shape) for p in optimizer.params])
    optimizer.step()


def python(program, **environment):
    """A fresh interpreter's exit status, output and errors."""
    return subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def compiled(monkeypatch):
    """What is compiled from now on, as if nothing had been before."""
    sources, inner = [], kernel.compiled
    monkeypatch.setattr(kernel, "compiled", lambda source, *rest: sources.append(source) or inner(source, *rest))
    monkeypatch.setattr(compile_kernel, "kept", {})
    return sources


def test_hyperparameters_shapes_and_the_number_of_tensors_compile_nothing_new(compiled):
    for wd in (0.0, 0.1):  # without decay, the rule has another variant
        step(Adam([ones(3)], wd=wd, engine="fused"))
    assert len(compiled) == 2
    optimizer = Adam([ones(2, 5), ones(70_000)], lr=0.1, beta1=0.5, eps=0.1, engine="fused")
    step(optimizer)
    optimizer.lr, optimizer.wd = 0.2, 0.3
    optimizer.add_param_group({"params": [ones(), ones(0)], "lr": 0.7})
    step(optimizer)
    assert len(compiled) == 2


def test_a_program_is_compiled_once_for_each_dtype_and_storage(compiled):
    for _ in range(2):
        step(RMSProp([ones(3)], engine="fused"))
        step(RMSProp([ones(3)], state_dtype="bfloat16", engine="fused"))
        step(RMSProp([Tensor(np.ones(3), dtype="float64", requires_grad=True)], engine="fused"))
    assert len(compiled) == len({*compiled}) == 3


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "int8"])
def test_a_step_allocates_less_than_a_megabyte_whatever_the_size(state_dtype):
    params = [ones(3_000_000), *(ones(100) for _ in range(50))]
    optimizer = Adam(params, state_dtype=state_dtype, engine="fused")
    step(optimizer)
    tracemalloc.start()
    try:
        optimizer.step()
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_loop_over_elements_is_vectorised():
    """Two loads and stores of 8 floats at once for each array, on a machine that has such registers."""
    program = lower(Adam._trace({}))
    for storage in (("float32", "float32"), ("bfloat16", "bfloat16"), ("int8", "uint8")):
        assert " x float>" in str(optimised(kernel_source(program, "float32", storage, "float32")))


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_parameters_and_gradients_at_odd_addresses_are_right(offset):
    def unaligned(values):
        raw = np.zeros(values.nbytes + 8, np.uint8)
        array = raw[offset : offset + values.nbytes].view(np.float32)
        array[:] = values
        return Tensor.from_numpy(array)

    values, grad = np.linspace(-1, 1, 1001, dtype="float32"), np.linspace(1, 3, 1001, dtype="float32")
    odd, plain = unaligned(values), Tensor(values)
    odd.grad, plain.grad = unaligned(grad), Tensor(grad)
    for w in (odd, plain):
        Adam([w], lr=0.1, engine="fused").step()
    np.testing.assert_array_equal(odd.numpy(), plain.numpy())


WITHOUT_LLVM = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "llvmlite":
            raise ModuleNotFoundError(name)
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "llvmlite" else real(name, package)
sys.meta_path.insert(0, Blocked())
from minima import Tensor
from minima.optim import SGD
w = Tensor([1.0], requires_grad=True)
w.grad = Tensor([1.0])
optimizer = SGD([w], lr=0.5)
optimizer.step()
print(optimizer.engine, w.item())
try:
    SGD([w], engine="fused")
except ImportError as error:
    print(error)
"""


def test_without_llvm_the_reference_takes_over_and_says_so():
    done = python(WITHOUT_LLVM)
    assert done.stdout.splitlines() == [
        "reference 0.5",
        "SGD: the fused engine needs llvmlite, which cannot be imported; "
        "install llvmlite, or leave engine out to take what is there",
    ], done.stderr


AT_EXIT = """
import atexit
import numpy as np
from minima import Tensor
from minima.optim import SGD
w = Tensor(np.ones(500_000), requires_grad=True)
w.grad = Tensor(np.ones(500_000))
optimizer = SGD([w], lr=0.25, engine="fused")
optimizer.step()
atexit.register(lambda: (optimizer.step(), print((w.detach().numpy() == 0.5).all())))
"""


def test_a_step_while_the_interpreter_exits_is_done():
    done = python(AT_EXIT, MINIMA_NUM_THREADS="2")
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr


def test_flags_of_a_group_get_kernels_of_their_own():
    plain, ahead = ones(10), ones(10)
    optimizer = SGD([{"params": [plain]}, {"params": [ahead], "nesterov": True}], lr=0.1, momentum=0.5, engine="fused")
    step(optimizer)
    assert plain.detach().numpy()[0] == np.float32(1 - 0.1 * 0.5)
    assert ahead.detach().numpy()[0] == np.float32(1 - 0.1 * 0.75)


@pytest.mark.parametrize("kind", [SGD, NAdam, LAMB, Muon])  # elements alone; one stage; several passes; products
def test_a_kernel_that_has_stepped_says_that_it_has_written(kind):
    optimizer = kind([ones(3, 2)], engine="fused")
    step(optimizer)
    (batch,) = optimizer._stepper._plan._batches
    assert batch.kernel.has_run and batch.kernel.has_written


@pytest.mark.parametrize("size", [10, 300_000])
@pytest.mark.parametrize("when", ["before the pieces", "after the pieces"])
def test_a_step_that_is_interrupted_is_taken_whole_and_counted(size, when):
    w, half = ones(size), Tensor(np.ones(size), dtype="float64", requires_grad=True)
    optimizer = SGD([w, half], lr=0.5, engine="fused")
    step(optimizer)
    pieces = optimizer._stepper._plan._batches[0].kernel._launch._pieces
    conduct, interrupts = pieces._conduct, []

    def interrupted(job):
        if when == "after the pieces":
            conduct(job)
        if not interrupts:
            interrupts.append(1)
            raise KeyboardInterrupt
        conduct(job)

    pieces._conduct = interrupted
    give(optimizer.params, [np.ones(size), np.ones(size)])
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert (w.detach().numpy() == 0).all() and (half.detach().numpy() == 0).all()
    assert (optimizer.t, optimizer.steps) == (2, (2, 2))


INTERRUPTED = """
import signal
import numpy as np
from minima import Tensor
from minima.optim import SGD
w = Tensor(np.zeros(4_000_000), requires_grad=True)
w.grad = Tensor(np.ones(4_000_000))
optimizer = SGD([w], lr=1.0, engine="fused")
optimizer.step()
signal.signal(signal.SIGALRM, signal.default_int_handler)
for attempt in range(20):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.003 + 0.0007 * attempt)
        while True:
            optimizer.step()
    except KeyboardInterrupt:
        pass
print(len(set(w.detach().numpy().tolist())))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no timer that interrupts")
@pytest.mark.parametrize("number", ["1", "2", "5"])
def test_interrupts_that_come_while_threads_are_at_work_leave_no_step_half_done(number):
    done = python(INTERRUPTED, MINIMA_NUM_THREADS=number)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


FIRST_STEPS = """
import threading
import numpy as np
from minima import Tensor
from minima.optim import SGD, Adam, AdaGrad, RMSProp
from minima.optim.engines.cpu import kernel
made, compiled = [], kernel.compiled
kernel.compiled = lambda *source: made.append(source) or compiled(*source)
barrier, ends = threading.Barrier(8), []
def work(cls, dtype):
    w = Tensor(np.ones(200_000), dtype=dtype, requires_grad=True)
    w.grad = Tensor(np.ones(200_000), dtype=dtype)
    optimizer = cls([w], engine="fused", on_nonfinite="raise")
    barrier.wait()
    for _ in range(5):
        optimizer.step()
    ends.append(float(np.ptp(w.detach().numpy())))
kinds = [(cls, dtype) for cls in (SGD, Adam, AdaGrad, RMSProp) for dtype in ("float32", "float32")]
threads = [threading.Thread(target=work, args=kind) for kind in kinds]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(ends == [0.0] * 8, len(made))
"""


def test_first_steps_in_several_threads_at_once_compile_each_kernel_once():
    for _ in range(3):
        done = python(FIRST_STEPS, MINIMA_NUM_THREADS="3")
        assert (done.returncode, done.stdout.strip()) == (0, "True 4"), done.stderr


ENDS_BUSY = """
import threading
import numpy as np
from minima import Tensor
from minima.optim import Adam
w = Tensor(np.ones(3_000_000), requires_grad=True)
w.grad = Tensor(np.ones(3_000_000))
optimizer = Adam([w], engine="fused")
optimizer.step()
def work():
    while True:
        optimizer.step()
threading.Thread(target=work, daemon=True).start()
"""


def test_a_process_may_end_in_the_middle_of_another_threads_step():
    for _ in range(3):
        done = python(ENDS_BUSY, MINIMA_NUM_THREADS="3")
        assert done.returncode == 0, done.stderr


ASLEEP = """
import time
import numpy as np
from minima import Tensor
from minima.optim import SGD
w = Tensor(np.zeros(2_000_000), requires_grad=True)
w.grad = Tensor(np.ones(2_000_000))
optimizer = SGD([w], lr=1.0, engine="fused")
for pause in [0.0, 0.0001, 0.001, 0.01] * 20:
    optimizer.step()
    time.sleep(pause)
print(set((-w.detach().numpy()).tolist()), time.process_time() < 30)
"""


@pytest.mark.parametrize("number", ["2", "3", "40"])
def test_threads_that_fell_asleep_and_more_threads_than_cores_do_their_part(number):
    done = python(ASLEEP, MINIMA_NUM_THREADS=number)
    assert (done.returncode, done.stdout.strip()) == (0, "{80.0} True"), done.stderr


def test_a_thread_that_waits_for_work_does_not_keep_a_core_busy():
    program = "import time; before = time.process_time(); time.sleep(0.5); print(time.process_time() - before < 0.1)"
    done = python(AT_EXIT + program, MINIMA_NUM_THREADS="2")
    assert done.stdout.splitlines() == ["True", "True"], done.stderr


def test_a_job_for_helpers_that_another_thread_has_is_done_alone():
    one, other = (SGD([ones(3_000_000)], lr=0.5, engine="fused") for _ in range(2))

    def steps(optimizer):
        for _ in range(30):
            step(optimizer)

    thread = threading.Thread(target=steps, args=[one])
    thread.start()
    steps(other)
    thread.join()
    assert all((o.params[0].detach().numpy() == 1 - 30 * 0.5).all() for o in (one, other))


def test_where_the_system_gives_no_more_threads_a_step_is_done_by_those_that_there_are(monkeypatch):
    optimizer = SGD([ones(3_000_000)], lr=0.5, engine="fused")
    monkeypatch.setenv("MINIMA_NUM_THREADS", "200")
    monkeypatch.setattr(pool, "_start", lambda code, helper: pool.ctypes.c_ulong(-1).value)
    step(optimizer)
    assert (optimizer.params[0].detach().numpy() == 0.5).all()


def test_chunks_of_tensors_of_all_sizes_are_each_worked_on_once():
    for threads in (1, 2, 3, 7):
        sizes = [0, 1, 0, 0, 4095, 4096, 4097, 0, 200_000, 12 * 4096, 7, 0]
        arrays = [np.full(size, 3.0, np.float32) for size in sizes]
        sums = SquareSums(sizes, "float32", threads)
        assert sums([array.ctypes.data for array in arrays]).tolist() == [9.0 * size for size in sizes]


@pytest.mark.parametrize(
    ("dtype", "state_dtype", "lines"),
    [
        ("float32", None, [4, 4, 4]),  # strips of 64 elements, lines of 64 bytes
        ("float64", None, [8, 8, 8]),
        ("float16", None, [2, 2, 4]),
        ("float32", "bfloat16", [4, 4, 2]),
        ("float32", "int8", [4, 4, 1]),
    ],
)
def test_each_strip_of_a_loop_asks_memory_for_every_line_that_a_later_one_reads(dtype, state_dtype, lines):
    source = RMSProp.explain(wd=0, dtype=dtype, state_dtype=state_dtype).source
    (strip,) = re.findall(r"^strip:\n(.*?)^\w[\w.]*:", source, re.DOTALL | re.MULTILINE)
    asked = [each.count('call void @"llvm.prefetch') for each in strip.split(", i64 2048")[1:]]  # param, grad, cache
    assert asked == lines
