"""The tensor: an array with a place on the tape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import lru_cache
from types import FunctionType
from typing import Any, cast

import numpy as np

from minima.autograd.arrays import as_array, as_index
from minima.autograd.attributes import Attributes
from minima.autograd.device import Device, as_device, cpu
from minima.autograd.dtypes import FLOAT, DTypeLike, as_dtype
from minima.autograd.halves import HALF, are_halves, narrow, wide_dtype, widen
from minima.autograd.hooks import RemovableHandle
from minima.autograd.methods import Methods
from minima.autograd.methods_along import MethodsAlong
from minima.autograd.methods_pytorch import MethodsPyTorch
from minima.autograd.modes import no_grad, recording
from minima.autograd.operations import discrete, elementwise, shapes
from minima.autograd.operators import Operators
from minima.autograd.primitive import Array, Primitive, is_numpy
from minima.autograd.refusals import refusal
from minima.autograd.tape import Cell, Leaf, Node, Value, backward, outdated, tick
from minima.errors import sentence

__all__ = ["Tensor", "TensorLike", "align", "apply", "as_tensor", "drop_gradients", "mark_written", "recast"]


class Tensor(Attributes, Operators, Methods, MethodsAlong, MethodsPyTorch):
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
        if requires_grad:
            self.requires_grad = True

    @staticmethod
    def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
        """A tensor that shares the memory and keeps the dtype of ``array``."""
        as_dtype(array.dtype)
        return _wrap(array, as_device(None))

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    # The tape ----------------------------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to or through this tensor; on a leaf it can be set (``False`` freezes it)."""
        return self.tracked

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if isinstance(self.node, Node):
            raise RuntimeError(
                sentence("Tensor", "requires_grad can be set on leaves only, not on a result", hint="detach() it first")
            )
        if value and self.dtype.kind != "f":
            raise TypeError(sentence("Tensor", "only floating dtypes can require a gradient", got=str(self.dtype)))
        if value or self.node is not None:
            leaf = self._leaf()
            leaf.requires_grad = bool(value)
            if not value:
                leaf.array = leaf.tensor = None  # what is frozen must not be moved by a gradient from before

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Sets ``requires_grad`` and returns the tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return not isinstance(self.node, Node)

    @property
    def grad(self) -> Tensor | None:
        """The gradient that ``backward`` has accumulated in this leaf."""
        leaf = self.node
        if not isinstance(leaf, Leaf) or leaf.array is None:
            return None
        if leaf.tensor is None:
            leaf.tensor = _wrap(leaf.array, self.device)
        return leaf.tensor

    @grad.setter
    def grad(self, value: Tensor | np.ndarray[Any, Any] | None) -> None:
        if value is None:
            leaf = self.node
            if isinstance(leaf, Leaf):
                leaf.array = leaf.tensor = None
            return
        if not isinstance(value, Tensor):
            if not isinstance(value, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
                raise TypeError(sentence("Tensor", "grad must be a Tensor, an array or None", got=value))
            value = Tensor(value, dtype=value.dtype)
        if isinstance(self.node, Node):
            raise RuntimeError(sentence("Tensor", "grad can be set on leaves only, not on a result"))
        leaf = self._leaf()
        leaf.array, leaf.tensor = value.buffer, value

    def _leaf(self) -> Leaf:
        if self.node is None:
            self.node = Leaf(self.shape, self.dtype, requires_grad=False)
        assert isinstance(self.node, Leaf)
        return self.node

    def backward(self, gradient: TensorLike | None = None, retain_graph: bool = False) -> None:
        """Adds the derivative of this tensor to ``grad`` of every leaf that it was computed from.

        Args:
            gradient: What the derivative is multiplied with, in this tensor's shape; 1 for a tensor of one element.
            retain_graph: Keep what the tape saved, so that ``backward`` can be called again.

        >>> w = Tensor(3.0, requires_grad=True)
        >>> (w * w).backward()
        >>> w.grad.item()
        6.0
        """
        who = "Tensor.backward"
        if self.node is None or not self.node.requires_grad:
            raise RuntimeError(
                sentence(who, "no gradient is required", hint="set requires_grad=True on what is trained")
            )
        if gradient is None:
            if self.buffer.size != 1:
                raise ValueError(
                    sentence(who, f"a tensor of shape {self.shape} needs a gradient", hint="or reduce it first")
                )
            seed = _one(self.buffer.dtype, self.buffer.ndim)
        else:
            given = gradient if isinstance(gradient, Tensor) else Tensor(gradient, dtype=self.dtype)
            if given.shape != self.shape:
                raise ValueError(sentence(who, f"gradient must have the shape {self.shape}", got=given.shape))
            seed = given.buffer.astype(self.dtype, copy=False)
        found = backward(self.node, seed, retain_graph)
        for leaf in found:
            before = leaf.array
            if before is not None and before.shape != leaf.shape:
                rule = f"a leaf of shape {leaf.shape} has a grad of shape {before.shape}"
                raise ValueError(sentence(who, rule, hint="set it to None"))
        for leaf, grad in found.items():
            if leaf.array is not None:
                grad = np.asarray(leaf.array + grad)
                leaf.tensor = None
            leaf.array = grad if grad.dtype is leaf.dtype else grad.astype(leaf.dtype, copy=False)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Calls ``hook`` in every backward pass with the whole gradient of this tensor, before that goes on.

        Args:
            hook: Takes the gradient, which it must not change in place, and gives ``None``, or another gradient of its
                shape to go on with.

        Returns:
            A handle, whose ``remove()`` takes the hook away.

        Raises:
            RuntimeError: The tensor requires no gradient.

        >>> w = Tensor(3.0, requires_grad=True)
        >>> handle = w.register_hook(lambda grad: 10 * grad)
        >>> (w * w).backward()
        >>> w.grad.item()
        60.0
        """
        who, node = "Tensor.register_hook", self.node
        if node is None or not node.requires_grad:
            raise RuntimeError(sentence(who, "the tensor requires no gradient", hint="set requires_grad=True first"))
        dtype, device = self.dtype, self.device

        def call(g: Array) -> Array:
            given = g.astype(dtype)  # a copy: gradients share memory
            result: Any = hook(_wrap(given, device))
            if result is None:
                return g
            if not isinstance(result, Tensor) or result.shape != g.shape:
                rule = f"the hook must give None or a Tensor of the shape {g.shape}"
                got = result.shape if isinstance(result, Tensor) else result
                raise (ValueError if isinstance(result, Tensor) else TypeError)(sentence(who, rule, got=got))
            return result.buffer.astype(g.dtype, copy=False)

        if node.hooks is None:
            node.hooks = {}
        return RemovableHandle(node.hooks, call)

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

    def copy_(self, source: TensorLike) -> Tensor:
        """Writes the values of ``source``, broadcast, into this tensor's memory, and returns it."""
        return self._overwritten("copy_", source)

    def fill_(self, value: TensorLike) -> Tensor:
        """Writes one number everywhere, and returns the tensor."""
        return self._overwritten("fill_", value)

    def zero_(self) -> Tensor:
        """Writes 0 everywhere, and returns the tensor."""
        return self._overwritten("zero_", 0)

    def _overwritten(self, who: str, source: TensorLike) -> Tensor:
        if recording.get() and self.requires_grad:
            rule = "what requires a gradient cannot be overwritten while operations are recorded"
            raise RuntimeError(sentence(who, rule, hint="use no_grad(), or assign to .data"))
        with no_grad():
            self[...] = source
        return self

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
        source = value.buffer if isinstance(value, Tensor) else value
        place = as_index(index, keep=False)
        if self.device is not _HOME:
            self.buffer = self.buffer.at[place].set(source)  # no other namespace writes into arrays
            return
        try:
            self.buffer[place] = source
        except (ValueError, IndexError, TypeError) as error:
            raise refusal(shapes.getitem, [self.buffer, source], {}, error) from error
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

    def _compare(self, primitive: Primitive, other: object) -> Tensor:
        operand = _operand(other)
        return NotImplemented if operand is None else apply(primitive, self, operand)

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


# Python's own complaints about arguments name a method by this.
for _part in (Value, Attributes, Operators, Methods, MethodsAlong, MethodsPyTorch):
    for _name, _member in vars(_part).items():
        if isinstance(_member, FunctionType):
            _member.__qualname__ = f"Tensor.{_name}"


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


@lru_cache(maxsize=64)
def _one(dtype: np.dtype[Any], ndim: int) -> Array:
    return np.ones((1,) * ndim, dtype)


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
