"""Recurrent layers: one primitive for all steps of a sequence, and one for the derivatives of them all.

``pre`` holds what the inputs contribute to the gates of every step, (steps, N, gates * H): one product before.
A step adds ``h @ weight.T`` for the state ``h`` of (N, H); the weight is (gates * H, H), its gates in PyTorch's order.
With ``reverse`` the last step comes first. Results stand in the order of the inputs.

A step of the backward pass turns the gradient of a state into that of its gates and of the state before. What the
weight gets is then one product for all steps.
"""

from collections.abc import Sequence
from typing import Any

from minima.autograd.primitive import Array, Namespace, primitive

__all__ = ["gru", "lstm", "rnn"]

Steps = Sequence[tuple[Array, ...]]  # what the rules take from each step


def _gate(xp: Namespace, x: Array) -> Array:
    """The sigmoid; held where the exponential would overflow in float32, and the result is below 1e-38 anyway."""
    return 1 / (1 + xp.exp(xp.minimum(-x, 88)))


def _across(xp: Namespace, weight: Array) -> Array:
    """The transpose in memory of its own: BLAS multiplies small matrices by it in half the time of a view."""
    return xp.reshape(xp.ravel(weight.T), weight.T.shape)


def _order(steps: int, reverse: bool) -> range:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def _sorted(parts: list[Array], reverse: bool) -> list[Array]:
    """What was computed step by step, in the order of the inputs."""
    return parts[::-1] if reverse else parts


def _before(xp: Namespace, states: Array, first: Array, reverse: bool) -> Array:
    """The state before each step, of the states after each."""
    return xp.concatenate([states[1:], first[None]] if reverse else [first[None], states[:-1]])


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


@primitive(residual="steps")
def lstm(xp: Namespace, pre: Array, h: Array, c: Array, weight: Array, *, reverse: bool) -> tuple[Array, Steps]:
    """The states ``h`` after every step, and behind them the last ``c``: (steps + 1, N, H).

    Hochreiter and Schmidhuber, Long short-term memory, 1997, with the forget gate of Gers et al., 2000.
    """
    size, across = h.shape[1], _across(xp, weight)
    states: list[Array] = []
    steps: list[tuple[Array, ...]] = []
    for t in _order(len(pre), reverse):
        a = pre[t] + xp.matmul(h, across)
        gates, new = _gate(xp, a), xp.tanh(a[:, 2 * size : 3 * size])
        i, f, o = gates[:, :size], gates[:, size : 2 * size], gates[:, 3 * size :]
        before, c = c, f * c + i * new
        curved = xp.tanh(c)
        h = o * curved
        states.append(h)
        steps.append((gates, new, before, curved))
    return xp.stack([*_sorted(states, reverse), c]), steps


@lstm.shared
def _(xp: Namespace, g: Array, weight: Array, steps: Steps, *, reverse: bool) -> tuple[Array, ...]:
    """The gradients of ``pre`` and of the first ``h`` and ``c``."""
    size = g.shape[2]
    order = _order(len(steps), reverse)
    dh: Any = 0
    dc = g[-1]
    parts: list[Array] = []
    for t, (gates, new, before, curved) in zip(reversed(order), reversed(steps), strict=True):
        i, f, o = gates[:, :size], gates[:, size : 2 * size], gates[:, 3 * size :]
        dh = g[t] + dh
        dc = dc + dh * o * (1 - curved * curved)
        slope = gates * (1 - gates)
        di, df = dc * new * slope[:, :size], dc * before * slope[:, size : 2 * size]
        dnew, do = dc * i * (1 - new * new), dh * curved * slope[:, 3 * size :]
        part = xp.concatenate([di, df, dnew, do], axis=1)
        parts.append(part)
        dh, dc = xp.matmul(part, weight), dc * f
    return xp.stack(_sorted(parts, not reverse)), dh, dc


