"""The global generator: seeding, state, and the sentences for bad seeds."""

import json
import re

import numpy as np
import pytest

from minima.random import generator, get_state, manual_seed, set_state


def test_equal_seeds_give_equal_draws_and_other_seeds_others():
    draws = []
    for seed in (3, 3, 4, 2**200, np.int64(3)):
        manual_seed(seed)
        draws.append(generator().random(4).tolist())
    assert draws[0] == draws[1] == draws[4]
    assert len({tuple(draw) for draw in draws}) == 3


def test_seeding_reaches_who_already_holds_the_generator():
    held = generator()
    manual_seed(1)
    expected = np.random.Generator(np.random.PCG64(1)).random(3)
    assert held.random(3).tolist() == expected.tolist()


def test_state_goes_through_json_and_repeats_draws_of_every_kind():
    manual_seed(5)
    generator().random(1, dtype=np.float32)  # leaves half a word in the buffer, which is part of the state
    state = json.loads(json.dumps(get_state()))

    def draw():
        source = generator()
        return (
            source.random(3, dtype=np.float32).tolist(),
            source.normal(size=3).tolist(),
            source.permutation(5).tolist(),
        )

    first = draw()
    set_state(state)
    assert draw() == first


def test_a_state_does_not_change_when_the_generator_goes_on():
    manual_seed(5)
    state = get_state()
    text = json.dumps(state)
    generator().random(10)
    assert json.dumps(state) == text


@pytest.mark.parametrize(
    ("seed", "error", "got"),
    [
        (-1, ValueError, "-1"),
        (1.0, TypeError, "1.0"),
        (True, TypeError, "True"),
        ("1", TypeError, "'1'"),
        (None, TypeError, "None"),
    ],
)
def test_a_bad_seed_gets_one_sentence(seed, error, got):
    before = get_state()
    with pytest.raises(error, match=re.escape(f"manual_seed: seed must be an integer of at least 0; got {got}") + "$"):
        manual_seed(seed)
    assert get_state() == before


@pytest.mark.parametrize(
    "state",
    [
        {},
        None,
        {"bit_generator": "MT19937"},
        {"bit_generator": "PCG64", "state": {"state": -1, "inc": 1}, "has_uint32": 0, "uinteger": 0},
    ],
)
def test_a_bad_state_gets_one_sentence_and_changes_nothing(state):
    before = get_state()
    with pytest.raises(ValueError, match="^set_state: state must be a dict that get_state gave; got "):
        set_state(state)
    assert get_state() == before
