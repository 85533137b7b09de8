"""The program of the article "Deep learning for video analysis", with its mistakes put right.

Run it as a script, or cell by cell in an editor that knows ``# %%``. It takes a minute and a half on two cores and
writes into ``minivid_examples/article/``. Each line that had to change says which erratum of ``docs/article/index.md``
it follows; the printed line stands above it.
"""
# ruff: noqa: E402  (the program keeps its own import lines)

# %%
import os
from pathlib import Path

import minivid
from minivid.video import write_moving_shapes

toy = bool(os.environ.get("MINIVID_EXAMPLE_TOY"))
out = Path("minivid_examples") / "article"
minivid.set_seed(0)

# %% [markdown]
# ## Data, if there is none
# The program reads a folder with one folder of clips per class. To train on your own clips, put them into
# `minivid_examples/article/data`; otherwise shapes are drawn that differ in how they move.

# %%
if not (out / "data").is_dir():
    write_moving_shapes(out / "data", clips_per_class=2 if toy else 300, frames=8, seed=0)

# %% [markdown]
# ## The program
# As printed, but for the imports and the errata. Two sizes differ too, so that it trains in a minute: frames of 32x32
# pixels instead of 224x224, and as many classes as there are folders instead of 10.

# %%
# printed: from keras.preprocessing.image import ImageDataGenerator
# printed: from keras.models import Sequential
# printed: from keras.layers import Conv2D, MaxPooling2D, Flatten, Dense, LSTM
from minivid.layers import LSTM, Conv2D, Dense, Flatten, MaxPooling2D, TimeDistributed
from minivid.models import Sequential
from minivid.video import clips_from_directory

# printed: datagen = ImageDataGenerator(rescale=1/255)
# printed: frames = datagen.flow_from_directory(
#              'data', target_size=(224, 224), batch_size=32, class_mode='categorical')
frames = clips_from_directory(  # erratum 9: clips, not shuffled single images; already from 0 to 1
    out / "data", frames=8, target_size=(32, 32), batch_size=32, class_mode="categorical", seed=0
)

model = Sequential()
# printed: model.add(Conv2D(32, (3, 3), activation='relu', input_shape=(224, 224, 3)))
model.add(TimeDistributed(Conv2D(32, (3, 3), activation="relu"), input_shape=(None, 32, 32, 3)))  # erratum 7
model.add(TimeDistributed(MaxPooling2D((2, 2))))  # erratum 7: the CNN looks at each frame, like all lines here
model.add(TimeDistributed(Conv2D(64, (3, 3), activation="relu")))
model.add(TimeDistributed(MaxPooling2D((2, 2))))
model.add(TimeDistributed(MaxPooling2D((2, 2))))  # erratum 6: more pooling, so that Flatten gives 3*3*64 = 576
model.add(TimeDistributed(Flatten()))
# printed: model.add(Dense(1000, activation='relu'))
model.add(TimeDistributed(Dense(100, activation="relu")))  # erratum 6: 57,700 weights instead of 186.6 million
# printed: model.add(Dense(10, activation='softmax'))      # erratum 8: the answer comes after the LSTM, once

# printed: model = Sequential()                            # erratum 8: would throw the CNN away
# printed: model.add(LSTM(100, return_sequences=True, input_shape=(None, 224, 224, 3)))
model.add(LSTM(100, return_sequences=True))  # erratum 7: its input are the features of each frame, (batch, time, 100)
model.add(LSTM(100))
model.add(Dense(frames.num_classes, activation="softmax"))

model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])  # erratum 10: was missing
# printed: model.fit(frames, epochs=10, batch_size=32, verbose=1)
history = model.fit(frames, epochs=10, verbose=1)  # erratum 11: the batch size belongs to the generator

# %% [markdown]
# ## What came out
# The article stops here. Whether the program has learned something shows on clips that it has not seen.

# %%
from minivid import plots
from minivid.video import moving_shapes

plots.learning_curves(history.history, out / "learning_curves.png")
print(f"accuracy on the {len(frames.paths)} clips it was trained on: {history.history['accuracy'][-1]:.1%}")
if frames.class_names == list(minivid.video.MOTIONS):
    x, y = moving_shapes(clips=12 if toy else 300, frames=8, seed=1)
    correct = (model.predict(x.astype("float32") / 255).argmax(axis=1) == y).mean()
    print(f"accuracy on {len(x)} new clips: {correct:.1%} (chance: {1 / frames.num_classes:.1%})")
print(f"picture: {out}/learning_curves.png")
