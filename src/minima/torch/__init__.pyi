# Written by tools/stubs.py.

from collections.abc import Callable, Mapping
from typing import Any

import torch

from minima.torch.adaptation import adapt as adapt
from minima.torch.exchange import load_portable_state_dict as load_portable_state_dict
from minima.torch.exchange import portable_state_dict as portable_state_dict
from minima.torch.lbfgs import LBFGS as LBFGS
from minima.torch.loops import SAM as SAM
from minima.torch.loops import Lookahead as Lookahead
from minima.torch.optimizer import Optimizer as Optimizer
from minima.torch.signature import Params

__all__ = [
    "LBFGS",
    "SAM",
    "Lookahead",
    "Optimizer",
    "adapt",
    "by_name",
    "load_portable_state_dict",
    "names",
    "portable_state_dict",
    "ADOPT",
    "ASGD",
    "AdEMAMix",
    "AdaBelief",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
    "CAME",
    "DAdaptAdam",
    "DAdaptSGD",
    "DoG",
    "DoWG",
    "FTRL",
    "LAMB",
    "LARS",
    "LaProp",
    "Lion",
    "MADGRAD",
    "MARS",
    "MoMo",
    "MoMoAdam",
    "Muon",
    "NAdam",
    "NAdamW",
    "NovoGrad",
    "PolyakSGD",
    "Prodigy",
    "QHAdam",
    "QHM",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "SM3",
    "SOAP",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "Shampoo",
    "Signum",
    "SimplifiedAdEMAMix",
    "SophiaG",
    "StableAdamW",
    "Yogi",
]

_Number = float | torch.Tensor | Callable[[int], float]

def names() -> tuple[str, ...]: ...
def by_name(name: str) -> type[torch.optim.Optimizer]: ...

class ADOPT(Optimizer):
    """Steps along a running average of gradients, each divided by the root of the average square of earlier ones."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        betas: tuple[_Number, _Number] = (0.9, 0.9999),
        eps: _Number = 1e-06,
        weight_decay: _Number = 0.0,
        *,
        clip_exp: _Number = 0.25,
        clipped: bool = True,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class ASGD(Optimizer):
    """Moves each parameter against its gradient with a falling learning rate, and keeps the average of the weights."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.01,
        lambd: _Number = 0.0001,
        alpha: _Number = 0.75,
        t0: _Number = 1000000.0,
        weight_decay: _Number = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        *,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        decay: str | None = None,
        decay_mode: str | None = None,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
    ) -> None: ...

class AdEMAMix(Optimizer):
    """Takes Adam's steps along the sum of Adam's average of the gradient and ``alpha`` times a much slower average."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        betas: tuple[_Number, _Number, _Number] = (0.9, 0.999, 0.9999),
        alpha: _Number = 5.0,
        eps: _Number = 1e-08,
        weight_decay: _Number = 0.0,
        *,
        warmup: _Number | None = None,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class AdaBelief(Optimizer):
    """Steps along a running average of the gradient, divided by the root mean square distance from that average."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        betas: tuple[_Number, _Number] = (0.9, 0.999),
        eps: _Number = 1e-16,
        weight_decay: _Number = 0.0,
        *,
        eps_root: _Number | None = None,
        amsgrad: bool = False,
        rectify: bool = False,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class Adadelta(Optimizer):
    """Multiplies each gradient by the size of recent steps, and divides it by the size of recent gradients."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 1.0,
        rho: _Number = 0.9,
        eps: _Number = 1e-06,
        weight_decay: _Number = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        decay: str | None = None,
        decay_mode: str | None = None,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
    ) -> None: ...

class Adafactor(Optimizer):
    """Divides the gradient by an estimate of its recent size, computed from one number for each row and each column."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.01,
        beta2_decay: _Number = -0.8,
        eps: tuple[_Number | None, _Number] = (None, 0.001),
        d: _Number = 1.0,
        weight_decay: _Number = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        decay: str | None = None,
        decay_mode: str | None = None,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class Adagrad(Optimizer):
    """Divides each step of a parameter by the root of the sum of all its squared gradients so far."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.01,
        lr_decay: _Number = 0,
        weight_decay: _Number = 0,
        initial_accumulator_value: _Number = 0,
        eps: _Number = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        decay: str | None = None,
        decay_mode: str | None = None,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class Adam(Optimizer):
    """Steps along a running average of the gradient, divided by the root of a running average of its square."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        betas: tuple[_Number, _Number] = (0.9, 0.999),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        decay: str | None = None,
        decay_mode: str | None = None,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
    ) -> None: ...

