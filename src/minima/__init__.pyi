# Written by tools/stubs.py.

from minima import autograd as autograd
from minima import data as data
from minima import init as init
from minima import nn as nn
from minima import optim as optim
from minima.autograd import Tensor as Tensor
from minima.autograd import abs as abs
from minima.autograd import all as all
from minima.autograd import amax as amax
from minima.autograd import amin as amin
from minima.autograd import any as any
from minima.autograd import arange as arange
from minima.autograd import argmax as argmax
from minima.autograd import argmin as argmin
from minima.autograd import argsort as argsort
from minima.autograd import as_tensor as as_tensor
from minima.autograd import broadcast_to as broadcast_to
from minima.autograd import cat as cat
from minima.autograd import ceil as ceil
from minima.autograd import clamp as clamp
from minima.autograd import clip as clip
from minima.autograd import concatenate as concatenate
from minima.autograd import cos as cos
from minima.autograd import cpu as cpu
from minima.autograd import cumsum as cumsum
from minima.autograd import einsum as einsum
from minima.autograd import elu as elu
from minima.autograd import enable_grad as enable_grad
from minima.autograd import erf as erf
from minima.autograd import exp as exp
from minima.autograd import expand as expand
from minima.autograd import expm1 as expm1
from minima.autograd import eye as eye
from minima.autograd import flatten as flatten
from minima.autograd import flip as flip
from minima.autograd import float16 as float16
from minima.autograd import float32 as float32
from minima.autograd import float64 as float64
from minima.autograd import floor as floor
from minima.autograd import full as full
from minima.autograd import full_like as full_like
from minima.autograd import gather as gather
from minima.autograd import gelu as gelu
from minima.autograd import int32 as int32
from minima.autograd import int64 as int64
from minima.autograd import is_grad_enabled as is_grad_enabled
from minima.autograd import leaky_relu as leaky_relu
from minima.autograd import linspace as linspace
from minima.autograd import log as log
from minima.autograd import log1p as log1p
from minima.autograd import log_softmax as log_softmax
from minima.autograd import logsumexp as logsumexp
from minima.autograd import masked_fill as masked_fill
from minima.autograd import matmul as matmul
from minima.autograd import max as max
from minima.autograd import maximum as maximum
from minima.autograd import mean as mean
from minima.autograd import min as min
from minima.autograd import minimum as minimum
from minima.autograd import no_grad as no_grad
from minima.autograd import norm as norm
from minima.autograd import one_hot as one_hot
from minima.autograd import ones_like as ones_like
from minima.autograd import outer as outer
from minima.autograd import pad as pad
from minima.autograd import permute as permute
from minima.autograd import prod as prod
from minima.autograd import reciprocal as reciprocal
from minima.autograd import relu as relu
from minima.autograd import reshape as reshape
from minima.autograd import round as round
from minima.autograd import sigmoid as sigmoid
from minima.autograd import silu as silu
from minima.autograd import sin as sin
from minima.autograd import softmax as softmax
from minima.autograd import softplus as softplus
from minima.autograd import sort as sort
from minima.autograd import split as split
from minima.autograd import sqrt as sqrt
from minima.autograd import square as square
from minima.autograd import squeeze as squeeze
from minima.autograd import stack as stack
from minima.autograd import std as std
from minima.autograd import sum as sum
from minima.autograd import swapaxes as swapaxes
from minima.autograd import tanh as tanh
from minima.autograd import tensor as tensor
from minima.autograd import topk as topk
from minima.autograd import transpose as transpose
from minima.autograd import tril as tril
from minima.autograd import triu as triu
from minima.autograd import uint8 as uint8
from minima.autograd import unsqueeze as unsqueeze
from minima.autograd import var as var
from minima.autograd import where as where
from minima.autograd import zeros_like as zeros_like
from minima.checkpoint import Checkpoints as Checkpoints
from minima.checkpoint import load as load
from minima.checkpoint import save as save
from minima.init import multinomial as multinomial
from minima.init import ones as ones
from minima.init import rand as rand
from minima.init import randint as randint
from minima.init import randn as randn
from minima.init import randperm as randperm
from minima.init import zeros as zeros
from minima.random import manual_seed as manual_seed

__all__ = [
    "Checkpoints",
    "Tensor",
    "amax",
    "amin",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "as_tensor",
    "autograd",
    "broadcast_to",
    "cat",
    "ceil",
    "clamp",
    "clip",
    "concatenate",
    "cos",
    "cpu",
    "cumsum",
    "data",
    "einsum",
    "elu",
    "enable_grad",
    "erf",
    "exp",
    "expand",
    "expm1",
    "eye",
    "flatten",
    "flip",
    "float16",
    "float32",
    "float64",
    "floor",
    "full",
    "full_like",
    "gather",
    "gelu",
    "init",
    "int32",
    "int64",
    "is_grad_enabled",
    "leaky_relu",
    "linspace",
    "load",
    "log",
    "log1p",
    "log_softmax",
    "logsumexp",
    "manual_seed",
    "masked_fill",
    "matmul",
    "maximum",
    "mean",
    "minimum",
    "multinomial",
    "nn",
    "no_grad",
    "norm",
    "one_hot",
    "ones",
    "ones_like",
    "optim",
    "outer",
    "pad",
    "permute",
    "prod",
    "rand",
    "randint",
    "randn",
    "randperm",
    "reciprocal",
    "relu",
    "reshape",
    "save",
    "sigmoid",
    "silu",
    "sin",
    "softmax",
    "softplus",
    "sort",
    "split",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "swapaxes",
    "tanh",
    "tensor",
    "topk",
    "transpose",
    "tril",
    "triu",
    "uint8",
    "unsqueeze",
    "var",
    "where",
    "zeros",
    "zeros_like",
]

__version__: str
