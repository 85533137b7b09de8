#include "common.cuh"
#include "recurrent.cuh"

// Simple recurrent network, minivid/ops/simple_rnn.py; docs/ops/simple_rnn.md derives the equations.
//
//     x (N, T, D)    h, dh, dz (N, T, U)    h0, dh0 (N, U)    mask (N, T)
//     kernel (D, U), recurrent_kernel (U, U), bias (U,)
//
// A step needs the states of the step before, so versions 1 and 2 are launched once per time step, and version 3, once
// in all, has a barrier per step.

constexpr int SLOTS = 1;
constexpr int UNITS = 64 / sizeof(real);  // of a slice
constexpr int WARPS = UNITS / 4;          // of a block of version 3: each owns four units
constexpr int THREADS = 32 * WARPS;
constexpr int COLUMNS = SLOTS * UNITS;

// --- 1: the equations, one launch per time step ----------------------------------------------------------------------

// Computes  the states of step t, (simple_rnn.1) and (simple_rnn.2)
// Thread    one unit u of one sequence n
// Reads     x_t and h_{t-1} of its sequence, column u of the weights
// Writes    h (N, T, U) at n, t, u
// No race   because every unit of every sequence has its own thread, and step t-1 was another launch
extern "C" __global__ void __launch_bounds__(STEP_THREADS)
    simple_rnn_forward_1(const real* x, const real* kernel, const real* recurrent_kernel, const real* bias,
                         const real* h0, const unsigned char* mask, real* h, int t, int N, int T, int D, int U) {
    const int index = blockIdx.x * STEP_THREADS + threadIdx.x;
    if (index >= N * U) return;
    const int n = index / U, u = index % U, now = n * T + t;
    const real* h_prev = t == 0 ? h0 + n * U : h + (now - 1) * U;
    // (simple_rnn.1)
    const real z = dot(x + now * D, kernel + u, D, U) + dot(h_prev, recurrent_kernel + u, U, U) + bias[u];
    h[now * U + u] = mask[now] ? tanh(z) : h_prev[u];  // (simple_rnn.2), (recurrent.2)
}

// Compute dz of one unit from what step t+1 hands back to h_t, and leave there what goes on to step t-1, but for the
// product with R.
__device__ __forceinline__ real unit_back(real dh, real h, bool masked, real& dh_next) {
    const real dh_t = dh + dh_next;          // (simple_rnn.3)
    dh_next = masked ? dh_t : real(0);       // (recurrent.5)
    return masked ? 0 : dh_t * (1 - h * h);  // (simple_rnn.4)
}

// Computes  dz of step t, (simple_rnn.3) and (simple_rnn.4); at t = -1 what is left, (simple_rnn.9)
// Thread    one unit u of one sequence n
// Reads     dh and h at n, t, u; all of dz_{t+1} of its sequence and row u of R
// Writes    dz (N, T, U) at n, t, u; dh0 (N, U), which carries from launch to launch what goes back to step t-1
// No race   because every unit of every sequence has its own thread, and step t+1 was another launch
extern "C" __global__ void __launch_bounds__(STEP_THREADS)
    simple_rnn_backward_1(const real* dh, const real* recurrent_kernel, const real* h, const unsigned char* mask,
                          real* dz, real* dh0, int t, int N, int T, int U) {
    const int index = blockIdx.x * STEP_THREADS + threadIdx.x;
    if (index >= N * U) return;
    const int n = index / U, u = index % U, now = n * T + t;
    real dh_next = dh0[index];
    if (t + 1 < T) dh_next += dot(dz + (now + 1) * U, recurrent_kernel + u * U, U, 1);
    if (t >= 0) dz[now * U + u] = unit_back(dh[now * U + u], h[now * U + u], mask[now] == 0, dh_next);
    dh0[index] = dh_next;
}

// --- 2: the products elsewhere, the rest of a step fused -------------------------------------------------------------
//
// In version 1 each thread fetches a column of the weights from memory for one sequence only. A matrix product uses
// each weight that it fetches for many sequences (kernels/matmul.cu): x W of all steps in one product, since it needs
// no state, and h_{t-1} R in one per step. What remains of a step reads and writes each number once.

