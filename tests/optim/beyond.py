"""The table of the rules that look beyond one element, or decay in their own way: an oracle of whole tensors for each.

An oracle says in float64 NumPy what a step arrives at. It is no second copy of the recurrence where there is another
way: averages are weighted sums of all gradients so far, and products of matrices are told by their singular values.
"""

import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from rules import Case, able

from minima import Tensor
from minima.optim import (
    ADOPT,
    CAME,
    FTRL,
    LAMB,
    LARS,
    MADGRAD,
    MARS,
    SM3,
    SOAP,
    Adafactor,
    Adam,
    AdamW,
    Adan,
    DAdaptAdam,
    DAdaptSGD,
    DoG,
    DoWG,
    Lion,
    MoMo,
    MoMoAdam,
    Muon,
    NAdam,
    NAdamW,
    NovoGrad,
    Optimizer,
    PolyakSGD,
    Prodigy,
    RMSProp,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
    Shampoo,
    SophiaG,
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


def moments(grads: Sequence[np.ndarray], beta1: float, beta2: float) -> dict[str, np.ndarray]:
    """The averages that rules of Adam's family keep."""
    return {
        "exp_avg": average(grads, fading(len(grads), beta1)),
        "exp_avg_sq": average(squared(grads), fading(len(grads), beta2)),
    }


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


def adan(
    param,
    grads,
    *,
    lr=1e-3,
    beta1=0.98,
    beta2=0.92,
    beta3=0.99,
    eps=1e-8,
    wd=0.0,
    proximal=True,
    cautious=False,
) -> Outcome:
    diffs = [0.0 * grads[0], *(new - old for old, new in itertools.pairwise(grads))]
    ahead = squared([grad + beta2 * diff for grad, diff in zip(grads, diffs, strict=True)])
    along = corrected(grads, beta1) + beta2 * corrected(diffs, beta2)
    move = lr * (masked(along, grads[-1]) if cautious else along) / (np.sqrt(corrected(ahead, beta3)) + eps)
    return {
        "param": (param - move) / (1 + lr * wd) if proximal else param - lr * wd * param - move,
        "exp_avg": average(grads, fading(len(grads), beta1)),
        "exp_avg_diff": average(diffs, fading(len(grads), beta2)),
        "exp_avg_sq": average(ahead, fading(len(grads), beta3)),
        "prev_grad": grads[-1],
    }


def lars(
    param,
    grads,
    *,
    lr=1.0,
    momentum=0.9,
    wd=0.0,
    trust=1e-3,
    sum_of_norms=False,
    trust_clip=False,
    adaptive=True,
    cautious=False,
    before=None,
) -> Outcome:
    step, size = grads[-1] + wd * param, np.linalg.norm(param)
    length = np.linalg.norm(grads[-1]) + wd * size if sum_of_norms else np.linalg.norm(step)
    ratio = trust * size / length if size * length > 0 else 1.0
    scaled = (min(ratio, lr) if trust_clip else lr * ratio) * step if adaptive else lr * step
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
    corrected_ahead=True,
    decay="decoupled",
    cautious=False,
) -> Outcome:
    t = len(grads)
    momenta = beta1 * (1 - schedule * 0.5 * 0.96 ** (np.arange(1, t + 2) * momentum_decay))
    first, second = average(grads, fading(t, beta1)), average(squared(grads), fading(t, beta2))
    now = (1 - momenta[-2]) * grads[-1] / (1 - np.prod(momenta[:-1]))
    step = now + momenta[-1] * first / (1 - np.prod(momenta if corrected_ahead else momenta[:-1]))
    step = (masked(step, grads[-1]) if cautious else step) / (np.sqrt(corrected(squared(grads), beta2)) + eps)
    shrunk = param - {"decoupled": lr * wd, "independent": wd}[decay] * param
    state = {"exp_avg": first, "exp_avg_sq": second, "mu_product": np.prod(momenta[:-1])}
    return {"param": shrunk - lr * step, **state}


def mars(
    param,
    grads,
    *,
    lr=3e-3,
    beta1=0.95,
    beta2=0.99,
    eps=1e-8,
    wd=0.0,
    gamma=0.025,
    optimize_1d=False,
    decay="decoupled",
    cautious=False,
) -> Outcome:
    vector = param.ndim < 2 and not optimize_1d
    seen, share = grads, gamma * beta1 / (1 - beta1)
    if not vector:  # what is new in a gradient weighs by a share more
        carried = [grads[0], *((1 + share) * new - share * old for old, new in itertools.pairwise(grads))]
        seen = [one / max(1.0, np.linalg.norm(one)) for one in carried]
    step = corrected(seen, beta1)
    step = (masked(step, grads[-1]) if cautious else step) / (np.sqrt(corrected(squared(seen), beta2)) + eps)
    shrunk = param - {"decoupled": lr * wd, "independent": wd}[decay] * param
    return {"param": shrunk - lr * step, **moments(seen, beta1, beta2)} | ({} if vector else {"prev_grad": grads[-1]})


