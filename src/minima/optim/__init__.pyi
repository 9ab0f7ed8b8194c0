# Written by tools/stubs.py.

from minima.optim import schedules as schedules
from minima.optim.catalog import by_name as by_name
from minima.optim.catalog import names as names
from minima.optim.core.measures import Measure as Measure
from minima.optim.core.measures import Measures as Measures
from minima.optim.groups import ParamGroup as ParamGroup
from minima.optim.language.formula import Formula as Formula
from minima.optim.language.hyper import Hyper as Hyper
from minima.optim.language.hyper import hyper as hyper
from minima.optim.language.ranks import ColumnsByColumns as ColumnsByColumns
from minima.optim.language.ranks import Exact as Exact
from minima.optim.language.ranks import PerColumn as PerColumn
from minima.optim.language.ranks import PerRow as PerRow
from minima.optim.language.ranks import PerTensor as PerTensor
from minima.optim.language.ranks import RowsByRows as RowsByRows
from minima.optim.language.ranks import Shared as Shared
from minima.optim.language.vocabulary import abs as abs
from minima.optim.language.vocabulary import bfloat16 as bfloat16
from minima.optim.language.vocabulary import cbrt as cbrt
from minima.optim.language.vocabulary import clip as clip
from minima.optim.language.vocabulary import direction as direction
from minima.optim.language.vocabulary import eigh as eigh
from minima.optim.language.vocabulary import exp as exp
from minima.optim.language.vocabulary import log as log
from minima.optim.language.vocabulary import max as max
from minima.optim.language.vocabulary import maximum as maximum
from minima.optim.language.vocabulary import mean as mean
from minima.optim.language.vocabulary import minimum as minimum
from minima.optim.language.vocabulary import norm as norm
from minima.optim.language.vocabulary import qr as qr
from minima.optim.language.vocabulary import sign as sign
from minima.optim.language.vocabulary import sort_columns as sort_columns
from minima.optim.language.vocabulary import sqrt as sqrt
from minima.optim.language.vocabulary import sum as sum
from minima.optim.language.vocabulary import total as total
from minima.optim.language.vocabulary import where as where
from minima.optim.loops.lbfgs import LBFGS as LBFGS
from minima.optim.loops.lookahead import Lookahead as Lookahead
from minima.optim.loops.sam import SAM as SAM
from minima.optim.optimizer import Optimizer as Optimizer
from minima.optim.rules.adabelief import AdaBelief as AdaBelief
from minima.optim.rules.adadelta import AdaDelta as AdaDelta
from minima.optim.rules.adafactor import Adafactor as Adafactor
from minima.optim.rules.adagrad import AdaGrad as AdaGrad
from minima.optim.rules.adam import Adam as Adam
from minima.optim.rules.adamax import AdaMax as AdaMax
from minima.optim.rules.adamw import AdamW as AdamW
from minima.optim.rules.adan import Adan as Adan
from minima.optim.rules.ademamix import AdEMAMix as AdEMAMix
from minima.optim.rules.adopt import ADOPT as ADOPT
from minima.optim.rules.asgd import ASGD as ASGD
from minima.optim.rules.came import CAME as CAME
from minima.optim.rules.dadaptadam import DAdaptAdam as DAdaptAdam
from minima.optim.rules.dadaptsgd import DAdaptSGD as DAdaptSGD
from minima.optim.rules.dog import DoG as DoG
from minima.optim.rules.dowg import DoWG as DoWG
from minima.optim.rules.ftrl import FTRL as FTRL
from minima.optim.rules.lamb import LAMB as LAMB
from minima.optim.rules.laprop import LaProp as LaProp
from minima.optim.rules.lars import LARS as LARS
from minima.optim.rules.lion import Lion as Lion
from minima.optim.rules.madgrad import MADGRAD as MADGRAD
from minima.optim.rules.mars import MARS as MARS
from minima.optim.rules.momo import MoMo as MoMo
from minima.optim.rules.momoadam import MoMoAdam as MoMoAdam
from minima.optim.rules.muon import Muon as Muon
from minima.optim.rules.nadam import NAdam as NAdam
from minima.optim.rules.nadamw import NAdamW as NAdamW
from minima.optim.rules.novograd import NovoGrad as NovoGrad
from minima.optim.rules.polyaksgd import PolyakSGD as PolyakSGD
from minima.optim.rules.prodigy import Prodigy as Prodigy
from minima.optim.rules.qhadam import QHAdam as QHAdam
from minima.optim.rules.qhm import QHM as QHM
from minima.optim.rules.radam import RAdam as RAdam
from minima.optim.rules.rmsprop import RMSProp as RMSProp
from minima.optim.rules.rprop import Rprop as Rprop
from minima.optim.rules.schedulefreeadamw import ScheduleFreeAdamW as ScheduleFreeAdamW
from minima.optim.rules.schedulefreesgd import ScheduleFreeSGD as ScheduleFreeSGD
from minima.optim.rules.sgd import SGD as SGD
from minima.optim.rules.shampoo import Shampoo as Shampoo
from minima.optim.rules.signum import Signum as Signum
from minima.optim.rules.simplifiedademamix import SimplifiedAdEMAMix as SimplifiedAdEMAMix
from minima.optim.rules.sm3 import SM3 as SM3
from minima.optim.rules.soap import SOAP as SOAP
from minima.optim.rules.sophiag import SophiaG as SophiaG
from minima.optim.rules.stableadamw import StableAdamW as StableAdamW
from minima.optim.rules.yogi import Yogi as Yogi
from minima.optim.training.accumulation import accumulate as accumulate
from minima.optim.training.averaging import EMA as EMA
from minima.optim.training.clipping import clip_grad_adaptive as clip_grad_adaptive
from minima.optim.training.clipping import clip_grad_norm as clip_grad_norm
from minima.optim.training.clipping import clip_grad_value as clip_grad_value
from minima.optim.training.range_test import RangeTest as RangeTest
from minima.optim.training.range_test import lr_range_test as lr_range_test

