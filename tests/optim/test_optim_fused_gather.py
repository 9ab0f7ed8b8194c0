"""The addresses of many arrays at once: what is taken, what is refused, with and without compiled code."""

import pickle

import numpy as np
import pytest

from minima.optim.engines.cpu import gather
from minima.optim.engines.cpu.gather import Gather


@pytest.fixture(params=["compiled", "python"])
def way(request, monkeypatch):
    if request.param == "python":  # as where arrays are laid out in another way
        monkeypatch.setattr(gather, "_reads_right", lambda code: False)
        monkeypatch.setattr(gather, "_code", gather.once(gather._code._make))
        assert gather._code() is None
    else:
        assert gather._code() is not None
    return request.param


def samples():
    return [np.zeros((2, 3), np.float32), np.zeros(()), np.zeros(5, np.uint16), np.zeros((4, 0), np.float32)]


def collected(arrays, writeable=(True,) * 4):
    """Whether they are taken, and the table."""
    table = np.full(6, -1, np.int64)
    return Gather(samples(), table, [4, 0, 2, 5], writeable)(arrays), table.tolist()


def test_addresses_go_to_their_places(way):
    arrays = samples()
    taken, table = collected(arrays)
    one, other, third, fourth = (array.ctypes.data for array in arrays)
    assert taken and table == [other, -1, third, -1, one, fourth]


def frozen(array):
    array.flags.writeable = False
    return array


BAD = [
    (0, np.zeros((3, 2), np.float32)),
    (0, np.zeros((2, 3))),
    (0, np.zeros((3, 2), np.float32).T),
    (0, np.zeros((2, 6), np.float32)[:, ::2]),
    (0, np.zeros(6, np.float32)),
    (0, np.zeros((2, 3), ">f4")),
    (1, np.zeros(1)),
    (2, np.zeros(11, np.uint8)[1:].view(np.uint16)),
    (2, np.zeros(5, np.int16)),
    (2, frozen(np.zeros(5, np.uint16))),
    (3, None),
    (3, [0.0]),
]


@pytest.mark.parametrize(("place", "bad"), BAD)
def test_an_array_that_is_not_as_its_sample_is_refused(place, bad, way):
    arrays = samples()
    arrays[place] = bad
    assert not collected(arrays)[0]


def test_more_or_fewer_arrays_than_samples_are_refused(way):
    assert not collected(samples()[:3])[0] and not collected([*samples(), np.zeros(1)])[0]


def test_what_is_only_read_may_be_read_only(way):
    arrays = samples()
    arrays[2] = frozen(arrays[2])
    assert collected(arrays, (True, True, False, True))[0]


def test_a_subclass_and_a_dtype_that_only_equals_are_taken(way):
    class Other(np.ndarray):
        pass

    arrays = samples()
    arrays[0] = arrays[0].view(Other)
    arrays[1] = pickle.loads(pickle.dumps(arrays[1])).view(np.dtype("f8", metadata={"a": 1}))
    taken, table = collected(arrays)
    assert taken and table[4] == arrays[0].ctypes.data and table[0] == arrays[1].ctypes.data


def test_arrays_that_changed_in_place_are_noticed(way):
    arrays, table = samples(), np.zeros(4, np.int64)
    collect = Gather(arrays, table, range(4), [True] * 4)
    assert collect(arrays)
    arrays[2].resize(70_000, refcheck=False)
    assert not collect(arrays)
    arrays[2].resize(5, refcheck=False)
    assert collect(arrays) and table[2] == arrays[2].ctypes.data
    arrays[0].resize((3, 2), refcheck=False)
    assert not collect(arrays)
