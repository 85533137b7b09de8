#include "common.cuh"
#include "recurrent.cuh"

// LSTM, minivid/ops/lstm.py; docs/ops/lstm.md derives the equations.
//
//     x (N, T, D)    h, c, dh, tanh_c (N, T, U)    gates, dz (N, T, 4U)    mask (N, T)    dc (N, dc_steps, U)
//     kernel (D, 4U), recurrent_kernel (U, 4U), bias (4U,)    h0, c0, dh0, dc0 (N, U)
//
// Columns lie in four slots of U: i, f, C~, o. A step needs the states of the step before, so versions 1 and 2 are
// launched once per time step, and version 3, once in all, has a barrier per step.

constexpr int SLOTS = 4;
constexpr int UNITS = 32 / sizeof(real);  // of a slice
constexpr int WARPS = UNITS;              // of a block of version 3
constexpr int THREADS = 32 * WARPS;
constexpr int COLUMNS = SLOTS * UNITS;

// --- 1: the equations, one launch per time step ----------------------------------------------------------------------

// Computes  the gates and states of step t, (lstm.1) to (lstm.7)
// Thread    one unit u of one sequence n
// Reads     x_t, h_{t-1}, c_{t-1} of its sequence, the columns u of all slots of the weights
// Writes    h, c, tanh_c (N, T, U) and gates (N, T, 4U) at n, t, u
// No race   because every unit of every sequence has its own thread, and step t-1 was another launch
extern "C" __global__ void __launch_bounds__(STEP_THREADS)
    lstm_forward_1(const real* x, const real* kernel, const real* recurrent_kernel, const real* bias, const real* h0,
                   const real* c0, const unsigned char* mask, real* h, real* c, real* gates, real* tanh_c, int t, int N,
                   int T, int D, int U) {
    const int index = blockIdx.x * STEP_THREADS + threadIdx.x;
    if (index >= N * U) return;
    const int n = index / U, u = index % U, now = n * T + t;
    const real* h_prev = t == 0 ? h0 + n * U : h + (now - 1) * U;
    const real* c_prev = t == 0 ? c0 + n * U : c + (now - 1) * U;
    real z[SLOTS];
    for (int slot = 0; slot < SLOTS; slot++) {
        const int column = slot * U + u;
        z[slot] = dot(x + now * D, kernel + column, D, SLOTS * U) +
                  dot(h_prev, recurrent_kernel + column, U, SLOTS * U) + bias[column];  // (lstm.1)
    }
    real i = sigmoid(z[0]);                  // (lstm.2)
    real f = sigmoid(z[1]);                  // (lstm.3)
    real c_tilde = tanh(z[2]);               // (lstm.4)
    real o = sigmoid(z[3]);                  // (lstm.5)
    real c_t = f * c_prev[u] + i * c_tilde;  // (lstm.6)
    real tanh_c_t = tanh(c_t);
    real h_t = o * tanh_c_t;  // (lstm.7)
    if (!mask[now]) {
        h_t = h_prev[u];  // (recurrent.2)
        c_t = c_prev[u];
        i = f = c_tilde = o = tanh_c_t = 0;
    }
    h[now * U + u] = h_t;
    c[now * U + u] = c_t;
    tanh_c[now * U + u] = tanh_c_t;
    real* gate = gates + now * SLOTS * U + u;
    gate[0] = i;
    gate[U] = f;
    gate[2 * U] = c_tilde;
    gate[3 * U] = o;
}

// What one unit of one sequence reads in step t of the backward pass, besides what step t+1 hands back.
struct Saved {
    real i, f, c_tilde, o, tanh_c, c_prev, dh, dc;
    bool masked;
};

__device__ __forceinline__ Saved read_saved(const real* dh, const real* dc, const real* gates, const real* tanh_c,
                                            const real* c, const real* c0, const unsigned char* mask, int n, int t,
                                            int u, int T, int U, int dc_steps) {
    const int now = n * T + t;
    const real* gate = gates + now * SLOTS * U + u;
    const real c_prev = t == 0 ? c0[n * U + u] : c[(now - 1) * U + u];
    const real dc_t = dc[(n * dc_steps + min(t, dc_steps - 1)) * U + u];
    return {gate[0], gate[U],         gate[2 * U], gate[3 * U],   tanh_c[now * U + u],
            c_prev,  dh[now * U + u], dc_t,        mask[now] == 0};
}

