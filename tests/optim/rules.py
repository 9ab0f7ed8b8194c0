"""The table that feeds the tests of all optimizers: engines, dtypes, rules with their oracles, configurations.

A new optimizer is tested by adding its oracle and some configurations; a new engine by adding a row.

An oracle says in float64 what a rule arrives at, and is no second copy of the recurrence: it computes the state and the
direction of a step from all gradients so far, in closed form, for one element, in plain Python.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minima import Tensor, optim
from minima.optim import (
    ASGD,
    QHM,
    SGD,
    SOAP,
    AdaBelief,
    AdaDelta,
    AdaGrad,
    Adam,
    AdaMax,
    AdamW,
    AdEMAMix,
    Hyper,
    LaProp,
    Lion,
    Muon,
    Optimizer,
    QHAdam,
    RAdam,
    RMSProp,
    Rprop,
    Shampoo,
    Signum,
    SimplifiedAdEMAMix,
    Yogi,
    exp,
    hyper,
    log,
    maximum,
    minimum,
    sign,
    sqrt,
    where,
)
from minima.optim import abs as magnitude
from minima.optim.engines import Arrays
from minima.optim.language.ranks import TENSOR
from minima.optim.rules import RULES

ENGINES = {name: {"engine": name} for name in ("reference", "fused")}
"""Every engine by name, with what a constructor is given to choose it."""


def able(cls: type[Optimizer], engine: Mapping[str, str]) -> Mapping[str, str]:
    """An engine that can step a rule; the choice is left to minima where this one multiplies no matrices."""
    return {} if cls in (Muon, Shampoo, SOAP) and engine == ENGINES["fused"] else engine


DTYPES = ("float32", "float64", "float16")


# Rules such as a user may write ----------------------------------------------------------------------------------


class Everything(Optimizer):
    """Every word and operator that a rule may use, a flag, an optional number, a first state that is not 0."""

    lr: float = hyper(0.1, low=0)
    limit: float = hyper(1.0, above=0)
    warm: float = hyper(3.0, low=1)
    floor: float | None = hyper(None, low=0)
    rough: bool = hyper(False, kw_only=True)

    @staticmethod
    def update(param, grad, trend, peak=0.25, *, lr, limit, warm, floor, rough, t):
        size = magnitude(grad)
        peak = maximum(peak, size)
        ramp = where((t < warm) & (warm > 1), t / warm, 1.0)
        late = (t >= warm) | (lr != lr)
        calm = (size <= limit) & ~(grad == 0) & (grad != limit / 2) | late & (size > 4 * limit)
        soft = where(calm, log(2 + size), 2 - exp(-size))
        trend = 0.5 * trend + sign(grad) * soft
        bounded = maximum(minimum(+grad, limit), -limit) ** 3 if rough else -minimum(limit, -grad)
        root = (1 + peak**2) ** 0.5 * sqrt(peak) ** -1
        if floor is not None:
            root = maximum(root, floor)
        return param - lr * (ramp * (bounded / root + 2**-peak) - abs(trend) / peak**1.5), trend, peak


class Turning(Optimizer):
    """A rule with a state that is never negative in one of its variants, and may be in the other."""

    lr: float = hyper(0.0, low=0)
    signed: bool = hyper(False)

    @staticmethod
    def update(param, grad, total, *, lr, signed):
        return param - lr * grad, total + (grad if signed else abs(grad))


# Their oracles -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sum:
    """A sum, and the sum of the magnitudes of its terms: rounding errors are small against the latter."""

    value: float
    size: float

    @classmethod
    def of(cls, terms: Sequence[float]) -> "Sum":
        if not all(map(math.isfinite, terms)):
            return cls(float(np.sum(terms)), math.inf)
        return cls(math.fsum(terms), math.fsum(map(abs, terms)))

    def times(self, factor: float) -> "Sum":
        return Sum(self.value * factor, self.size * abs(factor))

    def over(self, divisor: float) -> "Sum":
        if divisor:
            return self.times(1 / divisor)
        return Sum(math.copysign(math.inf, self.value) if self.value else math.nan, math.inf)


Outcome = tuple[Sum, dict[str, Sum]]
"""The direction of the last step (the parameter moves by ``-lr`` times that), and the state after it."""
Way = list[dict[str, Sum]]
"""The parameter and its state after each step."""


def fading(grads: Sequence[float], keep: float) -> list[float]:
    """The gradients, each shrunk by ``keep`` once for every later step."""
    return [keep ** (len(grads) - step) * grad for step, grad in enumerate(grads, start=1)]


def weighted_mean(grads: Sequence[float], keep: float) -> Sum:
    """The mean of the gradients, each weighing ``keep`` times the next: what bias correction makes of an average."""
    return Sum.of(fading(grads, keep)).over(math.fsum(fading([1.0] * len(grads), keep)))


def squares(grads: Sequence[float]) -> list[float]:
    return [grad * grad for grad in grads]


def sgd(grads, *, momentum=0.0, dampening=None, nesterov=False, dampen_first=True) -> Outcome:
    if momentum == 0:  # nothing is averaged, nothing dampened, nothing kept
        return Sum.of(grads[-1:]), {"u": Sum(0.0, 0.0)}
    share = 1 - (momentum if dampening is None else dampening)
    shares = [share if step or dampen_first else 1.0 for step in range(len(grads))]
    kept = [part * term for part, term in zip(shares, fading(grads, momentum), strict=True)]
    u = Sum.of(kept)
    ahead = Sum.of([*(momentum * term for term in kept), (share if dampen_first else 1.0) * grads[-1]])
    return (ahead if nesterov else u), {"u": u}


def qhm(grads, *, momentum=0.999, nu=0.7) -> Outcome:
    if momentum == 0 or nu == 0:
        return Sum.of(grads[-1:]), {"exp_avg": Sum(0.0, 0.0)}
    parts = [(1 - momentum) * term for term in fading(grads, momentum)]
    return Sum.of([*(nu * part for part in parts), (1 - nu) * grads[-1]]), {"exp_avg": Sum.of(parts)}


def over_root(grad: float, cache: float, eps: float, eps_inside: bool) -> Sum:
    return Sum(grad, abs(grad)).over(math.sqrt(cache + eps) if eps_inside else math.sqrt(cache) + eps)


def adagrad(grads, *, eps=1e-7, eps_inside=True, initial=0.0, lr_decay=None) -> Outcome:
    cache = Sum.of([initial, *squares(grads)])
    pace = 1 / (1 + (lr_decay or 0.0) * (len(grads) - 1))
    return over_root(grads[-1], cache.value, eps, eps_inside).times(pace), {"cache": cache}


def prefixes(grads: Sequence[float]) -> list[Sequence[float]]:
    """The gradients up to each step."""
    return [grads[:end] for end in range(1, len(grads) + 1)]


def deviation(grads: Sequence[float], rho: float) -> Sum:
    """What the squares average to, less the square of the average: about which floats are unsure where both are close.

    In closed form: the sum over pairs of gradients of the product of their weights, times half the square of their
    difference, and what is missing to a whole weight, times the squares.
    """
    weights = [(1 - rho) * share for share in fading([1.0] * len(grads), rho)]
    missing = rho ** len(grads)
    pairs = [
        one * other * (x - y) ** 2
        for k, (one, x) in enumerate(zip(weights, grads, strict=True))
        for other, y in zip(weights[:k], grads[:k], strict=True)
    ]
    rest = [missing * weight * grad**2 for weight, grad in zip(weights, grads, strict=True)]
    return Sum(math.fsum([*pairs, *rest]), 2 * math.fsum(w * g**2 for w, g in zip(weights, grads, strict=True)))


def rmsprop(grads, *, eps=1e-7, rho=0.9, eps_inside=True, momentum=None, centered=False) -> Outcome:
    def step(seen: Sequence[float]) -> Sum:
        spread = deviation(seen, rho) if centered else Sum.of(fading(squares(seen), rho)).times(1 - rho)
        exact = over_root(seen[-1], spread.value, eps, eps_inside)
        if not centered or not exact.value:
            return exact
        # As far as rounding can take it: by what the spread is unsure of, at most to a spread of 0.
        floor = over_root(seen[-1], max(0.0, spread.value - 1e-12 * spread.size), eps, eps_inside)
        return Sum(exact.value, exact.size + (floor.size - exact.size) / 1e-12)

    def average(terms: Sequence[float]) -> Sum:
        return Sum.of(fading(terms, rho)).times(1 - rho)

    state = {"cache": average(squares(grads)), "grad_avg": Sum(0.0, 0.0), "momentum_buffer": Sum(0.0, 0.0)}
    if centered:
        state["grad_avg"] = average(grads)
    if momentum is None:
        return step(grads), state
    steps = [step(seen) for seen in prefixes(grads)]
    kept = fading([each.value for each in steps], momentum)
    sizes = fading([each.size for each in steps], momentum)
    state["momentum_buffer"] = Sum(
        math.fsum(kept) if all(map(math.isfinite, kept)) else float(np.sum(kept)), sum(sizes)
    )
    return state["momentum_buffer"], state


def adadelta(grads, *, rho=0.9, eps=1e-6) -> Outcome:
    def average(terms: Sequence[float]) -> Sum:
        return Sum.of(fading(squares(terms), rho)).times(1 - rho)

    deltas: list[Sum] = []
    for seen in prefixes(grads):
        known = average([delta.value for delta in deltas])  # of all steps but this one
        deltas.append(over_root(seen[-1], average(seen).value, eps, True).times(math.sqrt(known.value + eps)))
    return deltas[-1], {"square_avg": average(grads), "acc_delta": average([delta.value for delta in deltas])}


def adam(
    grads, *, beta1=0.9, beta2=0.999, eps=1e-8, amsgrad=False, eps_hat=False, eps_root=None, max_hat=False
) -> Outcome:
    def average(terms: Sequence[float], beta: float) -> Sum:
        return Sum.of(fading(terms, beta)).times(1 - beta)

    state = {
        "exp_avg": average(grads, beta1),
        "exp_avg_sq": average(squares(grads), beta2),
        "max_exp_avg_sq": Sum(0.0, 0.0),
    }
    weight = math.fsum(fading([1.0 - beta2] * len(grads), beta2))  # of all gradients in the second average
    spread = weighted_mean(squares(grads), beta2).value
    eps_hat = eps_hat and not (amsgrad and max_hat)
    if amsgrad and max_hat:
        largest = max((weighted_mean(squares(seen), beta2) for seen in prefixes(grads)), key=lambda each: each.value)
        state["max_exp_avg_sq"], spread = largest, largest.value
    elif amsgrad:
        largest = max((average(squares(seen), beta2) for seen in prefixes(grads)), key=lambda each: each.value)
        state["max_exp_avg_sq"], spread = largest, largest.value / weight
    # eps added to the root of what is not corrected, and both then corrected, is eps over that correction.
    scale = weight if eps_hat else 1.0
    root = math.sqrt(spread + (eps_root or 0.0) / scale) + eps / math.sqrt(scale)
    return weighted_mean(grads, beta1).over(root), state


def signum(grads, *, momentum=0.9) -> Outcome:
    average = Sum.of(fading(grads, momentum)).times(1 - momentum)
    step = math.copysign(1.0, average.value) if average.value else 0.0
    return Sum(step, 1.0), {"exp_avg": average if momentum else Sum(0.0, 0.0)}


def adamax(grads, *, beta1=0.9, beta2=0.999, eps=1e-8, eps_inside=True) -> Outcome:
    within, outside = (eps, 0.0) if eps_inside else (0.0, eps)
    largest = max(fading([abs(grad) + within for grad in grads], beta2))
    state = {"exp_avg": Sum.of(fading(grads, beta1)).times(1 - beta1), "exp_inf": Sum(largest, largest)}
    return weighted_mean(grads, beta1).over(largest + outside), state


def rectification(t: int, beta2: float, threshold: float) -> tuple[float, float]:
    """The factor of a divided step, and how unsure floats are of it; 0 for a step that is not to be divided."""
    weights = fading([1.0 - beta2] * t, beta2)
    # The mean age of the squares is that of a plain mean of so many; the newest is of age 1.
    ages = [age * weight for age, weight in enumerate(reversed(weights), start=1)]
    rho, rho_inf = 2 * math.fsum(ages) / math.fsum(weights) - 1, (1 + beta2) / (1 - beta2)
    if rho <= threshold:
        return 0.0, 0.0
    rect = math.sqrt((rho - 4) / (rho_inf - 4) * (rho - 2) / (rho_inf - 2) * rho_inf / rho)
    # In floats, rho is a small difference of large numbers, and so is what it exceeds 4 by.
    unsure = np.finfo(float).eps * rho_inf / math.fsum(weights) / (rho - 4)
    return rect, 4 * unsure / TOLERANCE["float64"]


def radam(grads, *, beta1=0.9, beta2=0.999, eps=1e-8, threshold=5.0, eps_hat=True, degenerated_to_sgd=True) -> Outcome:
    state = adam(grads, beta1=beta1, beta2=beta2)[1]
    state.pop("max_exp_avg_sq")
    m_hat, weight = weighted_mean(grads, beta1), math.fsum(fading([1.0 - beta2] * len(grads), beta2))
    rect, unsure = rectification(len(grads), beta2, threshold)
    if not rect:
        return m_hat.times(1.0 if degenerated_to_sgd else 0.0), state
    root = math.sqrt(weighted_mean(squares(grads), beta2).value) + (eps / math.sqrt(weight) if eps_hat else eps)
    step = m_hat.over(root).times(rect)
    return Sum(step.value, step.size * (1 + unsure)), state


def lion(grads, *, beta1=0.9, beta2=0.99) -> Outcome:
    before = Sum.of(fading(grads[:-1], beta2)).times((1 - beta2) * beta1)
    blend = math.fsum([before.value, (1 - beta1) * grads[-1]])
    step = math.copysign(1.0, blend) if blend else 0.0
    return Sum(step, 1.0), {"exp_avg": Sum.of(fading(grads, beta2)).times(1 - beta2)}


def adabelief(grads, *, beta1=0.9, beta2=0.999, eps=1e-16, eps_root=None, amsgrad=False, rectify=False) -> Outcome:
    averages = [Sum.of(fading(seen, beta1)).times(1 - beta1) for seen in prefixes(grads)]
    strayed = [Sum.of([grad, -average.value]) for grad, average in zip(grads, averages, strict=True)]
    sizes = [abs(grad) + average.size for grad, average in zip(grads, averages, strict=True)]
    added = [(1 - beta2) * one.value**2 + (eps if eps_root is None else eps_root) for one in strayed]
    unsure = [
        (1 - beta2) * (2 * abs(one.value) + 1e-12 * size) * size for one, size in zip(strayed, sizes, strict=True)
    ]
    sizes = [one + other for one, other in zip(added, unsure, strict=True)]
    both = zip(prefixes(added), prefixes(sizes), strict=True)
    sums = [Sum(*(math.fsum(fading(terms, beta2)) for terms in pair)) for pair in both]
    var = max(sums, key=lambda each: each.value) if amsgrad else sums[-1]
    state = {"exp_avg": averages[-1], "exp_avg_var": sums[-1], "max_exp_avg_var": var if amsgrad else Sum(0.0, 0.0)}
    weight = math.fsum(fading([1 - beta2] * len(grads), beta2))
    rect, rough = rectification(len(grads), beta2, 5.0) if rectify else (1.0, 0.0)
    m_hat = weighted_mean(grads, beta1)
    if not rect:
        return m_hat, state
    step = m_hat.over(math.sqrt(var.value / weight) + (eps / math.sqrt(weight) if rectify else eps)).times(rect)
    # A root is unsure of by half as much, relatively, as what it is taken of.
    return Sum(step.value, step.size * (1 + rough + (var.size / var.value if var.value else 0))), state


def qhadam(grads, *, beta1=0.995, beta2=0.999, eps=1e-8, nu1=0.7, nu2=1.0) -> Outcome:
    state = adam(grads, beta1=beta1, beta2=beta2)[1]
    state.pop("max_exp_avg_sq")
    m_hat, now = weighted_mean(grads, beta1).times(nu1), (1 - nu1) * grads[-1]
    spread = (1 - nu2) * grads[-1] ** 2 + nu2 * weighted_mean(squares(grads), beta2).value
    return Sum(now + m_hat.value, abs(now) + m_hat.size).over(math.sqrt(spread) + eps), state


def yogi(grads, *, beta1=0.9, beta2=0.999, eps=1e-3, initial=1e-6) -> Outcome:
    t = len(grads)
    average = Sum.of([beta1**t * initial, *((1 - beta1) * grad for grad in fading(grads, beta1))])
    moves, unsure = [initial], 0.0
    for square in squares(grads):
        known = Sum.of(moves)
        moves.append((1 - beta2) * (math.copysign(square, square - known.value) if square != known.value else 0.0))
        if (
            abs(square - known.value) <= 2 * TOLERANCE["float32"] * known.size
        ):  # in fewer digits, the sign may be another
            unsure += 2 * abs(moves[-1]) / TOLERANCE["float32"]
    second = Sum.of(moves)
    second = Sum(second.value, second.size + unsure)
    weights = [math.fsum(fading([1 - beta] * t, beta)) for beta in (beta1, beta2)]

    def step(spread: float) -> Sum:
        return average.over(weights[0]).over(math.sqrt(spread / weights[1]) + eps)

    # As far as rounding can take it: by what the second moment is unsure of, at most to one of 0.
    exact, floor = step(second.value), step(max(0.0, second.value - 1e-12 * second.size))
    state = {"exp_avg": average, "exp_avg_sq": second}
    return Sum(exact.value, exact.size + (floor.size - exact.size) / 1e-12), state


def laprop(grads, *, beta1=0.9, beta2=0.999, eps=1e-15) -> Outcome:
    def divided(seen: Sequence[float]) -> Sum:
        return over_root(seen[-1], weighted_mean(squares(seen), beta2).value, eps, False)

    each = [divided(seen) for seen in prefixes(grads)]
    size = (
        math.fsum(fading([one.size for one in each], beta1)) if all(math.isfinite(x.size) for x in each) else math.inf
    )
    exp_avg = Sum(Sum.of(fading([one.value for one in each], beta1)).value, size).times(1 - beta1)
    state = {"exp_avg": exp_avg, "exp_avg_sq": Sum.of(fading(squares(grads), beta2)).times(1 - beta2)}
    return exp_avg.over(math.fsum(fading([1 - beta1] * len(grads), beta1))), state


def ademamix(grads, *, beta1=0.9, beta2=0.999, beta3=0.9999, alpha=5.0, eps=1e-8, warmup=None) -> Outcome:
    def life(beta: float) -> float:
        """The number of steps in which an average forgets all but 1/e."""
        return -1 / math.log(beta) if beta else 0.0

    t = len(grads)
    kept = [beta3] * t  # by the slow average in each step
    if warmup is not None:
        lives = [life(beta1) + (life(beta3) - life(beta1)) * step / warmup for step in range(1, t + 1)]
        grown = [math.exp(-1 / each) if each > 0 else 0.0 for each in lives]
        kept = [min(grown[k], beta3) if k + 1 < warmup else beta3 for k in range(t)]
        alpha *= min(t / warmup, 1)
    slow = Sum.of([(1 - kept[k]) * grad * math.prod(kept[k + 1 :]) for k, grad in enumerate(grads)])
    _, state = adam(grads, beta1=beta1, beta2=beta2)
    root = math.sqrt(weighted_mean(squares(grads), beta2).value) + eps
    fast = weighted_mean(grads, beta1)
    both = Sum(fast.value + alpha * slow.value, fast.size + alpha * slow.size)
    return both.over(root), {name: state[name] for name in ("exp_avg", "exp_avg_sq")} | {"exp_avg_slow": slow}


def simplified_ademamix(grads, *, beta1=0.99, beta2=0.95, alpha=0.0, eps=1e-8) -> Outcome:
    kept = fading(grads, beta1)
    state = {"exp_avg": Sum.of(kept), "exp_avg_sq": Sum.of(fading(squares(grads), beta2)).times(1 - beta2)}
    root = math.sqrt(weighted_mean(squares(grads), beta2).value) + eps
    return Sum.of([*kept, alpha * grads[-1]]).over(root), state


def everything(grads, *, limit=1.0, warm=3.0, floor=None, rough=False) -> Outcome:
    def soft(step: int, grad: float) -> float:
        if grad == 0:
            return 0.0
        small = abs(grad) <= limit and grad != limit / 2
        calm = small or (step >= warm and abs(grad) > 4 * limit)
        return math.copysign(math.log(2 + abs(grad)) if calm else 2 - math.exp(-abs(grad)), grad)

    t, grad = len(grads), grads[-1]
    peak = max(0.25, *map(abs, grads))
    trend = Sum.of(fading([soft(step, grad) for step, grad in enumerate(grads, start=1)], 0.5))
    ramp = min(t / warm, 1.0)
    bounded = max(min(grad, limit), -limit) ** 3 if rough else max(grad, -limit)
    root = max(math.hypot(1, peak) / math.sqrt(peak), floor or 0.0)
    parts = [ramp * bounded / root, ramp * math.exp2(-peak)]
    inside = Sum.of([*parts, -abs(trend.value) / peak**1.5])
    return Sum(inside.value, inside.size + trend.size / peak**1.5), {"trend": trend, "peak": Sum(peak, peak)}


def shrunk(moves: Sequence[Sum], shares: Sequence[float]) -> Sum:
    """The sum of a start and of steps, each without its share in every later step; the start has a share of 0."""
    after = [shares[k + 1 :] for k in range(len(moves))]
    kept = [move.value * math.prod(1 - share for share in later) for move, later in zip(moves, after, strict=True)]
    size = sum(move.size * math.prod(1 + share for share in later) for move, later in zip(moves, after, strict=True))
    return Sum(Sum.of(kept).value, size)


def rprop(start, grads, lrs, wd, decay, *, eta_minus=0.5, eta_plus=1.2, step_min=1e-6, step_max=50.0) -> Way:
    way: Way = []
    moves, shares, step, last = [Sum(start, abs(start))], [0.0], lrs[0], 0.0
    for grad in grads:
        before = way[-1]["param"] if way else moves[0]
        pulled = Sum.of([grad, wd * before.value if decay == "l2" else 0.0])
        if pulled.value * last < 0:
            step, last = step * eta_minus, 0.0
        else:
            step, last = step * (eta_plus if pulled.value * last > 0 else 1.0), pulled.value
        step = min(max(step, step_min), step_max)
        moves.append(Sum(-math.copysign(step, last) if last else 0.0, step))
        shares.append(0.0 if decay == "l2" else wd)
        size = pulled.size + (wd * before.size if decay == "l2" else 0.0)
        way.append({"param": shrunk(moves, shares), "prev_grad": Sum(last, size), "step_size": Sum(step, step)})
    return way


def asgd(start, grads, lrs, wd, decay, *, lambd=1e-4, alpha=0.75, t0=1e6) -> Way:
    way: Way = []
    moves, shares = [Sum(start, abs(start))], [0.0]
    etas = [lr / (1 + lambd * lr * t) ** alpha for t, lr in enumerate(lrs)]
    mus = [1 / max(1, t - t0) for t in range(len(lrs))]
    for t, grad in enumerate(grads, start=1):
        before = way[-1]["param"] if way else moves[0]
        pull = wd if decay == "l2" else 0.0
        moves.append(Sum(-etas[t - 1] * (grad + pull * before.value), etas[t - 1] * (abs(grad) + pull * before.size)))
        front = {"decoupled": lrs[t] * wd, "independent": wd, "l2": 0.0}[decay]
        shares.append(1 - (1 - front) * (1 - lambd * etas[t - 1]))
        param = shrunk(moves, shares)
        seen = [*(each["param"] for each in way), param]
        weights = [mus[k] * math.prod(1 - mu for mu in mus[k + 1 : t]) for k in range(t)]
        parts = [each.times(weight) for each, weight in zip(seen, weights, strict=True)]
        average = Sum(math.fsum(part.value for part in parts), math.fsum(part.size for part in parts))
        numbers = {"eta": Sum(etas[t], etas[t]), "mu": Sum(mus[t], mus[t])}
        way.append({"param": param, "average": average, **numbers})
    return way


ORACLES: dict[type[Optimizer], Callable[..., Any]] = {
    SGD: sgd,
    QHM: qhm,
    AdaGrad: adagrad,
    RMSProp: rmsprop,
    Signum: signum,
    AdaDelta: adadelta,
    Rprop: rprop,
    ASGD: asgd,
    Lion: lion,
    Adam: adam,
    AdamW: adam,
    AdaBelief: adabelief,
    QHAdam: qhadam,
    Yogi: yogi,
    LaProp: laprop,
    AdEMAMix: ademamix,
    SimplifiedAdEMAMix: simplified_ademamix,
    AdaMax: adamax,
    RAdam: radam,
    Everything: everything,
}

WAYS = (Rprop, ASGD)
"""The rules whose steps are no multiple of ``lr``: their oracles tell the whole way of a parameter, by the learning
rate when its state was made, and by that of every step."""


def outcomes(
    cls: type[Optimizer],
    hypers: Mapping[str, Any],
    start: float,
    grads: Sequence[float],
    lrs: Sequence[float] | None = None,
) -> Way:
    """The parameter and its state after each of the steps, for one element; ``lrs`` where the learning rate changes."""
    hypers = dict(hypers)
    fixed = hypers.pop("lr", cls.lr.default)
    wd = hypers.pop("wd", hypers.pop("weight_decay", cls.wd.default))
    decay = hypers.pop("decay", "decoupled")
    lrs = [fixed] * len(grads) if lrs is None else lrs
    if cls in WAYS:
        return ORACLES[cls](start, grads, [fixed, *lrs], wd, decay, **hypers)
    shrink = [{"decoupled": lr * wd, "independent": wd, "l2": 0.0}[decay] for lr in lrs]
    pull = wd if decay == "l2" else 0.0
    seen: list[float] = []  # the gradients, with what weight decay adds to them
    moves = [Sum(start, abs(start))]  # where the parameter began, and how far each step moved it
    results: Way = []
    for t in range(1, len(grads) + 1):
        before = results[-1]["param"].value if results else start
        seen.append(grads[t - 1] + pull * before if pull else grads[t - 1])
        direction, state = ORACLES[cls](seen, **hypers)
        moves.append(direction.times(-lrs[t - 1]))
        results.append({"param": shrunk(moves, [0.0, *shrink[:t]]), **state})
    return results


# Configurations ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """An optimizer with hyperparameters."""

    cls: type[Optimizer]
    hypers: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.cls.__name__}({', '.join(f'{name}={value}' for name, value in self.hypers.items())})"


CASES = [
    Case(SGD, {}),
    Case(SGD, {"lr": 0.3, "wd": 0.25}),
    Case(SGD, {"lr": 0.1, "momentum": 0.9}),
    Case(SGD, {"lr": 0.1, "momentum": 0.5, "wd": 0.1}),
    Case(SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.0}),
    Case(SGD, {"lr": 0.2, "momentum": 0.75, "dampening": 0.3, "weight_decay": 0.2}),
    Case(SGD, {"lr": 0.2, "momentum": 0.6, "dampening": 1.0}),
    Case(SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    Case(SGD, {"lr": 0.1, "momentum": 0.8, "dampening": 0.0, "nesterov": True, "wd": 0.5}),
    Case(SGD, {"lr": 0.0, "momentum": 0.9, "wd": 0.5}),
    Case(SGD, {"lr": 0.1, "momentum": 0.9, "wd": 0.25, "decay": "independent"}),
    Case(SGD, {"lr": 0.1, "momentum": 0.9, "wd": 0.25, "decay": "l2"}),
    Case(SGD, {"lr": 0.1, "momentum": 0.8, "dampening": 0.0, "nesterov": True, "wd": 0.5, "decay": "l2"}),
    Case(SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.4, "dampen_first": False}),
    Case(SGD, {"lr": 0.1, "momentum": 0.7, "nesterov": True, "dampen_first": False, "wd": 0.1}),
    Case(SGD, {"lr": 0.1, "momentum": 0.7, "dampening": 0.4, "nesterov": True, "dampen_first": False}),
    Case(QHM, {}),
    Case(QHM, {"lr": 0.3}),
    Case(QHM, {"lr": 0.1, "momentum": 0.5, "nu": 0.3}),
    Case(QHM, {"lr": 0.1, "momentum": 0.9, "nu": 1.0}),
    Case(QHM, {"lr": 0.1, "momentum": 0.0}),
    Case(QHM, {"lr": 0.1, "nu": 0.0, "wd": 0.1}),
    Case(QHM, {"lr": 0.2, "momentum": 0.9, "wd": 0.3}),
    Case(QHM, {"lr": 0.2, "momentum": 0.9, "wd": 0.3, "decay": "independent"}),
    Case(QHM, {"lr": 0.2, "momentum": 0.7, "weight_decay": 0.3, "decay": "l2"}),
    Case(AdaGrad, {}),
    Case(AdaGrad, {"lr": 0.5}),
    Case(AdaGrad, {"lr": 0.1, "eps": 0.5}),
    Case(AdaGrad, {"lr": 0.1, "eps": 0.0}),
    Case(AdaGrad, {"lr": 0.2, "wd": 0.3}),
    Case(AdaGrad, {"lr": 0.3, "eps": 1e-3, "weight_decay": 0.1}),
    Case(AdaGrad, {"lr": 0.3, "eps": 1e-3, "wd": 0.1, "decay": "independent"}),
    Case(AdaGrad, {"lr": 0.3, "eps": 1e-3, "wd": 0.1, "decay": "l2"}),
    Case(AdaGrad, {"lr": 0.3, "eps": 1e-3, "eps_inside": False}),
    Case(AdaGrad, {"lr": 0.3, "initial": 0.1, "lr_decay": 0.5, "wd": 0.1}),
    Case(RMSProp, {}),
    Case(RMSProp, {"lr": 0.1, "rho": 0.99}),
    Case(RMSProp, {"lr": 0.1, "rho": 0.0}),
    Case(RMSProp, {"lr": 0.1, "eps": 0.5, "rho": 0.5}),
    Case(RMSProp, {"lr": 0.1, "eps": 0.0, "rho": 0.9}),
    Case(RMSProp, {"lr": 0.2, "wd": 0.3, "rho": 0.7}),
    Case(RMSProp, {"lr": 0.2, "weight_decay": 0.05, "eps": 1e-2}),
    Case(RMSProp, {"lr": 0.2, "weight_decay": 0.05, "eps": 1e-2, "decay": "independent"}),
    Case(RMSProp, {"lr": 0.2, "weight_decay": 0.05, "eps": 1e-2, "decay": "l2"}),
    Case(RMSProp, {"lr": 0.2, "eps": 1e-2, "eps_inside": False, "rho": 0.8}),
    Case(RMSProp, {"lr": 0.1, "eps": 1e-2, "momentum": 0.9, "wd": 0.1}),
    Case(RMSProp, {"lr": 0.1, "eps": 1e-2, "eps_inside": False, "momentum": 0.0}),
    Case(RMSProp, {"lr": 0.1, "eps": 1e-2, "rho": 0.7, "centered": True}),
    Case(RMSProp, {"lr": 0.1, "eps": 1e-2, "eps_inside": False, "centered": True, "momentum": 0.8, "wd": 0.1}),
    Case(RMSProp, {"lr": 0.1, "eps": 1e-2, "rho": 0.8, "centered": True, "momentum": 0.5}),
    Case(AdaDelta, {}),
    Case(AdaDelta, {"lr": 0.1, "rho": 0.95}),
    Case(AdaDelta, {"lr": 0.5, "eps": 0.1, "rho": 0.5}),
    Case(AdaDelta, {"rho": 0.0, "eps": 1e-3}),
    Case(AdaDelta, {"lr": 0.5, "eps": 1e-2, "wd": 0.3}),
    Case(AdaDelta, {"lr": 0.5, "eps": 1e-2, "wd": 0.3, "decay": "independent"}),
    Case(AdaDelta, {"lr": 0.5, "eps": 1e-2, "weight_decay": 0.1, "decay": "l2"}),
    Case(Rprop, {}),
    Case(Rprop, {"lr": 0.5, "eta_minus": 0.25, "eta_plus": 2.0}),
    Case(Rprop, {"lr": 0.1, "step_min": 0.05, "step_max": 0.15}),
    Case(Rprop, {"lr": 0.5, "step_max": 0.2}),
    Case(Rprop, {"lr": 0.0, "step_min": 0.01, "eta_plus": 1.5}),
    Case(Rprop, {"lr": 0.1, "wd": 0.1}),
    Case(Rprop, {"lr": 0.1, "weight_decay": 0.1, "decay": "independent"}),
    Case(Rprop, {"lr": 0.1, "weight_decay": 0.1, "decay": "l2"}),
    Case(ASGD, {}),
    Case(ASGD, {"lr": 0.1, "lambd": 0.5, "t0": 3}),
    Case(ASGD, {"lr": 0.3, "lambd": 0.1, "alpha": 1.0, "t0": 0}),
    Case(ASGD, {"lr": 0.1, "lambd": 0.0, "t0": 2.5}),
    Case(ASGD, {"lr": 0.2, "lambd": 0.5, "t0": 1, "wd": 0.3}),
    Case(ASGD, {"lr": 0.2, "lambd": 0.5, "t0": 1, "wd": 0.3, "decay": "independent"}),
    Case(ASGD, {"lr": 0.2, "lambd": 0.5, "t0": 1, "weight_decay": 0.3, "decay": "l2"}),
    Case(Adam, {}),
    Case(Adam, {"lr": 0.1}),
    Case(Adam, {"lr": 0.1, "beta1": 0.0}),
    Case(Adam, {"lr": 0.1, "beta2": 0.0, "eps": 0.5}),
    Case(Adam, {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 0.1}),
    Case(Adam, {"lr": 0.1, "beta1": 0.95, "beta2": 0.7, "eps": 0.0}),
    Case(Adam, {"lr": 0.2, "weight_decay": 0.3}),
    Case(Adam, {"lr": 0.2, "wd": 0.05, "beta1": 0.8, "beta2": 0.99, "eps": 1e-3}),
    Case(Adam, {"lr": 0.2, "wd": 0.05, "beta1": 0.8, "eps": 1e-3, "decay": "independent"}),
    Case(Adam, {"lr": 0.2, "wd": 0.05, "beta1": 0.8, "eps": 1e-3, "decay": "l2"}),
    Case(Adam, {"lr": 0.1, "beta2": 0.7, "amsgrad": True}),
    Case(Adam, {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 1e-2, "amsgrad": True, "wd": 0.1}),
    Case(Adam, {"lr": 0.1, "eps": 1e-3, "eps_hat": True}),
    Case(Adam, {"lr": 0.1, "beta2": 0.8, "eps": 0.1, "eps_hat": True, "amsgrad": True, "wd": 0.1, "decay": "l2"}),
    Case(Adam, {"lr": 0.1, "beta2": 0.7, "amsgrad": True, "max_hat": True}),
    Case(Adam, {"lr": 0.1, "eps": 1e-2, "eps_root": 0.1, "amsgrad": True, "max_hat": True, "wd": 0.1}),
    Case(Adam, {"lr": 0.1, "beta2": 0.9, "eps": 0.1, "eps_hat": True, "amsgrad": True, "max_hat": True}),
    Case(Adam, {"lr": 0.1, "eps_root": 0.1, "wd": 0.1, "decay": "independent"}),
    Case(Adam, {"lr": 0.1, "beta2": 0.9, "eps": 0.0, "eps_root": 0.1, "eps_hat": True}),
    Case(Signum, {}),
    Case(Signum, {"lr": 0.1}),
    Case(Signum, {"lr": 0.1, "momentum": 0.0}),
    Case(Signum, {"lr": 0.1, "momentum": 0.6, "wd": 0.2}),
    Case(Signum, {"lr": 0.1, "momentum": 0.6, "wd": 0.2, "decay": "independent"}),
    Case(Signum, {"lr": 0.1, "momentum": 0.7, "weight_decay": 0.3, "decay": "l2"}),
    Case(Signum, {"lr": 0.1, "momentum": 0.0, "wd": 0.2}),
    Case(Lion, {"lr": 0.1}),
    Case(Lion, {"lr": 0.1, "beta1": 0.6, "beta2": 0.7, "wd": 0.2}),
    Case(Lion, {"lr": 0.1, "beta1": 0.6, "beta2": 0.7, "wd": 0.2, "decay": "independent"}),
    Case(Lion, {}),
    Case(Lion, {"lr": 0.1, "beta1": 0.0}),
    Case(Lion, {"lr": 0.1, "beta2": 0.0, "weight_decay": 0.3, "decay": "l2"}),
    Case(AdamW, {}),
    Case(AdamW, {"lr": 0.1}),
    Case(AdamW, {"lr": 0.1, "wd": 0.0}),
    Case(AdamW, {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 0.1, "wd": 0.3}),
    Case(AdamW, {"lr": 0.1, "amsgrad": True}),
    Case(AdamW, {"lr": 0.2, "eps": 1e-3, "decay": "independent"}),
    Case(AdaBelief, {}),
    Case(AdaBelief, {"lr": 0.1}),
    Case(AdaBelief, {"lr": 0.1, "eps": 1e-3}),
    Case(AdaBelief, {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 0.1}),
    Case(AdaBelief, {"lr": 0.1, "beta1": 0.6, "beta2": 0.0, "eps": 1e-3}),
    Case(AdaBelief, {"lr": 0.1, "beta1": 0.0, "eps": 1e-2}),
    Case(AdaBelief, {"lr": 0.2, "wd": 0.05, "beta1": 0.8, "beta2": 0.99, "eps": 1e-3}),
    Case(AdaBelief, {"lr": 0.2, "wd": 0.05, "beta1": 0.8, "eps": 1e-3, "decay": "independent"}),
    Case(AdaBelief, {"lr": 0.1, "weight_decay": 0.05, "eps": 1e-3, "decay": "l2"}),
    Case(QHAdam, {}),
    Case(QHAdam, {"lr": 0.1}),
    Case(QHAdam, {"lr": 0.1, "beta1": 0.0, "nu1": 0.3}),
    Case(QHAdam, {"lr": 0.1, "beta2": 0.0, "eps": 0.5}),
    Case(QHAdam, {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "nu1": 1.0, "nu2": 0.8, "eps": 0.1}),
    Case(QHAdam, {"lr": 0.1, "nu1": 0.0, "nu2": 0.0, "eps": 1e-3}),
    Case(QHAdam, {"lr": 0.2, "wd": 0.3, "beta1": 0.9, "nu2": 0.5}),
    Case(QHAdam, {"lr": 0.2, "wd": 0.05, "beta1": 0.8, "eps": 1e-3, "decay": "independent"}),
    Case(QHAdam, {"lr": 0.1, "weight_decay": 0.05, "nu2": 0.9, "eps": 1e-3, "decay": "l2"}),
    Case(Yogi, {}),
    Case(Yogi, {"lr": 0.1}),
    Case(Yogi, {"lr": 0.1, "initial": 0.1}),
    Case(Yogi, {"lr": 0.1, "initial": 0.0, "eps": 0.1}),
    Case(Yogi, {"lr": 0.1, "beta1": 0.0, "beta2": 0.9}),
    Case(Yogi, {"lr": 0.1, "beta1": 0.6, "beta2": 0.5, "eps": 0.1, "initial": 2.0}),
    Case(Yogi, {"lr": 0.2, "wd": 0.3, "beta2": 0.99}),
    Case(Yogi, {"lr": 0.2, "wd": 0.05, "beta2": 0.9, "decay": "independent"}),
    Case(Yogi, {"lr": 0.1, "weight_decay": 0.05, "beta2": 0.95, "decay": "l2"}),
    Case(LaProp, {}),
    Case(LaProp, {"lr": 0.1}),
    Case(LaProp, {"lr": 0.1, "beta1": 0.0}),
    Case(LaProp, {"lr": 0.1, "beta2": 0.0, "eps": 0.5}),
    Case(LaProp, {"lr": 0.1, "beta1": 0.95, "beta2": 0.7, "eps": 0.0}),
    Case(LaProp, {"lr": 0.1, "beta1": 0.8, "beta2": 0.5, "eps": 1e-3}),
    Case(LaProp, {"lr": 0.2, "wd": 0.3}),
    Case(LaProp, {"lr": 0.2, "wd": 0.05, "eps": 1e-3, "decay": "independent"}),
    Case(LaProp, {"lr": 0.1, "weight_decay": 0.05, "eps": 1e-3, "decay": "l2"}),
    Case(AdaBelief, {"lr": 0.1, "eps": 1e-2, "eps_root": 1e-4}),
    Case(AdaBelief, {"lr": 0.1, "beta2": 0.8, "eps": 1e-3, "amsgrad": True, "wd": 0.1}),
    Case(AdaBelief, {"lr": 0.1, "eps": 1e-3, "rectify": True}),
    Case(AdaBelief, {"lr": 0.1, "beta1": 0.6, "beta2": 0.9, "eps": 1e-2, "rectify": True, "amsgrad": True}),
    Case(AdEMAMix, {}),
    Case(AdEMAMix, {"lr": 0.1}),
    Case(AdEMAMix, {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "beta3": 0.95, "alpha": 2.0, "eps": 0.1}),
    Case(AdEMAMix, {"lr": 0.1, "beta3": 0.99, "warmup": 6.0}),
    Case(AdEMAMix, {"lr": 0.1, "beta1": 0.0, "beta3": 0.9, "warmup": 20.0, "eps": 1e-3, "wd": 0.1}),
    Case(AdEMAMix, {"lr": 0.1, "beta1": 0.9, "beta3": 0.5, "warmup": 4.5, "eps": 1e-3}),
    Case(AdEMAMix, {"lr": 0.1, "beta3": 0.0, "alpha": 0.5, "eps": 1e-3}),
    Case(AdEMAMix, {"lr": 0.2, "beta3": 0.99, "eps": 1e-3, "wd": 0.05, "decay": "independent"}),
    Case(AdEMAMix, {"lr": 0.1, "beta3": 0.99, "eps": 1e-3, "weight_decay": 0.05, "decay": "l2"}),
    Case(SimplifiedAdEMAMix, {}),
    Case(SimplifiedAdEMAMix, {"lr": 0.01}),
    Case(SimplifiedAdEMAMix, {"lr": 0.01, "beta1": 0.9, "beta2": 0.99, "alpha": 2.0, "eps": 1e-3, "wd": 0.1}),
    Case(SimplifiedAdEMAMix, {"lr": 0.1, "beta1": 0.0, "alpha": 0.5}),
    Case(SimplifiedAdEMAMix, {"lr": 0.01, "beta2": 0.0, "alpha": 8.0, "eps": 0.1}),
    Case(SimplifiedAdEMAMix, {"lr": 0.02, "alpha": 3.0, "eps": 1e-3, "wd": 0.05, "decay": "independent"}),
    Case(SimplifiedAdEMAMix, {"lr": 0.01, "alpha": 3.0, "eps": 1e-3, "weight_decay": 0.05, "decay": "l2"}),
    Case(AdaMax, {}),
    Case(AdaMax, {"lr": 0.1}),
    Case(AdaMax, {"lr": 0.1, "beta1": 0.0}),
    Case(AdaMax, {"lr": 0.1, "beta2": 0.0, "eps": 0.5}),
    Case(AdaMax, {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 0.1}),
    Case(AdaMax, {"lr": 0.1, "beta1": 0.95, "beta2": 0.7, "eps": 0.0}),
    Case(AdaMax, {"lr": 0.2, "beta2": 0.8, "wd": 0.3}),
    Case(AdaMax, {"lr": 0.2, "beta2": 0.8, "wd": 0.05, "eps": 1e-3, "decay": "independent"}),
    Case(AdaMax, {"lr": 0.2, "beta2": 0.8, "wd": 0.05, "eps": 1e-3, "decay": "l2"}),
    Case(AdaMax, {"lr": 0.1, "beta2": 0.6, "eps": 0.1, "eps_inside": False}),
    Case(AdaMax, {"lr": 0.1, "eps": 0.0, "eps_inside": False, "wd": 0.1}),
    Case(RAdam, {}),
    Case(RAdam, {"lr": 0.1}),
    Case(RAdam, {"lr": 0.1, "beta1": 0.0, "beta2": 0.9}),
    Case(RAdam, {"lr": 0.1, "beta2": 0.0, "eps": 0.5}),
    Case(RAdam, {"lr": 0.1, "beta2": 0.6}),
    Case(RAdam, {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 0.1}),
    Case(RAdam, {"lr": 0.1, "beta1": 0.95, "beta2": 0.7, "eps": 0.0, "threshold": 4.25}),
    Case(RAdam, {"lr": 0.2, "beta2": 0.99, "wd": 0.3, "threshold": 4.0}),
    Case(RAdam, {"lr": 0.2, "beta2": 0.95, "wd": 0.05, "eps": 1e-3, "decay": "independent"}),
    Case(RAdam, {"lr": 0.2, "beta2": 0.95, "wd": 0.05, "eps": 1e-3, "decay": "l2"}),
    Case(RAdam, {"lr": 0.1, "beta2": 0.95, "eps": 0.1, "eps_hat": False}),
    Case(RAdam, {"lr": 0.1, "eps": 0.01, "eps_hat": False, "threshold": 6.0, "wd": 0.1}),
    Case(RAdam, {"lr": 0.1, "beta2": 0.95, "eps": 1e-3, "wd": 0.1, "degenerated_to_sgd": False}),
    Case(RAdam, {"lr": 0.1, "beta2": 0.5, "degenerated_to_sgd": False}),
    Case(Everything, {}),
    Case(Everything, {"lr": 0.2, "limit": 0.5, "warm": 1.0, "wd": 0.1}),
    Case(Everything, {"limit": 2.0, "warm": 6.0, "rough": True, "floor": 2.5}),
]

BUILT_IN = tuple(getattr(optim, name) for name in RULES)
ELEMENTWISE = tuple(cls for cls in BUILT_IN if cls in ORACLES)
"""The rules of which every element goes its own way; `beyond` has the rest."""

WHOLE = {
    SGD: {"momentum": 0.5},
    RMSProp: {"momentum": 0.5, "centered": True},
    Adam: {"amsgrad": True},
    AdamW: {"amsgrad": True},
    AdaBelief: {"amsgrad": True},
}
"""The options with which a rule keeps all of its state."""


# Gradients, and parameters that they drive ---------------------------------------------------------------------------

STEPS = 9

GRADIENTS = np.array(
    [
        [1e-3 * 5**k for k in range(STEPS - 1)] + [0.01],  # grows by orders of magnitude
        [200 / 5**k for k in range(STEPS)],  # shrinks by orders of magnitude
        [1.5 * (-1) ** k for k in range(STEPS)],  # changes its sign
        [0.01 * (-3) ** k for k in range(STEPS)],
        [0, 0, 0, 1, -2, 0, 0.5, 0, 0],
        [-0.7, 0.3, 0, 0, 0, 0, 0, 0, 4],
        [0] * STEPS,
        [0.01, 0.02, -0.01, 0.01, 3000, 0.02, 0.01, -0.03, 0.01],  # a spike
        [2e-6 * k for k in range(1, STEPS + 1)],
        [0.5] * STEPS,
        [3e4, -2e4, 1e4, 6e4, -5e4, 100, 10, 1, 0.1],
        *np.random.default_rng(0).normal(size=(4, STEPS)) * [[0.1], [1], [1], [10]],
    ]
).T
"""For each step the gradient of each element; none is too large for float16."""

LOSS = 1.5
"""The loss of each step, for rules that look at it."""

STARTS = np.array([0.0, 1.0, -1.0, 0.5, 100.0, -3.0, 2.0, 1e-3, 0.25, -0.75, 7.0, 0.1, -0.2, 0.3, 1.5])
"""The first value of each element."""

SHAPES = ((), (1,), (0, 3), (2, 4), (5,))
"""How the elements are spread over parameters: no axis, one element, none, several, an odd number."""


def split(row: np.ndarray) -> list[np.ndarray]:
    """The elements as arrays of the SHAPES."""
    ends = np.cumsum([math.prod(shape) for shape in SHAPES])
    assert ends[-1] == len(row)
    return [part.reshape(shape).copy() for part, shape in zip(np.split(row, ends[:-1]), SHAPES, strict=True)]


def joined(tensors: Sequence[Tensor]) -> np.ndarray:
    """The elements of the arrays that ``split`` makes, in one row again, in float64."""
    return np.concatenate([tensor.detach().numpy().astype(np.float64).ravel() for tensor in tensors])


def parameters(dtype: str) -> list[Tensor]:
    return [Tensor(part, dtype=dtype, requires_grad=True) for part in split(STARTS)]


def give(params: Sequence[Tensor], grads: Sequence[Any]) -> None:
    """Set the gradients, in each parameter's dtype; None is none."""
    for param, grad in zip(params, grads, strict=True):
        param.grad = None if grad is None else Tensor(grad, dtype=param.dtype)


