// A matrix product in registers, y = A B with A (M, K) and B (K, N).
//
// A tile in shared memory lets a block fetch each number once, but each multiply-add still reads two numbers from shared
// memory, and that is now what takes the time. Here a thread owns not one sum but a little tile of them, TM rows times TN
// columns, in registers: for each k it reads TM + TN numbers and uses them TM * TN times. Four more ideas:
//
// - Two buffers. While a block multiplies one pair of tiles, the next pair is on its way from global memory to registers;
//   it is put into the other buffer, and one barrier per step is enough.
// - Whole vectors. 16 bytes of shared memory are read by one instruction, and where an operand allows it, 16 bytes of
//   global memory too. Every instruction that is no multiply-add takes the time of one.
// - Compact warps. The 32 threads of a warp own 8 x 4 little tiles, so that they want few different numbers.
// - An operand need not be a matrix in memory. It is anything that says what A(o, k) is: for a convolution, the pixel of
//   output position o under tap k. So the image is never copied (no im2col).
//
// An operand is a struct with
//     Outer outer(int o)    what is needed to know of row o of A, or column o of B, worked out once
//     Inner inner(int k)    the same of the index k that is summed over
//     Inner sum(Inner p, Inner q)    inner(k + s), from inner(k) and inner(s): no division while the product runs
//     int at(Outer, Inner)    where the number lies, or -1 for zero
//     const real* numbers

#include "vector.cuh"

constexpr int PAD = 4;  // numbers between the rows of a shared tile, so that a warp's writes go to different banks

// How a block divides its tile of y: DOWN x ACROSS warps, each of 8 x 4 threads, and DEPTH values of k per step.
template <int ROWS_, int COLUMNS_, int DEPTH_, int DOWN_, int ACROSS_>
struct Shape {
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, DEPTH = DEPTH_, DOWN = DOWN_, ACROSS = ACROSS_;
    static constexpr int THREADS = 32 * DOWN * ACROSS;
    static constexpr int TM = ROWS / (8 * DOWN), TN = COLUMNS / (4 * ACROSS);  // a thread's rows and columns
    static_assert(TM % VECTOR == 0 && TN % VECTOR == 0, "threads read whole vectors of shared memory");
};

// The two pairs of tiles of a block; a kernel declares them, as __shared__. A lies k by k, as B does.
template <class S>
struct Tiles {
    alignas(16) real a[2][S::DEPTH][S::ROWS + PAD];
    alignas(16) real b[2][S::DEPTH][S::COLUMNS + PAD];
};

// A matrix in memory: the number at o * outer_step + k * inner_step.
struct Matrix {
    using Outer = int;
    using Inner = int;
    const real* numbers;
    int outer_step, inner_step;
    __device__ __forceinline__ Outer outer(int o) const { return o * outer_step; }
    __device__ __forceinline__ Inner inner(int k) const { return k * inner_step; }
    __device__ __forceinline__ Inner sum(Inner p, Inner q) const { return p + q; }
    __device__ __forceinline__ int at(Outer o, Inner k) const { return o + k; }
};

// Numbers that lie side by side and move together.
template <int COUNT>
struct alignas(COUNT * sizeof(real)) Pack {
    real at[COUNT];
};

// Brings tiles of SIZE rows (or columns) times DEPTH values of k from an operand to shared memory, WIDTH numbers at a
// time. They lie side by side in memory, as neighbouring k if ALONG_K, otherwise as neighbouring rows; so do those of
// neighbouring threads.
template <int SIZE, int DEPTH, int THREADS, bool ALONG_K, int WIDTH, class Operand>
struct Carrier {
    static constexpr int PACKS = SIZE * DEPTH / WIDTH / THREADS;          // that a thread carries
    static constexpr int LINE = (ALONG_K ? DEPTH : SIZE) / WIDTH;         // packs side by side
    static constexpr int LINES = THREADS > LINE ? THREADS / LINE : 1;     // that all threads carry at once
    static constexpr int OUTERS = ALONG_K ? PACKS : (LINE > THREADS ? LINE / THREADS : 1), INNERS = PACKS / OUTERS;
    static constexpr int OUTER_STEP = ALONG_K ? LINES : THREADS * WIDTH, INNER_STEP = ALONG_K ? DEPTH : LINES;
    static_assert(PACKS * THREADS * WIDTH == SIZE * DEPTH, "every thread carries as much");

    const Operand operand;
    const int o, k;  // where in the tile the thread's first pack goes
    typename Operand::Outer outers[OUTERS];
    typename Operand::Inner inner;
    const typename Operand::Inner step;
    Pack<WIDTH> carried[INNERS][OUTERS];

    // Rows beyond the last are carried as if they were the last: their sums are never stored.
    __device__ __forceinline__ Carrier(const Operand& operand, int first_o, int size, int first_k)
        : operand(operand),
          o(ALONG_K ? threadIdx.x / LINE : threadIdx.x % LINE * WIDTH),
          k(ALONG_K ? threadIdx.x % LINE * WIDTH : threadIdx.x / LINE),
          inner(operand.inner(first_k + k)),
          step(operand.inner(INNER_STEP)) {
#pragma unroll
        for (int q = 0; q < OUTERS; q++)
            outers[q] = operand.outer(min(first_o + o + q * OUTER_STEP, size - (ALONG_K ? 1 : WIDTH)));
    }