class AdamW(Optimizer):
    """Takes Adam's steps, with weight decay by default."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        betas: tuple[_Number, _Number] = (0.9, 0.999),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        decay: str | None = None,
        decay_mode: str | None = None,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
    ) -> None: ...

class Adamax(Optimizer):
    """Steps along a running average of the gradient, divided by the largest recent gradient."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.002,
        betas: tuple[_Number, _Number] = (0.9, 0.999),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        decay: str | None = None,
        decay_mode: str | None = None,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
    ) -> None: ...

class Adan(Optimizer):
    """Steps along averages of the gradient and of its changes, divided by the root mean square of their sum."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        betas: tuple[_Number, _Number, _Number] = (0.98, 0.92, 0.99),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0.0,
        *,
        proximal: bool = True,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class CAME(Optimizer):
    """Averages the updates of Adafactor, and divides the average by the distance of the updates from it."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.0002,
        betas: tuple[_Number, _Number, _Number] = (0.9, 0.999, 0.9999),
        eps1: _Number = 1e-30,
        eps2: _Number = 1e-16,
        threshold: _Number = 1.0,
        weight_decay: _Number = 0.0,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class DAdaptAdam(Optimizer):
    """Takes Adam's steps with a learning rate ``d``, an estimated lower bound of the distance to the solution."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 1.0,
        betas: tuple[_Number, _Number] = (0.9, 0.999),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0.0,
        d0: _Number = 1e-06,
        *,
        bias_correction: bool = False,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class DAdaptSGD(Optimizer):
    """Gradient descent with a learning rate ``d``, which grows to a lower bound of the distance to the solution."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 1.0,
        momentum: _Number = 0.9,
        weight_decay: _Number = 0.0,
        d0: _Number = 1e-06,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class DoG(Optimizer):
    """Steps along the gradient, by the largest distance from the start so far over the norm of all gradients so far."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 1.0,
        weight_decay: _Number = 0.0,
        reps_rel: _Number = 1e-06,
        eps: _Number = 1e-08,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class DoWG(Optimizer):
    """Takes DoG's steps, but weights each gradient in the divisor by the distance from the start at its own step."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 1.0,
        weight_decay: _Number = 0.0,
        r0: _Number = 0.0001,
        eps: _Number = 0.0001,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class FTRL(Optimizer):
    """Computes each parameter from the sum of its gradients, with AdaGrad's rates; a small sum gives 0."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        l1: _Number = 0.0,
        weight_decay: _Number = 0.0,
        *,
        beta: _Number = 0.0,
        initial: _Number = 0.1,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class LAMB(Optimizer):
    """Steps in Adam's direction, scaled so that each tensor moves by a share ``lr`` of its own norm."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        betas: tuple[_Number, _Number] = (0.9, 0.999),
        eps: _Number = 1e-06,
        weight_decay: _Number = 0.0,
        *,
        trust_clip: bool = False,
        adaptive: bool = True,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class LARS(Optimizer):
    """Steps along a decaying sum of gradients, each scaled to a share of the norm of its tensor."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 1.0,
        momentum: _Number = 0.9,
        weight_decay: _Number = 0.0,
        trust: _Number = 0.001,
        *,
        sum_of_norms: bool = False,
        trust_clip: bool = False,
        adaptive: bool = True,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class LaProp(Optimizer):
    """Steps along a running average of gradients, each divided by the root mean square at its own step."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.0004,
        betas: tuple[_Number, _Number] = (0.9, 0.999),
        eps: _Number = 1e-15,
        weight_decay: _Number = 0.0,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class Lion(Optimizer):
    """Moves each parameter by ``lr``, against the sign of a blend of its gradient and their running average."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.0001,
        betas: tuple[_Number, _Number] = (0.9, 0.99),
        weight_decay: _Number = 0.0,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class MADGRAD(Optimizer):
    """Moves each parameter towards its initial value minus its summed gradients, over a cube root of their squares."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.01,
        momentum: _Number = 0.9,
        eps: _Number = 1e-06,
        weight_decay: _Number = 0.0,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class MARS(Optimizer):
    """Takes Adam's steps on gradients that are extrapolated by a share of their last change, and clipped."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.003,
        betas: tuple[_Number, _Number] = (0.95, 0.99),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0.0,
        gamma: _Number = 0.025,
        *,
        optimize_1d: bool = False,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class MoMo(Optimizer):
    """Steps along an average of gradients, at most to the point where a model of the loss reaches its lower bound."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 1.0,
        beta: _Number = 0.9,
        weight_decay: _Number = 0.0,
        bound: _Number = 0.0,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class MoMoAdam(Optimizer):
    """Takes Adam's steps, at most to the point where a model of the loss reaches its lower bound."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.01,
        betas: tuple[_Number, _Number] = (0.9, 0.999),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0.0,
        bound: _Number = 0.0,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class Muon(Optimizer):
    """Steps along the orthogonalised momentum of a matrix: all its singular values are brought close to 1."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        weight_decay: _Number = 0.1,
        momentum: _Number = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: _Number = 1e-07,
        ns_steps: _Number = 5,
        adjust_lr_fn: str | None = None,
        *,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        decay: str | None = None,
        decay_mode: str | None = None,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class NAdam(Optimizer):
    """Takes Adam's steps with Nesterov momentum: the average of gradients is extrapolated by one step."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.002,
        betas: tuple[_Number, _Number] = (0.9, 0.999),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0,
        momentum_decay: _Number = 0.004,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        decay: str | None = None,
        decay_mode: str | None = None,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
    ) -> None: ...

class NAdamW(Optimizer):
    """Takes NAdam's steps, with weight decay and constant momentum ``beta1`` by default."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        betas: tuple[_Number, _Number] = (0.9, 0.999),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0.01,
        momentum_decay: _Number = 0.004,
        *,
        schedule: bool = False,
        corrected_ahead: bool = True,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class NovoGrad(Optimizer):
    """Steps along a decaying sum of gradients, each divided by the recent norm of its whole tensor."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.01,
        betas: tuple[_Number, _Number] = (0.95, 0.98),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0.0,
        *,
        grad_averaging: bool = False,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class PolyakSGD(Optimizer):
    """Steps along the gradient, to the point where a linear model of the loss reaches its lowest value."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 1.0,
        weight_decay: _Number = 0.0,
        bound: _Number = 0.0,
        c: _Number = 1.0,
        eps: _Number = 0.0,
        *,
        positive: bool = False,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class Prodigy(Optimizer):
    """Takes Adam's steps with a learning rate ``d``, an estimate of the distance from the start to the solution."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 1.0,
        betas: tuple[_Number, _Number] = (0.9, 0.999),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0.0,
        d0: _Number = 1e-06,
        d_coef: _Number = 1.0,
        *,
        bias_correction: bool = False,
        safeguard_warmup: bool = False,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class QHAdam(Optimizer):
    """Takes Adam's steps, with the newest gradient and its square mixed into the two averages."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        betas: tuple[_Number, _Number] = (0.995, 0.999),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0.0,
        *,
        nu1: _Number = 0.7,
        nu2: _Number = 1.0,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class QHM(Optimizer):
    """Moves each parameter against a mixture of its gradient and the running average of its gradients."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        momentum: _Number = 0.999,
        nu: _Number = 0.7,
        weight_decay: _Number = 0.0,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class RAdam(Optimizer):
    """Takes momentum steps first, and Adam's steps once the average of squared gradients is reliable."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        betas: tuple[_Number, _Number] = (0.9, 0.999),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        decay: str | None = None,
        decay_mode: str | None = None,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
    ) -> None: ...

