#include "common.cuh"
#include "warp.cuh"

// Softmax and cross-entropy in one, minivid/ops/softmax_cross_entropy.py; docs/ops/softmax_cross_entropy.md derives it.
//
//     logits, targets, probabilities, dlogits   (M, K)     losses, dlosses   (M,)
//
// `max` leaves NaN out, but a NaN among the logits of a row comes back in the sum of the exponentials.

constexpr int THREADS = 128;
constexpr int ROWS = THREADS / WARP;  // rows of a block in version 2

// --- 1: one thread per row -------------------------------------------------------------------------------------------

// Computes  probabilities and losses, shifted by the largest logit: (softmax_cross_entropy.1), (softmax_cross_entropy.2)
// Thread    one row
// Reads     logits, targets (M, K)
// Writes    losses (M,), probabilities (M, K)
// No race   because every row belongs to one thread
extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_cross_entropy_forward_1(const real* logits, const real* targets, real* losses, real* probabilities, int M,
                                    int K) {
    const int m = blockIdx.x * THREADS + threadIdx.x;
    if (m >= M) return;
    const real *z = logits + m * K, *t = targets + m * K;
    real* p = probabilities + m * K;
    real largest = minus_infinity();
    for (int k = 0; k < K; k++) largest = max(largest, z[k]);
    real total = 0;
    for (int k = 0; k < K; k++) {
        p[k] = exp(z[k] - largest);
        total += p[k];
    }
    const real log_total = log(total);
    real loss = 0;
    for (int k = 0; k < K; k++) {
        p[k] /= total;  // (softmax_cross_entropy.1)
        // A class that no target asks for costs nothing, even at a logit of minus infinity.
        if (t[k] != 0) loss += t[k] * (log_total - (z[k] - largest));  // (softmax_cross_entropy.2)
    }
    losses[m] = loss;
}

// Computes  the gradient of the logits (softmax_cross_entropy.3)
// Thread    one row
// Reads     dlosses (M,), probabilities, targets (M, K)
// Writes    dlogits (M, K)
// No race   because every row belongs to one thread
extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_cross_entropy_backward_1(const real* dlosses, const real* probabilities, const real* targets, real* dlogits,
                                     int M, int K) {
    const int m = blockIdx.x * THREADS + threadIdx.x;
    if (m >= M) return;
    const real *p = probabilities + m * K, *t = targets + m * K;
    real mass = 0;
    for (int k = 0; k < K; k++) mass += t[k];
    for (int k = 0; k < K; k++) dlogits[m * K + k] = dlosses[m] * (p[k] * mass - t[k]);  // (softmax_cross_entropy.3)
}

// --- 2: one warp per row ---------------------------------------------------------------------------------------------
// The threads of version 1 stand K numbers apart, so each load of a warp touches 32 lines of memory for 32 numbers. A warp
// that walks along its row reads neighbouring numbers, and 32 threads share the exponentials of a row.

// Computes  as version 1; maximum and sums of a row by exchange within the warp
// Thread    every 32nd class of one row
// Reads     logits, targets (M, K)
// Writes    losses (M,), probabilities (M, K)
// No race   because every row belongs to one warp, and a thread reads back only what it wrote
extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_cross_entropy_forward_2(const real* logits, const real* targets, real* losses, real* probabilities, int M,
                                    int K) {
    const int m = blockIdx.x * ROWS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (m >= M) return;  // the whole warp
    const real *z = logits + m * K, *t = targets + m * K;
    real* p = probabilities + m * K;
    real largest = minus_infinity();
    for (int k = lane; k < K; k += WARP) largest = max(largest, z[k]);
    largest = warp_max(largest);
    real total = 0;
    for (int k = lane; k < K; k += WARP) {
        p[k] = exp(z[k] - largest);
        total += p[k];
    }
    total = warp_sum(total);
    const real log_total = log(total);
    real loss = 0;
    for (int k = lane; k < K; k += WARP) {
        p[k] /= total;                                                 // (softmax_cross_entropy.1)
        if (t[k] != 0) loss += t[k] * (log_total - (z[k] - largest));  // (softmax_cross_entropy.2)
    }
    loss = warp_sum(loss);
    if (lane == 0) losses[m] = loss;
}

// Computes  as version 1
// Thread    every 32nd class of one row
// Reads     dlosses (M,), probabilities, targets (M, K)
// Writes    dlogits (M, K)
// No race   because every row belongs to one warp
extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_cross_entropy_backward_2(const real* dlosses, const real* probabilities, const real* targets, real* dlogits,
                                     int M, int K) {
    const int m = blockIdx.x * ROWS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (m >= M) return;
    const real *p = probabilities + m * K, *t = targets + m * K;
    real mass = 0;
    for (int k = lane; k < K; k += WARP) mass += t[k];
    mass = warp_sum(mass);
    for (int k = lane; k < K; k += WARP) {
        dlogits[m * K + k] = dlosses[m] * (p[k] * mass - t[k]);  // (softmax_cross_entropy.3)
    }
}
