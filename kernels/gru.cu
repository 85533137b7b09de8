#include "common.cuh"
#include "recurrent.cuh"

// GRU, minivid/ops/gru.py; docs/ops/gru.md derives the equations.
//
//     x (N, T, D)    h, dh, g_h (N, T, U)    gates, da, dg (N, T, 3U)    h0, dh0 (N, U)    mask (N, T)
//     kernel (D, 3U), recurrent_kernel (U, 3U), bias (2, 3U): of the input, and recurrent
//
// Columns lie in three slots of U: z, r, h~. A step needs the states of the step before, so versions 1 and 2 are
// launched once per time step, and version 3, once in all, has a barrier per step.

constexpr int SLOTS = 3;
constexpr int UNITS = 32 / sizeof(real);  // of a slice
constexpr int WARPS = UNITS;              // of a block of version 3
constexpr int THREADS = 32 * WARPS;
constexpr int COLUMNS = SLOTS * UNITS;

// --- 1: the equations, one launch per time step ----------------------------------------------------------------------

// Computes  the gates and states of step t, (gru.1) to (gru.6)
// Thread    one unit u of one sequence n
// Reads     x_t and h_{t-1} of its sequence, the columns u of all slots of the weights
// Writes    h, g_h (N, T, U) and gates (N, T, 3U) at n, t, u
// No race   because every unit of every sequence has its own thread, and step t-1 was another launch
extern "C" __global__ void __launch_bounds__(STEP_THREADS)
    gru_forward_1(const real* x, const real* kernel, const real* recurrent_kernel, const real* bias, const real* h0,
                  const unsigned char* mask, real* h, real* gates, real* g_h, int t, int N, int T, int D, int U) {
    const int index = blockIdx.x * STEP_THREADS + threadIdx.x;
    if (index >= N * U) return;
    const int n = index / U, u = index % U, now = n * T + t;
    const real* h_prev = t == 0 ? h0 + n * U : h + (now - 1) * U;
    real a[SLOTS], g[SLOTS];
    for (int slot = 0; slot < SLOTS; slot++) {
        const int column = slot * U + u;
        a[slot] = dot(x + now * D, kernel + column, D, SLOTS * U) + bias[column];                   // (gru.1)
        g[slot] = dot(h_prev, recurrent_kernel + column, U, SLOTS * U) + bias[SLOTS * U + column];  // (gru.2)
    }
    const real z = sigmoid(a[0] + g[0]);                 // (gru.3)
    const real r = sigmoid(a[1] + g[1]);                 // (gru.4)
    const real h_tilde = tanh(a[2] + r * g[2]);          // (gru.5)
    const real h_t = z * h_prev[u] + (1 - z) * h_tilde;  // (gru.6)
    const bool step = mask[now];
    real* gate = gates + now * SLOTS * U + u;
    h[now * U + u] = step ? h_t : h_prev[u];  // (recurrent.2)
    g_h[now * U + u] = step ? g[2] : real(0);
    gate[0] = step ? z : real(0);
    gate[U] = step ? r : real(0);
    gate[2 * U] = step ? h_tilde : real(0);
}

// What one unit of one sequence reads in step t of the backward pass, besides what step t+1 hands back.
struct Saved {
    real z, r, h_tilde, g_h, h_prev, dh;
    bool masked;
};

__device__ __forceinline__ Saved read_saved(const real* dh, const real* gates, const real* g_h, const real* h,
                                            const real* h0, const unsigned char* mask, int n, int t, int u, int T,
                                            int U) {
    const int now = n * T + t;
    const real* gate = gates + now * SLOTS * U + u;
    const real h_prev = t == 0 ? h0[n * U + u] : h[(now - 1) * U + u];
    return {gate[0], gate[U], gate[2 * U], g_h[now * U + u], h_prev, dh[now * U + u], mask[now] == 0};
}

// Compute da and dg of one unit from what step t+1 hands back to h_t, and leave there what goes on to step t-1, but for
// the product with R.
__device__ __forceinline__ void unit_back(const Saved& s, real& dh_next, real da[SLOTS], real dg[SLOTS]) {
    const real dh_t = s.dh + dh_next;                                              // (gru.7)
    da[0] = s.masked ? real(0) : dh_t * (s.h_prev - s.h_tilde) * s.z * (1 - s.z);  // (gru.8)
    da[2] = s.masked ? real(0) : dh_t * (1 - s.z) * (1 - s.h_tilde * s.h_tilde);   // (gru.9)
    da[1] = da[2] * s.g_h * s.r * (1 - s.r);                                       // (gru.10)
    dg[0] = da[0];                                                                 // (gru.11)
    dg[1] = da[1];
    dg[2] = da[2] * s.r;
    dh_next = s.masked ? dh_t : dh_t * s.z;  // (gru.7), (recurrent.5)
}

