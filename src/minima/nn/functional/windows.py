"""The arguments of functions with windows: one integer for all axes or one for each, and the shapes of inputs."""

from collections.abc import Sequence
from typing import Any

from minima.autograd import Tensor
from minima.autograd.formulas import floating
from minima.autograd.operations.windows import Window
from minima.autograd.tensor import TensorLike
from minima.checks import integer
from minima.errors import sentence

__all__ = ["Sizes", "batched", "check_fit", "sizes"]

Sizes = int | Sequence[int]
AXES = ("L",), ("H", "W"), ("D", "H", "W")


def sizes(who: str, name: str, value: Any, count: int, low: int = 1) -> tuple[int, ...]:
    """``value`` as a tuple of ``count`` integers from ``low`` up; one integer stands for all of them."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return (integer(who, name, value, low),) * count
    if len(value) != count:  # pyright: ignore[reportUnknownArgumentType]
        raise ValueError(sentence(who, f"{name} must be an integer or {count} of them", got=value))  # pyright: ignore[reportUnknownArgumentType]
    return tuple(integer(who, name, each, low) for each in value)  # pyright: ignore[reportUnknownVariableType]


def batched(who: str, x: TensorLike, channels: int | None, count: int) -> tuple[Tensor, bool]:
    """The input as a floating tensor of shape (N, C, *sizes), and whether it came without N, as one sample."""
    x = floating(x)
    single = len(x.shape) == count + 1
    whole = x.unsqueeze(0) if single else x
    if len(whole.shape) != count + 2 or (channels is not None and whole.shape[1] != channels):
        shape = f"{'C' if channels is None else channels}, {', '.join(AXES[count - 1])}"
        raise ValueError(sentence(who, f"the input must have the shape (N, {shape}) or ({shape})", got=x.shape))
    return whole, single


def check_fit(who: str, window: Window, shape: tuple[int, ...]) -> None:
    """Refuses an input in which not even one window fits."""
    if min(window.positions(shape)) < 1:
        rule = f"the input must be at least as long as the window of {window.spans}, padding {window.padding} included"
        raise ValueError(sentence(who, rule, got=shape[2:]))