// Compute dz of one unit from what step t+1 hands back to h_t and c_t, and leave there what goes on to step t-1, but
// for the product with R.
__device__ __forceinline__ void unit_back(const Saved& s, real& dh_next, real& dc_next, real dz[SLOTS]) {
    const real dh_t = s.dh + dh_next;  // (lstm.8)
    const real dc_kept = s.dc + dc_next;
    const real dc_t = dc_kept + dh_t * s.o * (1 - s.tanh_c * s.tanh_c);     // (lstm.9)
    dz[0] = s.masked ? real(0) : dc_t * s.c_tilde * s.i * (1 - s.i);        // (lstm.10)
    dz[1] = s.masked ? real(0) : dc_t * s.c_prev * s.f * (1 - s.f);         // (lstm.11)
    dz[2] = s.masked ? real(0) : dc_t * s.i * (1 - s.c_tilde * s.c_tilde);  // (lstm.12)
    dz[3] = s.masked ? real(0) : dh_t * s.tanh_c * s.o * (1 - s.o);         // (lstm.13)
    dh_next = s.masked ? dh_t : real(0);                                    // (recurrent.5)
    dc_next = s.masked ? dc_kept : dc_t * s.f;                              // (lstm.9), (recurrent.5)
}

// Computes  dz of step t, (lstm.8) to (lstm.13); at t = -1 what is left, (lstm.18) and (lstm.19)
// Thread    one unit u of one sequence n
// Reads     what the forward pass saved at n, t, u; all of dz_{t+1} of its sequence and row u of R
// Writes    dz (N, T, 4U) at n, t, u; dh0, dc0 (N, U), which carry from launch to launch what goes back to step t-1
// No race   because every unit of every sequence has its own thread, and step t+1 was another launch
extern "C" __global__ void __launch_bounds__(STEP_THREADS)
    lstm_backward_1(const real* dh, const real* dc, const real* recurrent_kernel, const real* gates, const real* tanh_c,
                    const real* c, const real* c0, const unsigned char* mask, real* dz, real* dh0, real* dc0, int t,
                    int N, int T, int U, int dc_steps) {
    const int index = blockIdx.x * STEP_THREADS + threadIdx.x;
    if (index >= N * U) return;
    const int n = index / U, u = index % U;
    real dh_next = dh0[index], dc_next = dc0[index];
    if (t + 1 < T) dh_next += dot(dz + (n * T + t + 1) * SLOTS * U, recurrent_kernel + u * SLOTS * U, SLOTS * U, 1);
    if (t >= 0) {
        real dz_t[SLOTS];
        unit_back(read_saved(dh, dc, gates, tanh_c, c, c0, mask, n, t, u, T, U, dc_steps), dh_next, dc_next, dz_t);
        for (int slot = 0; slot < SLOTS; slot++) dz[((n * T + t) * SLOTS + slot) * U + u] = dz_t[slot];
    }
    dh0[index] = dh_next;
    dc0[index] = dc_next;
}

// --- 2: the products elsewhere, the rest of a step fused -------------------------------------------------------------
//
// In version 1 each thread fetches columns of the weights from memory for one sequence only. A matrix product uses each
// weight that it fetches for many sequences (kernels/matmul.cu): x W of all steps in one product, since it needs no
// state, and h_{t-1} R in one per step. What remains of a step reads and writes each number once.

// Computes  the gates and states of step t, (lstm.2) to (lstm.7)
// Thread    one unit u of one sequence n
// Reads     product (N, 4U), which is h_{t-1} R, and gates, which hold x W
// Writes    h, c, tanh_c (N, T, U), gates (N, T, 4U) at n, t, u; h_prev, c_prev (N, U): in, those of t-1, out, of t
// No race   because every number that is written is read by no other thread
extern "C" __global__ void __launch_bounds__(STEP_THREADS)
    lstm_forward_2(const real* product, const real* bias, const unsigned char* mask, real* h_prev, real* c_prev,
                   real* h, real* c, real* gates, real* tanh_c, int t, int N, int T, int U) {
    const int index = blockIdx.x * STEP_THREADS + threadIdx.x;
    if (index >= N * U) return;
    const int n = index / U, u = index % U, now = n * T + t;
    real* gate = gates + now * SLOTS * U + u;
    real z[SLOTS];
    for (int slot = 0; slot < SLOTS; slot++) {
        z[slot] = gate[slot * U] + product[(n * SLOTS + slot) * U + u] + bias[slot * U + u];  // (lstm.1)
    }
    const bool step = mask[now];
    const real i = sigmoid(z[0]), f = sigmoid(z[1]), c_tilde = tanh(z[2]), o = sigmoid(z[3]);  // (lstm.2) to (lstm.5)
    const real c_t = step ? f * c_prev[index] + i * c_tilde : c_prev[index];  // (lstm.6), (recurrent.2)
    const real tanh_c_t = tanh(c_t);
    const real h_t = step ? o * tanh_c_t : h_prev[index];  // (lstm.7), (recurrent.2)
    h[now * U + u] = h_prev[index] = h_t;
    c[now * U + u] = c_prev[index] = c_t;
    tanh_c[now * U + u] = step ? tanh_c_t : real(0);
    gate[0] = step ? i : real(0);
    gate[U] = step ? f : real(0);
    gate[2 * U] = step ? c_tilde : real(0);
    gate[3 * U] = step ? o : real(0);
}

