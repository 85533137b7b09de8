#include "common.cuh"
#include "tile.cuh"

// Matrix product, docs/ops/matmul.md: y = A B, either matrix transposed on the way. a_row and a_column say how many
// numbers lie between the rows and between the columns of A; a transposed matrix has the two exchanged. B alike.

constexpr int TILE = 16;  // of version 2

// Computes  y = A B (matmul.1)
// Thread    one element y[m, n]; threads side by side own neighbouring columns n
// Reads     a (M, K), b (K, N)
// Writes    y (M, N)
// No race   because one thread writes each element
extern "C" __global__ void matmul_1(const real* a, const real* b, real* y, int M, int N, int K, int a_row, int a_column,
                                    int b_row, int b_column) {
    const int n = blockIdx.x * blockDim.x + threadIdx.x, m = blockIdx.y * blockDim.y + threadIdx.y;
    if (m >= M || n >= N) return;
    real sum = 0;
    for (int k = 0; k < K; k++) sum += a[m * a_row + k * a_column] * b[k * b_row + n * b_column];  // (matmul.1)
    y[m * N + n] = sum;
}

// Each number of A is wanted by every column of y, each number of B by every row: version 1 reads A N times and B M
// times. Here a block brings a tile of each to shared memory, and its threads use every number 16 times.
//
// Computes  y = A B (matmul.1)
// Thread    one element y[m, n]; carries one number of each tile
// Reads     a (M, K), b (K, N)
// Writes    y (M, N)
// No race   because one thread writes each element, and two barriers separate writing a tile from reading it
extern "C" __global__ void __launch_bounds__(TILE * TILE)
    matmul_2(const real* a, const real* b, real* y, int M, int N, int K, int a_row, int a_column, int b_row,
             int b_column) {
    __shared__ real As[TILE][TILE], Bs[TILE][TILE];
    const int n = blockIdx.x * TILE + threadIdx.x, m = blockIdx.y * TILE + threadIdx.y;
    real sum = 0;
    for (int first = 0; first < K; first += TILE) {
        const int a_k = first + threadIdx.x, b_k = first + threadIdx.y;
        As[threadIdx.y][threadIdx.x] = m < M && a_k < K ? a[m * a_row + a_k * a_column] : real(0);
        Bs[threadIdx.y][threadIdx.x] = b_k < K && n < N ? b[b_k * b_row + n * b_column] : real(0);
        __syncthreads();  // the tiles are complete
        for (int k = 0; k < TILE; k++) sum += As[threadIdx.y][k] * Bs[k][threadIdx.x];  // (matmul.1)
        __syncthreads();  // nobody reads them any more
    }
    if (m < M && n < N) y[m * N + n] = sum;
}

template <bool WHOLE>
struct Product {
    real* y;
    int N;
    __device__ __forceinline__ void operator()(int m, int n, const Vector& sums) const {
        store_in_row<WHOLE>(y + m * N, n, N, sums);
    }
};

// The part of y = A B that a block computes: its tile, by blockIdx.x, of the sums over its terms, by blockIdx.y.
// Neighbouring threads take neighbours in memory, so who carries what depends on which matrix is transposed.
template <class S, int WIDTH>
__device__ __forceinline__ void product(const real* a, const real* b, real* y, int M, int N, int K, int a_row,
                                        int a_column, int b_row, int b_column, int terms) {
    __shared__ Tiles<S> tiles;
    const Matrix A{a, a_row, a_column}, B{b, b_column, b_row};
    const int across = (N + S::COLUMNS - 1) / S::COLUMNS;
    const int tile = blockIdx.x, m0 = tile / across * S::ROWS, n0 = tile % across * S::COLUMNS;
    const int first = blockIdx.y * terms, last = min(first + terms, K);
    const Product<(WIDTH > 1)> to{y + blockIdx.y * M * N, N};
    if (a_column != 1)
        tile_product<S, WIDTH, false, false>(tiles, A, B, m0, n0, M, N, first, last, to);  // (matmul.3)
    else if (b_column == 1)
        tile_product<S, WIDTH, true, false>(tiles, A, B, m0, n0, M, N, first, last, to);  // (matmul.1)
    else
        tile_product<S, WIDTH, true, true>(tiles, A, B, m0, n0, M, N, first, last, to);  // (matmul.2)
}

constexpr int SMALL = 16 * VECTOR;  // rows and columns of a block's tile: 64 floats, 32 doubles
constexpr int SMALL_THREADS = 128;
using SmallShape = Shape<SMALL, SMALL, 16, 1, 4>;

