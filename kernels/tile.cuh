// A matrix product in registers, y = A B with A (M, K) and B (K, N), for a block of 256 threads.
//
// The shared-memory tile lets a block fetch each number once, but each multiply-add still reads two numbers from shared
// memory, and that is now what takes the time. Here a thread owns not one sum but a little tile of them, TM rows times
// TN columns, in registers: for each k it reads TM + TN numbers and uses them TM * TN times. Two more ideas:
//
// - Two buffers. While a block multiplies one pair of tiles, the next pair is on its way from global memory to registers;
//   it is put into the other buffer, and one barrier per step is enough.
// - An operand need not be a matrix in memory. It is anything that says what A(o, k) is: for a convolution, the pixel of
//   output position o under tap k. So the image is never copied (no im2col).
//
// An operand is a struct with
//     Outer outer(int o)    what is needed to know of row o of A, or column o of B, worked out once
//     Inner inner(int k)    the same of the index k that is summed over
//     real at(Outer, Inner)

constexpr int THREADS = 256;  // of a block: 16 times 16 little tiles
constexpr int SIDE = 16;
constexpr int PAD = 4;  // numbers between the rows of a shared tile, so that a warp's writes go to different banks

// A matrix in memory: the number at o * outer_step + k * inner_step.
struct Matrix {
    using Outer = int;
    using Inner = int;
    const real* numbers;
    int outer_step, inner_step;
    __device__ __forceinline__ Outer outer(int o) const { return o * outer_step; }
    __device__ __forceinline__ Inner inner(int k) const { return k * inner_step; }
    __device__ __forceinline__ real at(Outer o, Inner k) const { return numbers[o + k]; }
};

// Brings tiles of SIZE rows (or columns) times DEPTH values of k from an operand to shared memory. Threads with
// neighbouring numbers take neighbouring k if ALONG_K, and neighbouring rows otherwise: whichever lies side by side.
template <int SIZE, int DEPTH, bool ALONG_K, class Operand>
struct Carrier {
    static constexpr int EACH = SIZE * DEPTH / THREADS;  // numbers that a thread carries
    static constexpr int STEP = ALONG_K ? THREADS / DEPTH : THREADS / SIZE;
    static constexpr int OUTERS = ALONG_K ? EACH : 1;

    const Operand operand;
    int o, k;  // the first of them, in the tile
    typename Operand::Outer outers[OUTERS];
    real carried[EACH];

    // Rows beyond the last are carried as if they were the last: their sums are never stored.
    __device__ __forceinline__ Carrier(const Operand& operand, int first, int size)
        : operand(operand),
          o(ALONG_K ? threadIdx.x / DEPTH : threadIdx.x % SIZE),
          k(ALONG_K ? threadIdx.x % DEPTH : threadIdx.x / SIZE) {
#pragma unroll
        for (int e = 0; e < OUTERS; e++) outers[e] = operand.outer(min(first + o + e * STEP, size - 1));
    }

    __device__ __forceinline__ void fetch(int first, int last) {
        if constexpr (ALONG_K) {
            const auto inner = operand.inner(min(first + k, last - 1));
#pragma unroll
            for (int e = 0; e < EACH; e++) carried[e] = first + k < last ? operand.at(outers[e], inner) : real(0);
        } else {
#pragma unroll
            for (int e = 0; e < EACH; e++) {
                const int here = first + k + e * STEP;
                carried[e] = here < last ? operand.at(outers[0], operand.inner(here)) : real(0);
            }
        }
    }

    __device__ __forceinline__ void put(real (*tile)[SIZE + PAD]) const {
#pragma unroll
        for (int e = 0; e < EACH; e++) tile[ALONG_K ? k : k + e * STEP][ALONG_K ? o + e * STEP : o] = carried[e];
    }
};

// The rows, or columns, of a block's tile that a thread owns: neighbours in groups of up to four, because a thread reads
// four neighbouring floats of shared memory at once.
template <int EACH>
__device__ __forceinline__ int owned(int side, int e) {
    constexpr int GROUP = EACH < 4 ? EACH : 4;
    return (e / GROUP) * GROUP * SIDE + side * GROUP + e % GROUP;
}

// The two pairs of tiles of a block; a kernel declares them, as __shared__.
template <int ROWS, int COLUMNS, int DEPTH>
struct Tiles {
    alignas(16) real a[2][DEPTH][ROWS + PAD];
    alignas(16) real b[2][DEPTH][COLUMNS + PAD];
};

// Compute a block's tile of y, ROWS times COLUMNS, summing over k from `first` up to `last`, and give each sum to
// y(m, n, sum). The block's number along x chooses the rows, along y the columns.
template <bool A_ALONG_K, bool B_ALONG_K, int ROWS, int COLUMNS, int DEPTH, class A, class B, class Y>
__device__ __forceinline__ void tile_product(Tiles<ROWS, COLUMNS, DEPTH>& tiles, const A& a, const B& b, int M, int N,
                                             int first, int last, const Y& y) {
    constexpr int TM = ROWS / SIDE, TN = COLUMNS / SIDE;
    const int m0 = blockIdx.x * ROWS, n0 = blockIdx.y * COLUMNS;
    const int row = threadIdx.x / SIDE, column = threadIdx.x % SIDE;
    Carrier<ROWS, DEPTH, A_ALONG_K, A> from_a(a, m0, M);
    Carrier<COLUMNS, DEPTH, B_ALONG_K, B> from_b(b, n0, N);
    real sums[TM][TN] = {};

    from_a.fetch(first, last);
    from_b.fetch(first, last);
    int buffer = 0;
    for (int k0 = first; k0 < last; k0 += DEPTH) {
        from_a.put(tiles.a[buffer]);
        from_b.put(tiles.b[buffer]);
        __syncthreads();  // this pair of tiles is complete, and nobody reads the other pair any more
        if (k0 + DEPTH < last) {
            from_a.fetch(k0 + DEPTH, last);
            from_b.fetch(k0 + DEPTH, last);
        }
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            real from_row[TM], from_column[TN];
#pragma unroll
            for (int i = 0; i < TM; i++) from_row[i] = tiles.a[buffer][k][owned<TM>(row, i)];
#pragma unroll
            for (int j = 0; j < TN; j++) from_column[j] = tiles.b[buffer][k][owned<TN>(column, j)];
#pragma unroll
            for (int i = 0; i < TM; i++)
#pragma unroll
                for (int j = 0; j < TN; j++) sums[i][j] += from_row[i] * from_column[j];
        }
        buffer = 1 - buffer;
    }
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++) {
            const int m = m0 + owned<TM>(row, i), n = n0 + owned<TN>(column, j);
            if (m < M && n < N) y(m, n, sums[i][j]);
        }
}

// The part of the sum over k that a block takes, if the grid has several blocks along z: [first, last).
__device__ __forceinline__ int part_of(int size, int depth, int part) {
    const int steps = (size + depth - 1) / depth;
    return min(size, (steps * part + static_cast<int>(gridDim.z) - 1) / static_cast<int>(gridDim.z) * depth);
}
