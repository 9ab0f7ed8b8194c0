"""The addresses of many tensors at once, each checked: dtype, device, shape and layout.

Asking a tensor for these things in Python takes half a microsecond, which for a network of many small tensors is more
than their update. PyTorch lets compiled code ask through DLPack's table of C functions; where it has none (before 2.10)
Python does the asking.
"""

import ctypes
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from minima.torch.memory import laid_out

__all__ = ["Addresses"]

_CAPSULE = b"dlpack_exchange_api"
_MAJOR = 1
"""The version of the table whose layout is known here."""
_FUNCTION = 5
"""Where in the table, in words of 8 bytes, the function stands that describes a tensor."""


class Addresses:
    """Collects the addresses of tensors that must be as some samples are."""

    def __init__(self, samples: Sequence[torch.Tensor], table: NDArray[np.int64], places: Sequence[int]) -> None:
        """Collect the address of each tensor into its place of ``table``."""
        self._samples = list(samples)
        self._table = table
        self._places = np.array(places, np.int64)
        ends = np.cumsum([0, *(sample.dim() for sample in samples)])
        # For every tensor: how many axes, where in the lists of sizes and strides its own begin, how many bytes an
        # entry has, and whether there is any.
        heads = [(s.dim(), end, s.element_size(), s.numel()) for s, end in zip(samples, ends[:-1], strict=True)]
        self._heads = np.array(heads, np.int64)
        self._sizes = np.array([size for sample in samples for size in sample.shape], np.int64)
        self._strides = np.array([stride for sample in samples for stride in sample.stride()], np.int64)
        self._kinds = np.zeros((len(samples), 2), np.int64)
        self._targets = table.ctypes.data + 8 * self._places
        self._code = _code()
        if self._code is not None:
            self._kinds[:] = [self._code.kind(sample) for sample in samples]
        tables = (self._heads, self._sizes, self._strides, self._kinds, self._targets)
        self._arguments = (*(array.ctypes.data for array in tables), len(samples), id(None))

    def __call__(self, tensors: list[Any]) -> bool:
        """Fill the table; False if one is not as it must be, or None. There must be as many as there were samples."""
        if self._code is None:
            return self._in_python(tensors)
        try:
            return self._code.call(id(tensors), *self._arguments) == len(self._samples)
        except (RuntimeError, BufferError):  # of a tensor that DLPack cannot describe
            return False

    def _in_python(self, tensors: Sequence[Any]) -> bool:
        for tensor, like in zip(tensors, self._samples, strict=True):
            if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
                return False
            if tensor.dtype != like.dtype or tensor.device != like.device or tensor.shape != like.shape:
                return False
            if not laid_out(tensor, like) or tensor.data_ptr() % tensor.element_size():
                return False
            if tensor.numel() and not tensor.data_ptr():
                return False
        self._table[self._places] = [tensor.data_ptr() for tensor in tensors]
        return True


class _Code:
    """PyTorch's function that describes a tensor, and the loop around it."""

    def __init__(self, function: int) -> None:
        from minima.torch.inspection import compile_inspection  # loads LLVM

        self.function = function
        self._describe = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p)(function)
        self._compiled = compile_inspection(function)
        self.call = self._compiled.call

    def kind(self, tensor: torch.Tensor) -> tuple[int, int]:
        """The device and the dtype of a tensor, as the loop compares them."""
        words = (ctypes.c_int64 * 6)()
        self._describe(tensor, ctypes.addressof(words))
        return words[1], words[2] >> 32


@cache
def _code() -> _Code | None:
    """The compiled code; None where PyTorch has no such function, or LLVM is missing."""
    capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if capsule is None or ctypes.sizeof(ctypes.c_void_p) != 8 or find_spec("llvmlite") is None:
        return None
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    words = (ctypes.c_int64 * 7).from_address(pointer(capsule, _CAPSULE))
    if words[0] & 0xFFFFFFFF != _MAJOR or not words[_FUNCTION]:
        return None
    return _Code(words[_FUNCTION])
