"""What a step takes of memory: pages that stay from one step to the next, and the peak of a backward pass."""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from minima import nn
from minima.autograd import Tensor

FAULTS = """
import resource
import numpy as np
import minima.autograd as ag
x = ag.Tensor(np.ones((1024, 512), "float32"), requires_grad=True)
def step():
    y = x
    for _ in range(16):
        y = y * 1.5
    y.sum().backward()
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not os.confstr("CS_GNU_LIBC_VERSION") if sys.platform == "linux" else True, reason="needs glibc")
def test_a_step_finds_the_memory_of_the_last_one():
    free = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "LD_"))}
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, env=free, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1000  # of 16 arrays of 512 pages in each of ten steps


def test_a_convolution_holds_few_of_its_windows_at_a_time():
    x = Tensor(np.zeros((128, 16, 14, 14)), requires_grad=True)
    layer = nn.Conv2d(16, 16, 3, padding=1)
    tracemalloc.start()
    try:
        y = layer(x)
        y.backward(y.detach())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5 * x.buffer.nbytes  # the windows of all samples alone are nine times as large


NORMS = [  # how many arrays of the size of the input they may hold at most
    (lambda: nn.LayerNorm(512), (4096, 512), 2.6),
    (lambda: nn.RMSNorm(512), (4096, 512), 2.6),
    (lambda: nn.GroupNorm(4, 16), (128, 16, 28, 28), 3.4),  # a leaf copies its gradient out of that of the groups
    (lambda: nn.BatchNorm2d(16), (128, 16, 28, 28), 2.6),
]


@pytest.mark.parametrize(("make", "shape", "arrays"), NORMS, ids=["layer", "rms", "group", "batch"])
def test_a_norm_and_its_backward_pass_hold_their_results_and_little_else(make, shape, arrays):
    x, layer = Tensor(np.ones(shape), requires_grad=True), make()
    tracemalloc.start()
    try:
        y = layer(x)
        y.backward(y.detach())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < arrays * x.buffer.nbytes  # the result, the gradient, and what is between operations on a slice