// In version 2 every multiply-add reads two numbers from shared memory. In the register tile of tile.cuh a thread reads
// 8 + 4 numbers for 8 x 4 multiply-adds. If there are too few tiles to give all processors work, the sum over k is cut
// into parts of so many terms, which sum_of_parts adds up.
//
// Computes  y = A B (matmul.1), or a part of each sum
// Thread    a tile of sums in registers
// Reads     a (M, K), b (K, N), of which at most b lies transposed if a does not
// Writes    y (parts, M, N)
// No race   because one thread writes each element of a part; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(SMALL_THREADS)
    matmul_3(const real* a, const real* b, real* y, int M, int N, int K, int a_row, int a_column, int b_row,
             int b_column, int terms) {
    product<SmallShape, 1>(a, b, y, M, N, K, a_row, a_column, b_row, b_column, terms);
}

constexpr int LARGE = 32 * VECTOR;  // 128 floats, 64 doubles
constexpr int LARGE_THREADS = 256;
using LargeShape = Shape<LARGE, LARGE, 8, 2, 4>;

// Besides multiply-adds, version 3 spends its time on carrying numbers one by one. Here they come in vectors of 16 bytes,
// and tiles are twice as high and wide: a thread reads 8 + 8 numbers for 8 x 8 multiply-adds, and each number that comes
// from global memory is used 128 times.
//
// Computes  y = A B (matmul.1), or a part of each sum
// Thread    a tile of sums in registers
// Reads     a (M, K), b (K, N), whose rows in memory are whole vectors
// Writes    y (parts, M, N), whose rows are whole vectors
// No race   because one thread writes each element of a part; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(LARGE_THREADS)
    matmul_4(const real* a, const real* b, real* y, int M, int N, int K, int a_row, int a_column, int b_row,
             int b_column, int terms) {
    product<LargeShape, VECTOR>(a, b, y, M, N, K, a_row, a_column, b_row, b_column, terms);
}

// As matmul_4, with the tiles of version 3: small matrices have too few large ones to give all processors work.
//
// Computes  y = A B (matmul.1), or a part of each sum
// Thread    a tile of sums in registers
// Reads     a (M, K), b (K, N), whose rows in memory are whole vectors
// Writes    y (parts, M, N), whose rows are whole vectors
// No race   because one thread writes each element of a part; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(SMALL_THREADS)
    matmul_4_small(const real* a, const real* b, real* y, int M, int N, int K, int a_row, int a_column, int b_row,
                   int b_column, int terms) {
    product<SmallShape, VECTOR>(a, b, y, M, N, K, a_row, a_column, b_row, b_column, terms);
}

// --- sums in a fixed order ---------------------------------------------------------------------------------------------

constexpr int SUM_THREADS = 256;

// Computes  y = the sum of its parts, in their order (matmul.1)
// Thread    one element
// Reads     parts (count, size)
// Writes    y (size,)
// No race   because one thread writes each element
extern "C" __global__ void __launch_bounds__(SUM_THREADS)
    sum_of_parts(const real* parts, real* y, int count, int size) {
    const int index = blockIdx.x * SUM_THREADS + threadIdx.x;
    if (index >= size) return;
    real sum = 0;
#pragma unroll 4
    for (int part = 0; part < count; part++) sum += parts[static_cast<size_t>(part) * size + index];
    y[index] = sum;
}

constexpr int SUM_COLUMNS = 32;  // threads of a block of sums_of_columns
constexpr int SUM_ROWS = 8;

// Computes  the sums of the columns of a matrix, such as db (dense.4), (conv2d.4); or parts of them
// Thread    every eighth row of one column; the eight then add up in shared memory, in their order
// Reads     dy (M, N)
// Writes    parts (count, N); block y takes `rows` rows
// No race   because one thread writes each sum, after a barrier behind the last write to shared memory
extern "C" __global__ void __launch_bounds__(SUM_COLUMNS * SUM_ROWS)
    sums_of_columns(const real* dy, real* parts, int M, int N, int rows) {
    __shared__ real sums[SUM_ROWS][SUM_COLUMNS];
    const int n = blockIdx.x * SUM_COLUMNS + threadIdx.x;
    const int first = blockIdx.y * rows, last = min(first + rows, M);
    real sum = 0;
    if (n < N) {
#pragma unroll 4
        for (int m = first + threadIdx.y; m < last; m += SUM_ROWS) sum += dy[m * N + n];  // (dense.4)
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || n >= N) return;
    for (int row = 1; row < SUM_ROWS; row++) sum += sums[row][threadIdx.x];
    parts[blockIdx.y * N + n] = sum;
}
