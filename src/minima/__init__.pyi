# Written by tools/stubs.py.

from minima import autograd as autograd
from minima import data as data
from minima import init as init
from minima import nn as nn
from minima import optim as optim
from minima.autograd import Tensor as Tensor
from minima.autograd import cpu as cpu
from minima.autograd import enable_grad as enable_grad
from minima.autograd import no_grad as no_grad
from minima.checkpoint import Checkpoints as Checkpoints
from minima.checkpoint import load as load
from minima.checkpoint import save as save
from minima.random import manual_seed as manual_seed

__all__ = [
    "Checkpoints",
    "Tensor",
    "autograd",
    "cpu",
    "data",
    "enable_grad",
    "init",
    "load",
    "manual_seed",
    "nn",
    "no_grad",
    "optim",
    "save",
]

__version__: str
