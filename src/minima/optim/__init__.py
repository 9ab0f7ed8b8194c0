"""Optimizers: one interface, many strategies, and the means to write your own."""

from minima.optim import schedules
from minima.optim.core.measures import Measure, Measures
from minima.optim.groups import ParamGroup
from minima.optim.language.formula import Formula
from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import abs, exp, log, maximum, minimum, sign, sqrt, where
from minima.optim.optimizer import Optimizer
from minima.optim.rules.adagrad import AdaGrad
from minima.optim.rules.adam import Adam
from minima.optim.rules.rmsprop import RMSProp
from minima.optim.rules.sgd import SGD
from minima.optim.training.accumulation import accumulate
from minima.optim.training.averaging import EMA
from minima.optim.training.clipping import clip_grad_adaptive, clip_grad_norm, clip_grad_value
from minima.optim.training.range_test import RangeTest, lr_range_test

__all__ = [
    "EMA",
    "SGD",
    "AdaGrad",
    "Adam",
    "Formula",
    "Hyper",
    "Measure",
    "Measures",
    "Optimizer",
    "ParamGroup",
    "RMSProp",
    "RangeTest",
    "abs",
    "accumulate",
    "clip_grad_adaptive",
    "clip_grad_norm",
    "clip_grad_value",
    "exp",
    "hyper",
    "log",
    "lr_range_test",
    "maximum",
    "minimum",
    "schedules",
    "sign",
    "sqrt",
    "where",
]
