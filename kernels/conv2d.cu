#include "common.cuh"
#include "tile.cuh"

// Convolution with channels last, docs/ops/conv2d.md. x (N, H, W, C), w (KH, KW, C, F), b (F,), y (N, OH, OW, F).
//
// A convolution is a matrix product in disguise: a row for each output position, a column for each filter, and a sum over
// the taps and channels, K = KH * KW * C. Versions 2 to 4 multiply as kernels/matmul.cu does, but read "A(m, k)" from the
// image where it lies.

constexpr int TILE = 16;  // of version 2

struct Tap {
    int k, l, c;  // row and column of the window, and the channel
};

// The taps and channels of a window, counted as the rows of the weights are: (k * KW + l) * C + c.
struct Taps {
    int KW, C;

    __device__ __forceinline__ Tap inner(int k) const {
        const unsigned int tap = static_cast<unsigned int>(k) / max(C, 1);  // without channels, no k is asked for
        return {static_cast<int>(tap / KW), static_cast<int>(tap % KW), static_cast<int>(k - tap * C)};
    }

    __device__ __forceinline__ Tap sum(const Tap& p, const Tap& q) const {  // digit by digit, with carries
        Tap t = {p.k + q.k, p.l + q.l, p.c + q.c};
        if (t.c >= C) t.c -= C, t.l++;
        if (t.l >= KW) t.l -= KW, t.k++;
        return t;
    }
};

// Whether 0 <= r < H, with one comparison: as an unsigned number, what is below zero is very large.
__device__ __forceinline__ bool is_below(int r, int H) {
    return static_cast<unsigned int>(r) < static_cast<unsigned int>(H);
}

struct Place {
    int start, r, s;  // of a pixel in x; beside the image, where it would be
};

// The images as a matrix of positions and taps: zero outside the image.
struct Images {
    using Outer = Place;  // of the pixel under the first tap
    using Inner = Tap;
    const real* numbers;
    int H, W, C;
    Window win;

    __device__ __forceinline__ Place outer(int m) const {
        const unsigned int position = m, row = position / win.OW, n = row / win.OH;
        const int r = static_cast<int>(row % win.OH) * win.SH - win.top;  // (window.4)
        const int s = static_cast<int>(position % win.OW) * win.SW - win.left;
        return {((static_cast<int>(n) * H + r) * W + s) * C, r, s};
    }

    __device__ __forceinline__ Tap inner(int k) const { return Taps{win.KW, C}.inner(k); }
    __device__ __forceinline__ Tap sum(const Tap& p, const Tap& q) const { return Taps{win.KW, C}.sum(p, q); }

    __device__ __forceinline__ int at(const Place& first, const Tap& tap) const {
        const int down = tap.k * win.DH, right = tap.l * win.DW;
        if (!is_below(first.r + down, H) || !is_below(first.s + right, W)) return -1;
        return first.start + (down * W + right) * C + tap.c;
    }
};

// What becomes of the sum of an output: the bias is added (conv2d.1), and what is negative cut off (conv2d.5).
struct Outputs {
    real* y;
    const real* b;
    int F, relu;

    __device__ __forceinline__ real of(real sum, int f) const {
        sum += __ldg(b + f);
        return relu && sum < 0 ? real(0) : sum;
    }

    __device__ __forceinline__ void operator()(int m, int f, Vector sums) const {
#pragma unroll
        for (int e = 0; e < VECTOR; e++) sums.at[e] = of(sums.at[e], min(f + e, F - 1));
        store_in_row(y + m * F, f, F, sums);
    }
};

// --- forward -----------------------------------------------------------------------------------------------------------

// Computes  y (conv2d.1), and (conv2d.5) if relu
// Thread    one output y[n, i, j, f]; threads side by side own neighbouring filters f
// Reads     x (N, H, W, C), w (KH, KW, C, F), b (F,)
// Writes    y (N, OH, OW, F)
// No race   because one thread writes each output
extern "C" __global__ void conv2d_forward_1(const real* x, const real* w, const real* b, real* y, int N, int H, int W,
                                            int C, int F, Window win, int relu) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= N * win.OH * win.OW * F) return;
    const int f = index % F, j = index / F % win.OW, i = index / F / win.OW % win.OH, n = index / F / win.OW / win.OH;
    real sum = 0;
    for (int k = 0; k < win.KH; k++) {
        const int r = i * win.SH + k * win.DH - win.top;  // (window.4)
        if (r < 0 || r >= H) continue;
        for (int l = 0; l < win.KW; l++) {
            const int s = j * win.SW + l * win.DW - win.left;
            if (s < 0 || s >= W) continue;
            for (int c = 0; c < C; c++)
                sum += x[((n * H + r) * W + s) * C + c] * w[((k * win.KW + l) * C + c) * F + f];  // (conv2d.1)
        }
    }
    y[index] = Outputs{y, b, F, relu}.of(sum, f);
}

