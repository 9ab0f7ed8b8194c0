"""What nn.functional and nn.init refuse, each in one sentence that names the function and the argument."""

from functools import partial

import numpy as np
import pytest

from minima import Tensor, nn
from minima.nn import functional as F

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape)


ROWS, IMAGES, SIGNAL, LOGITS = normal(4, 3), normal(2, 4, 7, 6), normal(3, 4, 9), normal(6, 4)
CLASSES, CHANCES, WEIGHT = np.array([0, 3, 1, 1, 2, 0]), RNG.random((6, 4)), np.ones(4)
IDS = np.array([[1, 0, 6], [6, 5, 2]])
Q = np.zeros((3, 4), "float32")
MISTAKES = [
    (lambda: F.scaled_dot_product_attention(Q, Q[:, :2], Q), ValueError,
     "scaled_dot_product_attention: query, key and value must have the shapes (..., L, d), (..., S, d) and "
     "(..., S, e); got [(3, 4), (3, 2), (3, 4)]"),
    (lambda: F.scaled_dot_product_attention(Q, Q, Q, Q[:, :3] > 0, is_causal=True), ValueError,
     "scaled_dot_product_attention: attn_mask and is_causal exclude each other; give one"),
    (lambda: F.scaled_dot_product_attention(Q, Q, Q, dropout_p=2), ValueError,
     "scaled_dot_product_attention: dropout_p must be a number in [0, 1]; got 2"),
    (lambda: F.scaled_dot_product_attention(Q, Q, Q, Tensor([[1, 0, 1]])), TypeError,
     "scaled_dot_product_attention: attn_mask must be boolean or floating; got 'int64'"),
    (lambda: F.scaled_dot_product_attention(Q, Q, Q, Q > 0), ValueError,
     "scaled_dot_product_attention: attn_mask must broadcast to (..., 3, 3); got (3, 4)"),
    (lambda: F.conv2d(IMAGES, normal(5, 3, 2, 2)), ValueError,
     "conv2d: the input must have the shape (N, 3, H, W) or (3, H, W); got (2, 4, 7, 6)"),
    (lambda: F.conv1d(SIGNAL, normal(5, 4)), ValueError,
     "conv1d: weight must have the shape (O, C / groups, L), each at least 1; got (5, 4)"),
    (lambda: F.conv1d(SIGNAL, np.ones((5, 4, 3), int)), TypeError, "conv1d: weight must be floating; got 'int64'"),
    (lambda: F.conv_transpose2d(IMAGES, normal(4, 3, 2)), ValueError,
     "conv_transpose2d: weight must have the shape (C, O / groups, H, W), each at least 1; got (4, 3, 2)"),
    (lambda: F.scaled_dot_product_attention(IMAGES, IMAGES[:1, :2], IMAGES), ValueError,
     "scaled_dot_product_attention: the leading axes of query, key and value must broadcast; "
     "got [(2, 4, 7, 6), (1, 2, 7, 6), (2, 4, 7, 6)]"),
    (lambda: F.scaled_dot_product_attention(Q, Q, Q, is_causal=1), TypeError,
     "scaled_dot_product_attention: is_causal must be True or False; got 1"),
    (lambda: F.gelu(ROWS, "erf"), ValueError, "gelu: approximate must be 'none' or 'tanh'; got 'erf'"),
    (lambda: F.softplus(ROWS, 0), ValueError, "softplus: beta must be above 0; got 0.0"),
    (lambda: F.elu(ROWS, "big"), TypeError, "elu: alpha must be a number; got 'big'"),
    (lambda: F.leaky_relu(ROWS, None), TypeError, "leaky_relu: negative_slope must be a number; got None"),
    (lambda: F.linear(ROWS, ROWS.T), ValueError,
     "linear: the input must have the shape (..., 4); got (4, 3)"),
    (lambda: F.softmax(ROWS, 2), ValueError, "softmax: axis must name axes in [-2, 2), each once; got 2"),
    (lambda: F.log_softmax(ROWS, dim=2), ValueError, "log_softmax: axis must name axes in [-2, 2), each once; got 2"),
    (lambda: F.one_hot(CLASSES, 3), ValueError, "one_hot: the class numbers must lie in [0, 3); got 3"),
    (lambda: F.one_hot(CLASSES, 4.5), TypeError, "one_hot: num_classes must be an integer; got 4.5"),
    *[(partial(function, "x"), TypeError, "Tensor: data must be real numbers or booleans; got 'x'")
      for function in (F.relu, F.sigmoid, F.silu, F.tanh)],
    (lambda: F.conv2d(IMAGES, normal(5, 2, 2, 2), groups=2), ValueError,
     "conv2d: groups must divide the first axis of the weight, 5; got 2"),
    (lambda: F.conv2d(IMAGES, normal(5, 4, 2, 2), normal(4)), ValueError,
     "conv2d: bias must have the shape (5,); got (4,)"),
    (lambda: F.conv2d(IMAGES, normal(5, 4, 2, 2), stride=0), ValueError,
     "conv2d: stride must be an integer of at least 1; got 0"),
    (lambda: F.conv2d(IMAGES, normal(5, 4, 8, 2)), ValueError,
     "conv2d: the input must be at least as long as the window of (8, 2), padding ((0, 0), (0, 0)) included; "
     "got (7, 6)"),
    (lambda: F.conv2d(IMAGES, normal(5, 4, 2, 2), padding="full"), ValueError,
     "conv2d: padding must be one of 'valid', 'same'; got 'full'"),
    (lambda: F.conv_transpose2d(IMAGES, normal(4, 3, 2, 2), output_padding=1), ValueError,
     "conv_transpose2d: output_padding must be below the larger of stride and dilation, (1, 1); got 1"),
    (lambda: F.conv_transpose2d(IMAGES, normal(4, 3, 2, 2), groups=3), ValueError,
     "conv_transpose2d: groups must divide the first axis of the weight, 4; got 3"),
    (lambda: F.max_pool2d(IMAGES, 2, padding=2), ValueError,
     "max_pool2d: padding must be at most half of the kernel_size (2, 2); got 2"),
    (lambda: F.max_pool2d(IMAGES, 8), ValueError,
     "max_pool2d: the input must be at least as long as the window of (8, 8), padding ((0, 0), (0, 0)) included; "
     "got (7, 6)"),
    (lambda: F.avg_pool2d(ROWS, 2), ValueError,
     "avg_pool2d: the input must have the shape (N, C, H, W) or (C, H, W); got (4, 3)"),
    (lambda: F.adaptive_avg_pool2d(IMAGES, (1, 2, 3)), ValueError,
     "adaptive_avg_pool2d: output_size must be an integer or None, or two of them; got (1, 2, 3)"),
    (lambda: F.interpolate(IMAGES), ValueError,
     "interpolate: takes either size or scale_factor; got (None, None)"),
    (lambda: F.interpolate(IMAGES, (2, 2, 2)), ValueError,
     "interpolate: size=(2, 2, 2), mode='nearest' wants an input (N, C, ...) with 2 sizes that are not 0; "
     "got (2, 4, 7, 6)"),
    (lambda: F.interpolate(IMAGES, 2, mode="cubic"), ValueError,
     "interpolate: mode must be one of 'nearest', 'linear', 'bilinear', 'trilinear'; got 'cubic'"),
    (lambda: F.pad(ROWS, (1,)), ValueError, "pad: pad must be pairs of widths, of 2 axes at most; got (1,)"),
    (lambda: F.pad(ROWS, 1), TypeError, "pad: pad must be pairs of widths, of 2 axes at most; got 1"),
    (lambda: F.pad(ROWS, (1.5, 0)), TypeError, "pad: pad must be an integer; got 1.5"),
    (lambda: F.pad(ROWS, (3, 0), "reflect"), ValueError,
     "pad: padding (3, 0) by mode 'reflect' needs a longer axis 1; got (4, 3)"),
    (lambda: F.pad(ROWS[:, :0], (1, 0), "replicate"), ValueError,
     "pad: padding (1, 0) by mode 'replicate' needs a longer axis 1; got (4, 0)"),
    (lambda: F.pad(ROWS, (-2, -2)), ValueError,
     "pad: padding (-2, -2) cuts off more than axis 1 has; got (4, 3)"),
    (lambda: F.pad(ROWS, (1, 1), "circular", 2.0), ValueError,
     "pad: value is for the mode 'constant'; got 2.0; leave it out"),
    (lambda: F.pad(ROWS, (1, 1), "mirror"), ValueError,
     "pad: mode must be one of 'constant', 'reflect', 'replicate', 'circular'; got 'mirror'"),
    (lambda: F.batch_norm(IMAGES, None, None), ValueError,
     "batch_norm: training=False needs running_mean and running_var; got None"),
    (lambda: F.batch_norm(IMAGES, Tensor(WEIGHT), None), ValueError,
     "batch_norm: running_mean and running_var go together; give both or none"),
    (lambda: F.batch_norm(IMAGES, [0.0] * 4, [1.0] * 4), TypeError,
     "batch_norm: running_mean must be a Tensor, which training writes into, or None; got [0.0, 0.0, 0.0, 0.0]"),
    (lambda: F.batch_norm(ROWS[:1], None, None, training=True), ValueError,
     "batch_norm: the statistics of a batch need at least 2 values in a channel; got (1, 3); "
     "pass training=False with the running ones"),
    (lambda: nn.BatchNorm1d(3)(ROWS[:1]), ValueError,
     "BatchNorm1d: the statistics of a batch need at least 2 values in a channel; got (1, 3); "
     "call eval() to use the running ones"),
    (lambda: F.batch_norm(ROWS, None, None, normal(4), training=True), ValueError,
     "batch_norm: weight must have the shape (3,); got (4,)"),
    (lambda: F.batch_norm(ROWS, None, None, training=1), TypeError,
     "batch_norm: training must be True or False; got 1"),
    (lambda: F.group_norm(IMAGES, 3), ValueError,
     "group_norm: the input must have the shape (N, C, ...), with C channels that num_groups 3 divides; "
     "got (2, 4, 7, 6)"),
    (lambda: F.layer_norm(ROWS, 4), ValueError,
     "layer_norm: the input must have the shape (..., 4); got (4, 3)"),
    (lambda: F.layer_norm(ROWS, 3, normal(4)), ValueError,
     "layer_norm: weight must have the shape (3,); got (4,)"),
    (lambda: F.rms_norm(ROWS, ()), ValueError, "rms_norm: normalized_shape must name at least one axis; got ()"),
    (lambda: F.normalize(ROWS, dim=2), ValueError, "normalize: the input must have an axis 2; got (4, 3)"),
    (lambda: F.embedding(ROWS, ROWS), TypeError, "embedding: input must have an integer dtype; got 'float64'"),
    (lambda: F.embedding(IDS, ROWS), IndexError, "embedding: input must lie in [0, 4); got 6"),
    (lambda: F.embedding(IDS, ROWS, 4), ValueError,
     "embedding: padding_idx must be an integer in [-4, 4); got 4"),
    (lambda: F.embedding(IDS, ROWS[0]), ValueError,
     "embedding: weight must have the shape (V, features); got (3,)"),
    (lambda: F.dropout(ROWS, 1.5), ValueError, "dropout: p must be a number in [0, 1]; got 1.5"),
    (lambda: F.dropout(ROWS, training=0), TypeError, "dropout: training must be True or False; got 0"),
    (lambda: F.dropout2d(ROWS), ValueError,
     "dropout2d: the input must have the shape (N, C, H, W) or (N, C, ...); got (4, 3)"),
    (lambda: F.mse_loss(ROWS, ROWS[0]), ValueError,
     "mse_loss: input and target must have the same shape; got ((4, 3), (3,)); reshape one of them"),
    (lambda: F.l1_loss(ROWS, ROWS, reduction="avg"), ValueError,
     "l1_loss: reduction must be one of 'mean', 'sum', 'none'; got 'avg'"),
    (lambda: F.smooth_l1_loss(ROWS, ROWS, beta=-1), ValueError,
     "smooth_l1_loss: beta must be a number of at least 0; got -1"),
    (lambda: F.huber_loss(ROWS, ROWS, delta=0), ValueError, "huber_loss: delta must be positive; got 0"),
    (lambda: F.cosine_similarity(ROWS, ROWS, 2), ValueError,
     "cosine_similarity: x1 and x2 must have shapes that broadcast, with an axis 2; got ((4, 3), (4, 3))"),
    (lambda: F.binary_cross_entropy(np.array([2.0]), np.array([1.0])), ValueError,
     "binary_cross_entropy: the input must lie in [0, 1]; got 2.0; "
     "binary_cross_entropy_with_logits takes numbers of any size"),
    (lambda: F.binary_cross_entropy_with_logits(ROWS, ROWS, normal(2)), ValueError,
     "binary_cross_entropy_with_logits: weight must broadcast to the input of shape (4, 3); got (2,)"),
    (lambda: F.binary_cross_entropy_with_logits(ROWS, ROWS, pos_weight=normal(2, 1, 1)), ValueError,
     "binary_cross_entropy_with_logits: pos_weight must broadcast to the input of shape (4, 3); got (2, 1, 1)"),
    (lambda: F.cross_entropy(LOGITS, CLASSES, ROWS), ValueError,
     "cross_entropy: weight must be a vector with a number for each class; got "),
    (lambda: F.cross_entropy(LOGITS, CLASSES, label_smoothing=2), ValueError,
     "cross_entropy: label_smoothing must be a number in [0, 1]; got 2"),
    (lambda: F.nll_loss(LOGITS, CLASSES + 2), ValueError, "nll_loss: target must lie in [0, 4); got 5"),
    (lambda: F.nll_loss(LOGITS, CLASSES, ignore_index=0.5), TypeError,
     "nll_loss: ignore_index must be an integer; got 0.5"),
    (lambda: F.kl_div(LOGITS, CHANCES, log_target=1), TypeError,
     "kl_div: log_target must be True or False; got 1"),
    (lambda: nn.init.eye_(Tensor([1.0])), ValueError, "eye_: the tensor must be a matrix; got (1,)"),
    (lambda: nn.init.zeros_((2, 3)), TypeError,
     "zeros_: the argument must be a Tensor; got (2, 3); minima.init makes tensors of shapes"),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "kind", "message"), MISTAKES, ids=[m[2][:60] for m in MISTAKES])
def test_a_mistake_is_told_in_one_sentence(mistake, kind, message):
    with pytest.raises(kind) as caught:
        mistake()
    told = str(caught.value)
    assert told == message or (message.endswith("got ") and told.startswith(message))


def test_every_function_refuses_something():
    told = {message.partition(":")[0] for _, _, message in MISTAKES}
    assert {*F.__all__} - told == {"relu", "sigmoid", "silu", "tanh"}  # which take one operand, and so `Tensor` does
