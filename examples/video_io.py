"""Reading and writing video: from frames to files to batches, and back.

Run it as a script, or cell by cell in an editor that knows ``# %%``. It makes its own videos, so it needs no data, and
writes everything into ``minivid_examples/video_io/``.
"""

# %%
import os
import shutil
from pathlib import Path

import numpy as np

from minivid.video import (
    MOTIONS,
    VideoError,
    clips_from_directory,
    compose,
    moving_shapes,
    random_brightness,
    random_flip,
    read_clip,
    without_median,
    write_clip,
    write_moving_shapes,
)

toy = bool(os.environ.get("MINIVID_EXAMPLE_TOY"))
clips_per_class = 2 if toy else 10

out = Path("minivid_examples") / "video_io"
shutil.rmtree(out, ignore_errors=True)
out.mkdir(parents=True)

# %% [markdown]
# ## A video is an array
# Frames are (T, H, W, C): time, rows, columns, colour. Here a white bar sweeps over 20 frames of 48 x 64
# pixels, and each frame is a little brighter than the one before.

# %%
frames = np.zeros((20, 48, 64, 3), dtype=np.uint8)
for t in range(20):
    frames[t] = 20 + 8 * t
    frames[t, :, 3 * t : 3 * t + 4] = 255
print("frames:", frames.shape, frames.dtype)

# %% [markdown]
# ## Write it
# The suffix chooses the format. Such small frames are hard to see, so the GIF is enlarged by a whole factor,
# pixel by pixel.

# %%
write_clip(out / "sweep.mp4", frames, fps=10)
write_clip(out / "sweep.gif", frames, fps=10, min_size=192)

# %% [markdown]
# ## Read it back
# A clip has a fixed number T of frames, whatever the length M of the video: frame i of the clip is number
# floor((i + 1/2) M / T), the centre of the i-th of T equal parts. Of 20 frames, five are numbers 2, 6, 10, 14
# and 18, as their brightness tells.

# %%
clip = read_clip(out / "sweep.mp4", frames=5)
bottom_left = clip[:, -1, -1, 0].astype(int)
print("read:", clip.shape, "frame numbers:", np.rint((bottom_left - 20) / 8).astype(int).tolist())

small = read_clip(out / "sweep.mp4", frames=5, target_size=(24, 32), color_mode="grayscale")
print("smaller and grey:", small.shape)

# %% [markdown]
# A video that is shorter than the clip repeats its last frame, or starts again if told so.

# %%
long = read_clip(out / "sweep.mp4", frames=23)
print("repeated last frame:", bool((long[19] == long[22]).all()))
print("looped instead:", bool((read_clip(out / "sweep.mp4", frames=23, short="loop")[20] == long[0]).all()))

# %% [markdown]
# A file that is no video never passes silently. The error names the file and the reason.

# %%
(out / "notes.mp4").write_text("I only look like a video.")
try:
    read_clip(out / "notes.mp4")
except VideoError as error:
    print("VideoError:", error)

# %% [markdown]
# ## Clips to learn from
# `moving_shapes` draws clips whose class is how a shape moves. One frame says nothing about the class: in every
# class, at every time, the shape is anywhere with equal probability. Here with one row per class, one column per
# frame, in a GIF of a single picture.

# %%
x, y = moving_shapes(clips=len(MOTIONS), frames=8, size=(32, 32), seed=0)
rows = [np.concatenate(list(clip), axis=1) for clip in x]  # each (32, 8 * 32, 3)
write_clip(out / "moving_shapes.gif", np.concatenate(rows)[None], min_size=384)
print("rows of moving_shapes.gif:", ", ".join(MOTIONS[k] for k in y))

# %% [markdown]
# ## Folders become batches
# On disk, a data set is one folder per class. `clips_from_directory` reads it into batches (x, y). The two subsets
# never share a clip, and every class gives the same part of its clips to each.

# %%
folder = write_moving_shapes(out / "shapes", clips_per_class=clips_per_class, seed=1)
common = {"frames": 8, "target_size": (32, 32), "batch_size": 8, "validation_split": 0.5, "seed": 0}
train = clips_from_directory(folder, **common, subset="training", cache_dir=out / "cache")
test = clips_from_directory(folder, **common, subset="validation", cache_dir=out / "cache")
x, y = train[0]
print(f"{len(train.paths)} clips to train on, {len(test.paths)} to test on, classes {train.class_names}")
print("a batch:", x.shape, x.dtype, f"values {x.min():.2f} to {x.max():.2f};", "targets:", y.shape)

# %% [markdown]
# Augmentation changes a whole clip alike, or the motion would be destroyed. Mirroring turns *left* into *right*:
# clips of those two classes would get wrong labels here, so think before you flip.

# %%
augment = compose(random_flip, random_brightness)
changed = augment(x[0], np.random.default_rng(1))
print("augmented:", changed.shape, changed.dtype)
write_clip(out / "before_and_after.gif", np.concatenate([x[0], changed], axis=2), fps=8, min_size=192)

# %% [markdown]
# ## A camera that stands still
# Subtracting each pixel's median over time leaves what moves. Zero is drawn as grey here.

# %%
moving = without_median((x[0] * 255).astype(np.uint8))
print(f"without its median: from {moving.min():.2f} to {moving.max():.2f}, and 0 where nothing moves")
write_clip(out / "without_median.gif", np.clip(moving / 2 + 0.5, 0, 1), fps=8, min_size=192)

print("written:", ", ".join(sorted(path.name for path in out.iterdir())))
