"""Every differentiable operation, as a row: against PyTorch, against finite differences, and under JAX's compiler."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, mutually_broadcastable_shapes

import minima.autograd as ag
from minima.autograd import Device, Tensor
from minima.autograd.operations.reductions import masked_softmax

torch = pytest.importorskip("torch")
F = torch.nn.functional

Shapes = tuple[tuple[int, ...], ...]


def alike(count: int = 1, min_dims: int = 0, max_dims: int = 3) -> st.SearchStrategy[Shapes]:
    """Operands of one shape."""
    return array_shapes(min_dims=min_dims, max_dims=max_dims, max_side=4).map(lambda shape: (shape,) * count)


def broadcast(count: int) -> st.SearchStrategy[Shapes]:
    """Operands whose shapes broadcast."""
    return mutually_broadcastable_shapes(num_shapes=count, max_dims=3, max_side=3).map(lambda s: s.input_shapes)


def fixed(*shapes: tuple[int, ...]) -> st.SearchStrategy[Shapes]:
    return st.just(shapes)


@dataclass
class Row:
    """An operation of minima, the same of PyTorch, the shapes that it takes and the range of its operands."""

    name: str
    minima: Callable[..., Any]
    torch: Callable[..., Any]
    shapes: st.SearchStrategy[Shapes] = st.nothing()
    low: float = -2.013  # round numbers are where clip and remainder have their corners
    high: float = 1.987
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.minima, self.torch = partial(self.minima, **self.options), partial(self.torch, **self.options)

    def draw(self, shapes: Shapes, seed: int) -> list[np.ndarray]:
        """Operands whose elements all differ by much more than the step of a finite difference: no ties, no zeros."""
        total = sum(int(np.prod(shape)) for shape in shapes)
        grid = np.linspace(self.low, self.high, 2 * total + 3)[1:-1]
        flat = np.random.default_rng(seed).permutation(grid[np.abs(grid) > 1e-3])[:total]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        return [part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


CLASSES = np.array([2, 0, 2, 1])
ROWS_2D = np.array([[2, 0], [0, 2], [1, 1], [2, 2]])
IDS = np.array([[0, 2, 0], [1, 2, 2]])
MASK = np.array([[True, False, True], [False, False, True]])
SEEN = np.array([[True, False, True], [False, False, False]])
SOFT = np.array([[0.125, 0.375, 0.5], [1.0, 0.0, 0.0], [0.125, 0.125, 0.75], [0.0, 0.5, 0.5]])  # exact in halves


def like(target: np.ndarray, x: Any) -> Any:
    """The dtype for a target: the logits' for probabilities, its own for classes."""
    return x.dtype if target is SOFT else None


def masked(x: Any) -> Any:
    """Of the second row nothing is seen."""
    return ag.apply(masked_softmax, x, SEEN)


def masked_by_torch(x: Any) -> Any:
    return x.masked_fill(~torch.from_numpy(SEEN), -torch.inf).softmax(-1).nan_to_num(0.0)


def dims(x: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim))


