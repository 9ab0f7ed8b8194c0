"""What the tests of loops share: gradients that depend on the parameters, and oracles in float64 NumPy."""

import math

import numpy as np

SHAPES = ((6, 4), (3, 5), (7,))


def start():
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in SHAPES]


def gradients(values, step):
    """Of all parameters at once: each depends on all of them, and their size rises and falls by a factor of 200."""
    rng = np.random.default_rng([1, step])
    size = 200 ** math.sin(step) / 4
    common = sum(np.tanh(value).sum() for value in values)
    return [size * (np.sin(3 * x) + 0.2 * x + 0.01 * common + 0.1 * rng.normal(size=x.shape)) for x in values]


class SGDInside:
    """Momentum as minima has it, and weight decay in front."""

    def __init__(self, lr, momentum=0.0, wd=0.0, sign=1.0):
        self.lr, self.momentum, self.wd, self.sign, self.u = lr, momentum, wd, sign, 0.0

    def __call__(self, param, grad, t):
        param = (1 - self.lr * self.wd) * param
        self.u = self.momentum * self.u + (1 - self.momentum) * self.sign * grad
        return param - self.lr * self.u


class AdamInside:
    def __init__(self, lr, beta1=0.9, beta2=0.999, eps=1e-8, wd=0.0):
        self.lr, self.beta1, self.beta2, self.eps, self.wd, self.m, self.v = lr, beta1, beta2, eps, wd, 0.0, 0.0

    def __call__(self, param, grad, t):
        param = (1 - self.lr * self.wd) * param
        self.m = self.beta1 * self.m + (1 - self.beta1) * grad
        self.v = self.beta2 * self.v + (1 - self.beta2) * grad**2
        m_hat, v_hat = self.m / (1 - self.beta1**t), self.v / (1 - self.beta2**t)
        return param - self.lr * m_hat / (np.sqrt(v_hat) + self.eps)


def clipped(grads, max_norm):
    norm = math.sqrt(sum((grad**2).sum() for grad in grads))
    return [grad * min(1.0, max_norm / norm) for grad in grads] if max_norm else grads


def lookahead(inside, k, alpha, steps, absent=lambda step: ()):
    """Parameters and slow weights after each step; ``inside`` has the rule of each parameter."""
    params = start()
    slow, counts = [x.copy() for x in params], [0] * len(params)
    for step in range(steps):
        grads = gradients(params, step)
        for i, rule in enumerate(inside):
            if i in absent(step):
                continue
            counts[i] += 1
            params[i] = rule(params[i], grads[i], counts[i])
            if counts[i] % k == 0:
                slow[i] = slow[i] + alpha * (params[i] - slow[i])
                params[i] = slow[i].copy()
        yield [x.copy() for x in params], [x.copy() for x in slow]


def worst(params, grads, rho, eta=None):
    """The worst points nearby; ``eta`` is that of the adaptive neighbourhood."""
    scales = [np.ones_like(x) if eta is None else np.abs(x) + eta for x in params]
    norm = math.sqrt(sum(((s * g) ** 2).sum() for s, g in zip(scales, grads, strict=True))) + 1e-12
    return [x + rho * s**2 * g / norm for x, s, g in zip(params, scales, grads, strict=True)]


def sam(inside, rho, eta, steps, signs=(1, 1, 1), absent=lambda step: (), max_norm=None):
    """Parameters after each step, and the gradients at the worst point."""
    params, counts = start(), [0] * len(SHAPES)
    for step in range(steps):
        there = [i for i in range(len(params)) if i not in absent(step)]
        grads = gradients(params, step)
        moved = worst([params[i] for i in there], [signs[i] * grads[i] for i in there], rho, eta)
        at = list(params)
        for i, value in zip(there, moved, strict=True):
            at[i] = value
        grads = gradients(at, step)
        used = clipped([grads[i] for i in there], max_norm)
        for i, grad in zip(there, used, strict=True):
            counts[i] += 1
            params[i] = inside[i](params[i], grad, counts[i])
        yield [x.copy() for x in params], grads
