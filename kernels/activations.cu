#include "common.cuh"
#include "vector.cuh"
#include "warp.cuh"

// Activations, minivid/ops/activations.py; docs/ops/activations.md derives the gradients.
//
//     x, y, dy, dx   any shape, `size` numbers; for softmax (M, K)

constexpr int THREADS = 256;
constexpr int ROWS = THREADS / WARP;  // rows of a block of softmax, version 2

__device__ __forceinline__ real relu(real x) { return x <= 0 ? real(0) : x; }                    // (relu.1): NaN stays
__device__ __forceinline__ real relu_gradient(real dy, real y) { return y > 0 ? dy : real(0); }  // (relu.2)
__device__ __forceinline__ real tanh_gradient(real dy, real y) { return dy * (1 - y * y); }      // (tanh.2)
__device__ __forceinline__ real stable_sigmoid(real x) {
    const real e = exp(-fabs(x));  // at most 1
    return (x < 0 ? e : real(1)) / (1 + e);  // (sigmoid.1), times e^x / e^x where x < 0
}
__device__ __forceinline__ real sigmoid_gradient(real dy, real y) { return dy * y * (1 - y); }  // (sigmoid.2)

// --- 1: one thread per element ---------------------------------------------------------------------------------------

// Computes  an activation, or its gradient: the function it calls cites the equation
// Thread    one element
// Reads     x, or dy and y (size)
// Writes    y, or dx (size)
// No race   because every element is written by its own thread
extern "C" __global__ void __launch_bounds__(THREADS) relu_forward_1(const real* x, real* y, int size) {
    const unsigned int i = blockIdx.x * THREADS + threadIdx.x;
    if (i < static_cast<unsigned int>(size)) y[i] = relu(x[i]);
}
extern "C" __global__ void __launch_bounds__(THREADS) relu_backward_1(const real* dy, const real* y, real* dx, int size) {
    const unsigned int i = blockIdx.x * THREADS + threadIdx.x;
    if (i < static_cast<unsigned int>(size)) dx[i] = relu_gradient(dy[i], y[i]);
}
extern "C" __global__ void __launch_bounds__(THREADS) tanh_forward_1(const real* x, real* y, int size) {
    const unsigned int i = blockIdx.x * THREADS + threadIdx.x;
    if (i < static_cast<unsigned int>(size)) y[i] = tanh(x[i]);  // (tanh.1)
}
extern "C" __global__ void __launch_bounds__(THREADS) tanh_backward_1(const real* dy, const real* y, real* dx, int size) {
    const unsigned int i = blockIdx.x * THREADS + threadIdx.x;
    if (i < static_cast<unsigned int>(size)) dx[i] = tanh_gradient(dy[i], y[i]);
}
extern "C" __global__ void __launch_bounds__(THREADS) sigmoid_forward_1(const real* x, real* y, int size) {
    const unsigned int i = blockIdx.x * THREADS + threadIdx.x;
    if (i < static_cast<unsigned int>(size)) y[i] = stable_sigmoid(x[i]);
}
extern "C" __global__ void __launch_bounds__(THREADS)
    sigmoid_backward_1(const real* dy, const real* y, real* dx, int size) {
    const unsigned int i = blockIdx.x * THREADS + threadIdx.x;
    if (i < static_cast<unsigned int>(size)) dx[i] = sigmoid_gradient(dy[i], y[i]);
}

// --- 2: a vector of elements per thread ------------------------------------------------------------------------------
// Memory binds here, and it is busy only while enough bytes are under way: 16 per load instead of 4. The last thread has
// fewer elements than a vector, and takes them one by one.

template <class Function>
__device__ __forceinline__ void map(const real* x, real* y, int size, Function function) {
    const unsigned int first = (blockIdx.x * THREADS + threadIdx.x) * VECTOR, end = size;
    if (first + VECTOR <= end) {
        Vector values = load_vector(x + first);
#pragma unroll
        for (int e = 0; e < VECTOR; e++) values.at[e] = function(values.at[e]);
        store_vector(y + first, values);
    } else {
#pragma unroll 1
        for (unsigned int i = first; i < end; i++) y[i] = function(x[i]);
    }
}

template <class Function>
__device__ __forceinline__ void map(const real* dy, const real* y, real* dx, int size, Function function) {
    const unsigned int first = (blockIdx.x * THREADS + threadIdx.x) * VECTOR, end = size;
    if (first + VECTOR <= end) {
        const Vector upstream = load_vector(dy + first), outputs = load_vector(y + first);
        Vector values;
#pragma unroll
        for (int e = 0; e < VECTOR; e++) values.at[e] = function(upstream.at[e], outputs.at[e]);
        store_vector(dx + first, values);
    } else {
#pragma unroll 1
        for (unsigned int i = first; i < end; i++) dx[i] = function(dy[i], y[i]);
    }
}

