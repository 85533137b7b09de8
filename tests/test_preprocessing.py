"""ImageDataGenerator: Keras's spelling for folders of images."""

import numpy as np
import pytest
from PIL import Image

from minivid.preprocessing import ImageDataGenerator
from minivid.video import VideoError
from tests.video import files

CLASSES = ("cat", "dog", "eel")


@pytest.fixture
def folder(tmp_path):
    for k, name in enumerate(CLASSES):
        (tmp_path / name).mkdir()
        for number in range(4):
            picture = np.zeros((12, 20, 3), dtype=np.uint8)
            picture[:, :10] = 40 * k + 10 * number + 10  # the left half
            Image.fromarray(picture).save(tmp_path / name / f"{number}.png")
    return tmp_path


def test_keras_prints_and_batches(folder, capsys):
    images = ImageDataGenerator(rescale=1 / 255).flow_from_directory(folder, target_size=(12, 20), batch_size=5)
    assert capsys.readouterr().out == "Found 12 images belonging to 3 classes.\n"
    assert images.class_indices == {"cat": 0, "dog": 1, "eel": 2}
    assert images.input_shape == (12, 20, 3)
    assert [x.shape for x, _ in images] == [(5, 12, 20, 3), (5, 12, 20, 3), (2, 12, 20, 3)]
    x, y = images[0]
    assert x.dtype == y.dtype == np.float32
    assert y.shape == (5, 3)
    # the left half of image n of class k is 40·k + 10·n + 10, so its class can be read from the picture
    assert ((np.rint(x[:, 0, 0, 0] * 255) - 10) // 40).tolist() == y.argmax(axis=1).tolist()


def test_pixels_keep_their_values_without_rescale(folder):
    images = ImageDataGenerator().flow_from_directory(folder, (12, 20), shuffle=False, class_mode="sparse")
    x, y = images[0]
    assert y.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert x[:, 0, 0, 0].tolist() == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120]


def test_grayscale_and_resize(folder):
    images = ImageDataGenerator(1 / 255).flow_from_directory(folder, (6, 6), color_mode="grayscale")
    assert images[0][0].shape == (12, 6, 6, 1)


def test_flip_mirrors_some_images_and_only_where_asked(folder):
    settings = {"target_size": (12, 20), "shuffle": False, "seed": 0, "class_mode": None}
    plain = ImageDataGenerator(1 / 255).flow_from_directory(folder, **settings)[0]
    flipped = ImageDataGenerator(1 / 255, horizontal_flip=True).flow_from_directory(folder, **settings)[0]
    mirrored = [np.array_equal(image, before[:, ::-1]) for image, before in zip(flipped, plain, strict=True)]
    same = [np.array_equal(image, before) for image, before in zip(flipped, plain, strict=True)]
    assert sum(mirrored) + sum(same) == 12
    assert 0 < sum(mirrored) < 12


def test_the_subsets_are_complements_of_every_class(folder):
    generator = ImageDataGenerator(1 / 255, validation_split=0.25)
    sides = [generator.flow_from_directory(folder, (8, 8), subset=subset) for subset in ("training", "validation")]
    assert [np.bincount(side.labels).tolist() for side in sides] == [[3, 3, 3], [1, 1, 1]]
    assert not set(sides[0].paths) & set(sides[1].paths)


def test_a_folder_of_videos_is_sent_to_clips_from_directory(tmp_path):
    folder = files.class_folders(tmp_path / "clips", clips=1)
    with pytest.raises(VideoError, match=r"holds clips, not single images.*clips_from_directory"):
        ImageDataGenerator().flow_from_directory(folder)


def test_an_unreadable_image_is_named(folder):
    (folder / "cat" / "bad.png").write_text("hello")
    images = ImageDataGenerator().flow_from_directory(folder, (8, 8))
    with pytest.raises(VideoError, match=r"bad\.png: not an image"):
        list(images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_size": None}, "give target_size"),
        ({"target_size": (0, 4)}, "target_size must be"),
        ({"class_mode": "binary"}, "takes two classes, found 3"),
        ({"subset": "training"}, r"needs ImageDataGenerator\(validation_split"),
        ({"subset": "test"}, "subset must be"),
        ({"batch_size": -1}, "batch_size must be a positive int"),
    ],
)
def test_bad_arguments(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageDataGenerator().flow_from_directory(folder, **arguments)


def test_bad_validation_split():
    with pytest.raises(ValueError, match="validation_split must be in"):
        ImageDataGenerator(validation_split=1.0)
