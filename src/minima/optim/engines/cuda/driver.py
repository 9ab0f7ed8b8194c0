"""NVIDIA's driver, as far as launching a kernel takes it: PTX in, a function that puts a launch on a stream out."""

import ctypes
import os
from collections.abc import Sequence
from functools import cache
from typing import Any, NoReturn

from minima.errors import sentence
from minima.optim.engines.cpu.once import once

__all__ = ["Launcher", "driver_is_there"]

_SWITCH = "MINIMA_LAUNCH_BLOCKING"
_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")
_ERROR_LOG, _ERROR_LOG_BYTES = 5, 6
"""The driver's numbers for two options of its compiler: where it may write what is wrong, and how much."""


@cache
def _driver() -> Any:
    """The library that comes with every driver; None where there is none."""
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        pointer = ctypes.c_void_p
        library.cuLaunchKernel.argtypes = [pointer, *[ctypes.c_uint] * 7, *[pointer] * 3]
        return library
    return None


def driver_is_there() -> bool:
    """Whether NVIDIA's driver is installed."""
    return _driver() is not None


class Launcher:
    """Puts launches of a kernel on streams. The GPU that it is for must be the current one, then as now.

    A kernel that goes wrong is noticed by whoever waits for the GPU next. With the environment variable
    ``MINIMA_LAUNCH_BLOCKING`` set to 1 that is the launch itself, whose complaint names the rule.
    """

    def __init__(self, text: str, name: str, arguments: int, device: int) -> None:
        """Launch the function ``name`` of a module in PTX, which takes so many words of 64 bits, on a GPU."""
        self._name = name
        self._function = _loaded(text, name, device)
        self._words = (ctypes.c_int64 * arguments)()
        places = (ctypes.addressof(self._words) + 8 * i for i in range(arguments))
        self._places = (ctypes.c_void_p * arguments)(*places)
        self._launch = _driver().cuLaunchKernel
        self._waits = os.environ.get(_SWITCH) == "1"

    def __call__(self, blocks: int, threads: int, stream: int, arguments: Sequence[int]) -> None:
        """Put a launch on a stream."""
        self._words[:] = arguments  # the driver copies them before it returns
        result = self._launch(self._function, blocks, 1, 1, threads, 1, 1, 0, stream, self._places, None)
        if result:
            _refuse(self._name, result)
        if self._waits and not _records(stream) and (result := _driver().cuStreamSynchronize(ctypes.c_void_p(stream))):
            _refuse(self._name, result, did="stopped")


def _records(stream: int) -> bool:
    """Whether a graph records a stream, which is not to be waited for then."""
    status = ctypes.c_int()
    return not _driver().cuStreamIsCapturing(ctypes.c_void_p(stream), ctypes.byref(status)) and status.value != 0


@once
def _loaded(text: str, name: str, device: int) -> ctypes.c_void_p:
    """A function of a module, in the context of a GPU, which is the current one, for ever."""
    function = ctypes.c_void_p()
    result = _driver().cuModuleGetFunction(ctypes.byref(function), _module(text, name, device), name.encode())
    if result:
        _refuse(name, result)
    return function


_modules: dict[tuple[str, int], ctypes.c_void_p] = {}


def _module(text: str, name: str, device: int) -> ctypes.c_void_p:
    """A module, loaded once into the context of a GPU."""
    if (text, device) not in _modules:
        module, log = ctypes.c_void_p(), ctypes.create_string_buffer(8192)
        options = (ctypes.c_int * 2)(_ERROR_LOG, _ERROR_LOG_BYTES)
        values = (ctypes.c_void_p * 2)(ctypes.addressof(log), len(log))
        result = _driver().cuModuleLoadDataEx(ctypes.byref(module), text.encode(), 2, options, values)
        if result:
            _refuse(name, result, log.value.decode(errors="replace"))
        _modules[text, device] = module
    return _modules[text, device]


def _refuse(name: str, result: int, more: str = "", did: str = "did not take") -> NoReturn:
    said = ctypes.c_char_p()
    _driver().cuGetErrorString(result, ctypes.byref(said))
    text = f"{(said.value or b'an unknown error').decode()} {more}".strip()
    rule = f"NVIDIA's driver {did} the kernel, by error {result}"
    raise RuntimeError(sentence(name, rule, got=text, hint=f"{_SWITCH}=1 in the environment shows whose fault it is"))
