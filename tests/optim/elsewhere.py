"""The same algorithms in other libraries, with the settings that make them equal: one table for tests and pages.

A row holds two constructor calls as a user would write them. Both sides take the same steps on one problem, whose
gradients depend on the parameters, grow, shrink, vanish, spike and change their signs. A new library is a function, and
a line of LIBRARIES.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from minima import Tensor, optim

os.environ["KERAS_BACKEND"] = "torch"  # Keras reads it when it is imported

STEPS = 20


@dataclass(frozen=True, eq=False)
class Row:
    """An algorithm here, and the same elsewhere."""

    ours: str
    theirs: str
    state: dict[str, str] = field(default_factory=dict)
    """Names of our state, each with its name there; empty where a library does not show its state by names."""
    off: float = 1e-14
    """How far they may be off, relative to the largest entry: more where a library keeps a number in float32."""

    @property
    def rule(self) -> str:
        return self.ours.partition("(")[0]

    @property
    def library(self) -> "Library":
        return LIBRARIES[self.theirs.partition(".")[0]]


EXP_AVG = {"exp_avg": "exp_avg"}
DELTAS = {"square_avg": "square_avg", "acc_delta": "acc_delta"}
MOMENTS = {"exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq"}
BELIEF = {"exp_avg": "exp_avg", "exp_avg_var": "exp_avg_var"}
MIXED = {**MOMENTS, "exp_avg_slow": "exp_avg_slow"}
INFINITY = {"exp_avg": "exp_avg", "exp_inf": "exp_inf"}
NESTEROV = {**MOMENTS, "mu_product": "mu_product"}
FACTORS = {"row_var": "row_var", "col_var": "col_var", "variance": "variance"}
SQUARES = {"exp_avg_sq": "exp_avg_sq"}
SUMS = {"grad_sum": "s", "grad_sum_sq": "grad_sum_sq"}
DIFFERENCES = {**MOMENTS, "exp_avg_diff": "exp_avg_diff"}
RESIDUALS = {
    **EXP_AVG,
    "row_var": "exp_avg_sq_row",
    "col_var": "exp_avg_sq_col",
    "variance": "exp_avg_sq",
    "res_row": "exp_avg_res_row",
    "res_col": "exp_avg_res_col",
}

ROWS = [
    Row("SGD(params, lr=0.02)", "torch.optim.SGD(params, lr=0.02)"),
    Row(
        "SGD(params, lr=0.02, momentum=0.9, dampening=0)",
        "torch.optim.SGD(params, lr=0.02, momentum=0.9)",
        {"u": "momentum_buffer"},
    ),
    Row(
        "SGD(params, lr=0.02, momentum=0.9, dampening=0, nesterov=True)",
        "torch.optim.SGD(params, lr=0.02, momentum=0.9, nesterov=True)",
        {"u": "momentum_buffer"},
    ),
    Row(
        "SGD(params, lr=0.02, momentum=0.9, dampening=0, wd=0.2, decay='l2')",
        "torch.optim.SGD(params, lr=0.02, momentum=0.9, weight_decay=0.2)",
        {"u": "momentum_buffer"},
    ),
    Row(
        "SGD(params, lr=0.02, momentum=0.9, dampening=0.3, dampen_first=False)",
        "torch.optim.SGD(params, lr=0.02, momentum=0.9, dampening=0.3)",
        {"u": "momentum_buffer"},
    ),
    Row(
        "SGD(params, lr=0.02, momentum=0.9, dampening=0, maximize=True)",
        "torch.optim.SGD(params, lr=0.02, momentum=0.9, maximize=True)",
        {"u": "momentum_buffer"},
    ),
    Row("SGD(params, lr=0.02)", "optax.sgd(0.02)"),
    Row("SGD(params, lr=0.02, momentum=0.9, dampening=0)", "optax.sgd(0.02, momentum=0.9)"),
    Row(
        "SGD(params, lr=0.02, momentum=0.9, dampening=0, nesterov=True)",
        "optax.sgd(0.02, momentum=0.9, nesterov=True)",
    ),
    Row("SGD(params, lr=0.02, max_norm=1.0)", "optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.02))"),
    Row(
        "SGD(params, lr=0.02, momentum=0.9, wd=0.2)",
        "optax.chain(optax.ema(0.9, debias=False), optax.add_decayed_weights(0.2), optax.scale_by_learning_rate(0.02))",
    ),
    Row("SGD(params, lr=0.02, momentum=0.9, dampening=0)", "keras.optimizers.SGD(0.02, momentum=0.9)"),
    Row(
        "SGD(params, lr=0.02, momentum=0.9, dampening=0, nesterov=True)",
        "keras.optimizers.SGD(0.02, momentum=0.9, nesterov=True)",
    ),
    Row(
        "SGD(params, lr=0.02, momentum=0.9, dampening=0)",
        "sklearn.neural_network.MLPRegressor(solver='sgd', learning_rate_init=0.02, momentum=0.9, "
        "nesterovs_momentum=False)",
    ),
    Row(
        "SGD(params, lr=0.02, momentum=0.9, dampening=0, nesterov=True)",
        "sklearn.neural_network.MLPRegressor(solver='sgd', learning_rate_init=0.02, momentum=0.9)",
    ),
    Row(
        "AdaGrad(params, lr=0.02, eps=1e-10, eps_inside=False)",
        "torch.optim.Adagrad(params, lr=0.02)",
        {"cache": "sum"},
    ),
    Row(
        "AdaGrad(params, lr=0.02, eps=0.01, eps_inside=False, initial=0.3, lr_decay=0.2, wd=0.2, decay='l2')",
        "torch.optim.Adagrad(params, lr=0.02, eps=0.01, initial_accumulator_value=0.3, lr_decay=0.2, weight_decay=0.2)",
        {"cache": "sum"},
    ),
    Row("AdaGrad(params, lr=0.02, eps=0)", "torch.optim.Adagrad(params, lr=0.02, eps=0)", {"cache": "sum"}),
    Row("AdaGrad(params, lr=0.02, initial=0.1)", "optax.adagrad(0.02)"),
    Row(
        "QHM(params, lr=0.02)",
        "pytorch_optimizer.QHM(params, lr=0.02, momentum=0.999, nu=0.7)",
        {"exp_avg": "momentum_buffer"},
    ),
    Row(
        "QHM(params, lr=0.02, momentum=0.9, nu=0.4, weight_decay=0.1)",
        "pytorch_optimizer.QHM(params, lr=0.02, momentum=0.9, nu=0.4, weight_decay=0.1, weight_decouple=True)",
        {"exp_avg": "momentum_buffer"},
    ),
    Row(
        "QHM(params, lr=0.02, momentum=0.9, nu=0.9, weight_decay=0.1, decay='l2')",
        "pytorch_optimizer.QHM(params, lr=0.02, momentum=0.9, nu=0.9, weight_decay=0.1)",
        {"exp_avg": "momentum_buffer"},
    ),
    Row("AdaGrad(params, lr=0.02)", "optax.adagrad(0.02, initial_accumulator_value=0, eps=1e-7)"),
    Row("AdaGrad(params, lr=0.02, initial=0.1)", "keras.optimizers.Adagrad(0.02)"),
    Row(
        "RMSProp(params, lr=0.02, rho=0.99, eps=1e-8, eps_inside=False)",
        "torch.optim.RMSprop(params, lr=0.02)",
        {"cache": "square_avg"},
    ),
    Row(
        "RMSProp(params, lr=0.02, eps=0.01, eps_inside=False, wd=0.2, decay='l2')",
        "torch.optim.RMSprop(params, lr=0.02, alpha=0.9, eps=0.01, weight_decay=0.2)",
        {"cache": "square_avg"},
    ),
    Row(
        "RMSProp(params, lr=0.02, rho=0.99, eps=1e-8, eps_inside=False, centered=True, momentum=0.9)",
        "torch.optim.RMSprop(params, lr=0.02, centered=True, momentum=0.9)",
        {"cache": "square_avg", "grad_avg": "grad_avg", "momentum_buffer": "momentum_buffer"},
    ),
    Row(
        "RMSProp(params, lr=0.02, eps=0.01, eps_inside=False, momentum=0.8, wd=0.2, decay='l2')",
        "torch.optim.RMSprop(params, lr=0.02, alpha=0.9, eps=0.01, momentum=0.8, weight_decay=0.2)",
        {"cache": "square_avg", "momentum_buffer": "momentum_buffer"},
    ),
    Row(
        "RMSProp(params, lr=0.02, eps=0, rho=0.7, centered=True)",
        "torch.optim.RMSprop(params, lr=0.02, eps=0, alpha=0.7, centered=True)",
        {"cache": "square_avg", "grad_avg": "grad_avg"},
    ),
    Row("RMSProp(params, lr=0.02, eps=1e-8)", "optax.rmsprop(0.02)"),
    Row(
        "RMSProp(params, lr=0.02, rho=0.5, eps=0.1, wd=0.3)",
        "optax.chain(optax.scale_by_rms(decay=0.5, eps=0.1), optax.add_decayed_weights(0.3), "
        "optax.scale_by_learning_rate(0.02))",
    ),
    Row(
        "RMSProp(params, lr=0.02, eps=1e-8, centered=True, momentum=0.9)",
        "optax.rmsprop(0.02, centered=True, momentum=0.9)",
    ),
    Row("RMSProp(params, lr=0.02, eps=1e-8, eps_inside=False)", "optax.rmsprop(0.02, eps_in_sqrt=False)"),
    Row("RMSProp(params, lr=0.02)", "keras.optimizers.RMSprop(0.02)"),
    Row(
        "RMSProp(params, lr=0.02, centered=True, momentum=0.9)",
        "keras.optimizers.RMSprop(0.02, centered=True, momentum=0.9)",
    ),
    Row("AdaDelta(params)", "torch.optim.Adadelta(params)", DELTAS),
    Row(
        "AdaDelta(params, lr=0.2, rho=0.7, eps=0.01, weight_decay=0.2, decay='l2')",
        "torch.optim.Adadelta(params, lr=0.2, rho=0.7, eps=0.01, weight_decay=0.2)",
        DELTAS,
    ),
    Row("AdaDelta(params)", "optax.adadelta(1.0)"),
    Row("AdaDelta(params, lr=0.2, weight_decay=0.1, decay='l2')", "optax.adadelta(0.2, weight_decay=0.1)"),
    Row("AdaDelta(params, lr=1e-3, rho=0.95, eps=1e-7)", "keras.optimizers.Adadelta()"),
    Row("Rprop(params)", "torch.optim.Rprop(params)", {"prev_grad": "prev", "step_size": "step_size"}),
    Row(
        "Rprop(params, lr=0.1, eta_minus=0.3, eta_plus=1.5, step_min=0.01, step_max=0.5)",
        "torch.optim.Rprop(params, lr=0.1, etas=(0.3, 1.5), step_sizes=(0.01, 0.5))",
        {"prev_grad": "prev", "step_size": "step_size"},
    ),
    Row(
        "ASGD(params, lr=0.02, t0=5)",
        "torch.optim.ASGD(params, lr=0.02, t0=5)",
        {"average": "ax", "eta": "eta", "mu": "mu"},
        off=1e-7,
    ),
    Row(
        "ASGD(params, lr=0.02, lambd=0.5, alpha=0.5, t0=2.5, weight_decay=0.2, decay='l2')",
        "torch.optim.ASGD(params, lr=0.02, lambd=0.5, alpha=0.5, t0=2.5, weight_decay=0.2)",
        {"average": "ax", "eta": "eta", "mu": "mu"},
        off=2e-7,
    ),
    Row("Adam(params, lr=0.02)", "torch.optim.Adam(params, lr=0.02)", MOMENTS),
    Row(
        "Adam(params, lr=0.02, weight_decay=0.2, decay='l2')",
        "torch.optim.Adam(params, lr=0.02, weight_decay=0.2)",
        MOMENTS,
    ),
    Row("Adam(params, lr=0.02, weight_decay=0.2)", "torch.optim.AdamW(params, lr=0.02, weight_decay=0.2)", MOMENTS),
    Row(
        "Adam(params, lr=0.02, beta1=0.5, beta2=0.9, eps=0.1, weight_decay=0.01)",
        "torch.optim.AdamW(params, lr=0.02, betas=(0.5, 0.9), eps=0.1)",
        MOMENTS,
    ),
    Row(
        "Adam(params, lr=0.02, beta2=0.8, amsgrad=True)",
        "torch.optim.Adam(params, lr=0.02, betas=(0.9, 0.8), amsgrad=True)",
        {**MOMENTS, "max_exp_avg_sq": "max_exp_avg_sq"},
    ),
    Row("Adam(params, lr=0.02)", "optax.adam(0.02)"),
    Row(
        "Adam(params, lr=0.02, beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.2)",
        "optax.adamw(0.02, b1=0.8, b2=0.95, eps=1e-3, weight_decay=0.2)",
    ),
    Row("Adam(params, lr=0.02, beta2=0.8, amsgrad=True, max_hat=True)", "optax.amsgrad(0.02, b2=0.8)"),
    Row(
        "Adam(params, lr=0.02, amsgrad=True, max_hat=True, eps_root=0.01)",
        "optax.amsgrad(0.02, eps_root=0.01)",
    ),
    Row(
        "Adam(params, lr=0.02, eps_root=0.01, weight_decay=0.1)",
        "optax.adamw(0.02, eps_root=0.01, weight_decay=0.1)",
    ),
    Row("Adam(params, lr=0.02, eps=1e-7, eps_hat=True)", "keras.optimizers.Adam(0.02)"),
    Row(
        "Adam(params, lr=0.02, eps=1e-7, eps_hat=True, amsgrad=True)",
        "keras.optimizers.Adam(0.02, amsgrad=True)",
    ),
    Row(
        "Adam(params, lr=0.02, eps_hat=True)",
        "sklearn.neural_network.MLPRegressor(solver='adam', learning_rate_init=0.02)",
    ),
    Row("AdamW(params)", "torch.optim.AdamW(params)", MOMENTS),
    Row("AdamW(params, weight_decay=1e-4)", "optax.adamw(1e-3)"),
    Row(
        "AdamW(params, eps=1e-7, eps_hat=True, weight_decay=0.004)",
        "keras.optimizers.AdamW()",
    ),
    Row("Signum(params, lr=0.02)", "optax.signum(0.02)"),
    Row("Signum(params, lr=0.02, momentum=0.5)", "optax.signum(0.02, beta=0.5)"),
    Row("Signum(params, lr=0.02, momentum=0)", "optax.sign_sgd(0.02)"),
    Row(
        "Signum(params, weight_decay=0.1)",
        "pytorch_optimizer.SignSGD(params, weight_decay=0.1)",
        {"exp_avg": "momentum_buffer"},
    ),
    Row(
        "Signum(params, lr=0.02, momentum=0, weight_decay=0.1)",
        "pytorch_optimizer.SignSGD(params, lr=0.02, momentum=0, weight_decay=0.1)",
    ),
    Row("AdaMax(params)", "torch.optim.Adamax(params)", INFINITY),
    Row(
        "AdaMax(params, lr=0.02, beta1=0.8, beta2=0.9, eps=0.1, weight_decay=0.2, decay='l2')",
        "torch.optim.Adamax(params, lr=0.02, betas=(0.8, 0.9), eps=0.1, weight_decay=0.2)",
        INFINITY,
    ),
    Row("AdaMax(params, lr=0.02, beta2=0.8)", "optax.adamax(0.02, b2=0.8)"),
    Row("AdaMax(params, lr=0.02, weight_decay=0.1)", "optax.adamaxw(0.02, weight_decay=0.1)"),
    Row("AdaMax(params, lr=1e-3, eps=1e-7, eps_inside=False)", "keras.optimizers.Adamax()"),
    Row(
        "AdaMax(params, lr=0.02, beta2=0.8, weight_decay=0.1)",
        "pytorch_optimizer.AdaMax(params, lr=0.02, betas=(0.9, 0.8), weight_decay=0.1, weight_decouple=True)",
        INFINITY,
    ),
    Row("NAdam(params)", "torch.optim.NAdam(params)", NESTEROV),
    Row(
        "NAdam(params, lr=0.02, beta1=0.8, beta2=0.9, eps=0.1, weight_decay=0.2, momentum_decay=0.1)",
        "torch.optim.NAdam(params, lr=0.02, betas=(0.8, 0.9), eps=0.1, weight_decay=0.2, momentum_decay=0.1, "
        "decoupled_weight_decay=True)",
        NESTEROV,
    ),
    Row(
        "NAdam(params, lr=0.02, weight_decay=0.2, decay='l2')",
        "torch.optim.NAdam(params, lr=0.02, weight_decay=0.2)",
        NESTEROV,
    ),
    Row("NAdam(params, lr=1e-3, eps=1e-7, momentum_decay=1)", "keras.optimizers.Nadam()"),
    Row("NAdam(params, lr=0.02, schedule=False)", "optax.nadam(0.02)"),
    Row(
        "NAdam(params, lr=0.02, beta1=0.8, beta2=0.9, eps=0.1, weight_decay=0.1, schedule=False)",
        "optax.nadamw(0.02, b1=0.8, b2=0.9, eps=0.1, weight_decay=0.1)",
    ),
    Row("NAdamW(params)", "optax.nadamw(1e-3, weight_decay=0.01)"),
    Row(
        "NAdamW(params, lr=0.02, weight_decay=0.1, schedule=True)",
        "torch.optim.NAdam(params, lr=0.02, weight_decay=0.1, decoupled_weight_decay=True)",
        NESTEROV,
    ),
    Row("NAdamW(params, corrected_ahead=False)", "timm.optim.NAdamW(params)", MOMENTS),
    Row(
        "NAdamW(params, lr=0.02, beta1=0.8, weight_decay=0.1, corrected_ahead=False, cautious=True)",
        "timm.optim.NAdamW(params, lr=0.02, betas=(0.8, 0.999), weight_decay=0.1, caution=True)",
        MOMENTS,
    ),
    Row("RAdam(params)", "torch.optim.RAdam(params)", MOMENTS),
    Row(
        "RAdam(params, lr=0.02, beta1=0.8, beta2=0.9, eps=0.1, weight_decay=0.2)",
        "torch.optim.RAdam(params, lr=0.02, betas=(0.8, 0.9), eps=0.1, weight_decay=0.2, decoupled_weight_decay=True)",
        MOMENTS,
    ),
    Row(
        "RAdam(params, lr=0.02, weight_decay=0.2, decay='l2')",
        "torch.optim.RAdam(params, lr=0.02, weight_decay=0.2)",
        MOMENTS,
    ),
    Row("RAdam(params, lr=0.02, eps_hat=False)", "optax.radam(0.02)"),
    Row(
        "RAdam(params, lr=0.02, beta2=0.9, eps=0.1, threshold=6, eps_hat=False)",
        "optax.radam(0.02, b2=0.9, eps=0.1, threshold=6)",
    ),
    Row(
        "RAdam(params, lr=0.02, weight_decay=0.1)",
        "pytorch_optimizer.RAdam(params, lr=0.02, weight_decay=0.1, degenerated_to_sgd=True)",
        MOMENTS,
    ),
    Row("RAdam(params, lr=0.02, degenerated_to_sgd=False)", "pytorch_optimizer.RAdam(params, lr=0.02)", MOMENTS),
    Row("Lion(params)", "optax.lion(1e-4, weight_decay=0)"),
    Row("Lion(params, lr=1e-3, weight_decay=1e-3)", "optax.lion(1e-3)"),
    Row("Lion(params, lr=1e-3)", "keras.optimizers.Lion()"),
    Row("Lion(params, lr=0.02, weight_decay=0.1)", "timm.optim.Lion(params, lr=0.02, weight_decay=0.1)", EXP_AVG),
    Row(
        "Lion(params, lr=0.02, weight_decay=0.1)",
        "pytorch_optimizer.Lion(params, lr=0.02, weight_decay=0.1)",
        EXP_AVG,
    ),
    Row(
        "Lion(params, lr=0.02, weight_decay=0.1, cautious=True)",
        "timm.optim.Lion(params, lr=0.02, weight_decay=0.1, caution=True)",
        EXP_AVG,
    ),
    Row(
        "AdamW(params, lr=0.02, weight_decay=0.1, cautious=True)",
        "timm.optim.AdamWLegacy(params, lr=0.02, weight_decay=0.1, caution=True)",
        MOMENTS,
    ),
    Row(
        "SGD(params, lr=0.02, momentum=0.9, dampening=0, wd=0.1, cautious=True)",
        "timm.optim.SGDW(params, lr=0.02, momentum=0.9, weight_decay=0.1, caution=True)",
        {"u": "momentum_buffer"},
    ),
    Row("AdaBelief(params, lr=0.02)", "optax.adabelief(0.02)"),
    Row(
        "AdaBelief(params, lr=0.02, beta1=0.8, beta2=0.95, eps=1e-3)",
        "optax.adabelief(0.02, b1=0.8, b2=0.95, eps=1e-3, eps_root=1e-3)",
    ),
    Row(
        "AdaBelief(params, lr=0.02, weight_decay=0.1)",
        "timm.optim.AdaBelief(params, lr=0.02, weight_decay=0.1, rectify=False)",
        BELIEF,
    ),
    Row(
        "AdaBelief(params, lr=0.02, beta1=0.8, beta2=0.95, eps=1e-3, weight_decay=0.1)",
        "pytorch_optimizer.AdaBelief(params, lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1, rectify=False)",
        BELIEF,
    ),
    Row("AdaBelief(params, lr=0.02, eps=1e-3, eps_root=1e-5)", "optax.adabelief(0.02, eps=1e-3, eps_root=1e-5)"),
    Row(
        "AdaBelief(params, lr=0.02, weight_decay=0.1, rectify=True)",
        "timm.optim.AdaBelief(params, lr=0.02, weight_decay=0.1)",
        BELIEF,
    ),
    Row(
        "AdaBelief(params, lr=0.02, beta2=0.8, eps=1e-3, weight_decay=0.1, rectify=True, amsgrad=True)",
        "pytorch_optimizer.AdaBelief(params, lr=0.02, betas=(0.9, 0.8), eps=1e-3, weight_decay=0.1, rectify=True, "
        "ams_bound=True)",
        {**BELIEF, "max_exp_avg_var": "max_exp_avg_var"},
    ),
    Row(
        "AdaBelief(params, lr=0.02, beta2=0.8, amsgrad=True)",
        "timm.optim.AdaBelief(params, lr=0.02, betas=(0.9, 0.8), rectify=False, amsgrad=True)",
        {**BELIEF, "max_exp_avg_var": "max_exp_avg_var"},
    ),
    Row(
        "QHAdam(params, lr=0.02, weight_decay=0.1)",
        "pytorch_optimizer.QHAdam(params, lr=0.02, betas=(0.995, 0.999), nus=(0.7, 1), weight_decay=0.1, "
        "weight_decouple=True)",
        off=1e-8,
    ),
    Row(
        "QHAdam(params, lr=0.02, beta1=0.9, beta2=0.95, eps=1e-3, nu1=0.4, nu2=0.8, weight_decay=0.1, decay='l2')",
        "pytorch_optimizer.QHAdam(params, lr=0.02, betas=(0.9, 0.95), eps=1e-3, nus=(0.4, 0.8), weight_decay=0.1)",
        off=1e-8,
    ),
    Row(
        "QHAdam(params, lr=0.02, beta1=0.9, nu1=1)",
        "torch.optim.Adam(params, lr=0.02)",
        MOMENTS,
    ),
    Row("FTRL(params, lr=0.02)", "keras.optimizers.Ftrl(0.02)"),
    Row(
        "FTRL(params, lr=0.02, l1=0.01, weight_decay=0.04)",
        "keras.optimizers.Ftrl(0.02, l1_regularization_strength=0.01, l2_regularization_strength=0.02)",
    ),
    Row(
        "FTRL(params, lr=0.02, l1=5, weight_decay=0.3, beta=1, initial=0)",
        "pytorch_optimizer.FTRL(params, lr=0.02, lambda_1=5, lambda_2=0.3, beta=1)",
        {"z": "z", "grad_sum_sq": "n"},
    ),
    Row("MADGRAD(params, lr=0.02)", "timm.optim.MADGRAD(params, lr=0.02)", SUMS),
    Row(
        "MADGRAD(params, lr=0.02, momentum=0.5, eps=1e-3, weight_decay=0.1)",
        "timm.optim.MADGRAD(params, lr=0.02, momentum=0.5, eps=1e-3, weight_decay=0.1)",
        SUMS,
    ),
    Row(
        "MADGRAD(params, lr=0.02, weight_decay=0.1)",
        "pytorch_optimizer.MADGRAD(params, lr=0.02, weight_decay=0.1)",
        SUMS,
    ),
    Row(
        "MADGRAD(params, lr=0.02, momentum=0, eps=1e-3)",
        "pytorch_optimizer.MADGRAD(params, lr=0.02, momentum=0, eps=1e-3)",
    ),
    Row("MADGRAD(params, lr=0.02)", "optax.contrib.madgrad(0.02)", off=2e-8),
    Row("Yogi(params, lr=0.02)", "optax.yogi(0.02)"),
    Row(
        "Yogi(params, lr=0.02, beta1=0.8, beta2=0.95, eps=0.1)",
        "optax.yogi(0.02, b1=0.8, b2=0.95, eps=0.1)",
    ),
    Row(
        "Yogi(params, lr=0.02, weight_decay=0.1)",
        "pytorch_optimizer.Yogi(params, lr=0.02, weight_decay=0.1)",
        MOMENTS,
    ),
    Row(
        "Yogi(params, lr=0.02, beta1=0.8, beta2=0.95, eps=0.1, initial=0.5)",
        "pytorch_optimizer.Yogi(params, lr=0.02, betas=(0.8, 0.95), eps=0.1, initial_accumulator=0.5)",
        MOMENTS,
    ),
    Row("LaProp(params, lr=0.02)", "timm.optim.LaProp(params, lr=0.02)", SQUARES),
    Row(
        "LaProp(params, lr=0.02, beta1=0.8, beta2=0.95, eps=1e-3)",
        "timm.optim.LaProp(params, lr=0.02, betas=(0.8, 0.95), eps=1e-3)",
        SQUARES,
    ),
    Row(
        "LaProp(params, lr=0.02, beta1=0.8, beta2=0.95)",
        "pytorch_optimizer.LaProp(params, lr=0.02, betas=(0.8, 0.95))",
        SQUARES,
        off=2e-8,  # it adds 1e-15 under the root as well
    ),
    Row("AdEMAMix(params, lr=0.02)", "optax.contrib.ademamix(0.02)"),
    Row(
        "AdEMAMix(params, lr=0.02, beta1=0.8, beta2=0.95, beta3=0.99, alpha=2, eps=1e-3, weight_decay=0.1)",
        "optax.contrib.ademamix(0.02, b1=0.8, b2=0.95, b3=0.99, alpha=2, eps=1e-3, weight_decay=0.1)",
    ),
    Row(
        "AdEMAMix(params, lr=0.02, weight_decay=0.1)",
        "pytorch_optimizer.AdEMAMix(params, lr=0.02, weight_decay=0.1, weight_decouple=True)",
        MIXED,
    ),
    Row(
        "AdEMAMix(params, lr=0.02, beta3=0.99, alpha=8, warmup=12, weight_decay=0.1)",
        "pytorch_optimizer.AdEMAMix(params, lr=0.02, betas=(0.9, 0.999, 0.99), alpha=8, t_alpha_beta3=12, "
        "weight_decay=0.1, weight_decouple=True)",
        MIXED,
    ),
    Row("SimplifiedAdEMAMix(params, lr=0.02)", "optax.contrib.simplified_ademamix(0.02)"),
    Row(
        "SimplifiedAdEMAMix(params, lr=1e-3, beta1=0.9, beta2=0.99, alpha=2, eps=1e-3, weight_decay=0.1)",
        "optax.contrib.simplified_ademamix(1e-3, b1=0.9, b2=0.99, alpha=2, eps=1e-3, weight_decay=0.1)",
    ),
    Row(
        "Adan(params, lr=0.02, weight_decay=0.1)",
        "timm.optim.Adan(params, lr=0.02, weight_decay=0.1)",
        DIFFERENCES,
    ),
    Row(
        "Adan(params, lr=0.02, beta1=0.9, beta2=0.8, beta3=0.95, eps=1e-3, weight_decay=0.1, proximal=False)",
        "timm.optim.Adan(params, lr=0.02, betas=(0.9, 0.8, 0.95), eps=1e-3, weight_decay=0.1, no_prox=True)",
        DIFFERENCES,
    ),
    Row(
        "Adan(params, lr=0.02, beta1=0.9, beta2=0.8, beta3=0.95, eps=1e-3, weight_decay=0.1)",
        "pytorch_optimizer.Adan(params, lr=0.02, betas=(0.9, 0.8, 0.95), eps=1e-3, weight_decay=0.1)",
        DIFFERENCES,
    ),
    Row(
        "Adan(params, lr=0.02, weight_decay=0.1, proximal=False)",
        "pytorch_optimizer.Adan(params, lr=0.02, weight_decay=0.1, weight_decouple=True)",
        DIFFERENCES,
    ),
    Row("Adan(params, lr=0.02, beta2=0.5)", "optax.adan(0.02, b2=0.5, eps_root=0)"),
    Row("ADOPT(params, lr=0.02)", "optax.contrib.adopt(0.02)"),
    Row(
        "ADOPT(params, lr=0.02, beta1=0.8, beta2=0.95, eps=0.1, clipped=False)",
        "optax.contrib.adopt(0.02, b1=0.8, b2=0.95, eps=0.1, use_clipping=False)",
    ),
    Row(
        "ADOPT(params, lr=0.02, weight_decay=0.1)",
        "timm.optim.Adopt(params, lr=0.02, clip_exp=0.25, weight_decay=0.1, decoupled=True)",
        MOMENTS,
    ),
    Row(
        "ADOPT(params, lr=0.02, clip_exp=0.333, weight_decay=0.1, cautious=True)",
        "timm.optim.Adopt(params, lr=0.02, weight_decay=0.1, decoupled=True, caution=True)",
        MOMENTS,
    ),
    Row(
        "ADOPT(params, lr=0.02)",
        "pytorch_optimizer.ADOPT(params, lr=0.02, clip_lambda=lambda step: (step - 1) ** 0.25)",
        MOMENTS,
    ),
    Row("LARS(params, weight_decay=0.1)", "optax.lars(1.0, weight_decay=0.1)"),
    Row(
        "LARS(params, lr=lambda step: 16 / 2 ** (step // 4), momentum=0.5, trust=0.02)",
        "optax.lars(lambda step: 16 / 2 ** (step // 4), momentum=0.5, trust_coefficient=0.02)",
    ),
    Row(
        "LARS(params, lr=20, weight_decay=0.1, sum_of_norms=True)",
        "timm.optim.Lars(params, lr=20, momentum=0.9, weight_decay=0.1, eps=0)",
    ),
    Row(
        "LARS(params, lr=0.05, trust=0.02, weight_decay=0.1, sum_of_norms=True, trust_clip=True)",
        "timm.optim.Lars(params, lr=0.05, momentum=0.9, trust_coeff=0.02, weight_decay=0.1, eps=0, trust_clip=True)",
    ),
    Row(
        "LARS(params, lr=20, momentum=0)",
        "timm.optim.Lars(params, lr=20, eps=0, always_adapt=True)",
    ),
    Row(
        "LARS([{'params': params[:2]}, {'params': params[2:], 'adaptive': False, 'weight_decay': 0}], lr=0.02, "
        "weight_decay=0.1, trust=0.5, sum_of_norms=True)",
        "pytorch_optimizer.LARS(params, lr=0.02, weight_decay=0.1, trust_coefficient=0.5)",
    ),
    Row(
        "LAMB(params, lr=0.02, weight_decay=0.1)",
        "timm.optim.Lamb(params, lr=0.02, weight_decay=0.1, max_grad_norm=None)",
        MOMENTS,
    ),
    Row(
        "LAMB(params, lr=0.02)",
        "timm.optim.Lamb(params, lr=0.02, weight_decay=0, max_grad_norm=None, always_adapt=True)",
        MOMENTS,
    ),
    Row(
        "LAMB(params, lr=0.02, weight_decay=0.1, cautious=True)",
        "timm.optim.Lamb(params, lr=0.02, weight_decay=0.1, max_grad_norm=None, caution=True)",
        MOMENTS,
    ),
    Row(
        "LAMB(params, lr=0.02, weight_decay=0.1, max_norm=1.0)",
        "timm.optim.Lamb(params, lr=0.02, weight_decay=0.1)",
        MOMENTS,
    ),
    Row(
        "LAMB(params, lr=0.02, weight_decay=0.1, trust_clip=True)",
        "timm.optim.Lamb(params, lr=0.02, weight_decay=0.1, max_grad_norm=None, trust_clip=True)",
        MOMENTS,
    ),
    Row(
        "LAMB([{'params': params[:2]}, {'params': params[2:], 'adaptive': False, 'weight_decay': 0}], lr=0.02, "
        "weight_decay=0.1)",
        "timm.optim.Lamb([{'params': params[:2]}, {'params': params[2:], 'weight_decay': 0}], lr=0.02, "
        "weight_decay=0.1, max_grad_norm=None)",
        MOMENTS,
    ),
    Row("LAMB(params, lr=0.02, weight_decay=0.1)", "optax.lamb(0.02, weight_decay=0.1)"),
    Row("LAMB(params, lr=0.02, eps=1e-7)", "keras.optimizers.Lamb(0.02)"),
    Row(
        "NovoGrad(params, lr=0.02, weight_decay=0.1)",
        "optax.novograd(0.02, b1=0.95, b2=0.98, eps=1e-8, weight_decay=0.1)",
    ),
    Row(
        "NovoGrad(params, lr=0.02, weight_decay=0.1)",
        "pytorch_optimizer.NovoGrad(params, lr=0.02, weight_decay=0.1, weight_decouple=False)",
        {"exp_avg": "moments", "exp_norm_sq": "grads_ema"},
    ),
    Row(
        "NovoGrad(params, lr=0.02, weight_decay=0.1)",
        "timm.optim.NvNovoGrad(params, lr=0.02, weight_decay=0.1)",
        {"exp_avg": "exp_avg", "exp_norm_sq": "exp_avg_sq"},
    ),
    Row(
        "NovoGrad(params, lr=0.02, weight_decay=0.1, grad_averaging=True)",
        "timm.optim.NvNovoGrad(params, lr=0.02, weight_decay=0.1, grad_averaging=True)",
        {"exp_avg": "exp_avg", "exp_norm_sq": "exp_avg_sq"},
    ),
    Row(
        "StableAdamW(params, lr=0.02, weight_decay=0.1)",
        "pytorch_optimizer.StableAdamW(params, lr=0.02, weight_decay=0.1)",
        MOMENTS,
    ),
    Row(
        "MARS(params, lr=0.02, beta1=0.9, weight_decay=0.1)",
        "timm.optim.Mars(params, lr=0.02, weight_decay=0.1)",
        MOMENTS,
    ),
    Row(
        "MARS(params, lr=0.02, gamma=0.2, weight_decay=0.1, optimize_1d=True)",
        "timm.optim.Mars(params, lr=0.02, betas=(0.95, 0.99), gamma=0.2, weight_decay=0.1, optimize_1d=True)",
        {**MOMENTS, "prev_grad": "last_grad"},
    ),
    Row(
        "MARS(params, lr=0.02, beta1=0.9, weight_decay=0.1, cautious=True)",
        "timm.optim.Mars(params, lr=0.02, weight_decay=0.1, caution=True)",
        MOMENTS,
    ),
    Row(
        "Adafactor(params, lr=0.02, weight_decay=0.1, floors=True, eps1=2**-52)",
        "torch.optim.Adafactor(params, lr=0.02, weight_decay=0.1)",
        FACTORS,
    ),
    Row(
        "Adafactor(params, momentum=0.9, weight_decay=0.1, scale_decay=True)",
        "pytorch_optimizer.AdaFactor(params, lr=None, betas=(0.9, 0.99999999), weight_decay=0.1, "
        "momentum_dtype=torch.float64)",
        EXP_AVG,
    ),
    Row(
        "Adafactor(params, weight_decay=0.1, scale_decay=True)",
        "pytorch_optimizer.AdaFactor(params, lr=None, betas=(None, 0.99999999), weight_decay=0.1)",
    ),
    Row(
        "Adafactor(params, weight_decay=0.1, scale_decay=True)",
        "timm.optim.Adafactor(params, weight_decay=0.1, min_dim_size_to_factor=1)",
    ),
    Row(
        "Adafactor(params, lr=0.02, momentum=0.9, weight_decay=0.1, relative_step=False, scale_parameter=False)",
        "timm.optim.Adafactor(params, lr=0.02, betas=(0.9, 0.999), weight_decay=0.1, scale_parameter=False, "
        "min_dim_size_to_factor=1)",
        EXP_AVG,
    ),
    Row(
        "Adafactor(params, weight_decay=0.1, scale_decay=True, beta2_cap=0.8)",
        "pytorch_optimizer.AdaFactor(params, lr=None, betas=(None, 0.8), weight_decay=0.1)",
    ),
    Row(
        "Adafactor(params, momentum=0.9, weight_decay=0.1, relative_step=False, scale_parameter=False, beta2_cap=0.8)",
        "timm.optim.AdafactorBigVision(params, lr=0.01, momentum_dtype=torch.float64, weight_decay=0.1, "
        "clipping_threshold=1, min_dim_size_to_factor=1, beta2_cap=0.8)",
    ),
    Row(
        "Adafactor(params, momentum=0.9, relative_step=False)",
        "optax.adafactor(0.01, min_dim_size_to_factor=1, momentum=0.9)",
        off=1e-7,
    ),
    Row(
        "Adafactor(params, relative_step=False)",
        "optax.adafactor(0.01, min_dim_size_to_factor=1)",
        off=1e-7,
    ),
    Row("Adafactor(params)", "keras.optimizers.Adafactor(0.01)", off=1e-7),
    Row("PolyakSGD(params)", "optax.polyak_sgd()"),
    Row("PolyakSGD(params, bound=1.5, eps=0.1)", "optax.polyak_sgd(f_min=1.5, eps=0.1)"),
    Row("PolyakSGD(params, lr=0.05, bound=1.5, positive=True)", "optax.polyak_sgd(0.05, f_min=1.5, variant='sps+')"),
    Row("MoMo(params)", "optax.contrib.momo()"),
    Row(
        "MoMo(params, lr=0.2, beta=0.8, bound=0.5, weight_decay=0.1)",
        "optax.contrib.momo(0.2, beta=0.8, lower_bound=0.5, weight_decay=0.1)",
    ),
    Row("MoMoAdam(params)", "optax.contrib.momo_adam()"),
    Row(
        "MoMoAdam(params, lr=0.3, beta1=0.8, beta2=0.95, eps=0.001, bound=0.5, weight_decay=0.1)",
        "optax.contrib.momo_adam(0.3, b1=0.8, b2=0.95, eps=0.001, lower_bound=0.5, weight_decay=0.1)",
    ),
    Row("DoG(params)", "optax.contrib.dog()"),
    Row(
        "DoG(params, reps_rel=0.1, lr=0.5, weight_decay=0.1)",
        "optax.contrib.dog(0.5, init_step=('heuristic', 0.1), weight_decay=0.1)",
    ),
    Row("DoWG(params)", "optax.contrib.dowg()"),
    Row(
        "DoWG(params, lr=0.5, r0=0.1, eps=0.01, weight_decay=0.1)",
        "optax.contrib.dowg(0.5, init_estim_sq_dist=0.1, eps=0.01, weight_decay=0.1)",
    ),
    Row(
        "DAdaptSGD(params, d0=0.01)",
        "pytorch_optimizer.DAdaptSGD(params, d0=0.01)",
        {"s": "s"},
        off=1e-5,
    ),
    Row(
        "DAdaptSGD(params, d0=0.01, lr=0.5, momentum=0.5)",
        "pytorch_optimizer.DAdaptSGD(params, d0=0.01, lr=0.5, momentum=0.5)",
        {"s": "s"},
        off=1e-5,
    ),
    Row(
        "DAdaptAdam(params, d0=0.01, weight_decay=0.1)",
        "pytorch_optimizer.DAdaptAdam(params, d0=0.01, weight_decay=0.1, weight_decouple=True)",
        {**MOMENTS, "s": "s"},
    ),
    Row(
        "DAdaptAdam(params, d0=0.01, weight_decay=0.1, bias_correction=True)",
        "optax.contrib.dadapt_adamw(estim_lr0=0.01, weight_decay=0.1)",
    ),
    Row(
        "DAdaptSGD(params, d0=0.01, momentum=0.9)",
        "dadaptation.DAdaptSGD(params, d0=0.01, momentum=0.9)",
        {"s": "s"},
        off=1e-13,
    ),
    Row(
        "DAdaptAdam(params, d0=0.01, weight_decay=0.1)",
        "dadaptation.DAdaptAdam(params, d0=0.01, weight_decay=0.1, decouple=True)",
        {**MOMENTS, "s": "s"},
    ),
    Row(
        "SophiaG(params, lr=0.02, estimator='hutchinson', weight_decay=0.1)",
        "pytorch_optimizer.SophiaH(params, lr=0.02, weight_decay=0.1, update_period=3)",
        {"exp_avg": "momentum", "hessian": "hessian_moment"},
    ),
    Row(
        "SophiaG(params, lr=0.2, beta1=0.5, beta2=0.7, rho=0.3, eps=0.1, estimator='hutchinson')",
        "pytorch_optimizer.SophiaH(params, lr=0.2, betas=(0.5, 0.7), p=0.3, eps=0.1, update_period=3)",
        {"exp_avg": "momentum", "hessian": "hessian_moment"},
    ),
    Row("SM3(params)", "pytorch_optimizer.SM3(params, momentum=0.9)", {"exp_avg": "momentum_buffer"}),
    Row(
        "SM3(params, lr=0.02, momentum=0.5, beta=0.9, eps=1e-3)",
        "pytorch_optimizer.SM3(params, lr=0.02, momentum=0.5, beta=0.9, eps=1e-3)",
        {"exp_avg": "momentum_buffer"},
    ),
    Row("SM3(params, momentum=0)", "pytorch_optimizer.SM3(params)"),
    Row("SM3(params, lr=0.02, eps=1e-8)", "optax.sm3(0.02)"),
    Row("CAME(params)", "pytorch_optimizer.CAME(params)", RESIDUALS),
    Row(
        "CAME(params, lr=0.02, beta1=0.5, beta2=0.9, beta3=0.7, threshold=0.5, weight_decay=0.1)",
        "pytorch_optimizer.CAME(params, lr=0.02, betas=(0.5, 0.9, 0.7), clip_threshold=0.5, weight_decay=0.1)",
        RESIDUALS,
    ),
    Row(
        "CAME(params, lr=0.02, eps1=0.01, eps2=0.1)",
        "pytorch_optimizer.CAME(params, lr=0.02, eps1=0.01, eps2=0.1)",
        RESIDUALS,
    ),
    Row(
        "Prodigy(params, d0=0.01, weight_decay=0.1)",
        "prodigyopt.Prodigy(params, d0=0.01, weight_decay=0.1)",
        {**MOMENTS, "s": "s"},
        off=1e-6,
    ),
    Row(
        "Prodigy(params, d0=0.01, lr=0.5, safeguard_warmup=True, eps=1e-30)",
        "prodigyopt.Prodigy(params, d0=0.01, lr=0.5, safeguard_warmup=True, eps=1e-30)",
        {**MOMENTS, "s": "s"},
    ),
    Row("Prodigy(params, d0=0.01, bias_correction=True)", "optax.contrib.prodigy(estim_lr0=0.01)", off=1e-6),
    Row(
        "ScheduleFreeSGD(params, lr=0.02, weight_decay=0.1, warmup_steps=5)",
        "schedulefree.SGDScheduleFree(params, lr=0.02, weight_decay=0.1, warmup_steps=5)",
        {"z": "z"},
    ),
    Row(
        "ScheduleFreeSGD(params, lr=0.02, momentum=0.7, warmup_steps=5, r=2.0, weight_lr_power=0.5)",
        "schedulefree.SGDScheduleFree(params, lr=0.02, momentum=0.7, warmup_steps=5, r=2.0, weight_lr_power=0.5)",
        {"z": "z"},
    ),
    Row("ScheduleFreeSGD(params, lr=0.02)", "optax.contrib.schedule_free_sgd(0.02)"),
    Row(
        "ScheduleFreeSGD(params, lr=0.02, weight_decay=0.1, warmup_steps=5)",
        "pytorch_optimizer.ScheduleFreeSGD(params, lr=0.02, weight_decay=0.1, warmup_steps=5)",
        {"z": "z"},
    ),
    Row(
        "ScheduleFreeAdamW(params, lr=0.02, weight_decay=0.1, warmup_steps=5)",
        "schedulefree.AdamWScheduleFree(params, lr=0.02, weight_decay=0.1, warmup_steps=5)",
        {"z": "z", "exp_avg_sq": "exp_avg_sq"},
    ),
    Row(
        "ScheduleFreeAdamW(params, lr=0.02, beta1=0.7, beta2=0.99, warmup_steps=5, r=2.0, weight_lr_power=0.5)",
        "schedulefree.AdamWScheduleFree(params, lr=0.02, betas=(0.7, 0.99), warmup_steps=5, r=2.0, "
        "weight_lr_power=0.5)",
        {"z": "z", "exp_avg_sq": "exp_avg_sq"},
    ),
    Row("ScheduleFreeAdamW(params, lr=0.02)", "optax.contrib.schedule_free_adamw(0.02)"),
]


# The problems --------------------------------------------------------------------------------------------------------

Values = list[np.ndarray]
Steps = list[dict[str, list[Any]]]
"""After each step, under ``param`` the parameters, and the entries of the state under the names of ours; None where a
parameter has no such entry."""


@dataclass(frozen=True)
class Problem:
    """Where the parameters start, and the gradients of a step where they are."""

    starts: Values
    gradients: Callable[[int, Values], Values]

    def estimates(self, step: int) -> Values | None:
        """Estimates of the Hessian's diagonal for a rule that takes such, in the first of three steps."""
        rng = np.random.default_rng([2, step])
        return None if step % 3 else [rng.normal(1.0, size=start.shape) for start in self.starts]


