#include "common.cuh"
#include "vector.cuh"

// Batch normalisation, minivid/ops/batch_norm.py; docs/ops/batch_norm.md derives the equations.
//
//     x, y, dy, dx   (M, C)     gamma, beta, mean, variance, dgamma, dbeta   (C,)
//
// Sums over the M rows are kept in double, whatever `real` is: a batch of millions of pixels loses nothing. The partition
// of the rows depends on the shape alone, and each sum is added up in one order, so the bits never change.

constexpr int THREADS = 256;
constexpr int COLUMNS = 32;  // channels of a block of batch_norm_finish_2

// --- 1: one thread per channel, one thread per element ---------------------------------------------------------------

// Computes  mean and variance of every channel (batch_norm.1), (batch_norm.2)
// Thread    one channel
// Reads     x (M, C)
// Writes    mean, variance (C,)
// No race   because every channel belongs to one thread
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_statistics_1(const real* x, real* mean, real* variance, int M, int C) {
    const int c = blockIdx.x * THREADS + threadIdx.x;
    if (c >= C) return;
    double sum = 0;
    for (int m = 0; m < M; m++) sum += x[m * C + c];
    const double centre = sum / M;  // (batch_norm.1)
    double squares = 0;
    for (int m = 0; m < M; m++) squares += (x[m * C + c] - centre) * (x[m * C + c] - centre);
    mean[c] = static_cast<real>(centre);
    variance[c] = static_cast<real>(squares / M);  // (batch_norm.2)
}

// Computes  the normalised, scaled and shifted activations (batch_norm.3), (batch_norm.4)
// Thread    one element of y
// Reads     x (M, C), gamma, beta, mean, variance (C,)
// Writes    y (M, C)
// No race   because every element is written by its own thread
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_normalise_1(const real* x, const real* gamma, const real* beta, const real* mean, const real* variance,
                           real* y, int M, int C, real epsilon) {
    const unsigned int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= static_cast<unsigned int>(M * C)) return;
    const int c = i % C;
    const real x_hat = (x[i] - mean[c]) / sqrt(variance[c] + epsilon);  // (batch_norm.3)
    y[i] = gamma[c] * x_hat + beta[c];                                  // (batch_norm.4)
}

// Computes  the gradients of gamma and beta (batch_norm.5), (batch_norm.6)
// Thread    one channel
// Reads     dy, x (M, C), mean, variance (C,)
// Writes    dgamma, dbeta (C,)
// No race   because every channel belongs to one thread
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_sums_1(const real* dy, const real* x, const real* mean, const real* variance, real* dgamma, real* dbeta,
                      int M, int C, real epsilon) {
    const int c = blockIdx.x * THREADS + threadIdx.x;
    if (c >= C) return;
    const real sigma = sqrt(variance[c] + epsilon);
    double gamma_sum = 0, beta_sum = 0;
    for (int m = 0; m < M; m++) {
        gamma_sum += dy[m * C + c] * ((x[m * C + c] - mean[c]) / sigma);  // (batch_norm.5)
        beta_sum += dy[m * C + c];                                        // (batch_norm.6)
    }
    dgamma[c] = static_cast<real>(gamma_sum);
    dbeta[c] = static_cast<real>(beta_sum);
}

// Computes  the gradient of the input (batch_norm.7)
// Thread    one element of dx
// Reads     dy, x (M, C), gamma, mean, variance, dgamma, dbeta (C,)
// Writes    dx (M, C)
// No race   because every element is written by its own thread
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_backward_1(const real* dy, const real* x, const real* gamma, const real* mean, const real* variance,
                          const real* dgamma, const real* dbeta, real* dx, int M, int C, real epsilon) {
    const unsigned int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= static_cast<unsigned int>(M * C)) return;
    const int c = i % C;
    const real sigma = sqrt(variance[c] + epsilon);
    const real x_hat = (x[i] - mean[c]) / sigma;                                      // (batch_norm.3)
    dx[i] = gamma[c] / sigma * (dy[i] - dbeta[c] / M - x_hat * dgamma[c] / M);  // (batch_norm.7)
}

