"""Every picture: learning curves, confusion matrices, LSTM gates, gradient norms, filters, images, annotated clips.

Each function that takes a ``path`` writes one PNG file and returns its path; the file appears when it is complete.
The figures are made without a display and without pyplot, so nothing of the caller's own plotting is touched.
"""

from minivid.plots.clips import annotate_clip
from minivid.plots.confusion import confusion_matrix
from minivid.plots.curves import learning_curves
from minivid.plots.gates import lstm_gates
from minivid.plots.gradients import gradient_norms
from minivid.plots.kernels import filters
from minivid.plots.pictures import images

__all__ = [
    "annotate_clip",
    "confusion_matrix",
    "filters",
    "gradient_norms",
    "images",
    "learning_curves",
    "lstm_gates",
]
