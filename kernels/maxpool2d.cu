#include "common.cuh"
#include "vector.cuh"
#include "pool.cuh"

// Max-pooling, minivid/ops/maxpool2d.py; docs/ops/maxpool2d.md derives the equations.
//
//     x, dx   (N, H, W, C)     y, dy, offset   (N, OH, OW, C)
//
// Neighbouring threads own neighbouring channels, so a warp reads and writes whole lines of memory in every version.

// --- 1: one thread per element ---------------------------------------------------------------------------------------

template <class Offset>
__device__ __forceinline__ void pool_one(const real* x, real* y, Offset* offset, int N, int H, int W, int C, Window win) {
    const unsigned int index = blockIdx.x * THREADS + threadIdx.x;
    if (index >= static_cast<unsigned int>(N * win.OH * win.OW * C)) return;
    const auto [n, i, j, c] = place_of(index, win.OH, win.OW, C);
    real best = minus_infinity();
    int won = -1;
    for (int k = 0; k < win.KH; k++) {
        const int r = i * win.SH + k * win.DH - win.top;  // (window.4)
        if (r < 0 || r >= H) continue;
        for (int l = 0; l < win.KW; l++) {
            const int s = j * win.SW + l * win.DW - win.left;
            if (s < 0 || s >= W) continue;
            const real pixel = x[((n * H + r) * W + s) * C + c];
            // The first pixel, a greater one, or the first NaN: NaN fails every comparison.
            if (won < 0 || (!(pixel <= best) && !is_nan(best))) {
                best = pixel;           // (maxpool2d.1)
                won = k * win.KW + l;  // (maxpool2d.2)
            }
        }
    }
    y[index] = best;
    offset[index] = static_cast<Offset>(won);
}

// Computes  the maximum of every window, and the tap that holds it: (maxpool2d.1), (maxpool2d.2)
// Thread    one element of y and of offset
// Reads     x (N, H, W, C)
// Writes    y, offset (N, OH, OW, C)
// No race   because every element is written by its own thread
extern "C" __global__ void __launch_bounds__(THREADS)
    maxpool2d_forward_1(const real* x, real* y, unsigned char* offset, int N, int H, int W, int C, Window win) {
    pool_one(x, y, offset, N, H, W, C, win);
}

// As version 1, for windows of more than 256 taps, whose numbers do not fit in a byte.
extern "C" __global__ void __launch_bounds__(THREADS)
    maxpool2d_forward_wide(const real* x, real* y, int* offset, int N, int H, int W, int C, Window win) {
    pool_one(x, y, offset, N, H, W, C, win);
}

template <class Offset>
__device__ __forceinline__ void gather_one(const real* dy, const Offset* offset, real* dx, int N, int H, int W, int C,
                                           Window win) {
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
            const int output = ((n * win.OH + i) * win.OW + j) * C + c;
            if (offset[output] == k * win.KW + l) sum += dy[output];  // (maxpool2d.3)
        }
    }
    dx[index] = sum;
}

// Computes  the gradient of the input as a gather: every pixel asks the windows over it whether it has won, (maxpool2d.3)
// Thread    one element of dx
// Reads     dy, offset (N, OH, OW, C)
// Writes    dx (N, H, W, C)
// No race   because every element is written by its own thread, which adds in a fixed order: no atomics
extern "C" __global__ void __launch_bounds__(THREADS)
    maxpool2d_backward_1(const real* dy, const unsigned char* offset, real* dx, int N, int H, int W, int C, Window win) {
    gather_one(dy, offset, dx, N, H, W, C, win);
}

// As version 1, for windows of more than 256 taps.
extern "C" __global__ void __launch_bounds__(THREADS)
    maxpool2d_backward_wide(const real* dy, const int* offset, real* dx, int N, int H, int W, int C, Window win) {
    gather_one(dy, offset, dx, N, H, W, C, win);
}