@primitive(residual="steps")
def gru(
    xp: Namespace, pre: Array, h: Array, weight: Array, bias: Array | None, *, reverse: bool
) -> tuple[Array, Steps]:
    """The state after every step. Cho et al., 2014, with the reset gate behind the product, as in cuDNN and PyTorch."""
    size, across = h.shape[1], _across(xp, weight)
    states: list[Array] = []
    steps: list[tuple[Array, ...]] = []
    for t in _order(len(pre), reverse):
        own = xp.matmul(h, across) if bias is None else xp.matmul(h, across) + bias
        gates = _gate(xp, pre[t, :, : 2 * size] + own[:, : 2 * size])
        r, z = gates[:, :size], gates[:, size:]
        reset = own[:, 2 * size :]
        new = xp.tanh(pre[t, :, 2 * size :] + r * reset)
        away = h - new
        h = new + z * away
        states.append(h)
        steps.append((gates, new, reset, away))
    return xp.stack(_sorted(states, reverse)), steps


@gru.shared
def _(xp: Namespace, g: Array, weight: Array, steps: Steps, *, reverse: bool) -> tuple[Array, ...]:
    """The gradients of ``pre``, of the first ``h``, and of ``h @ weight.T``."""
    size = g.shape[2]
    order = _order(len(steps), reverse)
    dh: Any = 0
    parts: list[Array] = []
    owns: list[Array] = []
    for t, (gates, new, reset, away) in zip(reversed(order), reversed(steps), strict=True):
        r, z = gates[:, :size], gates[:, size:]
        dh = g[t] + dh
        dnew = (dh - dh * z) * (1 - new * new)
        dgates = xp.concatenate([dnew * reset, dh * away], axis=1) * (gates * (1 - gates))
        own = xp.concatenate([dgates, dnew * r], axis=1)
        parts.append(xp.concatenate([dgates, dnew], axis=1))
        owns.append(own)
        dh = dh * z + xp.matmul(own, weight)
    return xp.stack(_sorted(parts, not reverse)), dh, xp.stack(_sorted(owns, not reverse))


@primitive
def rnn(xp: Namespace, pre: Array, h: Array, weight: Array, *, reverse: bool, relu: bool) -> Array:
    """The state after every step. Elman, Finding structure in time, 1990."""
    across = _across(xp, weight)
    states: list[Array] = []
    for t in _order(len(pre), reverse):
        a = pre[t] + xp.matmul(h, across)
        h = xp.maximum(a, 0) if relu else xp.tanh(a)
        states.append(h)
    return xp.stack(_sorted(states, reverse))


@rnn.shared
def _(xp: Namespace, g: Array, out: Array, weight: Array, *, reverse: bool, relu: bool) -> tuple[Array, Array]:
    """The gradients of ``pre`` and of the first ``h``."""
    slope = out > 0 if relu else 1 - out * out
    dh: Any = 0
    parts: list[Array] = []
    for t in reversed(_order(len(out), reverse)):
        part = (g[t] + dh) * slope[t]
        parts.append(part)
        dh = xp.matmul(part, weight)
    return xp.stack(_sorted(parts, not reverse)), dh


@lstm.vjp("pre")
@gru.vjp("pre")
@rnn.vjp("pre")
def _(xp: Namespace, g: Array, shared: tuple[Array, ...], **statics: bool) -> Array:
    return shared[0]


@lstm.vjp("h")
@gru.vjp("h")
@rnn.vjp("h")
def _(xp: Namespace, g: Array, shared: tuple[Array, ...], **statics: bool) -> Array:
    return shared[1]


@lstm.vjp("c")
def _(xp: Namespace, g: Array, shared: tuple[Array, ...], *, reverse: bool) -> Array:
    return shared[2]


@lstm.vjp("weight")
def _(xp: Namespace, g: Array, out: Array, h: Array, shared: tuple[Array, ...], *, reverse: bool) -> Array:
    return xp.matmul(_rows(shared[0]).T, _rows(_before(xp, out[:-1], h, reverse)))


@gru.vjp("weight")
def _(xp: Namespace, g: Array, out: Array, h: Array, shared: tuple[Array, ...], *, reverse: bool) -> Array:
    return xp.matmul(_rows(shared[2]).T, _rows(_before(xp, out, h, reverse)))


@gru.vjp("bias")
def _(xp: Namespace, g: Array, shared: tuple[Array, ...], *, reverse: bool) -> Array:
    return xp.sum(shared[2], axis=(0, 1))


@rnn.vjp("weight")
def _(xp: Namespace, g: Array, out: Array, h: Array, shared: tuple[Array, ...], *, reverse: bool, relu: bool) -> Array:
    return xp.matmul(_rows(shared[0]).T, _rows(_before(xp, out, h, reverse)))
