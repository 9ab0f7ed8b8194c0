"""The optimizers of Optax that are rules of minima in other words: one table an algorithm."""

from collections.abc import Callable
from functools import cache
from typing import Any, cast

from minima import optim
from minima.checks import one_of
from minima.errors import sentence
from minima.jax.dialect import Dialect, Entry, factory, habits
from minima.jax.transformation import Transformation
from minima.optim.rules import RULES

__all__ = ["DIALECTS", "INSTEAD", "NAMES", "named"]

_LR = Entry("learning_rate", to="lr")
_B1, _B2 = Entry("b1", 0.9, "beta1"), Entry("b2", 0.999, "beta2")
_EPS = Entry("eps", 1e-8, "eps")
_ROOT = Entry("eps_root", 0.0, only=(0.0, 0), hint="nothing is added under the root here")
_DTYPE_HINT = "all state is kept in bfloat16 by state_dtype='bfloat16'"
_MU_DTYPE = Entry("mu_dtype", None, only=(None,), hint=_DTYPE_HINT)
_ACCUMULATOR = Entry("accumulator_dtype", None, only=(None,), hint=_DTYPE_HINT)
_STATE_DTYPE = Entry("state_dtype", None, only=(None,), hint=_DTYPE_HINT)
_COLD = Entry("warmup_steps", None, only=(None, 0), hint="it is a step later in Optax; adapt(rule) has minima's own")
_LATE = "Optax weighs a step by the next one's rate; adapt(rule) takes functions, as inject_hyperparams does"
_ADAPTED = Entry("adapt_lower_bound", False, only=(False,), hint="no bound is estimated here")
_CORRECTED = "averages are corrected here"
_MASK = Entry("mask", None)
_PLAIN = Entry("nesterov", False, kw_only=True, only=(False,), hint="there is no such variant here")
_NESTEROV = Entry("nesterov", False, kw_only=True, only=(False, True))


def _decay(default: float, name: str = "weight_decay") -> Entry:
    return Entry(name, default, "weight_decay")


def _or_zero(value: Any) -> Any:
    return 0.0 if value is None else value


def _or_none(value: Any) -> Any:
    return None if isinstance(value, int | float) and not value else value


_INNER = Entry("eps_root", 0.0, "eps_root", read=_or_none)


def _heuristic(value: Any) -> Any:
    """The share of the parameters' norm that DoG takes for its first distance."""
    if not (isinstance(value, tuple) and cast(tuple[Any, ...], value)[:1] == ("heuristic",)):
        raise ValueError(sentence("dog", "init_step must be ('heuristic', number)", got=cast(object, value)))
    return cast(tuple[Any, ...], value)[1]


def _is_positive(value: Any) -> bool:
    return one_of("polyak_sgd", "variant", value, ("sps", "sps+")) == "sps+"


def _adam(name: str, *later: Entry, nesterov: bool = False) -> Dialect:
    """Adam, with Nesterov's look ahead a rule of its own."""
    given = Entry("nesterov", nesterov, kw_only=True, only=(False, True))
    table = (_LR, _B1, _B2, _EPS, _INNER, _MU_DTYPE, *later)
    blunt = tuple(_ROOT if entry is _INNER else entry for entry in table)
    decays = any(entry.to == "weight_decay" for entry in later)
    ahead, plain = (optim.NAdamW, optim.AdamW) if decays else (optim.NAdam, optim.Adam)
    fixed = {"weight_decay": 0.0}
    other = Dialect(name, ahead, (*blunt, given), fixed={"schedule": False, **fixed})
    return Dialect(name, plain, (*table, given), fixed=fixed, otherwise=other)


