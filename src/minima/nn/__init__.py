"""Networks: modules with parameters, layers, activations, losses."""

from minima.loading import LoadReport
from minima.nn import functional, init
from minima.nn.activations import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from minima.nn.attention import MultiheadAttention, TransformerEncoderLayer
from minima.nn.batch_normalization import BatchNorm1d, BatchNorm2d
from minima.nn.containers import ModuleDict, ModuleList, ParameterList, Sequential
from minima.nn.convolution import Conv1d, Conv2d, ConvTranspose2d
from minima.nn.layers import Dropout, Dropout2d, Embedding, Flatten, Identity, Linear
from minima.nn.likelihoods import BCELoss, KLDivLoss, NLLLoss
from minima.nn.losses import (
    BCEWithLogitsLoss,
    CosineSimilarity,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    MSELoss,
    SmoothL1Loss,
)
from minima.nn.module import Module
from minima.nn.normalization import GroupNorm, LayerNorm, RMSNorm
from minima.nn.parameter import Parameter
from minima.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d, Upsample
from minima.nn.recurrent import GRU, LSTM, RNN
from minima.nn.recurrent_cells import GRUCell, LSTMCell, RNNCell

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "CosineSimilarity",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2d",
    "Embedding",
    "Flatten",
    "GELU",
    "GRU",
    "GRUCell",
    "GroupNorm",
    "HuberLoss",
    "Identity",
    "KLDivLoss",
    "L1Loss",
    "LSTM",
    "LSTMCell",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LoadReport",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "MultiheadAttention",
    "NLLLoss",
    "Parameter",
    "ParameterList",
    "RMSNorm",
    "RNN",
    "RNNCell",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Tanh",
    "TransformerEncoderLayer",
    "Upsample",
    "functional",
    "init",
]