// Computes  da and dg of step t, (gru.7) to (gru.11); at t = -1 what is left, (gru.16)
// Thread    one unit u of one sequence n
// Reads     what the forward pass saved at n, t, u; all of dg_{t+1} of its sequence and row u of R
// Writes    da, dg (N, T, 3U) at n, t, u; dh0 (N, U), which carries from launch to launch what goes back to step t-1
// No race   because every unit of every sequence has its own thread, and step t+1 was another launch
extern "C" __global__ void __launch_bounds__(STEP_THREADS)
    gru_backward_1(const real* dh, const real* recurrent_kernel, const real* gates, const real* g_h, const real* h,
                   const real* h0, const unsigned char* mask, real* da, real* dg, real* dh0, int t, int N, int T,
                   int U) {
    const int index = blockIdx.x * STEP_THREADS + threadIdx.x;
    if (index >= N * U) return;
    const int n = index / U, u = index % U, now = n * T + t;
    real dh_next = dh0[index];
    if (t + 1 < T) dh_next += dot(dg + (now + 1) * SLOTS * U, recurrent_kernel + u * SLOTS * U, SLOTS * U, 1);
    if (t >= 0) {
        real unit_da[SLOTS], unit_dg[SLOTS];
        unit_back(read_saved(dh, gates, g_h, h, h0, mask, n, t, u, T, U), dh_next, unit_da, unit_dg);
        for (int slot = 0; slot < SLOTS; slot++) {
            da[(now * SLOTS + slot) * U + u] = unit_da[slot];
            dg[(now * SLOTS + slot) * U + u] = unit_dg[slot];
        }
    }
    dh0[index] = dh_next;
}

// --- 2: the products elsewhere, the rest of a step fused -------------------------------------------------------------
//
// In version 1 each thread fetches columns of the weights from memory for one sequence only. A matrix product uses each
// weight that it fetches for many sequences (kernels/matmul.cu): x W of all steps in one product, since it needs no
// state, and h_{t-1} R in one per step. What remains of a step reads and writes each number once.

// Computes  the gates and states of step t, (gru.3) to (gru.6)
// Thread    one unit u of one sequence n
// Reads     product (N, 3U), which is h_{t-1} R, and gates, which hold x W
// Writes    h, g_h (N, T, U) and gates (N, T, 3U) at n, t, u; h_prev (N, U): in, that of t-1, out, that of t
// No race   because every number that is written is read by no other thread
extern "C" __global__ void __launch_bounds__(STEP_THREADS)
    gru_forward_2(const real* product, const real* bias, const unsigned char* mask, real* h_prev, real* h, real* gates,
                  real* g_h, int t, int N, int T, int U) {
    const int index = blockIdx.x * STEP_THREADS + threadIdx.x;
    if (index >= N * U) return;
    const int n = index / U, u = index % U, now = n * T + t;
    real* gate = gates + now * SLOTS * U + u;
    real a[SLOTS], g[SLOTS];
    for (int slot = 0; slot < SLOTS; slot++) {
        a[slot] = gate[slot * U] + bias[slot * U + u];                                 // (gru.1)
        g[slot] = product[(n * SLOTS + slot) * U + u] + bias[(SLOTS + slot) * U + u];  // (gru.2)
    }
    const real z = sigmoid(a[0] + g[0]), r = sigmoid(a[1] + g[1]);  // (gru.3), (gru.4)
    const real h_tilde = tanh(a[2] + r * g[2]);                     // (gru.5)
    const bool step = mask[now];
    const real h_t = step ? z * h_prev[index] + (1 - z) * h_tilde : h_prev[index];  // (gru.6), (recurrent.2)
    h[now * U + u] = h_prev[index] = h_t;
    g_h[now * U + u] = step ? g[2] : real(0);
    gate[0] = step ? z : real(0);
    gate[U] = step ? r : real(0);
    gate[2 * U] = step ? h_tilde : real(0);
}