_ALL = (
    Dialect(
        "sgd",
        optim.SGD,
        (
            _LR,
            Entry("momentum", None, "momentum", read=_or_zero),
            Entry("nesterov", False, "nesterov"),
            _ACCUMULATOR,
        ),
        fixed={"dampening": 0.0},
    ),
    _adam("adam"),
    _adam("adamw", _decay(1e-4), _MASK),
    _adam("nadam", nesterov=True),
    _adam("nadamw", _decay(1e-4), _MASK, nesterov=True),
    Dialect(
        "amsgrad",
        optim.Adam,
        (
            _LR,
            _B1,
            _B2,
            _EPS,
            _INNER,
            _MU_DTYPE,
            Entry("bias_correction_mu", True, only=(True,), hint=_CORRECTED),
            Entry("bias_correction_nu", True, only=(True,), hint=_CORRECTED),
        ),
        fixed={"amsgrad": True, "max_hat": True, "weight_decay": 0.0},
    ),
    Dialect(
        "adabelief",
        optim.AdaBelief,
        (_LR, _B1, _B2, Entry("eps", 1e-16, "eps"), Entry("eps_root", 1e-16, "eps_root"), _PLAIN),
    ),
    Dialect("yogi", optim.Yogi, (_LR, _B1, _B2, Entry("eps", 1e-3, "eps"))),
    Dialect("sm3", optim.SM3, (_LR, Entry("momentum", 0.9, "momentum")), fixed={"eps": 1e-8}),
    Dialect(
        "adagrad",
        optim.AdaGrad,
        (_LR, Entry("initial_accumulator_value", 0.1, "initial"), Entry("eps", 1e-7, "eps")),
    ),
    Dialect(
        "rmsprop",
        optim.RMSProp,
        (
            _LR,
            Entry("decay", 0.9, "rho"),
            _EPS,
            Entry("initial_scale", 0.0, only=(0.0, 0), hint="the average begins at 0 here"),
            Entry("eps_in_sqrt", True, "eps_inside"),
            Entry("centered", False, "centered"),
            Entry("momentum", None, "momentum", read=_or_none),
            Entry("nesterov", False, only=(False,), hint="there is no such variant here"),
            Entry("bias_correction", False, only=(False,), hint="adam with b1=0 has it"),
        ),
    ),
    Dialect(
        "adadelta",
        optim.AdaDelta,
        (
            Entry("learning_rate", 1.0, "lr"),
            Entry("rho", 0.9, "rho"),
            Entry("eps", 1e-6, "eps"),
            _decay(0.0),
            Entry("weight_decay_mask", None),
        ),
        options={"decay_mode": "l2"},
    ),
    Dialect("adamax", optim.AdaMax, (_LR, _B1, _B2, _EPS), fixed={"weight_decay": 0.0}),
    Dialect("adamaxw", optim.AdaMax, (_LR, _B1, _B2, _EPS, _decay(1e-4), _MASK)),
    Dialect(
        "radam",
        optim.RAdam,
        (_LR, _B1, _B2, _EPS, _ROOT, Entry("threshold", 5.0, "threshold"), _PLAIN),
        fixed={"eps_hat": False, "weight_decay": 0.0},
    ),
    Dialect(
        "lion",
        optim.Lion,
        (_LR, _B1, Entry("b2", 0.99, "beta2"), _MU_DTYPE, _decay(1e-3), _MASK),
    ),
    Dialect("signum", optim.Signum, (_LR, Entry("beta", 0.9, "momentum"), _ACCUMULATOR), fixed={"weight_decay": 0.0}),
    Dialect("sign_sgd", optim.Signum, (_LR,), fixed={"momentum": 0.0, "weight_decay": 0.0}),
    Dialect(
        "lamb",
        optim.LAMB,
        (_LR, _B1, _B2, Entry("eps", 1e-6, "eps"), _ROOT, _decay(0.0), _MASK),
    ),
    Dialect(
        "lars",
        optim.LARS,
        (
            _LR,
            _decay(0.0),
            Entry("weight_decay_mask", True),
            Entry("trust_coefficient", 0.001, "trust"),
            Entry("eps", 0.0, only=(0.0, 0), hint="nothing is added to the norm here"),
            Entry("trust_ratio_mask", True, only=(True,), hint="give groups={'*bias': {'adaptive': False}}"),
            Entry("momentum", 0.9, "momentum"),
            Entry("nesterov", False, only=(False,), hint="there is no such variant here"),
        ),
    ),
    Dialect(
        "novograd",
        optim.NovoGrad,
        (_LR, _B1, Entry("b2", 0.25, "beta2"), Entry("eps", 1e-6, "eps"), _ROOT, _decay(0.0)),
    ),
    Dialect(
        "ademamix",
        optim.AdEMAMix,
        (
            _LR,
            _B1,
            _B2,
            Entry("b3", 0.9999, "beta3"),
            Entry("alpha", 5.0, "alpha"),
            _EPS,
            _ROOT,
            _MU_DTYPE,
            _decay(0.0),
            _MASK,
        ),
    ),
    Dialect(
        "adopt",
        optim.ADOPT,
        (
            _LR,
            _B1,
            Entry("b2", 0.9999, "beta2"),
            Entry("eps", 1e-6, "eps"),
            _MU_DTYPE,
            _PLAIN,
            Entry("use_clipping", True, "clipped", kw_only=True),
            Entry("clip_exp", 0.25, "clip_exp", kw_only=True),
        ),
        fixed={"weight_decay": 0.0},
    ),
    Dialect(
        "simplified_ademamix",
        optim.SimplifiedAdEMAMix,
        (
            _LR,
            Entry("b1", 0.99, "beta1"),
            Entry("b2", 0.95, "beta2"),
            Entry("alpha", 0.0, "alpha"),
            _EPS,
            _ROOT,
            _decay(0.0),
            _MASK,
        ),
    ),
    Dialect(
        "polyak_sgd",
        optim.PolyakSGD,
        (
            Entry("max_learning_rate", 1.0, "lr"),
            Entry("scaling", 1.0, only=(1.0, 1), hint="scale updates by optax.chain(..., optax.scale(number))"),
            Entry("f_min", 0.0, "bound"),
            Entry("eps", 0.0, "eps"),
            Entry("variant", "sps", "positive", read=_is_positive),
        ),
    ),
    Dialect(
        "momo",
        optim.MoMo,
        (
            Entry("learning_rate", 1.0, "lr"),
            Entry("beta", 0.9, "beta"),
            Entry("lower_bound", 0.0, "bound"),
            _decay(0.0),
            _ADAPTED,
        ),
    ),
    Dialect(
        "momo_adam",
        optim.MoMoAdam,
        (
            Entry("learning_rate", 1e-2, "lr"),
            _B1,
            _B2,
            _EPS,
            Entry("lower_bound", 0.0, "bound"),
            _decay(0.0),
            _ADAPTED,
        ),
    ),
    Dialect(
        "dog",
        optim.DoG,
        (
            Entry("learning_rate", 1.0, "lr"),
            Entry("init_step", ("heuristic", 1e-6), "reps_rel", read=_heuristic),
            _EPS,
            Entry("weight_decay", None, "weight_decay", read=_or_zero),
            _MASK,
        ),
    ),
    Dialect(
        "dowg",
        optim.DoWG,
        (
            Entry("learning_rate", 1.0, "lr"),
            Entry("init_estim_sq_dist", None, "r0", or_else="eps"),
            Entry("eps", 1e-4, "eps"),
            Entry("weight_decay", None, "weight_decay", read=_or_zero),
            _MASK,
        ),
    ),
    Dialect(
        "schedule_free_sgd",
        optim.ScheduleFreeSGD,
        (
            Entry("learning_rate", 1.0, "lr", is_constant=True, hint=_LATE),
            _COLD,
            Entry("b1", 0.9, "momentum"),
            Entry("weight_decay", None, "weight_decay", read=_or_zero),
            Entry("weight_lr_power", 2.0, "weight_lr_power"),
        ),
    ),
    Dialect(
        "schedule_free_adamw",
        optim.ScheduleFreeAdamW,
        (
            Entry("learning_rate", 0.0025, "lr", is_constant=True, hint=_LATE),
            _COLD,
            _B1,
            _B2,
            _EPS,
            _decay(0.0),
            Entry("weight_lr_power", 2.0, "weight_lr_power"),
        ),
    ),
)
DIALECTS = {dialect.name: dialect for dialect in _ALL}
"""Every name that Optax has, of what is the same algorithm here."""