// Computes  dz of step t, (lstm.8) to (lstm.13)
// Thread    one unit u of one sequence n
// Reads     what the forward pass saved at n, t, u; product (N, U), which is dz_{t+1} R^T
// Writes    dz (N, T, 4U) at n, t, u and dz_t (N, 4U), the same; dh0, dc0 (N, U), as in version 1
// No race   because every unit of every sequence has its own thread
extern "C" __global__ void __launch_bounds__(STEP_THREADS)
    lstm_backward_2(const real* product, const real* dh, const real* dc, const real* gates, const real* tanh_c,
                    const real* c, const real* c0, const unsigned char* mask, real* dz, real* dz_t, real* dh0,
                    real* dc0, int t, int N, int T, int U, int dc_steps) {
    const int index = blockIdx.x * STEP_THREADS + threadIdx.x;
    if (index >= N * U) return;
    const int n = index / U, u = index % U;
    real dh_next = dh0[index] + product[index], dc_next = dc0[index], unit_dz[SLOTS];
    unit_back(read_saved(dh, dc, gates, tanh_c, c, c0, mask, n, t, u, T, U, dc_steps), dh_next, dc_next, unit_dz);
    for (int slot = 0; slot < SLOTS; slot++) {
        dz[((n * T + t) * SLOTS + slot) * U + u] = dz_t[(n * SLOTS + slot) * U + u] = unit_dz[slot];
    }
    dh0[index] = dh_next;
    dc0[index] = dc_next;
}

// --- 3: persistent, one launch for all time steps --------------------------------------------------------------------
//
// Version 2 launches two kernels per step, and each product fetches all of R from memory again. Here a block keeps its
// columns of R in shared memory from the first step to the last, and a barrier takes the place of the launches. What is
// left of a step is one exchange of the states among the blocks, through the L2 cache. See recurrent.cuh for the grid.

