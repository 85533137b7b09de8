#include "common.cuh"
#include "vector.cuh"
#include "pool.cuh"

// Average pooling, minivid/ops/avgpool2d.py; docs/ops/avgpool2d.md derives the equations.
//
//     x, dx   (N, H, W, C)     y, dy   (N, OH, OW, C)
//
// A[i,j] is the number of taps of window (i, j) that lie on the image: the padding is not counted.

__device__ __forceinline__ real pixels_in_window(int i, int j, int H, int W, const Window& win) {
    const Taps rows = taps_on_image(i * win.SH - win.top, win.KH, win.DH, H);
    const Taps columns = taps_on_image(j * win.SW - win.left, win.KW, win.DW, W);
    return real((rows.last - rows.first) * (columns.last - columns.first));
}

// --- 1: one thread per element ---------------------------------------------------------------------------------------

// Computes  the mean of every window (avgpool2d.1)
// Thread    one element of y
// Reads     x (N, H, W, C)
// Writes    y (N, OH, OW, C)
// No race   because every element is written by its own thread
extern "C" __global__ void __launch_bounds__(THREADS)
    avgpool2d_forward_1(const real* x, real* y, int N, int H, int W, int C, Window win) {
    const unsigned int index = blockIdx.x * THREADS + threadIdx.x;
    if (index >= static_cast<unsigned int>(N * win.OH * win.OW * C)) return;
    const auto [n, i, j, c] = place_of(index, win.OH, win.OW, C);
    real sum = 0;
    for (int k = 0; k < win.KH; k++) {
        const int r = i * win.SH + k * win.DH - win.top;  // (window.4)
        if (r < 0 || r >= H) continue;
        for (int l = 0; l < win.KW; l++) {
            const int s = j * win.SW + l * win.DW - win.left;
            if (s < 0 || s >= W) continue;
            sum += x[((n * H + r) * W + s) * C + c];
        }
    }
    y[index] = sum / pixels_in_window(i, j, H, W, win);  // (avgpool2d.1)
}

// Computes  the gradient of the input as a gather (avgpool2d.2)
// Thread    one element of dx
// Reads     dy (N, OH, OW, C)
// Writes    dx (N, H, W, C)
// No race   because every element is written by its own thread, which adds in a fixed order: no atomics
extern "C" __global__ void __launch_bounds__(THREADS)
    avgpool2d_backward_1(const real* dy, real* dx, int N, int H, int W, int C, Window win) {
    const unsigned int index = blockIdx.x * THREADS + threadIdx.x;
    if (index >= static_cast<unsigned int>(N * H * W * C)) return;
    const auto [n, r, s, c] = place_of(index, H, W, C);
    real sum = 0;
    for (int k = 0; k < win.KH; k++) {
        const int i = window_over(r, k, win.SH, win.DH, win.top, win.OH);
        if (i < 0) continue;
        for (int l = 0; l < win.KW; l++) {
            const int j = window_over(s, l, win.SW, win.DW, win.left, win.OW);
            if (j < 0) continue;
            sum += dy[((n * win.OH + i) * win.OW + j) * C + c] / pixels_in_window(i, j, H, W, win);  // (avgpool2d.2)
        }
    }
    dx[index] = sum;
}

// --- 2: a vector of channels per thread ------------------------------------------------------------------------------
// As in maxpool2d.cu: 16 bytes per load, and the place of a thread is worked out once for all of them.

// Computes  as version 1, the channels of a window VECTOR at a time
// Thread    VECTOR neighbouring channels of one position of y
// Reads     x (N, H, W, C), C divisible by VECTOR
// Writes    y (N, OH, OW, C)
// No race   because every vector is written by its own thread
extern "C" __global__ void __launch_bounds__(THREADS)
    avgpool2d_forward_2(const real* x, real* y, int N, int H, int W, int C, Window win) {
    const unsigned int index = blockIdx.x * THREADS + threadIdx.x;
    const int depth = C / VECTOR;
    if (index >= static_cast<unsigned int>(N * win.OH * win.OW * depth)) return;
    const auto [n, i, j, vector] = place_of(index, win.OH, win.OW, depth);
    const int r = i * win.SH - win.top, s = j * win.SW - win.left;  // tap (0, 0) lies here (window.4)
    const Taps rows = taps_on_image(r, win.KH, win.DH, H), columns = taps_on_image(s, win.KW, win.DW, W);
    const real* pixels = x + (((n * H + r) * W + s) * C + vector * VECTOR);
    Vector sum = vector_of(0);
    for (int k = rows.first; k < rows.last; k++) {
#pragma unroll 2
        for (int l = columns.first; l < columns.last; l++) {
            const Vector pixel = load_vector(pixels + (k * win.DH * W + l * win.DW) * C);
#pragma unroll
            for (int e = 0; e < VECTOR; e++) sum.at[e] += pixel.at[e];
        }
    }
    const real area = pixels_in_window(i, j, H, W, win);
#pragma unroll
    for (int e = 0; e < VECTOR; e++) sum.at[e] /= area;  // (avgpool2d.1)
    store_vector(y + index * VECTOR, sum);
}

// Computes  as version 1, the channels of a pixel VECTOR at a time
// Thread    VECTOR neighbouring channels of one pixel of dx
// Reads     dy (N, OH, OW, C), C divisible by VECTOR
// Writes    dx (N, H, W, C)
// No race   because every vector is written by its own thread, which adds in a fixed order
extern "C" __global__ void __launch_bounds__(THREADS)
    avgpool2d_backward_2(const real* dy, real* dx, int N, int H, int W, int C, Window win) {
    const unsigned int index = blockIdx.x * THREADS + threadIdx.x;
    const int depth = C / VECTOR;
    if (index >= static_cast<unsigned int>(N * H * W * depth)) return;
    const auto [n, r, s, vector] = place_of(index, H, W, depth);
    Vector sum = vector_of(0);
    for (int k = 0; k < win.KH; k++) {
        const int i = window_over(r, k, win.SH, win.DH, win.top, win.OH);
        if (i < 0) continue;
        for (int l = 0; l < win.KW; l++) {
            const int j = window_over(s, l, win.SW, win.DW, win.left, win.OW);
            if (j < 0) continue;
            const Vector upstream = load_vector(dy + (((n * win.OH + i) * win.OW + j) * depth + vector) * VECTOR);
            const real area = pixels_in_window(i, j, H, W, win);
#pragma unroll
            for (int e = 0; e < VECTOR; e++) sum.at[e] += upstream.at[e] / area;  // (avgpool2d.2)
        }
    }
    store_vector(dx + index * VECTOR, sum);
}