def another(declared: Hyper) -> Any:
    """A value of a hyperparameter that is not its default."""
    if declared.is_flag:
        return not declared.default
    if declared.choices:
        return next(value for value in declared.choices if value != declared.default)
    return next(x for x in (0.5, 0.25, -0.5, 4.5) if declared.allows(x) and x != declared.default)
    return next(x for x in (0.5, 0.25, -0.5, 1.5) if declared.allows(x) and x != declared.default)


def numbers(cls: type[Optimizer]) -> list[str]:
    """The state of a rule that is one number for each parameter."""
    return [name for name, rank in cls.rule.ranks.items() if rank == TENSOR]


def read(optimizer: Optimizer, params: Sequence[Tensor]) -> dict[str, np.ndarray]:
    """The parameters and every entry of the state, each as one row."""
    entries = {name: getattr(optimizer, name) for name in optimizer.rule.state}
    for name in numbers(type(optimizer)):  # of a number for each parameter, each of its elements has it
        entries[name] = [
            Tensor(np.full(param.shape, one.item()), dtype="float64")
            for one, param in zip(entries[name], params, strict=True)
        ]
    return {"param": joined(params), **{name: joined(entry) for name, entry in entries.items()}}


def firsts(cls: type[Optimizer], hypers: Mapping[str, Any]) -> list[float]:
    """What every state of a rule begins with."""
    values = {name: declared.default for name, declared in cls.hyperparameters.items()} | dict(hypers)
    return [values[first] if isinstance(first, str) else first for first in cls.rule.state.values()]