// Version 1 reads each pixel once per filter, and each weight once per position. Here a block of 16 x 16 threads computes
// 16 positions times 16 filters and brings what they need to shared memory, 16 taps and channels at a time.
//
// Computes  y (conv2d.1), and (conv2d.5) if relu
// Thread    one output; carries one number of each tile
// Reads     x (N, H, W, C), w (KH, KW, C, F), b (F,)
// Writes    y (N, OH, OW, F)
// No race   because one thread writes each output, and two barriers separate writing a tile from reading it
extern "C" __global__ void __launch_bounds__(TILE * TILE)
    conv2d_forward_2(const real* x, const real* w, const real* b, real* y, int N, int H, int W, int C, int F, Window win,
                     int relu) {
    __shared__ real pixels[TILE][TILE], weights[TILE][TILE];
    const int M = N * win.OH * win.OW, K = win.KH * win.KW * C;
    const int m = blockIdx.x * TILE + threadIdx.y, f = blockIdx.y * TILE + threadIdx.x;
    const Images images{x, H, W, C, win};
    const Place first_pixel = images.outer(min(m, M - 1));
    real sum = 0;
    for (int first = 0; first < K; first += TILE) {
        const int k = first + threadIdx.x, k_w = first + threadIdx.y;
        const Tap tap = images.inner(k);
        const int place = k < K ? images.at(first_pixel, tap) : -1;
        pixels[threadIdx.y][threadIdx.x] = place < 0 ? real(0) : x[place];
        weights[threadIdx.y][threadIdx.x] = k_w < K && f < F ? w[k_w * F + f] : real(0);
        __syncthreads();  // the tiles are complete
        for (int t = 0; t < TILE; t++) sum += pixels[threadIdx.y][t] * weights[t][threadIdx.x];  // (conv2d.1)
        __syncthreads();  // nobody reads them any more
    }
    if (m < M && f < F) y[m * F + f] = Outputs{y, b, F, relu}.of(sum, f);
}

constexpr int ROWS = 32 * VECTOR;  // positions of a block's tile: 128 floats, 64 doubles
constexpr int WIDE = 16 * VECTOR;  // filters of it
constexpr int WIDE_THREADS = 128;
constexpr int NARROW = 8 * VECTOR;  // the same, where a wide tile would be half empty
constexpr int NARROW_THREADS = 64;
using WideShape = Shape<ROWS, WIDE, 8, 2, 2>;
using NarrowShape = Shape<ROWS, NARROW, 8, 2, 1>;

template <class S, int WIDTH>
__device__ __forceinline__ void forward(const real* x, const real* w, const real* b, real* y, int N, int H, int W, int C,
                                        int F, const Window& win, int relu) {
    __shared__ Tiles<S> tiles;
    const int M = N * win.OH * win.OW, K = win.KH * win.KW * C, across = (F + S::COLUMNS - 1) / S::COLUMNS;
    const int tile = blockIdx.x, m0 = tile / across * S::ROWS, f0 = tile % across * S::COLUMNS;
    const Images images{x, H, W, C, win};
    const Matrix weights{w, 1, F};
    const Outputs outputs{y, b, F, relu};
    // Threads side by side carry neighbouring channels of a pixel as vectors, or neighbouring positions one by one.
    tile_product<S, WIDTH, (WIDTH > 1), false>(tiles, images, weights, m0, f0, M, F, 0, K, outputs);  // (conv2d.1)
}

// Version 2 reads two numbers of shared memory for each multiply-add. The register tile of tile.cuh reads 8 + 8 for 8 x 8,
// and works out where a position lies once, not once per tap.
//
// Computes  y (conv2d.1), and (conv2d.5) if relu
// Thread    a tile of outputs in registers
// Reads     x (N, H, W, C), w (KH, KW, C, F), b (F,)
// Writes    y (N, OH, OW, F)
// No race   because one thread writes each output; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(WIDE_THREADS)
    conv2d_forward_3(const real* x, const real* w, const real* b, real* y, int N, int H, int W, int C, int F, Window win,
                     int relu) {
    forward<WideShape, 1>(x, w, b, y, N, H, W, C, F, win, relu);  // (conv2d.1), (conv2d.5)
}

