"""The Tensors of an optimizer as one vector."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minima.errors import sentence
from minima.optim.engines import Array, precision
from minima.optim.host import Slot, write

__all__ = ["TensorSpace"]

_quiet = np.errstate(all="ignore")  # what is not finite is looked for where it matters

BLOCK = 1 << 15
"""How many numbers a product is computed for before they are added, so that it is still in the cache then."""


class TensorSpace:
    """The parameters as one vector, in the precision of the most precise of them, float32 at least."""

    def __init__(self, who: str, slots: Sequence[Slot]) -> None:
        """Take the parameters, one behind the other; ``who`` is the public name that complains."""
        self._who = who
        self._slots = slots
        self.dtype = np.dtype(np.result_type(*(precision(slot.dtype) for slot in slots)))
        self.sizes = {slot.key: int(np.prod(slot.shape)) for slot in slots}
        self._block = np.empty(BLOCK, self.dtype)

    @property
    def size(self) -> int:
        """The length of the vector."""
        return sum(self.sizes.values())

    def check(self) -> None:
        """A ValueError if the memory of a parameter is not what it was when it was given."""
        for slot in self._slots:
            buffer = slot.tensor.buffer
            if buffer.shape != slot.shape or buffer.dtype != slot.dtype:
                rule = f"{slot} was {slot.dtype} of shape {slot.shape} when it was given, and must stay that"
                hint = f"it is now {buffer.dtype} of shape {buffer.shape}; nothing was changed"
                raise ValueError(sentence(self._who, rule, hint=hint))
            if not buffer.flags.writeable:
                rule = f"{slot} is read-only, and a step writes into it"
                raise ValueError(sentence(self._who, rule, hint="nothing was changed"))

    def parameters(self) -> Array:
        return self._joined([slot.tensor.buffer for slot in self._slots])

    def gradient(self) -> Array:
        grads = [None if slot.tensor.grad is None else slot.tensor.grad.buffer for slot in self._slots]
        if all(grad is None for grad in grads):
            rule, hint = "closure must compute gradients, and no parameter has one", "call loss.backward() in it"
            raise ValueError(sentence(self._who, rule, hint=hint))
        for slot, grad in zip(self._slots, grads, strict=True):
            if grad is not None and grad.shape != slot.shape:
                rule = f"gradient of {slot} has shape {grad.shape}, the parameter has {slot.shape}"
                raise ValueError(sentence(self._who, rule, hint="the step was taken back"))
            if grad is not None and not np.issubdtype(grad.dtype, np.floating):
                rule = f"gradient of {slot} must be floating"
                raise TypeError(sentence(self._who, rule, got=str(grad.dtype), hint="the step was taken back"))
        return self._joined(grads)

    def _joined(self, arrays: Sequence[Array | None]) -> Array:
        vector, begin = np.empty(self.size, self.dtype), 0
        for array, size in zip(arrays, self.sizes.values(), strict=True):
            vector[begin : begin + size] = 0 if array is None else array.reshape(-1)
            begin += size
        return vector

    def put(self, start: Array, step: float = 0.0, direction: Array | None = None) -> None:
        if direction is not None:
            start = start.copy()
            self.add(start, step, direction)
        begin = 0
        for slot in self._slots:
            size = self.sizes[slot.key]
            write(slot.tensor, start[begin : begin + size].reshape(slot.shape))
            begin += size

    @_quiet
    def minus(self, x: Array, y: Array) -> Array:
        return x - y

    @_quiet
    def times(self, factor: float, x: Array) -> Array:
        return x * self.dtype.type(factor)

    @_quiet
    def add(self, y: Array, factor: float, x: Array) -> None:
        number = self.dtype.type(factor)
        for begin in range(0, len(y), BLOCK):
            part = slice(begin, begin + BLOCK)
            product = np.multiply(x[part], number, out=self._block[: len(x[part])])
            y[part] += product

    @_quiet
    def dot(self, x: Array, y: Array) -> float:
        return float(np.dot(x, y))

    def largest(self, x: NDArray[np.floating]) -> float:
        return max(float(x.max()), -float(x.min())) if x.size else 0.0

    @_quiet
    def total(self, x: Array) -> float:
        return float(np.abs(x).sum())