def bits(optimizer: Optimizer) -> list[tuple[str, bytes]]:
    """Parameters, state and counts of an optimizer, to the last bit, in the order of its parameters."""
    tensors = [*optimizer.params, *(entry for name in optimizer.rule.state for entry in getattr(optimizer, name))]
    counts = str((optimizer.t, optimizer.steps)).encode()
    return [("counts", counts), *((str(x.dtype), x.detach().numpy().tobytes()) for x in tensors)]


def arrays(params: Sequence[np.ndarray], grads: Sequence[np.ndarray] | None = None) -> Arrays:
    """Arrays as an engine takes them."""
    both = None if grads is None else [*params, *grads]
    return Arrays(lambda: list(params), lambda: grads, lambda: None if both is None else list(both))


def drive(optimizer: Optimizer, params: Sequence[Tensor], rows: Sequence[np.ndarray] = GRADIENTS) -> None:
    """Step through rows of gradients."""
    for row in rows:
        give(params, split(row))
        optimizer.step(**({} if optimizer.rule is None else {"loss": LOSS}))


# How close is right --------------------------------------------------------------------------------------------------


TOLERANCE = {"float64": 1e-12, "float32": 2e-6, "float16": 2e-6}
"""What roundings may add up to, relative to what was added up. In float64 the host part's ``1 - beta**t`` weighs in."""


def assert_close(found: Mapping[str, np.ndarray], wanted: Sequence[Mapping[str, Sum]], dtype: str, step: int) -> None:
    """Hold parameters and state (one row of elements each) against the oracle, to a few roundings of the dtype."""
    assert found.keys() == wanted[0].keys()
    for name, values in found.items():
        exact = np.array([element[name].value for element in wanted])
        scale = np.array([element[name].size for element in wanted])
        allowed = TOLERANCE[dtype] * scale
        if name in ("param", "average") and dtype == "float16":  # the parameter is stored in float16 after each step
            allowed += step * np.finfo("float16").eps * scale + step * 2.0**-24
        tiny = 2.0**-140 if dtype != "float64" else 2.0**-1060  # below the smallest normal number, digits are lost
        allowed = np.where(np.isfinite(exact), allowed, 0.0) + tiny
        off = ~((np.abs(values - exact) <= allowed) | (values == exact) | (np.isnan(values) & np.isnan(exact)))
        assert not off.any(), f"step {step}, {name}: elements {np.flatnonzero(off)}: {values[off]} != {exact[off]}"
