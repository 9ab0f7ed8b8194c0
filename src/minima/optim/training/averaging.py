"""EMA: an exponential moving average of the weights, which often does better than the weights themselves."""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from minima.autograd import Tensor
from minima.checks import checked, flag, integer, number
from minima.errors import sentence
from minima.loading import fitting
from minima.optim.core.lending import lent
from minima.optim.engines import precision
from minima.optim.host import copied, write
from minima.optim.language.hyper import hyper
from minima.optim.optimizer import Optimizer
from minima.optim.training.params import Tensors, named_tensors

__all__ = ["EMA"]


class _Follow(Optimizer):
    """Moves towards what it is given as gradients: an average, updated by the engines like any parameter.

    Each form starts at what it comes close to, which so keeps all its digits: the difference has lost those of the
    smaller of the two. Where nothing is kept, there is no difference: with an infinity in it, it would be NaN.
    """

    keep: float = hyper(default=0.999, low=0, high=1)
    slow: bool = hyper(default=True)
    at_once: bool = hyper(default=False)

    @staticmethod
    def update(param: Any, grad: Any, *, keep: Any, slow: Any, at_once: Any) -> Any:
        if at_once:
            return grad
        return param + (1 - keep) * (grad - param) if slow else grad + keep * (param - grad)


class EMA:
    """Keeps a moving average of the weights, which the model can use for evaluation.

    ::

        average = decay * average + (1 - decay) * weight

    The average starts as a copy of the weights, and covers about the last ``1 / (1 - decay)`` updates.

    Args:
        model: A module, or an iterable of Tensors or of ``(name, Tensor)`` pairs. Floating-point buffers of a module,
            such as the running statistics of ``BatchNorm1d``, are averaged too, so that they fit the averaged weights;
            integer buffers are not.
        decay: Exponential decay rate of the average, in [0, 1]: 0.999 for runs of ten thousand steps or more, 0.9999
            for very long runs, 0.99 for short runs.
        warmup: Whether early updates have a smaller decay rate, so that the initial weights are soon forgotten:
            ``min(decay, (1 + t) / (10 + t))`` in update ``t = 1, 2, ...``.

    Attributes:
        t: The number of updates.
        averages: The averages by name, at least in float32.

    Raises:
        TypeError: ``model`` contains other objects than floating-point Tensors, ``decay`` is not a number, or
            ``warmup`` is not a bool.
        ValueError: ``decay`` is out of range, two Tensors have the same name, or there is no Tensor.

    An update is one pass over memory, in place. Polyak and Juditsky, *Acceleration of Stochastic Approximation by
    Averaging*, 1992, for the idea. Differs from PyTorch's ``AveragedModel``, which by default copies the weights in its
    first update and the buffers in every update, and keeps the averages of half-precision weights in half precision,
    where small changes are lost.

    >>> from minima import Tensor
    >>> from minima.optim import EMA
    >>> w = Tensor([0.0], requires_grad=True)
    >>> ema = EMA([w], decay=0.75)
    >>> for value in (1.0, 2.0):
    ...     w.data = Tensor([value])
    ...     ema.update()
    >>> with ema.averaged():
    ...     w
    Tensor([0.6875], requires_grad=True)
    >>> w
    Tensor([2.], requires_grad=True)
    """

    decay: float = checked(partial(number, high=1))
    warmup: bool = checked(flag)
    t: int = checked(integer)

    def __init__(self, model: Tensors, decay: float = 0.999, *, warmup: bool = False) -> None:
        self.decay = decay
        self.warmup = warmup
        self.t = 0
        self._tensors = _named("EMA", model)
        self.averages = {name: Tensor(tensor, dtype=precision(tensor.dtype)) for name, tensor in self._tensors.items()}
        self._follow = _Follow(self.averages.values())
        self._lent = False

    def update(self) -> None:
        """Move the averages towards the current weights; call it after each step of the optimizer.

        Raises:
            RuntimeError: The weights are the averages, within `averaged`.
        """
        if self._lent:
            raise RuntimeError(sentence("EMA.update", "the model holds the averages", hint="leave averaged() first"))
        t = self.t + 1
        keep = min(self.decay, (1 + t) / (10 + t)) if self.warmup else self.decay
        self._follow.keep, self._follow.slow, self._follow.at_once = keep, keep >= 0.5, keep == 0
        for name, average in self.averages.items():
            average.grad = self._tensors[name]
        try:
            self._follow.step()
        finally:
            self._follow.zero_grad()
        self.t = t

    @contextmanager
    def averaged(self, model: Tensors = None) -> Generator[None]:
        """Within ``with ema.averaged():`` the model has the averaged weights; then its own are restored bit for bit.

        Args:
            model: Another model to get the averages, with the same names and shapes; by default the averaged model.

        Raises:
            ValueError: Names or shapes differ.
        """
        values = {name: average.buffer for name, average in self.averages.items()}
        targets = self._tensors
        if model is not None:
            targets = _named("EMA.averaged", model)
            own_arrays = {name: tensor.buffer for name, tensor in targets.items()}
            _, values = fitting("EMA.averaged", "the model", own_arrays, values, source="the averages")
        pairs = [(targets[name], value) for name, value in values.items()]
        before, self._lent = self._lent, self._lent or model is None
        try:
            with lent(pairs, copied, write):
                yield
        finally:
            self._lent = before

    def state_dict(self) -> dict[str, Any]:
        """The state for a later run: ``decay``, ``warmup``, ``t``, and copies of the ``averages`` as arrays."""
        state = self._state_views()
        return state | {"averages": {name: array.copy() for name, array in state["averages"].items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load the result of `state_dict`; if any part does not fit, nothing is loaded.

        Raises:
            TypeError: ``state_dict`` is not a state dict of `EMA`.
            ValueError: Names or shapes differ, or a number is out of range.
        """
        self._prepare_load(state_dict)()

    def _state_views(self) -> dict[str, Any]:
        averages = {name: average.buffer for name, average in self.averages.items()}
        return {"decay": self.decay, "warmup": self.warmup, "t": self.t, "averages": averages}

    def _prepare_load(self, state_dict: Mapping[str, Any]) -> Callable[[], None]:
        who = "EMA.load_state_dict"
        given = cast(object, state_dict)
        keys = ("decay", "warmup", "t", "averages")
        if not isinstance(given, Mapping) or any(key not in given for key in keys):
            raise TypeError(
                sentence(who, "state_dict must be what EMA.state_dict() gave", got=cast(object, state_dict))
            )
        decay, t = number(who, "decay", state_dict["decay"], 0, 1), integer(who, "t", state_dict["t"])
        own = {name: average.buffer for name, average in self.averages.items()}
        _, values = fitting(who, "the averages", own, state_dict["averages"])
        warmup = bool(state_dict["warmup"])

        def take_over() -> None:
            self.decay, self.warmup, self.t = decay, warmup, t
            for name, value in values.items():
                write(self.averages[name], value)

        return take_over

    def __repr__(self) -> str:
        return f"EMA({len(self.averages)} tensors, decay={self.decay}, warmup={self.warmup}, t={self.t})"


def _named(who: str, model: Tensors) -> dict[str, Tensor]:
    """The floating tensors to average, by name."""
    found = named_tensors(who, model)
    if callable(buffers := getattr(model, "named_buffers", None)):
        found += [(name, buffer) for name, buffer in cast(Iterable[Any], buffers()) if buffer.dtype.kind == "f"]
    named: dict[str, Tensor] = {}
    for name, tensor in found:
        if tensor.dtype.kind != "f":
            raise TypeError(sentence(who, f"{name!r} must be floating", got=str(tensor.dtype)))
        if name in named:
            raise ValueError(sentence(who, "every Tensor must have a name of its own", got=name))
        named[name] = tensor
    return named
