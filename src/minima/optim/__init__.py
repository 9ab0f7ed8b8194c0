"""Optimizers: one interface, many strategies, and the means to write your own."""

import builtins

from minima.lazy import loaders as _loaders
from minima.optim.rules import RULES as _RULES

_PLACES = {
    **_RULES,
    "LBFGS": "minima.optim.loops.lbfgs",
    "Optimizer": "minima.optim.optimizer",
    "ParamGroup": "minima.optim.groups",
    "Measure": "minima.optim.core.measures",
    "Measures": "minima.optim.core.measures",
    "Formula": "minima.optim.language.formula",
    "Hyper": "minima.optim.language.hyper",
    "hyper": "minima.optim.language.hyper",
    "ColumnsByColumns": "minima.optim.language.ranks",
    "Exact": "minima.optim.language.ranks",
    "PerColumn": "minima.optim.language.ranks",
    "PerRow": "minima.optim.language.ranks",
    "PerTensor": "minima.optim.language.ranks",
    "RowsByRows": "minima.optim.language.ranks",
    "Shared": "minima.optim.language.ranks",
    "abs": "minima.optim.language.vocabulary",
    "bfloat16": "minima.optim.language.vocabulary",
    "cbrt": "minima.optim.language.vocabulary",
    "clip": "minima.optim.language.vocabulary",
    "direction": "minima.optim.language.vocabulary",
    "eigh": "minima.optim.language.vocabulary",
    "exp": "minima.optim.language.vocabulary",
    "log": "minima.optim.language.vocabulary",
    "max": "minima.optim.language.vocabulary",
    "maximum": "minima.optim.language.vocabulary",
    "mean": "minima.optim.language.vocabulary",
    "minimum": "minima.optim.language.vocabulary",
    "norm": "minima.optim.language.vocabulary",
    "qr": "minima.optim.language.vocabulary",
    "sign": "minima.optim.language.vocabulary",
    "sort_columns": "minima.optim.language.vocabulary",
    "sqrt": "minima.optim.language.vocabulary",
    "sum": "minima.optim.language.vocabulary",
    "total": "minima.optim.language.vocabulary",
    "where": "minima.optim.language.vocabulary",
    "Lookahead": "minima.optim.loops.lookahead",
    "SAM": "minima.optim.loops.sam",
    "EMA": "minima.optim.training.averaging",
    "RangeTest": "minima.optim.training.range_test",
    "accumulate": "minima.optim.training.accumulation",
    "clip_grad_adaptive": "minima.optim.training.clipping",
    "clip_grad_norm": "minima.optim.training.clipping",
    "clip_grad_value": "minima.optim.training.clipping",
    "lr_range_test": "minima.optim.training.range_test",
    "by_name": "minima.optim.catalog",
    "names": "minima.optim.catalog",
    "schedules": "minima.optim.schedules",
}

# With `import *`, words that Python has too would take their place.
__all__ = [name for name in _PLACES if not hasattr(builtins, name)]  # pyright: ignore[reportUnsupportedDunderAll] - the stub lists them

__getattr__, __dir__ = _loaders(__name__, _PLACES)