// --- 2: sums in two stages -------------------------------------------------------------------------------------------
// Version 1 has C threads for M * C numbers: a few warps of the thousands that a GPU can hold. Here the rows are cut into
// pieces, and each block sums one piece of its channels; a second kernel adds up the pieces. A block puts as many rows
// side by side as it has threads for, so that its threads read one stretch of memory after the other however few channels
// there are.

// The rows of a piece that a thread visits, and the place of the thread among those of its block.
struct Walk {
    int c, first, last, step;
    int column, columns;
    bool works;
};
__device__ __forceinline__ Walk walk_over(int rows, int C, int width, int piece, int pieces) {
    const int begin = blockIdx.x * width, columns = min(width, C - begin), step = THREADS / columns;
    const int thread = threadIdx.x, column = thread % columns, row = thread / columns;
    const int first = static_cast<int>(static_cast<long long>(rows) * piece / pieces);
    const int last = static_cast<int>(static_cast<long long>(rows) * (piece + 1) / pieces);
    return {begin + column, first + row, last, step, column, columns, row < step};
}

// The sum of `value` over the threads of a block that have the same channel, in order. Only the first row of threads has
// it, those with threadIdx.x < columns.
__device__ __forceinline__ double column_sum(double* shared, double value, const Walk& walk) {
    __syncthreads();  // what was there before has been read
    shared[threadIdx.x] = value;
    __syncthreads();
    double sum = 0;
    if (threadIdx.x < walk.columns) {
        for (int row = 0; row < walk.step; row++) sum += shared[row * walk.columns + walk.column];
    }
    return sum;
}

// Computes  sums of x over a piece of the rows, for (batch_norm.1)
// Thread    every `step`-th row of the piece blockIdx.y, for one channel
// Reads     x (M, C)
// Writes    partial (pieces, C)
// No race   because every number of `partial` belongs to one thread, behind the barriers of column_sum
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_mean_2(const real* x, real* partial, int M, int C, int pieces) {
    __shared__ double shared[THREADS];
    const Walk walk = walk_over(M, C, THREADS, blockIdx.y, pieces);
    double sum = 0;
    if (walk.works) {
#pragma unroll 4
        for (int m = walk.first; m < walk.last; m += walk.step) sum += x[m * C + walk.c];
    }
    sum = column_sum(shared, sum, walk);
    if (threadIdx.x < walk.columns) partial[blockIdx.y * C + walk.c] = static_cast<real>(sum);
}

// Computes  sums of (x - mean)^2 over a piece of the rows, for (batch_norm.2)
// Thread    every `step`-th row of the piece blockIdx.y, for one channel
// Reads     x (M, C), mean (C,)
// Writes    partial (pieces, C)
// No race   because every number of `partial` belongs to one thread, behind the barriers of column_sum
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_variance_2(const real* x, const real* mean, real* partial, int M, int C, int pieces) {
    __shared__ double shared[THREADS];
    const Walk walk = walk_over(M, C, THREADS, blockIdx.y, pieces);
    const real centre = mean[walk.c];
    double sum = 0;
    if (walk.works) {
#pragma unroll 4
        for (int m = walk.first; m < walk.last; m += walk.step) {
            const real difference = x[m * C + walk.c] - centre;
            sum += difference * difference;
        }
    }
    sum = column_sum(shared, sum, walk);
    if (threadIdx.x < walk.columns) partial[blockIdx.y * C + walk.c] = static_cast<real>(sum);
}

// Computes  sums of dy * x_hat and of dy over a piece of the rows, for (batch_norm.5) and (batch_norm.6)
// Thread    every `step`-th row of the piece blockIdx.y, for one channel
// Reads     dy, x (M, C), mean, variance (C,)
// Writes    partial (2, pieces, C)
// No race   because every number of `partial` belongs to one thread, behind the barriers of column_sum
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_sums_2(const real* dy, const real* x, const real* mean, const real* variance, real* partial, int M, int C,
                      int pieces, real epsilon) {
    __shared__ double shared[THREADS];
    const Walk walk = walk_over(M, C, THREADS, blockIdx.y, pieces);
    const real centre = mean[walk.c], scale = real(1) / sqrt(variance[walk.c] + epsilon);
    double gamma_sum = 0, beta_sum = 0;
    if (walk.works) {
#pragma unroll 4
        for (int m = walk.first; m < walk.last; m += walk.step) {
            const real upstream = dy[m * C + walk.c];
            gamma_sum += upstream * ((x[m * C + walk.c] - centre) * scale);
            beta_sum += upstream;
        }
    }
    gamma_sum = column_sum(shared, gamma_sum, walk);
    beta_sum = column_sum(shared, beta_sum, walk);
    if (threadIdx.x < walk.columns) {
        partial[blockIdx.y * C + walk.c] = static_cast<real>(gamma_sum);
        partial[(pieces + blockIdx.y) * C + walk.c] = static_cast<real>(beta_sum);
    }
}

