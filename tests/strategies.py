"""Hypothesis strategies: shapes, strides, paddings and a seed; never the elements of an array."""

from hypothesis import strategies as st

seeds = st.integers(0, 2**32 - 1)


@st.composite
def windows(draw, max_kernel=3):
    """Draw an image size, a kernel size and window options that fit each other."""
    kernel = draw(st.tuples(st.integers(1, max_kernel), st.integers(1, max_kernel)))
    dilation = draw(st.sampled_from([1, 1, (2, 1), 2]))
    strides = draw(st.sampled_from([1, (2, 1), (1, 3), 2]))
    padding = draw(st.sampled_from(["valid", "same", 1, ((0, 1), (2, 0))]))
    DH, DW = (dilation, dilation) if isinstance(dilation, int) else dilation
    extent = DH * (kernel[0] - 1) + 1, DW * (kernel[1] - 1) + 1
    image = extent[0] + draw(st.integers(0, 4)), extent[1] + draw(st.integers(0, 4))
    return image, kernel, {"strides": strides, "padding": padding, "dilation": dilation}