def _valley() -> Problem:
    """Two elements have no gradient for a while, one never has, and one has a spike."""
    rng, shapes = np.random.default_rng(0), [(6, 4), (3, 5), (7,)]
    starts = [rng.normal(size=shape) for shape in shapes]
    slopes = [rng.uniform(0.1, 1, size=shape) for shape in shapes]
    noises = [[rng.normal(size=shape) for shape in shapes] for _ in range(STEPS)]
    slopes[2][:3] = 0
    for noise in noises:
        noise[2][2] = 0
    for noise in noises[STEPS // 4 : STEPS // 2]:
        noise[2][:2] = 0
    noises[STEPS // 2][1][0, 0] = 1000

    def gradients(step: int, params: Values) -> Values:
        parts = zip(slopes, params, noises[step], strict=True)
        return [SIZES[step] * (slope * param + noise) for slope, param, noise in parts]

    return Problem(starts, gradients)


LOSSES = np.abs(np.random.default_rng(1).normal(1.0, 2.0, size=STEPS))
"""The loss of each step, for rules that look at it. No gradient is that of a function, so that these are not either."""
SIZES = [*np.geomspace(0.05, 10, STEPS // 2), *np.geomspace(10, 0.05, STEPS // 2)]
"""How large the gradients of each step are."""
VALLEY = _valley()


def taken(row: Row, engine: dict[str, str], problem: Problem) -> Steps:
    """Our steps."""
    params = [Tensor(start, dtype="float64", requires_grad=True) for start in problem.starts]
    made = {"params": params, "engine": engine, row.rule: getattr(optim, row.rule)}
    optimizer = eval(f"{row.ours[:-1]}, **engine)", made)
    steps: Steps = []
    for step in range(STEPS):
        if optimizer.rule.estimate and (given := problem.estimates(step)):
            for param, estimate in zip(params, given, strict=True):
                param.grad = Tensor(estimate, dtype="float64")
            optimizer.update_estimate()
        grads = problem.gradients(step, [param.detach().numpy() for param in params])
        for param, grad in zip(params, grads, strict=True):
            param.grad = Tensor(grad, dtype="float64")
        optimizer.step(loss=LOSSES[step])
        entries = {"param": params} | {name: getattr(optimizer, name) for name in row.state}
        steps.append({name: [x.detach().numpy().copy() for x in entry] for name, entry in entries.items()})
    return steps


# The libraries -------------------------------------------------------------------------------------------------------


def _torch(row: Row) -> tuple[Problem, Steps]:
    """Libraries for PyTorch, its own optimizers among them."""
    torch = import_module("torch")
    made = {name: import_module(name) for name in row.library.needs}
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # NAdam keeps its product of momenta in it
    steps: Steps = []
    try:
        params = [torch.nn.Parameter(torch.tensor(start)) for start in VALLEY.starts]
        optimizer = eval(row.theirs, made | {"params": params})
        if "ScheduleFree" in row.theirs:  # which begins in the mode for evaluation
            optimizer.train()
        for step in range(STEPS):
            grads = VALLEY.gradients(step, [param.detach().numpy() for param in params])
            for param, grad in zip(params, grads, strict=True):
                param.grad = torch.tensor(grad)
            given = VALLEY.estimates(step) if "Sophia" in row.theirs else None
            optimizer.step(**({"hessian": list(map(torch.tensor, given))} if given else {}))
            kept = [optimizer.state[param] for param in params]
            entries = {name: [state.get(there) for state in kept] for name, there in row.state.items()}
            entries["param"] = params
            steps.append({name: list(map(_copied, entry)) for name, entry in entries.items()})
    finally:
        torch.set_default_dtype(dtype)
    return VALLEY, steps


def _copied(tensor: Any) -> np.ndarray | None:
    return None if tensor is None else tensor.detach().numpy().copy()


def _optax(row: Row) -> tuple[Problem, Steps]:
    jax, optax, xla = (import_module(name) for name in ("jax", "optax", "minima.jax.xla"))
    steps: Steps = []
    with xla.enable_x64(True):
        transformation = eval(row.theirs)
        params = [jax.numpy.asarray(start) for start in VALLEY.starts]
        state = transformation.init(params)
        update = jax.jit(optax.with_extra_args_support(transformation).update)
        for step in range(STEPS):
            grads = VALLEY.gradients(step, [np.asarray(param) for param in params])
            grads = [jax.numpy.asarray(grad) for grad in grads]
            updates, state = update(grads, state, params, value=jax.numpy.asarray(LOSSES[step]))
            params = optax.apply_updates(params, updates)
            steps.append({"param": [np.asarray(param) for param in params]})
    return VALLEY, steps


def _keras(row: Row) -> tuple[Problem, Steps]:
    keras = import_module("keras")
    floatx = keras.config.floatx()
    keras.config.set_floatx("float64")  # the learning rate is a variable of this dtype
    steps: Steps = []
    try:
        params = [keras.Variable(start) for start in VALLEY.starts]
        optimizer = eval(row.theirs)
        optimizer.build(params)
        for step in range(STEPS):
            grads = VALLEY.gradients(step, [param.value.detach().numpy() for param in params])
            with warnings.catch_warnings():  # Keras' Nadam makes arrays of tensors in a way that NumPy 2 is weary of
                warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
                optimizer.apply([keras.ops.convert_to_tensor(grad) for grad in grads])
            steps.append({"param": [param.value.detach().numpy().copy() for param in params]})
    finally:
        keras.config.set_floatx(floatx)
    return VALLEY, steps


def _sklearn(row: Row) -> tuple[Problem, Steps]:
    """The weights of a network with one hidden layer, which is fitted with all of the data in each batch."""
    import_module("sklearn.neural_network")
    sklearn = import_module("sklearn")
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(30, 4)), rng.normal(size=(STEPS, 30)) * np.array(SIZES)[:, None]
    network = {"hidden_layer_sizes": (6,), "activation": "tanh", "alpha": 0, "batch_size": 30, "random_state": 0}

    def model(**settings: float) -> Any:
        return eval(row.theirs, {"sklearn": sklearn}).set_params(**network, **settings)

    def weights(fitted: Any) -> Values:
        return [array.copy() for array in (*fitted.coefs_, *fitted.intercepts_)]

    def gradients(step: int, params: Values) -> Values:
        first, second, shift, offset = params
        hidden = np.tanh(x @ first + shift)
        error = (hidden @ second + offset - targets[step][:, None]) / len(x)
        inside = error @ second.T * (1 - hidden**2)
        return [x.T @ inside, hidden.T @ error, inside.sum(axis=0), error.sum(axis=0)]

    still = model(learning_rate_init=1e-300)  # too short a step to move a weight: these are the first ones
    problem = Problem(weights(still.partial_fit(x, targets[0])), gradients)
    moving = model()
    return problem, [{"param": weights(moving.partial_fit(x, target))} for target in targets]


@dataclass(frozen=True)
class Library:
    title: str
    package: str
    needs: list[str]
    """What must be there to be imported."""
    run: Callable[[Row], tuple[Problem, Steps]]


LIBRARIES = {
    "torch": Library("PyTorch", "torch", ["torch"], _torch),
    "optax": Library("Optax", "optax", ["optax", "jax"], _optax),
    "keras": Library("Keras", "keras", ["keras", "torch"], _keras),
    "sklearn": Library("scikit-learn", "scikit-learn", ["sklearn"], _sklearn),
    "timm": Library("timm", "timm", ["torch", "timm", "timm.optim"], _torch),
    "pytorch_optimizer": Library("pytorch_optimizer", "pytorch_optimizer", ["torch", "pytorch_optimizer"], _torch),
    "dadaptation": Library("dadaptation", "dadaptation", ["torch", "dadaptation"], _torch),
    "prodigyopt": Library("prodigyopt", "prodigyopt", ["torch", "prodigyopt"], _torch),
    "schedulefree": Library("schedulefree", "schedulefree", ["torch", "schedulefree"], _torch),
}
"""By the first word of their calls."""


@cache
def run(row: Row) -> tuple[Problem, Steps]:
    """Their steps, and the problem that they were taken on."""
    return row.library.run(row)


def pairs(row: Row, engine: dict[str, str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """After each step the parameters, and each entry of the state, as one row of elements: here, and there."""
    problem, theirs = run(row)
    for here, there in zip(taken(row, engine, problem), theirs, strict=True):
        for name, arrays in there.items():
            both = [pair for pair in zip(here[name], arrays, strict=True) if pair[1] is not None]
            yield tuple(np.concatenate([array.ravel() for array in part]) for part in zip(*both, strict=True))


def difference(row: Row) -> float:
    """The largest difference of a parameter or an entry of its state in 20 steps, relative to the largest entry."""
    both = pairs(row, {})  # with eps=0, an element that never had a gradient is NaN on both sides
    sizes = ((np.nanmax(np.abs(here - there)), np.nanmax(np.abs(there))) for here, there in both)
    return max(float(off / (largest or 1.0)) for off, largest in sizes)  # state may still be 0 everywhere