// Computes  the states of step t, (simple_rnn.2)
// Thread    one unit u of one sequence n
// Reads     product (N, U), which is h_{t-1} R, and h, which holds x W
// Writes    h (N, T, U) at n, t, u; h_prev (N, U): in, that of t-1, out, that of t
// No race   because every number that is written is read by no other thread
extern "C" __global__ void __launch_bounds__(STEP_THREADS)
    simple_rnn_forward_2(const real* product, const real* bias, const unsigned char* mask, real* h_prev, real* h, int t,
                         int N, int T, int U) {
    const int index = blockIdx.x * STEP_THREADS + threadIdx.x;
    if (index >= N * U) return;
    const int n = index / U, u = index % U, now = n * T + t;
    const real z = h[now * U + u] + product[index] + bias[u];  // (simple_rnn.1)
    const real h_t = mask[now] ? tanh(z) : h_prev[index];      // (simple_rnn.2), (recurrent.2)
    h[now * U + u] = h_prev[index] = h_t;
}

// Computes  dz of step t, (simple_rnn.3) and (simple_rnn.4)
// Thread    one unit u of one sequence n
// Reads     dh and h at n, t, u; product (N, U), which is dz_{t+1} R^T
// Writes    dz (N, T, U) at n, t, u and dz_t (N, U), the same; dh0 (N, U), as in version 1
// No race   because every unit of every sequence has its own thread
extern "C" __global__ void __launch_bounds__(STEP_THREADS)
    simple_rnn_backward_2(const real* product, const real* dh, const real* h, const unsigned char* mask, real* dz,
                          real* dz_t, real* dh0, int t, int N, int T, int U) {
    const int index = blockIdx.x * STEP_THREADS + threadIdx.x;
    if (index >= N * U) return;
    const int n = index / U, u = index % U, now = n * T + t;
    real dh_next = dh0[index] + product[index];
    dz[now * U + u] = dz_t[index] = unit_back(dh[now * U + u], h[now * U + u], mask[now] == 0, dh_next);
    dh0[index] = dh_next;
}

// --- 3: persistent, one launch for all time steps --------------------------------------------------------------------
//
// Version 2 launches two kernels per step, and each product fetches all of R from memory again. Here a block keeps its
// columns of R in shared memory from the first step to the last, and a barrier takes the place of the launches. What is
// left of a step is one exchange of the states among the blocks, through the L2 cache. See recurrent.cuh for the grid.

// Computes  the states of all steps, (simple_rnn.1) and (simple_rnn.2)
// Thread    a warp owns four units; its 32 lanes share out the sums, then lane = 4 * row + column owns one state
// Reads     h, which holds x W; h0; exchange (2, tiles, ROWS, 4 * quads)
// Writes    h (N, T, U); exchange: step t reads half t % 2 and writes the other
// No race   because a half is read between two barriers and written between the next two, each number by one lane
extern "C" __global__ void __launch_bounds__(THREADS)
    simple_rnn_forward_3(const real* recurrent_kernel, const real* bias, const real* h0, const unsigned char* mask,
                         real* exchange, unsigned int* counters, real* h, int N, int T, int U) {
    extern __shared__ Quad memory[];
    const int quads = quads_of(U), tiles = (N + ROWS - 1) / ROWS;
    Quad* weights = memory;                                  // (WARPS, weights_of_warp)
    Quad* states = memory + WARPS * weights_of_warp(quads);  // (ROWS, quads)
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, row = lane / 4;
    const int u = blockIdx.x * UNITS + 4 * warp + lane % 4;
    const real b = u < U ? bias[u] : real(0);
    keep_columns<UNITS, SLOTS>(recurrent_kernel, weights, U);
    begin_exchange<UNITS>(h0, exchange, tiles, N, U);
    group_barrier(counters + blockIdx.y * APART, gridDim.x);
    for (int t = 0; t < T; t++) {
        const Quad* from = reinterpret_cast<Quad*>(exchange) + t % 2 * tiles * ROWS * quads;
        real* to = exchange + (t + 1) % 2 * tiles * ROWS * quads * 4;
        for (int tile = blockIdx.y; tile < tiles; tile += gridDim.y) {
            const int n = tile * ROWS + row, now = n * T + t;
            const bool inside = n < N && u < U;
            real z = inside ? h[now * U + u] + b : real(0);  // on its way while the states are read

            __syncthreads();  // nobody reads the states of the last tile any more
            read_states(from + tile * ROWS * quads, states, quads);
            __syncthreads();
            z += product_of_warp(states, weights + warp * weights_of_warp(quads), quads, lane);  // (simple_rnn.1)
            if (!inside) continue;
            const real h_prev = reinterpret_cast<const real*>(states)[row * 4 * quads + u];
            const real h_t = mask[now] ? tanh(z) : h_prev;  // (simple_rnn.2), (recurrent.2)
            h[now * U + u] = to[n * 4 * quads + u] = h_t;
        }
        group_barrier(counters + blockIdx.y * APART, gridDim.x);
    }
}

