"""What the tests of minima.jax share: parameters, gradients, and steps of the reference."""

import jax.numpy as jnp
import numpy as np

import jax
from minima import Tensor, optim
from minima.optim.rules import RULES

SHAPES = {"first": {"w": (6, 4), "b": (7,)}, "second": (3, 5), "third": ()}
"""A tree with a matrix that is tall, one that is wide, a vector, and a number."""
NAMES = ["first.b", "first.w", "second", "third"]


def filled(numbers, dtype="float32"):
    """A tree of the shapes, filled by a function of the shape."""
    return jax.tree.map(lambda shape: np.asarray(numbers(shape), dtype), SHAPES, is_leaf=lambda x: isinstance(x, tuple))


def start(dtype="float32"):
    rng = np.random.default_rng(0)
    return filled(lambda shape: rng.normal(size=shape), dtype)


def gradients(step, dtype="float32"):
    """Gradients over five orders of magnitude."""
    rng = np.random.default_rng(1 + step)
    return filled(lambda shape: rng.normal(size=shape) * 10 ** rng.uniform(-3, 2), dtype)


LOSSES = np.abs(np.random.default_rng(7).normal(1.0, 2.0, size=64)).astype("float32")
"""The loss of each step, for rules that look at it."""


def arrays(tree, dtype=None):
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


def stepped(cls, count, dtype="float32", **settings):
    """The parameters and the optimizer after so many steps of the reference engine."""
    params = [Tensor(x, dtype=dtype, requires_grad=True) for x in jax.tree.leaves(start(dtype))]
    engine = {} if cls is optim.Muon else {"engine": "reference"}
    optimizer = cls(list(zip(NAMES, params, strict=True)), **settings, **engine)
    for step in range(count):
        for param, grad in zip(params, jax.tree.leaves(gradients(step, dtype)), strict=True):
            param.grad = Tensor(grad, dtype=dtype)
        optimizer.step(loss=float(LOSSES[step]))
    return [param.detach().numpy() for param in params], optimizer


def run(step, state, count, params=None, cls=None):
    """The parameters and the state after so many calls of ``step(grads, state, params)``.

    A rule ``cls`` that needs the loss gets it.
    """
    params = arrays(start()) if params is None else params
    for number in range(count):
        given = {"loss": LOSSES[number]} if cls is not None and cls.rule.needs_loss else {}
        params, state = step(arrays(gradients(number)), state, params, **given)
    return params, state


ALGORITHMS = [getattr(optim, name) for name in RULES if getattr(optim, name).rule is not None]
