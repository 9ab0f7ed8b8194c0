"""Tensors to start from: constants, and draws from the generator that `minima.random.manual_seed` seeds.

Random numbers are drawn in float64 and then rounded to ``dtype``, so a seed gives the same network in every precision,
up to rounding.
"""

from minima.init.choices import multinomial, randint, randperm
from minima.init.constants import constant, ones, zeros
from minima.init.draws import normal, rand, rand_like, randn, randn_like, uniform
from minima.init.fans import kaiming_normal, kaiming_uniform, xavier_normal, xavier_uniform

__all__ = [
    "constant",
    "kaiming_normal",
    "kaiming_uniform",
    "multinomial",
    "normal",
    "ones",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]
