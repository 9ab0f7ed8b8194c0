"""SAM and ASAM: the gradient of a loss at the worst point nearby, as JAX has gradients."""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

from minima.checks import flag
from minima.errors import sentence
from minima.jax.core import OPTIONS, Core
from minima.jax.xla import jax, jnp
from minima.optim.loops.sam import Ascent

__all__ = ["sharpness_aware"]


def sharpness_aware(
    loss: Callable[..., Any],
    rho: Any = 0.05,
    adaptive: bool = False,
    eta: Any = 0.01,
    *,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    maximize: bool = False,
    axis_name: Any = None,
) -> Callable[..., tuple[Any, Any]]:
    """`jax.value_and_grad`, but with the gradient at the worst point nearby: SAM.

    ::

        scale = abs(param) + eta if adaptive else 1
        n = norm(scale*grad) + 1e-12                        (over all leaves)
        grad = (the gradient at param + rho*scale**2*grad/n)

    Pass the gradient to any transformation, of minima or of Optax, instead of the usual one. A minimum in a narrow
    ravine belongs to this training set only; a minimum in a wide valley is low for other data too. Every call takes two
    gradients, and so about twice the time.

    Args:
        loss: A function of the parameters, and possibly of other arguments, that returns the loss, a number.
        rho: Radius of the neighbourhood, at least 0; with ``adaptive``, use about ten times as much. It may be an
            array, also a traced one, which is not checked.
        adaptive: Whether the neighbourhood is proportional to the size of the parameters (ASAM), so that it does not
            depend on the scale of layers.
        eta: Added to the size of the parameter with ``adaptive``, at least 0; without ``adaptive`` it has no effect. It
            may be an array.
        argnums: The positions of the parameters among the arguments, as for `jax.value_and_grad`; the norm is over all
            of them.
        has_aux: Whether ``loss`` returns a pair of the loss and auxiliary data.
        maximize: Whether the transformation ascends: the worst point is then downhill.
        axis_name: The axis of `jax.shard_map`, `jax.pmap` or `jax.vmap` over which the loss and both gradients are
            averaged. With None there is no average: under such an axis, each part then has its own worst point.

    Returns:
        A function with the same arguments. It returns the loss at the parameters, and the gradient at the worst point
        in their structure; with ``has_aux``, the loss is in a pair with the auxiliary data. Both belong to the
        parameters themselves: batch statistics, as in Flax, do not include the worst point.

    Raises:
        TypeError: ``loss`` is not a function, or an argument is not a number or no flag; or the loss is not a number.
        ValueError: ``rho`` or ``eta`` is out of its range.

    If a first gradient is not finite, nothing is perturbed, and both gradients are the same. Parameters in half
    precision are perturbed with stochastic rounding, seeded by the loss, because rounding to nearest would lose most
    entries of the perturbation. Integers and other values without a gradient must be separate arguments.

    Source: Foret, Kleiner, Mobahi and Neyshabur, *Sharpness-Aware Minimization for Efficiently Improving
    Generalization*, ICLR 2021, Algorithm 1; with ``adaptive``, Kwon, Kim, Park and Choi, *ASAM: Adaptive
    Sharpness-Aware Minimization for Scale-Invariant Learning of Deep Neural Networks*, ICML 2021. The defaults are the
    papers'. The steps are those of `minima.optim.SAM`. Differs from ``optax.contrib.sam``, which wraps a transformation
    and takes one gradient per call: here there is one call per step, and no state.

    >>> import jax.numpy as jnp
    >>> import minima.jax as mj
    >>> value_and_grad = mj.sharpness_aware(lambda w: jnp.sum(w * w), rho=0.5)
    >>> w, tx = jnp.array([3.0, 4.0]), mj.sgd(0.25)
    >>> value, grad = value_and_grad(w)
    >>> w, state = tx.step(grad, tx.init(w), w)
    >>> value, w
    (Array(25., dtype=float32), Array([1.35, 1.8 ], dtype=float32))
    """
    who = "sharpness_aware"
    if not callable(loss):  # what users pass is not typed
        raise TypeError(sentence(who, "loss must be a function of the parameters", got=loss))
    for name, value in (("rho", rho), ("eta", eta)):
        if callable(value):
            hint = "call the function yourself, and give its result"
            raise TypeError(sentence(who, f"{name} must be a number", got=value, hint=hint))
    flag(who, "has_aux", has_aux)
    spelling = {"rho": "rho", "eta": "eta", "adaptive": "adaptive"}
    given = {"rho": rho, "eta": eta, "adaptive": adaptive}
    values = {name: declared.default for name, declared in Ascent.hyperparameters.items()} | given
    options = {**OPTIONS, "maximize": maximize, "rounding": "stochastic", "adjustable": ()}
    ascent = Core(who, Ascent, values, options, spelling, {})
    value_and_grad = jax.value_and_grad(loss, argnums, has_aux=has_aux)

    def averaged(tree: Any) -> Any:
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def worst(params: Any, grads: Any, value: Any) -> Any:
        """The parameters at the worst point nearby."""
        uphill = jax.tree.map(jnp.conj, grads)  # JAX's gradient by a complex number is the conjugate of the way up
        bits = jax.lax.bitcast_convert_type(jnp.asarray(value, jnp.float32), jnp.int32)
        there, _ = ascent.step(uphill, ascent.init(params)._replace(t=bits), params, None)
        is_finite = jnp.stack([jnp.isfinite(grad).all() for grad in jax.tree.leaves(grads)]).all()
        return jax.tree.map(partial(jnp.where, is_finite), there, params)

    @wraps(loss)
    def both(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        result, grads = value_and_grad(*args, **kwargs)
        value, *aux = result if has_aux else (result,)
        value = averaged(value)
        moved = list(args)
        if isinstance(argnums, int):
            moved[argnums] = worst(args[argnums], averaged(grads), value)
        else:
            there = worst(tuple(args[place] for place in argnums), averaged(grads), value)
            for place, param in zip(argnums, there, strict=True):
                moved[place] = param
        _, grads = value_and_grad(*moved, **kwargs)
        return ((value, *aux) if has_aux else value), averaged(grads)

    return both
