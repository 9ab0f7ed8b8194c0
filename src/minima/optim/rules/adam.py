"""Adam: momentum, divided by the recent size of the gradients of each parameter."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, maximum, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["Adam"]


class Adam(Optimizer):
    """Steps along a running average of the gradient, divided by the root of a running average of its square.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        m_hat = exp_avg/(1 - beta1**t)
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        param = param - lr*m_hat/(sqrt(v_hat) + eps)

    ``t`` counts the steps that the parameter has taken, including this one. In the long run, constant gradients move
    the parameter by ``lr`` per step, and a single gradient after many zeros by ``lr * (1 - beta1) / sqrt(1 - beta2)``.
    For eps = 0 and ``beta1**2 < beta2``, no sequence of gradients moves it by more than
    ``lr * (1 - beta1) / sqrt((1 - beta2) * (1 - beta1**2 / beta2))``, which is 7.3 ``lr`` for the default betas.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient. The default is
            small, for fine-tuning; 1e-3 is the usual start.
        beta1: Exponential decay rate of the average of gradients, in [0, 1).
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1).
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.
        amsgrad: Whether steps are divided by the largest ``exp_avg_sq`` so far, so that a rare large gradient is not
            forgotten: ``v_hat = max_exp_avg_sq/(1 - beta2**t)``, where
            ``max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq)``.
        eps_hat: Whether eps is added to the root before bias correction, as in TensorFlow, Keras and scikit-learn:
            ``param - lr*sqrt(1 - beta2**t)/(1 - beta1**t)*exp_avg/(sqrt(exp_avg_sq) + eps)``. In the first steps, eps
            then has up to ``1 / sqrt(1 - beta2)`` times the weight.
        eps_root: Added under the root, at least 0, as in Optax: ``sqrt(v_hat + eps_root) + eps``, which is
            differentiable where gradients are 0. None adds nothing.
        max_hat: Whether ``amsgrad`` takes the maximum after bias correction, as in Optax: ``v_hat = max_exp_avg_sq``,
            where ``max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq/(1 - beta2**t))``. The correction is large in
            the first steps, so their gradients are then remembered at full size. ``eps_hat`` has no effect with it.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``; with ``amsgrad`` a third, ``max_exp_avg_sq``.

    Source: Kingma and Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, Algorithm 1; Loshchilov and Hutter,
    *Decoupled Weight Decay Regularization*, ICLR 2019, Algorithm 2, for the weight decay, which here is scaled by
    ``lr`` too; Reddi, Kale and Kumar, *On the Convergence of Adam and Beyond*, ICLR 2018, Algorithm 2, for ``amsgrad``,
    there without bias correction. ``eps_hat`` is the epsilon-hat at the end of Kingma and Ba's section 2.

    Differs from PyTorch: with weight decay, this is ``torch.optim.AdamW`` up to rounding (``torch.optim.Adam`` adds its
    ``weight_decay`` to the gradient). The default of ``lr`` is 1e-5, in PyTorch 1e-3. The betas are two arguments.
    ``amsgrad`` is PyTorch's; with ``max_hat`` it is ``optax.amsgrad``.

    >>> from minima import Tensor
    >>> from minima.optim import Adam
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Adam([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 0.8004122, -1.8001665], requires_grad=True), Tensor([ 0.35999998, -0.74      ]))
    """

    lr: Hyper = hyper(default=1e-5, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    amsgrad: bool = hyper(default=False, kw_only=True)
    eps_hat: bool = hyper(default=False, kw_only=True)
    eps_root: Hyper = hyper(default=None, low=0, kw_only=True)
    max_hat: bool = hyper(default=False, kw_only=True)

    @staticmethod
    def update(
        param, grad, exp_avg, exp_avg_sq, max_exp_avg_sq,
        *, lr, beta1, beta2, eps, amsgrad, eps_hat, eps_root, max_hat, t,
    ):  # fmt: skip
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad**2
        if amsgrad:
            max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq / (1 - beta2**t) if max_hat else exp_avg_sq)
        v = max_exp_avg_sq if amsgrad else exp_avg_sq
        is_corrected = amsgrad and max_hat
        if eps_hat and not is_corrected:
            alpha = lr * sqrt(1 - beta2**t) / (1 - beta1**t)
            v = v if eps_root is None else v + eps_root
            return param - alpha * direction(exp_avg) / (sqrt(v) + eps), exp_avg, exp_avg_sq, max_exp_avg_sq
        m_hat = exp_avg / (1 - beta1**t)
        v_hat = v if is_corrected else v / (1 - beta2**t)
        v_hat = v_hat if eps_root is None else v_hat + eps_root
        return param - lr * direction(m_hat) / (sqrt(v_hat) + eps), exp_avg, exp_avg_sq, max_exp_avg_sq
