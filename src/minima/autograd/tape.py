"""The tape: what an operation leaves behind for the backward pass, and the backward pass."""

import sys
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np

from minima.autograd.dtypes import FLOAT
from minima.autograd.halves import wide_dtype, widen
from minima.autograd.primitive import ARRAYS, POSITION, SHAPE, Array, Call, Namespace, Primitive, sum_to
from minima.errors import sentence

__all__ = ["Cell", "Leaf", "Node", "Value", "backward", "outdated", "record", "tick"]

# One clock stamps every record and every write, so one comparison tells whether a value was overwritten since.
tick = count(1).__next__

# When the memory of a tensor was last written, in a list of one because all views of the memory share it.
Cell = list[int]


class Leaf:
    """Where gradients end: the gradient of a tensor that no recorded operation made."""

    __slots__ = ("dtype", "grad", "requires_grad", "shape", "sum_dtype")
    stamp = sys.maxsize  # a leaf is whatever value it has now, so no write ever makes it out of date

    def __init__(self, shape: tuple[int, ...], dtype: Any, requires_grad: bool) -> None:
        self.shape = shape
        self.dtype = dtype
        self.sum_dtype = wide_dtype(dtype)
        self.requires_grad = requires_grad
        self.grad: Any = None  # a Tensor


class Node:
    """One recorded operation: where its inputs came from, and the values that its rules need."""

    __slots__ = (
        "calls",
        "cells",
        "edges",
        "halves",
        "name",
        "shape",
        "shared",
        "stamp",
        "statics",
        "sum_dtype",
        "values",
        "xp",
    )
    requires_grad = True

    def __init__(
        self,
        name: str,
        xp: Namespace,
        calls: Sequence[Call],
        shared: Call | None,
        edges: "Sequence[Node | Leaf]",
        values: list[Array] | None,
        cells: Sequence[Cell],
        statics: dict[str, Any],
        out: Array,
        halves: bool,
    ) -> None:
        self.name = name
        self.xp = xp
        self.calls = calls
        self.shared = shared
        self.edges = edges  # one for each call
        self.values = values  # None once the graph is freed
        self.cells = cells
        self.statics = statics
        self.shape = out.shape
        self.sum_dtype = out.dtype if out.itemsize != 2 else FLOAT  # wide_dtype, in a third of the time
        self.halves = halves  # whether the rules need the values widened
        self.stamp = tick()

    def write(self, out: Array, to: "Value") -> None:
        """Writes the result ``out`` into memory that the inputs may live in, and makes this the node of that value."""
        assert self.values is not None
        for place, array in enumerate(self.values):
            if type(array) is np.ndarray and np.may_share_memory(array, to.buffer):
                self.values[place] = array.copy()
        self.cells = [cell for cell in self.cells if cell is not to.cell]
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


def record(
    primitive: Primitive,
    xp: Namespace,
    operands: Sequence[Any],
    wanted: int,
    edges: Sequence[Node | Leaf],
    out: Value,
    exact: Array,
    residual: Array,
    statics: dict[str, Any],
) -> Node:
    """The node of ``out = primitive(*operands, **statics)``.

    Args:
        wanted: Which operands need a gradient: a bit for each, and a leading one above them.
        edges: The nodes of these operands.
        exact: The result before it was rounded to halves; else the array of ``out`` itself.
    """
    plan = primitive.plans.get(wanted) or primitive.plan(wanted)
    values: list[Array] = [None] * (len(operands) + 2)
    values[-1] = residual
    cells: list[Cell] = []
    if plan.out:
        values[0] = exact
        cells.append(out.cell)
    for place in plan.inputs:
        operand = operands[place - 1]
        if isinstance(operand, Value):
            values[place] = operand.buffer
            cells.append(operand.cell)
        else:
            values[place] = operand
    halves = exact is not out.buffer
    return Node(primitive.name, xp, plan.calls, plan.shared, edges, values, cells, statics, out.buffer, halves)


def backward(root: Node | Leaf, gradient: Array, retain_graph: bool) -> dict[Leaf, Array]:
    """Carries ``gradient`` from ``root`` to the leaves and returns what each of them gets, in arrays of their own.

    Nodes are taken in the reverse order of their creation, so all gradients of a node are in when its turn comes. The
    gradients of halves are carried, added up and returned in float32.
    """
    if gradient.itemsize == 2:
        gradient = widen(gradient)
    if isinstance(root, Leaf):
        return {root: np.array(gradient)}
    leaves: dict[Leaf, Array] = {}
    pending: dict[Node, Array] = {root: gradient}
    queue: list[tuple[int, Node]] = [(-root.stamp, root)]  # stamps differ, so two nodes are never compared
    while queue:
        node = heappop(queue)[1]
        g = pending.pop(node)
        values = node.values
        if values is None:
            raise _freed()
        for cell in node.cells:
            if cell[0] > node.stamp:
                raise _overwritten(node)
        if node.halves:
            values = list(map(widen, values))
        xp = node.xp
        if node.shared is not None:
            values = [*values, _shared(node.shared, xp, g, values, node.statics)]
        for (position, rule, picks, pick), edge in zip(node.calls, node.edges):  # noqa: B905  # a node has one edge for each call
            if not edge.requires_grad:
                continue
            if pick is not None:
                grad = rule(xp, g, *pick(values), **node.statics)
            else:
                named = [_special(place, values, edge.shape, position) for place in picks]
                grad = rule(xp, g, *named, **node.statics)
            if grad.shape != edge.shape:
                grad = sum_to(xp, grad, edge.shape)
            if grad.dtype != edge.sum_dtype:
                grad = grad.astype(edge.sum_dtype)
            if isinstance(edge, Leaf):
                if edge in leaves:
                    grad = leaves[edge] + grad
                # A copy unless nothing else holds it: two leaves must not share a gradient, nor one its views.
                owned = type(grad) is np.ndarray and grad.base is None and grad is not g
                leaves[edge] = grad if owned else xp.array(grad)
                continue
            if edge in pending:
                pending[edge] = pending[edge] + grad
            else:
                pending[edge] = grad
                heappush(queue, (-edge.stamp, edge))
        if not retain_graph:
            node.values = None
            node.edges = node.cells = ()
            node.statics = {}
    return leaves


def _shared(call: Call, xp: Namespace, g: Array, values: list[Array], statics: dict[str, Any]) -> Any:
    """What the rules of a node share."""
    return call.rule(xp, g, *[values[place] for place in call.picks], **statics)


def _special(place: int, values: list[Array], shape: tuple[int, ...], position: int) -> Any:
    if place == SHAPE:
        return shape
    if place == POSITION:
        return position
    return values[1:-1] if place == ARRAYS else values[place]


def outdated(primitive: Primitive) -> RuntimeError:
    """The complaint about an input whose values are no longer those that its node tells of."""
    rule = "an input was overwritten in place, through a view or outside the graph, after it was computed"
    hint = "write out of place, or take the view again after the write"
    return RuntimeError(sentence(primitive.name, rule, hint=hint))


def _overwritten(node: Node) -> RuntimeError:
    rule = f"a value that the derivative of {node.name} needs was overwritten in place"
    return RuntimeError(sentence("Tensor.backward", rule, hint="write after backward, out of place, or into a copy()"))


def _freed() -> RuntimeError:
    hint = "call that one with retain_graph=True, or compute the loss again"
    return RuntimeError(sentence("Tensor.backward", "the graph was freed by an earlier backward", hint=hint))
