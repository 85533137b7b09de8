"""Class folders as batches: shapes, targets, order, splits, and what is wrong with a folder."""

import warnings

import numpy as np
import pytest
from PIL import Image

import minivid
from minivid.video import SplitWarning, VideoError, VideoWarning, clips_from_directory, read_clip, write_clip
from tests.video import files

SMALL = {"frames": 3, "target_size": (16, 16)}


@pytest.fixture
def folder(tmp_path):
    return files.class_folders(tmp_path / "clips")


def relative(sequence, folder):
    return [path.relative_to(folder).as_posix() for path in sequence.paths]


def same_batches(first, second) -> bool:
    return all(
        np.array_equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True)
    )


def test_what_a_sequence_holds(folder):
    clips = clips_from_directory(folder, **SMALL, batch_size=3, shuffle=False)
    assert clips.class_names == ["jump", "wave"]
    assert clips.class_indices == {"jump": 0, "wave": 1}
    assert clips.num_classes == 2
    names = ("ann_0.mp4", "ann_2.mp4", "bob_1.mp4", "bob_3.mp4")
    assert relative(clips, folder) == [f"{label}/{name}" for label in ("jump", "wave") for name in names]
    assert clips.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert clips.input_shape == (3, 16, 16, 3)
    assert clips.skipped == []
    assert len(clips) == 3  # 8 clips: 3, 3 and 2
    assert [len(x) for x, _ in clips] == [3, 3, 2]
    with pytest.raises(IndexError, match="batch 3 of 3"):
        clips[3]
    assert same_batches([clips[-1]], [clips[2]])


def test_values_are_those_of_the_frames(folder):
    clips = clips_from_directory(folder, **SMALL, shuffle=False)
    x, _ = clips[0]
    assert x.dtype == np.float32
    # six frames, three wanted: ⌊1⌋, ⌊3⌋, ⌊5⌋
    assert files.numbers(x[0] * 255) == [1, 3, 5]
    np.testing.assert_array_equal(x[4], read_clip(clips.paths[4], **SMALL) / np.float32(255))


def test_grayscale_has_one_channel(folder):
    clips = clips_from_directory(folder, **SMALL, color_mode="grayscale")
    assert clips.input_shape == (3, 16, 16, 1)


@pytest.mark.parametrize(
    ("class_mode", "dtype", "expected"),
    [
        ("categorical", np.float32, [[1, 0], [0, 1]]),
        ("sparse", np.int64, [0, 1]),
        ("binary", np.float32, [[0], [1]]),
    ],
)
def test_targets(folder, class_mode, dtype, expected):
    clips = clips_from_directory(folder, **SMALL, shuffle=False, class_mode=class_mode, batch_size=8)
    _, y = clips[0]
    assert y.dtype == dtype
    assert y[[0, 4]].tolist() == expected


def test_no_targets(folder):
    batch = clips_from_directory(folder, **SMALL, class_mode=None)[0]
    assert batch.shape == (8, 3, 16, 16, 3)


def test_shuffling_is_drawn_from_seed_and_epoch_alone(folder):
    first, second = (clips_from_directory(folder, **SMALL, class_mode="sparse", seed=7) for _ in range(2))
    assert same_batches(first, second)
    order = first.order.tolist()
    assert sorted(order) == list(range(8))
    first[0]  # reading more batches of one of them does not change its next epoch
    first.on_epoch_end()
    second.on_epoch_end()
    assert first.order.tolist() != order
    assert same_batches(first, second)


def test_without_a_seed_set_seed_decides(folder):
    orders = []
    for seed in (1, 1, 2):
        minivid.set_seed(seed)
        orders.append(clips_from_directory(folder, **SMALL).order.tolist())
    assert orders[0] == orders[1] != orders[2]


def test_unshuffled_epochs_are_alike(folder):
    clips = clips_from_directory(folder, **SMALL, shuffle=False)
    clips.on_epoch_end()
    assert clips.order.tolist() == list(range(8))


def test_inputs_are_in_the_order_of_paths(folder):
    clips = clips_from_directory(folder, **SMALL, batch_size=3, seed=1, augment=lambda clip, rng: 1 - clip)
    x = np.concatenate(list(clips.inputs()))
    expected = np.stack([read_clip(path, **SMALL) for path in clips.paths]) / np.float32(255)
    np.testing.assert_array_equal(x, expected)