_OWN = {
    "rprop": ("Rprop", "applies each step one step later in Optax"),
    "adan": ("Adan", "weights differences differently in Optax than in the paper"),
    "muon": ("Muon", "expects the inputs as first axis of a matrix in Optax"),
    "adafactor": ("Adafactor", "factors the two largest axes in Optax"),
    "dadapt_adamw": ("DAdaptAdam", "takes betas as a pair in Optax"),
    "prodigy": ("Prodigy", "takes betas as a pair, and differs by float32 rounding, in Optax"),
    "madgrad": ("MADGRAD", "differs by 2e-8 in Optax"),
    "sophia": ("SophiaG", "estimates the Hessian itself in Optax"),
}
INSTEAD = {
    **{name: f"{why}; minima's own is adapt(minima.optim.{rule})" for name, (rule, why) in _OWN.items()},
    "lbfgs": "is Optax's own; use optax.lbfgs()",
    "lookahead": "is a wrapper in Optax; use optax.lookahead(...) around any transformation of minima",
    "sam": "is a wrapper in Optax; use optax.contrib.sam(...) around any transformation of minima, or "
    "sharpness_aware(loss), which has ASAM too and computes both gradients in one call",
    "schedule_free": "is a wrapper in Optax; use optax.contrib.schedule_free(...) around any transformation of minima, "
    "or schedule_free_sgd and schedule_free_adamw of minima, which need no wrapper",
    "schedule_free_eval_params": "is for the state of Optax's wrapper; for a transformation of minima use "
    "tx.averaged(state, params)",
}
"""Names of Optax that are left out, with what to do instead."""
_KNOWN = {*(each.rule.__name__ for one in _ALL for each in (one, one.otherwise) if each)}
_OTHERS = {name.lower(): name for name in RULES if name not in _KNOWN and name.lower() not in {*INSTEAD, *DIALECTS}}
"""What Optax lacks, by its name in lower case."""
NAMES = sorted({*DIALECTS, *_OTHERS})
"""Every factory."""


@cache
def named(name: str) -> Callable[..., Transformation]:
    """The factory of a name."""
    return factory(DIALECTS[name] if name in DIALECTS else habits(getattr(optim, _OTHERS[name])))