// Computes  as version 1
// Thread    VECTOR neighbouring elements
// Reads     x, or dy and y (size)
// Writes    y, or dx (size)
// No race   because every element is written by its own thread
extern "C" __global__ void __launch_bounds__(THREADS) relu_forward_2(const real* x, real* y, int size) {
    map(x, y, size, [](real x_i) { return relu(x_i); });
}
extern "C" __global__ void __launch_bounds__(THREADS) relu_backward_2(const real* dy, const real* y, real* dx, int size) {
    map(dy, y, dx, size, [](real dy_i, real y_i) { return relu_gradient(dy_i, y_i); });
}
extern "C" __global__ void __launch_bounds__(THREADS) tanh_forward_2(const real* x, real* y, int size) {
    map(x, y, size, [](real x_i) { return tanh(x_i); });  // (tanh.1)
}
extern "C" __global__ void __launch_bounds__(THREADS) tanh_backward_2(const real* dy, const real* y, real* dx, int size) {
    map(dy, y, dx, size, [](real dy_i, real y_i) { return tanh_gradient(dy_i, y_i); });
}
extern "C" __global__ void __launch_bounds__(THREADS) sigmoid_forward_2(const real* x, real* y, int size) {
    map(x, y, size, [](real x_i) { return stable_sigmoid(x_i); });
}
extern "C" __global__ void __launch_bounds__(THREADS)
    sigmoid_backward_2(const real* dy, const real* y, real* dx, int size) {
    map(dy, y, dx, size, [](real dy_i, real y_i) { return sigmoid_gradient(dy_i, y_i); });
}

// --- Softmax, 1: one thread per row ----------------------------------------------------------------------------------
// `max` leaves NaN out, but a NaN in a row comes back in the sum.

// Computes  probabilities (softmax.1), shifted by the largest score (softmax.2)
// Thread    one row
// Reads     x (M, K)
// Writes    y (M, K)
// No race   because every row belongs to one thread
extern "C" __global__ void __launch_bounds__(THREADS) softmax_forward_1(const real* x, real* y, int M, int K) {
    const int m = blockIdx.x * THREADS + threadIdx.x;
    if (m >= M) return;
    const real* scores = x + m * K;
    real* p = y + m * K;
    real largest = minus_infinity(), total = 0;
    for (int k = 0; k < K; k++) largest = max(largest, scores[k]);  // (softmax.2)
    for (int k = 0; k < K; k++) {
        p[k] = exp(scores[k] - largest);
        total += p[k];
    }
    for (int k = 0; k < K; k++) p[k] /= total;  // (softmax.1)
}

// Computes  the gradient of the scores (softmax.3)
// Thread    one row
// Reads     dy, y (M, K)
// Writes    dx (M, K)
// No race   because every row belongs to one thread
extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_backward_1(const real* dy, const real* y, real* dx, int M, int K) {
    const int m = blockIdx.x * THREADS + threadIdx.x;
    if (m >= M) return;
    real mean = 0;
    for (int k = 0; k < K; k++) mean += dy[m * K + k] * y[m * K + k];
    for (int k = 0; k < K; k++) dx[m * K + k] = y[m * K + k] * (dy[m * K + k] - mean);  // (softmax.3)
}

// --- Softmax, 2: one warp per row ------------------------------------------------------------------------------------
// As in softmax_cross_entropy.cu: a warp reads neighbouring numbers, and shares the work of a row.

// Computes  as version 1; maximum and sum by exchange within the warp
// Thread    every 32nd class of one row
// Reads     x (M, K)
// Writes    y (M, K)
// No race   because every row belongs to one warp, and a thread reads back only what it wrote
extern "C" __global__ void __launch_bounds__(THREADS) softmax_forward_2(const real* x, real* y, int M, int K) {
    const int m = blockIdx.x * ROWS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (m >= M) return;  // the whole warp
    const real* scores = x + m * K;
    real* p = y + m * K;
    real largest = minus_infinity(), total = 0;
    for (int k = lane; k < K; k += WARP) largest = max(largest, scores[k]);
    largest = warp_max(largest);  // (softmax.2)
    for (int k = lane; k < K; k += WARP) {
        p[k] = exp(scores[k] - largest);
        total += p[k];
    }
    total = warp_sum(total);
    for (int k = lane; k < K; k += WARP) p[k] /= total;  // (softmax.1)
}

// Computes  as version 1
// Thread    every 32nd class of one row
// Reads     dy, y (M, K)
// Writes    dx (M, K)
// No race   because every row belongs to one warp
extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_backward_2(const real* dy, const real* y, real* dx, int M, int K) {
    const int m = blockIdx.x * ROWS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (m >= M) return;
    real mean = 0;
    for (int k = lane; k < K; k += WARP) mean += dy[m * K + k] * y[m * K + k];
    mean = warp_sum(mean);
    for (int k = lane; k < K; k += WARP) dx[m * K + k] = y[m * K + k] * (dy[m * K + k] - mean);  // (softmax.3)
}
