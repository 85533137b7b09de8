// A matrix product by tiles: threads read what others of the block have loaded, so all must have loaded it.
// run: product<<<(2, 2), (8, 8)>>>(a[16][16], b[16][16], out y[16][16], 16)
// finds: RACE on shared
constexpr int TILE = 8;

extern "C" __global__ void product(const real* a, const real* b, real* y, int n) {
    __shared__ real As[TILE][TILE], Bs[TILE][TILE];
    const int tx = threadIdx.x, ty = threadIdx.y;
    const int row = blockIdx.y * TILE + ty, column = blockIdx.x * TILE + tx;
    real sum = 0;
    for (int k0 = 0; k0 < n; k0 += TILE) {
        As[ty][tx] = a[row * n + k0 + tx];
        Bs[ty][tx] = b[(k0 + ty) * n + column];
#ifndef BUG
        __syncthreads();
#endif
        for (int k = 0; k < TILE; k++) sum += As[ty][k] * Bs[k][tx];
        __syncthreads();
    }
    y[row * n + column] = sum;
}
