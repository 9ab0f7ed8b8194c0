"""Any rule of minima as a gradient transformation."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from minima import optim
from minima.errors import sentence
from minima.jax.transformation import OPTIONS, Core, Transformation
from minima.optim.rules import RULES

__all__ = ["adapt"]


@cache
def adapt(rule: type[optim.Optimizer]) -> Callable[..., Transformation]:
    """Make a factory of gradient transformations of a rule, that of a user too.

    Args:
        rule: A subclass of `minima.optim.Optimizer` with an ``update``.

    Returns:
        A function with the rule's hyperparameters, in the same order and with the same defaults, and the keywords of
        OPTIONS. It is the same one for the same rule.

    Raises:
        TypeError: ``rule`` is no such class.

    >>>     >>> from minima.jax import adapt
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
    name = rule.__name__.lower()
    declaration = rule._declaration  # pyright: ignore[reportPrivateUsage] - a face of it
    positional = [each for each, declared in declaration.hypers.items() if not declared.kw_only]

    def factory(*args: Any, **kwargs: Any) -> Transformation:
        options = {each: kwargs.pop(each, default) for each, default in OPTIONS.items()}
        if "decay" in kwargs:
            options["decay_mode"] = kwargs.pop("decay")
        if len(args) > len(positional):
            rule_text = f"takes at most {len(positional)} positional arguments ({', '.join(positional)})"
            raise TypeError(sentence(name, rule_text, got=len(args)))
        given: dict[str, Any] = dict(zip(positional, args, strict=False))
        for written, value in kwargs.items():
            spelled = declaration.spelled(written)
            if spelled in given or spelled not in declaration.hypers:
                raise TypeError(sentence(name, f"{spelled} is given twice"))
            given[spelled] = value
        values = {each: given.get(each, declared.default) for each, declared in declaration.hypers.items()}
        return Transformation(Core(name, rule, values, options))

    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(each, kinds[declared.kw_only], default=declared.default)
        for each, declared in declaration.hypers.items()
    ]
    parameters.sort(key=lambda parameter: parameter.kind)
    parameters += [inspect.Parameter(each, kinds[1], default=default) for each, default in OPTIONS.items()]
    made: Any = factory
    made.__signature__ = inspect.Signature(parameters)
    made.__name__ = made.__qualname__ = name
    made.__module__ = "minima.jax" if RULES.get(rule.__name__) == rule.__module__ else rule.__module__
    made.__doc__ = inspect.getdoc(rule)
    return made