__all__ = [
    "SGD",
    "ScheduleFreeSGD",
    "ASGD",
    "QHM",
    "AdaGrad",
    "FTRL",
    "MADGRAD",
    "RMSProp",
    "AdaDelta",
    "Rprop",
    "Signum",
    "Lion",
    "Adam",
    "AdamW",
    "ScheduleFreeAdamW",
    "AdaMax",
    "NAdam",
    "NAdamW",
    "RAdam",
    "AdaBelief",
    "QHAdam",
    "Yogi",
    "LaProp",
    "AdEMAMix",
    "Adan",
    "SimplifiedAdEMAMix",
    "ADOPT",
    "LARS",
    "LAMB",
    "NovoGrad",
    "StableAdamW",
    "MARS",
    "Adafactor",
    "SM3",
    "CAME",
    "SophiaG",
    "PolyakSGD",
    "MoMo",
    "MoMoAdam",
    "DoG",
    "DoWG",
    "DAdaptSGD",
    "DAdaptAdam",
    "Prodigy",
    "Muon",
    "Shampoo",
    "SOAP",
    "LBFGS",
    "Optimizer",
    "ParamGroup",
    "Measure",
    "Measures",
    "Formula",
    "Hyper",
    "hyper",
    "ColumnsByColumns",
    "Exact",
    "PerColumn",
    "PerRow",
    "PerTensor",
    "RowsByRows",
    "Shared",
    "bfloat16",
    "cbrt",
    "clip",
    "direction",
    "eigh",
    "exp",
    "log",
    "maximum",
    "mean",
    "minimum",
    "norm",
    "qr",
    "sign",
    "sort_columns",
    "sqrt",
    "total",
    "where",
    "Lookahead",
    "SAM",
    "EMA",
    "RangeTest",
    "accumulate",
    "clip_grad_adaptive",
    "clip_grad_norm",
    "clip_grad_value",
    "lr_range_test",
    "by_name",
    "names",
    "schedules",
]