def test_folders_of_images_are_clips(tmp_path):
    for name in ("a", "b"):
        for clip in ("one", "two"):
            (tmp_path / name / clip).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (8, 8), (20 + 8 * number,) * 3).save(tmp_path / name / clip / f"{number}.png")
    clips = clips_from_directory(tmp_path, 4, (8, 8), shuffle=False)
    assert relative(clips, tmp_path) == ["a/one", "a/two", "b/one", "b/two"]
    assert files.numbers(clips[0][0][0] * 255) == [0, 1, 2, 3]


def test_other_entries_are_ignored(folder):
    (folder / "jump" / "Thumbs.db").write_text("x")
    (folder / "jump" / "readme.txt").write_text("x")
    (folder / "jump" / ".hidden.mp4").write_text("x")
    (folder / "jump" / "empty").mkdir()
    (folder / ".git").mkdir()
    (folder / "licence.txt").write_text("x")
    assert len(clips_from_directory(folder, **SMALL).paths) == 8


def test_natural_order_of_classes_and_files(tmp_path):
    for name in ("class10", "class2"):
        (tmp_path / name).mkdir()
        for number in (10, 9):
            write_clip(tmp_path / name / f"{number}.gif", files.numbered(3, 8, 8))
    clips = clips_from_directory(tmp_path, 2, (8, 8))
    assert relative(clips, tmp_path) == ["class2/9.gif", "class2/10.gif", "class10/9.gif", "class10/10.gif"]


# Augmentation and the median


def test_augmentation_is_for_every_pass_and_never_cached(folder):
    def noise(clip, rng):
        return (clip + rng.random()).astype(np.float32)

    plain = clips_from_directory(folder, **SMALL, seed=3, class_mode=None)
    noisy = clips_from_directory(folder, **SMALL, seed=3, class_mode=None, augment=noise)
    added = noisy[0] - plain[0]
    per_clip = added.reshape(8, -1)
    assert np.ptp(per_clip, axis=1).max() < 1e-6  # the whole clip alike
    assert len(np.unique(per_clip[:, 0])) == 8  # every clip differently
    np.testing.assert_array_equal(noisy[0], noisy[0])
    noisy.on_epoch_end()
    again = clips_from_directory(folder, **SMALL, seed=3, class_mode=None, augment=noise)
    again.on_epoch_end()
    np.testing.assert_array_equal(noisy[0], again[0])
    np.testing.assert_array_equal(clips_from_directory(folder, **SMALL, seed=3, class_mode=None)[0], plain[0])


def test_augmentation_is_drawn_anew_in_every_epoch(folder):
    def noise(clip, rng):
        return clip + np.float32(rng.random())

    clips = clips_from_directory(folder, **SMALL, shuffle=False, class_mode=None, augment=noise)
    first = clips[0]
    clips.on_epoch_end()
    assert (clips[0] != first).any(axis=(1, 2, 3, 4)).all()


def test_augmentation_must_keep_the_shape(folder):
    clips = clips_from_directory(folder, **SMALL, augment=lambda clip, rng: clip[1:])
    with pytest.raises(ValueError, match=r"augment changed the shape of a clip from \(3, 16, 16, 3\) to \(2,"):
        clips[0]


def test_the_median_of_a_still_camera_vanishes(tmp_path):
    background = np.random.default_rng(0).integers(0, 200, (1, 16, 16, 3), dtype=np.uint8)
    for name in ("a", "b"):
        clip = np.repeat(background, 5, axis=0)
        clip[2, 4:8, 4:8] = 255  # something passes in the middle frame
        for t in range(5):
            (tmp_path / name / "clip").mkdir(parents=True, exist_ok=True)
            Image.fromarray(clip[t]).save(tmp_path / name / "clip" / f"{t}.png")
    x, _ = clips_from_directory(tmp_path, 5, (16, 16), subtract_median=True)[0]
    assert x.dtype == np.float32
    expected = np.zeros((5, 16, 16, 3))
    expected[2, 4:8, 4:8] = (255 - background[0, 4:8, 4:8].astype(float)) / 255
    np.testing.assert_allclose(x[0], expected, atol=1e-6)


# Splits


