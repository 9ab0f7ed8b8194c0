"""Any rule of minima as an optimizer of PyTorch."""

import copyreg
from functools import cache
from typing import Any, cast

from minima import optim
from minima.torch.arguments import declaration_of
from minima.torch.optimizer import Optimizer

__all__ = ["adapt"]


@cache
def adapt(rule: type[optim.Optimizer]) -> type[Optimizer]:
    """Make an optimizer of PyTorch of a rule, that of a user too.

    Args:
        rule: A subclass of `minima.optim.Optimizer` with an ``update``.

    Returns:
        A subclass of ``torch.optim.Optimizer`` with the rule's hyperparameters, in the same order, with the same
        defaults; the same class for the same rule, in pickles too.

    Raises:
        TypeError: ``rule`` is no such class, or a name in it is one that PyTorch keeps for itself.

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
    declaration_of(rule)  # complains of what is none
    body: dict[str, Any] = {"__module__": rule.__module__, "__qualname__": rule.__qualname__}
    made: Any = _Adapted(rule.__name__, (Optimizer,), body, rule=rule)
    return made


class _Adapted(type):
    """The type of a class that no module has under its name: pickles refer to the rule, which can be found."""


def _reduced(cls: Any) -> Any:
    return (adapt, (cls.rule,)) if cls is adapt(cls.rule) else cls.__qualname__  # a subclass is found as usual


copyreg.pickle(cast(Any, _Adapted), _reduced)
