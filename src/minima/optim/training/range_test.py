"""The learning-rate range test: raise the learning rate from step to step, and see where the loss falls."""

import copy
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from minima import random
from minima.autograd import Tensor
from minima.autograd.tensor import mark_written
from minima.axes import axes
from minima.checks import integer, number
from minima.errors import sentence
from minima.optim.loops.loop import Loop
from minima.optim.optimizer import Optimizer
from minima.optim.training.params import check_loss_fn, checked_loss

__all__ = ["RangeTest", "lr_range_test"]

WINDOW = 5
"""Losses whose mean decides about divergence: a single batch may be a hard one."""


@dataclass(frozen=True, eq=False, repr=False)
class RangeTest:
    """The result of `lr_range_test`.

    Attributes:
        lrs: The learning rates, one for each step.
        losses: The losses of the batches, each before the step with its learning rate.
        smoothed: The losses, smoothed with a bell curve. Losses above the limit of divergence are replaced by the
            limit.
        diverged: Whether the loss rose too far or became nonfinite before the last learning rate.
    """

    lrs: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    diverged: bool

    @property
    def suggestion(self) -> float | None:
        """The learning rate at which the smoothed loss falls most steeply per decade, before its minimum.

        None if there are fewer than ten steps, or if the loss falls by less than three times its noise.
        """
        end = int(np.argmin(self.smoothed)) + 1 if len(self.smoothed) else 0
        if end < 10:
            return None
        fall = float(self.smoothed[0] - self.smoothed[end - 1])
        scatter = float(np.std(self.losses[:end] - self.smoothed[:end]))
        # The lowest of a few dozen averages lies below the first one, by more than the scatter even, by chance alone.
        if not fall > 3 * scatter + 1e-6 * abs(float(self.smoothed[0])):
            return None
        slopes = np.gradient(self.smoothed, np.log10(self.lrs))
        return float(self.lrs[int(np.argmin(slopes[:end]))])

    def plot(self, ax: Any = None) -> Any:
        """Plot the losses over the learning rates, with Matplotlib.

        Args:
            ax: The axes; by default those of a new figure.

        Returns:
            The axes.

        Raises:
            ImportError: ``ax`` is not given and Matplotlib is not installed.
        """
        ax = axes("RangeTest.plot") if ax is None else ax
        (line,) = ax.plot(self.lrs, self.smoothed, lw=1.8)
        ax.plot(self.lrs, self.losses, ".", color=line.get_color(), ms=3, alpha=0.5)
        if self.suggestion is not None:
            height = float(np.interp(math.log(self.suggestion), np.log(self.lrs), self.smoothed))
            ax.plot(self.suggestion, height, "o", color=line.get_color(), label=f"suggestion {self.suggestion:.2g}")
            ax.legend(frameon=False)
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=_view(self.smoothed))
        return ax

    def __repr__(self) -> str:
        span = f"lr {self.lrs[0]:.2g} to {self.lrs[-1]:.2g}, " if len(self.lrs) else ""
        found = "None" if self.suggestion is None else f"{self.suggestion:.2g}"
        return f"RangeTest({len(self.lrs)} steps, {span}diverged={self.diverged}, suggestion={found})"


