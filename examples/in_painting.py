"""In-painting a clip: the middle frames are lost, a network that reads from both ends draws them.

Run it as a script, or cell by cell in an editor that knows ``# %%``. It draws its own clips and writes its pictures and
figures into ``minivid_examples/in_painting/``.
"""

# %%
import os
from pathlib import Path

import numpy as np

import minivid
from minivid import plots
from minivid.image_metrics import frame_mse, frame_ssim
from minivid.layers import Bidirectional, Conv2D, Conv2DTranspose, ConvLSTM2D, Input, TimeDistributed
from minivid.models import Sequential
from minivid.optimizers import Adam, CosineDecay
from minivid.runs import write_json
from minivid.tasks.generate import masked_input
from minivid.video import bouncing_shapes, write_clip

toy = bool(os.environ.get("MINIVID_EXAMPLE_TOY"))
clips, epochs, seeds = (16, 1, (0,)) if toy else (800, 12, (0, 1, 2))

out = Path("minivid_examples") / "in_painting"
out.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## Clips with a hole
# Two shapes fly straight on and bounce off the walls. Of ten frames the first three and the last three are given; the
# network sees black in between, and a channel that says which frames are real.

# %%
T, first, last = 10, 3, 7  # frames 3 to 6 are missing
given = (np.arange(T) < first) | (np.arange(T) >= last)


def drawn(count, seed):
    """Draw clips, floats from 0 to 1, and say of each which frames are given."""
    frames = bouncing_shapes(count, T, (32, 32), shapes=2, seed=seed).astype(np.float32) / 255
    return frames, np.broadcast_to(given, (count, T))


train, train_given = drawn(clips, seed=0)
test, test_given = drawn(max(clips // 8, 4), seed=1)
missing = ~test_given
print(f"{len(train)} clips to train on, {len(test)} to test on; {T - given.sum()} of {T} frames are missing")

# %% [markdown]
# ## What needs no network
# *Linear interpolation* fades from the last frame before the hole into the first one behind it: things do not move,
# they vanish here and appear there. *Copy last frame* does not even know the end.

# %%
weight = ((np.arange(first, last) - (first - 1)) / (last - first + 1))[:, None, None, None].astype(np.float32)
before, after = test[:, first - 1 : first], test[:, last : last + 1]
filled = {
    "interpolation": (1 - weight) * before + weight * after,
    "copy last": np.repeat(before, last - first, axis=1),
}

# %% [markdown]
# ## A network that reads from both ends
# Each frame is halved by a strided convolution, two ConvLSTMs go through the clip, one from each end, and a transposed
# convolution draws the frame that both agree on. Only missing frames count in the loss. The figures are those of
# several seeds: initial weights alone move them.


# %%
def painter():
    """Make the network: clips with a hole in, whole clips out."""
    recurrent = ConvLSTM2D(16, 3, padding="same", return_sequences=True)
    return Sequential(
        [
            Input((T, 32, 32, 2)),
            TimeDistributed(Conv2D(16, 4, strides=2, padding="same", activation="relu")),
            Bidirectional(recurrent),
            TimeDistributed(Conv2DTranspose(1, 4, strides=2, padding="same", activation="sigmoid")),
        ]
    )


truth = test[:, first:last]
figures = {name: {"mse": frame_mse(truth, y).mean(), "ssim": frame_ssim(truth, y).mean()} for name, y in filled.items()}
for seed in seeds:
    minivid.set_seed(seed)
    model = painter()
    steps = epochs * -(-len(train) // 8)
    model.compile(Adam(CosineDecay(0.01, steps), global_clipnorm=1.0), "binary_crossentropy")
    weights = (~train_given).astype(np.float32)  # (N, T): missing frames count
    model.fit(masked_input(train, train_given), train, batch_size=8, epochs=epochs, sample_weight=weights)
    painted = model.predict(masked_input(test, test_given))[:, first:last]
    figures[f"network, seed {seed}"] = {
        "mse": frame_mse(truth, painted).mean(),
        "ssim": frame_ssim(truth, painted).mean(),
    }

print(f"\n{'missing frames':<20}{'MSE':>9}{'SSIM':>8}")
for name, row in figures.items():
    print(f"{name:<20}{row['mse']:9.5f}{row['ssim']:8.3f}")
write_json(out / "metrics.json", {name: {k: float(v) for k, v in row.items()} for name, row in figures.items()})

# %% [markdown]
# ## Look at it
# Rows of the true clip, what was given, and two ways to fill the hole.


# %%
def with_hole_filled(clip, middle):
    """Put frames into the hole of a clip."""
    return np.concatenate([clip[:first], middle, clip[last:]])


rows = {
    "truth": test[0],
    "given": test[0] * given[:, None, None, None],
    "network": with_hole_filled(test[0], painted[0]),
    "interpolation": with_hole_filled(test[0], filled["interpolation"][0]),
}
plots.prediction_rows(rows, out / "rows.png", title="frames 4 to 7 are missing")
for suffix in (".gif", ".mp4"):
    write_clip(out / f"rows{suffix}", plots.prediction_clip(rows), fps=4)
print("written:", ", ".join(sorted(path.name for path in out.iterdir())), "in", out)
