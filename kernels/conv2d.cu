#include "common.cuh"
#include "tile.cuh"

// Convolution with channels last, docs/ops/conv2d.md. x (N, H, W, C), w (KH, KW, C, F), b (F,), y (N, OH, OW, F).
//
// A convolution is a matrix product in disguise: a row for each output position, a column for each filter, and a sum over
// the taps and channels, K = KH * KW * C. Versions 2 and 3 multiply as kernels/matmul.cu does, but read "A(m, k)" from the
// image where it lies.

constexpr int TILE = 16;  // of version 2

struct Position {
    int image, r, s;  // where image n begins in x, and the pixel under the first tap (window.4)
};

struct Tap {
    int r, s, c;  // how far tap (k, l) lies from the first, and the channel
};

// The image as a matrix of positions and taps: zero outside the image.
struct Images {
    using Outer = Position;
    using Inner = Tap;
    const real* x;
    int H, W, C;
    Window win;

    __device__ __forceinline__ Position outer(int m) const {
        const unsigned int position = m, row = position / win.OW;
        return {static_cast<int>(row / win.OH) * H * W * C, static_cast<int>(row % win.OH) * win.SH - win.top,
                static_cast<int>(position % win.OW) * win.SW - win.left};
    }

    __device__ __forceinline__ Tap inner(int k) const {
        const unsigned int tap = static_cast<unsigned int>(k) / C;
        return {static_cast<int>(tap / win.KW) * win.DH, static_cast<int>(tap % win.KW) * win.DW,
                static_cast<int>(k - tap * C)};
    }

    __device__ __forceinline__ real at(const Position& p, const Tap& tap) const {
        const int r = p.r + tap.r, s = p.s + tap.s;
        return r >= 0 && r < H && s >= 0 && s < W ? x[p.image + (r * W + s) * C + tap.c] : real(0);
    }
};

// Takes what the sum of an output position is, adds the bias (conv2d.1), and cuts off what is negative (conv2d.5).
struct Outputs {
    real* y;
    const real* b;
    int F, relu;

