"""The optimizers of minima for JAX: every rule, a user's own too, as a gradient transformation as Optax has them."""

from collections.abc import Callable as _Callable
from typing import Any as _Any

from minima.errors import sentence as _sentence

try:
    from minima.jax.adaptation import adapt
    from minima.jax.dialects import INSTEAD as _INSTEAD
    from minima.jax.dialects import NAMES as _NAMES
    from minima.jax.dialects import named as _named
    from minima.jax.optax_state import from_optax, to_optax
    from minima.jax.sharpness import sharpness_aware
    from minima.jax.state import State
    from minima.jax.transformation import Transformation
except ModuleNotFoundError as error:
    if error.name != "jax":  # JAX is there, and what is missing is for its own message to say
        raise
    raise ModuleNotFoundError(_sentence("minima.jax", "needs JAX", hint="pip install jax"), name="jax") from None

from minima.optim.catalog import meant as _meant

__all__ = ["State", "Transformation", "adapt", "by_name", "from_optax", "names", "sharpness_aware", "to_optax", *_NAMES]  # pyright: ignore[reportUnsupportedDunderAll] - the stub lists them


def names() -> tuple[str, ...]:
    """The names of all factories in order, for command lines and configuration files."""
    return tuple(_NAMES)


def by_name(name: str) -> _Callable[..., Transformation]:
    """The factory with a name, in any case; ``-``, ``_`` and spaces are ignored.

    Args:
        name: Such as ``"adamw"``, ``"AdamW"`` or ``"schedule-free-sgd"``; Optax's names are Optax's algorithms.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: There is no such factory.
    """
    if isinstance(name, str) and name.lower() in _INSTEAD:  # pyright: ignore[reportUnnecessaryIsInstance]
        rule = f"there is no {name.lower()}: it {_INSTEAD[name.lower()]}"
        raise ValueError(_sentence("minima.jax.by_name", rule))
    return __getattr__(_meant("minima.jax.by_name", name, _NAMES))


def __getattr__(name: str) -> _Any:
    if name in _INSTEAD:
        raise AttributeError(_sentence("minima.jax", f"there is no {name}: it {_INSTEAD[name]}"))
    if name not in _NAMES:
        raise AttributeError(f"module 'minima.jax' has no attribute {name!r}")
    globals()[name] = made = _named(name)
    return made


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
