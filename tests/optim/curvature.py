"""L-BFGS by the book, in float64: the inverse of the Hessian as a matrix, and the search for the length of a step."""

import math

import numpy as np


def cubic(x1, f1, d1, x2, f2, d2, low, high):
    """The minimiser of a cubic by two values and slopes, within bounds; Nocedal and Wright, equation 3.59."""
    if x1 > x2:
        x1, f1, d1, x2, f2, d2 = x2, f2, d2, x1, f1, d1
    p = d1 + d2 - 3 * (f1 - f2) / (x1 - x2)
    if p * p - d1 * d2 < 0:
        return (low + high) / 2
    q = math.sqrt(p * p - d1 * d2)
    return np.clip(x2 - (x2 - x1) * (d2 + q - p) / (d2 - d1 + 2 * q), low, high)


def search(phi, first, f0, d0, size, tolerance, most):
    """The strong Wolfe search; ``phi`` gives value and slope. Gives the step, and how often it asked."""
    asked = [first]

    def ask(a):
        asked.append(a)
        return (a, *phi(a))

    armijo = lambda p: p[1] <= f0 + 1e-4 * p[0] * d0  # noqa: E731
    flat = lambda p: abs(p[2]) <= -0.9 * d0  # noqa: E731
    previous, p = (0.0, f0, d0), (first, *phi(first))
    bracket = None
    while bracket is None and len(asked) <= most:
        if not armijo(p) or (len(asked) > 2 and p[1] >= previous[1]):
            bracket = [previous, p]
        elif flat(p):
            return p[0], len(asked)
        elif p[2] >= 0:
            bracket = [previous, p]
        else:
            a = cubic(*previous, *p, p[0] + 0.01 * (p[0] - previous[0]), 10 * p[0])
            previous, p = p, ask(a)
    bracket = bracket or [(0.0, f0, d0), p]
    low, high = (0, 1) if bracket[0][1] <= bracket[1][1] else (1, 0)
    close = False
    while len(asked) <= most:
        ends = sorted(end[0] for end in bracket)
        width = ends[1] - ends[0]
        if width * size < tolerance:
            break
        a = cubic(*bracket[0], *bracket[1], *ends)
        if min(ends[1] - a, a - ends[0]) < 0.1 * width:
            if close or a >= ends[1] or a <= ends[0]:
                a = ends[1] - 0.1 * width if ends[1] - a < a - ends[0] else ends[0] + 0.1 * width
                close = False
            else:
                close = True
        else:
            close = False
        p = ask(a)
        if not armijo(p) or p[1] >= bracket[low][1]:
            bracket[high] = p
            low, high = (0, 1) if bracket[0][1] <= bracket[1][1] else (1, 0)
        else:
            if flat(p):
                return p[0], len(asked)
            if p[2] * (bracket[high][0] - bracket[low][0]) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = p
    return bracket[low][0], len(asked)


class LBFGS:
    """The whole algorithm on one vector; ``function`` gives the loss and its gradient there."""

    def __init__(self, function, x, lr=1.0, max_iter=20, max_eval=None, tolerance_grad=1e-7, tolerance_change=1e-9,
                 history_size=100, line_search_fn=None):  # fmt: skip
        self.function, self.x, self.lr, self.max_iter = function, np.array(x, float), lr, max_iter
        self.max_eval = max_iter * 5 // 4 if max_eval is None else max_eval
        self.tol_grad, self.tol_change = tolerance_grad, tolerance_change
        self.history, self.searches = history_size, line_search_fn is not None
        self.pairs, self.scale, self.evals, self.n_iter, self.d = [], 1.0, 0, 0, None

    def inverse(self):
        """The approximation of the inverse Hessian, one pair after the other; Nocedal and Wright, equation 7.16."""
        h = self.scale * np.eye(self.x.size)
        for s, y in self.pairs:
            v = np.eye(self.x.size) - np.outer(y, s) / (y @ s)
            h = v.T @ h @ v + np.outer(s, s) / (y @ s)
        return h

    def call(self):
        before, (f, g) = self.evals, self.function(self.x)
        first = f
        self.evals += 1
        if abs(g).max() <= self.tol_grad:
            return first
        for k in range(1, self.max_iter + 1):
            self.n_iter += 1
            if self.d is None:
                self.d, step = -g, min(1, 1 / abs(g).sum()) * self.lr
            else:
                s, y = self.step * self.d, g - self.g
                if y @ s > 1e-10:
                    self.pairs = [*self.pairs, (s, y)][-self.history :]
                    self.scale = (y @ s) / (y @ y)
                self.d, step = -self.inverse() @ g, self.lr
            self.g, self.f, self.step = g, f, 0.0
            slope = g @ self.d
            if slope > -self.tol_change:
                break
            x, d = self.x, self.d
            if self.searches:
                at = lambda a, x=x, d=d: (self.function(x + a * d)[0], self.function(x + a * d)[1] @ d)  # noqa: E731
                most = self.max_eval - (self.evals - before)
                step, asked = search(at, step, f, slope, abs(d).max(), self.tol_change, most)
                self.evals += asked
                f, g = self.function(x + step * d)
            elif k < self.max_iter:
                f, g = self.function(x + step * d)
                self.evals += 1
            self.x, self.step = x + step * d, step
            if k == self.max_iter or self.evals - before >= self.max_eval or abs(g).max() <= self.tol_grad:
                break
            if abs(step * d).max() <= self.tol_change or abs(f - self.f) < self.tol_change:
                break
        return first
