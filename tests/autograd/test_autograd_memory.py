"""What a step takes of memory: pages that stay from one step to the next, and the peak of a backward pass."""

import os
import subprocess
import sys

import pytest

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