// As conv2d_forward_3, for few filters.
//
// Computes  y (conv2d.1), and (conv2d.5) if relu
// Thread    a tile of outputs in registers
// Reads     x (N, H, W, C), w (KH, KW, C, F), b (F,)
// Writes    y (N, OH, OW, F)
// No race   because one thread writes each output; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(NARROW_THREADS)
    conv2d_forward_3_narrow(const real* x, const real* w, const real* b, real* y, int N, int H, int W, int C, int F,
                            Window win, int relu) {
    forward<NarrowShape, 1>(x, w, b, y, N, H, W, C, F, win, relu);  // (conv2d.1), (conv2d.5)
}

// Version 3 asks for every number of the image whether its pixel is inside. Here that is asked once for VECTOR channels,
// which come from memory with one instruction.
//
// Computes  y (conv2d.1), and (conv2d.5) if relu
// Thread    a tile of outputs in registers
// Reads     x (N, H, W, C), w (KH, KW, C, F), b (F,); C and F divisible by VECTOR
// Writes    y (N, OH, OW, F)
// No race   because one thread writes each output; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(WIDE_THREADS)
    conv2d_forward_4(const real* x, const real* w, const real* b, real* y, int N, int H, int W, int C, int F, Window win,
                     int relu) {
    forward<WideShape, VECTOR>(x, w, b, y, N, H, W, C, F, win, relu);  // (conv2d.1), (conv2d.5)
}

// As conv2d_forward_4, for few filters.
//
// Computes  y (conv2d.1), and (conv2d.5) if relu
// Thread    a tile of outputs in registers
// Reads     x (N, H, W, C), w (KH, KW, C, F), b (F,); C and F divisible by VECTOR
// Writes    y (N, OH, OW, F)
// No race   because one thread writes each output; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(NARROW_THREADS)
    conv2d_forward_4_narrow(const real* x, const real* w, const real* b, real* y, int N, int H, int W, int C, int F,
                            Window win, int relu) {
    forward<NarrowShape, VECTOR>(x, w, b, y, N, H, W, C, F, win, relu);  // (conv2d.1), (conv2d.5)
}

// --- gradient of the input ---------------------------------------------------------------------------------------------

// Which position has its tap on a pixel, along one axis? `from` is the pixel's distance from where the tap lies on
// position 0, so the position is from / step, if that is a whole number of a position that there is; else -1.
__device__ __forceinline__ int position_over(int from, int step, int positions) {
    if (from < 0) return -1;
    const unsigned int position = static_cast<unsigned int>(from) / step;
    const bool there = position * step == static_cast<unsigned int>(from) && position < static_cast<unsigned int>(positions);
    return there ? static_cast<int>(position) : -1;
}

// Computes  dx (conv2d.2), as a gather: the pixel asks which positions have read it
// Thread    one pixel and channel dx[n, r, s, c]
// Reads     dy (N, OH, OW, F), w (KH, KW, C, F)
// Writes    dx (N, H, W, C)
// No race   because one thread writes each element of dx
extern "C" __global__ void conv2d_backward_input_1(const real* dy, const real* w, real* dx, int N, int H, int W, int C,
                                                   int F, Window win) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= N * H * W * C) return;
    const int c = index % C, s = index / C % W, r = index / C / W % H, n = index / C / W / H;
    real sum = 0;
    for (int k = 0; k < win.KH; k++) {
        const int i = position_over(r + win.top - k * win.DH, win.SH, win.OH);  // i SH + k DH - top = r (window.4)
        if (i < 0) continue;
        for (int l = 0; l < win.KW; l++) {
            const int j = position_over(s + win.left - l * win.DW, win.SW, win.OW);
            if (j < 0) continue;
            for (int f = 0; f < F; f++)
                sum += dy[((n * win.OH + i) * win.OW + j) * F + f] * w[((k * win.KW + l) * C + c) * F + f];  // (conv2d.2)
        }
    }
    dx[index] = sum;
}

// The pixels of an axis fall into `stride` classes by their remainder: all pixels r = remainder + S r' of a class meet
// the same taps, first, first + every, ... For each of them r' + start + t * apart is the position that has its tap there,
// with t counting the taps backwards from `last`.
struct Class {
    int size, taps, last, every, start, apart;
};

