"""Operations: pure functions on arrays, one file each; the mathematics of minivid."""

from minivid.ops.activations import (
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    softmax_backward,
    softmax_forward,
    tanh_backward,
    tanh_forward,
)
from minivid.ops.avgpool2d import avgpool2d_backward, avgpool2d_forward
from minivid.ops.batch_norm import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
    batch_norm_inference_backward,
)
from minivid.ops.conv2d import conv2d_backward, conv2d_backward_input, conv2d_backward_weights, conv2d_forward
from minivid.ops.conv2d_transpose import (
    conv2d_transpose_backward,
    conv2d_transpose_backward_input,
    conv2d_transpose_backward_weights,
    conv2d_transpose_forward,
)
from minivid.ops.conv_lstm2d import conv_lstm2d_backward, conv_lstm2d_forward
from minivid.ops.dense import dense_backward, dense_backward_input, dense_backward_weights, dense_forward
from minivid.ops.dropout import dropout_backward, dropout_forward
from minivid.ops.global_avgpool2d import global_avgpool2d_backward, global_avgpool2d_forward
from minivid.ops.gru import gru_backward, gru_forward
from minivid.ops.huber import huber_backward, huber_forward
from minivid.ops.iou import giou_backward, giou_forward, iou_backward, iou_forward
from minivid.ops.lstm import lstm_backward, lstm_forward
from minivid.ops.mae import mae_backward, mae_forward
from minivid.ops.matmul import matmul
from minivid.ops.maxpool2d import maxpool2d_backward, maxpool2d_forward
from minivid.ops.mse import mse_backward, mse_forward
from minivid.ops.sigmoid_cross_entropy import (
    binary_cross_entropy_backward,
    binary_cross_entropy_forward,
    sigmoid_cross_entropy_backward,
    sigmoid_cross_entropy_forward,
)
from minivid.ops.simple_rnn import simple_rnn_backward, simple_rnn_forward
from minivid.ops.softmax_cross_entropy import (
    cross_entropy_backward,
    cross_entropy_forward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)
from minivid.ops.upsampling2d import upsampling2d_backward, upsampling2d_forward
from minivid.ops.window import Window, window_of

__all__ = [
    "Window",
    "avgpool2d_backward",
    "avgpool2d_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "batch_norm_inference_backward",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_forward",
    "conv2d_backward",
    "conv2d_backward_input",
    "conv2d_backward_weights",
    "conv2d_forward",
    "conv2d_transpose_backward",
    "conv2d_transpose_backward_input",
    "conv2d_transpose_backward_weights",
    "conv2d_transpose_forward",
    "conv_lstm2d_backward",
    "conv_lstm2d_forward",
    "cross_entropy_backward",
    "cross_entropy_forward",
    "dense_backward",
    "dense_backward_input",
    "dense_backward_weights",
    "dense_forward",
    "dropout_backward",
    "dropout_forward",
    "giou_backward",
    "giou_forward",
    "global_avgpool2d_backward",
    "global_avgpool2d_forward",
    "gru_backward",
    "gru_forward",
    "huber_backward",
    "huber_forward",
    "iou_backward",
    "iou_forward",
    "lstm_backward",
    "lstm_forward",
    "mae_backward",
    "mae_forward",
    "matmul",
    "maxpool2d_backward",
    "maxpool2d_forward",
    "mse_backward",
    "mse_forward",
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_cross_entropy_backward",
    "sigmoid_cross_entropy_forward",
    "sigmoid_forward",
    "simple_rnn_backward",
    "simple_rnn_forward",
    "softmax_backward",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
    "softmax_forward",
    "tanh_backward",
    "tanh_forward",
    "upsampling2d_backward",
    "upsampling2d_forward",
    "window_of",
]
