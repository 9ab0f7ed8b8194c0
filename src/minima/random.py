"""The one random generator that initialisers, Dropout and shuffles draw from."""

from typing import Any

import numpy as np

from minima.checks import integer
from minima.errors import sentence

__all__ = ["generator", "get_state", "manual_seed", "set_state"]

_generator = np.random.Generator(np.random.PCG64())


def manual_seed(seed: int) -> None:
    """Seed the global generator, so that all random numbers of minima are reproducible from here on.

    Without a call to it, the generator starts from the operating system's entropy, so that two runs differ.

    Args:
        seed: Any integer, at least 0.

    Raises:
        TypeError: ``seed`` is not an integer.
        ValueError: ``seed`` is negative.

    PyTorch also takes negative seeds, which it wraps around; NumPy's generator has no such seeds.

    >>> from minima.random import generator, manual_seed
    >>> manual_seed(0)
    >>> generator().random(2).round(4).tolist()
    [0.637, 0.2698]
    """
    _generator.bit_generator.state = np.random.PCG64(integer("manual_seed", "seed", seed)).state


def generator() -> np.random.Generator:
    """Return the global generator, a `numpy.random.Generator` with PCG64 (O'Neill 2014).

    It is a single object for the life of the process, also after `manual_seed` and `set_state`. NumPy's lock protects
    its draws, so threads may share it, but the order of their draws is then not determined.
    """
    return _generator


def get_state() -> dict[str, Any]:
    """Return the state of the generator as a plain dict of strings and integers, for JSON or pickle.

    >>> from minima.random import generator, get_state, set_state
    >>> state = get_state()
    >>> first = generator().random()
    >>> set_state(state)
    >>> generator().random() == first
    True
    """
    return dict(_generator.bit_generator.state)


def set_state(state: dict[str, Any]) -> None:
    """Restore a state that `get_state` returned.

    Raises:
        ValueError: ``state`` is not such a dict; the generator is left as it was.
    """
    _generator.bit_generator.state = generator_at("set_state", state).bit_generator.state


def generator_at(who: str, state: Any) -> np.random.Generator:
    """A generator of its own, where `get_state` found the global one."""
    fresh = np.random.PCG64(0)
    try:
        fresh.state = state
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise ValueError(sentence(who, "state must be a dict that get_state gave", got=state)) from error
    return np.random.Generator(fresh)
