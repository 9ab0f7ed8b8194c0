"""The algorithms of ``torch.optim`` that are rules of minima in other words: one table an algorithm."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from minima import optim
from minima.torch.dialect import CAPTURABLE, FLAG, Dialect, Entry, is_zero

__all__ = ["DIALECTS", "INSTEAD"]

_MAXIMIZE = Entry("maximize", False, ("maximize",), kw_only=True, text="Whether to ascend instead of descend.")
_FOREACH = Entry("foreach", None, kw_only=True)
_FUSED = Entry("fused", None, kw_only=True)
_CAPTURABLE = Entry(CAPTURABLE, False, kw_only=True, text="Whether a CUDA graph may record steps, as `Optimizer` says.")
_DIFFERENTIABLE = Entry(
    "differentiable", False, kw_only=True, refused="steps are taken by code that autograd does not see"
)
_BETAS = Entry(
    "betas",
    (0.9, 0.999),
    ("beta1", "beta2"),
    text="Exponential decay rates of the averages of gradients and of squares.",
)
_PENALTY = "``weight_decay * param`` is added to each gradient."
_DECOUPLED = "Whether weight decay shrinks the parameter itself, as in AdamW, instead of being part of the gradient."
_WAYS = {False: "l2", True: "decoupled"}


def _placed(entry: Entry) -> Entry:
    """The same argument where PyTorch takes it by position too."""
    return replace(entry, kw_only=False)


def _nesterov(group: Mapping[str, Any]) -> str:
    if group["nesterov"] and (is_zero(group["momentum"]) or not is_zero(group["dampening"])):
        got = f"momentum={group['momentum']!r} and dampening={group['dampening']!r}"
        return f"nesterov must go with momentum, and without dampening; got {got}"
    return ""


def _clipped(group: Mapping[str, Any]) -> str:
    threshold = group["d"]
    return f"d must be at least 1; got {threshold!r}" if isinstance(threshold, int | float) and threshold < 1 else ""


def _adam(name: str, weight_decay: float, decay: str, *later: Entry, extends: str = "") -> Dialect:
    table = (
        Entry(
            "lr", 0.001, ("lr",), text="Learning rate: about the size of a step, whatever the scale of the gradient."
        ),
        _BETAS,
        Entry("eps", 1e-8, ("eps",), text="Added to the root of the average of squares."),
        Entry("weight_decay", weight_decay, ("weight_decay",), text="Weight decay."),
        Entry("amsgrad", False, ("amsgrad",), text="Whether to divide by the largest average of squares so far."),
        *later,
    )
    order = f"lr betas eps weight_decay amsgrad maximize foreach capturable differentiable fused {FLAG}"
    rule, fixed = optim.AdamW if name == "AdamW" else optim.Adam, {"eps_hat": False, "eps_root": None, "max_hat": False}
    return Dialect(name, rule, table, fixed=fixed, decay=decay, is_foreign=True, order=order, extends=extends)


_ALL = (
    Dialect(
        "SGD",
        optim.SGD,
        (
            Entry("lr", 0.001, ("lr",), text="Learning rate: how far a parameter moves for a step of 1."),
            Entry(
                "momentum",
                0,
                ("momentum",),
                text="Decay factor of the sum of gradients; 0 means no sum.",
            ),
            Entry(
                "dampening",
                0,
                ("dampening",),
                text="Share of each gradient, except the first, that is not added to the sum.",
            ),
            Entry(
                "weight_decay",
                0,
                ("wd",),
                text=_PENALTY,
            ),
            Entry(
                "nesterov",
                False,
                ("nesterov",),
                text="Whether to use Nesterov's look-ahead: ``grad + momentum * momentum_buffer``.",
            ),
            _MAXIMIZE,
            _FOREACH,
            _DIFFERENTIABLE,
            _FUSED,
        ),
        state={"u": "momentum_buffer"},
        fixed={"dampen_first": False},
        idle={"dampen_first": "dampening"},
        decay="l2",
        is_foreign=True,
        counts=False,
        check_together=_nesterov,
    ),
    Dialect(
        "Adagrad",
        optim.AdaGrad,
        (
            Entry("lr", 0.01, ("lr",), text="Learning rate: the size of the first step, and the scale of all."),
            Entry(
                "lr_decay",
                0,
                ("lr_decay",),
                absent=0.0,
                text="``lr`` is divided by ``1 + lr_decay * (step - 1)``.",
            ),
            Entry(
                "weight_decay",
                0,
                ("wd",),
                text=_PENALTY,
            ),
            Entry("initial_accumulator_value", 0, ("initial",), text="Initial value of the sum of squared gradients."),
            Entry("eps", 1e-10, ("eps",), text="Added to the root of the sum."),
            _placed(_FOREACH),
            _MAXIMIZE,
            _DIFFERENTIABLE,
            _FUSED,
        ),
        state={"cache": "sum"},
        order="lr lr_decay eps weight_decay initial_accumulator_value foreach maximize differentiable fused",
        fixed={"eps_inside": False},
        decay="l2",
        is_foreign=True,
        begins_with_state=True,
    ),
    Dialect(
        "RMSprop",
        optim.RMSProp,
        (
            Entry(
                "lr", 0.01, ("lr",), text="Learning rate: about the size of a step, whatever the scale of the gradient."
            ),
            Entry("alpha", 0.99, ("rho",), text="Exponential decay rate of the average of squares."),
            Entry("eps", 1e-8, ("eps",), text="Added to the root of the average."),
            Entry(
                "weight_decay",
                0,
                ("wd",),
                text=_PENALTY,
            ),
            Entry(
                "momentum",
                0,
                ("momentum",),
                words={0: None},
                text="Decay factor of the sum of steps; 0 means no sum.",
            ),
            Entry(
                "centered",
                False,
                ("centered",),
                text="Whether to divide by the standard deviation of gradients.",
            ),
            *map(_placed, (_CAPTURABLE, _FOREACH, _MAXIMIZE, _DIFFERENTIABLE)),
        ),
        state={"cache": "square_avg"},
        order="lr momentum alpha eps centered weight_decay capturable foreach maximize differentiable",
        fixed={"eps_inside": False},
        decay="l2",
        is_foreign=True,
    ),
    Dialect(
        "Adadelta",
        optim.AdaDelta,
        (
            Entry("lr", 1.0, ("lr",), text="Learning rate: a factor of all steps."),
            Entry("rho", 0.9, ("rho",), text="Exponential decay rate of the averages of squared gradients and steps."),
            Entry(
                "eps", 1e-6, ("eps",), text="Added under both roots; its own root is about the size of the first step."
            ),
            Entry("weight_decay", 0, ("weight_decay",), text=_PENALTY),
            _placed(_FOREACH),
            _CAPTURABLE,
            _MAXIMIZE,
            _DIFFERENTIABLE,
        ),
        order="lr rho eps weight_decay maximize capturable foreach differentiable",
        decay="l2",
        is_foreign=True,
    ),
    Dialect(
        "Rprop",
        optim.Rprop,
        (
            Entry("lr", 0.01, ("lr",), text="Initial step size of each parameter."),
            Entry(
                "etas",
                (0.5, 1.2),
                ("eta_minus", "eta_plus"),
                text="Factors of the step size if the gradient has changed its sign, and if it has not.",
            ),
            Entry("step_sizes", (1e-6, 50), ("step_min", "step_max"), text="The smallest and the largest step size."),
            _CAPTURABLE,
            _FOREACH,
            _MAXIMIZE,
            _DIFFERENTIABLE,
        ),
        state={"prev_grad": "prev"},
        order="lr etas step_sizes foreach maximize differentiable capturable",
        fixed={"weight_decay": 0.0},
        is_foreign=True,
    ),
    Dialect(
        "ASGD",
        optim.ASGD,
        (
            Entry("lr", 0.01, ("lr",), text="Initial learning rate: how far a parameter moves for a gradient of 1."),
            Entry("lambd", 1e-4, ("lambd",), text="Decay of the parameter towards 0 and of the learning rate."),
            Entry("alpha", 0.75, ("alpha",), text="Exponent of the decay of the learning rate."),
            Entry("t0", 1e6, ("t0",), text="Number of steps before averaging begins."),
            Entry("weight_decay", 0, ("weight_decay",), text=_PENALTY),
            *map(_placed, (_FOREACH, _MAXIMIZE, _DIFFERENTIABLE, _CAPTURABLE)),
        ),
        state={"average": "ax"},
        decay="l2",
        is_foreign=True,
    ),
    _adam(
        "Adam",
        0,
        "l2",
        _FOREACH,
        _MAXIMIZE,
        _CAPTURABLE,
        _DIFFERENTIABLE,
        _FUSED,
        Entry(FLAG, False, ("decay",), kw_only=True, words=_WAYS, text=_DECOUPLED),
    ),
    _adam(
        "AdamW",
        0.01,
        "decoupled",
        _MAXIMIZE,
        _FOREACH,
        _CAPTURABLE,
        _DIFFERENTIABLE,
        _FUSED,
        Entry(FLAG, True, ("decay",), kw_only=True, words=_WAYS, is_argument=False),
        extends="Adam",
    ),
    Dialect(
        "Adamax",
        optim.AdaMax,
        (
            Entry(
                "lr",
                2e-3,
                ("lr",),
                text="Learning rate: the size of the first step, whatever the scale of the gradient.",
            ),
            Entry(
                "betas",
                (0.9, 0.999),
                ("beta1", "beta2"),
                text="Decay rates of the average of gradients and of the largest gradient.",
            ),
            Entry("eps", 1e-8, ("eps",), text="Added to the size of each gradient."),
            Entry("weight_decay", 0, ("weight_decay",), text=_PENALTY),
            _placed(_FOREACH),
            _MAXIMIZE,
            _DIFFERENTIABLE,
            _CAPTURABLE,
        ),
        fixed={"eps_inside": True},
        decay="l2",
        is_foreign=True,
    ),
    Dialect(
        "NAdam",
        optim.NAdam,
        (
            Entry(
                "lr", 2e-3, ("lr",), text="Learning rate: about the size of a step, whatever the scale of the gradient."
            ),
            _BETAS,
            Entry("eps", 1e-8, ("eps",), text="Added to the root of the average of squares."),
            Entry("weight_decay", 0, ("weight_decay",), text="Weight decay."),
            Entry(
                "momentum_decay",
                4e-3,
                ("momentum_decay",),
                text="Speed at which momentum grows towards the first beta.",
            ),
            Entry(FLAG, False, ("decay",), words=_WAYS, text=_DECOUPLED),
            _FOREACH,
            _MAXIMIZE,
            _CAPTURABLE,
            _DIFFERENTIABLE,
        ),
        order=f"lr betas eps weight_decay momentum_decay {FLAG} maximize foreach capturable differentiable",
        fixed={"schedule": True, "corrected_ahead": True},
        decay="l2",
        is_foreign=True,
    ),
    Dialect(
        "RAdam",
        optim.RAdam,
        (
            Entry(
                "lr", 1e-3, ("lr",), text="Learning rate: about the size of a step, whatever the scale of the gradient."
            ),
            _BETAS,
            Entry("eps", 1e-8, ("eps",), text="Added to the root of the average of squares, before bias correction."),
            Entry("weight_decay", 0, ("weight_decay",), text="Weight decay."),
            Entry(FLAG, False, ("decay",), words=_WAYS, text=_DECOUPLED),
            _FOREACH,
            _MAXIMIZE,
            _CAPTURABLE,
            _DIFFERENTIABLE,
        ),
        order=f"lr betas eps weight_decay maximize foreach capturable {FLAG} differentiable",
        fixed={"threshold": 5.0, "eps_hat": True, "degenerated_to_sgd": True},
        decay="l2",
        is_foreign=True,
    ),
    Dialect(
        "Adafactor",
        optim.Adafactor,
        (
            Entry("lr", 0.01, ("lr",), text="Learning rate: the largest length of a step relative to the parameter."),
            Entry("beta2_decay", -0.8, ("decay_rate",), text="The newest gradient has the weight ``t**beta2_decay``."),
            Entry(
                "eps",
                (None, 1e-3),
                ("eps1", "eps2"),
                derived=lambda param: torch.finfo(param.dtype).eps,
                text="Lower bounds of the averages and of the size of the parameter; None means that of the dtype.",
            ),
            Entry("d", 1.0, ("threshold",), text="Largest root mean square of an update."),
            Entry("weight_decay", 0.0, ("weight_decay",), text="Weight decay."),
            _FOREACH,
            _MAXIMIZE,
        ),
        fixed={
            "momentum": None,
            "relative_step": True,
            "scale_parameter": True,
            "scale_decay": False,
            "floors": True,
            "beta2_cap": None,
        },
        is_foreign=True,
        is_batched=True,
        unfit=lambda param: "must be real, as PyTorch's Adafactor has it" if param.is_complex() else "",
        check_together=_clipped,
    ),
    Dialect(
        "Muon",
        optim.Muon,
        (
            Entry(
                "lr",
                1e-3,
                ("lr",),
                text="Learning rate: the step of a matrix before the factor ``adjust_lr_fn``.",
            ),
            Entry("weight_decay", 0.1, ("weight_decay",), text="Weight decay."),
            Entry("momentum", 0.95, ("momentum",), text="Exponential decay rate of the average of gradients."),
            Entry("nesterov", True, ("nesterov",), text="Whether to use Nesterov's look-ahead."),
            Entry(
                "ns_coefficients",
                (3.4445, -4.775, 2.0315),
                refused="the iteration has these three numbers",
                text="The three coefficients of the iteration.",
            ),
            Entry("eps", 1e-7, ("eps",), text="Lower bound of the norm of a matrix."),
            Entry("ns_steps", 5, ("ns_steps",), text="Number of rounds of the iteration."),
            Entry(
                "adjust_lr_fn",
                None,
                ("scale",),
                words={None: "original"},
                text='What a step is multiplied by: ``"original"`` or None, or ``"match_rms_adamw"``.',
            ),
        ),
        state={"exp_avg": "momentum_buffer"},
        fixed={
            "adam_lr": 1e-3,
            "adam_beta1": 0.9,
            "adam_beta2": 0.999,
            "adam_eps": 1e-8,
            "matrix": True,
            "in_bfloat16": True,
        },
        is_foreign=True,
        counts=False,
        unfit=lambda param: (
            "" if param.dim() == 2 else "must be a matrix; adapt(minima.optim.Muon) takes all others too"
        ),
    ),
)

DIALECTS = {dialect.name: dialect for dialect in _ALL}
"""The algorithms of ``torch.optim``, by their names there."""

INSTEAD = {"RMSProp": "RMSprop", "AdaGrad": "Adagrad", "AdaDelta": "Adadelta", "AdaMax": "Adamax"}
"""Rules that PyTorch spells in another way."""