// Computes  dz of all steps, (simple_rnn.3) and (simple_rnn.4), and what goes back to the initial state, (simple_rnn.9)
// Thread    row * UNITS + unit owns dz of one unit of one sequence; then a thread multiplies for four units of all rows
// Reads     dh and h
// Writes    dz (N, T, U), dh0 (N, U); parts (2, tiles, slices to, slices from, ROWS, UNITS): half t % 2 in step t
// No race   because a half of parts is written between two barriers and read after the second; the rest has one owner
extern "C" __global__ void __launch_bounds__(THREADS)
    simple_rnn_backward_3(const real* dh, const real* recurrent_kernel, const real* h, const unsigned char* mask,
                          real* parts, unsigned int* counters, real* dz, real* dh0, int N, int T, int U) {
    extern __shared__ Quad memory[];
    const int quads = quads_of(U), tiles = (N + ROWS - 1) / ROWS, slices = gridDim.x;
    Quad* weights = memory;                                     // (COLUMNS, weights_of_column)
    Quad* sums = weights + COLUMNS * weights_of_column(quads);  // one per thread
    real* own_dz = sums[THREADS].at;                            // (COLUMNS, ROWS)
    const int row = threadIdx.x / UNITS, unit = threadIdx.x % UNITS, u = blockIdx.x * UNITS + unit;
    const int part = ROWS * UNITS / 4, half = tiles * slices * slices * part;  // quads from slice to slice; of a step
    Quad* handed = reinterpret_cast<Quad*>(parts);
    keep_rows<UNITS, SLOTS>(recurrent_kernel, weights, U);
    for (int t = T - 1; t >= -1; t--) {
        for (int tile = blockIdx.y; tile < tiles; tile += gridDim.y) {
            const int n = tile * ROWS + row, index = n * U + u, now = n * T + t;
            const bool owner = row < ROWS && n < N && u < U, step = owner && t >= 0;
            const real dh_t = step ? dh[now * U + u] : real(0), h_t = step ? h[now * U + u] : real(0);
            real dh_next = owner ? dh0[index] : real(0);

            const Quad* from = handed + (t + 1) % 2 * half + (tile * slices + blockIdx.x) * slices * part;
            // (simple_rnn.3), (simple_rnn.9)
            dh_next += handed_back<UNITS, THREADS>(from, t + 1 < T ? slices : 0, sums);
            const real dz_t = step ? unit_back(dh_t, h_t, mask[now] == 0, dh_next) : real(0);
            if (owner) dh0[index] = dh_next;
            if (step) dz[now * U + u] = dz_t;
            if (row < ROWS) own_dz[unit * ROWS + row] = dz_t;
            __syncthreads();
            if (t >= 0) {
                Quad* to = handed + t % 2 * half + tile * slices * slices * part;
                hand_back<UNITS, COLUMNS>(own_dz, weights, quads, to);
            }
        }
        if (t >= 0) group_barrier(counters + blockIdx.y * APART, gridDim.x);
    }
}
