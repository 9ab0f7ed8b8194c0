"""Schedule-Free SGD: gradient descent with averaged weights, which needs no learning rate schedule."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import PerTensor
from minima.optim.language.vocabulary import maximum, minimum, where
from minima.optim.optimizer import Optimizer

__all__ = ["ScheduleFreeSGD"]


class ScheduleFreeSGD(Optimizer):
    """Takes plain steps on ``z``, with gradients at a point between ``z`` and the average ``x`` of all ``z``.

    ::

        lr_t = lr*minimum(1, t/warmup_steps)
        lr_max = maximum(lr_max, lr_t)
        weight = t**r*lr_max**weight_lr_power
        weight_sum = weight_sum + weight
        c = where(weight_sum > 0, weight/weight_sum, 0)
        u = grad + weight_decay*param
        param = (1 - c)*param + c*z + lr_t*(momentum*(1 - c) - 1)*u
        z = z - lr_t*u

    In training, the parameter is ``y = (1 - momentum)*z + momentum*x``, where ``x`` is the average of all ``z``, each
    with the ``weight`` of its step. A learning rate that falls to 0 removes noise from the last weights; averaging does
    the same for ``x`` at every step. So the number of steps need not be known in advance.

    **The weights to evaluate and to keep are** ``x``, **which the parameters hold after** ``optimizer.eval()``; for the
    next step, ``optimizer.train()`` brings back ``y``. ``with optimizer.averaged():`` puts ``x`` into the parameters
    for the length of the block. Running statistics, as of batch normalisation, belong to ``y``: before evaluating
    ``x``, run some batches with the model in training mode.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: how far ``z`` moves for a gradient of 1. Keep it constant: apart from
            ``warmup_steps``, no schedule is needed.
        momentum: Weight of the average ``x`` in ``y``, where gradients are computed, in (0, 1).
        weight_decay: Weight decay, at least 0: this share of the parameter ``y`` is added to the gradient. Also
            accepted as ``wd``.
        warmup_steps: Number of steps in which the learning rate rises to ``lr``, at least 0.
        r: Power of ``t`` in the weight of a step, at least 0: later steps have more weight.
        weight_lr_power: Power of the largest learning rate so far in the weight of a step, at least 0: steps of the
            warmup have less weight.

    Keeps one array per parameter, ``z``, which starts as the parameter; ``state_dtype`` does not apply to it. Also
    keeps two numbers, ``lr_max`` and ``weight_sum``, in float64.

    Source: Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky, *The Road Less Scheduled*, NeurIPS 2024, Algorithm 1,
    for AdamW. Defaults, ``r`` and ``weight_lr_power`` are those of the authors' package, schedulefree.

    PyTorch has no such algorithm. Differs from schedulefree, whose ``SGDScheduleFree`` is the same to rounding: there
    an optimizer starts in the mode of `eval`, and a group shares ``t``, ``lr_max`` and ``weight_sum``; here each
    parameter has its own.

    >>> from minima import Tensor
    >>> from minima.optim import ScheduleFreeSGD
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = ScheduleFreeSGD([w], lr=0.25)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> optimizer.eval()
    >>> w, optimizer.z[0]
    (Tensor([ 0.375, -0.75 ], requires_grad=True), Tensor([ 0.25, -0.5 ]))
    """

    lr: Hyper = hyper(default=1.0, low=0)
    momentum: Hyper = hyper(default=0.9, above=0, below=1)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    warmup_steps: Hyper = hyper(default=0.0, low=0, switch=True)
    r: Hyper = hyper(default=0.0, low=0)
    weight_lr_power: Hyper = hyper(default=2.0, low=0)

    @staticmethod
    def update(
        param, grad, z="param", lr_max: PerTensor = 0.0, weight_sum: PerTensor = 0.0,
        *, lr, momentum, weight_decay, warmup_steps, r, weight_lr_power, t,
    ):  # fmt: skip
        lr_t = lr * minimum(1, t / warmup_steps) if warmup_steps else lr
        lr_max = maximum(lr_max, lr_t)
        weight = t**r * lr_max**weight_lr_power
        weight_sum = weight_sum + weight
        c = where(weight_sum > 0, weight / weight_sum, 0)
        u = grad + weight_decay * param
        param = (1 - c) * param + c * z + lr_t * (momentum * (1 - c) - 1) * u
        z = z - lr_t * u
        return param, z, lr_max, weight_sum

    @staticmethod
    def weights_to_evaluate(param, z, *, momentum):
        """``x``, of ``y`` and ``z``."""
        return param + (1 - 1 / momentum) * (z - param)

    @staticmethod
    def weights_to_train(param, z, *, momentum):
        """``y``, of ``x`` and ``z``."""
        return param + (1 - momentum) * (z - param)