TABLE = [
    Row("add", lambda x, y: x + y, lambda x, y: x + y, broadcast(2)),
    Row("add a number", lambda x: 1.5 + x + 2, lambda x: 1.5 + x + 2, alike()),
    Row("subtract", lambda x, y: x - y, lambda x, y: x - y, broadcast(2)),
    Row("subtract from a number", lambda x: 1.5 - x, lambda x: 1.5 - x, alike()),
    Row("multiply", lambda x, y: x * y, lambda x, y: x * y, broadcast(2)),
    Row("multiply by itself", lambda x: x * x, lambda x: x * x, alike()),
    Row("divide", lambda x, y: x / y, lambda x, y: x / y, broadcast(2), low=0.5),
    Row("divide a number", lambda x: 3 / x, lambda x: 3 / x, alike(), low=0.5),
    Row("remainder", lambda x, y: x % y, lambda x, y: x % y, fixed((2, 3), (2, 3)), low=0.713, high=1.409),
    Row("power", lambda x, y: x**y, lambda x, y: x**y, broadcast(2), low=0.1),
    Row("power of a number", lambda x: 2**x, lambda x: 2**x, alike()),
    Row("square", lambda x: x**2, lambda x: x**2, alike()),
    Row("reciprocal power", lambda x: x**-1.5, lambda x: x**-1.5, alike(), low=0.2),
    Row("zeroth power", lambda x: x**0 * x, lambda x: x**0 * x, alike()),
    Row("negative", lambda x: -x, lambda x: -x, alike()),
    Row("positive", lambda x: +x, lambda x: +x, alike()),
    Row("abs", ag.abs, torch.abs, alike()),
    Row("abs()", abs, abs, alike()),
    Row("exp", ag.exp, torch.exp, alike()),
    Row("log", ag.log, torch.log, alike(), low=0.1),
    Row("sqrt", ag.sqrt, torch.sqrt, alike(), low=0.1),
    Row("sin", ag.sin, torch.sin, alike()),
    Row("cos", ag.cos, torch.cos, alike()),
    Row("tanh", ag.tanh, torch.tanh, alike()),
    Row("sigmoid", ag.sigmoid, torch.sigmoid, alike(), low=-9, high=9),
    Row("relu", ag.relu, torch.relu, alike()),
    Row("gelu", ag.gelu, F.gelu, alike(), low=-7, high=7),
    Row("gelu tanh", lambda x: ag.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh"), alike(), low=-7, high=7),
    Row("clip", lambda x: ag.clip(x, -1, 0.5), lambda x: torch.clip(x, -1, 0.5), alike()),
    Row("clip below", lambda x: ag.clip(x, low=0), lambda x: torch.clip(x, min=0), alike()),
    Row("maximum", ag.maximum, torch.maximum, broadcast(2)),
    Row("maximum with a number", lambda x: ag.maximum(0.5, x), lambda x: torch.clip(x, min=0.5), alike()),
    Row("minimum", ag.minimum, torch.minimum, broadcast(2)),
    Row("where", lambda x, y: ag.where(x > y, x, y * 2), lambda x, y: torch.where(x > y, x, y * 2), broadcast(2)),
    Row("where with a number", lambda x: ag.where(x > 0, x, 0.5), lambda x: torch.where(x > 0, x, 0.5), alike()),
    Row("astype", lambda x: x.astype("float64") * 2, lambda x: x.to(torch.float64) * 2, alike()),
    Row("clone", lambda x: x.clone() + x.copy(), lambda x: x.clone() + x, alike()),
    Row("sum", ag.sum, torch.sum, alike()),
    Row("sum axis", lambda x: ag.sum(x, axis=-1), lambda x: x.sum(-1), alike(min_dims=1)),
    Row("sum axes", lambda x: x.sum((0, -1), keepdims=True), lambda x: x.sum((0, -1), keepdim=True), alike(min_dims=2)),
    Row("mean", ag.mean, torch.mean, alike()),
    Row("mean axes", lambda x: x.mean((0, 1)), lambda x: x.mean((0, 1)), alike(min_dims=2)),
    Row("mean keepdims", lambda x: x.mean(0, keepdims=True), lambda x: x.mean(0, keepdim=True), alike(min_dims=1)),
    Row("max", ag.max, torch.amax, alike()),
    Row("max axis", lambda x: x.max(axis=0), lambda x: x.amax(0), alike(min_dims=1)),
    Row("max axes", lambda x: x.max((0, 1), True), lambda x: x.amax((0, 1), keepdim=True), alike(min_dims=2)),
    Row("min", ag.min, torch.amin, alike()),
    Row("min axis", lambda x: x.min(-1), lambda x: x.amin(-1), alike(min_dims=1)),
    Row("var", ag.var, lambda x: x.var(correction=0), alike()),
    Row("var axis", lambda x: x.var(0, 1), lambda x: x.var(0, correction=1), fixed((3, 2))),
    Row("std", ag.std, lambda x: x.std(correction=0), fixed((2, 3))),
    Row("std axis", lambda x: x.std((0, 2), 1, True), lambda x: x.std((0, 2), correction=1, keepdim=True),
        fixed((2, 3, 4))),
    Row("logsumexp", ag.logsumexp, lambda x: torch.logsumexp(x, dims(x)), alike(min_dims=1)),
    Row("logsumexp axis", lambda x: x.logsumexp(0), lambda x: x.logsumexp(0), alike(min_dims=1)),
    Row("softmax", ag.softmax, lambda x: x.softmax(-1), alike(min_dims=1)),
    Row("softmax of numbers far apart", ag.softmax, lambda x: x.softmax(-1), fixed((3, 4)), low=-50, high=50),
    Row("masked softmax", masked, masked_by_torch, fixed((5, 2, 3))),
    Row("masked softmax far apart", masked, masked_by_torch, fixed((5, 2, 3)), low=-50, high=50),
    Row("softmax axis", lambda x: x.softmax(0), lambda x: x.softmax(0), alike(min_dims=1)),
    Row("log_softmax", ag.log_softmax, lambda x: x.log_softmax(-1), alike(min_dims=1)),
    Row("reshape", lambda x: ag.reshape(x, -1, 2), lambda x: x.reshape(-1, 2), fixed((3, 4))),
    Row("flatten", ag.flatten, lambda x: x.reshape(-1), alike()),
    Row("flatten axes", lambda x: x.flatten(1), lambda x: x.flatten(1), alike(min_dims=2)),
    Row("transpose", ag.transpose, lambda x: x.permute(dims(x)[::-1]), alike()),
    Row("T", lambda x: x.T, lambda x: x.T, fixed((2, 3))),
    Row("permute", lambda x: ag.permute(x, 2, 0, -2), lambda x: x.permute(2, 0, 1), fixed((2, 3, 4))),
    Row("swapaxes", lambda x: ag.swapaxes(x, 0, -1), lambda x: x.swapaxes(0, -1), alike(min_dims=1)),
    Row("squeeze", ag.squeeze, torch.squeeze, fixed((1, 3, 1))),
    Row("squeeze axis", lambda x: x.squeeze(-1), lambda x: x.squeeze(-1), fixed((1, 3, 1))),
    Row("unsqueeze", lambda x: ag.unsqueeze(x, -1), lambda x: x.unsqueeze(-1), alike()),
    Row("broadcast_to", lambda x: ag.broadcast_to(x, 4, 2, 3), lambda x: x.broadcast_to(4, 2, 3), fixed((2, 1))),
    Row("expand", lambda x: ag.expand(x, 4, -1, 3), lambda x: x.expand(4, -1, 3), fixed((2, 1))),
    Row("concatenate", lambda x, y, z: ag.concatenate([x, y, z], 1), lambda *t: torch.cat(t, 1),
        fixed((2, 1), (2, 3), (2, 2))),
    Row("concatenate twice", lambda x: ag.concatenate([x, x], -1), lambda x: torch.cat([x, x], -1), alike(min_dims=1)),
    Row("stack", lambda *t: ag.stack(t, -1), lambda *t: torch.stack(t, -1), alike(3)),
    Row("split", lambda x: ag.split(x, 2, 1)[1] * 2, lambda x: x.split(2, 1)[1] * 2, fixed((3, 4))),
    Row("split at", lambda x: ag.split(x, [1, 3])[1], lambda x: x[1:3], fixed((4, 2))),
    Row("pad", lambda x: ag.pad(x, [(1, 0), (2, 3)], 5.0), lambda x: F.pad(x, (2, 3, 1, 0), value=5.0), fixed((2, 3))),
    Row("index", lambda x: x[1], lambda x: x[1], fixed((2, 3))),
    Row("index to one element", lambda x: x[1, 2], lambda x: x[1, 2], fixed((2, 3))),
    Row("slices", lambda x: x[::2, None, 1:], lambda x: x[::2, None, 1:], fixed((4, 3))),
    Row("repeated rows", lambda x: x[Tensor(IDS)], lambda x: x[torch.tensor(IDS)], fixed((4, 2))),
    Row("repeated rows, ellipsis", lambda x: x[IDS, ...], lambda x: x[torch.tensor(IDS)], fixed((4,))),
    Row("negative rows", lambda x: x[IDS - 3], lambda x: x[torch.tensor(IDS) - 3], fixed((3, 2))),
    Row("columns", lambda x: x[:, [0, 0, 2]], lambda x: x[:, [0, 0, 2]], fixed((2, 3))),
    Row("pairs", lambda x: x[[0, 1, 0], [2, 1, 2]], lambda x: x[[0, 1, 0], [2, 1, 2]], fixed((2, 3))),
    Row("mask", lambda x: x[MASK], lambda x: x[torch.tensor(MASK)], fixed((2, 3))),
    Row("mask tensor", lambda x: x[Tensor(MASK)], lambda x: x[torch.tensor(MASK)], fixed((2, 3, 2))),
    Row("iterate", lambda x: sum(x), lambda x: sum(x), fixed((3, 2))),
    Row("matmul", ag.matmul, torch.matmul, fixed((2, 3), (3, 4))),
    Row("matmul batches", lambda x, y: x @ y, torch.matmul, fixed((5, 1, 2, 3), (4, 3, 2))),
    Row("matmul one matrix", lambda x, y: x @ y, torch.matmul, fixed((2, 4, 3), (3, 2))),
    Row("matmul many by one", lambda x, y: x @ y, torch.matmul, fixed((2, 3), (4, 3, 2))),
    Row("matmul vectors", lambda x, y: x @ y, torch.matmul, fixed((3,), (3,))),
    Row("matmul vector first", lambda x, y: x @ y, torch.matmul, fixed((3,), (4, 3, 2))),
    Row("matmul vector and matrix", lambda x, y: x @ y, torch.matmul, fixed((3,), (3, 2))),
    Row("matmul vector last", lambda x, y: x @ y, torch.matmul, fixed((4, 2, 3), (3,))),
    Row("matmul by itself", lambda x: x @ x.T, lambda x: x @ x.T, fixed((2, 3))),
    Row("log1p", ag.log1p, torch.log1p, alike(), low=-0.9),
    Row("expm1", ag.expm1, torch.expm1, alike()),
    Row("log2", ag.log2, torch.log2, alike(), low=0.3),
    Row("log10", ag.log10, torch.log10, alike(), low=0.3),
    Row("sign", lambda x: ag.sign(x) * x, lambda x: torch.sign(x) * x, alike()),
    Row("rsqrt", ag.rsqrt, torch.rsqrt, alike(), low=0.3),
    Row("add alpha", lambda x, y: x.add(y, alpha=0.3), lambda x, y: x.add(y, alpha=0.3), broadcast(2)),
    Row("sub alpha", lambda x, y: ag.sub(x, y, alpha=-2), lambda x, y: torch.sub(x, y, alpha=-2), broadcast(2)),
    Row("roll", lambda x: ag.roll(x, 2), lambda x: torch.roll(x, 2), alike(min_dims=1)),
    Row("roll axis", lambda x: x.roll(-1, 0), lambda x: x.roll(-1, 0), alike(min_dims=1)),
    Row("roll axes", lambda x: x.roll((1, 3), dims=(0, -1)), lambda x: x.roll((1, 3), (0, 1)), fixed((3, 4))),
    Row("tile", lambda x: ag.tile(x, 2, 1, 3), lambda x: torch.tile(x, (2, 1, 3)), fixed((3, 4))),
    Row("tile some", lambda x: x.tile((3,)), lambda x: x.tile((3,)), fixed((3, 4))),
    Row("repeat_interleave", lambda x: x.repeat_interleave(2), lambda x: x.repeat_interleave(2), fixed((3, 4))),
    Row("repeat_interleave axis", lambda x: x.repeat_interleave(Tensor([1, 0, 2]), dim=0), lambda x:
        x.repeat_interleave(torch.tensor([1, 0, 2]), dim=0), fixed((3, 4))),
    Row("movedim", lambda x: ag.movedim(x, 0, -1), lambda x: torch.movedim(x, 0, -1), fixed((2, 3, 4))),
    Row("movedim of several", lambda x: x.moveaxis((0, -1), (1, 0)), lambda x: x.movedim((0, -1), (1, 0)),
        fixed((2, 3, 4))),
    Row("diag of a vector", lambda x: ag.diag(x, -1), lambda x: torch.diag(x, -1), fixed((3,))),
    Row("diag of a matrix", lambda x: x.diag(1), lambda x: x.diag(1), fixed((3, 4))),
    Row("diag below", lambda x: x.diag(-2), lambda x: x.diag(-2), fixed((4, 3))),
    Row("trace", ag.trace, torch.trace, fixed((3, 4))),
    Row("chunk", lambda x: ag.chunk(x, 3, dim=1)[1], lambda x: torch.chunk(x, 3, dim=1)[1], fixed((2, 7))),
    Row("unbind", lambda x: x.unbind(1)[2], lambda x: x.unbind(1)[2], fixed((2, 4))),
    Row("narrow", lambda x: x.narrow(1, 1, 2), lambda x: x.narrow(1, 1, 2), fixed((2, 4))),
    Row("index_select", lambda x: ag.index_select(x, 1, IDS[0]), lambda x: torch.index_select(x, 1,
        torch.tensor(IDS[0])), fixed((2, 4))),
    Row("masked_select", lambda x: x.masked_select(MASK[0]), lambda x: x.masked_select(torch.tensor(MASK[0])),
        fixed((2, 3))),
    Row("bmm", ag.bmm, torch.bmm, fixed((2, 3, 4), (2, 4, 5))),
    Row("mv", ag.mv, torch.mv, fixed((3, 4), (4,))),
    Row("dot", ag.dot, torch.dot, fixed((4,), (4,))),
    Row("hstack", lambda x, y: ag.hstack([x, y]), lambda *t: torch.hstack(t), fixed((3,), (2,))),
    Row("hstack of matrices", lambda x, y: ag.hstack([x, y]), lambda *t: torch.hstack(t), fixed((3, 1), (3, 2))),
    Row("vstack", lambda x, y: ag.vstack([x, y]), lambda *t: torch.vstack(t), fixed((3,), (2, 3))),
    Row("meshgrid", lambda *t: ag.stack(ag.meshgrid(*t, indexing="ij")), lambda *t:
        torch.stack(torch.meshgrid(*t, indexing="ij")), fixed((3,), (2,))),
    Row("meshgrid of three", lambda *t: ag.stack(ag.meshgrid(*t, indexing="xy")), lambda *t:
        torch.stack(torch.meshgrid(*t, indexing="xy")), fixed((3,), (2,), (4,))),
    Row("erf", ag.erf, torch.erf, alike(), low=-5, high=5),
    Row("square function", ag.square, torch.square, alike()),
    Row("reciprocal", ag.reciprocal, torch.reciprocal, alike(), low=0.3),
    Row("silu", ag.silu, F.silu, alike(), low=-30, high=30),
    # At its threshold it has a step, which no finite difference may cross.
    Row("softplus", ag.softplus, F.softplus, alike(), low=-30, high=19),
    Row("softplus far out", ag.softplus, F.softplus, alike(), low=21, high=40),
    Row("softplus beta", lambda x: x.softplus(2, 5), lambda x: F.softplus(x, 2, 5), alike(), low=-9, high=2.4),
    Row("softplus beta far out", lambda x: x.softplus(2, 5), lambda x: F.softplus(x, 2, 5), alike(), low=2.6, high=9),
    Row("leaky_relu", ag.leaky_relu, F.leaky_relu, alike()),
    Row("leaky_relu slope", lambda x: x.leaky_relu(-0.5), lambda x: F.leaky_relu(x, -0.5), alike()),
    Row("elu", ag.elu, F.elu, alike(), low=-30, high=30),
    Row("elu alpha", lambda x: x.elu(alpha=0.3), lambda x: F.elu(x, 0.3), alike()),
    Row("round", lambda x: ag.round(x) * x, lambda x: torch.round(x) * x, alike()),
    Row("round decimals", lambda x: ag.round(x, 1) + x, lambda x: torch.round(x, decimals=1) + x, fixed((2, 3))),
    Row("floor", lambda x: ag.floor(x) * x, lambda x: torch.floor(x) * x, alike()),
    Row("ceil", lambda x: ag.ceil(x) * x, lambda x: torch.ceil(x) * x, alike()),
    Row("masked_fill", lambda x: ag.masked_fill(x, x > 0.5, 1.5), lambda x: x.masked_fill(x > 0.5, 1.5), alike()),
    Row("masked_fill broadcast", lambda x: x.masked_fill(Tensor(MASK[0]), -1), lambda x:
        x.masked_fill(torch.tensor(MASK[0]), -1), fixed((2, 3))),
    Row("prod", ag.prod, torch.prod, alike(), low=0.4),
    Row("prod axis", lambda x: x.prod(-1), lambda x: x.prod(-1), alike(min_dims=1)),
    Row("prod axes", lambda x: x.prod((0, -1), True), lambda x: x.prod(0, True).prod(-1, True), fixed((2, 3, 2))),
    Row("cumsum", ag.cumsum, lambda x: x.reshape(-1).cumsum(0), alike()),
    Row("cumsum axis", lambda x: ag.cumsum(x, -1), lambda x: x.cumsum(-1), alike(min_dims=1)),
    Row("cumsum first axis", lambda x: x.cumsum(dim=0), lambda x: x.cumsum(0), alike(min_dims=1)),
    Row("norm", ag.norm, torch.norm, alike()),
    Row("norm axis", lambda x: x.norm(dim=-1, keepdim=True), lambda x: x.norm(dim=-1, keepdim=True), alike(min_dims=1)),
    *(
        Row(f"norm {p} {axis}",
            lambda x, p=p, a=axis: x.norm(p, a),
            lambda x, p=p, a=axis: torch.linalg.vector_norm(x, p, a),
            alike(min_dims=2))
        for p in (0.5, 1, 3, np.inf)
        for axis in (None, 0, (0, 1))
    ),
    Row("sort", ag.sort, lambda x: x.sort()[0], alike(min_dims=1)),
    Row("sort descending", lambda x: x.sort(0, True), lambda x: x.sort(0, True)[0], alike(min_dims=1)),
    Row("sort with dim", lambda x: x.sort(dim=-1).values, lambda x: x.sort(dim=-1).values, alike(min_dims=1)),
    Row("topk", lambda x: ag.topk(x, 1)[0], lambda x: x.topk(1)[0], alike(min_dims=1)),
    Row("topk smallest", lambda x: x.topk(2, 0, False).values, lambda x: x.topk(2, 0, False).values, fixed((3, 2))),
    Row("max with dim", lambda x: ag.max(x, dim=0)[0], lambda x: x.max(0)[0], alike(min_dims=1)),
    Row("min with dim", lambda x: x.min(dim=-1, keepdim=True).values, lambda x: x.min(-1, True)[0], alike(min_dims=1)),
    Row("gather", lambda x: ag.gather(x, 1, IDS), lambda x: x.gather(1, torch.tensor(IDS)), fixed((2, 3))),
    Row("gather from more", lambda x: x.gather(-2, IDS), lambda x: x.gather(0, torch.tensor(IDS)), fixed((3, 5))),
    Row("flip", ag.flip, lambda x: x.flip(dims(x)), alike()),
    Row("flip axis", lambda x: ag.flip(x, -1), lambda x: x.flip(-1), alike(min_dims=1)),
    Row("flip axes", lambda x: x.flip(dims=[0, -1]), lambda x: x.flip([0, -1]), alike(min_dims=2)),
    Row("tril", ag.tril, torch.tril, alike(min_dims=2)),
    Row("tril above", lambda x: x.tril(1), lambda x: x.tril(1), alike(min_dims=2)),
    Row("triu", ag.triu, torch.triu, alike(min_dims=2)),
    Row("triu below", lambda x: x.triu(-1), lambda x: x.triu(-1), alike(min_dims=2)),
    Row("outer", ag.outer, torch.outer, fixed((2,), (3,))),
    Row("T of more axes", lambda x: x.T, lambda x: x.permute(2, 1, 0), fixed((2, 3, 4))),
    Row("linear", ag.linear, F.linear, fixed((5, 3), (2, 3), (2,))),
    Row("linear without bias", ag.linear, F.linear, fixed((5, 3), (2, 3))),
    Row("linear of batches", ag.linear, F.linear, fixed((2, 4, 3), (2, 3), (2,))),
    Row("linear of a vector", ag.linear, F.linear, fixed((3,), (2, 3), (2,))),
    *(
        Row(f"einsum {s}", lambda *t, s=s: ag.einsum(s, *t), lambda *t, s=s: torch.einsum(s, *t), fixed(*shapes))
        for s, shapes in [
            ("ij,jk->ik", [(2, 3), (3, 4)]),
            ("bij,bjk->bik", [(2, 3, 2), (2, 2, 3)]),
            ("ij,jk,kl->il", [(2, 3), (3, 2), (2, 2)]),
            ("i,j->ij", [(2,), (3,)]),
            ("ij->ji", [(2, 3)]),
            ("ij->i", [(2, 3)]),
            ("ij->", [(2, 3)]),
            ("ii->i", [(3, 3)]),
            ("ii", [(3, 3)]),
            ("ij,ij", [(2, 3), (2, 3)]),
            ("ij,kl->il", [(2, 3), (4, 2)]),
            ("iij,j->i", [(2, 2, 3), (3,)]),
            ("...ij,...jk->...ik", [(4, 2, 3), (3, 2)]),
            ("b...i,i->b...", [(2, 3, 4, 3), (3,)]),
        ]
    ),
    *(
        Row(f"cross_entropy {reduction} {smoothing} {target.shape}",
            lambda x, t=target, **how: ag.cross_entropy(x, Tensor(t, like(t, x)), **how),
            lambda x, t=target, **how: F.cross_entropy(x, torch.tensor(t, dtype=like(t, x)), **how),
            fixed((4, 3, *target.shape[1:]) if target is not SOFT else (4, 3)),
            options={"reduction": reduction, "label_smoothing": smoothing})
        for target in (CLASSES, ROWS_2D, SOFT)
        for reduction in ("mean", "sum", "none")
        for smoothing in (0.0, 0.25)
    ),
]  # fmt: skip

each_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)