@pytest.mark.parametrize("seed", [None, 0, 5])
@pytest.mark.parametrize("groups", [None, r"(ann|bob)"])
def test_the_two_subsets_are_complements(folder, seed, groups):
    both = [
        clips_from_directory(folder, **SMALL, validation_split=0.5, subset=subset, seed=seed, groups=groups)
        for subset in ("training", "validation")
    ]
    paths = [relative(side, folder) for side in both]
    assert sorted(paths[0] + paths[1]) == sorted(relative(clips_from_directory(folder, **SMALL), folder))
    assert [np.bincount(side.labels).tolist() for side in both] == [[2, 2], [2, 2]]


def test_groups_by_expression_and_by_function(folder):
    split = {"validation_split": 0.5, "subset": "validation"}
    by_expression = clips_from_directory(folder, **SMALL, **split, groups=r"/(\w+)_")
    by_function = clips_from_directory(folder, **SMALL, **split, groups=lambda path: path.stem.split("_")[0])
    assert len(set(by_expression.groups)) == 1
    assert by_expression.groups == by_function.groups
    assert by_expression.paths == by_function.paths


def test_validation_groups_are_exactly_the_held_out_side(folder):
    split = {"groups": r"(ann|bob)", "validation_groups": ["bob"]}
    assert set(clips_from_directory(folder, **SMALL, **split, subset="validation").groups) == {"bob"}
    assert set(clips_from_directory(folder, **SMALL, **split, subset="training").groups) == {"ann"}


def test_sides_with_different_classes_are_warned_of(folder):
    for path in (folder / "wave").glob("bob_*"):
        path.unlink()
    split = {"groups": r"(ann|bob)", "validation_groups": ["bob"]}
    with pytest.warns(SplitWarning, match="held-out side of the split has no sample of: wave"):
        clips_from_directory(folder, **SMALL, **split, subset="training")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": r"person(\d+)"}, r"does not match jump/ann_0\.mp4"),
        ({"groups": r"ann|bob"}, "must have one group in parentheses"),
        ({"groups": r"(ann"}, "no regular expression"),
        ({"groups": r"(ann|bob)", "validation_groups": ["eve", 3], "subset": "training"}, r"\[3, 'eve'\] do not occur"),
        ({"groups": r"(ann|bob)", "validation_groups": ["ann", "bob"], "subset": "training"}, "one side .* empty"),
        ({"validation_groups": ["ann"], "subset": "training"}, "validation_groups needs groups"),
        ({"validation_split": 0.5, "validation_groups": ["ann"]}, "not both"),
        ({"subset": "training"}, "give both or neither"),
        ({"validation_split": 0.5}, "give both or neither"),
        ({"validation_split": 1.5, "subset": "training"}, "between 0 and 1, got 1.5"),
        ({"validation_split": 0.5, "subset": "test"}, "subset must be 'training' or 'validation', got 'test'"),
        ({"on_error": "ignore"}, "on_error must be 'raise' or 'skip'"),
        ({"class_mode": "onehot"}, "class_mode must be one of"),
        ({"color_mode": "bgr"}, "color_mode"),
        ({"batch_size": 0}, "batch_size must be a positive int, got 0"),
        ({"frames": None}, "give frames and target_size"),
        ({"target_size": None}, "give frames and target_size"),
        ({"frames": 0}, "frames must be a positive int"),
    ],
)
def test_bad_arguments(folder, arguments, message):
    with pytest.raises(ValueError, match=message):
        clips_from_directory(folder, **{**SMALL, **arguments})


def test_binary_takes_two_classes(tmp_path):
    folder = files.class_folders(tmp_path / "clips", 1, ("a", "b", "c"))
    with pytest.raises(ValueError, match=r"takes two classes, found 3: \['a', 'b', 'c'\]"):
        clips_from_directory(folder, **SMALL, class_mode="binary")


# Folders that do not fit