def lamb(
    param,
    grads,
    *,
    lr=1e-3,
    beta1=0.9,
    beta2=0.999,
    eps=1e-6,
    wd=0.0,
    trust_clip=False,
    adaptive=True,
    cautious=False,
) -> Outcome:
    step = corrected(grads, beta1) / (np.sqrt(corrected(squared(grads), beta2)) + eps)
    step = (masked(step, grads[-1]) if cautious else step) + wd * param
    size, length = np.linalg.norm(param), np.linalg.norm(step)
    trust = size / length if adaptive and size * length > 0 else 1.0
    trust = min(trust, 1.0) if trust_clip else trust
    return {"param": param - lr * trust * step, **moments(grads, beta1, beta2)}


def novograd(
    param,
    grads,
    *,
    lr=1e-2,
    beta1=0.95,
    beta2=0.98,
    eps=1e-8,
    wd=0.0,
    grad_averaging=False,
    cautious=False,
    before=None,
) -> Outcome:
    first, *later = (np.linalg.norm(grad) ** 2 for grad in grads)
    t = len(grads)
    size = beta2 ** (t - 1) * first + float(np.dot(fading(t, beta2)[1:], later))
    added = grads[-1] / (math.sqrt(size) + eps) + wd * param
    exp_avg = beta1 * before["exp_avg"] + (1 - beta1 if grad_averaging else 1.0) * added
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
    beta2_cap=None,
    cautious=False,
    before=None,
) -> Outcome:
    t = len(grads)
    rates = np.maximum(np.arange(1.0, t + 1) ** decay_rate, 0.0 if beta2_cap is None else 1 - beta2_cap)
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


