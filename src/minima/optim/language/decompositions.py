"""Decompositions of matrices by LAPACK, through NumPy, PyTorch and JAX.

They are computed in float64, and rounded to the precision of the matrix: an eigenvalue in float32 is known to 1e-7 of
the largest one, which leaves nothing of those a millionth as large, and rules take roots of them. Arrays of JAX, which
rules are run on by hand, stay in their own precision.
"""

import sys
from typing import Any

import numpy as np

__all__ = ["eigh", "qr", "sort_columns"]


def eigh(x: Any) -> tuple[Any, Any]:
    """The eigenvalues of a symmetric matrix, as one row, ascending, and the eigenvectors, as columns."""
    values, vectors = _decomposed("eigh", x)
    return values[None] if values.ndim < 2 else values, vectors


def qr(x: Any) -> tuple[Any, Any]:
    """An orthogonal matrix, and an upper triangular one, of which a square matrix is the product."""
    return _decomposed("qr", x)


def sort_columns(x: Any, by: Any) -> Any:
    """The columns of a matrix by what ``by`` has for each, the largest first; of equals, the first stays first."""
    library = _library(x)
    if library == "torch":
        return x[:, sys.modules["torch"].argsort(-by.flatten(), stable=True)]
    order = sys.modules["jax"].numpy.argsort if library == "jax" else np.argsort
    return x[:, order(-by.ravel(), kind="stable") if library == "numpy" else order(-by.ravel())]


def _decomposed(name: str, x: Any) -> tuple[Any, Any]:
    library = _library(x)
    if library == "jax":
        found = getattr(sys.modules["jax"].numpy.linalg, name)(x)
        return found[0], found[1]
    if library == "torch":
        torch = sys.modules["torch"]
        if not bool(x.isfinite().all()):  # LAPACK would complain, or not come to an end
            return torch.full_like(x[:1] if name == "eigh" else x, torch.nan), torch.full_like(x, torch.nan)
        wide = torch.float32 if x.device.type == "mps" else torch.float64
        first, second = getattr(torch.linalg, name)(x.to(wide))
        return first.to(x.dtype), second.to(x.dtype)
    if not np.isfinite(x).all():
        return np.full_like(x[:1] if name == "eigh" else x, np.nan), np.full_like(x, np.nan)
    first, second = getattr(np.linalg, name)(x.astype(np.float64))
    return first.astype(x.dtype), second.astype(x.dtype)


def _library(x: Any) -> str:
    name = type(x).__module__.partition(".")[0]
    return "jax" if name in ("jax", "jaxlib") else name if name == "torch" else "numpy"