def test_a_missing_folder_and_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        clips_from_directory(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file; expected a folder"):
        clips_from_directory(tmp_path / "file")


def test_a_folder_without_class_folders(tmp_path):
    with pytest.raises(ValueError, match="must hold one folder of video files per class, but it has no folders"):
        clips_from_directory(tmp_path)
    write_clip(tmp_path / "loose.mp4", files.numbered(2))
    with pytest.raises(ValueError, match="put them into one folder per class"):
        clips_from_directory(tmp_path)


def test_without_targets_clips_may_lie_anywhere(tmp_path):
    with pytest.raises(ValueError, match="and the folders in it hold no video files"):
        clips_from_directory(tmp_path, class_mode=None)
    folder = files.class_folders(tmp_path / "clips", classes=("wave",))
    write_clip(folder / "loose.mp4", files.numbered(2))
    (folder / "empty").mkdir()
    clips = clips_from_directory(folder, **SMALL, class_mode=None, shuffle=False)
    assert clips.class_names == ["clips", "wave"]
    assert clips.paths[0] == folder / "loose.mp4"
    assert {path.parent.name for path in clips.paths[1:]} == {"wave"}


def test_an_empty_class(folder):
    (folder / "kick").mkdir()
    with pytest.raises(ValueError, match=r"class folder .*kick holds no video files; fill it or remove it"):
        clips_from_directory(folder)


def test_a_single_class(tmp_path):
    with pytest.raises(ValueError, match="a single class, 'wave'; a classifier needs two or more"):
        clips_from_directory(files.class_folders(tmp_path / "clips", classes=("wave",)))


# Files that cannot be read


def test_an_unreadable_file_is_named(folder):
    (folder / "wave" / "bad.mp4").write_text("hello")
    with pytest.raises(VideoError, match=r"bad\.mp4: not a video"):
        clips_from_directory(folder, **SMALL)


def test_unreadable_files_are_skipped_counted_and_reported(folder):
    (folder / "jump" / "bad.mp4").write_text("hello")
    (folder / "wave" / "empty.mp4").touch()
    (folder / "wave" / "link.mp4").symlink_to("nowhere")
    with pytest.warns(
        VideoWarning, match=r"skipped 3 of 11 files that cannot be read; the first: .*bad\.mp4"
    ) as caught:
        clips = clips_from_directory(folder, **SMALL, on_error="skip")
    assert len([w for w in caught if issubclass(w.category, VideoWarning)]) == 1
    assert caught[0].filename == __file__
    assert len(clips.paths) == len(clips.labels) == 8
    reasons = {path.name: reason for path, reason in clips.skipped}
    assert set(reasons) == {"bad.mp4", "empty.mp4", "link.mp4"}
    assert "zero bytes" in reasons["empty.mp4"]
    assert sum(len(x) for x, _ in clips) == 8


def test_skipped_files_do_not_move_others_across_the_split(folder):
    split = {"validation_split": 0.25, "seed": 2}
    before = relative(clips_from_directory(folder, **SMALL, **split, subset="validation"), folder)
    bad = next(path for path in (folder / "jump").iterdir() if f"jump/{path.name}" not in before)
    bad.write_text("hello")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VideoWarning)
        sides = [
            relative(clips_from_directory(folder, **SMALL, **split, subset=subset, on_error="skip"), folder)
            for subset in ("training", "validation")
        ]
    assert sides[1] == before
    assert len(sides[0]) == 5


@pytest.mark.parametrize("split", [{}, {"validation_split": 0.25, "subset": "training"}])
def test_a_class_of_unreadable_files_only(folder, split):
    for path in (folder / "wave").iterdir():
        path.write_text("hello")
    with (
        pytest.warns(VideoWarning, match="skipped"),
        pytest.raises(VideoError, match=r"no file of class 'wave' can be read; the first: .*ann_"),
    ):
        clips_from_directory(folder, **SMALL, on_error="skip", **split)


def test_nothing_can_be_read(folder):
    for path in folder.rglob("*.mp4"):
        path.write_text("hello")
    with pytest.warns(VideoWarning, match="skipped 8 of 8"), pytest.raises(VideoError, match="none of the 8 files"):
        clips_from_directory(folder, **SMALL, on_error="skip")


@pytest.mark.data
def test_the_real_odd_files_among_good_ones(data_dir, folder):
    odd = sorted(path for path in (data_dir / "odd_videos").iterdir() if path.suffix != ".json")
    for path in odd:
        (folder / "wave" / path.name).symlink_to(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clips = clips_from_directory(folder, **SMALL, on_error="skip")
    unreadable = [path.name for path, _ in clips.skipped]
    assert len(unreadable) == 5  # by the manifest
    assert len(clips.paths) == 8 + len(odd) - 5
    assert any("skipped 5 of 30" in str(warning.message) for warning in caught)
    assert all(np.isfinite(x).all() for x, _ in clips)
