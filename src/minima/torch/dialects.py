"""The algorithms of ``torch.optim`` that are rules of minima in other words: one table an algorithm."""

from collections.abc import Mapping
from typing import Any

from minima import optim
from minima.torch.dialect import FLAG, Dialect, Entry

__all__ = ["DIALECTS", "INSTEAD"]

_MAXIMIZE = Entry("maximize", False, ("maximize",), kw_only=True)
_FOREACH = Entry("foreach", None, kw_only=True)
_FUSED = Entry("fused", None, kw_only=True)
_CAPTURABLE = Entry("capturable", False, kw_only=True, refused="steps are taken by code that no graph records")
_DIFFERENTIABLE = Entry(
    "differentiable", False, kw_only=True, refused="steps are taken by code that autograd does not see"
)
_WAYS = {False: "l2", True: "decoupled"}


def _placed(entry: Entry) -> Entry:
    """The same argument where PyTorch takes it by position too."""
    return Entry(entry.name, entry.default, entry.means, refused=entry.refused)


def _nesterov(group: Mapping[str, Any]) -> str:
    if group["nesterov"] and (_is_zero(group["momentum"]) or not _is_zero(group["dampening"])):
        return "nesterov must go with momentum, and without dampening"
    return ""


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and value == 0


def _adam(name: str, weight_decay: float, decay: str, *later: Entry, extends: str = "") -> Dialect:
    table = (
        Entry("lr", 0.001, ("lr",)),
        Entry("betas", (0.9, 0.999), ("beta1", "beta2")),
        Entry("eps", 1e-8, ("eps",)),
        Entry("weight_decay", weight_decay, ("weight_decay",)),
        Entry("amsgrad", False, ("amsgrad",)),
        *later,
    )
    rule = optim.AdamW if name == "AdamW" else optim.Adam
    return Dialect(name, rule, table, fixed={"eps_hat": False}, decay=decay, is_foreign=True, extends=extends)


_ALL = (
    Dialect(
        "SGD",
        optim.SGD,
        (
            Entry("lr", 0.001, ("lr",)),
            Entry("momentum", 0, ("momentum",)),
            Entry("dampening", 0, ("dampening",)),
            Entry("weight_decay", 0, ("wd",)),
            Entry("nesterov", False, ("nesterov",)),
            _MAXIMIZE,
            _FOREACH,
            _DIFFERENTIABLE,
            _FUSED,
        ),
        state={"u": "momentum_buffer"},
        fixed={"dampen_first": False},
        decay="l2",
        is_foreign=True,
        counts=False,
        check_together=_nesterov,
    ),
    Dialect(
        "Adagrad",
        optim.AdaGrad,
        (
            Entry("lr", 0.01, ("lr",)),
            Entry("lr_decay", 0, ("lr_decay",)),
            Entry("weight_decay", 0, ("wd",)),
            Entry("initial_accumulator_value", 0, ("initial",)),
            Entry("eps", 1e-10, ("eps",)),
            _placed(_FOREACH),
            _MAXIMIZE,
            _DIFFERENTIABLE,
            _FUSED,
        ),
        state={"cache": "sum"},
        fixed={"eps_inside": False},
        decay="l2",
        is_foreign=True,
        begins_with_state=True,
    ),
    Dialect(
        "RMSprop",
        optim.RMSProp,
        (
            Entry("lr", 0.01, ("lr",)),
            Entry("alpha", 0.99, ("rho",)),
            Entry("eps", 1e-8, ("eps",)),
            Entry("weight_decay", 0, ("wd",)),
            Entry("momentum", 0, ("momentum",), words={0: None}),
            Entry("centered", False, ("centered",)),
            *map(_placed, (_CAPTURABLE, _FOREACH, _MAXIMIZE, _DIFFERENTIABLE)),
        ),
        state={"cache": "square_avg"},
        fixed={"eps_inside": False},
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
        Entry(FLAG, False, ("decay",), kw_only=True, words=_WAYS),
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
)

DIALECTS = {dialect.name: dialect for dialect in _ALL}
"""The algorithms of ``torch.optim``, by their names there."""

INSTEAD = {"RMSProp": "RMSprop", "AdaGrad": "Adagrad"}
"""Rules that PyTorch spells in another way."""
