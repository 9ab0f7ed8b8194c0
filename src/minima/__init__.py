"""minima: optimizers for deep learning. Write the update once, as the paper does; run it everywhere."""

from minima import autograd, data, init, nn, optim
from minima.autograd import Tensor, cpu, enable_grad, no_grad
from minima.checkpoint import Checkpoints, load, save
from minima.random import manual_seed

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

__version__ = "0.1.0"