@each_row
@settings(max_examples=6, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]), seed=st.integers(0, 99))
def test_values_and_gradients_equal_those_of_torch(row: Row, data: Any, dtype: str, seed: int) -> None:
    arrays = [a.astype(dtype) for a in row.draw(data.draw(row.shapes), seed)]
    ours = [Tensor(a, dtype=dtype, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    result, expected = row.minima(*ours), row.torch(*theirs)
    assert result.shape == tuple(expected.shape)
    assert str(result.dtype) == str(expected.dtype).removeprefix("torch.")
    tolerance = {"rtol": 2e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(result.detach().numpy(), expected.detach().numpy(), **tolerance)
    cotangent = np.random.default_rng(seed).standard_normal(result.shape)
    result.backward(Tensor(cotangent, dtype=result.dtype))
    expected.backward(torch.tensor(cotangent, dtype=expected.dtype))
    for x, y in zip(ours, theirs, strict=True):
        assert x.grad is not None and x.grad.dtype == x.dtype
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), **tolerance)


@each_row
@settings(max_examples=3, deadline=None)
@given(data=st.data(), seed=st.integers(0, 99))
def test_halves_give_what_doubles_give_rounded(row: Row, data: Any, seed: int) -> None:
    arrays = [a.astype("float16") for a in row.draw(data.draw(row.shapes), seed)]
    halves = [Tensor(a, dtype="float16", requires_grad=True) for a in arrays]
    doubles = [Tensor(a, dtype="float64", requires_grad=True) for a in arrays]
    result, expected = row.minima(*halves), row.minima(*doubles)
    assert result.dtype == ("float64" if row.name == "astype" else "float16")
    # Some rows consist of two operations and round twice; in a chain of sums what was rounded may cancel.
    tolerance = {"rtol": 2**-10, "atol": 2**-9 if row.name == "iterate" else 2**-21}
    np.testing.assert_allclose(result.detach().numpy(), expected.detach().numpy(), **tolerance)
    cotangent = np.random.default_rng(seed).standard_normal(result.shape).astype("float16")
    result.backward(Tensor(cotangent, dtype=result.dtype))
    expected.backward(Tensor(cotangent, dtype="float64"))
    for x, y in zip(halves, doubles, strict=True):
        assert x.grad is not None and x.grad.dtype == "float16"
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), **tolerance)


