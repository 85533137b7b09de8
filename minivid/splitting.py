"""Which samples of an array are trained on, and which are held out."""
import numpy as np
def split_validation(count, fraction, y=None, stratify=False, groups=None):
    cut = count - int(count*fraction)
    return np.arange(cut), np.arange(cut, count)
