"""The tensor: an array with a place on the tape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any, cast

import numpy as np

from minima.autograd.arrays import as_array, as_index
from minima.autograd.device import Device, as_device, cpu
from minima.autograd.dtypes import FLOAT, DTypeLike, as_dtype
from minima.autograd.gradients import Differentiable
from minima.autograd.halves import HALF, are_halves, narrow, wide_dtype, widen
from minima.autograd.methods import Methods
from minima.autograd.methods_along import MethodsAlong
from minima.autograd.methods_compare import MethodsCompare
from minima.autograd.methods_in_place import MethodsInPlace
from minima.autograd.methods_moving import MethodsMoving
from minima.autograd.methods_pytorch import MethodsPyTorch
from minima.autograd.modes import recording
from minima.autograd.operations import discrete, elementwise, shapes
from minima.autograd.operators import Operators
from minima.autograd.primitive import Array, Primitive, is_numpy
from minima.autograd.refusals import refusal
from minima.autograd.tape import Cell, Leaf, Node, outdated, tick
from minima.errors import sentence, speak_as

__all__ = ["Tensor", "TensorLike", "align", "apply", "as_tensor", "drop_gradients", "mark_written", "recast"]


class Tensor(
    Differentiable,
    Operators,
    Methods,
    MethodsAlong,
    MethodsCompare,
    MethodsMoving,
    MethodsPyTorch,
    MethodsInPlace,
):
    """An array of numbers that remembers how it was computed, so that ``backward`` can differentiate it.

    Broadcasting, indexing and reductions follow NumPy; ``backward``, ``grad``, ``detach`` and ``no_grad`` PyTorch.
    Operations on float16 and their derivatives are computed in float32, and rounded once.

    Args:
        data: A number, nested sequences, an array or a tensor; always copied.
        dtype: The element type; by default floating data become float32, and tensors, integers, booleans keep theirs.
        device: ``"cpu"`` or ``cpu()``, the default.
        requires_grad: Whether ``backward`` accumulates a gradient in ``grad``; for floating dtypes only.

    >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> (x**2).sum().backward()
    >>> x.grad
    Tensor([[2., 4.],
            [6., 8.]])
    """

    __slots__ = ("__weakref__", "device", "is_view")
    # ndarray + Tensor is the tensor's to compute: NumPy must not take it apart.
    __array_ufunc__ = None

    device: Device
    is_view: bool  # whether the memory belongs to another tensor

    def __init__(
        self,
        data: object,
        dtype: DTypeLike | None = None,
        device: Device | str | None = None,
        requires_grad: bool = False,
    ) -> None:
        self.buffer = as_array(data, dtype)
        self.device = as_device(device)
        self.node = None
        self.cell = [0]
        self.is_view = False
        if requires_grad is not False:
            self.requires_grad = requires_grad

    @staticmethod
    def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
        """A tensor that shares the memory and keeps the dtype of ``array``."""
        if not isinstance(array, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
            raise TypeError(sentence("from_numpy", "array must be a NumPy array", got=array))
        as_dtype(array.dtype)
        return _wrap(array, as_device(None))

    def _around(self, buffer: Array) -> Tensor:
        return _wrap(buffer, self.device)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    # Copies ------------------------------------------------------------------------------------------------------

    def detach(self) -> Tensor:
        """The same memory without a place on the tape."""
        result = _wrap(self.buffer, self.device)
        result.cell = self.cell
        result.is_view = True
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        rebuild, (cls, buffer, requires_grad), state = self.__reduce__()
        result = memo[id(self)] = rebuild(cls, buffer.copy(), requires_grad)
        result.grad = deepcopy(self.grad, memo)
        if state is not None:
            vars(result).update(deepcopy(state, memo))
        return result

    def __copy__(self) -> Tensor:
        return self.__deepcopy__({})

    def __reduce__(self) -> tuple[Callable[..., Tensor], tuple[type[Tensor], Array, bool], dict[str, Any] | None]:
        if not self.is_leaf:
            rule = "only leaves can be pickled and deep-copied, not a result with its graph"
            raise RuntimeError(sentence("Tensor", rule, hint="detach() it first"))
        return _rebuild, (type(self), self.buffer, self.requires_grad), getattr(self, "__dict__", None)

    # Its memory --------------------------------------------------------------------------------------------------

    @property
    def data(self) -> Tensor:
        """The values without a place on the tape, in the same memory; assigning writes into that memory.

        So does an assignment to a view: after ``y = x[1:3]``, ``y.data = values`` changes ``x`` too, as PyTorch's
        ``y.copy_(values)`` does; PyTorch's own assignment would part ``y`` from ``x``.
        """
        return self.detach()

    @data.setter
    def data(self, value: TensorLike) -> None:
        home = self.device is _HOME
        source: Any = value.buffer if isinstance(value, Tensor) else np.asarray(value) if home else value
        if source.shape != self.shape:
            raise ValueError(sentence("Tensor.data", f"the values must have the shape {self.shape}", got=source.shape))
        if not home:
            self.buffer = self.device.xp.asarray(source, self.dtype)  # no other namespace writes into arrays
        elif source is not self.buffer:
            np.copyto(self.buffer, source, casting="unsafe")
        self.mark_written()

    def mark_written(self) -> None:
        """To be called after writing into ``buffer``, so that ``backward`` notices values which are no longer there."""
        self.cell[0] = tick()

    def clone(self) -> Tensor:
        """A copy in memory of its own; gradients flow through it."""
        return apply(elementwise.copy, self)

    copy = clone

    def astype(self, dtype: DTypeLike) -> Tensor:
        """A copy with elements of another type; gradients flow between floating types."""
        to = as_dtype(dtype)
        return apply(elementwise.astype if to.kind == "f" and self.dtype.kind == "f" else discrete.cast, self, dtype=to)

    def __getitem__(self, index: Any) -> Tensor:
        return apply(shapes.getitem, self, index=as_index(index, keep=self.requires_grad))

    def __setitem__(self, index: Any, value: TensorLike) -> None:
        tracked = self.requires_grad or (isinstance(value, Tensor) and value.requires_grad)
        if tracked and recording.get():
            raise RuntimeError(
                sentence(
                    "Tensor",
                    "an assignment to elements cannot be differentiated",
                    hint="use where or concatenate, or assign under no_grad()",
                )
            )
        self._write(index, value, "Tensor")

    def _write(self, index: Any, value: Any, who: str) -> None:
        source: Any = value.buffer if isinstance(value, Tensor) else value
        kind: str = cast(Any, source).dtype.kind if isinstance(source, np.ndarray | np.generic) else "f"
        if source is None or kind not in "fiub":
            raise TypeError(sentence(who, "what is written must be real numbers", got=cast(object, source)))
        place = as_index(index, keep=False)
        if self.device is not _HOME:
            self.buffer = self.buffer.at[place].set(source)  # no other namespace writes into arrays
            return
        try:
            self.buffer[place] = source
        except (ValueError, IndexError, TypeError) as error:
            raise refusal(shapes.getitem, [self.buffer, source], {}, error, who) from error
        self.mark_written()

    # Applying primitives -----------------------------------------------------------------------------------------

    def _unary(self, primitive: Primitive, *, floating: bool = False, **statics: Any) -> Tensor:
        if floating and self.dtype.kind != "f":
            return apply(primitive, self.astype(FLOAT), **statics)
        return apply(primitive, self, **statics)

    def _binary(
        self, primitive: Primitive, other: object, *, reflected: bool = False, floating: bool = False
    ) -> Tensor:
        dtype = self.buffer.dtype
        if isinstance(other, Tensor) and other.buffer.dtype is dtype and dtype.kind == "f" and not reflected:
            return apply(primitive, self, other)
        pair = align(self, other, floating)
        if pair is None:
            return NotImplemented
        x, y = pair
        return apply(primitive, y, x) if reflected else apply(primitive, x, y)

    def _with(
        self, primitive: Primitive, other: TensorLike, kinds: str, *, floating: bool = False, **statics: Any
    ) -> Tensor:
        other = as_tensor(other)
        if other.dtype.kind not in kinds:
            rule = f"{primitive.inputs[1]} must be {'boolean' if kinds == 'b' else 'of integers'}"
            raise TypeError(sentence(primitive.name, rule, got=str(other.dtype)))
        x = self.astype(FLOAT) if floating and self.dtype.kind != "f" else self
        return apply(primitive, x, other, **statics)

    def _compare(self, primitive: Primitive, other: object, **statics: Any) -> Tensor:
        operand = _operand(other)
        return NotImplemented if operand is None else apply(primitive, self, operand, **statics)

    def _update(self, primitive: Primitive, other: object, *, floating: bool = False) -> Tensor:
        pair = align(self, other, floating)
        if pair is None:
            return NotImplemented
        x, y = pair
        tracked = recording.get() and (self.requires_grad or (isinstance(y, Tensor) and y.requires_grad))
        if tracked and self.is_view:
            rule = "a view of another tensor cannot be changed in place while operations are recorded"
            raise RuntimeError(sentence("Tensor", rule, hint="compute a new tensor"))
        if tracked and self.requires_grad and self.is_leaf:
            rule = "a leaf that requires a gradient cannot be changed in place while operations are recorded"
            raise RuntimeError(sentence("Tensor", rule, hint="use no_grad(), or assign to .data"))
        result = apply(primitive, x, y)
        if result.shape != self.shape:
            raise ValueError(sentence("Tensor", f"the shape {self.shape} cannot change in place", got=result.shape))
        if not np.can_cast(result.dtype, self.dtype, "same_kind"):
            raise TypeError(sentence("Tensor", f"{self.dtype} elements cannot hold the result", got=str(result.dtype)))
        if isinstance(result.node, Node):
            result.node.write(result.buffer, self)
            return self
        if tracked:
            self.node = None  # the result is piecewise constant
        self.buffer[...] = result.buffer
        self.mark_written()
        return self


speak_as(Tensor)


def mark_written(tensors: Iterable[Tensor]) -> None:
    """What ``Tensor.mark_written`` does, for many at once."""
    now = tick()
    for tensor in tensors:
        tensor.cell[0] = now


def recast(tensor: Tensor, dtype: np.dtype[Any]) -> None:
    """Gives a leaf elements of another floating type, in new memory; its gradient too, and one that is under way."""
    if tensor.dtype == dtype:
        return
    tensor.buffer, tensor.cell, tensor.is_view = tensor.buffer.astype(dtype), [0], False
    leaf, grad = tensor.node, tensor.grad
    if isinstance(leaf, Leaf):
        leaf.dtype, leaf.sum_dtype = dtype, wide_dtype(dtype)
        tensor.grad = grad if grad is None else grad.astype(dtype)


def drop_gradients(tensors: Iterable[Tensor]) -> None:
    """Sets ``grad`` to None, for many at once."""
    for tensor in tensors:
        leaf = tensor.node
        if isinstance(leaf, Leaf):
            leaf.array = leaf.tensor = None


TensorLike = Tensor | np.ndarray[Any, Any] | float
"""What a function of tensors takes for one: a Tensor, an array or a number."""


def as_tensor(value: object) -> Tensor:
    """``value`` itself if it is a tensor, else ``Tensor(value)``."""
    return value if isinstance(value, Tensor) else Tensor(value)


def apply(primitive: Primitive, *operands: Any, **statics: Any) -> Tensor:
    """The result of a primitive for tensors and constants; recorded if a gradient is wanted."""
    arrays: list[Array] = []
    cells: list[Cell] = []
    edges: list[Node | Leaf] = []
    wanted, bit = 0, 1
    stale = small = False
    device = _HOME
    for operand in operands:
        if isinstance(operand, Tensor):
            array, cell, node = operand.buffer, operand.cell, operand.node
            arrays.append(array)
            cells.append(cell)
            if array.itemsize == 2:  # halves, perhaps: asking for the dtype would take twice the time
                small = True
            if operand.device is not _HOME:  # another namespace takes NumPy's arrays as constants
                device = operand.device
            if node is not None and node.requires_grad:
                wanted |= bit
                edges.append(node)
                if cell[0] > node.stamp:
                    stale = True
        else:
            arrays.append(operand)
            cells.append(_NEVER)
        bit += bit
    halves, inputs = False, arrays
    if small and primitive.computes:
        halves = are_halves(arrays)
        inputs = map(widen, arrays)
    xp = device.xp
    try:
        out = primitive.forward(xp, *inputs, **statics) if statics else primitive.forward(xp, *inputs)
    except (ValueError, IndexError, TypeError) as error:
        if device is not _HOME:
            raise
        raise refusal(primitive, arrays, statics, error) from error
    residual = None
    if primitive.residual:
        out, residual = out
    if type(out) is not np.ndarray:
        out = xp.asarray(out)  # NumPy returns scalars where an array has no axes
    exact = out
    if halves:
        out = narrow(out)
    result = _new(Tensor)  # as in _wrap, whose call would cost a tenth of a small operation
    result.buffer = out
    result.device = device
    result.cell = cell = [0]
    result.is_view = False
    if primitive.may_view and is_numpy(out) and np.may_share_memory(out, arrays[0]):
        result.cell = cell = operands[0].cell
        result.is_view = True
    if wanted and primitive.differentiable and recording.get():
        if stale:
            raise outdated(primitive)
        wanted |= bit  # a leading one, which tells how many operands there are
        plan = primitive.plans.get(wanted) or primitive.plan(wanted)
        keep = plan.keep
        record = plan, xp, edges, keep(exact, arrays, residual), keep(cell, cells, _NEVER), statics, exact is not out
        result.node = Node(record, out)
    else:
        result.node = None
    return result


_HOME = cpu()
_NEVER = [0]  # the cell of what nobody else can write to
_new: Callable[[type[Tensor]], Tensor] = object.__new__


def _rebuild(cls: type[Tensor], buffer: Array, requires_grad: bool) -> Tensor:
    """A leaf of a class, without a call of its constructor."""
    result = _new(cls)
    result.buffer = buffer
    result.device = as_device(None)
    result.node = None
    result.cell = [0]
    result.is_view = False
    result.requires_grad = requires_grad
    return result


def _wrap(buffer: Array, device: Device) -> Tensor:
    """A tensor around an array, without a copy or a check."""
    result = _new(Tensor)
    result.buffer = buffer
    result.device = device
    result.node = None
    result.cell = [0]
    result.is_view = False
    return result


def _operand(value: Any) -> Tensor | float | None:
    """A tensor as it is, an array as the constructor takes it, a number as a Python number; ``None`` for the rest."""
    if isinstance(value, Tensor | bool | int | float) and not isinstance(value, np.generic):
        return value
    if isinstance(value, np.ndarray):
        return Tensor(value)  # pyright: ignore[reportUnknownArgumentType]  # an array of anything
    if isinstance(value, np.integer | np.floating | np.bool_):
        return cast(float, value.item())  # weak, as a Python number: np.float64(0.1) must not widen a float32 tensor
    return None


def align(x: Tensor, other: object, floating: bool = False) -> tuple[Tensor, Tensor | float] | None:
    """Both operands ready for a primitive: a floating dtype wins over integers, whatever their widths.

    Integers beside halves stay integers, for many are beyond float16: 70,000 would be infinite.
    """
    y = _operand(other)
    if y is None:
        return None
    x_floats = x.dtype.kind == "f"
    y_floats = y.dtype.kind == "f" if isinstance(y, Tensor) else isinstance(y, float)
    if isinstance(y, Tensor) and x_floats != y_floats and HALF in (x.dtype, y.dtype):
        return x, y
    if not x_floats and (floating or y_floats):
        x = x.astype(y.dtype if isinstance(y, Tensor) and y_floats else FLOAT)
        x_floats = True
    if isinstance(y, Tensor) and not y_floats and x_floats:
        y = y.astype(x.dtype)
    return x, y