@each_row
@settings(max_examples=4, deadline=None)
@given(data=st.data(), seed=st.integers(0, 99))
def test_gradients_are_the_slopes_of_finite_differences(row: Row, data: Any, seed: int) -> None:
    arrays = row.draw(data.draw(row.shapes), seed)
    rng = np.random.default_rng(seed)
    directions = [rng.standard_normal(a.shape) for a in arrays]
    tensors = [Tensor(a, dtype="float64", requires_grad=True) for a in arrays]
    result = row.minima(*tensors)
    cotangent = rng.standard_normal(result.shape)
    result.backward(Tensor(cotangent, dtype="float64"))
    slope = sum(float((t.grad.numpy() * d).sum()) for t, d in zip(tensors, directions, strict=True))

    def moved(step: float) -> float:
        inputs = [Tensor(a + step * d, dtype="float64") for a, d in zip(arrays, directions, strict=True)]
        return float((row.minima(*inputs).numpy() * cotangent).sum())

    step = 1e-5
    np.testing.assert_allclose(slope, (moved(step) - moved(-step)) / (2 * step), rtol=1e-5, atol=1e-6)


@each_row
@settings(max_examples=2, deadline=None)
@given(data=st.data(), seed=st.integers(0, 99))
def test_gradients_have_memory_of_their_own(row: Row, data: Any, seed: int) -> None:
    arrays = row.draw(data.draw(row.shapes), seed)
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    result = row.minima(*tensors)
    gradient = Tensor(np.ones(result.shape), dtype=result.dtype)
    result.backward(gradient)
    buffers = [t.buffer for t in tensors] + [t.grad.buffer for t in tensors] + [result.buffer, gradient.buffer]
    grads = range(len(tensors), 2 * len(tensors))
    assert not [
        (i, j) for i in grads for j in range(len(buffers)) if i != j and np.shares_memory(buffers[i], buffers[j])
    ]
    assert all(t.grad.buffer.flags.writeable for t in tensors)
    for tensor, array in zip(tensors, arrays, strict=True):
        np.testing.assert_array_equal(tensor.buffer, array.astype("float32"))


