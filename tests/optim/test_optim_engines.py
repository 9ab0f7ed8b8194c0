"""What is true of engines besides their numbers: how one is chosen, threads, processes."""

import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from rules import ENGINES, give

from minima import Tensor
from minima.optim import SGD, Adam, Optimizer, hyper, maximum, minimum, sign
from minima.optim.engines.cpu.threads import core_count, thread_count


def tensor(values=(1.0, 2.0), dtype="float32"):
    return Tensor(values, dtype=dtype, requires_grad=True)


def python(program, *arguments, **environment):
    """What a fresh interpreter prints; warnings are errors in it."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("name", ENGINES)
def test_an_optimizer_says_which_engine_it_runs_on_and_can_be_moved_to_another(name):
    w = tensor()
    optimizer = Adam([w], lr=0.1, engine=name)
    assert optimizer.engine == name
    for other in ENGINES:
        optimizer.engine = other
        give([w], [[1.0, -1.0]])
        optimizer.step()
        assert optimizer.engine == other
    assert optimizer.steps == (len(ENGINES),) and w.tolist() == pytest.approx([1 - 0.1 * 2, 2 + 0.1 * 2])


@pytest.mark.parametrize(("cls", "who"), [(SGD, "SGD"), (Optimizer, "Optimizer")])
def test_an_unknown_engine_is_refused_in_one_sentence(cls, who):
    with pytest.raises(ValueError) as caught:
        cls([tensor()], engine="fast")
    assert str(caught.value) == f"{who}: engine must be one of 'fused', 'reference'; got 'fast'"


def test_an_unknown_engine_is_refused_where_it_is_assigned():
    optimizer = SGD([tensor()], engine="reference")
    with pytest.raises(ValueError, match="^SGD: engine must be one of 'fused', 'reference'; got 'fast'$"):
        optimizer.engine = "fast"
    assert optimizer.engine == "reference"


def test_the_environment_chooses_the_engine_of_optimizers_that_do_not(monkeypatch):
    monkeypatch.setenv("MINIMA_ENGINE", "reference")
    assert SGD([tensor()]).engine == "reference" and SGD([tensor()], engine="fused").engine == "fused"
    monkeypatch.setenv("MINIMA_ENGINE", "fused")
    assert SGD([tensor()]).engine == "fused"
    monkeypatch.setenv("MINIMA_ENGINE", "fast")
    with pytest.raises(ValueError) as caught:
        SGD([tensor()])
    assert str(caught.value) == "MINIMA_ENGINE: engine must be one of 'fused', 'reference'; got 'fast'"


DIGEST = """
import hashlib
import numpy as np
from minima import Tensor
from minima.optim import Adam
rng = np.random.default_rng(0)
params = [Tensor(rng.normal(size=n), requires_grad=True) for n in (3, 200_001, 16_384, 1, 16_385, 70_000)]
optimizer = Adam(params, lr=0.1, wd=0.1, engine="fused")
for _ in range(3):
    for p in params:
        p.grad = Tensor(rng.normal(size=p.shape))
    optimizer.step()
print(hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in params)).hexdigest())
"""


def test_bits_do_not_depend_on_the_number_of_threads():
    assert len({python(DIGEST, MINIMA_NUM_THREADS=number) for number in ("1", "2", "5")}) == 1


def test_a_number_of_threads_that_is_none_is_refused_in_one_sentence():
    with pytest.raises(
        AssertionError, match="ValueError: MINIMA_NUM_THREADS: must be a whole number, at least 1; got '0'"
    ):
        python(DIGEST, MINIMA_NUM_THREADS="0")


@pytest.mark.parametrize(
    ("own", "otherwise", "openmp", "count"),
    [
        ("3", 5, "7", 3),
        (" 3 ", None, "", 3),
        ("", 5, "7", 5),
        ("", None, "7", 7),
        ("", None, "4,2", 4),
        ("", None, " 6 , x", 6),
        *(("", None, bad, core_count()) for bad in ("", "0", "-1", "two", "1.5", ",4", "\u00b2")),
    ],
)
def test_the_number_of_threads_is_minimas_own_then_the_librarys_around_it_then_openmps(
    own, otherwise, openmp, count, monkeypatch
):
    monkeypatch.setenv("MINIMA_NUM_THREADS", own)
    monkeypatch.setenv("OMP_NUM_THREADS", openmp)
    assert thread_count(otherwise) == count


@pytest.mark.parametrize("bad", ["0", "-1", "two", "1.5", "4,2", "\u00b2"])
def test_a_number_of_threads_is_read_anew_and_a_bad_one_refused_whatever_else_is_said(bad, monkeypatch):
    monkeypatch.setenv("MINIMA_NUM_THREADS", bad)
    with pytest.raises(ValueError) as caught:
        thread_count(2)
    assert str(caught.value) == f"MINIMA_NUM_THREADS: must be a whole number, at least 1; got {bad!r}"


FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is what is tested
import numpy as np
from minima import Tensor, optim
def stepped():
    w = Tensor(np.linspace(-1, 1, 400_000).reshape(400, 1000), requires_grad=True)
    w.grad = Tensor(np.ones(w.shape))
    optimizer = getattr(optim, sys.argv[1])([w], engine="fused")
    optimizer.step()
    return w.detach().numpy(), optimizer
(wanted, before), (found, optimizer) = stepped(), stepped()
before.step()
child = os.fork()
optimizer.step()
same = (found == wanted).all()
if child == 0:
    os._exit(0 if same else 1)
print(os.waitpid(child, 0)[1], same)
"""


