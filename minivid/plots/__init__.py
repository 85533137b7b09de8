"""Every picture: of trainings, of what layers do, and of what the tasks predict.

Each function that takes a ``path`` writes one PNG file and returns its path; the file appears when it is complete.
The figures are made without a display and without pyplot, so nothing of the caller's own plotting is touched.
"""

from minivid.plots.clips import annotate_clip
from minivid.plots.confusion import confusion_matrix
from minivid.plots.curves import learning_curves
from minivid.plots.detections import draw_boxes, iou_over_time, precision_recall_curves
from minivid.plots.gates import lstm_gates
from minivid.plots.gradients import gradient_norms
from minivid.plots.kernels import filters
from minivid.plots.pictures import images
from minivid.plots.rows import prediction_clip, prediction_rows
from minivid.plots.steps import error_per_step

__all__ = [
    "annotate_clip",
    "confusion_matrix",
    "draw_boxes",
    "error_per_step",
    "filters",
    "gradient_norms",
    "images",
    "iou_over_time",
    "learning_curves",
    "lstm_gates",
    "precision_recall_curves",
    "prediction_clip",
    "prediction_rows",
]
