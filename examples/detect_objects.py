"""Find objects in video, and keep finding them while they are hidden.

Run it as a script, or cell by cell in an editor that knows ``# %%``. It draws its own clips, takes a minute on two
cores, and writes its pictures into ``minivid_examples/detect_objects/``.
"""

# %%
import os
from pathlib import Path

import numpy as np

import minivid
from minivid import plots
from minivid.detection import Detections, GridLoss, decode, grid_targets, mean_average_precision
from minivid.optimizers import Adam, CosineDecay
from minivid.tasks.detect import build_detector
from minivid.video import OBJECTS, moving_objects, write_clip

toy = bool(os.environ.get("MINIVID_EXAMPLE_TOY"))
count, held_out, T, epochs = (8, 4, 6, 1) if toy else (400, 40, 12, 20)

out = Path("minivid_examples") / "detect_objects"
out.mkdir(parents=True, exist_ok=True)
size, grid = (32, 32), (8, 8)

# %% [markdown]
# ## The clips
# Discs, squares and triangles of any colour move over a drifting texture. Frames are dropped and a bar passes in front
# of them; the truth still says where the objects are, and how much of each can be seen.

# %%
clips, annotations = moving_objects(count + held_out, T, size, seed=0)
x = clips.astype(np.float32) / 255
example = annotations[0].frames[0]
for box, k in zip(example.boxes, example.classes, strict=True):
    print(f"{OBJECTS[k]:<9} x1, y1, x2, y2 = {', '.join(f'{side:4.1f}' for side in box)}")
print(plots.images({f"frame {t}": frame for t, frame in enumerate(clips[0])}, out / "clip.png", columns=6))

# %% [markdown]
# ## What the network has to say
# A grid of 8 x 8 cells lies over the frame. The cells around the centre of an object are responsible for it: they have
# to say that something is there, where its centre is as seen from the cell, how large it is, and of which class.

# %%
targets = np.stack(
    [[grid_targets(truth, size, grid, len(OBJECTS)) for truth in annotation.frames] for annotation in annotations]
)  # (N, T, 8, 8, 5 + 3)
print("cells of the first frame that are responsible for something:")
for row in targets[0, 0, :, :, 0]:
    print(" ", " ".join("#" if cell else "." for cell in row))
i, j = np.argwhere(targets[0, 0, :, :, 0])[0]
print(f"what the one in row {i}, column {j} has to say: {np.array2string(targets[0, 0, i, j], precision=2)}")

# %% [markdown]
# ## With and without memory
# Both detectors have the same CNN for every frame and the same cells at the end. One has a convolutional LSTM between
# them, which sees the frames in order; the other has a plain convolution in its place.

# %%
first, second = slice(None, count), slice(count, None)
found = {}
for name, recurrent in {"CNN + ConvLSTM": True, "frame by frame": False}.items():
    minivid.set_seed(0)
    model = build_detector(x.shape[1:], len(OBJECTS), recurrent=recurrent)
    steps = epochs * -(-count // 8)
    model.compile(Adam(CosineDecay(4e-3, steps), global_clipnorm=1.0), GridLoss())
    model.fit(x[first], targets[first], batch_size=8, epochs=epochs, verbose=0)
    found[name] = [[decode(frame, size, 0.02) for frame in outputs] for outputs in model.predict(x[second])]

# %% [markdown]
# ## How good are they?
# mAP@0.5 counts a box as right if it overlaps the true one of its class by half. Objects of which less than 30 % can be
# seen count as hidden; to look at one kind only, the others are ignored.

# %%
truths = [truth for annotation in annotations[second] for truth in annotation.frames]
hidden = [visible < 0.3 for annotation in annotations[second] for visible in annotation.visibility]
parts = {
    "all objects": truths,
    "visible ones": [truth._replace(ignored=lost) for truth, lost in zip(truths, hidden, strict=True)],
    "hidden ones": [truth._replace(ignored=~lost) for truth, lost in zip(truths, hidden, strict=True)],
}
table = {}
print(f"\n{'mAP@0.5':<16}" + "".join(f"{part:>14}" for part in parts))
for name, clips_found in found.items():
    frames = [frame for clip in clips_found for frame in clip]
    table[name] = {
        part: mean_average_precision(frames, wanted, len(OBJECTS), (0.5,))["mAP@0.5"] for part, wanted in parts.items()
    }
    print(f"{name:<16}" + "".join(f"{value:>14.2f}" for value in table[name].values()))

# %% [markdown]
# Both find what can be seen. Only the one with a memory finds what cannot: it has learned to carry place, speed, size
# and class of an object through frames that say nothing. Watch it:


# %%
def surest(frames: list[Detections]) -> list[Detections]:
    return [Detections(*(values[frame.scores >= 0.5] for values in frame)) for frame in frames]


most_hidden = int(np.argmax([sum(lost.sum() for lost in hidden[k * T : (k + 1) * T]) for k in range(held_out)]))
annotation, frames = annotations[count + most_hidden], clips[count + most_hidden]
shown = {name: surest(clips_found[most_hidden]) for name, clips_found in found.items()}
for name, boxes in shown.items():
    path = out / f"{name.replace(' ', '_').replace('+', 'and')}.gif"
    write_clip(path, plots.draw_boxes(frames, boxes, OBJECTS, annotation.frames), fps=4)
    print(path)
print(plots.iou_over_time(shown, annotation, OBJECTS, out / "iou_over_time.png", frames))
