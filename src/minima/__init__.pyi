# Written by tools/stubs.py.

from minima import autograd as autograd
from minima import data as data
from minima import init as init
from minima import nn as nn
from minima import optim as optim
from minima.autograd import Tensor as Tensor
from minima.autograd import abs as abs
from minima.autograd import add as add
from minima.autograd import all as all
from minima.autograd import allclose as allclose
from minima.autograd import amax as amax
from minima.autograd import amin as amin
from minima.autograd import any as any
from minima.autograd import arange as arange
from minima.autograd import argmax as argmax
from minima.autograd import argmin as argmin
from minima.autograd import argsort as argsort
from minima.autograd import argwhere as argwhere
from minima.autograd import as_tensor as as_tensor
from minima.autograd import bmm as bmm
from minima.autograd import broadcast_to as broadcast_to
from minima.autograd import cat as cat
from minima.autograd import ceil as ceil
from minima.autograd import chunk as chunk
from minima.autograd import clamp as clamp
from minima.autograd import clip as clip
from minima.autograd import clone as clone
from minima.autograd import concat as concat
from minima.autograd import concatenate as concatenate
from minima.autograd import cos as cos
from minima.autograd import count_nonzero as count_nonzero
from minima.autograd import cpu as cpu
from minima.autograd import cumsum as cumsum
from minima.autograd import diag as diag
from minima.autograd import div as div
from minima.autograd import dot as dot
from minima.autograd import einsum as einsum
from minima.autograd import elu as elu
from minima.autograd import empty as empty
from minima.autograd import empty_like as empty_like
from minima.autograd import enable_grad as enable_grad
from minima.autograd import eq as eq
from minima.autograd import equal as equal
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
from minima.autograd import from_numpy as from_numpy
from minima.autograd import full as full
from minima.autograd import full_like as full_like
from minima.autograd import gather as gather
from minima.autograd import ge as ge
from minima.autograd import gelu as gelu
from minima.autograd import gt as gt
from minima.autograd import hstack as hstack
from minima.autograd import index_select as index_select
from minima.autograd import inference_mode as inference_mode
from minima.autograd import int32 as int32
from minima.autograd import int64 as int64
from minima.autograd import is_grad_enabled as is_grad_enabled
from minima.autograd import is_tensor as is_tensor
from minima.autograd import isclose as isclose
from minima.autograd import isfinite as isfinite
from minima.autograd import isinf as isinf
from minima.autograd import isnan as isnan
from minima.autograd import le as le
from minima.autograd import leaky_relu as leaky_relu
from minima.autograd import linspace as linspace
from minima.autograd import log as log
from minima.autograd import log1p as log1p
from minima.autograd import log2 as log2
from minima.autograd import log10 as log10
from minima.autograd import log_softmax as log_softmax
from minima.autograd import logical_and as logical_and
from minima.autograd import logical_not as logical_not
from minima.autograd import logical_or as logical_or
from minima.autograd import logical_xor as logical_xor
from minima.autograd import logsumexp as logsumexp
from minima.autograd import lt as lt
from minima.autograd import masked_fill as masked_fill
from minima.autograd import masked_select as masked_select
from minima.autograd import matmul as matmul
from minima.autograd import max as max
from minima.autograd import maximum as maximum
from minima.autograd import mean as mean
from minima.autograd import meshgrid as meshgrid
from minima.autograd import min as min
from minima.autograd import minimum as minimum
from minima.autograd import mm as mm
from minima.autograd import moveaxis as moveaxis
from minima.autograd import movedim as movedim
from minima.autograd import mul as mul
from minima.autograd import mv as mv
from minima.autograd import narrow as narrow
from minima.autograd import ne as ne
from minima.autograd import neg as neg
from minima.autograd import no_grad as no_grad
from minima.autograd import norm as norm
from minima.autograd import numel as numel
from minima.autograd import one_hot as one_hot
from minima.autograd import ones_like as ones_like
from minima.autograd import outer as outer
from minima.autograd import pad as pad
from minima.autograd import permute as permute
from minima.autograd import pow as pow
from minima.autograd import prod as prod
from minima.autograd import reciprocal as reciprocal
from minima.autograd import relu as relu
from minima.autograd import repeat_interleave as repeat_interleave
from minima.autograd import reshape as reshape
from minima.autograd import roll as roll
from minima.autograd import round as round
from minima.autograd import rsqrt as rsqrt
from minima.autograd import set_grad_enabled as set_grad_enabled
from minima.autograd import sigmoid as sigmoid
from minima.autograd import sign as sign
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
from minima.autograd import sub as sub
from minima.autograd import sum as sum
from minima.autograd import swapaxes as swapaxes
from minima.autograd import tanh as tanh
from minima.autograd import tensor as tensor
from minima.autograd import tile as tile
from minima.autograd import topk as topk
from minima.autograd import trace as trace
from minima.autograd import transpose as transpose
from minima.autograd import tril as tril
from minima.autograd import triu as triu
from minima.autograd import uint8 as uint8
from minima.autograd import unbind as unbind
from minima.autograd import unsqueeze as unsqueeze
from minima.autograd import var as var
from minima.autograd import vstack as vstack
from minima.autograd import where as where
from minima.autograd import zeros_like as zeros_like
from minima.checkpoint import Checkpoints as Checkpoints
from minima.checkpoint import load as load
from minima.checkpoint import save as save
from minima.init import multinomial as multinomial
from minima.init import ones as ones
from minima.init import rand as rand
from minima.init import rand_like as rand_like
from minima.init import randint as randint
from minima.init import randn as randn
from minima.init import randn_like as randn_like
from minima.init import randperm as randperm
from minima.init import zeros as zeros
from minima.random import manual_seed as manual_seed

