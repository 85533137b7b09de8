"""Edges by hand: what convolution and max-pooling do to an image, with kernels that nobody trained.

Run it as a script, or cell by cell in an editor that knows ``# %%``. It draws its own image; give it another one with
``python examples/edges.py photo.jpg``. The pictures go into ``minivid_examples/edges/``.
"""

# %%
import os
import sys
from pathlib import Path

import numpy as np

from minivid import plots
from minivid.ops import conv2d_forward, maxpool2d_forward

toy = bool(os.environ.get("MINIVID_EXAMPLE_TOY"))
side = 24 if toy else 96  # pixels

out = Path("minivid_examples") / "edges"
out.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## An image
# A grey image is an array (H, W) of brightness from 0 to 1: here a disc, a square with soft light on it, and a slanted
# bar. The operations take batches with channels last, so it becomes (N, H, W, C) = (1, H, W, 1).


# %%
def scene(side: int) -> np.ndarray:
    """Draw shapes on a dark ground, (side, side)."""
    rows, columns = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    image = np.full((side, side), 0.15)
    image[np.hypot(rows - 0.27, columns - 0.3) < 0.19] = 0.9
    square = (np.abs(rows - 0.72) < 0.17) & (np.abs(columns - 0.32) < 0.17)
    image[square] = 0.3 + 0.6 * columns[square]
    image[np.abs(rows + 2 * columns - 1.95) < 0.12] = 0.6
    return image


def photograph(path: str, side: int) -> np.ndarray:
    """Read an image file as brightness from 0 to 1, (H, W), its shorter side made ``2 * side`` pixels."""
    from PIL import Image

    with Image.open(path) as picture:
        grey = picture.convert("L")
    factor = 2 * side / min(grey.size)
    return np.asarray(grey.resize([round(factor * length) for length in grey.size])) / 255


photo = [argument for argument in sys.argv[1:] if argument.lower().endswith((".jpg", ".jpeg", ".png"))]
image = photograph(photo[0], side) if photo else scene(side)
x = image[None, :, :, None]  # (1, H, W, 1)
print("image:", x.shape, x.dtype)

# %% [markdown]
# ## Five kernels
# A kernel is a small picture of weights. It slides over the image, and at each position the products of weights and
# pixels are summed (conv2d.1):
#
#     y[i, j] = b + Σ_k Σ_l x[i + k, j + l] · w[k, l]
#
# The Sobel kernels are differences of neighbours, smoothed across: they answer to edges. The Laplacian compares a pixel
# with the mean of its four neighbours: it answers to thin lines and to both sides of an edge. The blur is a mean.

# %%
kernels = {
    "sobel, across": np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4,
    "sobel, down": np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]]) / 4,
    "laplacian": np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]) / 4,
    "blur": np.full((3, 3), 1 / 9),
    "unchanged": np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]) / 1,
}
w = np.stack([*kernels.values()], axis=-1)[:, :, None, :]  # (KH, KW, C, F) = (3, 3, 1, 5)
y = conv2d_forward(x, w)  # (1, H - 2, W - 2, 5)
print("kernels:", w.shape, "feature maps:", y.shape)

# %% [markdown]
# One bank of filters computes all five feature maps at once. Below each kernel is its map, blue where the sum is
# positive, orange where it is negative, white at zero; the last two are brightness again, and grey. A map is two pixels
# smaller than the image: with `padding="valid"` the kernel must lie wholly inside.

# %%
maps = dict(zip(kernels, np.moveaxis(y[0], 2, 0), strict=True))
plots.images(
    kernels | {f"{name}: map": feature_map for name, feature_map in maps.items()}, out / "feature_maps.png", columns=5
)

# %% [markdown]
# How strong an edge is, whatever its direction, is the length of the gradient, the vector of the two Sobel maps.

# %%
strength = np.hypot(maps["sobel, across"], maps["sobel, down"])
plots.images({"image": image, "strength of edges": strength / strength.max()}, out / "edges.png")
flat = np.median(strength)
print(f"strength of edges: median {flat:.3f}, maximum {strength.max():.3f}")

# %% [markdown]
# ## Convolution or correlation?
# Mathematicians write a convolution as y[i, j] = Σ x[i − k, j − l] · w[k, l]: the kernel runs backwards. What deep
# learning calls a convolution is a cross-correlation, x[i + k, j + l]. The two differ by turning the kernel by half a
# turn, in rows and in columns, and since a network learns its kernels, it does not matter which one it uses.


# %%
def true_convolution(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Sum x[i - k, j - l] w[k, l] where the whole kernel lies inside the image, straight from the formula."""
    KH, KW = kernel.shape
    H, W = image.shape
    y = np.zeros((H - KH + 1, W - KW + 1))
    for k, l in np.ndindex(KH, KW):
        rows, columns = slice(KH - 1 - k, H - k), slice(KW - 1 - l, W - l)
        y += image[rows, columns] * kernel[k, l]
    return y


sobel = kernels["sobel, across"]
flipped = np.ascontiguousarray(sobel[::-1, ::-1])
convolved = true_convolution(image, sobel)
correlated = conv2d_forward(x, flipped[:, :, None, None])[0, :, :, 0]
print(f"true convolution = correlation with the flipped kernel, up to {np.abs(convolved - correlated).max():.0e}")
print("and for this kernel, flipping changes the sign:", bool(np.allclose(convolved, -maps["sobel, across"])))

# %% [markdown]
# ## Max-pooling
# Max-pooling keeps the largest of each 2 x 2 window (maxpool2d.1): half the rows, half the columns, and the edges are
# still there. Shift the image by one pixel and the pooled map changes less than the map itself: pooling forgives small
# shifts, and that is what it is for.

# %%
edges = np.ascontiguousarray(strength[None, :, :, None])  # (1, H - 2, W - 2, 1)
pooled, offset = maxpool2d_forward(edges, 2)
again, _ = maxpool2d_forward(pooled, 2)
print("pooled:", edges.shape, "->", pooled.shape, "->", again.shape)

shifted = np.roll(edges, 1, axis=2)
pooled_shifted, _ = maxpool2d_forward(shifted, 2)


def change(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


change_of_map, change_of_pooled = change(edges, shifted), change(pooled, pooled_shifted)
print(f"a shift by one pixel changes the map by {change_of_map:.0%}, the pooled map by {change_of_pooled:.0%}")

pictures = {"strength of edges": edges[0], "max-pooled": pooled[0], "twice": again[0]}
plots.images({name: picture / edges.max() for name, picture in pictures.items()}, out / "pooling.png")

print("pictures:", ", ".join(f"{out}/{name}.png" for name in ("feature_maps", "edges", "pooling")))