__device__ __forceinline__ Class class_of(int remainder, int size, int K, int S, int D, int before) {
    int every = 1, first = 0;
    while (every * D % S != 0) every++;
    while (first < every && (remainder + before - first * D) % S != 0) first++;  // i S + k D - before = r (window.4)
    const int pixels = remainder < size ? (size - 1 - remainder) / S + 1 : 0;
    if (first == every || first >= K) return {pixels, 0, 0, every, 0, 0};
    const int taps = (K - 1 - first) / every + 1, last = first + (taps - 1) * every;
    return {pixels, taps, last, every, (remainder + before - last * D) / S, every * D / S};
}

// The weights of a class as a matrix of taps and filters, by channels: the taps backwards, filters where channels were.
struct TurnedWeights {
    using Outer = int;
    using Inner = Tap;  // its channel is a filter f
    const real* numbers;
    int C, F, columns;       // of taps
    int start, down, right;  // where the last tap begins, and how far before it the others do
    __device__ __forceinline__ int outer(int c) const { return start + c * F; }
    __device__ __forceinline__ Tap inner(int k) const { return Taps{columns, F}.inner(k); }
    __device__ __forceinline__ Tap sum(const Tap& p, const Tap& q) const { return Taps{columns, F}.sum(p, q); }
    __device__ __forceinline__ int at(int c, const Tap& tap) const { return c - tap.k * down - tap.l * right + tap.c; }
};

struct Pixels {
    real* dx;
    int H, W, C, rows, columns, r, s, SH, SW;  // of a class: how many pixels, the first, and how far apart they are

    __device__ __forceinline__ void operator()(int m, int c, const Vector& sums) const {
        int pixel = m;
        if (SH > 1 || SW > 1) {
            const unsigned int row = static_cast<unsigned int>(m) / columns, n = row / rows;
            pixel = (n * H + r + row % rows * SH) * W + s + (m - row * columns) * SW;
        }
        store_in_row(dx + pixel * C, c, C, sums);
    }
};

template <class S, int WIDTH>
__device__ __forceinline__ void backward_input(const real* dy, const real* w, real* dx, int N, int H, int W, int C, int F,
                                               const Window& win) {
    __shared__ Tiles<S> tiles;
    const int r = blockIdx.y / win.SW, s = blockIdx.y % win.SW;
    const Class rows = class_of(r, H, win.KH, win.SH, win.DH, win.top);
    const Class columns = class_of(s, W, win.KW, win.SW, win.DW, win.left);
    const int M = N * rows.size * columns.size, K = rows.taps * columns.taps * F;
    const int across = (C + S::COLUMNS - 1) / S::COLUMNS;
    const int tile = blockIdx.x, m0 = tile / across * S::ROWS, c0 = tile % across * S::COLUMNS;
    if (m0 >= M) return;  // other classes have more pixels
    const int width = max(columns.taps, 1);
    const Window turned{rows.taps, width, 1, 1, rows.apart, columns.apart, -rows.start, 0, -columns.start, 0,
                        rows.size, columns.size};
    const Images upstream{dy, win.OH, win.OW, F, turned};
    const int start = (rows.last * win.KW + columns.last) * C * F;
    const TurnedWeights weights{w, C, F, width, start, rows.every * win.KW * C * F, columns.every * C * F};
    const Pixels pixels{dx, H, W, C, rows.size, columns.size, r, s, win.SH, win.SW};
    tile_product<S, WIDTH, (WIDTH > 1), true>(tiles, upstream, weights, m0, c0, M, C, 0, K, pixels);  // (conv2d.2)
}

// For steps of one pixel, dx is itself a convolution: of dy, with the kernel turned by 180 degrees and its channels and
// filters exchanged. For larger steps it is one such convolution for each class of pixels, with the taps that the class
// meets; no zeros are multiplied. So the register tile of tile.cuh serves, with dy in place of the images.
//
// Computes  dx (conv2d.2), of the class blockIdx.y
// Thread    a tile of pixels and channels in registers
// Reads     dy (N, OH, OW, F), w (KH, KW, C, F)
// Writes    dx (N, H, W, C)
// No race   because one thread writes each element of dx; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(WIDE_THREADS)
    conv2d_backward_input_2(const real* dy, const real* w, real* dx, int N, int H, int W, int C, int F, Window win) {
    backward_input<WideShape, 1>(dy, w, dx, N, H, W, C, F, win);  // (conv2d.2)
}

