"""From video files to batches of frames, and back."""

from minivid.video.augmentation import compose, random_brightness, random_flip, random_shift
from minivid.video.bouncing import bouncing_digits, bouncing_shapes, write_bouncing_shapes
from minivid.video.moving_objects import OBJECTS, moving_objects, write_moving_objects
from minivid.video.reading import VideoError, VideoWarning, read_clip
from minivid.video.sequence import ClipSequence, clips_from_directory, without_median
from minivid.video.shapes import MOTIONS, moving_shapes, write_moving_shapes
from minivid.video.splits import SplitWarning, group_split, stratified_split
from minivid.video.writing import write_clip

__all__ = [
    "MOTIONS",
    "OBJECTS",
    "ClipSequence",
    "SplitWarning",
    "VideoError",
    "VideoWarning",
    "bouncing_digits",
    "bouncing_shapes",
    "clips_from_directory",
    "compose",
    "group_split",
    "moving_objects",
    "moving_shapes",
    "random_brightness",
    "random_flip",
    "random_shift",
    "read_clip",
    "stratified_split",
    "without_median",
    "write_bouncing_shapes",
    "write_clip",
    "write_moving_objects",
    "write_moving_shapes",
]