// Computes  da and dg of step t, (gru.7) to (gru.11)
// Thread    one unit u of one sequence n
// Reads     what the forward pass saved at n, t, u; product (N, U), which is dg_{t+1} R^T
// Writes    da, dg (N, T, 3U) at n, t, u and dg_t (N, 3U), the same as dg; dh0 (N, U), as in version 1
// No race   because every unit of every sequence has its own thread
extern "C" __global__ void __launch_bounds__(STEP_THREADS)
    gru_backward_2(const real* product, const real* dh, const real* gates, const real* g_h, const real* h,
                   const real* h0, const unsigned char* mask, real* da, real* dg, real* dg_t, real* dh0, int t, int N,
                   int T, int U) {
    const int index = blockIdx.x * STEP_THREADS + threadIdx.x;
    if (index >= N * U) return;
    const int n = index / U, u = index % U, now = n * T + t;
    real dh_next = dh0[index] + product[index], unit_da[SLOTS], unit_dg[SLOTS];
    unit_back(read_saved(dh, gates, g_h, h, h0, mask, n, t, u, T, U), dh_next, unit_da, unit_dg);
    for (int slot = 0; slot < SLOTS; slot++) {
        da[(now * SLOTS + slot) * U + u] = unit_da[slot];
        dg[(now * SLOTS + slot) * U + u] = dg_t[(n * SLOTS + slot) * U + u] = unit_dg[slot];
    }
    dh0[index] = dh_next;
}

// --- 3: persistent, one launch for all time steps --------------------------------------------------------------------
//
// Version 2 launches two kernels per step, and each product fetches all of R from memory again. Here a block keeps its
// columns of R in shared memory from the first step to the last, and a barrier takes the place of the launches. What is
// left of a step is one exchange of the states among the blocks, through the L2 cache. See recurrent.cuh for the grid.

// Computes  the gates and states of all steps, (gru.1) to (gru.6)
// Thread    a warp owns one unit; its 32 lanes share out the sum of (gru.2), then lane = 4 * row + slot owns a gate
// Reads     gates, which hold x W; h0; exchange (2, tiles, ROWS, 4 * quads)
// Writes    h, g_h (N, T, U), gates (N, T, 3U); exchange: step t reads half t % 2 and writes the other
// No race   because a half is read between two barriers and written between the next two, each number by one lane
extern "C" __global__ void __launch_bounds__(THREADS)
    gru_forward_3(const real* recurrent_kernel, const real* bias, const real* h0, const unsigned char* mask,
                  real* exchange, unsigned int* counters, real* h, real* gates, real* g_h, int N, int T, int U) {
    extern __shared__ Quad memory[];
    const int quads = quads_of(U), tiles = (N + ROWS - 1) / ROWS;
    Quad* weights = memory;                                  // (WARPS, weights_of_warp)
    Quad* states = memory + WARPS * weights_of_warp(quads);  // (ROWS, quads)
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, row = lane / 4, slot = lane % 4;
    const int u = blockIdx.x * UNITS + warp, column = slot * U + u;
    const bool has_gate = u < U && slot < SLOTS;  // the fourth lane of a row has none
    const real b_a = has_gate ? bias[column] : real(0), b_g = has_gate ? bias[SLOTS * U + column] : real(0);
    keep_columns<UNITS, SLOTS>(recurrent_kernel, weights, U);
    begin_exchange<UNITS>(h0, exchange, tiles, N, U);
    group_barrier(counters + blockIdx.y * APART, gridDim.x);
    for (int t = 0; t < T; t++) {
        const Quad* from = reinterpret_cast<Quad*>(exchange) + t % 2 * tiles * ROWS * quads;
        real* to = exchange + (t + 1) % 2 * tiles * ROWS * quads * 4;
        for (int tile = blockIdx.y; tile < tiles; tile += gridDim.y) {
            const int n = tile * ROWS + row, now = n * T + t;
            const bool inside = n < N && u < U, step = inside && mask[now];
            // (gru.1), on its way while the states are read
            const real a = inside && has_gate ? gates[now * SLOTS * U + column] + b_a : real(0);

            __syncthreads();  // nobody reads the states of the last tile any more
            read_states(from + tile * ROWS * quads, states, quads);
            __syncthreads();
            const real g =
                product_of_warp(states, weights + warp * weights_of_warp(quads), quads, lane) + b_g;  // (gru.2)
            const real gate = sigmoid(a + g);  // (gru.3), (gru.4)

            const real z = __shfl_sync(0xffffffffu, gate, 4 * row), r = __shfl_sync(0xffffffffu, gate, 4 * row + 1);
            const real a_h = __shfl_sync(0xffffffffu, a, 4 * row + 2), g_h_t = __shfl_sync(0xffffffffu, g, 4 * row + 2);
            if (!inside) continue;
            const real h_tilde = tanh(a_h + r * g_h_t);  // (gru.5)
            const real h_prev = reinterpret_cast<const real*>(states)[row * 4 * quads + u];
            const real h_t = step ? z * h_prev + (1 - z) * h_tilde : h_prev;  // (gru.6), (recurrent.2)
            if (has_gate) gates[now * SLOTS * U + column] = !step ? real(0) : slot == 2 ? h_tilde : gate;
            if (slot == 0) h[now * U + u] = h_t;
            if (slot == 1) g_h[now * U + u] = step ? g_h_t : real(0);
            if (slot == 3) to[n * 4 * quads + u] = h_t;
        }
        group_barrier(counters + blockIdx.y * APART, gridDim.x);
    }
}