// As conv2d_backward_input_2, but filters come as vectors.
//
// Computes  dx (conv2d.2), of the class blockIdx.y
// Thread    a tile of pixels and channels in registers
// Reads     dy (N, OH, OW, F), w (KH, KW, C, F); F divisible by VECTOR
// Writes    dx (N, H, W, C)
// No race   because one thread writes each element of dx; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(WIDE_THREADS)
    conv2d_backward_input_3(const real* dy, const real* w, real* dx, int N, int H, int W, int C, int F, Window win) {
    backward_input<WideShape, VECTOR>(dy, w, dx, N, H, W, C, F, win);  // (conv2d.2)
}

// As conv2d_backward_input_3, for few channels.
//
// Computes  dx (conv2d.2), of the class blockIdx.y
// Thread    a tile of pixels and channels in registers
// Reads     dy (N, OH, OW, F), w (KH, KW, C, F); F divisible by VECTOR
// Writes    dx (N, H, W, C)
// No race   because one thread writes each element of dx; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(NARROW_THREADS)
    conv2d_backward_input_3_narrow(const real* dy, const real* w, real* dx, int N, int H, int W, int C, int F,
                                   Window win) {
    backward_input<NarrowShape, VECTOR>(dy, w, dx, N, H, W, C, F, win);  // (conv2d.2)
}

constexpr int FEW = 4 * VECTOR;  // channels of a tile: 16 floats, 8 doubles
constexpr int FEW_THREADS = 64;
using FewShape = Shape<ROWS, FEW, 16, 2, 1>;

// As conv2d_backward_input_3, for very few channels, as the frames of a clip have.
//
// Computes  dx (conv2d.2), of the class blockIdx.y
// Thread    a tile of pixels and channels in registers
// Reads     dy (N, OH, OW, F), w (KH, KW, C, F); F divisible by VECTOR
// Writes    dx (N, H, W, C)
// No race   because one thread writes each element of dx; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(FEW_THREADS)
    conv2d_backward_input_3_few(const real* dy, const real* w, real* dx, int N, int H, int W, int C, int F, Window win) {
    backward_input<FewShape, VECTOR>(dy, w, dx, N, H, W, C, F, win);  // (conv2d.2)
}

// --- gradients of weights and bias -------------------------------------------------------------------------------------

// Computes  dw (conv2d.3)
// Thread    one weight dw[k, l, c, f]
// Reads     dy (N, OH, OW, F), x (N, H, W, C)
// Writes    dw (KH, KW, C, F)
// No race   because one thread writes each weight's gradient
extern "C" __global__ void conv2d_backward_weights_1(const real* dy, const real* x, real* dw, int N, int H, int W, int C,
                                                     int F, Window win) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= win.KH * win.KW * C * F) return;
    const int f = index % F, c = index / F % C, l = index / F / C % win.KW, k = index / F / C / win.KW;
    real sum = 0;
    for (int n = 0; n < N; n++)
        for (int i = 0; i < win.OH; i++) {
            const int r = i * win.SH + k * win.DH - win.top;  // (window.4)
            if (r < 0 || r >= H) continue;
            for (int j = 0; j < win.OW; j++) {
                const int s = j * win.SW + l * win.DW - win.left;
                if (s < 0 || s >= W) continue;
                sum += x[((n * H + r) * W + s) * C + c] * dy[((n * win.OH + i) * win.OW + j) * F + f];  // (conv2d.3)
            }
        }
    dw[index] = sum;
}

struct Output {
    int n, i, j;
};

// The images as a matrix of taps and positions: what Images is for the forward pass, with the two exchanged.
struct ImagesByTap {
    using Outer = Place;  // of the pixel under the tap of the first position
    using Inner = Output;
    const real* numbers;
    int H, W, C;
    Window win;

    __device__ __forceinline__ Place outer(int k) const {
        const Tap tap = Taps{win.KW, C}.inner(k);
        const int r = tap.k * win.DH - win.top, s = tap.l * win.DW - win.left;  // (window.4)
        return {(r * W + s) * C + tap.c, r, s};
    }

    __device__ __forceinline__ Output inner(int m) const {
        const unsigned int position = m, row = position / win.OW;
        return {static_cast<int>(row / win.OH), static_cast<int>(row % win.OH), static_cast<int>(position % win.OW)};
    }

