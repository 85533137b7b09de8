"""What is measured: shapes in groups, each with the arithmetic it costs and the bytes it must move at least.

Arithmetic is counted as everybody counts it: two operations per multiply-add of the direct method, whatever an
implementation really does. Bytes are those of the inputs and the outputs, float32, each once.
"""

import math
from dataclasses import dataclass, field, replace

__all__ = ["Case", "Group", "groups", "ladder_cases"]

FLOAT = 4  # bytes of a float32
NEIGHBOUR_GOAL = 0.75  # of the efficiency of the shape next door


@dataclass(frozen=True)
class Case:
    """One function at one shape.

    Attributes
    ----------
    name : str
        What a reader sees.
    kind : str
        Name of the function that prepares it, in `minivid.bench.ours` and `minivid.bench.peer`.
    settings : dict of str to int
        Arguments of that function.
    flops : int
        Floating-point operations of the direct method; 0 where moving the data is all there is.
    bytes : int
        Size of inputs and outputs.
    base : str, optional
        Name of the case whose efficiency this one should reach, being its neighbour.
    """

    name: str
    kind: str
    settings: dict[str, int]
    flops: int
    bytes: int
    base: str | None = None


@dataclass(frozen=True)
class Group:
    """Cases with a common target.

    Attributes
    ----------
    key : str
        What ``--only`` takes.
    title : str
        What a reader sees.
    target : float
        What the geometric mean of (PyTorch time / minivid time) should reach.
    cases : list of Case
        The shapes.
    with_peer : bool
        Whether PyTorch is timed too.
    floor : float
        What no single ratio may be below.
    """

    key: str
    title: str
    target: float
    cases: list[Case] = field(default_factory=list)
    with_peer: bool = True
    floor: float = 1.0

    def quick(self) -> "Group":
        """Return the group with its two cheapest cases, or a shape and its two first neighbours."""
        cheapest = sorted(self.cases, key=lambda case: case.flops + case.bytes)[:2]
        cases = self.cases[:3] if self.key == "neighbours" else cheapest
        return replace(self, cases=cases)


# --- one case -----------------------------------------------------------------------------------------------------


def conv2d(N, C, H, F, kernel=3, stride=1, padding=0, backward=False, base=None) -> Case:
    """Return a convolution of N images of H x H pixels and C channels with F square kernels."""
    OH = (H + 2 * padding - kernel) // stride + 1
    x, w, b, y = N * H * H * C, kernel * kernel * C * F, F, N * OH * OH * F
    forward = 2 * y * kernel * kernel * C
    settings = {"N": N, "C": C, "H": H, "F": F, "kernel": kernel, "stride": stride, "padding": padding}
    form = f"{kernel}×{kernel}" + (f"/{stride}" if stride > 1 else " same" if padding else " valid")
    name = f"{N}×{H}×{H}×{C} → {F}, {form}"
    if backward:  # dx and dw cost a convolution each; dy, x, w are read, dx, dw, db written
        return Case(
            name + ", backward", "conv2d_backward", settings, 2 * forward, FLOAT * (y + 2 * x + 2 * w + b), base
        )
    return Case(name, "conv2d_forward", settings, forward, FLOAT * (x + w + b + y), base)


def maxpool2d(N, C, H, pool, stride, backward=False, base=None) -> Case:
    """Return a max-pooling of N images of H x H pixels and C channels."""
    OH = (H - pool) // stride + 1
    x, y = N * H * H * C, N * OH * OH * C
    size = FLOAT * (x + y) + y  # one byte per output says where its maximum was
    settings = {"N": N, "C": C, "H": H, "pool": pool, "stride": stride}
    name = f"{N}×{H}×{H}×{C}, {pool}×{pool}" + (f"/{stride}" if stride != pool else "")
    if backward:
        return Case(name + ", backward", "maxpool2d_backward", settings, 0, size, base)
    return Case(name, "maxpool2d_forward", settings, 0, size, base)


def lstm(N, T, D, U, backward=False, base=None) -> Case:
    """Return an LSTM over N sequences of T steps and D features, with U units."""
    forward = 2 * N * T * 4 * U * (D + U)
    weights = 4 * U * (D + U + 1)
    size = FLOAT * (N * T * D + weights + N * T * U)
    settings = {"N": N, "T": T, "D": D, "U": U}
    name = f"{N} × {T} steps, {D} → {U}"
    if backward:  # as much again is read (dh) and written (dx, dW, dR, db); each product has two gradients
        return Case(name + ", both ways", "lstm_both", settings, 3 * forward, 2 * size, base)
    return Case(name, "lstm_forward", settings, forward, size, base)


def dense(M, D, U, backward=True, base=None) -> Case:
    """Return a dense layer of U units on M samples of D features."""
    forward, size = 2 * M * D * U, FLOAT * (M * D + D * U + U + M * U)
    name, settings = f"{M}×{D} → {U}", {"M": M, "D": D, "U": U}
    if backward:
        return Case(name + ", both ways", "dense_both", settings, 3 * forward, 2 * size, base)
    return Case(name, "dense_forward", settings, forward, size, base)


