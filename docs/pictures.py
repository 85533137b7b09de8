"""Draw the pictures that explain operations: ``python docs/pictures.py`` writes them to docs/images.

Blue is what flows forward, orange what flows back.
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

INK, GREY, PALE, BLUE, ORANGE = "#1f2933", "#7b8794", "#eef1f4", "#2463a8", "#d9681d"
LIGHT_BLUE, LIGHT_ORANGE = "#cfe0f3", "#fadcc6"
FOLDER = Path(__file__).parent / "images"


def picture(width: float, height: float):
    """Return axes without frame whose units are tenths of an inch, y downwards."""
    figure, axes = plt.subplots(figsize=(width / 10, height / 10))
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.axis("off")
    figure.subplots_adjust(0, 0, 1, 1)
    return axes


def save(axes, name: str) -> None:
    """Write a picture to docs/images."""
    FOLDER.mkdir(exist_ok=True)
    axes.figure.savefig(FOLDER / f"{name}.png", dpi=160, facecolor="white")
    plt.close(axes.figure)
    print(FOLDER / f"{name}.png")


def say(axes, x, y, text, color=INK, size=11, **options):
    """Write a text around a point."""
    options = {"ha": "center", "va": "center"} | options
    axes.text(x, y, text, color=color, fontsize=size, **options)


def arrow(axes, start, end, color=INK, **options):
    """Draw a straight arrow."""
    style = {"arrowstyle": "-|>", "mutation_scale": 11, "linewidth": 1.5, "shrinkA": 0, "shrinkB": 0} | options
    axes.add_patch(FancyArrowPatch(start, end, color=color, **style))


def grid(axes, left, top, values, cell=4.2, fill=None, size=10.5):
    """Draw a matrix of texts as squares; ``fill`` maps (row, column) to a colour. Return the centre of each square."""
    rows, columns = np.shape(values)
    centres = {}
    for r, s in np.ndindex(rows, columns):
        corner = left + s * cell, top + r * cell
        color = (fill or {}).get((r, s), "white")
        axes.add_patch(Rectangle(corner, cell, cell, facecolor=color, edgecolor=GREY, linewidth=0.9))
        centres[r, s] = corner[0] + cell / 2, corner[1] + cell / 2
        say(axes, *centres[r, s], values[r][s], size=size)
    return centres


def blank(rows: int, columns: int) -> list[list[str]]:
    """Return a matrix of empty texts."""
    return [[""] * columns for _ in range(rows)]


def convolution() -> None:
    """Draw which pixels feed an output, and which outputs have read a pixel."""
    axes = picture(92, 38)
    window = {(r, s): LIGHT_BLUE for r in (1, 2, 3) for s in (2, 3, 4)}
    x = blank(5, 5)
    for k, l in np.ndindex(3, 3):
        x[1 + k][2 + l] = f"$w_{{{k}{l}}}$"
    say(axes, 21, 2.5, "forward: an output reads a window", BLUE, 12)
    pixels = grid(axes, 2, 8, x, fill=window, size=9.5)
    outputs = grid(axes, 29, 12.2, blank(3, 3), fill={(1, 2): LIGHT_BLUE})
    say(axes, 12.5, 32.5, "$x$, 5 x 5 pixels", GREY)
    say(axes, 35.3, 28, "$y$, 3 x 3", GREY)
    arrow(axes, (23.2, pixels[2, 4][1]), (outputs[1, 2][0] - 1, outputs[1, 2][1]), BLUE)
    say(axes, 12.5, 35.6, r"$y_{12} = \sum\, x_{1+k,\,2+l}\; w_{kl} + b$", size=10.5)

    say(axes, 69, 2.5, "backward: a pixel asks who has read it", ORANGE, 12)
    dy = blank(3, 3)
    readers = [(i, j) for i in (0, 1) for j in (0, 1, 2)]
    for i, j in readers:
        dy[i][j] = f"$w_{{{1 - i}{2 - j}}}$"
    upstream = grid(axes, 49, 12.2, dy, fill=dict.fromkeys(readers, LIGHT_ORANGE), size=9.5)
    gradient = grid(axes, 69, 8, blank(5, 5), fill={(1, 2): LIGHT_ORANGE})
    say(axes, 55.3, 28, "$dy$, 3 x 3", GREY)
    say(axes, 79.5, 32.5, "$dx$, 5 x 5", GREY)
    arrow(axes, (62, upstream[0, 2][1]), (gradient[1, 2][0] - 1, gradient[1, 2][1]), ORANGE)
    say(axes, 70, 35.6, r"$dx_{12} = \sum\, dy_{1-k,\,2-l}\; w_{kl}$, over the six outputs above it", size=10.5)
    save(axes, "conv2d")


def pooling() -> None:
    """Draw a max-pooling of four windows, and where their gradients go."""
    axes = picture(92, 32)
    x = np.array([[3, 1, 0, 2], [5, 2, 4, 4], [1, 0, 9, 6], [7, 7, 8, 1]])
    winners = [(1, 0), (1, 2), (3, 0), (2, 2)]
    say(axes, 21, 2.5, "forward: the largest of each window", BLUE, 12)
    grid(axes, 3, 7, x.tolist(), fill=dict.fromkeys(winners, LIGHT_BLUE))
    for corner in ((3, 7), (11.4, 7), (3, 15.4), (11.4, 15.4)):
        axes.add_patch(Rectangle(corner, 8.4, 8.4, fill=False, edgecolor=BLUE, linewidth=2))
    grid(axes, 31, 11, [[5, 4], [7, 9]], fill=dict.fromkeys(np.ndindex(2, 2), LIGHT_BLUE))
    arrow(axes, (21, 15.4), (29.6, 15.4), BLUE)
    say(axes, 11.4, 26.4, "$x$", GREY)
    say(axes, 35.2, 22, "$y$", GREY)
    say(axes, 20, 29.5, "of equal ones, the first wins", size=10)
    say(axes, 69, 2.5, "backward: all to the winner, nothing to the others", ORANGE, 12)
    grid(axes, 49, 11, [["$a$", "$b$"], ["$c$", "$d$"]], fill=dict.fromkeys(np.ndindex(2, 2), LIGHT_ORANGE))
    dx = blank(4, 4)
    for place in np.ndindex(4, 4):
        dx[place[0]][place[1]] = "0"
    for (r, s), name in zip(winners, "abcd", strict=True):
        dx[r][s] = f"${name}$"
    grid(axes, 70, 7, dx, fill=dict.fromkeys(winners, LIGHT_ORANGE))
    arrow(axes, (59, 15.4), (68.6, 15.4), ORANGE)
    say(axes, 53.2, 22, "$dy$", GREY)
    say(axes, 78.4, 26.4, "$dx$", GREY)
    save(axes, "maxpool2d")


def box(axes, x, y, text, color=PALE, width=7.5, height=4.6):
    """Draw a text in a box around a point."""
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.8",
            facecolor=color, edgecolor=GREY, linewidth=1,
        )
    )  # fmt: skip
    say(axes, x, y, text)


def node(axes, x, y, text):
    """Draw an operation in a circle."""
    axes.add_patch(Circle((x, y), 1.9, facecolor="white", edgecolor=INK, linewidth=1.2))
    say(axes, x, y, text, size=12)


def lstm_cell() -> None:
    """Draw the cell of an LSTM, and the way of the gradient along its cell state."""
    axes = picture(92, 52)
    top, middle, gates = 12, 25, 37
    forward = {"color": BLUE}
    arrow(axes, (4, top), (22.1, top), **forward)
    arrow(axes, (25.9, top), (42.1, top), **forward)
    arrow(axes, (45.9, top), (88, top), **forward)
    node(axes, 24, top, "×")
    node(axes, 44, top, "+")
    node(axes, 44, middle, "×")
    node(axes, 72, middle, "×")
    box(axes, 72, 18, "tanh", "white", 6.5, 4)
    arrow(axes, (72, top), (72, 16), **forward)
    arrow(axes, (72, 20), (72, middle - 1.9), **forward)
    for x, name in ((24, r"$\sigma$"), (38, r"$\sigma$"), (50, "tanh"), (64, r"$\sigma$")):
        box(axes, x, gates, name, LIGHT_BLUE)
        arrow(axes, (x, 46), (x, gates + 2.3), **forward)
    axes.plot([24, 64], [46, 46], color=BLUE, linewidth=1.5)
    arrow(axes, (4, 46), (24, 46), arrowstyle="-", **forward)
    arrow(axes, (24, gates - 2.3), (24, top + 1.9), **forward)
    arrow(axes, (38, gates - 2.3), (42.5, middle + 1.3), **forward)
    arrow(axes, (50, gates - 2.3), (45.5, middle + 1.3), **forward)
    arrow(axes, (44, middle - 1.9), (44, top + 1.9), **forward)
    arrow(axes, (64, gates - 2.3), (70.5, middle + 1.3), **forward)
    arrow(axes, (73.9, middle), (88, middle), **forward)
    for x, y, text in (
        (26.5, 30, "$f_t$"), (37, 30, "$i_t$"), (51, 30, r"$\tilde c_t$"), (69.6, 31, "$o_t$"),
        (7, 10, "$c_{t-1}$"), (85, 10, "$c_t$"), (85, 23, "$h_t$"), (11, 44, "$x_t,\\ h_{t-1}$"),
    ):  # fmt: skip
        say(axes, x, y, text, size=12)
    for start, end in (((88, 5.5), (46, 5.5)), ((42, 5.5), (26, 5.5)), ((22, 5.5), (4, 5.5))):
        arrow(axes, start, end, ORANGE, linewidth=2)
    say(axes, 67, 3, r"$\delta c_t$: from $c_{t+1}$, and through tanh from $h_t$ (lstm.9)", ORANGE, 10.5)
    say(axes, 34, 3, "unchanged by +", ORANGE, 10.5)
    say(axes, 12, 3, r"times $f_t$: no matrix", ORANGE, 10.5)
    say(axes, 46, 50, "blue: forward, (lstm.1) to (lstm.7)   ·   orange: the gradient of the cell state", GREY, 10)
    save(axes, "lstm_cell")


def unrolled() -> None:
    """Draw three steps of a recurrent network, and the paths of their gradients."""
    axes = picture(92, 40)
    steps = {1: 20, 2: 46, 3: 72}
    for t, x in steps.items():
        box(axes, x, 21, "$f,\\ \\theta$", LIGHT_BLUE, 9, 6)
        say(axes, x, 36.5, f"$x_{t}$", size=12)
        box(axes, x, 8, f"$L_{t}$", "white", 6.5, 4.4)
        arrow(axes, (x - 1.3, 34.5), (x - 1.3, 24.3), BLUE)
        arrow(axes, (x + 1.3, 24.3), (x + 1.3, 34.5), ORANGE)
        arrow(axes, (x - 1.3, 17.8), (x - 1.3, 10.4), BLUE)
        arrow(axes, (x + 1.3, 10.4), (x + 1.3, 17.8), ORANGE)
        say(axes, x + 2.6, 14, f"$ds_{t}$", ORANGE, 10.5, ha="left")
    for t, (left, right) in enumerate(((4, 15.3), (24.7, 41.3), (50.7, 67.3)), start=1):
        arrow(axes, (left, 19.8), (right, 19.8), BLUE)
        arrow(axes, (right, 22.4), (left, 22.4), ORANGE)
        say(axes, (left + right) / 2, 17.9, f"$s_{t - 1}$", BLUE, 11)
        say(axes, (left + right) / 2, 25, rf"$J_{t - 1}^{{\top}}\, \delta s_{t}$", ORANGE, 11)
    say(axes, 83, 27, r"$\delta s_t = ds_t + J_t^{\top}\, \delta s_{t+1}$", ORANGE, 11)
    say(axes, 83, 31, r"$J_t = \partial s_{t+1} / \partial s_t$", ORANGE, 10)
    say(axes, 46, 2.5, r"the same weights $\theta$ at every step, so $d\theta$ is a sum over the steps", GREY, 11)
    save(axes, "unrolled")


if __name__ == "__main__":
    for draw in (convolution, pooling, lstm_cell, unrolled):
        draw()
