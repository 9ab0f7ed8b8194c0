"""The functions of networks by PyTorch's names: what layers and losses compute, of parameters that are given.

Names, orders and defaults of arguments are PyTorch's. What it calls ``input`` is ``x`` in those that are functions of
tensors elsewhere too, `relu` to `tanh`, and `linear`. There is no ``inplace``, and none of the arguments that PyTorch
gave up, such as ``size_average``: what stands behind them is given by name. As in the layers, ``ignore_index`` is
``None`` until it is asked for. A complaint names the function; all else is said of the layer.
"""

from minima.autograd import (
    elu,
    gelu,
    leaky_relu,
    linear,
    log_softmax,
    one_hot,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from minima.nn.functional.attention import scaled_dot_product_attention
from minima.nn.functional.convolutions import conv1d, conv2d, conv_transpose2d
from minima.nn.functional.dropping import dropout, dropout2d
from minima.nn.functional.likelihoods import cross_entropy, kl_div, nll_loss
from minima.nn.functional.lookup import embedding
from minima.nn.functional.losses import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cosine_similarity,
    huber_loss,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from minima.nn.functional.normalization import batch_norm, group_norm, layer_norm, normalize, rms_norm
from minima.nn.functional.padding import pad
from minima.nn.functional.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from minima.nn.functional.resampling import interpolate

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "conv_transpose2d",
    "cosine_similarity",
    "cross_entropy",
    "dropout",
    "dropout2d",
    "elu",
    "embedding",
    "gelu",
    "group_norm",
    "huber_loss",
    "interpolate",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "normalize",
    "one_hot",
    "pad",
    "relu",
    "rms_norm",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]
