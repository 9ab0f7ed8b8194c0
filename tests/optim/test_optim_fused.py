"""The fused engine: what it compiles, what it allocates, and how its threads behave."""

import os
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest
from rules import give

from minima import Tensor
from minima.optim import SGD, Adam, RMSProp
from minima.optim.engines.cpu import threads
from minima.optim.engines.cpu.kernel import compile_kernel, kernel_source
from minima.optim.engines.cpu.llvm import optimised
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


def test_hyperparameters_shapes_and_the_number_of_tensors_compile_nothing_new():
    for wd in (0.0, 0.1):  # without decay, the rule has another form
        step(Adam([ones(3)], wd=wd, engine="fused"))
    before = compile_kernel.cache_info().misses
    optimizer = Adam([ones(2, 5), ones(70_000)], lr=0.1, beta1=0.5, eps=0.1, engine="fused")
    step(optimizer)
    optimizer.lr, optimizer.wd = 0.2, 0.3
    optimizer.add_param_group({"params": [ones(), ones(0)], "lr": 0.7})
    step(optimizer)
    assert compile_kernel.cache_info().misses == before


def test_a_program_is_compiled_once_for_each_dtype_and_storage():
    step(RMSProp([ones(3)], engine="fused"))
    before = compile_kernel.cache_info().misses
    for _ in range(2):
        step(RMSProp([ones(3)], state_dtype="bfloat16", engine="fused"))
        step(RMSProp([Tensor(np.ones(3), dtype="float64", requires_grad=True)], engine="fused"))
    assert compile_kernel.cache_info().misses - before <= 2


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


def test_an_interrupt_is_passed_on_only_when_every_thread_has_ended():
    main, ended, together = threading.current_thread(), [], threading.Barrier(3)

    def task():
        together.wait()
        if threading.current_thread() is main:
            raise KeyboardInterrupt
        time.sleep(0.2)
        ended.append(1)

    with pytest.raises(KeyboardInterrupt):
        threads.share(task, 2)
    assert len(ended) == 2


def test_an_error_in_a_thread_is_not_lost_and_the_next_task_is_done():
    main, done, together = threading.current_thread(), [], threading.Barrier(2)

    def fail():
        together.wait()
        if threading.current_thread() is not main:
            raise OSError("lost")

    def work():
        again.wait()
        done.append(1)

    with pytest.raises(OSError, match="lost"):
        threads.share(fail, 1)
    again = threading.Barrier(3)
    threads.share(work, 2)
    assert len(done) == 3


def test_a_task_that_meets_busy_threads_is_done_alone():
    def inner():
        threads.share(lambda: done.append(threading.current_thread()), 2)

    done = []
    threads.share(inner, 1)
    assert set(done) <= {threading.current_thread(), *threading.enumerate()} and 1 <= len(done) <= 2


def test_a_helper_that_has_not_begun_is_not_waited_for():
    """The task ends here while the helpers still wake up: their share is taken back, and they wait for the next one."""
    done = []
    for _ in range(300):
        threads.share(lambda: done.append(1), 2)
    assert 300 <= len(done) <= 900


def test_flags_of_a_group_get_kernels_of_their_own():
    plain, ahead = ones(10), ones(10)
    optimizer = SGD([{"params": [plain]}, {"params": [ahead], "nesterov": True}], lr=0.1, momentum=0.5, engine="fused")
    step(optimizer)
    assert plain.detach().numpy()[0] == np.float32(1 - 0.1 * 0.5)
    assert ahead.detach().numpy()[0] == np.float32(1 - 0.1 * 0.75)


@pytest.mark.parametrize("size", [10, 300_000])
@pytest.mark.parametrize("when", ["before the pieces", "after the pieces"])
def test_a_step_that_is_interrupted_is_taken_whole_and_counted(size, when):
    w, half = ones(size), Tensor(np.ones(size), dtype="float64", requires_grad=True)
    optimizer = SGD([w, half], lr=0.5, engine="fused")
    step(optimizer)
    launch = optimizer._stepper._plan._batches[0].kernel.launch
    call, main, interrupts = launch._work, threading.current_thread(), []

    def work():
        if when == "after the pieces":
            call()
        if threading.current_thread() is main and not interrupts:
            interrupts.append(1)
            raise KeyboardInterrupt
        call()

    launch._work = work
    give(optimizer.params, [np.ones(size), np.ones(size)])
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert (w.detach().numpy() == 0).all() and (half.detach().numpy() == 0).all()
    assert (optimizer.t, optimizer.steps) == (2, (2, 2))
