"""Schedule-Free SGD: gradient descent that averages its weights, and needs no schedule and no end of training."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import PerTensor
from minima.optim.language.vocabulary import maximum, minimum, where
from minima.optim.optimizer import Optimizer

__all__ = ["ScheduleFreeSGD"]


class ScheduleFreeSGD(Optimizer):
    """Takes plain steps on ``z``, and gradients between ``z`` and the average ``x`` of all ``z`` so far.

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
    with the ``weight`` of its step. A learning rate that falls to 0 does for the last weights what averaging does for
    ``x`` at every step: so nobody has to say when training ends.

    **The weights to evaluate and to keep are** ``x``, **which the parameters hold after** ``optimizer.eval()``; for the
    next step, ``optimizer.train()`` brings back ``y``. ``with optimizer.averaged():`` lends ``x`` for a while. Running
    statistics, as of batch normalisation, belong to ``y``: before ``x`` is evaluated, let some batches pass in training
    mode of the model.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: how far ``z`` moves for a gradient of 1. It stays as it is; schedules of it, but
            for ``warmup_steps``, are what this does without.
        momentum: Share of the average ``x`` in the weights ``y`` at which gradients are taken, in (0, 1).
        weight_decay: Weight decay, at least 0: this share of the parameter, which is ``y``, is added to the gradient.
            Also accepted as ``wd``.
        warmup_steps: Number of steps in which the learning rate rises to ``lr``, at least 0.
        r: Power of ``t`` in the weight of a step, at least 0: later steps count for more.
        weight_lr_power: Power of the largest learning rate so far in the weight of a step, at least 0: steps of the
            warm-up count for less.

    Keeps one array per parameter, ``z``, which begins as the parameter and is kept as it is computed, whatever
    ``state_dtype`` says; and two numbers, ``lr_max`` and ``weight_sum``, in float64.

    Source: Defazio, Yang, Mehta, Mishchenko, Khaled and Cutkosky, *The Road Less Scheduled*, NeurIPS 2024, Algorithm 1,
    for AdamW. Defaults, ``r`` and ``weight_lr_power`` are those of the authors' package, schedulefree.

    PyTorch has no such algorithm. Differs from schedulefree, whose ``SGDScheduleFree`` is the same to rounding: there
    an optimizer begins in the mode of `eval`, and ``t``, ``lr_max`` and ``weight_sum`` are those of a group, here of
    each parameter.

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
