"""Schedule-Free AdamW: Schedule-Free SGD with Adam's scaling of gradients."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import PerTensor
from minima.optim.language.vocabulary import maximum, minimum, sqrt, where
from minima.optim.optimizer import Optimizer

__all__ = ["ScheduleFreeAdamW"]


class ScheduleFreeAdamW(Optimizer):
    """Takes Adam's steps on ``z``, with gradients at a point between ``z`` and the average ``x`` of all ``z``.

    ::

        lr_t = lr*minimum(1, t/warmup_steps)
        lr_max = maximum(lr_max, lr_t)
        weight = t**r*lr_max**weight_lr_power
        weight_sum = weight_sum + weight
        c = where(weight_sum > 0, weight/weight_sum, 0)
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        u = grad/(sqrt(v_hat) + eps) + weight_decay*param
        param = (1 - c)*param + c*z + lr_t*(beta1*(1 - c) - 1)*u
        z = z - lr_t*u

    In training, the parameter is ``y = (1 - beta1)*z + beta1*x``, where ``x`` is the average of all ``z``, each with
    the ``weight`` of its step. The average replaces a falling learning rate, and gradients at a point near the average
    replace momentum. The number of steps need not be known in advance.

    **The weights to evaluate and to keep are** ``x``, **which the parameters hold after** ``optimizer.eval()``; for the
    next step, ``optimizer.train()`` brings back ``y``. ``with optimizer.averaged():`` puts ``x`` into the parameters
    for the length of the block. Running statistics, as of batch normalisation, belong to ``y``: before evaluating
    ``x``, run some batches with the model in training mode.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step of ``z``, whatever the scale of the gradient. Keep it
            constant: apart from ``warmup_steps``, no schedule is needed.
        beta1: Weight of the average ``x`` in ``y``, where gradients are computed, in (0, 1).
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1).
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: this share of the parameter ``y`` is added to the scaled gradient. Also
            accepted as ``wd``.
        warmup_steps: Number of steps in which the learning rate rises to ``lr``, at least 0.
        r: Power of ``t`` in the weight of a step, at least 0: later steps have more weight.
        weight_lr_power: Power of the largest learning rate so far in the weight of a step, at least 0: steps of the
            warmup have less weight.

    Keeps two arrays per parameter, ``exp_avg_sq`` and ``z``. ``z`` starts as the parameter; ``state_dtype`` does not
    apply to it. Also keeps two numbers, ``lr_max`` and ``weight_sum``, in float64.

    Source: Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky, *The Road Less Scheduled*, NeurIPS 2024, Algorithm 1.
    Defaults, ``r``, ``weight_lr_power`` and the bias correction of ``exp_avg_sq`` are those of the authors' package,
    schedulefree.

    PyTorch has no such algorithm. Differs from schedulefree, whose ``AdamWScheduleFree`` is the same to rounding: there
    an optimizer starts in the mode of `eval`, and a group shares ``t``, ``lr_max`` and ``weight_sum``; here each
    parameter has its own.

    >>> from minima import Tensor
    >>> from minima.optim import ScheduleFreeAdamW
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = ScheduleFreeAdamW([w], lr=0.25)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> optimizer.eval()
    >>> w, optimizer.z[0]
    (Tensor([ 0.64392656, -1.633588  ], requires_grad=True), Tensor([ 0.5378531, -1.5171758]))
    """

    lr: Hyper = hyper(default=2.5e-3, low=0)
    beta1: Hyper = hyper(default=0.9, above=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    warmup_steps: Hyper = hyper(default=0.0, low=0, switch=True)
    r: Hyper = hyper(default=0.0, low=0)
    weight_lr_power: Hyper = hyper(default=2.0, low=0)

    @staticmethod
    def update(
        param, grad, exp_avg_sq, z="param", lr_max: PerTensor = 0.0, weight_sum: PerTensor = 0.0,
        *, lr, beta1, beta2, eps, weight_decay, warmup_steps, r, weight_lr_power, t,
    ):  # fmt: skip
        lr_t = lr * minimum(1, t / warmup_steps) if warmup_steps else lr
        lr_max = maximum(lr_max, lr_t)
        weight = t**r * lr_max**weight_lr_power
        weight_sum = weight_sum + weight
        c = where(weight_sum > 0, weight / weight_sum, 0)
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad**2
        v_hat = exp_avg_sq / (1 - beta2**t)
        u = grad / (sqrt(v_hat) + eps) + weight_decay * param
        param = (1 - c) * param + c * z + lr_t * (beta1 * (1 - c) - 1) * u
        z = z - lr_t * u
        return param, exp_avg_sq, z, lr_max, weight_sum

    @staticmethod
    def weights_to_evaluate(param, z, *, beta1):
        """``x``, of ``y`` and ``z``."""
        return param + (1 - 1 / beta1) * (z - param)

    @staticmethod
    def weights_to_train(param, z, *, beta1):
        """``y``, of ``x`` and ``z``."""
        return param + (1 - beta1) * (z - param)
