"""Where other libraries give other results under the same name and with the same settings, and why.

Each row is run as those of elsewhere.py are; the difference is what a user meets who changes libraries and nothing
else. Where minima has the other library's form too, elsewhere.py has a row with its settings.
"""

from dataclasses import dataclass

from elsewhere import Row

__all__ = ["APART", "Apart"]


@dataclass(frozen=True, eq=False)
class Apart(Row):
    """An algorithm here, and another one there."""

    why: str = ""
    """What is done differently there, as the end of a sentence that begins with the library's name."""


APART = [
    Apart(
        "SGD(params, lr=0.02, momentum=0.9)",
        "torch.optim.SGD(params, lr=0.02, momentum=0.9)",
        why="sums gradients, while minima averages them, so its steps become up to ten times as long; minima sums "
        "with `dampening=0`",
    ),
    Apart(
        "SGD(params, lr=0.02, momentum=0.9)",
        "keras.optimizers.SGD(0.02, momentum=0.9)",
        why="sums gradients, as PyTorch does",
    ),
    Apart(
        "AdaGrad(params, lr=0.02)",
        "optax.adagrad(0.02)",
        why="starts the sum of squares at 0.1, and the paper at 0; minima does so with `initial=0.1`",
    ),
    Apart(
        "AdaGrad(params, lr=0.02)",
        "keras.optimizers.Adagrad(0.02)",
        why="starts the sum of squares at 0.1 too",
    ),
    Apart(
        "RMSProp(params, lr=0.02, eps=1e-3)",
        "torch.optim.RMSprop(params, lr=0.02, alpha=0.9, eps=1e-3)",
        why="adds `eps` outside the root; minima does so with `eps_inside=False`",
    ),
    Apart(
        "Adam(params, lr=0.02, weight_decay=0.1)",
        "torch.optim.Adam(params, lr=0.02, weight_decay=0.1)",
        why="adds weight decay to the gradient, so it is divided by the root; minima does so with `decay='l2'`",
    ),
    Apart(
        "Adam(params, lr=0.02, eps=1e-3)",
        "keras.optimizers.Adam(0.02, epsilon=1e-3)",
        why="adds `eps` before the bias correction of the average of squares; minima does so with `eps_hat=True`",
    ),
    Apart(
        "Adam(params, lr=0.02, amsgrad=True)",
        "optax.amsgrad(0.02)",
        why="keeps the largest average after bias correction, and thus a large first gradient at full size forever; "
        "minima does so with `max_hat=True`",
    ),
    Apart(
        "NAdam(params, lr=0.02)",
        "optax.nadam(0.02)",
        why="has no schedule of the momentum; nor has minima's `NAdamW`",
    ),
    Apart(
        "NAdam(params, lr=0.02)",
        "keras.optimizers.Nadam(0.02, epsilon=1e-8)",
        why="runs the schedule of the momentum 250 times as fast, as with `momentum_decay=1`",
    ),
    Apart(
        "NAdamW(params, lr=0.02, weight_decay=0.1)",
        "timm.optim.NAdamW(params, lr=0.02, weight_decay=0.1)",
        why="corrects both parts by `1 - beta1**t`, while minima and Optax correct the average by "
        "`1 - beta1**(t + 1)`; minima does as timm with `corrected_ahead=False`",
    ),
    Apart(
        "RAdam(params, lr=0.02, beta2=0.9, eps=1e-3)",
        "optax.radam(0.02, b2=0.9, eps=1e-3)",
        why="adds `eps` after the bias correction of the average of squares; minima does so with `eps_hat=False`",
    ),
    Apart(
        "AdaBelief(params, lr=0.02, beta2=0.9)",
        "timm.optim.AdaBelief(params, lr=0.02, betas=(0.9, 0.9))",
        why="rectifies the step as RAdam does by default; minima does so with `rectify=True`",
    ),
    Apart(
        "ADOPT(params, lr=0.02, weight_decay=0.1)",
        "pytorch_optimizer.ADOPT(params, lr=0.02, weight_decay=0.1, weight_decouple=True)",
        why="clips at `t**0.25`, and the paper at `(t - 1)**0.25`; it also decays in the first step",
    ),
    Apart(
        "ADOPT(params, lr=0.02)",
        "timm.optim.Adopt(params, lr=0.02)",
        why="has another default: it clips at `t**0.333`",
    ),
    Apart(
        "Rprop(params, lr=0.02)",
        "optax.rprop(0.02)",
        why="applies each step one step later; its first step is 0",
    ),
    Apart(
        "LARS(params, lr=0.02, weight_decay=0.1)",
        "timm.optim.Lars(params, lr=0.02, momentum=0.9, weight_decay=0.1)",
        why="adds the norms of gradient and decay, while minima takes the norm of their sum; it keeps the learning "
        "rate out of the buffer",
    ),
    Apart(
        "LAMB(params, lr=0.02)",
        "timm.optim.Lamb(params, lr=0.02)",
        why="clips all gradients to a norm of 1 by default, and omits the ratio for parameters without weight decay; "
        "minima does so with `max_norm=1.0` and `adaptive=False`",
    ),
    Apart(
        "LAMB(params, lr=0.02)",
        "pytorch_optimizer.Lamb(params, lr=0.02)",
        why="is the first version of the paper: the norm of a parameter is bounded by 10, and the average of "
        "squares has no bias correction",
    ),
    Apart(
        "NovoGrad(params, lr=0.02)",
        "optax.novograd(0.02)",
        why="has other defaults: `beta1=0.9, beta2=0.25, eps=1e-6`",
    ),
    Apart(
        "Adafactor(params)",
        "optax.adafactor(0.01)",
        why="factors only matrices with at least 128 rows and columns, and has no relative step",
    ),
    Apart(
        "Adafactor(params, lr=0.01, weight_decay=0.1)",
        "pytorch_optimizer.AdaFactor(params, lr=0.01, weight_decay=0.1)",
        why="ignores `lr` and takes relative steps, averages its steps, and scales decay like the step",
    ),
    Apart(
        "Prodigy(params, d0=0.01, eps=1e-4)",
        "prodigyopt.Prodigy(params, d0=0.01, eps=1e-4)",
        why="multiplies `eps` by the new estimate, and the paper by the estimate of the step",
    ),
    Apart(
        "Adan(params, lr=0.02, eps=1e-8)",
        "optax.adan(0.02, eps_root=0)",
        why="weights differences of gradients by `1 - b2`, and the paper, in the same notation, by `b2`",
    ),
    Apart(
        "LaProp(params, lr=0.02, weight_decay=0.1)",
        "timm.optim.LaProp(params, lr=0.02, weight_decay=0.1)",
        why="applies weight decay after the step, and divides `eps` by the bias correction",
    ),
    Apart(
        "MARS(params, lr=0.02)",
        "pytorch_optimizer.MARS(params, lr=0.02, betas=(0.95, 0.99))",
        why="corrects the first gradient with a previous gradient of 0",
    ),
    Apart(
        "QHAdam(params, lr=0.02)",
        "pytorch_optimizer.QHAdam(params, lr=0.02)",
        why="is plain Adam by default; the paper recommends `nu1=0.7` and `beta1=0.995`",
    ),
]
