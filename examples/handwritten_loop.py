"""Training by hand: what `model.fit` does, written out as forward, loss, backward and step.

Run it as a script, or cell by cell in an editor that knows ``# %%``. It draws its own clips, takes about a minute on
two cores, and writes its pictures into ``minivid_examples/handwritten_loop/``.
"""

# %%
import os
import time
from pathlib import Path

import numpy as np

import minivid
from minivid import plots
from minivid.layers import LSTM, Conv2D, Dense, Flatten, MaxPooling2D, TimeDistributed
from minivid.losses import SparseCategoricalCrossentropy
from minivid.metrics import confusion_matrix
from minivid.models import Sequential
from minivid.optimizers import Adam
from minivid.video import MOTIONS, moving_shapes

toy = bool(os.environ.get("MINIVID_EXAMPLE_TOY"))
clips, frames, size = (24, 4, (16, 16)) if toy else (1200, 12, (32, 32))
epochs = 2 if toy else 8
batch_size = 16

out = Path("minivid_examples") / "handwritten_loop"
out.mkdir(parents=True, exist_ok=True)
minivid.set_seed(0)

# %% [markdown]
# ## Data
# Clips of a shape that moves left, right, up or down, stands still or jumps. The class is *how* it moves; a single
# frame says nothing about it. The pixels become float32 from 0 to 1. A quarter of the clips is kept for testing.

# %%
x, y = moving_shapes(clips=clips, frames=frames, size=size, seed=0)
x = x.astype(np.float32) / 255
order = np.random.default_rng(0).permutation(clips)
train, test = order[clips // 4 :], order[: clips // 4]
x_train, y_train, x_test, y_test = x[train], y[train], x[test], y[test]
print("train:", x_train.shape, " test:", x_test.shape, " classes:", ", ".join(MOTIONS))

# %% [markdown]
# ## A model
# The same small CNN looks at every frame; the LSTM reads what it found, frame after frame. There is no softmax at the
# end: the last layer gives logits z, and the loss contains the softmax, which is exact where exp(z) would overflow.


# %%
def new_model() -> Sequential:
    """Make the classifier, untrained."""
    return Sequential(
        [
            TimeDistributed(Conv2D(8, 5, padding="same", activation="relu"), input_shape=x_train.shape[1:]),
            TimeDistributed(MaxPooling2D(2)),
            TimeDistributed(Conv2D(16, 3, padding="same", activation="relu")),
            TimeDistributed(MaxPooling2D(2)),
            TimeDistributed(Flatten()),
            LSTM(32),
            Dense(len(MOTIONS)),
        ]
    )


model = new_model()
model.summary()

# %% [markdown]
# ## The loop
# For each batch: run forward, measure the loss, set the gradients to zero (`backward` adds to them), run backward from
# the gradient of the loss with respect to the logits, and let the optimizer change the weights. That is all.

# %%
loss = SparseCategoricalCrossentropy(from_logits=True)
optimizer = Adam(learning_rate=3e-3, global_clipnorm=1.0)


def train_epoch(model: Sequential, optimizer, order: np.ndarray) -> tuple[float, float]:
    """Take one step per batch; return mean loss and accuracy on the way."""
    total = right = 0
    for start in range(0, len(order), batch_size):
        n = order[start : start + batch_size]
        logits = model.forward(x_train[n], training=True)  # (N, K)
        total += len(n) * loss.forward(logits, y_train[n])
        right += (logits.argmax(axis=1) == y_train[n]).sum()
        model.zero_grads()
        model.backward(loss.backward(), need_dx=False)
        optimizer.step(model.trainable_params, model.grads)
    return total / len(order), right / len(order)


def test_model(model: Sequential) -> tuple[float, float, np.ndarray]:
    """Return loss, accuracy and predicted classes on the test clips."""
    logits = model.predict(x_test)
    predicted = logits.argmax(axis=1)
    return loss.forward(logits, y_test), (predicted == y_test).mean(), predicted


names = ("loss", "accuracy", "val_loss", "val_accuracy")
history = {name: [] for name in names}
rng = np.random.default_rng(0)
start = time.monotonic()
for epoch in range(epochs):
    figures = train_epoch(model, optimizer, rng.permutation(len(x_train)))
    *test_figures, predicted = test_model(model)
    for name, value in zip(names, (*figures, *test_figures), strict=True):
        history[name].append(float(value))
    shown = "  ".join(f"{name} {values[-1]:.3f}" for name, values in history.items())
    print(f"epoch {epoch + 1}/{epochs}  {shown}  {time.monotonic() - start:.0f} s")

# %% [markdown]
# ## What came out
# Before training, all classes are about equally likely and the loss is ln 6 = 1.79. The filters of the first layer are
# small pictures of what they look for: blobs of colour on a dark ground.

# %%
plots.learning_curves(history, out / "learning_curves.png")
plots.confusion_matrix(confusion_matrix(y_test, predicted, len(MOTIONS)), MOTIONS, out / "confusion_matrix.png")
plots.filters(model.layers[0].params["kernel"], out / "filters.png")

# %% [markdown]
# ## `fit` is this loop
# `compile` tells `fit` which optimizer and loss to use. From the same initial weights and with the batches in the same
# order, one epoch of `fit` gives the same weights as one epoch of the loop above, bit for bit.

# %%
by_hand, by_fit = new_model(), new_model()
by_fit.set_weights(by_hand.get_weights())
train_epoch(by_hand, Adam(learning_rate=3e-3, global_clipnorm=1.0), np.arange(len(x_train)))
by_fit.compile(Adam(learning_rate=3e-3, global_clipnorm=1.0), SparseCategoricalCrossentropy(from_logits=True))
by_fit.fit(x_train, y_train, batch_size=batch_size, shuffle=False, verbose=0)
same = all(np.array_equal(a, b) for a, b in zip(by_hand.get_weights(), by_fit.get_weights(), strict=True))
print("the loop by hand and fit give the same weights:", same)

accuracy = history["val_accuracy"][-1]
print(f"accuracy on {len(x_test)} new clips: {accuracy:.1%} (chance: {1 / len(MOTIONS):.1%})")
print("pictures:", ", ".join(f"{out}/{name}.png" for name in ("learning_curves", "confusion_matrix", "filters")))
