"""The algorithms that look further than one element: at a tensor's norm, its rows and columns, all parameters."""

from math import sqrt
from typing import Any

import numpy as np

from minima.bench.algorithms import Algorithm, Other
from minima.optim import LAMB, Adafactor, AdamW, Muon, NovoGrad, Prodigy, StableAdamW

__all__ = ["FURTHER"]

_EPS = float(np.finfo(np.float32).eps)
_D0 = 1e-2


def _adam(p: Any, g: Any, m: Any, v: Any, t: int, eps: float = 1e-8) -> tuple[Any, ...]:
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g**2
    return m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + eps), m, v


def _lamb(p: Any, g: Any, m: Any, v: Any, t: int) -> tuple[Any, ...]:
    step, m, v = _adam(p, g, m, v, t, eps=1e-6)
    step = step + 0.01 * p
    return p - 1e-3 * np.linalg.norm(p) / np.linalg.norm(step) * step, m, v


def _novograd(p: Any, g: Any, m: Any, size: Any, t: int) -> tuple[Any, ...]:
    now = np.sum(g**2)
    size = now if t == 1 else 0.98 * size + 0.02 * now
    m = 0.95 * m + (g / (np.sqrt(size) + 1e-8) + 0.01 * p)
    return p - 1e-3 * m, m, size


def _stableadamw(p: Any, g: Any, m: Any, v: Any, t: int) -> tuple[Any, ...]:
    beta1 = 0.9 * (1 - 0.9 ** (t - 1)) / (1 - 0.9**t)
    beta2 = 0.99 * (1 - 0.99 ** (t - 1)) / (1 - 0.99**t)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    lr = 1e-3 / np.maximum(1, np.sqrt((g**2 / np.maximum(v, 1e-16)).mean()))
    return (1 - lr * 0.01) * p - lr * m / (np.sqrt(v) + 1e-8), m, v


def _cautious(p: Any, g: Any, m: Any, v: Any, t: int) -> tuple[Any, ...]:
    step, m, v = _adam(p, g, m, v, t)
    mask = step * g > 0
    return (1 - 1e-5) * p - 1e-3 * step * mask / max(float(mask.mean()), 1e-3), m, v


def _adafactor(p: Any, g: Any, rows: Any, columns: Any, variance: Any, t: int) -> tuple[Any, ...]:
    rate = t**-0.8
    if p.ndim < 2:
        v = variance = (1 - rate) * variance + rate * g**2
    else:
        rows = (1 - rate) * rows + rate * np.mean(g**2, axis=1, keepdims=True)
        columns = (1 - rate) * columns + rate * np.mean(g**2, axis=0, keepdims=True)
        v = rows * columns / np.maximum(rows.mean(), _EPS)
    u = g / np.sqrt(np.maximum(v, _EPS**2))
    u = u / np.maximum(1, np.sqrt((u**2).mean()))
    lr = min(1e-2, 1 / sqrt(t)) * np.maximum(1e-3, np.sqrt((p**2).mean()))
    return p - lr * u, rows, columns, variance


def _prodigy(p: Any, g: Any, m: Any, v: Any, s: Any, start: Any, d: Any, numerator: Any, t: int) -> tuple[Any, ...]:
    if t == 1:
        start, d = p, _D0
    keep = sqrt(0.999)
    numerator = keep * numerator + d / _D0 * d * np.sum(g * (start - p))
    s = keep * s + d / _D0 * d * g
    m = 0.9 * m + 0.1 * d * g
    v = 0.999 * v + 0.001 * d**2 * g**2
    p = p - d * m / (np.sqrt(v) + d * 1e-8)
    return p, m, v, s, start, max(d, numerator / np.sum(np.abs(s))), numerator


def _muon(p: Any, g: Any, m: Any, t: int) -> tuple[Any, ...]:
    m = 0.95 * m + 0.05 * g
    x = 0.95 * m + 0.05 * g
    rows, columns = p.shape
    x = (x.T if rows > columns else x) / max(np.linalg.norm(x), 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * (a @ a)) @ x
    step = 1e-3 * sqrt(max(1, rows / columns)) * (x.T if rows > columns else x)
    return (1 - 1e-4) * p - step, m


def _averaged(p: Any, g: Any, m: Any, v: Any, average: Any, t: int) -> tuple[Any, ...]:
    g = g * min(1.0, 1 / np.linalg.norm(g))
    step, m, v = _adam(p, g, m, v, t)
    if t == 1:
        average = p
    p = (1 - 1e-5) * p - 1e-3 * step
    return p, m, v, 0.999 * average + 0.001 * p


# Where the libraries differ by default: eps and the first weight of an average (Adafactor; here PyTorch's).
FURTHER = {
    "lamb": Algorithm(
        "LAMB",
        _lamb,
        2,
        (LAMB, {"lr": 1e-3, "weight_decay": 0.01}),
        looks_at="tensor",
        fewest=40,
        # The first version of the paper: its exp_avg_sq is not corrected, and its norm of the parameter at most 10.
        others={"pytorch_optimizer": Other("Lamb", {"lr": 1e-3, "weight_decay": 0.01, "weight_decouple": False}, None)},
    ),
    "novograd": Algorithm(
        "NovoGrad",
        _novograd,
        1,
        (NovoGrad, {"lr": 1e-3, "weight_decay": 0.01}),
        looks_at="tensor",
        numbers=1,
        fewest=24,
    ),
    "stableadamw": Algorithm("StableAdamW", _stableadamw, 2, (StableAdamW, {"lr": 1e-3}), looks_at="tensor", fewest=36),
    "cautious": Algorithm(
        "cautious AdamW", _cautious, 2, (AdamW, {"lr": 1e-3, "cautious": True}), looks_at="tensor", fewest=36
    ),
    "adafactor": Algorithm(
        "Adafactor",
        _adafactor,
        0,
        (Adafactor, {"lr": 1e-2, "eps1": _EPS, "floors": True}),
        ("Adafactor", {"lr": 1e-2}),
        looks_at="tensor",
        numbers=3,
        fewest=24,
    ),
    "prodigy": Algorithm(
        "Prodigy",
        _prodigy,
        4,
        (Prodigy, {"d0": _D0}),
        looks_at="model",
        numbers=2,
        fewest=40,
        others={"prodigyopt": Other("Prodigy", {"d0": _D0})},
    ),
    "muon": Algorithm(
        "Muon",
        _muon,
        1,
        (Muon, {"lr": 1e-3}),
        ("Muon", {"lr": 1e-3}),
        looks_at="matrix",
        fewest=28,  # and what the products move
        torch_close=0.1,  # it multiplies in bfloat16
    ),
    "averaged": Algorithm(
        "clip, AdamW, EMA",
        _averaged,
        3,
        (AdamW, {"lr": 1e-3, "max_norm": 1.0, "ema_decay": 0.999}),
        looks_at="model",
        fewest=40,
    ),
}
"""By their names on the command line."""