    __device__ __forceinline__ void operator()(int m, int f, real sum) const {
        sum += b[f];
        y[m * F + f] = relu && sum < 0 ? real(0) : sum;
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
    Outputs{y, b, F, relu}(index / F, f, sum);
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
    const Position position = images.outer(min(m, M - 1));
    real sum = 0;
    for (int first = 0; first < K; first += TILE) {
        const int k = first + threadIdx.x, k_w = first + threadIdx.y;
        pixels[threadIdx.y][threadIdx.x] = k < K ? images.at(position, images.inner(k)) : real(0);
        weights[threadIdx.y][threadIdx.x] = k_w < K && f < F ? w[k_w * F + f] : real(0);
        __syncthreads();  // the tiles are complete
        for (int t = 0; t < TILE; t++) sum += pixels[threadIdx.y][t] * weights[t][threadIdx.x];  // (conv2d.1)
        __syncthreads();  // nobody reads them any more
    }
    if (m < M && f < F) Outputs{y, b, F, relu}(m, f, sum);
}

constexpr int ROWS = sizeof(real) == 4 ? 128 : 64;  // positions of a block's tile in version 3
constexpr int WIDE = 64;                            // filters of it
constexpr int NARROW = 32;                          // the same, where there are no more
constexpr int DEPTH = 8;                            // taps and channels per step

template <int COLUMNS>
__device__ __forceinline__ void forward(const real* x, const real* w, const real* b, real* y, int N, int H, int W, int C,
                                        int F, const Window& win, int relu) {
    const int M = N * win.OH * win.OW, K = win.KH * win.KW * C;
    const Images images{x, H, W, C, win};
    const Matrix weights{w, 1, F};
    __shared__ Tiles<ROWS, COLUMNS, DEPTH> tiles;
    tile_product<true, false>(tiles, images, weights, M, F, 0, K, Outputs{y, b, F, relu});  // (conv2d.1)
}

// Version 2 reads two numbers of shared memory for each multiply-add. The register tile of tile.cuh reads 12 for 32, and
// works out where a position lies once, not once per tap.
//
// Computes  y (conv2d.1), and (conv2d.5) if relu
// Thread    a tile of outputs in registers
// Reads     x (N, H, W, C), w (KH, KW, C, F), b (F,)
// Writes    y (N, OH, OW, F)
// No race   because one thread writes each output; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(THREADS)
    conv2d_forward_3(const real* x, const real* w, const real* b, real* y, int N, int H, int W, int C, int F, Window win,
                     int relu) {
    forward<WIDE>(x, w, b, y, N, H, W, C, F, win, relu);  // (conv2d.1), (conv2d.5)
}

// As conv2d_forward_3, for few filters: a tile of 64 would be half empty.
//
// Computes  y (conv2d.1), and (conv2d.5) if relu
// Thread    a tile of outputs in registers
// Reads     x (N, H, W, C), w (KH, KW, C, F), b (F,)
// Writes    y (N, OH, OW, F)
// No race   because one thread writes each output; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(THREADS)
    conv2d_forward_3_narrow(const real* x, const real* w, const real* b, real* y, int N, int H, int W, int C, int F,
                            Window win, int relu) {
    forward<NARROW>(x, w, b, y, N, H, W, C, F, win, relu);  // (conv2d.1), (conv2d.5)
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

// The upstream gradient as a matrix of pixels and taps: dy of the position that has its tap on the pixel, or zero.
struct Upstream {
    struct Outer {
        int image, r, s;  // where the gradient of image n begins, and the pixel, counted from the padding
    };
    using Inner = Tap;  // its channel is a filter f
    const real* dy;
    int H, W, F;
    Window win;

    __device__ __forceinline__ Outer outer(int m) const {
        const unsigned int pixel = m, row = pixel / W;
        return {static_cast<int>(row / H) * win.OH * win.OW * F, static_cast<int>(row % H) + win.top,
                static_cast<int>(pixel % W) + win.left};
    }

    __device__ __forceinline__ Tap inner(int k) const {
        const unsigned int tap = static_cast<unsigned int>(k) / F;
        return {static_cast<int>(tap / win.KW) * win.DH, static_cast<int>(tap % win.KW) * win.DW,
                static_cast<int>(k - tap * F)};
    }

    __device__ __forceinline__ real at(const Outer& pixel, const Tap& tap) const {
        const int i = position_over(pixel.r - tap.r, win.SH, win.OH), j = position_over(pixel.s - tap.s, win.SW, win.OW);
        return i >= 0 && j >= 0 ? dy[pixel.image + (i * win.OW + j) * F + tap.c] : real(0);
    }
};

// The weights as a matrix of taps and filters, by channels: w[k, l, c, f] at row (k, l, f) and column c.
struct TurnedWeights {
    using Outer = int;
    using Inner = int;
    const real* w;
    int C, F;
    __device__ __forceinline__ int outer(int c) const { return c * F; }
    __device__ __forceinline__ int inner(int k) const { return k / F * C * F + k % F; }
    __device__ __forceinline__ real at(int c, int k) const { return w[c + k]; }
};

struct Pixels {
    real* dx;
    int C;
    __device__ __forceinline__ void operator()(int m, int c, real sum) const { dx[m * C + c] = sum; }
};

template <int COLUMNS>
__device__ __forceinline__ void backward_input(const real* dy, const real* w, real* dx, int N, int H, int W, int C, int F,
                                               const Window& win) {
    const Upstream upstream{dy, H, W, F, win};
    const TurnedWeights weights{w, C, F};
    const int K = win.KH * win.KW * F;
    __shared__ Tiles<ROWS, COLUMNS, DEPTH> tiles;
    tile_product<true, true>(tiles, upstream, weights, N * H * W, C, 0, K, Pixels{dx, C});  // (conv2d.2)
}

// The register tile of tile.cuh: a row for each pixel, a column for each channel, a sum over taps and filters. With a
// stride most terms are zero, since only every SH-th row and SW-th column of taps meets a pixel; they are still added.
//
// Computes  dx (conv2d.2)
// Thread    a tile of pixels and channels in registers
// Reads     dy (N, OH, OW, F), w (KH, KW, C, F)
// Writes    dx (N, H, W, C)
// No race   because one thread writes each element of dx; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(THREADS)
    conv2d_backward_input_2(const real* dy, const real* w, real* dx, int N, int H, int W, int C, int F, Window win) {
    backward_input<WIDE>(dy, w, dx, N, H, W, C, F, win);  // (conv2d.2)
}

// As conv2d_backward_input_2, for few channels: a tile of 64 would be half empty.
//
// Computes  dx (conv2d.2)
// Thread    a tile of pixels and channels in registers
// Reads     dy (N, OH, OW, F), w (KH, KW, C, F)
// Writes    dx (N, H, W, C)
// No race   because one thread writes each element of dx; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(THREADS)
    conv2d_backward_input_2_narrow(const real* dy, const real* w, real* dx, int N, int H, int W, int C, int F,
                                   Window win) {
    backward_input<NARROW>(dy, w, dx, N, H, W, C, F, win);  // (conv2d.2)
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

// The image as a matrix of taps and positions: what Images is for the forward pass, with the two exchanged.
struct ImagesByTap {
    using Outer = Tap;
    using Inner = Position;
    Images images;
    __device__ __forceinline__ Tap outer(int k) const { return images.inner(k); }
    __device__ __forceinline__ Position inner(int m) const { return images.outer(m); }
    __device__ __forceinline__ real at(const Tap& tap, const Position& p) const { return images.at(p, tap); }
};

struct WeightGradients {
    real* dw;
    int F;
    __device__ __forceinline__ void operator()(int k, int f, real sum) const { dw[k * F + f] = sum; }
};

constexpr int TAPS = sizeof(real) == 4 ? 64 : 32;  // taps and channels of a block's tile
constexpr int FILTERS = TAPS;                      // filters of it
constexpr int POSITIONS = 16;                      // positions per step

// A weight sums over all positions of all images: there are few weights and very many positions, the other way round than
// in the forward pass. So the positions are cut into parts, one per block along z, as many as Python works out from the
// shapes; sum_of_parts in matmul.cu adds them in their order.
//
// Computes  dw (conv2d.3), or a part of each sum
// Thread    a tile of weights in registers
// Reads     dy (N, OH, OW, F), x (N, H, W, C)
// Writes    dw (parts, KH, KW, C, F)
// No race   because one thread writes each element of a part; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(THREADS)
    conv2d_backward_weights_2(const real* dy, const real* x, real* dw, int N, int H, int W, int C, int F, Window win) {
    const int positions = N * win.OH * win.OW, K = win.KH * win.KW * C;
    const ImagesByTap images{{x, H, W, C, win}};
    const Matrix upstream{dy, 1, F};
    const int first = part_of(positions, POSITIONS, blockIdx.z), last = part_of(positions, POSITIONS, blockIdx.z + 1);
    const WeightGradients to{dw + static_cast<size_t>(blockIdx.z) * K * F, F};
    __shared__ Tiles<TAPS, FILTERS, POSITIONS> tiles;
    tile_product<false, false>(tiles, images, upstream, K, F, first, last, to);  // (conv2d.3)
}

constexpr int SUM_COLUMNS = 32;  // threads of a block of conv2d_backward_bias_1
constexpr int SUM_ROWS = 8;

// Computes  a part of db (conv2d.4): the sum of some rows of dy, seen as (positions, F)
// Thread    every eighth row of one column; the eight then add up in shared memory, in their order
// Reads     dy (positions, F)
// Writes    parts (count, F); block y takes `rows` rows
// No race   because one thread writes each sum, after a barrier behind the last write to shared memory
extern "C" __global__ void __launch_bounds__(SUM_COLUMNS * SUM_ROWS)
    conv2d_backward_bias_1(const real* dy, real* parts, int positions, int F, int rows) {
    __shared__ real sums[SUM_ROWS][SUM_COLUMNS];
    const int f = blockIdx.x * SUM_COLUMNS + threadIdx.x;
    const int first = blockIdx.y * rows, last = min(first + rows, positions);
    real sum = 0;
    if (f < F)
        for (int m = first + threadIdx.y; m < last; m += SUM_ROWS) sum += dy[m * F + f];  // (conv2d.4)
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || f >= F) return;
    for (int row = 1; row < SUM_ROWS; row++) sum += sums[row][threadIdx.x];
    parts[blockIdx.y * F + f] = sum;
}
