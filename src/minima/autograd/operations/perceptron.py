"""A perceptron: linear layers one behind the other, with ReLU behind some of them, as one primitive.

Its arithmetic is that of ``linear`` and ``relu``, to the bit. But half of the time of a small step is what goes on
around operations, and here the whole network is one of them.
"""

from collections.abc import Sequence

from minima.autograd.operations.activations import through_relu, zero
from minima.autograd.operations.linalg import ones, rows
from minima.autograd.primitive import Array, Namespace, primitive

__all__ = ["perceptron"]


@primitive(residual="inputs")
def perceptron(xp: Namespace, *arrays: Array, relus: Sequence[bool]) -> tuple[Array, list[Array]]:
    """Of an array (..., inputs), then the weight and the bias of every layer; ``relus``: whether a ReLU follows it.

    The rules get the rows that went into every layer.
    """
    x = xp.asarray(arrays[0])
    h = x if x.ndim == 2 else rows(xp, x)
    inputs: list[Array] = []
    for weight, bias, is_rectified in zip(arrays[1::2], arrays[2::2], relus, strict=True):
        if bias.ndim != 1 or len(bias) != len(weight):
            raise ValueError("a bias must have the shape (outputs,)")  # NumPy would spread some others
        inputs.append(h)
        h = h.dot(weight.T) + bias  # the method begins a fifth of a microsecond sooner than the function
        if is_rectified:
            h = xp.maximum(h, zero(h.dtype))
    return h if x.ndim == 2 else xp.reshape(h, (*x.shape[:-1], h.shape[1])), inputs


@perceptron.shared
def _(
    xp: Namespace,
    g: Array,
    out: Array,
    arrays: list[Array],
    inputs: list[Array],
    positions: tuple[int, ...],
    *,
    relus: Sequence[bool],
) -> dict[int, Array]:
    """The gradients by their positions, down to the lowest that is asked for."""
    shape, lowest = arrays[0].shape, positions[0]
    g = xp.asarray(g)
    if len(shape) != 2:
        g, out = rows(xp, g), rows(xp, out)
    one = xp.asarray(ones(len(g), g.dtype))
    grads: dict[int, Array] = {}
    layer = len(relus)
    while layer:
        layer -= 1
        weight, bias, h = 2 * layer + 1, 2 * layer + 2, inputs[layer]
        if relus[layer]:
            g = through_relu(xp, g, out)
        if bias in positions:
            grads[bias] = one.dot(g)
        if weight in positions:
            grads[weight] = g.T.dot(h)
        if lowest >= weight:
            return grads
        g, out = g.dot(arrays[weight]), h
    grads[0] = xp.reshape(g, shape)
    return grads


@perceptron.vjp("arrays")
def _(xp: Namespace, g: Array, shared: dict[int, Array], position: int, *, relus: Sequence[bool]) -> Array:
    return shared[position]