// --- 2: a vector of channels per thread ------------------------------------------------------------------------------
// Pooling does next to nothing with a number but move it, so what counts is bytes under way. A thread with 16 bytes per
// load needs a quarter of the threads, of the divisions that find its place, and of the loads, to move the same bytes.

struct alignas(VECTOR) Taken {  // the offsets of a vector of outputs
    unsigned char at[VECTOR];
};

// Maxima over the taps (first_k, first_l) ... of one window; `pixels` points to where tap (0, 0) would be.
__device__ __forceinline__ void pool_window(const real* pixels, int down, int right, Taps rows, Taps columns, int KW,
                                            Vector& best, Taken& won) {
#pragma unroll
    for (int k = rows.first; k < rows.last; k++) {
#pragma unroll
        for (int l = columns.first; l < columns.last; l++) {
            const Vector pixel = load_vector(pixels + k * down + l * right);
            const bool is_first = k == rows.first && l == columns.first;
#pragma unroll
            for (int e = 0; e < VECTOR; e++) {
                const bool wins = is_first || (!(pixel.at[e] <= best.at[e]) && !is_nan(best.at[e]));
                best.at[e] = wins ? pixel.at[e] : best.at[e];                                     // (maxpool2d.1)
                won.at[e] = wins ? static_cast<unsigned char>(k * KW + l) : won.at[e];            // (maxpool2d.2)
            }
        }
    }
}

// Computes  as version 1, the channels of a window VECTOR at a time
// Thread    VECTOR neighbouring channels of one position of y and of offset
// Reads     x (N, H, W, C), C divisible by VECTOR
// Writes    y, offset (N, OH, OW, C)
// No race   because every vector is written by its own thread
//
// Taps beside the image are left out before the loops, which then have no branches; for whole windows of 2x2 and 3x3 the
// numbers of taps are constants, so that the compiler unrolls the loops and all loads of a window are under way at once.
extern "C" __global__ void __launch_bounds__(THREADS)
    maxpool2d_forward_2(const real* x, real* y, unsigned char* offset, int N, int H, int W, int C, Window win) {
    const unsigned int index = blockIdx.x * THREADS + threadIdx.x;
    const int depth = C / VECTOR;
    if (index >= static_cast<unsigned int>(N * win.OH * win.OW * depth)) return;
    const auto [n, i, j, vector] = place_of(index, win.OH, win.OW, depth);
    const int r = i * win.SH - win.top, s = j * win.SW - win.left;  // tap (0, 0) lies here (window.4)
    const Taps rows = taps_on_image(r, win.KH, win.DH, H), columns = taps_on_image(s, win.KW, win.DW, W);
    const bool whole = rows.last - rows.first == win.KH && columns.last - columns.first == win.KW;
    const int down = win.DH * W * C, right = win.DW * C;
    const real* pixels = x + (((n * H + r) * W + s) * C + vector * VECTOR);
    Vector best = vector_of(minus_infinity());
    Taken won = {};
    if (whole && win.KH == 2 && win.KW == 2) {
        pool_window(pixels, down, right, {0, 2}, {0, 2}, 2, best, won);
    } else if (whole && win.KH == 3 && win.KW == 3) {
        pool_window(pixels, down, right, {0, 3}, {0, 3}, 3, best, won);
    } else {
        pool_window(pixels, down, right, rows, columns, win.KW, best, won);
    }
    store_vector(y + index * VECTOR, best);
    reinterpret_cast<Taken*>(offset)[index] = won;
}

// Computes  as version 1, the channels of a pixel VECTOR at a time
// Thread    VECTOR neighbouring channels of one pixel of dx
// Reads     dy, offset (N, OH, OW, C), C divisible by VECTOR
// Writes    dx (N, H, W, C)
// No race   because every vector is written by its own thread, which adds in a fixed order
extern "C" __global__ void __launch_bounds__(THREADS)
    maxpool2d_backward_2(const real* dy, const unsigned char* offset, real* dx, int N, int H, int W, int C, Window win) {
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
            const int output = ((n * win.OH + i) * win.OW + j) * depth + vector;
            const Vector upstream = load_vector(dy + output * VECTOR);
            const Taken won = reinterpret_cast<const Taken*>(offset)[output];
#pragma unroll
            for (int e = 0; e < VECTOR; e++) {
                if (won.at[e] == k * win.KW + l) sum.at[e] += upstream.at[e];  // (maxpool2d.3)
            }
        }
    }
    store_vector(dx + index * VECTOR, sum);
}