def training_step(N, T, H) -> Case:
    """Return one step of Adam on the CNN + LSTM classifier of N clips of T frames: the sum of its layers.

    Activations are taken to be part of the layer before them. The gradient of the first layer's input is not needed.
    """
    frames, H1 = N * T, H - 2
    H2 = H1 // 2 - 2
    D = (H2 // 2) ** 2 * 64
    layers = [
        conv2d(frames, 3, H, 32),
        conv2d(frames, 32, H1 // 2, 64),
        conv2d(frames, 32, H1 // 2, 64, backward=True),
        *(maxpool2d(frames, 32, H1, 2, 2, backward) for backward in (False, True)),
        *(maxpool2d(frames, 64, H2, 2, 2, backward) for backward in (False, True)),
        lstm(N, T, D, 100, backward=True),
        lstm(N, T, 100, 100, backward=True),
        dense(N, 100, 10),
    ]
    first = layers[0]  # its weight gradient costs as much as its forward pass, and reads what that wrote
    parameters = (27 * 32 + 32) + (288 * 64 + 64) + 400 * (D + 101) + 400 * 201 + 1010
    adam = 7 * FLOAT * parameters  # reads weight, gradient and two moments, writes weight and moments
    return Case(
        f"{N} clips × {T} frames of {H}×{H}×3, Adam",
        "training_step",
        {"N": N, "T": T, "H": H},
        first.flops + sum(layer.flops for layer in layers),
        first.bytes + sum(layer.bytes for layer in layers) + adam,
    )


# --- the groups ---------------------------------------------------------------------------------------------------

CONV_3X3 = [
    (8, 3, 224, 32),
    (8, 32, 111, 64),
    (16, 64, 56, 64),
    (64, 16, 32, 32),
    (64, 32, 16, 64),
    (16, 256, 14, 256),
]
CONV_OTHER = [  # N, C, H, F, kernel, stride, padding
    (16, 64, 56, 256, 1, 1, 0),
    (32, 16, 32, 32, 5, 1, 2),
    (16, 32, 56, 64, 3, 2, 1),
    (8, 3, 224, 64, 7, 2, 3),
]
MAXPOOL = [(16, 64, 56, 2, 2), (8, 32, 222, 2, 2), (16, 64, 56, 3, 2), (8, 32, 111, 3, 2)]
LSTM = [(32, 16, 256, 128), (32, 16, 512, 256), (8, 64, 128, 100), (64, 30, 1024, 512), (128, 100, 16, 64)]
DENSE = [(256, 1024, 1024), (32, 12544, 1000)]
BOTH = (False, True)  # forward, backward

GPU_BATCHES = 8  # times the batch of the CPU
GPU_LSTM = [(32, 16, 512, 256), (32, 64, 512, 512), (8, 128, 256, 1024)]
GPU_DENSE = [(4096, 4096, 4096), (2048, 1024, 1024), (256, 12544, 1000)]


def groups(device: str = "cpu") -> list[Group]:
    """Return everything that is measured, in the order of the report.

    Parameters
    ----------
    device : {"cpu", "gpu"}
        A GPU gets larger batches.

    Examples
    --------
    >>> [group.key for group in groups()][:3]
    ['conv3x3-forward', 'conv3x3-backward', 'conv-other']
    """
    if device == "gpu":
        return gpu_groups()
    conv3x3 = {
        backward: [conv2d(*shape, padding=padding, backward=backward) for shape in CONV_3X3 for padding in (0, 1)]
        for backward in BOTH
    }
    other = [conv2d(*shape, backward=backward) for shape in CONV_OTHER for backward in BOTH]
    return [
        Group("conv3x3-forward", "Convolution 3×3, forward", 1.5, conv3x3[False]),
        Group("conv3x3-backward", "Convolution 3×3, gradients of input, weights and bias", 1.3, conv3x3[True]),
        Group("conv-other", "Convolution 1×1, 5×5 and stride 2", 1.2, other),
        Group("maxpool", "Max-pooling", 5.0, [maxpool2d(*shape, backward=b) for shape in MAXPOOL for b in BOTH]),
        Group("lstm", "LSTM", 1.2, [lstm(*shape, backward=b) for shape in LSTM for b in BOTH]),
        Group("dense", "Dense, forward and backward", 1.0, [dense(*shape) for shape in DENSE]),
        Group("step", "Training step: CNN + LSTM classifier", 2.5, [training_step(8, 16, 64)]),
        Group("neighbours", "Neighbouring shapes", NEIGHBOUR_GOAL, neighbours(), with_peer=False),
    ]


def gpu_groups() -> list[Group]:
    """Return what is measured on a GPU: the convolutions and pools of the CPU with larger batches, longer sequences."""
    conv3x3 = {
        backward: [conv2d(*shape, padding=p, backward=backward) for shape in _larger(CONV_3X3) for p in (0, 1)]
        for backward in BOTH
    }
    other = [conv2d(*shape, backward=backward) for shape in _larger(CONV_OTHER) for backward in BOTH]
    pools = [maxpool2d(*shape, backward=backward) for shape in _larger(MAXPOOL) for backward in BOTH]
    return [
        Group("conv3x3-forward", "Convolution 3×3, forward", 0.7, conv3x3[False], floor=0),
        Group("conv3x3-backward", "Convolution 3×3, gradients", 0.7, conv3x3[True], floor=0),
        Group("conv-other", "Convolution 1×1, 5×5 and stride 2", 0.7, other, floor=0),
        Group("maxpool", "Max-pooling", 1.2, pools, floor=0),
        Group("lstm-forward", "LSTM, forward", 1.5, [lstm(*shape) for shape in GPU_LSTM], floor=0),
        Group("lstm-both", "LSTM, forward and backward", 1.0, [lstm(*s, backward=True) for s in GPU_LSTM], floor=0),
        Group("dense", "Matrix product and bias", 0.7, [dense(*s, backward=False) for s in GPU_DENSE], floor=0),
        Group("step", "Training step: CNN + LSTM classifier", 1.0, [training_step(64, 16, 64)], floor=0),
    ]


def _larger(shapes: list[tuple]) -> list[tuple]:
    return [(GPU_BATCHES * N, *rest) for N, *rest in shapes]


def neighbours() -> list[Case]:
    """Return some shapes, each followed by shapes next to it; kernels must not be tuned to the former."""
    families = [
        (conv2d, (64, 32, 16, 64), {}, [(64, 32, 15, 64), (64, 32, 17, 64), (63, 32, 16, 64), (64, 32, 16, 65)]),
        (
            conv2d,
            (8, 32, 111, 64),
            {},
            [
                (8, 32, 110, 64),
                (8, 32, 112, 64),
                (8, 17, 111, 64),
                (8, 48, 111, 64),
                (8, 32, 111, 33),
                (8, 32, 111, 48),
            ],
        ),
        (
            conv2d,
            (16, 64, 56, 64),
            {"backward": True},
            [(16, 64, 55, 64), (16, 64, 57, 64), (16, 48, 56, 64), (16, 64, 56, 33)],
        ),
        (maxpool2d, (16, 64, 56, 2, 2), {}, [(16, 64, 57, 2, 2), (16, 65, 56, 2, 2)]),
        (lstm, (32, 16, 256, 128), {"backward": True}, [(31, 16, 256, 128), (33, 17, 255, 128), (32, 16, 256, 127)]),
        (dense, (256, 1024, 1024), {}, [(255, 1023, 1025), (257, 1024, 1000)]),
    ]
    cases = []
    for make, shape, options, next_to_it in families:
        base = make(*shape, **options)
        cases += [base, *(make(*other, **options, base=base.name) for other in next_to_it)]
    return cases


def ladder_cases(operation: str, device: str = "cpu") -> tuple[Case, Case]:
    """Return the case on which the rungs of an operation are compared, and a smaller one for the reference.

    Parameters
    ----------
    operation : str
        One of `LADDERS`.
    device : {"cpu", "gpu"}
        On a GPU, where the rungs are the versions of a kernel, there is no reference; the two are the same.

    Examples
    --------
    >>> case, small = ladder_cases("conv2d")
    >>> case.name, small.name
    ('16×56×56×64 → 64, 3×3 valid', '1×56×56×64 → 64, 3×3 valid')
    >>> case.flops // small.flops
    16
    """
    if device == "gpu":
        return GPU_LADDERS[operation], GPU_LADDERS[operation]
    return LADDERS[operation]


LADDERS = {
    "conv2d": (conv2d(16, 64, 56, 64), conv2d(1, 64, 56, 64)),
    "maxpool2d": (maxpool2d(16, 64, 56, 2, 2), maxpool2d(1, 64, 56, 2, 2)),
    "dense": (dense(256, 1024, 1024, backward=False), dense(8, 1024, 1024, backward=False)),
    "lstm": (lstm(32, 16, 256, 128), lstm(1, 16, 256, 128)),
}
GPU_LADDERS = {
    "conv2d": conv2d(128, 64, 56, 64),
    "maxpool2d": maxpool2d(128, 64, 56, 2, 2),
    "dense": dense(4096, 4096, 4096, backward=False),
    "lstm": lstm(32, 16, 512, 256),
}


def ideal_seconds(flops: int, size: int, flops_per_second: float, bytes_per_second: float) -> tuple[float, str]:
    """Return the least time that the machine's ceilings allow, (how_fast.1), and which binds: arithmetic or memory."""
    return max((flops / flops_per_second, "arithmetic"), (size / bytes_per_second, "memory"))


def geometric_mean(values: list[float]) -> float:
    """Return exp of the mean logarithm: 2 and 1/2 average to 1."""
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))