@each_row
@settings(max_examples=1, deadline=None)
@given(data=st.data())
def test_the_same_primitives_compile_under_jax(row: Row, data: Any) -> None:
    jax = pytest.importorskip("jax")
    if row.name == "astype":
        pytest.skip("float64 is off in JAX by default")
    device = Device("jax", jax.numpy)

    def place(array: Any) -> Tensor:
        tensor = Tensor(0.0, requires_grad=True)
        tensor.buffer, tensor.device, tensor.node.shape = array, device, array.shape
        return tensor

    def gradients(*arrays: Any) -> list[Any]:
        tensors = [place(array) for array in arrays]
        result = row.minima(*tensors)
        result.backward(np.ones(result.shape, "float32"))
        return [result.buffer, *(t.grad.buffer for t in tensors)]

    arrays = [a.astype("float32") for a in row.draw(data.draw(row.shapes), seed=1)]
    tensors = [Tensor(a, requires_grad=True) for a in arrays]
    result = row.minima(*tensors)
    result.backward(np.ones(result.shape, "float32"))
    for ours, theirs in zip([result, *(t.grad for t in tensors)], jax.jit(gradients)(*arrays), strict=True):
        np.testing.assert_allclose(ours.buffer, theirs, rtol=1e-4, atol=1e-5)


