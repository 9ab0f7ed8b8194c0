"""The practical ceiling: a loop in C over a list of arrays, compiled on the fly for this very machine.

It is what one would write by hand for one rule: OpenMP over pieces of the arrays, and ``-ffast-math``, so that it
need not round as IEEE 754 says. Whoever is as fast gives nothing away.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.bench.algorithms import Algorithm

__all__ = ["CLoop", "compiler"]

_SOURCE = """
#include <math.h>
typedef struct { float *restrict p, *restrict g, *restrict m, *restrict v; long count; } Piece;

#define LOOP(NAME, BODY)                                                                       \\
    void NAME(const Piece *pieces, long many, long size, float lr, float c1, float c2) {       \\
        _Pragma("omp parallel for schedule(static) if (size > 32768)")                         \\
        for (long k = 0; k < many; k++) {                                                      \\
            const Piece x = pieces[k];                                                         \\
            float *restrict p = x.p, *restrict g = x.g, *restrict m = x.m, *restrict v = x.v;  \\
            _Pragma("GCC ivdep")                                                               \\
            for (long i = 0; i < x.count; i++) { BODY }                                        \\
        }                                                                                      \\
    }

LOOP(sgd, p[i] -= lr * g[i];)
LOOP(rmsprop, m[i] = 0.9f * m[i] + 0.1f * g[i] * g[i]; p[i] -= lr * g[i] / sqrtf(m[i]);)
LOOP(adam,
    m[i] = 0.9f * m[i] + 0.1f * g[i];
    v[i] = 0.999f * v[i] + 0.001f * g[i] * g[i];
    p[i] -= lr * (m[i] * c1) / (sqrtf(v[i] * c2) + 1e-8f);)
"""

_NAMES = {"SGD": ("sgd", 0.01), "RMSProp": ("rmsprop", 1e-3), "Adam": ("adam", 1e-3)}
"""For the title of an algorithm the function, and the learning rate."""
_PIECE = 1 << 14
"""Elements of an array that a thread takes at a time."""


class CLoop:
    """Steps parameters, given their gradients and their first values."""

    def __init__(self, algorithm: Algorithm, params: list[NDArray[Any]], grads: list[NDArray[Any]]) -> None:
        name, self._lr = _NAMES[algorithm.title]
        self._run = getattr(_library(), name)
        self._t = 0
        states = [[np.zeros_like(param) for _ in range(2)][: algorithm.states] for param in params]
        rows: list[list[int]] = []
        for param, grad, state in zip(params, grads, states, strict=True):
            arrays = [param, grad, *state]
            addresses = [array.ctypes.data for array in arrays] + [0] * (4 - len(arrays))
            for start in range(0, param.size, _PIECE):
                here = [address + 4 * start if address else 0 for address in addresses]
                rows.append([*here, min(_PIECE, param.size - start)])
        self._pieces = np.array(rows, np.int64)
        self._kept = (params, grads, states)
        size = sum(param.size for param in params)
        self._fixed = ctypes.c_void_p(self._pieces.ctypes.data), ctypes.c_long(len(rows)), ctypes.c_long(size)

    def step(self) -> None:
        """One step of all parameters."""
        self._t += 1
        c1, c2 = 1 / (1 - 0.9**self._t), 1 / (1 - 0.999**self._t)
        self._run(*self._fixed, self._lr, c1, c2)

    @staticmethod
    def knows(algorithm: Algorithm) -> bool:
        """Whether there is a loop for it."""
        return algorithm.title in _NAMES


def compiler() -> str | None:
    """A compiler for C, if there is one."""
    return next(
        (found for name in (os.environ.get("CC", ""), "gcc", "cc") if name and (found := shutil.which(name))), None
    )


@cache
def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        source, target = os.path.join(folder, "loop.c"), os.path.join(folder, "loop.so")
        with open(source, "w", encoding="ascii") as file:
            file.write(_SOURCE)
        flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC", "-lm"]
        subprocess.run([compiler() or "cc", source, "-o", target, *flags], check=True, capture_output=True)
        library = ctypes.CDLL(target)
    for name, _ in _NAMES.values():
        function = getattr(library, name)
        function.restype = None
        function.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long, *[ctypes.c_float] * 3]
    return library
