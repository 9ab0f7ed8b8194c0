"""Whether operations are recorded: ``no_grad`` and ``enable_grad``."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["enable_grad", "is_grad_enabled", "no_grad", "recording"]

# A context variable and not a global: threads and asyncio tasks each have their own mode.
recording: ContextVar[bool] = ContextVar("recording", default=True)


@contextmanager
def _mode(enabled: bool) -> Generator[None]:
    before = recording.get()
    recording.set(enabled)
    try:
        yield
    finally:
        recording.set(before)


def no_grad():
    """Within ``with no_grad():``, or in a function under ``@no_grad()``, nothing is recorded for ``backward``.

    >>> from minima.autograd import Tensor
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with no_grad():
    ...     y = 2 * x
    >>> y.requires_grad
    False
    """
    return _mode(False)


def enable_grad():
    """Records again inside a ``no_grad`` block; a context manager and a decorator too."""
    return _mode(True)


def is_grad_enabled() -> bool:
    """Whether operations are recorded here and now."""
    return recording.get()
