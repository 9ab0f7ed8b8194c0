"""The addresses of many tensors at once, each checked: dtype, device, shape, layout, and that all its memory is there.

Asking a tensor for these things in Python takes half a microsecond, which for a network of many small tensors is more
than their update. PyTorch lets compiled code ask through DLPack's table of C functions; that says nothing of where
memory ends, which compiled code reads from PyTorch's own structures. Where there is no table (before 2.10), or where
these structures are not laid out as is supposed, Python does the asking.
"""

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import chain
from operator import attrgetter, is_, itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from minima.torch.memory import has_strides
from minima.torch.private import Layout, dlpack_table, storage_layout
from minima.torch.soundness import extent, is_freed

__all__ = ["Addresses", "Collector", "Standing"]

_MAJOR = 1
"""The version of the table whose layout is known here."""
_FUNCTION = 5
"""Where in the table, in words of 8 bytes, the function stands that describes a tensor."""
_GRAD = "grad"

_gradient = attrgetter(_GRAD)


class Addresses:
    """Collects the addresses of tensors that must be as some samples are."""

    def __init__(self, samples: Sequence[torch.Tensor], table: NDArray[np.int64], places: Sequence[int]) -> None:
        """Collect the address of each tensor into its place of ``table``."""
        self._table = table
        self._places = np.array(places, np.int64)
        shapes = [sample.shape for sample in samples]
        # For every tensor: how many axes, where in the lists of sizes and strides its own begin, how many bytes an
        # entry has, and how many there are from the first entry to the end of the last.
        self._heads = np.zeros((len(samples), 4), np.int64)
        self._heads[:, 0] = list(map(len, shapes))
        np.cumsum(self._heads[:-1, 0], out=self._heads[1:, 1])
        self._heads[:, 2] = [sample.element_size() for sample in samples]
        self._heads[:, 3] = list(map(extent, samples))
        self._sizes = np.array(list(chain.from_iterable(shapes)), np.int64)
        self._strides = np.array(list(chain.from_iterable(sample.stride() for sample in samples)), np.int64)
        self._kinds = np.zeros((len(samples), 2), np.int64)
        self._targets = table.ctypes.data + 8 * self._places
        self.code = _code()
        """The compiled code; None where Python asks."""
        if self.code is not None:
            self._kinds[:] = [self.code.kind(sample) for sample in samples]
        # What Python compares; not the samples, which may be gradients, whose memory would be held.
        likes = () if self.code is not None else samples
        self._likes = [(like.dtype, like.device, like.shape, like.stride()) for like in likes]
        tables = (self._heads, self._sizes, self._strides, self._kinds, self._targets)
        self.tables = (*(array.ctypes.data for array in tables), id(None))
        """What compiled code is given to know how the tensors must be, and where their addresses go."""
        self._task = np.array([0, len(samples), *self.tables], np.int64)

    def __call__(self, tensors: list[Any]) -> bool:
        """Fill the table; False if one is not as it must be, or None. There must be as many as there were samples."""
        if self.code is None:
            return self._in_python(tensors)
        try:
            self._task[0] = id(tensors)
            return bool(self.code.inspect(self._task.ctypes.data))
        except (RuntimeError, BufferError):  # of a tensor that DLPack cannot describe
            return False

    def _in_python(self, tensors: Sequence[Any]) -> bool:
        for tensor, (dtype, device, shape, strides) in zip(tensors, self._likes, strict=True):
            if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
                return False
            if tensor.dtype != dtype or tensor.device != device or tensor.shape != shape:
                return False
            if not has_strides(tensor, strides) or tensor.data_ptr() % tensor.element_size():
                return False
            if is_freed(tensor) or tensor.numel() and not tensor.data_ptr():
                return False
        self._table[self._places] = [tensor.data_ptr() for tensor in tensors]
        return True


