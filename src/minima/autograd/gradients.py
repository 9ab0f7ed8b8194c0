"""The gradient of a tensor: whether it is wanted, where it is kept, how it is computed, who looks at it on its way."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from minima.autograd.arrays import as_array
from minima.autograd.attributes import Attributes
from minima.autograd.hooks import RemovableHandle
from minima.autograd.primitive import Array
from minima.autograd.tape import Leaf, Node, Value, backward
from minima.checks import flag
from minima.errors import sentence

if TYPE_CHECKING:
    from minima.autograd.tensor import Tensor, TensorLike

__all__ = ["Differentiable"]


class Differentiable(Attributes):
    """What a tensor is to backward passes."""

    __slots__ = ()

    @abstractmethod
    def _around(self, buffer: Array) -> Tensor:
        """A tensor around an array of the same namespace, without a copy or a check."""

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to or through this tensor; on a leaf it can be set (``False`` freezes it)."""
        return self.tracked

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        flag("Tensor", "requires_grad", value)
        if isinstance(self.node, Node):
            raise RuntimeError(
                sentence("Tensor", "requires_grad can be set on leaves only, not on a result", hint="detach() it first")
            )
        if value and self.dtype.kind != "f":
            raise TypeError(sentence("Tensor", "only floating dtypes can require a gradient", got=str(self.dtype)))
        if value or self.node is not None:
            leaf = self._leaf()
            leaf.requires_grad = value
            if not value:
                leaf.array = leaf.tensor = None  # what is frozen must not be moved by a gradient from before

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Sets ``requires_grad`` and returns the tensor."""
        self.requires_grad = flag("requires_grad_", "requires_grad", requires_grad)
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return not isinstance(self.node, Node)

    @property
    def grad(self) -> Tensor | None:
        """The gradient that ``backward`` has accumulated in this leaf; of a result after `retain_grad`, its own."""
        leaf = self.node
        if not isinstance(leaf, Leaf):
            return None if self._kept is None else self._kept.grad
        if leaf.array is None:
            return None
        if leaf.tensor is None:
            leaf.tensor = self._around(leaf.array)
        return leaf.tensor

    @grad.setter
    def grad(self, value: Tensor | np.ndarray[Any, Any] | None) -> None:
        if value is None:
            leaf = self.node
            if isinstance(leaf, Leaf):
                leaf.array = leaf.tensor = None
            return
        if not isinstance(value, Value):
            if not isinstance(value, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
                raise TypeError(sentence("Tensor", "grad must be a Tensor, an array or None", got=value))
            value = self._around(as_array(value, value.dtype))
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

        >>> from minima.autograd import Tensor
        >>> w = Tensor(3.0, requires_grad=True)
        >>> (w * w).backward()
        >>> w.grad.item()
        6.0
        """
        who = "Tensor.backward"
        if retain_graph is not None and not isinstance(retain_graph, int):  # pyright: ignore[reportUnnecessaryComparison, reportUnnecessaryIsInstance] - callers may be untyped
            raise TypeError(sentence(who, "retain_graph must be True or False", got=retain_graph))
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
            given = gradient.buffer if isinstance(gradient, Value) else as_array(gradient, self.dtype)
            if given.shape != self.shape:
                raise ValueError(sentence(who, f"gradient must have the shape {self.shape}", got=given.shape))
            seed = given.astype(self.dtype, copy=False)
        found = backward(self.node, seed, retain_graph)
        for leaf in found:
            if leaf.array is not None and leaf.array.shape != leaf.shape:
                rule = f"a leaf of shape {leaf.shape} has a grad of shape {leaf.array.shape}"
                raise ValueError(sentence(who, rule, hint="set it to None"))
        for leaf, grad in found.items():
            if leaf.array is not None:
                grad = np.asarray(leaf.array + grad)
                leaf.tensor = None
            leaf.array = grad if grad.dtype is leaf.dtype else grad.astype(leaf.dtype, copy=False)

    def retain_grad(self) -> None:
        """Keep the gradient of a result in ``grad`` too, where by default only leaves have one.

        >>> from minima.autograd import Tensor
        >>> w = Tensor(3.0, requires_grad=True)
        >>> y = w * w
        >>> y.retain_grad()
        >>> (2 * y).backward()
        >>> y.grad.item()
        2.0
        """
        if self.node is None or not self.node.requires_grad:
            hint = "set requires_grad=True on what it is computed from"
            raise RuntimeError(sentence("Tensor.retain_grad", "the tensor requires no gradient", hint=hint))
        if isinstance(self.node, Node) and self._kept is None:
            if self.node.hooks is None:
                self.node.hooks = {}
            self.node.hooks[_LAST] = _Kept(self.dtype, self._around)

    @property
    def _kept(self) -> _Kept | None:
        hooks = None if self.node is None else self.node.hooks
        return cast("_Kept | None", hooks.get(_LAST)) if hooks else None

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Calls ``hook`` in every backward pass with the whole gradient of this tensor, before that goes on.

        Args:
            hook: Takes the gradient, which it must not change in place, and gives ``None``, or another gradient of its
                shape to go on with.

        Returns:
            A handle, whose ``remove()`` takes the hook away.

        Raises:
            RuntimeError: The tensor requires no gradient.

        >>> from minima.autograd import Tensor
        >>> w = Tensor(3.0, requires_grad=True)
        >>> handle = w.register_hook(lambda grad: 10 * grad)
        >>> (w * w).backward()
        >>> w.grad.item()
        60.0
        """
        who, node = "Tensor.register_hook", self.node
        if node is None or not node.requires_grad:
            raise RuntimeError(sentence(who, "the tensor requires no gradient", hint="set requires_grad=True first"))
        dtype, around = self.dtype, self._around

        def call(g: Array) -> Array:
            given = g.astype(dtype)  # a copy: gradients share memory
            result: Any = hook(around(given))
            if result is None:
                return g
            if not isinstance(result, Value) or result.buffer.shape != g.shape:
                rule = f"the hook must give None or a Tensor of the shape {g.shape}"
                if isinstance(result, Value):
                    raise ValueError(sentence(who, rule, got=result.buffer.shape))
                raise TypeError(sentence(who, rule, got=result))
            return result.buffer.astype(g.dtype, copy=False)

        if node.hooks is None:
            node.hooks = {}
        handle = RemovableHandle(node.hooks, call)
        if _LAST in node.hooks:
            node.hooks[_LAST] = node.hooks.pop(_LAST)
        return handle


_LAST = -1
"""The key of the hook that keeps the gradient of a result, as all others leave it."""


class _Kept:
    """The gradient of a result, from all backward passes."""

    def __init__(self, dtype: np.dtype[Any], around: Callable[[Array], Tensor]) -> None:
        self.grad: Tensor | None = None
        self._dtype = dtype
        self._around = around

    def __call__(self, g: Array) -> Array:
        found = g if self.grad is None else self.grad.buffer + g
        self.grad = self._around(np.array(found, self._dtype))  # a copy: gradients share memory
        return g


@lru_cache(maxsize=64)
def _one(dtype: np.dtype[Any], ndim: int) -> Array:
    return np.ones((1,) * ndim, dtype)
