"""The table of the rules that look beyond one element, or decay in their own way: an oracle of whole tensors for each.

An oracle says in float64 NumPy what a step arrives at. It is no second copy of the recurrence where there is another
way: averages are weighted sums of all gradients so far, and products of matrices are told by their singular values.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from rules import Case, able

from minima import Tensor
from minima.optim import (
    ADOPT,
    LAMB,
    LARS,
    SOAP,
    Adafactor,
    Adam,
    AdamW,
    Lion,
    Muon,
    NAdam,
    NovoGrad,
    Optimizer,
    Prodigy,
    RMSProp,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
    Shampoo,
    StableAdamW,
)

Values = list[np.ndarray]
Outcome = dict[str, Any]
"""After a step the parameter, as ``param``, and every state that is kept."""


# Oracles of one tensor: of the parameter before the step, and all of its gradients so far --------------------------


def fading(t: int, keep: float) -> np.ndarray:
    """The weight of each of t gradients in an average that keeps a share in each step, the oldest first."""
    return (1 - keep) * keep ** np.arange(t - 1, -1, -1.0)


def average(values: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    return np.tensordot(weights, np.stack(values), 1)


def corrected(values: Sequence[np.ndarray], keep: float) -> np.ndarray:
    """The weighted mean, which bias correction makes of an average that begins with 0."""
    weights = fading(len(values), keep)
    return average(values, weights / weights.sum())


def squared(grads: Sequence[np.ndarray]) -> Values:
    return [grad**2 for grad in grads]


def rms(x: np.ndarray) -> float:
    return np.linalg.norm(x) / math.sqrt(x.size) if x.size else math.nan


def masked(step: np.ndarray, grad: np.ndarray) -> np.ndarray:
    """A cautious step."""
    kept = np.sign(step) * np.sign(grad) > 0
    return kept * step / max(np.count_nonzero(kept) / kept.size, 1e-3)


def adopt(
    param,
    grads,
    *,
    lr=1e-3,
    beta1=0.9,
    beta2=0.9999,
    eps=1e-6,
    wd=0.0,
    clip_exp=0.25,
    clipped=True,
    cautious=False,
) -> Outcome:
    def known(t: int) -> np.ndarray:
        """The average of the squares of the first t gradients."""
        weights = fading(t, beta2)
        weights[0] = beta2 ** (t - 1)
        return average(squared(grads[:t]), weights)

    t = len(grads)
    if t == 1:
        return {"param": param, "exp_avg": 0.0 * param, "exp_avg_sq": grads[0] ** 2}
    scaled = [grads[k] / np.maximum(np.sqrt(known(k)), eps) for k in range(1, t)]
    if clipped:
        scaled = [np.clip(one, -(k**clip_exp), k**clip_exp) for k, one in enumerate(scaled, start=1)]
    exp_avg = average(scaled, fading(t - 1, beta1))
    step = masked(exp_avg, grads[-1]) if cautious else exp_avg
    return {"param": param - lr * wd * param - lr * step, "exp_avg": exp_avg, "exp_avg_sq": known(t)}


def lars(
    param,
    grads,
    *,
    lr=1.0,
    momentum=0.9,
    wd=0.0,
    trust=1e-3,
    sum_of_norms=False,
    adaptive=True,
    cautious=False,
    before=None,
) -> Outcome:
    step, size = grads[-1] + wd * param, np.linalg.norm(param)
    length = np.linalg.norm(grads[-1]) + wd * size if sum_of_norms else np.linalg.norm(step)
    scaled = lr * step * (trust * size / length if adaptive and size * length > 0 else 1.0)
    if not momentum:
        return {"param": param - (masked(scaled, grads[-1]) if cautious else scaled)}
    buffer = momentum * before["momentum_buffer"] + scaled
    return {"param": param - (masked(buffer, grads[-1]) if cautious else buffer), "momentum_buffer": buffer}


def nadam(
    param,
    grads,
    *,
    lr=2e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    wd=0.0,
    momentum_decay=0.004,
    schedule=True,
    decay="decoupled",
    cautious=False,
) -> Outcome:
    t = len(grads)
    momenta = beta1 * (1 - schedule * 0.5 * 0.96 ** (np.arange(1, t + 2) * momentum_decay))
    first, second = average(grads, fading(t, beta1)), average(squared(grads), fading(t, beta2))
    now = (1 - momenta[-2]) * grads[-1] / (1 - np.prod(momenta[:-1]))
    step = now + momenta[-1] * first / (1 - np.prod(momenta))
    step = (masked(step, grads[-1]) if cautious else step) / (np.sqrt(corrected(squared(grads), beta2)) + eps)
    shrunk = param - {"decoupled": lr * wd, "independent": wd}[decay] * param
    state = {"exp_avg": first, "exp_avg_sq": second, "mu_product": np.prod(momenta[:-1])}
    return {"param": shrunk - lr * step, **state}


def lamb(param, grads, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-6, wd=0.0, cautious=False) -> Outcome:
    moments = {
        "exp_avg": average(grads, fading(len(grads), beta1)),
        "exp_avg_sq": average(squared(grads), fading(len(grads), beta2)),
    }
    step = corrected(grads, beta1) / (np.sqrt(corrected(squared(grads), beta2)) + eps)
    step = (masked(step, grads[-1]) if cautious else step) + wd * param
    size, length = np.linalg.norm(param), np.linalg.norm(step)
    return {"param": param - lr * (size / length if size * length > 0 else 1.0) * step, **moments}


def novograd(
    param, grads, *, lr=1e-2, beta1=0.95, beta2=0.98, eps=1e-8, wd=0.0, cautious=False, before=None
) -> Outcome:
    first, *later = (np.linalg.norm(grad) ** 2 for grad in grads)
    t = len(grads)
    size = beta2 ** (t - 1) * first + float(np.dot(fading(t, beta2)[1:], later))
    exp_avg = beta1 * before["exp_avg"] + grads[-1] / (math.sqrt(size) + eps) + wd * param
    step = masked(exp_avg, grads[-1]) if cautious else exp_avg
    return {"param": param - lr * step, "exp_avg": exp_avg, "exp_norm_sq": np.float64(size)}


def stable_adamw(param, grads, *, lr=1e-3, beta1=0.9, beta2=0.99, eps=1e-8, wd=0.01, cautious=False) -> Outcome:
    exp_avg, exp_avg_sq = corrected(grads, beta1), corrected(squared(grads), beta2)
    excess = rms(grads[-1] / np.maximum(np.sqrt(exp_avg_sq), eps))
    lr = lr / excess if excess > 1 else lr
    step = (masked(exp_avg, grads[-1]) if cautious else exp_avg) / (np.sqrt(exp_avg_sq) + eps)
    return {"param": param - lr * wd * param - lr * step, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}


def adafactor(
    param,
    grads,
    *,
    lr=1e-2,
    decay_rate=-0.8,
    eps1=1e-30,
    eps2=1e-3,
    threshold=1.0,
    momentum=None,
    wd=0.0,
    relative_step=True,
    scale_parameter=True,
    scale_decay=False,
    floors=False,
    cautious=False,
    before=None,
) -> Outcome:
    t = len(grads)
    rates = np.arange(1.0, t + 1) ** decay_rate
    weights = np.array([rates[k] * np.prod(1 - rates[k + 1 :]) for k in range(t)])
    added = 0.0 if floors else eps1
    state = {}
    if param.ndim < 2:
        state["variance"] = v = average(squared(grads), weights) + added * weights.sum()
    else:
        matrices = [grad.reshape(len(grad), -1) for grad in grads]
        square = average(squared(matrices), weights) + added * weights.sum()
        rows, columns = square.mean(1), square.mean(0)
        state |= {"row_var": rows[:, None], "col_var": columns[None]}
        v = np.outer(rows / (max(rows.mean(), eps1) if floors else rows.mean()), columns).reshape(param.shape)
    update = grads[-1] / (np.maximum(np.sqrt(v), eps1) if floors else np.sqrt(v))
    update = update * min(1.0, threshold / rms(update)) if update.any() else update
    step = min(lr, t**-0.5) if relative_step else lr
    step *= max(eps2, rms(param)) if scale_parameter else 1.0
    moved = step * update
    if momentum is not None:
        state["exp_avg"] = moved = momentum * before["exp_avg"] + (1 - momentum) * moved
        moved = masked(moved, grads[-1]) if cautious else moved
    return {"param": param - (step if scale_decay else lr) * wd * param - moved, **state}


def orthogonal(x: np.ndarray, steps: int, eps: float) -> np.ndarray:
    """What the iteration makes of a matrix: its polynomial of each singular value, between the singular vectors."""
    if not x.any():
        return x
    left, values, right = np.linalg.svd(x, full_matrices=False)
    values = values / max(math.sqrt(math.fsum(values**2)), eps)
    for _ in range(steps):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    return (left * values) @ right


def muon(
    param,
    grads,
    *,
    lr=1e-3,
    momentum=0.95,
    wd=0.1,
    eps=1e-7,
    ns_steps=5,
    scale="original",
    nesterov=True,
    matrix=True,
    adam_lr=1e-3,
    adam_beta1=0.9,
    adam_beta2=0.999,
    adam_eps=1e-8,
) -> Outcome:
    if not matrix or param.ndim < 2:
        moments = {
            "exp_avg": average(grads, fading(len(grads), adam_beta1)),
            "exp_avg_sq": average(squared(grads), fading(len(grads), adam_beta2)),
        }
        step = corrected(grads, adam_beta1) / (np.sqrt(corrected(squared(grads), adam_beta2)) + adam_eps)
        return {"param": param - adam_lr * wd * param - adam_lr * step, **moments}
    exp_avg = average(grads, fading(len(grads), momentum))
    ahead = momentum * exp_avg + (1 - momentum) * grads[-1] if nesterov else exp_avg
    x = orthogonal(ahead.reshape(len(ahead), -1), ns_steps, eps)
    rows, columns = x.shape
    size = {"original": math.sqrt(max(1, rows / columns)), "match_rms_adamw": 0.2 * math.sqrt(max(x.shape)), None: 1}
    return {"param": param - lr * wd * param - lr * size[scale] * x.reshape(param.shape), "exp_avg": exp_avg}


def adam(param, grads, *, lr=1e-5, beta1=0.9, beta2=0.999, eps=1e-8, wd=0.0, cautious=True) -> Outcome:
    step = masked(corrected(grads, beta1), grads[-1]) / (np.sqrt(corrected(squared(grads), beta2)) + eps)
    moments = lamb(param, grads, beta1=beta1, beta2=beta2)
    return moments | {"param": param - lr * wd * param - lr * step}


def lion(param, grads, *, lr=1e-4, beta1=0.9, beta2=0.99, wd=0.0, cautious=True) -> Outcome:
    *earlier, grad = grads
    known = average(earlier, fading(len(earlier), beta2)) if earlier else 0.0
    step = masked(np.sign(beta1 * known + (1 - beta1) * grad), grad)
    return {"param": param - lr * wd * param - lr * step, "exp_avg": average(grads, fading(len(grads), beta2))}


def rmsprop(param, grads, *, lr, rho, eps, momentum, wd=0.0, cautious=True, before=None) -> Outcome:
    cache = average(squared(grads), fading(len(grads), rho))
    buffer = momentum * before["momentum_buffer"] + grads[-1] / np.sqrt(cache + eps)
    moved = param - lr * wd * param - lr * masked(buffer, grads[-1])
    return {"param": moved, "cache": cache, "momentum_buffer": buffer}


# Oracles of all tensors together ------------------------------------------------------------------------------------


def alone(oracle: Callable[..., Outcome]) -> Callable[..., Iterator[list[Outcome]]]:
    """An oracle of one tensor for all of them."""
    kept = {"before"} & inspect.signature(oracle).parameters.keys()

    def steps(starts: Values, rows: Sequence[Values], **hypers: Any) -> Iterator[list[Outcome]]:
        found: list[Outcome] = [{"param": start, "exp_avg": 0.0, "momentum_buffer": 0.0} for start in starts]
        for t in range(1, len(rows) + 1):
            seen = [[row[place] for row in rows[:t]] for place in range(len(starts))]
            before = [{name: one for name in kept} for one in found]
            both = zip(found, seen, before, strict=True)
            found = [oracle(one["param"], grads, **hypers, **last) for one, grads, last in both]
            yield found

    return steps


def prodigy(
    starts: Values,
    rows: Sequence[Values],
    *,
    lr=1.0,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    wd=0.0,
    d0=1e-6,
    d_coef=1.0,
    bias_correction=False,
    safeguard_warmup=False,
    cautious=False,
) -> Iterator[list[Outcome]]:
    """All tensors as one long vector; what each step adds to the sums is kept, and weighed anew in every step."""
    w = start = np.concatenate([x.ravel() for x in starts])
    ends = np.cumsum([x.size for x in starts])[:-1]
    beta3, d = math.sqrt(beta2), d0
    first, second, gains, shares = [], [], [], []
    for t, row in enumerate(rows, start=1):
        grad = np.concatenate([x.ravel() for x in row])
        step = d * lr * (math.sqrt(1 - beta2**t) / (1 - beta1**t) if bias_correction else 1.0)
        first.append(d * grad)
        second.append((d * grad) ** 2)
        gains.append(d / d0 * step * np.dot(grad, start - w))
        shares.append(d / d0 * (d if safeguard_warmup else step) * grad)
        kept = beta3 ** np.arange(t - 1, -1, -1.0)
        numerator, s = float(np.dot(kept, gains)), average(shares, kept)
        exp_avg, exp_avg_sq = average(first, fading(t, beta1)), average(second, fading(t, beta2))
        parts = zip(np.split(exp_avg, ends), np.split(grad, ends), strict=True)
        moved = np.concatenate([masked(*both) for both in parts]) if cautious else exp_avg
        w = w - step * wd * w - step * moved / (np.sqrt(exp_avg_sq) + d * eps)
        d = max(d, d_coef * numerator / np.abs(s).sum())
        both = {"param": w, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq, "s": s, "start": start}
        pieces = {
            name: [part.reshape(one.shape) for part, one in zip(np.split(x, ends), starts, strict=True)]
            for name, x in both.items()
        }
        yield [
            {name: arrays[place] for name, arrays in pieces.items()}
            | {"d": np.float64(d), "numerator": np.float64(numerator)}
            for place in range(len(starts))
        ]


def schedule_free(
    step: Callable[..., tuple[np.ndarray, Outcome]],
    start: np.ndarray,
    grads: Sequence[np.ndarray],
    *,
    lr: float | Sequence[float],
    momentum=0.9,
    wd=0.0,
    warmup_steps=0.0,
    r=0.0,
    weight_lr_power=2.0,
    **hypers: Any,
) -> Iterator[tuple[Outcome, np.ndarray]]:
    """After each step of one tensor what is kept, and the weights to evaluate: the mean of all ``z``, weighed anew.

    ``step`` gives what ``z`` moves along, of all gradients so far, and the state for that; ``lr`` may be one for each
    step.
    """
    ramp = np.minimum(1, np.arange(1, len(grads) + 1) / warmup_steps) if warmup_steps else np.ones(len(grads))
    rates = ramp * np.broadcast_to(lr, len(grads))
    weights = np.arange(1.0, len(grads) + 1) ** r * np.maximum.accumulate(rates) ** weight_lr_power
    y, zs = start, [start]
    for t in range(1, len(grads) + 1):
        moved, state = step(grads[:t], **hypers)
        zs.append(zs[-1] - rates[t - 1] * (moved + wd * y))
        much = math.fsum(weights[:t])
        x = average(zs[1:], weights[:t] / much) if much else start
        y = (1 - momentum) * zs[-1] + momentum * x
        numbers = {"lr_max": np.float64(rates[:t].max()), "weight_sum": np.float64(much)}
        yield {"param": y, "z": zs[-1], **state, **numbers}, x


def schedule_free_sgd(start, grads, *, lr=1.0, **hypers) -> Iterator[tuple[Outcome, np.ndarray]]:
    return schedule_free(lambda seen: (seen[-1], {}), start, grads, lr=lr, **hypers)


def schedule_free_adamw(
    start, grads, *, lr=2.5e-3, beta1=0.9, beta2=0.999, eps=1e-8, **hypers
) -> Iterator[tuple[Outcome, np.ndarray]]:
    def step(seen: Sequence[np.ndarray]) -> tuple[np.ndarray, Outcome]:
        kept = {"exp_avg_sq": average(squared(seen), fading(len(seen), beta2))}
        return seen[-1] / (np.sqrt(corrected(squared(seen), beta2)) + eps), kept

    return schedule_free(step, start, grads, lr=lr, momentum=beta1, **hypers)


def each_alone(oracle: Callable[..., Any]) -> Callable[..., Iterator[list[Outcome]]]:
    """An oracle of one tensor, step by step, for all of them."""

    def steps(starts: Values, rows: Sequence[Values], **hypers: Any) -> Iterator[list[Outcome]]:
        tensors = [oracle(x, [row[place] for row in rows], **hypers) for place, x in enumerate(starts)]
        for found in zip(*tensors, strict=True):
            yield [kept for kept, _ in found]

    return steps


ORACLES: Mapping[type[Optimizer], Callable[..., Iterator[list[Outcome]]]] = {
    ADOPT: alone(adopt),
    LARS: alone(lars),
    NAdam: alone(nadam),
    LAMB: alone(lamb),
    NovoGrad: alone(novograd),
    StableAdamW: alone(stable_adamw),
    Adafactor: alone(adafactor),
    Prodigy: prodigy,
    Muon: alone(muon),
    ScheduleFreeSGD: each_alone(schedule_free_sgd),
    ScheduleFreeAdamW: each_alone(schedule_free_adamw),
    Adam: alone(adam),
    AdamW: alone(adam),
    Lion: alone(lion),
    RMSProp: alone(rmsprop),
}
"""For each rule what gives the parameters and the state of all tensors, step by step; the last four when cautious."""


# Configurations ------------------------------------------------------------------------------------------------------

CASES = [
    Case(ADOPT, {}),
    Case(ADOPT, {"lr": 0.02, "wd": 0.1}),
    Case(ADOPT, {"lr": 0.02, "beta1": 0.0, "beta2": 0.5}),
    Case(ADOPT, {"lr": 0.02, "beta1": 0.5, "beta2": 0.0, "eps": 0.1, "clip_exp": 0.0}),
    Case(ADOPT, {"lr": 0.02, "beta2": 0.9, "eps": 0.5, "clip_exp": 1.5, "wd": 0.3}),
    Case(ADOPT, {"lr": 0.02, "beta2": 0.9, "eps": 0.01, "clipped": False, "wd": 0.1}),
    Case(ADOPT, {"lr": 0.02, "wd": 0.1, "cautious": True}),
    Case(LARS, {}),
    Case(LARS, {"lr": 30.0, "wd": 0.1}),
    Case(LARS, {"lr": 2.0, "momentum": 0.0, "trust": 0.02, "wd": 0.3}),
    Case(LARS, {"lr": 2.0, "momentum": 0.5, "trust": 0.02, "wd": 0.5, "sum_of_norms": True}),
    Case(LARS, {"lr": 0.02, "wd": 0.1, "adaptive": False}),
    Case(LARS, {"lr": 0.02, "momentum": 0.0, "wd": 0.1, "adaptive": False}),
    Case(LARS, {"lr": 5.0, "wd": 0.1, "cautious": True}),
    Case(LARS, {"lr": 5.0, "momentum": 0.0, "wd": 0.3, "cautious": True}),
    Case(NAdam, {}),
    Case(NAdam, {"lr": 0.02}),
    Case(NAdam, {"lr": 0.02, "wd": 0.1, "momentum_decay": 1.0}),
    Case(NAdam, {"lr": 0.02, "wd": 0.1, "schedule": False}),
    Case(NAdam, {"lr": 0.02, "beta1": 0.0, "beta2": 0.5, "eps": 0.1}),
    Case(NAdam, {"lr": 0.05, "beta1": 0.5, "beta2": 0.9, "eps": 0.1, "momentum_decay": 0.0, "wd": 0.3}),
    Case(NAdam, {"lr": 0.02, "wd": 0.01, "beta1": 0.95, "momentum_decay": 0.2, "decay": "independent"}),
    Case(NAdam, {"lr": 0.02, "wd": 0.1, "cautious": True}),
    Case(LAMB, {}),
    Case(LAMB, {"lr": 0.02}),
    Case(LAMB, {"lr": 0.02, "wd": 0.1}),
    Case(LAMB, {"lr": 0.05, "beta1": 0.5, "beta2": 0.9, "eps": 0.1, "wd": 0.3}),
    Case(LAMB, {"lr": 0.02, "beta1": 0.0, "beta2": 0.5}),
    Case(LAMB, {"lr": 0.02, "wd": 0.1, "cautious": True}),
    Case(NovoGrad, {}),
    Case(NovoGrad, {"lr": 0.02, "wd": 0.1}),
    Case(NovoGrad, {"lr": 0.02, "beta1": 0.0}),
    Case(NovoGrad, {"lr": 0.02, "beta1": 0.9, "beta2": 0.25, "eps": 1e-6}),
    Case(NovoGrad, {"lr": 0.02, "beta2": 0.0, "eps": 0.5, "wd": 0.3}),
    Case(NovoGrad, {"lr": 0.001, "beta1": 0.7, "beta2": 0.5}),
    Case(NovoGrad, {"lr": 0.02, "wd": 0.1, "cautious": True}),
    Case(StableAdamW, {}),
    Case(StableAdamW, {"lr": 0.02, "wd": 0.1}),
    Case(StableAdamW, {"lr": 0.02, "wd": 0.0, "beta1": 0.0}),
    Case(StableAdamW, {"lr": 0.02, "beta1": 0.5, "beta2": 0.9, "eps": 1e-3}),
    Case(StableAdamW, {"lr": 0.02, "beta2": 0.0, "eps": 0.1, "wd": 0.3}),
    Case(StableAdamW, {"lr": 0.02, "wd": 0.1, "cautious": True}),
    Case(Adafactor, {}),
    Case(Adafactor, {"lr": 0.5, "wd": 0.1}),
    Case(Adafactor, {"lr": 0.02, "wd": 0.1, "scale_decay": True}),
    Case(Adafactor, {"lr": 0.02, "momentum": 0.9, "wd": 0.1, "scale_decay": True}),
    Case(Adafactor, {"lr": 0.02, "relative_step": False, "scale_parameter": False, "wd": 0.1}),
    Case(Adafactor, {"lr": 0.02, "relative_step": False, "eps2": 0.7}),
    Case(Adafactor, {"lr": 0.02, "floors": True, "eps1": 1e-5, "wd": 0.1}),
    Case(Adafactor, {"lr": 0.02, "eps1": 0.01, "threshold": 0.5, "decay_rate": -0.5}),
    Case(Adafactor, {"lr": 0.02, "eps1": 0.01, "threshold": 2.0, "momentum": 0.5, "scale_parameter": False}),
    Case(Adafactor, {"lr": 0.02, "momentum": 0.5, "wd": 0.1, "cautious": True}),
    Case(Prodigy, {}),  # in float32, steps of a millionth are lost beside the parameter
    Case(Prodigy, {"d0": 0.01}),
    Case(Prodigy, {"d0": 0.01, "wd": 0.1}),
    Case(Prodigy, {"d0": 0.01, "lr": 0.5, "bias_correction": True, "wd": 0.1}),
    Case(Prodigy, {"d0": 0.01, "lr": 0.5, "safeguard_warmup": True, "beta1": 0.5, "beta2": 0.9}),
    Case(Prodigy, {"d0": 0.1, "d_coef": 0.5, "eps": 0.01, "beta1": 0.0}),
    Case(Prodigy, {"d0": 0.01, "wd": 0.1, "cautious": True}),
    Case(Muon, {}),
    Case(Muon, {"lr": 0.02, "wd": 0.0}),
    Case(Muon, {"lr": 0.02, "momentum": 0.5, "nesterov": False}),
    Case(Muon, {"lr": 0.02, "scale": "match_rms_adamw", "ns_steps": 3}),
    Case(Muon, {"lr": 0.02, "scale": None, "ns_steps": 1, "eps": 10.0}),
    Case(Muon, {"matrix": False, "adam_lr": 0.02, "adam_beta1": 0.5, "adam_beta2": 0.9, "adam_eps": 0.01}),
    Case(ScheduleFreeSGD, {}),
    Case(ScheduleFreeSGD, {"lr": 0.02}),
    Case(ScheduleFreeSGD, {"lr": 0.02, "wd": 0.1, "warmup_steps": 5}),
    Case(ScheduleFreeSGD, {"lr": 0.02, "momentum": 0.5, "warmup_steps": 30, "weight_lr_power": 0.0}),
    Case(ScheduleFreeSGD, {"lr": 0.02, "momentum": 0.98, "wd": 0.3, "warmup_steps": 3, "r": 2.0}),
    Case(ScheduleFreeSGD, {"lr": 0.02, "warmup_steps": 7.5, "r": 0.5, "weight_lr_power": 0.7, "maximize": True}),
    Case(ScheduleFreeSGD, {"lr": 0.0, "wd": 0.1}),
    Case(ScheduleFreeAdamW, {}),
    Case(ScheduleFreeAdamW, {"lr": 0.02}),
    Case(ScheduleFreeAdamW, {"lr": 0.02, "wd": 0.1, "warmup_steps": 5}),
    Case(ScheduleFreeAdamW, {"lr": 0.02, "beta1": 0.5, "beta2": 0.9, "eps": 0.1, "warmup_steps": 30}),
    Case(ScheduleFreeAdamW, {"lr": 0.02, "beta1": 0.98, "wd": 0.3, "warmup_steps": 3, "r": 2.0}),
    Case(ScheduleFreeAdamW, {"lr": 0.02, "beta2": 0.0, "eps": 0.01, "r": 0.5, "weight_lr_power": 0.7}),
    Case(ScheduleFreeAdamW, {"lr": 0.02, "warmup_steps": 7.5, "weight_lr_power": 0.0, "maximize": True}),
    Case(ScheduleFreeAdamW, {"lr": 0.0, "wd": 0.1}),
    Case(Adam, {"lr": 0.02, "wd": 0.1, "cautious": True}),
    Case(AdamW, {"lr": 0.02, "wd": 0.1, "beta1": 0.5, "beta2": 0.9, "cautious": True}),
    Case(Lion, {"lr": 0.02, "wd": 0.1, "cautious": True}),
    Case(RMSProp, {"lr": 0.02, "rho": 0.9, "eps": 1e-3, "momentum": 0.5, "wd": 0.1, "cautious": True}),
]

BEYOND = (NAdam, ADOPT, LARS, LAMB, NovoGrad, StableAdamW, Adafactor, Prodigy, Muon, ScheduleFreeSGD, ScheduleFreeAdamW)
"""The rules that look beyond one element, keep numbers beside elements, or have a place of their own for decay."""

APART = (Shampoo, SOAP)
"""The rules that take matrices apart, with oracles in `test_optim_eigenbases`: SOAP needs gradients of full rank."""


# Gradients, and parameters that they drive ---------------------------------------------------------------------------

STEPS = 20
SHAPES = [(6, 4), (3, 5), (4, 4), (7,), (), (1,), (5, 2, 3), (3, 2, 2), (1, 6), (6, 1), (3, 4), (2, 3), (40, 130)]


def problem(dtype: str) -> tuple[Values, list[Values]]:
    """Where the parameters start, and the gradients of every step, as numbers that the dtype has."""
    rng = np.random.default_rng(0)
    starts = [rng.normal(size=shape) for shape in SHAPES]
    starts[10][...] = 0.0  # a parameter of zeros
    sizes = [*np.geomspace(0.05, 10, STEPS // 2), *np.geomspace(10, 0.05, STEPS // 2)]
    drift = [rng.normal(size=shape) for shape in SHAPES]
    rows = [[size * (part + rng.normal(size=part.shape)) for part in drift] for size in sizes]
    for step, row in enumerate(rows):
        row[11][...] = 0.0  # a parameter without any
        row[3][2] = 0.0  # an element without any
        row[3][:2] *= not STEPS // 4 <= step < STEPS // 2  # and two that have none for a while
    rows[STEPS // 2][1][0, 0] = 1000.0
    as_kept = [[part.astype(dtype).astype("float64") for part in row] for row in (starts, *rows)]
    return as_kept[0], as_kept[1:]


def taken(case: Case, dtype: str, **options: Any) -> Iterator[tuple[Optimizer, list[dict[str, np.ndarray]]]]:
    """Our steps: after each the optimizer, and of every parameter its value and the state that is kept of it."""
    starts, rows = problem(dtype)
    params = [Tensor(start, dtype=dtype, requires_grad=True) for start in starts]
    optimizer = case.cls(params, **case.hypers, **able(case.cls, options))
    for row in rows:
        for param, grad in zip(params, row, strict=True):
            param.grad = Tensor(grad, dtype=dtype)
        optimizer.step()
        entries = {"param": params} | {name: getattr(optimizer, name) for name in optimizer.rule.state}
        yield (
            optimizer,
            [
                {name: np.array(entry[place].detach().numpy(), "float64") for name, entry in entries.items()}
                for place in range(len(params))
            ],
        )


def outcomes(case: Case, dtype: str) -> Iterator[list[Outcome]]:
    """What the oracle says to the same."""
    hypers = {"wd" if name == "weight_decay" else name: value for name, value in case.hypers.items()}
    starts, rows = problem(dtype)
    if hypers.pop("maximize", False):
        rows = [[-grad for grad in row] for row in rows]
    return ORACLES[case.cls](starts, rows, **hypers)
