"""The tape: what an operation leaves behind for the backward pass, and the backward pass."""

import sys
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np

from minima.autograd.dtypes import FLOAT
from minima.autograd.halves import wide_dtype, widen
from minima.autograd.hooks import each
from minima.autograd.memory import keep_memory
from minima.autograd.primitive import Array, Namespace, Plan, Primitive, sum_to
from minima.errors import sentence

__all__ = ["Cell", "Leaf", "Node", "Record", "Value", "backward", "outdated", "tick"]

keep_memory()

# One clock stamps every record and every write, so one comparison tells whether a value was overwritten since.
tick = count(1).__next__

# When the memory of a tensor was last written, in a list of one because all views of the memory share it.
Cell = list[int]


# What is called with a finished gradient, and gives it back or another one.
Hooks = dict[int, Callable[[Array], Array]]


class Leaf:
    """Where gradients end: the gradient of a tensor that no recorded operation made."""

    __slots__ = ("array", "dtype", "hooks", "requires_grad", "shape", "sum_dtype", "tensor")
    stamp = sys.maxsize  # a leaf is whatever value it has now, so no write ever makes it out of date

    def __init__(self, shape: tuple[int, ...], dtype: Any, requires_grad: bool) -> None:
        self.shape = shape
        self.dtype = dtype
        self.sum_dtype = wide_dtype(dtype)
        self.requires_grad = requires_grad
        self.array: Array | None = None  # the gradient
        self.tensor: Any = None  # around it, once somebody has asked for one
        self.hooks: Hooks | None = None


# What a node knows of its operation: the plan, the namespace, the edges (the nodes of the inputs that are
# differentiated), the values that the rules need, the cells of these, the statics, and whether rules need wide values.
# A plain tuple is made in a third of the time of a named one.
Record = tuple[Plan, Namespace, "Sequence[Node | Leaf]", tuple[Array, ...], tuple[Cell, ...], dict[str, Any], bool]


class Node:
    """One recorded operation: where its inputs came from, and the values that its rules need."""

    __slots__ = ("hooks", "record", "shape", "stamp", "sum_dtype")
    requires_grad = True

    def __init__(self, record: Record, out: Array) -> None:
        self.record: Record | None = record  # None once the graph is freed
        self.shape = out.shape
        self.sum_dtype = out.dtype if out.itemsize != 2 else FLOAT  # wide_dtype, in a third of the time
        self.stamp = tick()
        self.hooks: Hooks | None = None

    def write(self, out: Array, to: "Value") -> None:
        """Writes the result ``out`` into memory that the inputs may live in, and makes this the node of that value."""
        assert self.record is not None
        plan, xp, edges, kept, cells, statics, halves = self.record
        kept = tuple(x.copy() if type(x) is np.ndarray and np.may_share_memory(x, to.buffer) else x for x in kept)
        cells = tuple(cell for cell in cells if cell is not to.cell)
        self.record = plan, xp, edges, kept, cells, statics, halves
        self.sum_dtype = wide_dtype(to.buffer.dtype)
        to.buffer[...] = out
        to.cell[0] = tick()
        self.stamp = tick()
        to.node = self


class Value:
    """What a tensor is to the tape: an array in a piece of memory, made by an operation or not."""

    __slots__ = ("buffer", "cell", "node")
    buffer: Array  # whoever writes into it ticks the cell
    cell: Cell
    node: Node | Leaf | None

    @property
    def tracked(self) -> bool:
        """Whether a gradient flows to or through it."""
        return self.node is not None and self.node.requires_grad


def backward(root: Node | Leaf, gradient: Array, retain_graph: bool) -> dict[Leaf, Array]:
    """Carries ``gradient`` from ``root`` to the leaves and returns what each of them gets, in arrays of their own.

    Nodes are taken in the reverse order of their creation, so all gradients of a node are in when its turn comes. The
    gradients of halves are carried, added up and returned in float32.
    """
    if gradient.itemsize == 2:
        gradient = widen(gradient)
    if isinstance(root, Leaf):
        return {root: np.array(_hooked(root, gradient))}
    leaves: dict[Leaf, Array] = {}
    pending: dict[Node, Array] = {}  # the gradients of the nodes in the queue, but for the next one's
    queue: list[tuple[int, Node]] = []  # by stamps, which differ, so that two nodes are never compared
    node, g = root, gradient
    while True:
        if node.hooks:
            g = _hooked(node, g)
        record, stamp = node.record, node.stamp
        if record is None:
            raise _freed()
        plan, xp, edges, kept, cells, statics, halves = record
        for cell in cells:
            if cell[0] > stamp:
                raise _overwritten(plan)
        grads = plan.derive(xp, g, tuple(map(widen, kept)) if halves else kept, edges, statics)
        if not retain_graph:
            node.record = record = kept = None
        for edge, grad in zip(edges, grads):  # noqa: B905  # a plan derives by as many inputs as there are edges
            if not edge.requires_grad:
                continue  # a leaf that was frozen since
            if grad.shape != edge.shape:
                grad = sum_to(xp, grad, edge.shape)
            if grad.dtype is not edge.sum_dtype and grad.dtype != edge.sum_dtype:
                grad = grad.astype(edge.sum_dtype)
            if isinstance(edge, Leaf):
                if edge in leaves:
                    grad = leaves[edge] + grad
                # A copy unless nothing else holds it: two leaves must not share a gradient, nor one its views.
                owned = grad.__class__ is np.ndarray and grad.base is None and grad is not g
                leaves[edge] = grad if owned else xp.array(grad)
            elif edge in pending:
                pending[edge] = pending[edge] + grad
            else:
                pending[edge] = grad
                heappush(queue, (-edge.stamp, edge))
        if not queue:
            break
        node = heappop(queue)[1]
        g = pending.pop(node)
    for leaf in leaves:
        if leaf.hooks:
            leaves[leaf] = np.array(_hooked(leaf, leaves[leaf]))
    return leaves


def _hooked(place: Node | Leaf, g: Array) -> Array:
    for hook in each(place.hooks or {}):
        g = hook(g)
    return g


def outdated(primitive: Primitive) -> RuntimeError:
    """The complaint about an input whose values are no longer those that its node tells of."""
    rule = "an input was overwritten in place, through a view or outside the graph, after it was computed"
    hint = "write out of place, or take the view again after the write"
    return RuntimeError(sentence(primitive.name, rule, hint=hint))


def _overwritten(plan: Plan) -> RuntimeError:
    rule = f"a value that the derivative of {plan.name} needs was overwritten in place"
    return RuntimeError(sentence("Tensor.backward", rule, hint="write after backward, out of place, or into a copy()"))


def _freed() -> RuntimeError:
    hint = "call that one with retain_graph=True, or compute the loss again"
    return RuntimeError(sentence("Tensor.backward", "the graph was freed by an earlier backward", hint=hint))
