"""Video generation by hand: a ConvLSTM learns how a shape flies and bounces, and goes on by itself.

Run it as a script, or cell by cell in an editor that knows ``# %%``. It draws its own clips, or makes bouncing digits
of pictures, bright on black, that it finds as an array (D, h, w) in a NumPy file::

    python examples/generate_video.py
    python examples/generate_video.py digits.npy

It writes its pictures and figures into ``minivid_examples/generate_video/``. ``minivid demo generate`` does the same
on a larger scale, from video files.
"""

# %%
import os
import sys
from pathlib import Path

import numpy as np

import minivid
from minivid import plots
from minivid.image_metrics import frame_mse
from minivid.optimizers import Adam, CosineDecay
from minivid.runs import write_json
from minivid.tasks.generate import NextFrames, build_generator, one_step, roll_out
from minivid.video import bouncing_digits, bouncing_shapes, write_clip

toy = bool(os.environ.get("MINIVID_EXAMPLE_TOY"))
clips, epochs = (16, 1) if toy else (600, 12)

out = Path("minivid_examples") / "generate_video"
out.mkdir(parents=True, exist_ok=True)
minivid.set_seed(0)

# %% [markdown]
# ## Clips
# Where a shape flies, no single frame tells. Two frames do, and then everything that follows is decided. Eight frames
# are seen, eight are to be predicted.

# %%
S, P = 8, 8
digits = np.load(sys.argv[1]) if len(sys.argv) > 1 else None


def drawn(count, seed):
    """Draw clips (N, T, H, W, 1), floats from 0 to 1."""
    if digits is None:
        x = bouncing_shapes(count, S + P, (32, 32), shapes=1, seed=seed)
    else:
        x = bouncing_digits(digits, count, S + P, (64, 64), digits_per_clip=2, seed=seed)
    return x.astype(np.float32) / 255


train, test = drawn(clips, seed=0), drawn(max(clips // 8, 4), seed=1)
print(f"{len(train)} clips to train on, {len(test)} to test on, frames of {train.shape[2]}x{train.shape[3]} pixels")


# %% [markdown]
# ## Batches
# `NextFrames` makes of each clip what the network sees (the first S frames, or all of them; a last channel says which)
# and what it shall say at every step: the next frame.


# %%
class Batches:
    """Arrays of clips cut into batches in a new order for every pass: what `fit` asks of a batch sequence."""

    def __init__(self, frames, size):
        self.frames, self.size = frames, size
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self.frames) // self.size)

    def __getitem__(self, index):
        return self.frames[self.order[index * self.size : (index + 1) * self.size]]

    def on_epoch_end(self):
        """Draw the order of the next pass."""
        self.order = minivid.rng.generator().permutation(len(self.frames))


batches = NextFrames(Batches(train, 8), seen=S)
x, y = batches[0]
print("a batch:", x.shape, "->", y.shape)

# %% [markdown]
# ## The network
# A strided convolution halves the frame, a ConvLSTM remembers and moves what it sees, a transposed convolution draws
# the next frame, through a sigmoid and against binary cross-entropy.

# %%
model = build_generator(train.shape[2:], "convlstm", "tiny")
model.summary()
model.compile(Adam(CosineDecay(0.01, epochs * len(batches)), global_clipnorm=1.0), "binary_crossentropy", ["mse"])
model.fit(batches, epochs=epochs)

# %% [markdown]
# ## One step, and many
# *One-step*: each frame from all true frames before it. *Roll-out*: eight frames from the first eight alone; the
# network sees nothing new and goes on from its state. *Fed back*: it sees its own predictions instead, as if they were
# true; it has never learned to, and what is a small error at first feeds the next one.

# %%
truth = test[:, S:]
mean = np.broadcast_to(train.mean(axis=(0, 1)), truth.shape)
predictions = {
    "one-step": {
        "model": one_step(model, test[:, :-1])[:, S - 1 :],
        "copy last": test[:, S - 1 : -1],
        "mean frame": mean,
    },
    "roll-out": {
        "model": roll_out(model, test[:, :S], P),
        "model, fed back": roll_out(model, test[:, :S], P, feedback=True),
        "copy last": test[:, [S - 1] * P],
        "mean frame": mean,
    },
}
errors = {
    kind: {name: frame_mse(truth, predicted).mean(axis=0) for name, predicted in row.items()}
    for kind, row in predictions.items()
}
for kind, row in errors.items():
    print(f"\n{kind}: MSE at step" + "".join(f"{f'+{t + 1}':>9}" for t in range(P)) + "     mean")
    for name, per_step in row.items():
        print(f"{name:<21}" + "".join(f"{e:9.5f}" for e in per_step) + f"{per_step.mean():9.5f}")
write_json(
    out / "metrics.json",
    {kind: {name: per_step.tolist() for name, per_step in row.items()} for kind, row in errors.items()},
)
plots.error_per_step(errors["roll-out"], out / "error_per_step.png")

# %% [markdown]
# ## Look at it
# Rows of a clip that the network has not seen in training: truth, roll-out, copy-last, error.

# %%
rolled, copied = predictions["roll-out"]["model"][0], predictions["roll-out"]["copy last"][0]
rows = {"truth": test[0], "roll-out": rolled, "copy last": copied, "error": np.abs(rolled - truth[0])}
plots.prediction_rows(rows, out / "rows.png", seen=S)
for suffix in (".gif", ".mp4"):
    write_clip(out / f"rows{suffix}", plots.prediction_clip(rows, seen=S), fps=6)
print("written:", ", ".join(sorted(path.name for path in out.iterdir())), "in", out)
