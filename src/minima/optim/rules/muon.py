"""Muon: momentum, orthogonalised for each matrix."""

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
    """Steps along the orthogonalised momentum of a matrix: all its singular values are brought close to 1.

    ::

        exp_avg = momentum*exp_avg + (1 - momentum)*grad
        x = momentum*exp_avg + (1 - momentum)*grad
        x = x/maximum(norm(x), eps)
        for _ in range(5):
            a = x@x.T
            x = 3.4445*x + (-4.775*a + 2.0315*(a@a))@x
        step = lr*sqrt(maximum(1, param.shape[0]/param.shape[1]))*x
        param = (1 - lr*weight_decay)*param - step

    The gradient of a weight matrix has a few strong directions and many weak ones, which other optimizers hardly
    follow. Here all directions have the same weight. The Newton-Schulz iteration, of fifth degree, takes ``ns_steps``
    rounds. It runs in the precision of the parameter, and on the transpose if there are more rows than columns. A
    tensor with more than two axes is treated as a matrix: its first axis by all others. A tensor that contains several
    matrices, such as all projections of an attention layer, should be split into several parameters.

    Other parameters take the steps of `AdamW`, with the hyperparameters that begin with ``adam_``. Embeddings and the
    last layer should do so too: ``groups={"embed*": {"matrix": False}, "head*": {"matrix": False}}``.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate of matrices, at least 0.
        momentum: Exponential decay rate of the average of gradients, in [0, 1).
        weight_decay: Weight decay, at least 0: each step first shrinks the parameter by the factor
            ``1 - lr * weight_decay``, and with AdamW's steps by ``1 - adam_lr * weight_decay``. Also accepted as
            ``wd``.
        eps: Lower bound of the norm, at least 0; prevents division by 0 for a matrix without gradients.
        adam_lr: Learning rate of AdamW's steps, at least 0.
        adam_beta1: Exponential decay rate of the average of gradients in AdamW's steps, in [0, 1).
        adam_beta2: Exponential decay rate of the average of squared gradients in AdamW's steps, in [0, 1).
        adam_eps: Added to the root in AdamW's steps, at least 0.
        ns_steps: Number of rounds of the iteration, from 1 to 99.
        scale: Factor of the step of a matrix. ``"original"``: ``sqrt(maximum(1, rows/columns))``.
            ``"match_rms_adamw"``: ``0.2*sqrt(maximum(rows, columns))``, so that AdamW's learning rate and weight decay
            can be used unchanged. None: 1.
        nesterov: Whether to step along ``momentum*exp_avg + (1 - momentum)*grad``, Nesterov's look-ahead, instead of
            ``exp_avg``.
        matrix: Whether a parameter with two axes or more is treated as a matrix; if not, it takes AdamW's steps. If
            ``matrix`` is not given for a parameter whose name suggests an embedding or the last layer, there is a
            warning.
        in_bfloat16: Whether the iteration is computed in bfloat16, as in ``torch.optim.Muon``: ``x``, its norm, ``a``,
            and the factor of the last product are rounded to bfloat16. This changes a step by up to 3%.

    Keeps one array per parameter, ``exp_avg``; with AdamW's steps a second one, ``exp_avg_sq``.

    Source: Jordan et al., *Muon: An optimizer for hidden layers in neural networks*, 2024, an essay with code; Liu et
    al., *Muon is Scalable for LLM Training*, 2025, for ``"match_rms_adamw"``; AdamW as in `AdamW`.

    Differs from PyTorch: ``torch.optim.Muon`` accepts only parameters with two axes, and is this with
    ``in_bfloat16=True``; ``scale`` is its ``adjust_lr_fn``. Differs from Optax: there the first axis of a matrix is the
    inputs, as in JAX's layers, and ``exp_avg`` has a bias correction.

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
