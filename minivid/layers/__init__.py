"""Layers: shapes, weights and caches around the operations; no mathematics."""

from minivid.layers.activation import Activation
from minivid.layers.avgpool2d import AveragePooling2D
from minivid.layers.base import Layer
from minivid.layers.batch_norm import BatchNormalization
from minivid.layers.bidirectional import Bidirectional
from minivid.layers.conv2d import Conv2D
from minivid.layers.conv2d_transpose import Conv2DTranspose
from minivid.layers.conv_lstm2d import ConvLSTM2D
from minivid.layers.dense import Dense
from minivid.layers.dropout import Dropout
from minivid.layers.flatten import Flatten
from minivid.layers.global_avgpool2d import GlobalAveragePooling2D
from minivid.layers.gru import GRU
from minivid.layers.input import Input
from minivid.layers.lstm import LSTM
from minivid.layers.masking import Masking
from minivid.layers.maxpool2d import MaxPool2D, MaxPooling2D
from minivid.layers.repeat_vector import RepeatVector
from minivid.layers.reshape import Reshape
from minivid.layers.simple_rnn import SimpleRNN
from minivid.layers.time_distributed import TimeDistributed
from minivid.layers.upsampling2d import UpSampling2D

__all__ = [
    "GRU",
    "LSTM",
    "Activation",
    "AveragePooling2D",
    "BatchNormalization",
    "Bidirectional",
    "Conv2D",
    "Conv2DTranspose",
    "ConvLSTM2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "Input",
    "Layer",
    "Masking",
    "MaxPool2D",
    "MaxPooling2D",
    "RepeatVector",
    "Reshape",
    "SimpleRNN",
    "TimeDistributed",
    "UpSampling2D",
]
