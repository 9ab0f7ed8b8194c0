"""Files of many megabytes: saved by way of threads and loaded by way of a map, without a copy in memory."""

import _thread
import errno
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from parts import Careless, Holder, same

import minima as mi
from minima import nn
from minima.checkpoint import CheckpointError, stream
from minima.checkpoint.format import Reader
from minima.optim import EMA

LARGE = np.random.default_rng(0).integers(0, 256, 21_000_003, np.uint8)  # no multiple of anything


class Layer(nn.Module):
    def __init__(self, values):
        self.weight = nn.Parameter(values)


LAYOUTS = {
    "plain": lambda: LARGE,
    "a few bytes of a piece": lambda: [LARGE[: (1 << 20) + extra] for extra in (-1, 0, 1)],
    "many small ones": lambda: [LARGE[i : i + 17] for i in range(0, 500_000, 17)],
    "transposed": lambda: LARGE[:20_000_000].view("float32").reshape(1000, 5000).T,
    "every other one": lambda: LARGE[:20_000_000].view("int16")[::-2],
    "rows that lie apart": lambda: LARGE[:20_000_000].reshape(2, 5_000_000, 2)[:, :, 1],
    "repeated": lambda: np.broadcast_to(np.arange(5.0), (300_000, 5)),
    "of the other byte order": lambda: LARGE[:20_000_000].view(np.dtype("uint32").newbyteorder()),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_large_arrays_come_back_to_the_bit_however_they_lie_in_memory(layout, tmp_path):
    value = LAYOUTS[layout]()
    mi.save(tmp_path / "x", a=value)
    found = mi.load(tmp_path / "x")["a"]
    for one, other in zip(*((each if isinstance(each, list) else [each]) for each in (found, value)), strict=True):
        assert one.dtype == other.dtype.newbyteorder("=") and one.shape == other.shape
        assert one.tobytes() == other.astype(one.dtype).tobytes()


def test_a_file_is_whole_though_its_arrays_change_while_it_is_written(tmp_path):
    changing, over = np.zeros(20_000_000, np.uint8), threading.Event()

    def train():
        while not over.is_set():
            changing[:] += 1

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(3):
            mi.save(tmp_path / "x", a=changing)
            mi.load(tmp_path / "x")
    finally:
        over.set()
        thread.join()


def failing(monkeypatch, name, error, after):
    """Let a call to the system fail when it has been made so often."""
    call, count = getattr(os, name), []

    def replaced(*args):
        count.append(args)
        if len(count) > after:
            raise error
        return call(*args)

    monkeypatch.setattr(os, name, replaced)


FAILURES = [("write", after) for after in (0, 1, 7, 12, 20)] + [("fdatasync", 0), ("fsync", 0)]


@pytest.mark.parametrize(("name", "after"), FAILURES)
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_whatever_stops_a_large_save_the_old_file_stays_and_nothing_else(name, after, error, tmp_path, monkeypatch):
    if not hasattr(os, name):
        pytest.skip(f"there is no {name} here")
    monkeypatch.setattr(stream, "_FORCED", 4 << 20)
    path = tmp_path / "x"
    mi.save(path, step=1)
    with monkeypatch.context() as patch:
        failing(patch, name, error, after)
        with pytest.raises(type(error)):
            mi.save(path, step=2, a=LARGE)
    assert mi.load(path) == {"step": 1} and os.listdir(tmp_path) == ["x"]


def run(script, *arguments):
    done = subprocess.run([sys.executable, "-W", "error", "-c", script, *map(str, arguments)], capture_output=True)
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    return done.stdout.decode().splitlines()


AT_EXIT = """
import atexit, sys
import numpy as np
import minima as mi
from minima import nn
model = nn.Sequential(nn.Linear(1000, 3000))

def last():
    mi.save(sys.argv[1], model=model)
    mi.load(sys.argv[1], model=model)
    print("done")

atexit.register(last)
"""


def test_a_program_may_save_and_load_while_it_ends(tmp_path):
    assert run(AT_EXIT, tmp_path / "x") == ["done"]


MEMORY = """
import sys, threading, time
import numpy as np
import minima as mi
from minima import nn
from minima.optim import EMA
SIZE = 25_000_000

class Layer(nn.Module):
    def __init__(self):
        self.weight = nn.Parameter(np.ones(SIZE, np.float32))

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1000

peak = 0
def watch():
    global peak
    while True:
        peak = max(peak, anonymous())
        time.sleep(0.001)

model = Layer()
ema = EMA(model)
mi.save(sys.argv[1] + "small", step=1)
threading.Thread(target=watch, daemon=True).start()
for call in mi.save, mi.load:
    peak = before = anonymous()
    call(sys.argv[1], model=model, ema=ema)
    print(peak - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the memory is measured as Linux tells it")
def test_modules_and_averages_are_saved_and_loaded_with_little_memory_of_their_own(tmp_path):
    """200 megabytes of them; a copy of either would show."""
    for more in run(MEMORY, tmp_path / "x"):
        assert float(more) < 50


# In two halves -------------------------------------------------------------------------------------------------------


def test_a_subclass_that_overrides_a_method_is_asked_by_that_method(tmp_path):
    class Versioned(Layer):
        version = 1

        def state_dict(self):
            return super().state_dict() | {"version": np.array(self.version)}

        def load_state_dict(self, state_dict):
            given = dict(state_dict)
            self.version = int(given.pop("version"))
            return super().load_state_dict(given)

    first, second = Versioned(np.ones(3)), Versioned(np.zeros(3))
    first.version = 7
    mi.save(tmp_path / "x", model=first)
    mi.load(tmp_path / "x", model=second)
    assert second.version == 7 and second.weight.tolist() == [1, 1, 1]


def test_what_loads_in_two_halves_is_as_it_was_where_another_object_refuses(tmp_path):
    model, ema = Layer(np.ones(3)), EMA(Layer(np.ones(3)))
    mi.save(tmp_path / "x", model=model, ema=ema, other=Holder(a=1))
    mine, average = Layer(np.zeros(3)), EMA(Layer(np.zeros(3)))
    for other in (Holder(b=1), Careless(first=1)):
        with pytest.raises(CheckpointError, match="other refuses its state"):
            mi.load(tmp_path / "x", model=mine, ema=average, other=other)
    wrong = EMA(Layer(np.zeros(4)))
    holder = Holder(a=0)
    with pytest.raises(CheckpointError, match="ema refuses its state .*; nothing was loaded$"):
        mi.load(tmp_path / "x", other=holder, model=mine, ema=wrong)
    assert mine.weight.tolist() == average.averages["weight"].tolist() == [0, 0, 0] and holder.state == {"a": 0}


def test_an_interruption_while_states_are_written_comes_when_all_are(tmp_path):
    class Slow(Layer):
        def load_state_dict(self, state_dict):
            self._prepare_load(state_dict)()

        def _prepare_load(self, state_dict):
            write = super()._prepare_load(state_dict)

            def interrupted():
                _thread.interrupt_main()
                time.sleep(0.1)
                write()

            return interrupted

    mi.save(tmp_path / "x", one=Layer(np.ones(3)), two=Layer(np.ones(3)))
    one, two = Slow(np.zeros(3)), Layer(np.zeros(3))
    with pytest.raises(KeyboardInterrupt):
        mi.load(tmp_path / "x", one=one, two=two)
    assert one.weight.tolist() == two.weight.tolist() == [1, 1, 1]


def test_a_file_that_shrinks_before_it_is_mapped_is_refused(tmp_path, monkeypatch):
    path, model = tmp_path / "x", Layer(np.zeros(5000))
    mi.save(path, model=Layer(np.ones(5000)))
    verify = Reader._verify

    def verified(reader):
        verify(reader)
        os.truncate(path, 10_000)

    monkeypatch.setattr(Reader, "_verify", verified)
    with pytest.raises(CheckpointError, match="is damaged: it was cut off while it was read$"):
        mi.load(path, model=model)
    assert not model.weight.detach().numpy().any()


def test_a_disk_that_cannot_read_is_an_error(tmp_path, monkeypatch):
    mi.save(tmp_path / "x", model=Layer(np.ones(5)))

    def broken(reader):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Reader, "_verify", broken)
    with pytest.raises(OSError, match="cannot be read: Input/output error"):
        mi.load(tmp_path / "x", model=Layer(np.zeros(5)))


def test_a_state_that_shares_memory_with_what_it_is_loaded_into_is_copied_first():
    class Swapped(nn.Module):
        def __init__(self):
            self.a, self.b = nn.Parameter([1.0, 2.0]), nn.Parameter([3.0, 4.0])

    model = Swapped()
    model.load_state_dict({"a": model.b, "b": model.a})
    assert model.a.tolist() == [3, 4] and model.b.tolist() == [1, 2]
    reversed_ = {"a": model.a.detach().numpy()[::-1], "b": model.b.detach().numpy()[::-1]}
    model.load_state_dict(reversed_)
    assert model.a.tolist() == [4, 3] and model.b.tolist() == [2, 1]


def test_memory_that_cannot_be_written_is_found_before_anything_is():
    class Fixed(nn.Module):
        def __init__(self):
            self.a, self.b = nn.Parameter([1.0]), nn.Parameter([2.0])
            values = np.ones(1, np.float32)
            values.flags.writeable = False
            self.register_buffer("c", mi.Tensor.from_numpy(values))

    model = Fixed()
    state = {"a": [5.0], "b": [5.0], "c": [5.0]}
    with pytest.raises(ValueError, match="'c' lies in memory that is read-only; nothing was loaded$"):
        model.load_state_dict(state)
    assert model.a.item() == 1 and same(model.b.item(), 2.0)
