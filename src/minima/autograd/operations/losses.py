"""The cross-entropy, fused: softmax, logarithm, selection and reduction in one primitive."""

from minima.autograd.primitive import Array, Namespace, primitive


@primitive(residual="slope")
def cross_entropy(
    xp: Namespace, logits: Array, target: Array, *, smoothing: float, reduction: str
) -> tuple[Array, Array]:
    """``-log softmax(logits)[target]`` of every row, reduced; the slope is its derivative, row by row."""
    numbers, classes = target.reshape(-1), logits.shape[1]
    rows = logits if logits.ndim == 2 else xp.moveaxis(logits, 1, -1).reshape(numbers.size, classes)
    # The reductions are spelled as ufuncs: a method costs as much again as reducing a small batch does.
    shifted = rows - xp.maximum.reduce(rows, axis=1, keepdims=True)  # so that exp cannot overflow
    exponentials = xp.exp(shifted)
    total = xp.add.reduce(exponentials, axis=1, keepdims=True)
    wanted = numbers[:, None] == xp.arange(classes)
    chosen = shifted[xp.arange(numbers.size), numbers]
    if smoothing:
        wanted = (1 - smoothing) * wanted.astype(rows.dtype) + smoothing / classes
        chosen = (1 - smoothing) * chosen + smoothing * shifted.mean(axis=1)
    slope = exponentials / total - wanted
    losses = xp.log(total[:, 0]) - chosen
    if reduction == "none":
        return losses.reshape(target.shape), slope
    return xp.add.reduce(losses, axis=None) / (numbers.size if reduction == "mean" else 1), slope


@cross_entropy.vjp("logits")
def _(xp: Namespace, g: Array, shape: tuple[int, ...], slope: Array, *, smoothing: float, reduction: str) -> Array:
    if reduction == "mean":
        g = g / max(len(slope), 1)
    grad = slope * g.reshape(-1, 1)
    return grad if len(shape) == 2 else xp.moveaxis(grad.reshape(shape[0], *shape[2:], shape[1]), -1, 1)
