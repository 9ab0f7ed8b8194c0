"""Rules of papers that look beyond one element: by norms, rows and columns, totals and matrices."""

from minima.optim import (
    Optimizer,
    PerColumn,
    PerRow,
    PerTensor,
    Shared,
    cbrt,
    clip,
    direction,
    hyper,
    max,
    maximum,
    mean,
    minimum,
    norm,
    sqrt,
    sum,
    total,
    where,
)
from minima.optim import abs as magnitude


class Trusting(Optimizer):
    """The step of Adam, as long as the parameter (LAMB)."""

    lr: float = hyper(0.1, low=0)
    beta1: float = hyper(0.9, low=0, below=1)
    beta2: float = hyper(0.99, low=0, below=1)
    weight_decay: float = hyper(0.0, low=0)

    @staticmethod
    def update(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, weight_decay, t):
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad**2
        m_hat = exp_avg / (1 - beta1**t)
        v_hat = exp_avg_sq / (1 - beta2**t)
        step = m_hat / (sqrt(v_hat) + 1e-6) + weight_decay * param
        size, length = norm(param), norm(step)
        trust = where((size > 0) & (length > 0), size / length, 1)
        return param - lr * trust * step, exp_avg, exp_avg_sq


class Layerwise(Optimizer):
    """One second moment for each parameter (NovoGrad)."""

    lr: float = hyper(0.1, low=0)
    beta1: float = hyper(0.9, low=0, below=1)
    beta2: float = hyper(0.5, low=0, below=1)
    eps: float = hyper(1e-6, low=0)

    @staticmethod
    def update(param, grad, exp_avg, size: PerTensor, *, lr, beta1, beta2, eps, t):
        now = norm(grad) ** 2
        size = where(t == 1, now, beta2 * size + (1 - beta2) * now)
        exp_avg = beta1 * exp_avg + grad / (sqrt(size) + eps)
        return param - lr * direction(exp_avg), exp_avg, size


class Factored(Optimizer):
    """A second moment by rows and columns where there are such (Adafactor)."""

    lr: float = hyper(0.1, low=0)
    eps1: float = hyper(1e-8, low=0)
    threshold: float = hyper(1.0, above=0)
    decay_rate: float = hyper(0.8, low=0)

    @staticmethod
    def update(param, grad, rows: PerRow, columns: PerColumn, v, *, lr, eps1, threshold, decay_rate, t):
        beta2 = 1 - t**-decay_rate
        square = grad**2 + eps1
        if param.ndim < 2:
            v = beta2 * v + (1 - beta2) * square
            step = grad / sqrt(v)
        else:
            rows = beta2 * rows + (1 - beta2) * mean(square, axis=1)
            columns = beta2 * columns + (1 - beta2) * mean(square, axis=0)
            step = grad / sqrt(rows * columns / mean(rows))
        step = step / maximum(1, sqrt(mean(step**2)) / threshold)
        return param - lr * step, rows, columns, v


class Distant(Optimizer):
    """A learning rate by the distance from the start, which all parameters share (Prodigy)."""

    lr: float = hyper(1.0, low=0)
    beta1: float = hyper(0.9, low=0, below=1)
    d0: float = hyper(1e-3, above=0)

    @staticmethod
    def update(param, grad, exp_avg, s, start="param", d: Shared = "d0", r: Shared = 0.0, *, lr, beta1):
        beta3 = sqrt(beta1)
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        r = beta3 * r + (1 - beta3) * d * total(grad * (start - param))
        s = beta3 * s + (1 - beta3) * d * grad
        d = maximum(d, r / total(magnitude(s)))
        return param - lr * d * exp_avg, exp_avg, s, start, d, r


def orthogonal(x, rounds):
    """The nearest matrix with rows of length 1 that are orthogonal, by Newton and Schulz."""
    for _ in range(rounds):
        gram = x @ x.T
        x = 1.5 * x - 0.5 * gram @ x
    return x


class Upright(Optimizer):
    """Steps of matrices that are made orthogonal (Muon)."""

    lr: float = hyper(0.1, low=0)
    momentum: float = hyper(0.9, low=0, below=1)

    @staticmethod
    def update(param, grad, u, *, lr, momentum):
        u = momentum * u + grad
        if param.ndim < 2:
            return param - lr * u, u
        rows, columns = param.shape
        x = u / (norm(u) + 1e-7)
        step = orthogonal(x.T, 3).T if rows > columns else orthogonal(x, 3)
        return param - lr * sqrt(maximum(1, rows / columns)) * step, u


class Clipped(Optimizer):
    """Gradients no longer than a limit, all together."""

    lr: float = hyper(0.1, low=0)
    limit: float = hyper(1.0, above=0)

    @staticmethod
    def update(param, grad, *, lr, limit):
        grad = grad * minimum(1, limit / sqrt(total(grad**2)))
        return param - lr * grad


class Averaged(Optimizer):
    """State that begins as the parameter and does not stay so; words that no rule above has."""

    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, z="param", *, lr):
        scaled = grad / (1 + max(norm(grad, axis=1))) * sum(grad, axis=0)
        z = z - lr * cbrt(scaled)
        return 0.5 * param + 0.5 * clip(z, -2, 2), z


PAPERS = (Trusting, Layerwise, Factored, Distant, Upright, Clipped, Averaged)
