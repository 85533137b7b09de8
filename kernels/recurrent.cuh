// What simple_rnn.cu, gru.cu and lstm.cu share: the product of a few states with the recurrent weights, which stay in
// shared memory while a persistent kernel (version 3) walks through all time steps. docs/ops/recurrent.md explains it.
//
// The grid is (slices, groups). The blocks of a slice own UNITS units; R has no room in one multiprocessor, but the
// parts of R that belong to a slice have. The blocks of a group own tiles of ROWS sequences: tile, tile + groups, ...
// Sequences do not read each other's states, so only the blocks of one group wait for each other, once per time step.

constexpr int STEP_THREADS = 256;  // versions 1 and 2: one thread per sequence and unit
constexpr int WARP = 32;
constexpr int ROWS = 8;    // sequences of a tile
constexpr int APART = 32;  // numbers from one group's counter to the next, so that each has a cache line of its own

// Four numbers that are read at once: for the weights four columns, for the states four k.
struct alignas(16) Quad {
    real at[4];
};

__device__ __forceinline__ int quads_of(int size) { return (size + 3) / 4; }

// Σ_k a[k] · w[k · stride]
__device__ __forceinline__ real dot(const real* a, const real* w, int K, int stride) {
    real sum = 0;
    for (int k = 0; k < K; k++) sum += a[k] * w[k * stride];
    return sum;
}

// --- Forward: z = h_{t-1} R ------------------------------------------------------------------------------------------
//
// A warp owns four columns of z for the ROWS sequences of a tile; its 32 lanes share out the k of the sum.

// In shared memory, the four columns of a warp lie k by k, as quads: k = 4 q + i at [i * quads + q], so that lanes with
// neighbouring q read neighbouring quads. The next warp's begin `weights_of_warp` quads later: one more than there are,
// which leads the writes of neighbouring columns to different banks.
__device__ __forceinline__ int weights_of_warp(int quads) { return 4 * quads + 1; }

// Fill the block's weights from R (U, SLOTS · U), once. The four columns of a warp are the slots of one unit (a fourth
// of zeros where there are three), or four units where there is one slot.
template <int UNITS, int SLOTS>
__device__ __forceinline__ void keep_columns(const real* R, Quad* weights, int U) {
    constexpr int COLUMNS = SLOTS == 1 ? UNITS : 4 * UNITS;
    const int quads = quads_of(U);
#pragma unroll 8
    for (int i = threadIdx.x; i < 4 * quads * COLUMNS; i += blockDim.x) {  // neighbours read neighbouring units
        const int k = i / COLUMNS, slot = i % COLUMNS / UNITS, unit = i % UNITS, u = blockIdx.x * UNITS + unit;
        const int warp = SLOTS == 1 ? unit / 4 : unit, column = SLOTS == 1 ? unit % 4 : slot;
        const bool inside = k < U && u < U && slot < SLOTS;
        weights[warp * weights_of_warp(quads) + k % 4 * quads + k / 4].at[column] =
            inside ? R[(k * SLOTS + slot) * U + u] : real(0);
    }
}

// Begin the exchange (2, tiles, ROWS, 4 * quads) with the states h_0 of this slice, and with zeros in both halves
// beyond N and U, which the products then need not leave out.
template <int UNITS>
__device__ __forceinline__ void begin_exchange(const real* h0, real* exchange, int tiles, int N, int U) {
    const int row = threadIdx.x / UNITS, u = blockIdx.x * UNITS + threadIdx.x % UNITS, padded = 4 * quads_of(U);
    for (int tile = blockIdx.y; tile < tiles; tile += gridDim.y) {
        const int n = tile * ROWS + row;
        if (row >= ROWS || u >= padded) continue;
        const bool inside = n < N && u < U;
        exchange[n * padded + u] = inside ? h0[n * U + u] : real(0);
        if (!inside) exchange[(tiles * ROWS + n) * padded + u] = 0;
    }
}

// Read the states of a tile, (ROWS, quads), as all blocks of the group wrote them before the barrier. A plain pointer,
// not `const __restrict__`: the compiler must not take the read-only cache, which would not see what others wrote.
__device__ __forceinline__ void read_states(const Quad* from, Quad* states, int quads) {
#pragma unroll 8
    for (int i = threadIdx.x; i < ROWS * quads; i += blockDim.x) states[i] = from[i];
}

