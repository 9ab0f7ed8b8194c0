"""Where other libraries make something else under the same name and with the same settings, and why.

Each row is taken as those of elsewhere.py are; the difference is what a user meets who changes libraries and nothing
else. Where the other library's form can be had here too, elsewhere.py has a row that says how.
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
        why="sums gradients where ours averages them, so that its steps become up to ten times as long; "
        "`dampening=0` sums here",
    ),
    Apart(
        "SGD(params, lr=0.02, momentum=0.9)",
        "keras.optimizers.SGD(0.02, momentum=0.9)",
        why="sums gradients, as PyTorch does",
    ),
    Apart(
        "AdaGrad(params, lr=0.02)",
        "optax.adagrad(0.02)",
        why="starts the sum of squares at 0.1, where the paper starts at 0; `initial=0.1` does here",
    ),
    Apart(
        "AdaGrad(params, lr=0.02)",
        "keras.optimizers.Adagrad(0.02)",
        why="starts the sum of squares at 0.1 too",
    ),
    Apart(
        "RMSProp(params, lr=0.02, eps=1e-3)",
        "torch.optim.RMSprop(params, lr=0.02, alpha=0.9, eps=1e-3)",
        why="adds `eps` behind the root; `eps_inside=False` does here",
    ),
    Apart(
        "Adam(params, lr=0.02, weight_decay=0.1)",
        "torch.optim.Adam(params, lr=0.02, weight_decay=0.1)",
        why="adds weight decay to the gradient, where it is divided by the root; `decay='l2'` does here",
    ),
    Apart(
        "Adam(params, lr=0.02, eps=1e-3)",
        "keras.optimizers.Adam(0.02, epsilon=1e-3)",
        why="adds `eps` before the correction of the average of squares; `eps_hat=True` does here",
    ),
    Apart(
        "Adam(params, lr=0.02, amsgrad=True)",
        "optax.amsgrad(0.02)",
        why="keeps the largest corrected average, and so a first gradient that is large at its full size for ever; "
        "`max_hat=True` does here",
    ),
    Apart(
        "NAdam(params, lr=0.02)",
        "optax.nadam(0.02)",
        why="has no schedule of the momentum; `NAdamW` has none here either",
    ),
    Apart(
        "NAdam(params, lr=0.02)",
        "keras.optimizers.Nadam(0.02, epsilon=1e-8)",
        why="lets the schedule of the momentum run 250 times as fast, as if `momentum_decay` were 1",
    ),
    Apart(
        "NAdamW(params, lr=0.02, weight_decay=0.1)",
        "timm.optim.NAdamW(params, lr=0.02, weight_decay=0.1)",
        why="corrects both parts by `1 - beta1**t`, where ours, as Optax, corrects the average by "
        "`1 - beta1**(t + 1)`; `corrected_ahead=False` does here",
    ),
    Apart(
        "RAdam(params, lr=0.02, beta2=0.9, eps=1e-3)",
        "optax.radam(0.02, b2=0.9, eps=1e-3)",
        why="adds `eps` behind the correction of the average of squares; `eps_hat=False` does here",
    ),
    Apart(
        "AdaBelief(params, lr=0.02, beta2=0.9)",
        "timm.optim.AdaBelief(params, lr=0.02, betas=(0.9, 0.9))",
        why="rectifies the step as RAdam does unless it is told not to; `rectify=True` does here",
    ),
    Apart(
        "ADOPT(params, lr=0.02, weight_decay=0.1)",
        "pytorch_optimizer.ADOPT(params, lr=0.02, weight_decay=0.1, weight_decouple=True)",
        why="clips at `t**0.25` where the paper has the step before, and decays in the first step already",
    ),
    Apart(
        "ADOPT(params, lr=0.02)",
        "timm.optim.Adopt(params, lr=0.02)",
        why="clips at `t**0.333` unless it is told otherwise",
    ),
    Apart(
        "Rprop(params, lr=0.02)",
        "optax.rprop(0.02)",
        why="takes the step that it computed one step earlier; its first step is 0",
    ),
    Apart(
        "LARS(params, lr=0.02, weight_decay=0.1)",
        "timm.optim.Lars(params, lr=0.02, momentum=0.9, weight_decay=0.1)",
        why="adds the norms of gradient and decay, where ours takes the norm of their sum, and keeps the learning rate "
        "out of the buffer",
    ),
    Apart(
        "LAMB(params, lr=0.02)",
        "timm.optim.Lamb(params, lr=0.02)",
        why="clips all gradients to a norm of 1 unless it is told not to, and leaves the ratio out where there is no "
        "weight decay; `max_norm=1.0` and `adaptive=False` do here",
    ),
    Apart(
        "LAMB(params, lr=0.02)",
        "pytorch_optimizer.Lamb(params, lr=0.02)",
        why="is the first version of the paper: the norm of a parameter counts as 10 at most, and the average of "
        "squares is not corrected",
    ),
    Apart(
        "NovoGrad(params, lr=0.02)",
        "optax.novograd(0.02)",
        why="has other defaults: `beta1=0.9, beta2=0.25, eps=1e-6`",
    ),
    Apart(
        "Adafactor(params)",
        "optax.adafactor(0.01)",
        why="factors only what has 128 rows and columns, and has no relative step",
    ),
    Apart(
        "Adafactor(params, lr=0.01, weight_decay=0.1)",
        "pytorch_optimizer.AdaFactor(params, lr=0.01, weight_decay=0.1)",
        why="ignores `lr` for a relative step, keeps an average of steps, and scales decay as it scales the step",
    ),
    Apart(
        "Prodigy(params, d0=0.01, eps=1e-4)",
        "prodigyopt.Prodigy(params, d0=0.01, eps=1e-4)",
        why="has the new estimate beside `eps`, where the paper has the one that the step is taken with",
    ),
    Apart(
        "Adan(params, lr=0.02, eps=1e-8)",
        "optax.adan(0.02, eps_root=0)",
        why="weighs differences of gradients by `1 - b2` where the paper has, in these words, `b2`",
    ),
    Apart(
        "LaProp(params, lr=0.02, weight_decay=0.1)",
        "timm.optim.LaProp(params, lr=0.02, weight_decay=0.1)",
        why="takes weight decay behind the step, and divides `eps` by the correction",
    ),
    Apart(
        "MARS(params, lr=0.02)",
        "pytorch_optimizer.MARS(params, lr=0.02, betas=(0.95, 0.99))",
        why="corrects the first gradient by one of 0 before it",
    ),
    Apart(
        "QHAdam(params, lr=0.02)",
        "pytorch_optimizer.QHAdam(params, lr=0.02)",
        why="is plain Adam by its defaults, where the paper recommends `nu1=0.7` and `beta1=0.995`",
    ),
]
