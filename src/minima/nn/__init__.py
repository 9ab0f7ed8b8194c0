"""Networks: modules with parameters, layers, activations, losses."""

from minima.loading import LoadReport
from minima.nn.activations import GELU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from minima.nn.containers import ModuleDict, ModuleList, ParameterList, Sequential
from minima.nn.convolution import Conv1d, Conv2d, ConvTranspose2d
from minima.nn.layers import Dropout, Embedding, Flatten, Identity, Linear
from minima.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss
from minima.nn.module import Module
from minima.nn.normalization import BatchNorm1d, LayerNorm
from minima.nn.parameter import Parameter
from minima.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d, Upsample

__all__ = [
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GELU",
    "Identity",
    "L1Loss",
    "LayerNorm",
    "Linear",
    "LoadReport",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ParameterList",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Upsample",
]
