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

struct Product {
    real* y;
    int N;
    __device__ __forceinline__ void operator()(int m, int n, real sum) const { y[m * N + n] = sum; }
};

// Choose who carries what: neighbouring threads take neighbours in memory.
template <int ROWS, int COLUMNS, int DEPTH>
__device__ __forceinline__ void any_layout(const real* a, const real* b, real* y, int M, int N, int K, int a_row,
                                           int a_column, int b_row, int b_column) {
    __shared__ Tiles<ROWS, COLUMNS, DEPTH> tiles;
    const Matrix A{a, a_row, a_column}, B{b, b_column, b_row};
    const int first = part_of(K, DEPTH, blockIdx.z), last = part_of(K, DEPTH, blockIdx.z + 1);
    const Product to{y + static_cast<size_t>(blockIdx.z) * M * N, N};
    if (a_column == 1 && b_column == 1)
        tile_product<true, false>(tiles, A, B, M, N, first, last, to);  // (matmul.1)
    else if (a_column == 1)
        tile_product<true, true>(tiles, A, B, M, N, first, last, to);  // (matmul.2)
    else if (b_column == 1)
        tile_product<false, false>(tiles, A, B, M, N, first, last, to);  // (matmul.3)
    else
        tile_product<false, true>(tiles, A, B, M, N, first, last, to);
}

constexpr int SMALL = sizeof(real) == 4 ? 64 : 32;  // rows and columns of a block's tile
constexpr int SMALL_DEPTH = 16;

// The register tile of tile.cuh, for small matrices: many small blocks, so that all processors have work. If there are
// still too few, the sum over k is cut into parts, one per block along z, which sum_of_parts adds up.
//
// Computes  y = A B (matmul.1), or a part of each sum
// Thread    a tile of sums in registers
// Reads     a (M, K), b (K, N)
// Writes    y (parts, M, N)
// No race   because one thread writes each element of a part; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(THREADS)
    matmul_3(const real* a, const real* b, real* y, int M, int N, int K, int a_row, int a_column, int b_row,
             int b_column) {
    any_layout<SMALL, SMALL, SMALL_DEPTH>(a, b, y, M, N, K, a_row, a_column, b_row, b_column);
}

constexpr int LARGE = sizeof(real) == 4 ? 128 : 64;
constexpr int LARGE_DEPTH = 8;

// The same with tiles twice as high and wide: a thread uses each number that it reads from shared memory eight times, not
// four, and each number that comes from global memory is used 128 times.
//
// Computes  y = A B (matmul.1), or a part of each sum
// Thread    a tile of sums in registers
// Reads     a (M, K), b (K, N)
// Writes    y (parts, M, N)
// No race   because one thread writes each element of a part; tile.cuh says why its shared tiles are safe
extern "C" __global__ void __launch_bounds__(THREADS)
    matmul_4(const real* a, const real* b, real* y, int M, int N, int K, int a_row, int a_column, int b_row,
             int b_column) {
    any_layout<LARGE, LARGE, LARGE_DEPTH>(a, b, y, M, N, K, a_row, a_column, b_row, b_column);
}

// Computes  y = the sum of its parts, in their order (matmul.1)
// Thread    one element
// Reads     parts (count, size)
// Writes    y (size,)
// No race   because one thread writes each element
extern "C" __global__ void sum_of_parts(const real* parts, real* y, int count, int size) {
    const int index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= size) return;
    real sum = 0;
    for (int part = 0; part < count; part++) sum += parts[static_cast<size_t>(part) * size + index];
    y[index] = sum;
}