    __device__ __forceinline__ Output sum(const Output& p, const Output& q) const {  // digit by digit, with carries
        Output t = {p.n + q.n, p.i + q.i, p.j + q.j};
        if (t.j >= win.OW) t.j -= win.OW, t.i++;
        if (t.i >= win.OH) t.i -= win.OH, t.n++;
        return t;
    }

    __device__ __forceinline__ int at(const Place& first, const Output& output) const {
        const int down = output.i * win.SH, right = output.j * win.SW;
        if (!is_below(first.r + down, H) || !is_below(first.s + right, W)) return -1;
        return first.start + ((output.n * H + down) * W + right) * C;
    }
};

struct WeightGradients {
    real* dw;
    int F;
    __device__ __forceinline__ void operator()(int k, int f, const Vector& sums) const {
        store_in_row(dw + k * F, f, F, sums);
    }
};

template <class S, int WIDTH>
__device__ __forceinline__ void backward_weights(const real* dy, const real* x, real* dw, int N, int H, int W, int C,
                                                 int F, const Window& win, int terms) {
    __shared__ Tiles<S> tiles;
    const int positions = N * win.OH * win.OW, K = win.KH * win.KW * C, across = (F + S::COLUMNS - 1) / S::COLUMNS;
    const int tile = blockIdx.x, k0 = tile / across * S::ROWS, f0 = tile % across * S::COLUMNS;
    const int first = blockIdx.y * terms, last = min(first + terms, positions);
    const ImagesByTap images{x, H, W, C, win};
    const Matrix upstream{dy, 1, F};
    const WeightGradients to{dw + blockIdx.y * K * F, F};
    // Threads side by side carry neighbouring channels of a pixel as vectors, or neighbouring positions one by one.
    tile_product<S, WIDTH, WIDTH == 1, false>(tiles, images, upstream, k0, f0, K, F, first, last, to);  // (conv2d.3)
}

constexpr int TINY = 8 * VECTOR;  // taps and channels, and filters, of a tile: 32 floats, 16 doubles
constexpr int TINY_THREADS = 64;
using TinyShape = Shape<TINY, TINY, 16, 1, 2>;

// A weight sums over all positions of all images: there are few weights and very many positions, the other way round than
// in the forward pass. So the positions are cut into parts of so many terms, one per block along y, as Python works out
// from the shapes; sum_of_parts in matmul.cu adds them in their order.
//
// Computes  dw (conv2d.3), or a part of each sum
// Thread    a tile of weights in registers
// Reads     dy (N, OH, OW, F), x (N, H, W, C)
// Writes    dw (parts, KH, KW, C, F)
// No race   because one thread writes each element of a part; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(TINY_THREADS)
    conv2d_backward_weights_2(const real* dy, const real* x, real* dw, int N, int H, int W, int C, int F, Window win,
                              int terms) {
    backward_weights<TinyShape, 1>(dy, x, dw, N, H, W, C, F, win, terms);  // (conv2d.3)
}

// As conv2d_backward_weights_2, with channels and filters as vectors and larger tiles.
//
// Computes  dw (conv2d.3), or a part of each sum
// Thread    a tile of weights in registers
// Reads     dy (N, OH, OW, F), x (N, H, W, C); C and F divisible by VECTOR
// Writes    dw (parts, KH, KW, C, F)
// No race   because one thread writes each element of a part; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(WIDE_THREADS)
    conv2d_backward_weights_3(const real* dy, const real* x, real* dw, int N, int H, int W, int C, int F, Window win,
                              int terms) {
    backward_weights<WideShape, VECTOR>(dy, x, dw, N, H, W, C, F, win, terms);  // (conv2d.3)
}

constexpr int LOW = 16 * VECTOR;  // taps and channels of a tile: 64 floats, 32 doubles; filters as in a narrow one
constexpr int LOW_THREADS = 64;
using LowShape = Shape<LOW, NARROW, 8, 1, 2>;

// As conv2d_backward_weights_3, for few taps and channels, or few filters.
//
// Computes  dw (conv2d.3), or a part of each sum
// Thread    a tile of weights in registers
// Reads     dy (N, OH, OW, F), x (N, H, W, C); C and F divisible by VECTOR
// Writes    dw (parts, KH, KW, C, F)
// No race   because one thread writes each element of a part; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(LOW_THREADS)
    conv2d_backward_weights_3_low(const real* dy, const real* x, real* dw, int N, int H, int W, int C, int F, Window win,
                                  int terms) {
    backward_weights<LowShape, VECTOR>(dy, x, dw, N, H, W, C, F, win, terms);  // (conv2d.3)
}
