"""The position of a DataLoader: after loading it, everything comes that an uninterrupted run would have seen."""

import copy
import itertools
import json
import pickle
import re

import numpy as np
import pytest

from minima.data import DataLoader, TensorDataset
from minima.random import generator, get_state, manual_seed, set_state

SIZE = 11
DATA = TensorDataset(np.arange(2.0 * SIZE).reshape(SIZE, 2), np.arange(SIZE))
KINDS = {
    "in order": {},
    "shuffled by the generator": {"shuffle": True},
    "shuffled by a seed": {"shuffle": True, "seed": 3},
    "shuffled, whole batches": {"shuffle": True, "drop_last": True},
    "shuffled, one batch": {"shuffle": True, "batch_size": 20},
}


def loader_of(kind, dataset=DATA):
    return DataLoader(dataset, **({"batch_size": 4} | KINDS[kind]))


def run(loader, epochs, stop=None, log=None):
    """Train: draw, as Dropout does, and judge after every epoch; save after ``stop`` batches in all."""
    log = [] if log is None else log
    saved = None
    for epoch in range(loader.epoch, epochs):
        for _, y in loader:
            log.append((epoch, y.tolist(), generator().random()))
            if sum(len(entry) == 3 for entry in log) == stop:
                saved = json.loads(json.dumps((loader.state_dict(), get_state(), log)))
        log.append((epoch, "judged"))
    return log, saved


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_resumed_after_any_batch_is_the_run_that_was_never_stopped(kind):
    manual_seed(0)
    whole, _ = run(loader_of(kind), epochs=3)
    batches = sum(len(entry) == 3 for entry in whole)
    for stop in range(1, batches + 1):
        manual_seed(0)
        _, (position, state, log) = run(loader_of(kind), epochs=3, stop=stop)
        manual_seed(99)
        loader = loader_of(kind)
        loader.load_state_dict(position)
        set_state(state)
        resumed, _ = run(loader, epochs=3, log=[tuple(entry) for entry in log])
        assert resumed == whole, stop


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_resumed_between_epochs_is_the_run_that_was_never_stopped(kind):
    manual_seed(0)
    loader = loader_of(kind)
    whole, _ = run(loader, epochs=3)
    manual_seed(0)
    loader = loader_of(kind)
    first, _ = run(loader, epochs=1)
    position, state = loader.state_dict(), get_state()
    assert (position["epoch"], position["batch"], position["generator"]) == (1, 0, None)
    manual_seed(99)
    other = loader_of(kind)
    other.load_state_dict(position)
    set_state(state)
    assert run(other, epochs=3, log=first)[0] == whole


def labels(loader):
    return [y.tolist() for _, y in loader]


def test_loading_a_position_does_not_move_the_generator_nor_does_the_rest_of_an_epoch():
    loader = loader_of("shuffled by the generator")
    iterator = iter(loader)
    next(iterator)
    position, before = loader.state_dict(), get_state()
    loader.load_state_dict(position)
    rest = labels(loader)
    assert get_state() == before
    assert rest == [y.tolist() for _, y in iterator]


def test_the_position_counts_batches_that_were_handed_out_and_moves_on_when_the_loop_has_ended():
    loader = loader_of("shuffled by the generator")
    places = []
    for _ in range(2):
        iterator = iter(loader)
        for _ in range(4):
            state = loader.state_dict()
            places.append((state["epoch"], state["batch"]))
            next(iterator, None)
        state = loader.state_dict()
        places.append((state["epoch"], state["batch"]))
    assert places == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]


def test_an_epoch_that_was_asked_for_has_its_order_though_no_batch_was_taken():
    loader = loader_of("shuffled by the generator")
    iterator = iter(loader)
    position = loader.state_dict()
    other = loader_of("shuffled by the generator")
    other.load_state_dict(position)
    assert labels(other) == [y.tolist() for _, y in iterator]


def test_a_loop_left_by_break_is_over_and_the_next_epoch_is_the_position():
    loader = loader_of("shuffled by a seed")
    orders = [labels(loader) for _ in range(2)]
    loader.epoch = 0
    for _ in loader:
        inside = loader.state_dict()
        break
    after = loader.state_dict()
    assert (inside["epoch"], inside["batch"]) == (0, 1) and (after["epoch"], after["batch"]) == (1, 0)
    for position, expected in ((inside, orders[0][1:]), (after, orders[1])):
        loader.load_state_dict(position)
        assert labels(loader) == expected
    list(itertools.islice(loader, 2))
    assert loader.state_dict()["epoch"] == 3


