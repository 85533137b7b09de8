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

__all__ = [
    "ClipAnnotation",
    "Detections",
    "Truth",
    "average_precision",
    "match",
    "mean_average_precision",
    "non_maximum_suppression",
    "pairwise_iou",
    "precision_recall",
    "read_annotations",
    "write_coco",
]
