"""PyTorch's side of the comparison, written so that PyTorch does no more than it must.

Each function prepares the same case as its namesake in `minivid.bench.ours`, once per memory layout; the faster
layout counts. Where no gradient is asked for, none is recorded (``no_grad``), and backward passes of single
operations call PyTorch's own kernels, without its tape. Every result that minivid computes is asked for here too
(the gradient of the bias, the places of the maxima) and nothing else.
"""

from collections.abc import Callable

__all__ = []

Variants = dict[str, Callable[[], object]]


def load(threads: int):
    """Import PyTorch, which only the process of this side does, and let it use so many threads."""
    import torch

    torch.set_num_threads(threads)
    return torch


def _in_each_layout(prepared: Callable) -> Variants:
    import torch

    layouts = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
    return {name: prepared(layout) for name, layout in layouts.items()}


def conv2d_forward(N, C, H, F, kernel, stride, padding) -> Variants:
    """Time y."""
    import torch
    from torch.nn import functional

    def prepared(layout):
        x = torch.randn(N, C, H, H).contiguous(memory_format=layout)
        w, b = torch.randn(F, C, kernel, kernel).contiguous(memory_format=layout), torch.randn(F)
        return torch.no_grad()(lambda: functional.conv2d(x, w, b, stride, padding))

    return _in_each_layout(prepared)


def conv2d_backward(N, C, H, F, kernel, stride, padding) -> Variants:
    """Time dx, dw and db, by one call that computes all three."""
    import torch
    from torch.nn import functional

    stride, padding, dilation, no_padding, wanted = [stride] * 2, [padding] * 2, [1, 1], [0, 0], [True] * 3

    def prepared(layout):
        x = torch.randn(N, C, H, H).contiguous(memory_format=layout)
        w = torch.randn(F, C, kernel, kernel).contiguous(memory_format=layout)
        dy = torch.randn_like(functional.conv2d(x, w, None, stride, padding))  # keeps the layout
        return torch.no_grad()(
            lambda: torch.ops.aten.convolution_backward(
                dy, x, w, [F], stride, padding, dilation, False, no_padding, 1, wanted
            )
        )

    return _in_each_layout(prepared)


def maxpool2d_forward(N, C, H, pool, stride) -> Variants:
    """Time y and where the maxima are."""
    import torch
    from torch.nn import functional

    def prepared(layout):
        x = torch.randn(N, C, H, H).contiguous(memory_format=layout)
        return torch.no_grad()(lambda: functional.max_pool2d(x, pool, stride, return_indices=True))

    return _in_each_layout(prepared)


def maxpool2d_backward(N, C, H, pool, stride) -> Variants:
    """Time dx."""
    import torch
    from torch.nn import functional

    def prepared(layout):
        x = torch.randn(N, C, H, H).contiguous(memory_format=layout)
        y, places = functional.max_pool2d(x, pool, stride, return_indices=True)
        dy, pools, strides = torch.randn_like(y), [pool] * 2, [stride] * 2
        return torch.no_grad()(
            lambda: torch.ops.aten.max_pool2d_with_indices_backward(
                dy, x, pools, strides, [0, 0], [1, 1], False, places
            )
        )

    return _in_each_layout(prepared)


def lstm_forward(N, T, D, U) -> Variants:
    """Time the states of all steps."""
    import torch

    def prepared(batch_first):
        layer = torch.nn.LSTM(D, U, batch_first=batch_first)
        x = torch.randn(N, T, D) if batch_first else torch.randn(T, N, D)
        return torch.no_grad()(lambda: layer(x))

    return {"batch first": prepared(True), "time first": prepared(False)}


def lstm_both(N, T, D, U) -> Variants:
    """Time the states, then the gradients of the input and the weights."""
    import torch

    def prepared(batch_first):
        layer = torch.nn.LSTM(D, U, batch_first=batch_first)
        shape = (N, T) if batch_first else (T, N)
        x, dh = torch.randn(*shape, D, requires_grad=True), torch.randn(*shape, U)

        def both():
            layer.zero_grad(set_to_none=True)
            x.grad = None
            layer(x)[0].backward(dh)

        return both

    return {"batch first": prepared(True), "time first": prepared(False)}


def dense_forward(M, D, U) -> Variants:
    """Time y."""
    import torch

    layer, x = torch.nn.Linear(D, U), torch.randn(M, D)
    return {"": torch.no_grad()(lambda: layer(x))}


def dense_both(M, D, U) -> Variants:
    """Time y, then dx, dw and db."""
    import torch

    layer, x, dy = torch.nn.Linear(D, U), torch.randn(M, D, requires_grad=True), torch.randn(M, U)

    def both():
        layer.zero_grad(set_to_none=True)
        x.grad = None
        layer(x).backward(dy)

    return {"": both}


def training_step(N, T, H) -> Variants:
    """Time forward, loss, backward and update of the classifier."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.cnn = nn.Sequential(
                *(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
                nn.Flatten(),
            )
            features = 64 * (((H - 2) // 2 - 2) // 2) ** 2
            self.lstm = nn.LSTM(features, 100, num_layers=2, batch_first=True)
            self.dense = nn.Linear(100, 10)

        def forward(self, frames):
            h, _ = self.lstm(self.cnn(frames).view(N, T, -1))
            return self.dense(h[:, -1])

    on_gpu = torch.get_default_device().type == "cuda"  # one launch for all weights, which a graph can record

    def prepared(layout):
        model = Classifier().to(memory_format=layout)
        optimizer = torch.optim.Adam(model.parameters(), capturable=on_gpu, fused=on_gpu or None)
        frames, y = torch.randn(N * T, 3, H, H).contiguous(memory_format=layout), torch.arange(N) % 10

        def step():
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(model(frames), y).backward()
            optimizer.step()

        return step

    return _in_each_layout(prepared)
