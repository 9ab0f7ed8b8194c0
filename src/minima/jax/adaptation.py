"""Any rule of minima as a gradient transformation."""

from collections.abc import Callable
from functools import cache

from minima import optim
from minima.errors import sentence
from minima.jax.dialect import factory, own_names
from minima.jax.transformation import Transformation
from minima.optim.rules import RULES

__all__ = ["adapt"]


@cache
def adapt(rule: type[optim.Optimizer]) -> Callable[..., Transformation]:
    """Turn a rule, your own included, into a factory of gradient transformations.

    Args:
        rule: A subclass of `minima.optim.Optimizer` with an ``update``.

    Returns:
        A function with the rule's hyperparameters, in the same order and with the same defaults, and the keywords of
        OPTIONS. The same rule always gives the same function.

    Raises:
        TypeError: ``rule`` is not such a class.

    >>> import jax.numpy as jnp
    >>> from minima.jax import adapt
    >>> from minima.optim import Optimizer, hyper, sign
    >>> class SignDescent(Optimizer):
    ...     lr: float = hyper(default=0.01, low=0)
    ...     @staticmethod
    ...     def update(param, grad, *, lr):
    ...         return param - lr * sign(grad)
    >>> tx = adapt(SignDescent)(lr=0.5)
    >>> params = jnp.array([1.0, -2.0])
    >>> params, state = tx.step(2 * params, tx.init(params), params)
    >>> params
    Array([ 0.5, -1.5], dtype=float32)
    """
    if not (isinstance(rule, type) and issubclass(rule, optim.Optimizer)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(sentence("adapt", "a rule must be a subclass of minima.optim.Optimizer", got=rule))
    if rule.rule is None:
        hint = "write an update; one that overrides step() works on Tensors of minima"
        raise TypeError(sentence("adapt", f"{rule.__name__} has no rule", hint=hint))
    is_ours = RULES.get(rule.__name__) == rule.__module__
    return factory(own_names(rule, "minima.jax" if is_ours else rule.__module__))
