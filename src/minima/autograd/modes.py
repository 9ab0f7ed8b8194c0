"""Whether operations are recorded: ``no_grad`` and ``enable_grad``."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Generator
from contextvars import ContextVar
from typing import Any, TypeVar, cast

from minima.checks import flag
from minima.errors import sentence

__all__ = ["enable_grad", "inference_mode", "is_grad_enabled", "no_grad", "recording", "set_grad_enabled"]

# A context variable and not a global: threads and asyncio tasks each have their own mode.
recording: ContextVar[bool] = ContextVar("recording", default=True)

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Mode:
    """A context manager and a decorator within which operations are recorded, or not."""

    def __init__(self, name: str, enabled: bool) -> None:
        self._name = name
        self._enabled = enabled
        self._before: list[bool] = []

    def __enter__(self) -> None:
        self._before.append(recording.get())
        recording.set(self._enabled)

    def __exit__(self, *exception: object) -> None:
        recording.set(self._before.pop())

    def __call__(self, function: _Function) -> _Function:
        if inspect.isasyncgenfunction(function):
            hint = f"use with {self._name}() around the operations in it"
            raise TypeError(
                sentence(self._name, "an asynchronous generator cannot be decorated", got=function, hint=hint)
            )
        enabled = self._enabled

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with _Mode(self._name, enabled):
                return function(*args, **kwargs)

        @functools.wraps(function)
        def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            return (yield from _Steps(function(*args, **kwargs), enabled))

        @functools.wraps(function)
        async def wait(*args: Any, **kwargs: Any) -> Any:
            return await _Steps(function(*args, **kwargs).__await__(), enabled)

        if inspect.isgeneratorfunction(function):
            return cast(_Function, generate)
        return cast(_Function, wait if inspect.iscoroutinefunction(function) else call)


class _Steps(Generator[Any, Any, Any], Awaitable[Any]):
    """A generator, or a coroutine, in a mode of its own that holds from each of its suspensions to the next."""

    def __init__(self, steps: Generator[Any, Any, Any], enabled: bool) -> None:
        self._steps = steps
        self._inside = enabled

    def send(self, value: Any) -> Any:
        return self._resume(self._steps.send, value)

    def throw(self, *exception: Any) -> Any:
        return self._resume(self._steps.throw, *exception)

    def close(self) -> None:
        self._resume(self._steps.close)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    def _resume(self, step: Callable[..., Any], *args: Any) -> Any:
        outside = recording.get()
        recording.set(self._inside)
        try:
            return step(*args)
        finally:
            self._inside = recording.get()  # which a with statement around a yield may have changed
            recording.set(outside)


def no_grad() -> _Mode:
    """Within ``with no_grad():``, or in a function under ``@no_grad()``, nothing is recorded for ``backward``.

    Generator functions and coroutines can be decorated too: it holds while their own code runs, not while they wait.

    >>> from minima.autograd import Tensor
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with no_grad():
    ...     y = 2 * x
    >>> y.requires_grad
    False
    """
    return _Mode("no_grad", False)


def enable_grad() -> _Mode:
    """Records again inside a ``no_grad`` block; a context manager and a decorator too."""
    return _Mode("enable_grad", True)


def inference_mode() -> _Mode:
    """``no_grad``, by the name of PyTorch's faster one."""
    return _Mode("inference_mode", False)


class set_grad_enabled(_Mode):
    """Records from here on, or not, by ``mode``; in a ``with`` statement until its end, as a decorator in a function.

    >>> from minima.autograd import Tensor
    >>> x = Tensor([1.0], requires_grad=True)
    >>> with set_grad_enabled(False):
    ...     y = 2 * x
    >>> y.requires_grad
    False
    """

    def __init__(self, mode: bool) -> None:
        super().__init__("set_grad_enabled", flag("set_grad_enabled", "mode", mode))
        self._outside = recording.get()
        recording.set(self._enabled)

    def __enter__(self) -> None:
        super().__enter__()
        self._before[-1] = self._outside  # the constructor has switched already

    def __call__(self, function: _Function) -> _Function:
        recording.set(self._outside)
        return super().__call__(function)


def is_grad_enabled() -> bool:
    """Whether operations are currently recorded."""
    return recording.get()
