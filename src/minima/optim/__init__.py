"""Optimizers: one interface, many strategies, and the means to write your own."""

from minima.optim import schedules
from minima.optim.accumulation import accumulate
from minima.optim.algorithms.adagrad import AdaGrad
from minima.optim.algorithms.adam import Adam
from minima.optim.algorithms.rmsprop import RMSProp
from minima.optim.algorithms.sgd import SGD
from minima.optim.averaging import EMA
from minima.optim.clipping import clip_grad_adaptive, clip_grad_norm, clip_grad_value
from minima.optim.formula import Formula
from minima.optim.groups import ParamGroup
from minima.optim.hyper import Hyper, hyper
from minima.optim.measures import Measure, Measures
from minima.optim.optimizer import Optimizer
from minima.optim.range_test import RangeTest, lr_range_test
from minima.optim.vocabulary import abs, exp, log, maximum, minimum, sign, sqrt, where

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
