"""Muon: momentum, of which every matrix takes a step that is as long in all directions."""

from collections.abc import Callable
from typing import Any

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import bfloat16, maximum, norm, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["Muon"]

_EMBEDDINGS = r"(?i)embed|(^|\.)(wte|wpe|tok\w*|(\w+_)?head)(\.|$)|^(\w+\.)?(classifier|fc|output|shared)\.weight$"
"""Names of embeddings and last layers. The last four are those only near the root of a model: deeper down, as in
``layer.0.output.dense``, they are hidden matrices."""


def _flattened(x: Any, steps: int, rounded: Callable[[Any], Any]) -> Any:
    """The matrix with its singular values brought to about 1: those above 1% of its norm end between 0.68 and 1.2."""
    for _ in range(steps):
        a = rounded(x @ x.T)
        x = rounded(3.4445 * x + rounded(-4.775 * a + 2.0315 * (a @ a)) @ x)
    return x


def _as_it_is(x: Any) -> Any:
    return x


class Muon(Optimizer):
    """Steps along the momentum of a matrix, with all of its singular values brought close to 1.

    ::

        exp_avg = momentum*exp_avg + (1 - momentum)*grad
        x = momentum*exp_avg + (1 - momentum)*grad
        x = x/maximum(norm(x), eps)
        for _ in range(5):
            a = x@x.T
            x = 3.4445*x + (-4.775*a + 2.0315*(a@a))@x
        step = lr*sqrt(maximum(1, param.shape[0]/param.shape[1]))*x
        param = (1 - lr*weight_decay)*param - step

    A gradient of a weight matrix has a few strong directions and many weak ones, which the step of any other rule
    hardly follows. Here all count alike. The iteration, of Newton and Schulz and of fifth degree, takes ``ns_steps``
    rounds; it runs in the precision of the parameter, and on the transpose where there are more rows than columns. A
    tensor of more than two axes is the matrix of its first axis by all others. A tensor that holds several matrices,
    such as the projections of an attention layer in one, should be several parameters.

    What is no matrix takes the steps of `AdamW`, with the settings that begin with ``adam_``. So should embeddings and
    the last layer: ``groups={"embed*": {"matrix": False}, "head*": {"matrix": False}}``.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate of matrices, at least 0.
        momentum: Exponential decay rate of the average of gradients, in [0, 1).
        weight_decay: Weight decay, at least 0: each step first shrinks the parameter by the factor
            ``1 - lr * weight_decay``, and with AdamW's steps by ``1 - adam_lr * weight_decay``. Also accepted as
            ``wd``.
        eps: What the norm counts as at least, at least 0; prevents division by 0 for a matrix without gradients.
        adam_lr: Learning rate of AdamW's steps, at least 0.
        adam_beta1: Exponential decay rate of the average of gradients in AdamW's steps, in [0, 1).
        adam_beta2: Exponential decay rate of the average of squared gradients in AdamW's steps, in [0, 1).
        adam_eps: Added to the root in AdamW's steps, at least 0.
        ns_steps: How often the iteration is run, from 1 to 99.
        scale: What the step of a matrix is multiplied by: ``"original"``, ``sqrt(maximum(1, rows/columns))``;
            ``"match_rms_adamw"``, ``0.2*sqrt(maximum(rows, columns))``, with which AdamW's learning rate and weight
            decay can be used as they are; None, 1.
        nesterov: Whether to step along ``momentum*exp_avg + (1 - momentum)*grad``, a look ahead, instead of
            ``exp_avg``.
        matrix: Whether a parameter of two axes or more is a matrix; if not, it takes AdamW's steps. A parameter whose
            name tells of an embedding or of the last layer gets a warning where nothing is said of it.
        in_bfloat16: Whether the iteration is computed in bfloat16, as by ``torch.optim.Muon``: ``x``, its norm, ``a``,
            and the factor of the last product are rounded to it. It changes a step by up to 3%.

    Keeps one array per parameter, ``exp_avg``; with AdamW's steps a second one, ``exp_avg_sq``.

    Source: Jordan et al., *Muon: An optimizer for hidden layers in neural networks*, 2024, an essay with code; Liu et
    al., *Muon is Scalable for LLM Training*, 2025, for ``"match_rms_adamw"``; AdamW as in `AdamW`.

    Differs from PyTorch: ``torch.optim.Muon`` takes parameters of two axes only, and is this with
    ``in_bfloat16=True``; ``scale`` is its ``adjust_lr_fn``. Differs from Optax: there matrices have the
    inputs first, as JAX's layers keep them, and ``exp_avg`` is corrected.

    >>> from minima import Tensor
    >>> from minima.optim import Muon
    >>> w = Tensor([[3.0, 0.0], [0.0, -0.5]], requires_grad=True)
    >>> optimizer = Muon([w], lr=0.1, weight_decay=0)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w
    Tensor([[ 2.857733 ,  0.       ],
            [ 0.       , -0.3110527]], requires_grad=True)
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    momentum: Hyper = hyper(default=0.95, low=0, below=1)
    weight_decay: Hyper = hyper(default=0.1, low=0)
    eps: Hyper = hyper(default=1e-7, low=0)
    adam_lr: Hyper = hyper(default=1e-3, low=0, kw_only=True)
    adam_beta1: Hyper = hyper(default=0.9, low=0, below=1, kw_only=True)
    adam_beta2: Hyper = hyper(default=0.999, low=0, below=1, kw_only=True)
    adam_eps: Hyper = hyper(default=1e-8, low=0, kw_only=True)
    ns_steps: int = hyper(default=5, choices=range(1, 100), kw_only=True)
    scale: str | None = hyper(default="original", choices=("original", "match_rms_adamw", None), kw_only=True)
    nesterov: bool = hyper(default=True, kw_only=True)
    matrix: bool = hyper(default=True, kw_only=True, doubted=_EMBEDDINGS)
    in_bfloat16: bool = hyper(default=False, kw_only=True)

    @staticmethod
    def update(
        param, grad, exp_avg, exp_avg_sq,
        *, lr, momentum, weight_decay, eps, adam_lr, adam_beta1, adam_beta2, adam_eps, ns_steps, scale, nesterov,
        matrix, in_bfloat16, t,
    ):  # fmt: skip
        if not matrix or param.ndim < 2:
            exp_avg = adam_beta1 * exp_avg + (1 - adam_beta1) * grad
            exp_avg_sq = adam_beta2 * exp_avg_sq + (1 - adam_beta2) * grad**2
            step = exp_avg / (1 - adam_beta1**t) / (sqrt(exp_avg_sq / (1 - adam_beta2**t)) + adam_eps)
            return (1 - adam_lr * weight_decay) * param - adam_lr * step, exp_avg, exp_avg_sq
        exp_avg = momentum * exp_avg + (1 - momentum) * grad
        x = momentum * exp_avg + (1 - momentum) * grad if nesterov else exp_avg
        rows, columns = param.shape
        rounded = bfloat16 if in_bfloat16 else _as_it_is
        x = rounded(x)
        x = rounded(x / maximum(rounded(norm(x)), eps))
        x = _flattened(x.T, ns_steps, rounded).T if rows > columns else _flattened(x, ns_steps, rounded)
        size = {"original": sqrt(maximum(1, rows / columns)), "match_rms_adamw": 0.2 * sqrt(maximum(rows, columns))}
        step = lr * size.get(scale, 1) * x
        return (1 - lr * weight_decay) * param - step, exp_avg, exp_avg_sq