// Computes  the sums of all pieces, divided: (batch_norm.1), (batch_norm.2); or (batch_norm.5), (batch_norm.6)
// Thread    every `step`-th piece, for one channel of sum number blockIdx.y
// Reads     partial (sums, pieces, C)
// Writes    total (sums, C)
// No race   because every number of `total` belongs to one thread, behind the barriers of column_sum
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_finish_2(const real* partial, real* total, int pieces, int C, int divisor) {
    __shared__ double shared[THREADS];
    const Walk walk = walk_over(pieces, C, COLUMNS, 0, 1);
    const real* sums = partial + blockIdx.y * pieces * C;
    double sum = 0;
    if (walk.works) {
#pragma unroll 4
        for (int piece = walk.first; piece < walk.last; piece += walk.step) sum += sums[piece * C + walk.c];
    }
    sum = column_sum(shared, sum, walk);
    if (threadIdx.x < walk.columns) total[blockIdx.y * C + walk.c] = static_cast<real>(sum / divisor);
}

// Computes  as version 1, VECTOR channels at a time
// Thread    VECTOR neighbouring channels of one row of y
// Reads     x (M, C), gamma, beta, mean, variance (C,); C divisible by VECTOR
// Writes    y (M, C)
// No race   because every vector is written by its own thread
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_normalise_2(const real* x, const real* gamma, const real* beta, const real* mean, const real* variance,
                           real* y, int M, int C, real epsilon) {
    const unsigned int i = (blockIdx.x * THREADS + threadIdx.x) * VECTOR;
    if (i >= static_cast<unsigned int>(M * C)) return;
    const int c = i % C;
    Vector values = load_vector(x + i);
    const Vector centre = load_vector(mean + c), spread = load_vector(variance + c);
    const Vector scale = load_vector(gamma + c), shift = load_vector(beta + c);
#pragma unroll
    for (int e = 0; e < VECTOR; e++) {
        const real x_hat = (values.at[e] - centre.at[e]) / sqrt(spread.at[e] + epsilon);  // (batch_norm.3)
        values.at[e] = scale.at[e] * x_hat + shift.at[e];                                 // (batch_norm.4)
    }
    store_vector(y + i, values);
}

// Computes  as version 1, VECTOR channels at a time
// Thread    VECTOR neighbouring channels of one row of dx
// Reads     dy, x (M, C), gamma, mean, variance, dgamma, dbeta (C,), C divisible by VECTOR
// Writes    dx (M, C)
// No race   because every vector is written by its own thread
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_backward_2(const real* dy, const real* x, const real* gamma, const real* mean, const real* variance,
                          const real* dgamma, const real* dbeta, real* dx, int M, int C, real epsilon) {
    const unsigned int i = (blockIdx.x * THREADS + threadIdx.x) * VECTOR;
    if (i >= static_cast<unsigned int>(M * C)) return;
    const int c = i % C;
    const Vector upstream = load_vector(dy + i);
    Vector values = load_vector(x + i);
    const Vector centre = load_vector(mean + c), spread = load_vector(variance + c), scale = load_vector(gamma + c);
    const Vector gamma_sum = load_vector(dgamma + c), beta_sum = load_vector(dbeta + c);
#pragma unroll
    for (int e = 0; e < VECTOR; e++) {
        const real one_by_sigma = real(1) / sqrt(spread.at[e] + epsilon);
        const real x_hat = (values.at[e] - centre.at[e]) * one_by_sigma;  // (batch_norm.3)
        const real rest = upstream.at[e] - (beta_sum.at[e] + x_hat * gamma_sum.at[e]) / M;
        values.at[e] = scale.at[e] * one_by_sigma * rest;  // (batch_norm.7)
    }
    store_vector(dx + i, values);
}
