"""Modules in another dtype: ``to``, ``float``, ``double``, ``half``, in the objects that are there."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from minima.autograd import Tensor, as_dtype
from minima.autograd.device import Device, as_device
from minima.autograd.dtypes import DTypeLike
from minima.autograd.methods_pytorch import place_and_dtype
from minima.autograd.tensor import recast
from minima.checks import flag
from minima.errors import sentence

if TYPE_CHECKING:
    from minima.nn.module import Module
    from minima.nn.parameter import Parameter

__all__ = ["Castable"]


class Castable:
    """What a module supplies for it, and the methods."""

    @abstractmethod
    def modules(self) -> list[Module]:
        """This module and all modules inside it."""

    @abstractmethod
    def parameters(self, recurse: bool = True) -> list[Parameter]:
        """The parameters."""

    @abstractmethod
    def buffers(self, recurse: bool = True) -> list[Tensor]:
        """The buffers."""

    def _buffer_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """What floating buffers become where parameters become ``dtype``."""
        return dtype

    def to(self, *targets: Any, dtype: DTypeLike | None = None, device: Device | str | None = None) -> Self:
        """Change the dtype of all floating parameters, buffers and gradients, and give the module back.

        The parameters stay the objects that they are, with memory of their own; integer buffers keep their dtype. Make
        the optimizer afterwards: one that was made before refuses its next step, for its state has the old dtype.

        Args:
            targets: A floating dtype, a device, or a tensor that has both.
            dtype: The dtype, by its name.
            device: ``"cpu"``, where all of minima's own tensors are.

        Raises:
            TypeError: The dtype is none, or not a floating one.
            ValueError: The device is another one.

        >>> from minima import nn
        >>> nn.Linear(3, 2).to("float64").weight.dtype
        dtype('float64')
        """
        device, dtype = place_and_dtype(targets, device, dtype)
        as_device(device)
        if dtype is None:
            return self
        wanted = as_dtype(dtype)
        if wanted.kind != "f":
            who = f"{type(self).__name__}.to"
            raise TypeError(sentence(who, "dtype must be a floating one", got=str(wanted)))
        for module in self.modules():
            for parameter in module.parameters(recurse=False):
                recast(parameter, wanted)
            for buffer in module.buffers(recurse=False):
                if buffer.dtype.kind == "f":
                    recast(buffer, module._buffer_dtype(wanted))
        return self

    def float(self) -> Self:
        """All floating parameters and buffers as float32; see `to`."""
        return self.to(np.float32)

    def double(self) -> Self:
        """All floating parameters and buffers as float64; see `to`."""
        return self.to(np.float64)

    def half(self) -> Self:
        """All floating parameters and buffers as float16; see `to`. Results are computed in float32 and rounded."""
        return self.to(np.float16)

    def cpu(self) -> Self:
        """The module itself, which is on the CPU."""
        return self.to(device="cpu")

    def cuda(self) -> Self:
        """Refused: minima's own tensors are on the CPU."""
        return self.to(device="cuda")

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set ``requires_grad`` of all parameters, ``False`` to freeze them; give the module back.

        Args:
            requires_grad: Whether ``backward`` accumulates gradients in them.
        """
        flag(f"{type(self).__name__}.requires_grad_", "requires_grad", requires_grad)
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self