// Computes  the gates and states of all steps, (lstm.1) to (lstm.7)
// Thread    a warp owns one unit; its 32 lanes share out the sum of (lstm.1), then lane = 4 * row + slot owns a gate
// Reads     gates, which hold x W; h0; exchange (2, tiles, ROWS, 4 * quads)
// Writes    h, c, tanh_c (N, T, U), gates (N, T, 4U); exchange: step t reads half t % 2 and writes the other
// No race   because a half is read between two barriers and written between the next two, each number by one lane
extern "C" __global__ void __launch_bounds__(THREADS)
    lstm_forward_3(const real* recurrent_kernel, const real* bias, const real* h0, const real* c0,
                   const unsigned char* mask, real* exchange, unsigned int* counters, real* h, real* c, real* gates,
                   real* tanh_c, int N, int T, int U) {
    extern __shared__ Quad memory[];
    const int quads = quads_of(U), tiles = (N + ROWS - 1) / ROWS;
    Quad* weights = memory;                                  // (WARPS, weights_of_warp)
    Quad* states = memory + WARPS * weights_of_warp(quads);  // (ROWS, quads)
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, row = lane / 4, slot = lane % 4;
    const int u = blockIdx.x * UNITS + warp, column = slot * U + u;
    const real b = u < U ? bias[column] : real(0);
    keep_columns<UNITS, SLOTS>(recurrent_kernel, weights, U);
    begin_exchange<UNITS>(h0, exchange, tiles, N, U);
    group_barrier(counters + blockIdx.y * APART, gridDim.x);
    for (int t = 0; t < T; t++) {
        const Quad* from = reinterpret_cast<Quad*>(exchange) + t % 2 * tiles * ROWS * quads;
        real* to = exchange + (t + 1) % 2 * tiles * ROWS * quads * 4;
        for (int tile = blockIdx.y; tile < tiles; tile += gridDim.y) {
            const int n = tile * ROWS + row, now = n * T + t;
            const bool inside = n < N && u < U, step = inside && mask[now];
            real z = inside ? gates[now * SLOTS * U + column] + b : real(0);  // on its way while the states are read
            const real c_prev = !inside ? real(0) : t == 0 ? c0[n * U + u] : c[(now - 1) * U + u];

            __syncthreads();  // nobody reads the states of the last tile any more
            read_states(from + tile * ROWS * quads, states, quads);
            __syncthreads();
            z += product_of_warp(states, weights + warp * weights_of_warp(quads), quads, lane);  // (lstm.1)
            const real gate = slot == 2 ? tanh(z) : sigmoid(z);                                  // (lstm.2) to (lstm.5)

            const real i = __shfl_sync(0xffffffffu, gate, 4 * row), f = __shfl_sync(0xffffffffu, gate, 4 * row + 1);
            const real c_tilde = __shfl_sync(0xffffffffu, gate, 4 * row + 2);
            const real o = __shfl_sync(0xffffffffu, gate, 4 * row + 3);
            const real c_t = step ? f * c_prev + i * c_tilde : c_prev;  // (lstm.6), (recurrent.2)
            const real tanh_c_t = tanh(c_t);
            if (!inside) continue;
            const real h_prev = reinterpret_cast<const real*>(states)[row * 4 * quads + u];
            const real h_t = step ? o * tanh_c_t : h_prev;  // (lstm.7), (recurrent.2)
            gates[now * SLOTS * U + column] = step ? gate : real(0);
            if (slot == 0) to[n * 4 * quads + u] = h_t;
            if (slot == 1) h[now * U + u] = h_t;
            if (slot == 2) c[now * U + u] = c_t;
            if (slot == 3) tanh_c[now * U + u] = step ? tanh_c_t : real(0);
        }
        group_barrier(counters + blockIdx.y * APART, gridDim.x);
    }
}

// Computes  dz of all steps, (lstm.8) to (lstm.13), and what goes back to the initial states, (lstm.18), (lstm.19)
// Thread    row * UNITS + unit owns dz of one unit of one sequence; then a thread multiplies for four units of all rows
// Reads     what the forward pass saved, dh and dc
// Writes    dz (N, T, 4U), dh0, dc0 (N, U); parts (2, tiles, slices to, slices from, ROWS, UNITS): half t % 2 in step t
// No race   because a half of parts is written between two barriers and read after the second; the rest has one owner
extern "C" __global__ void __launch_bounds__(THREADS)
    lstm_backward_3(const real* dh, const real* dc, const real* recurrent_kernel, const real* gates, const real* tanh_c,
                    const real* c, const real* c0, const unsigned char* mask, real* parts, unsigned int* counters,
                    real* dz, real* dh0, real* dc0, int N, int T, int U, int dc_steps) {
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
            Saved saved = {};
            if (step) saved = read_saved(dh, dc, gates, tanh_c, c, c0, mask, n, t, u, T, U, dc_steps);
            real dh_next = owner ? dh0[index] : real(0), dc_next = owner ? dc0[index] : real(0);

            const Quad* from = handed + (t + 1) % 2 * half + (tile * slices + blockIdx.x) * slices * part;
            dh_next += handed_back<UNITS, THREADS>(from, t + 1 < T ? slices : 0, sums);  // (lstm.8), (lstm.18)
            real unit_dz[SLOTS] = {};
            if (step) unit_back(saved, dh_next, dc_next, unit_dz);
            if (owner) {
                dh0[index] = dh_next;
                dc0[index] = dc_next;
            }
            for (int slot = 0; slot < SLOTS; slot++) {
                if (row < ROWS) own_dz[(slot * UNITS + unit) * ROWS + row] = unit_dz[slot];
                if (step) dz[(now * SLOTS + slot) * U + u] = unit_dz[slot];
            }
            __syncthreads();
            if (t >= 0) {
                Quad* to = handed + t % 2 * half + tile * slices * slices * part;
                hand_back<UNITS, COLUMNS>(own_dz, weights, quads, to);
            }
        }
        if (t >= 0) group_barrier(counters + blockIdx.y * APART, gridDim.x);
    }
}