// The sum over all k of states (ROWS, quads) times one warp's weights, for the row and column of this lane:
// row = lane / 4, column = lane % 4.
__device__ __forceinline__ real product_of_warp(const Quad* states, const Quad* weights, int quads, int lane) {
    real sums[4 * ROWS] = {};  // (ROWS, 4), over the k of this lane
#pragma unroll 2
    for (int q = lane; q < quads; q += WARP) {
        Quad w[4];
#pragma unroll
        for (int i = 0; i < 4; i++) w[i] = weights[i * quads + q];
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            const Quad h = states[row * quads + q];
#pragma unroll
            for (int i = 0; i < 4; i++) {
#pragma unroll
                for (int column = 0; column < 4; column++) sums[4 * row + column] += h.at[i] * w[i].at[column];
            }
        }
    }
    // 32 sums in each of 32 lanes: each round, a lane gives half of its sums away and adds the other half of its
    // partner's. After five rounds, lane l holds the whole of sum l.
#pragma unroll
    for (int round = 0; round < 5; round++) {
        const int half = WARP / 2 >> round;
        const bool upper = lane & half;
#pragma unroll
        for (int j = 0; j < WARP / 2; j++) {
            if (j < half) {
                const real given = upper ? sums[j] : sums[j + half];
                const real kept = upper ? sums[j + half] : sums[j];
                sums[j] = kept + __shfl_xor_sync(0xffffffffu, given, half);
            }
        }
    }
    return sums[0];
}

// --- Backward: what dz of step t+1 hands back to h_t, dz R^T ---------------------------------------------------------
//
// A block knows dz of its own columns: UNITS units of every slot. It multiplies them by its columns of R, which gives a
// part of what goes back to every unit of the tile, and writes it for the blocks that own those units. They add up the
// parts of all slices, in the order of the slices. That moves U numbers per sequence where all of dz would be slots ·
// U.

// In shared memory, column k of R lies as quads of units at [k * weights_of_column + q].
__device__ __forceinline__ int weights_of_column(int quads) { return quads + 1; }

// Fill the block's columns of R (U, SLOTS · U), once; column = slot * UNITS + unit.
template <int UNITS, int SLOTS>
__device__ __forceinline__ void keep_rows(const real* R, Quad* weights, int U) {
    constexpr int COLUMNS = SLOTS * UNITS;
    const int quads = quads_of(U);
#pragma unroll 8
    for (int i = threadIdx.x; i < 4 * quads * COLUMNS; i += blockDim.x) {
        const int k = i / COLUMNS, column = i % COLUMNS, slot = column / UNITS, u = blockIdx.x * UNITS + column % UNITS;
        weights[column * weights_of_column(quads) + k / 4].at[k % 4] =
            k < U && u < U ? R[(k * SLOTS + slot) * U + u] : real(0);
    }
}

// Multiply dz (COLUMNS, ROWS) by the block's columns of R, and write the parts to (slices to, slices from, ROWS,
// UNITS).
template <int UNITS, int COLUMNS>
__device__ __forceinline__ void hand_back(const real* dz, const Quad* weights, int quads, Quad* parts) {
    constexpr int QUADS = UNITS / 4;  // of a slice
    for (int q = threadIdx.x; q < quads; q += blockDim.x) {
        real sums[ROWS][4] = {};
#pragma unroll 4
        for (int k = 0; k < COLUMNS; k++) {
            const Quad w = weights[k * weights_of_column(quads) + q];
#pragma unroll
            for (int row = 0; row < ROWS; row += 4) {
                const Quad d = *reinterpret_cast<const Quad*>(dz + k * ROWS + row);
#pragma unroll
                for (int i = 0; i < 16; i++) sums[row + i / 4][i % 4] += d.at[i / 4] * w.at[i % 4];
            }
        }
        Quad* to = parts + (q / QUADS * gridDim.x + blockIdx.x) * ROWS * QUADS + q % QUADS;
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            to[row * QUADS] = Quad{{sums[row][0], sums[row][1], sums[row][2], sums[row][3]}};
        }
    }
}

// The sum of what `count` slices handed back to one unit of one row: thread = row * UNITS + unit. `sums` is shared
// memory, one quad per thread. `parts` is where this slice's begin, (slices from, ROWS, UNITS).
template <int UNITS, int THREADS>
__device__ __forceinline__ real handed_back(const Quad* parts, int count, Quad* sums) {
    constexpr int QUADS = ROWS * UNITS / 4;  // of a slice of a tile: as many threads read one part
    Quad sum = {};
#pragma unroll 8
    for (int part = threadIdx.x / QUADS; part < count; part += THREADS / QUADS) {
        const Quad quad = parts[part * QUADS + threadIdx.x % QUADS];
#pragma unroll
        for (int i = 0; i < 4; i++) sum.at[i] += quad.at[i];
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    real total = 0;
    if (threadIdx.x < ROWS * UNITS) {
        const real* own = reinterpret_cast<const real*>(sums) + threadIdx.x;
        for (int k = 0; k < THREADS / QUADS; k++) total += own[k * ROWS * UNITS];
    }
    return total;
}
