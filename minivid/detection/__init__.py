"""Boxes of objects in frames: overlap, matching, average precision, and annotation files."""

from minivid.detection.annotations import ClipAnnotation, read_annotations, write_coco
from minivid.detection.average_precision import (
    Detections,
    Truth,
    average_precision,
    mean_average_precision,
    precision_recall,
)
from minivid.detection.boxes import match, non_maximum_suppression, pairwise_iou
from minivid.detection.grid import GridLoss, decode, grid_targets
from minivid.detection.moving_regions import moving_regions, write_moving_regions

__all__ = [
    "ClipAnnotation",
    "Detections",
    "GridLoss",
    "Truth",
    "average_precision",
    "decode",
    "grid_targets",
    "match",
    "mean_average_precision",
    "moving_regions",
    "non_maximum_suppression",
    "pairwise_iou",
    "precision_recall",
    "read_annotations",
    "write_coco",
    "write_moving_regions",
]
