"""Augmentation changes all frames of a clip alike, and nothing that it should not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivid.video import compose, random_brightness, random_flip, random_shift


def still_clip(seed: int, T: int = 4, H: int = 9, W: int = 12) -> np.ndarray:
    """Return one random frame T times: what stays equal over time was changed alike."""
    frame = np.random.default_rng(seed).random((1, H, W, 2), dtype=np.float32)
    return np.repeat(frame, T, axis=0)


@pytest.mark.parametrize(
    "augment", [random_flip, random_shift, random_brightness, compose(random_flip, random_shift, random_brightness)]
)
@given(seed=st.integers(0, 2**31))
def test_every_frame_changes_alike(augment, seed):
    clip = still_clip(seed)
    before = clip.copy()
    changed = augment(clip, np.random.default_rng(seed))
    np.testing.assert_array_equal(clip, before)
    assert changed.shape == clip.shape
    assert changed.dtype == clip.dtype
    assert (changed == changed[:1]).all()
    np.testing.assert_array_equal(changed, augment(clip, np.random.default_rng(seed)))


def test_flip_mirrors_half_of_the_time():
    clip = still_clip(0)
    rng = np.random.default_rng(0)
    outcomes = [random_flip(clip, rng) for _ in range(200)]
    mirrored = sum(np.array_equal(outcome, clip[:, :, ::-1]) for outcome in outcomes)
    assert mirrored + sum(np.array_equal(outcome, clip) for outcome in outcomes) == 200
    assert 70 < mirrored < 130  # 100 ± 4 standard deviations of 7


@given(seed=st.integers(0, 2**31))
def test_shift_is_a_translation_with_repeated_edges(seed):
    clip = still_clip(seed, H=20, W=30)
    changed = random_shift(clip, np.random.default_rng(seed), part=0.1)  # up to 2 rows and 3 columns
    padded = np.pad(clip, ((0, 0), (2, 2), (3, 3), (0, 0)), mode="edge")
    windows = [padded[:, r : r + 20, c : c + 30] for r in range(5) for c in range(7)]
    assert sum(np.array_equal(changed, window) for window in windows) == 1


@given(seed=st.integers(0, 2**31))
def test_brightness_is_one_line_within_the_range(seed):
    clip = np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4, 1)
    changed = random_brightness(clip, np.random.default_rng(seed), part=0.2)
    assert changed.min() >= 0
    assert changed.max() <= 1
    inside = (changed > 0) & (changed < 1)
    slope = np.polyfit(clip[inside], changed[inside], 1)[0]
    assert 0.8 - 1e-4 <= slope <= 1.2 + 1e-4


def test_brightness_keeps_the_zero_of_clips_without_their_median():
    clip = np.array([-0.5, 0.0, 0.5], dtype=np.float32).reshape(3, 1, 1, 1)
    changed = random_brightness(clip, np.random.default_rng(0)).ravel()
    assert changed[1] == 0
    assert changed[0] == -changed[2]


def test_compose_applies_in_order():
    double, add_one = (lambda clip, rng: 2 * clip), (lambda clip, rng: clip + 1)
    both = compose(double, add_one)
    assert both(np.full((1, 1, 1, 1), 3.0), np.random.default_rng(0)).item() == 7  # 2·3 + 1