def test_of_several_iterations_the_latest_one_is_the_position():
    loader = loader_of("shuffled by a seed")
    first, second = iter(loader), iter(loader)
    next(first)
    next(first)
    next(second)
    state = loader.state_dict()
    assert (state["epoch"], state["batch"]) == (1, 1)
    list(second)
    next(first)
    state = loader.state_dict()
    assert (state["epoch"], state["batch"]) == (2, 0)


def test_an_item_that_fails_has_not_been_handed_out():
    class Flaky:
        fails = True

        def __len__(self):
            return 4

        def __getitem__(self, index):
            if index == 2 and self.fails:
                raise OSError("no such picture")
            return index

    loader = DataLoader(Flaky(), batch_size=2)
    iterator = iter(loader)
    next(iterator)
    with pytest.raises(OSError, match="no such picture"):
        next(iterator)
    assert loader.state_dict()["batch"] == 1
    Flaky.fails = False
    assert next(iterator).tolist() == [2, 3]


def test_setting_the_epoch_to_another_number_forgets_the_place_in_it_and_to_the_same_number_does_not():
    loader = loader_of("shuffled by a seed")
    whole = labels(loader)
    loader.load_state_dict(loader.state_dict() | {"epoch": 0, "batch": 1})
    loader.epoch = 0
    assert labels(loader) == whole[1:]
    loader.load_state_dict(loader.state_dict() | {"epoch": 5, "batch": 1})
    loader.epoch = 0
    assert labels(loader) == whole


def test_a_position_that_was_loaded_is_given_again_and_survives_copies():
    loader = loader_of("shuffled by the generator")
    iterator = iter(loader)
    next(iterator)
    position = loader.state_dict()
    rest = [y.tolist() for _, y in iterator]
    other = loader_of("shuffled by the generator")
    other.load_state_dict(position)
    assert other.state_dict() == position
    for again in (copy.copy(other), copy.deepcopy(other), pickle.loads(pickle.dumps(other))):
        assert again.state_dict() == position and labels(again) == rest


SHUFFLED = {"batch_size": 4, "shuffle": True}
OWN = {"items": 11, "batch_size": 4, "shuffle": True, "drop_last": False, "seed": None}
FRESH = {"epoch": 1, "batch": 0, "generator": None, **OWN}
LIKE = "the state must be of a loader like this one, but is of one with "
NOTHING = "; nothing was loaded"
REFUSED = [
    (FRESH | {"items": 12}, ValueError, LIKE + "items 12, not 11" + NOTHING),
    (FRESH | {"batch_size": 3, "seed": 5}, ValueError, LIKE + "batch_size 3, not 4; seed 5, not None" + NOTHING),
    (FRESH | {"shuffle": False}, ValueError, LIKE + "shuffle False, not True" + NOTHING),
    (FRESH | {"drop_last": True}, ValueError, LIKE + "drop_last True, not False" + NOTHING),
    (FRESH | {"epoch": -1}, ValueError, "epoch must be an integer of at least 0; got -1"),
    (FRESH | {"epoch": 1.5}, TypeError, "epoch must be an integer of at least 0; got 1.5"),
    (FRESH | {"batch": 4}, ValueError, "batch must be an integer in [0, 4); got 4"),
    (FRESH | {"batch": 1}, ValueError, "generator must be a state of it where an epoch has begun; got None"),
    (FRESH | {"generator": {"a": 1}}, ValueError, "state must be a dict that get_state gave; got {'a': 1}"),
    ([1], TypeError, "state_dict must be a mapping; got [1]"),
    (
        {"epoch": 1, "batch": 0},
        ValueError,
        "state_dict must hold batch, batch_size, drop_last, epoch, generator, items, seed, shuffle; "
        "got ['batch', 'epoch']",
    ),
]


@pytest.mark.parametrize(("state", "error", "message"), REFUSED)
def test_a_state_that_does_not_fit_is_refused_in_one_sentence_and_nothing_changes(state, error, message):
    loader = DataLoader(DATA, **SHUFFLED)
    iterator = iter(loader)
    next(iterator)
    before = loader.state_dict()
    with pytest.raises(error, match=f"^{re.escape('DataLoader.load_state_dict: ' + message)}$"):
        loader.load_state_dict(state)
    assert loader.state_dict() == before
    loader.load_state_dict(FRESH)
    assert loader.epoch == 1