class Collector:
    """Collects the addresses of parameters, their gradients and their states, which it finds by itself.

    It looks for the gradients and the states anew in every call, so that others may exchange them.
    """

    def __init__(
        self,
        params: Sequence[torch.Tensor],
        states: Sequence[Mapping[str, Any]],
        names: Sequence[str],
        addresses: Addresses,
    ) -> None:
        """Collect addresses into the places of a table.

        Args:
            params: The parameters, dense real tensors that are not distributed.
            states: The state of each, a dict.
            names: The entries of a state that count.
            addresses: What knows their places, and what the tensors must be like: all parameters, then all gradients,
                then for each name all states.
        """
        self._params, self._states, self._names = list(params), list(states), list(names)
        self._addresses = addresses
        self._nothing: list[Any] = [None] * len(self._params)
        self.grads = self._nothing.copy()
        """The gradients that the last call found, alive for as long as they stand here."""
        kept = [state[name] for state in self._states for name in self._names]
        self._holders = [] if self._addresses.code is None else _held(kept)
        self._keys = np.array([id(name) for name in self._names], np.int64)
        lists = (id(self._params), id(self.grads), id(self._states))
        arguments = (*lists, self._keys.ctypes.data, len(self._names), id(_GRAD), len(self._params))
        self._task = np.array([*arguments, *self._addresses.tables], np.int64)
        self._address = self._task.ctypes.data
        self._collect = self._addresses.code and self._addresses.code.collect

    def __call__(self) -> bool:
        """Fill the table; False if a gradient is None, a state is missing, or a tensor is not as it must be."""
        try:
            fits = self._in_python() if self._collect is None else self._collect(self._address) == 1
        except Exception:  # whatever asking for an attribute or an entry may raise; the caller asks again, in Python
            fits = False
        if not fits:
            self.let_go()
        return fits

    def let_go(self) -> None:
        """Hold no gradient any longer."""
        self.grads[:] = self._nothing

    def _in_python(self) -> bool:
        self.grads[:] = map(_gradient, self._params)
        states = [state[name] for name in self._names for state in self._states]
        return self._addresses([*self._params, *self.grads, *states])


class Standing:
    """Tensors that stand in dicts under one name; whether they all still do, with their memory where it was."""

    def __init__(
        self, tensors: Sequence[torch.Tensor], states: Sequence[Mapping[str, Any]], name: str, *, compiled: bool
    ) -> None:
        """Remember them, each the beginning of a storage of its own; compiled code asks where that is wanted."""
        self._tensors, self._states, self._name = list(tensors), list(states), name
        self._addresses = np.array([tensor.data_ptr() for tensor in tensors], np.int64)
        self._code = _code() if compiled else None
        words = id(self._states), id(name), id(self._tensors), self._addresses.ctypes.data, len(self._tensors)
        self._task = np.array(words, np.int64)
        self._address = self._task.ctypes.data

    def __call__(self) -> bool:
        if self._code is not None:
            return self._code.stand(self._address) == 1
        try:
            return (
                all(map(is_, map(itemgetter(self._name), self._states), self._tensors))
                and [tensor.data_ptr() for tensor in self._tensors] == self._addresses.tolist()
            )
        except KeyError:  # someone took it out of a dict
            return False


def _held(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Something that refers to each of the tensors inside PyTorch.

    DLPack's function takes a second reference to a tensor, which costs 40 ns if there was one only: PyTorch then has to
    tell Python. State has one, Python's own. A tensor whose gradient it is holds such a reference, without a copy. Not
    for parameters: the garbage collector does not see these references, and parameters may refer to their optimizer.
    """
    holders = [tensor.detach() for tensor in tensors]
    for holder, tensor in zip(holders, tensors, strict=True):
        holder.grad = tensor
    return holders


class _Code:
    """PyTorch's function that describes a tensor, and the loops around it."""

    def __init__(self, function: int, layout: Layout) -> None:
        from minima.torch.inspection import compile_inspection  # loads LLVM

        self.function = function
        self._kinds: dict[tuple[torch.device, torch.dtype], tuple[int, int]] = {}
        self._describe = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p)(function)
        self._compiled = compile_inspection(function, layout)
        self.inspect = self._compiled.inspect.call
        self.collect = self._compiled.collect.call
        self.stand = self._compiled.stand.call

    def kind(self, tensor: torch.Tensor) -> tuple[int, int]:
        """The device and the dtype of a tensor, as the loop compares them."""
        key = tensor.device, tensor.dtype
        if key not in self._kinds:
            words = (ctypes.c_int64 * 6)()
            self._describe(tensor, ctypes.addressof(words))
            self._kinds[key] = words[1], words[2] >> 32
        return self._kinds[key]


@cache
def _code() -> _Code | None:
    """The compiled code; None where PyTorch has no such function or another layout, or LLVM is missing."""
    address = dlpack_table()
    if address is None or ctypes.sizeof(ctypes.c_void_p) != 8 or find_spec("llvmlite") is None:
        return None
    words = (ctypes.c_int64 * 7).from_address(address)
    if words[0] & 0xFFFFFFFF != _MAJOR or not words[_FUNCTION]:
        return None
    layout = storage_layout()
    return None if layout is None else _Code(words[_FUNCTION], layout)
