"""Optimizers: one interface, many strategies, and the means to write your own."""

from minima.optim import schedules
from minima.optim.algorithms.adagrad import AdaGrad
from minima.optim.algorithms.adam import Adam
from minima.optim.algorithms.rmsprop import RMSProp
from minima.optim.algorithms.sgd import SGD
from minima.optim.formula import Formula
from minima.optim.groups import ParamGroup
from minima.optim.hyper import Hyper, hyper
from minima.optim.optimizer import Optimizer
from minima.optim.vocabulary import abs, exp, log, maximum, minimum, sign, sqrt, where

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "Formula",
    "Hyper",
    "Optimizer",
    "ParamGroup",
    "RMSProp",
    "abs",
    "exp",
    "hyper",
    "log",
    "maximum",
    "minimum",
    "schedules",
    "sign",
    "sqrt",
    "where",
]