class RMSprop(Optimizer):
    """Divides each step of a parameter by the root of a running average of its squared gradients."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.01,
        alpha: _Number = 0.99,
        eps: _Number = 1e-08,
        weight_decay: _Number = 0,
        momentum: _Number = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        decay: str | None = None,
        decay_mode: str | None = None,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
    ) -> None: ...

class Rprop(Optimizer):
    """Moves each parameter by a step size that grows while its gradient keeps its sign, and shrinks when it changes."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.01,
        etas: tuple[_Number, _Number] = (0.5, 1.2),
        step_sizes: tuple[_Number, _Number] = (1e-06, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        decay: str | None = None,
        decay_mode: str | None = None,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
    ) -> None: ...

class SGD(Optimizer):
    """Moves every parameter against its gradient, or against a running average of its gradients."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        momentum: _Number = 0,
        dampening: _Number = 0,
        weight_decay: _Number = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        decay: str | None = None,
        decay_mode: str | None = None,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class SM3(Optimizer):
    """Divides the gradient by the root of an upper bound of its summed squares, kept for each row and each column."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.1,
        momentum: _Number = 0.9,
        beta: _Number | None = None,
        eps: _Number = 1e-30,
        weight_decay: _Number = 0.0,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class SOAP(Optimizer):
    """Takes Adam's steps in the slowly changing eigenbases of the second moments of the gradient's rows and columns."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.003,
        betas: tuple[_Number, _Number] = (0.95, 0.95),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0.01,
        *,
        shampoo_beta: _Number | None = None,
        interval: _Number = 10,
        max_size: _Number = 10000,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class ScheduleFreeAdamW(Optimizer):
    """Takes Adam's steps on ``z``, with gradients at a point between ``z`` and the average ``x`` of all ``z``."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.0025,
        betas: tuple[_Number, _Number] = (0.9, 0.999),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0.0,
        warmup_steps: _Number = 0.0,
        r: _Number = 0.0,
        weight_lr_power: _Number = 2.0,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class ScheduleFreeSGD(Optimizer):
    """Takes plain steps on ``z``, with gradients at a point between ``z`` and the average ``x`` of all ``z``."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 1.0,
        momentum: _Number = 0.9,
        weight_decay: _Number = 0.0,
        warmup_steps: _Number = 0.0,
        r: _Number = 0.0,
        weight_lr_power: _Number = 2.0,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class Shampoo(Optimizer):
    """Divides the gradient of a matrix by the fourth roots of the second moments of its rows and its columns."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        eps: _Number = 1e-06,
        weight_decay: _Number = 0.0,
        *,
        interval: _Number = 1,
        max_size: _Number = 10000,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class Signum(Optimizer):
    """Moves each parameter by ``lr``, against the sign of the running average of its gradients."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        momentum: _Number = 0.9,
        weight_decay: _Number = 0.0,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class SimplifiedAdEMAMix(Optimizer):
    """Steps along a slowly decaying sum of gradients plus ``alpha`` times the newest gradient, divided as in Adam."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.0001,
        betas: tuple[_Number, _Number] = (0.99, 0.95),
        alpha: _Number = 0.0,
        eps: _Number = 1e-08,
        weight_decay: _Number = 0.0,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class SophiaG(Optimizer):
    """Divides an average of gradients by an average of estimates of the Hessian's diagonal, and clips the result."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.06,
        betas: tuple[_Number, _Number] = (0.96, 0.99),
        rho: _Number = 0.01,
        eps: _Number = 1e-12,
        weight_decay: _Number = 0.0,
        *,
        batch_size: _Number = 1.0,
        estimator: str | None = "gauss_newton",
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class StableAdamW(Optimizer):
    """Takes AdamW's steps, but shorter ones for a tensor whose gradients exceed their running averages."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.001,
        betas: tuple[_Number, _Number] = (0.9, 0.99),
        eps: _Number = 1e-08,
        weight_decay: _Number = 0.01,
        *,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...

class Yogi(Optimizer):
    """Takes Adam's steps, with a second moment that changes in each step by a share of the squared gradient."""

    def __init__(
        self,
        params: Params,
        lr: _Number = 0.01,
        betas: tuple[_Number, _Number] = (0.9, 0.999),
        eps: _Number = 0.001,
        weight_decay: _Number = 0.0,
        *,
        initial: _Number = 1e-06,
        decay: str = "decoupled",
        decay_mode: str | None = None,
        maximize: bool = False,
        cautious: bool = False,
        max_norm: float | Callable[[int], float] | None = None,
        ema_decay: float | Callable[[int], float] | None = None,
        engine: str | None = None,
        state_dtype: str | None = None,
        groups: Mapping[str, Mapping[str, Any]] | None = None,
        rounding: str | None = None,
        seed: int = 0,
        on_nonfinite: str = "propagate",
        capturable: bool = False,
    ) -> None: ...