def lr_range_test(
    loss_fn: Callable[..., Tensor],
    optimizer: Optimizer | Loop,
    batches: Iterable[Any],
    *,
    model: Any = None,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
    diverge: float = 4.0,
) -> RangeTest:
    """Train for some steps while the learning rate rises from ``low`` to ``high``, then restore everything.

    The loss is constant while learning rates are too small, then falls, and rises again when they are too large. Good
    learning rates are where it falls, somewhat below the minimum.

    Args:
        loss_fn: Called as ``loss_fn(*batch)`` if a batch is a tuple or a list, else as ``loss_fn(batch)``; returns the
            loss, a Tensor with one element.
        optimizer: The optimizer to test. Groups keep the ratio of their ``lr`` to the optimizer's.
        batches: A `DataLoader` or another iterable of batches, which is repeated when it ends.
        model: The module, to restore its buffers, such as the running statistics of ``BatchNorm1d``, and parameters
            that are not in the optimizer.
        low: The first learning rate, above 0.
        high: The last learning rate, above ``low``. The rates are evenly spaced on a logarithmic scale.
        steps: The number of steps, at least 2.
        diverge: The test ends when the mean of the last five losses is above this multiple, at least 1, of the lowest
            such mean; or at a nonfinite loss, which is not kept.

    Returns:
        The learning rates and losses, with a ``suggestion`` and a ``plot()``.

    Raises:
        TypeError: An argument has the wrong type, ``batches`` can be iterated only once, or the optimizer has no
            ``lr``.
        ValueError: An argument is out of range, there are no batches, or a loss has more than one element.

    Afterwards, also after an error or an interrupt, parameters, gradients, buffers and the random generator are
    restored bit for bit. The optimizer and the `DataLoader` do not change: copies of them are used, with the same
    parameters and the same data.

    Smith, *Cyclical Learning Rates for Training Neural Networks*, 2017, section 3.3, where the learning rate rises
    linearly; the logarithmic rise is that of fastai's finder.

    >>> from minima import Tensor
    >>> from minima.optim import SGD, lr_range_test
    >>> w = Tensor([2.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.1)
    >>> test = lr_range_test(lambda x: ((w * x) ** 2).mean(), optimizer, [Tensor([1.0])], low=1e-4, high=100.0)
    >>> test.diverged, 0.01 < test.suggestion < 1
    (True, True)
    >>> w, optimizer.lr, optimizer.t
    (Tensor([2.], requires_grad=True), 0.1, 0)
    """
    who = "lr_range_test"
    check_loss_fn(who, loss_fn)
    if not isinstance(optimizer, Optimizer | Loop):  # pyright: ignore[reportUnnecessaryIsInstance] - what users pass is not typed
        raise TypeError(sentence(who, "optimizer must be an Optimizer", got=optimizer))
    if not hasattr(optimizer, "lr"):
        raise TypeError(sentence(who, "the optimizer must have a learning rate, lr", got=optimizer))
    if isinstance(batches, Iterator) or not isinstance(batches, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        hint = "pass a DataLoader or a list: what can be gone over only once cannot be put back"
        raise TypeError(sentence(who, "batches must be an iterable of batches", got=batches, hint=hint))
    first, last = number(who, "low", low), number(who, "high", high)
    if not 0 < first < last:
        raise ValueError(sentence(who, "low and high must be 0 < low < high", got=(low, high)))
    lrs = np.geomspace(first, last, integer(who, "steps", steps, 2))
    limit = number(who, "diverge", diverge, 1)
    if hasattr(batches, "state_dict"):  # a loader has a position, which a copy keeps for itself
        batches = copy.copy(batches)
    with _undone(optimizer, model):
        losses, diverged = _train(loss_fn, _twin(optimizer), _endless(batches), lrs, limit)
    return RangeTest(lrs[: len(losses)], losses, _smoothed(losses, limit, max(1.0, len(lrs) / 40)), diverged)


def _train(
    loss_fn: Callable[..., Tensor],
    optimizer: Optimizer | Loop,
    batches: Iterator[Any],
    lrs: NDArray[np.float64],
    limit: float,
) -> tuple[NDArray[np.float64], bool]:
    """The loss for each learning rate, and whether they stop early."""
    set_lr = _setter(optimizer)
    losses: list[float] = []
    lowest = math.inf
    for lr in lrs.tolist():
        optimizer.zero_grad()
        batch = next(batches)
        given = cast(list[Any], batch) if isinstance(batch, tuple | list) else [batch]
        loss = checked_loss("lr_range_test", loss_fn(*given))
        value = float(loss.item())
        if not math.isfinite(value):
            return np.array(losses), True
        losses.append(value)
        recent = float(np.mean(losses[-WINDOW:]))
        if len(losses) >= WINDOW:
            if recent > _bound(lowest, limit):
                return np.array(losses), True
            lowest = min(lowest, recent)
        loss.backward()
        set_lr(lr)
        if optimizer.rule is not None and optimizer.rule.needs_loss:
            optimizer.step(loss=value)
        else:  # who overrides step() need not take a loss
            optimizer.step()
    return np.array(losses), False


def _twin(optimizer: Optimizer | Loop) -> Optimizer | Loop:
    """A copy with state, counts and schedules of its own, on the same parameters."""
    twin = copy.deepcopy(optimizer, {id(param): param for param in optimizer.params})
    twin.on_nonfinite = "propagate"  # the loss of the next batch tells
    return twin


def _setter(optimizer: Any) -> Callable[[float], None]:
    """What sets the learning rate of all groups, at the ratios that they have now."""
    base = float(optimizer.lr)
    ratios = [(group, group["lr"] / base if base else 1.0) for group in optimizer.param_groups if "lr" in group.own]

    def set_lr(lr: float) -> None:
        optimizer.lr = lr
        for group, ratio in ratios:
            group["lr"] = lr * ratio

    return set_lr


def _endless(batches: Iterable[Any]) -> Iterator[Any]:
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise ValueError(sentence("lr_range_test", "batches must give at least one batch", got=batches))


@contextmanager
def _undone(optimizer: Optimizer | Loop, model: Any) -> Generator[None]:
    """Puts back, in the end, what training changes: parameters, gradients, buffers, random numbers."""
    tensors = {id(tensor): tensor for tensor in optimizer.params}
    for name in ("parameters", "buffers") if model is not None else ():
        tensors |= {id(tensor): tensor for tensor in getattr(model, name)()}
    kept = [(tensor, tensor.buffer.copy(), tensor.grad) for tensor in tensors.values()]
    numbers = random.get_state()
    try:
        yield
    finally:
        for tensor, values, grad in kept:
            np.copyto(tensor.buffer, values)
            tensor.grad = grad
        mark_written(tensors.values())
        random.set_state(numbers)


def _bound(lowest: float, limit: float) -> float:
    """Above what a loss diverges: ``limit`` times the lowest one, or as far from a lowest one below 0."""
    return lowest + (limit - 1) * abs(lowest)


def _smoothed(losses: NDArray[np.float64], limit: float, width: float) -> NDArray[np.float64]:
    """The losses under a bell curve of this many steps; no outlier after the lowest counts as more than the bound."""
    if not len(losses):
        return losses
    lowest = int(np.argmin(losses))
    capped = np.minimum(losses, max(_bound(float(losses[lowest]), limit), float(losses[: lowest + 1].max())))
    places = np.arange(len(losses))
    weights = np.exp(-(((places[:, None] - places) / width) ** 2) / 2)
    return weights @ capped / weights.sum(axis=1)


def _view(losses: NDArray[np.float64]) -> tuple[float, float] | None:
    """The range of losses to show, with a margin."""
    if not len(losses):
        return None
    low, high = float(losses.min()), float(losses.max())
    margin = 0.08 * (high - low) or 1.0
    return low - margin, high + margin