# Where one of the two operands is empty, or both are, and the result is or is not.
PAIRS = {
    "matmul": (
        ag.matmul, torch.matmul,
        [((3, 0), (0, 5)), ((0, 3), (3, 5)), ((3, 4), (4, 0)), ((0,), (0,)), ((0,), (0, 4)), ((3,), (3, 0)),
         ((3, 0), (0,)), ((2, 3, 0), (0, 5)), ((2, 3, 0), (2, 0, 5)), ((0, 3, 4), (4, 5)), ((0, 3, 4), (1, 4, 5)),
         ((2, 0, 4), (4, 5)), ((2, 3, 4), (4, 0)), ((4,), (0, 4, 5)), ((0, 3, 4), (4,))],
    ),
    "linear": (
        ag.linear, F.linear,
        [((3, 0), (2, 0), (2,)), ((0, 3), (2, 3), (2,)), ((3, 4), (0, 4), (0,)), ((2, 3, 0), (2, 0), (2,)),
         ((0, 3, 0), (2, 0), (2,)), ((2, 3, 4), (0, 4), (0,)), ((0,), (2, 0), (2,)), ((4,), (0, 4)), ((0, 0), (0, 0))],
    ),
    "einsum": (
        lambda *t: ag.einsum("ij,jk->ik", *t), lambda *t: torch.einsum("ij,jk->ik", *t),
        [((3, 0), (0, 5)), ((0, 3), (3, 2)), ((3, 2), (2, 0))],
    ),
    "add": (lambda x, y: x + y, lambda x, y: x + y, [((3, 0), (1,)), ((3, 0), (3, 1)), ((0, 3), (3,)), ((0, 3), ())]),
    "multiply": (lambda x, y: x * y, lambda x, y: x * y, [((3, 0), (3, 1)), ((0, 3), (3,))]),
    "concatenate": (lambda *t: ag.concatenate(t), lambda *t: torch.cat(t), [((0, 3), (2, 3)), ((0, 3), (0, 3))]),
    "rows": (
        lambda x: x[np.zeros((90, 100), int)], lambda x: x[torch.zeros((90, 100), dtype=torch.long)],
        [((3, 0),), ((3, 2),)],
    ),
    "no rows": (
        lambda x: x[np.zeros((0, 2), int)], lambda x: x[torch.zeros((0, 2), dtype=torch.long)], [((3, 0),), ((3, 2),)]
    ),
    **{
        f"cross_entropy {how} {smoothing}": (
            lambda x, how=how, smoothing=smoothing: ag.cross_entropy(
                x, np.zeros((x.shape[0], *x.shape[2:]), int), reduction=how, label_smoothing=smoothing),
            lambda x, how=how, smoothing=smoothing: F.cross_entropy(
                x, torch.zeros((x.shape[0], *x.shape[2:]), dtype=torch.long), reduction=how, label_smoothing=smoothing),
            [((0, 3),), ((0, 3, 2),), ((2, 3, 0),)],
        )
        for how in ("mean", "sum", "none")
        for smoothing in (0.0, 0.2)
    },
}  # fmt: skip
SINGLES = [((0,),), ((3, 0),), ((0, 3),), ((2, 0, 3),)]
ANY_SHAPE = {
    *(
        "add a number",
        "divide a number",
        "square",
        "abs",
        "exp",
        "sigmoid",
        "relu",
        "gelu",
        "gelu tanh",
        "clip",
        "clone",
    ),
    *(
        "sum",
        "sum axis",
        "mean",
        "mean keepdims",
        "var",
        "std",
        "logsumexp",
        "logsumexp axis",
        "softmax",
        "softmax axis",
    ),
    *("log1p", "expm1", "erf", "square function", "reciprocal", "silu", "softplus", "leaky_relu", "elu"),
    *("round", "floor", "ceil", "masked_fill", "prod", "cumsum", "cumsum axis", "norm", "sort", "flip", "flip axis"),
    *("log_softmax", "flatten", "transpose", "swapaxes", "unsqueeze", "concatenate twice", "where with a number"),
}
EMPTIES = [
    *((name, *functions, shapes) for name, (*functions, cases) in PAIRS.items() for shapes in cases),
    *((row.name, row.minima, row.torch, shapes) for row in TABLE for shapes in SINGLES if row.name in ANY_SHAPE),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*degrees of freedom:UserWarning")  # the mean of nothing
@pytest.mark.parametrize(("name", "minima", "torch_", "shapes"), EMPTIES, ids=lambda v: v if isinstance(v, str) else "")
def test_operations_on_empty_arrays_are_those_of_torch(name: str, minima: Any, torch_: Any, shapes: Shapes) -> None:
    arrays = [np.random.default_rng(0).standard_normal(shape).astype("float32") for shape in shapes]
    ours = [Tensor(a, dtype="float32", requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    result, expected = minima(*ours), torch_(*theirs)
    assert result.shape == tuple(expected.shape)
    np.testing.assert_allclose(result.detach().numpy(), expected.detach().numpy(), rtol=1e-5)
    result.backward(Tensor(np.ones(result.shape), dtype=result.dtype))
    expected.backward(torch.ones_like(expected))
    for x, y in zip(ours, theirs, strict=True):
        assert x.grad.shape == tuple(y.shape)
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-5)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_variance_of_too_few_elements_has_no_derivative():
    for reduce in (ag.var, ag.std):
        for ddof in (1, 2):
            x = Tensor([3.0], requires_grad=True)
            y = reduce(x, ddof=ddof)
            y.backward()
            assert np.isnan(y.item()) and np.isnan(x.grad.item())


@pytest.mark.parametrize("shape", [(300,), (300, 40), (300, 3, 10)])
def test_many_repeated_rows_add_up(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(-300, 200, (100, 90))  # a third of the rows is taken by nobody
    x = Tensor(rng.standard_normal(shape), dtype="float64", requires_grad=True)
    gradient = rng.standard_normal((*ids.shape, *shape[1:]))
    x[Tensor(ids)].backward(Tensor(gradient, dtype="float64"))
    expected = np.zeros(shape)
    np.add.at(expected, ids, gradient)
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-12, atol=1e-12)