// Computes  da and dg of all steps, (gru.7) to (gru.11), and what goes back to the initial state, (gru.16)
// Thread    row * UNITS + unit owns da, dg of a unit of a sequence; then a thread multiplies for four units of all rows
// Reads     what the forward pass saved, and dh
// Writes    da, dg (N, T, 3U), dh0 (N, U); parts (2, tiles, slices to, slices from, ROWS, UNITS): half t % 2 in step t
// No race   because a half of parts is written between two barriers and read after the second; the rest has one owner
extern "C" __global__ void __launch_bounds__(THREADS)
    gru_backward_3(const real* dh, const real* recurrent_kernel, const real* gates, const real* g_h, const real* h,
                   const real* h0, const unsigned char* mask, real* parts, unsigned int* counters, real* da, real* dg,
                   real* dh0, int N, int T, int U) {
    extern __shared__ Quad memory[];
    const int quads = quads_of(U), tiles = (N + ROWS - 1) / ROWS, slices = gridDim.x;
    Quad* weights = memory;                                     // (COLUMNS, weights_of_column)
    Quad* sums = weights + COLUMNS * weights_of_column(quads);  // one per thread
    real* own_dg = sums[THREADS].at;                            // (COLUMNS, ROWS)
    const int row = threadIdx.x / UNITS, unit = threadIdx.x % UNITS, u = blockIdx.x * UNITS + unit;
    const int part = ROWS * UNITS / 4, half = tiles * slices * slices * part;  // quads from slice to slice; of a step
    Quad* handed = reinterpret_cast<Quad*>(parts);
    keep_rows<UNITS, SLOTS>(recurrent_kernel, weights, U);
    for (int t = T - 1; t >= -1; t--) {
        for (int tile = blockIdx.y; tile < tiles; tile += gridDim.y) {
            const int n = tile * ROWS + row, index = n * U + u, now = n * T + t;
            const bool owner = row < ROWS && n < N && u < U, step = owner && t >= 0;
            Saved saved = {};
            if (step) saved = read_saved(dh, gates, g_h, h, h0, mask, n, t, u, T, U);
            real dh_next = owner ? dh0[index] : real(0);

            const Quad* from = handed + (t + 1) % 2 * half + (tile * slices + blockIdx.x) * slices * part;
            dh_next += handed_back<UNITS, THREADS>(from, t + 1 < T ? slices : 0, sums);  // (gru.7), (gru.16)
            real unit_da[SLOTS] = {}, unit_dg[SLOTS] = {};
            if (step) unit_back(saved, dh_next, unit_da, unit_dg);
            if (owner) dh0[index] = dh_next;
            for (int slot = 0; slot < SLOTS; slot++) {
                if (row < ROWS) own_dg[(slot * UNITS + unit) * ROWS + row] = unit_dg[slot];
                if (step) da[(now * SLOTS + slot) * U + u] = unit_da[slot];
                if (step) dg[(now * SLOTS + slot) * U + u] = unit_dg[slot];
            }
            __syncthreads();
            if (t >= 0) {
                Quad* to = handed + t % 2 * half + tile * slices * slices * part;
                hand_back<UNITS, COLUMNS>(own_dg, weights, quads, to);
            }
        }
        if (t >= 0) group_barrier(counters + blockIdx.y * APART, gridDim.x);
    }
}