__all__ = [
    "Checkpoints",
    "Tensor",
    "add",
    "allclose",
    "amax",
    "amin",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "argwhere",
    "as_tensor",
    "autograd",
    "bmm",
    "broadcast_to",
    "cat",
    "ceil",
    "chunk",
    "clamp",
    "clip",
    "clone",
    "concat",
    "concatenate",
    "cos",
    "count_nonzero",
    "cpu",
    "cumsum",
    "data",
    "diag",
    "div",
    "dot",
    "einsum",
    "elu",
    "empty",
    "empty_like",
    "enable_grad",
    "eq",
    "equal",
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
    "from_numpy",
    "full",
    "full_like",
    "gather",
    "ge",
    "gelu",
    "gt",
    "hstack",
    "index_select",
    "inference_mode",
    "init",
    "int32",
    "int64",
    "is_grad_enabled",
    "is_tensor",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "leaky_relu",
    "linspace",
    "load",
    "log",
    "log10",
    "log1p",
    "log2",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsumexp",
    "lt",
    "manual_seed",
    "masked_fill",
    "masked_select",
    "matmul",
    "maximum",
    "mean",
    "meshgrid",
    "minimum",
    "mm",
    "moveaxis",
    "movedim",
    "mul",
    "multinomial",
    "mv",
    "narrow",
    "ne",
    "neg",
    "nn",
    "no_grad",
    "norm",
    "numel",
    "one_hot",
    "ones",
    "ones_like",
    "optim",
    "outer",
    "pad",
    "permute",
    "prod",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "reciprocal",
    "relu",
    "repeat_interleave",
    "reshape",
    "roll",
    "rsqrt",
    "save",
    "set_grad_enabled",
    "sigmoid",
    "sign",
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
    "sub",
    "swapaxes",
    "tanh",
    "tensor",
    "tile",
    "topk",
    "trace",
    "transpose",
    "tril",
    "triu",
    "uint8",
    "unbind",
    "unsqueeze",
    "var",
    "vstack",
    "where",
    "zeros",
    "zeros_like",
]

__version__: str