@pytest.mark.parametrize("rule", ["SGD", "Adafactor"])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_steps_as_its_parent_does(rule):
    assert python(FORKED, rule, MINIMA_NUM_THREADS="2") == "0 True"


def test_several_threads_may_step_optimizers_of_their_own_at_once():
    def train(seed):
        rng = np.random.default_rng(seed)
        w = tensor(rng.normal(size=150_000))
        optimizer = Adam([w], lr=0.1, engine="fused")
        for _ in range(5):
            w.grad = Tensor(rng.normal(size=w.shape))
            optimizer.step()
        return w.detach().numpy().tobytes()

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(train, range(4)))
    assert together == [train(seed) for seed in range(4)]


class Extremes(Optimizer):
    """The words whose results for NaN and zeros are easily got wrong."""

    limit: float = hyper(1.0)

    @staticmethod
    def update(param, grad, up, down, signs, *, limit):
        return param - grad, maximum(param, grad), minimum(param, grad), sign(grad) * limit


def test_nan_in_a_comparison_of_two_is_nan_as_in_numpy(dtype, engine):
    nan, inf = math.nan, math.inf
    starts, grads = [nan, 1.0, nan, inf, -inf, 0.0], [1.0, nan, nan, -inf, 2.0, -3.0]
    w = tensor(starts, dtype)
    optimizer = Extremes([w], **engine)
    give([w], [grads])
    optimizer.step()
    for name, function in (("up", np.maximum), ("down", np.minimum)):
        assert np.array_equal(getattr(optimizer, name)[0].numpy(), function(starts, grads), equal_nan=True)
    assert np.array_equal(optimizer.signs[0].numpy(), np.sign(grads), equal_nan=True)


@pytest.mark.parametrize("other", [np.zeros(1, np.float32), np.zeros((2, 2), np.float32), np.zeros(4, np.float16)])
def test_a_buffer_of_another_shape_or_dtype_put_into_a_parameter_is_refused_before_anything_changes(other, engine):
    w, v = tensor((1.0, 2.0, 3.0, 4.0)), tensor()
    optimizer = Adam([v, w], lr=0.1, **engine)
    give([v, w], [[1.0, 1.0], [1.0] * 4])
    optimizer.step()
    held = v.tolist()
    w.buffer = other
    with pytest.raises((TypeError, ValueError)):
        optimizer.step()
    assert v.tolist() == held and (other == 0).all() and optimizer.t == 1


def test_memory_that_a_parameter_has_left_is_not_written_to(engine):
    w = tensor((1.0, 2.0, 3.0, 4.0))
    optimizer = SGD([w], lr=0.5, **engine)
    give([w], [[1.0] * 4])
    optimizer.step()
    w.buffer.resize((100_000,), refcheck=False)
    before = w.buffer.copy()
    with pytest.raises(ValueError, match="must stay that"):
        optimizer.step()
    assert (w.buffer == before).all() and optimizer.t == 1


def test_a_parameter_that_became_read_only_is_refused_before_anything_changes(engine):
    w, v = tensor(), tensor()
    optimizer = Adam([v, w], lr=0.1, **engine)
    for first in (True, False):
        give([v, w], [[1.0, 1.0]] * 2)
        w.buffer.flags.writeable = False
        held = v.tolist()
        with pytest.raises(ValueError) as caught:
            optimizer.step()
        rule = "Adam.step: parameter 1 is read-only, and a step writes into it; nothing was changed"
        assert str(caught.value) == rule and v.tolist() == held and optimizer.t == (0 if first else 1)
        w.buffer.flags.writeable = True
        optimizer.step()