    // Read the next tile, whose first k is given, as far as k < last.
    __device__ __forceinline__ void fetch(int first, int last) {
#pragma unroll
        for (int p = 0; p < INNERS; p++) {
#pragma unroll
            for (int q = 0; q < OUTERS; q++) {
                const int place = first + k + p * INNER_STEP < last ? operand.at(outers[q], inner) : -1;
                const real* from = operand.numbers + place;
                carried[p][q] = place < 0 ? Pack<WIDTH>{} : *reinterpret_cast<const Pack<WIDTH>*>(from);
            }
            inner = operand.sum(inner, step);
        }
    }

    __device__ __forceinline__ void put(real (*tile)[SIZE + PAD]) const {
#pragma unroll
        for (int p = 0; p < INNERS; p++) {
#pragma unroll
            for (int q = 0; q < OUTERS; q++) {
                real* to = &tile[k + p * INNER_STEP][o + q * OUTER_STEP];
                if constexpr (ALONG_K) {
#pragma unroll
                    for (int e = 0; e < WIDTH; e++) to[e * (SIZE + PAD)] = carried[p][q].at[e];
                } else {
                    *reinterpret_cast<Pack<WIDTH>*>(to) = carried[p][q];
                }
            }
        }
    }
};

// Write numbers to a row of N, from the n-th on, as far as they belong to it. WHOLE promises that rows are whole vectors.
template <bool WHOLE = false>
__device__ __forceinline__ void store_in_row(real* row, int n, int N, const Vector& numbers) {
    if (WHOLE || N % VECTOR == 0) {
        store_vector(row + n, numbers);
    } else {
#pragma unroll
        for (int e = 0; e < VECTOR; e++)
            if (n + e < N) row[n + e] = numbers.at[e];
    }
}

// Compute the tile of y that begins at (m0, n0), summing over k from `first` up to `last`, and give the sums to
// y(m, n, Vector), of which those beyond column N do not count. WIDTH numbers of A and of B are carried together.
template <class S, int WIDTH, bool A_ALONG_K, bool B_ALONG_K, class A, class B, class Y>
__device__ __forceinline__ void tile_product(Tiles<S>& tiles, const A& a, const B& b, int m0, int n0, int M, int N,
                                             int first, int last, const Y& y) {
    constexpr int TM = S::TM, TN = S::TN;
    // Lanes 2i and 2i + 1 want the same rows, lanes i and i + 2 the same columns: so a warp reads them in fewest turns.
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row = warp / S::ACROSS * 8 * TM + lane / 2 % 8 * VECTOR;
    const int column = warp % S::ACROSS * 4 * TN + (lane / 16 * 2 + lane % 2) * VECTOR;
    Carrier<S::ROWS, S::DEPTH, S::THREADS, A_ALONG_K, WIDTH, A> from_a(a, m0, M, first);
    Carrier<S::COLUMNS, S::DEPTH, S::THREADS, B_ALONG_K, WIDTH, B> from_b(b, n0, N, first);
    real sums[TM][TN] = {};

    from_a.fetch(first, last);
    from_b.fetch(first, last);
    int buffer = 0;
    for (int k0 = first; k0 < last; k0 += S::DEPTH) {
        from_a.put(tiles.a[buffer]);
        from_b.put(tiles.b[buffer]);
        __syncthreads();  // this pair of tiles is complete, and nobody reads the other pair any more
        if (k0 + S::DEPTH < last) {
            from_a.fetch(k0 + S::DEPTH, last);
            from_b.fetch(k0 + S::DEPTH, last);
        }
#pragma unroll
        for (int k = 0; k < S::DEPTH; k++) {
            Vector from_row[TM / VECTOR], from_column[TN / VECTOR];
#pragma unroll
            for (int i = 0; i < TM / VECTOR; i++) from_row[i] = load_vector(&tiles.a[buffer][k][row + i * 8 * VECTOR]);
#pragma unroll
            for (int j = 0; j < TN / VECTOR; j++)
                from_column[j] = load_vector(&tiles.b[buffer][k][column + j * 4 * VECTOR]);
#pragma unroll
            for (int i = 0; i < TM; i++)
#pragma unroll
                for (int j = 0; j < TN; j++)
                    sums[i][j] += from_row[i / VECTOR].at[i % VECTOR] * from_column[j / VECTOR].at[j % VECTOR];
        }
        buffer ^= 1;
    }
#pragma unroll
    for (int i = 0; i < TM; i++) {
        const int m = m0 + row + i / VECTOR * 8 * VECTOR + i % VECTOR;
        if (m >= M) continue;
#pragma unroll
        for (int j = 0; j < TN; j += VECTOR) {
            const int n = n0 + column + j / VECTOR * 4 * VECTOR;
            Vector together;
#pragma unroll
            for (int e = 0; e < VECTOR; e++) together.at[e] = sums[i][j + e];
            if (n < N) y(m, n, together);
        }
    }
}