def factored(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The matrix of these means of rows and of columns, whose entries are what they have of the mean of all."""
    return np.outer(rows, columns) / rows.mean()


def came(
    param,
    grads,
    *,
    lr=2e-4,
    beta1=0.9,
    beta2=0.999,
    beta3=0.9999,
    eps1=1e-30,
    eps2=1e-16,
    threshold=1.0,
    wd=0.0,
    cautious=False,
    before=None,
) -> Outcome:
    square = average([grad**2 + eps1 for grad in grads], fading(len(grads), beta2))
    matrix, state = square.reshape(len(square) if square.ndim else 1, -1), {}
    if param.ndim < 2:
        v, state["variance"] = square, square
    else:
        state |= {"row_var": matrix.mean(1, keepdims=True), "col_var": matrix.mean(0, keepdims=True)}
        v = factored(matrix.mean(1), matrix.mean(0)).reshape(param.shape)
    update = grads[-1] / np.sqrt(v)
    update = update * min(1.0, threshold / rms(update)) if update.any() else update
    state["exp_avg"] = exp_avg = beta1 * before["exp_avg"] + (1 - beta1) * update
    step = masked(exp_avg, grads[-1]) if cautious else exp_avg
    if param.ndim > 1:
        residual = ((update - exp_avg) ** 2 + eps2).reshape(matrix.shape)
        for name, axis in (("res_row", 1), ("res_col", 0)):
            state[name] = beta3 * before.get(name, 0.0) + (1 - beta3) * residual.mean(axis, keepdims=True)
        step = step / np.sqrt(factored(state["res_row"][:, 0], state["res_col"][0])).reshape(param.shape)
    return {"param": param - lr * wd * param - lr * step, **state}


def sm3(param, grads, *, lr=0.1, momentum=0.9, beta=None, eps=1e-30, wd=0.0, cautious=False, before=None) -> Outcome:
    """A set is a mask of the elements, with one number: a row, a column, or in a vector a single element."""
    grad = grads[-1].reshape(len(param) if param.ndim > 1 else 1, -1)
    rows, columns = np.indices(grad.shape)
    sets = {"row_max": rows, "col_max": columns} if param.ndim > 1 else {"accumulator": columns}
    many = {name: of.max(initial=0) + 1 for name, of in sets.items()}
    known = {name: np.ravel(before.get(name, np.zeros(size))) for name, size in many.items()}
    least = np.min([known[name][of] for name, of in sets.items()], axis=0)
    v = least + grad**2 if beta is None else beta * least + (1 - beta) * grad**2
    shapes, state = {"row_max": (-1, 1), "col_max": (1, -1), "accumulator": param.shape}, {}
    for name, of in sets.items():
        found = np.array([v[of == one].max() for one in range(many[name])])
        state[name] = (found if beta is None else np.maximum(known[name], found)).reshape(shapes[name])
    update = (grad / np.sqrt(v + eps)).reshape(param.shape)
    if momentum:
        state["exp_avg"] = update = momentum * before["exp_avg"] + (1 - momentum) * update
    step = masked(update, grads[-1]) if cautious else update
    return {"param": param - lr * wd * param - lr * step, **state}


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
        step = corrected(grads, adam_beta1) / (np.sqrt(corrected(squared(grads), adam_beta2)) + adam_eps)
        return {"param": param - adam_lr * wd * param - adam_lr * step, **moments(grads, adam_beta1, adam_beta2)}
    exp_avg = average(grads, fading(len(grads), momentum))
    ahead = momentum * exp_avg + (1 - momentum) * grads[-1] if nesterov else exp_avg
    x = orthogonal(ahead.reshape(len(ahead), -1), ns_steps, eps)
    rows, columns = x.shape
    size = {"original": math.sqrt(max(1, rows / columns)), "match_rms_adamw": 0.2 * math.sqrt(max(x.shape)), None: 1}
    return {"param": param - lr * wd * param - lr * size[scale] * x.reshape(param.shape), "exp_avg": exp_avg}


def adam(param, grads, *, lr=1e-5, beta1=0.9, beta2=0.999, eps=1e-8, wd=0.0, cautious=True) -> Outcome:
    step = masked(corrected(grads, beta1), grads[-1]) / (np.sqrt(corrected(squared(grads), beta2)) + eps)
    return {"param": param - lr * wd * param - lr * step, **moments(grads, beta1, beta2)}


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


def joined(arrays: Values) -> np.ndarray:
    """All tensors as one long vector."""
    return np.concatenate([x.ravel() for x in arrays])


def apart(starts: Values, vectors: Mapping[str, np.ndarray], **numbers: float) -> list[Outcome]:
    """Long vectors as the tensors that they are made of, each with the numbers that all share."""
    ends = np.cumsum([x.size for x in starts])[:-1]
    pieces = {name: np.split(x, ends) for name, x in vectors.items()}
    shared = {name: np.float64(number) for name, number in numbers.items()}
    return [
        {name: parts[place].reshape(one.shape) for name, parts in pieces.items()} | shared
        for place, one in enumerate(starts)
    ]


def polyak_sgd(
    starts: Values,
    rows: Sequence[Values],
    losses: np.ndarray,
    *,
    lr=1.0,
    wd=0.0,
    bound=0.0,
    c=1.0,
    eps=0.0,
    positive=False,
) -> Iterator[list[Outcome]]:
    w = joined(starts)
    for row, loss in zip(rows, losses, strict=True):
        grad = joined(row)
        step = min(lr, (loss - bound) / (c * (math.fsum(grad**2) + eps)))
        step = max(step, 0.0) if positive else step
        w = w - step * (wd * w + grad)
        yield apart(starts, {"param": w})


def momo(
    starts: Values,
    rows: Sequence[Values],
    losses: np.ndarray,
    *,
    lr=1.0,
    beta=0.9,
    wd=0.0,
    bound=0.0,
    cautious=False,
) -> Iterator[list[Outcome]]:
    """All lines that losses and gradients have drawn are kept, and weighed anew in every step."""
    w, grads, dots = joined(starts), [], []
    for t, row in enumerate(rows, start=1):
        grads.append(joined(row))
        dots.append(np.dot(grads[-1], w))
        kept = fading(t, beta)
        kept[0] = beta ** (t - 1)
        exp_avg, loss_avg, dot_avg = average(grads, kept), np.dot(kept, losses[:t]), np.dot(kept, dots)
        height = (1 + lr * wd) * (loss_avg - bound - dot_avg) + np.dot(exp_avg, w)
        step = min(lr, max(height, 0.0) / np.dot(exp_avg, exp_avg))
        w = w / (1 + lr * wd) - step * mask_apart(starts, exp_avg, grads[-1], cautious)
        yield apart(starts, {"param": w, "exp_avg": exp_avg}, loss_avg=loss_avg, dot_avg=dot_avg, count=t)


def momo_adam(
    starts: Values,
    rows: Sequence[Values],
    losses: np.ndarray,
    *,
    lr=1e-2,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    wd=0.0,
    bound=0.0,
    cautious=False,
) -> Iterator[list[Outcome]]:
    w, grads, dots = joined(starts), [], []
    for t, row in enumerate(rows, start=1):
        grads.append(joined(row))
        dots.append(np.dot(grads[-1], w))
        kept = fading(t, beta1)
        exp_avg, loss_avg, dot_avg = average(grads, kept), np.dot(kept, losses[:t]), np.dot(kept, dots)
        scale = eps + np.sqrt(corrected(squared(grads), beta2))
        height = (1 + lr * wd) * (np.dot(kept, losses[:t] - bound) - dot_avg) + np.dot(exp_avg, w)
        step = min(lr / kept.sum(), max(height, 0.0) / np.dot(exp_avg, exp_avg / scale))
        w = w / (1 + lr * wd) - step * mask_apart(starts, exp_avg, grads[-1], cautious) / scale
        vectors = {"param": w, "exp_avg": exp_avg, "exp_avg_sq": average(squared(grads), fading(t, beta2))}
        yield apart(starts, vectors, loss_avg=loss_avg, dot_avg=dot_avg, count=t)


def mask_apart(starts: Values, step: np.ndarray, grad: np.ndarray, cautious: bool) -> np.ndarray:
    """A step of all tensors in one vector, which is cautious in each of them."""
    ends = np.cumsum([x.size for x in starts])[:-1]
    parts = zip(np.split(step, ends), np.split(grad, ends), strict=True)
    return np.concatenate([masked(*both) for both in parts]) if cautious else step


def dog(starts: Values, rows: Sequence[Values], *, lr=1.0, wd=0.0, reps_rel=1e-6, eps=1e-8) -> Iterator[list[Outcome]]:
    """All places that the parameters have been to are kept, and their distances from the first one."""
    way, steps = [joined(starts)], []
    for row in rows:
        steps.append(joined(row) + wd * way[-1])
        walked = max(np.linalg.norm(w - way[0]) for w in way)
        r = max(walked, reps_rel * (1 + np.linalg.norm(way[0])))
        v = np.linalg.norm(np.stack(steps)) ** 2
        way.append(way[-1] - lr * r / math.sqrt(v + eps) * steps[-1])
        yield apart(starts, {"param": way[-1], "start": way[0]}, r=r, v=v)


def dowg(starts: Values, rows: Sequence[Values], *, lr=1.0, wd=0.0, r0=1e-4, eps=1e-4) -> Iterator[list[Outcome]]:
    way, steps = [joined(starts)], []
    for row in rows:
        steps.append(joined(row) + wd * way[-1])
        distances = np.maximum.accumulate([np.linalg.norm(w - way[0]) for w in way])
        r = np.maximum(distances**2, r0)
        v = float(np.dot(r, [np.dot(u, u) for u in steps]))
        way.append(way[-1] - lr * r[-1] / (math.sqrt(v) + eps) * steps[-1])
        yield apart(starts, {"param": way[-1], "start": way[0]}, r=r[-1], v=v)


def dadapt_sgd(
    starts: Values, rows: Sequence[Values], *, lr=1.0, momentum=0.9, wd=0.0, d0=1e-6
) -> Iterator[list[Outcome]]:
    """Steps and gains are kept; what they add up to is computed anew in every step."""
    w = start = joined(starts)
    d, steps, gains, ways = d0, [], [], []
    for row in rows:
        u = joined(row) + wd * w
        g0 = np.linalg.norm(u) if not steps else g0  # noqa: F821 - of the first step
        step = d * lr / g0
        gains.append(step * math.fsum(u * np.sum(steps, axis=0)))
        steps.append(step * u)
        ways.append(start - np.sum(steps, axis=0))
        numerator, s = math.fsum(gains), np.sum(steps, axis=0)
        d = max(d, 2 * numerator / np.linalg.norm(s))
        kept = momentum ** np.arange(len(ways), -1, -1.0) * np.array([1, *[1 - momentum] * len(ways)])
        w = average([start, *ways], kept)
        yield apart(starts, {"param": w, "s": s, "start": start}, d=d, numerator=numerator, g0=g0)


def dadapt_adam(
    starts: Values,
    rows: Sequence[Values],
    *,
    lr=1.0,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    wd=0.0,
    d0=1e-6,
    bias_correction=False,
    cautious=False,
) -> Iterator[list[Outcome]]:
    w = joined(starts)
    root, d = math.sqrt(beta2), d0
    scaled, grads, gains = [], [], []
    s = known = np.zeros_like(w)
    for t, row in enumerate(rows, start=1):
        grad = joined(row)
        step = d * lr * (math.sqrt(1 - beta2**t) / (1 - beta1**t) if bias_correction else 1.0)
        gains.append(step * np.dot(grad, s / (np.sqrt(known) + eps)))
        scaled.append(step * grad)
        grads.append(grad)
        exp_avg, known = average(scaled, fading(t, beta1)), average(squared(grads), fading(t, beta2))
        s, numerator = average(scaled, fading(t, root)), float(np.dot(fading(t, root), gains))
        w = w - step * wd * w - mask_apart(starts, exp_avg, grad, cautious) / (np.sqrt(known) + eps)
        d = max(d, numerator / ((1 - root) * np.abs(s).sum()))
        yield apart(starts, {"param": w, "exp_avg": exp_avg, "exp_avg_sq": known, "s": s}, d=d, numerator=numerator)


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


def madgrad(start, grads, *, lr=1e-2, momentum=0.9, eps=1e-6, wd=0.0) -> Iterator[tuple[Outcome, np.ndarray]]:
    """The parameter is the average of all ``z``, and what is left of the start."""
    weights = (lr + eps) * np.sqrt(np.arange(1.0, len(grads) + 1)) * (lr > 0)
    param, pulled, zs = start, [], []
    for t, grad in enumerate(grads, start=1):
        pulled.append(grad + wd * param)
        sums = {"grad_sum": average(pulled, weights[:t]), "grad_sum_sq": average(squared(pulled), weights[:t])}
        zs.append(start - sums["grad_sum"] / (np.cbrt(sums["grad_sum_sq"]) + eps))
        param = momentum**t * start + average(zs, fading(t, momentum))
        yield {"param": param, **sums, "start": start}, param


def ftrl(start, grads, *, lr=1e-3, l1=0.0, wd=0.0, beta=0.0, initial=0.1) -> Iterator[tuple[Outcome, np.ndarray]]:
    """The parameter minimises the sum of all slopes and penalties, those on long ways included."""
    param, pulls = start, []
    for t, grad in enumerate(grads, start=1):
        sums = initial + np.cumsum([0.0 * grad, *squared(grads[:t])], axis=0)
        pulls.append(np.diff(np.sqrt(sums), axis=0)[-1] / lr * param)
        z = average([*grads[:t], *pulls], np.repeat([1.0, -1.0], t))
        far = np.maximum(np.abs(z) - l1, 0.0) / (wd + (beta + np.sqrt(sums[-1])) / lr)
        param = np.where(far > 0, -np.copysign(far, z), 0.0)
        yield {"param": param, "z": z, "grad_sum_sq": sums[-1]}, param


def estimates(rows: Sequence[Values], step: int) -> Values | None:
    """What a rule that takes estimates is given before a step, if anything: in every third, from the second on."""
    return rows[-step] if step % 3 == 1 else None


def sophia(
    starts: Values,
    rows: Sequence[Values],
    *,
    lr=0.06,
    beta1=0.96,
    beta2=0.99,
    rho=0.01,
    eps=1e-12,
    wd=0.0,
    batch_size=1.0,
    estimator="gauss_newton",
    cautious=False,
    sign=1.0,
) -> Iterator[list[Outcome]]:
    params, seen = starts, list[Values]()
    for t, row in enumerate(rows):
        if (given := estimates(rows, t)) is not None:
            seen.append([sign * x if estimator == "hutchinson" else batch_size * x**2 for x in given])
        found: list[Outcome] = []
        for place, param in enumerate(params):
            exp_avg = average([sign * one[place] for one in rows[: t + 1]], fading(t + 1, beta1))
            hessian = average([one[place] for one in seen], fading(len(seen), beta2)) if seen else 0.0 * param
            newton = exp_avg / np.where(hessian > eps, hessian, eps)
            step = np.sign(newton) * np.minimum(np.abs(newton), rho)
            step = masked(step, sign * row[place]) if cautious else step
            found.append({"param": param - lr * wd * param - lr * step, "exp_avg": exp_avg, "hessian": hessian})
        params = [one["param"] for one in found]
        yield found


def each_alone(oracle: Callable[..., Any]) -> Callable[..., Iterator[list[Outcome]]]:
    """An oracle of one tensor, step by step, for all of them."""

    def steps(starts: Values, rows: Sequence[Values], **hypers: Any) -> Iterator[list[Outcome]]:
        tensors = [oracle(x, [row[place] for row in rows], **hypers) for place, x in enumerate(starts)]
        for found in zip(*tensors, strict=True):
            yield [kept for kept, _ in found]

    return steps


ORACLES: Mapping[type[Optimizer], Callable[..., Iterator[list[Outcome]]]] = {
    Adan: alone(adan),
    ADOPT: alone(adopt),
    LARS: alone(lars),
    NAdam: alone(nadam),
    NAdamW: alone(partial(nadam, lr=1e-3, wd=0.01, schedule=False)),
    MARS: alone(mars),
    LAMB: alone(lamb),
    NovoGrad: alone(novograd),
    StableAdamW: alone(stable_adamw),
    Adafactor: alone(adafactor),
    SM3: alone(sm3),
    CAME: alone(came),
    SophiaG: sophia,
    PolyakSGD: polyak_sgd,
    MoMo: momo,
    MoMoAdam: momo_adam,
    DoG: dog,
    DoWG: dowg,
    DAdaptSGD: dadapt_sgd,
    DAdaptAdam: dadapt_adam,
    Prodigy: prodigy,
    Muon: alone(muon),
    FTRL: each_alone(ftrl),
    MADGRAD: each_alone(madgrad),
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
    Case(Adan, {}),
    Case(Adan, {"lr": 0.02, "wd": 0.1}),
    Case(Adan, {"lr": 0.02, "wd": 0.3, "proximal": False}),
    Case(Adan, {"lr": 0.02, "beta1": 0.0, "beta2": 0.5, "beta3": 0.9}),
    Case(Adan, {"lr": 0.05, "beta1": 0.5, "beta2": 0.0, "beta3": 0.0, "eps": 0.1, "wd": 0.3}),
    Case(Adan, {"lr": 0.02, "beta2": 0.98, "eps": 1e-3, "maximize": True}),
    Case(Adan, {"lr": 0.02, "wd": 0.1, "cautious": True}),
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
    Case(LARS, {"lr": 0.05, "momentum": 0.7, "trust": 0.02, "wd": 0.1, "trust_clip": True}),
    Case(LARS, {"lr": 0.05, "momentum": 0.0, "trust": 0.02, "trust_clip": True, "sum_of_norms": True}),
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
    Case(NAdam, {"lr": 0.02, "beta1": 0.8, "momentum_decay": 0.1, "wd": 0.1, "corrected_ahead": False}),
    Case(NAdamW, {}),
    Case(NAdamW, {"lr": 0.02, "wd": 0.1, "corrected_ahead": False}),
    Case(NAdamW, {"lr": 0.02, "wd": 0.0, "beta1": 0.5, "beta2": 0.9, "eps": 0.1, "decay": "independent"}),
    Case(NAdamW, {"lr": 0.02, "wd": 0.1, "schedule": True, "momentum_decay": 0.5}),
    Case(NAdamW, {"lr": 0.02, "wd": 0.1, "corrected_ahead": False, "cautious": True}),
    Case(NAdamW, {"lr": 0.05, "wd": 0.2, "beta1": 0.7, "eps": 1e-3}),
    Case(MARS, {}),
    Case(MARS, {"lr": 0.02, "wd": 0.1}),
    Case(MARS, {"lr": 0.02, "wd": 0.1, "optimize_1d": True}),
    Case(MARS, {"lr": 0.02, "beta1": 0.9, "gamma": 0.3, "optimize_1d": True}),
    Case(MARS, {"lr": 0.02, "beta1": 0.5, "beta2": 0.9, "eps": 0.01, "gamma": 0.0, "wd": 0.3}),
    Case(MARS, {"lr": 0.02, "beta1": 0.0, "beta2": 0.5, "optimize_1d": True}),
    Case(MARS, {"lr": 0.02, "wd": 0.01, "gamma": 0.1, "decay": "independent"}),
    Case(MARS, {"lr": 0.02, "wd": 0.1, "cautious": True, "optimize_1d": True}),
    Case(LAMB, {}),
    Case(LAMB, {"lr": 0.02}),
    Case(LAMB, {"lr": 0.02, "wd": 0.1}),
    Case(LAMB, {"lr": 0.05, "beta1": 0.5, "beta2": 0.9, "eps": 0.1, "wd": 0.3}),
    Case(LAMB, {"lr": 0.02, "beta1": 0.0, "beta2": 0.5}),
    Case(LAMB, {"lr": 0.02, "wd": 0.1, "trust_clip": True}),
    Case(LAMB, {"lr": 0.02, "wd": 0.1, "adaptive": False}),
    Case(LAMB, {"lr": 0.02, "wd": 0.1, "cautious": True}),
    Case(NovoGrad, {}),
    Case(NovoGrad, {"lr": 0.02, "wd": 0.1}),
    Case(NovoGrad, {"lr": 0.02, "beta1": 0.0}),
    Case(NovoGrad, {"lr": 0.02, "beta1": 0.9, "beta2": 0.25, "eps": 1e-6}),
    Case(NovoGrad, {"lr": 0.02, "beta2": 0.0, "eps": 0.5, "wd": 0.3}),
    Case(NovoGrad, {"lr": 0.001, "beta1": 0.7, "beta2": 0.5}),
    Case(NovoGrad, {"lr": 0.02, "wd": 0.1, "grad_averaging": True}),
    Case(NovoGrad, {"lr": 0.02, "beta1": 0.5, "beta2": 0.9, "grad_averaging": True, "cautious": True}),
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
    Case(Adafactor, {"lr": 0.02, "wd": 0.1, "beta2_cap": 0.8}),
    Case(Adafactor, {"lr": 0.02, "momentum": 0.5, "wd": 0.1, "cautious": True}),
    Case(SophiaG, {}),
    Case(SophiaG, {"lr": 0.2, "rho": 0.1, "wd": 0.1, "batch_size": 4.0}),
    Case(SophiaG, {"lr": 0.2, "rho": 1.0, "beta1": 0.5, "beta2": 0.5, "eps": 0.1, "wd": 0.3}),
    Case(SophiaG, {"lr": 0.2, "rho": 0.05, "beta1": 0.0, "beta2": 0.0, "batch_size": 0.25}),
    Case(SophiaG, {"lr": 0.2, "rho": 0.1, "beta2": 0.7, "estimator": "hutchinson", "wd": 0.1}),
    Case(SophiaG, {"lr": 0.2, "rho": 0.1, "beta2": 0.7, "estimator": "hutchinson", "maximize": True}),
    Case(SophiaG, {"lr": 0.2, "rho": 0.1, "beta2": 0.7, "maximize": True, "batch_size": 3.0}),
    Case(SophiaG, {"lr": 0.2, "rho": 0.1, "beta2": 0.7, "wd": 0.1, "cautious": True}),
    Case(SM3, {}),
    Case(SM3, {"lr": 0.02, "wd": 0.1}),
    Case(SM3, {"lr": 0.02, "momentum": 0.0, "wd": 0.1}),
    Case(SM3, {"lr": 0.02, "momentum": 0.5, "beta": 0.9, "wd": 0.3}),
    Case(SM3, {"lr": 0.02, "momentum": 0.0, "beta": 0.0, "eps": 0.1}),
    Case(SM3, {"lr": 0.02, "eps": 1e-8, "maximize": True}),
    Case(SM3, {"lr": 0.02, "momentum": 0.5, "wd": 0.1, "cautious": True}),
    Case(CAME, {}),
    Case(CAME, {"lr": 0.02, "wd": 0.1}),
    Case(CAME, {"lr": 0.02, "beta1": 0.5, "beta2": 0.9, "beta3": 0.5, "wd": 0.3}),
    Case(CAME, {"lr": 0.02, "beta1": 0.9, "beta2": 0.0, "beta3": 0.0, "eps1": 0.01, "eps2": 0.1}),
    Case(CAME, {"lr": 0.02, "beta2": 0.9, "threshold": 0.3, "maximize": True}),
    Case(CAME, {"lr": 0.02, "beta2": 0.9, "threshold": 2.0, "eps2": 0.01}),
    Case(CAME, {"lr": 0.02, "beta1": 0.5, "wd": 0.1, "cautious": True}),
    Case(PolyakSGD, {}),
    Case(PolyakSGD, {"lr": 0.1, "wd": 0.1}),
    Case(PolyakSGD, {"bound": 1.5, "c": 0.5, "eps": 0.1}),
    Case(PolyakSGD, {"lr": 0.02, "bound": 1.5, "positive": True, "wd": 0.3}),
    Case(PolyakSGD, {"lr": 1e-4, "bound": -3.0, "maximize": True}),
    Case(PolyakSGD, {"lr": 0.0, "bound": 1.0, "c": 2.0, "wd": 0.1}),
    Case(MoMo, {}),
    Case(MoMo, {"lr": 0.02}),
    Case(MoMo, {"lr": 0.02, "beta": 0.5, "wd": 0.3, "bound": 1.0}),
    Case(MoMo, {"lr": 0.05, "beta": 0.0, "bound": -1.0}),
    Case(MoMo, {"lr": 0.01, "wd": 0.1, "bound": -5.0, "maximize": True}),
    Case(MoMo, {"lr": 0.02, "wd": 0.1, "cautious": True}),
    Case(MoMoAdam, {}),
    Case(MoMoAdam, {"lr": 0.001, "beta1": 0.8, "wd": 0.1}),
    Case(MoMoAdam, {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 0.1, "wd": 0.3, "bound": 1.0}),
    Case(MoMoAdam, {"lr": 0.1, "beta1": 0.0, "beta2": 0.0, "bound": -1.0}),
    Case(MoMoAdam, {"lr": 0.05, "wd": 0.1, "bound": -5.0, "maximize": True}),
    Case(MoMoAdam, {"lr": 0.1, "wd": 0.1, "cautious": True}),
    Case(DoG, {}),
    Case(DoG, {"reps_rel": 0.1}),
    Case(DoG, {"reps_rel": 0.01, "lr": 0.5, "wd": 0.3}),
    Case(DoG, {"reps_rel": 0.1, "lr": 3.0, "eps": 100.0, "maximize": True}),
    Case(DoG, {"reps_rel": 1e-3, "eps": 0.0, "wd": 0.1}),
    Case(DoG, {"lr": 0.0, "wd": 0.1}),
    Case(DoWG, {}),
    Case(DoWG, {"r0": 1e-3, "wd": 0.1}),
    Case(DoWG, {"r0": 0.1, "lr": 0.5, "eps": 1.0}),
    Case(DoWG, {"r0": 0.01, "lr": 3.0, "eps": 0.0, "wd": 0.3}),
    Case(DoWG, {"r0": 0.01, "maximize": True}),
    Case(DoWG, {"lr": 0.0, "wd": 0.1}),
    Case(DAdaptSGD, {}),
    Case(DAdaptSGD, {"d0": 0.01}),
    Case(DAdaptSGD, {"d0": 0.01, "momentum": 0.0}),
    Case(DAdaptSGD, {"d0": 0.01, "lr": 0.1, "momentum": 0.5, "wd": 0.3}),
    Case(DAdaptSGD, {"d0": 0.1, "lr": 0.02, "wd": 0.1}),
    Case(DAdaptSGD, {"d0": 0.01, "lr": 2.0, "maximize": True}),
    Case(DAdaptAdam, {"beta2": 0.99}),
    Case(DAdaptAdam, {"lr": 0.5}),
    Case(DAdaptAdam, {"d0": 0.01, "lr": 0.1}),
    Case(DAdaptAdam, {"d0": 0.01, "lr": 0.5, "bias_correction": True, "wd": 0.1}),
    Case(DAdaptAdam, {"d0": 0.01, "lr": 0.5, "beta1": 0.5, "beta2": 0.9}),
    Case(DAdaptAdam, {"d0": 0.1, "eps": 0.01, "beta1": 0.0}),
    Case(DAdaptAdam, {"d0": 0.01, "beta2": 0.0, "eps": 0.1, "wd": 0.3}),
    Case(DAdaptAdam, {"d0": 0.01, "lr": 0.1, "wd": 0.1, "cautious": True}),
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
    Case(FTRL, {}),
    Case(FTRL, {"lr": 0.1}),
    Case(FTRL, {"lr": 0.1, "l1": 0.5}),
    Case(FTRL, {"lr": 0.1, "l1": 5.0, "wd": 2.0}),
    Case(FTRL, {"lr": 0.05, "l1": 1.0, "initial": 0.01, "beta": 1.0}),
    Case(FTRL, {"lr": 2.0, "initial": 4.0, "wd": 0.5}),
    Case(FTRL, {"lr": 0.2, "l1": 0.1, "beta": 0.5, "maximize": True}),
    Case(MADGRAD, {}),
    Case(MADGRAD, {"lr": 0.2}),
    Case(MADGRAD, {"lr": 0.2, "wd": 0.1}),
    Case(MADGRAD, {"lr": 0.05, "momentum": 0.0, "wd": 0.3}),
    Case(MADGRAD, {"lr": 0.1, "momentum": 0.5, "eps": 0.1}),
    Case(MADGRAD, {"lr": 0.0, "eps": 0.1, "wd": 0.1}),
    Case(MADGRAD, {"lr": 0.05, "momentum": 0.98, "eps": 1e-3, "wd": 0.1, "maximize": True}),
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

BEYOND = (
    *(
        FTRL,
        MADGRAD,
        NAdam,
        NAdamW,
        Adan,
        ADOPT,
        LARS,
        LAMB,
        NovoGrad,
        StableAdamW,
        MARS,
        Adafactor,
        SophiaG,
        SM3,
        CAME,
    ),
    *(PolyakSGD, MoMo, MoMoAdam, DoG, DoWG, DAdaptSGD, DAdaptAdam, Prodigy, Muon),
    *(ScheduleFreeSGD, ScheduleFreeAdamW),
)
"""The rules that look beyond one element, keep numbers beside elements, or have a place of their own for decay."""

APART = (Shampoo, SOAP)
"""The rules that take matrices apart, with oracles in `test_optim_eigenbases`: SOAP needs gradients of full rank."""


# Gradients, and parameters that they drive ---------------------------------------------------------------------------

STEPS = 20
SHAPES = [(6, 4), (3, 5), (4, 4), (7,), (), (1,), (5, 2, 3), (3, 2, 2), (1, 6), (6, 1), (3, 4), (2, 3), (40, 130)]


LOSSES = np.random.default_rng(1).gamma(1.0, 2.0, size=STEPS)
"""The loss of each step, for the rules that look at it."""


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
    for step, (row, loss) in enumerate(zip(rows, LOSSES, strict=True)):
        if optimizer.rule.estimate and (given := estimates(rows, step)) is not None:
            for param, grad in zip(params, given, strict=True):
                param.grad = Tensor(grad, dtype=dtype)
            optimizer.update_estimate()
        for param, grad in zip(params, row, strict=True):
            param.grad = Tensor(grad, dtype=dtype)
        optimizer.step(loss=loss)
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
    oracle, losses = ORACLES[case.cls], LOSSES
    maximize = hypers.pop("maximize", False)
    if case.cls is SophiaG:  # whose estimates of a maximum are those of a minimum of the negated loss
        hypers["sign"] = -1.0 if maximize else 1.0
    elif maximize:
        rows, losses = [[-grad for grad in row] for row in rows], -losses
    if "losses" in inspect.signature(oracle).parameters:
        hypers["losses"] = losses
    return oracle(starts, rows, **hypers)
