"""Any rule of minima as an optimizer of PyTorch."""

import copyreg
from functools import cache
from typing import Any, cast

from minima import optim
from minima.errors import sentence
from minima.optim.core.variants import MASTER
from minima.optim.language.trace import EMA
from minima.optim.rules import RULES
from minima.torch.dialect import Dialect, habits
from minima.torch.dialects import DIALECTS, INSTEAD
from minima.torch.optimizer import Optimizer
from minima.torch.state import STEP

__all__ = ["adapt", "named"]


@cache
def adapt(rule: type[optim.Optimizer]) -> type[Optimizer]:
    """Turn a rule, your own included, into a PyTorch optimizer.

    Args:
        rule: A subclass of `minima.optim.Optimizer` with an ``update``.

    Returns:
        A subclass of ``torch.optim.Optimizer`` with the rule's hyperparameters, in the same order, with the same
        defaults, and PyTorch's names: ``beta1`` and ``beta2`` are ``betas``, weight decay is ``weight_decay``. The same
        rule always gives the same class, also in pickles.

    Raises:
        TypeError: ``rule`` is not such a class, or uses a name that PyTorch reserves.

    >>> import torch
    >>> from minima.optim import Optimizer, hyper, sign
    >>> from minima.torch import adapt
    >>> class SignDescent(Optimizer):
    ...     lr: float = hyper(default=0.01, low=0)
    ...     @staticmethod
    ...     def update(param, grad, *, lr):
    ...         return param - lr * sign(grad)
    >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = adapt(SignDescent)([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    tensor([ 0.5000, -1.5000], requires_grad=True)
    """
    if not (isinstance(rule, type) and issubclass(rule, optim.Optimizer)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(sentence("adapt", "a rule must be a subclass of minima.optim.Optimizer", got=rule))
    if rule.rule is None:
        hint = "write an update; one that overrides step() works on Tensors of minima"
        raise TypeError(sentence("adapt", f"{rule.__name__} has no rule", hint=hint))
    if taken := {STEP, MASTER, EMA, "params", "param_names"} & {*rule.rule.state, *rule.hyperparameters}:
        rule_text = f"{rule.__name__} must not have a state or hyperparameter {', '.join(taken)}"
        raise TypeError(sentence("adapt", rule_text, hint="PyTorch has another of that name"))
    is_known = any(issubclass(rule, dialect.rule) for dialect in DIALECTS.values())
    is_named = RULES.get(rule.__name__) == rule.__module__ and rule.__name__ not in (*DIALECTS, *INSTEAD)
    module = "minima.torch" if is_named else rule.__module__
    return _made(habits(rule, is_known=is_known), module, rule.__qualname__)


def named(name: str) -> type[Optimizer]:
    """The optimizer of PyTorch of this name: what ``torch.optim`` has under it, else the rule of minima.

    Raises:
        AttributeError: There is none.
    """
    if name in DIALECTS:
        return _made(DIALECTS[name], "minima.torch", name)
    return adapt(getattr(optim, name))


@cache
def _made(dialect: Dialect, module: str, name: str) -> type[Optimizer]:
    bases = (named(dialect.extends) if dialect.extends else Optimizer,)
    made: Any = _Adapted(dialect.name, bases, {"__module__": module, "__qualname__": name}, dialect=dialect)
    return made


class _Adapted(type):
    """The type of a class that no module may have under its name: pickles refer to its rule, which can be found."""


def _reduced(cls: Any) -> Any:
    return (adapt, (cls.rule,)) if cls is adapt(cls.rule) else cls.__qualname__  # another is found as usual


copyreg.pickle(cast(Any, _Adapted), _reduced)
