"""Three questions, answered by measuring: how large a kernel, how many recurrent layers, and does order in time matter?

Run it as a script, or cell by cell in an editor that knows ``# %%``. It needs no data, takes about a minute on two
cores, and writes its pictures into ``minivid_examples/three_questions/``.
"""

# %%
import os
from itertools import pairwise
from pathlib import Path

import numpy as np

import minivid
from minivid import plots
from minivid.layers import LSTM, Conv2D, Dense, Input, MaxPooling2D, SimpleRNN, TimeDistributed
from minivid.models import Sequential
from minivid.optimizers import Adam
from minivid.tasks.classify import cnn_layers
from minivid.video import moving_shapes

toy = bool(os.environ.get("MINIVID_EXAMPLE_TOY"))
T = 12 if toy else 100  # steps, for the second question
clips_per_class, epochs = (2, 1) if toy else (80, 14)  # for the third

out = Path("minivid_examples") / "three_questions"
out.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## How large should the kernel be?
# An output of a stack of windows sees a square of the input, its receptive field. A window of K taps adds K - 1 steps,
# each as wide as all strides below it together. The question is what one field costs, so here are stacks that see the
# same: 64 channels in, 64 channels out, at every layer.


# %%
def receptive_field(layers) -> int:
    """Return how many pixels, in each direction, one output of a stack of convolutions and poolings sees."""
    field, step = 1, 1
    for layer in layers:
        size = layer.kernel_size if isinstance(layer, Conv2D) else layer.pool_size
        field += (size[0] - 1) * step
        step *= layer.strides[0] if isinstance(layer, MaxPooling2D) else layer.window["strides"][0]
    return field


def cost(layers, size: int = 32) -> tuple[int, int]:
    """Return the weights of a stack, and its multiplications per pixel of the input, for 64 channels."""
    model = Sequential([Input((size, size, 64)), *layers])
    shapes = [layer.output_shape for layer in model.layers]
    products = sum(
        after[1] * after[2] * layer.params["kernel"].size
        for layer, (_, after) in zip(model.layers[1:], pairwise(shapes), strict=True)
        if isinstance(layer, Conv2D)
    )
    return model.count_params(), products // size**2


def conv(kernel_size: int, count: int = 1) -> list:
    return [Conv2D(64, kernel_size, padding="same", activation="relu") for _ in range(count)]


stacks = {
    "one 3x3": conv(3),
    "one 5x5": conv(5),
    "two 3x3": conv(3, 2),
    "one 7x7": conv(7),
    "three 3x3": conv(3, 3),
    "one 15x15": conv(15),
    "seven 3x3": conv(3, 7),
    "3x3, pool 2, 3x3, pool 2, 3x3": [*conv(3), MaxPooling2D(2), *conv(3), MaxPooling2D(2), *conv(3)],
}
print(f"{'stack':<30} {'sees':>7} {'weights':>9} {'products per pixel':>19}")
for name, layers in stacks.items():
    field, (weights, products) = receptive_field(layers), cost(layers)
    print(f"{name:<30} {field:>3}x{field:<3} {weights:>9,} {products:>19,}")

# %% [markdown]
# Small kernels in a row see as much as one large kernel, for fewer weights, and with a nonlinearity after each. Pooling
# between them sees most of all for the least work: that is why nearly every CNN alternates the two.

# %% [markdown]
# ## How many recurrent layers, and for how long a sequence?
# How deep a network is and how long its sequences are have nothing to do with each other: the same weights run at every
# step. What length asks for is a path along which the gradient of a late loss reaches an early step. Here is the norm
# of the gradient at the input of each step, for a loss on the last one, in untrained networks.


# %%
def gradient_norms(layer_class, depth: int, forget_bias: float = 1.0) -> np.ndarray:
    """Return the norm of dL/dx_t for each step t, as a mean over sequences, for a loss on the last step."""
    minivid.set_seed(0)
    model = Sequential([layer_class(32, return_sequences=True) for _ in range(depth)])
    model.build((None, T, 8))
    for layer in model.layers:
        if isinstance(layer, LSTM):
            layer.params["bias"][32:64] = forget_bias
    y = model(np.random.default_rng(0).normal(size=(16, T, 8)))
    dy = np.zeros_like(y)
    dy[:, -1] = np.random.default_rng(1).normal(size=dy[:, -1].shape)
    return np.linalg.norm(model.backward(dy), axis=2).mean(axis=0)


norms = {
    "SimpleRNN, 1 layer": gradient_norms(SimpleRNN, 1),
    "LSTM, 1 layer": gradient_norms(LSTM, 1),
    "LSTM, 3 layers": gradient_norms(LSTM, 3),
    "LSTM, 1 layer, forget bias 4": gradient_norms(LSTM, 1, forget_bias=4.0),
}
half = T // 2
print()
for name, values in norms.items():
    per_step = (values[0] / values[half]) ** (1 / half)
    print(f"{name:<28} back in time, the gradient is multiplied by {per_step:.2f} per step")
print(plots.gradient_norms(norms, out / "gradient_norms.png"))

# %% [markdown]
# All lines are straight far from the end: the gradient shrinks by the same factor at each step, and what decides the
# factor is the cell. A second and a third layer hardly change it. Gates do, and a forget gate that starts nearly open
# changes it most. So add layers when one is too weak for what a step means; for a far past use an LSTM or GRU.

# %% [markdown]
# ## Does order in time matter?
# The same clips three times: as they are, with the frames of each clip shuffled, and as their average image. The
# network is the same, and only the first data set says in which order things happened.

# %%
clips, labels = moving_shapes(clips_per_class * 6, frames=12, size=(24, 24), seed=0)
x = clips.astype(np.float32) / 255
rng = np.random.default_rng(0)
data = {
    "frames in order": x,
    "frames shuffled": np.stack([clip[rng.permutation(len(clip))] for clip in x]),
    "mean of the frames": np.broadcast_to(x.mean(axis=1, keepdims=True), x.shape),
}
held_out = np.arange(len(x)) % 4 == 3
print()
for name, x in data.items():
    minivid.set_seed(0)
    cnn = [TimeDistributed(layer) for layer in cnn_layers((8, 16, 16))]
    model = Sequential([*cnn, LSTM(32), Dense(6, activation="softmax")])
    model.compile(Adam(4e-3, global_clipnorm=1.0), "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(x[~held_out], labels[~held_out], batch_size=16, epochs=epochs, verbose=0)
    _, accuracy = model.evaluate(x[held_out], labels[held_out], verbose=0)
    print(f"{name:<20} {accuracy:.0%} of held-out clips right (chance: 17%)")

# %% [markdown]
# Shuffled frames still tell what moves steadily from what stands still or jumps; they no longer tell left from right. A
# model that ignores order, such as a CNN on single frames or on their mean, cannot learn what is only in the order.
