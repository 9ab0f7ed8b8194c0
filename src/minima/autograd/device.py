"""Where a tensor lives, and with it the array namespace that its operations are written against."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy

from minima.errors import sentence

__all__ = ["Device", "as_device", "cpu"]


@dataclass(frozen=True, slots=True, repr=False)
class Device:
    """A place for tensors: its ``name``, and ``xp``, the namespace (NumPy, say) whose functions take its arrays."""

    name: str
    xp: Any = field(compare=False)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Callable[..., "Device"], tuple[str]]:
        return as_device, (self.name,)  # a namespace is a module, and modules cannot be pickled


_CPU = Device("cpu", numpy)


def cpu() -> Device:
    """The CPU: the device of every ``minima`` tensor, with NumPy's arrays.

    >>> cpu()
    cpu
    """
    return _CPU


def as_device(device: Device | str | None) -> Device:
    """The device that ``device`` names; ``None`` is the CPU."""
    if device is None or device == "cpu" or device == _CPU:
        return _CPU
    raise ValueError(
        sentence(
            "Tensor",
            "device must be 'cpu', where minima's own Tensor lives",
            got=device,
            hint="for accelerators train a PyTorch or a JAX model",
        )
    )