// --- 3: backward, a step of the window per thread --------------------------------------------------------------------
// In version 2, all the pixels under a window load the same dy and offset. Here one thread owns the S x S pixels between
// one position of the window and the next, and loads what they share once. Pixel (a, b) of the step (i, j) lies under tap
// (a + p * S, b + q * S) of window (i - p, j - q), so only the windows with p, q < ceil(K / S) matter. K and S are
// constants of each instance: the sums stay in registers.

template <int K, int S>
__device__ __forceinline__ void gather_step(const real* dy, const unsigned char* offset, real* dx, int H, int W, int depth,
                                            const Window& win, Place place) {
    constexpr int REACH = (K + S - 1) / S;
    Vector sums[S][S];
#pragma unroll
    for (int a = 0; a < S; a++) {
#pragma unroll
        for (int b = 0; b < S; b++) sums[a][b] = vector_of(0);
    }
#pragma unroll
    for (int p = 0; p < REACH; p++) {
        const int i = place.row - p;
        if (i < 0 || i >= win.OH) continue;
#pragma unroll
        for (int q = 0; q < REACH; q++) {
            const int j = place.column - q;
            if (j < 0 || j >= win.OW) continue;
            const int output = ((place.n * win.OH + i) * win.OW + j) * depth + place.c;
            const Vector upstream = load_vector(dy + output * VECTOR);
            const Taken won = reinterpret_cast<const Taken*>(offset)[output];
#pragma unroll
            for (int a = 0; a < S && a + p * S < K; a++) {
#pragma unroll
                for (int b = 0; b < S && b + q * S < K; b++) {
#pragma unroll
                    for (int e = 0; e < VECTOR; e++) {
                        const bool wins = won.at[e] == (a + p * S) * K + b + q * S;
                        sums[a][b].at[e] += wins ? upstream.at[e] : real(0);  // (maxpool2d.3)
                    }
                }
            }
        }
    }
#pragma unroll
    for (int a = 0; a < S; a++) {
#pragma unroll
        for (int b = 0; b < S; b++) {
            const int r = place.row * S + a - win.top, s = place.column * S + b - win.left;
            if (r < 0 || r >= H || s < 0 || s >= W) continue;
            store_vector(dx + (((place.n * H + r) * W + s) * depth + place.c) * VECTOR, sums[a][b]);
        }
    }
}

// Computes  as version 1, for windows of 2x2 or 3x3 taps with steps of 2 and no dilation
// Thread    VECTOR neighbouring channels of the 2x2 pixels of dx between two positions of the window
// Reads     dy, offset (N, OH, OW, C), C divisible by VECTOR
// Writes    dx (N, H, W, C), in `down` x `across` steps
// No race   because steps do not overlap, and each belongs to one thread, which adds in a fixed order
extern "C" __global__ void __launch_bounds__(THREADS)
    maxpool2d_backward_3(const real* dy, const unsigned char* offset, real* dx, int N, int H, int W, int C, int down,
                         int across, Window win) {
    const unsigned int index = blockIdx.x * THREADS + threadIdx.x;
    const int depth = C / VECTOR;
    if (index >= static_cast<unsigned int>(N * down * across * depth)) return;
    const Place place = place_of(index, down, across, depth);
    if (win.KH == 2) {
        gather_step<2, 2>(dy, offset, dx, H, W, depth, win, place);
    } else {
        gather_step<3, 2>(dy, offset, dx, H, W, depth, win, place);
    }
}
