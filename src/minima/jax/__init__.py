"""The optimizers of minima for JAX: every rule, a user's own too, as a gradient transformation as Optax has them."""

from typing import Any as _Any

from minima.errors import sentence as _sentence

try:
    from minima.jax.adaptation import adapt
    from minima.jax.dialects import INSTEAD as _INSTEAD
    from minima.jax.dialects import NAMES as _NAMES
    from minima.jax.dialects import named as _named
    from minima.jax.state import State
    from minima.jax.transformation import Transformation
except ModuleNotFoundError as error:
    if error.name != "jax":  # JAX is there, and what is missing is for its own message to say
        raise
    raise ModuleNotFoundError(_sentence("minima.jax", "needs JAX", hint="pip install jax"), name="jax") from None

__all__ = ["State", "Transformation", "adapt", *_NAMES]  # pyright: ignore[reportUnsupportedDunderAll] - the stub lists them


def __getattr__(name: str) -> _Any:
    if name in _INSTEAD:
        raise AttributeError(_sentence("minima.jax", f"there is no {name}: it {_INSTEAD[name]}"))
    if name not in _NAMES:
        raise AttributeError(f"module 'minima.jax' has no attribute {name!r}")
    globals()[name] = made = _named(name)
    return made


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
